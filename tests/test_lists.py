"""Lists of names in the place of folders: what ``fcn data split --lists`` writes, trained on."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from command import fcn
from fullyconv.config import DataConfig, OptimConfig, Recipe
from fullyconv.data.check import stats
from fullyconv.data.folder import FolderDataset, split_pictures
from fullyconv.data.sources import open_datasets
from fullyconv.data.splitting import split_data
from fullyconv.errors import FullyConvError
from fullyconv.labels import LabelSpace
from fullyconv.networks import model_config
from fullyconv.recipe_file import read_recipe
from fullyconv.training import train

TWO = LabelSpace(categories=("ground", "tree"))


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Ten pictures in one piece, names with blanks and dots among them."""
    root = tmp_path / "whole"
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
    for number in range(10):
        name = f"scene {number % 3}.{number}"
        image = rng.integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(image).save(root / "images" / f"{name}.jpg")
        Image.fromarray(image[..., 0] // 128).save(root / "labels" / f"{name}.png")
    (root / "classes.json").write_text(json.dumps({"categories": TWO.categories}))
    return root


def recipe(root: Path, **data: Any) -> Recipe:
    return Recipe(
        model=model_config("fcn8s_vgg16", num_classes=2, width=1 / 32),
        data=DataConfig(root=root, crop=(32, 32), mirror=True, workers=0, **data),
        optim=OptimConfig(lr=1e-2, batch_size=2, max_iters=4),
        eval_interval=4,
        log_interval=1,
        from_scratch=True,
    )


def log(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "time" not in k} for line in lines]


def test_lists_train_and_score_as_the_same_split_in_folders(whole: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"val": 0.3, "group": "^scene .", "progress": False}
    split_data(whole, tmp_path / "made", **options)
    split_data(whole, tmp_path / "lists", lists=True, **options)
    train(recipe(tmp_path / "made"), tmp_path / "a", progress=False)
    lists = {"train": (str(tmp_path / "lists" / "train.txt"),),
             "val": str(tmp_path / "lists" / "val.txt")}  # fmt: skip
    train(recipe(whole, **lists), tmp_path / "b", progress=False)
    assert log(tmp_path / "a") == log(tmp_path / "b")
    scores = [json.loads((tmp_path / run / "scores.json").read_text()) for run in "ab"]
    assert scores[0]["confusion_matrix"] == scores[1]["confusion_matrix"]


def test_a_split_set_is_split_anew_without_copies(whole: Path, tmp_path: Path) -> None:
    split_data(whole, tmp_path / "made", val=0.3, progress=False)
    again = split_data(tmp_path / "made", tmp_path / "l", val=0.3, seed=5, lists=True,
                       progress=False)  # fmt: skip
    assert len({*again.names["train"], *again.names["val"]}) == 10
    for part, names in again.names.items():
        found = FolderDataset(tmp_path / "made", str(tmp_path / "l" / f"{part}.txt"), TWO)
        assert [files.name for files in found.files] == sorted(names)
        for files in found.files:  # the one of that name, wherever it lies
            (own,) = (tmp_path / "made").glob(f"*/labels/{files.name}.png")
            assert files.labels == (own,)


def test_lists_are_counted_as_the_same_split_in_folders(whole: Path, tmp_path: Path) -> None:
    split_data(whole, tmp_path / "made", val=0.3, progress=False)
    split_data(whole, tmp_path / "ls", val=0.3, lists=True, progress=False)
    counted = [stats(tmp_path / "made", progress=False).to_dict(),
               stats(whole, lists=tmp_path / "ls", progress=False).to_dict()]  # fmt: skip
    assert counted[0].pop("root") != counted[1].pop("root")
    assert counted[0] == counted[1]
    assert [*counted[0]["splits"]] == ["train", "val"]
    # of a set that is split already, other parts are counted
    split_data(tmp_path / "made", tmp_path / "ls2", val=0.5, lists=True, progress=False)
    again = stats(tmp_path / "made", lists=tmp_path / "ls2", progress=False)
    assert [split.pictures for split in again.splits.values()] == [5, 5]


