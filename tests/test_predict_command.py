"""``fcn predict``: pipes, films, augmentation, and what it says of mistakes."""

from __future__ import annotations

import fcntl
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import termios
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from command import fcn
from fenced import ROOT, blocks
from fullyconv import cli
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.prediction.augmented import AugmentedPredictor
from fullyconv.prediction.labelling import Labelling
from fullyconv.prediction.predicting import encoded, predict
from fullyconv.prediction.predictor import Predictor
from fullyconv.progress import progress_bar

Pixels = NDArray[np.uint8]


@pytest.fixture
def photo() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (37, 61, 3)).astype(np.uint8)


def png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def ids(content: bytes) -> Pixels:
    with Image.open(io.BytesIO(content)) as mask:
        return np.array(mask)


def test_a_picture_goes_through_a_pipe(small_model: Path, photo: Pixels) -> None:
    """In on the standard input, out on the standard output, and nothing else is there."""
    result = subprocess.run(
        [sys.executable, "-m", "fullyconv", "predict", "-", "--model", small_model, "--out", "-"],
        input=png(photo),
        capture_output=True,
        check=True,
    )
    np.testing.assert_array_equal(ids(result.stdout), Predictor(small_model)(photo).labels)
    assert result.stderr == b""


def test_masks_for_the_voc_server(small_model: Path, photo: Pixels, tmp_path: Path) -> None:
    """The lines of docs/howto/evaluate.md, with two small pictures in the place of VOC's."""
    script = next(b.text for b in blocks(ROOT / "docs/howto/evaluate.md") if "comp6" in b.text)
    (tmp_path / "JPEGImages").mkdir()
    names = ["2008_000006", "2008_000011"]
    for name in names:
        Image.fromarray(photo).save(tmp_path / "JPEGImages" / f"{name}.jpg")
    (tmp_path / "LIST").write_text("".join(f"{name}\n" for name in names))
    (tmp_path / "voc.safetensors").symlink_to(small_model)
    command = f'fcn() {{ "{sys.executable}" -m fullyconv "$@"; }}\n{script}'
    subprocess.run(["bash", "-ec", command], cwd=tmp_path, check=True, capture_output=True)
    with tarfile.open(tmp_path / "results.tgz") as archive:
        masks = [name for name in archive.getnames() if name.endswith(".png")]
    folder = "results/VOC2012/Segmentation/comp6_test_cls"
    assert sorted(masks) == [f"{folder}/{name}.png" for name in names]
    labels = Predictor(small_model)(tmp_path / "JPEGImages" / f"{names[0]}.jpg").labels
    np.testing.assert_array_equal(ids((tmp_path / folder / f"{names[0]}.png").read_bytes()), labels)


def pipe(monkeypatch: pytest.MonkeyPatch, content: bytes) -> io.BytesIO:
    """Put something on the standard input, and give what comes out."""
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, write_through=True))
    return out


