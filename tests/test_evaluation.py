"""Scoring: what is counted, against counting by hand; the worst pictures; published rows."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fullyconv.checkpoint import Header
from fullyconv.config import ModelConfig
from fullyconv.data.folder import FolderDataset, Sample
from fullyconv.data.prepare import PREPARERS
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.evaluation import Evaluation, Tally, evaluate, score
from fullyconv.files import write_json
from fullyconv.labels import CAMVID, LABEL_SPACES, NYUDV2_39, PASCAL_CONTEXT, LabelSpace
from fullyconv.metrics import ConfusionMatrix
from fullyconv.prediction.prediction import Prediction
from fullyconv.prediction.predictor import Predictor
from fullyconv.preprocess import CAFFE
from fullyconv.protocols import MEASURES, PROTOCOLS, Protocol, Published, protocol, protocol_of
from fullyconv.recipes import RECIPES
from fullyconv.scores import Scores

SPACE = LabelSpace(categories=("background", "cat", "dog"))


def said(labels: NDArray[np.uint8], space: LabelSpace = SPACE) -> Prediction:
    """A prediction of exactly these labels."""
    logits = np.eye(space.num_classes, dtype=np.float32)[labels].transpose(2, 0, 1)
    return Prediction(np.zeros((*labels.shape, 3), np.uint8), Scores.of(logits), space)


def sample(name: str, target: NDArray[np.uint8]) -> Sample:
    return Sample(name, np.zeros((*target.shape[-2:], 3), np.uint8), target)


def ids(*rows: list[int]) -> NDArray[np.uint8]:
    return np.array(rows, np.uint8)


def test_classes_that_were_merely_predicted() -> None:
    """The truth has classes 0 and 1, the prediction 2 as well."""
    confusion = ConfusionMatrix(3).update([0, 0, 2, 1], [0, 0, 0, 1])
    assert confusion.compute().mean_iou == pytest.approx((2 / 3 + 1 + 0) / 3)
    present = confusion.compute(present_only=True)
    assert present.mean_iou == pytest.approx((2 / 3 + 1) / 2)
    assert present.classes_counted == 2
    assert np.isnan(present.per_class_iou[2])


def test_background_is_left_out_where_the_truth_has_it() -> None:
    """context-59's rule by hand: background truth is not counted, background said is an error."""
    tally = Tally([SPACE], void=(0,))
    tally.add(sample("a", ids([0, 0, 1, 1, 2, 255])), said(ids([0, 1, 1, 0, 2, 2])))
    metrics = tally.heads[0].compute(present_only=True)
    assert metrics.matrix.tolist() == [[0, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert metrics.mean_iou == pytest.approx((1 / 2 + 1) / 2)
    assert metrics.pixel_accuracy == pytest.approx(2 / 3)
    rule = protocol("context-59")
    assert rule.void_ids == (0,)
    assert rule.present_only
    rule.check(PASCAL_CONTEXT)


def test_the_band_around_boundaries_is_scored_on_its_own() -> None:
    target = np.zeros((9, 20), np.uint8)
    target[:, 10:] = 1
    guess = target.copy()
    guess[:, 9] = 1  # wrong beside the boundary
    guess[:, 0] = 2  # and wrong far from it
    tally = Tally([SPACE], boundary=2)
    tally.add(sample("a", target), said(guess))
    near = tally.boundary.compute()
    assert near.matrix.sum() == 9 * 4  # two columns on each side
    assert near.pixel_accuracy == pytest.approx(3 / 4)
    assert tally.heads[0].compute().pixel_accuracy == pytest.approx(18 / 20)


def test_the_worst_pictures_are_kept_and_no_more() -> None:
    tally = Tally([SPACE], worst=2)
    for wrong in (3, 0, 5, 1, 4):
        guess = np.zeros((1, 8), np.uint8)
        guess[0, :wrong] = 1
        tally.add(sample(f"wrong{wrong}", np.zeros((1, 8), np.uint8)), said(guess))
    tally.add(sample("void", np.full((1, 8), 255, np.uint8)), said(np.zeros((1, 8), np.uint8)))
    names = [scored.name for scored in sorted(tally.worst, reverse=True)]
    assert names == ["wrong5", "wrong4"]
    other = Tally([SPACE], worst=2)
    other.add(sample("wrong8", np.zeros((1, 8), np.uint8)), said(np.ones((1, 8), np.uint8)))
    merged = tally.merge(other)
    assert [scored.name for scored in merged.worst] == ["wrong8", "wrong5"]
    assert merged.pictures == 7
    assert merged.heads[0].matrix.sum() == 6 * 8


def test_scores_files_and_worst_pictures(scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "scores.json"
    result = evaluate("camvid", scenes, worst=2, boundary=3, out=out, progress=False)
    kept = json.loads(out.read_text())
    assert kept["pictures"] == 3
    assert kept["palette"][0] == [128, 128, 128]
    assert kept["boundary_width"] == 3
    assert kept["mean_iou"] == pytest.approx(result.metrics.mean_iou)
    assert np.sum(kept["boundary"]["confusion_matrix"]) < np.sum(kept["confusion_matrix"])
    assert [row["name"] for row in kept["worst"]] == [name for name, _ in result.worst]
    assert kept["worst"][0]["mean_iou"] <= kept["worst"][1]["mean_iou"]
    pictures = sorted(path.name for path in (out.parent / "scores-worst").iterdir())
    assert pictures == [f"{n:02d}-{name}.jpg" for n, (name, _) in enumerate(result.worst, 1)]
    with Image.open(out.parent / "scores-worst" / pictures[0]) as shown:
        assert shown.size == (3 * 64 + 2 * 4, 48)  # photograph, truth, prediction
    assert "within 3 px of a boundary:" in result.table()
    page = out.with_suffix(".html").read_text()
    assert page.count("<img") == 2
    for said in ("camvid", "3 pictures", "within 3 px of a boundary", "Confusion matrix", "sky"):
        assert said in page
    for name in pictures:
        assert f'src="scores-worst/{name}"' in page
    # each picture's own score, from its own matrix
    dataset = FolderDataset(scenes, "val", CAMVID)
    predictor = Predictor("camvid")
    alone = {
        dataset[i].name: ConfusionMatrix(11)
        .update(predictor(dataset[i].image).labels, dataset[i].target)
        .compute()
        .mean_iou
        for i in range(3)
    }
    for name, iou in result.worst:
        assert iou == pytest.approx(alone[name])
    assert sorted(alone.values())[:2] == pytest.approx([iou for _, iou in result.worst])


def test_a_data_set_of_other_classes_is_no_truth(scenes: Path) -> None:
    """Its ids would be compared as numbers, and every class with a stranger."""
    write_json(scenes / "classes.json", {"categories": CAMVID.categories[:9]})
    with pytest.raises(
        FullyConvError,
        match=r"other classes than camvid \(without pedestrian, bicyclist\); the truth must have",
    ):
        evaluate("camvid", scenes, progress=False)
    with pytest.raises(FullyConvError, match="the truth must have the model's classes"):
        evaluate("camvid", scenes / "val", split="", progress=False)
    write_json(scenes / "classes.json", {"categories": CAMVID.categories[::-1]})
    with pytest.raises(FullyConvError, match=r"\(in another order\); the truth must"):
        evaluate("camvid", scenes, progress=False)
    write_json(scenes / "classes.json", {"categories": ["wall"]})
    with pytest.raises(
        FullyConvError, match=r"\(without sky, .*, \.\.\., with wall\); the truth must"
    ):
        evaluate("camvid", scenes, progress=False)


def test_the_ids_of_the_truth_are_the_data_sets(scenes: Path) -> None:
    """The same classes under other ids, as fcn data prepare writes those of NYUDv2."""
    expected = evaluate("camvid", scenes, progress=False)
    write_json(
        scenes / "classes.json",
        {"categories": CAMVID.categories, "raw_ids": [*range(1, 12)], "void": [0]},
    )
    for path in (scenes / "val" / "labels").iterdir():
        ids = np.array(Image.open(path))
        Image.fromarray(np.where(ids == 11, 0, ids + 1).astype(np.uint8)).save(path)
    found = evaluate("camvid", scenes, progress=False)
    assert (found.metrics.matrix == expected.metrics.matrix).all()


def test_what_a_model_takes_for_void_may_be_a_class_of_the_data(scenes: Path) -> None:
    expected = evaluate("camvid", scenes, progress=False)
    write_json(scenes / "classes.json", {"categories": [*CAMVID.categories, "animal"]})
    found = evaluate("camvid", scenes, progress=False)  # 11 is void to it
    assert (found.metrics.matrix == expected.metrics.matrix).all()


def test_each_head_has_classes_of_its_own(two_heads: Path, tmp_path: Path) -> None:
    for kind in ("images", "labels", "geometric"):
        (tmp_path / kind).mkdir()
        shape = (40, 40, 3) if kind == "images" else (40, 40)
        Image.fromarray(np.ones(shape, np.uint8)).save(tmp_path / kind / "a.png")
    geometric = {"categories": ["sky", "horizontal", "vertical"], "raw_ids": [1, 2, 3], "void": [0]}
    write_json(tmp_path / "classes-geometric.json", geometric)
    assert evaluate(two_heads, tmp_path, split="", progress=False).metrics.matrix.sum() == 1600
    write_json(tmp_path / "classes-geometric.json", {"categories": ["flat", "steep"]})
    with pytest.raises(FullyConvError, match=r"without sky, .* with flat, steep\); the truth must"):
        evaluate(two_heads, tmp_path, split="", progress=False)


def test_a_folder_that_is_not_split_is_scored_as_a_whole(scenes: Path) -> None:
    expected = evaluate("camvid", scenes, progress=False)
    found = evaluate("camvid", scenes / "val", progress=False)
    assert (found.metrics.matrix == expected.metrics.matrix).all()
    assert found.about["data"] == str(scenes / "val")
    with pytest.raises(FullyConvError, match="test: expected the folders .* has train, val$"):
        evaluate("camvid", scenes, rule="camvid-test", progress=False)


def test_a_protocol_says_split_and_classes(scenes: Path) -> None:
    with pytest.raises(FullyConvError, match="test: expected the folders images/ and labels/"):
        evaluate("camvid", scenes, rule="camvid-test", progress=False)
    (scenes / "val").rename(scenes / "test")
    result = evaluate("camvid", scenes, rule="camvid-test", progress=False)
    assert result.about["protocol"] == "camvid-test"
    assert result.to_dict()["rule"].startswith(PROTOCOLS["camvid-test"].description)
    with pytest.raises(FullyConvError, match="for the 40 classes of 'nyud', but the model has 11"):
        evaluate("camvid", scenes, rule="nyudv2-test", progress=False)
    with pytest.raises(FullyConvError, match=r"has 39 classes \(without otherprop\)"):
        protocol("nyudv2-test").check(NYUDV2_39)
    with pytest.raises(UsageError, match="no protocol 'camvid-tset'. Did you mean camvid-test"):
        evaluate("camvid", scenes, rule="camvid-tset", progress=False)
    with pytest.raises(UsageError, match="boundary is -1 and worst 0; both must be at least 0"):
        evaluate("camvid", scenes, boundary=-1, progress=False)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocols_name_what_there_is(name: str) -> None:
    rule = PROTOCOLS[name]
    assert rule.labels in LABEL_SPACES
    assert rule.split in {*PREPARERS[rule.data].splits, *PREPARERS[rule.data].more_splits}
    assert [name for name in rule.void if name not in LABEL_SPACES[rule.labels].categories] == []
    for row in rule.published:
        assert row.source
        assert row.network in RECIPES or row.network.startswith("FCN-")
        for measure in MEASURES:
            value = getattr(row, measure)
            assert value is None or 1 < value < 100  # per cent


def test_recipes_quote_what_was_published() -> None:
    assert RECIPES["voc-fcn8s"][0].endswith(": 65.5 mean IU by voc-seg11valid (release's README)")
    said = RECIPES["pascalcontext-fcn32s"][0]  # two protocols: not one figure
    assert "35.1 mean IU by context-60 (Caffe's model zoo); 31.8 mean IU by context-59" in said
    assert "34.8 mean IU by context-59" in RECIPES["pascalcontext-fcn16s"][0]
    assert "Published: not at hand" in RECIPES["siftflow-fcn8s"][0]


def test_a_recipe_is_scored_by_its_protocol() -> None:
    found = {}
    for name, (_, recipe) in RECIPES.items():
        data, classes = recipe.data, recipe.model.num_classes
        found[name] = protocol_of(data.published, data.val, classes)
    assert found["voc-fcn16s"] == "voc-seg11valid"
    assert found["voc-fcn32s-2015"] == "voc-val"
    assert found["nyud-fcn32s-color-hha"] == "nyudv2-test"
    assert found["siftflow-fcn8s"] == "siftflow-test"
    assert found["pascalcontext-fcn8s"] == "context-60"
    own = ("finetune", "camvid-fcn8s-efficientnet_lite0", "nyudv2-fcn8s-efficientnet_lite0")
    assert [name for name in found if not found[name]] == list(own)
    assert protocol_of(("voc", "sbd"), "val", 11) == ""  # other classes


def test_published_rows_stand_beside_ones_own() -> None:
    published_rows = PROTOCOLS["siftflow-test"].published
    rule = Protocol("rule", "voc", "voc", "val", pictures=1, published=published_rows)
    tally = Tally([SPACE])
    tally.add(sample("a", ids([0, 1, 2, 2])), said(ids([0, 1, 2, 1])))
    header = Header(model=ModelConfig(num_classes=3), labels=SPACE, preprocess=CAFFE)
    lines = Evaluation.of(tally, header, {}, rule).table().splitlines()
    ours, theirs = lines[-2:]
    assert ours.split() == ["this", "model", "75.0", "83.3", "66.7", "62.5"]
    assert theirs.split()[:5] == ["siftflow-fcn16s", "85.2", "51.7", "39.5", "76.1"]
    table = Evaluation.of(tally, header, {}, replace(rule, pictures=0)).table()
    assert "rule; scored here: 1\n" in table  # not known how many there are
    assert "siftflow-fcn16s" in table


def test_another_number_of_pictures_is_not_the_published_split(
    scenes: Path, tmp_path: Path
) -> None:
    """Three pictures in the place of CamVid's 233: said on paper and page, no row beside them."""
    (scenes / "val").rename(scenes / "test")
    row = Published("FCN-8s", 57.0, "a paper")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROTOCOLS, "camvid-test", replace(protocol("camvid-test"), published=(row,)))
        out = tmp_path / "scores.json"
        result = evaluate("camvid", scenes, rule="camvid-test", out=out, progress=False)
        assert "scored here: 3 of 233 pictures. That is not the published split" in result.table()
        patch.setitem(PROTOCOLS, "camvid-test", replace(protocol("camvid-test"), pictures=3))
        whole = evaluate("camvid", scenes, rule="camvid-test", progress=False)
    assert "3 of 233 pictures" in json.loads(out.read_text())["rule"]
    page = out.with_suffix(".html").read_text()
    assert "3 of 233 pictures" in page
    assert "a paper" not in result.table() + page
    assert "a paper" in whole.table()
    assert "scored here" not in whole.table()


def test_a_tally_does_not_grow_with_the_pictures(scenes: Path) -> None:
    dataset = FolderDataset(scenes, "val", CAMVID)
    sizes: list[int] = []
    for _ in range(2):
        tally = Tally(dataset.spaces, worst=1)
        for _ in range(1 + 2 * len(sizes)):
            score(
                lambda image: said(np.zeros(image.shape[:2], np.uint8), CAMVID),
                dataset,
                tally,
                progress=False,
            )
        sizes.append(len(pickle.dumps(tally)))
    assert sizes[1] < sizes[0] + 100
