"""Photographs and films into a folder: what is finished passed over, the rest labelled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, TypeVar

from fullyconv.errors import FullyConvError
from fullyconv.prediction.augmented import AugmentedPredictor
from fullyconv.prediction.films.labelling import FilmPrediction, Tick, film_files, label_film
from fullyconv.prediction.films.reading import open_film
from fullyconv.prediction.journal import Journal, mark_of
from fullyconv.prediction.photos import Photo, kind_of
from fullyconv.prediction.pipeline import AHEAD, flow
from fullyconv.prediction.prediction import Output, Prediction, file_name
from fullyconv.prediction.predictor import Predictor
from fullyconv.prediction.rasters.labelling import RasterOptions, RasterResult, label_raster
from fullyconv.prediction.rasters.raster import is_raster
from fullyconv.prediction.sources import read_source
from fullyconv.prediction.tile_plan import Tiling
from fullyconv.preprocess import Pixels

_Result = TypeVar("_Result")
Report = Callable[[Path | str, _Result | FullyConvError, Sequence[Path], int, int], object]
"""Told of each photograph that is finished; see :func:`fullyconv.predict`."""
Say = Callable[[str], object]
"""Told of what will be done, before it is."""
_MANY = 16  # pictures; fewer are labelled before another engine has started
_MEMORY = 256 * 1024**2  # bytes of decoded pictures before the network, and likewise behind it


def is_film(photo: Photo) -> bool:
    """Whether a source has frames."""
    return kind_of(photo.path) in ("clip", "camera")


def is_read_by_rows(
    photo: Photo, predictor: Predictor | AugmentedPredictor, always: bool = False
) -> bool:
    """Whether a source is read by windows, and becomes a GeoTIFF.

    Of networks of bands, arrays are usual pictures.
    """
    if kind_of(photo.path) != "photo":
        return False
    bands = predictor.header.preprocess.bands
    return always or is_raster(photo.path, arrays=not bands)


def _said_of(made: RasterResult) -> str:
    """The blocks of a raster that could not be read, in a sentence."""
    blocks = [f"rows {a} to {b - 1}, columns {c} to {d - 1}" for a, b, c, d in made.damaged]
    return f"{'; '.join(blocks)} cannot be read, and are void in {made.files[0]}"


class Entry(NamedTuple):
    """A photograph, its number, and the mark it is recorded by: of before it was read."""

    number: int
    photo: Photo
    mark: str | None


@dataclass(frozen=True)
class Manner:
    """How a run goes about its sources; see :func:`fullyconv.predict`."""

    again: bool
    every: int
    drop: bool
    tiles: bool
    raster: RasterOptions
    tick: Tick | None
    say: Say | None


class Labelling:
    """A run through photographs and films into a folder.

    Args:
        predictor: Labels one picture.
        journal: Of the folder.
        kinds: What to write.
        total: How many photographs and films there are.
        report: Told of each, in order; see :func:`~fullyconv.predict`.
        manner: How.

    Attributes:
        failures: A sentence for each that could not be labelled.
    """

    def __init__(
        self,
        predictor: Predictor | AugmentedPredictor,
        journal: Journal,
        kinds: Sequence[Output],
        total: int,
        report: Report[Prediction | FilmPrediction | RasterResult | None] | None,
        manner: Manner,
    ) -> None:
        self.predictor, self.journal, self.kinds, self.total = predictor, journal, kinds, total
        self.report, self.manner = report, manner
        self.failures: list[str] = []
        self.number = 0
        self.without_polygons = False  # whether that was said
        self.heads = tuple(predictor.header.heads)

    def label(self, sources: Iterator[Photo]) -> None:
        """Label them all, in order."""
        for way, group in groupby(sources, self._way):
            if way is None:
                self.photos(group)
                continue
            for photo in group:
                way(photo)

    def _say_what_is_without_polygons(self, photo: Photo) -> None:
        say, options = self.manner.say, self.manner.raster
        if options.polygons and say is not None and not self.without_polygons:
            self.without_polygons = True
            say(
                f"{photo.path}: polygons are written of rasters, which are read by windows, alone; "
                "with --tiles photographs are read so"
            )

    def _way(self, photo: Photo) -> Callable[[Photo], None] | None:
        """What labels a source that is no photograph."""
        if is_film(photo):
            self._say_what_is_without_polygons(photo)
            return self.film
        by_rows = is_read_by_rows(photo, self.predictor, always=self.manner.tiles)
        if by_rows:
            return self.raster
        self._say_what_is_without_polygons(photo)
        return None

    def photos(self, photos: Iterator[Photo]) -> None:
        """Label still pictures."""
        bands = self.predictor.header.preprocess.bands

        def prepare(entry: Entry) -> Pixels | None:
            return None if self._is_finished(entry) else read_source(entry.photo.path, bands)

        def work(entry: Entry, pixels: Pixels | None) -> Prediction | None:
            try:
                return None if pixels is None else predictor(pixels)
            except FullyConvError as error:  # which does not know the file
                raise FullyConvError(f"{entry.photo.path}: {error}") from error

        def finish(entry: Entry, made: Prediction | None) -> Prediction | None:
            if made is not None:
                made = made.renamed(entry.photo.name)
                made.save(self.journal.out / entry.photo.folder, self.kinds)
            return made

        def room(pixels: Pixels | None) -> int:
            return AHEAD if pixels is None else _MEMORY // pixels.nbytes

        with self._side_by_side(self.total >= _MANY) as predictor:
            flow(
                self._entries(photos), prepare, work, finish, self._photo_done,
                beside=predictor.beside, room=room,
            )  # fmt: skip

    def _side_by_side(self, many: bool) -> AbstractContextManager[Predictor | AugmentedPredictor]:
        """The predictor; for several threads, if there are many pictures and none is waited for."""
        return self.predictor.side_by_side() if many else nullcontext(self.predictor)

    def film(self, photo: Photo) -> None:
        """Label a film."""
        every, drop, tick = self.manner.every, self.manner.drop, self.manner.tick
        (entry,) = self._entries(iter([photo]))
        entry = entry._replace(mark=entry.mark and f"{entry.mark} every {every}")
        if self._is_finished(entry):
            self._tell(entry, None, self._files(photo))
            return
        folder = self.journal.out / photo.folder
        try:
            film = open_film(photo.path)
            with self._side_by_side(not film.live) as predictor:
                done = label_film(
                    film, predictor, folder, photo.name, self.kinds,
                    every=every, drop=drop, beside=predictor.beside, tick=tick,
                )  # fmt: skip
        except FullyConvError as error:
            self._failed(entry, error)
        else:
            self._film_done(entry, *done)

    def raster(self, photo: Photo) -> None:
        """Label what is read by windows: a georeferenced raster, a picture too large to hold."""
        options, tick, say = self.manner.raster, self.manner.tick, self.manner.say
        (entry,) = self._entries(iter([photo]))
        entry = entry._replace(mark=entry.mark and f"{entry.mark} {options}")
        out = self.journal.out / photo.folder / f"{photo.name}-mask.tif"
        if not self.manner.again and self.journal.is_finished(entry.mark, [out]):
            self._tell(entry, None, [out])
            return
        rows = 0

        def before(tiling: Tiling, done: int) -> None:
            nonlocal rows
            rows = tiling.height
            if say is not None:
                say(f"{photo.path}: {tiling.describe()}")
                if done:
                    say(f"  {done} of {rows} rows were labelled before")

        def progress(done: int) -> None:
            if tick is not None:
                tick(done, rows, "row")

        if not isinstance(self.predictor, Predictor):
            said = f"{photo.path} is read by windows; --flip and --scales are for photographs"
            self._failed(entry, FullyConvError(said))
            return
        try:
            made = label_raster(
                photo.path, self.predictor, out, options, before=before, progress=progress
            )
        except FullyConvError as error:
            self._failed(entry, error)
            return
        if made.damaged:
            self._failed(entry, FullyConvError(f"{photo.path}: {_said_of(made)}"))
            return
        self.journal.add(
            photo,
            entry.mark,
            {"height": rows, "width": made.width, "files": [str(file) for file in made.files]},
        )
        self._tell(entry, made, made.files)

    def _entries(self, photos: Iterator[Photo]) -> Iterator[Entry]:
        for photo in photos:
            self.number += 1
            yield Entry(self.number, photo, mark_of(photo))

    def _is_finished(self, entry: Entry) -> bool:
        files = self._files(entry.photo)
        return not self.manner.again and self.journal.is_finished(entry.mark, files)

    def _files(self, photo: Photo) -> list[Path]:
        """What is written for a photograph or film."""
        folder = self.journal.out / photo.folder
        names = [photo.name, *(f"{photo.name}-{head}" for head in self.heads)]
        if is_film(photo):
            return [folder / file for name in names for file in film_files(name, self.kinds)]
        return [folder / file_name(name, kind) for name in names for kind in self.kinds]

    def _photo_done(self, entry: Entry, made: Prediction | FullyConvError | None) -> None:
        files = self._files(entry.photo)
        if isinstance(made, FullyConvError):
            self._failed(entry, made)
            return
        if made is None:
            self._tell(entry, None, files)
            return
        said = {**made.facts(), "files": [str(file) for file in files]}
        self.journal.add(entry.photo, entry.mark, said)
        self._tell(entry, made, files)

    def _film_done(self, entry: Entry, film: FilmPrediction, files: list[Path]) -> None:
        said = {
            "height": film.height,
            "width": film.width,
            "frames": film.frames,
            "dropped": film.dropped,
            "damaged": film.damaged,
            "trouble": film.trouble,
            "seconds": film.seconds,
            "shares": film.shares(),
            "files": [str(file) for file in files],
        }
        self.journal.add(entry.photo, entry.mark, said)
        self._tell(entry, film, files)

    def _failed(self, entry: Entry, error: FullyConvError) -> None:
        self.failures.append(str(error))
        self.journal.fail(entry.photo, error)
        self._tell(entry, error, [])

    def _tell(
        self,
        entry: Entry,
        result: Prediction | FilmPrediction | RasterResult | FullyConvError | None,
        files: Sequence[Path],
    ) -> None:
        if self.report is not None:
            self.report(entry.photo.path, result, files, entry.number, self.total)
