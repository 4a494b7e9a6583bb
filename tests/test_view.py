"""fcn view: what it lists, scores, sends and refuses."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import jaccard_score

from browser import PHONE, chromium, opened, served, violations
from fullyconv.errors import FullyConvError
from fullyconv.files import write_json
from fullyconv.prediction.predicting import predict
from fullyconv.serve.view import create_view, view
from fullyconv.serve.view_listing import open_folder
from fullyconv.serve.view_scores import Scores, compare

if TYPE_CHECKING:
    from playwright.sync_api import Browser

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NAMES = ("avenue_from_above", "old_town_street_corner", "wide_road_overcast")
CATEGORIES, PALETTE = ["sky", "road", "tree"], [[9, 9, 9], [200, 0, 0], [0, 200, 0]]
CLASSES = {"categories": CATEGORIES, "palette": PALETTE}


def save_ids(path: Path, ids: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(ids)
    colors = [value for color in PALETTE for value in color]
    image.putpalette(colors + [0] * (768 - len(colors)))  # all 256, or Pillow stores fewer bits
    image.save(path)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What fcn predict writes of the examples."""
    out = tmp_path_factory.mktemp("results")
    predict([str(EXAMPLES)], out=out, save="mask,overlay,color")
    return out


@pytest.fixture
def compared(tmp_path: Path) -> tuple[Path, Path]:
    """Twenty masks and the truth; picture i has 3 i wrong pixels of 600."""
    masks, data = tmp_path / "masks", tmp_path / "data"
    rng = np.random.default_rng(0)
    for number in range(20):
        truth = rng.integers(0, 3, (20, 30)).astype(np.uint8)
        truth[0, :5] = 255
        guess = np.where(truth == 255, 0, truth).astype(np.uint8)
        guess[10].flat[: 3 * number] = (guess[10].flat[: 3 * number] + 1) % 3
        guess[11].flat[: max(0, 3 * number - 30)] = (
            guess[11].flat[: max(0, 3 * number - 30)] + 1
        ) % 3
        name = f"p{number:02}"
        save_ids(data / "val" / "labels" / f"{name}.png", truth)
        photo = data / "val" / "images" / f"{name}.jpg"
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 30, 3)).astype(np.uint8)).save(photo)
        save_ids(masks / f"{name}-mask.png", guess)
    write_json(data / "classes.json", CLASSES)
    return masks, data