def test_what_goes_to_the_standard_output_may_be_chosen(
    small_model: Path, photo: Pixels, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prediction = Predictor(small_model)(photo)
    Image.fromarray(photo).save(tmp_path / "a.png")
    for kind in ("color", "overlay", "probs"):
        content = encoded(tmp_path / "a.png", model=small_model, save=kind)
        (file,) = prediction.save(tmp_path / "whole", kind)
        assert content == file.read_bytes()
    out = pipe(monkeypatch, png(photo))
    command = ["predict", "-", "--model", small_model, "--out", "-", "--save", "overlay", "--flip"]
    assert fcn(monkeypatch, *command) == 0
    flipped = AugmentedPredictor(Predictor(small_model), flip=True)(photo)
    assert out.getvalue() == flipped.encode("overlay")


def test_what_cannot_go_through_a_pipe(
    small_model: Path, photo: Pixels, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("a.png", "b.png"):
        Image.fromarray(photo).save(tmp_path / name)
    one = "one result of one photograph"
    with pytest.raises(UsageError, match=one):
        encoded(tmp_path, model=small_model)
    with pytest.raises(UsageError, match=one):
        encoded(tmp_path / "a.png", model=small_model, save="mask,overlay")
    with pytest.raises(UsageError, match=one):
        encoded("film.mp4", model=small_model)
    pipe(monkeypatch, b"")
    with pytest.raises(FullyConvError, match="the standard input is empty"):
        encoded("-", model=small_model)
    pipe(monkeypatch, b"no picture")
    with pytest.raises(FullyConvError, match="standard input: this is not a picture"):
        encoded("-", model=small_model)
    pipe(monkeypatch, b"")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with pytest.raises(UsageError, match="not written to a terminal"):
        cli.run(["predict", str(tmp_path / "a.png"), "--model", str(small_model), "--out", "-"])


def test_the_standard_input_is_labelled_into_a_folder(
    small_model: Path, photo: Pixels, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pipe(monkeypatch, png(photo))
    assert fcn(monkeypatch, "predict", "-", "--model", small_model, "--out", tmp_path) == 0
    expected = Predictor(small_model)(photo).labels
    np.testing.assert_array_equal(ids((tmp_path / "image-mask.png").read_bytes()), expected)


def test_a_second_run_says_what_was_finished(
    small_model: Path,
    photo: Pixels,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(photo).save(tmp_path / "in" / name)
    (tmp_path / "in" / "c.png").write_bytes(b"broken")
    command = ["predict", tmp_path / "in", "--model", small_model, "--out", tmp_path / "out"]
    assert fcn(monkeypatch, *command) == 1
    shown = capsys.readouterr()
    assert "2 of 3 photographs labelled in" in shown.out
    assert shown.err.count("c.png") == 1
    assert fcn(monkeypatch, *command) == 1
    shown = capsys.readouterr()
    assert "0 of 1 photographs labelled in" in shown.out
    assert "2 were labelled before; --again does them again" in shown.out
    assert "(37 x 61)" not in shown.out
    (tmp_path / "in" / "c.png").unlink()
    assert fcn(monkeypatch, *command) == 0
    summary = tmp_path / "out" / "predictions.json"
    again = "were labelled before; --again does them again"
    assert capsys.readouterr().out == f"{summary}\n2 {again}\n"
    assert fcn(monkeypatch, *[command[0], tmp_path / "in" / "a.png", *command[2:]]) == 0
    again = "was labelled before; --again does it again"
    assert capsys.readouterr().out == f"{summary}\n1 {again}\n"
    assert fcn(monkeypatch, *command, "--again", "--scales", "1,1.5") == 0
    assert "2 of 2 photographs labelled in" in capsys.readouterr().out


def test_many_failures_are_not_all_listed_again(
    small_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    names = [tmp_path / f"{number}.png" for number in range(25)]
    assert fcn(monkeypatch, "predict", *names, "--model", small_model, "--out", tmp_path) == 1
    shown = capsys.readouterr().err
    assert "fcn: 25 could not be labelled: the 20 above, and 5 more, named in " in shown
    assert shown.count("there is no such file") == 20


def test_ctrl_c_says_how_far_it_came(
    small_model: Path,
    photo: Pixels,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "bad.png").write_bytes(b"broken")
    for name in "abcd":
        Image.fromarray(photo).save(tmp_path / f"{name}.png")
    command = ["predict", tmp_path / "a.png", "--model", small_model, "--out", tmp_path / "out"]
    assert fcn(monkeypatch, *command) == 0
    command[1:2] = [tmp_path / f"{name}.png" for name in ("a", "b", "bad", "c", "d")]
    fail = Labelling._failed

    def pressed(*args: Any) -> None:
        fail(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(Labelling, "_failed", pressed)
    assert fcn(monkeypatch, *command) == 130
    *_, last = capsys.readouterr().err.splitlines()
    done = len(list((tmp_path / "out").glob("*-mask.png")))  # those under way are finished
    assert last == (
        f"fcn: stopped: {done} of 5 are labelled, 1 could not be; the same command goes on with "
        "the others"
    )


def test_ctrl_c_before_the_first_photograph(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def pressed(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fullyconv.prediction.predicting.predict", pressed)
    assert fcn(monkeypatch, "predict", "x.jpg", "--out", tmp_path) == 130
    assert capsys.readouterr().err == "fcn: stopped before the first was labelled\n"


@pytest.mark.parametrize("size", [(0, 0), (24, 80)])
def test_a_terminal_shows_a_bar(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that says that it has no size, as those that scripts open."""
    master, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    with os.fdopen(terminal, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with progress_bar(total=9, unit="photo", file=stderr) as bar:
            bar.update(3)
            bar.refresh()
        shown = os.read(master, 4096).decode()
    os.close(master)
    assert " 3/9 [" in shown


def test_of_many_photographs_only_what_failed_is_said(
    small_model: Path,
    photo: Pixels,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    for number in range(24):
        Image.fromarray(photo).save(tmp_path / f"{number}.png")
    (tmp_path / "bad.png").write_bytes(b"broken")
    out = tmp_path / "out"
    assert fcn(monkeypatch, "predict", tmp_path, "--model", small_model, "--out", out) == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0].endswith("predictions.json")
    assert "24 of 25 photographs labelled in" in shown.out
    assert "bad.png" in shown.err
    assert len(list(out.glob("*-mask.png"))) == 24


def test_a_film_is_labelled(
    small_model: Path,
    photo: Pixels,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "drive.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=5)
        stream.height, stream.width, stream.pix_fmt = 38, 62, "yuvj420p"
        frame = np.pad(photo, ((0, 1), (0, 1), (0, 0)))
        for _ in range(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    command = ["predict", tmp_path / "drive.avi", "--model", small_model, "--out", tmp_path / "out"]
    assert fcn(monkeypatch, *command, "--every", 2) == 0
    shown = capsys.readouterr().out
    assert f"{tmp_path / 'drive.avi'} (38 x 62, 3 frames)" in shown
    assert f"  {tmp_path / 'out' / 'drive-overlay.mp4'}\n" in shown
    (line,) = json.loads((tmp_path / "out" / "predictions.json").read_text())["photos"]
    assert line["seconds"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        ([], 2, "no photograph is given; name files, folders or patterns"),
        (["camvid", "x.jpg"], 2, "camvid is a model, not a photograph; write --model camvid"),
        (["m.onnx", "--out", "-"], 2, "m.onnx is a model, not a photograph"),
        (["x.jpg", "--scales", "big"], 2, "scales are 'big'; write numbers with commas"),
        (["x.jpg", "--scales", "0"], 2, "above 0 and at most 8"),
        (["x.jpg", "--every", "0"], 2, "every is 0"),
        (["x.jpg", "--out", "-"], 1, "x.jpg: there is no such file"),
        (["x.mp4", "--save", "probs"], 2, "probs are not written of films"),
        (["no/*.jpg"], 1, "no/*.jpg: no file fits this pattern"),
    ],
)
def test_mistakes_are_answered_in_one_sentence(
    args: list[str],
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fcn(monkeypatch, "predict", *args) == status
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_file_is_no_folder_for_results(small_model: Path, photo: Pixels, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("notes")
    (tmp_path / "a.png").write_bytes(png(photo))
    with pytest.raises(UsageError, match="out is a file; --out names the folder"):
        predict(tmp_path / "a.png", model=small_model, out=tmp_path / "out")
