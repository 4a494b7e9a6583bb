"""From a tool's export to the layout: in parallel, one bad picture at a time."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from fullyconv.data.importers.classes import BACKGROUND, ClassMap, class_map, parse_classes
from fullyconv.data.importers.found import Export, Found, Picture, Unlabelled
from fullyconv.data.importers.reading import Embedded
from fullyconv.data.importers.registry import guess, importer
from fullyconv.data.importers.source import MARK, Source
from fullyconv.data.parallel import in_parallel
from fullyconv.data.prepare.archives import MAX_BYTES, is_archive, unpack
from fullyconv.data.prepare.layout import draw, take_over, write_classes
from fullyconv.data.prepare.plan import Drawn, stored
from fullyconv.data.prepare.report import Report
from fullyconv.data.prepare.run import PROBLEMS, scratch
from fullyconv.data.sources import CLASSES
from fullyconv.errors import FullyConvError, UsageError, shortened
from fullyconv.files import write_json, write_text, write_whole
from fullyconv.images import read_photo
from fullyconv.labels import Ids, LabelSpace

PathLike = str | os.PathLike[str]

NOTES = "notes.txt"
_SHOWN = 8
_USUAL_BYTES = 2**30  # an archive may unpack to so many,
_RATIO = 100  # or to so many times its own size: masks pack to a hundredth, bombs to a thousandth
_MALFORMED = (
    KeyError,
    TypeError,
    ValueError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
    MemoryError,
)


class _Made(NamedTuple):
    problem: str = ""
    notes: tuple[str, ...] = ()


def import_data(
    source: PathLike,
    out: PathLike,
    *,
    form: str | None = None,
    images: PathLike | Sequence[PathLike] = (),
    classes: str | Mapping[str, str] | None = None,
    unlabelled: Unlabelled | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Report:
    """Turn what a labelling tool exports into the folder layout that the package reads.

    Called again with a newer export of the same classes, it makes every label file anew. Pictures
    are taken over byte for byte; on one file system they are hard links.

    Args:
        source: Folder, archive (zip, tar) or annotation file.
        out: Root of the layout: a folder that is empty, not there yet, or of an earlier import.
        form: Format, one of :data:`~fullyconv.data.importers.IMPORTERS`; None to guess it.
        images: Folders of the pictures, where the export does not hold them.
        classes: New names by the tool's, or ``a,b=c``; see :func:`parse_classes`. Classes that are
            not named are left out. None for all.
        unlabelled: What pixels without a label are: the class background, or void. None for what
            is usual in the format.
        workers: Processes; None for one per processor, or none beside this one for a few
            pictures. A script that starts some needs ``if __name__ == "__main__"``.
        progress: Show bars.

    Returns:
        What was made.

    Raises:
        UsageError: If the format, a class or the number of workers does not exist.
        FullyConvError: If the source is of no known form, ``out`` holds what no import made, or one
            lies in the other; nothing is touched then. Or if pictures are missing or damaged; the
            others are made all the same, and ``out/problems.txt`` names all that are not.
    """
    root = Path(out)
    wanted = parse_classes(classes) if isinstance(classes, str) else classes
    folders = [images] if isinstance(images, str | os.PathLike) else list(images)
    if workers is not None and workers < 1:
        raise UsageError(f"workers is {workers}; it must be at least 1")
    if form is not None:
        importer(form)
    if not Path(source).exists():  # before a folder is made
        raise FullyConvError(f"{source}: there is no such file or folder")
    _check_place(Path(source), root)
    with _tidied(root), scratch(root) as folder:
        opened = _opened(Path(source), Path(folder), tuple(map(Path, folders)), progress)
        form = form or guess(opened)
        how = importer(form)
        if not how.recognise(opened):
            raise FullyConvError(f"{source}: no export of {how.tool}; expected: {how.structure}")
        with _understood(str(source), how.tool):
            export = _named_apart(how.read(opened))
        mapped = class_map(export.categories, wanted, unlabelled or how.unlabelled, export.complete)
        if not (root / MARK).exists():  # first: killed after it, the same call goes on
            write_json(root / MARK, {"made by": "fcn data import"})
        write_classes(root / CLASSES, stored(mapped.labels))
        report = _make_all(form, how.tool, root, export, mapped, workers, progress)
    return _finished(report)


def _check_place(source: Path, root: Path) -> None:
    """Raise if somebody's files would be replaced: the export's own, or those of another folder."""
    export, place = source.resolve(), root.resolve()
    if source.is_dir() and export in (place, *place.parents):
        raise FullyConvError(f"{root} is in the export itself; name a new folder elsewhere")
    if source.is_dir() and place in export.parents:
        raise FullyConvError(f"{root} holds the export itself; name a new folder elsewhere")
    if not root.is_dir() or (root / MARK).is_file():
        return
    held = sorted(path.name for path in root.iterdir() if path.name[0] != ".")
    if held:
        raise FullyConvError(
            f"{root} is no folder of an earlier import (it has no {MARK}) and holds "
            f"{shortened(held)}; name a new folder"
        )


@contextmanager
def _tidied(root: Path) -> Iterator[None]:
    """Where nothing came of it, no empty folder is left that was not there before."""
    there = root.exists()
    try:
        yield
    finally:
        if not there:
            with suppress(OSError):  # what holds anything is not removed
                root.rmdir()


def _opened(source: Path, into: Path, images: tuple[Path, ...], progress: bool) -> Source:
    if source.is_dir():
        return Source(source, images=images)
    if is_archive(source):
        most = min(MAX_BYTES, max(_USUAL_BYTES, _RATIO * source.stat().st_size))
        unpack(source, into, "", progress, most)
        return Source(into, images=images)
    return Source(source.parent, source.name, images)


@contextmanager
def _understood(what: str, tool: str) -> Iterator[None]:
    """Whatever a file of another form makes the reader stumble on, as one sentence."""
    try:
        yield
    except _MALFORMED as error:
        raise FullyConvError(
            f"{what}: not in the form that {tool} writes ({type(error).__name__}: {error})"
        ) from error


def _named_apart(export: Export) -> Export:
    """Every picture of a name of its own, and in a split if others are."""
    seen: set[tuple[str, str]] = set()
    kept, homeless = [], 0
    in_splits = any(picture.split for picture in export.pictures)
    for picture in export.pictures:
        if in_splits and not picture.split:
            picture, homeless = replace(picture, split="train"), homeless + 1
        key = (picture.split, picture.name)
        if key in seen:
            export.problems.append(f"{picture.name}: two pictures have this name but for a suffix")
            continue
        seen.add(key)
        kept.append(picture)
    if homeless:
        export.notes.append(f"{homeless} pictures are in no split of the export; they are in train")
    if not kept and not export.problems:
        raise FullyConvError("the export speaks of no picture; is it empty?")
    export.pictures = kept
    return export


def _make_all(
    form: str,
    tool: str,
    root: Path,
    export: Export,
    mapped: ClassMap,
    workers: int | None,
    progress: bool,
) -> Report:
    pictures = Counter[str]()
    notes, problems = [], list(export.problems)
    work, title = partial(_attempt, root, mapped, tool), f"importing {form}"
    told = in_parallel(work, export.pictures, workers=workers, title=title, progress=progress)
    for picture, made in zip(export.pictures, told, strict=True):
        where = f"{picture.split}/{picture.name}".lstrip("/")
        notes += [f"{where}: {note}" for note in made.notes]
        if made.problem:
            problems.append(f"{where}: {made.problem}")
        else:
            pictures[picture.split] += 1
    summary = [f"classes: {', '.join(mapped.labels.categories)}", *export.notes]
    summary += _alike(mapped.labels.categories)
    unlabelled = [path.name for path in export.unlabelled()]
    if unlabelled:
        summary.append(
            f"{len(unlabelled)} pictures have no labels in the export and are left out "
            f"({shortened(unlabelled)})"
        )
    if {BACKGROUND} & {*mapped.labels.categories} - {c.name for c in export.categories}:
        said = "pixels without a label are background; --unlabelled void leaves them out"
        summary.insert(1, said)
    return Report(
        form,
        root,
        dict(sorted(pictures.items())),
        pictures.total(),
        notes=(*summary, *_kept(root, sorted(notes), unlabelled)),
        problems=tuple(sorted(problems)),
    )


def _alike(names: Sequence[str]) -> list[str]:
    """Sentences about classes whose names differ in capitals alone."""
    spelt: dict[str, list[str]] = {}
    for name in names:
        spelt.setdefault(name.casefold(), []).append(name)
    said = []
    for first, *others in (same for same in spelt.values() if len(same) > 1):
        option = ",".join([first, *(f"{name}={first}" for name in others)])
        said.append(
            f"the classes {' and '.join([first, *others])} differ in capitals alone; if they are "
            f"one, name all with --classes, these as {option}"
        )
    return said


def _kept(root: Path, notes: Sequence[str], unlabelled: Sequence[str]) -> Sequence[str]:
    """The first few notes; all of them are in a file, and all pictures that are left out."""
    path = root / NOTES
    if not notes and not unlabelled:
        path.unlink(missing_ok=True)
        return notes
    left_out = (f"{name}: no labels in the export, left out" for name in unlabelled)
    write_text(path, "".join(f"{line}\n" for line in (*notes, *left_out)))
    more = [f"{len(notes) - _SHOWN} more are in {path}"] if len(notes) > _SHOWN else []
    return [*notes[:_SHOWN], *more]


def _finished(report: Report) -> Report:
    path = report.root / PROBLEMS
    if not report.problems:
        path.unlink(missing_ok=True)
        return report
    write_text(path, "".join(f"{problem}\n" for problem in report.problems))
    raise FullyConvError(
        f"{len(report.problems)} pictures could not be imported; {path} names each. The others are "
        f"there, and the same call makes the rest once the export is right\n{report}"
    )


def _attempt(root: Path, mapped: ClassMap, tool: str, picture: Picture) -> _Made:
    try:
        with _understood("its annotation", tool):
            found = picture.read()
            _make(root, mapped, picture, found)
    except FullyConvError as error:
        return _Made(str(error))
    return _Made(notes=tuple(dict.fromkeys(found.notes)))


def _make(root: Path, mapped: ClassMap, picture: Picture, found: Found) -> None:
    """Write one picture and its labels, once both are read and checked."""
    photo = picture.photo or Embedded(found.photo or b"", "the picture in it")
    height, width = read_photo(photo).shape[:2]
    if found.size is not None and found.size != (height, width):
        raise FullyConvError(
            f"its annotation is of {found.size[0]} x {found.size[1]} pixels, but the picture has "
            f"{height} x {width} (as it is seen, after any EXIF rotation)"
        )
    labels = mapped.paint(found, height, width)
    folder = root / picture.split
    if picture.photo is not None:
        target = folder / "images" / f"{picture.name}{picture.photo.suffix}"
        if not (target.exists() and target.samefile(picture.photo)):
            take_over(picture.photo, target)
    else:
        _write_photo(folder / "images" / picture.name, found.photo or b"")
    _write_labels(folder / "labels" / f"{picture.name}.png", labels, mapped.labels)


def _write_photo(path: Path, content: bytes) -> None:
    with Image.open(io.BytesIO(content)) as image:
        suffix = {"JPEG": ".jpg"}.get(image.format or "", f".{(image.format or 'png').lower()}")
    write_whole(path.with_name(path.name + suffix), lambda file: file.write(content))


def _write_labels(path: Path, ids: Ids, labels: LabelSpace) -> None:
    write_whole(path, partial(draw, Drawn(ids, labels.palette)))
