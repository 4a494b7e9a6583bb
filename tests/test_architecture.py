"""The shape of the code: imports go downwards, light modules stay light, functions stay short."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "fullyconv"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py")

# From the bottom up; a module imports only from lines above its own, or its own folder's neighbours
# where they stand in one line together with a star.
LEVELS = [
    ["errors", "interrupts", "processes", "progress"],
    ["extras", "changed", "own_code"],
    ["config", "files", "labels", "imagenet"],
    ["speed", "sharding", "preprocess", "protocols", "report.*"],
    ["networks"],
    ["images", "recipes", "recipe_file", "models.geometry", "models.fast.plan", "caffe.*"],
    ["scores", "prediction.photos", "bands"],
    [
        "models.layers",
        "models.last_layers",
        "models.called_layers",
        "models.calls",
        "losses",
        "metrics",
        "visualize",
        "weights_table",
        "download",
        "prediction.journal",
        "prediction.pipeline",
        "prediction.films.reading",
    ],
    ["weights", "prediction.web", "prediction.films.writing"],
    ["prediction.sources"],
    [
        "models.backbones.*",
        "models.traced",
        "models.fast.reach",
        "models.fast.winograd",
        "models.fast.background",
        "models.fast.elided_layers",
    ],
    ["models.fcn", "models.graph_reading", "models.fast.elision"],
    ["models.fusion", "models.graph_rewriting", "models.dilate", "optim"],
    ["models.create", "models.convolutionalize"],
    ["models.fast.stages"],
    [
        "checkpoint",
        "surgery",
        "data.folder",
        "data.masking",
        "data.augment",
        "run_folder",
    ],
    [
        "conversion",
        "network_info",
        "pretrained",
        "runtimes.*",
        "data.batches",
        "data.dataset",
        "data.statistics",
        "data.sources",
        "data.hha",
        "data.prepare.*",
        "data.proposal",
        "data.vectors",
        "data.raster_tiles",
        "data.parallel",
        "data.check.*",
        "data.importers.*",
        "data.exporters.*",
        "data.stratify",
        "data.splitting",
    ],
    ["prediction.tile_plan", "prediction.rasters.sources"],
    ["prediction.tiling", "prediction.rasters.raster", "prediction.rasters.files"],
    ["prediction.rasters.polygons"],
    ["prediction.prediction", "classifier"],
    ["prediction.predictor", "prediction.films.labelling"],
    ["prediction.augmented"],
    ["prediction.rasters.labelling"],
    ["prediction.labelling"],
    ["prediction.predicting"],
    ["evaluation", "heatmaps", "verifying", "diagnosis", "cluster.*"],
    ["quantizing"],
    ["exporting"],
    ["validation", "learner"],
    ["training"],
    ["study.*", "serve.*"],
    ["commands.*"],
    ["cli"],
]
NO_TORCH = [
    "config",
    "networks",
    "recipes",
    "protocols",
    "labels",
    "preprocess",
    "errors",
    "files",
    "images",
    "imagenet",
    "caffe",
    "checkpoint",
    "metrics",
    "report.runs",
    "visualize",
    "weights",
    "prediction.prediction",
    "prediction.predictor",
    "prediction.predicting",
    "prediction.augmented",
    "prediction.films.labelling",
    "prediction.films.reading",
    "prediction.films.writing",
    "prediction.journal",
    "prediction.photos",
    "prediction.pipeline",
    "prediction.sources",
    "scores",
    "runtimes.ncnn",
    "runtimes.open",
    "runtimes.onnx",
    "runtimes.openvino",
    "prediction.tiling",
    "prediction.rasters.labelling",
    "prediction.rasters.sources",
    "cluster.predicting",
    "data.folder",
    "data.augment",
    "data.statistics",
    "data.check",
    "data.importers",
    "data.exporters",
    "data.splitting",
    "study.report",
    "serve.app",
    "serve.running",
    "serve.view",
    "cli",
]


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return name.removesuffix(".__init__").removesuffix("__init__")


def level(name: str) -> int:
    for number, names in enumerate(LEVELS):
        if name in names or any(
            n.endswith(".*") and (name + ".").startswith(n[:-1]) for n in names
        ):
            return number
    raise AssertionError(f"{name} has no level; put it into LEVELS where it belongs")


def imports(path: Path) -> set[str]:
    """The modules of the package that a file imports, also inside functions."""
    found = set()
    names = {module_name(file) for file in FILES}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fullyconv"):
            base = (node.module or "").removeprefix("fullyconv").removeprefix(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".removeprefix(".")
                found.add(inner if inner in names else base)
    return found - {""}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_go_downwards(path: Path) -> None:
    name = module_name(path)
    if not path.read_text().count("import ") or name == "":  # a docstring; the public names
        return
    for other in imports(path):
        together = level(other) == level(name) and other.partition(".")[0] == name.partition(".")[0]
        assert level(other) < level(name) or together, f"{name} imports {other}"


def test_light_modules_do_not_import_torch() -> None:
    code = (
        f"import sys, importlib\n"
        f"for name in {NO_TORCH}: importlib.import_module('fullyconv.' + name)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_public_names_are_there() -> None:
    import fullyconv

    for name in fullyconv.__all__:
        assert getattr(fullyconv, name) is not None
    assert set(fullyconv.__all__) == set(fullyconv._MODULES)
    assert set(fullyconv.__all__) < set(dir(fullyconv))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fullyconv.nothing


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> list[Function]:
    """Every function and method of a file, inner ones too."""
    return [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, Function)]


def length(function: Function) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def public(body: Sequence[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    """Functions, classes and methods whose names are for others."""
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            if not any(ast.unparse(decorator) == "overload" for decorator in node.decorator_list):
                yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert "TODO" not in text
    assert not [f"{path}:{f.lineno} {f.name}" for f in functions(path) if length(f) > 80]


def test_most_functions_are_shorter_still() -> None:
    """As in the libraries that people like to read: half of them have some ten lines."""
    lengths = sorted(length(f) for path in FILES for f in functions(path))
    assert lengths[len(lengths) // 2] <= 14
    assert lengths[int(0.9 * len(lengths))] <= 40


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_everything_public_is_documented_and_every_argument_annotated(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    assert not [node.name for node in public(tree.body) if not ast.get_docstring(node)]
    for function in functions(path):
        given = function.args
        arguments = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
        bare = [a.arg for a in arguments if a is not None and a.annotation is None]
        assert set(bare) <= {"self", "cls"}, f"{path}:{function.lineno} {bare}"
        assert function.returns is not None, f"{path}:{function.lineno}"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_errors_have_one_message(path: Path) -> None:
    """A comma too many makes a message a tuple, and no linter says so."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            texts = [a for a in node.exc.args if isinstance(a, ast.JoinedStr | ast.Constant)]
            texts = [a for a in texts if not isinstance(getattr(a, "value", ""), int)]
            assert len(texts) <= 1, f"{path}:{node.lineno}"
