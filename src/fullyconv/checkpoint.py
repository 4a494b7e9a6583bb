"""One .safetensors file whose header says everything that is needed to use the weights."""

from __future__ import annotations

import json
import os
import struct
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import fullyconv
from fullyconv.config import ModelConfig
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.files import write_whole
from fullyconv.labels import LabelSpace
from fullyconv.networks import SHIPPED_MODELS, named_like
from fullyconv.preprocess import Preprocess
from fullyconv.recipe_file import typed
from fullyconv.report.classes import SCORES, percent
from fullyconv.report.record import BEST, LOG, SCORED, class_scores

if TYPE_CHECKING:
    import torch
    from torch import nn

_KEY = "fullyconv"  # of the JSON text in the safetensors header
_FORMAT = 1
_DESCRIPTION = "fullyconv.json"  # in a folder for ncnn
_EXPORTED = (".onnx", ".xml", ".bin", ".pt2")
_MAX_HEADER = 100_000_000  # bytes; safetensors' own limit


def model_path(model: str | os.PathLike[str]) -> Path:
    """The checkpoint of a shipped model's name, of a run folder the best, or the path given.

    Raises:
        FullyConvError: If there is none.
        UsageError: If it is a network, or anything else that is no name and no path.
    """
    given: object = model
    shipped = ", ".join(SHIPPED_MODELS)
    if not isinstance(given, str | os.PathLike):
        raise UsageError(
            f"a model is named by its path or as one of {shipped}, and this "
            f"{type(given).__name__} is neither; write it with fullyconv.save_model, or count a "
            "loop of your own with fullyconv.metrics.ConfusionMatrix"
        )
    if isinstance(model, str) and model in SHIPPED_MODELS:
        return Path(str(resources.files("fullyconv") / "shipped" / f"{model}.safetensors"))
    path = Path(model)
    if not path.exists():
        what = f"there is no such file, and no shipped model of that name ({shipped})"
        is_name = path.name == str(model) and not path.suffix
        raise FullyConvError(f"{model}: {what}{f'. {named_like(path.name)}' if is_name else ''}")
    return _in_folder(path) if path.is_dir() else path


def _in_folder(path: Path) -> Path:
    """The network of a run folder; an exported one as it is.

    Raises:
        FullyConvError: If it is neither.
    """
    if path.suffix == ".ncnn" or (path / _DESCRIPTION).is_file():
        return path
    if (path / BEST).is_file():
        return path / BEST
    if (path / LOG).is_file():
        what = (
            f"this run has scored no network yet; go on with it by fcn train --resume --out {path}"
        )
    elif any(folder.is_dir() for folder in (path / "images", *path.glob("*/images"))):
        what = (
            f"is a data set, where a model is needed: fcn evaluate MODEL {path} has the model first"
        )
    else:
        what = (
            "is no network, no run and no exported network; name a .safetensors file, the folder "
            "of an fcn train or that of an fcn export --to ncnn"
        )
    raise FullyConvError(f"{path}: {what}")


