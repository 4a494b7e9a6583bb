"""Every fenced block of every document is run, here or by a test that is named, or says why not."""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import reader
from fenced import DOCUMENTS, ROOT, Block, blocks
from fullyconv import cli
from fullyconv.files import write_json
from fullyconv.pretrained import imagenet_weights
from fullyconv.recipes import recipe

# Documents whose blocks a test of their own runs
RUN_BY = {
    "docs/howto/cluster.md": "test_the_commands_of_the_page_run",
    "docs/howto/your-data.md": "test_from_the_labelling_tool_to_a_trained_model",
    "docs/howto/serve.md": "test_there_is_a_curl_line_for_each_kind_of_answer_and_request",
    **{
        f"docs/explain/{page.name}": "test_a_page_prints_and_draws_what_it_shows"
        for page in (ROOT / "docs" / "explain").glob("*.md")
    },
}
ALL = {str(page.relative_to(ROOT)): blocks(page) for page in DOCUMENTS}
HERE = sorted(page for page, found in ALL.items() if found and page not in RUN_BY)
# What keeps it short here; the reader's own runs are longer
SHORTER = {
    "train": {"--optim.max-iters": "2", "--data.crop": "64 64", "--eval-interval": "2"},
    "new": {"--no-measure": ""},
}
# Minutes together; what is on them has fast tests too
SLOW = {
    "docs/howto/export.md",
    "docs/howto/several-machines.md",
    "docs/howto/training.md",
    "docs/howto/evaluate.md",
    "docs/python.md",
    "docs/start.md",
}
NEEDS = {
    "docs/howto/add-a-backbone.md": ("onnx", "onnxscript"),
    "docs/howto/export.md": ("onnx", "onnxscript", "openvino", "nncf"),
    "docs/howto/large-images.md": ("rasterio",),
    "docs/howto/predict.md": ("av",),
    "README.md": ("onnx", "onnxscript"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reader.make(tmp_path_factory.mktemp("reader"))


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the reader's folder, to stand in."""
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.syspath_prepend(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=[pytest.mark.slow] if p in SLOW else []) for p in HERE]
)
def test_what_a_page_says_works(
    page: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in NEEDS.get(page, ()):
        pytest.importorskip(package)
    names: dict[str, Any] = {"__name__": "page"}
    for block in ALL[page]:
        if block.is_skipped():
            continue
        if block.language == "python":
            run_python(block, names)
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "text":
            continue
        else:
            assert block.language in ("", "sh"), f"{page}:{block.line}: how is it run?"
            for line in block.commands():
                if not block.is_skipped(line):
                    run_command(line)
        capsys.readouterr()


def run_python(block: Block, names: dict[str, Any]) -> None:
    """It runs, and prints what it says after >>>."""
    if not block.text.startswith(">>>"):
        code = "\n" * block.line + block.text
        exec(compile(code, block.page, "exec"), names)
        return
    parser = doctest.DocTestParser()
    test = parser.get_doctest(block.text, {}, block.page, block.page, block.line)
    test.globs = names
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=said.append, clear_globs=False)
    assert not said, "".join(said)


def run_command(line: str) -> None:
    """A line of a shell: fcn in this process, the others as they stand."""
    words = shlex.split(line)
    if words[0] == "pip":
        assert words[1] == "install"
        assert {*words[2:]} <= installable(), line
    elif words[0] == "make":
        makefile = (ROOT / "Makefile").read_text()
        assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), line
    elif words[0] == "fcn" and not re.search(r" [<>|] ", line):
        assert cli.run([*words[1:], *shorter(words)]) == 0, line
    else:
        python = shlex.quote(sys.executable)
        line = re.sub(r"^fcn ", f"{python} -m fullyconv ", line)
        line = re.sub(r"^python ", f"{python} ", line)
        line = re.sub(r"^torchrun ", f"{python} -m torch.distributed.run ", line)
        line = f"{line} {shlex.join(shorter(words))}"
        ran = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{line}\n{ran.stderr}"


