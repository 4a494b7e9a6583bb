"""What SECURITY.md says of the source is so: nothing that is read can become code."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SECURITY = (ROOT / "SECURITY.md").read_text()
FILES = sorted((ROOT / "src").rglob("*.py"))

MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pty", "code"}
CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp"),
    *("yaml.load", "yaml.full_load", "yaml.unsafe_load", "torch.hub.load", "torch.jit.load"),
    *("torch.export.load", "urllib.request.urlopen", "urlopen"),
}
METHODS = {"extractall", "unpack_archive"}
NEEDED = {  # calls that are safe with this argument alone
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
EXCEPT = {("torch_writer.py", "torch.export.load")}  # right after it wrote the file itself


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of a name with attributes; a question mark for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return "?"


def faults(text: str, name: str = "x.py") -> list[str]:
    """What in a source file could make code of data."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [n for n in names if n.partition(".")[0] in MODULES]
        if not isinstance(node, ast.Call):
            continue
        called = dotted(node.func)
        given = {k.arg: k.value for k in node.keywords}
        if called in CALLS and (name, called) not in EXCEPT:
            found.append(called)
        if called.rpartition(".")[2] in METHODS:
            found.append(called)
        if called in NEEDED:
            argument, value = NEEDED[called]
            said = given.get(argument)
            if not isinstance(said, ast.Constant) or said.value is not value:
                found.append(f"{called} without {argument}={value}")
        shell = given.get("shell")
        if shell is not None and not (isinstance(shell, ast.Constant) and shell.value is False):
            found.append(f"{called} with a shell")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_is_unpickled_evaluated_or_run_by_a_shell(path: Path) -> None:
    assert not faults(path.read_text(), path.name)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("import pickle", "pickle"),
        ("from joblib import load", "joblib"),
        ("eval('1')", "eval"),
        ("import torch\ntorch.load(p)", "torch.load without weights_only=True"),
        ("torch.load(p, weights_only=False)", "torch.load without weights_only=True"),
        ("np.load(p, allow_pickle=True)", "np.load without allow_pickle=False"),
        ("yaml.load(t)", "yaml.load"),
        ("subprocess.run(c, shell=True)", "subprocess.run with a shell"),
        ("tar.extractall(p)", "tar.extractall"),
        ("torch.export.load(p)", "torch.export.load"),
    ],
)
def test_the_search_finds_them(text: str, fault: str) -> None:
    assert faults(text) == [fault]


def test_what_is_safe_is_let_pass() -> None:
    safe = "torch.load(p, weights_only=True); np.load(p, allow_pickle=False); model.eval()"
    assert not faults(safe + "; yaml.safe_load(t); re.compile(r)")


@pytest.mark.parametrize(
    ("name", "value"), re.findall(r"\| `(fullyconv[\w.]+)` \| ([\d,]+) \|", SECURITY)
)
def test_the_limits_are_those_of_the_code(name: str, value: str) -> None:
    holder, _, attribute = name.rpartition(".")
    module, _, last = holder.rpartition(".")
    owner = getattr(import_module(module), last) if last[0].isupper() else import_module(holder)
    assert f"{getattr(owner, attribute):,}" == value


def test_every_kind_of_file_and_every_limit_is_in_the_document() -> None:
    assert len(re.findall(r"\| `fullyconv[\w.]+` \|", SECURITY)) == 9
    for kind in (".safetensors", ".caffemodel", ".pth", ".npy", ".mat", ".onnx", ".pt2", ".vrt"):
        assert f"`{kind}`" in SECURITY
    assert "security advisories" in SECURITY
