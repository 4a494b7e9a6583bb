"""The doctor's parts: copies, statistics, the check before training, the command, CamVid."""

from __future__ import annotations

import gc
import itertools
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from broken import BREAKS, CLASSES, Victim, clean, write_classes
from command import fcn
from fullyconv.cli import run
from fullyconv.data.check import check, stats, stats_text, write_stats_page
from fullyconv.data.check.duplicates import NEAR_BITS, Seen, is_copy, look_of
from fullyconv.data.check.early import decode_pictures
from fullyconv.data.check.facts import LabelFacts, PictureFacts, examine
from fullyconv.data.check.finding import Findings
from fullyconv.data.check.kinds import KINDS
from fullyconv.data.check.layout import Sample, read_layout
from fullyconv.data.check.rules import Rules
from fullyconv.data.folder import FolderDataset
from fullyconv.data.parallel import in_parallel
from fullyconv.data.statistics import class_weights, count_classes
from fullyconv.errors import FullyConvError
from fullyconv.images import read_photo
from fullyconv.labels import CAMVID, LabelSpace


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return clean(tmp_path / "set")


# Copies


def scene(seed: int, size: tuple[int, int] = (240, 180)) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


Change = Callable[[Image.Image], Image.Image]

COPIES: dict[str, Change] = {
    "half": lambda image: image.resize((120, 90), Image.Resampling.BILINEAR),
    "a thumbnail": lambda image: image.resize((64, 48), Image.Resampling.LANCZOS),
    "larger": lambda image: image.resize((360, 270), Image.Resampling.BICUBIC),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.2),
    "grey": lambda image: image.convert("L"),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
}
OTHERS: dict[str, Change] = {
    "another scene": lambda image: scene(99),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "moved": lambda image: image.transform(
        image.size, Image.Transform.AFFINE, (1, 0, 8, 0, 1, 0), Image.Resampling.BICUBIC
    ),
    "another shape": lambda image: image.resize((240, 160)),
    "flat": lambda image: Image.new("RGB", image.size, "gray"),
    "white": lambda image: Image.new("RGB", image.size, "white"),
}


@pytest.mark.parametrize("way", [*COPIES, *OTHERS])
def test_copies_are_told_from_other_pictures(tmp_path: Path, way: str) -> None:
    image = scene(1)
    image.save(tmp_path / "a.png")
    (COPIES | OTHERS)[way](image).save(tmp_path / "b.png")
    assert is_copy(tmp_path / "a.png", tmp_path / "b.png") == (way in COPIES)
    assert not is_copy(tmp_path / "a.png", tmp_path / "gone.png")


def test_the_pairs_are_those_of_comparing_all() -> None:
    rng = np.random.default_rng(0)
    base = [int(v) for v in rng.integers(1, 2**63, 40)]
    looks = base + [
        b ^ sum(1 << int(k) for k in rng.choice(64, n % 12, False)) for n, b in enumerate(base)
    ]
    splits = [int(v) for v in rng.integers(0, 3, len(looks))]
    seen = Seen()
    for number, (look, split) in enumerate(zip(looks, splits, strict=True)):
        seen.add(number + 1, look, split)
    expected = {
        frozenset((a, b))
        for a, b in itertools.combinations(range(len(looks)), 2)
        if splits[a] != splits[b] and (looks[a] ^ looks[b]).bit_count() <= NEAR_BITS
    }
    found = list(seen.alike())
    assert {frozenset(pair) for pair in found} == expected
    assert len(found) == len(expected) > 5


def test_a_picture_with_nothing_on_it_looks_like_none() -> None:
    assert look_of(Image.new("RGB", (90, 80), "blue")) == 0
    assert look_of(scene(3)) != 0


