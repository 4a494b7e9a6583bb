"""Protobuf's wire format, as much of it as Caffe's files need, in numpy.

A message is a row of fields; a field is a tag (its number and wire type, as one varint) and a
value: https://protobuf.dev/programming-guides/encoding/. Caffe's messages are not known here.

The reader trusts no byte: every length is held against the message around it, nothing is
allocated from a stated size, and the number of fields is limited, so that the worst a file can do
is to be refused, in time linear in its size.
"""

from __future__ import annotations

import codecs
import mmap
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from fullyconv.errors import FullyConvError
from fullyconv.files import write_whole

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
FloatType: TypeAlias = np.dtype[np.floating[Any]]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIDTHS = {FIXED32: 4, FIXED64: 8}
_WIRE_NAMES = {VARINT: "an integer", FIXED64: "8 bytes", BYTES: "a length", FIXED32: "4 bytes"}
_MAX_NUMBER = 2**29 - 1
_MAX_BYTES = 2**31 - 1  # protobuf and Caffe read no larger files

_MAGIC = {
    b"\x89HDF": "an HDF5 file (save it from Caffe with snapshot_format: BINARYPROTO)",
    b"PK\x03\x04": "a zip archive or a PyTorch file",
    b"\x1f\x8b": "a gzip archive (unpack it)",
}

# Bounds the time and the memory (objects made per byte of file) that a hostile file can cost. The
# largest nets have some ten thousand fields outside their numbers, and a run of numbers is one.
MAX_FIELDS = 1_000_000


class Field(NamedTuple):
    """One field of a message, or a run of equal-tagged fixed-width numbers seen as one field."""

    number: int
    wire: int
    offset: int  # of the tag
    start: int  # of the value, behind the tag and the length
    stop: int
    value: int  # of a VARINT, as int64 (two's complement); otherwise 0


