"""A film, written frame by frame: H.264 to look at, FFV1 that keeps class ids exactly."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError
from fullyconv.prediction.films.reading import import_av

# Fragments are complete when they are written: a film that is cut off plays up to there.
_FLUSHED = {"flush_packets": "1"}
_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof", **_FLUSHED}
_SECONDS = 2  # between key frames, which is also what a fragment holds
# x264 at its usual quality; its faster half, as the network needs the processor too; without
# frames that wait for later ones, as a fragmented film cannot say that its first one is late
_H264 = {"crf": "20", "preset": "veryfast", "bf": "0"}


class FilmWriter:
    """A film that is being written; use it with ``with``.

    Until it is complete the film has ``.part`` in its name; it plays nevertheless.

    Args:
        path: ``.mp4`` for pictures (H.264, not exact), ``.mkv`` for class ids (FFV1, exact).
        rate: Frames per second, on average.
        unit: Step of the time stamps in seconds; Matroska knows only milliseconds.

    Raises:
        FullyConvError: If it cannot be written, or PyAV is not installed.
    """

    def __init__(self, path: Path, rate: Fraction, unit: Fraction) -> None:
        self.path, self.rate, self.unit = path, rate, unit
        self.part = path.with_name(f"{path.stem}.part{path.suffix}")
        self._av, self._last = import_av(), -1
        self._stream: Any = None  # until the first frame says how large it is
        exact = path.suffix == ".mkv"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._container = self._av.open(
                str(self.part), "w", options=_FLUSHED if exact else _FRAGMENTS
            )
        except (OSError, ValueError) as error:
            raise self._unwritable(error) from error

    def __enter__(self) -> FilmWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close(complete=kind is None)

    def write(self, pixels: NDArray[Any], time: Fraction) -> None:
        """Add a frame.

        Args:
            pixels: (H, W, 3) uint8, or for class ids (H, W) uint8 or uint16; the first frame's size
                is the film's.
            time: When it is shown, in seconds; later than the one before.

        Raises:
            FullyConvError: If it cannot be written.
        """
        if pixels.ndim == 3:
            pixels = _even(pixels)
            kind = "rgb24"
        else:
            kind = "gray" if pixels.dtype == np.uint8 else "gray16le"
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=kind)
        try:
            if self._stream is None:
                self._stream = self._open_stream(frame.width, frame.height, kind)
            size = self._stream.width, self._stream.height
            if (frame.width, frame.height) != size:
                frame = frame.reformat(*size, interpolation="POINT")
            self._last = max(self._last + 1, round(time / self.unit))
            frame.pts, frame.time_base = self._last, self.unit
            self._container.mux(self._stream.encode(frame))
        except (OSError, ValueError) as error:
            raise self._unwritable(error) from error

    def _open_stream(self, width: int, height: int, kind: str) -> Any:
        if self.path.suffix == ".mkv":
            stream = self._container.add_stream("ffv1", rate=self.rate)
            stream.pix_fmt = kind
        else:
            names = self._av.codecs_available
            codec = "libx264" if "libx264" in names else "mpeg4"
            options = _H264 if codec == "libx264" else {}
            stream = self._container.add_stream(codec, rate=self.rate, options=options)
            stream.pix_fmt = "yuv420p"
            stream.codec_context.gop_size = max(1, round(_SECONDS * self.rate))
        stream.width, stream.height = width, height
        stream.codec_context.time_base = self.unit
        return stream

    def close(self, complete: bool = True) -> None:
        """Write what is left; a complete film gets its name.

        Raises:
            FullyConvError: If it cannot be written.
        """
        try:
            with contextlib.closing(self._container):
                if self._stream is not None:
                    self._container.mux(self._stream.encode(None))
            if complete and self._stream is not None:
                self.part.replace(self.path)
        except (OSError, ValueError) as error:
            if complete:  # else something else is on its way up
                raise self._unwritable(error) from error

    def _unwritable(self, error: Exception) -> FullyConvError:
        said = getattr(error, "strerror", None) or error
        return FullyConvError(
            f"{self.path}: cannot be written ({said}); check the folder, its permissions and the "
            "free space"
        )


def _even(pixels: NDArray[Any]) -> NDArray[Any]:
    """Pixels of even height and width, as H.264 has colour for blocks of 2 x 2; white is added."""
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), constant_values=255)
    return pixels
