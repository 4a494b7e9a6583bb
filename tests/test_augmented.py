"""Mirrored and rescaled copies averaged: against the formula, with torch's own resampling."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from fullyconv.checkpoint import load_model
from fullyconv.errors import UsageError
from fullyconv.labels import LabelSpace
from fullyconv.prediction.augmented import AugmentedPredictor, parse_scales, resampled
from fullyconv.prediction.prediction import Prediction
from fullyconv.prediction.predictor import Predictor

Pixels = NDArray[np.uint8]


@pytest.fixture
def photo() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (37, 61, 3)).astype(np.uint8)


def softmax(network: torch.nn.Module, predictor: Predictor, pixels: Pixels) -> torch.Tensor:
    """(classes, H, W) float64: the network's own forward, without the predictor."""
    batch = torch.from_numpy(predictor.header.preprocess(pixels)[None])
    with torch.inference_mode():
        return torch.as_tensor(network(batch)[0].double().softmax(0))


def test_flips_are_averaged_as_probabilities(small_model: Path, photo: Pixels) -> None:
    predictor, network = Predictor(small_model), load_model(small_model)
    got = AugmentedPredictor(predictor, flip=True)(photo)
    mirrored = np.ascontiguousarray(photo[:, ::-1])
    expected = softmax(network, predictor, photo)
    expected = (expected + softmax(network, predictor, mirrored).flip(-1)) / 2
    np.testing.assert_allclose(got.probabilities(), expected, atol=1e-5)
    # where two classes are equal but for rounding, either is right
    best = expected.gather(0, torch.from_numpy(got.labels.astype(np.int64))[None])[0]
    assert (expected.amax(0) - best).max() < 1e-6
    assert not np.array_equal(got.labels, predictor(photo).labels)
    np.testing.assert_array_equal(got.image, photo)


def test_scales_are_averaged_on_the_pixels_of_the_photograph(
    small_model: Path, photo: Pixels
) -> None:
    predictor, network = Predictor(small_model), load_model(small_model)
    got = AugmentedPredictor(predictor, scales=(1.0, 2.0))(photo)
    large = np.asarray(Image.fromarray(photo).resize((122, 74), Image.Resampling.BILINEAR))
    # a smoothing bilinear filter shrinks by 2: torch's with antialias
    shrunk = torch.nn.functional.interpolate(
        softmax(network, predictor, large)[None], (37, 61), mode="bilinear", antialias=True
    )[0]
    expected = (softmax(network, predictor, photo) + shrunk) / 2
    np.testing.assert_allclose(got.probabilities(), expected, atol=1e-5)


def test_one_scale_changes_nothing(small_model: Path, photo: Pixels, tmp_path: Path) -> None:
    predictor = Predictor(small_model)
    same = AugmentedPredictor(predictor)
    plain = predictor(photo)
    np.testing.assert_allclose(same(photo).probabilities(), plain.probabilities(), atol=1e-6)
    Image.fromarray(photo).save(tmp_path / "street.png")
    assert same(tmp_path / "street.png").name == "street"


@pytest.mark.parametrize("size", [(1, 1), (3, 50)])
def test_any_size(small_model: Path, size: tuple[int, int]) -> None:
    predictor = AugmentedPredictor(Predictor(small_model), True, (0.25, 1, 1.5))
    said = predictor(np.zeros((*size, 3), np.uint8))
    assert said.labels.shape == size
    np.testing.assert_allclose(said.probabilities().sum(0), 1, atol=1e-5)


def test_further_heads_are_averaged_too(small_model: Path, photo: Pixels) -> None:
    class TwoHeads(Predictor):
        def __call__(self, photo: object) -> Prediction:
            said = super().__call__(photo)  # type: ignore[arg-type]
            space = LabelSpace(categories=("a", "b", "c"))
            head = Prediction(said.image, said.scores.part(4, 7), space, "image-half")
            return replace(said, heads={"half": head})

    predictor = AugmentedPredictor(TwoHeads(small_model), flip=True)
    head = predictor(photo).heads["half"]
    halves = [TwoHeads(small_model)(p).heads["half"] for p in (photo, photo[:, ::-1])]
    mirrored = halves[1].probabilities()[:, :, ::-1]
    expected = (halves[0].probabilities() + mirrored) / 2
    np.testing.assert_allclose(head.probabilities(), expected, atol=1e-6)
    assert head.categories == ("a", "b", "c")


@pytest.mark.parametrize(("channels", "dtype"), [(6, np.uint8), (4, np.float32)])
def test_stacked_inputs_are_resampled_channel_by_channel(
    channels: int, dtype: type[np.generic]
) -> None:
    image = np.random.default_rng(1).integers(0, 256, (8, 10, channels)).astype(dtype)
    got = resampled(image, 4, 20)
    assert got.shape == (4, 20, channels)
    assert got.dtype == dtype
    first = resampled(image[..., :3].astype(np.uint8), 4, 20)
    assert np.abs(got[..., :3].astype(float) - first).max() <= 1


def test_scales_that_make_no_sense(small_model: Path) -> None:
    assert parse_scales("0.75,1, 1.25") == (0.75, 1, 1.25)
    assert parse_scales([2, 3]) == (2, 3)
    for text in ("", "1;2", "nan", "1,inf"):
        with pytest.raises(UsageError, match="write numbers with commas"):
            parse_scales(text)
    for scales in ((0.0,), (1.0, 9.0), ()):
        with pytest.raises(UsageError, match="above 0 and at most 8"):
            AugmentedPredictor(Predictor(small_model), scales=scales)
