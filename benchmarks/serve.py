"""The server under load and abuse, beside the Predictor's own rate; both on this machine.

    python benchmarks/serve.py [--seconds 60] [--clients 64] [--photo PHOTO]

Server, clients and Predictor are processes of their own. The Predictor's rate, one thread that goes
from a file to labels again and again, is taken before the load and after it. Each client sends the
photograph over one connection and waits for its mask. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
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

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from hostile import hostile

EXAMPLES = Path(__file__).parents[1] / "examples"
OWN = """
import sys, time
from fullyconv import Predictor
predictor, photo = Predictor("camvid"), sys.argv[1]
for _ in range(10):
    predictor(photo).labels
begun, count = time.perf_counter(), 0
while time.perf_counter() - begun < float(sys.argv[2]):
    predictor(photo).labels
    count += 1
print(count / (time.perf_counter() - begun))
"""


def own_rate(photo: Path, seconds: float) -> float:
    """Pictures per second of the Predictor alone."""
    command = [sys.executable, "-c", OWN, str(photo), str(seconds)]
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

    def mean(start: float, stop: float) -> float:
        return statistics.mean(rss for t, rss in load.memory if start <= t / last <= stop)

    return mean(0.75, 1) / mean(0.25, 0.5) - 1


def slow(port: int, count: int) -> list[socket.socket]:
    """Connections that send half a request and then nothing."""
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    halves = [b"", b"PO", head, head + b"Content-Length: 99\r\n\r\n", head + b"X: " + bytes(60)]
    connections = []
    for number in range(count):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(halves[number % len(halves)])
        connections.append(connection)
    return connections


async def sent_all(port: int, bodies: list[tuple[str, bytes]]) -> Counter[int]:
    """The answers to bodies, eight at a time, a connection for each."""
    states: Counter[int] = Counter()
    room = asyncio.Semaphore(8)

    async def send(kind: str, body: bytes) -> None:
        async with room:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(body, "application/json", kind))
            states[await answer(reader)] += 1
            writer.close()

    await asyncio.gather(*(send(kind, body) for kind, body in bodies))
    return states


async def ended(port: int, process: subprocess.Popen[str], sent: bytes) -> tuple[int, int]:
    """SIGTERM with 60 requests sent: how many were sent, how many answered with 200."""
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
    for _, writer in connections:
        writer.write(sent)
        await writer.drain()
    await asyncio.sleep(0.3)  # they are taken, and most of them wait
    process.terminate()
    states = await asyncio.gather(*(answer(reader) for reader, _ in connections))
    return len(connections), states.count(200)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--photo", type=Path, default=EXAMPLES / "wide_road_overcast.jpg")
    args = parser.parse_args()
    photo = request(args.photo.read_bytes())
    busy = os.getloadavg()[0]
    own = [own_rate(args.photo, args.seconds / 4)]
    with server() as (port, process):
        load = asyncio.run(load_test(port, process.pid, [photo], args.clients, args.seconds))
        own.append(own_rate(args.photo, args.seconds / 4))
        halves = slow(port, 500)
        beside = asyncio.run(load_test(port, process.pid, [photo], args.clients, args.seconds / 4))
        for connection in halves:
            connection.close()
        bad = asyncio.run(sent_all(port, list(hostile(300))))
        good = asyncio.run(sent_all(port, [("image/jpeg", args.photo.read_bytes())] * 20))
        taken, answered = asyncio.run(ended(port, process, photo))
    times, alone = sorted(load.seconds), statistics.mean(own)
    rows = [
        ("Predictor alone, before and after", f"{own[0]:.1f} and {own[1]:.1f} pictures/s"),
        (f"server, {args.clients} clients, {load.wall:.0f} s", f"{load.rate:.1f} pictures/s"),
        ("its share of the Predictor's rate", f"{load.rate / alone:.2f}"),
        ("answers", _counts(load.states)),
        ("latency, median and 99 %", f"{_at(times, 0.5):.2f} and {_at(times, 0.99):.2f} s"),
        ("/healthz under this load, slowest", f"{1000 * max(load.health):.0f} ms"),
        ("memory, last quarter", f"{load.memory[-1][1] / 1e6:.0f} MB, {100 * drift(load):+.1f} %"),
        ("beside 500 half-sent requests", f"{beside.rate:.1f} pictures/s"),
        ("answers then", _counts(beside.states)),
        ("300 hostile files", _counts(bad)),
        ("20 photographs after them", _counts(good)),
        ("SIGTERM, requests under way", f"{taken} taken, {answered} answered"),
    ]
    print(f"Load average at the start: {busy:.2f}.\n\n| | |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value} |")


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _counts(states: Counter[int]) -> str:
    return ", ".join(f"{n} x {status or 'broken off'}" for status, n in states.most_common())


if __name__ == "__main__":
    main()
