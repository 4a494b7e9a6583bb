"""One change to a good file, of the kinds that break readers: numbers, lengths, structure."""

from __future__ import annotations

import json
import random
import re
import struct
from pathlib import Path
from typing import Any

NUMBERS = (0, 1, 2, 7, 127, 128, 255, 256, 32767, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_BIG = (2**53, 2**63 - 1, 2**64, 10**30, 1e308, 1.5, -0.0)
_VALUES: tuple[Any, ...] = (
    None,
    True,
    "",
    "x",
    [],
    {},
    [[]],
    "../../x",
    "a\0b",
    "\ud800",
    "9" * 40,
)
_TEXTS = (
    "",
    "-1",
    "nan",
    "inf",
    "1e999",
    "9" * 400,
    "0x10",
    "\0",
    "é",
    ",",
    "[" * 3000,
    "&a;",
    "/",
)


def mutate(path: Path, rng: random.Random, other: Path) -> bytes:
    """The content of a file with one to five changes.

    Args:
        path: The good file.
        rng: Decides.
        other: Another good file, parts of which may come in.
    """
    content = path.read_bytes()
    how = rng.random()
    if path.suffix == ".safetensors" and how < 0.8:
        return _safetensors(content, rng)
    text = _text(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        if text is not None and how < 0.6 and (changed := _json(text, rng)) is not None:
            text = changed
            content = text.encode(errors="surrogatepass")
        elif text is not None and how < 0.9:
            text = _words(text, rng)
            content = text.encode(errors="surrogatepass")
        else:
            text = None
            content = _bytes(content, rng, other)
    return content


def _text(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def value(rng: random.Random) -> Any:
    """Something that JSON can hold and nobody expects."""
    return rng.choice((rng.choice(NUMBERS), -rng.choice(NUMBERS), rng.choice(_BIG),
                       rng.choice(_VALUES)))  # fmt: skip


def _json(text: str, rng: random.Random) -> str | None:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return json.dumps(change(values, rng), default=str)


def change(values: Any, rng: random.Random) -> Any:
    """JSON's values with one of them changed, left out, or doubled."""
    places = list(_places(values)) if isinstance(values, dict | list) else []
    if not places:
        return value(rng)
    holder, key = rng.choice(places)
    how = rng.random()
    if how < 0.6:
        holder[key] = value(rng)
    elif how < 0.75:
        del holder[key]
    elif how < 0.9:
        other, there = rng.choice(places)
        if there in other if isinstance(other, dict) else there < len(other):
            holder[key] = json.loads(json.dumps(other[there]))
    elif isinstance(holder, list):
        holder.extend([holder[key]] * rng.choice((1, 1000)))
    else:
        holder["x"] = holder[key]
    return values


def _places(values: Any) -> Any:
    keys = list(values) if isinstance(values, dict) else range(len(values))
    for key in keys:
        yield values, key
        if isinstance(values[key], dict | list):
            yield from _places(values[key])


def _words(text: str, rng: random.Random) -> str:
    """A text with a number, a word or a line changed."""
    found = list(re.finditer(r"-?\d+(?:\.\d+)?|\w+|[^\w\s]|\n", text))
    if not found:
        return rng.choice(_TEXTS)
    word = rng.choice(found)
    new = rng.choice((*_TEXTS, str(value(rng)), word[0] * rng.choice((2, 2000))))
    return text[: word.start()] + new + text[word.end() :]


def _safetensors(content: bytes, rng: random.Random) -> bytes:
    """A checkpoint whose header, or what it says of the network, has a value changed."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    if rng.random() < 0.8:
        inner = header["__metadata__"]
        inner["fullyconv"] = json.dumps(change(json.loads(inner["fullyconv"]), rng), default=str)
    else:
        header = change(header, rng)
    text = json.dumps(header, default=str).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def _bytes(content: bytes, rng: random.Random, other: Path) -> bytes:
    """Bytes set, put in, left out, doubled, or cut off; mostly near the beginning."""
    data = bytearray(content)
    at = rng.randrange(min(len(data), rng.choice((16, 64, 512, 1 << 30))) + 1)
    how = rng.randrange(8)
    runs = list(re.finditer(rb"\d{1,20}", content)) if how == 7 else []
    if runs:  # a number in a text whose length counts
        run = rng.choice(runs)
        data[slice(*run.span())] = bytes(rng.choice(b"0129") for _ in run[0])
    elif how == 0:
        for _ in range(rng.choice((1, 1, 4, 32))):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
    elif how == 1:
        form = rng.choice(("B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
        size = struct.calcsize(form)
        data[at : at + size] = struct.pack(form, rng.choice(NUMBERS) % (1 << 8 * size))
    elif how == 2 and at < len(data):
        data[at] ^= 1 << rng.randrange(8)
    elif how == 3:
        del data[at:]
    elif how == 4:
        del data[at : at + rng.choice((1, 2, 4, 100))]
    elif how == 5:
        part = data[at : at + rng.choice((1, 4, 16, 200))]
        data[at:at] = part * rng.choice((1, 2, 100))
    elif other.is_file():
        more = other.read_bytes()
        start = rng.randrange(len(more) + 1)
        data[at : at + 64] = more[start : start + 64]
    return bytes(data)
