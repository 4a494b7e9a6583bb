"""A thousand classes, with gaps between their ids in 16-bit files: from the pictures to ONNX."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from command import fcn
from fullyconv.checkpoint import read_header
from fullyconv.config import DataConfig, OptimConfig, Recipe
from fullyconv.data.augment import Augmentation
from fullyconv.data.check import check, stats
from fullyconv.data.exporters import export_data
from fullyconv.data.exporters.run import Form
from fullyconv.data.folder import FolderDataset
from fullyconv.data.importers import import_data
from fullyconv.data.proposal import propose
from fullyconv.data.sources import read_label_space
from fullyconv.data.splitting import split_data
from fullyconv.evaluation import evaluate
from fullyconv.labels import LabelSpace, voc_palette
from fullyconv.losses import cross_entropy, head_losses
from fullyconv.metrics import ConfusionMatrix
from fullyconv.networks import model_config
from fullyconv.prediction.predictor import Predictor
from fullyconv.training import train

COUNT = 1000
RAW = tuple(3 * i + 7 for i in range(COUNT))  # 255 is none of them, 262 is class 85
VOID = 40_000


def ids_of(number: int) -> NDArray[np.uint16]:
    """256 of the classes in cells of 4 x 4 pixels, another quarter in each picture, under void."""
    classes = (np.arange(256) + 250 * number) % COUNT
    cells = np.array(RAW, np.uint16)[classes].reshape(16, 16)
    ids = cells.repeat(4, 0).repeat(4, 1)
    ids[:2] = VOID
    return ids


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("thousand")
    names = {"categories": [f"kind {i}" for i in range(COUNT)], "raw_ids": RAW, "void": [VOID]}
    (root / "classes.json").write_text(json.dumps(names))
    rng = np.random.default_rng(0)
    for number in range(5):
        folder = root / ("train" if number < 4 else "val")
        for kind in ("images", "labels"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"p{number}.png")
        Image.fromarray(ids_of(number)).save(folder / "labels" / f"p{number}.png")
    return root


@pytest.fixture(scope="module")
def trained(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps: random scale, crop and mirror, weighted classes, moving average."""
    run = Recipe(
        model=model_config("fcn8s_vgg16", num_classes=2, width=1 / 16),
        data=DataConfig(root=root, crop=(80, 48), scale=(0.8, 1.2), mirror=True, workers=0),
        optim=OptimConfig(lr=3e-3, batch_size=2, max_iters=3, average=0.5, class_weights="enet"),
        eval_interval=3,
        log_interval=1,
        from_scratch=True,
    )
    folder = tmp_path_factory.mktemp("run")
    train(run, folder, progress=False)
    return folder


