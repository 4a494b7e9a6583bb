"""Films: read back with PyAV alone, and labelled as their frames are one by one."""

from __future__ import annotations

import json
import struct
import sys
import threading
import time
import types
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError, UsageError
from fullyconv.labels import CAMVID
from fullyconv.prediction.films import reading as film_reading
from fullyconv.prediction.films.labelling import FilmPrediction, label_film
from fullyconv.prediction.films.reading import Camera, FilmFile, Frame, open_film
from fullyconv.prediction.films.writing import FilmWriter
from fullyconv.prediction.predicting import predict
from fullyconv.prediction.prediction import Prediction
from fullyconv.prediction.predictor import Predictor
from fullyconv.scores import Scores

av = pytest.importorskip("av")
Pixels = NDArray[np.uint8]


def blocks(count: int, height: int = 48, width: int = 64) -> list[Pixels]:
    """Frames of coloured blocks, all different."""
    rng = np.random.default_rng(7)
    cells = rng.integers(0, 256, (count, -(-height // 16), -(-width // 16), 3)).astype(np.uint8)
    return [c.repeat(16, 0).repeat(16, 1)[:height, :width] for c in cells]


def write_film(
    path: Path,
    frames: Sequence[Pixels],
    codec: str = "ffv1",
    pix_fmt: str = "bgr0",
    times: Sequence[int] | None = None,
    **options: str,
) -> Path:
    """A film by PyAV: time stamps in milliseconds, 10 frames per second unless told."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = times[number] if times else 100 * number
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read_film(path: Path, kind: str = "rgb24") -> tuple[list[NDArray[Any]], list[float]]:
    """Frames and times of a film, by PyAV."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [f.to_ndarray(format=kind) for f in frames], [f.time for f in frames]


def threshold(pixels: Pixels) -> Prediction:
    """A network of a kind: of each pixel the class is its red value times 11 / 256."""
    labels = pixels[..., 0].astype(int) * 11 // 256
    scores = np.eye(11, dtype=np.float32)[:, labels]
    return Prediction(pixels, Scores.of(scores), CAMVID)


def test_a_lossless_film_is_read_exactly(tmp_path: Path) -> None:
    frames = blocks(5)
    film = open_film(write_film(tmp_path / "a.mkv", frames))
    got = list(film.frames())
    assert [f.number for f in got] == [0, 1, 2, 3, 4]
    assert [f.time for f in got] == [Fraction(n, 10) for n in range(5)]
    for frame, pixels in zip(got, frames, strict=True):
        np.testing.assert_array_equal(frame.pixels, pixels)
    assert (film.made, film.damaged, film.trouble, film.rate) == (5, 0, "", Fraction(10))


def test_frames_are_labelled_as_photographs_are(small_model: Path, tmp_path: Path) -> None:
    """The mask film holds, pixel for pixel, what the predictor says of each frame alone."""
    frames = blocks(4, 37, 51)
    clip = write_film(tmp_path / "drive.mkv", frames)
    results: list[FilmPrediction] = []
    ticks: list[tuple[int, int, str]] = []

    def report(path: Path | str, result: object, files: Sequence[Path], *_: int) -> None:
        assert isinstance(result, FilmPrediction)
        results.append(result)
        assert [f.name for f in files] == ["drive-mask.mkv", "drive-overlay.mp4"]

    out = tmp_path / "out"
    assert not predict(
        clip, model=small_model, out=out, report=report, tick=lambda *t: ticks.append(t)
    )
    masks, times = read_film(out / "drive-mask.mkv", "gray")
    predictor = Predictor(small_model)
    labels = [predictor(pixels).labels for pixels in frames]
    np.testing.assert_array_equal(masks, labels)
    assert times == pytest.approx([0, 0.1, 0.2, 0.3])
    assert [done for done, *_ in ticks] == [1, 2, 3, 4]
    overlays, times = read_film(out / "drive-overlay.mp4")
    assert len(overlays) == 4
    assert times == pytest.approx([0, 0.1, 0.2, 0.3])
    assert overlays[0].shape[0] == 38  # even
    assert overlays[0].shape[1] > 51  # the legend
    (result,) = results
    assert (result.height, result.width, result.frames) == (37, 51, 4)
    share = {n: np.mean(np.array(labels) == i) for i, n in enumerate(CAMVID.categories)}
    assert result.shares() == pytest.approx({n: s for n, s in share.items() if s})
    (line,) = json.loads((out / "predictions.json").read_text())["photos"]
    assert line["frames"] == 4
    assert sorted(p.name for p in out.iterdir()) == [
        "drive-mask.mkv", "drive-overlay.mp4", "predictions.json", "predictions.jsonl",
    ]  # fmt: skip


def test_every_head_has_its_films(two_heads: Path, tmp_path: Path) -> None:
    frames = blocks(2)
    clip = write_film(tmp_path / "a.mkv", frames)
    results: list[object] = []

    def report(path: Path | str, result: object, *_: object) -> None:
        results.append(result)

    for _ in range(2):
        predict(clip, model=two_heads, out=tmp_path / "out", save="mask", report=report)
    assert [result is None for result in results] == [False, True]
    masks, _ = read_film(tmp_path / "out" / "a-geometric-mask.mkv", "gray")
    predictor = Predictor(two_heads)
    said = [predictor(pixels).heads["geometric"].labels for pixels in frames]
    np.testing.assert_array_equal(masks, said)


def test_an_overlay_film_shows_the_overlay(tmp_path: Path) -> None:
    frames = blocks(3)
    film = open_film(write_film(tmp_path / "a.mkv", frames))
    _, files = label_film(film, threshold, tmp_path, "a", ["overlay", "color"])
    for shown, pixels in zip(read_film(files[0])[0], frames, strict=True):
        difference = np.abs(shown[:, :64].astype(int) - threshold(pixels).overlay())
        assert difference.mean() < 12  # colours are coarser in H.264
    colors = read_film(files[1])[0]
    assert colors[0].shape == (48, 64, 3)


def test_varying_frame_rates_keep_their_time_stamps(tmp_path: Path) -> None:
    times = [0, 40, 80, 500, 503, 1200]
    clip = write_film(tmp_path / "a.mkv", blocks(6), times=times)
    _, files = label_film(open_film(clip), threshold, tmp_path, "a", ["mask", "overlay"])
    for file in files:
        assert [round(1000 * t) for t in read_film(file)[1]] == times


def test_each_third_frame(tmp_path: Path) -> None:
    frames = blocks(8)
    film = open_film(write_film(tmp_path / "a.mkv", frames))
    result, (mask,) = label_film(film, threshold, tmp_path, "a", ["mask"], every=3)
    masks, times = read_film(mask, "gray")
    np.testing.assert_array_equal(masks, [threshold(frames[n]).labels for n in (0, 3, 6)])
    assert times == pytest.approx([0, 0.3, 0.6])
    assert (result.frames, result.dropped, round(result.seconds, 3)) == (3, 0, 0.6)


@pytest.mark.parametrize(
    ("matrix", "turns"),
    # a, b, c, d of the track header's matrix (ISO 14496-12, 8.3.2): x' = ax + cy, y' = bx + dy,
    # with y downwards: (0, 1, -1, 0) turns a quarter with the clock
    [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)],
)
def test_a_rotation_is_done(tmp_path: Path, matrix: tuple[int, ...], turns: int) -> None:
    frames = blocks(2)
    clip = write_film(tmp_path / "a.mp4", frames, "libx264", "yuv420p", crf="1")
    plain = read_film(clip)[0]
    content = bytearray(clip.read_bytes())
    at = content.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of other things
    assert struct.unpack(">9i", content[at : at + 36])[0] == 1 << 16
    a, b, c, d = (value << 16 for value in matrix)
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    clip.write_bytes(content)
    for frame, pixels in zip(open_film(clip).frames(), plain, strict=True):
        np.testing.assert_array_equal(frame.pixels, np.rot90(pixels, turns))


def test_a_broken_frame_is_said_and_the_rest_is_done(tmp_path: Path) -> None:
    frames = blocks(9)
    clip = write_film(tmp_path / "a.mov", frames, "png", "rgb24")
    content = bytearray(clip.read_bytes())
    signature, at = b"\x89PNG\r\n", 0
    for _ in range(5):
        at = content.index(signature, at + 1)
    content[at : at + 6] = b"broken"
    clip.write_bytes(content)
    result, (mask,) = label_film(open_film(clip), threshold, tmp_path, "b", ["mask"])
    assert (result.frames, result.damaged) == (8, 1)
    masks = read_film(mask, "gray")[0]
    rest = [threshold(p).labels for n, p in enumerate(frames) if n != 4]
    np.testing.assert_array_equal(masks, rest)


def test_a_film_that_is_cut_short_is_done_up_to_there(tmp_path: Path) -> None:
    frames = blocks(40)
    clip = write_film(tmp_path / "a.mkv", frames)
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 2])
    result, (mask,) = label_film(open_film(clip), threshold, tmp_path, "b", ["mask"])
    assert 5 <= result.frames < 30
    assert "of 4.0 seconds" in result.trouble
    np.testing.assert_array_equal(
        read_film(mask, "gray")[0], [threshold(p).labels for p in frames[: result.frames]]
    )


