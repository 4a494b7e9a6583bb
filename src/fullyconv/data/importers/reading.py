"""Reading annotation files without trusting them: bounded, and every failure one sentence."""

from __future__ import annotations

import base64
import binascii
import io
import json
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path
from typing import Any

from fullyconv.errors import FullyConvError
from fullyconv.images import MAX_PIXELS

MAX_TEXT = 2**30
"""Annotation files of more bytes are refused: read, they need some ten times as much memory."""
_MAX_YAML = 2**18  # read at some 50 kB a second; a thousand names of classes take 30 kB


def read_text(path: Path, most: int = MAX_TEXT) -> str:
    """A text file in UTF-8.

    Raises:
        FullyConvError: If it is missing, too large, or in another encoding.
    """
    try:
        size = path.stat().st_size
        if size > most:
            raise FullyConvError(
                f"{path}: {size:,} bytes, and at most {most:,} are read; export in parts"
            )
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FullyConvError(
            f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8"
        ) from error
    except OSError as error:
        raise FullyConvError(f"{path}: cannot be read ({error.strerror or error})") from error


def read_json(path: Path) -> Any:
    """The values in a JSON file.

    Raises:
        FullyConvError: If it is missing, too large, no JSON, or nested too deeply.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except ValueError as error:
        raise FullyConvError(f"{path}: no whole JSON ({error}); export it again") from error
    except RecursionError as error:
        raise FullyConvError(f"{path}: nested too deeply for an annotation file") from error


def read_xml(path: Path) -> ET.Element:
    """The root of an XML file; one that defines entities, which may expand without end, is refused.

    Raises:
        FullyConvError: If it is missing, too large, no XML, or holds a document type.
    """
    text = read_text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise FullyConvError(f"{path}: a document type or entity has no place in such a file")
    try:
        return ET.fromstring(text)
    except ET.ParseError as error:
        raise FullyConvError(f"{path}: no whole XML ({error}); export it again") from error


def read_yaml(path: Path) -> Any:
    """The values in a small YAML file.

    Raises:
        FullyConvError: If it is missing, too large or no YAML, or PyYAML is not installed.
    """
    try:
        import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own
    except ImportError as error:
        raise FullyConvError(
            f'{path}: reading YAML needs PyYAML: pip install "fullyconv[data]"'
        ) from error
    text = read_text(path, _MAX_YAML)
    try:
        aliases = any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text))
        values = None if aliases else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = " ".join(str(error).split())
        raise FullyConvError(f"{path}: no YAML ({what})") from error
    if aliases:
        raise FullyConvError(
            f"{path}: an alias (*name) may expand without end and has no place in such a file; "
            "write out what it stands for"
        )
    return values


def from_base64(text: Any) -> bytes:
    """Bytes from base64.

    Raises:
        FullyConvError: If it is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise FullyConvError(f"what should be base64 is none ({error})") from error


def inflate(content: bytes) -> bytes:
    """Zlib's bytes unpacked, as far as a mask of the largest picture may go.

    Raises:
        FullyConvError: If they are damaged or unpack to more.
    """
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(content, MAX_PIXELS)
    except zlib.error as error:
        raise FullyConvError(f"a packed mask is damaged ({error})") from error
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise FullyConvError("a packed mask is cut short, or too large for a picture")
    return unpacked


class Embedded(io.BytesIO):
    """A picture inside of another file; errors name it."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self._name = name

    def __str__(self) -> str:
        return self._name
