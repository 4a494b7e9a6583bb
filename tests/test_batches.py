"""The stream of batches is a function of seed and iteration, however often it is interrupted."""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from fullyconv.config import Recipe
from fullyconv.data.augment import Augmentation
from fullyconv.data.batches import training_batches
from fullyconv.data.dataset import open_dataset
from fullyconv.data.folder import FolderDataset
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.labels import LabelSpace
from fullyconv.preprocess import EFFICIENTNET_LITE, Preprocess
from fullyconv.recipes import recipe

PLAIN = Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
VARIED = Augmentation(crop=(6, 7), scale=(0.5, 2), mirror=True, color=0.5)
SPACE = LabelSpace(categories=("ground", "tree"))
SIZE = 5
QUICK = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# Python 3.12 warns of every fork beside a thread; ours is PyTorch's own
FORKS = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> FolderDataset:
    """Five pictures of 8 x 9; picture k is grey 10 + k, its first row void, the rest k % 2."""
    root = tmp_path_factory.mktemp("data")
    for kind in ("images", "labels"):
        (root / kind).mkdir()
    for k in range(SIZE):
        Image.new("RGB", (9, 8), (10 + k,) * 3).save(root / "images" / f"{k}.png")
        labels = np.full((8, 9), k % 2, np.uint8)
        labels[0] = 255
        Image.fromarray(labels).save(root / "labels" / f"{k}.png")
    return FolderDataset(root, "", SPACE)


def batches(
    dataset: FolderDataset, augmentation: Augmentation = VARIED, **options: Any
) -> list[tuple[Tensor, Tensor]]:
    """Images and targets of each batch."""
    given = {"batch_size": 4, "seed": 3, "start": 0, "stop": 6, **options}
    return [
        (batch.images, batch.target)
        for batch in training_batches(dataset, augmentation, PLAIN, **given)
    ]


def drawn(dataset: FolderDataset, **options: Any) -> list[list[int]]:
    """Numbers of the pictures in each batch, read off the pictures themselves."""
    return [
        (images[:, 0, -1, 0] - 10).int().tolist()
        for images, _ in batches(dataset, Augmentation(), **options)
    ]


