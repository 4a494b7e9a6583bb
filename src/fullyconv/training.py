"""The one training loop; recipes are data."""

from __future__ import annotations

import math
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

import fullyconv
from fullyconv.checkpoint import Header, load_model, save_model
from fullyconv.config import Recipe
from fullyconv.data.batches import training_batches
from fullyconv.data.folder import Sample
from fullyconv.data.sources import (
    augmentation,
    fit_classes,
    label_space,
    open_datasets,
    preprocess,
)
from fullyconv.data.statistics import class_weights, count_classes
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.evaluation import score
from fullyconv.interrupts import hold_interrupts
from fullyconv.labels import IGNORE_INDEX, LabelSpace
from fullyconv.losses import cross_entropy
from fullyconv.metrics import Metrics
from fullyconv.models.backbones import Backbone
from fullyconv.models.create import create_model
from fullyconv.models.layers import channels_last
from fullyconv.optim import build_optimizer, freeze_backbone, lr_factor
from fullyconv.prediction import Predictor
from fullyconv.pretrained import load_imagenet
from fullyconv.recipes import recipe as named_recipe
from fullyconv.run_folder import RunFolder
from fullyconv.runtimes.torch import TorchRuntime
from fullyconv.surgery import transplant
from fullyconv.visualize import beside, first_picture, overlay

SAMPLES = 4  # validation pictures whose overlays are kept at each scoring
STUCK_AFTER = 200  # steps; a loss still at ln(classes) then means that nothing is learned


