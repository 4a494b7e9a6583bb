"""A network as an .onnx file whose graph's tensors have the names of the network's maps."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import logging
import os
import warnings
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fullyconv.checkpoint import Header
from fullyconv.errors import FullyConvError
from fullyconv.extras import optional
from fullyconv.files import write_whole
from fullyconv.models.fast.elision import elide
from fullyconv.models.fast.plan import Plan
from fullyconv.models.fast.stages import Stages
from fullyconv.models.fcn import Head
from fullyconv.runtimes.engine import describe
from fullyconv.runtimes.torch_writer import TRACED

OUTPUTS = ("scores", "logits")
OPSET = 18  # of 2022: every engine of the last years reads it
_HALF_MAX = float(np.finfo(np.float16).max)


class NamedMaps(nn.Module):
    """A network that returns all of its maps, each made from the ones before it.

    Args:
        model: The network.
        size: Height and width of the only images; the padding that these do not reach is left out.

    Shape:
        images (N, C, H, W) to the maps by name, ``logits`` (N, classes of all heads, H, W) last.
    """

    def __init__(self, model: nn.Module, size: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.stages = Stages(model)
        if size is not None:
            self.stages.shorten(lambda backbone: elide(backbone, size))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the maps; shapes as in the class docstring."""
        plan, run = self.stages.plan, self.stages.run
        maps = {"images": images}
        if self.stages.shortcuts:
            taps = [piece.target for piece in plan.pieces if "." not in piece.target]
            maps |= run({"images": images}, taps)
        else:
            for piece in plan.pieces:
                maps |= run({piece.source: maps[piece.source]}, [piece.target])
        for name in plan.scored:
            features = name.replace("scores", "features")
            maps |= run({features: maps[features]}, [name])
        maps |= run({name: maps[name] for name in plan.scored}, ["scores"])
        if len(plan.scored) == 1:  # nothing to add up: the one map has two names
            maps["scores"] = maps["scores"].clone()
        maps["logits"] = self.stages.logits(maps["scores"], images)
        del maps["images"]
        return maps


