"""The HTTP interface that the page relies on, spoken by a predictor and nothing else.

The page's tests use it where fullyconv.serve.app is not there; it has no limits, no queue and one
kind of JSON. Once the server is there this file is to be deleted.
"""

from __future__ import annotations

import importlib.util
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from PIL import Image

from fullyconv.errors import FullyConvError
from fullyconv.images import encode_image, read_photo
from fullyconv.prediction.prediction import Prediction
from fullyconv.serve.static import add_page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fullyconv.prediction.predictor import Predictor


def labelling_app(predictor: Predictor) -> FastAPI:
    """The server, or what stands for it."""
    if importlib.util.find_spec("fullyconv.serve.app") is not None:
        app: FastAPI = importlib.import_module("fullyconv.serve.app").create_app(predictor)
        return app
    app = FastAPI()

    def model(_request: Request) -> Response:
        about = {"name": "camvid", "categories": _categories(predictor), "limits": {"bytes": 2**25}}
        return JSONResponse(about | {"seconds_per_megapixel": 0.3})

    async def label(request: Request) -> Response:
        body, begun = await request.body(), time.monotonic()
        try:
            prediction = predictor(read_photo("the picture", body))
        except FullyConvError as error:
            problem = {"type": "about:blank", "title": "Unprocessable", "detail": str(error)}
            return JSONResponse(problem, 422, media_type="application/problem+json")
        if request.headers.get("accept") == "image/png":
            return Response(_png(prediction, request.query_params), media_type="image/png")
        return JSONResponse(_json(predictor, prediction, time.monotonic() - begun))

    app.add_route("/v1/model", model)
    app.add_route("/v1/predict", label, methods=["POST"])
    add_page(app)
    return app


def _categories(predictor: Predictor) -> list[dict[str, Any]]:
    space = predictor.labels
    named = enumerate(zip(space.categories, space.palette, strict=True))
    return [
        {"id": i, "name": name, "color": "#{:02x}{:02x}{:02x}".format(*color)}
        for i, (name, color) in named
    ]


def _json(predictor: Predictor, prediction: Prediction, seconds: float) -> dict[str, Any]:
    labels = prediction.labels
    flat = labels.ravel()
    ends = np.flatnonzero(np.append(flat[1:] != flat[:-1], True))
    pixels = np.bincount(flat, minlength=256).tolist()
    return {
        "model": "camvid",
        "width": labels.shape[1],
        "height": labels.shape[0],
        "seconds": seconds,
        "categories": [
            {**category, "pixels": pixels[i], "share": pixels[i] / flat.size}
            for i, category in enumerate(_categories(predictor))
        ],
        "runs": {"values": flat[ends].tolist(), "counts": np.diff(ends, prepend=-1).tolist()},
    }


def _png(prediction: Prediction, query: Mapping[str, str]) -> bytes:
    kind = query.get("image", "mask")
    if kind == "mask":
        return prediction.encode("mask")
    if kind == "overlay":
        shown = prediction.overlay(float(query.get("opacity", 0.5)))
    else:
        all_of_them = prediction.probabilities()
        chosen = (
            all_of_them.max(0)
            if kind == "confidence"
            else all_of_them[prediction.categories.index(query["class"])]
        )
        shown = np.round(chosen * 255).astype(np.uint8)
    return encode_image(Image.fromarray(shown), "PNG", compress_level=1)
