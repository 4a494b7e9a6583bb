"""Splits: groups stay together, every class has its share, a seed says which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import exports
from fullyconv.cli import run
from fullyconv.config import DataConfig
from fullyconv.data.sources import CLASSES, label_space, open_datasets
from fullyconv.data.splitting import Split, split_data
from fullyconv.data.stratify import stratify
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.files import write_json


def write_set(root: Path, scenes: int = 10, each: int = 3) -> Path:
    """Pictures of scenes; class 1 in every other scene, class 2 in one of five."""
    rng = np.random.default_rng(0)
    for scene in range(scenes):
        for number in range(each):
            name = f"scene{scene:02}_{number}"
            exports.photo(root / "images" / f"{name}.png", 8, 8)
            (root / "labels").mkdir(exist_ok=True)
            labels = np.zeros((8, 8), np.uint8)
            labels[: rng.integers(1, 4)] = scene % 2
            labels[7] = 2 * (scene % 5 == 0)
            labels[6, :2] = 255
            Image.fromarray(labels).save(root / "labels" / f"{name}.png")
    write_json(root / CLASSES, {"categories": ["background", "crack", "hole"]})
    return root


def cut(root: Path, out: Path, **options: Any) -> Split:
    return split_data(root, out, **{"progress": False, **options})


def scenes(names: list[str]) -> set[str]:
    return {name.partition("_")[0] for name in names}


@pytest.mark.parametrize("group", [r"^(scene\d+)_", "scene..", "csv"])
def test_groups_stay_together(group: str, tmp_path: Path) -> None:
    root = write_set(tmp_path / "set")
    if group == "csv":
        group = str(tmp_path / "groups.csv")
        lines = [f"{path.name},{path.stem[:7]}" for path in (root / "images").iterdir()]
        exports.write(Path(group), "name,group\n" + "\n".join(lines))
    split = cut(root, tmp_path / "out", val=0.2, test=0.2, group=group)
    parts = [scenes(names) for names in split.names.values()]
    assert set.union(*parts) == {f"scene{i:02}" for i in range(10)}
    assert sum(map(len, parts)) == 10
    assert split.groups == {"train": 6, "val": 2, "test": 2}


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FullyConvError, match="gone: there is no such folder; give the folder of a"):
        cut(tmp_path / "gone", tmp_path / "out")


def test_folders_of_the_export_are_groups(tmp_path: Path) -> None:
    root = tmp_path / "e"
    from test_importers import bring

    from exports import many

    many(root, [f"street {i}/{name}" for i in range(4) for name in "ab"])
    bring(root, tmp_path / "set")
    split = cut(tmp_path / "set", tmp_path / "out", val=0.25, group="folder")
    assert len(split.names["val"]) == 2
    assert len({name.partition("__")[0] for name in split.names["val"]}) == 1
    assert "asked for" not in str(split)
    uneven = cut(tmp_path / "set", tmp_path / "uneven", val=0.1, group="folder")
    share = len(uneven.names["val"]) / 8
    assert f"val has {share:.0%} of the pictures where 10% were asked for: 4 groups" in str(uneven)


def test_what_comes_out_is_a_data_set_to_train_on(tmp_path: Path) -> None:
    """Hard links of every kind of file, and the classes."""
    root = write_set(tmp_path / "set")
    for path in (root / "images").iterdir():
        exports.photo(root / "hha" / path.name, 8, 8)
    split = cut(root, tmp_path / "out", group="scene..", val=0.3)
    data = DataConfig(root=tmp_path / "out")
    training, validation = open_datasets(data, label_space(data))
    assert validation is not None
    assert [files.name for files in training.files] == split.names["train"]
    assert [files.name for files in validation.files] == split.names["val"]
    name = split.names["val"][0]
    for kind in ("images", "labels", "hha"):
        made = tmp_path / "out" / "val" / kind / f"{name}.png"
        assert made.samefile(root / kind / f"{name}.png")
    again = cut(tmp_path / "out", tmp_path / "other", group="scene..", val=0.3, seed=1)
    assert sum(map(len, again.names.values())) == 30


def test_a_seed_is_a_split(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set")
    found = [
        cut(root, tmp_path / f"out{i}", seed=seed, lists=True).names
        for i, seed in enumerate((0, 0, 1))
    ]
    assert found[0] == found[1] != found[2]
    # and where no two pictures hold the same amount of anything, as real ones do
    amounts = np.concatenate([np.ones((200, 1)), np.random.default_rng(0).random((200, 5))], 1)
    parts = {tuple(stratify(amounts, [0.8, 0.2], seed).tolist()) for seed in range(10)}
    assert len(parts) == 10
    for part in parts:
        assert abs(amounts[np.array(part) == 1].sum(0) / amounts.sum(0) - 0.2).max() < 0.04


def test_lists_name_the_pictures(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", scenes=4)
    split = cut(root, tmp_path / "lists", lists=True, val=0.25)
    assert (tmp_path / "lists" / "val.txt").read_text().split() == split.names["val"]
    assert sorted(p.name for p in (tmp_path / "lists").iterdir()) == ["train.txt", "val.txt"]
    cut(root, tmp_path / "made", val=0.25)
    cut(tmp_path / "made", tmp_path / "lists2", lists=True, val=0.25)
    lines = (tmp_path / "lists2" / "train.txt").read_text().split()
    assert {line.partition("/")[0] for line in lines} == {"train", "val"}


def test_every_part_has_its_share_of_every_class() -> None:
    """200 pictures, 12 classes, rare ones among them: better than any of 50 random splits."""
    rng = np.random.default_rng(0)
    pixels = rng.random((200, 12)) * (rng.random((200, 12)) < np.linspace(0.1, 0.9, 12))
    amounts = np.concatenate([np.ones((200, 1)), pixels], 1)
    shares = np.array([0.7, 0.2, 0.1])

    def off(chosen: Any) -> NDArray[np.float64]:
        held = np.stack([amounts[chosen == part].sum(0) for part in range(3)])
        return np.asarray(np.abs(held / amounts.sum(0) - shares[:, None]))

    ours = off(stratify(amounts, shares.tolist(), 0))
    random = [off(rng.choice(3, 200, p=shares)) for _ in range(50)]
    assert ours.max() < 0.04
    assert ours.max() < min(one.max() for one in random) / 2
    assert ours.mean() < min(one.mean() for one in random) / 2


def test_no_part_is_empty() -> None:
    """Even where one group holds nearly everything, or all are alike."""
    amounts = np.array([[1.0, 1e6], [1, 1], [1, 1], [1, 0]])
    for seed in range(5):
        assert set(stratify(amounts, [0.9, 0.05, 0.05], seed)) == {0, 1, 2}
        assert set(stratify(np.ones((2, 2)), [0.99, 0.01], seed)) == {0, 1}
    with pytest.raises(FullyConvError, match="1 groups cannot be shared out to 2 parts"):
        stratify(np.ones((1, 2)), [0.5, 0.5], 0)


def test_what_cannot_be_split(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", scenes=2)
    for shares in ({"val": 0}, {"val": 1}, {"val": -0.1, "test": 0.2}, {"val": 0.5, "test": 0.6}):
        with pytest.raises(UsageError, match="cannot be; give parts of 1"):
            cut(root, tmp_path / "out", **shares)
    with pytest.raises(UsageError, match=r"--group \(: no regular expression"):
        cut(root, tmp_path / "out", group="(")
    with pytest.raises(FullyConvError, match=r"3 of 6 .* no group \(scene01_0.*\); .*\|"):
        cut(root, tmp_path / "out", group="scene00")
    (tmp_path / "groups.csv").write_text("scene00_0,a\n")
    with pytest.raises(FullyConvError, match=r"5 of 6 .* no group .*; add lines for them"):
        cut(root, tmp_path / "out", group=str(tmp_path / "groups.csv"))
    with pytest.raises(FullyConvError, match=r"6 of 6 .* no group .*; they lie in no folder"):
        cut(root, tmp_path / "out", group="folder")
    made = cut(root, tmp_path / "cured", group=r"^(scene00|.*)", val=0.5)  # as the error says
    assert sum(made.groups.values()) == 4
    with pytest.raises(FullyConvError, match="set: is there already"):
        cut(root, root)
    for split in ("train", "val"):
        write_set(tmp_path / "twice" / split, scenes=1)
    write_json(tmp_path / "twice" / CLASSES, {"categories": ["background", "crack", "hole"]})
    with pytest.raises(FullyConvError, match="scene00_0 is in several of its parts"):
        cut(tmp_path / "twice", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_set(tmp_path / "set")
    (tmp_path / "out").mkdir()
    arguments = ["data", "split", str(root), "--out", str(tmp_path / "out"), "--val", "0.2"]
    assert run([*arguments, "--group", r"^(scene\d+)", "--seed", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["train", "val"]
    assert lines[2].split() == ["pictures", "24", "6"]
    assert lines[3].split() == ["groups", "8", "2"]
    assert [line.split()[0] for line in lines[4:]] == ["background", "crack", "hole", "Next:"]
    assert lines[-1] == f"Next: fcn new {tmp_path / 'out'}"
