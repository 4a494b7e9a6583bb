"""The one training loop, for every network, regime and data set."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType
from torch import Tensor
from tqdm import tqdm

import fullyconv
from fullyconv.checkpoint import Header, save_model
from fullyconv.config import Recipe
from fullyconv.data.batches import Batch, training_batches
from fullyconv.data.check.early import decode_pictures
from fullyconv.data.prepare.ready import ready
from fullyconv.data.sources import augmentation, open_recipe
from fullyconv.data.statistics import class_weights, count_classes
from fullyconv.errors import FullyConvError, StoppedError
from fullyconv.files import write_bytes
from fullyconv.interrupts import hold_interrupts
from fullyconv.learner import Learner
from fullyconv.losses import head_losses
from fullyconv.models.create import create_model
from fullyconv.networks import preprocess_for
from fullyconv.optim import lr_factor
from fullyconv.pretrained import imagenet, start
from fullyconv.processes import on_cpu, this_process
from fullyconv.progress import progress_bar, say_nothing
from fullyconv.recipes import recipe as named_recipe
from fullyconv.report.runs import write_report
from fullyconv.run_folder import RunFolder
from fullyconv.speed import Speedometer, fastest_precision, keep_freed_memory
from fullyconv.validation import validate

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
    scoring), ``speed.jsonl`` (pictures per second, wait for data, memory), ``last.pt`` (to resume
    from), ``best.safetensors`` (the best scored so far; the last, where nothing is scored),
    ``last.safetensors`` (the last scored), ``scores.json`` (of the last scoring), ``samples/``
    (photograph, truth and prediction side by side) and ``report.html``, which shows all of it.

    Under ``torchrun`` or ``accelerate launch`` the processes share each batch, and the result is
    that of one process but for the order in which numbers are added.

    Args:
        recipe: Everything the result depends on, or a recipe's name.
        out_dir: Run folder.
        resume: Go on from ``last.pt`` in the run folder; from the beginning, if the run was stopped
            before it was written.
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
    steps = run.recipe.optim.max_iters
    bar = progress_bar(total=steps, initial=run.iteration, unit="step", disable=not run.progress)
    with bar, hold_interrupts() as interrupted:
        if run.scoring_due():  # the run was killed between a step and its scoring
            run.score()
        stream = run.batches()
        while run.iteration < steps:
            loss = run.step([run.next_of(stream) for _ in range(recipe.optim.iter_size)])
            bar.update()
            run.log(loss, bar)
            if run.due(recipe.save_interval) or run.scoring_due() or interrupted():
                run.save()  # before the scores too: a bad file there must not cost the steps
            if run.scoring_due():
                run.score()
            if interrupted() and run.iteration < steps:
                raise StoppedError(
                    f"stopped after {run.iteration} of {steps} steps, which are saved; the same "
                    "command goes on from there (fcn train with --resume)"
                )
    run.accelerator.wait_for_everyone()
    return run.folder.best_path


class _Run:
    """The state of a training run and what is done with it at each step."""

    def __init__(self, recipe: Recipe, folder: Path, resume: bool, progress: bool) -> None:
        self.folder = RunFolder(folder)  # before its data is prepared, which may take long
        if not resume:
            self.folder.refuse_used()
        preprocess_for(recipe.model.backbone, recipe.data.preprocess)
        has_data = recipe.data.root is not None
        found = imagenet(recipe) if has_data and not resume else None
        with this_process().main_process_first():
            say = tqdm.write if this_process().is_main_process else say_nothing
            recipe = replace(recipe, data=ready(recipe.data, say, progress=progress))
        opened = open_recipe(recipe)
        recipe, self.labels, self.heads = opened.recipe, opened.labels, opened.heads
        self.preprocess = opened.preprocess
        self.training_set, self.validation_set = opened.training, opened.validation
        if on_cpu():
            keep_freed_memory()
        # the learner itself sends batch norm's statistics round, before they are used
        copies = DistributedDataParallelKwargs(broadcast_buffers=False)
        self.accelerator = Accelerator(cpu=on_cpu(), kwargs_handlers=[copies])
        if self.accelerator.distributed_type is DistributedType.FSDP:
            raise FullyConvError(
                "Accelerate is set to its own FSDP, whose checkpoints the run folder does not "
                "know; leave it out and give --optim.shard, which splits the weights too"
            )
        self.progress = progress and self.accelerator.is_main_process
        self.say = say
        if recipe.optim.precision == "auto":  # settled now, so that the run says what it did
            precision = fastest_precision(self.accelerator.device)
            recipe = replace(recipe, optim=replace(recipe.optim, precision=precision))
        optim = recipe.optim.for_pictures(len(self.training_set))
        self.recipe = recipe = replace(recipe, optim=optim)
        self.weights = self._class_weights()
        self.void = self.training_set.ignore_index
        if recipe.data.damaged == "stop" and not resume:
            self._decode_pictures()
        torch.manual_seed(recipe.seed)
        model = create_model(recipe.model)
        resume = resume and self.folder.is_resumable(recipe)
        self.weights_from = "random" if resume else start(model, recipe, self.say, found)
        self.learner = Learner(model, recipe, self.accelerator)
        self.base_lrs = [group["lr"] for group in self.learner.optimizer.param_groups]
        self.iteration, self.scored, self.best, self.skipped = 0, 0, -1.0, 0
        self.pixel_loss = 0.0  # of the last step, per pixel whatever the reduction
        self.speed = Speedometer()
        self._open_folder(resume)

    def _class_weights(self) -> list[Tensor | None]:
        """Each head's factors on its classes; every label file is read, so a bad one is found."""
        skip = self.recipe.data.damaged == "skip"
        damaged: list[str] | None = [] if skip else None
        counts = count_classes(self.training_set, self.progress, damaged)
        if self.validation_set is not None:
            count_classes(self.validation_set, self.progress, damaged)
        for problem in damaged or ():
            self.say(f"left out: {problem}")
        factors = [class_weights(count, self.recipe.optim.class_weights) for count in counts]
        device = self.accelerator.device
        return [None if f is None else torch.from_numpy(f).to(device) for f in factors]

    def _decode_pictures(self) -> None:
        """A damaged picture stops the run now, not in the middle of an epoch."""
        for dataset in (self.training_set, self.validation_set):
            said = dataset and decode_pictures(dataset, progress=self.progress)
            if said:
                self.say(said)

    def _open_folder(self, resume: bool) -> None:
        if resume:
            self._restore()
        elif self.accelerator.is_main_process:
            self.folder.begin(self.recipe, self.weights_from)
        if self.recipe.tensorboard and self.accelerator.is_main_process:
            self.folder.open_events(self.iteration)

    def batches(self) -> Iterator[Batch]:
        """The batches of the steps to come."""
        data, optim = self.recipe.data, self.recipe.optim
        return iter(
            training_batches(
                self.training_set,
                augmentation(data),
                self.preprocess,
                batch_size=optim.batch_size,
                seed=self.recipe.seed,
                start=self.iteration * optim.iter_size,
                stop=optim.max_iters * optim.iter_size,
                replacement=data.replacement,
                damaged=data.damaged,
                rank=self.accelerator.process_index,
                world=self.accelerator.num_processes,
                workers=data.workers,
            )
        )

    def next_of(self, stream: Iterator[Batch]) -> Batch:
        """The next batch; what was wrong with its files is said."""
        batch = self.speed.waited_for(stream)
        for problem in batch.problems:
            self.say(f"left out: {problem}")
        return batch

    def step(self, batches: list[Batch]) -> float:
        """One step of the optimiser over ``iter_size`` batches; returns their mean loss."""
        optim = self.recipe.optim
        # Dropout too is a function of seed, step and process, so that a resumed run repeats it
        seed = self.recipe.seed * 1_000_003 + self.iteration
        processes = self.accelerator.num_processes
        torch.manual_seed(seed * processes + self.accelerator.process_index)
        factor = lr_factor(optim, self.iteration)
        for group, lr in zip(self.learner.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = lr * factor
        self.learner.train_mode()
        passes = torch.stack([self._backward(batch) for batch in batches])
        losses, valid, pictures = passes.unbind(1)
        loss, counted = losses.mean().item(), int(valid.sum())
        self.speed.pictures += int(pictures.sum())
        if not math.isfinite(loss):
            names = ", ".join(name for batch in batches for name in batch.names)
            raise FullyConvError(
                f"the loss is {loss} at step {self.iteration + 1}, on {names}: the run has "
                f"diverged and stops. The checkpoints in {self.folder.path} are from before; lower "
                "--optim.lr, or look at these files"
            )
        summed = optim.reduction == "sum"
        self.pixel_loss = loss * float(pictures.sum()) / max(1, counted) if summed else loss
        self.learner.step(update=counted > 0)
        self.skipped += counted == 0
        self.iteration += 1
        return loss

    def _backward(self, batch: Batch) -> Tensor:
        """Add one pass's gradients; returns loss, valid pixels and pictures of all processes."""
        optim, accelerator = self.recipe.optim, self.accelerator
        images = batch.images.to(accelerator.device, memory_format=torch.channels_last)
        target = batch.target.to(accelerator.device)
        if optim.keep_pixels < 1:
            left_out = torch.rand(target.shape, device=target.device) >= optim.keep_pixels
            target = target.masked_fill(left_out, self.void)
        # not Accelerate's own: that allows one precision only in the life of a process
        low = optim.precision == "bfloat16"
        with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=low):
            logits = self.learner.model(images)
        losses, divisors = head_losses(logits, target, self.weights)
        if optim.reduction == "sum":  # per picture, as Caffe divides by the batch
            divisors = torch.full_like(divisors, len(target))
        # Processes average their gradients: each divides by its share of what all counted
        divisors = accelerator.reduce(divisors, "mean")
        loss = (losses / divisors).sum()
        accelerator.backward(loss / optim.iter_size)
        valid = (target != self.void).sum()
        counts = torch.stack([loss.detach(), valid, torch.full_like(loss, len(target))])
        total: Tensor = accelerator.reduce(counts.double(), "sum")
        total[0] /= accelerator.num_processes
        return total.cpu()

    def due(self, interval: int) -> bool:
        """Whether something that is done every ``interval`` steps, and at the end, is due."""
        last = self.iteration == self.recipe.optim.max_iters
        return last or self.iteration % interval == 0

    def scoring_due(self) -> bool:
        """Whether the network is to be scored, and was not yet."""
        return self.scored < self.iteration and self.due(self.recipe.eval_interval)

    def log(self, loss: float, bar: Any) -> None:
        """Show the loss, and write a line of the logs when one is due."""
        best = {"best": f"{self.best:.3f}"} if self.best >= 0 else {}  # scored before
        bar.set_postfix(loss=f"{loss:.4g}", **best, refresh=False)
        if self.iteration == STUCK_AFTER:
            self._warn_if_stuck()
        if not self.due(self.recipe.log_interval) or not self.accelerator.is_main_process:
            return
        speed = self.speed.lap()
        lr = self.learner.optimizer.param_groups[0]["lr"]
        self.folder.log(self.iteration, loss=loss, lr=lr, skipped_steps=self.skipped)
        self.folder.log_speed(self.iteration, **speed)
        bar.set_description(
            f"{speed['pictures_per_second']:.1f} pictures/s, waits {100 * speed['data_wait']:.0f} "
            f"%, {speed['memory_gib']:.1f} GiB",
            refresh=False,
        )

    def _warn_if_stuck(self) -> None:
        classes = self.labels.num_classes
        if abs(self.pixel_loss - math.log(classes)) < 0.02:
            self.say(
                f"warning: after {STUCK_AFTER} steps the loss is still ln({classes}) = "
                f"{math.log(classes):.4f}, as if every class were equally likely: nothing is "
                "learned. Were the backbone's weights loaded? Is the learning rate too low?"
            )

    def score(self) -> None:
        """Score the validation pictures, keep the network if it is the best, and save the state."""
        main, metrics = self.accelerator.is_main_process, {}
        network, better = self.learner.scored(), True
        if self.validation_set is not None:
            result = validate(
                network,
                self._header({}),
                self.validation_set,
                self.folder,
                self.iteration,
                device=self.accelerator.device,
                progress=self.progress,
            )
            metrics = result.summary()
            better = result.metrics.mean_iou > self.best
            if main:
                self.folder.log(self.iteration, **result.numbers())
                self.folder.write_scores(result.to_dict())
                write_report(self.folder.path)
            self.say(f"step {self.iteration}: {result}{' (the best so far)' if better else ''}")
            self.best = max(self.best, result.metrics.mean_iou)
        if main:
            paths = [self.folder.scored_path] * bool(metrics) + [self.folder.best_path] * better
            first, *copies = paths  # what was not scored is the best
            save_model(network, first, header=self._header(metrics), half=True)
            for path in copies:
                write_bytes(path, first.read_bytes())
        self.scored = self.iteration
        self.speed.restart()  # scoring is no training
        self.save()

    def _header(self, metrics: dict[str, Any]) -> Header:
        root = self.recipe.data.root
        assert root is not None
        # a checkpoint travels: it names data set and start, not where they lay
        data = replace(self.recipe.data, root=Path(root.name))
        starts = tuple(Path(start).name for start in self.recipe.init_from)
        recipe = replace(self.recipe, data=data, init_from=starts)
        return Header(
            model=self.recipe.model,
            labels=self.labels,
            preprocess=self.preprocess,
            heads=self.heads,
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
        state = {
            "step": self.iteration,
            "scored": self.scored,
            "best": self.best,
            "skipped": self.skipped,
            "weights_from": self.weights_from,
            **self.learner.state(),
        }
        if self.accelerator.is_main_process:
            self.folder.save_state(state)

    def _restore(self) -> None:
        state = self.folder.load_state()
        try:
            self.learner.load_state(state)
            self.iteration, self.best = state["step"], state["best"]
            self.scored, self.skipped = state["scored"], state["skipped"]
            self.weights_from, logs = state["weights_from"], state["logs"]
        except Exception as error:  # load_state_dict raises many kinds for a foreign state
            raise self.folder.unfit(error) from error
        if self.accelerator.is_main_process:
            self.folder.rewind(logs)
        steps = self.recipe.optim.max_iters
        self.say(f"{self.folder.path}: goes on after step {self.iteration} of {steps}")
