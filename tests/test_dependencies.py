"""What must be installed is little, and bounded from below alone; everything else is an extra."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Predicts and trains a step with nothing but the required packages to be found
SCRIPT = """
import sys
shapes, out, blocked = sys.argv[1], sys.argv[2], {*sys.argv[3].split(",")}

from importlib.machinery import PathFinder
class OnlyRequired(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = path is None and name.split(".")[0] in blocked
        return None if hidden else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = OnlyRequired
from dataclasses import replace
import fullyconv as fc
for name in fc.__all__:
    if name != "view":
        getattr(fc, name)
print(fc.Predictor("camvid")(shapes + "/val/images/val00.png").labels.shape)
recipe = fc.recipe("finetune")
recipe = replace(recipe, init_from=("camvid",),
    data=replace(recipe.data, root=__import__("pathlib").Path(shapes), crop=(32, 32), workers=0),
    optim=replace(recipe.optim, max_iters=1, batch_size=4))
print(fc.train(recipe, out, progress=False).name)
"""


def requirements() -> tuple[list[str], list[str]]:
    """The required and the optional packages, as the project's metadata has them."""
    required: list[str] = []
    optional: list[str] = []
    for line in requires("fullyconv") or []:
        (optional if "extra ==" in line else required).append(line)
    return required, optional


def name_of(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def needed_by(packages: set[str]) -> set[str]:
    """They and what they themselves must have, however far."""
    from packaging.requirements import Requirement

    found: set[str] = set()
    waiting = [*packages]
    while waiting:
        package = waiting.pop()
        if package in found:
            continue
        found.add(package)
        try:
            lines = requires(package) or []
        except ModuleNotFoundError:
            continue
        for requirement in map(Requirement, lines):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(name_of(requirement.name))
    return found


def test_required_packages_are_few_and_not_pinned() -> None:
    required, optional = requirements()
    assert {name_of(line) for line in required} == {
        "torch", "numpy", "pillow", "safetensors", "accelerate", "tyro", "tqdm", "psutil",
        "onnxruntime",
    }  # fmt: skip
    for line in required:
        assert re.fullmatch(r"[\w-]+>=[\d.]+", line), f"{line}: a lower bound and nothing else"
    names = {name_of(line) for line in [*required, *optional]}
    assert names.isdisjoint({"mmcv", "timm", "pydensecrf", "simplecrf", "caffe"})


def test_it_predicts_and_trains_with_nothing_but_the_required(tmp_path: Path) -> None:
    required, optional = requirements()
    kept = needed_by({name_of(line) for line in required})
    blocked = {
        module
        for module, owners in packages_distributions().items()
        for owner in owners
        if name_of(owner) in {name_of(line) for line in optional} - kept
    }
    assert {"av", "cv2", "fastapi", "openvino"} & blocked
    shapes = tmp_path / "shapes"
    subprocess.run([sys.executable, ROOT / "examples" / "make_shapes.py", shapes], check=True)
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, shapes, tmp_path / "run", ",".join(blocked)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    said = ran.stdout.split()
    assert said[:2] == ["(128,", "160)"]
    assert said[-1] == "best.safetensors"