def is_checkpoint(name: str) -> bool:
    """Whether a name stands for a file of weights, or a shipped one, and not for a network."""
    return name in SHIPPED_MODELS or name.endswith(".safetensors") or Path(name).exists()


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a checkpoint says about itself.

    Attributes:
        model: The network's configuration.
        labels: Its classes and their colours; of several heads, the first one's.
        preprocess: From a photograph to its input.
        info: Anything else worth knowing, in plain JSON values: data, licence, metrics, recipe,
            iteration.
        heads: The classes of further heads, by name.
        version: Version of fullyconv that wrote the file.
    """

    model: ModelConfig
    labels: LabelSpace
    preprocess: Preprocess
    info: Mapping[str, Any] = field(default_factory=dict)
    heads: Mapping[str, LabelSpace] = field(default_factory=dict)
    version: str = fullyconv.__version__

    def __str__(self) -> str:
        classes = self.labels.categories
        rows = {f"{len(classes)} classes": ", ".join(classes), "input": str(self.preprocess)}
        for name, space in self.heads.items():
            rows[f"{name}, {space.num_classes} classes"] = ", ".join(space.categories)
        scores = self.info.get("metrics")
        for key, value in self.info.items():
            if key not in ("metrics", "recipe"):  # the one as a table, the other in its run folder
                plain = isinstance(value, str | int)
                rows[key.replace("_", " ")] = str(value) if plain else json.dumps(value)
        if isinstance(scores, dict) and scores:
            rows |= _scores(scores)
        return "\n".join(_row(key, text) for key, text in rows.items())

    def to_json(self) -> str:
        """The header as one JSON object."""
        return json.dumps(
            {
                "format": _FORMAT,
                "version": self.version,
                "model": asdict(self.model),
                "labels": self.labels.to_dict(),
                "preprocess": self.preprocess.to_dict(),
                "info": dict(self.info),
                "heads": {name: space.to_dict() for name, space in self.heads.items()},
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Header:
        """Inverse of :meth:`to_json`.

        Raises:
            FullyConvError: If the text is of a newer format, or not of this one.
        """
        try:
            values = json.loads(text)
            if values["format"] > _FORMAT:
                raise FullyConvError(
                    f"it was written by fullyconv {values['version']}, whose format "
                    f"{values['format']} is newer than this version's {_FORMAT}; upgrade fullyconv"
                )
            return cls(
                model=_network(values["model"]),
                labels=LabelSpace.from_dict(values["labels"]),
                preprocess=Preprocess.from_dict(values["preprocess"]),
                info=values["info"],
                heads={
                    name: LabelSpace.from_dict(space)
                    for name, space in values.get("heads", {}).items()
                },
                version=values["version"],
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise FullyConvError(f"its header is not readable ({error!r})") from error


def _row(key: str, text: str) -> str:
    """A line of a table of two columns, or several where the text is long."""
    indent = 29 * " "
    return textwrap.fill(text, 100, initial_indent=f"  {key:<26} ", subsequent_indent=indent)


def _scores(values: dict[str, Any]) -> dict[str, str]:
    """Rows of the scores that a checkpoint states, in per cent; the best class first."""
    found = class_scores(values, {})
    if found is None:
        return {"metrics": json.dumps(values)}
    rows = {f"{name}, %": f"{percent(found.totals[key]):>5}" for key, name in SCORES.items()}
    for i in np.argsort(-np.nan_to_num(found.iou, nan=-1), kind="stable"):
        rows[f"IU of {found.names[i]}, %"] = f"{percent(found.iou[i]):>5}"
    return rows


def _network(values: Any) -> ModelConfig:
    try:
        network: ModelConfig = typed(ModelConfig, values)
    except FullyConvError as error:
        raise FullyConvError(f"its header is not readable: {error}") from error
    return network


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read what a checkpoint says about itself, without its weights and without torch.

    Args:
        path: The checkpoint, a run folder, or the name of a shipped model.

    Raises:
        FullyConvError: If the file is missing, damaged, or not a checkpoint of fullyconv.
    """
    if path in SHIPPED_MODELS or Path(path).is_dir():
        path = model_path(path)
    if Path(path).suffix in _EXPORTED or Path(path).is_dir():
        raise FullyConvError(
            f"{path}: this is an exported model, or part of one; a checkpoint (.safetensors) is "
            "needed here"
        )
    try:
        size = Path(path).stat().st_size
        with Path(path).open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
            if not 2 <= length <= min(size - 8, _MAX_HEADER):
                raise FullyConvError(f"{path}: {_instead(Path(path))}")
            metadata = json.loads(file.read(length)).get("__metadata__", {})
            text = metadata.get(_KEY)
    except OSError as error:
        raise FullyConvError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise FullyConvError(f"{path}: this is no checkpoint (.safetensors); {error}") from error
    if not isinstance(text, str):
        raise FullyConvError(
            f"{path}: a .safetensors file, but not one of fullyconv's: its header does not say "
            "which network it holds. fcn weights import turns weights into a checkpoint"
        )
    try:
        return Header.from_json(text)
    except FullyConvError as error:
        raise FullyConvError(f"{path}: {error}") from error


