"""What a server refuses, and that it goes on serving meanwhile and afterwards."""

from __future__ import annotations

import builtins
import io
import socket
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fullyconv.errors import FullyConvError, UsageError
from fullyconv.prediction.predictor import Predictor
from fullyconv.preprocess import Preprocess
from fullyconv.serve.app import create_app
from fullyconv.serve.settings import Settings
from hostile import IMAGE, bomb, form, hostile, photo, png, scans
from serving import Answer, Gate, ask, connect, metric, serving, until

PICTURE = photo("PNG")
FORM = "multipart/form-data; boundary=b"


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor("camvid", "onnx")


@pytest.fixture(scope="module")
def port(predictor: Predictor) -> Iterator[int]:
    with serving(predictor, max_bytes=100_000, max_pixels=10_000, client_seconds=1) as port:
        yield port


def label(port: int, body: bytes = PICTURE, **headers: Any) -> Answer:
    return ask(port, "/v1/predict", body, **{"content_type": "image/png"} | headers)


def head(length: str = "Content-Length: 9") -> bytes:
    return (
        f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n{length}\r\n".encode()
    )


def said(connection: socket.socket) -> bytes:
    """All that the server says until it closes."""
    received = b""
    while block := connection.recv(65536):
        received += block
    return received


def test_too_many_bytes_are_refused(port: int) -> None:
    assert "larger than the 100,000 bytes" in label(port, bytes(100_001)).problem(413)
    chunks = head("Transfer-Encoding: chunked\r\nConnection: close") + b"\r\n"
    with connect(port, chunks + b"10000\r\n" + bytes(0x10000) + b"\r\n") as connection:
        connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n0\r\n\r\n")
        assert b" 413 " in said(connection)


def test_a_refusal_arrives_while_the_client_is_still_sending(port: int) -> None:
    assert "larger than" in label(port, bytes(30_000_000)).problem(413)


def test_who_asks_before_sending_is_refused_at_once(port: int) -> None:
    with connect(port, head("Content-Length: 100001\r\nExpect: 100-continue") + b"\r\n") as waiting:
        begun = time.monotonic()
        assert waiting.recv(4096).startswith(b"HTTP/1.1 413")
        assert time.monotonic() - begun < 1


