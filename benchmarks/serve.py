"""The server under load and abuse, beside the Predictor's own rate; both on this machine.

    python benchmarks/serve.py [--seconds 60] [--clients 64] [--photo PHOTO]

Server, clients and Predictor are processes of their own. The Predictor's rate, one thread that goes
from a file to labels again and again, is taken before the load and after it. Each client sends the
photograph over one connection and waits for its mask. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil

EXAMPLES = Path(__file__).parents[1] / "examples"
OWN = """
import sys, time
from fullyconv import Predictor
predictor, photo, encode = Predictor("camvid"), sys.argv[1], sys.argv[3] == "mask"
def label():
    prediction = predictor(photo)
    prediction.encode("mask") if encode else prediction.labels
for _ in range(10):
    label()
begun, count = time.perf_counter(), 0
while time.perf_counter() - begun < float(sys.argv[2]):
    label()
    count += 1
print(count / (time.perf_counter() - begun))
"""


def own_rate(photo: Path, seconds: float, what: str = "labels") -> float:
    """Pictures per second of the Predictor alone."""
    command = [sys.executable, "-c", OWN, str(photo), str(seconds), what]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@contextmanager
def server(*flags: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A server's port and process."""
    command = [sys.executable, "-m", "fullyconv", "serve", "camvid", "--port", "0", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = urlsplit(process.stdout.readline().split()[-1]).port
    assert port is not None
    try:
        yield port, process
    finally:
        process.terminate()
        process.wait(120)


@dataclass
class Load:
    """What clients saw."""

    states: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)
    wall: float = 0.0

    @property
    def rate(self) -> float:
        return self.states[200] / self.wall


def request(body: bytes, accept: str = "image/png", kind: str = "image/jpeg") -> bytes:
    head = (
        f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.startswith(b"content-length")
    )
    await reader.readexactly(length)
    return int(head.split(None, 2)[1])


async def client(port: int, sent: list[bytes], until: float, load: Load) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    number = 0
    while time.perf_counter() < until:
        begun = time.perf_counter()
        writer.write(sent[number % len(sent)])
        number += 1
        try:
            status = await answer(reader)
        except (OSError, asyncio.IncompleteReadError):
            load.states[0] += 1
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            continue
        load.states[status] += 1
        load.seconds.append(time.perf_counter() - begun)
        if status in (429, 503):
            await asyncio.sleep(1)
    writer.close()


async def watch(port: int, pid: int, until: float, load: Load) -> None:
    process, start = psutil.Process(pid), time.perf_counter()
    while time.perf_counter() < until:
        begun = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await answer(reader)
        load.health.append(time.perf_counter() - begun)
        writer.close()
        load.memory.append((begun - start, process.memory_info().rss))
        await asyncio.sleep(0.25)


async def load_test(port: int, pid: int, sent: list[bytes], clients: int, seconds: float) -> Load:
    load, begun = Load(), time.perf_counter()
    until = begun + seconds
    work = [client(port, sent, until, load) for _ in range(clients)]
    await asyncio.gather(watch(port, pid, until, load), *work)
    load.wall = time.perf_counter() - begun
    return load


def drift(load: Load) -> float:
    """Change of the memory from the second quarter of the time to the last one."""
    last = load.memory[-1][0]
    quarter = lambda a, b: statistics.mean(m for t, m in load.memory if a * last <= t <= b * last)  # noqa: E731
    return quarter(0.75, 1) / quarter(0.25, 0.5) - 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--photo", type=Path, default=EXAMPLES / "wide_road_overcast.jpg")
    args = parser.parse_args()
    own = [own_rate(args.photo, args.seconds / 4)]
    with server() as (port, process):
        sent = [request(args.photo.read_bytes())]
        load = asyncio.run(load_test(port, process.pid, sent, args.clients, args.seconds))
        cpu = psutil.Process(process.pid).cpu_times()
    own.append(own_rate(args.photo, args.seconds / 4))
    s = sorted(load.seconds)
    print(own, load.rate, load.rate / statistics.mean(own), load.states, cpu)
    print(s[len(s) // 2], s[int(len(s) * 0.99)], max(load.health), drift(load), load.memory[-1])


if __name__ == "__main__":
    main()
