"""Exported files in their engines: every map against PyTorch's, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from exported import NETWORKS, checkpoint, header_of, onnx_file
from fullyconv.checkpoint import load_model, model_path
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.exporting import export
from fullyconv.images import read_photo
from fullyconv.prediction.predicting import predict
from fullyconv.prediction.predictor import Predictor
from fullyconv.prediction.rasters.labelling import RasterOptions, label_raster
from fullyconv.runtimes.engine import HEADER, PLAN
from fullyconv.runtimes.measured import SPEEDS, quickest
from fullyconv.runtimes.onnx import OnnxRuntime
from fullyconv.runtimes.onnx_file import OnnxFile
from fullyconv.runtimes.open import open_runtime
from fullyconv.runtimes.openvino import OpenVinoRuntime
from fullyconv.runtimes.runtime import Maps, Runtime
from fullyconv.runtimes.threads import processors
from fullyconv.runtimes.torch import TorchRuntime

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
FAST = ("vgg16", "two heads", "late fusion")
EVERY = [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in NETWORKS]
ENGINES: dict[str, Callable[[Path], Runtime]] = {"onnx": OnnxRuntime, "openvino": OpenVinoRuntime}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Callable[[Path], Runtime]:
    if request.param == "openvino":
        pytest.importorskip("openvino")
    return ENGINES[request.param]


def images(name: str, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = (1, NETWORKS[name].in_channels, height, width)
    return rng.normal(size=shape).astype(np.float32)


def assert_same(found: Maps, expected: Maps) -> None:
    for name, array in found.items():
        assert array.dtype == np.float32
        tolerance = 1e-5 * np.abs(expected[name]).max()
        np.testing.assert_allclose(array, expected[name], atol=tolerance)


@pytest.mark.parametrize("name", EVERY)
def test_every_map_from_those_before_it(name: str, engine: Callable[[Path], Runtime]) -> None:
    """Cut anywhere, at every size, the graph gives PyTorch's maps."""
    runtime, reference = engine(onnx_file(name)), TorchRuntime(load_model(checkpoint(name)), "cpu")
    plan = runtime.plan
    assert plan == reference.plan
    features = [piece.target for piece in plan.pieces]
    for size in ((1, 1), (33, 7), (130, 97)):
        maps: dict[str, Any] = {"images": images(name, *size)}
        maps |= reference.run(maps, [*features, *plan.scored, "scores"])
        assert_same(runtime.run({"images": maps["images"]}, ["scores"]), maps)
        for piece in plan.pieces:
            assert_same(runtime.run({piece.source: maps[piece.source]}, [piece.target]), maps)
        taps = {key: maps[key] for key in features}
        assert_same(runtime.run(taps, plan.scored), maps)
        assert_same(runtime.run({key: maps[key] for key in plan.scored}, ["scores"]), maps)
        whole = runtime.run({"images": maps["images"]}, ["scores", *features, "images"])
        assert_same(whole, maps)