def test_a_film_that_cannot_be_read_on_is_done_up_to_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = FilmFile(write_film(tmp_path / "a.mkv", blocks(5)))
    packets = list(film._container.demux(film._stream))

    def failing(_: object) -> Iterator[Any]:
        yield from packets[:3]
        raise OSError(5, "Input/output error")

    container = types.SimpleNamespace(demux=failing, close=film._container.close)
    monkeypatch.setattr(film, "_container", container)
    assert len(list(film.frames())) == 3
    assert film.trouble == "it is cut short after 3 frames ([Errno 5] Input/output error)"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_what_is_cut_off_while_it_is_written_plays(tmp_path: Path, suffix: str) -> None:
    """As after a kill: the file as it is before it is closed."""
    writer = FilmWriter(tmp_path / f"a{suffix}", Fraction(10), Fraction(1, 1000))
    rng = np.random.default_rng(0)
    for number in range(100):
        pixels = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
        if suffix == ".mkv":
            pixels = pixels[..., 0].copy()
        writer.write(pixels, Fraction(number, 10))
    (part,) = tmp_path.iterdir()
    assert part.name == f"a.part{suffix}"
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(part.read_bytes())
    film = FilmFile(cut)
    assert len(list(film.frames())) >= 10
    writer.close()
    assert not part.exists()
    assert len(read_film(tmp_path / f"a{suffix}")[0]) == 100


