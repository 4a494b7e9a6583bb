"""From a published data set to the layout: in parallel, resumable, one bad file at a time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from fullyconv.data.parallel import in_parallel
from fullyconv.data.prepare.archives import is_archive, unpack
from fullyconv.data.prepare.layout import make, write_classes
from fullyconv.data.prepare.plan import Item, Plan, Preparer, Request, stored
from fullyconv.data.prepare.registry import preparer as known_preparer
from fullyconv.data.prepare.report import Report
from fullyconv.data.sources import CLASSES
from fullyconv.errors import FullyConvError, UsageError, did_you_mean, shortened
from fullyconv.files import write_whole

PathLike = str | os.PathLike[str]

PROBLEMS = "problems.txt"


def prepare(
    name: str,
    source: PathLike | Sequence[PathLike],
    out: PathLike,
    *,
    splits: Sequence[str] | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Report:
    """Turn a published data set into the folder layout that the package reads.

    Files that are there already are kept, so an interrupted run is resumed by calling it again.
    Photographs are taken over byte for byte; on one file system they are hard links, so do not
    change them in place.

    Args:
        name: Data set, one of :data:`~fullyconv.data.prepare.PREPARERS`.
        source: Extracted folder or published archive (tar, zip), or several of them.
        out: Root of the layout; made if need be.
        splits: Splits to make; None for the usual ones.
        workers: Processes; None for one per processor, or none beside this one for a few
            pictures. A script that starts some needs ``if __name__ == "__main__"``.
        progress: Show bars.

    Returns:
        What was made and left out.

    Raises:
        UsageError: If the name, a split or the number of workers does not exist.
        FullyConvError: If the source is not the data set, or pictures are missing or damaged; the
            others are made all the same, and ``out/problems.txt`` names all that are not.
    """
    preparer = known_preparer(name)
    _check_request(name, preparer, splits, workers)
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    root = Path(out)
    with scratch(root) as unpacked:
        request = Request(
            sources=_opened([Path(path) for path in sources], preparer, Path(unpacked), progress),
            out=root,
            splits=tuple(splits or preparer.splits),
            scratch=Path(unpacked),
        )
        plan = preparer.plan(request)
        write_classes(root / CLASSES, stored(plan.labels))
        for kind, labels in plan.more_labels.items():
            write_classes(root / f"classes-{kind}.json", labels)
        report = _make_all(name, request, plan, workers, progress)
    return _finished(report)


def _check_request(
    name: str, preparer: Preparer, splits: Sequence[str] | None, workers: int | None
) -> None:
    known = [*preparer.splits, *preparer.more_splits]
    if splits is not None and not splits:
        raise UsageError(f"no split of {name} is asked for; it has {', '.join(known)}")
    for split in splits or ():
        if split not in known:
            raise UsageError(f"{name} has no split {split!r}. {did_you_mean(split, known)}")
    if workers is not None and workers < 1:
        raise UsageError(f"workers is {workers}; it must be at least 1")


def scratch(root: Path) -> tempfile.TemporaryDirectory[str]:
    """A hidden folder in the root, so that files can be linked from it.

    Raises:
        FullyConvError: If it cannot be made.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(
            prefix=".unpacked-", dir=root, ignore_cleanup_errors=True
        )
    except OSError as error:
        raise FullyConvError(f"{root}: cannot be written ({error.strerror or error})") from error


def _opened(
    sources: Sequence[Path], preparer: Preparer, scratch: Path, progress: bool
) -> tuple[Path, ...]:
    """The sources, archives replaced by the folders they are unpacked to."""
    opened = []
    for number, path in enumerate(sources):
        if not path.exists():
            raise FullyConvError(
                f"{path}: there is no such file or folder. What to download: {preparer.download}"
            )
        if path.is_dir() or path.suffix == ".mat":
            opened.append(path)
        elif is_archive(path):
            opened.append(scratch / str(number))
            opened[-1].mkdir()
            unpack(path, opened[-1], preparer.members, progress)
        else:
            raise FullyConvError(
                f"{path} is neither a folder nor a whole tar or zip archive. Expected: "
                f"{preparer.structure}"
            )
    return tuple(opened)


def _make_all(
    name: str, request: Request, plan: Plan, workers: int | None, progress: bool
) -> Report:
    root, todo, pictures = request.out, [], dict.fromkeys(request.splits, 0)
    for item in plan.items:
        if all(path.exists() for path in item.files(root).values()):
            pictures[item.split] += 1
        else:
            todo.append(item)
    made, problems = 0, []
    work, title = partial(_attempt, root), f"preparing {name}"
    told = in_parallel(work, todo, workers=workers, title=title, progress=progress)
    for item, problem in zip(todo, told, strict=True):
        if problem is None:
            made += 1
            pictures[item.split] += 1
        else:
            problems.append(f"{item.split}/{item.name}: {problem}")
    notes = (*plan.notes, *_strangers(plan, root))
    return Report(
        name, root, pictures, made, tuple(plan.left_out), notes, plan.missing, tuple(problems)
    )


def _attempt(root: Path, item: Item) -> str | None:
    try:
        make(root, item)
    except FullyConvError as error:
        return str(error)
    return None


def _strangers(plan: Plan, root: Path) -> Iterator[str]:
    """Pictures that lie in the splits and belong to no item: of another run or data set."""
    names: dict[str, set[str]] = {}
    for item in plan.items:
        names.setdefault(item.split, set()).add(item.name)
    for split, known in names.items():
        there = {path.stem for path in (root / split / "images").glob("[!.]*")}
        others = sorted(there - known)
        if others:
            yield (
                f"{split} also holds {len(others)} pictures that are not of this data set's list "
                f"({shortened(others)})"
            )


def _finished(report: Report) -> Report:
    """Keep the full list of problems in a file, and raise if there are any."""
    path = report.root / PROBLEMS
    unmade = report.unmade()
    if not unmade:
        path.unlink(missing_ok=True)
        return report
    text = "".join(f"{line}\n" for line in unmade)
    write_whole(path, lambda file: file.write(text.encode()))
    raise FullyConvError(
        f"{len(unmade)} pictures could not be made; {path} names each. The others are there, and "
        f"the same call makes the rest once the source is complete\n{report}"
    )