@pytest.mark.parametrize("name", EVERY)
def test_logits_outside_of_our_code(name: str) -> None:
    """What somebody with the engine alone gets: the logits of every pixel, heads in turn."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(onnx_file(name), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["images"]
    assert {o.name for o in session.get_outputs()} == {"scores", "logits"}
    batch = np.concatenate([images(name, 61, 75)] * 2)
    (found,) = session.run(["logits"], {"images": batch})
    with torch.inference_mode():
        said = load_model(checkpoint(name))(torch.from_numpy(batch))
    joined = torch.cat(list(said.values()), 1) if isinstance(said, dict) else said
    expected = joined.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    openvino = pytest.importorskip("openvino")
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(onnx_file(name)), "CPU", settings)
    found = compiled([batch])["logits"]
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_a_part_is_a_whole_model_and_leaves_out_the_rest() -> None:
    file = OnnxFile(onnx_file("vgg16"))
    whole = onnx.load(onnx_file("vgg16"))
    part, taken = file.cut(["images", "features32"], ["scores"])
    model = onnx.load_from_string(part)
    onnx.checker.check_model(model)
    assert taken == ["images", "features32"]
    assert [o.name for o in model.graph.output] == ["scores"]
    assert b"logits" not in part
    assert b"fc6" not in part  # nor the weights before what is given
    assert len(model.graph.node) < len(whole.graph.node)
    assert file.shape("scores")[1] == 3
    assert file.shape("features8") == ()
    shaped = onnx.shape_inference.infer_shapes(whole)
    extracted = onnx.utils.Extractor(shaped).extract_model(["features16"], ["features32"])
    mine = onnx.load_from_string(file.cut(["features16"], ["features32"])[0])
    assert [n.op_type for n in mine.graph.node] == [n.op_type for n in extracted.graph.node]


def test_what_cannot_be_made(engine: Callable[[Path], Runtime]) -> None:
    runtime = engine(onnx_file("vgg16"))
    features = np.zeros((1, 4, 2, 2), np.float32)
    for given, wanted in (({"features32": features}, "scores"), ({"features8": features}, "x")):
        with pytest.raises(FullyConvError, match=rf"cannot make {wanted} from .*is missing"):
            runtime.run(given, [wanted])
    with pytest.raises(FullyConvError, match="exported for pictures of .* with 3 channels alone"):
        runtime.run({"images": np.zeros((1, 4, 20, 20), np.float32)}, ["scores"])
    with pytest.raises(FullyConvError, match="the engine failed on scores32 of shape"):
        runtime.run(dict.fromkeys(runtime.plan.scored, features), ["scores"])


def test_too_little_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = OnnxRuntime(onnx_file("vgg16"))

    class Session:
        def run(self, *_: object) -> None:
            raise RuntimeError("Failed to allocate memory for requested buffer")

    monkeypatch.setattr(runtime, "_session", lambda *_: (Session(), ["images"]))
    with pytest.raises(FullyConvError, match="too little memory for images of shape .*--tiles"):
        runtime.run({"images": images("vgg16", 9, 9)}, ["scores"])


def changed(path: Path, to: Path, change: Callable[[Any], object]) -> Path:
    model = onnx.load(path)
    change(model)
    onnx.save(model, to)
    return to


def set_text(model: Any, key: str, text: str) -> None:
    next(p for p in model.metadata_props if p.key == key).value = text


def test_files_of_others(tmp_path: Path, engine: Callable[[Path], Runtime]) -> None:
    """Of no fullyconv, of a newer one, and with a header that is another network's."""
    path, to = onnx_file("vgg16"), tmp_path / "other.onnx"
    newer = json.dumps({"format": 2, "version": "9.0"})
    other = header_of(NETWORKS["alexnet"])
    more = json.loads(other.to_json()) | {"labels": {**other.labels.to_dict()}}
    more["labels"] |= {"categories": ["a", "b"], "palette": [[0, 0, 0]] * 2, "raw_ids": [0, 1]}
    cases: dict[str, Callable[[Any], object]] = {
        "as files do that fcn export writes": lambda m: m.ClearField("metadata_props"),
        "written by fullyconv 9.0, whose format 2 is newer": lambda m: set_text(m, HEADER, newer),
        "3 scores, but its header names 2 classes": lambda m: set_text(m, HEADER, json.dumps(more)),
        "its plan is not readable": lambda m: set_text(m, PLAN, "{"),
        "the plan of the network is not readable": lambda m: set_text(m, PLAN, "{}"),
    }
    for match, change in cases.items():
        with pytest.raises(FullyConvError, match=f"other.onnx: .*{match}"):
            engine(changed(path, to, change))


def test_a_graph_that_no_engine_takes(tmp_path: Path) -> None:
    def no_such_node(model: Any) -> None:
        model.graph.node[3].op_type = "Nonsense"

    bad = changed(onnx_file("vgg16"), tmp_path / "bad.onnx", no_such_node)
    with pytest.raises(FullyConvError, match="ONNX Runtime does not take its graph"):
        OnnxRuntime(bad)
    pytest.importorskip("openvino")
    with pytest.raises(FullyConvError, match="OpenVINO (cannot read it|does not take its graph)"):
        OpenVinoRuntime(bad)


def test_files_cut_short(tmp_path: Path, engine: Callable[[Path], Runtime]) -> None:
    """At any length: one sentence with the file's name, never another kind of error."""
    content = onnx_file("vgg16").read_bytes()
    path = tmp_path / "short.onnx"
    for length in [0, 1, 7, 100, *np.linspace(1000, len(content) - 1, 8, dtype=int)]:
        path.write_bytes(content[:length])
        with pytest.raises(FullyConvError, match="short.onnx"):
            engine(path)
    path.write_bytes(b"\x08\x0a")  # a version, and nothing else
    with pytest.raises(FullyConvError, match="it holds no graph"):
        engine(path)


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    def damage(model: Any) -> None:
        weights = next(t for t in model.graph.initializer if "fc6.weight" in t.name)
        weights.raw_data = np.full(tuple(weights.dims), np.nan, np.float32).tobytes()

    predictor = Predictor(changed(onnx_file("vgg16"), tmp_path / "nan.onnx", damage))
    with pytest.raises(FullyConvError, match="image: the network's scores are NaN or infinite"):
        predictor(np.zeros((9, 9, 3), np.uint8))


