"""Networks written for ncnn, against PyTorch; its files opened without fullyconv."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_stages import NETWORKS, logits
from torch import nn

from fullyconv.checkpoint import Header
from fullyconv.errors import FullyConvError
from fullyconv.labels import LabelSpace
from fullyconv.models.create import create_model
from fullyconv.networks import model_config
from fullyconv.preprocess import CAFFE
from fullyconv.runtimes.ncnn import NcnnRuntime
from fullyconv.runtimes.ncnn_writer import write_ncnn
from fullyconv.runtimes.torch import TorchRuntime

pytest.importorskip("ncnn")

HEADER = Header(
    model=model_config("fcn8s_vgg16", num_classes=3, width=1 / 16),
    labels=LabelSpace(categories=("sky", "road", "car")),
    preprocess=CAFFE,
    info={"licence": "CC-BY-4.0"},
)
SIZES = [(1, 1), (33, 7), (65, 97), (130, 41)]
has_elision = importlib.util.find_spec("fullyconv.models.fast.elision") is not None


def with_weights(network: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for name, parameter in network.named_parameters():
        if "upsample" not in name:
            nn.init.normal_(parameter, std=0.25)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.load_state_dict(
                {k: torch.rand_like(v.float()) + 0.5 for k, v in layer.state_dict().items()}
            )
    return network.eval()


def load(path: Path) -> NcnnRuntime:
    return NcnnRuntime.load(path, threads=1)


def pictures(network: nn.Module, height: int, width: int, count: int = 1) -> np.ndarray:
    channels = 6 if hasattr(network, "streams") else 3
    return np.random.default_rng(height).normal(size=(count, channels, height, width)).astype("f")


def assert_close(actual: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * abs(expected).max())


def assert_like_torch(runtime: NcnnRuntime, network: nn.Module, images: np.ndarray) -> None:
    """Every map of the plan, made at once, and the logits."""
    names = [name for name in runtime.folder.blobs if name not in ("images", "logits")]
    expected = TorchRuntime(network, "cpu").run({"images": images}, names)
    made = runtime.run({"images": images}, [*names, "logits"])
    for name in names:
        assert_close(made[name], expected[name])
    for one, image in zip(made["logits"], images, strict=True):
        assert_close(one, logits(network, torch.from_numpy(image[None])))


@pytest.fixture(scope="module", params=NETWORKS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    network = with_weights(NETWORKS[request.param]())
    path = tmp_path_factory.mktemp("ncnn") / "net.ncnn"
    write_ncnn(network, HEADER, path)
    return network, load(path)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_every_map_of_every_network(
    written: tuple[nn.Module, NcnnRuntime], height: int, width: int
) -> None:
    network, runtime = written
    assert_like_torch(runtime, network, pictures(network, height, width, count=2))


def test_piece_by_piece_and_as_a_whole(written: tuple[nn.Module, NcnnRuntime]) -> None:
    network, runtime = written
    maps = {"images": pictures(network, 65, 97)}
    whole = runtime.run(maps, ["scores"])["scores"]
    for piece in runtime.plan.pieces:
        maps |= runtime.run({piece.source: maps[piece.source]}, [piece.target])
    features = {piece.target: maps[piece.target] for piece in runtime.plan.pieces}
    scored = runtime.run(features, runtime.plan.scored)
    assert_close(runtime.run(scored, ["scores"])["scores"], whole, 1e-6)


@pytest.mark.skipif(not has_elision, reason="leaving out the padding is not here yet")
@pytest.mark.parametrize(
    "name",
    ["voc-fcn8s", "voc-fcn-alexnet", "siftflow-fcn16s", "nyud-fcn32s-color-hha", "fcn8s_vgg16"],
)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (33, 7), (65, 98)])
def test_one_size_without_the_authors_padding(
    tmp_path: Path, name: str, height: int, width: int
) -> None:
    network = with_weights(create_model(name, width=1 / 16))
    write_ncnn(network, HEADER, tmp_path / "net", size=(height, width))
    laid = "CopyTo" in (tmp_path / "net/model.ncnn.param").read_text()
    assert laid == (name != "fcn8s_vgg16")  # whose geometry is "same"
    runtime = load(tmp_path / "net")
    assert_like_torch(runtime, network, pictures(network, height, width))
    with pytest.raises(FullyConvError, match="was exported for pictures of"):
        runtime.run({"images": pictures(network, height + 1, width)}, ["scores"])


@pytest.mark.parametrize(("name", "width"), [("fcn16s_vgg16", 1 / 8), ("fcn16s_alexnet", 1 / 4)])
def test_wide_kernels_by_tiles(tmp_path: Path, name: str, width: float) -> None:
    """fc6, of 7 x 7 or 6 x 6; with weights that keep the maps' size, else the scores cancel."""
    network = with_weights(create_model(name, num_classes=3, width=width))
    for parameter in network.parameters():
        parameter.data /= max(1, parameter[0].numel() ** 0.5 / 4)
    write_ncnn(network, HEADER, tmp_path / "net")
    assert "PixelShuffle" in (tmp_path / "net/model.ncnn.param").read_text()
    runtime = load(tmp_path / "net")
    for height, wide in [(1, 1), (70, 130), (161, 97)]:
        assert_like_torch(runtime, network, pictures(network, height, wide))