def _instead(path: Path) -> str:
    """What a file is that is no checkpoint, and what to name in its place."""
    if path.suffix == ".caffemodel":
        return (
            "these are Caffe's weights; fcn weights import NETWORK MODEL.safetensors --from "
            f"{path} makes a checkpoint of those of a network of the release (fcn info lists them)"
        )
    if path.suffix == ".pt":
        beside = [name for name in (BEST, SCORED) if (path.parent / name).is_file()]
        networks = f"the networks to use lie beside it: {', '.join(beside)}"
        if not beside:
            networks = f"{BEST} will lie beside it once the run has come to a scoring"
        return f"from this a run goes on (fcn train --resume); {networks}"
    return "this is no checkpoint (.safetensors), as fcn train writes them"


def load_model(path: str | os.PathLike[str]) -> nn.Module:
    """Build the network a checkpoint describes and load its weights.

    Args:
        path: The checkpoint, a run folder, or the name of a shipped model.

    Returns:
        The network, in evaluation mode, float32.

    Raises:
        FullyConvError: If the file is missing, damaged, or its weights do not fit its header.
    """
    import torch

    from fullyconv.models.create import create_model

    path = model_path(path)
    header = read_header(path)
    state = read_tensors(path)
    if wrong := _misfits(header.model, state, path):
        raise FullyConvError(
            f"{path}: {len(wrong)} weights do not fit the network in its header: "
            + "; ".join(wrong[:3])
        )
    model = create_model(header.model)
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    if any(not torch.isfinite(p).all() for p in model.parameters()):
        raise FullyConvError(f"{path}: its weights hold NaN or infinite values")
    return model.eval()


def _misfits(config: ModelConfig, state: Mapping[str, torch.Tensor], path: object) -> list[str]:
    """What of these weights is not that network's, a sentence each.

    Raises:
        FullyConvError: If there is no such network.
    """
    import torch

    from fullyconv.models.create import create_model

    try:
        with torch.device("meta"):  # sizes alone: a header may state any
            expected = create_model(config).state_dict()
    except FullyConvError as error:
        raise type(error)(f"{path}: {error}") from error
    except Exception as error:
        what = str(error).partition("\n")[0]
        raise FullyConvError(f"{path}: there is no network as in its header ({what})") from error
    return [
        f"{key} is {tuple(state[key].shape) if key in state else 'missing'}, expected "
        f"{tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key not in state or state[key].shape != tensor.shape
    ] + [f"{key} is not part of the network" for key in state if key not in expected]


def read_tensors(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """All tensors of a .safetensors file.

    Raises:
        FullyConvError: If the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise FullyConvError(f"{path}: cannot be read as .safetensors ({error})") from error


def save_model(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    header: Header,
    half: bool = False,
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        model: Network built from ``header.model``.
        path: A .safetensors file.
        header: What the file shall say about itself.
        half: Store weights in float16: half the size, and for trained networks the same labels
            but for about one pixel in a thousand.

    Raises:
        FullyConvError: If the header describes another network, from which the file could never be
            read; or the file cannot be written.
    """
    import torch
    from safetensors.torch import save

    state = {
        key: tensor.detach()
        .to("cpu", torch.float16 if half and tensor.is_floating_point() else tensor.dtype)
        .contiguous()
        for key, tensor in model.state_dict().items()
    }
    if wrong := _misfits(header.model, state, path):
        raise FullyConvError(
            f"{path}: was not written, for {len(wrong)} weights do not fit the network in the "
            f"header ({wrong[0]}); a checkpoint holds a configuration and no code, so the backbone "
            "must be one that create_model builds by name"
        )
    content = save(state, metadata={_KEY: header.to_json()})
    write_whole(path, lambda file: file.write(content))
