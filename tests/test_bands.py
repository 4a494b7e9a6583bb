"""Pictures of any number of bands, from the file to a trained network and its predictions."""

from __future__ import annotations

import io
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from fullyconv.bands import bands_size, read_bands
from fullyconv.checkpoint import Header, save_model
from fullyconv.config import DataConfig, OptimConfig, Recipe
from fullyconv.data.augment import Augmentation
from fullyconv.data.check import stats, stats_text, write_stats_page
from fullyconv.data.folder import FolderDataset, split_pictures
from fullyconv.data.sources import preprocess
from fullyconv.data.statistics import band_statistics
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.evaluation import evaluate
from fullyconv.files import write_json
from fullyconv.labels import LabelSpace
from fullyconv.models.backbones import build_backbone
from fullyconv.models.create import create_model
from fullyconv.networks import model_config
from fullyconv.prediction.augmented import AugmentedPredictor
from fullyconv.prediction.predicting import encoded, predict
from fullyconv.prediction.predictor import Predictor
from fullyconv.prediction.rasters.labelling import RasterOptions, label_raster
from fullyconv.preprocess import NYUD_COLOR_DEPTH, Preprocess
from fullyconv.pretrained import BackboneWeights
from fullyconv.training import train
from fullyconv.verifying import photo_inputs, random_inputs

BANDS = 5


