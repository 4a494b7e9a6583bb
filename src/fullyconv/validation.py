"""Scoring the validation pictures while a network is trained."""

from __future__ import annotations

import torch
from torch import nn

from fullyconv.checkpoint import Header
from fullyconv.data.folder import FolderDataset, Sample
from fullyconv.evaluation import Evaluation, Tally, score, shown
from fullyconv.prediction.prediction import Prediction
from fullyconv.prediction.predictor import Predictor
from fullyconv.run_folder import RunFolder
from fullyconv.runtimes.torch import TorchRuntime

SAMPLES = 4  # validation pictures that are kept at every scoring


def validate(
    model: nn.Module,
    header: Header,
    dataset: FolderDataset,
    folder: RunFolder,
    step: int,
    *,
    device: torch.device,
    progress: bool,
) -> Evaluation:
    """Score a network on a data set as ``fcn evaluate`` does; keep a few pictures of it.

    Args:
        model: The network; it is put into evaluation mode.
        header: What its checkpoint would say.
        dataset: Labelled pictures.
        folder: Where the pictures go.
        step: Of the training run.
        device: Where the network is.
        progress: Show a progress bar.
    """
    predictor = Predictor.of(TorchRuntime(model.eval(), device), header)
    every = max(1, len(dataset) // SAMPLES)

    def keep(index: int, sample: Sample, prediction: Prediction) -> None:
        if index % every == 0:
            picture = shown(sample, prediction, dataset.labels)
            folder.write_sample(sample.name, step, picture)

    tally = score(predictor, dataset, Tally(dataset.spaces), look=keep, progress=progress)
    about = {"step": step, "data": str(dataset.root)}
    return Evaluation.of(tally, header, about)
