"""The server's answers, against the predictor and the command."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from command import fcn
from fullyconv.images import IMAGE_SUFFIXES
from fullyconv.labels import CAMVID
from fullyconv.networks import SHIPPED_MODELS
from fullyconv.prediction.prediction import Prediction
from fullyconv.prediction.predictor import Predictor
from fullyconv.scores import AS_THEY_ARE, Scores
from fullyconv.serve.answers import media_type, probability
from fullyconv.serve.problems import RequestError
from fullyconv.serve.regions import regions
from hostile import IMAGE, form
from serving import Answer, Gate, ask, connect, metric, serving, until

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PHOTO = EXAMPLES / "wide_road_overcast.jpg"


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor("camvid", "onnx")


@pytest.fixture(scope="module")
def port(predictor: Predictor) -> Iterator[int]:
    with serving(predictor) as port:
        yield port


@pytest.fixture(scope="module")
def prediction(predictor: Predictor) -> Prediction:
    return predictor(PHOTO)


def label(port: int, query: str = "", accept: str = "application/json") -> Answer:
    path = f"/v1/predict?{query}"
    answer = ask(port, path, PHOTO.read_bytes(), content_type="image/jpeg", accept=accept)
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == accept
    return answer


def turned(folder: Path) -> Path:
    """A photograph on its side, whose EXIF says so."""
    image = Image.open(PHOTO)
    exif = image.getexif()
    exif[0x0112] = 6
    path = folder / "turned.png"
    image.save(path, exif=exif)
    return path


def test_the_mask_has_the_bytes_that_the_command_writes(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [*EXAMPLES.glob("*.jpg"), turned(tmp_path)]
    grey = tmp_path / "grey.tif"
    Image.open(PHOTO).convert("L").save(grey)
    assert len(files) >= 3
    assert grey.suffix in IMAGE_SUFFIXES
    files.append(grey)
    assert fcn(monkeypatch, "predict", *files, "--out", tmp_path, "--save", "mask") == 0
    for file in files:
        expected = (tmp_path / f"{file.stem}-mask.png").read_bytes()
        body = file.read_bytes()
        raw = ask(port, "/v1/predict", body, content_type="image/*", accept="image/png")
        assert raw.body == expected, file
        kind = "multipart/form-data; boundary=b"
        formed = ask(port, "/v1/predict", form((IMAGE, body)), content_type=kind, accept="image/*")
        assert formed.body == expected, file


def test_runs_are_the_labels(port: int, prediction: Prediction) -> None:
    said = label(port).json
    assert (said["model"], said["width"], said["height"]) == ("camvid", 480, 360)
    labels = np.repeat(said["runs"]["values"], said["runs"]["counts"]).reshape(360, 480)
    assert (labels == prediction.labels).all()
    values = said["runs"]["values"]
    assert all(a != b for a, b in pairwise(values))
    assert 0 < said["seconds"] < 20
    assert [c["name"] for c in said["categories"]] == list(prediction.categories)
    assert [c["id"] for c in said["categories"]] == list(range(11))
    for category in said["categories"]:
        pixels = int((prediction.labels == category["id"]).sum())
        assert category["pixels"] == pixels
        assert category["share"] == pytest.approx(pixels / labels.size)
        assert bytes.fromhex(category["color"][1:]) == bytes(prediction.palette[category["id"]])


def test_coco_draws_its_run_lengths_as_the_labels(port: int, prediction: Prediction) -> None:
    """Decoded as pycocotools does: column by column, outside and inside in turn."""
    said = label(port, "regions=rle").json
    names = {prediction.categories[i] for i in np.unique(prediction.labels)}
    assert said["rle"].keys() == names
    for name, mask in said["rle"].items():
        assert mask["size"] == [360, 480]
        inside = np.arange(len(mask["counts"])) % 2
        drawn = np.repeat(inside, mask["counts"]).reshape(480, 360).T
        assert (drawn == (prediction.labels == prediction.categories.index(name))).all()


def test_polygons_cover_the_labels(port: int, prediction: Prediction) -> None:
    """Pixels whose middle a ring goes around, counted with Pillow at four times the size."""
    said = label(port, "regions=polygons").json
    for name, rings in said["polygons"].items():
        canvas = Image.new("L", (480 * 4, 360 * 4))
        for ring in rings:
            corners = [(4 * x - 0.5, 4 * y - 0.5) for x, y in ring]
            ImageDraw.Draw(canvas).polygon(corners, fill=1)
        middles = np.asarray(canvas)[2::4, 2::4]
        expected = prediction.labels == prediction.categories.index(name)
        assert (middles != expected).sum() <= 0.001 * expected.size, name


def test_regions_may_be_left_out(port: int) -> None:
    assert not label(port, "regions=none").json.keys() & {"runs", "rle", "polygons"}


def test_void_is_in_the_runs_and_in_no_class() -> None:
    labels = np.array([[255, 0], [255, 0]], np.uint8)
    assert regions(labels, CAMVID, "runs")["runs"] == {
        "values": [255, 0, 255, 0],
        "counts": [1] * 4,
    }
    assert regions(labels, CAMVID, "rle")["rle"].keys() == {CAMVID.categories[0]}


@pytest.mark.parametrize("opacity", ["", "opacity=0", "opacity=1"])
def test_the_overlay_is_the_predictions(port: int, prediction: Prediction, opacity: str) -> None:
    shown = Image.open(io.BytesIO(label(port, f"image=overlay&{opacity}", "image/png").body))
    expected = prediction.overlay(float(opacity[-1:] or 0.5))
    assert (np.asarray(shown) == expected).all()


def test_probabilities_come_as_grey_values(port: int, prediction: Prediction) -> None:
    expected = np.round(255 * prediction.probabilities())
    for query, wanted in (
        ("image=confidence", expected.max(0)),
        ("image=heat&class=road", expected[prediction.categories.index("road")]),
    ):
        shown = Image.open(io.BytesIO(label(port, query, "image/png").body))
        assert shown.mode == "L"
        assert np.abs(np.asarray(shown, int) - wanted).max() <= 1


def test_probabilities_of_scores_by_hand() -> None:
    logits = np.log(np.array([[[0.2]], [[0.8]]], np.float32))
    scores = Scores(logits, AS_THEY_ARE, 1, 1)
    assert probability(scores, 0).tolist() == [[51]]
    assert probability(scores).tolist() == [[204]]


def test_the_archive_holds_mask_overlay_and_labels(port: int, prediction: Prediction) -> None:
    with zipfile.ZipFile(io.BytesIO(label(port, "regions=rle", "application/zip").body)) as file:
        assert file.testzip() is None
        assert file.namelist() == ["mask.png", "overlay.png", "labels.json"]
        assert file.read("mask.png") == prediction.encode("mask")
        shown = np.asarray(Image.open(file.open("overlay.png")))
        assert (shown == prediction.overlay()).all()
        assert "road" in json.loads(file.read("labels.json"))["rle"]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html, image/webp, image/*;q=0.8, */*;q=0.1", "image/png"),
        ("application/*", "application/json"),
        ("application/zip, application/json;q=0.9", "application/zip"),
        ("application/json;q=0, */*;q=0.5", "image/png"),
        ("IMAGE/PNG ; Q=0.1", "image/png"),
    ],
)
def test_accept_decides(accept: str, expected: str) -> None:
    assert media_type(accept) == expected


@pytest.mark.parametrize("accept", ["text/html", "*/*;q=0", "application/json;q=x", ";;;,"])
def test_what_no_answer_is_acceptable_to(accept: str) -> None:
    with pytest.raises(RequestError, match="there are application/json, image/png and"):
        media_type(accept)


def test_the_model_says_what_it_is(port: int, predictor: Predictor) -> None:
    said = ask(port, "/v1/model").json
    assert (said["name"], said["licence"]) == ("camvid", predictor.header.info["licence"])
    assert [c["name"] for c in said["categories"]] == list(predictor.labels.categories)
    assert said["preprocessing"]["mean"] == [127, 127, 127]
    assert said["limits"] == {"bytes": 2e7, "pixels": 3e7, "queue": 64, "seconds": 60}
    assert 0 < said["seconds_per_megapixel"] < 20


def test_the_page_is_there(port: int) -> None:
    page = ask(port, "/")
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")


def test_health_readiness_and_the_page_do_not_wait_for_the_model() -> None:
    gate = Gate()
    with serving(gate) as port:
        gate.at_it.acquire()  # it is being warmed up
        assert ask(port, "/healthz").json == {"status": "ok"}
        assert ask(port, "/").status == 200
        assert "not warm yet" in ask(port, "/readyz").problem(503)
        gate.open.set()
        until(lambda: ask(port, "/readyz").status == 200)


def test_metrics_count_requests_pixels_and_the_queue(predictor: Predictor) -> None:
    with serving(predictor) as port:
        until(lambda: ask(port, "/readyz").status == 200)
        label(port)
        ask(port, "/v1/predict", b"x", content_type="image/png")
        ask(port, "/nothing/../" + "x" * 50)
        said = ask(port, "/metrics")
        assert said.headers["content-type"].startswith("text/plain")
        assert metric(port, 'fullyconv_requests_total{path="/v1/predict",status="200"}') == 1
        assert metric(port, 'fullyconv_requests_total{path="/v1/predict",status="422"}') == 1
        assert metric(port, 'fullyconv_requests_total{path="other",status="404"}') == 1
        assert metric(port, "fullyconv_pixels_total") == 360 * 480
        assert metric(port, 'fullyconv_stage_seconds_count{stage="network"}') == 1
        assert metric(port, "fullyconv_queue_length") == 0
        assert metric(port, "fullyconv_held_bytes") == 0


def test_one_connection_takes_many_requests(port: int) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(port, request * 2) as connection:  # one behind the other
        seen = b""
        while seen.count(b"HTTP/1.1 200 OK") < 2:
            block = connection.recv(4096)
            assert block
            seen += block


def test_the_document_describes_every_address(port: int) -> None:
    said = ask(port, "/openapi.json").json
    assert set(said["paths"]) == {"/v1/predict", "/v1/model", "/metrics", "/healthz", "/readyz"}
    predict = said["paths"]["/v1/predict"]["post"]
    assert set(predict["responses"]["200"]["content"]) == {
        "application/json", "image/png", "application/zip",
    }  # fmt: skip
    for status, answer in predict["responses"].items():
        if status != "200":
            assert answer["content"]["application/problem+json"]["example"]["detail"]
    assert ask(port, "/docs").status == 404  # its scripts would come from elsewhere


def test_shipped_models_are_served_without_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys\n"
        "from fullyconv.prediction.predictor import Predictor\n"
        "from fullyconv.serve.running import server, Settings\n"
        "from fullyconv.serve.app import create_app\n"
        f"for model in {SHIPPED_MODELS}:\n"
        "    server(create_app(Predictor(model)), Settings()).config.load()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