def test_targets_are_of_16_bits_and_void_is_no_class(root: Path) -> None:
    space = read_label_space(root / "classes.json")
    dataset = FolderDataset(root, "train", space)
    target = dataset[1].target
    assert target.dtype == np.uint16
    assert (space.ignore_index, dataset.ignore_index) == (65535, 65535)
    raw = ids_of(1)
    expected = np.where(raw == VOID, 65535, (raw.astype(int) - 7) // 3)
    np.testing.assert_array_equal(target, expected)
    assert 255 in target


def test_usual_void_is_255_of_255_classes_and_65535_of_more() -> None:
    for count, void in ((2, 255), (255, 255), (256, 65535), (1000, 65535)):
        space = LabelSpace(categories=tuple(map(str, range(count))))
        assert space.void == (void,)
        ids = np.array([[0, count - 1, void]], np.uint16)
        encoded = space.encode(ids)
        assert encoded.tolist() == [[0, count - 1, void]]
        assert encoded.itemsize == (1 if count < 256 else 2)
        assert LabelSpace.from_dict(space.to_dict()) == space
        colors = space.colorize(encoded)[0]
        assert [tuple(c) for c in colors.tolist()] == [
            (0, 0, 0), voc_palette(count)[-1], (0, 0, 0)]  # fmt: skip


def test_a_void_that_is_a_class_is_refused() -> None:
    logits, target = torch.zeros(1, 300, 1, 2), torch.tensor([[[255, 65535]]])
    with pytest.raises(ValueError, match="ignore_index 255 is one of the 300 classes; set it to"):
        cross_entropy(logits, target)
    assert cross_entropy(logits, target, "sum", 65535).item() == pytest.approx(np.log(300))
    with pytest.raises(ValueError, match="ignore_index 255 is one of the 300 classes; set it to"):
        ConfusionMatrix(300)
    assert ConfusionMatrix(300, 65535).update([255, 0], [255, 65535]).matrix.sum() == 1


def test_heads_of_many_and_of_few_classes_have_one_void(root: Path, tmp_path: Path) -> None:
    for kind in ("images", "labels", "kinds"):
        (tmp_path / kind).mkdir()
    Image.open(root / "train" / "images" / "p0.png").save(tmp_path / "images" / "p.png")
    Image.fromarray(ids_of(0)).save(tmp_path / "labels" / "p.png")
    few = np.zeros((64, 64), np.uint8)
    few[:, :8], few[:, 8:16] = 255, 1
    Image.fromarray(few).save(tmp_path / "kinds" / "p.png")
    space, two = read_label_space(root / "classes.json"), LabelSpace(categories=("a", "b"))
    target = FolderDataset(tmp_path, "", space, heads={"kinds": two}).target(0)
    assert target.dtype == np.uint16
    np.testing.assert_array_equal(target[1], np.where(few == 255, 65535, few.astype(int)))
    logits = {"labels": torch.zeros(1, COUNT, 64, 64), "kinds": torch.zeros(1, 2, 64, 64)}
    sums, counted = head_losses(logits, torch.from_numpy(target.astype(np.int64))[None], [None] * 2)
    assert counted.tolist() == [62 * 64, 64 * 56]
    assert sums.tolist() == pytest.approx([62 * 64 * np.log(COUNT), 64 * 56 * np.log(2)], rel=1e-5)


def test_crops_and_mirrors_keep_ids_and_fill_with_void(root: Path) -> None:
    sample = FolderDataset(root, "train", read_label_space(root / "classes.json"))[3]
    vary = Augmentation(crop=(100, 90), scale=(0.5, 2.0), mirror=True, jitter=3)
    known = {*np.unique(sample.target).tolist()}
    for seed in range(20):
        image, target = vary(sample.image, sample.target, np.random.default_rng(seed))
        assert (image.shape, target.shape) == ((100, 90, 3), (100, 90))
        assert target.dtype == np.uint16
        assert {*np.unique(target).tolist()} <= known
    shifted = Augmentation(crop=(70, 64))(sample.image, sample.target, np.random.default_rng(1))[1]
    inside = (shifted != 65535).any(1)
    top = int(np.flatnonzero(inside)[0]) - 2
    np.testing.assert_array_equal(shifted[top : top + 64], sample.target)


def test_training_starts_at_the_loss_of_chance_and_scores_every_class(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert lines[0]["loss"] == pytest.approx(np.log(COUNT), rel=1e-3)  # scores start at zero
    header = read_header(trained / "best.safetensors")
    assert header.labels.num_classes == COUNT
    assert header.labels.raw_ids == RAW
    scores = json.loads((trained / "scores.json").read_text())
    assert len(scores["per_class_iou"]) == COUNT
    assert (trained / "report.html").stat().st_size < 5e6


def test_scores_are_those_of_the_predictions(
    trained: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained / "best.safetensors"
    found = evaluate(
        model, root, split="train", boundary=1, worst=1, out=tmp_path / "s.json", progress=False
    )
    matrix = np.zeros((COUNT, COUNT), int)
    predictor = Predictor(model)
    for number in range(4):
        labels = predictor(root / "train" / "images" / f"p{number}.png").labels
        assert labels.dtype == np.uint16
        truth = (ids_of(number).astype(int) - 7) // 3
        for t, p in zip(truth[2:].ravel(), labels[2:].ravel(), strict=True):
            matrix[t, p] += 1
    np.testing.assert_array_equal(found.metrics.matrix, matrix)
    assert matrix[255].sum() == 16 + 8  # an ordinary class
    assert found.boundary is not None
    inside = (2 * 3 + 14 * 2) * (3 + 14 * 2)  # of the cells, but for a pixel along each side
    assert found.boundary.matrix.sum() == 4 * (62 * 64 - inside)
    written = json.loads((tmp_path / "s.json").read_text())
    np.testing.assert_array_equal(written["confusion_matrix"], matrix)
    assert (tmp_path / "s.html").stat().st_size < 5e6
    assert fcn(monkeypatch, "evaluate", model, root, "--out", tmp_path / "val.json") == 0


def test_predictions_are_read_again_as_they_were(
    trained: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, photo = trained / "best.safetensors", root / "val" / "images" / "p4.png"
    expected = Predictor(model)(photo)
    out = tmp_path / "out"
    assert fcn(monkeypatch, "predict", photo, "--model", model, "--out", out,
               "--save", "mask,color,overlay,probs") == 0  # fmt: skip
    assert (out / "p4-mask.png").read_bytes()[24] == 16  # bits per sample, in PNG's header
    with Image.open(out / "p4-mask.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), expected.labels)
    colors = np.asarray(Image.open(out / "p4-color.png"))
    palette = np.array(voc_palette(COUNT), np.uint8)
    np.testing.assert_array_equal(colors, palette[expected.labels])
    assert np.load(out / "p4-probs.npy").shape == (COUNT, 64, 64)
    assert sum(expected.shares().values()) == pytest.approx(1)


def test_predictions_are_looked_through_beside_the_truth(
    trained: Path, root: Path, tmp_path: Path
) -> None:
    from fullyconv.serve.view_listing import open_folder
    from fullyconv.serve.view_pictures import details

    predictor, photo = Predictor(trained / "best.safetensors"), root / "val" / "images" / "p4.png"
    prediction = predictor(photo)
    prediction.save(tmp_path, "mask")
    folder = open_folder(tmp_path, truth=root, images=photo.parent)
    seen = details(folder, 0)
    runs = seen["layers"]["prediction"]["runs"]
    repeated = np.repeat(runs["values"], runs["counts"])
    np.testing.assert_array_equal(repeated, prediction.labels.ravel())
    truth = seen["layers"]["truth"]
    assert sum(category["share"] for category in truth["categories"]) == pytest.approx(62 / 64)
    assert len(seen["iou"]) == COUNT


def test_the_server_counts_classes_above_255() -> None:
    """In a picture of several bands of rows, the first of which hold low ids alone; and void."""
    pytest.importorskip("fastapi")
    from fullyconv.serve.answers import described

    space = LabelSpace(categories=tuple(f"c{i}" for i in range(COUNT)))
    labels = np.zeros((200, 10), np.uint16)
    labels[100:150] = COUNT - 1
    labels[150:] = space.ignore_index
    said = described(labels, space, "none")
    pixels = [category["pixels"] for category in said["categories"]]
    assert (len(pixels), pixels[0], pixels[-1], sum(pixels)) == (COUNT, 1000, 500, 1500)
    assert said["categories"][-1]["share"] == 0.25


def test_a_raster_is_labelled_in_16_bits(trained: Path, root: Path, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    from fullyconv.prediction.rasters.labelling import RasterOptions, label_raster
    from fullyconv.prediction.rasters.sources import at_work

    predictor = Predictor(trained / "best.safetensors", runtime="torch")
    pixels = np.asarray(Image.open(root / "val" / "images" / "p4.png")).transpose(2, 0, 1)
    profile = {"driver": "GTiff", "dtype": "uint8", "width": 64, "height": 64, "count": 3}
    with at_work(rasterio), rasterio.open(tmp_path / "a.tif", "w", nodata=0, **profile) as file:
        file.write(np.where(np.arange(64) < 5, np.uint8(0), np.maximum(pixels, 1)))
    out = tmp_path / "labels.tif"
    label_raster(tmp_path / "a.tif", predictor, out, RasterOptions(polygons="geojson"))
    with at_work(rasterio), rasterio.open(out) as file:
        labels, colors = file.read(1), file.colormap(1)
        assert (file.dtypes, file.nodata) == (("uint16",), 65535)
    assert (labels[:, :5] == 65535).all()
    assert (labels[:, 5:] < COUNT).all()
    assert colors[999][:3] == voc_palette(COUNT)[999]
    assert json.loads((tmp_path / "labels.geojson").read_text())["features"]


def test_an_exported_file_says_the_same(trained: Path, root: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from fullyconv.exporting import export

    model, photo = trained / "best.safetensors", root / "val" / "images" / "p4.png"
    export(model, "onnx", out=tmp_path / "m.onnx", size=(64, 64))
    torch_labels = Predictor(model, runtime="torch")(photo).labels
    onnx = Predictor(tmp_path / "m.onnx")
    assert onnx.header.labels == read_header(model).labels
    np.testing.assert_array_equal(onnx(photo).labels, torch_labels)


def test_it_is_checked_counted_split_and_proposed(root: Path, tmp_path: Path) -> None:
    report = check(root, progress=False)
    assert not [f for f in report.findings if f.kind.severity == "error"], report
    counted = stats(root, progress=False)
    assert counted.training.counts[0].sum() == 4 * 62 * 64
    assert counted.training.void == 4 * 2 * 64
    assert counted.training.counts[0][255] == 16 + 8
    made = split_data(root, tmp_path / "split", val=0.4, progress=False)
    assert made.pixels.sum() == 5 * 62 * 64
    proposal = propose(root, progress=False)
    assert proposal.recipe.model.num_classes == COUNT


def test_a_folder_without_names_is_numbered(root: Path, tmp_path: Path) -> None:
    for number in range(5):
        for kind in ("images", "labels"):
            folder = "train" if number < 4 else "val"
            target = tmp_path / folder / kind / f"p{number}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((root / folder / kind / f"p{number}.png").read_bytes())
    ids = np.arange(COUNT, dtype=np.uint16).reshape(20, 50)
    Image.fromarray(ids).resize((64, 64), 0).save(tmp_path / "train" / "labels" / "p0.png")
    propose(tmp_path, progress=False)
    space = read_label_space(tmp_path / "classes.json")
    assert (255 in space.raw_ids, VOID in space.raw_ids, space.void) == (True, True, (65535,))


@pytest.mark.parametrize("form", ["masks", "coco"])
def test_there_and_back_through_a_tool_s_form(root: Path, tmp_path: Path, form: Form) -> None:
    exported = tmp_path / "export.zip"
    export_data(root, exported, form, shape="mask", progress=False)
    import_data(exported, tmp_path / "back", unlabelled="void", progress=False)
    space = read_label_space(tmp_path / "back" / "classes.json")
    assert space.void == (65535,)
    for number in range(5):
        folder = "train" if number < 4 else "val"
        with Image.open(tmp_path / "back" / folder / "labels" / f"p{number}.png") as image:
            found = space.encode(np.asarray(image))
        names = np.array([*space.categories, *[""] * (65536 - COUNT)])[found]
        raw = ids_of(number).astype(int)
        expected = np.array([f"kind {i}" for i in range(COUNT)])[(raw - 7) // 3 % COUNT]
        np.testing.assert_array_equal(names, np.where(raw == VOID, "", expected))
