"""A folder of results that is gone on with: what is done again, and what is not."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from fullyconv.errors import FullyConvError
from fullyconv.prediction.journal import Journal, mark_of, stamp
from fullyconv.prediction.photos import Photo
from fullyconv.prediction.predicting import predict
from fullyconv.prediction.prediction import Prediction
from fullyconv.prediction.predictor import Predictor


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six pictures, two of them in a sub-folder."""
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c", "d", "deep/a", "deep/b"):
        path = tmp_path / "in" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)).save(path)
    return tmp_path / "in"


def label(photos: Path, model: Path, out: Path, **settings: object) -> str:
    """Run, and say of each picture whether it was done (+), finished before (.) or failed (!)."""
    said: list[str] = []

    def report(path: Path | str, result: object, files: object, number: int, total: int) -> None:
        assert (number, total) == (len(said) + 1, 6)
        said.append("." if result is None else "!" if isinstance(result, FullyConvError) else "+")

    predict(photos, model=model, out=out, report=report, **settings)  # type: ignore[arg-type]
    return "".join(said)


def test_finished_pictures_are_passed_over(photos: Path, small_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert label(photos, small_model, out) == "++++++"
    summary = (out / "predictions.json").read_bytes()
    times = {p: p.stat().st_mtime_ns for p in out.rglob("*.png")}
    assert label(photos, small_model, out) == "......"
    assert (out / "predictions.json").read_bytes() == summary
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*.png")} == times
    assert label(photos, small_model, out, again=True) == "++++++"
    assert len(json.loads(summary)["photos"]) == 6


def test_what_has_changed_is_done_again(photos: Path, small_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    label(photos, small_model, out)
    (out / "b-mask.png").unlink()
    (out / "c-overlay.jpg").write_bytes(b"")  # as a power cut may leave it
    os.utime(photos / "deep" / "a.png", (1, 1))
    assert label(photos, small_model, out) == ".++.+."
    assert label(photos, small_model, out, save="mask") == "++++++"  # other settings
    assert label(photos, small_model, out, flip=True) == "++++++"
    assert label(photos, small_model, out) == "......"
    copy = tmp_path / "other.safetensors"
    copy.write_bytes(small_model.read_bytes())
    assert label(photos, copy, out) == "++++++"
    os.utime(copy, (1, 1))
    assert label(photos, copy, out) == "++++++"


def test_failures_are_tried_again(photos: Path, small_model: Path, tmp_path: Path) -> None:
    out, good = tmp_path / "out", (photos / "c.png").read_bytes()
    (photos / "c.png").write_bytes(good[:200])
    assert label(photos, small_model, out) == "++!+++"
    assert label(photos, small_model, out) == "..!..."
    entries = json.loads((out / "predictions.json").read_text())["photos"]
    assert ["error" in entry for entry in entries] == [False] * 5 + [True]  # the last to be said
    (photos / "c.png").write_bytes(good)
    assert label(photos, small_model, out) == "..+..."
    entries = json.loads((out / "predictions.json").read_text())["photos"]
    assert len(entries) == 6
    assert not any("error" in entry for entry in entries)


def test_every_head_has_its_files(photos: Path, two_heads: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert label(photos, two_heads, out, save="mask") == "++++++"
    assert label(photos, two_heads, out, save="mask") == "......"
    (out / "deep" / "b-geometric-mask.png").unlink()
    assert label(photos, two_heads, out, save="mask") == ".....+"


def test_a_line_cut_off_by_a_kill_costs_one_picture(
    photos: Path, small_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    label(photos, small_model, out)
    lines = out / "predictions.jsonl"
    lines.write_bytes(lines.read_bytes()[:-20])
    assert label(photos, small_model, out) == ".....+"
    assert label(photos, small_model, out) == "......"
    lines.write_bytes(b"not json\n[1]\n" + lines.read_bytes())
    assert label(photos, small_model, out) == "......"


def test_a_result_that_cannot_be_written_keeps_the_others(
    photos: Path, small_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "deep").touch()  # where a folder is to be
    with pytest.raises(FullyConvError, match=r"deep/a-mask.png: cannot be written"):
        label(photos, small_model, out)
    entries = json.loads((out / "predictions.json").read_text())["photos"]
    assert [Path(entry["photo"]).name for entry in entries] == ["a.png", "b.png", "c.png", "d.png"]
    (out / "deep").unlink()
    assert label(photos, small_model, out) == "....++"


def test_a_picture_that_the_network_refuses_is_named(
    photos: Path, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label_one = Predictor.__call__

    def refuses(self: Predictor, photo: Any) -> Prediction:
        if photo.shape[0] == 7:
            raise FullyConvError("too little memory")
        return label_one(self, photo)

    monkeypatch.setattr(Predictor, "__call__", refuses)
    Image.new("RGB", (9, 7)).save(photos / "c.png")
    assert label(photos, small_model, tmp_path / "out") == "++!+++"
    text = (tmp_path / "out" / "predictions.json").read_text()
    assert f"{photos / 'c.png'}: too little memory" in text


def test_places_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FullyConvError, match=r"predictions.jsonl: cannot be used"):
        Journal(tmp_path / "file", {})
    (tmp_path / "predictions.jsonl").mkdir()
    with pytest.raises(FullyConvError, match=r"predictions.jsonl: cannot be used"):
        Journal(tmp_path, {})


def test_marks_and_stamps(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.xml").write_text("abc")
    assert [entry[:2] for entry in stamp(tmp_path / "m")] == [["a.xml", 3]]
    assert mark_of(Photo("camera:0", Path(), "camera-0")) is None
    assert mark_of(Photo("http://a.org/b", Path("x"), "b")) == "x/b http://a.org/b"


def test_a_million_pictures_take_little_memory(tmp_path: Path) -> None:
    """Fewer here: 8 bytes each stay, and lines are read one by one."""
    count = 50_000
    journal = Journal(tmp_path, {"model": "m"})
    photo = tmp_path / "a.png"
    with (tmp_path / "predictions.jsonl").open("a") as lines:
        for number in range(count):
            said = {"run": journal.run, "photo": f"{number}.png", "done": f"{number} 1 1"}
            lines.write(json.dumps(said) + "\n")
    process = psutil.Process()
    before = process.memory_info().rss
    journal = Journal(tmp_path, {"model": "m"})
    photo.write_bytes(b"x")
    os.utime(photo, ns=(1, 1))
    assert journal.is_finished("49999 1 1", [photo])
    assert not journal.is_finished("49999 1 2", [photo])
    assert not journal.is_finished("49999 1 1", [tmp_path / "none"])
    journal.close({"model": "m"})
    assert process.memory_info().rss - before < 20e6  # the lines as objects are 30 MB
    assert len(json.loads((tmp_path / "predictions.json").read_text())["photos"]) == count


# processes forked from one that has torch loaded already: most of a run's time would go there
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["fullyconv.prediction.predicting", "fullyconv.runtimes.torch"])


def work(
    photos: Path, model: Path, out: Path, said: Connection, done: int, ending: signal.Signals
) -> None:
    """A run that says of each picture whether it was done, and ends itself after so many."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has none
    os.close(2)
    os.open(os.devnull, os.O_WRONLY)
    label_one = Predictor.__call__
    count = 0

    def slow(self: Predictor, photo: Any) -> Prediction:
        time.sleep(0.01)
        return label_one(self, photo)

    def report(_: Any, result: Any, *__: Any) -> None:
        nonlocal count
        said.send(result is not None)
        count += result is not None
        if count == done:
            os.kill(os.getpid(), ending)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Predictor, "__call__", slow)
        predict(photos, model=model, out=out, report=report)


def run_until(done: int, ending: signal.Signals, *where: Path) -> list[bool]:
    """What a run says that gets a signal when so many pictures are done."""
    ours, theirs = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=work, args=(*where, theirs, done, ending))
    process.start()
    theirs.close()
    said: list[bool] = []
    with contextlib.suppress(EOFError):
        while True:
            said.append(ours.recv())
    process.join()
    return said


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_ended_goes_on(
    ending: signal.Signals, photos: Path, small_model: Path, tmp_path: Path
) -> None:
    for number in range(30):
        Image.new("RGB", (24, 24), (number, 0, 0)).save(photos / f"n{number:02}.png")
    out = tmp_path / "out"
    first = run_until(5, ending, photos, small_model, out)
    assert 5 <= len(first) < 30
    assert all(first)
    if ending is signal.SIGINT:  # everything that was said to be done is in the summary
        entries = json.loads((out / "predictions.json").read_text())["photos"]
        assert len(entries) == len(first)
    second = run_until(7, ending, photos, small_model, out)
    assert second[: len(first)] == [False] * len(first)
    assert 7 <= sum(second) < 30 - len(first)
    last = run_until(-1, ending, photos, small_model, out)
    before = len(first) + sum(second)
    assert last == [False] * before + [True] * (36 - before)
    entries = json.loads((out / "predictions.json").read_text())["photos"]
    assert len(entries) == 36
    for file in (file for entry in entries for file in entry["files"]):
        with Image.open(file) as image:
            image.load()
