"""A picture tile by tile against the whole, for every kind of network."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_stages import NETWORKS
from torch import nn

from fullyconv.errors import FullyConvError
from fullyconv.models.create import create_model
from fullyconv.models.fast.plan import Plan
from fullyconv.prediction.tile_plan import Reach, Tiling, plan_tiles, whole_memory
from fullyconv.prediction.tiling import Band, label_bands, map_cells, picture_scores
from fullyconv.runtimes.torch import TorchRuntime
from fullyconv.scores import Scores

_BUDGETS = (50, 100, 400)  # MiB
_RUNTIMES: dict[str, TorchRuntime] = {}


def runtime_of(name: str) -> TorchRuntime:
    """One of the networks, its weights drawn; made once."""
    if name not in _RUNTIMES:
        torch.manual_seed(0)
        network = NETWORKS[name]().eval()
        for key, parameter in network.named_parameters():
            if "upsample" not in key:
                nn.init.normal_(parameter, std=0.25)
        _RUNTIMES[name] = TorchRuntime(network, "cpu")
    return _RUNTIMES[name]


def smallest(runtime: TorchRuntime) -> list[tuple[int, int]]:
    """The sides of the smallest tiles there are."""
    return [(1, 1)] * (len(runtime.plan.pieces) + 1)


def planes(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def picture(name: str, height: int, width: int) -> np.ndarray:
    channels = 6 if name == "late fusion" else 3
    return np.random.default_rng(1).normal(size=(height, width, channels)).astype(np.float32)


def tiled(runtime: TorchRuntime, image: np.ndarray, tiling: Tiling, start: int = 0) -> list[Band]:
    return list(label_bands(runtime, lambda a, b: image[a:b], planes, tiling, start))


def check(name: str, height: int, width: int, sides: list[tuple[int, int]], start: int) -> None:
    """Logits within 1e-5 of the largest, labels equal wherever two classes are that far apart."""
    runtime, image = runtime_of(name), picture(name, height, width)
    coarse = runtime.run({"images": planes(image)[None]}, ["scores"])["scores"]
    cells = map_cells(runtime, image.shape[2], height, width)
    assert cells["scores"] == coarse.shape[2:]
    tiling = plan_tiles(runtime.plan, cells, budget=1 << 30, sides=sides)
    whole = Scores(coarse[0], runtime.plan.landing, height, width)
    bands = tiled(runtime, image, tiling, start % len(tiling.bands))
    row = tiling.bands[start % len(tiling.bands)][0]
    assert [band.start for band in bands] == [row, *(band.stop for band in bands[:-1])][
        : len(bands)
    ]
    if not bands:
        assert row == height
        return
    assert bands[-1].stop == height
    expected = whole.logits()[:, row:]
    bound = 1e-5 * abs(expected).max()
    got = np.concatenate([band.scores.logits() for band in bands], 1)
    np.testing.assert_allclose(got, expected, rtol=0, atol=bound)
    ordered = np.sort(expected, 0)
    sure = ordered[-1] - ordered[-2] > 2 * bound if len(ordered) > 1 else np.True_
    labels = np.concatenate([band.scores.labels() for band in bands])
    assert (labels == whole.labels()[row:])[sure].all()


@pytest.mark.parametrize("name", NETWORKS)
def test_tiles_give_what_the_whole_gives(name: str) -> None:
    """The smallest tiles there are, odd sizes, and a start from the middle."""
    small = smallest(runtime_of(name))
    check(name, 237, 165, small, start=0)
    check(name, 9, 151, small, start=0)
    check(name, 331, 3, small, start=3)


@pytest.mark.slow
@settings(deadline=None, max_examples=400)
@given(
    st.sampled_from(sorted(NETWORKS)),
    st.integers(1, 600),
    st.integers(1, 600),
    st.lists(st.tuples(st.integers(1, 400), st.integers(1, 400)), min_size=12, max_size=12),
    st.integers(0, 50),
)
def test_tiles_of_any_size(
    name: str, height: int, width: int, sides: list[tuple[int, int]], start: int
) -> None:
    pieces = len(runtime_of(name).plan.pieces)
    check(name, height, width, sides[: pieces + 1], start)


@pytest.mark.parametrize("name", NETWORKS)
def test_tiny_pictures(name: str) -> None:
    for height, width in ((1, 1), (1, 7), (7, 1), (16, 33), (64, 2)):
        check(name, height, width, smallest(runtime_of(name)), 0)


@settings(deadline=None)
@given(
    st.integers(-40, 0),
    st.integers(1, 60),
    st.sampled_from([1, 2, 8]),
    st.sampled_from([1, 2]),
    st.integers(1, 500),
    st.integers(1, 200),
)
def test_parts_cover_every_cell_once_with_all_it_sees(
    before: int, after: int, stride: int, more: int, target: int, length: int
) -> None:
    period, seen = stride * more, after - before
    reach = Reach(before, after, stride, period, seen + 2 * period + stride)
    source = max(1, after + stride * (target - 1) - 3)
    parts = reach.split(source, target, length)
    assert [p.first for p in parts] == [0, *(p.last for p in parts[:-1])]
    assert parts[-1].last == target
    for part in parts:
        assert part.start % period == 0
        assert part.offset == part.start // stride
        assert part.start == 0 or before + stride * part.first >= part.start
        assert part.stop == source or after + stride * (part.last - 1) <= part.stop
        assert part.last > part.first
    sizes = {part.stop - part.start for part in parts[:-1]}
    assert len(sizes) <= 1  # few shapes
    assert parts[-1].stop - parts[-1].start <= max(sizes, default=source)


@pytest.mark.parametrize("name", ["vgg16", "efficientnet", "voc-fcn16s"])
def test_memory_decides(name: str) -> None:
    """More of it, and less is computed twice; too little is said."""
    runtime = runtime_of(name)
    cells = map_cells(runtime, 3, 5000, 4000)
    tilings = [plan_tiles(runtime.plan, cells, budget=b << 20, classes=3) for b in _BUDGETS]
    for budget, tiling in zip(_BUDGETS, tilings, strict=True):
        assert tiling.memory <= budget << 20
    again = plan_tiles(runtime.plan, cells, budget=1, sides=tilings[0].sides, classes=3)
    assert again == tilings[0]
    overheads = [tiling.overhead for tiling in tilings]
    assert overheads == sorted(overheads, reverse=True)
    with pytest.raises(FullyConvError, match="takes at least .* MB, but 1 MB may be used"):
        plan_tiles(runtime.plan, cells, budget=1 << 20, classes=3)


def test_a_picture_too_large_for_memory_is_tiled() -> None:
    runtime, image = runtime_of("efficientnet"), picture("efficientnet", 900, 700)
    said: list[str] = []
    whole = picture_scores(runtime, planes, image, classes=3, say=said.append)
    assert not said
    budget = whole_memory(runtime.plan, 900, 700) * 2 // 3
    tiled = picture_scores(runtime, planes, image, classes=3, budget=budget, say=said.append)
    assert said[0].startswith("900 x 700 pixels in ")
    landing = runtime.plan.landing
    np.testing.assert_allclose(
        Scores(tiled, landing, 900, 700).logits(),
        Scores(whole, landing, 900, 700).logits(),
        atol=1e-5 * abs(whole).max(),
    )


def test_what_reading_raises_comes_through() -> None:
    runtime = runtime_of("alexnet")
    cells = map_cells(runtime, 3, 300, 300)
    tiling = plan_tiles(runtime.plan, cells, budget=1 << 30, sides=smallest(runtime))

    def read(start: int, stop: int) -> np.ndarray:
        if stop > 200:
            raise FullyConvError("the rest is missing")
        return np.zeros((stop - start, 300, 3), np.float32)

    with pytest.raises(FullyConvError, match="rest is missing"):
        list(label_bands(runtime, read, planes, tiling))


def test_work_and_numbers_of_a_piece() -> None:
    """VGG16's first: conv1_1 and conv1_2 at full size, conv2 at a quarter."""
    plan = TorchRuntime(create_model("fcn32s_vgg16", num_classes=2, width=1 / 4), "cpu").plan
    first = plan.pieces[0]
    assert first.floats == 32  # 16 channels read, 16 written
    products = 9 * (3 * 16 + 16 * 16 + (16 * 32 + 32 * 32) / 4)
    assert first.work == pytest.approx(products, rel=1e-3)
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
