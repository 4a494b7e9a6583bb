"""``fcn serve`` as a process: its flags, its end, and its OpenAPI document under a fuzzer."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from command import fcn
from fullyconv.errors import FullyConvError
from fullyconv.serve import running
from hostile import photo
from serving import Answer, ask, connect, metric, until

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PICTURE = photo("JPEG", (480, 360))


@contextmanager
def command(*flags: str, **environment: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """The port and the process of ``fcn serve camvid``."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fullyconv", "serve", "camvid", "--port", "0", *flags],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("camvid (onnx): http://127.0.0.1:"), said
        port = urlsplit(said.split()[-1]).port
        assert port is not None
        yield port, process
    finally:
        process.kill()
        process.communicate()


def label(port: int) -> Answer:
    return ask(port, "/v1/predict", PICTURE, content_type="image/jpeg", accept="image/png")


def test_sigterm_under_load_loses_no_request_that_was_taken() -> None:
    with command() as (port, process), ThreadPoolExecutor(24) as clients:
        assert label(port).status == 200
        before = metric(port, "fullyconv_pixels_total")
        taken: list[Future[Answer]] = [clients.submit(label, port) for _ in range(24)]
        # all of them are in the house, and the asking one
        until(lambda: metric(port, "fullyconv_open_requests") >= 20)
        process.send_signal(signal.SIGTERM)
        answers = [client.result() for client in taken]
        assert [answer.status for answer in answers] == [200] * 24
        assert len({answer.body for answer in answers}) == 1
        assert before == 480 * 360
        _, errors = process.communicate(timeout=20)
        assert process.returncode == -signal.SIGTERM
        assert errors == ""
        with pytest.raises(ConnectionRefusedError):
            connect(port)


def test_ctrl_c_ends_it_as_it_ends_other_commands() -> None:
    with command() as (port, process):
        until(lambda: ask(port, "/readyz").status == 200)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 130
        assert errors == ""


def test_the_token_comes_from_the_environment() -> None:
    with command("--queue", "3", FULLYCONV_TOKEN="s3cret") as (port, _):
        assert ask(port, "/v1/model").status == 401
        model = ask(port, "/v1/model", authorization="Bearer s3cret")
        assert model.json["limits"]["queue"] == 3


def test_a_port_that_is_taken_is_said_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert fcn(monkeypatch, "serve", "camvid", "--port", port) == 1
    assert f"port {port} of 127.0.0.1 cannot be used" in capsys.readouterr().err
    with pytest.raises(FullyConvError, match="as --host an address of this machine"):
        running.listening("192.0.2.1", 0)


def test_settings_are_checked_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fcn(monkeypatch, "serve", "camvid", "--queue", "0") == 2
    assert "queue is 0; it must be at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["fastapi", "uvicorn", "python_multipart", "prometheus_client"])
def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert fcn(monkeypatch, "serve", "camvid") == 1
    said = capsys.readouterr().err
    assert f"{module} is needed for fcn serve and not installed" in said
    assert 'pip install "fullyconv[web]"' in said


@pytest.mark.slow
def test_a_fuzzer_finds_no_error_in_the_documented_interface(tmp_path: Path) -> None:
    """Schemathesis: every check, but that whatever fits the schema is a picture."""
    pytest.importorskip("schemathesis")
    tool = Path(sys.executable).with_name("schemathesis")
    with command(OMP_NUM_THREADS="2") as (port, process):
        address = f"http://127.0.0.1:{port}/openapi.json"
        checks = ["--checks", "all", "--exclude-checks", "positive_data_acceptance"]
        found = subprocess.run(
            [tool, "run", address, "--seed", "1", "--max-examples", "100", *checks],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
        )
        assert found.returncode == 0, found.stdout
        assert label(port).status == 200
        assert process.poll() is None


@pytest.mark.slow
def test_memory_stays_flat_over_pictures_of_many_sizes() -> None:
    import psutil

    with command() as (port, process):
        memory = psutil.Process(process.pid)
        bodies = [photo("JPEG", (200 + 37 * n, 900 - 41 * n)) for n in range(18)]

        def all_of_them() -> int:
            for body in bodies:
                assert ask(port, "/v1/predict", body, content_type="image/jpeg").status == 200
            return int(memory.memory_info().rss)

        until(lambda: ask(port, "/readyz").status == 200)
        for _ in range(3):
            warm = all_of_them()
        begun = time.monotonic()
        for _ in range(8):
            rss = all_of_them()
        assert rss < 1.05 * warm, (warm, rss, time.monotonic() - begun)
