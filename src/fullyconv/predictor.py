"""From photographs to labels: one predictor for the command, Python and the server."""

from __future__ import annotations

import os

from PIL import Image

from fullyconv.checkpoint import Header, model_path, read_header
from fullyconv.errors import UsageError
from fullyconv.images import take_photo
from fullyconv.labels import LabelSpace
from fullyconv.prediction import Prediction
from fullyconv.preprocess import Pixels
from fullyconv.runtimes.runtime import Runtime
from fullyconv.scores import Scores
from fullyconv.tiling import picture_scores
from fullyconv.visualize import first_picture


class Predictor:
    """A model ready to label photographs of any size.

    Args:
        model: Name of a shipped model (``"camvid"``) or path of a checkpoint.
        runtime: Engine; ``"auto"`` takes PyTorch.

    Raises:
        FullyConvError: If the model cannot be read.
        UsageError: If there is no such engine.

    Example:
        >>> predictor = Predictor("camvid")
        >>> predictor(np.zeros((40, 30, 3), np.uint8)).labels.shape
        (40, 30)
    """

    def __init__(self, model: str | os.PathLike[str], runtime: str = "auto") -> None:
        if runtime not in ("auto", "torch"):
            raise UsageError(f"there is no runtime {runtime!r}. Known: auto, torch.")
        path = model_path(model)
        self.header: Header = read_header(path)
        from fullyconv.runtimes.torch import TorchRuntime

        self.runtime: Runtime = TorchRuntime.load(path)

    @classmethod
    def of(cls, runtime: Runtime, header: Header) -> Predictor:
        """Predictor of a network that is already in memory."""
        predictor = cls.__new__(cls)
        predictor.runtime, predictor.header = runtime, header
        return predictor

    @property
    def labels(self) -> LabelSpace:
        """The classes the model knows."""
        return self.header.labels

    def __call__(self, photo: str | os.PathLike[str] | Image.Image | Pixels) -> Prediction:
        """Label one photograph.

        Args:
            photo: A path, a Pillow image, or an (H, W, 3) uint8 RGB array; for a network of
                several inputs an array (H, W, C) of them all.

        Raises:
            FullyConvError: If the photograph cannot be read or has another form.
        """
        image, name = take_photo(photo)
        return self._prediction(image, name)

    def _prediction(self, image: Pixels, name: str) -> Prediction:
        spaces = [self.labels, *self.header.heads.values()]
        coarse = picture_scores(
            self.runtime,
            self.header.preprocess,
            image,
            classes=sum(space.num_classes for space in spaces),
        )
        scores = Scores(coarse, self.runtime.plan.landing, *image.shape[:2])
        shown, first = first_picture(image), self.labels.num_classes
        heads, at = {}, first
        for head, space in self.header.heads.items():
            said = scores.part(at, at + space.num_classes)
            heads[head] = Prediction(shown, said, space, f"{name or 'image'}-{head}")
            at += space.num_classes
        return Prediction(shown, scores.part(0, first), self.labels, name, heads)
