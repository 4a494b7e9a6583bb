"""What was labelled into a folder, a line for each picture, so that a next run can go on."""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fullyconv
from fullyconv.errors import FullyConvError
from fullyconv.files import append_line, write_whole
from fullyconv.prediction.photos import LINES, SUMMARY, Photo, kind_of


class Marks:
    """Which pictures are finished: 8 bytes of memory for each.

    Args:
        marks: What tells each from others, see :func:`mark_of`.
    """

    def __init__(self, marks: Iterable[str]) -> None:
        # not np.unique, which imports numpy.ma: a twentieth of the command's time
        self._numbers = np.sort(np.array(array("Q", map(_number_of, marks)), np.uint64))

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, mark: str) -> bool:
        number = np.uint64(_number_of(mark))
        at = int(np.searchsorted(self._numbers, number))
        return at < len(self) and bool(self._numbers[at] == number)


class Journal:
    """The record of a folder of results: ``predictions.jsonl``, which only grows.

    Each line is a JSON object with the ``run`` it belongs to, a digest of model and settings. A
    first line of a run says what those are; the others each say what became of a picture. A line
    that a kill has cut off is passed over. ``predictions.json`` is made from the lines at the end
    of a run: its ``photos`` are the last line of each picture under the settings of that run.

    In memory a finished picture takes 8 bytes.

    Args:
        out: The folder.
        about: Model and settings: results made with others are made again.

    Raises:
        FullyConvError: If the folder cannot be written or the record not be read.
    """

    def __init__(self, out: Path, about: Mapping[str, Any]) -> None:
        self.out, self.path = out, out / LINES
        self.about = {"version": fullyconv.__version__, **about}
        self.run = run_of(self.about)
        try:
            out.mkdir(parents=True, exist_ok=True)
            cut_off = self.path.exists() and not _ends_with_a_newline(self.path)
        except OSError as error:
            raise _unusable(self.path, error) from error
        if cut_off:
            append_line(self.path, "")
        self._known = False
        self._finished = Marks(self._marks())
        if not self._known:
            self._append({"settings": self.about})

    def _marks(self) -> Iterator[str]:
        """Of what is finished; learns whether the settings were written."""
        for line in self._lines():
            self._known = self._known or "settings" in line
            if "done" in line:
                yield line["done"]

    def is_finished(self, mark: str | None, files: Sequence[Path]) -> bool:
        """Whether a picture was labelled with these settings as it is now, and is still there.

        Args:
            mark: What :func:`mark_of` says of the picture.
            files: What is written for it.
        """
        if mark is None or mark not in self._finished:
            return False
        # a power cut may leave an empty file, see write_whole
        return all(file.is_file() and file.stat().st_size for file in files)

    def add(self, photo: Photo, mark: str | None, said: Mapping[str, Any]) -> None:
        """Record a picture that is finished; ``mark`` is from before it was read.

        Raises:
            FullyConvError: If the record cannot be written.
        """
        self._append({"photo": str(photo.path), **said, **({"done": mark} if mark else {})})

    def fail(self, photo: Photo, error: FullyConvError) -> None:
        """Record a picture that could not be labelled; the next run tries again.

        Raises:
            FullyConvError: If the record cannot be written.
        """
        self._append({"photo": str(photo.path), "error": str(error)})

    def close(self, header: Mapping[str, Any]) -> None:
        """Write ``predictions.json``, picture by picture: it may be larger than the memory.

        Args:
            header: What it says beside ``photos``.

        Raises:
            FullyConvError: If it cannot be written.
        """
        photos = (line["photo"] for line in self._lines() if "photo" in line)
        keys = array("Q", map(_number_of, photos))
        last = len(keys) - 1 - np.unique(np.array(keys, np.uint64)[::-1], return_index=True)[1]
        kept = np.zeros(len(keys), bool)
        kept[last] = True
        write_whole(self.out / SUMMARY, lambda file: file.writelines(self._summary(header, kept)))

    def _summary(self, header: Mapping[str, Any], kept: NDArray[np.bool_]) -> Iterator[bytes]:
        yield json.dumps(header, indent=1).removesuffix("\n}").encode() + b',\n "photos": ['
        photos = (line for line in self._lines() if "photo" in line)
        separator = "\n  "
        for line, keep in zip(photos, kept, strict=True):
            if keep:
                said = {key: v for key, v in line.items() if key not in ("run", "done")}
                yield (separator + json.dumps(said)).encode(errors="replace")
                separator = ",\n  "
        yield b"\n ]\n}\n"

    def _append(self, said: Mapping[str, Any]) -> None:
        append_line(self.path, json.dumps({"run": self.run, **said}))

    def _lines(self) -> Iterator[dict[str, Any]]:
        """The lines of this run's settings."""
        if not self.path.exists():
            return
        try:
            with self.path.open(encoding="utf-8", errors="replace") as lines:
                for text in lines:
                    if self.run not in text:
                        continue
                    try:
                        line = json.loads(text)
                    except ValueError:  # cut off by a kill
                        continue
                    if isinstance(line, dict) and line.get("run") == self.run:
                        yield line
        except OSError as error:
            raise _unusable(self.path, error) from error


def mark_of(photo: Photo) -> str | None:
    """What tells a picture, as it is now, and the place of its results from others.

    Size and time of a file; the address of one on the web; None of what cannot be told.
    """
    place = (photo.folder / photo.name).as_posix()
    if kind_of(photo.path) == "url":
        return f"{place} {photo.path}"
    try:
        state = os.stat(photo.path)  # noqa: PTH116  (a path may be text)
    except OSError:
        return None
    return f"{place} {state.st_size} {state.st_mtime_ns}"


def run_of(about: Mapping[str, Any]) -> str:
    """The digest of model and settings that the lines of a run bear."""
    return _digest(json.dumps(about, sort_keys=True)).hex()


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest()


def _number_of(text: str) -> int:
    return int.from_bytes(_digest(text), "big")


def _ends_with_a_newline(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _unusable(path: Path, error: OSError) -> FullyConvError:
    return FullyConvError(
        f"{path}: cannot be used ({error.strerror or error}); check the folder and its permissions"
    )


def stamp(path: Path) -> list[list[Any]]:
    """What tells a model file, or the files of a folder, from another version of it."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    states = [(file, file.stat()) for file in files if file.is_file()]
    return [[file.name, state.st_size, state.st_mtime_ns] for file, state in states]