def test_a_film_that_fails_keeps_what_was_written(tmp_path: Path) -> None:
    clip = write_film(tmp_path / "a.mkv", blocks(6))
    seen: list[int] = []

    def network(pixels: Pixels) -> Prediction:
        seen.append(1)
        if len(seen) == 4:
            raise FullyConvError("too little memory")
        return threshold(pixels)

    with pytest.raises(FullyConvError, match="too little memory"):
        label_film(open_film(clip), network, tmp_path, "b", ["mask"])
    assert len(read_film(tmp_path / "b-mask.part.mkv", "gray")[0]) == 3
    assert not (tmp_path / "b-mask.mkv").exists()


def test_frames_of_another_size_are_fitted(tmp_path: Path) -> None:
    with FilmWriter(tmp_path / "a.mkv", Fraction(10), Fraction(1, 1000)) as writer:
        writer.write(np.full((4, 6), 7, np.uint8), Fraction(0))
        writer.write(np.full((8, 8), 9, np.uint8), Fraction(0))  # and at a time that is taken
    frames, times = read_film(tmp_path / "a.mkv", "gray")
    assert [f.tolist() for f in frames] == [[[7] * 6] * 4, [[9] * 6] * 4]
    assert times == pytest.approx([0, 0.001])


def test_many_classes_are_kept_in_16_bits(tmp_path: Path) -> None:
    ids = np.array([[0, 300], [65535, 256]], np.uint16)
    with FilmWriter(tmp_path / "a.mkv", Fraction(10), Fraction(1, 1000)) as writer:
        writer.write(ids, Fraction(0))
    np.testing.assert_array_equal(read_film(tmp_path / "a.mkv", "gray16le")[0], [ids])