class WireFile:
    """A protobuf file mapped into memory, whose errors name the path, the byte and the place.

    Args:
        path: The file. It is mapped, not read: opening costs the same for any size.

    Attributes:
        data: The mapped bytes, read-only.
        size: Length in bytes, at least 1.
        place: What is being read ("layer 3 'conv1_2'"), for error messages; the caller's to set.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.place = ""
        self._fields_left = MAX_FIELDS
        try:
            # Opening a pipe waits for its writer, for ever if there is none: look first.
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise FullyConvError(f"{path} is not a file; give the path of a file.")
            with self.path.open("rb") as stream:
                if not os.fstat(stream.fileno()).st_size:
                    raise self.error(0, "the file is empty; get it again")
                self.data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            message = f"{path} cannot be read ({error.strerror}); check the path."
            raise FullyConvError(message) from error
        self.size = len(self.data)

    def error(self, offset: int, problem: str) -> FullyConvError:
        """The error to raise for ``problem`` (half a sentence) found at byte ``offset``."""
        place = f", {self.place}" if self.place else ""
        return FullyConvError(f"{self.path}, byte {offset}{place}: {problem}.")

    def refuse_other_kinds(self, wanted: str) -> None:
        """Name the kinds of file that people give by mistake; no Caffe file begins like them.

        Args:
            wanted: What was expected, for the message ("a .caffemodel").

        Raises:
            FullyConvError: The file is HDF5, an archive or text (a prototxt, a web page).
        """
        head = self.data[:512]
        for magic, kind in _MAGIC.items():
            if head.startswith(magic):
                raise self.error(0, f"this is {kind}, expected {wanted}")
        try:
            text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
        except UnicodeDecodeError:
            return
        # The tag of a first layer, or the axes of a blob, is a control character.
        if any(character < " " and character not in "\t\n\r\f" for character in text):
            return
        kind = "a web page (HTML)" if text.lstrip().startswith("<") else "text, such as a .prototxt"
        kind = "a Git LFS pointer" if text.startswith("version https://git-lfs") else kind
        raise self.error(0, f"this is {kind}, expected {wanted}; download the binary file")

    def fields(self, start: int, stop: int) -> Iterator[Field]:
        """The fields of the message in bytes ``start:stop``, known and unknown, in file order.

        Raises:
            FullyConvError: The bytes are not a protobuf message.
        """
        offset = start
        while offset < stop:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise self.error(
                    offset,
                    f"more than {MAX_FIELDS} fields, which no network has; the file is damaged",
                )
            field = self._field(offset, stop)
            yield field
            offset = field.stop

    def _field(self, offset: int, stop: int) -> Field:
        tag, start = self.varint(offset, stop)
        number, wire = tag >> 3, tag & 7
        if not 1 <= number <= _MAX_NUMBER:
            raise self.error(
                offset, f"field number {number}, expected 1 to {_MAX_NUMBER}; the file is damaged"
            )
        value = 0
        if wire == VARINT:
            value, end = self.varint(start, stop)
            value -= (value >> 63) << 64  # two's complement
        elif wire == BYTES:
            length, start = self.varint(start, stop)
            end = self._bounded(offset, start, length, stop)
        elif wire in _WIDTHS:
            end = self._bounded(offset, start, _WIDTHS[wire], stop)
            end = self._run_end(offset, start, end, stop)
        else:
            # 3 and 4 are groups: deprecated before Caffe, and nested without bound.
            raise self.error(
                offset, f"wire type {wire}, expected 0, 1, 2 or 5; the file is damaged"
            )
        return Field(number, wire, offset, start, end, value)

    def varint(self, offset: int, stop: int) -> tuple[int, int]:
        """Unsigned integer (below 2**64) at ``offset``, and the offset behind it.

        Raises:
            FullyConvError: It is longer than 10 bytes or 64 bits, or reaches ``stop``.
        """
        value = 0
        for index in range(10):
            at = offset + index
            if at >= stop:
                raise self._overrun(offset, stop)
            byte = self.data[at]
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80 and value < 2**64:
                return value, at + 1
        raise self.error(offset, "an integer of more than 64 bits; the file is damaged")

    def expect(self, field: Field, name: str, *wires: int) -> None:
        """Refuse ``field``, called ``name`` in Caffe, unless its wire type is one of ``wires``."""
        if field.wire not in wires:
            raise self.error(
                field.offset,
                f"{name} (field {field.number}) is stored as {_WIRE_NAMES[field.wire]}, expected "
                f"{' or '.join(_WIRE_NAMES[wire] for wire in wires)}; the file is damaged or of "
                "another kind",
            )

    def text(self, field: Field, name: str) -> str:
        """String in ``field``.

        Raises:
            FullyConvError: The field is not a string, or not UTF-8.
        """
        self.expect(field, name, BYTES)
        try:
            return self.data[field.start : field.stop].decode()
        except UnicodeDecodeError as error:
            raise self.error(
                field.start + error.start, f"{name} is not UTF-8; the file is damaged"
            ) from error

    def numbers(self, field: Field, name: str, dtype: FloatType) -> FloatArray:
        """Repeated floating-point numbers in ``field``, stored packed or one by one.

        Args:
            field: Packed (BYTES), or a run of fixed-width numbers each behind its own tag.
            name: Caffe's name of the field.
            dtype: ``<f4`` or ``<f8``, as the message's definition says.

        Returns:
            (count,) of ``dtype``, contiguous. Packed numbers are a read-only view of the file, at
            any alignment; single ones are copied out from between their tags.

        Raises:
            FullyConvError: The wire type or the length is not that of such numbers.
        """
        width = dtype.itemsize
        self.expect(field, name, BYTES, FIXED32 if width == 4 else FIXED64)
        if field.wire == BYTES:
            count, rest = divmod(field.stop - field.start, width)
            if rest:
                raise self.error(
                    field.offset,
                    f"{name} has {field.stop - field.start} bytes, expected a multiple of {width}; "
                    "the file is damaged",
                )
            return np.frombuffer(self.data, dtype, count, field.start)
        record = np.dtype([("tag", f"V{field.start - field.offset}"), ("number", dtype)])
        count = (field.stop - field.offset) // record.itemsize
        return np.ascontiguousarray(np.frombuffer(self.data, record, count, field.offset)["number"])

    def _bounded(self, offset: int, start: int, length: int, stop: int) -> int:
        if length > stop - start:
            raise self._overrun(offset, stop)
        return start + length

    def _overrun(self, offset: int, stop: int) -> FullyConvError:
        if stop == self.size:
            problem = f"the file ends inside a field, at byte {stop}: it is cut short or damaged"
        else:
            problem = f"a field runs past its message, which ends at byte {stop}: it is damaged"
        return self.error(offset, f"{problem}; get it again")

    def _run_end(self, offset: int, start: int, end: int, stop: int) -> int:
        """End of the run of equal-tagged numbers whose first is bytes ``offset:end``.

        Files without [packed = true] have a tag before each of a hundred million floats: too many
        for a Python loop. Blocks grow as they match, so the work is linear in the run.
        """
        tag, size = self.data[offset:start], end - offset
        if self.data[end : end + len(tag)] != tag:
            return end  # one alone: not worth numpy
        total = (stop - offset) // size
        records = np.frombuffer(self.data, np.uint8, total * size, offset).reshape(total, size)
        tags, wanted = records[:, : len(tag)], np.frombuffer(tag, np.uint8)
        done, block = 1, 64
        while done < total:
            equal = (tags[done : done + block] == wanted).all(axis=1)
            if not equal.all():
                return offset + (done + int(equal.argmin())) * size
            done, block = done + len(equal), min(2 * block, 2**20)
        return offset + total * size


def encode_varint(value: int) -> bytes:
    """Bytes of the unsigned integer ``value``.

    Example:
        >>> encode_varint(300).hex()
        'ac02'
    """
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_head(number: int, length: int) -> bytes:
    """Tag and length that go before a BYTES value of ``length`` bytes."""
    return encode_varint(number << 3 | BYTES) + encode_varint(length)


def encode_text(number: int, text: str) -> bytes:
    """String field ``number``, complete."""
    value = text.encode()
    return encode_head(number, len(value)) + value


def write_pieces(path: str | os.PathLike[str], pieces: Sequence[bytes | FloatArray]) -> None:
    """Write ``pieces`` beside ``path`` and rename: others see the old file or all of the new one.

    Args:
        path: The file to make or replace.
        pieces: Encoded bytes, and float32 or float64 arrays written as little-endian numbers.

    Raises:
        FullyConvError: The file would be too large for Caffe, or cannot be written.
    """
    size = pieces_size(pieces)
    if size > _MAX_BYTES:
        raise FullyConvError(
            f"{path} would have {size} bytes, expected at most {_MAX_BYTES}, which is all that "
            "Caffe can read; write fewer or smaller layers."
        )
    write_whole(path, lambda file: file.writelines(map(_bytes, pieces)))


def pieces_size(pieces: Sequence[bytes | FloatArray]) -> int:
    """Bytes that ``pieces`` take in a file."""
    return sum(len(piece) if isinstance(piece, bytes) else piece.nbytes for piece in pieces)


def _bytes(piece: bytes | FloatArray) -> bytes | memoryview:
    """What a file shall hold of a piece: arrays as little-endian numbers."""
    if isinstance(piece, bytes):
        return piece
    numbers = piece
    plain = np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("<"))  # a copy only if needed
    return plain.reshape(-1).view(np.uint8).data
