"""What the fuzzer (make fuzz) found: files that were not refused in one sentence, once more."""

from __future__ import annotations

import json
import random
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exported import NETWORKS, checkpoint, header_of
from fullyconv.bands import read_bands
from fullyconv.checkpoint import load_model, read_header
from fullyconv.config import Recipe
from fullyconv.data.prepare.archives import is_archive
from fullyconv.data.sources import read_label_space
from fullyconv.errors import FullyConvError
from fullyconv.prediction.photos import list_photos
from fullyconv.recipe_file import read_recipe, typed
from fullyconv.recipes import recipe
from fuzz import prepared, run
from fuzz_targets import TARGETS
from mutations import mutate


def with_network(path: Path, **changes: Any) -> Path:
    """A checkpoint whose header says something else of its network."""
    content = checkpoint("tiny").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    inner = json.loads(header["__metadata__"]["fullyconv"])
    inner["model"] |= changes
    header["__metadata__"]["fullyconv"] = json.dumps(inner)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": 7}, "its header is not readable: backbone is 7, but must be of type"),
        ({"stride": 8.5}, "its header is not readable: stride is 8.5, but must be of type"),
        ({"skip_scale": [1, 2, 3]}, "its header is not readable: skip_scale is .1, 2, 3."),
        ({"heads": "ab"}, "its header is not readable: heads is 'ab'"),
        ({"num_classes": 10**30}, "there is no network as in its header"),
        ({"in_channels": 2**53}, "there is no network as in its header"),
        ({"width": 16}, "weights do not fit the network in its header"),
    ],
)
def test_a_header_may_state_any_network(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    """It is built without memory first, however large it is said to be."""
    with pytest.raises(FullyConvError, match=message):
        load_model(with_network(tmp_path / "a.safetensors", **changes))


def test_settings_nested_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" * 100_000)
    with pytest.raises(FullyConvError, match="is no recipe: not JSON"):
        read_recipe(path)
    with pytest.raises(FullyConvError, match="cannot be read as JSON"):
        read_label_space(path)


def test_a_choice_of_another_type() -> None:
    values = recipe("finetune").to_dict()
    values["model"]["backbone"] = 3
    with pytest.raises(FullyConvError, match=r"model\.backbone is 3, but must be of type"):
        typed(Recipe, values)


@pytest.mark.parametrize("line", ["b/**c*.png", "a*" + "9" * 4000])
def test_lines_of_a_list_that_are_no_paths(tmp_path: Path, line: str) -> None:
    (tmp_path / "list.txt").write_text(line)
    with pytest.raises(FullyConvError, match="no path or pattern|cannot be read|no file fits"):
        list(list_photos([tmp_path / "list.txt"]))


def test_an_archive_cut_off_while_it_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(range(256)))
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "a", "a")
    (tmp_path / "a.tar.gz").write_bytes((tmp_path / "a.tar.gz").read_bytes()[:63])
    with pytest.raises(FullyConvError, match="the archive is damaged or cut short"):
        is_archive(tmp_path / "a.tar.gz")


def numpy_file(path: Path, header: bytes) -> Path:
    path.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(64))
    return path


@pytest.mark.parametrize("header", [b"{'descr': '<u1', 'shape': (", b"", b"9" * 5000, b"(" * 3000])
def test_arrays_with_no_header(tmp_path: Path, header: bytes) -> None:
    path = numpy_file(tmp_path / "a.npy", header)
    with pytest.raises(FullyConvError, match="cannot be read as a NumPy array"):
        read_bands(path)