def get(address: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(address, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def get_json(address: str) -> Any:
    status, _, body = get(address)
    assert status == 200, body
    return json.loads(body)


def wait_for_scores(address: str) -> dict[str, Any]:
    for _ in range(200):
        folder: dict[str, Any] = get_json(address + "v1/folder")
        if not folder["scoring"]:
            return folder
        time.sleep(0.05)
    raise AssertionError("the scores are not there")


def test_results_of_the_command_are_listed_with_their_photographs(results: Path) -> None:
    folder = open_folder(results)
    assert folder.kind == "predictions"
    assert tuple(item.name for item in folder.items) == NAMES
    assert folder.space.categories[:2] == ("sky", "building")
    for item in folder.items:
        assert item.photo is not None
        assert item.photo.path == EXAMPLES / f"{item.name}.jpg"  # as predictions.jsonl says
        labels = folder.prediction(item)
        assert labels is not None
        np.testing.assert_array_equal(
            labels, np.array(Image.open(results / f"{item.name}-mask.png"))
        )


def test_photographs_beside_the_masks_or_where_they_are_said_to_be(
    tmp_path: Path, results: Path
) -> None:
    shutil.copy(results / f"{NAMES[2]}-mask.png", tmp_path / "sub.png")
    (folder := tmp_path / "a").mkdir()
    shutil.copy(results / f"{NAMES[2]}-mask.png", folder)
    shutil.copy(EXAMPLES / f"{NAMES[2]}.jpg", folder)
    (item,) = open_folder(folder).items
    assert item.photo is not None
    assert item.photo.path == folder / f"{NAMES[2]}.jpg"
    (item,) = open_folder(folder, images=EXAMPLES).items
    assert item.photo is not None
    assert item.photo.path == EXAMPLES / f"{NAMES[2]}.jpg"
    # without a record, the palette says how many classes there are, and no name
    assert open_folder(folder).space.categories[:2] == ("class 0", "class 1")
    assert open_folder(folder, classes="camvid").space.categories[0] == "sky"


def test_masks_of_another_tool(tmp_path: Path) -> None:
    save_ids(tmp_path / "sub" / "a.png", np.zeros((4, 5), np.uint8))
    (item,) = open_folder(tmp_path).items
    assert item.name == "sub/a"
    assert item.photo is None


def test_a_data_set_and_a_split_of_it(compared: tuple[Path, Path]) -> None:
    _, data = compared
    (data / "val" / "labels" / "p03.png").unlink()
    whole, split = open_folder(data), open_folder(data / "val")
    assert whole.kind == split.kind == "data"
    assert whole.items[0].name == "val/p00"
    assert split.items[0].name == "p00"
    assert [item.name for item in split.items if item.truth is None] == ["p03"]


def test_scores_are_those_of_another_library(compared: tuple[Path, Path]) -> None:
    masks, data = compared
    folder = open_folder(masks, truth=data)
    assert folder.kind == "comparison"
    scores = Scores(folder)
    scores.start()
    scores._thread.join(20)
    expected = []
    truths, guesses = [], []
    for item in folder.items:
        truth = np.asarray(Image.open(data / "val" / "labels" / f"{item.name}.png")).ravel()
        guess = np.asarray(Image.open(masks / f"{item.name}-mask.png")).ravel()[truth != 255]
        truth = truth[truth != 255]
        truths.append(truth)
        guesses.append(guess)
        expected.append(jaccard_score(truth, guess, average="macro"))
    assert [scores.of(n) for n in range(20)] == pytest.approx(expected)
    everything = jaccard_score(np.concatenate(truths), np.concatenate(guesses), average="macro")
    assert scores.state() == {
        "scored": 20,
        "scoring": False,
        "mean_iou": pytest.approx(everything),
    }
    assert scores.worst_first(list(range(20))) == list(np.argsort(expected, kind="stable"))
    scores.stop()


def test_ids_in_files_are_read_as_the_data_set_says(tmp_path: Path) -> None:
    """A mask holds class ids, a label file whatever classes.json says."""
    save_ids(tmp_path / "masks" / "a-mask.png", np.array([[0, 1, 2, 2]], np.uint8))
    save_ids(tmp_path / "data" / "labels" / "a.png", np.array([[10, 20, 30, 0]], np.uint8))
    (tmp_path / "data" / "images").mkdir()
    write_json(
        tmp_path / "data" / "classes.json", {**CLASSES, "raw_ids": [10, 20, 30], "void": [0]}
    )
    folder = open_folder(tmp_path / "masks", truth=tmp_path / "data")
    found = compare(folder, folder.items[0])
    assert found is not None
    assert found[0].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_two_runs_are_compared(compared: tuple[Path, Path]) -> None:
    masks, _ = compared
    other = masks.parent / "other_run"
    shutil.copytree(masks, other)
    changed = np.array(Image.open(other / "p04-mask.png"))
    changed[:10] = (changed[:10] + 1) % 3
    save_ids(other / "p04-mask.png", changed)
    (other / "p05-mask.png").unlink()
    folder = open_folder(masks, truth=other)
    assert (folder.kind, folder.reference) == ("comparison", "other_run")
    scores = Scores(folder)
    scores.start()
    scores._thread.join(20)
    assert scores.worst_first(list(range(20)))[0] == 4
    assert scores.of(3) == 1
    assert scores.of(5) is None


@pytest.fixture
def address(compared: tuple[Path, Path]) -> Iterator[str]:
    masks, data = compared
    with served(create_view(open_folder(masks, truth=data))) as address:
        yield address


def test_what_the_server_says(address: str, compared: tuple[Path, Path]) -> None:
    masks, data = compared
    folder = wait_for_scores(address)
    assert (folder["name"], folder["kind"], folder["total"]) == ("masks", "comparison", 20)
    worst = get_json(address + "v1/pictures?sort=worst&count=3")["pictures"]
    assert [picture["name"] for picture in worst] == ["p19", "p18", "p17"]
    assert worst[0]["score"] < worst[1]["score"]
    by_name = get_json(address + "v1/pictures?start=18&count=5")
    assert [picture["name"] for picture in by_name["pictures"]] == ["p18", "p19"]
    assert get_json(address + "v1/pictures?find=P07")["total"] == 1

    one = get_json(address + "v1/pictures/19")
    for layer, path in (
        ("truth", data / "val" / "labels" / "p19.png"),
        ("prediction", masks / "p19-mask.png"),
    ):
        runs = one["layers"][layer]["runs"]
        expected = np.asarray(Image.open(path))
        np.testing.assert_array_equal(
            np.repeat(runs["values"], runs["counts"]).reshape(expected.shape), expected
        )
        shares = [c["share"] for c in one["layers"][layer]["categories"]]
        assert shares == pytest.approx([(expected == i).mean() for i in range(3)])
    assert one["layers"]["truth"]["categories"][1]["color"] == "#c80000"
    assert np.mean(one["iou"]) == pytest.approx(worst[0]["score"])

    status, headers, body = get(address + "v1/pictures/19/photo")
    assert (status, headers["content-type"]) == (200, "image/jpeg")
    assert body == (data / "val" / "images" / "p19.jpg").read_bytes()
    _, _, body = get(address + "v1/pictures/19/thumbnail")
    assert Image.open(io.BytesIO(body)).size == (30, 20)
    assert get(address + "v1/pictures/19/thumbnail")[2] == body


def test_a_picture_that_browsers_do_not_know_is_sent_as_png(tmp_path: Path) -> None:
    save_ids(tmp_path / "labels" / "a.png", np.zeros((4, 5), np.uint8))
    (tmp_path / "images").mkdir()
    Image.new("RGB", (5, 4), (1, 2, 3)).save(tmp_path / "images" / "a.tif")
    write_json(tmp_path / "classes.json", CLASSES)
    with served(create_view(open_folder(tmp_path))) as address:
        status, headers, body = get(address + "v1/pictures/0/photo")
    assert (status, headers["content-type"]) == (200, "image/png")
    assert Image.open(io.BytesIO(body)).getpixel((0, 0)) == (1, 2, 3)


def test_what_is_not_there_or_damaged(address: str, compared: tuple[Path, Path]) -> None:
    masks, _ = compared
    (masks / "p01-mask.png").write_bytes(b"no picture")
    save_ids(masks / "p02-mask.png", np.zeros((4, 5), np.uint8))
    save_ids(masks / "p03-mask.png", np.full((20, 30), 7, np.uint8))
    for number, sentence in (
        ("1", "not a picture"),
        ("2", "has 4 x 5 pixels, but"),
        ("3", "label 7 "),
        ("20", "there is no picture 20; the last one is 19"),
    ):
        status, headers, body = get(address + f"v1/pictures/{number}")
        assert status == (404 if number == "20" else 422)
        assert headers["content-type"] == "application/problem+json"
        assert sentence in json.loads(body)["detail"]
    assert get(address + "v1/pictures/1/thumbnail")[0] == 422
    assert get(address + "v1/pictures?start=x")[0] == 422
    assert get(address + "v1/pictures/-1")[0] == 404
    assert get(address + "page/nothing.js")[0] == 404
    assert get(address + "samples/nothing.jpg")[0] == 404


def test_a_photograph_that_was_not_found(tmp_path: Path) -> None:
    save_ids(tmp_path / "a.png", np.ones((4, 5), np.uint8))
    with served(create_view(open_folder(tmp_path))) as address:
        status, _, body = get(address + "v1/pictures/0/photo")
        assert (status, "was not found" in json.loads(body)["detail"]) == (404, True)
        _, _, body = get(address + "v1/pictures/0/thumbnail")
        red = np.asarray(Image.open(io.BytesIO(body)))[2, 2]
        assert abs(red.astype(int) - (200, 0, 0)).max() < 12


def test_names_of_any_bytes(tmp_path: Path) -> None:
    save_ids(tmp_path / "a.png", np.ones((4, 5), np.uint8))
    (tmp_path / "a.png").rename(tmp_path / os.fsdecode(b"\xff<b>&.png"))
    with served(create_view(open_folder(tmp_path))) as address:
        (picture,) = get_json(address + "v1/pictures")["pictures"]
        assert picture["name"] == "\udcff<b>&"
        assert get_json(address + "v1/pictures/0")["name"] == "\udcff<b>&"


def test_no_other_file_is_sent(address: str, compared: tuple[Path, Path], tmp_path: Path) -> None:
    for path in (
        "page/../view.py", "page/%2e%2e/view.py", "page/..%2fview.py", "page/%2e%2e%2fview.py",
        "page/%2fetc%2fpasswd", "page//etc/passwd", "samples/..%2findex.html", "../../etc/passwd",
        "v1/pictures/..%2f..%2fetc%2fpasswd", "v1/pictures/etc/passwd/photo", "page/samples",
        "page/README.md", "samples/README.md",
    ):  # fmt: skip
        status, _, body = get(address + path)
        assert status in (400, 404), path
        assert b"root:" not in body
    _, data = compared
    secret = tmp_path / "secret.jpg"
    Image.new("RGB", (30, 20)).save(secret)
    photo = data / "val" / "images" / "p05.jpg"
    photo.unlink()
    photo.symlink_to(secret)
    status, _, body = get(address + "v1/pictures/5/photo")
    assert status == 422
    assert "is a link out of" in json.loads(body)["detail"]
    assert get(address + "v1/pictures/5/thumbnail")[0] == 422


def test_other_names_of_this_machine_are_refused(address: str) -> None:
    assert get(address, Host="evil.example")[0] == 400
    status, headers, _ = get(address, Host="localhost:1")
    assert status == 200
    assert headers["content-security-policy"].startswith("default-src 'self'; img-src 'self' blob:")
    assert headers["x-content-type-options"] == "nosniff"


def test_nothing_is_written(address: str, compared: tuple[Path, Path]) -> None:
    masks, data = compared
    roots = (masks, data)
    before = {p: p.stat().st_mtime_ns for root in roots for p in root.rglob("*")}
    wait_for_scores(address)
    for number in range(20):
        for what in ("", "/photo", "/thumbnail"):
            assert get(f"{address}v1/pictures/{number}{what}")[0] == 200
    assert before == {p: p.stat().st_mtime_ns for root in roots for p in root.rglob("*")}


def test_ten_thousand_pictures_open_at_once(compared: tuple[Path, Path], tmp_path: Path) -> None:
    masks, data = compared
    many, images, labels = (tmp_path / n for n in ("many", "truth/images", "truth/labels"))
    for made in (many, images, labels):
        made.mkdir(parents=True)
    for number in range(10_000):
        of = f"p{number % 20:02}"
        os.link(masks / f"{of}-mask.png", many / f"n{number:05}-mask.png")
        os.link(data / "val" / "images" / f"{of}.jpg", images / f"n{number:05}.jpg")
        os.link(data / "val" / "labels" / f"{of}.png", labels / f"n{number:05}.png")
    write_json(tmp_path / "truth" / "classes.json", CLASSES)
    begun = time.process_time()
    folder = open_folder(many, truth=tmp_path / "truth")
    # 0.3 s alone, 0.8 s while its coverage is counted; other programs do not count
    assert time.process_time() - begun < 3
    with served(create_view(folder)) as address:
        get(address)  # until the server is there
        first = get_json(address + "v1/pictures?count=200&sort=worst")
        thumbnail = get(address + f"v1/pictures/{first['pictures'][99]['id']}/thumbnail")
        assert get_json(address + "v1/folder")["scoring"]  # nobody has waited for all the scores
    assert (first["total"], thumbnail[0]) == (10_000, 200)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda m, d: open_folder(m / "no"), "no such folder; give the one that holds the masks"),
        (lambda m, d: open_folder(d, truth=d), "--truth is for a folder of predictions"),
        (lambda m, d: open_folder(m.parent / "empty"), "neither images/ and labels/ of a data set"),
        (lambda m, d: open_folder(m, truth=m.parent / "plain"), "no classes.json says what its"),
        (lambda m, d: open_folder(m, truth=m / "no"), "no such folder; give the data set of the"),
        (lambda m, d: open_folder(m, truth=m.parent / "other"), "no label file is named as one of"),
        (lambda m, d: open_folder(m, truth=m.parent / "empty"), "no label file is named as one of"),
        (lambda m, d: open_folder(m.parent / "film.mp4"), "film.mp4: is a file; give the folder"),
        (lambda m, d: open_folder(m.parent / "run"), "run/report.html in a browser"),
        (lambda m, d: open_folder(m.parent / "coloured"), "is RGB with 2 colours; save it as"),
        (lambda m, d: open_folder(m.parent / "coloured"), "wrote fcn data import makes a data set"),
        (lambda m, d: view(m, port=99999), "port 99999 on 127.0.0.1 cannot be used"),
    ],
)
def test_what_cannot_be_shown(
    compared: tuple[Path, Path], tmp_path: Path, make: Any, sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "film.mp4").touch()
    save_ids(tmp_path / "run" / "samples" / "a.png", np.zeros((4, 5), np.uint8))
    for name in ("recipe.json", "report.html"):
        (tmp_path / "run" / name).touch()
    (tmp_path / "coloured").mkdir()
    red = np.zeros((4, 5, 3), np.uint8)
    red[:2, :, 0] = 255
    Image.fromarray(red).save(tmp_path / "coloured" / "a.png")
    save_ids(tmp_path / "other" / "labels" / "else.png", np.zeros((4, 5), np.uint8))
    (tmp_path / "other" / "images").mkdir()
    (tmp_path / "plain" / "images").mkdir(parents=True)
    (tmp_path / "plain" / "labels").mkdir()
    write_json(tmp_path / "other" / "classes.json", CLASSES)
    with pytest.raises(FullyConvError, match=re.escape(sentence)):
        make(*compared)


