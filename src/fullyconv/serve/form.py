"""The one file of a form, taken out of a request that is in memory already."""

from __future__ import annotations

import logging
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from fullyconv.serve.problems import RequestError

FIELD = "image"
logging.getLogger("python_multipart").setLevel(logging.ERROR)  # a damaged form is no news


def field_of(content_type: str, body: bytes) -> bytes:
    """What a form (multipart/form-data) holds in its field ``image``.

    Nothing of it is written to disk, and the name of the file is not looked at.

    Args:
        content_type: Header of the request.
        body: The request.

    Raises:
        RequestError: If it is no such form, or it has no such field, or several.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise RequestError(400, "a form (multipart/form-data) needs a boundary in its Content-Type")
    parts = _Parts()
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise RequestError(400, f"the form (multipart/form-data) is damaged: {error}") from error
    if not parts.ended:
        raise RequestError(
            400, "the form (multipart/form-data) is cut short: its last line is missing"
        )
    found = [content for name, content in parts.found if name == FIELD]
    if len(found) != 1:
        raise RequestError(
            422,
            f"the form has {len(found)} fields {FIELD!r}; it must have one, the picture "
            f"(curl -F {FIELD}=@street.jpg)",
        )
    return bytes(found[0])


class _Parts:
    """What a parser calls; keeps the content of the wanted field alone."""

    def __init__(self) -> None:
        self.found: list[tuple[str, bytearray]] = []
        self.ended = False
        self._header, self._value = b"", b""

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._field,
            "on_header_value": self._more,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self.found.append(("", bytearray()))

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _more(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            name = options.get(b"name", b"").decode("utf-8", "replace")
            self.found[-1] = (name, self.found[-1][1])
        self._header, self._value = b"", b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        name, content = self.found[-1]
        if name == FIELD:
            content += data[start:end]

    def _end(self) -> None:
        self.ended = True
