"""Weights split over processes (FSDP): each holds a part, and they meet where a layer runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from fullyconv.errors import FullyConvError

_WORTH_ITS_OWN = 2**20  # weights: a layer of so many is gathered when it runs, the rest together


def shard(model: nn.Module, device: torch.device) -> None:
    """Split every parameter of a network over the processes, in place.

    PyTorch's second FSDP, since it splits tensor by tensor: an optimiser and a state dictionary see
    the parameters they know. The processes must call the network together from then on.

    Raises:
        FullyConvError: If this PyTorch is too old.
    """
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
    except ImportError as error:
        raise FullyConvError(
            f"splitting the weights (--optim.shard) needs PyTorch 2.6 or newer; this is "
            f"{torch.__version__}"
        ) from error
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    large = [
        layer
        for layer in model.modules()
        if sum(p.numel() for p in layer.parameters(recurse=False)) >= _WORTH_ITS_OWN
    ]
    for part in (*large, model):
        fully_shard(part, mesh=mesh)


def whole(tree: Any) -> Any:
    """The same dictionaries and lists with every split tensor put together; all processes call."""
    return tree_map(lambda leaf: _whole(leaf) if isinstance(leaf, Tensor) else leaf, tree)


def _whole(tensor: Tensor) -> Tensor:
    gather = getattr(tensor, "full_tensor", None)  # only split tensors have it
    return tensor if gather is None else gather()


def split_like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor, the same in every process, split as a parameter of its shape is."""
    if not hasattr(parameter, "full_tensor") or tensor.shape != parameter.shape:
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(parameter, DTensor)
    return distribute_tensor(tensor, parameter.device_mesh, parameter.placements)