def train(
    recipe: Recipe | str,
    out_dir: str | os.PathLike[str],
    *,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train a network.

    The run folder holds ``recipe.json``, ``log.jsonl`` (one line of JSON per log interval and
    scoring), ``last.pt`` (to resume from), ``best.safetensors`` (the best scored so far; the last,
    where nothing is scored) and ``samples/`` (photograph, truth and prediction side by side).

    Args:
        recipe: Everything the result depends on, or a recipe's name.
        out_dir: Run folder.
        resume: Go on from ``last.pt`` in the run folder.
        progress: Show progress bars.

    Returns:
        The path of ``best.safetensors``.

    Raises:
        FullyConvError: If data, weights or folder cannot be used, or the loss is no longer finite;
            checkpoints written before stay as they are.
    """
    if isinstance(recipe, str):
        recipe = named_recipe(recipe)
    run = _Run(recipe, Path(out_dir), resume, progress)
    optim = recipe.optim
    batches = training_batches(
        run.training_set,
        augmentation(recipe.data),
        run.preprocess,
        batch_size=optim.batch_size,
        seed=recipe.seed,
        start=run.iteration * optim.iter_size,
        stop=optim.max_iters * optim.iter_size,
        rank=run.accelerator.process_index,
        world=run.accelerator.num_processes,
        workers=recipe.data.workers,
    )
    stream = iter(batches)
    bar = tqdm(
        total=optim.max_iters, initial=run.iteration, unit="step", disable=not progress, leave=True
    )
    with bar, hold_interrupts() as interrupted:
        while run.iteration < optim.max_iters:
            loss = run.step([next(stream) for _ in range(optim.iter_size)])
            bar.update()
            run.log(loss, bar)
            scoring = run.due(recipe.eval_interval)
            if run.due(recipe.save_interval) or scoring or interrupted():
                run.save()  # before the scores too: a bad file there must not cost the steps
            if scoring:
                bar.write(run.score())
                run.save()
            if interrupted() and run.iteration < optim.max_iters:
                raise FullyConvError(
                    f"stopped after {run.iteration} of {optim.max_iters} steps, which are saved; "
                    f"the same command with --resume goes on from there"
                )
    return run.folder.best_path


class _Run:
    """The state of a training run and what is done with it at each step."""

    def __init__(self, recipe: Recipe, folder: Path, resume: bool, progress: bool) -> None:
        self.labels = label_space(recipe.data)
        self.recipe = recipe = fit_classes(recipe, self.labels)
        self.progress, self.folder = progress, RunFolder(folder)
        self.accelerator = Accelerator(
            mixed_precision="bf16" if recipe.optim.precision == "bfloat16" else "no"
        )
        self.preprocess = preprocess(recipe)
        self.training_set, self.validation_set = open_datasets(recipe.data, self.labels)
        self.weight = self._class_weights()
        torch.manual_seed(recipe.seed)
        model = create_model(recipe.model)
        self.weights_from = "random" if resume else self._begin(model)
        if recipe.optim.trained == "scores":
            freeze_backbone(model)
        model = channels_last(model.to(self.accelerator.device))
        self.optimizer: torch.optim.Optimizer
        self.model: nn.Module
        self.model, self.optimizer = self.accelerator.prepare(
            model, build_optimizer(model, recipe.optim)
        )
        self.average: AveragedModel | None = None
        if recipe.optim.average > 0:
            ema = get_ema_multi_avg_fn(recipe.optim.average)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(model, multi_avg_fn=ema, use_buffers=True)
        self.base_lrs = [group["lr"] for group in self.optimizer.param_groups]
        self.iteration, self.best, self.skipped = 0, -1.0, 0
        self.pixel_loss = 0.0  # of the last step, per pixel whatever the reduction
        self.since = time.perf_counter()
        self._start(resume)

    def _begin(self, model: nn.Module) -> str:
        """Fill a new network from what the recipe names; returns what that was."""
        recipe = self.recipe
        if recipe.init_from:
            report = transplant(model, load_model(recipe.init_from))
            if self.progress:
                tqdm.write(f"from {recipe.init_from}: {report}")
            return Path(recipe.init_from).name
        if recipe.from_scratch:
            return "random"
        if recipe.continues:
            raise UsageError(
                f"this recipe goes on from {recipe.continues}: train that one and name its "
                "checkpoint by --init-from, or import the authors' by fcn weights import"
            )
        return load_imagenet(model, recipe.model.backbone, recipe.backbone_weights)

    def _class_weights(self) -> Tensor | None:
        kind = self.recipe.optim.class_weights
        counts = count_classes(self.training_set, self.progress)
        if self.validation_set is not None:  # a bad file there shall be found now, not hours later
            count_classes(self.validation_set, self.progress)
        weights = class_weights(counts, kind)
        return None if weights is None else torch.from_numpy(weights).to(self.accelerator.device)

    def _start(self, resume: bool) -> None:
        """Open the run folder: a new one, or the one to go on with."""
        if resume:
            self._restore()
            self.folder.refuse_other_recipe(self.recipe)
        else:
            self.folder.refuse_if_used()
        if self.accelerator.is_main_process:
            self.folder.write_recipe(self.recipe)

    def step(self, batches: list[tuple[Tensor, Tensor]]) -> float:
        """One step of the optimiser over ``iter_size`` batches; returns their mean loss."""
        optim = self.recipe.optim
        # Dropout too is a function of seed and step, so that a resumed run repeats it
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.iteration)
        factor = lr_factor(optim, self.iteration)
        for group, lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = lr * factor
        self._train_mode()
        total, valid, pictures = 0.0, 0, 0
        for images, target in batches:
            images = images.to(self.accelerator.device, memory_format=torch.channels_last)
            target = target.to(self.accelerator.device)
            if optim.keep_pixels < 1:
                left_out = torch.rand(target.shape, device=target.device) >= optim.keep_pixels
                target = target.masked_fill(left_out, IGNORE_INDEX)
            with self.accelerator.autocast():
                logits = self.model(images)
            loss = cross_entropy(logits, target, optim.reduction, weight=self.weight)
            if optim.reduction == "sum":  # per picture, as Caffe divides by the batch
                loss = loss / len(target)
            self.accelerator.backward(loss / optim.iter_size)
            total += loss.item()
            valid += int((target != IGNORE_INDEX).sum())
            pictures += len(target)
        if not math.isfinite(total):
            raise FullyConvError(
                f"the loss is {total} at step {self.iteration + 1}: the run has diverged and "
                f"stops. The checkpoints in {self.folder.path} are from before; lower --optim.lr"
            )
        mean = total / len(batches)
        summed = optim.reduction == "sum"
        self.pixel_loss = mean * pictures / max(1, valid) if summed else mean
        if valid:
            self.optimizer.step()
        else:
            self.skipped += 1
        self.optimizer.zero_grad()
        self.iteration += 1
        if self.average is not None:
            self.average.update_parameters(self.accelerator.unwrap_model(self.model))
        return mean

    def _train_mode(self) -> None:
        self.model.train()
        if self.recipe.optim.trained == "scores":
            for part in self.model.modules():
                if isinstance(part, Backbone):
                    part.eval()

    def due(self, interval: int) -> bool:
        """Whether something that is done every ``interval`` steps, and at the end, is due."""
        last = self.iteration == self.recipe.optim.max_iters
        return last or self.iteration % interval == 0

    def log(self, loss: float, bar: Any) -> None:
        """Show the loss, and write a line of the log when one is due."""
        bar.set_postfix(loss=f"{loss:.4g}", best=f"{max(0.0, self.best):.3f}", refresh=False)
        if self.iteration == STUCK_AFTER:
            self._warn_if_stuck(bar)
        if not self.due(self.recipe.log_interval):
            return
        now = time.perf_counter()
        optim = self.recipe.optim
        pictures = self.recipe.log_interval * optim.batch_size * optim.iter_size
        self._write_log(
            loss=loss,
            lr=self.optimizer.param_groups[0]["lr"],
            pictures_per_second=round(pictures / (now - self.since), 2),
            skipped_steps=self.skipped,
        )
        self.since = now

    def _warn_if_stuck(self, bar: Any) -> None:
        classes = self.labels.num_classes
        if abs(self.pixel_loss - math.log(classes)) < 0.02:
            bar.write(
                f"warning: after {STUCK_AFTER} steps the loss is still ln({classes}) = "
                f"{math.log(classes):.4f}, as if every class were equally likely: nothing is "
                "learned. Were the backbone's weights loaded? Is the learning rate too low?"
            )

    def _write_log(self, **values: Any) -> None:
        if self.accelerator.is_main_process:
            self.folder.log(self.iteration, **values)

    def scored_model(self) -> nn.Module:
        """The weights that are scored and saved: the moving average, where there is one."""
        model = self.average.module if self.average is not None else self.model
        unwrapped: nn.Module = self.accelerator.unwrap_model(model)
        return unwrapped

    def score(self) -> str:
        """Score the validation pictures, keep some overlays, and the model if it is the best.

        Returns:
            A line that says how it did.
        """
        if self.validation_set is None:
            self._keep_best({})
            return f"step {self.iteration}: saved {self.folder.best_path}"
        model = self.scored_model().eval()
        runtime = TorchRuntime(model, self.accelerator.device)
        predictor = Predictor.of(runtime, self._header({}))
        confusion = score(
            lambda image: predictor(image).labels,
            self.validation_set,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
            look=self._keep_sample,
            progress=self.progress,
        )
        matrix = torch.from_numpy(confusion.matrix).to(self.accelerator.device)
        confusion.matrix = self.accelerator.reduce(matrix, "sum").cpu().numpy()
        metrics = confusion.compute()
        self._write_log(
            mean_iou=metrics.mean_iou,
            pixel_accuracy=metrics.pixel_accuracy,
            mean_accuracy=metrics.mean_accuracy,
            frequency_weighted_iou=metrics.frequency_weighted_iou,
        )
        better = metrics.mean_iou > self.best
        if better:
            self.best = metrics.mean_iou
            self._keep_best(_summary(metrics, self.labels))
        return (
            f"step {self.iteration}: mean IU {100 * metrics.mean_iou:.1f}"
            f"{' (the best so far)' if better else ''}, "
            f"pixel accuracy {100 * metrics.pixel_accuracy:.1f}"
        )

    def _keep_sample(self, index: int, sample: Sample, preds: NDArray[np.uint8]) -> None:
        assert self.validation_set is not None
        if index % max(1, len(self.validation_set) // SAMPLES):
            return
        photo = first_picture(sample.image)
        truth, guess = (overlay(photo, ids, self.labels) for ids in (sample.target, preds))
        shown = beside(photo, truth, guess)
        self.folder.write_sample(sample.name, self.iteration, shown)

    def _keep_best(self, metrics: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            model = self.scored_model()
            save_model(model, self.folder.best_path, header=self._header(metrics), half=True)

    def _header(self, metrics: dict[str, Any]) -> Header:
        root = self.recipe.data.root
        assert root is not None
        # a checkpoint travels: it names the data set's folder, not where the folder lay
        data = replace(self.recipe.data, root=Path(root.name))
        recipe = replace(self.recipe, data=data)
        return Header(
            model=self.recipe.model,
            labels=self.labels,
            preprocess=self.preprocess,
            info={
                "metrics": metrics,
                "step": self.iteration,
                "licence": recipe.licence,
                "started_from": self.weights_from,
                "data": root.name,
                "recipe": recipe.to_dict(),
                "torch": torch.__version__,
                "fullyconv": fullyconv.__version__,
            },
        )

    def save(self) -> None:
        """Write everything that a resumed run needs; the data stream and dropout need nothing."""
        if not self.accelerator.is_main_process:
            return
        state = {
            "step": self.iteration,
            "best": self.best,
            "skipped": self.skipped,
            "weights_from": self.weights_from,
            "model": self.accelerator.unwrap_model(self.model).state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
        }
        self.folder.save_state(state)

    def _restore(self) -> None:
        state = self.folder.load_state(self.accelerator.device)
        try:
            self.accelerator.unwrap_model(self.model).load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            self.iteration, self.best = state["step"], state["best"]
            self.skipped, self.weights_from = state["skipped"], state["weights_from"]
        except Exception as error:  # load_state_dict raises many kinds for a foreign state
            raise self.folder.unfit(error) from error


def _summary(metrics: Metrics, labels: LabelSpace) -> dict[str, Any]:
    summary = metrics.to_dict(labels.categories)
    del summary["confusion_matrix"]
    return summary
