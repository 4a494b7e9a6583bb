"""What a training run leaves on disk: recipe, log, samples, and the state to resume from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from fullyconv.config import Recipe
from fullyconv.errors import FullyConvError
from fullyconv.files import append_line, write_json, write_whole
from fullyconv.images import save_image
from fullyconv.run_record import flat_settings
from fullyconv.visualize import Pixels

# What may change when a run is resumed: none of it changes the result.
_FREE = ("data.root", "data.workers", "eval_interval", "save_interval", "log_interval")


class RunFolder:
    """The folder of one run.

    Args:
        path: The folder; made with the first file.

    Attributes:
        best_path: The best network so far, a checkpoint to predict with.
        last_path: Everything a resumed run needs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best_path = path / "best.safetensors"
        self.last_path = path / "last.pt"

    def refuse_if_used(self) -> None:
        """Raise if another run's state is there.

        Raises:
            FullyConvError: If there is.
        """
        if self.last_path.exists():
            raise FullyConvError(
                f"{self.path} already holds a run; go on with it by --resume, or give another "
                "folder with --out"
            )

    def refuse_other_recipe(self, recipe: Recipe) -> None:
        """Raise if the run there was begun with other settings, which its result would hide.

        Raises:
            FullyConvError: If it was; says which settings differ.
        """
        path = self.path / "recipe.json"
        try:
            before = flat_settings(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise FullyConvError(f"{path}: the run's recipe cannot be read ({error})") from error
        now = flat_settings(recipe.to_dict())
        changed = [
            f"{key} was {before.get(key)!r} and is {now.get(key)!r}"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key) and key not in _FREE
        ]
        if changed:
            raise FullyConvError(
                f"{self.path}: this run cannot be gone on with by another recipe: "
                f"{'; '.join(changed)}. Give the settings it was begun with, or another --out"
            )

    def write_recipe(self, recipe: Recipe) -> None:
        """Keep the recipe as JSON."""
        write_json(self.path / "recipe.json", recipe.to_dict())

    def log(self, step: int, **values: Any) -> None:
        """Add a line of JSON to the log."""
        append_line(self.path / "log.jsonl", json.dumps({"step": step, **values}))

    def write_sample(self, name: str, step: int, shown: Pixels) -> None:
        """Keep a picture (H, W, 3) of what the network sees and says at a step."""
        image = Image.fromarray(shown)
        path = self.path / "samples" / f"{name}-{step:06d}.jpg"
        save_image(path, image, "JPEG", quality=88)

    def save_state(self, state: dict[str, Any]) -> None:
        """Write the state to resume from: numbers, text and tensors, nothing else."""
        write_whole(self.last_path, lambda file: torch.save(state, file))

    def load_state(self, device: torch.device) -> dict[str, Any]:
        """Read the state to resume from.

        Raises:
            FullyConvError: If there is none, or it is damaged.
        """
        if not self.last_path.is_file():
            raise FullyConvError(f"{self.last_path}: no such file, so there is no run to resume")
        try:
            state: dict[str, Any] = torch.load(
                self.last_path, map_location=device, weights_only=True
            )
        except Exception as error:  # torch.load raises many kinds for a damaged file
            raise self.unfit(error) from error
        return state

    def unfit(self, error: Exception) -> FullyConvError:
        """The error for a state that cannot be gone on with."""
        return FullyConvError(
            f"{self.last_path}: does not fit this recipe, or is damaged "
            f"({str(error).splitlines()[0]})"
        )
