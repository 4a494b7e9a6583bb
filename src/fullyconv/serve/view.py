"""A server to look through predictions or a data set with a browser; it only reads."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullyconv.errors import FullyConvError
from fullyconv.extras import optional
from fullyconv.serve.static import HEADERS, add_page
from fullyconv.serve.view_folder import Folder
from fullyconv.serve.view_listing import open_folder
from fullyconv.serve.view_pictures import Thumbnails, details, photograph
from fullyconv.serve.view_scores import Scores

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

_MOST = 500  # pictures listed in one answer
_HERE = ["127.0.0.1", "localhost", "[::1]"]
Handler = Callable[["Request"], "Response"]


def create_view(folder: Folder) -> FastAPI:
    """The server of one folder.

    A client names pictures by their numbers, never by paths; requests that came here under another
    name than this machine's own (DNS rebinding) are refused.

    Args:
        folder: What is looked through.

    Raises:
        FullyConvError: If FastAPI is not installed.
    """
    fastapi = optional("fastapi", "web", "for fcn view")
    hosts = optional("starlette.middleware.trustedhost", "web", "for fcn view")
    scores = Scores(folder)

    @asynccontextmanager
    async def counting(_app: FastAPI) -> AsyncIterator[None]:
        scores.start()
        yield
        scores.stop()

    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=counting)
    app.add_middleware(hosts.TrustedHostMiddleware, allowed_hosts=_HERE)
    for path, handler in _handlers(folder, scores).items():
        app.add_route(path, handler)
    add_page(app, "view.html")
    return app  # type: ignore[no-any-return]


def _handlers(folder: Folder, scores: Scores) -> dict[str, Handler]:
    """What answers at each address; in threads, as none of them is a coroutine."""
    responses = optional("fastapi.responses", "web", "for fcn view")
    thumbnails = Thumbnails(folder)

    def send_json(content: Any, status: int = 200) -> Response:
        kind = "application/json" if status == 200 else "application/problem+json"
        # ASCII: the name of a file may hold half a character, which no encoding has
        return responses.Response(json.dumps(content), status, HEADERS, kind)  # type: ignore[no-any-return]

    def send(content: bytes, media_type: str) -> Response:
        headers = {**HEADERS, "Cache-Control": "private, max-age=60"}
        return responses.Response(content, headers=headers, media_type=media_type)  # type: ignore[no-any-return]

    def problem(status: int, detail: str) -> Response:
        return send_json({"type": "about:blank", "status": status, "detail": detail}, status)

    def about_folder(_request: Request) -> Response:
        name = folder.root.absolute().name
        about = {"name": name, "kind": folder.kind, "total": len(folder.items)}
        about["reference"] = folder.reference
        return send_json(about | scores.state())

    def listed(request: Request) -> Response:
        query = request.query_params
        try:
            start, count = int(query.get("start", 0)), int(query.get("count", 100))
        except ValueError:
            return problem(422, "start and count must be whole numbers")
        wanted = query.get("find", "").lower()
        found = [n for n, item in enumerate(folder.items) if wanted in item.name.lower()]
        if query.get("sort") == "worst":
            found = scores.worst_first(found)
        shown = found[max(0, start) :][: max(0, min(count, _MOST))]
        pictures = [{"id": n, "name": folder.items[n].name, "score": scores.of(n)} for n in shown]
        return send_json({"total": len(found), "pictures": pictures})

    def of_picture(answer: Callable[[int], Response]) -> Handler:
        @wraps(answer)
        def handler(request: Request) -> Response:
            number = request.path_params["id"]
            if number >= len(folder.items):
                return problem(
                    404, f"there is no picture {number}; the last one is {len(folder.items) - 1}"
                )
            try:
                return answer(number)
            except FullyConvError as error:
                return problem(422, str(error))

        return handler

    def photo(number: int) -> Response:
        file = folder.items[number].photo
        if file is None:
            return problem(404, f"{folder.items[number].name}: its photograph was not found")
        return send(*photograph(file))

    return {
        "/v1/folder": about_folder,
        "/v1/pictures": listed,
        "/v1/pictures/{id:int}": of_picture(lambda n: send_json(details(folder, n))),
        "/v1/pictures/{id:int}/photo": of_picture(photo),
        "/v1/pictures/{id:int}/thumbnail": of_picture(
            lambda n: send(thumbnails.of(n), "image/jpeg")
        ),
    }


def view(
    folder: str | os.PathLike[str],
    *,
    truth: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    classes: str | None = None,
    port: int = 8001,
    ready: Callable[[str, Folder], object] | None = None,
) -> None:
    """Show a folder of predictions, or a data set, in a browser on this machine, until Ctrl-C.

    Args:
        folder: What ``fcn predict`` wrote, other masks, or a data set.
        truth: Data set with the true labels of the predicted pictures, or the predictions of
            another run.
        images: Folder of the photographs, where they are not found by themselves.
        classes: ``classes.json``, checkpoint or known label space; None for the folder's own.
        port: On 127.0.0.1; 0 for any that is free.
        ready: Told of the page's address and of what it shows, before the first answer.

    Raises:
        FullyConvError: If there is nothing to show, the port is taken, or a package is missing.
        UsageError: If there are no such classes.
    """
    uvicorn = optional("uvicorn", "web", "for fcn view")
    held = open_folder(
        Path(folder),
        None if truth is None else Path(truth),
        None if images is None else Path(images),
        classes,
    )
    app = create_view(held)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
            listening.listen()
        except (OSError, OverflowError) as error:
            raise FullyConvError(
                f"port {port} on 127.0.0.1 cannot be used ({error}); give another with --port, "
                "or 0 for any"
            ) from error
        if ready is not None:
            ready(f"http://127.0.0.1:{listening.getsockname()[1]}/", held)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3)
        uvicorn.Server(config).run(sockets=[listening])