def assert_same(ours: list[tuple[Tensor, Tensor]], theirs: list[tuple[Tensor, Tensor]]) -> None:
    assert len(ours) == len(theirs)
    for (images, target), (other_images, other_target) in zip(ours, theirs, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(target, other_target)


def test_a_batch_holds_images_and_targets(dataset: FolderDataset) -> None:
    (images, target), *_ = batches(dataset, Augmentation())
    assert (images.dtype, images.shape) == (torch.float32, (4, 3, 8, 9))
    assert (target.dtype, target.shape) == (torch.int64, (4, 8, 9))
    assert (target[:, 0] == 255).all()
    numbers = (images[:, 0, 0, 0] - 10).long()
    assert torch.equal(target[:, 1:], (numbers % 2)[:, None, None].expand(4, 7, 9))
    assert torch.equal(images, (numbers + 10.0)[:, None, None, None].expand(4, 3, 8, 9))


def test_the_network_s_preprocessing_is_applied(dataset: FolderDataset) -> None:
    preprocess = Preprocess(scale=2, mean=(1.0, 2.0, 3.0), std=(4.0, 4.0, 4.0))
    options: dict[str, Any] = {"batch_size": 1, "seed": 0, "start": 0, "stop": 1}
    images, *_ = next(iter(training_batches(dataset, Augmentation(), preprocess, **options)))
    (plain, *_), *_ = batches(dataset, Augmentation(), **options)
    expected = (plain * 2 - torch.tensor([1.0, 2.0, 3.0])[:, None, None]) / 4
    torch.testing.assert_close(images, expected)


# the stream ---------------------------------------------------------------------------------------


@QUICK
@given(st.integers(1, 12), st.integers(0, 100))
def test_every_epoch_shows_each_picture_once(
    dataset: FolderDataset, batch_size: int, seed: int
) -> None:
    stream = [*chain(*drawn(dataset, batch_size=batch_size, seed=seed, stop=10))]
    assert len(stream) == 10 * batch_size
    epochs = [stream[i : i + SIZE] for i in range(0, len(stream) - SIZE + 1, SIZE)]
    assert epochs
    assert all(sorted(epoch) == list(range(SIZE)) for epoch in epochs)


def test_epochs_are_in_different_orders(dataset: FolderDataset) -> None:
    stream = [*chain(*drawn(dataset, batch_size=SIZE, stop=60))]
    orders = Counter(tuple(stream[i : i + SIZE]) for i in range(0, len(stream), SIZE))
    assert len(orders) > 30  # of 120


@QUICK
@given(st.integers(0, 6), st.integers(1, 6))
def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(
    dataset: FolderDataset, start: int, batch_size: int
) -> None:
    whole = batches(dataset, batch_size=batch_size)
    assert_same(batches(dataset, batch_size=batch_size, start=start), whole[start:])


@QUICK
@given(st.integers(1, 6), st.data())
def test_processes_share_each_batch(
    dataset: FolderDataset, batch_size: int, data: st.DataObject
) -> None:
    world = data.draw(st.integers(1, batch_size))
    whole = batches(dataset, batch_size=batch_size, stop=3)
    shares = [
        batches(dataset, batch_size=batch_size, stop=3, rank=rank, world=world)
        for rank in range(world)
    ]
    for k, (images, target) in enumerate(whole):
        assert sum(len(share[k][0]) for share in shares) == batch_size
        for position in range(batch_size):
            mine, inside = shares[position % world][k], position // world
            assert torch.equal(mine[0][inside], images[position])
            assert torch.equal(mine[1][inside], target[position])


def test_other_seeds_draw_and_vary_otherwise(dataset: FolderDataset) -> None:
    orders = {str(drawn(dataset, seed=seed)) for seed in range(10)}
    assert len(orders) == 10
    (one, _), *_ = batches(dataset, seed=0)
    (other, _), *_ = batches(dataset, seed=1)
    assert not torch.equal(one, other)


def test_a_picture_is_varied_anew_each_time(dataset: FolderDataset) -> None:
    dataset_of_one = FolderDataset(dataset.root, "", SPACE)
    dataset_of_one.files = dataset.files[:1]
    varied = Augmentation(color=0.5)
    seen = [image for images, _ in batches(dataset_of_one, varied, stop=4) for image in images]
    # grey 10 becomes 5 to 15
    assert len({float(image[0, 0, 0]) for image in seen}) > 4
    assert not torch.equal(seen[0], seen[1])


def test_draws_are_those_that_models_were_trained_with(dataset: FolderDataset) -> None:
    """A change here means that no shipped model can be trained again from its recipe."""
    stream = [*chain(*drawn(dataset, seed=1337, stop=4))]
    assert stream == [3, 2, 4, 0, 1, 2, 0, 4, 1, 3, 3, 4, 1, 0, 2, 1]


def test_length(dataset: FolderDataset) -> None:
    options: dict[str, Any] = {"batch_size": 4, "seed": 0, "stop": 6}
    assert len(training_batches(dataset, VARIED, PLAIN, start=2, **options)) == 4
    assert list(training_batches(dataset, VARIED, PLAIN, start=6, **options)) == []


@FORKS
def test_reading_processes_change_nothing(dataset: FolderDataset) -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    assert_same(batches(dataset, workers=2), batches(dataset))


# errors -------------------------------------------------------------------------------------------


@pytest.fixture
def broken(tmp_path: Path) -> FolderDataset:
    """Three pictures, one of which has a foreign label."""
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for k in range(3):
        Image.new("RGB", (9, 8)).save(tmp_path / "images" / f"{k}.png")
        Image.new("L", (9, 8), 7 if k == 1 else 0).save(tmp_path / "labels" / f"{k}.png")
    return FolderDataset(tmp_path, "", SPACE)


@FORKS
@pytest.mark.parametrize("workers", [0, 1])
def test_bad_files_are_named_without_a_traceback(broken: FolderDataset, workers: int) -> None:
    with pytest.raises(FullyConvError, match=r"^\S*1\.png: label 7 \(72 px\) is neither [^\n]*$"):
        batches(broken, workers=workers)


def test_batches_before_a_bad_file_are_seen(broken: FolderDataset) -> None:
    stream = iter(
        training_batches(broken, Augmentation(), PLAIN, batch_size=1, seed=0, start=0, stop=9)
    )
    order = np.random.default_rng((0, 0)).permutation(3)
    for _ in range(int(np.flatnonzero(order == 1)[0])):
        next(stream)
    with pytest.raises(FullyConvError, match="label 7"):
        next(stream)


@FORKS
@pytest.mark.parametrize("workers", [0, 1])
def test_pictures_of_different_sizes_make_no_batch(tmp_path: Path, workers: int) -> None:
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        for k in range(2):
            Image.new("L", (9 + k, 8)).save(tmp_path / kind / f"{k}.png")
    dataset = FolderDataset(tmp_path, "", SPACE)
    with pytest.raises(
        UsageError,
        match=r"^pictures of different sizes \(8 x 10, 8 x 9\) make no batch; cut them to one size "
        r"with --data\.crop HEIGHT WIDTH, or set --optim\.batch-size 1$",
    ):
        batches(dataset, Augmentation(), workers=workers)
    assert len(batches(dataset, Augmentation(), batch_size=1)) == 6
    assert len(batches(dataset, Augmentation(crop=(5, 5)))) == 6


def test_a_batch_has_a_picture_for_every_process(dataset: FolderDataset) -> None:
    message = "a batch of 1 cannot be shared by 2 processes; .* 2 or more, which changes .* single"
    with pytest.raises(UsageError, match=message):
        batches(dataset, batch_size=1, world=2)


def test_with_replacement_every_draw_is_of_all_pictures(dataset: FolderDataset) -> None:
    """The authors' random.randint: epochs do not show each picture once, counts come out even."""
    options: dict[str, Any] = {"stop": 150, "replacement": True}
    flat = [number for batch in drawn(dataset, **options) for number in batch]
    size = len(dataset)
    epochs = [flat[i : i + size] for i in range(0, len(flat) - size, size)]
    assert any(len(set(epoch)) < size for epoch in epochs)
    counts = np.bincount(flat, minlength=size)
    assert abs(counts - len(flat) / size).max() < 5 * np.sqrt(len(flat) / size)
    assert drawn(dataset, **options) == drawn(dataset, **options)
    assert drawn(dataset, start=7, **options) == drawn(dataset, **options)[7:]


# a loop of one's own ------------------------------------------------------------------------------


def own(root: Path, **data: Any) -> Recipe:
    """A recipe that changes nothing of the pictures but what is said."""
    still = {"crop": None, "scale": (1.0, 1.0), "mirror": False, "color": 0.0}
    return recipe("finetune", data={"root": root, "labels": "camvid", **still, **data},
                  model={"num_classes": 11})  # fmt: skip


def test_pictures_to_score_are_as_they_are(scenes: Path) -> None:
    pictures = open_dataset(own(scenes, mirror=True, crop=(8, 8)), "val")
    assert pictures.names == ["val0", "val1", "val2"]
    assert len(pictures) == 3
    for index, name in enumerate(pictures.names):
        image, target = pictures[index]
        pixels = np.asarray(Image.open(scenes / "val" / "images" / f"{name}.png"), np.float32)
        ids = np.asarray(Image.open(scenes / "val" / "labels" / f"{name}.png")).astype(np.int64)
        assert (image.dtype, target.dtype) == (torch.float32, torch.int64)
        # EfficientNet-Lite's: 127 of 128
        np.testing.assert_allclose(image.numpy(), (pixels - 127).transpose(2, 0, 1) / 128, 1e-5)
        assert np.array_equal(target.numpy(), np.where(ids == 11, 255, ids))


def test_pictures_to_train_on_are_varied_with_their_labels(scenes: Path) -> None:
    plain, mirrored = (open_dataset(own(scenes, mirror=mirror)) for mirror in (False, True))
    image, target = plain[0]
    seen = set()
    for _ in range(30):
        varied, ids = mirrored[0]
        turned = not torch.equal(varied, image)
        assert torch.equal(varied, image.flip(-1) if turned else image)
        assert torch.equal(ids, target.flip(-1) if turned else target)
        seen.add(turned)
    assert seen == {True, False}
    usual = open_dataset(own(scenes, crop=(20, 30), scale=(0.5, 2.0), color=0.3))
    torch.manual_seed(1)
    first, second = usual[0], usual[0]
    assert first[0].shape == (3, 20, 30)
    assert not torch.equal(first[0], second[0])
    torch.manual_seed(1)
    assert all(map(torch.equal, first, usual[0]))


@FORKS
def test_readers_of_a_loader_vary_differently(scenes: Path) -> None:
    pictures = open_dataset(own(scenes, crop=(8, 8), jitter=8))
    loader = DataLoader(pictures, sampler=[0] * 8, batch_size=4, num_workers=2)
    torch.manual_seed(0)
    drawn = [images for _ in range(2) for images, _ in loader]
    assert len({tuple(image.flatten().tolist()) for images in drawn for image in images}) > 8


def test_the_recipe_of_pictures_fits_them(scenes: Path) -> None:
    (scenes / "classes.json").write_text(json.dumps({"categories": [f"c{i}" for i in range(12)]}))
    pictures = open_dataset(recipe("finetune", data={"root": str(scenes)}))
    assert pictures.recipe.model.num_classes == pictures.labels.num_classes == 12
    assert pictures.preprocess == EFFICIENTNET_LITE
    assert pictures[0][0].shape == (3, 320, 416)
    for wrong, split in ((own(scenes), "test"), (own(scenes, val=""), "val")):
        with pytest.raises(
            UsageError, match=f"split is '{split}'; .*data.train .train. and data.v"
        ):
            open_dataset(wrong, split)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no data set folder is given"):
        open_dataset(recipe("finetune"))
