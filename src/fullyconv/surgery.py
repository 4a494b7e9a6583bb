"""Net surgery: weights from one network into another, and from Caffe's files (surgery.py there)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from fullyconv.caffe import CaffeLayer, CaffeNet, read_caffemodel
from fullyconv.errors import FullyConvError
from fullyconv.models.fcn import FCN, Head
from fullyconv.models.fusion import LateFusion, MultiHead
from fullyconv.models.layers import BilinearUpsample, bilinear_kernel

# Caffe's names of the class scores by the stride they are taken at (the authors' */net.py).
_SCORES = {"32": "score_fr", "16": "score_pool4", "8": "score_pool3"}
# Of the upsampling: onto a skip, by the grid it lands on; onto the image, by the finest tap.
_ONTO_SKIP = {"16": "upscore2", "8": "upscore_pool4"}
_ONTO_IMAGE = {32: "upscore", 16: "upscore16", 8: "upscore8"}
_SCALES = {16: "scale_pool4", 8: "scale_pool3"}
_NAMED = 10  # layers that a report names
_HEAD_SUFFIX = {"semantic": "_sem", "geometric": "_geo"}  # siftflow-fcn*/net.py


@dataclass(frozen=True)
class SurgeryReport:
    """What became of each layer.

    Attributes:
        copied: Caffe layers whose parameters were copied as they are.
        reshaped: Those that were copied into another shape (fully connected to convolution).
        missing: Layers of the network that the file does not hold.
        extra: Layers of the file, with parameters, that the network does not have.
    """

    copied: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{len(self.copied)} copied"]
        for kind in ("reshaped", "missing", "extra"):
            names = getattr(self, kind)
            if names:
                more = ", ..." if len(names) > _NAMED else ""
                parts.append(f"{len(names)} {kind}: {', '.join(names[:_NAMED])}{more}")
        return "; ".join(parts)


def caffe_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers of a network by the names they have in Caffe.

    Args:
        model: An :class:`~fullyconv.models.fcn.FCN` or a composition of them, or any module whose
            layers are named as Caffe's.

    Returns:
        Caffe's layer name to the convolution or upsampling it is; backbones in the order they run.

    Example:
        >>> from fullyconv.models.create import create_model
        >>> list(caffe_layers(create_model("voc-fcn32s", width=1 / 16)))[-3:]
        ['fc7', 'score_fr', 'upscore']
    """
    if isinstance(model, LateFusion):
        named: dict[str, nn.Module] = {}
        for stream, fcn in model.streams.items():
            layers = caffe_layers(fcn)
            # one upsampling serves both streams there: it has no suffix
            named |= {k if k == "upscore" else k + stream: v for k, v in layers.items()}
        return named
    if isinstance(model, MultiHead):
        named = dict(_convolutions(model.backbone))
        for task, head in model.heads.items():
            assert isinstance(head, Head)
            named |= {k + _HEAD_SUFFIX.get(task, f"_{task}"): v for k, v in _head(head)}
        return named
    if isinstance(model, FCN):
        return {**dict(_convolutions(model.backbone)), **dict(_head(model.head))}
    return dict(_convolutions(model))


