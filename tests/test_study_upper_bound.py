"""The best scores of coarse predictions: each rule against its formula, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from fullyconv.errors import FullyConvError, UsageError
from fullyconv.labels import LabelSpace
from fullyconv.models.geometry import CoordMap
from fullyconv.models.layers import BilinearUpsample
from fullyconv.study.result import read_studies
from fullyconv.study.upper_bound import PUBLISHED, RULES, coarse, upper_bound

QUICK = settings(max_examples=40, deadline=None)
Matrix = NDArray[np.float64]

labels_of_any_size = st.tuples(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(0, 99)
)


def random_labels(height: int, width: int, seed: int, void: bool = True) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    ids = np.array([0, 1, 2, 5, 255 if void else 7], np.uint8)
    return ids[rng.integers(0, 5, (height, width))]


def normed(weights: Matrix) -> Matrix:
    shares: Matrix = weights / weights.sum(1, keepdims=True)
    return shares


def triangle_down(side: int, factor: int) -> Matrix:
    """Along one axis: shares of pixels in cells centred on blocks, by distance over the factor."""
    cells = -(-side // factor)
    centres = (np.arange(cells) + 0.5) * factor - 0.5
    weights = np.maximum(0, 1 - abs(np.arange(side) - centres[:, None]) / factor)
    return normed(weights)


def block_down(side: int, factor: int) -> Matrix:
    weights = (np.arange(side) // factor == np.arange(-(-side // factor))[:, None]).astype(float)
    return normed(weights)


def linear_up(side: int, factor: int) -> Matrix:
    """Along one axis: cells at pixels by linear interpolation, the outermost beyond them."""
    cells = -(-side // factor)
    places = np.clip((np.arange(side) + 0.5) / factor - 0.5, 0, cells - 1)
    return np.maximum(0, 1 - abs(places[:, None] - np.arange(cells)))


@QUICK
@given(labels_of_any_size)
def test_the_bilinear_rules_are_products_of_two_matrices(
    case: tuple[int, int, int, int],
) -> None:
    height, width, factor, seed = case
    masks = np.random.default_rng(seed).random((3, height, width)).astype(np.float32)
    for rule, down in (("bilinear", triangle_down), ("average", block_down)):
        cells = down(height, factor) @ masks @ down(width, factor).T
        expected = linear_up(height, factor) @ cells @ linear_up(width, factor).T
        shares = torch.from_numpy(masks[None])
        found = RULES[rule].down(shares, factor)
        np.testing.assert_allclose(found[0], cells, atol=1e-5)
        found = RULES[rule].up(found, factor, shares.shape[-2:])
        np.testing.assert_allclose(found[0], expected, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 8])
def test_upsampling_is_the_networks_own_with_a_derived_offset(factor: int) -> None:
    kernel = 2 * factor - factor % 2
    cells = CoordMap().window(factor, factor)
    assert CoordMap().window(kernel, factor, padding=factor // 2).start == cells.start
    offset = int(cells.upsample(kernel, factor).offset_of(CoordMap()))
    shares = torch.rand(1, 4, 3, 5)
    size = torch.Size((3 * factor, 5 * factor))
    theirs = BilinearUpsample(4, kernel, factor)(shares)
    theirs = theirs[..., offset : offset + size[0], offset : offset + size[1]]
    ours = RULES["bilinear"].up(shares, factor, size)
    assert (ours.argmax(1) == theirs.argmax(1)).all()
    inner = slice(factor, -factor)  # Caffe's fades beyond the outermost cells, all classes alike
    torch.testing.assert_close(ours[..., inner, inner], theirs[..., inner, inner])


@QUICK
@given(labels_of_any_size)
def test_blocks_get_their_middle_or_their_most_frequent_label(
    case: tuple[int, int, int, int],
) -> None:
    height, width, factor, seed = case
    labels = random_labels(height, width, seed, void=False)
    majority, nearest = (
        coarse(labels, factor, RULES[rule], True) for rule in ("majority", "nearest")
    )
    for top in range(0, height, factor):
        for left in range(0, width, factor):
            block = np.s_[top : top + factor, left : left + factor]
            counts = np.bincount(labels[block].ravel())
            assert (majority[block] == counts.argmax()).all()
            row, column = min(top + factor // 2, height - 1), min(left + factor // 2, width - 1)
            assert (nearest[block] == labels[row, column]).all()


@pytest.mark.parametrize("rule", RULES)
@given(labels_of_any_size)
@QUICK
def test_a_factor_of_one_changes_nothing_and_labels_stay_those_of_the_picture(
    rule: str, case: tuple[int, int, int, int]
) -> None:
    height, width, factor, seed = case
    labels = random_labels(height, width, seed)
    same = coarse(labels, 1, RULES[rule], True)
    assert (same == np.where(labels == 255, 0, labels)).all()
    found = coarse(labels, factor, RULES[rule], False)
    assert found.shape == labels.shape
    assert set(np.unique(found)) <= set(np.unique(labels))
    if (labels != 255).any():
        assert 255 not in found


def test_void_counts_as_background_where_there_is_one() -> None:
    labels = np.array([[3, 255, 255, 255]] * 4, np.uint8)
    for rule in ("bilinear", "average", "majority"):
        assert (coarse(labels, 4, RULES[rule], True) == 0).all()
        assert (coarse(labels, 4, RULES[rule], False) == 3).all()
    nothing = np.full((4, 4), 255, np.uint8)
    assert (coarse(nothing, 2, RULES["bilinear"], False) == 255).all()


def write(folder: Path, *maps: NDArray[np.uint8]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, labels in enumerate(maps):
        Image.fromarray(labels).save(folder / f"{number}.png")
    return folder


def test_the_score_is_that_of_the_definition(tmp_path: Path) -> None:
    # blocks of 2 x 2 get their last label: the 1 is lost, void is not counted
    folder = write(tmp_path / "maps", np.array([[0, 1, 2, 2], [0, 0, 255, 2]], np.uint8))
    study = upper_bound(folder, factors=(2, 1), space="voc", rule="nearest", progress=False)
    ours = [row.values for row in study.rows]
    assert ours == [(2, pytest.approx(100 * (3 / 4 + 0 + 1) / 3)), (1, 100.0)]
    assert study.about["label maps"] == 1
    assert study.figures == ()


def test_published_figures_stand_beside_their_factors(tmp_path: Path) -> None:
    folder = write(tmp_path / "maps", np.zeros((64, 64), np.uint8))
    study = upper_bound(folder, factors=(64, 5, 4), space="voc", progress=False)
    sourced = [row for row in study.rows if row.source]
    assert [row.values for row in sourced] == [(64, PUBLISHED[64]), (4, PUBLISHED[4])]
    assert all("appendix A" in row.source for row in sourced)
    assert "void counts as background" in study.rule
    study = upper_bound(folder, factors=(4,), space="camvid", progress=False)
    assert "void has no share" in study.rule


def test_nothing_but_void_has_no_score(tmp_path: Path) -> None:
    folder = write(tmp_path / "maps", np.full((8, 8), 255, np.uint8))
    study = upper_bound(folder, factors=(2,), space="voc", progress=False)
    assert study.rows[0].values == (2, None)


def test_it_is_saved_with_a_figure_of_the_map_of_most_classes(tmp_path: Path) -> None:
    maps = np.zeros((20, 30), np.uint8), random_labels(20, 30, 0), np.ones((20, 30), np.uint8)
    folder = write(tmp_path / "split" / "labels", *maps)
    classes = {"categories": ["background", *"abcdefg"]}
    (tmp_path / "classes.json").write_text(json.dumps(classes))
    out = tmp_path / "out"
    study = upper_bound(folder.parent, factors=(8, 4, 3, 2), out=out, progress=False)
    assert read_studies(out)[0][1].rows == study.rows
    assert study.figures[0].caption.startswith("1, the label map of the most classes")
    bar = 15
    with Image.open(out / study.figures[0].file) as image:
        pixels = np.array(image)
    assert pixels.shape == (2 * (20 + bar), 4 * 30 + 3 * 4, 3)
    space = LabelSpace(categories=tuple(classes["categories"]))
    np.testing.assert_array_equal(pixels[bar : bar + 20, :30], space.colorize(maps[1]))
    at_8 = coarse(maps[1], 8, RULES["bilinear"], True)
    np.testing.assert_array_equal(pixels[bar : bar + 20, 34:64], space.colorize(at_8))
    assert (pixels[-20:, 34:] == 255).all()  # four panels in a row, the fifth below


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "maps", random_labels(9, 12, 0))
    with pytest.raises(FullyConvError, match="no such folder; give one of label files"):
        upper_bound(tmp_path / "none", progress=False)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FullyConvError, match="no picture in this folder; it holds nothing"):
        upper_bound(empty, space="voc", progress=False)
    with pytest.raises(FullyConvError, match="neither here nor in the two folders above is a cl"):
        upper_bound(folder, factors=(2,), progress=False)
    with pytest.raises(UsageError, match="there is no label space 'vox'. Did you mean voc"):
        upper_bound(folder, space="vox", progress=False)
    with pytest.raises(UsageError, match="there is no rule 'averag'. Did you mean average"):
        upper_bound(folder, rule="averag", progress=False)
    for factors, told in (((4, 0), "4, 0"), ((), "none"), ((2, 2), "2, 2"), ((-1,), "-1")):
        with pytest.raises(UsageError, match=f"the factors are {told}; they must be whole"):
            upper_bound(folder, factors=factors, space="voc", progress=False)
    with pytest.raises(FullyConvError, match="has 9 x 12 pixels, fewer than the factor 10"):
        upper_bound(folder, factors=(2, 10), space="voc", progress=False)
    write(folder, np.full((9, 12), 77, np.uint8))
    out = tmp_path / "out"
    with pytest.raises(FullyConvError, match=r"0.png: label 77 \(108 px\) is neither"):
        upper_bound(folder, factors=(2,), space="voc", out=out, progress=False)
    assert not out.exists()


@pytest.mark.slow
def test_the_papers_figures_come_out_of_its_label_maps(shared: Path) -> None:
    study = upper_bound(shared / "data" / "voc-seg11valid-labels", space="voc", progress=False)
    ours, papers = (
        [row.values[1] for row in study.rows if bool(row.source) == sourced]
        for sourced in (False, True)
    )
    assert papers == [*PUBLISHED.values()]
    np.testing.assert_allclose(ours, papers, atol=0.8)  # type: ignore[arg-type]
    assert re.search("1/128 +128 +51", study.table())
