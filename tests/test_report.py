"""The pages on training runs: what they show, of whatever is in a run folder, and how safely."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullyconv.config import DataConfig, OptimConfig, Recipe
from fullyconv.errors import FullyConvError
from fullyconv.labels import CAMVID
from fullyconv.metrics import ConfusionMatrix
from fullyconv.networks import model_config
from fullyconv.report.page import STYLE
from fullyconv.report.record import read_run
from fullyconv.report.runs import compare, write_report
from fullyconv.run_folder import RunFolder

QUICK = settings(max_examples=80, deadline=None)
VOID = {"meta", "img"}  # that have no end; SVG's are written <path/>
HOSTILE = """</title><script>alert('1')</script><img src=x onerror="alert(2)">&lt;'"""


class Parsed(HTMLParser):
    """A page taken apart; fails where an element is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names)
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.elements if name == tag]

    def facts(self) -> dict[str, str]:
        shown = dict.fromkeys(["steps", "best mean IU", "last loss", "minutes", "skipped steps"])
        return {key: self.texts[self.texts.index(key) + 1] for key in shown}


def opened(page: Path) -> Parsed:
    return Parsed(page.read_text("utf-8"))


def a_recipe(**optim: Any) -> Recipe:
    return Recipe(
        model=model_config("fcn16s_efficientnet_lite0", num_classes=11),
        data=DataConfig(root=Path("/data/camvid"), labels="camvid"),
        optim=OptimConfig(batch_size=4, iter_size=2, max_iters=300, **optim),
    )


def write_scores(folder: Path, names: tuple[str, ...], seed: int = 0, **more: Any) -> list[Any]:
    rng = np.random.default_rng(seed)
    confusion = ConfusionMatrix(len(names))
    confusion.matrix = rng.integers(1, 1000, (len(names), len(names)))
    scores = confusion.compute().to_dict(names)
    (folder / "scores.json").write_text(json.dumps({**scores, **more}))
    matrix: list[Any] = scores["confusion_matrix"]
    return matrix


def a_run(path: Path, lines: int = 30, **optim: Any) -> RunFolder:
    """A run of which everything is there."""
    path.mkdir(parents=True)
    run = RunFolder(path)
    run.begin(a_recipe(**optim), "random")
    for step in range(10, 10 * lines + 1, 10):
        loss = 2 / step
        run.log(step, loss=loss, lr=1e-3, skipped_steps=2)
        run.log_speed(step, pictures_per_second=4.0)
        if step % 100 == 0:
            iou = 0.5 - abs(step - 200) / 1000
            run.log(step, mean_iou=iou, pixel_accuracy=0.9, mean_accuracy=0.8)
    write_scores(path, CAMVID.categories, step=300, palette=CAMVID.palette)
    for step in (1000000, 300, 20):
        for name in ("b-2", "a"):
            run.write_sample(name, step, np.zeros((2, 6, 3), np.uint8))
    return run


def log(folder: Path, *lines: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "log.jsonl").write_text("\n".join(lines))
    return folder


def test_the_page_of_a_whole_run(tmp_path: Path) -> None:
    run = a_run(tmp_path / "first try")
    path = write_report(run.path)
    assert path == run.path / "report.html"
    page = opened(path)
    network = "fcn16s_efficientnet_lite0 on camvid"
    shown = [text for text in page.texts if text.strip()]
    assert shown[:3] == [f"{network}, first try", network, "first try"]  # the tab's, the page's
    assert page.facts() == {
        "steps": "300 of 300",
        "best mean IU": "50.0 at step 200",
        "last loss": "0.006667",
        "minutes": "10.0",  # 300 steps of 2 passes of 4 pictures, at 4 pictures a second
        "skipped steps": "2",
    }
    titles = ["Loss", "Scores on the validation pictures", "Learning rate", "Speed"]
    assert [t for t in page.texts if t in titles] == [t for t in titles for _ in "12"]
    settings_shown = {row[0]: row[1] for row in page.rows if len(row) == 2}
    assert settings_shown["optim.max_iters"] == "300"
    assert settings_shown["data.scale"] == "[1.0, 1.0]"
    assert settings_shown["data.labels"] == "camvid"
    assert settings_shown["from_scratch"] == "false"


def test_a_page_loads_nothing_but_the_samples(tmp_path: Path) -> None:
    a, b = a_run(tmp_path / "a").path, a_run(tmp_path / "b", lr=0.1).path
    for path in (write_report(a), compare([a, b], tmp_path / "both.html")):
        page = opened(path)
        known = {name for name, _ in page.elements}
        assert not known & {"script", "link", "iframe", "object", "use", "image", "a"}
        for _, attrs in page.elements:
            assert not {name for name in attrs if name.startswith("on")}
            assert not attrs.keys() & {"href", "xlink:href", "srcset"}
            assert attrs.get("src", "samples/x").startswith("samples/")
        assert "url(" not in path.read_text()
        assert "@import" not in path.read_text()


def test_every_drawing_says_what_it_is(tmp_path: Path) -> None:
    html = write_report(a_run(tmp_path / "run").path).read_text()
    drawings = re.findall(r"<svg[^>]*>", html)
    told = re.findall(r'<svg[^>]*role="img"[^>]*><title>[^<]+</title><desc>[^<]+</desc>', html)
    silent = re.findall(r'<svg[^>]*aria-hidden="true">', html)
    assert len(told) == 5
    assert len(told) + len(silent) == len(drawings)
    assert "Loss</title><desc>mean of the 5 % around it: 0.2 at step 10 to" in html
    assert all(image["alt"] for image in Parsed(html).all("img"))


def test_whatever_is_missing_is_left_out(tmp_path: Path) -> None:
    page = opened(write_report(tmp_path))
    assert "The log has no lines yet." in page.texts
    assert page.facts()["steps"] == "0"
    assert page.facts()["best mean IU"] == "not scored"
    assert page.facts()["last loss"] == page.facts()["minutes"] == "n/a"
    headings = [tag for tag, _ in page.elements if tag == "h2"]
    assert len(headings) == 1
    assert page.rows == []


def test_a_run_without_validation(tmp_path: Path) -> None:
    lines = [json.dumps({"step": s, "loss": 1.0, "lr": 1e-3}) for s in (10, 20)]
    page = opened(write_report(log(tmp_path / "run", *lines)))
    assert [t for t in page.texts if t in ("Loss", "Learning rate")] == 2 * ["Loss"] + 2 * [
        "Learning rate"
    ]
    assert "Speed" not in page.texts
    assert "Scores on the validation pictures" not in page.texts


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FullyConvError, match=r"typo: no such folder; give the run folder"):
        write_report(tmp_path / "typo")
    assert not (tmp_path / "typo").exists()


def test_all_text_is_escaped(tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "\\")  # as much of it as a file's name may hold
    folder = a_run(tmp_path / name).path
    recipe = json.loads((folder / "recipe.json").read_text())
    recipe["model"]["backbone"] = recipe["data"]["root"] = HOSTILE
    recipe[HOSTILE] = [HOSTILE]
    recipe["optim"]["max_iters"] = HOSTILE
    (folder / "recipe.json").write_text(json.dumps(recipe))
    palette = [["0", "0", "red;}"], *CAMVID.palette[1:]]
    write_scores(folder, (HOSTILE, *CAMVID.categories[1:]), palette=palette, step=HOSTILE)
    (folder / "samples" / f"{name}-000100.jpg").touch()
    expected = {tag for tag, _ in opened(write_report(a_run(tmp_path / "tame").path)).elements}
    for path in (write_report(folder), compare([folder, tmp_path / "tame"], tmp_path / "c.html")):
        html, page = path.read_text(), opened(path)
        assert {tag for tag, _ in page.elements} <= expected | {"b"}
        assert "<script" not in html
        assert "onerror=&quot;" in html
        assert not [a for _, a in page.elements if "onerror" in a or "red" in a.get("style", "")]
        assert HOSTILE in [row[0] for row in page.rows]  # as a class, whole and as text
        assert any(name in text for text in page.texts)
    sources = [image["src"] for image in opened(folder / "report.html").all("img")]
    assert f"samples/{name}-000100.jpg" in map(unquote, sources)
    assert not any(set('<>"&? #') & set(source) for source in sources)


def test_half_a_character_in_a_name_is_no_obstacle(tmp_path: Path) -> None:
    write_scores(tmp_path, ("a\ud800", "道路"))
    page = opened(write_report(tmp_path))
    assert {"a?", "道路"} <= {row[0] for row in page.rows}


@pytest.mark.parametrize(
    "file",
    [
        *(("scores.json", text) for text in ("", "[]", "{", "null", '{"per_class_iou": [1]}')),
        ("scores.json", '{"per_class_iou": {"a": "x", "b": null}, "per_class_accuracy": 3}'),
        ("scores.json", '{"per_class_iou": {"a": 1}, "confusion_matrix": [["x"]]}'),
        ("scores.json", '{"per_class_iou": {"a": 1}, "confusion_matrix": [[1, 2]]}'),
        ("scores.json", '{"per_class_iou": {"a": 1}, "confusion_matrix": [[-1]]}'),
        ("scores.json", '{"per_class_iou": {"a": 1}, "confusion_matrix": [[1], [2, 3]]}'),
        ("scores.json", '{"per_class_iou": {"a": 1}, "confusion_matrix": [[NaN]]}'),
        ("scores.json", '{"per_class_iou": {"a": 1}, "confusion_matrix": {"a": 1}}'),
        ("scores.json", '{"per_class_iou": {"a": 1}, "palette": [[0, 0]]}'),
        ("scores.json", '{"per_class_iou": {"a": 1}, "palette": [[0, 0, 256]]}'),
        ("scores.json", '{"per_class_iou": {"a": 1}, "palette": [[0, 0, Infinity]]}'),
        ("recipe.json", '{"data": {"root": 3, "labels": []}, "model": 1, "optim": null}'),
        ("recipe.json", "[" * 100_000),
        ("log.jsonl", '{"step": 5, "loss": "low", "lr": [], "pictures_per_second": true}'),
        ("log.jsonl", '{"step": 5, "loss": Infinity, "mean_iou": NaN}'),
        ("log.jsonl", '{"step": 0, "loss": 1e300, "lr": 1e-300}\n{"step": 9, "lr": 1e-200}'),
        ("log.jsonl", '{"step": 5, "loss": 1%s}' % ("0" * 400)),
        ("log.jsonl", '{"step": "5", "loss": 1}\n7\n{"loss": 1}\n{"step": -1, "loss": 2}'),
        ("log.jsonl", '{"step": 1e300, "loss": 1}\n\x00\x00\n"\xff'),
    ],
)
def test_contents_of_another_form_are_left_out(tmp_path: Path, file: tuple[str, str]) -> None:
    (tmp_path / file[0]).write_bytes(file[1].encode("latin-1"))
    page = opened(write_report(tmp_path))
    assert not page.all("rect")  # no confusion matrix
    assert "nan" not in " ".join(page.texts).lower()
    for _, attrs in page.elements:
        assert not re.search(r"nan|inf\b", " ".join(attrs.get(k, "") for k in ("d", "x", "y")))
        assert "background" not in attrs.get("style", "")


def test_a_half_written_line_is_ignored(tmp_path: Path) -> None:
    lines = [json.dumps({"step": s, "loss": s / 10, "lr": 1.0}) for s in (10, 20, 30)]
    whole = read_run(log(tmp_path / "a", *lines, ""))
    assert whole.training["loss"].tolist() == [1.0, 2.0, 3.0]
    for cut in range(1, len(lines[2]) - 1):
        torn = read_run(log(tmp_path / "b", *lines[:2], lines[2][:cut]))
        assert torn.training["loss"].tolist() == [1.0, 2.0]
    # and one in the middle, where a run that was killed went on
    torn = read_run(log(tmp_path / "c", lines[0], lines[1][:9] + lines[1], lines[2]))
    assert torn.training["step"].tolist() == [10.0, 30.0]


def test_speed_stands_in_a_log_of_its_own(tmp_path: Path) -> None:
    """What depends on the clock is kept apart, and joined by step; a lost line is no number."""
    folder = log(tmp_path / "run", '{"step": 10, "loss": 1}', '{"step": 20, "loss": 2}')
    (folder / "speed.jsonl").write_text(
        '{"step": 20, "pictures_per_second": 4.5, "data_wait": 0.25, "memory_gib": 2}\n'
    )
    run = read_run(folder)
    assert run.training["loss"].tolist() == [1, 2]
    np.testing.assert_array_equal(run.training["pictures_per_second"], [np.nan, 4.5])
    texts = opened(write_report(folder)).texts
    assert "25 %" in texts
    assert texts[texts.index("memory, GiB") + 1] == "2"


@QUICK
@given(st.lists(st.booleans(), max_size=40))
def test_broken_lines_cost_no_others(broken: list[bool]) -> None:
    from fullyconv.report.record import _parsed

    texts = ["{no" if bad else str(i) for i, bad in enumerate(broken)]
    assert _parsed(texts) == [i for i, bad in enumerate(broken) if not bad]


def test_numbers_that_are_missing_leave_gaps(tmp_path: Path) -> None:
    values = ["1.0", "NaN", "null", "2.0", '"x"', "3.0"]
    lines = [f'{{"step": {10 * i}, "loss": {v}}}' for i, v in enumerate(values)]
    lines.append('{"step": 70, "lr": 0.1}')
    run = read_run(log(tmp_path / "run", *lines))
    assert run.training["loss"].tolist()[::3] == [1.0, 2.0, pytest.approx(np.nan, nan_ok=True)]
    assert np.isnan(run.training["loss"]).tolist() == [0, 1, 1, 0, 1, 0, 1]
    html = write_report(run.path).read_text()
    assert opened(write_report(run.path)).facts()["last loss"] == "3"
    faint = re.findall(r'<path class="c0 faint" d="(M[^"]*)"', html)[0]
    assert faint.count("M") == 3
    assert faint.count("L") == 0


def test_scores_of_the_classes_best_first(tmp_path: Path) -> None:
    names = ("low", "none", "high", "middle")
    scores = {
        "per_class_iou": dict(zip(names, (0.1, None, 0.75, 0.5), strict=True)),
        "per_class_accuracy": dict(zip(names, (0.2, None, 1.0, 0.625), strict=True)),
        "confusion_matrix": [[2, 2, 0, 0], [0, 0, 0, 0], [0, 0, 12, 0], [0, 3, 0, 1]],
        "mean_iou": 0.45,
        "step": 1250,
        "palette": [[1, 2, 3], [4, 5, 6], [255, 128, 0], [7, 8, 9]],
    }
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    page = opened(write_report(tmp_path))
    assert page.rows == [
        ["class", "IU", "accuracy", "share of pixels"],
        ["high", "75.0", "100.0", "60.0"],
        ["middle", "50.0", "62.5", "20.0"],
        ["low", "10.0", "20.0", "20.0"],
        ["none", "n/a", "n/a", "0.0"],
    ]
    styles = [attrs["style"] for attrs in page.all("span") if "style" in attrs]
    assert styles[:4] == ["background:#ff8000", "width:75.0%", "width:100.0%", "background:#070809"]
    assert styles[-2:] == ["width:0.0%", "width:0.0%"]
    assert "Classes at step 1,250" in page.texts
    assert "In per cent: mean IU 45.0." in page.texts


def test_colours_of_a_known_label_space_need_not_be_given(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    write_scores(run.path, CAMVID.categories)
    assert read_run(run.path).scores is not None
    assert read_run(run.path).scores.palette == CAMVID.palette  # type: ignore[union-attr]
    write_scores(run.path, ("other", *CAMVID.categories[1:]))
    assert read_run(run.path).scores.palette == ()  # type: ignore[union-attr]


def test_samples_by_picture_the_last_step_first(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    for file in ("a.jpg", "a-12.png", "notes.txt", "-7.jpg"):
        (run.path / "samples" / file).touch()
    page = opened(write_report(run.path))
    assert [image["src"] for image in page.all("img")] == [
        f"samples/{name}-{step}.jpg"
        for name in ("a", "b-2")
        for step in ("1000000", "000020", "000300")
    ]
    assert page.texts.count("before: step 20 to 300") == 2
    assert page.all("img")[1]["alt"].startswith("a at step 20: photograph, truth and prediction")


def test_a_long_log_makes_no_long_page(tmp_path: Path) -> None:
    lines = [
        json.dumps({"step": i, "loss": 1 + i % 7, "lr": 0.1, "pictures_per_second": i % 5})
        for i in range(1, 10_001)
    ]
    page = write_report(log(tmp_path / "run", *lines))
    assert page.stat().st_size < 100_000
    assert opened(page).facts()["steps"] == "10,000"


def test_runs_are_told_apart_and_only_differences_listed(tmp_path: Path) -> None:
    a, b = a_run(tmp_path / "a", lr=0.01), a_run(tmp_path / "b", lines=12, lr=0.02, warmup=0.1)
    old = json.loads((b.path / "recipe.json").read_text())
    del old["licence"]
    (b.path / "recipe.json").write_text(json.dumps(old))
    out = compare([a.path, str(b.path)], tmp_path / "pages" / "both.html")
    assert out == tmp_path / "pages" / "both.html"
    page = opened(out)
    head = page.rows.index(["setting", "a", "b"])
    assert [row for row in page.rows[head + 1 :] if len(row) == 3][:4] == [
        ["optim.lr", "0.01", "0.02"],
        ["optim.warmup", "0.05", "0.1"],
        ["licence", "not stated", "not set"],
        ["class", "a", "b"],
    ]
    network = "fcn16s_efficientnet_lite0 on camvid"
    assert page.rows[1] == [
        "a",
        network,
        "300 of 300",
        "50.0 at step 200",
        "0.006667",
        "4",
        "n/a",
        "n/a",
        "10.0",
        "2",
    ]
    assert page.rows[2] == [
        "b",
        network,
        "120 of 300",
        "40.0 at step 100",
        "0.01667",
        "4",
        "n/a",
        "n/a",
        "4.0",
        "2",
    ]
    keys = [attrs["class"] for attrs in page.all("path") if attrs.get("d") == "M1 4H25"]
    assert keys == ["c0", "c1"] * 4  # the table and three legends


def test_equal_recipes_do_not_differ(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / name / "run").path for name in "ab"]
    page = opened(compare(runs, tmp_path / "both.html"))
    assert "None: the recipes are the same." in page.texts
    assert [row[0] for row in page.rows[1:3]] == [str(path) for path in runs]  # one name twice
    (runs[0] / "recipe.json").unlink()
    page = opened(compare(runs, tmp_path / "both.html"))
    assert "Fewer than two of the runs have a recipe.json." in page.texts


def test_classes_of_runs_side_by_side(tmp_path: Path) -> None:
    def scored(name: str, **ious: float | None) -> Path:
        folder = log(tmp_path / name, '{"step": 1, "mean_iou": 0.5}')
        (folder / "scores.json").write_text(json.dumps({"per_class_iou": ious}))
        return folder

    unscored = log(tmp_path / "u", '{"step": 1, "loss": 0.5}')
    folders = [scored("a", car=0.3, road=0.8, sky=None), unscored, scored("b", car=0.4, road=0.7)]
    out = compare(folders, tmp_path / "all.html")
    assert opened(out).rows[4:] == [
        ["class", "a", "b"],
        ["road", "80.0", "70.0"],
        ["car", "30.0", "40.0"],
        ["sky", "n/a", "n/a"],
    ]
    assert re.findall("<b>(.*?)</b>", out.read_text()) == ["80.0", "40.0"]


def test_compare_says_what_it_cannot_use(tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    with pytest.raises(FullyConvError, match="no run was given to compare; name at least one"):
        compare([], out)
    good = log(tmp_path / "good", '{"step": 1, "loss": 1}')
    with pytest.raises(FullyConvError, match=r"absent: holds no log.jsonl, so it is no run folder"):
        compare([good, tmp_path / "absent"], out)
    for text in ("", "{", '{"step": 3}', "\x00"):
        bad = log(tmp_path / "bad", text)
        with pytest.raises(FullyConvError, match=r"bad.log.jsonl: holds no line that can be read"):
            compare([good, bad], out)
    assert not out.exists()
    assert compare([good], out).exists()


def test_a_folder_of_runs_stands_for_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for name in ("b", "a"):
        log(tmp_path / "runs" / name, '{"step": 1, "loss": 1}')
    log(tmp_path / "runs" / "begun", "")
    both, named = (tmp_path / "both.html", tmp_path / "named.html")
    compare([tmp_path / "runs"], both)
    compare([tmp_path / "runs" / "a", tmp_path / "runs" / "b"], named)
    assert both.read_text() == named.read_text()


def _rgb(text: str) -> tuple[float, ...]:
    return tuple(int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))


def _contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio of two colours."""
    bright = []
    for color in (one, other):
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _rgb(color))
        bright.append(0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05)
    return max(bright) / min(bright)


@pytest.mark.parametrize("dark", [False, True])
def test_colours_have_the_contrast_that_wcag_asks(dark: bool) -> None:
    light_part, _, rest = STYLE.partition("prefers-color-scheme: dark")
    found = dict(re.findall(r"(--\w+): (#\w{6})", rest if dark else light_part))
    assert len(found) == 15
    for back in ("--back", "--panel"):
        assert _contrast(found["--text"], found[back]) >= 4.5
        assert _contrast(found["--quiet"], found[back]) >= 4.5
    for fill in ("--hit", "--miss"):  # numbers are written on them
        assert _contrast(found["--text"], found[fill]) >= 4.5
    for number in range(8):
        assert _contrast(found[f"--c{number}"], found["--back"]) >= 3
