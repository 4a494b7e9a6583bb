"""What a network does not see: masks against arrays made by hand, in training and in scoring."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from fullyconv.checkpoint import load_model, read_header, save_model
from fullyconv.config import DataConfig, Mask, OptimConfig, Recipe
from fullyconv.data.folder import FolderDataset
from fullyconv.data.masking import Masking
from fullyconv.data.sources import label_space, open_datasets
from fullyconv.data.statistics import count_classes
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.evaluation import evaluate
from fullyconv.labels import CAMVID, IGNORE_INDEX, LABEL_SPACES, VOC, LabelSpace
from fullyconv.metrics import ConfusionMatrix
from fullyconv.networks import model_config
from fullyconv.prediction.predictor import Predictor
from fullyconv.preprocess import CAFFE, EFFICIENTNET_LITE, NYUD_COLOR_DEPTH, Preprocess
from fullyconv.training import train

TARGET = np.array([[0, 1, 2], [1, IGNORE_INDEX, 0]], np.uint8)
THREE = LabelSpace(categories=("ground", "car", "pedestrian"))


def picture() -> NDArray[np.uint8]:
    return np.arange(18, dtype=np.uint8).reshape(2, 3, 3) + 1


def hide(kind: Mask, preprocess: Preprocess = CAFFE) -> Masking:
    masking = Masking.of(kind, ("car", "pedestrian"), THREE, preprocess)
    assert masking is not None
    return masking


@pytest.mark.parametrize(
    ("kind", "kept", "hidden"),
    [  # pixels in reading order; void, the fifth, is background
        ("foreground", [0, 4, 5], {1: "mean", 2: "mean", 3: "mean"}),
        ("background", [1, 2, 3], {0: "mean", 4: "mean", 5: "mean"}),
        ("both", [], {0: "mean", 1: 0, 2: 0, 3: 0, 4: "mean", 5: "mean"}),
    ],
)
def test_what_is_hidden_has_the_mean_colour(
    kind: Mask, kept: list[int], hidden: dict[int, object]
) -> None:
    image = picture()
    masked = hide(kind)(image, TARGET)
    assert masked.dtype == np.uint8
    pixels, before = masked.reshape(-1, 3), picture().reshape(-1, 3)
    for i in kept:
        np.testing.assert_array_equal(pixels[i], before[i])
    for i, fill in hidden.items():  # Caffe's mean (infer.py) in the file's order, red first
        expected = [123, 117, 104] if fill == "mean" else [0, 0, 0]
        assert pixels[i].tolist() == expected
    assert {*kept, *hidden} == set(range(6))
    np.testing.assert_array_equal(image, picture())  # the picture itself is not changed


@pytest.mark.parametrize("preprocess", [CAFFE, EFFICIENTNET_LITE])
def test_what_is_hidden_enters_the_network_as_zero(preprocess: Preprocess) -> None:
    """To within half of one of the 256 values that a picture has."""
    masked = hide("background", preprocess)(picture(), np.zeros((2, 3), np.uint8))
    half = 0.5 * preprocess.scale / min(preprocess.std)
    assert np.abs(preprocess(masked)).max() <= half + 1e-6


def test_every_channel_is_hidden_and_floats_exactly() -> None:
    image = np.ones((2, 3, 4), np.float32)
    masked = hide("background", NYUD_COLOR_DEPTH)(image, np.zeros((2, 3), np.uint8))
    np.testing.assert_allclose(NYUD_COLOR_DEPTH(masked), 0, atol=1e-5)


def test_the_shape_alone_is_the_same_for_any_picture() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, 3, 3), np.uint8)
    np.testing.assert_array_equal(hide("both")(noise, TARGET), hide("both")(picture(), TARGET))


def test_the_first_head_decides() -> None:
    heads = np.stack([TARGET, np.zeros_like(TARGET)])
    np.testing.assert_array_equal(
        hide("foreground")(picture(), heads), hide("foreground")(picture(), TARGET)
    )


def test_what_cannot_be_hidden_is_refused() -> None:
    assert Masking.of("none", (), THREE, CAFFE) is None
    with pytest.raises(UsageError, match=r"mask is 'both', but no class is said to be foreground"):
        Masking.of("both", (), THREE, CAFFE)
    with pytest.raises(UsageError, match=r"no class 'cars'. Did you mean car\?"):
        Masking.of("both", ("cars",), THREE, CAFFE)
    with pytest.raises(UsageError, match=r"mask is 'all'; it must be one of none, foreground"):
        Masking.of("all", ("car",), THREE, CAFFE)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"mask is 'all'; it must be one of none, foreground"):
        DataConfig(mask="all")  # type: ignore[arg-type]


def test_a_picture_is_hidden_as_it_is_read(scenes: Path) -> None:
    """For training and for scoring alike; labels stay as they are."""
    masking = Masking.of("background", ("car",), CAMVID, CAFFE)
    assert masking is not None
    data = DataConfig(root=scenes, labels="camvid")
    hidden = open_datasets(data, CAMVID, masking=masking)
    for split, plain in zip(hidden, open_datasets(data, CAMVID), strict=True):
        assert split is not None
        assert plain is not None
        for ours, whole in ((split[i], plain[i]) for i in range(len(plain))):
            np.testing.assert_array_equal(ours.target, whole.target)
            car = whole.target == CAMVID.index("car")
            np.testing.assert_array_equal(ours.image[car], whole.image[car])
            assert (ours.image[~car] == [123, 117, 104]).all()


@pytest.fixture
def small(scenes: Path) -> Recipe:
    return Recipe(
        model=model_config("fcn32s_vgg16", num_classes=11, width=1 / 16),
        data=DataConfig(root=scenes, labels="camvid", crop=(32, 32), workers=0),
        optim=OptimConfig(batch_size=2, max_iters=2, lr=1e-2),
        eval_interval=2,
        from_scratch=True,
    )


def test_a_model_is_scored_as_it_was_trained_unless_told(small: Recipe, tmp_path: Path) -> None:
    """Against masking and counting by hand, with scores that differ from pixel to pixel."""
    data = replace(small.data, mask="background", foreground=("car", "tree"))
    best = train(replace(small, data=data), tmp_path / "run", progress=False)
    model = load_model(best)
    torch.manual_seed(0)
    for kernel in (p for p in model.parameters() if p.ndim == 4):
        nn.init.kaiming_normal_(kernel)  # else the little net says one class everywhere
    path = tmp_path / "lively.safetensors"
    save_model(model, path, header=read_header(best))
    assert data.root is not None
    plain_set, predictor = FolderDataset(data.root, "val", CAMVID), Predictor(path)
    matrices = []
    kinds: list[Mask | None] = [None, "none", "both"]
    for kind in kinds:
        counted = ConfusionMatrix(11)
        masking = Masking.of(kind or "background", data.foreground, CAMVID, CAFFE)
        for sample in (plain_set[i] for i in range(len(plain_set))):
            image = sample.image if masking is None else masking(sample.image, sample.target)
            counted.update(predictor(image).labels, sample.target)
        found = evaluate(path, data.root, mask=kind, out=tmp_path / "s.json", progress=False)
        np.testing.assert_array_equal(found.metrics.matrix, counted.matrix)
        matrices.append(found.metrics.matrix.tobytes())
        about = json.loads((tmp_path / "s.json").read_text())
        assert about.get("mask", "none") == (kind or "background")
        assert about.get("foreground", ["car", "tree"]) == ["car", "tree"]
    assert len(set(matrices)) == 3
    with pytest.raises(UsageError, match="no class 'lorry'"):
        evaluate(path, data.root, mask="both", foreground=["lorry"], progress=False)


# classes that are void ----------------------------------------------------------------------------


def test_a_class_left_out_is_void_and_the_others_close_up() -> None:
    space = CAMVID.without(["road", "sky"])
    assert space.categories == tuple(c for c in CAMVID.categories if c not in ("road", "sky"))
    raw = np.arange(12, dtype=np.uint8)[None]
    whole, less = CAMVID.encode(raw)[0], space.encode(raw)[0]
    for i in range(12):
        gone = i == 11 or CAMVID.categories[i] in ("road", "sky")
        assert less[i] == (IGNORE_INDEX if gone else space.index(CAMVID.categories[whole[i]]))
        if not gone:
            assert space.palette[less[i]] == CAMVID.palette[whole[i]]
    for labels in LABEL_SPACES.values():
        assert labels.without([]) == labels
    with pytest.raises(UsageError, match=r"no class 'roads'. Did you mean road\?"):
        CAMVID.without(["roads"])
    with pytest.raises(FullyConvError, match="0 categories given"):
        THREE.without(THREE.categories)


def test_without_background_no_pixel_of_it_counts(small: Recipe, tmp_path: Path) -> None:
    data = replace(small.data, void=("road",))
    labels = label_space(data)
    assert data.root is not None
    counts = count_classes(FolderDataset(data.root, "val", CAMVID), progress=False)[0][0]
    model = replace(small.model, num_classes=10)
    best = train(replace(small, data=data, model=model), tmp_path / "run", progress=False)
    result = evaluate(best, data.root, progress=False)
    assert result.labels == labels
    np.testing.assert_array_equal(
        result.metrics.matrix.sum(1), np.delete(counts, CAMVID.index("road"))
    )
    assert VOC.without(["background"]).categories == VOC.categories[1:]
