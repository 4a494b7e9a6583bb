"""The page itself: its files, the sample photographs, and the headers they are sent with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fullyconv.extras import optional

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

PAGE = Path(__file__).parent / "page"
HEADERS = {
    # nothing from elsewhere, no code but our files; blob: is a photograph before it is sent
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""What every answer says that a browser shows."""

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
# copies of examples/, whose README has sources and licences in full
_SAMPLES = {
    "old_town_street_corner.jpg": (
        "Street corner",
        "© Enno Peters, Frans Cornelissen, John Palmer, SR Research; MIT",
    ),
    "wide_road_overcast.jpg": ("Wide road", "“route66”, Scratch 1.4, © MIT; CC BY-SA 3.0"),
}


def add_page(app: FastAPI, start: str = "index.html") -> None:
    """Let a server answer ``/``, ``/page/...`` and ``/samples`` with the page.

    The files are read once, here: a client names an entry of a dictionary, never a path.

    Args:
        app: The server.
        start: The file that ``/`` shows.

    Raises:
        FullyConvError: If FastAPI is not installed.
    """
    answers = optional("fastapi.responses", "web", "for the web page")
    files = _files(PAGE)
    samples = _files(PAGE / "samples")

    def send(held: dict[str, bytes], name: str) -> Response:
        if name not in held:
            return answers.PlainTextResponse(f"there is no {name}", 404, HEADERS)  # type: ignore[no-any-return]
        return answers.Response(held[name], headers=HEADERS, media_type=_TYPES[Path(name).suffix])  # type: ignore[no-any-return]

    def page(request: Request) -> Response:
        return send(files, request.path_params.get("name", start))

    def sample(request: Request) -> Response:
        return send(samples, request.path_params["name"])

    def listed(request: Request) -> Response:
        return answers.JSONResponse(  # type: ignore[no-any-return]
            [
                {"name": name, "title": title, "credit": credit}
                for name, (title, credit) in _SAMPLES.items()
            ]
        )

    app.add_route("/", page)
    app.add_route("/page/{name}", page)
    app.add_route("/samples", listed)
    app.add_route("/samples/{name}", sample)


def _files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.suffix in _TYPES}