def shorter(words: list[str]) -> list[str]:
    """What keeps a command short here; the reader's own run is longer."""
    names = [n for n, word in enumerate(words) if word in ("fcn", "fullyconv")]
    said = words[names[0] + 1 :] if names else []
    said = said[2:] if said[:1] == ["--import"] else said
    verb, rest = (said[0], said[1:]) if said else ("", [])
    if verb == "train" and "--compare" in rest:
        return []
    options = dict(SHORTER.get(verb, {}))
    if verb == "train" and imagenet_weights("efficientnet_lite0") is None:
        options["--from-scratch"] = ""
    begun = {"--init-from", "--from-scratch"} & {*rest}
    if begun or any(word.endswith("recipe.json") for word in rest):
        options.pop("--from-scratch", None)
    return [word for name, value in options.items() for word in (name, *value.split())]


def installable() -> set[str]:
    """What the documents may tell people to install: the extras, and what is in them."""
    project = (ROOT / "pyproject.toml").read_text()
    extras = re.findall(r"^(\w+) = \[", project, re.MULTILINE)
    packages = re.findall(r'"([\w-]+)==', project)
    return {*(f"fullyconv[{extra}]" for extra in extras), *packages, "fullyconv"}


def test_every_page_is_run_by_a_test_that_exists() -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    for page, name in RUN_BY.items():
        if page in ALL:
            assert f"def {name}(" in tests, name
    assert all(
        block.language for page in RUN_BY for block in ALL.get(page, []) if "explain" in page
    )


@pytest.mark.parametrize(
    ("page", "scripts"), [("docs/python.md", 2), ("docs/howto/add-a-backbone.md", 1)]
)
def test_scripts_on_a_page_are_the_files(page: str, scripts: int) -> None:
    """What tests/test_examples.py runs is what is printed."""
    found = 0
    for block in ALL[page]:
        for reason in block.skipped.values():
            if named := re.match(r"it is (examples/\w+\.py)", reason):
                assert block.text == (ROOT / named[1]).read_text("utf-8")
                found += 1
    assert found == scripts


@pytest.mark.slow
def test_torchrun_as_the_documents_have_it(folder: Path) -> None:
    """The line for two machines, on two launchers of one process each."""
    (line,) = [
        line
        for block in ALL["docs/howto/several-machines.md"]
        for line in block.commands()
        if "--nnodes 2" in line
    ]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = line.replace("HOST:29500", f"127.0.0.1:{port}").replace("per-node 8", "per-node 1")
    line = f"{line} {shlex.join(shorter(shlex.split(line)))}"
    command = [sys.executable, "-m", "torch.distributed.run", *shlex.split(line)[1:]]
    machines = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    for machine in machines:
        said, _ = machine.communicate(timeout=300)
        assert machine.returncode == 0, said
    steps = [json.loads(row)["step"] for row in Path("runs/two/log.jsonl").read_text().splitlines()]
    assert steps[-1] == 2
    assert Path("runs/two/best.safetensors").exists()


LINES = sorted(
    {
        (page, line)
        for page, found in ALL.items()
        for block in found
        if block.language in ("", "sh")
        for line in block.commands()
        if re.match(r"(\$ )?fcn ", line)
    }
)


def test_every_command_in_every_document_exists(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each is parsed by the real parser, also those not run; --help at its end ends it there."""
    write_json(tmp_path / "recipe.json", recipe("finetune").to_dict())
    monkeypatch.chdir(ROOT / "examples")  # own_backbone.py is imported before anything is parsed
    assert len(LINES) > 80
    for page, line in LINES:
        line = re.sub(r"\S+/recipe\.json", str(tmp_path / "recipe.json"), line.removeprefix("$ "))
        words = shlex.split(re.sub(r" [<>|] .*", "", line))
        said = io.StringIO()
        with pytest.raises(SystemExit) as exit_info, contextlib.redirect_stdout(said):
            cli.run([*words[1:], "--help"])
        assert exit_info.value.code == 0, f"{page}: {line}"
        assert "usage: fcn" in said.getvalue()


def test_reasons_are_for_lines_that_are_there() -> None:
    for page, found in ALL.items():
        for block in found:
            for start in block.skipped:
                lines = block.commands() if start else [""]
                assert any(line.startswith(start) for line in lines), f"{page}: {start}"
    marked = sum(page.read_text().count("<!-- not run: ") for page in DOCUMENTS)
    assert marked == sum(len(block.skipped) for found in ALL.values() for block in found)
