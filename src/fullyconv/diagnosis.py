"""What is installed here, on what machine, and whether it works."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import numpy as np

import fullyconv
from fullyconv.errors import FullyConvError
from fullyconv.prediction.predictor import Predictor
from fullyconv.runtimes.threads import physical, processors
from fullyconv.weights import cache_folder

_VARIABLES = re.compile("FULLYCONV_.*|OMP_.*|MKL_.*|CUDA_VISIBLE_DEVICES|PYTHONPATH|VIRTUAL_ENV")
_ENGINES = ("torch", "onnx", "openvino")  # those that open a shipped model
_SIDE = 64
_NAMED = 3  # packages that an extra lacks; a developer's lacks all, where nobody asked for it


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        versions: Of fullyconv, Python and the operating system.
        machine: Processor, memory, accelerator.
        packages: Those that fullyconv cannot do without, and their versions.
        extras: For each group of optional packages, ``complete`` or what is missing.
        engines: For each engine, whether the shipped model gives the labels of the others.
        places: Where the weights are kept, and the room there.
        environment: Variables that change what is done.
        wrong: What does not work, a sentence each.
    """

    versions: Mapping[str, str]
    machine: Mapping[str, str]
    packages: Mapping[str, str]
    extras: Mapping[str, str]
    engines: Mapping[str, str]
    places: Mapping[str, str]
    environment: Mapping[str, str]
    wrong: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        """A block for each attribute; what is wrong comes last."""
        lines = []
        for title, rows in self.to_dict().items():
            if not isinstance(rows, Mapping) or not rows:
                continue
            width = max(map(len, rows))
            lines += [title, *(f"  {name:<{width}}  {text}" for name, text in rows.items())]
        return "\n".join([*lines, *(f"wrong: {text}" for text in self.wrong or ())])


def diagnose() -> Diagnosis:
    """Look at the installation, and label a picture with every engine.

    Nothing is written and nothing is sent.
    """
    packages, extras, wrong = _packages(requires("fullyconv") or [])
    engines, failed = _engines()
    places, unwritable = _places()
    return Diagnosis(
        versions={
            "fullyconv": f"{fullyconv.__version__} in {Path(fullyconv.__file__).parent}",
            "python": f"{platform.python_version()} ({sys.executable})",
            "system": platform.platform(),
        },
        machine=_machine(),
        packages=packages,
        extras=extras,
        engines=engines,
        places=places,
        environment={n: v for n, v in sorted(os.environ.items()) if _VARIABLES.fullmatch(n)},
        wrong=(*wrong, *failed, *unwritable),
    )


def _packages(required: list[str]) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Needed packages with their versions; optional ones by extra; what is wrong with the needed.

    Args:
        required: As in the package's metadata: ``torch>=2.9``, ``av>=14; extra == "video"``.
    """
    from packaging.requirements import Requirement  # accelerate brings it

    needed: dict[str, str] = {}
    missing: dict[str, list[str]] = {}
    wrong = []
    for requirement in map(Requirement, required):
        marker = str(requirement.marker or "")
        extra = re.search('extra == "([^"]+)"', marker)
        try:
            there = version(requirement.name)
            fits = requirement.specifier.contains(there, prereleases=True)
        except PackageNotFoundError:
            there, fits = "missing", False
        if extra:
            absent = missing.setdefault(extra[1], [])
            if not fits and requirement.name != "fullyconv":
                absent.append(f"{requirement.name}{requirement.specifier} is {there}")
            continue
        needed[requirement.name] = there
        if not fits:
            wrong.append(
                f"{requirement.name} is {there}, and {requirement.specifier} is needed: "
                f'pip install "{requirement.name}{requirement.specifier}"'
            )
    return needed, {extra: _said_of(absent) for extra, absent in missing.items()}, wrong


def _said_of(absent: list[str]) -> str:
    """What an extra lacks: the first by name."""
    more = len(absent) - _NAMED
    said = absent[:_NAMED] + ([f"and {more} more"] if more > 0 else [])
    return ", ".join(said) or "complete"


def _machine() -> dict[str, str]:
    import psutil

    memory = psutil.virtual_memory()
    found = {
        "processor": f"{_processor()}, {processors()} of {physical()} used",
        "memory": f"{memory.total / 2**30:.1f} GiB, {memory.available / 2**30:.1f} GiB available",
    }
    try:
        import torch
    except (ImportError, OSError) as error:  # a library that it needs is missing
        return {**found, "accelerator": f"not known: torch cannot be imported ({error})"}
    if torch.cuda.is_available():
        found["accelerator"] = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    else:
        found["accelerator"] = "none that torch can use"
    return found


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"model name\s*:\s*(.+)", text)
    return name[1] if name else platform.machine()


def _engines(open_model: Callable[..., Predictor] = Predictor) -> tuple[dict[str, str], list[str]]:
    ramp = np.linspace(0, 255, _SIDE).astype(np.uint8)
    photo = np.stack([*np.broadcast_arrays(ramp, ramp[:, None]), ramp[:, None] * 0 + ramp], -1)
    found, wrong, first = {}, [], None
    for engine in _ENGINES:
        try:
            labels = open_model("camvid", runtime=engine)(photo).labels
        except ImportError:  # torch, which is no extra; it is missed among the packages
            found[engine] = "not installed"
            continue
        except FullyConvError as error:
            found[engine] = "not installed" if "not installed" in str(error) else "does not work"
            if found[engine] == "does not work":
                wrong.append(f"{engine}: {error}")
            continue
        first = labels if first is None else first
        same = float((labels == first).mean())
        found[engine] = "works"
        if same < 0.99:  # rounding may turn a pixel between two classes
            found[engine] = "gives other labels"
            wrong.append(f"{engine} and {next(iter(found))} agree on {100 * same:.1f} % of a ramp")
    return found, wrong


def _places() -> tuple[dict[str, str], list[str]]:
    folder = cache_folder()
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    room = f"{shutil.disk_usage(there).free / 2**30:.1f} GiB free"
    if os.access(there, os.W_OK):
        return {"weights": f"{folder}, {room}"}, []
    return {"weights": f"{folder}, not writable"}, [
        f"{there} may not be written to, so no weights can be kept in {folder}: "
        "set FULLYCONV_HOME to a folder that may"
    ]