def test_an_engine_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(FullyConvError, match=r'onnxruntime is needed .*install "fullyconv\[dep'):
        Predictor("camvid", "onnx")
    with pytest.raises(FullyConvError, match=r'openvino is needed .*install "fullyconv\[deploy'):
        Predictor("camvid", "openvino")


def test_engines_and_files_that_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no runtime 'tensorrt'"):
        open_runtime("camvid", "tensorrt")
    with pytest.raises(UsageError, match="no precision 'float64' to run at"):
        open_runtime("camvid", "auto", "float64")
    with pytest.raises(UsageError, match="onnx has no bfloat16 here; these have: openvino, torch"):
        open_runtime("camvid", "onnx", "bfloat16")
    with pytest.raises(FullyConvError, match="fcn export .*vgg16.safetensors --to onnx writes one"):
        open_runtime(checkpoint("vgg16"), "onnx")
    with pytest.raises(FullyConvError, match=r"torch does not open this; .* do: onnx, openvino"):
        open_runtime(onnx_file("vgg16"), "torch")
    (tmp_path / "x.pt2").touch()
    with pytest.raises(FullyConvError, match=r"opens no .pt2 file, since such files may hold pick"):
        open_runtime(tmp_path / "x.pt2")
    (tmp_path / "net.ncnn").mkdir()
    with pytest.raises(UsageError, match="no engine that opens it has this precision"):
        open_runtime(tmp_path / "net.ncnn", "auto", "bfloat16")


def only_onnx(name: str) -> object:
    return name if name == "onnxruntime" else None


