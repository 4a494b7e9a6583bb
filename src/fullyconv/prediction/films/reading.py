"""The frames of a film: of a file through PyAV, of a camera through OpenCV."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError
from fullyconv.prediction.photos import kind_of

# FFmpeg also knows lists that name other files, which a film of strangers may be in truth
_CONTAINERS = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg"


@dataclass(frozen=True)
class Frame:
    """One picture of a film.

    Attributes:
        number: How many came before it.
        time: When it is shown, in seconds.
        pixels: (H, W, 3) uint8, RGB, upright.
    """

    number: int
    time: Fraction
    pixels: NDArray[np.uint8] = field(repr=False)


class Film(Protocol):
    """Frames in the order of their time.

    Attributes:
        live: Frames come when they come; who is late misses them.
        rate: Frames per second, on average.
        unit: Step of the time stamps in seconds.
        count: Frames there are; 0 where that is not known.
        made: Frames that were decoded so far.
        damaged: Those among them, or missing from them, that are damaged.
        trouble: What ended the film before its end; empty otherwise.
    """

    live: bool
    rate: Fraction
    unit: Fraction
    count: int
    made: int
    damaged: int
    trouble: str

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """Each ``every``-th frame, from the first on; once."""
        ...


def open_film(source: str | os.PathLike[str]) -> Film:
    """The film in a file, or of a camera (``camera:0``).

    Raises:
        FullyConvError: If it cannot be opened, or PyAV (OpenCV for cameras) is not installed.
    """
    if kind_of(os.fspath(source)) == "camera":
        return Camera(int(os.fspath(source).partition(":")[2]))
    return FilmFile(source)


def import_av() -> Any:
    """PyAV.

    Raises:
        FullyConvError: If it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise FullyConvError(
            'films need PyAV, which is not installed; run pip install "fullyconv[video]"'
        ) from error
    av.logging.set_level(av.logging.PANIC)  # what is wrong is said by us, once
    return av


class FilmFile:
    """A film in a file; see :class:`Film`.

    Time stamps are the file's, so those of a varying frame rate are kept; a rotation that the file
    asks for is done. A damaged frame is counted, and the next one that decodes goes on.
    """

    live = False

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path, self._av = path, import_av()
        try:
            self._container = self._av.open(
                os.fspath(path), options={"format_whitelist": _CONTAINERS}
            )
        except FileNotFoundError as error:
            raise FullyConvError(f"{path}: there is no such file") from error
        except (OSError, ValueError, self._av.FFmpegError) as error:
            raise FullyConvError(f"{path}: this is not a film that can be read") from error
        streams = self._container.streams.video
        if not streams:
            self._container.close()
            raise FullyConvError(f"{path}: this file holds no pictures, only sound or text")
        self._stream = streams[0]
        self.rate = Fraction(self._stream.average_rate or self._stream.guessed_rate or 25)
        self.unit = Fraction(self._stream.time_base or 1 / self.rate)
        self.count = int(self._stream.frames)
        self._length = self._said_length()
        self.made = self.damaged = 0
        self.trouble = ""

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """Each ``every``-th frame that decodes, from the first on; once.

        Raises:
            FullyConvError: If there is none.
        """
        at = Fraction(0)
        try:
            for frame in self._decoded():
                number = self.made
                self.made += 1
                self.damaged += bool(frame.is_corrupt)
                at = number / self.rate
                if frame.pts is not None and frame.time_base is not None:
                    at = frame.pts * Fraction(frame.time_base)
                if number % every == 0:
                    pixels = frame.to_ndarray(format="rgb24")
                    # degrees against the clock, as the rotation of the display matrix
                    yield Frame(number, at, np.rot90(pixels, round(frame.rotation / 90)))
        finally:
            self._container.close()
        if not self.made:
            raise FullyConvError(f"{self.path}: no frame of this film can be read")
        missing = self._length - at  # seconds; a last frame may be shown for a while
        if missing > max(1, self._length / 20) and not self.trouble:
            self.trouble = f"it ends after {float(at):.1f} of {self._length:.1f} seconds"

    def _said_length(self) -> float:
        """Seconds that the file says it lasts; 0 where it does not say so of its pictures."""
        stream, container = self._stream, self._container
        if stream.duration is not None:
            return float(((stream.start_time or 0) + stream.duration) * self.unit)
        alone = len(container.streams) == 1  # sound may last longer
        return container.duration / 1_000_000 if container.duration and alone else 0.0

    def _decoded(self) -> Iterator[Any]:
        if self._stream.codec_context is None:  # decoding would crash PyAV 14 to 17
            raise FullyConvError(
                f"{self.path}: the FFmpeg of this PyAV cannot decode this film; convert it"
            )
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (OSError, ValueError, self._av.FFmpegError) as error:
                self.trouble = f"it is cut short after {self.made} frames ({error})"
                return
            if packet is None:
                return
            try:
                decoded = packet.decode()
            except (OSError, ValueError, self._av.FFmpegError):
                self.damaged += 1
                continue
            yield from decoded


class Camera:
    """A camera of this machine; see :class:`Film`. Its frames are stamped when they arrive.

    Args:
        index: 0 is the first camera.
    """

    live = True
    unit = Fraction(1, 1000)
    count = 0

    def __init__(self, index: int) -> None:
        try:
            import cv2
        except ImportError as error:
            raise FullyConvError(
                'cameras need OpenCV, which is not installed; run pip install "fullyconv[video]"'
            ) from error
        self._name = f"camera:{index}"
        self._capture = cv2.VideoCapture(index)
        if not self._capture.isOpened():
            raise FullyConvError(
                f"{self._name}: cannot be opened; check that it is plugged in, that no other "
                "program uses it, and its number (0 is the first)"
            )
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = Fraction(rate).limit_denominator(1001) if 1 <= rate <= 1000 else Fraction(30)
        self.made = self.damaged = 0
        self.trouble = ""

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """Each ``every``-th frame until the camera gives none.

        Raises:
            FullyConvError: If it never gave any.
        """
        started = time.monotonic()
        try:
            while True:
                given, pixels = self._capture.read()
                if not given:
                    break
                number = self.made
                self.made += 1
                if number % every == 0:
                    at = Fraction(round(1000 * (time.monotonic() - started)), 1000)
                    yield Frame(number, at, np.ascontiguousarray(pixels[..., ::-1]))
        finally:
            self._capture.release()
        if not self.made:
            raise FullyConvError(f"{self._name}: gives no picture; another program may use it")
        self.trouble = f"it gave no picture after {self.made} frames"
