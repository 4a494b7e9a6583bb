"""Pictures from a server on this machine: what is taken, and what is refused."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fullyconv.errors import FullyConvError
from fullyconv.prediction.predicting import predict
from fullyconv.prediction.predictor import Predictor
from fullyconv.prediction.sources import read_source
from fullyconv.prediction.web import fetch

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG")
    return file.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Answers in every way a server may."""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, content: bytes, length: int | None = None) -> None:
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        path, content = self.path.partition("?")[0], png()
        if path == "/moved.png":
            self.send_response(302)
            self.send_header("Location", "/street.png")
            self.end_headers()
        elif path == "/elsewhere.png":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
        elif path in ("/street.png", "/bridge"):
            self.answer(content, len(content))
        elif path == "/large":
            self.answer(b"x", 10**10)
        elif path == "/endless":
            try:
                while True:
                    self.answer(bytes(1 << 16))
            except OSError:
                pass
        elif path == "/slow":
            try:
                self.send_response(200)
                self.end_headers()
                for byte in content:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.05)
            except OSError:
                pass
        elif path == "/cut":
            self.answer(content[:50], len(content))
        elif path == "/page":
            self.answer(b"<html>no picture</html>")
        else:
            self.send_error(404)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.mark.parametrize("path", ["/street.png", "/moved.png", "/bridge?size=large"])
def test_a_picture_is_read(server: str, path: str) -> None:
    np.testing.assert_array_equal(read_source(server + path), PIXELS)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/nothing", r"/nothing: the server answers 404 \(Not Found\); check the address"),
        ("/elsewhere.png", r"file:///etc/passwd'? is (refused|not allowed)"),
        ("/large", r"/large: is larger than the 100,000 bytes"),
        ("/endless", r"/endless: is larger than the 100,000 bytes"),
        ("/slow", r"/slow: cannot be fetched \(not complete after 0.3 seconds\)"),
        ("/cut", r"/cut: (the connection was lost after 50 of|cannot be fetched)"),
    ],
)
def test_what_is_refused(server: str, path: str, said: str) -> None:
    started = time.monotonic()
    with pytest.raises(FullyConvError, match=said):
        fetch(server + path, max_bytes=100_000, max_seconds=0.3)
    assert time.monotonic() - started < 5


def test_what_is_no_picture_and_no_server(server: str) -> None:
    with pytest.raises(FullyConvError, match=r"/page: this is not a picture in any format"):
        read_source(f"{server}/page")
    with pytest.raises(FullyConvError, match=r"cannot be fetched \(.*refused"):
        fetch("http://127.0.0.1:9/x.jpg")
    with pytest.raises(FullyConvError, match=r"http://: cannot be fetched"):
        fetch("http://")


def test_addresses_are_labelled(server: str, small_model: Path, tmp_path: Path) -> None:
    addresses = [f"{server}/moved.png", f"{server}/nothing", f"{server}/bridge?a=1"]
    (tmp_path / "list.txt").write_text("\n".join(addresses))
    seen: list[tuple[object, bool]] = []

    def report(path: Path | str, result: object, *_: object) -> None:
        seen.append((path, result is None))

    def run() -> list[str]:
        seen.clear()
        return predict(tmp_path / "list.txt", model=small_model, out=tmp_path, report=report)

    (failure,) = run()
    assert "/nothing: the server answers 404" in failure
    assert seen == [(address, False) for address in addresses]
    with Image.open(tmp_path / "bridge-mask.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), Predictor(small_model)(PIXELS).labels)
    assert (tmp_path / "moved-mask.png").exists()
    run()  # what lies at an address is taken to stay the same
    assert [before for _, before in seen] == [True, False, True]
