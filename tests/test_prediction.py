"""From photographs to files: every kind of source and output, and what happens to bad ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from fullyconv.checkpoint import model_path
from fullyconv.data.folder import FolderDataset
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.labels import CAMVID, NYUDV2_39, LabelSpace
from fullyconv.metrics import ConfusionMatrix
from fullyconv.prediction.photos import find_photos
from fullyconv.prediction.predicting import predict
from fullyconv.prediction.prediction import Prediction, parse_outputs
from fullyconv.prediction.predictor import Predictor

Photo = NDArray[np.uint8]


@pytest.fixture
def model(small_model: Path) -> Path:
    """A small network of random weights."""
    return small_model


@pytest.fixture
def photo() -> Photo:
    return np.random.default_rng(0).integers(0, 256, (37, 61, 3)).astype(np.uint8)


def test_path_image_and_array_give_the_same_labels(
    model: Path, photo: Photo, tmp_path: Path
) -> None:
    predictor = Predictor(model)
    Image.fromarray(photo).save(tmp_path / "street.png")
    by_array = predictor(photo)
    by_image = predictor(Image.fromarray(photo))
    by_path = predictor(tmp_path / "street.png")
    assert by_array.labels.shape == (37, 61)
    assert by_array.labels.dtype == np.uint8
    assert len(np.unique(by_array.labels)) > 1
    assert np.array_equal(by_array.labels, by_image.labels)
    assert np.array_equal(by_array.labels, by_path.labels)
    assert (by_array.name, by_path.name) == ("", "street")
    assert by_path.categories == CAMVID.categories
    assert by_path.palette == CAMVID.palette


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (33, 2), (31, 31), (64, 100)])
def test_any_size(model: Path, size: tuple[int, int]) -> None:
    prediction = Predictor(model)(np.zeros((*size, 3), np.uint8))
    assert prediction.labels.shape == size
    assert prediction.overlay().shape == (*size, 3)


def test_probabilities_are_those_of_softmax(model: Path, photo: Photo) -> None:
    prediction = Predictor(model)(photo)
    expected = torch.from_numpy(prediction.logits).double().softmax(0).numpy()
    np.testing.assert_allclose(prediction.probabilities(), expected, atol=1e-6)
    assert np.array_equal(prediction.probabilities().argmax(0), prediction.labels)
    shares = prediction.shares()
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    best = next(iter(shares))
    mask = prediction.labels == CAMVID.categories.index(best)
    assert shares[best] == pytest.approx(mask.mean())


def test_files_hold_what_their_names_say(model: Path, photo: Photo, tmp_path: Path) -> None:
    prediction = Predictor(model)(photo)
    files = prediction.save(tmp_path, "probs,mask, color,overlay")
    assert [f.name for f in files] == [
        "image-mask.png",
        "image-color.png",
        "image-overlay.jpg",
        "image-probs.npy",
    ]
    with Image.open(files[0]) as mask:
        assert mask.mode == "P"
        assert np.array_equal(np.asarray(mask), prediction.labels)
        colors = np.asarray(mask.convert("RGB"))
    with Image.open(files[1]) as color:
        assert np.array_equal(np.asarray(color), colors)
    assert np.array_equal(colors[5, 7], CAMVID.palette[prediction.labels[5, 7]])
    with Image.open(files[2]) as shown:
        assert shown.height == 37
        assert shown.width > 61  # the legend
    np.testing.assert_allclose(np.load(files[3]), prediction.probabilities(), atol=1e-3)


def test_no_such_output() -> None:
    with pytest.raises(UsageError, match="no output 'masks'. Did you mean mask"):
        parse_outputs("masks")


def test_a_folder_keeps_names_and_sub_folders(model: Path, photo: Photo, tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "deep/er/b.PNG", "notes.txt"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("txt"):
            path.write_text("no picture")
        else:
            Image.fromarray(photo).save(path)
    seen: list[tuple[str, int, int]] = []

    def report(
        path: Path | str, result: object, files: Sequence[Path], number: int, total: int
    ) -> None:
        seen.append((Path(path).name, number, total))

    assert predict([tmp_path / "in"], model=model, out=tmp_path / "out", report=report) == []
    assert seen == [("a.jpg", 1, 3), ("a.png", 2, 3), ("b.PNG", 3, 3)]
    written = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")}
    assert written == {
        "a.jpg-mask.png",  # two photographs of one name: neither overwrites the other
        "a.jpg-overlay.jpg",
        "a.png-mask.png",
        "a.png-overlay.jpg",
        "deep/er/b-mask.png",
        "deep/er/b-overlay.jpg",
        "predictions.json",
        "predictions.jsonl",
    }
    summary = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert summary["categories"] == list(CAMVID.categories)
    assert [entry["height"] for entry in summary["photos"]] == [37, 37, 37]
    assert all(Path(file).exists() for entry in summary["photos"] for file in entry["files"])


def test_no_result_overwrites_another(model: Path, photo: Photo, tmp_path: Path) -> None:
    """Files of one name from several folders; and the same file twice, which is one."""
    for name in ("p/a.png", "q/a.png", "q/sub/a.png", "q/a.bmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(tmp_path / name)
    twice = tmp_path / "p/a.png"
    sources: list[str | Path] = [twice, tmp_path / "q", str(tmp_path / "q/*.png"), twice]
    predict(sources, model=model, out=tmp_path / "out", save="mask")
    photos = json.loads((tmp_path / "out" / "predictions.json").read_text())["photos"]
    files = [file for entry in photos for file in entry["files"]]
    assert len(photos) == 4
    assert len(set(files)) == len(files)
    names = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*-mask.png")}
    assert names == {"a.png-mask.png", "a.png-2-mask.png", "a.bmp-mask.png", "sub/a-mask.png"}


def test_one_source_needs_no_list(model: Path, photo: Photo, tmp_path: Path) -> None:
    Image.fromarray(photo).save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", str(tmp_path / "a.png")):
        assert predict(source, model=model, out=tmp_path / "out", save="mask") == []


def test_a_full_disk_leaves_no_half_picture(
    model: Path, photo: Photo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but complete content ever reaches the file: encoders work in memory."""
    written: list[int] = []

    def limited(path: Path, write: Callable[[BinaryIO], object], durable: bool) -> None:
        with (tmp_path / "counted").open("wb") as file:
            write(file)
            written.append(file.tell())

    prediction = Predictor(model)(photo)
    whole = [file.stat().st_size for file in prediction.save(tmp_path / "a", "mask,color,overlay")]
    monkeypatch.setattr("fullyconv.files.write_whole", limited)
    prediction.save(tmp_path / "b", "mask,color,overlay")
    assert written == whole