def test_what_is_no_film_is_refused(tmp_path: Path, small_model: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no film" * 100)
    with pytest.raises(FullyConvError, match=r"a.mp4: this is not a film that can be read"):
        open_film(tmp_path / "a.mp4")
    with pytest.raises(FullyConvError, match=r"b.mp4: there is no such file"):
        open_film(tmp_path / "b.mp4")
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(
            np.zeros((1, 800), np.int16), format="s16", layout="mono"
        )
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(FullyConvError, match=r"sound.mkv: this file holds no pictures"):
        open_film(tmp_path / "sound.mkv")
    clip = write_film(tmp_path / "c.mkv", blocks(1))
    (failure,) = predict([tmp_path / "b.mp4", clip], model=small_model, out=tmp_path / "out")
    assert "b.mp4: there is no such file" in failure
    assert (tmp_path / "out" / "c-mask.mkv").exists()
    with pytest.raises(UsageError, match="probs are not written of films"):
        predict([clip], model=small_model, out=tmp_path / "no", save="mask,probs")
    assert not (tmp_path / "no").exists()


def test_a_film_without_a_frame_is_an_error(tmp_path: Path) -> None:
    clip = write_film(tmp_path / "a.mov", blocks(1), "png", "rgb24")
    clip.write_bytes(clip.read_bytes().replace(b"\x89PNG", b"....."[:4]))
    with pytest.raises(FullyConvError, match=r"a.mov: no frame of this film can be read"):
        label_film(open_film(clip), threshold, tmp_path, "b", ["mask"])


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FullyConvError, match=r"file/a.mkv: cannot be written"):
        FilmWriter(tmp_path / "file" / "a.mkv", Fraction(10), Fraction(1, 1000))


def test_a_finished_film_is_passed_over(tmp_path: Path, small_model: Path) -> None:
    clip = write_film(tmp_path / "a.mkv", blocks(2))
    results: list[object] = []

    def report(path: Path | str, result: object, *_: object) -> None:
        results.append(result)

    settings: list[dict[str, Any]] = [{}, {}, {"again": True}, {"every": 2}, {"every": 2}]
    for setting in settings:
        predict(clip, model=small_model, out=tmp_path / "out", report=report, **setting)
    assert [result is None for result in results] == [False, True, False, False, True]