@pytest.mark.parametrize("package", ["fastapi", "uvicorn"])
def test_without_the_packages_of_the_extra(
    compared: tuple[Path, Path], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        FullyConvError, match=rf"{package} is needed for fcn view .*fullyconv\[web\]"
    ):
        view(compared[0])


def test_truth_of_other_classes(results: Path, tmp_path: Path) -> None:
    save_ids(tmp_path / "labels" / f"{NAMES[0]}.png", np.zeros((4, 5), np.uint8))
    (tmp_path / "images").mkdir()
    write_json(tmp_path / "classes.json", CLASSES)
    with pytest.raises(FullyConvError, match=r"the truth must have the model's classes"):
        open_folder(results, truth=tmp_path)


def test_nothing_is_compared_where_one_is_missing(compared: tuple[Path, Path]) -> None:
    folder = open_folder(compared[1])
    assert compare(folder, folder.items[0]) is None


def test_a_link_out_of_the_folder_in_python(tmp_path: Path, results: Path) -> None:
    (folder := tmp_path / "linked").mkdir()
    (folder / "a-mask.png").symlink_to(results / f"{NAMES[0]}-mask.png")
    with pytest.raises(FullyConvError, match=r"a-mask\.png: is a link out of .*linked, and is not"):
        open_folder(folder)  # its palette is asked for the classes


