"""Single layers written for ncnn, against PyTorch's, on maps of one cell and more."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fullyconv.errors import FullyConvError
from fullyconv.models.layers import DilatedAverage, DilatedMaxPool2d
from fullyconv.models.traced import Traced
from fullyconv.runtimes.ncnn_graph import Graph
from fullyconv.runtimes.ncnn_layers import add_layer

ncnn = pytest.importorskip("ncnn")


def run(layer: nn.Module, x: Tensor, folder: Path) -> np.ndarray:
    """A layer (C, h, w) to (C', h', w') through ncnn's files."""
    graph = Graph()
    graph.input("images", x.shape[0])
    graph.keep(add_layer(graph, layer.eval(), "images"), "y")
    graph.merge()
    (folder / "param").write_text(graph.write_text())
    with (folder / "bin").open("wb") as file:
        graph.write_weights(file, half=False)
    net = ncnn.Net()
    options = net.opt
    options.num_threads = 1
    options.use_fp16_storage = options.use_fp16_packed = options.use_fp16_arithmetic = False
    assert net.load_param(str(folder / "param")) == 0
    assert net.load_model(str(folder / "bin")) == 0
    extractor = net.create_extractor()
    extractor.input("images", ncnn.Mat(x.numpy()).clone())
    status, mat = extractor.extract("y")
    assert status == 0
    return np.array(mat)


def norm(channels: int, affine: bool = True) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(channels, affine=affine)
    for tensor in layer.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 2)
    return layer


class Calls(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = F.dropout(torch.relu(x), training=False).contiguous()
        return torch.cat([y + x, F.relu(x), torch.add(x, y)], 1)


LAYERS: list[Callable[[], nn.Module]] = [
    nn.ReLU,
    nn.ReLU6,
    lambda: nn.LeakyReLU(0.2),
    lambda: nn.Hardtanh(-0.5, 0.7),
    nn.ELU,
    nn.SiLU,
    nn.Mish,
    nn.Sigmoid,
    nn.Tanh,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Identity,
    lambda: norm(8),
    lambda: norm(8, affine=False),
    lambda: nn.LocalResponseNorm(5, alpha=0.1, beta=0.75, k=2),
    lambda: nn.Sequential(nn.Conv2d(8, 6, (1, 7), padding=(0, 3), bias=False), norm(6), nn.ReLU6()),
    lambda: nn.Sequential(nn.Conv2d(8, 16, 3, 2, 2, 2, groups=2), nn.LeakyReLU(0.3)),
    lambda: nn.Sequential(nn.ZeroPad2d((1, 2, 0, 3)), nn.Conv2d(8, 4, 3, padding="same")),
    lambda: nn.Sequential(nn.ReLU(), nn.ZeroPad2d(1), nn.MaxPool2d(3, 2)),
    lambda: nn.MaxPool2d(2, 2, ceil_mode=True),
    lambda: nn.MaxPool2d(2, 2, padding=1, ceil_mode=True),
    lambda: nn.MaxPool2d((3, 2), (3, 1), padding=(1, 0), ceil_mode=True),
    lambda: nn.MaxPool2d(3, 2, padding=1),
    lambda: DilatedMaxPool2d(3, 1, 3, 3, ceil_mode=True),
    lambda: nn.MaxPool2d(3, 1, 1, 2),
    lambda: nn.AvgPool2d(3, 2, 1),
    lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    lambda: nn.AvgPool2d(2, 2, ceil_mode=True),
    lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
    lambda: DilatedAverage(nn.AvgPool2d(3, 2, 1), 1, 2),
    lambda: Traced(fx.symbolic_trace(Calls())),
]


@pytest.mark.parametrize("number", range(len(LAYERS)))
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 5), (7, 10), (16, 9)])
def test_a_layer_is_pytorchs(tmp_path: Path, number: int, height: int, width: int) -> None:
    torch.manual_seed(number)
    layer, x = LAYERS[number]().eval(), torch.randn(8, height, width)
    try:
        with torch.no_grad():
            expected = layer(x.clone()[None])[0].numpy()
    except RuntimeError:
        pytest.skip("PyTorch has no cell for a map so small")
    np.testing.assert_allclose(run(layer, x, tmp_path), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.GroupNorm(2, 8), "layers of this kind: GroupNorm"),
        (nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), "Conv2d .*padding_mode=reflect"),
        (nn.MaxPool2d(2, 2, dilation=2), "dilated max pooling with a stride"),
        (nn.AvgPool2d(2, 2, divisor_override=3), "divides by another number than it adds"),
        (nn.AvgPool2d(3, 2, 1, ceil_mode=True), "divides by another number than it adds"),
        (nn.BatchNorm2d(8, track_running_stats=False), "batch norm without running statistics"),
        (nn.LocalResponseNorm(4), "over an even number of channels"),
    ],
)
def test_a_layer_that_ncnn_lacks(tmp_path: Path, layer: nn.Module, message: str) -> None:
    with pytest.raises(FullyConvError, match=message):
        run(layer, torch.zeros(8, 4, 4), tmp_path)


@pytest.mark.parametrize("call", [lambda x: x * x, lambda x: operator.add(x, 1), torch.exp])
def test_a_function_that_is_not_written(tmp_path: Path, call: Callable[[Tensor], Tensor]) -> None:
    class Called(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return call(x)

    with pytest.raises(FullyConvError, match="layers of this kind: (mul|add|exp) of"):
        run(Traced(fx.symbolic_trace(Called())), torch.zeros(8, 4, 4), tmp_path)
