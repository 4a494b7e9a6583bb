"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from PIL import Image

from fullyconv.errors import FullyConvError
from fullyconv.files import append_line, write_folder, write_text, write_whole


class FullDisk:
    """Patch for os.fsync or a writer: what the system says when there is no room."""

    def __call__(self, *_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_ctrl_c_hidden_in_an_error_is_still_ctrl_c(tmp_path: Path) -> None:
    """torch.save turns what interrupts it into an error of its own."""

    def write(file: object) -> None:
        error = RuntimeError("unexpected pos")
        error.__context__ = KeyboardInterrupt()
        raise error

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "x", write)
    assert not list(tmp_path.iterdir())


def test_a_file_is_made_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.bin"
    write_whole(path, lambda file: file.write(b"content"))
    assert path.read_bytes() == b"content"
    assert names(path.parent) == ["c.bin"]


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "c.bin"
    path.write_bytes(b"the old content, which is longer")
    write_whole(str(path), lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["c.bin"]


def test_the_old_file_stays_whole_while_the_new_one_is_written(tmp_path: Path) -> None:
    path = tmp_path / "c.bin"
    path.write_bytes(b"old")

    def write(file: BinaryIO) -> None:
        file.write(b"half")
        file.flush()
        assert path.read_bytes() == b"old"
        hidden = [name for name in names(tmp_path) if name != "c.bin"]
        assert [name[0] for name in hidden] == ["."]  # not taken for a result
        file.write(b" and half")

    write_whole(path, write)
    assert path.read_bytes() == b"half and half"
    assert names(tmp_path) == ["c.bin"]


@pytest.mark.parametrize(
    "raised", [KeyboardInterrupt, SystemExit, MemoryError, ValueError, RuntimeError, AssertionError]
)
@pytest.mark.parametrize("before", [None, b"old"])
def test_whatever_the_writer_raises_leaves_things_as_they_were(
    tmp_path: Path, raised: type[BaseException], before: bytes | None
) -> None:
    path = tmp_path / "c.bin"
    if before is not None:
        path.write_bytes(before)

    def write(file: BinaryIO) -> None:
        file.write(b"half")
        raise raised("on the way")

    with pytest.raises(raised, match="on the way"):
        write_whole(path, write)
    assert names(tmp_path) == ([] if before is None else ["c.bin"])
    if before is not None:
        assert path.read_bytes() == before


def test_the_content_is_on_the_disk_before_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fsync = tmp_path / "c.bin", os.fsync
    sizes: list[int] = []

    def look(descriptor: int) -> None:
        fsync(descriptor)
        sizes.append(os.fstat(descriptor).st_size)
        assert not path.exists()

    monkeypatch.setattr(os, "fsync", look)
    write_whole(path, lambda file: file.write(b"content"))
    assert sizes == [7]


@pytest.mark.parametrize("where", ["writer", "fsync", "rename"])
def test_a_full_disk_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    path = tmp_path / "c.bin"
    path.write_bytes(b"old")
    if where == "fsync":
        monkeypatch.setattr(os, "fsync", FullDisk())
    if where == "rename":
        monkeypatch.setattr(Path, "replace", FullDisk())
    with pytest.raises(
        FullyConvError,
        match=r"c\.bin: cannot be written \(No space left on device\); check the folder, its perm",
    ):
        write_whole(path, FullDisk() if where == "writer" else lambda file: file.write(b"new"))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["c.bin"]


class Limited:
    """A file of which only the first bytes fit on the disk."""

    def __init__(self, file: BinaryIO, room: int) -> None:
        self.file, self.room = file, room

    def write(self, content: bytes) -> int:
        self.room -= len(content)
        return FullDisk()() if self.room < 0 else self.file.write(content)

    def flush(self) -> None:
        self.file.flush()


def test_torch_and_pillow_on_a_full_disk(tmp_path: Path) -> None:
    import torch

    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8))
    writers: dict[str, Callable[[Any], object]] = {
        "last.pt": lambda file: torch.save({"a": torch.zeros(20_000)}, file),
        "mask.png": lambda file: noise.save(file, "PNG"),
    }
    for name, writer in writers.items():

        def write(file: BinaryIO, writer: Callable[[Any], object] = writer) -> None:
            writer(Limited(file, 5000))

        with pytest.raises(FullyConvError, match=rf"{name}: cannot be written \(No space left"):
            write_whole(tmp_path / name, write)
    assert names(tmp_path) == []


def test_folders_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FullyConvError, match=r"c\.bin: cannot be written \((File exists|Not)"):
        write_whole(tmp_path / "file" / "c.bin", lambda file: file.write(b""))
    (tmp_path / "folder").mkdir()
    with pytest.raises(FullyConvError, match=r"folder: cannot be written \(Is a directory\)"):
        write_whole(tmp_path / "folder", lambda file: file.write(b""))
    assert names(tmp_path) == ["file", "folder"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folders_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(FullyConvError, match=r"cannot be written \(Permission denied\)"):
            write_whole(tmp_path / "c.bin", lambda file: file.write(b""))
    finally:
        tmp_path.chmod(0o700)


def test_writers_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    path, contents = tmp_path / "c.bin", [bytes([65 + i]) * 100_000 for i in range(8)]
    threads = [
        threading.Thread(target=write_whole, args=(path, lambda file, c=content: file.write(c)))
        for content in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert names(tmp_path) == ["c.bin"]


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    write_whole(tmp_path / "ours", lambda file: file.write(b""))
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_lines_are_added(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for line in ("one", "zwölf"):
        append_line(path, line)
    assert path.read_bytes() == "one\nzwölf\n".encode()


def test_lines_that_cannot_be_added(tmp_path: Path) -> None:
    with pytest.raises(FullyConvError, match=r"x\.txt: cannot be written \(No such file or direct"):
        append_line(tmp_path / "missing" / "x.txt", "one")
    assert names(tmp_path) == []


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "net"
    for content in ("old", "new"):
        write_folder(path, lambda folder, c=content: write_text(folder / c, c), content)  # type: ignore[misc]
        (path / "mark").touch()
        write_folder(path, lambda folder, c=content: write_text(folder / c, c), "mark")  # type: ignore[misc]
        assert names(path) == [content]
        (path / content).unlink()
    assert names(path.parent) == ["net"]


def test_a_folder_that_cannot_be_finished_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "net"
    write_folder(path, lambda folder: write_text(folder / "mark", "old"), "mark")

    def write(folder: Path) -> None:
        write_text(folder / "mark", "new")
        FullDisk()()

    with pytest.raises(FullyConvError, match=r"net: cannot be written \(No space left"):
        write_folder(path, write, "mark")
    assert names(tmp_path) == ["net"]
    assert (path / "mark").read_text() == "old"


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter").touch()
    for path in (tmp_path, tmp_path / "letter"):
        with pytest.raises(FullyConvError, match="holds something else than mark and its files"):
            write_folder(path, lambda _: None, "mark")
    assert names(tmp_path) == ["letter"]