def test_the_command_until_it_is_interrupted(results: Path) -> None:
    command = [sys.executable, "-m", "fullyconv", "view", str(results), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.fullmatch(r"3 pictures \(predictions\): (http://127\.0\.0\.1:\d+/)\n", line)
        assert address is not None, line
        for _ in range(100):
            try:
                assert get_json(address[1] + "v1/folder")["total"] == 3
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, 130)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def test_the_worst_picture_in_a_browser(
    browser: Browser, address: str, compared: tuple[Path, Path]
) -> None:
    masks, data = compared
    wait_for_scores(address)
    with opened(browser, address) as page:
        page.wait_for_selector(".card button")
        assert page.inner_text(".called >> nth=0") == "p19"
        assert violations(page) == []
        page.fill("#find", "p1")
        page.wait_for_function("() => document.querySelectorAll('.card button').length === 10")
        page.press("#find", "Tab")
        page.focus(".card button >> nth=0")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.wait_for_selector("body[data-state=one]")
        assert "p18" in page.inner_text("#about")
        assert violations(page) == []
        truth = np.asarray(Image.open(data / "val" / "labels" / "p18.png"))
        guess = np.asarray(Image.open(masks / "p18-mask.png"))
        y, x = np.argwhere((truth != guess) & (truth != 255))[0]
        box = page.locator("[data-layer=truth] .frame").bounding_box()
        assert box is not None
        page.mouse.move(
            box["x"] + (x + 0.5) * box["width"] / 30, box["y"] + (y + 0.5) * box["height"] / 20
        )
        for layer, ids in (("truth", truth), ("prediction", guess)):
            said = page.inner_text(f"#readout [data-layer={layer}]")
            assert said == CATEGORIES[ids[y, x]]
        page.check("[value=differences]", force=True)
        drawn = page.evaluate(
            """() => [...document.querySelectorAll('.frame canvas')].map((c) => {
            const copy = new OffscreenCanvas(30, 20).getContext('2d', {willReadFrequently: true});
            copy.drawImage(c, 0, 0, 30, 20);
            return [...copy.getImageData(0, 0, 30, 20).data].filter((_, i) => i % 4 === 3)})"""
        )
        wrong = (truth != guess) & (truth != 255)
        for alpha in drawn:
            np.testing.assert_array_equal(np.reshape(alpha, (20, 30)) > 127, wrong)
        page.click("#next")
        page.wait_for_function("() => document.querySelector('#about').textContent === 'p17'")
        page.keyboard.press("Escape")
        page.wait_for_selector("body[data-state=list]")


