"""What a training run leaves on disk: recipe, log, samples, and the state to resume from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from fullyconv.config import ModelConfig, Recipe
from fullyconv.errors import FullyConvError
from fullyconv.extras import optional
from fullyconv.files import append_line, write_json, write_whole
from fullyconv.images import save_image
from fullyconv.report.record import BEST, LOG, SCORED, STATE, flat_settings
from fullyconv.visualize import Pixels

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# What may change when a run is resumed: none of it changes the result.
_FREE = (
    "data.root",
    "data.workers",
    "eval_interval",
    "save_interval",
    "log_interval",
    "tensorboard",
    "optim.shard",
)


class RunFolder:
    """The folder of one run.

    ``log.jsonl`` holds what the run computes: killed and resumed, a run ends with the same bytes as
    one that was not. What depends on the clock stands in ``speed.jsonl``.

    Args:
        path: The folder; made with the first file.

    Attributes:
        best_path: The best network so far, a checkpoint to predict with.
        scored_path: The network scored last, likewise.
        last_path: Everything a resumed run needs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best_path = path / BEST
        self.scored_path = path / SCORED
        self.last_path = path / STATE
        self.log_path = path / LOG
        self.speed_path = path / "speed.jsonl"
        self._events: SummaryWriter | None = None

    def refuse_used(self) -> None:
        """Raise if a run's state is there, which a new run would write over.

        Raises:
            FullyConvError: If it is.
        """
        if self.last_path.exists():
            raise FullyConvError(
                f"{self.path} already holds a run; go on with it by --resume, or give another "
                "folder with --out"
            )

    def begin(self, recipe: Recipe, started_from: str) -> None:
        """Start a new run; the log's first line says what filled its network, if anything did.

        Raises:
            FullyConvError: If another run's state is there, or the folder cannot be written.
        """
        self.refuse_used()
        self._clear()
        write_json(self.path / "recipe.json", recipe.to_dict())
        for path in (self.log_path, self.speed_path):
            write_whole(path, lambda file: None)
        if started_from != "random":
            self._add(self.log_path, 0, {"started_from": started_from})

    def is_resumable(self, recipe: Recipe) -> bool:
        """Whether there is a state to go on from; without one, the run begins anew.

        Raises:
            FullyConvError: If there is no run, or one that was begun with other settings.
        """
        self._refuse_other_recipe(recipe)
        return self.last_path.exists()

    def _refuse_other_recipe(self, recipe: Recipe) -> None:
        """Raise if the run there was begun with other settings, which its result would hide."""
        path = self.path / "recipe.json"
        try:
            before = flat_settings(json.loads(path.read_text("utf-8")))
        except FileNotFoundError as error:
            raise FullyConvError(f"{path}: no such file, so there is no run to resume") from error
        except (OSError, ValueError) as error:
            raise FullyConvError(f"{path}: the run's recipe cannot be read ({error})") from error
        # a run from before a setting existed was one with what is now its default
        before = flat_settings(Recipe(model=ModelConfig()).to_dict()) | before
        now = flat_settings(recipe.to_dict())
        changed = [
            f"{key} was {before.get(key)!r} and is {now.get(key)!r}"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key) and key not in _FREE
        ]
        if changed:
            begin = "or another --out"
            if self.best_path.exists():
                begin = (
                    f"or begin another run with its network: --init-from {self.best_path} --out NEW"
                )
            raise FullyConvError(
                f"{self.path}: this run cannot be gone on with by another recipe: "
                f"{'; '.join(changed)}. Give the settings it was begun with, {begin}"
            )

    def open_events(self, step: int) -> None:
        """Also write TensorBoard events from now on; those of later steps are void.

        Raises:
            FullyConvError: If TensorBoard is not installed.
        """
        tensorboard = optional("torch.utils.tensorboard", "track", "for TensorBoard's events")
        self._events = tensorboard.SummaryWriter(self.path / "tensorboard", purge_step=step + 1)

    def log(self, step: int, **values: Any) -> None:
        """Add a line of JSON to the log."""
        self._add(self.log_path, step, values)

    def log_speed(self, step: int, **values: float) -> None:
        """Add a line of JSON to the log of what depends on the clock and the machine."""
        self._add(self.speed_path, step, values)

    def _add(self, path: Path, step: int, values: dict[str, Any]) -> None:
        append_line(path, json.dumps({"step": step, **values}))
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)
            self._events.flush()

    def write_scores(self, values: dict[str, Any]) -> None:
        """Keep the last scoring in full."""
        write_json(self.path / "scores.json", values)

    def write_sample(self, name: str, step: int, shown: Pixels) -> None:
        """Keep a picture (H, W, 3) of what the network sees and says at a step."""
        image = Image.fromarray(shown)
        path = self.path / "samples" / f"{name}-{step:06d}.jpg"
        save_image(path, image, "JPEG", quality=88)

    def save_state(self, state: dict[str, Any]) -> None:
        """Write the state to resume from: numbers, text and tensors, nothing else."""
        sizes = {path.name: path.stat().st_size for path in (self.log_path, self.speed_path)}
        write_whole(self.last_path, lambda file: torch.save({**state, "logs": sizes}, file))

    def load_state(self) -> dict[str, Any]:
        """Read the state to resume from, on the CPU.

        Raises:
            FullyConvError: If it is damaged.
        """
        try:
            state: dict[str, Any] = torch.load(
                self.last_path, map_location="cpu", weights_only=True
            )
        except Exception as error:  # torch.load raises many kinds for a damaged file
            raise self.unfit(error) from error
        return state

    def _clear(self) -> None:
        """Remove what :func:`~fullyconv.files.write_whole` leaves behind when it is killed."""
        for part in self.path.rglob(".*.part"):
            part.unlink()

    def rewind(self, sizes: dict[str, int]) -> None:
        """Take out of the logs what was written after the state was, and files half-written.

        Raises:
            FullyConvError: If the folder cannot be written.
        """
        try:
            self._clear()
            for name, size in sizes.items():
                with (self.path / name).open("r+b") as file:
                    file.truncate(size)
        except OSError as error:
            raise FullyConvError(f"{self.path}: cannot be written ({error.strerror})") from error

    def unfit(self, error: Exception) -> FullyConvError:
        """The error for a state that cannot be gone on with."""
        return FullyConvError(
            f"{self.last_path}: does not fit this recipe, or is damaged "
            f"({str(error).splitlines()[0]})"
        )