def test_auto_takes_what_is_done_first(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = (quickest(SPEEDS, megapixels) for megapixels in (0, 1e6))
    assert SPEEDS[few].start == min(speed.start for speed in SPEEDS.values())
    assert SPEEDS[many].megapixel == min(speed.megapixel for speed in SPEEDS.values())
    assert open_runtime(checkpoint("vgg16")).engine == "torch"
    there = ["onnx", "openvino"]
    assert open_runtime("camvid").engine == quickest(there, 0.5)
    pytest.importorskip("openvino")
    assert open_runtime("camvid", photos=10**6).engine == quickest(there, 1e6)
    assert open_runtime("camvid", "auto", "bfloat16").engine == "openvino"
    monkeypatch.setattr("fullyconv.runtimes.open._GPU", EXAMPLES)
    assert open_runtime("camvid", photos=10**6).engine == "torch"
    assert open_runtime("camvid").engine == quickest(there, 0.5)
    monkeypatch.setattr("fullyconv.runtimes.open._GPU", EXAMPLES / "none")
    monkeypatch.setattr("fullyconv.runtimes.open.find_spec", only_onnx)
    assert open_runtime("camvid", photos=10**6).engine == "onnx"


@pytest.mark.parametrize("model", ["camvid", "nyudv2"])
def test_the_shipped_export_is_the_shipped_checkpoint(model: str) -> None:
    assert model_path(model).with_suffix(".onnx").stat().st_size < 8e6
    photo = read_photo(EXAMPLES / "wide_road_overcast.jpg")
    torch_says, onnx_says = (Predictor(model, runtime) for runtime in ("torch", "onnx"))
    assert torch_says.header == onnx_says.header
    expected, found = torch_says(photo), onnx_says(photo)
    scale = np.abs(expected.scores.coarse).max()
    np.testing.assert_allclose(found.scores.coarse, expected.scores.coarse, atol=1e-5 * scale)
    assert (found.labels == expected.labels).mean() > 0.9999


def test_bfloat16_is_near_and_not_the_same() -> None:
    pytest.importorskip("openvino")
    photo = read_photo(EXAMPLES / "wide_road_overcast.jpg")
    exact = Predictor("camvid", "torch")(photo)
    for runtime in ("torch", "openvino"):
        near = Predictor("camvid", runtime, "bfloat16")(photo)
        assert (near.labels == exact.labels).mean() > 0.97
    assert not np.allclose(near.scores.coarse, exact.scores.coarse, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's compiler uses its own
def test_compiled_by_torch() -> None:
    photo = read_photo(EXAMPLES / "wide_road_overcast.jpg")
    exact = Predictor("camvid", "torch")(photo)
    found = Predictor("camvid", "torch-compiled")(photo)
    assert (found.labels == exact.labels).mean() > 0.9999


@pytest.mark.parametrize("name", ["onnx", "openvino", "ncnn"])
def test_side_by_side(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Four threads, pictures of several sizes and parts of the network: each gets its own."""
    pytest.importorskip(name if name != "onnx" else "onnxruntime")
    model: str | Path = "camvid"
    if name == "ncnn":
        model = tmp_path / "camvid.ncnn"
        export("camvid", "ncnn", out=model)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    runtime = open_runtime(model, name).runtime
    rng = np.random.default_rng(0)
    sizes = [(64 + 32 * (n % 3), 96 + 32 * (n % 2)) for n in range(12)]
    pictures = [rng.normal(size=(1, 3, *size)).astype(np.float32) for size in sizes]
    finest, *_ = (piece.target for piece in runtime.plan.pieces if piece.target[-1] == "8")
    scored = finest.replace("features", "scores")

    def parts(runtime: Runtime, images: np.ndarray) -> Maps:
        made = runtime.run({"images": images}, ["scores", finest])
        return {**made, **runtime.run({finest: made[finest]}, [scored])}

    expected = [parts(runtime, images) for images in pictures]
    with runtime.side_by_side() as engine, ThreadPoolExecutor(4) as threads:
        assert (runtime.streams, engine.streams) == (2, 1)
        with engine.side_by_side() as same:
            assert same is engine
        found = list(threads.map(lambda images: parts(engine, images), pictures))
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        assert_same(one, other)


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert processors() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= processors() <= (os.cpu_count() or 1)


def test_the_shipped_model_starts_without_torch(tmp_path: Path) -> None:
    """Neither the command nor the engine imports it, from process start to files written."""
    photo = EXAMPLES / "wide_road_overcast.jpg"
    code = (
        "import sys\n"
        f"sys.argv = ['fcn', 'predict', {str(photo)!r}, '--out', {str(tmp_path)!r}]\n"
        "from fullyconv.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "for heavy in ('torch', 'onnx', 'openvino', 'scipy', 'accelerate', 'numpy.ma'):\n"
        "    assert heavy not in sys.modules, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "wide_road_overcast-mask.png").exists()


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_tiles_side_by_side(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a picture that is tiled, and of a raster: the labels of the whole, but for ties."""
    pytest.importorskip("rasterio")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    predictor = Predictor("camvid", name)
    photo = read_photo(EXAMPLES / "wide_road_overcast.jpg")
    image = np.tile(photo, (2, 2, 1))[:700, :900]
    whole = predictor(image)
    predictor.memory = 60 << 20
    said: list[str] = []
    predictor.say = said.append
    ordered = np.sort(whole.logits, 0)
    sure = ordered[-1] - ordered[-2] > 1e-4 * np.abs(ordered).max()
    assert sure.mean() > 0.99
    assert (predictor(image).labels == whole.labels)[sure].all()
    assert len(said) == 1
    Image.fromarray(image).save(tmp_path / "photo.png")
    label_raster(
        tmp_path / "photo.png", predictor, tmp_path / "o.tif", RasterOptions(memory=60 << 20)
    )
    labels = np.asarray(Image.open(tmp_path / "o.tif"))
    assert (labels == whole.labels)[sure].all()


def test_a_folder_is_labelled_side_by_side(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From so many pictures on that it pays; the files are those of one after the other."""
    pictures = [np.random.default_rng(n).integers(0, 256, (40 + n, 60, 3)) for n in range(20)]
    folder = tmp_path / "in"
    folder.mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number}.png")
    entered: list[int] = []
    plain = OnnxRuntime.side_by_side

    def counted(self: OnnxRuntime) -> Any:
        entered.append(self.streams)
        return plain(self)

    monkeypatch.setattr(OnnxRuntime, "side_by_side", counted)
    for threads in (1, 3):
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        assert not predict(folder, out=tmp_path / f"{threads}", runtime="onnx")
    assert entered == [1, 3]
    predict(folder / "0.png", out=tmp_path / "one", runtime="onnx")
    assert entered == [1, 3]
    files = sorted(path.name for path in (tmp_path / "1").glob("*.png"))
    assert len(files) == 20
    for file in files:
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "3" / file).read_bytes()