def _convolutions(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            leaf = name.rpartition(".")[2]
            first_of_four = leaf == "conv1_1" and layer.weight.shape[1] == 4
            yield ("conv1_1_bgrd" if first_of_four else leaf), layer


def _head(head: Head) -> Iterator[tuple[str, nn.Module]]:
    for stride, score in head.score.items():
        yield _SCORES[stride], score
    for grid, upsample in head.upsample.items():
        yield _ONTO_SKIP.get(grid, _ONTO_IMAGE[head.taps[-1]]), upsample


def load_caffemodel(
    model: nn.Module, path: str | os.PathLike[str], *, strict: bool = True
) -> SurgeryReport:
    """Copy the weights of a ``.caffemodel`` into a network, exactly, by layer name.

    Fully connected weights become the convolutions they are equal to. Caffe's upsampling layers
    hold a full (classes, classes, k, k) kernel: where the network's is fixed they must be bilinear,
    and are checked; where it is learned they are copied.

    Args:
        model: Network, as :func:`~fullyconv.create_model` builds it; changed only if all fits.
        path: A file of any Caffe generation.
        strict: Refuse a file that lacks a layer of the network or has one more.

    Returns:
        What was copied, reshaped, missing and extra.

    Raises:
        FullyConvError: If the file is unreadable; a shape does not fit; an upsampling or scale is
            not the network's; or, when strict, layers are missing or extra.
    """
    return transplant_caffe(model, read_caffemodel(path), source=path, strict=strict)


def transplant_caffe(
    model: nn.Module, net: CaffeNet, *, source: object = "the net", strict: bool = True
) -> SurgeryReport:
    """:func:`load_caffemodel` for a net that is already read."""
    report = SurgeryReport()
    given = {layer.name: layer for layer in net.layers if layer.blobs}
    wanted = caffe_layers(model)
    copies: list[tuple[Tensor, Tensor]] = []
    for name, layer in wanted.items():
        if name not in given:
            # a fixed upsampling is known without the file
            if not isinstance(layer, BilinearUpsample):
                report.missing.append(name)
            continue
        parts, reshaped = _copies(layer, given[name], source)
        copies += parts
        (report.reshaped if reshaped else report.copied).append(name)
    scales = _check_scales(model, given, source)
    report.extra.extend(n for n in given if n not in wanted and n not in scales)
    if strict and (report.missing or report.extra):
        raise FullyConvError(
            f"{source}: does not hold this network ({report}). Create the network the file was "
            "made for, or pass strict=False (fcn weights import --partial) to take what fits"
        )
    if not report.copied and not report.reshaped:
        raise FullyConvError(
            f"{source}: not one of its {len(given)} layers with weights "
            f"({', '.join(list(given)[:4])}, ...) has the name of a layer of this network "
            f"({', '.join(list(wanted)[:4])}, ...), so nothing would be loaded"
        )
    with torch.no_grad():
        for old, new in copies:
            old.copy_(new)
    return report


def _copies(
    layer: nn.Module, given: CaffeLayer, source: object
) -> tuple[list[tuple[Tensor, Tensor]], bool]:
    """Pairs of (parameter, its new value), and whether a shape changed on the way."""
    if isinstance(layer, BilinearUpsample):
        _check_bilinear(layer, given, source)
        return [], False
    parameters = list(layer.parameters())
    if len(parameters) != len(given.blobs):
        raise FullyConvError(
            f"{source}: layer {given.name} holds {len(given.blobs)} blobs, expected "
            f"{len(parameters)}"
        )
    copies: list[tuple[Tensor, Tensor]] = []
    reshaped = False
    for old, blob in zip(parameters, given.blobs, strict=True):
        same = tuple(blob.shape) == tuple(old.shape)
        # Caffe's older files write every blob with four axes, and fully connected weights have two
        trimmed = [n for n in blob.shape if n != 1] == [n for n in old.shape if n != 1]
        connected = blob.size == old.numel() and old.ndim == 4 and blob.shape[-1] != old.shape[-1]
        if not same and not trimmed and not connected:
            raise FullyConvError(
                f"{source}: layer {given.name} holds {blob.shape}, which does not fit the "
                f"network's {tuple(old.shape)}; are number of classes, input channels and width "
                "those of the file?"
            )
        reshaped |= not same and not trimmed
        value = torch.from_numpy(np.array(blob, np.float32))
        copies.append((old, value.reshape(old.shape)))
    return copies, reshaped


def _check_bilinear(layer: BilinearUpsample, given: CaffeLayer, source: object) -> None:
    """Refuse an upsampling kernel that is not the fixed bilinear one, and say how it differs."""
    blob = torch.from_numpy(np.array(given.blobs[0], np.float32))
    kernel = bilinear_kernel(layer.kernel_size)
    channels = layer.weight.shape[0]
    if tuple(blob.shape) not in (
        (channels, channels, *kernel.shape),
        (channels, 1, *kernel.shape),
    ):
        raise FullyConvError(
            f"{source}: upsampling {given.name} holds {tuple(blob.shape)}, expected a kernel of "
            f"{tuple(kernel.shape)} for {channels} classes"
        )
    expected = kernel * torch.eye(channels)[:, :, None, None] if blob.shape[1] > 1 else kernel
    difference = (blob - expected).abs().max().item()
    if difference > 1e-6:
        raise FullyConvError(
            f"{source}: upsampling {given.name} was learned (it differs from bilinear "
            f"interpolation by up to {difference:.3g}); create the network with upsample='learned'"
        )


def _check_scales(model: nn.Module, given: dict[str, CaffeLayer], source: object) -> set[str]:
    """Names of the fixed Scale layers, each checked against the network's factor."""
    checked = set()
    heads = [module for module in model.modules() if isinstance(module, Head)]
    for head in heads:
        for stride, name in _SCALES.items():
            factor = head.skip_scale[stride]
            found = float(given[name].blobs[0].flat[0]) if name in given else 1.0
            if stride in head.taps and not np.isclose(found, factor):
                raise FullyConvError(
                    f"{source}: the stride-{stride} skip is scaled by {found:g}, in the network by "
                    f"{factor:g}; create it with the matching skip_scale"
                )
            checked.add(name)
    return checked


def transplant(target: nn.Module, source: nn.Module) -> SurgeryReport:
    """Copy every parameter whose name and shape agree (the authors' ``surgery.transplant``).

    Staged training: an FCN-32s into a new FCN-16s, whose new score stays zero. It then answers as
    the FCN-32s did: exactly where the upsampling kernels are odd, nearly where they are even
    (VGG16), for two even ones are not the single larger one. A classifier's linear weights fit the
    convolutions they are equal to.

    Returns:
        What was copied, reshaped, missing in ``source`` and extra there, by parameter name.

    Raises:
        FullyConvError: If nothing fits.
    """
    report = SurgeryReport()
    given, wanted = source.state_dict(), target.state_dict()
    for name, old in wanted.items():
        new = given.get(name)
        if new is None or (new.shape != old.shape and new.numel() != old.numel()):
            report.missing.append(name)
            continue
        old.copy_(new.reshape(old.shape))
        (report.copied if new.shape == old.shape else report.reshaped).append(name)
    report.extra.extend(name for name in given if name not in wanted)
    if not report.copied and not report.reshaped:
        raise FullyConvError("the two networks have no parameter in common; nothing was copied")
    return report


def expand_score(target: nn.Module, source: nn.Module, classes: dict[int, int]) -> None:
    """Start class scores from another network's (the authors' ``surgery.expand_score``).

    Args:
        target: Network with the new classes; each score layer that both have is changed.
        source: Network that knows some of them.
        classes: New class id to the old class id whose score it shall start from; the others keep
            what they have.

    Raises:
        FullyConvError: If a class id does not exist.
    """
    new, old = caffe_layers(target), caffe_layers(source)
    for name in sorted(new.keys() & old.keys()):
        if not name.startswith("score_"):
            continue
        into, begin = new[name], old[name]
        assert isinstance(into, nn.Conv2d)
        assert isinstance(begin, nn.Conv2d)
        for to, start in classes.items():
            if not (0 <= to < into.out_channels and 0 <= start < begin.out_channels):
                raise FullyConvError(
                    f"{name}: cannot start class {to} of {into.out_channels} from class {start} "
                    f"of {begin.out_channels}; ids begin at 0"
                )
            with torch.no_grad():
                for parameter in ("weight", "bias"):
                    getattr(into, parameter)[to] = getattr(begin, parameter)[start]
