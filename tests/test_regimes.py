"""Each published data set in miniature: prepared, trained by its recipe, resumed, scored."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

import miniatures
from caffe_files import WIDTH, caffe_net
from command import fcn
from fullyconv.caffe import write_caffemodel
from fullyconv.checkpoint import read_header
from fullyconv.config import Recipe
from fullyconv.conversion import import_caffemodel
from fullyconv.data.prepare import prepare
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.evaluation import evaluate
from fullyconv.labels import SIFTFLOW_GEOMETRIC
from fullyconv.networks import model_config
from fullyconv.prediction.predictor import Predictor
from fullyconv.protocols import PROTOCOLS
from fullyconv.recipes import recipe
from fullyconv.training import train

pytest.importorskip("scipy.io")
pytest.importorskip("h5py")


@pytest.fixture(autouse=True)
def _short_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("voc", "sbd", "siftflow", "nyudv2"):
        monkeypatch.setattr(f"fullyconv.data.prepare.{name}.shipped", miniatures.LISTS.__getitem__)


def prepared(root: Path, *names: str) -> Path:
    """A data set's miniature, turned into what training reads."""
    for name in names:
        getattr(miniatures, name)(root / "sources" / name)
        source = [root / "sources" / name]
        prepare(name if name != "nyud" else "nyudv2", source, root / "data", progress=False)
    return root / "data"


def short(name: str, root: Path, steps: int = 2, **changes: Any) -> Recipe:
    """A recipe as it is, but for a narrow network and few steps."""
    chosen = recipe(name)
    return replace(
        chosen,
        model=replace(chosen.model, width=1 / 16),
        data=replace(chosen.data, root=root, workers=0),
        optim=replace(chosen.optim, max_iters=steps),
        continues=(),
        from_scratch=True,
        save_interval=1,
        log_interval=1,
        **changes,
    )


@pytest.mark.parametrize(
    ("sources", "name", "protocols"),
    [
        (["voc", "sbd"], "voc-fcn32s", ["voc-seg11valid"]),
        (["voc", "sbd"], "voc-fcn8s-atonce", ["voc-seg11valid"]),
        (["voc"], "voc-fcn-alexnet-2015", []),
        (["nyud"], "nyud-fcn32s-color-d", ["nyudv2-test"]),
        (["nyud"], "nyud-fcn32s-color-hha", ["nyudv2-test"]),
        (["siftflow"], "siftflow-fcn8s", ["siftflow-test"]),
        (["pascalcontext"], "pascalcontext-fcn16s", ["context-60", "context-59"]),
        (["camvid"], "camvid-fcn8s-efficientnet_lite0", ["camvid-test"]),
    ],
)
def test_each_data_set_is_trained_resumed_and_scored_as_it_is_published(
    tmp_path: Path, sources: list[str], name: str, protocols: list[str]
) -> None:
    for source in sources:
        getattr(miniatures, source)(tmp_path / "sources" / source)
    run = short(name, tmp_path / "sources")
    root = tmp_path / "sources-prepared"
    if name == "voc-fcn-alexnet-2015":
        run = replace(run, data=replace(run.data, val="val"), optim=replace(run.optim, iter_size=3))
    if run.data.crop:
        run = replace(run, data=replace(run.data, crop=(8, 8)))
    train(replace(run, eval_interval=1), tmp_path / "run", progress=False)
    longer = replace(run, optim=replace(run.optim, max_iters=3))
    with pytest.raises(FullyConvError, match="another recipe: optim.max_iters was 2 and is 3"):
        train(longer, tmp_path / "run", resume=True, progress=False)
    best = train(run, tmp_path / "run", resume=True, progress=False)  # nothing is left to do
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2]
    for protocol in protocols:
        result = evaluate(best, root, rule=protocol, progress=False)
        assert result.metrics.matrix.sum() > 0
        assert "this model" in result.table()


def test_what_a_papers_run_says_comes_next_is_its_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for source in ("voc", "sbd"):
        getattr(miniatures, source)(tmp_path / "sources" / source)
    command = f"""train voc-fcn32s --data.root {tmp_path / "sources"} --out {tmp_path / "run"}
        --from-scratch --model.width 0.0625 --optim.max-iters 1 --data.workers 0"""
    assert fcn(monkeypatch, *command.split()) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.endswith("sources-prepared --protocol voc-seg11valid")
    monkeypatch.chdir(tmp_path)
    assert fcn(monkeypatch, *said.removeprefix("Next: fcn ").split()) == 0
    out = capsys.readouterr().out
    assert re.search(r"scored here: \d of 736 pictures", out)
    assert "release's README" not in out


def test_a_root_that_holds_neither_layout_is_refused(tmp_path: Path) -> None:
    miniatures.voc(tmp_path / "data")
    with pytest.raises(
        FullyConvError,
        match="data has neither sbd-train/ .* published as sbd: no.*download: benchmark.tgz",
    ):
        train(short("voc-fcn32s", tmp_path / "data"), tmp_path / "run", progress=False)
    assert not (tmp_path / "data-prepared").exists()  # VOC is not prepared in vain
    chosen = short("camvid-fcn8s-efficientnet_lite0", tmp_path / "data" / "VOCdevkit")
    with pytest.raises(FullyConvError, match="has neither train/ .*VOCdevkit holds VOC2012/"):
        train(chosen, tmp_path / "run", progress=False)
    assert not (tmp_path / "data" / "VOCdevkit-prepared").exists()
    with pytest.raises(UsageError, match="no data set 'vok' is known. Did you mean voc"):
        train(replace(chosen, data=replace(chosen.data, published=("vok",))), tmp_path / "run")


