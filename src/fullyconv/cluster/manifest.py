"""What was labelled, part by part, beside the results: a next run reads it and goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fullyconv
from fullyconv.cluster.addresses import Entry, join, list_folder, look, read_bytes, write_bytes
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.prediction.journal import Marks, run_of

FOLDER, SETTINGS, FAILED = "manifest", "run.json", "failed.jsonl"
IN_SHARD = ".shard"
"""Ends the key of what is recorded of the photographs of a shard; the shard's own line has none."""

_LINES = ".jsonl"
_MOST = 2**32  # bytes of one part's lines
_AT_ONCE = 16  # files that are read at the same time: stores are slow to answer, not to send


class Manifest:
    """The record of results at an address, with a file for each part.

    Its lines are those of ``predictions.jsonl`` (:mod:`~fullyconv.prediction.journal`). A part's
    file is written by the worker when its results are there, and whole. A worker that is killed
    leaves none, and the part is done again: the same names, the same bytes. Object stores cannot
    append to a file, and many workers could not append to the same.

    Args:
        out: Address of the results.
        about: Model and settings: results of others are not mixed with them.
    """

    def __init__(self, out: str, about: Mapping[str, Any]) -> None:
        self.out = out
        # as it is read again
        self.about = json.loads(json.dumps({"version": fullyconv.__version__, **about}))
        self.run = run_of(self.about)

    def check(self, again: bool = False) -> None:
        """Refuse an address that holds results of another model or of other settings.

        Args:
            again: Take it over: everything is labelled again.

        Raises:
            UsageError: If it does.
            FullyConvError: If it cannot be read.
        """
        place = join(self.out, FOLDER, SETTINGS)
        if again or look(place) is None:
            return
        try:
            about = json.loads(read_bytes(place))
            model = about["model"]
        except (ValueError, KeyError, TypeError) as error:
            raise FullyConvError(
                f"{place}: cannot be read as the settings of a run ({error}); give another --out, "
                "or --again"
            ) from error
        if run_of(about) != self.run:
            differ = [key for key in self.about if about.get(key) != self.about[key]]
            raise UsageError(
                f"{self.out} holds results of the model {model} with another "
                f"{', '.join(differ) or 'setting'}; give another --out, or --again to replace them"
            )

    def begin(self) -> None:
        """Write model and settings.

        Raises:
            FullyConvError: If the address cannot be written to.
        """
        content = json.dumps(self.about, indent=1).encode(errors="replace")
        write_bytes(join(self.out, FOLDER, SETTINGS), content, durable=True)

    def finished(self) -> Marks:
        """The marks of all that is finished.

        Raises:
            FullyConvError: If the record cannot be read.
        """
        return Marks(line["done"] for line in self.lines(photos=False) if "done" in line)

    def lines(self, photos: bool = True) -> Iterator[dict[str, Any]]:
        """Everything that is recorded, of this run's settings.

        Args:
            photos: Also what is recorded of each photograph in shards: there may be a billion.

        Raises:
            FullyConvError: If the record cannot be read.
        """
        folder = join(self.out, FOLDER)
        if look(folder) is None:
            return
        parts = [entry for entry in list_folder(folder) if entry.name.endswith(_LINES)]
        if not photos:
            parts = [entry for entry in parts if not entry.name.endswith(IN_SHARD + _LINES)]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for start in range(0, len(parts), _AT_ONCE):  # never all of them in memory
                for content in pool.map(_read, parts[start : start + _AT_ONCE]):
                    yield from self._parsed(content)

    def part(self, key: str) -> list[dict[str, Any]]:
        """What is recorded of one part; empty if nothing is.

        Raises:
            FullyConvError: If the record cannot be read.
        """
        entry = look(self._place(key))
        return [] if entry is None else list(self._parsed(_read(entry)))

    def write(self, key: str, lines: Sequence[Mapping[str, Any]]) -> None:
        """Record a part whose results are written.

        Raises:
            FullyConvError: If it cannot be written.
        """
        text = "".join(json.dumps({"run": self.run, **line}) + "\n" for line in lines)
        write_bytes(self._place(key), text.encode(errors="replace"), durable=True)

    def _place(self, key: str) -> str:
        return join(self.out, FOLDER, key + _LINES)

    def _parsed(self, content: bytes) -> Iterator[dict[str, Any]]:
        for text in content.decode(errors="replace").splitlines():
            try:
                line = json.loads(text)
            except ValueError:  # cut off: not every place writes whole
                continue
            if isinstance(line, dict) and line.get("run") == self.run:
                yield line


def _read(entry: Entry) -> bytes:
    return read_bytes(entry.address, entry.size, _MOST)