def test_an_archive_of_arrays_under_the_name_of_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    path = (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(FullyConvError, match="is an archive of arrays"):
        read_bands(path)


def test_a_picture_that_refers_to_other_files(tmp_path: Path) -> None:
    """GDAL goes by content: what is called .tif may name any file, or an address of the web."""
    rasterio = pytest.importorskip("rasterio")
    from affine import Affine

    from fullyconv.data.raster_tiles import cut_tiles
    from fullyconv.prediction.rasters.raster import is_raster, open_raster

    secret = tmp_path / "secret.tif"
    with rasterio.open(
        secret, "w", driver="GTiff", height=20, width=20, count=1, dtype="uint8",
        crs="EPSG:4326", transform=Affine(1, 0, 1, 0, -1, 2),
    ) as file:  # fmt: skip
        file.write(np.full((1, 20, 20), 77, np.uint8))
    text = (
        '<VRTDataset rasterXSize="20" rasterYSize="20"><GeoTransform>1,1,0,2,0,-1</GeoTransform>'
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename>'
        f"{secret}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        "</VRTDataset>"
    )
    for name in ("photo.tif", "photo.png", "photo.jpg"):
        (tmp_path / name).write_text(text)
        assert not is_raster(tmp_path / name)
        with (
            pytest.raises(FullyConvError, match="no raster that can be read here"),
            open_raster(tmp_path / name),
        ):
            pass
        with pytest.raises(FullyConvError, match="not a picture in any format known"):
            read_bands(tmp_path / name)
        with pytest.raises(FullyConvError, match="cannot be read as a raster"):
            cut_tiles([tmp_path / name], tmp_path / "a.geojson", tmp_path / "out", progress=False)
    (tmp_path / "mosaic.vrt").write_text(text)  # it says what it is
    with open_raster(tmp_path / "mosaic.vrt") as raster:
        assert (raster.read(0, 20) == 77).all()


def test_a_film_that_refers_to_other_files(tmp_path: Path) -> None:
    pytest.importorskip("av")
    from test_films import blocks, write_film

    from fullyconv.prediction.films.reading import open_film

    write_film(tmp_path / "a.mkv", blocks(2))
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile a.mkv\n")
    with pytest.raises(FullyConvError, match="this is not a film that can be read"):
        open_film(tmp_path / "list.mp4")


def test_films_of_which_ffmpeg_says_something_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("av")
    from test_films import blocks, write_film

    from fullyconv.prediction.films.reading import open_film

    whole = write_film(tmp_path / "a.mkv", blocks(2)).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[:49])  # EOFError, which is no OSError
    with pytest.raises(FullyConvError, match="this is not a film that can be read"):
        open_film(tmp_path / "cut.mkv")
    (tmp_path / "unknown.mkv").write_bytes(whole.replace(b"V_MS/VFW/FOURCC", b"V_MS/VFW/FOURXX"))
    unknown = whole.replace(b"FFV1", b"FFXX").replace(b"V_FFV1", b"V_FFXX")
    (tmp_path / "unknown.mkv").write_bytes(unknown)
    with pytest.raises(FullyConvError, match="cannot decode this film; convert it"):
        list(open_film(tmp_path / "unknown.mkv").frames())


def test_the_names_in_a_file_of_hdf5_may_be_bytes(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    from fullyconv.data.prepare.matlab import member

    class Held(dict[Any, Any]):
        pass

    with pytest.raises(FullyConvError, match="no variable S in this .mat file; it holds a, b'"):
        member(Held({"a": 1, b"\xff": 2}), ("S",), tmp_path / "x.mat")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"smallest": 10**300}, "pictures padded to"),
        ({"multiple": 0}, "pictures padded to"),
        ({"smallest": float("inf")}, "not readable"),
        ({"blobs": {"a": {"channels": 3, "needs": ["b"]}}}, "a is made from b"),
    ],
)
def test_a_folder_for_ncnn_may_state_any_size(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    pytest.importorskip("ncnn")
    from fullyconv.runtimes.ncnn_folder import DESCRIPTION, read_ncnn_folder
    from fullyconv.runtimes.ncnn_writer import write_ncnn

    folder = tmp_path / "net.ncnn"
    write_ncnn(load_model(checkpoint("tiny")), header_of(NETWORKS["tiny"]), folder)
    values = json.loads((folder / DESCRIPTION).read_text())
    (folder / DESCRIPTION).write_text(json.dumps(values | change))
    with pytest.raises(FullyConvError, match=message):
        read_ncnn_folder(folder)


@pytest.mark.parametrize("name", ["caffe", "importers"])
def test_a_little_fuzzing(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The fuzzer itself runs, and nothing has come back that one second finds."""
    assert run(name, 0.5, first=0, count=30) == 0
    assert f"{name}: inputs 0 to 29, 0 findings" in capsys.readouterr().out


def test_an_input_follows_from_its_number(tmp_path: Path) -> None:
    target = TARGETS["settings"]
    seeds = target.seeds(tmp_path / "seeds")
    made = []
    for copy in ("a", "b"):
        (tmp_path / copy).mkdir()
        made.append(prepared(target, seeds, 5, tmp_path / copy).read_bytes())
    assert made[0] == made[1]
    changed = {mutate(seeds[0], random.Random(n), seeds[1]) for n in range(50)}
    assert len(changed) > 25


def test_a_header_is_read_with_its_type(tmp_path: Path) -> None:
    assert read_header(with_network(tmp_path / "a.safetensors")).model == NETWORKS["tiny"]


def test_yaml_that_expands_without_end(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    from fullyconv.data.importers.reading import read_yaml

    lines = [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 10)]
    path = tmp_path / "data.yaml"
    path.write_text("x0: &x0 [ha]\n" + "".join(lines))
    with pytest.raises(FullyConvError, match="an alias .* may expand without end"):
        read_yaml(path)
    path.write_text("[" * 3000)
    with pytest.raises(FullyConvError, match="no YAML"):
        read_yaml(path)