@pytest.mark.parametrize("scheme", ["dark", pytest.param("light", marks=pytest.mark.slow)])
def test_results_on_a_narrow_screen(browser: Browser, results: Path, scheme: Any) -> None:
    with (
        served(create_view(open_folder(results))) as address,
        opened(browser, address, viewport=PHONE, color_scheme=scheme) as page,
    ):
        page.wait_for_selector(".card button")
        assert violations(page) == []
        page.click(".card button >> nth=2")
        page.wait_for_selector("body[data-state=one]")
        page.wait_for_function(
            "() => document.querySelector('[data-layer=prediction] img').naturalWidth"
        )
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.locator("#view").is_hidden()


@pytest.mark.slow
def test_only_the_cards_in_sight_exist(
    browser: Browser, compared: tuple[Path, Path], tmp_path: Path
) -> None:
    masks, _ = compared
    many = tmp_path / "many"
    many.mkdir()
    for number in range(10_000):
        os.link(masks / f"p{number % 20:02}-mask.png", many / f"n{number:05}-mask.png")
    with served(create_view(open_folder(many))) as address, opened(browser, address) as page:
        page.wait_for_selector(".card button")
        assert page.locator(".card").count() < 60
        page.focus(".card button >> nth=0")
        page.keyboard.press("End")
        page.wait_for_function("() => document.activeElement.textContent.includes('n09999')")
        assert page.locator(".card").count() < 60