class FakeCapture:
    """What OpenCV shows of a camera that gives 200 frames a second, 40 in all."""

    frames, released = 40, 0

    def __init__(self, index: int) -> None:
        self.index, self.left = index, self.frames

    def isOpened(self) -> bool:
        return self.index == 0

    def get(self, what: int) -> float:
        return 0.0

    def read(self) -> tuple[bool, Pixels | None]:
        if not self.left:
            return False, None
        time.sleep(0.005)
        self.left -= 1
        pixels = np.zeros((16, 16, 3), np.uint8)
        pixels[..., 0], pixels[..., 2] = 250, self.left  # blue, red
        return True, pixels

    def release(self) -> None:
        FakeCapture.released += 1


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera, but no OpenCV."""
    fake = types.SimpleNamespace(VideoCapture=FakeCapture, CAP_PROP_FPS=5)
    monkeypatch.setitem(sys.modules, "cv2", fake)


def slow(pixels: Pixels) -> Prediction:
    time.sleep(0.03)
    return threshold(pixels)


@pytest.mark.usefixtures("camera")
def test_a_camera_gives_rgb_and_is_released() -> None:
    film = open_film("camera:0")
    assert isinstance(film, Camera)
    frames = list(film.frames(every=10))
    assert [f.number for f in frames] == [0, 10, 20, 30]
    assert frames[0].pixels[0, 0].tolist() == [39, 0, 250]
    assert FakeCapture.released == 1
    assert film.rate == 30
    with pytest.raises(FullyConvError, match="camera:1: cannot be opened"):
        open_film("camera:1")


@pytest.mark.usefixtures("camera")
def test_a_slow_network_drops_frames_of_a_camera_or_queues_them(tmp_path: Path) -> None:
    late: list[float] = []

    def network(pixels: Pixels) -> Prediction:
        late.append(39 - film.made - int(pixels[0, 0, 0]) + 1)
        return slow(pixels)

    film = open_film("camera:0")
    result, (mask,) = label_film(film, network, tmp_path, "a", ["mask"])
    assert 3 <= result.frames < 25
    assert result.dropped == 40 - result.frames
    assert max(-number for number in late) <= 15  # frames behind the camera; queued ones are 30
    times = read_film(mask, "gray")[1]
    assert times == sorted(times)
    assert times[-1] < 3
    film = open_film("camera:0")
    result, _ = label_film(film, slow, tmp_path, "b", ["mask"], drop=False)
    assert (result.frames, result.dropped) == (40, 0)


@pytest.mark.usefixtures("camera")
def test_a_camera_that_gives_nothing_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(FakeCapture, "frames", 0)
    with pytest.raises(FullyConvError, match="camera:0: gives no picture"):
        label_film(open_film("camera:0"), threshold, tmp_path, "a", ["mask"])


@pytest.mark.usefixtures("camera")
def test_ctrl_c_ends_a_camera_with_a_whole_film(tmp_path: Path) -> None:
    def network(pixels: Pixels) -> Prediction:
        if pixels[0, 0, 0] < 20:
            raise KeyboardInterrupt
        return threshold(pixels)

    before = threading.active_count()
    result, (mask,) = label_film(
        open_film("camera:0"), network, tmp_path, "a", ["mask"], drop=False
    )
    assert 15 <= result.frames <= 20
    assert len(read_film(mask, "gray")[0]) == result.frames
    time.sleep(0.05)
    assert threading.active_count() <= before + 1  # the pool's thread may take a moment


def test_ctrl_c_keeps_the_part_of_a_film(tmp_path: Path) -> None:
    def network(pixels: Pixels) -> Prediction:
        if len(seen) == 5:
            raise KeyboardInterrupt
        seen.append(1)
        return threshold(pixels)

    seen: list[int] = []
    clip = write_film(tmp_path / "a.mkv", blocks(9))
    with pytest.raises(KeyboardInterrupt):
        label_film(open_film(clip), network, tmp_path, "b", ["mask"])
    assert len(read_film(tmp_path / "b-mask.part.mkv", "gray")[0]) == 5


@pytest.mark.parametrize(("module", "source"), [("av", "a.mp4"), ("cv2", "camera:0")])
def test_a_missing_library_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, source: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(FullyConvError, match=r"not installed; run pip install .fullyconv\[video\]"):
        film_reading.open_film(source)


def test_settings_that_make_no_sense(tmp_path: Path, small_model: Path) -> None:
    with pytest.raises(UsageError, match="every is 0"):
        predict("a.mp4", model=small_model, out=tmp_path, every=0)
    with pytest.raises(UsageError, match="frames is 'all'; it is drop or queue"):
        predict("a.mp4", model=small_model, out=tmp_path, frames="all")


def test_memory_stays_flat_over_a_long_film(tmp_path: Path) -> None:
    """No more frames are under way than the queues hold."""

    class Endless:
        live, rate, unit, count = False, Fraction(10), Fraction(1, 1000), 0
        made = damaged = 0
        trouble = ""
        most = 0

        def frames(self, every: int = 1) -> Iterator[Frame]:
            for number in range(200):
                self.made += 1
                self.most = max(self.most, self.made - len(done))
                yield Frame(number, Fraction(number, 10), np.zeros((8, 8, 3), np.uint8))

    done: list[int] = []
    film = Endless()
    label_film(film, threshold, tmp_path, "a", ["mask"], tick=lambda n, *_: done.append(n))
    assert len(done) == 200
    assert film.most <= 8 + 8 + 8 + 3  # read ahead, before the network, and behind it


@pytest.mark.parametrize("when", ["write", "close"])
def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    writer = FilmWriter(tmp_path / "a.mp4", Fraction(10), Fraction(1, 1000))
    pixels = blocks(1)[0]
    writer.write(pixels, Fraction(0))

    class Full:
        """A stream whose packets find no room."""

        height, width = pixels.shape[:2]

        def encode(self, frame: object) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "_stream", Full())
    call = partial(writer.write, pixels, Fraction(1)) if when == "write" else writer.close
    with pytest.raises(FullyConvError, match=r"a.mp4: cannot be written \(No space left"):
        call()
    writer.close(complete=False)  # something else is on its way up: nothing more is raised
    assert not (tmp_path / "a.mp4").exists()


def test_without_x264_another_encoder_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with FilmWriter(tmp_path / "a.mp4", Fraction(10), Fraction(1, 1000)) as writer:
        for number, pixels in enumerate(blocks(3)):
            writer.write(pixels, Fraction(number, 10))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
        assert len(list(container.decode(video=0))) == 3
