"""The HTTP interface: which address answers what."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer

import fullyconv
from fullyconv.errors import FullyConvError
from fullyconv.prediction.predictor import Predictor
from fullyconv.serve import metrics as counting
from fullyconv.serve.answers import Picture, Wanted, answer, categories, media_type
from fullyconv.serve.body import Intake
from fullyconv.serve.decoding import check_content_type, decode, picture_in
from fullyconv.serve.metrics import Metrics
from fullyconv.serve.openapi import METRICS, MODEL, PREDICT, problems
from fullyconv.serve.problems import RequestError, add_problems
from fullyconv.serve.regions import Form
from fullyconv.serve.settings import Settings
from fullyconv.serve.static import add_page
from fullyconv.serve.watching import Watch
from fullyconv.serve.work import Labeller


def create_app(
    predictor: Predictor, settings: Settings | None = None, name: str = "model"
) -> FastAPI:
    """A server of one model; any ASGI server runs it.

    Args:
        predictor: The model.
        settings: Limits; None for the default ones.
        name: What clients are told the model is called.

    Raises:
        FullyConvError: If the model takes something else than photographs.
    """
    settings = settings or Settings()
    if predictor.header.preprocess.inputs != ("images",):
        inputs = " + ".join(predictor.header.preprocess.inputs)
        raise FullyConvError(f"this model takes {inputs}; only models of photographs are served")
    app = FastAPI(
        title="fullyconv",
        description=f"A class for every pixel of a photograph, by the model {name!r}.",
        version=fullyconv.__version__,
        docs_url=None,  # their scripts lie elsewhere
        redoc_url=None,
        lifespan=_lifespan,
        responses=problems(401, 503) if settings.token else problems(503),
    )
    metrics = Metrics()
    app.state.settings, app.state.name, app.state.metrics = settings, name, metrics
    app.state.labeller = Labeller(predictor, settings, metrics)
    app.state.intake = Intake(settings)
    metrics.watch(lambda: app.state.labeller.waiting, lambda: app.state.intake.held)
    add_problems(app)
    _add_routes(app, [Depends(_bearer), Depends(_allowed)] if settings.token else [])
    paths = {route.path for route in app.routes if hasattr(route, "path")}
    add_page(app)
    app.add_middleware(
        Watch, metrics=metrics, max_requests=settings.max_requests, paths=paths | {"/"}
    )
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Accept", "Authorization", "Content-Type"],
        )
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    await app.state.labeller.start()
    yield
    await app.state.labeller.stop()


_bearer = HTTPBearer(auto_error=False, description="The token that the server was started with.")


def _allowed(request: Request) -> None:
    """Refuse who does not know the token."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    known = request.app.state.settings.token
    same = secrets.compare_digest(token.strip().encode(), known.encode())
    if kind.lower() != "bearer" or not same:
        raise RequestError(
            401,
            "this server wants a token: send the header Authorization: Bearer TOKEN",
            {"WWW-Authenticate": "Bearer"},
        )


def _add_routes(app: FastAPI, guards: list[Any]) -> None:
    app.post("/v1/predict", dependencies=guards, **PREDICT)(_predict)
    app.get("/v1/model", dependencies=guards, **MODEL)(_model)
    app.get("/metrics", dependencies=guards, **METRICS)(_metrics)
    app.get("/healthz", summary="Whether the process answers")(_healthz)
    app.get("/readyz", summary="Whether a first picture was labelled")(_readyz)


async def _predict(
    request: Request,
    regions: Annotated[Form, Query(description="JSON: how it says where the classes are")] = "runs",
    image: Annotated[Picture, Query(description="image/png: which picture")] = "mask",
    opacity: Annotated[float, Query(ge=0, le=1, description="Of the overlay's colours")] = 0.5,
    of_class: Annotated[
        str | None, Query(alias="class", max_length=100, description="Class of image=heat")
    ] = None,
) -> Response:
    state = request.app.state
    number = _class_number(state.labeller.predictor, image, of_class)
    kind = media_type(",".join(request.headers.getlist("accept")))
    wanted = Wanted(kind, regions, image, opacity, number)
    content_type = request.headers.get("content-type", "")
    check_content_type(content_type)
    async with state.intake.body(request) as body:

        def read() -> Any:
            return decode(picture_in(content_type, body), state.settings.max_pixels)

        content = await state.labeller.run(
            read,
            lambda prediction, seconds: answer(prediction, wanted, state.name, seconds),
            partial(_gone, request),
        )
    return Response(content, media_type=kind, headers={"Vary": "Accept"})


def _class_number(predictor: Predictor, image: Picture, name: str | None) -> int:
    if image != "heat":
        return 0
    if name is None:
        raise RequestError(422, "image=heat is of one class; give it as class=NAME")
    return predictor.labels.index(name)


async def _gone(request: Request) -> None:
    """Wait until the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _model(request: Request) -> Any:
    state = request.app.state
    labeller, header, settings = state.labeller, state.labeller.predictor.header, state.settings
    await labeller.warm()
    return JSONResponse(
        {
            "name": state.name,
            "categories": categories(header.labels),
            "preprocessing": header.preprocess.to_dict(),
            "licence": header.info.get("licence", ""),
            "limits": {
                "bytes": settings.max_bytes,
                "pixels": settings.max_pixels,
                "queue": settings.queue,
                "seconds": settings.seconds,
            },
            "seconds_per_megapixel": round(labeller.seconds_per_megapixel, 4),
        }
    )


async def _healthz() -> dict[str, str]:
    return {"status": "ok"}


async def _readyz(request: Request) -> dict[str, str]:
    labeller = request.app.state.labeller
    if not labeller.ready:
        raise RequestError(
            503, labeller.trouble or "the model is not warm yet", {"Retry-After": "1"}
        )
    return {"status": "ok"}


async def _metrics(request: Request) -> Response:
    return Response(request.app.state.metrics.text(), media_type=counting.MEDIA_TYPE)