def test_lists_that_cannot_be_counted(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(FullyConvError, match=r"whole: no list such as train.txt in it; fcn data"):
        stats(whole, lists=whole, progress=False)
    with pytest.raises(FullyConvError, match=r"nowhere: no list such as train.txt in it"):
        stats(whole, lists=whole / "nowhere", progress=False)
    (whole / "train.txt").write_text("nobody\n")
    with pytest.raises(FullyConvError, match=r"train.txt: 1 names have no file in .*whole"):
        stats(whole, lists=whole, progress=False)
    shutil.copytree(whole / "images", whole / "more" / "images")
    (whole / "train.txt").write_text("more/scene 0.0\n")
    with pytest.raises(FullyConvError, match=r"more/scene 0.0 is in no split of .*whole, whose"):
        stats(whole, lists=whole, progress=False)


def test_pictures_in_two_lists_are_refused(whole: Path) -> None:
    (whole / "train.txt").write_text("scene 0.0\nscene 1.1\n")
    (whole / "val.txt").write_text("scene 1.1\nscene 2.2\n")
    data = DataConfig(root=whole, train=("train.txt",), val="val.txt")
    message = r"1 pictures are in both train\.txt and val\.txt \(scene 1\.1\)"
    with pytest.raises(FullyConvError, match=message):
        open_datasets(data, TWO)


def test_what_is_typed_next(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command that is printed is run: split, new, train, evaluate."""
    monkeypatch.chdir(tmp_path)
    assert fcn(monkeypatch, "data", "split", "whole", "--val", 0.3, "--lists", "--out", "ls") == 0
    said = capsys.readouterr().out
    assert "Next: fcn new whole --lists ls\n" in said
    assert fcn(monkeypatch, "data", "stats", "whole", "--lists", "ls") == 0
    assert "train: 7 pictures" in capsys.readouterr().out
    assert fcn(monkeypatch, "new", "whole", "--lists", "ls", "--no-measure") == 0
    said = capsys.readouterr().out
    assert "7 to train on, 3 to score" in said
    made = read_recipe(whole / "recipe.json")
    assert made.data.train == (str(tmp_path / "ls" / "train.txt"),)
    run = replace(recipe(whole), data=replace(made.data, workers=0))
    train(run, "run", progress=False)
    evaluated = re.search(r"fcn (evaluate) \S+ (whole) (--split) (\S+)", said)
    assert evaluated is not None
    verb, *options = evaluated.groups()
    assert fcn(monkeypatch, verb, "run/best.safetensors", *options, "--out", "scores.json") == 0
    scores = json.loads(Path("scores.json").read_text())
    assert (scores["pictures"], scores["data"]) == (3, f"whole, {tmp_path / 'ls' / 'val.txt'}")
    # and from the working folder, as people type it
    options = ["--data.root", "whole", "--data.train", "ls/train.txt", "--data.val", "ls/val.txt",
               "--optim.max-iters", "1", "--from-scratch", "--out", "other"]  # fmt: skip
    assert fcn(monkeypatch, "train", "finetune", *options) == 0
    assert "--split ls/val.txt" in capsys.readouterr().out


def test_lists_of_others(whole: Path) -> None:
    """In the data set itself, of Windows, with suffixes, names twice, in any order."""
    lines = "\ufeffscene 2.5.jpg\r\n\r\nscene 0.0\r\nscene 2.5\r\n"
    (whole / "few.TXT").write_text(lines, "utf-8", newline="")
    found = FolderDataset(whole, "few.TXT", TWO)
    assert [files.name for files in found.files] == ["scene 0.0", "scene 2.5"]
    assert [p.name for p in split_pictures(whole, "few.TXT", "images")] == [
        "scene 0.0.jpg", "scene 2.5.jpg"]  # fmt: skip
    assert found[1].image.shape == (40, 40, 3)
    (whole / "labels" / "scene 1.1.png").unlink()  # a name that is not listed needs no partner
    assert len(FolderDataset(whole, "few.TXT", TWO)) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "l.txt: there is no such list, neither in .*whole nor in the working folder; fcn"),
        ("\n\n", "the list of pictures is empty"),
        (b"\xff\xfe", "the list of pictures cannot be read"),
        ("scene 0.0\nnobody\n", r"1 names have no file in .* in each of images/, labels/ \(nobody"),
        ("\n".join("abcdefg"), r"7 names have no file .*\(a, b, c, d, e, \.\.\.\)"),
        ("../other/a", r"'\.\./other' is no folder of the data set"),
        ("/etc/passwd", "'/etc' is no folder of the data set"),
        (
            "elsewhere/a",
            r"l.txt: its line 'elsewhere/a' names no picture: 'elsewhere' is no folder",
        ),
    ],
)
def test_lists_that_cannot_be(whole: Path, content: str | bytes | None, message: str) -> None:
    if content is not None:
        path = whole / "l.txt"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(FullyConvError, match=message):
        FolderDataset(whole, "l.txt", TWO)


def test_a_list_of_bare_names_of_a_set_in_parts_is_told_the_form(
    whole: Path, tmp_path: Path
) -> None:
    """The list and the form are named, not the root that is as it should be."""
    split_data(whole, tmp_path / "made", val=0.3, progress=False)
    (tmp_path / "val6.txt").write_text("scene 0.0\n")
    message = (
        r"val6.txt: its line 'scene 0.0' names no picture: .*made has no images/ of its own, whose "
        r"sub-folders are train, val; write SUB-FOLDER/NAME, such as val/scene 0.0"
    )
    with pytest.raises(FullyConvError, match=message):
        FolderDataset(tmp_path / "made", str(tmp_path / "val6.txt"), TWO)