def scene(seed: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Numbers in the thousands; only the last band shows the class, with a hole in its data."""
    rng = np.random.default_rng(seed)
    target = np.zeros((48, 64), np.uint8)
    top, left = rng.integers(0, 24), rng.integers(0, 32)
    target[top : top + 24, left : left + 32] = 1
    image = rng.normal(3000, 400, (48, 64, BANDS)).astype(np.float32)
    image[..., 4] = 12000 + 3000.0 * target + rng.normal(0, 100, target.shape)
    image[0, 0] = np.nan
    return image, target


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fields")
    write_json(root / "classes.json", {"categories": ["soil", "crop"]})
    for split, seeds in (("train", range(8)), ("val", range(8, 12))):
        (root / split / "images").mkdir(parents=True)
        (root / split / "labels").mkdir()
        for seed in seeds:
            image, target = scene(seed)
            np.save(root / split / "images" / f"{seed}.npy", image)
            Image.fromarray(target).save(root / split / "labels" / f"{seed}.png")
    return root


def recipe(root: Path, iterations: int) -> Recipe:
    return Recipe(
        model=model_config("fcn8s_alexnet_torchvision", num_classes=2, width=1 / 8),
        data=DataConfig(root=root, inputs=("bands",), mirror=True, crop=(48, 48), workers=0),
        optim=OptimConfig(lr=1e-2, batch_size=4, max_iters=iterations, average=0.5),
        eval_interval=iterations,
        save_interval=iterations,
        log_interval=10,
        from_scratch=True,
    )


def test_a_network_learns_from_the_band_that_shows_something(fields: Path, tmp_path: Path) -> None:
    train(recipe(fields, 80), tmp_path / "run", progress=False)
    model = tmp_path / "run" / "best.safetensors"
    assert evaluate(model, fields, split="val", progress=False).metrics.mean_iou > 0.8
    predictor = Predictor(model)
    assert predictor.header.preprocess.bands
    path = fields / "val" / "images" / "9.npy"
    by_path = predictor(path)
    assert by_path.name == "9"
    assert by_path.image.dtype == np.uint8
    assert np.array_equal(by_path.labels, predictor(np.load(path)).labels)
    assert (
        predict(fields / "val" / "images", model=model, out=tmp_path / "labels", save="mask") == []
    )
    mask = Image.open(tmp_path / "labels" / "9-mask.png")
    assert np.array_equal(np.asarray(mask), by_path.labels)
    (name, noise), *_ = random_inputs(predictor.header.preprocess, [(40, 56)])
    assert (name, noise.shape) == ("40 x 56", (1, BANDS, 40, 56))  # as fcn export compares on
    (_, given), *_ = photo_inputs(predictor.header.preprocess, [path])
    assert np.array_equal(given[0], predictor.header.preprocess(np.load(path)))
    to_stdout = Image.open(io.BytesIO(encoded(path, model=model)))
    assert np.array_equal(np.asarray(to_stdout), by_path.labels)
    mirrored = AugmentedPredictor(predictor, flip=True)(path)
    assert (mirrored.labels == by_path.labels).mean() > 0.9
    with pytest.raises(FullyConvError, match=r"an image is \(H, W, 5\) float32, bands"):
        predictor(np.zeros((4, 4, 3), np.float32))


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_rasters_of_bands_are_read_by_windows(tmp_path: Path) -> None:
    """The place is kept, bands without data are the mean, and labels are those of the whole."""
    rasterio = pytest.importorskip("rasterio")
    torch.manual_seed(0)
    config = model_config("fcn8s_alexnet", num_classes=2, width=1 / 16, in_channels=BANDS)
    model = create_model(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    numbers = Preprocess(mean=(100.0,) * BANDS, std=(50.0,) * BANDS, inputs=("bands",))
    header = Header(
        model=config, labels=LabelSpace(categories=("soil", "crop")), preprocess=numbers
    )
    save_model(model, tmp_path / "m.safetensors", header=header)
    image = np.random.default_rng(0).normal(100, 50, (400, 300, BANDS)).astype(np.float32)
    image[50:90, 60:70] = -1
    image[200:, 200:, 2] = -1  # one band alone has no data
    profile = {"driver": "GTiff", "dtype": "float32", "nodata": -1, "crs": "EPSG:32633"}
    place = rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)
    path = tmp_path / "a.tif"
    with rasterio.open(
        path, "w", height=400, width=300, count=BANDS, transform=place, **profile
    ) as file:
        file.write(image.transpose(2, 0, 1))
    options = RasterOptions(memory=6 << 20)
    model_path, out = tmp_path / "m.safetensors", tmp_path / "out"
    said: list[str] = []
    assert predict(path, model=model_path, out=out, raster=options, say=said.append) == []
    assert "tiles" in said[0]
    whole = Predictor(model_path)(read_bands(path))
    with rasterio.open(out / "a-mask.tif") as labels:
        assert labels.transform == place
        found = labels.read(1)
    known = np.isfinite(read_bands(path)).any(2)
    assert ((found == 255) == ~known).all()
    sure = known & (abs(whole.logits[0] - whole.logits[1]) > 1e-4 * abs(whole.logits).max())
    assert sure.mean() > 0.9
    assert np.array_equal(found[sure], whole.labels[sure])
    for options, problem in (
        (RasterOptions(bands=(1, 2)), r"a\.tif: 2 bands for a network that takes 5; choose them .*"
         "in the order that it was trained with"),
        (RasterOptions(scale=(0.0, 9.0)), "takes the numbers of bands as they are"),
    ):  # fmt: skip
        with pytest.raises(FullyConvError, match=problem):
            label_raster(path, Predictor(model_path), tmp_path / "o.tif", options)


def test_statistics_are_those_of_all_pictures_together(fields: Path) -> None:
    images = np.concatenate([scene(seed)[0].reshape(-1, BANDS) for seed in range(8)])
    measured = band_statistics(split_pictures(fields, "train", "bands"))
    np.testing.assert_allclose(measured.mean, np.nanmean(images.astype(float), 0), rtol=1e-6)
    np.testing.assert_allclose(measured.std, np.nanstd(images.astype(float), 0), rtol=1e-6)
    assert preprocess(recipe(fields, 1)) == measured
    standard = measured(scene(0)[0])
    assert standard.shape == (BANDS, 48, 64)
    assert (standard[:, 0, 0] == 0).all()  # no data is the mean


def test_bands_are_counted(fields: Path, tmp_path: Path) -> None:
    """As the statistics that training measures, gaps left out; pictures of other bands, too."""
    fields = Path(shutil.copytree(fields, tmp_path / "fields"))
    counted = stats(fields, progress=False)
    measured = band_statistics(split_pictures(fields, "train", "bands"))
    bands = counted.training.channels["bands"]
    np.testing.assert_allclose(bands.mean, measured.mean, rtol=1e-6)
    np.testing.assert_allclose(bands.std, measured.std, rtol=1e-4)
    assert f"bands: mean {measured.mean[0]:.3f}, " in stats_text(counted)
    assert "(0-255)" not in stats_text(counted)
    assert "<p>bands: mean" in write_stats_page(tmp_path / "s.html", counted).read_text()
    first, *_, last = split_pictures(fields, "train", "bands")
    np.save(last, read_bands(first)[..., :2])
    training = stats(fields, progress=False).training
    assert (training.left_out, training.pictures) == (1, counted.training.pictures - 1)
    assert training.problem == f"a picture has 2 bands, those before it {BANDS}"


def test_a_picture_of_other_bands_is_named(fields: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    np.save(tmp_path / "images" / "a.npy", np.zeros((9, 9, 4)))
    np.save(tmp_path / "images" / "b.npy", np.zeros((9, 9)))
    with pytest.raises(FullyConvError, match=r"b\.npy has 1 bands, but .*a\.npy has 4"):
        band_statistics(split_pictures(tmp_path, "", "bands"))


def test_a_band_that_never_varies_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    np.save(tmp_path / "images" / "a.npy", np.full((9, 9, 2), 7.0))
    assert band_statistics(split_pictures(tmp_path, "", "bands")).std == (1, 1)


def test_every_kind_of_file(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    deep = np.random.default_rng(0).integers(0, 65536, (6, 11, 13)).astype(np.uint16)
    deep[:, 0, 0] = 7
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(
            tmp_path / "six.tif", "w", driver="GTiff", width=13, height=11, count=6,
            dtype="uint16", nodata=7,
        ) as file:  # fmt: skip
            file.write(deep)
    expected = np.where(deep == 7, np.nan, deep.astype(np.float32)).transpose(1, 2, 0)
    np.testing.assert_array_equal(read_bands(tmp_path / "six.tif"), expected)
    assert bands_size(tmp_path / "six.tif") == (11, 13)
    np.save(tmp_path / "grey.npy", deep[0])
    np.testing.assert_array_equal(read_bands(tmp_path / "grey.npy")[..., 0], deep[0])
    assert bands_size(tmp_path / "grey.npy") == (11, 13)
    Image.fromarray(deep[0]).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_bands(tmp_path / "deep.png")[..., 0], deep[0])
    Image.fromarray(deep[0].astype(np.float32)).save(tmp_path / "float.tif")
    np.testing.assert_array_equal(read_bands(tmp_path / "float.tif")[..., 0], deep[0])
    colors = Image.fromarray((deep[:3] >> 8).astype(np.uint8).transpose(1, 2, 0))
    colors.save(tmp_path / "colors.png")
    np.testing.assert_array_equal(read_bands(tmp_path / "colors.png"), np.asarray(colors))
    colors.quantize(8).save(tmp_path / "palette.png")
    assert read_bands(tmp_path / "palette.png").shape == (11, 13, 3)


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros((4, 20, 30)), r"more bands than rows or columns; bands come last"),
        (np.zeros(7), r"this array is \(7,\)"),
        (np.zeros((0, 3)), r"this array is \(0, 3\)"),
        (np.zeros((5, 5), complex), r"bands hold real numbers; these are complex128"),
        (np.array([[{}]]), r"cannot be read as a NumPy array"),
    ],
)
def test_arrays_that_are_no_pictures(
    array: NDArray[np.generic], problem: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(FullyConvError, match=problem):
        read_bands(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["a.npy", "a.tif", "a.png"])
def test_files_that_are_missing_or_damaged(name: str, tmp_path: Path) -> None:
    with pytest.raises(FullyConvError, match="no such file"):
        read_bands(tmp_path / name)
    (tmp_path / name).write_bytes(b"\x93NUMPY nothing of the kind")
    with pytest.raises(FullyConvError, match=r"a\.(npy|tif|png): "):
        read_bands(tmp_path / name)


def test_augmentation_keeps_the_numbers_of_bands() -> None:
    image, target = scene(0)
    image = image[..., :3]  # three bands are no colours either
    vary = Augmentation(crop=(60, 70), mirror=True, color=0.3, bands=True)
    mirrored = 0
    for seed in range(8):
        varied, labels = vary(image, target, np.random.default_rng(seed))
        known = varied[labels != 255]
        expected = image.reshape(-1, 3)
        assert np.array_equal(np.sort(known, 0), np.sort(expected, 0), equal_nan=True)
        assert np.isfinite(varied[labels == 255]).all()
        mirrored += not np.array_equal(known, expected, equal_nan=True)
    assert 0 < mirrored < 8


def test_bands_stand_alone() -> None:
    for inputs in (("bands", "depth"), ("images", "bands")):
        with pytest.raises(UsageError, match="or bands alone"):
            DataConfig(inputs=inputs)


def test_what_is_shown_of_an_input() -> None:
    pixels = np.arange(2 * 5 * 4).reshape(2, 5, 4).astype(np.float32)
    assert NYUD_COLOR_DEPTH.picture(pixels)[1, 2].tolist() == [28, 29, 30]
    two = Preprocess(mean=(100.0, 0.0), std=(10.0, 1.0), inputs=("bands",))
    shown = two.picture(np.array([[[80, 0], [100, 0], [119, 0]]], np.float32))
    assert shown.tolist() == [[[0] * 3, [128] * 3, [249] * 3]]


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_the_first_layer_of_other_channels(channels: int, tmp_path: Path) -> None:
    """A grey picture in every band excites one or two bands as it does three."""
    torch.manual_seed(0)
    colors = build_backbone("vgg16", 3, 1 / 16)
    save_file(dict(colors.state_dict()), tmp_path / "w.safetensors")
    bands = build_backbone("vgg16", channels, 1 / 16)
    BackboneWeights.read(tmp_path / "w.safetensors").fill(bands)
    old = colors.state_dict()["stages.8.conv1_1.weight"]
    new = bands.state_dict()["stages.8.conv1_1.weight"]
    if channels < 3:
        torch.testing.assert_close(new.sum(1), old.sum(1))
    else:
        assert torch.equal(new[:, :3], old)
        for extra in range(3, channels):
            torch.testing.assert_close(new[:, extra], old.mean(1))


def test_sizes_are_checked_for_bands_too(fields: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    np.save(tmp_path / "images" / "a.npy", np.zeros((9, 9, 4)))
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(tmp_path / "labels" / "a.png")
    data = FolderDataset(tmp_path, "", LabelSpace(categories=("a", "b")), ("bands",))
    with pytest.raises(FullyConvError, match=r"9 x 9 pixels .* 9 x 8"):
        data.check_size(0, data.target(0))
