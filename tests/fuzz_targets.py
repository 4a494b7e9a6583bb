"""What is fuzzed: good files of each kind, and the functions of the package that read them."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import exports
import miniatures
from fullyconv.caffe import CaffeLayer, CaffeNet, read_caffemodel, write_caffemodel
from fullyconv.caffe.blob import read_mean, write_mean
from fullyconv.caffe.wire import FloatArray, encode_head, encode_text
from fullyconv.errors import FullyConvError

Seeds = Callable[[Path], list[Path]]


@dataclass(frozen=True)
class Target:
    """Something that files of strangers reach.

    Attributes:
        seeds: Writes good files, or folders of them, into a folder.
        read: Reads one.
        pack: Makes an archive of a folder, where archives are taken.
    """

    seeds: Seeds
    read: Callable[[Path], object]
    pack: Callable[[Path, random.Random], Path] | None = None


def each(path: Path, *readers: Callable[[Path], object]) -> None:
    """Every reader gets the file, whether or not those before have refused it."""
    for reader in readers:
        with contextlib.suppress(FullyConvError):
            reader(path)


def caffe_seeds(folder: Path) -> list[Path]:
    """Nets of all generations, packed and not, and a mean."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    shapes: tuple[tuple[int, ...], ...] = ((4, 3, 3, 3), (1, 1, 1, 4), (8, 4), (1,))
    paths = []
    for name, kind in (("f4", np.float32), ("f8", np.float64)):
        blobs: list[FloatArray] = [rng.standard_normal(s).astype(kind) for s in shapes]
        layers = (
            CaffeLayer("conv1", "Convolution", (blobs[0], blobs[1]), ("data",), ("conv1",)),
            CaffeLayer("fc6", "InnerProduct", (blobs[2],), ("conv1",), ("fc6",)),
            CaffeLayer("scale", "Scale", (blobs[3],)),
        )
        paths.append(folder / f"{name}.caffemodel")
        write_caffemodel(paths[-1], CaffeNet("net", layers))
    numbers = rng.standard_normal(12).astype("<f4")
    for name, data in (
        ("packed", encode_head(5, 48) + numbers.tobytes()),
        ("single", b"".join(b"\x2d" + number.tobytes() for number in numbers)),
    ):
        blob = b"\x08\x01\x10\x01\x18\x03\x20\x04" + data
        v1 = encode_text(2, "data") + encode_text(4, "conv1") + b"\x28\x04"
        v1 += encode_head(6, len(blob)) + blob
        paths.append(folder / f"v1-{name}.caffemodel")
        paths[-1].write_bytes(encode_text(1, "old") + encode_head(2, len(v1)) + v1)
        v0 = encode_text(1, "conv1") + encode_text(2, "conv") + encode_head(50, len(blob)) + blob
        connected = encode_head(1, len(v0)) + v0 + encode_text(2, "data")
        paths.append(folder / f"v0-{name}.caffemodel")
        paths[-1].write_bytes(encode_head(2, len(connected)) + connected)
    paths.append(folder / "mean.binaryproto")
    write_mean(paths[-1], rng.standard_normal((3, 5, 6)).astype(np.float32))
    paths.append(folder / "googlenet.caffemodel")
    shutil.copy(Path(__file__).parent / "data" / "bvlc_googlenet-w8.caffemodel", paths[-1])
    return paths


def caffe(path: Path) -> None:
    """A net or a mean; its numbers are looked at."""
    each(
        path,
        lambda p: [float(b.sum()) for layer in read_caffemodel(p).layers for b in layer.blobs],
        lambda p: read_mean(p).sum(),
    )


def picture_seeds(folder: Path) -> list[Path]:
    """Every kind of file that Pillow writes, in every mode that it can hold."""
    folder.mkdir()
    Image.init()
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (23, 37, 3), np.uint8))
    modes = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F")
    turned = Image.Exif()
    turned[0x0112] = 6
    special: list[tuple[str, dict[str, Any]]] = [
        *(("TIFF", {"compression": c}) for c in ("tiff_lzw", "jpeg", "packbits", "tiff_deflate")),
        ("JPEG", {"progressive": True, "exif": turned}),
        ("PNG", {"exif": turned, "bits": 4}),
        *((k, {"save_all": True, "append_images": [photo, photo]}) for k in ("GIF", "PNG", "WEBP")),
        ("WEBP", {"lossless": True}),
        ("TIFF", {"save_all": True, "append_images": [photo]}),
        ("AVIF", {"save_all": True, "append_images": [photo]}),
        ("MPO", {"save_all": True, "append_images": [photo]}),
    ]
    kinds = sorted(set(Image.SAVE) - {"PDF"})
    wanted: list[tuple[str, str, dict[str, Any]]] = [
        (kind, mode, {}) for kind in kinds for mode in modes
    ]
    for number, (kind, mode, options) in enumerate(
        [*wanted, *((kind, "RGB", options) for kind, options in special)]
    ):
        path = folder / f"{number}-{kind}-{mode.replace(';', '')}.img"
        try:
            photo.convert(mode).save(path, kind, **options)
        except Exception:  # this kind of file has no such mode
            path.unlink(missing_ok=True)
    (folder / "a.psd").write_bytes(_psd())
    (folder / "a.xpm").write_text(
        '/* XPM */\nstatic char * a[] = {\n"4 2 2 1",\n"a c #ff0000",\n"b c #00ff00",\n"abab",\n'
        '"baba"};\n'
    )
    return sorted(folder.iterdir())