def test_too_many_pixels_are_refused_before_they_are_decoded(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    assert "200 x 100 pixels: more than the 10,000" in label(port, bomb(200, 100)).problem(413)
    assert "more than the 10,000" in label(port, bomb(20_000, 20_000)).problem(413)
    assert "scans" in label(port, scans(60)).problem(422)


@pytest.mark.parametrize(
    ("body", "kind", "status", "match"),
    [
        (b"x", "text/plain", 415, "Content-Type is 'text/plain'; send the picture as image"),
        (b"x", "application/x-www-form-urlencoded", 415, "(curl -H 'Content-Type: image/jpeg')"),
        (b"x", "application/x-www-form-urlencoded", 415, "application/octet-stream, or multipart"),
        (photo("PCX"), "image/x-pcx", 415, "format PCX is not taken here, but JPEG, PNG"),
        (b"", "image/png", 422, "holds no picture: it is empty"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image/eps", 422, "not a picture"),
        (PICTURE[:200], "image/png", 422, "the picture: the picture is damaged or cut short"),
        (b"x", "multipart/form-data", 400, "needs a boundary"),
        (b"x", FORM, 400, "is damaged"),
        (form((IMAGE, PICTURE))[:-10], FORM, 400, "is cut short"),
        (form((IMAGE, b"")), FORM, 422, "it is empty"),
        (form(("form-data; name=picture", PICTURE)), FORM, 422, "has 0 fields 'image'"),
        (form((IMAGE, PICTURE), (IMAGE, PICTURE)), FORM, 422, "has 2 fields 'image'"),
    ],
)
def test_what_is_no_picture_is_refused(
    port: int, body: bytes, kind: str, status: int, match: str
) -> None:
    assert match in label(port, body, content_type=kind).problem(status)


@pytest.mark.parametrize(
    ("query", "match"),
    [
        ("regions=x", "regions is 'x': input should be 'runs', 'rle', 'polygons' or 'none'"),
        ("image=x", "image is 'x'"),
        ("opacity=2", "opacity is '2': input should be less than or equal to 1"),
        ("opacity=nan", "opacity is 'nan'"),
        ("image=heat", "give it as class=NAME"),
        ("image=heat&class=raod", "no class 'raod'. Did you mean road"),
    ],
)
def test_a_wrong_query_is_refused(port: int, query: str, match: str) -> None:
    said = ask(port, f"/v1/predict?{query}", PICTURE, content_type="image/png", accept="image/png")
    assert match in said.problem(422)


def test_errors_of_the_framework_are_problems_too(port: int) -> None:
    assert "nothing at /v1/nothing" in ask(port, "/v1/nothing").problem(404)
    refused = ask(port, "/v1/predict")
    assert "GET is not possible at /v1/predict" in refused.problem(405)
    assert refused.headers["allow"] == "POST"
    assert "there are application/json, image/png" in label(port, accept="text/html").problem(406)
    with connect(port, b"nonsense\r\n\r\n") as connection:
        answer = said(connection)
        assert b"400 Bad Request" in answer
        assert b"application/problem+json" in answer


def test_an_error_of_our_own_tells_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Predictor):
        def __call__(self, photo: Any) -> Any:
            if photo.shape[:2] == (36, 48):
                raise RuntimeError("/secret")
            return super().__call__(photo)

    with serving(Broken("camvid", "onnx")) as port:
        answer = label(port)
        assert answer.problem(500) == "an error of the server's own, which its log tells of"
        assert label(port, photo("PNG", (20, 20))).status == 200


def test_a_token_guards_labels_and_figures(predictor: Predictor) -> None:
    with serving(predictor, token="s3cret") as port:
        for wrong in ("", "Bearer s3cre", "Bearer", "Basic s3cret", "s3cret"):
            refused = label(port, authorization=wrong)
            assert "Authorization: Bearer TOKEN" in refused.problem(401)
            assert refused.headers["www-authenticate"] == "Bearer"
        assert ask(port, "/v1/model").status == ask(port, "/metrics").status == 401
        assert ask(port, "/v1/predict?regions=x", b"").status == 401  # and no hint of anything
        for path in ("/", "/healthz", "/readyz", "/openapi.json"):
            assert ask(port, path).status in (200, 503), path
        assert label(port, authorization="Bearer s3cret").status == 200
        assert ask(port, "/v1/model", authorization="bearer s3cret").status == 200


def test_other_sites_may_ask_only_if_they_were_named(predictor: Predictor, port: int) -> None:
    name = "access-control-allow-origin"
    assert name not in label(port, origin="https://example.org").headers
    with serving(predictor, origins=("https://example.org",)) as named:
        assert label(named, origin="https://example.org").headers[name] == "https://example.org"
        assert name not in label(named, origin="https://example.com").headers
        before = ask(
            named,
            "/v1/predict",
            method="OPTIONS",
            origin="https://example.org",
            access_control_request_method="POST",
            access_control_request_headers="authorization",
        )
        assert before.status == 200


def test_more_than_the_queue_holds_is_told_to_come_again() -> None:
    gate = Gate()
    with serving(gate, queue=2) as port, ThreadPoolExecutor(8) as clients:
        gate.open.set()
        until(lambda: ask(port, "/readyz").status == 200)
        gate.open.clear()
        # three are decoded or in the network, two wait
        taken = [clients.submit(label, port) for _ in range(3)]
        until(lambda: metric(port, 'fullyconv_stage_seconds_count{stage="queue"}') == 3)
        taken += [clients.submit(label, port) for _ in range(2)]
        until(lambda: metric(port, "fullyconv_queue_length") == 2)
        refused = label(port)
        assert "2 pictures are waiting already" in refused.problem(429)
        assert int(refused.headers["retry-after"]) >= 1
        gate.open.set()
        assert [client.result().status for client in taken] == [200] * 5
        assert label(port).status == 200


def test_a_request_has_so_much_time() -> None:
    gate = Gate()
    with serving(gate, seconds=0.5) as port, ThreadPoolExecutor(8) as clients:
        gate.open.set()
        until(lambda: ask(port, "/readyz").status == 200)
        gate.open.clear()
        states = [c.result() for c in [clients.submit(label, port) for _ in range(5)]]
        assert Counter(s.status for s in states) == {504: 3, 503: 2}
        assert any(
            "had to wait for more than 0.5" in s.problem(503) for s in states if s.status == 503
        )
        assert all("took more than 0.5" in s.problem(504) for s in states if s.status == 504)
        gate.open.set()
        assert label(port).status == 200


def test_nothing_is_labelled_for_who_has_gone() -> None:
    gate = Gate()
    with serving(gate) as port:
        gate.open.set()
        until(lambda: ask(port, "/readyz").status == 200)
        gate.open.clear()
        with ThreadPoolExecutor(3) as clients:
            waiting = [clients.submit(label, port) for _ in range(3)]
            until(lambda: metric(port, 'fullyconv_stage_seconds_count{stage="queue"}') == 3)
            gone = connect(port, head(f"Content-Length: {len(PICTURE)}") + b"\r\n" + PICTURE)
            until(lambda: metric(port, "fullyconv_queue_length") == 1)
            gone.close()
            until(lambda: metric(port, "fullyconv_queue_length") == 0)
            gate.open.set()
            assert [client.result().status for client in waiting] == [200] * 3
        assert label(port).status == 200
        assert metric(port, "fullyconv_pixels_total") == 4 * 48 * 36
        assert metric(port, 'fullyconv_requests_total{path="/v1/predict",status="499"}') == 1


def test_slow_and_half_sent_requests_do_not_keep_others_waiting(port: int) -> None:
    halves = [b"", b"P", head(), head() + b"\r\n", head() + b"\r\nabc"] * 40
    begun = time.monotonic()
    connections = [connect(port, half) for half in halves]
    for _ in range(5):
        assert label(port).status == 200
        assert ask(port, "/healthz", timeout=1).status == 200
    assert time.monotonic() - begun < 10
    answers = Counter(said(connection)[:13] for connection in connections)
    # those whose headers came are told; the others are closed
    assert answers == {b"": 120, b"HTTP/1.1 408 ": 80}
    for connection in connections:
        connection.close()


def test_half_a_second_request_is_not_waited_for_either(port: int) -> None:
    with connect(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") as connection:
        answer = b""
        while not answer.endswith(b"}"):  # head and body may come apart
            answer += connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /healthz HT")
        begun = time.monotonic()
        assert said(connection) == b""
        assert time.monotonic() - begun < 4


def test_who_does_not_take_the_answer_is_cut_off(predictor: Predictor) -> None:
    picture = photo("PNG", (300, 300))
    asked = b"POST /v1/predict?image=overlay HTTP/1.1\r\nHost: x\r\nAccept: image/png\r\n"
    asked += b"Content-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(picture)
    with (
        serving(predictor, send_buffer=4096, client_seconds=1) as port,
        socket.socket() as connection,
    ):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", port))
        connection.sendall(asked + picture)
        answered = 'fullyconv_requests_total{path="/v1/predict",status="200"}'
        until(lambda: metric(port, answered) == 1, 20)
        time.sleep(1.5)
        answer = said(connection)
        length = int(answer.partition(b"content-length: ")[2].split(None, 1)[0])
        assert len(answer) < length


def test_requests_open_at_once_and_bytes_held_are_bounded(predictor: Predictor) -> None:
    with serving(predictor, max_requests=3, max_held=60_000) as port:
        until(lambda: ask(port, "/readyz").status == 200)
        slow = [connect(port, head("Content-Length: 50000") + b"\r\n" + bytes(25_000))]
        slow += [connect(port, head("Content-Length: 50000") + b"\r\n" + bytes(25_000))]
        until(lambda: metric(port, "fullyconv_held_bytes") == 50_000)
        assert "holds as many bytes" in label(port, bytes(30_000)).problem(503)
        slow += [connect(port, head() + b"\r\n")]
        until(lambda: metric(port, "fullyconv_open_requests") == 4)
        assert "3 requests are open" in label(port).problem(503)
        assert ask(port, "/healthz").status == 200
        for connection in slow:
            connection.close()
        until(lambda: metric(port, "fullyconv_held_bytes") == 0)
        assert label(port).status == 200


def test_nothing_of_a_request_is_written_and_no_named_file_is_opened(
    port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    touched: list[object] = []

    def watched(kind: Any, name: str) -> None:
        original = getattr(kind, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            touched.append((name, args[:2]))
            return original(*args, **kwargs)

        monkeypatch.setattr(kind, name, call)

    for owner, name in ((builtins, "open"), (io, "open"), (Path, "open"), (Path, "write_bytes")):
        watched(owner, name)
    for name in ("NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile", "mkstemp"):
        watched(tempfile, name)
    named = tmp_path / "named.png"
    named.write_bytes(PICTURE)
    touched.clear()
    part = f'form-data; name="image"; filename="{named}"'
    with serving(Predictor("camvid", "onnx")) as free:
        touched.clear()
        large = photo("BMP", (800, 600))  # more than the megabyte that others keep in memory
        assert len(large) > 1_400_000
        kind = {"content_type": FORM}
        assert label(free, form((part, large)), **kind).status == 200
        assert label(free, form((part, b"")), **kind).status == 422
        assert label(free, form((part, str(named).encode())), **kind).status == 422
        assert ask(free, f"/page/..%2f..%2f{named}").status == 404
    assert touched == []


def test_hostile_files_leave_it_serving(predictor: Predictor) -> None:
    with serving(predictor) as port:
        assert label(port).status == 200
        threads, answers = threading.active_count(), Counter[int]()
        for number, (kind, body) in enumerate(hostile(300)):
            answer = label(port, body, content_type=kind)
            assert answer.status in (200, 400, 413, 415, 422), (number, kind, answer.body)
            if answer.status != 200:
                assert answer.problem(answer.status)
            answers[answer.status] += 1
        assert label(port).status == 200
        assert threading.active_count() < threads + 4
    assert set(answers) >= {200, 400, 413, 422}  # else they were not what they are meant to be


def test_data_beyond_the_pixels_are_not_unpacked(port: int) -> None:
    answer = label(port, png(8, 8, data=zlib.compress(bytes(10_000_000), 9)))
    assert answer.status == 200


def test_models_of_something_else_than_photographs_are_not_served(predictor: Predictor) -> None:
    depth = Preprocess(mean=(1.0,) * 4, std=(1.0,) * 4, inputs=("images", "depth"))
    other = Predictor.of(predictor.runtime, replace(predictor.header, preprocess=depth))
    with pytest.raises(FullyConvError, match=r"takes images \+ depth; only models of photographs"):
        create_app(other)


def test_a_model_that_cannot_be_used_is_never_ready(predictor: Predictor) -> None:
    class Damaged(Predictor):
        def __call__(self, photo: Any) -> Any:
            raise FullyConvError("its weights are damaged")

    with serving(Damaged("camvid", "onnx")) as port:
        until(lambda: "weights are damaged" in ask(port, "/readyz").json["detail"])
        assert "weights are damaged" in label(port).problem(422)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"queue": 0}, "queue is 0; it must be at least 1"),
        ({"seconds": float("nan")}, "seconds is nan; it must be above 0"),
        ({"port": 70_000}, "ports are 0 to 65535"),
        ({"token": "a b"}, "ASCII characters without spaces"),
        ({"token": "ü"}, "ASCII characters without spaces"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        Settings(**given)


def test_large_pictures_are_labelled_in_tiles_with_the_same_labels(predictor: Predictor) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (300, 400, 3), np.uint8)
    small = Predictor("camvid", "onnx", memory=Settings().memory // 100)
    assert (small(picture).labels == predictor(picture).labels).all()
