"""The network in training: weights, moving average, optimiser, in one process or several."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn

from fullyconv.config import Recipe
from fullyconv.models.backbones import Backbone
from fullyconv.models.create import create_model
from fullyconv.models.layers import channels_last
from fullyconv.optim import build_optimizer, freeze_backbone
from fullyconv.sharding import shard, split_like, whole

_FEWEST_FOR_STATISTICS = 4  # pictures in a process whose means and deviations say something


class Learner:
    """A network with its optimiser and the moving average of its weights.

    Several processes hold either a copy each, whose gradients Accelerate averages, or a part each
    of weights, average and optimiser (``--optim.shard``). What is saved is whole either way: a run
    may go on under another number of processes.

    Args:
        model: The network, filled.
        recipe: How it is trained.
        accelerator: Knows device and processes.

    Attributes:
        model: What is called on images, by all processes together.
        optimizer: Its optimiser.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, accelerator: Accelerator) -> None:
        self._recipe, self._processes = recipe, accelerator.num_processes
        config = recipe.optim
        self._sharded = config.shard and self._processes > 1
        if config.trained == "scores":
            freeze_backbone(model)
        model = model.to(accelerator.device)
        if not self._sharded:  # what is split must be laid out as it was made
            model = channels_last(model)
        self._network = self.model = model
        self._average: AveragedModel | None = None
        if config.average > 0:
            self._average = _average(model, config.average, one_by_one=self._sharded)
        if self._sharded:
            for network in self._networks():
                shard(network, accelerator.device)
        self.optimizer: torch.optim.Optimizer = build_optimizer(model, config)
        if not self._sharded:
            self.model, self.optimizer = accelerator.prepare(model, self.optimizer)

    def _networks(self) -> list[nn.Module]:
        return [self._network, *([self._average.module] if self._average is not None else [])]

    def train_mode(self) -> None:
        """Set dropout and batch norm to training, but for what is not trained."""
        self.model.train()
        fixed: list[type[nn.Module]] = []
        if self._recipe.optim.trained == "scores":
            fixed.append(Backbone)
        if keeps_statistics(self._recipe, self._processes):
            fixed.append(nn.BatchNorm2d)
        for part in self.model.modules():
            if isinstance(part, tuple(fixed)):
                part.eval()

    def step(self, *, update: bool) -> None:
        """Change the weights by the gradients, unless told not to, and average them."""
        if update:
            self.optimizer.step()
        self.optimizer.zero_grad()
        if self._average is not None:
            self._average.update_parameters(self._network)

    def scored(self) -> nn.Module:
        """The network that is scored and saved: the average, where there is one.

        All processes call together, and have the same network afterwards.
        """
        network = self._networks()[-1]
        if self._processes > 1:  # batch norm's statistics are those of the first process
            for buffer in network.buffers():
                broadcast(buffer)
        if not self._sharded:
            return network
        copy = create_model(self._recipe.model).to(next(network.buffers()).device)
        copy.load_state_dict(whole(network.state_dict()))
        return channels_last(copy)

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run needs of it; all processes call together."""
        average = None if self._average is None else self._average.state_dict()
        return {
            "model": whole(self._network.state_dict()),
            "optimizer": whole(self.optimizer.state_dict()),
            "average": whole(average),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        _load(self._network, state["model"])
        if self._average is not None:
            _load(self._average, state["average"])
        optimizer = state["optimizer"]
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for number, values in optimizer["state"].items():
            for name, value in values.items():
                if isinstance(value, Tensor):
                    values[name] = split_like(value, parameters[number])
        for group, own in zip(optimizer["param_groups"], self.optimizer.param_groups, strict=True):
            group["fused"] = own["fused"]  # depends on the device and on the split
        self.optimizer.load_state_dict(optimizer)


def keeps_statistics(recipe: Recipe, processes: int) -> bool:
    """Whether batch norm uses the means and deviations that the network came with.

    Those of one or two pictures are noise, and of a single cell there are none: PyTorch refuses.
    A network of random weights has none yet, and must find its own.

    Example:
        >>> from fullyconv.recipes import recipe
        >>> keeps_statistics(recipe("finetune"), 1), keeps_statistics(recipe("finetune"), 4)
        (False, True)
    """
    config = recipe.optim
    if config.batch_norm == "auto":
        few = config.batch_size < _FEWEST_FOR_STATISTICS * processes
        return few and not recipe.from_scratch
    return config.batch_norm == "frozen"


def _average(model: nn.Module, decay: float, *, one_by_one: bool) -> AveragedModel:
    """Moving average of parameters and buffers; split ones do not go into one call with whole."""
    if one_by_one:
        one: Any = get_ema_avg_fn(decay)  # type: ignore[no-untyped-call]
        return AveragedModel(model, avg_fn=one, use_buffers=True)
    several: Any = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=several, use_buffers=True)


def _load(network: nn.Module, state: dict[str, Tensor]) -> None:
    own = network.state_dict()
    network.load_state_dict(
        {key: split_like(t, own[key]) if key in own else t for key, t in state.items()}
    )