def _psd() -> bytes:
    head = b"8BPS\0\1" + bytes(6) + b"\0\3" + b"\0\0\0\4" + b"\0\0\0\5" + b"\0\x08\0\3"
    return head + bytes(12) + b"\0\0" + bytes(range(60))


def pictures(path: Path) -> None:
    """A picture in every way that one is read."""
    from fullyconv import images
    from fullyconv.bands import bands_size, read_bands
    from fullyconv.serve.decoding import decode

    each(
        path,
        images.read_photo,
        images.image_size,
        images.read_labels,
        images.read_colors,
        images.read_mask,
        images.read_depth,
        images.is_grey,
        lambda p: decode(p.read_bytes(), 50_000_000),
        read_bands,
        bands_size,
    )


def raster_seeds(folder: Path) -> list[Path]:
    """Arrays, TIFFs of all layouts, and areas."""
    import rasterio
    import tifffile
    from affine import Affine

    folder.mkdir()
    rng = np.random.default_rng(0)
    for kind in ("u1", "u2", "f4", "f8", "i8", ">i2", "?", "c8"):
        for shape in ((20, 30), (20, 30, 3)):
            array = rng.integers(0, 200, shape).astype(kind)
            np.save(folder / f"{kind.strip('>?') or 'b'}-{len(shape)}.npy", array)
    planes = rng.integers(0, 200, (3, 40, 56)).astype(np.uint8)
    place = Affine(0.1, 0, 10, 0, -0.1, 50)
    for compress in ("none", "lzw", "deflate", "jpeg", "zstd", "packbits"):
        for more in ({}, {"tiled": True, "blockxsize": 16, "blockysize": 16}):
            with rasterio.open(
                folder / f"{compress}-{len(more)}.tif", "w", driver="GTiff", height=40, width=56,
                count=3, dtype="uint8", crs="EPSG:4326", transform=place, compress=compress,
                nodata=7, **more,
            ) as file:  # fmt: skip
                file.write(planes)
    for name, options in (
        ("big", {"bigtiff": True}),
        ("planar", {"planarconfig": "separate", "photometric": "rgb"}),
        ("predicted", {"compression": "zlib", "predictor": True}),
        ("swapped", {"byteorder": ">"}),
    ):
        data = planes if name == "planar" else planes[0].astype(np.uint16)
        tifffile.imwrite(folder / f"{name}.tif", data, **options)
    exports.write_json(
        folder / "areas.geojson",
        {
            "type": "FeatureCollection",
            "features": [
                {
                    "type": "Feature",
                    "properties": {"class": "road", "n": 1},
                    "geometry": {
                        "type": "Polygon",
                        "coordinates": [[[10, 49], [11, 49], [11, 48], [10, 49]]],
                    },
                }
            ],
        },
    )
    return sorted(folder.iterdir())


def rasters(path: Path) -> None:
    """A raster as bands and by windows; areas."""
    from fullyconv.bands import bands_size, read_bands
    from fullyconv.data.vectors import read_outlines
    from fullyconv.prediction.rasters.raster import is_raster, open_raster

    def rows(given: Path) -> None:
        with open_raster(given, (1, 1, 1), (0, 255)) as raster:
            for start in range(0, min(raster.source.height, 200), 50):
                raster.read(start, min(start + 50, raster.source.height))

    if path.suffix == ".geojson":
        each(path, lambda p: read_outlines(p, "class", "EPSG:3857"))
    else:
        each(path, read_bands, bands_size, is_raster, rows)


def export_seeds(folder: Path) -> list[Path]:
    """The scene in every tool's form."""
    return [make(folder / name) for name, (_, make) in exports.EXPORTS.items()]


def pack(folder: Path, rng: random.Random) -> Path:
    """The folder as an archive beside it."""
    kind = rng.choice(("a.zip", "a.tar", "a.tar.gz"))
    packed = miniatures.zipped if kind == "a.zip" else miniatures.tarred
    return packed(folder, folder.parent / kind)


def importers(path: Path) -> None:
    """An export as it comes."""
    from fullyconv.data.importers import import_data

    import_data(path, path.parent / "out", progress=False, workers=1)