def write_onnx(
    model: nn.Module,
    header: Header,
    path: str | os.PathLike[str],
    size: tuple[int, int] | None = None,
    half: bool = False,
) -> Plan:
    """Write a network as .onnx, with everything that is needed to use it.

    Input ``images`` (N, C, H, W) in the network's own units; outputs ``scores`` and ``logits``.

    Args:
        model: Network in evaluation mode.
        header: What the file shall say about itself.
        path: The file.
        size: Height and width of the only pictures it shall take; any, if not given.
        half: Store weights in float16; computing stays float32.

    Returns:
        The network's geometry.

    Raises:
        FullyConvError: If onnx or onnxscript is not installed, a weight is too large for float16,
            or the file cannot be written.
    """
    onnx = optional("onnx", "deploy")
    optional("onnxscript", "deploy")
    named = NamedMaps(model, size).eval()
    channels = header.model.in_channels
    if size is None:
        example = torch.zeros(TRACED[0], channels, *TRACED[1:])
        vary = torch.export.Dim.DYNAMIC
        shapes: Any = ({0: vary, 2: vary, 3: vary},)
    else:
        example, shapes = torch.zeros(1, channels, *size), None
    with torch.inference_mode():
        names = list(named(example[:1]))
    apart = _scales_apart(named) if half else contextlib.nullcontext()
    with _quiet(), _own_nodes(named), _not_in_place(named), apart:
        program = torch.onnx.export(
            named,
            (example,),
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=["images"],
            output_names=names,
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    kept = [output for output in proto.graph.output if output.name in OUTPUTS]
    del proto.graph.output[:]
    proto.graph.output.extend(kept)
    for node in proto.graph.node:
        _pad_for_ceil(node)
    onnx.helper.set_model_props(proto, describe(header, named.stages.plan))
    if half:
        _halve(onnx, proto, dict(named.named_parameters()).keys())
    write_whole(path, lambda file: file.write(proto.SerializeToString()))
    return named.stages.plan


def _pad_for_ceil(node: Any) -> None:
    """Write a pooling that rounds up as one that rounds down and pads behind, as every engine can.

    OpenVINO refuses a map smaller than the window where it has to round up.
    """
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type != "MaxPool" or not attributes["ceil_mode"].i:
        return
    attributes["ceil_mode"].i = 0
    strides, pads = attributes["strides"].ints, attributes["pads"].ints
    for axis, stride in enumerate(strides):
        pads[len(strides) + axis] += stride - 1


@contextlib.contextmanager
def _own_nodes(network: nn.Module) -> Iterator[None]:
    """Crops and normalisations as nodes of ONNX that read sizes off the maps they work on.

    PyTorch would write those sizes as formulas of the picture's, and no graph could be cut.
    """
    heads = [module for module in network.modules() if isinstance(module, Head)]
    norms = [module for module in network.modules() if isinstance(module, nn.LocalResponseNorm)]
    before = [head.crop for head in heads]
    try:
        for head in heads:
            head.crop = _crop
        for norm in norms:
            norm.forward = functools.partial(_normalise, norm)  # type: ignore[method-assign]
        yield
    finally:
        for head, own in zip(heads, before, strict=True):
            head.crop = own
        for norm in norms:
            del norm.forward


@contextlib.contextmanager
def _not_in_place(network: nn.Module) -> Iterator[None]:
    """Activations that leave their input as it is: the same nodes, in two thirds of the time."""
    layers = [module for module in network.modules() if getattr(module, "inplace", False)]
    try:
        for layer in layers:
            setattr(layer, "inplace", False)  # noqa: B010  # nn.Module declares no such thing
        yield
    finally:
        for layer in layers:
            setattr(layer, "inplace", True)  # noqa: B010


@contextlib.contextmanager
def _scales_apart(network: nn.Module) -> Iterator[None]:
    """Batch normalisation as a factor on each kernel, to be multiplied when the file is opened.

    Folded into the kernels they would be rounded to float16 once more; apart, a checkpoint that was
    stored in float16 is exactly what it was.
    """
    pairs = [
        (conv, norm)
        for layers in network.modules()
        if isinstance(layers, nn.Sequential)
        for conv, norm in itertools.pairwise(layers)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and norm.affine
    ]
    try:
        for conv, norm in pairs:
            conv.forward = _normalised(conv, norm)  # type: ignore[method-assign, assignment]
            norm.forward = _unchanged  # type: ignore[method-assign, assignment]
        yield
    finally:
        for conv, norm in pairs:
            del conv.forward, norm.forward


def _normalised(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Callable[[Tensor], Tensor]:
    """A convolution whose kernel and bias take over the normalisation behind it."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    scale = (norm.weight * (variance + norm.eps).rsqrt()).detach()
    start = -mean if conv.bias is None else conv.bias - mean
    bias = (norm.bias + start * scale).detach()

    def forward(x: Tensor) -> Tensor:
        kernel = conv.weight * scale[:, None, None, None]
        made: Tensor = conv._conv_forward(x, kernel, bias)
        return made

    return forward


def _unchanged(x: Tensor) -> Tensor:
    return x


def _crop(x: Tensor, offset: int, to: Tensor) -> Tensor:
    node = torch.onnx.ops.symbolic
    start, axes = torch.tensor([offset, offset]), torch.tensor([2, 3])
    size = node("Shape", (to,), {"start": 2, "end": 4}, dtype=torch.int64, shape=(2,))
    shape = (*x.shape[:2], *to.shape[2:])
    return node("Slice", (x, start, size + start, axes), dtype=x.dtype, shape=shape)


def _normalise(norm: nn.LocalResponseNorm, x: Tensor) -> Tensor:
    values: dict[str, Any] = {"size": norm.size, "alpha": norm.alpha, "beta": norm.beta}
    values["bias"] = norm.k
    return torch.onnx.ops.symbolic("LRN", (x,), values, dtype=x.dtype, shape=x.shape)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """PyTorch's exporter tells of its steps, and of packages that are of no use here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _halve(onnx: Any, proto: Any, kernels: Collection[str]) -> None:
    """Store kernels as float16, each followed by a cast; what was computed from them stays."""
    casts = []
    for tensor in proto.graph.initializer:
        if tensor.name not in kernels or len(tensor.dims) < 2:
            continue
        name, array = tensor.name, onnx.numpy_helper.to_array(tensor)
        if np.abs(array).max(initial=0) > _HALF_MAX:
            raise FullyConvError(
                f"{name} holds {np.abs(array).max():.3g}, which float16 cannot; export it without "
                "float16"
            )
        stored = onnx.numpy_helper.from_array(array.astype(np.float16), f"{name}.float16")
        tensor.CopyFrom(stored)
        casts.append(
            onnx.helper.make_node("Cast", [stored.name], [name], to=onnx.TensorProto.FLOAT)
        )
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
