"""The authors' weights as checkpoints of ours: with classes, colours and preprocessing inside."""

from __future__ import annotations

import os
from pathlib import Path

from fullyconv.checkpoint import Header, save_model
from fullyconv.config import RELEASED_MODELS
from fullyconv.errors import UsageError, did_you_mean
from fullyconv.labels import LABEL_SPACES
from fullyconv.models.create import create_model
from fullyconv.networks import model_config, released_preprocess
from fullyconv.surgery import SurgeryReport, load_caffemodel


def import_caffemodel(
    source: str | os.PathLike[str],
    network: str,
    out: str | os.PathLike[str],
    *,
    licence: str = "not stated",
    partial: bool = False,
    width: float = 1.0,
) -> SurgeryReport:
    """Turn a ``.caffemodel`` of the authors' release into a checkpoint.

    Args:
        source: The file.
        network: Folder name of the network it is of, such as ``voc-fcn8s``.
        out: The .safetensors file to write.
        licence: What the checkpoint shall say of the weights' licence.
        partial: Accept a file that lacks layers or has more; what is missing stays as created.
        width: Factor on the hidden channels, for the small copies of the tests.

    Returns:
        What was copied.

    Raises:
        UsageError: If there is no such network.
        FullyConvError: If the file is unreadable or does not fit.
    """
    if network not in RELEASED_MODELS:
        known = list(RELEASED_MODELS)
        raise UsageError(
            f"{network!r} is no network of the authors' release. {did_you_mean(network, known)}"
        )
    config = model_config(network, width=width)
    model = create_model(config)
    data, _, _ = network.partition("-")
    report = load_caffemodel(model, source, strict=not partial)
    header = Header(
        model=config,
        labels=LABEL_SPACES[data],
        preprocess=released_preprocess(network),
        info={
            "network": network,
            "source": Path(source).name,
            "licence": licence,
            "imported": str(report),
        },
        heads={name: LABEL_SPACES[f"{data}-{name}"] for name, _ in config.heads[1:]},
    )
    save_model(model, out, header=header)
    return report