def setting_seeds(folder: Path) -> list[Path]:
    """Recipes, classes, YAML, lists, and a run folder's records."""
    from fullyconv.files import write_json
    from fullyconv.labels import CAMVID
    from fullyconv.recipes import recipe

    write_json(folder / "recipe.json", recipe("camvid-fcn8s-efficientnet_lite0").to_dict())
    write_json(folder / "classes.json", CAMVID.to_dict())
    exports.write(folder / "data.yaml", "path: x\ntrain: [a, b]\nnames: {0: a, 1: b}\nx: &y 2\n")
    exports.write(folder / "list.txt", "a.jpg\n# no\nb/*.png\nhttps://127.0.0.1/x.jpg\n-\n")
    line = '{"step": 1, "loss": 0.5, "lr": 0.1, "mean_iu": 0.5}\n'
    exports.write(folder / "log.jsonl", line * 3)
    exports.write(
        folder / "scores.json",
        '{"mean_iu": 0.5, "classes": {"a": 0.5}, "matrix": [[1, 2], [3, 4]]}',
    )
    return sorted(folder.iterdir())


def settings(path: Path) -> None:
    """A file of settings by each of their readers."""
    from fullyconv.data.importers.reading import read_json, read_xml, read_yaml
    from fullyconv.data.sources import read_label_space
    from fullyconv.prediction.photos import list_photos
    from fullyconv.recipe_file import read_recipe
    from fullyconv.report.record import read_run
    from fullyconv.report.runs import write_report

    each(path, read_recipe, read_label_space, read_yaml, read_json, read_xml)
    if path.suffix == ".txt":
        each(path, lambda p: list(list_photos([p])))
    if path.name in ("log.jsonl", "scores.json", "recipe.json"):
        exports.write(path.parent / "speed.jsonl", '{"step": 1, "seconds": 3}\n')
        read_run(path.parent)
        each(path, lambda p: write_report(p.parent))


def model_seeds(folder: Path) -> list[Path]:
    """A small network as a checkpoint, as .onnx, and for ncnn."""
    from exported import NETWORKS, checkpoint, header_of, onnx_file
    from fullyconv.checkpoint import load_model
    from fullyconv.runtimes.ncnn_writer import write_ncnn

    folder.mkdir()
    for path in (checkpoint("tiny"), onnx_file("tiny")):
        shutil.copy(path, folder)
    write_ncnn(load_model(checkpoint("tiny")), header_of(NETWORKS["tiny"]), folder / "net.ncnn")
    return sorted(folder.iterdir())


def models(path: Path) -> None:
    """A model is opened by its engine, and labels a small picture."""
    from fullyconv.checkpoint import load_model, read_header
    from fullyconv.prediction.predictor import Predictor

    engines = {".safetensors": "torch", ".onnx": "onnx"}
    if path.suffix == ".safetensors":
        each(path, read_header, load_model)
    photo = np.zeros((32, 40, 3), np.uint8)
    each(path, lambda p: Predictor(p, runtime=engines.get(p.suffix, "ncnn"))(photo))


def film_seeds(folder: Path) -> list[Path]:
    """Small films of usual kinds."""
    from test_films import blocks, write_film

    folder.mkdir()
    kinds = (
        ("a.mkv", "ffv1", "bgr0"),
        ("b.mp4", "mpeg4", "yuv420p"),
        ("c.avi", "mjpeg", "yuvj420p"),
        ("d.mp4", "libx264", "yuv420p"),
        ("e.webm", "libvpx", "yuv420p"),
    )
    frames = blocks(4, 32, 48)
    return [write_film(folder / name, frames, codec, form) for name, codec, form in kinds]


def films(path: Path) -> None:
    """The first frames of a film."""
    from fullyconv.prediction.films.reading import open_film

    for number, _ in enumerate(open_film(path).frames()):
        if number == 20:
            break


def matlab_seeds(folder: Path) -> list[Path]:
    """Labels as MATLAB writes them, before and after version 7.3."""
    miniatures.mat(folder / "a.mat", S=miniatures.blocks(0, [0, 1, 2]))
    miniatures.mat(folder / "b.mat", GTcls={"Segmentation": miniatures.blocks(0, [0, 1])})
    miniatures.nyudv2(folder / "nyud")
    shutil.move(folder / "nyud" / "nyu_depth_v2_labeled.mat", folder / "c.mat")
    shutil.rmtree(folder / "nyud")
    return sorted(folder.iterdir())


def matlab(path: Path) -> None:
    """One array of a .mat file."""
    from fullyconv.data.prepare.matlab import is_v73, member, opened_v73, read_ids

    def chunks(given: Path) -> None:
        with opened_v73(given) as file:
            for name in ("images", "labels", "depths"):
                member(file, (name,), given)[0]

    each(path, chunks) if is_v73(path) else each(path, lambda p: read_ids(p, "S", "GTcls"))


TARGETS = {
    "caffe": Target(caffe_seeds, caffe),
    "pictures": Target(picture_seeds, pictures),
    "importers": Target(export_seeds, importers, pack),
    "rasters": Target(raster_seeds, rasters),
    "settings": Target(setting_seeds, settings),
    "models": Target(model_seeds, models),
    "films": Target(film_seeds, films),
    "matlab": Target(matlab_seeds, matlab),
}