def test_half_the_size(tmp_path: Path) -> None:
    network = with_weights(NETWORKS["learned"]())
    sizes = []
    for half in (False, True):
        write_ncnn(network, HEADER, tmp_path / "net", half=half)
        sizes.append((tmp_path / "net/model.ncnn.bin").stat().st_size)
    assert sizes[1] < 0.51 * sizes[0]
    for name, parameter in network.named_parameters():
        if not name.endswith("bias"):
            parameter.data = parameter.data.half().float()
    for layer in network.modules():
        if hasattr(layer, "weight") and isinstance(layer.weight, torch.Tensor):
            layer.weight.data = layer.weight.data.half().float()
    assert_like_torch(load(tmp_path / "net"), network, pictures(network, 50, 60))


def test_opened_by_ncnn_alone(tmp_path: Path) -> None:
    """The folder's two files and no code of ours: logits of every pixel."""
    ncnn = pytest.importorskip("ncnn")
    network = with_weights(NETWORKS["vgg16"]())
    write_ncnn(network, HEADER, tmp_path / "net")
    images = pictures(network, 37, 51)
    net = ncnn.Net()
    assert net.load_param(str(tmp_path / "net/model.ncnn.param")) == 0
    assert net.load_model(str(tmp_path / "net/model.ncnn.bin")) == 0
    extractor = net.create_extractor()
    extractor.input("images", ncnn.Mat(images[0]).clone())
    status, mat = extractor.extract("logits")
    assert status == 0
    # its own options, float16 where the processor has it
    assert_close(np.array(mat), logits(network, torch.from_numpy(images)), 0.02)
    described = json.loads((tmp_path / "net/fullyconv.json").read_text())
    assert described["licence"] == "CC-BY-4.0"
    assert load(tmp_path / "net").folder.header == HEADER


def resident() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_memory_is_lost(tmp_path: Path) -> None:
    network = with_weights(NETWORKS["efficientnet"]())
    write_ncnn(network, HEADER, tmp_path / "net")
    runtime = load(tmp_path / "net")
    images = {"images": pictures(network, 96, 96)}
    for _ in range(20):
        runtime.run(images, ["scores"])
    before = resident()
    for _ in range(200):
        runtime.run(images, ["scores"])
    assert resident() - before < 2e6  # one picture's maps are some 3 MB


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ncnn") / "net.ncnn"
    write_ncnn(with_weights(NETWORKS["vgg16"]()), HEADER, path)
    return path


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def renamed(path: Path) -> None:
    path.write_text(path.read_text().replace("features16", "features15"))


def of_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: shutil.rmtree(p), r"no folder of an exported network: fullyconv.json cannot"),
        (lambda p: (p / "model.ncnn.bin").unlink(), r"model.ncnn.bin cannot be read \(No such"),
        (lambda p: cut(p / "model.ncnn.bin"), r"model.ncnn.bin has \d+ bytes where \d+ were"),
        (lambda p: cut(p / "model.ncnn.param"), r"model.ncnn.param has \d+ bytes where"),
        (lambda p: cut(p / "fullyconv.json"), r"fullyconv.json: not readable \(JSONDecodeError"),
        (lambda p: changed(p / "fullyconv.json", lambda v: v.pop("plan")), "not readable"),
        (lambda p: changed(p / "fullyconv.json", lambda v: v.update(format=2)), "newer fullyconv"),
        (
            lambda p: changed(p / "fullyconv.json", lambda v: v["header"].update(format=9)),
            "is newer than this version's",
        ),
        (lambda p: renamed(p / "model.ncnn.param"), "there is no blob features16, of which"),
        (lambda p: of_zeros(p / "model.ncnn.param"), "does not read these files; export"),
    ],
)
def test_damaged_folders(
    good: Path, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "net.ncnn"
    shutil.copytree(good, path)
    damage(path)
    with pytest.raises(FullyConvError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("given", "wanted", "message"),
    [
        ({"images": (1, 5, 9, 9)}, "scores", r"images of shape \(1, 5, 9, 9\) was given; this"),
        ({"images": (1, 3, 0, 9)}, "scores", r"this network takes \(N, 3, height, width\)"),
        ({"features8": (1, 16, 9, 9)}, "logits", "logits cannot be made from features8 by this"),
        ({}, "scores", "scores cannot be made from nothing"),
        ({"depth": (1, 3, 9, 9)}, "scores", "depth cannot be made from depth by this network"),
    ],
)
def test_maps_that_do_not_suit(
    good: Path, given: dict[str, tuple[int, ...]], wanted: str, message: str
) -> None:
    maps = {name: np.zeros(shape, np.float32) for name, shape in given.items()}
    with pytest.raises(FullyConvError, match=message):
        load(good).run(maps, [wanted])


def test_a_map_too_small_for_a_kernel(tmp_path: Path) -> None:
    write_ncnn(with_weights(NETWORKS["voc-fcn16s"]()), HEADER, tmp_path / "net")
    small = {"features16": np.zeros((1, 32, 2, 2), np.float32)}
    with pytest.raises(FullyConvError, match=r"cannot make features32 from .*: too little memory"):
        load(tmp_path / "net").run(small, ["features32"])


def test_without_ncnn(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", None)
    with pytest.raises(FullyConvError, match=r'pip install "fullyconv\[deploy\]"'):
        load(good)


@pytest.mark.parametrize(("value", "half"), [(float("nan"), False), (1e6, True)])
def test_weights_that_cannot_be_stored(tmp_path: Path, value: float, half: bool) -> None:
    network = with_weights(NETWORKS["vgg16"]())
    next(network.parameters()).data[0] = value
    path = tmp_path / "net"
    with pytest.raises(FullyConvError, match="a weight of the network is NaN or infinite in float"):
        write_ncnn(network, HEADER, path, half=half)
    assert not any(tmp_path.iterdir())
