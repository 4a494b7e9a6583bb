"""Files that a server had better not trust, made by a seed."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

KINDS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000")


@cache
def photo(kind: str, size: tuple[int, int] = (48, 36), **options: Any) -> bytes:
    """A picture of noise."""
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *more: bytes, data: bytes = b"") -> bytes:
    """A PNG of the size that its header says, whatever the data are."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *more, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@cache
def bomb(width: int, height: int) -> bytes:
    """A whole PNG of so many pixels, all black: some kilobytes."""
    return png(width, height, data=zlib.compress(bytes((width + 7) // 8 + 1) * height, 9))


@cache
def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    whole = photo("JPEG", (64, 64), progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * count + whole[-2:]


def form(*parts: tuple[str, bytes], boundary: str = "b") -> bytes:
    """The body of a form; each part has its header ``Content-Disposition`` and its content."""
    lines = [
        f"--{boundary}\r\nContent-Disposition: {head}\r\n\r\n".encode() + content + b"\r\n"
        for head, content in parts
    ]
    return b"".join(lines) + f"--{boundary}--\r\n".encode()


IMAGE = 'form-data; name="image"; filename="a.jpg"'


@cache
def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a", bytes(10_000_000))
    return file.getvalue()


def _truncated(rng: random.Random) -> bytes:
    whole = photo(rng.choice(KINDS))
    return whole[: rng.randrange(len(whole))]


def _changed(rng: random.Random) -> bytes:
    whole = bytearray(photo(rng.choice(KINDS)))
    for _ in range(rng.choice((1, 3, 30))):
        whole[rng.randrange(min(len(whole), rng.choice((64, 100_000))))] = rng.randrange(256)
    return bytes(whole)


def _huge(rng: random.Random) -> bytes:
    side, other = rng.choice((30_000, 2**16 - 1, 2**31 - 1)), rng.choice((30_000, 2**16 - 1))
    return rng.choice(
        (
            png(side, other),
            b"GIF89a" + struct.pack("<HH", 65535, 65535) + photo("GIF")[10:],
            b"BM"
            + struct.pack("<IHHIIiiHHI", 70, 0, 0, 54, 40, side, -other, 1, 24, 0)
            + bytes(40),
            b"P6 %d %d 255\n" % (side, other),
            b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6 + bytes(10),
        )
    )


@cache
def _bombs() -> tuple[bytes, ...]:
    zeros = zlib.compress(bytes(30_000_000), 9)
    text, profile = chunk(b"zTXt", b"a\0\0" + zeros), chunk(b"iCCP", b"a\0\0" + zeros)
    return (
        bomb(20_000, 20_000),
        png(8, 8, text, data=zlib.compress(bytes(16))),
        png(8, 8, *[text] * 20, data=zlib.compress(bytes(16))),
        png(8, 8, profile, data=zlib.compress(bytes(16))),
        png(8, 8, data=zeros),  # more data than pixels
        scans(60),
        scans(500),
        archive(),
    )


def _no_picture(rng: random.Random) -> bytes:
    return rng.choice(
        (
            b"",
            b"\0",
            b"\xff\xd8\xff",
            b"<html><script>alert(1)</script>",
            b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
            b"%PDF-1.7\n1 0 obj<<>>endobj",
            b"\x80\x04cposix\nsystem\n(S'touch /tmp/hostile'\ntR.",
            b"\x7fELF" + bytes(60),
            b"\0\0\0\x18ftypmp42" + bytes(60),
            b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 254, 4, 1, 0) + b"\x08\0\0\0",  # loops
            rng.randbytes(rng.randrange(1, 5000)),
        )
    )


def _polyglot(rng: random.Random) -> bytes:
    said = chunk(b"tEXt", b"a\0<?php system($_GET[0]); ?>")
    return rng.choice(
        (
            photo("JPEG") + archive(),
            b"%PDF-1.7\n" + photo("JPEG"),
            b"GIF89a/*" + bytes(4) + b"*/=1;alert(1)" + photo("GIF")[10:],
            png(8, 8, said, data=zlib.compress(bytes(16))),
            photo("PNG") + photo("JPEG"),
            photo("JPEG", comment=b"<script>alert(1)</script>"),
            photo(
                "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\xff\xff\0\0"
            ),
        )
    )


def _odd(rng: random.Random) -> bytes:
    file = io.BytesIO()
    mode, kind = rng.choice(
        (("CMYK", "JPEG"), ("F", "TIFF"), ("I;16", "PNG"), ("1", "TIFF"), ("RGBA", "PNG"))
    )
    Image.new(mode, rng.choice(((1, 1), (1, 3000), (3000, 1)))).save(file, kind)
    return file.getvalue()


_MAKERS: tuple[Callable[[random.Random], bytes], ...] = (
    _truncated,
    _changed,
    _huge,
    lambda rng: rng.choice(_bombs()),
    _no_picture,
    _polyglot,
    _odd,
)
_FORMS = (
    "multipart/form-data",
    "multipart/form-data; boundary=b",
    "multipart/form-data; boundary=" + "b" * 300,
    'multipart/form-data; boundary="b',
)


def hostile(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Bodies with the Content-Type that they are sent with."""
    rng = random.Random(seed)
    for number in range(count):
        body = _MAKERS[number % len(_MAKERS)](rng)
        kind = rng.choice(("image/jpeg", "image/png", "application/octet-stream", "image/x-none"))
        if rng.random() < 0.3:
            kind = rng.choice(_FORMS)
            head = rng.choice((IMAGE, IMAGE, 'form-data; name="image"; filename="/etc/passwd"', ""))
            body = form(
                (head, body), *[("form-data; name=x", b"\r\n" * 50)] * rng.choice((0, 0, 99))
            )
            body = body[: rng.choice((len(body), len(body), rng.randrange(len(body))))]
        yield kind, body
