"""The documents tell the truth: names exist, and tables and maps match the code."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

import fullyconv
from fullyconv import cli
from fullyconv.config import RELEASED_MODELS
from fullyconv.models.create import create_model
from fullyconv.protocols import MEASURES, PROTOCOLS
from fullyconv.surgery import caffe_layers

ROOT = Path(__file__).resolve().parents[1]
PAPER_TO_CODE = (ROOT / "docs" / "paper-to-code.md").read_text()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(fullyconv\.[\w.]+)`", PAPER_TO_CODE))))
def test_every_name_of_an_idea_exists(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(import_module(module), attribute)


def test_every_name_of_an_idea_links_to_its_file() -> None:
    linked = re.findall(r"\[`(fullyconv\.[\w.]+)`\]\(\.\./src/([\w/]+)\.py\)", PAPER_TO_CODE)
    assert len(linked) == len(re.findall(r"`fullyconv\.", PAPER_TO_CODE)) > 30
    for name, file in linked:
        module = file.replace("/", ".")
        assert name.startswith(f"{module}.")
        assert (ROOT / "src" / f"{file}.py").is_file()


def test_the_table_of_layers_is_the_codes() -> None:
    model = create_model("voc-fcn8s", width=1 / 64)
    modules = dict(model.named_modules())
    rows = re.findall(r"^\| `(\w+)` \| `([\w.]+)` \|$", PAPER_TO_CODE, re.MULTILINE)
    assert len(rows) == 12
    layers = caffe_layers(model)
    for caffe, ours in rows:
        assert modules[ours] is layers[caffe], caffe


def test_the_map_in_contributing_is_the_tree() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    listed = set(re.findall(r"^\| `([\w/]+\.py)` \|", text, re.MULTILINE))
    package = ROOT / "src" / "fullyconv"
    files = {str(p.relative_to(package)) for p in package.rglob("*.py")}
    assert listed == {f for f in files if Path(f).name not in ("__init__.py", "__main__.py")}


def test_the_reference_holds_every_public_name_once() -> None:
    text = (ROOT / "docs" / "reference" / "index.md").read_text()
    listed = re.findall(r"^::: fullyconv\.(\w+)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(fullyconv.__all__)


def test_the_readme_names_the_commands_of_the_makefile() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ([\w-]+)", readme):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_table_of_published_figures_is_the_protocols() -> None:
    """Every published row stands in the results, and none that has no source in protocols.py."""
    text = (ROOT / "docs" / "results.md").read_text().partition("## What was measured")[0]
    rows = [line for line in text.splitlines() if re.match(r"\| (`|VOC)", line)]
    of_the_server = [row for row in rows if row.startswith("| VOC")]
    assert [re.findall(r"\d\d\.\d", row) for row in of_the_server] == [["62.7"], ["62.2"], ["67.2"]]
    not_at_hand = [row for row in rows if "| not at hand |" in row]
    networks = {row.network for rule in PROTOCOLS.values() for row in rule.published}
    assert {row.split(" | ")[1] for row in not_at_hand} == {*RELEASED_MODELS} - networks
    expected = set()
    for name, rule in PROTOCOLS.items():
        for row in rule.published:
            values = [getattr(row, measure) for measure in MEASURES]
            cells = ["-" if value is None else f"{value:.1f}" for value in values]
            expected.add(f"| `{name}` | {row.network} | {' | '.join(cells)} | {row.source}")
    shown = {row.rsplit(" | ", 1)[0] for row in rows if row not in (*of_the_server, *not_at_hand)}
    assert shown == expected


FAQ = (ROOT / "docs" / "faq.md").read_text()
ANSWERS = re.findall(r"^### (.+?)\n\n(.*?)(?=\n##|\Z)", FAQ, re.MULTILINE | re.DOTALL)


def test_every_problem_of_the_list_is_answered_once() -> None:
    numbers = [int(number) for number in re.findall(r"<sub>(\d+): `", FAQ)]
    assert len(ANSWERS) == 44
    assert sorted(numbers) == list(range(1, 45))


@pytest.mark.parametrize(("question", "answer"), ANSWERS, ids=[q for q, _ in ANSWERS])
def test_an_answer_names_tests_and_commands_that_exist(question: str, answer: str) -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    names = re.findall(r"`(test_\w+)`", answer)
    assert names
    for name in names:
        assert f"def {name}(" in tests, name
    for command in re.findall(r"`fcn (.+?)`", answer.replace("\n", " ")):
        with pytest.raises(SystemExit) as exit_info, contextlib.redirect_stdout(io.StringIO()):
            cli.run([*shlex.split(command), "--help"])
        assert exit_info.value.code == 0, command
