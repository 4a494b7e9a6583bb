"""A server from its first socket to its last answer."""

from __future__ import annotations

import contextlib
import os
import socket
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fullyconv.errors import FullyConvError
from fullyconv.extras import optional
from fullyconv.serve.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from fullyconv.prediction.predictor import Predictor
    from fullyconv.serve.connections import Server

TOKEN = "FULLYCONV_TOKEN"
_MODULES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "scipy.ndimage")


def serve(
    model: str | os.PathLike[str] = "camvid",
    settings: Settings | None = None,
    *,
    runtime: str = "auto",
    precision: str = "float32",
    ready: Callable[[str, Predictor], object] | None = None,
) -> None:
    """Serve a model over HTTP until SIGTERM or Ctrl-C; what was taken by then is answered.

    Args:
        model: Name of a shipped model, a checkpoint, a run folder, or what ``fcn export`` wrote.
        settings: Address and limits; None for the default ones. Without a token there, that of the
            environment's FULLYCONV_TOKEN counts.
        runtime: Engine, as for :class:`~fullyconv.prediction.predictor.Predictor`.
        precision: Likewise.
        ready: Told of the server's address, before the first answer.

    Raises:
        FullyConvError: If the model cannot be used, the port is taken, or a package is missing.
        UsageError: If there is no such engine, or the token cannot be sent in a header.
    """
    for module in _MODULES:
        optional(module, "web", "for fcn serve")
    from fullyconv.prediction.predictor import Predictor
    from fullyconv.serve.app import create_app

    settings = settings or Settings()
    if not settings.token:
        settings = replace(settings, token=os.environ.get(TOKEN, ""))
    # with photos=1, the engine that fcn predict PHOTO takes: the same labels to the last pixel
    predictor = Predictor(model, runtime, precision, photos=1, memory=settings.memory)
    app = create_app(predictor, settings, Path(model).stem)
    with listening(settings.host, settings.port) as listener:
        host, port = listener.getsockname()[:2]
        if ready is not None:
            ready(f"http://{f'[{host}]' if ':' in host else host}:{port}/", predictor)
        _allow_files()
        warnings.filterwarnings("ignore", module="PIL")  # of damaged files, which are no news
        server(app, settings).run(sockets=[listener])


def listening(host: str, port: int) -> socket.socket:
    """A socket that takes connections.

    Raises:
        FullyConvError: If it cannot have that address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, port))
        taken.listen(2048)
    except (OSError, OverflowError) as error:
        taken.close()
        raise FullyConvError(
            f"port {port} of {host} cannot be used ({error}); give another --port, or 0 for any, "
            "and as --host an address of this machine"
        ) from error
    return taken


def server(app: FastAPI, settings: Settings) -> Server:
    """What answers, until it is told to end; then it finishes what was taken, and nothing new."""
    from fullyconv.serve.connections import HEADER_SECONDS, Config, Connection, Server

    config = Config(
        app,
        header_seconds=min(HEADER_SECONDS, settings.client_seconds),
        answer_seconds=settings.client_seconds,
        http=Connection,
        ws="none",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=int(2 * settings.client_seconds + settings.seconds) + 5,
    )
    return Server(config)


def _allow_files() -> None:
    """As many connections as the system allows; the usual 1024 are few."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