def test_too_many_that_look_alike_are_not_all_compared(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fullyconv.data.check.rules.MOST_COMPARED", 3)
    monkeypatch.setattr("fullyconv.data.check.facts.look_of", lambda image: 1)
    (found,) = check(root, progress=False).findings
    assert (found.kind.name, found.count) == ("uncompared", 1)


# Files that are anything at all


def test_whatever_a_file_holds_is_a_fact(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tags = Image.Exif()
    tags[0x0112] = 6
    sources = []
    for suffix, image in (
        ("png", scene(1, (30, 20))),
        ("jpg", scene(2, (30, 20))),
        ("webp", scene(3, (30, 20))),
        ("gif", scene(4, (30, 20)).quantize(7)),
        ("bmp", scene(5, (30, 20)).convert("L")),
        ("png", scene(6, (30, 20)).convert("LA")),
    ):
        options: dict[str, Any] = {"exif": tags} if suffix in ("png", "jpg") else {}
        image.save(tmp_path / f"x.{suffix}", **options)
        sources.append((tmp_path / f"x.{suffix}").read_bytes())
    problems = set()
    for number in range(300):
        data = bytearray(sources[number % len(sources)])
        for _ in range(rng.integers(0, 6)):
            data[rng.integers(0, len(data) if rng.random() < 0.5 else 60)] = rng.integers(0, 256)
        (tmp_path / "y.png").write_bytes(data[: rng.integers(0, 3 * len(data))])
        for labels in (False, True):
            facts = examine(tmp_path, "images", "y.png", labels=labels)
            assert facts.problem or facts.size
            problems.add(facts.problem)
    assert {"", "damaged", "not-a-picture", "label-jpeg"} <= problems <= {"", *KINDS}


# Many files


def test_memory_stays_flat(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of a file is forgotten once it is judged: a million files fit."""
    alive: list[int] = []
    judge = Rules.judge

    def counted(self: Rules, sample: Sample, facts: Any) -> None:
        judge(self, sample, facts)
        alive.append(sum(type(thing) in (PictureFacts, LabelFacts) for thing in gc.get_objects()))

    monkeypatch.setattr(Rules, "judge", counted)
    gc.collect()
    check(root, workers=1, progress=False)
    assert len(alive) == 15
    assert max(alive) <= 4  # those of this sample and the one before
    samples = read_layout(root, None, Findings()).samples
    assert {id(sample.suffixes) for sample in samples[1:10]} == {id(samples[0].suffixes)}
    assert not hasattr(samples[0], "__dict__")


def test_a_process_that_ends_is_said() -> None:
    with pytest.raises(FullyConvError, match="a working process ended at once: it ran out of mem"):
        list(in_parallel(os._exit, [3, 3], workers=2))


# Statistics


def test_statistics_are_those_of_counting_by_hand(root: Path) -> None:
    counted = stats(root, progress=False)
    space = LabelSpace.from_dict({**CLASSES, "raw_ids": list(range(6))})
    assert counted.labels == space
    (expected,) = count_classes(FolderDataset(root, "train", space), progress=False)
    np.testing.assert_array_equal(counted.training.counts, expected)
    for kind in ("median_frequency", "enet", "inverse"):
        np.testing.assert_array_equal(counted.weights(kind), class_weights(expected, kind))
    pixels = np.concatenate(
        [read_photo(p).reshape(-1, 3) for p in sorted((root / "train/images").iterdir())]
    )
    channels = counted.training.channels["images"]
    np.testing.assert_allclose(channels.mean, pixels.mean(0), rtol=1e-9)
    np.testing.assert_allclose(channels.std, pixels.std(0), rtol=1e-9)
    assert counted.training.sizes == {(48, 64): 10}
    assert counted.training.together.tolist() == [[10] * 6] * 6
    assert counted.splits["val"].pictures == 5


def test_which_classes_are_together(root: Path) -> None:
    for number, path in enumerate(sorted((root / "train" / "labels").iterdir())):
        ids = np.full((48, 64), number % 3, np.uint8)
        ids[:9] = 4 if number < 5 else 255
        Image.fromarray(ids).save(path)
    together = stats(root, progress=False).training.together
    expected = np.zeros((6, 6), int)
    for number in range(10):
        held = [number % 3, *([4] if number < 5 else [])]
        for a, b in itertools.product(held, held):
            expected[a, b] += 1
    np.testing.assert_array_equal(together, expected)


def test_statistics_are_told_and_drawn(root: Path) -> None:
    (root / "train/labels/t03.png").write_bytes(b"no picture")
    for split in ("train", "val"):
        (root / split / "depth").mkdir()
        for path in (root / split / "images").iterdir():
            depth = np.full((48, 64), 1000, np.uint16)
            Image.fromarray(depth).save(root / split / "depth" / f"{path.stem}.png")
    counted = stats(root, progress=False)
    text = stats_text(counted)
    assert "train: 9 pictures" in text
    assert "1 left out (" in text
    assert "48 x 64 (9)" in text
    assert "depth: mean 6.908; std 0.000 (log mm)" in text
    mean = counted.training.channels["images"].mean
    assert f"mean {mean[0]:.3f}, {mean[1]:.3f}, {mean[2]:.3f};" in text
    assert f"mean {mean[0] / 255:.4f}, " in text
    values = json.loads(json.dumps(counted.to_dict()))
    assert values["splits"]["train"]["channels"]["images"]["mean"] == list(mean)
    assert values["class_weights"]["enet"] == counted.weights("enet").tolist()
    page = write_stats_page(root / "stats.html", counted).read_text()
    for part in ("Classes in one picture", "Values of images", "Share of pixels", "median freq"):
        assert part in page
    assert page.count("<svg") == 1 + 1 + 2 + page.count('<svg class="key"')


def test_statistics_of_what_cannot_be_used(root: Path) -> None:
    for path in root.glob("*/labels/*"):
        path.write_bytes(b"no picture")
    with pytest.raises(
        FullyConvError, match=r"no sample can be used; fcn data check says why\. .*"
    ):
        stats(root, progress=False)
    (root / "classes.json").unlink()
    with pytest.raises(FullyConvError, match="there is no such file; write one that names"):
        stats(root, progress=False)


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["data", "stats"], "--labels"),
        (["data", "export", "--to", "coco", "--out", "new"], "--classes"),
        (["data", "split", "--out", "new"], ""),
        (["train", "finetune", "--out", "new", "--data.root"], "--data.labels"),
    ],
)
def test_without_classes_each_verb_names_its_own_option(
    command: list[str], option: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    (root / "classes.json").unlink()
    place = 2 if command[0] == "data" else len(command)
    with pytest.raises(FullyConvError) as error:
        run([*command[:place], str(root), *command[place:]])
    said = str(error.value)
    assert said.startswith(f"{root / 'classes.json'}: there is no such file; write one that")
    assert re.findall(r"--[\w.-]+", said) == ([option] if option else [])
    assert "fcn data import makes a folder that has one" in said
    assert not (root.parent / "new").exists()


# Before training


def test_damaged_pictures_are_found_before_training(root: Path) -> None:
    space = LabelSpace(categories=tuple(CLASSES["categories"]))
    dataset = FolderDataset(root, "train", space)
    assert decode_pictures(dataset, progress=False) == ""
    told = decode_pictures(dataset, seconds=-1, progress=False)
    assert told.startswith("0 of 10 pictures were decoded in -1 s and are whole; fcn data check ")
    broken = root / "train" / "images" / "t04.png"
    whole = broken.read_bytes()
    image = Image.open(broken)
    image.convert("RGB").save(broken.with_suffix(".jpg"))
    broken.unlink()
    jpeg = broken.with_suffix(".jpg")
    dataset = FolderDataset(root, "train", space)
    jpeg.write_bytes(jpeg.read_bytes()[:-200])
    with pytest.raises(FullyConvError, match=r"t04.jpg: the picture is damaged or cut short"):
        decode_pictures(dataset, progress=False)
    jpeg.unlink()
    broken.write_bytes(whole[:-200])
    with pytest.raises(FullyConvError, match=r"t04.png: the picture is damaged or cut short"):
        decode_pictures(FolderDataset(root, "train", space), progress=False)
    broken.unlink()
    grey = np.zeros((48, 64), np.float32)
    Image.fromarray(grey).save(broken.with_suffix(".tif"))
    with pytest.raises(FullyConvError, match=r"t04.tif: a floating-point picture has no fixed"):
        decode_pictures(FolderDataset(root, "train", space), progress=False)


# The command


def test_the_commands(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fcn(monkeypatch, "data", "check", root, "--strict") == 0
    BREAKS["picture_is_black"][2](Victim(root, "train", "t03"))  # a warning
    assert fcn(monkeypatch, "data", "check", root) == 0
    assert fcn(monkeypatch, "data", "check", root, "--strict") == 1
    BREAKS["label_holds_colours"][2](Victim(root, "train", "t04"))
    out = root.parent
    files = ["--json", out / "r.json", "--html", out / "r.html", "--fix", out / "new"]
    capsys.readouterr()
    assert fcn(monkeypatch, "data", "check", root, *files) == 1
    shown = capsys.readouterr().out
    assert "error: colour-mask (1): label files hold the classes' colours" in shown
    assert "  train/labels/t04.png: 7 colours, all of them known" in shown
    assert f"{out / 'new'}: 15 samples; repaired: colour-mask 1" in shown
    assert not json.loads((out / "r.json").read_text())["clean"]
    assert fcn(monkeypatch, "data", "check", out / "new") == 0
    files = ["--json", out / "s.json", "--html", out / "s.html"]
    assert fcn(monkeypatch, "data", "stats", out / "new", *files) == 0
    assert "median_frequency" in capsys.readouterr().out
    assert json.loads((out / "s.json").read_text())["categories"] == CLASSES["categories"]
    assert fcn(monkeypatch, "data", "check", root / "nowhere") == 1
    assert "nowhere: there is no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["check", "stats"])
def test_numbers_on_the_standard_output(
    verb: str,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(root.parent)
    assert fcn(monkeypatch, "data", verb, root, "--json", "-", "--html", "page.html") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["clean" if verb == "check" else "categories"]
    assert "page.html" in shown.err
    assert fcn(monkeypatch, "data", verb, root, "--html", "-") == 2
    assert "--html -: a page is written into a file; name one" in capsys.readouterr().err
    assert not (root.parent / "-").exists()


# CamVid: whole, and broken in every way at once


def camvid(shared: Path, tmp_path: Path) -> Path:
    root = tmp_path / "camvid"
    shutil.copytree(shared / "data" / "camvid", root)
    write_classes(root, CAMVID.to_dict())
    return root


@pytest.mark.slow
def test_camvid_is_clean(shared: Path, tmp_path: Path) -> None:
    report = check(camvid(shared, tmp_path), progress=False)
    assert report.findings == ()
    assert report.pictures == {"train": 367, "val": 101}


@pytest.mark.slow
def test_camvid_broken_in_every_way(shared: Path, tmp_path: Path) -> None:
    """Each way breaks another of its pictures; each is found with its reason, and nothing else."""
    root = camvid(shared, tmp_path)
    names = sorted(path.stem for path in (root / "train" / "images").iterdir())
    expected = {}
    for number, (kind, detail, break_it) in enumerate(BREAKS.values()):
        expected[kind, break_it(Victim(root, "train", names[7 * number]))] = detail
    report = check(root, progress=False)
    found = {(f.kind.name, e.files): e.detail for f in report.findings for e in f.examples}
    assert found.keys() == expected.keys()
    assert [key for key in found if not re.search(expected[key], found[key])] == []
    assert len(expected) == len(BREAKS) >= 25
