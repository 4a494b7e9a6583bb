"""A worker's part: photographs read, labelled and written, then recorded. Knows nothing of Ray."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from fullyconv.cluster.addresses import fetch_file, join, look, put_file, read_bytes, write_bytes
from fullyconv.cluster.manifest import IN_SHARD, Manifest
from fullyconv.cluster.plan import SHARD, Item, Part
from fullyconv.cluster.shards import Member, members, read_member, writing
from fullyconv.errors import FullyConvError
from fullyconv.images import is_tiff, read_photo
from fullyconv.prediction.augmented import AugmentedPredictor
from fullyconv.prediction.pipeline import AHEAD, flow
from fullyconv.prediction.prediction import Output, Prediction
from fullyconv.prediction.predictor import Predictor
from fullyconv.prediction.rasters.raster import is_raster
from fullyconv.preprocess import Pixels

_REMOTE = 16  # threads where reading and writing are waiting for a store
_MEMORY = 128 * 1024**2  # bytes of decoded pictures before the network, and likewise behind it
Lines = list[dict[str, Any]]


@dataclass
class Made:
    """What became of a part.

    Attributes:
        done: Photographs that were labelled.
        failures: Where each of the others is, and why it was not.
        before: Photographs that an earlier run had labelled.
        read: Bytes that were read.
        written: Bytes of results.
    """

    done: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    before: int = 0
    read: int = 0
    written: int = 0


class _Photo(NamedTuple):
    """A photograph of a part: what records call it, its place, its mark, and how to read it."""

    said: str
    folder: str
    name: str
    mark: str
    read: Callable[[], bytes]


class _Labelled(NamedTuple):
    facts: dict[str, Any]
    files: dict[str, bytes]


class PartLabelling:
    """Labels parts, one after the other.

    Args:
        predictor: The model.
        kinds: What to write of each photograph.
        manifest: Of the address of the results.
        threads: Processors.
    """

    def __init__(
        self,
        predictor: Predictor | AugmentedPredictor,
        kinds: Sequence[Output],
        manifest: Manifest,
        threads: int = 2,
    ) -> None:
        self.predictor, self.kinds, self.manifest = predictor, kinds, manifest
        self.out = manifest.out
        self.threads = _REMOTE if "://" in self.out else max(2, threads)

    def label(self, part: Part, again: bool = False) -> Made:
        """Label a part, write its results, then its record.

        Args:
            part: Photographs, or a shard.
            again: Also what its record says is finished.

        Raises:
            FullyConvError: If results cannot be written; what cannot be read is in the result.
        """
        if part.is_shard:
            return self._shard(part, again)
        made, lines = Made(), Lines()
        photos = (
            _Photo(i.address, i.folder, i.name, i.mark, partial(read_bytes, i.address, i.size))
            for i in part.items
        )

        def keep(files: Mapping[str, bytes]) -> None:
            for name, content in files.items():
                write_bytes(join(self.out, name), content)

        self._label(photos, made, lines, keep, None)
        self.manifest.write(part.key, lines)
        return made

    def _shard(self, part: Part, again: bool) -> Made:
        """Label the photographs of a tar into a tar."""
        (item,), made, lines = part.items, Made(), Lines()
        key = part.key + IN_SHARD
        result = join(self.out, item.folder, item.name + SHARD)
        if not again and look(result) is not None:
            lines = [line for line in self.manifest.part(key) if "done" in line]
        before = {line["done"] for line in lines}
        made.before = len(before)
        with tempfile.TemporaryDirectory(prefix="fcn-") as scratch:
            try:
                shard = fetch_file(item.address, Path(scratch))
                found, refused = members(shard, item.address)
            except FullyConvError as error:
                made.failures.append((item.address, str(error)))
                return made
            made.read = shard.stat().st_size
            older = fetch_file(result, Path(scratch, "before")) if before else None
            kept = {name for line in lines for name in line["files"]}
            for name in refused:
                said = (
                    f"{item.address}: {name!r} is a link, or leads out of the tar; it is not read"
                )
                made.failures.append((f"{item.address}/{name}", said))
                lines.append({"photo": f"{item.address}/{name}", "error": said})
            photos = (photo for photo in _of(item, shard, found) if photo.mark not in before)
            file = Path(scratch) / "results"
            with writing(file, result, older, kept) as tar:

                def keep(files: Mapping[str, bytes]) -> None:
                    for name, content in files.items():
                        tar.add(name, content)

                self._label(photos, made, lines, None, keep)
            put_file(result, file)
        end = {"shard": item.address, "photos": made.before + made.done, "files": [result]}
        self.manifest.write(key, lines)
        self.manifest.write(part.key, [end if made.failures else {**end, "done": item.mark}])
        return made

    def _label(
        self,
        photos: Iterator[_Photo],
        made: Made,
        lines: Lines,
        write: Callable[[Mapping[str, bytes]], None] | None,
        append: Callable[[Mapping[str, bytes]], None] | None,
    ) -> None:
        """Label photographs, those ahead decoded and those behind encoded meanwhile.

        Args:
            photos: Which.
            made: Is added to.
            lines: Is added to: what the manifest says of each.
            write: Writes a photograph's results; called in threads.
            append: The same, called in the order of the photographs.
        """

        def prepare(photo: _Photo) -> Pixels:
            content = photo.read()
            made.read += len(content) if write else 0  # of a shard all was read before
            return decoded(photo.said, content)

        def work(photo: _Photo, pixels: Pixels) -> Prediction:
            try:
                return self.predictor(pixels).renamed(photo.name)
            except FullyConvError as error:  # which does not know the file
                raise FullyConvError(f"{photo.said}: {error}") from error

        def finish(photo: _Photo, prediction: Prediction) -> _Labelled:
            place = PurePosixPath(photo.folder)
            files = {str(place / n): content for n, content in prediction.files(self.kinds)}
            if write is not None:
                write(files)
            return _Labelled(prediction.facts(), files)

        def done(photo: _Photo, result: _Labelled | FullyConvError) -> None:
            if isinstance(result, FullyConvError):
                made.failures.append((photo.said, str(result)))
                lines.append({"photo": photo.said, "error": str(result)})
                return
            if append is not None:
                append(result.files)
            made.done += 1
            made.written += sum(map(len, result.files.values()))
            files = list(result.files)
            lines.append({"photo": photo.said, **result.facts, "files": files, "done": photo.mark})

        def room(pixels: Pixels) -> int:
            return _MEMORY // pixels.nbytes

        flow(
            photos, prepare, work, finish, done,
            workers=self.threads, ahead=max(AHEAD, self.threads), room=room,
        )  # fmt: skip


def _of(shard: Item, file: Path, found: Iterable[Member]) -> Iterator[_Photo]:
    """The members of a shard as photographs."""
    for member in found:
        said, mark = f"{shard.address}/{member.member}", f"{shard.mark}/{member.member}"
        read = partial(read_member, file, member)
        yield _Photo(said, member.folder, member.name, mark, read)


def decoded(said: str, content: bytes) -> Pixels:
    """The pixels (H, W, 3) uint8 of an encoded photograph.

    Args:
        said: What errors call it.
        content: Its bytes.

    Raises:
        FullyConvError: If it is none, or one of those that are read by windows.
    """
    if is_tiff(said, content):
        with tempfile.NamedTemporaryFile(prefix="fcn-", suffix=".tif") as file:
            file.write(content)
            file.flush()
            if is_raster(file.name):
                raise FullyConvError(
                    f"{said}: is georeferenced, or too large for memory, and is read by windows; "
                    "fcn predict labels it without --engine ray"
                )
    return read_photo(said, content)
