"""A reader's folder: everything that the documents' commands speak of, small."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fenced import ROOT
from fullyconv.checkpoint import Header, save_model
from fullyconv.config import ModelConfig
from fullyconv.data.exporters import export_data
from fullyconv.files import write_json
from fullyconv.labels import CAMVID
from fullyconv.models.create import create_model
from fullyconv.prediction.predicting import predict
from fullyconv.preprocess import EFFICIENTNET_LITE

PHOTOS = sorted((ROOT / "examples").glob("*.jpg"))
ALONE = ("street", "room", "photo", "cat", "phone")
DATA_SETS = ("MINE", "DIR", "FOLDER", "DATA", "CamVid", "camvid")


def make(folder: Path) -> Path:
    """Make it, and return it."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    for name in ALONE:
        _small(PHOTOS[1], folder / f"{name}.jpg")
    for number, photo in enumerate(PHOTOS * 2):
        _small(photo, folder / "photos" / f"scene{number}_a.jpg", turned=number > 2)
    _small(PHOTOS[0], folder / "more" / "street.png")
    shutil.copy(ROOT / "examples" / "own_backbone.py", folder)
    (folder / "list.txt").write_text("street.jpg\nphotos/*.jpg\n")
    _model(folder / "model.safetensors")
    predict(folder / "photos", out=folder / "drawn", save="mask")
    job, photos = folder / "job.zip", folder / "photos"
    export_data(folder / "drawn", job, to="coco", images=photos, classes="camvid", progress=False)
    shutil.copy(folder / "job.zip", folder / "job_12.zip")
    _data_set(folder)
    for name in DATA_SETS[1:]:
        shutil.copytree(folder / "MINE", folder / name)
    shutil.copytree(folder / "MINE", folder / "nyudv2", ignore=lambda *_: ["classes.json"])
    (folder / "LABELS").mkdir()
    for labels in (folder / "MINE" / "val" / "labels").iterdir():
        with Image.open(labels) as image:
            image.resize((256, 192), Image.Resampling.NEAREST).save(folder / "LABELS" / labels.name)
    _raster(folder / "survey.tif", bands=4, most=3000, kind=np.uint16)
    _raster(folder / "city.tif", bands=3, most=256, kind=np.uint8)
    _film(folder / "drive.mp4")
    return folder


def _small(photo: Path, path: Path, turned: bool = False) -> None:
    path.parent.mkdir(exist_ok=True)
    with Image.open(photo) as image:
        small = image.resize((128, 96))
        (small.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if turned else small).save(path)


def _model(path: Path) -> None:
    config = ModelConfig(backbone="efficientnet_lite0", num_classes=11, width=1 / 8)
    header = Header(model=config, labels=CAMVID, preprocess=EFFICIENTNET_LITE)
    save_model(create_model(config).eval(), path, header=header)


def _data_set(folder: Path) -> None:
    """The photographs with the labels that were found, four to train on and two to score."""
    for number, photo in enumerate(sorted((folder / "photos").iterdir())):
        split = folder / "MINE" / ("train" if number < 4 else "val")
        for kind in ("images", "labels"):
            (split / kind).mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, split / "images" / photo.name)
        shutil.copy(
            folder / "drawn" / f"{photo.stem}-mask.png", split / "labels" / f"{photo.stem}.png"
        )
    found = json.loads((folder / "drawn" / "predictions.json").read_text())
    classes = {key: found[key] for key in ("categories", "palette")}
    write_json(folder / "MINE" / "classes.json", {**classes, "void": [255]})


def _raster(path: Path, bands: int, most: int, kind: Any) -> None:
    """Noise, somewhere in Berlin."""
    with contextlib.suppress(ImportError):
        import rasterio
        from rasterio import Affine

        pixels: NDArray[Any] = (
            np.random.default_rng(0).integers(0, most, (bands, 96, 128)).astype(kind)
        )
        place = {"crs": "EPSG:32633", "transform": Affine(1, 0, 390000, 0, -1, 5820000)}
        size = {"count": bands, "height": 96, "width": 128, "dtype": pixels.dtype}
        with rasterio.open(path, "w", driver="GTiff", **size, **place) as raster:
            raster.write(pixels)


def _film(path: Path) -> None:
    with contextlib.suppress(ImportError):
        import av

        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
            for number in range(4):
                frame = np.full((96, 128, 3), 60 * number, np.uint8)
                for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                    container.mux(packet)
            container.mux(stream.encode())