def test_two_heads_from_labels_to_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIFT Flow: one network, two label files, two losses, two scores."""
    whole = replace(PROTOCOLS["siftflow-test"], pictures=len(miniatures.LISTS["siftflow-test"]))
    monkeypatch.setitem(PROTOCOLS, "siftflow-test", whole)
    root = prepared(tmp_path, "siftflow")
    for path in sorted((root / "trainval").glob("*/*"))[1::2]:
        path.unlink()  # so that it is known which picture is drawn
    run = short("siftflow-fcn32s", root, eval_interval=2)
    best = train(run, tmp_path / "run", progress=False)
    header = read_header(best)
    assert header.heads["geometric"].categories == SIFTFLOW_GEOMETRIC.categories
    first, *_, scored = (
        json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    )
    # both heads begin with scores of zero: each pixel that counts costs ln 33 and ln 3
    name = next((root / "trainval" / "labels").iterdir()).name
    counted = [
        np.asarray(Image.open(root / "trainval" / kind / name)) != 255
        for kind in ("labels", "geometric")
    ]
    expected = counted[0].sum() * np.log(33) + counted[1].sum() * np.log(3)
    assert first["loss"] == pytest.approx(expected, rel=1e-5)
    assert 0 <= scored["geometric_pixel_accuracy"] <= 1
    photo = next((root / "test" / "images").iterdir())
    prediction = Predictor(best)(photo)
    assert prediction.categories[0] == "awning"
    geometric = prediction.heads["geometric"]
    assert geometric.categories == ("sky", "horizontal", "vertical")
    assert geometric.labels.shape == prediction.labels.shape
    assert geometric.labels.max() < 3
    written = [path.name for path in prediction.save(tmp_path / "out", "mask")]
    assert written == [f"{photo.stem}-mask.png", f"{photo.stem}-geometric-mask.png"]
    result = evaluate(best, root, rule="siftflow-test", out=tmp_path / "s.json", progress=False)
    kept = json.loads((tmp_path / "s.json").read_text())
    assert kept["geometric"]["classes_counted"] == result.heads["geometric"][1].classes_counted
    assert "geometric:" in result.table()
    page = " ".join(re.sub(r"<[^>]+>", " ", (tmp_path / "s.html").read_text()).split())
    assert "mean IU pixel accuracy mean accuracy f.w. IU" in page
    assert "siftflow-fcn16s 39.5 85.2 51.7 76.1 first regime; CVPR 2015, table 5" in page


def test_the_authors_two_headed_weights_answer_with_both(tmp_path: Path) -> None:
    write_caffemodel(tmp_path / "sift.caffemodel", caffe_net("siftflow-fcn8s"))
    import_caffemodel(
        tmp_path / "sift.caffemodel", "siftflow-fcn8s", tmp_path / "s.safetensors", width=WIDTH
    )
    prediction = Predictor(tmp_path / "s.safetensors")(np.zeros((9, 7, 3), np.uint8))
    assert prediction.heads["geometric"].logits.shape == (3, 9, 7)
    assert prediction.logits.shape == (33, 9, 7)


def test_late_fusion_begins_with_both_its_streams(tmp_path: Path) -> None:
    """As the authors' solve.py transplants a snapshot of each."""
    root = prepared(tmp_path, "nyud")
    starts = [
        train(short(name, root, steps=1), tmp_path / name, progress=False)
        for name in ("nyud-fcn32s-color", "nyud-fcn32s-hha")
    ]
    fused = short("nyud-fcn32s-color-hha", root, steps=1)
    fused = replace(fused, init_from=tuple(map(str, starts)), from_scratch=False)
    best = train(fused, tmp_path / "fused", progress=False)
    assert read_header(best).info["started_from"] == "best.safetensors, best.safetensors"
    merged = load_file(best)
    for stream, path in zip(("color", "hha"), starts, strict=True):
        for key, value in load_file(path).items():
            difference = (merged[f"streams.{stream}.{key}"].float() - value.float()).abs().max()
            assert difference < 1e-3, key  # one step at 1e-12 changes nothing that float16 shows
    with pytest.raises(
        UsageError, match="3 checkpoints to start from are named; this network of 2 st"
    ):
        replace(fused, init_from=("a", "b", "c"))
    with pytest.raises(UsageError, match="2 checkpoints .* of 1 stream takes 1"):
        replace(short("voc-fcn16s", root), init_from=("a", "b"), from_scratch=False)


def test_several_splits_are_trained_on_together(tmp_path: Path) -> None:
    root = prepared(tmp_path, "nyud")
    chosen = short("nyud-fcn32s-color", root)
    assert chosen.data.train == ("train", "val")
    train(chosen, tmp_path / "run", progress=False)
    with pytest.raises(FullyConvError, match="1 pictures are in both train . val and val"):
        train(
            replace(chosen, data=replace(chosen.data, val="val")), tmp_path / "r2", progress=False
        )


def test_a_head_that_the_labels_do_not_know_is_refused(tmp_path: Path, scenes: Path) -> None:
    run = replace(
        short("siftflow-fcn32s", scenes),
        model=model_config(
            "siftflow-fcn32s",
            width=1 / 16,
            num_classes=11,
            heads=(("semantic", 11), ("geometric", 3)),
        ),
    )
    run = replace(run, data=replace(run.data, labels="camvid", published=()))
    with pytest.raises(UsageError, match="the labels 'camvid' say nothing of a head 'geometric'"):
        train(run, tmp_path / "r", progress=False)