def test_one_bad_picture_does_not_stop_the_others(
    model: Path, photo: Photo, tmp_path: Path
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(photo).save(tmp_path / name)
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:500])
    errors: list[object] = []

    def report(
        path: Path | str, result: object, files: Sequence[Path], number: int, total: int
    ) -> None:
        if isinstance(result, FullyConvError):
            errors.append(Path(path).name)

    failures = predict(
        [str(tmp_path / "?.png")], model=model, out=tmp_path / "out", save="mask", report=report
    )
    assert len(failures) == 1
    assert "b.png: the picture is damaged or cut short" in failures[0]
    assert errors == ["b.png"]
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["a-mask.png", "c-mask.png", "predictions.json", "predictions.jsonl"]
    assert "error" in json.loads((tmp_path / "out" / "predictions.json").read_text())["photos"][1]


def test_sources_that_name_nothing_are_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FullyConvError, match="empty: no picture in this folder"):
        list(find_photos([tmp_path / "empty"]))
    with pytest.raises(FullyConvError, match=r"x\*.jpg: no file fits this pattern"):
        list(find_photos([tmp_path / "x*.jpg"]))
    failures = predict([tmp_path / "none.jpg"], model=model, out=tmp_path / "out")
    assert failures == [f"{tmp_path / 'none.jpg'}: there is no such file"]


def test_a_pattern_relative_to_the_working_folder(
    photo: Photo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo).save("z.png")
    assert list(find_photos(["*.png"])) == [(Path("z.png"), Path())]


def test_models_and_runtimes_that_do_not_exist(model: Path, tmp_path: Path) -> None:
    with pytest.raises(
        FullyConvError, match=r"camvit: there is no such file, and no shipped model"
    ):
        model_path("camvit")
    with pytest.raises(UsageError, match="no runtime 'tensorrt'. Known: auto, ncnn, onnx"):
        Predictor(model, runtime="tensorrt")


def test_an_image_of_another_form_is_refused(model: Path) -> None:
    predictor = Predictor(model)
    with pytest.raises(
        FullyConvError, match=r"\(H, W, 3\) uint8, RGB, 0-255.*; got float32 of shape"
    ):
        predictor(np.zeros((4, 4, 3), np.float32))
    with pytest.raises(FullyConvError, match=r"got uint8 of shape \(4, 4\)"):
        predictor(np.zeros((4, 4), np.uint8))


def test_a_place_that_cannot_be_written_is_named(model: Path, photo: Photo, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FullyConvError, match=r"file/image-mask.png: cannot be written"):
        Predictor(model)(photo).save(tmp_path / "file", "mask")


def test_the_shipped_model_knows_a_street() -> None:
    """The photographs in examples/: sky above, road below, and an honest model card."""
    predictor = Predictor("camvid")
    photo = Path(__file__).resolve().parents[1] / "examples" / "wide_road_overcast.jpg"
    prediction = predictor(photo)
    assert isinstance(prediction, Prediction)
    top = prediction.labels[:60]
    bottom = prediction.labels[-120:]
    assert (top == CAMVID.categories.index("sky")).mean() > 0.9
    assert (bottom == CAMVID.categories.index("road")).mean() > 0.9
    assert model_path("camvid").stat().st_size <= 10_000_000
    assert predictor.header.info["metrics"]["mean_iou"] >= 0.61


def accuracy_on_val(name: str, shared: Path, space: LabelSpace, indices: list[int]) -> float:
    """Pixel accuracy of a shipped model on some pictures of the data set of its name."""
    dataset = FolderDataset(shared / "data" / name, "val", space)
    predictor = Predictor(name)
    confusion = ConfusionMatrix(space.num_classes)
    for index in indices:
        sample = dataset[index]
        confusion.update(predictor(sample.image).labels, sample.target)
    return confusion.compute().pixel_accuracy


def test_the_shipped_model_scores_what_its_header_says(shared: Path) -> None:
    """Three pictures here, by eye of the matrix; make test-all scores all 101."""
    assert accuracy_on_val("camvid", shared, CAMVID, [10, 50, 90]) > 0.85


def test_the_shipped_model_of_rooms() -> None:
    """39 classes, at most 10 MB, and terms that say what it was trained on."""
    predictor = Predictor("nyudv2")
    assert model_path("nyudv2").stat().st_size <= 10_000_000
    assert predictor.labels == NYUDV2_39
    assert "NYUDv2" in predictor.header.info["licence"]
    assert predictor.header.info["recipe"]["data"]["train"] == ["train", "val"]


def test_the_shipped_model_of_rooms_knows_walls_and_floors(shared: Path) -> None:
    """On pictures it was trained on; its score is that of the same recipe on train alone."""
    assert accuracy_on_val("nyudv2", shared, NYUDV2_39, [10, 100, 200]) > 0.6
