"""Anybody's classifier made fully convolutional: the same scores, aligned maps, honest refusals."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fullyconv as fc
from classifiers import CLASSIFIERS, VGG, Inception, ResNet, Squeeze
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.models.backbones.backbone import PaddedBackbone
from fullyconv.models.convolutionalize import convolutionalize

SIZE = 224


def varied(model: nn.Module) -> nn.Module:
    """Batch norm as after training, so that it is not the identity."""
    torch.manual_seed(1)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            layer.running_mean, layer.running_var = (
                torch.rand(layer.num_features) + offset for offset in (0, 0.5)
            )
    return model.eval()


@torch.no_grad()
def scores(backbone: PaddedBackbone, images: Tensor) -> Tensor:
    result: Tensor = backbone.classifier(backbone(images)[max(backbone.channels)])
    return result


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_picture_of_its_own_size_gets_the_classifiers_own_scores(name: str) -> None:
    model = varied(CLASSIFIERS[name]())
    images = torch.rand(2, 3, SIZE, SIZE)
    valid = convolutionalize(model, SIZE, geometry="valid")
    own = model(images)
    assert scores(valid, images).shape == (2, 5, 1, 1)
    torch.testing.assert_close(scores(valid, images)[..., 0, 0], own, rtol=1e-5, atol=1e-6)
    same = scores(convolutionalize(model, (SIZE, SIZE)), images)
    centre = same.shape[-1] // 2
    torch.testing.assert_close(same[..., centre, centre], own, rtol=1e-5, atol=1e-6)
    assert own.std() > 1e-3


def test_each_cell_of_a_larger_picture_is_the_classifier_on_its_part_of_it() -> None:
    """Exactly so where no padding takes part: a VGG without any."""
    model = VGG()
    model.avgpool = nn.Identity()  # type: ignore[assignment]
    for conv in model.convs:
        conv.padding = (0, 0)  # type: ignore[assignment]
    window = 7
    for _ in model.convs:  # backwards from the 7 x 7 cells that its first linear layer takes
        window = 2 * window + 2
    varied(model)
    images = torch.rand(1, 3, window + 64, window + 32)
    grid = scores(convolutionalize(model, window, geometry="valid"), images)
    assert grid.shape[-2:] == (3, 2)
    for row in range(3):
        for column in range(2):
            part = images[..., 32 * row :, 32 * column :][..., :window, :window]
            own = model(part)
            torch.testing.assert_close(grid[..., row, column], own, rtol=1e-4, atol=1e-6)


def flat(model: nn.Module) -> nn.Module:
    """Every window an average: how much a cell sees of each pixel is then symmetric around it."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        for name, child in layer.named_children():
            if isinstance(child, nn.MaxPool2d):
                average = nn.AvgPool2d(child.kernel_size, child.stride, child.padding)
                setattr(layer, name, average)
            elif isinstance(child, nn.LayerNorm | nn.ReLU):
                setattr(layer, name, nn.Identity())
            elif isinstance(child, nn.Linear):
                nn.init.ones_(child.weight)
    return model.eval()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_cells_lie_where_the_maps_say_and_see_as_far(name: str) -> None:
    """Measured by gradients: their centre of mass, and how many rows they reach."""
    made = Inception(F.avg_pool2d) if name == "inception" else CLASSIFIERS[name]()
    backbone = convolutionalize(flat(made))
    size = 640
    images = torch.ones(1, 3, size, size, requires_grad=True)
    features = backbone(images)
    for stride, at in backbone.maps.items():
        cell = round((size / 2 - float(at.start)) / stride)
        (gradient,) = torch.autograd.grad(
            features[stride][0, :, cell, cell].double().sum(), images, retain_graph=True
        )
        for axis in (2, 3):
            seen = gradient[0].abs().double().sum((0, 4 - axis)).numpy()
            centre = (seen * np.arange(size)).sum() / seen.sum()
            assert centre == pytest.approx(float(at.start) + stride * cell, abs=1e-3), stride
        reached = [np.ptp(np.nonzero(gradient[0].abs().sum((0, d)).numpy())) + 1 for d in (1, 2)]
        assert max(reached) == at.receptive_field


@pytest.mark.parametrize("name", CLASSIFIERS)
@torch.inference_mode()
def test_an_fcn_of_it_labels_every_size_whole(name: str) -> None:
    backbone = convolutionalize(CLASSIFIERS[name]())
    for stride in (32, 16, 8):
        model = fc.FCN(backbone, 3, stride=stride).eval()
        for size in (*range(1, 40), 64, 97, 131):
            assert model(torch.rand(1, 3, size, size + 3)).shape == (1, 3, size, size + 3)
        nn.init.ones_(model.head.score["32"].bias)  # type: ignore[arg-type]
        covered = model(torch.rand(1, 3, 70, 45))  # a constant score reaches every pixel undimmed
        torch.testing.assert_close(covered, torch.ones_like(covered))
        nn.init.zeros_(model.head.score["32"].bias)  # type: ignore[arg-type]


def test_an_fcn_needs_features_at_its_stride() -> None:
    end = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    backbone = convolutionalize(nn.Sequential(nn.Conv2d(3, 4, 3, 16, 1), *end), 96)
    assert fc.FCN(backbone, 3, stride=16)(torch.rand(1, 3, 50, 70)).shape == (1, 3, 50, 70)
    with pytest.raises(UsageError, match="no features at stride 8: this backbone has them at 16"):
        fc.FCN(backbone, 3)


def test_it_trains_and_leaves_the_classifier_as_it_was() -> None:
    model = ResNet().train()
    before = deepcopy(model.state_dict())
    network = fc.FCN(fc.convolutionalize(model), num_classes=4)
    assert network.backbone.training
    nn.init.ones_(network.head.score["32"].weight)  # type: ignore[arg-type]
    network(torch.rand(2, 3, 64, 64)).square().mean().backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None]
    assert missing == [f"backbone.classifier.0.body.fc_1.{part}" for part in ("weight", "bias")]
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert model.relu.inplace


@pytest.mark.parametrize("linear", [False, True])
def test_squeeze_and_excitation_is_refused_kept_or_made_local(linear: bool) -> None:
    model = Squeeze(linear).eval()
    with pytest.raises(FullyConvError, match="squeeze-and-excitation.*whole_map=.local."):
        convolutionalize(model, 96)
    images = torch.rand(2, 3, 96, 96)
    kept = convolutionalize(model, 96, whole_map="global")
    torch.testing.assert_close(scores(kept, images)[..., 0, 0], model(images))
    local = convolutionalize(model, 96, whole_map="local")
    far = torch.rand(1, 3, 320, 320)
    near = far.clone()
    near[..., -32:] = 0  # what lies outside of a cell's window changes nothing
    for backbone, same in ((kept, False), (local, True)):
        left, right = (backbone(x)[8][..., :20, :20] for x in (far, near))
        assert torch.allclose(left, right) == same
    seen, wide = (b.maps[32].receptive_field for b in (kept, local))
    assert wide == seen + 8 * 11  # 12 cells of stride 8 for the example
    constant = torch.rand(1, 3, 1, 1).expand(1, 3, 640, 640)
    centre = (..., slice(30, 50), slice(30, 50))
    torch.testing.assert_close(kept(constant)[8][centre], local(constant)[8][centre],
                               rtol=0.02, atol=1e-3)  # fmt: skip


def test_branches_of_different_grids_are_refused_or_taken_as_the_first() -> None:
    model = ResNet(pooled=True).eval()
    with pytest.raises(FullyConvError, match="layers.1: parallel branches lie on different grids"):
        convolutionalize(model)
    backbone = convolutionalize(model, misaligned="first")
    assert backbone.maps[8] == convolutionalize(ResNet()).maps[8]
    assert backbone.multiple == 32  # at odd sizes its branches have different numbers of cells
    network = fc.FCN(backbone, 3).eval()
    for size in (1, 31, 33, 100):
        assert network(torch.rand(1, 3, size, 50)).shape == (1, 3, size, 50)


def sequence(*layers: nn.Module) -> nn.Module:
    """Stride 8, then whatever is to be tried."""
    return nn.Sequential(nn.Conv2d(3, 4, 3, 8, 1), *layers)


class Calls(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[..., Any], *parameters: Tensor) -> None:
        super().__init__()
        self.function = function
        self.parameter = nn.Parameter(torch.cat(parameters)) if parameters else None

    def forward(self, x: Tensor) -> Any:
        return self.function(x) if self.parameter is None else self.function(x, self.parameter)


END = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (sequence(nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 5)), "1 .Adap.* to .3, 3."),
        (sequence(nn.GroupNorm(2, 4), *END), "1 .GroupNorm. normalises by the whole map"),
        (sequence(nn.LayerNorm([4, 12, 12]), *END), "over rows and columns of a fixed number"),
        (sequence(nn.ConvTranspose2d(4, 4, 2, 2), *END), "1 .ConvTranspose2d. has no fully"),
        (sequence(nn.Softmax(2), *END), "attention over cells"),
        (sequence(nn.Linear(12, 12), *END), "mixes the columns of a map"),
        (sequence(Calls(lambda x: x.flatten(2).transpose(1, 2)), nn.Linear(4, 5)), "tokens|cells"),
        (sequence(Calls(lambda x: (x, x))), "gives several results"),
        (sequence(Calls(lambda x: x[:, :, :5]), *END), "cuts a part out of a map"),
        (sequence(Calls(lambda x: x.chunk(2, 2)[0]), *END), "cuts a map into parts"),
        (sequence(Calls(lambda x: x.mean(1, keepdim=True))), "averages over the dimensions 1"),
        (sequence(Calls(lambda x: torch.cat([x, x], 3)), *END), "puts maps side by side"),
        (sequence(Calls(lambda x: x.cumsum(2)), *END), "uses cumsum, which has no"),
        (sequence(Calls(lambda x: x @ x), *END), "uses matmul|joins maps by matmul"),
        (sequence(Calls(lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect")), *END), "pads by"),
        (sequence(Calls(lambda x, p: x + p, torch.ones(4, 12, 12)), *END), "fixed grid of cells"),
        (sequence(Calls(lambda x: x + F.max_pool2d(x, 2, 2).sum()), *END), "uses sum"),
        (sequence(Calls(lambda x: x.transpose(1, 3).flatten(1)), nn.Linear(576, 5)), "come first"),
        (sequence(Calls(lambda x: x.permute(0, 3, 1, 2)), nn.Conv2d(12, 4, 1), *END), "last two"),
        (sequence(nn.ZeroPad2d((1, 2, 2, 1)), *END), "rows and columns .* different grids"),
        (nn.Sequential(nn.Conv2d(3, 4, 3, 4, 1), *END), "have stride 4; they are tapped"),
        (nn.Sequential(nn.Flatten(), nn.Linear(27648, 5)), "Sequential has no convolution"),
        (sequence(nn.Flatten(), nn.Linear(7, 5)), "fails on an example of .2, 3, 96, 96."),
        (sequence(Calls(lambda x: x if x.sum() > 0 else -x), *END), "its layer 1 .Calls. decides"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_named(model: nn.Module, said: str) -> None:
    with pytest.raises(FullyConvError, match=said):
        convolutionalize(model, 96)


@pytest.mark.parametrize(
    "layer",
    [
        nn.ZeroPad2d((1, 2, 1, 2)),
        nn.ChannelShuffle(2),
        nn.Softmax(1),
        Calls(lambda x: F.pad(x, (2, 1, 2, 2))),
        Calls(lambda x: F.softmax(x, dim=1)),
        Calls(lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2)),
        Calls(lambda x: torch.relu_(x) * 2 - 1),
        Calls(lambda x: x.sigmoid_().mul(3)),
        Calls(lambda x: torch.split(x, 2, 1)[1].index_select(1, torch.tensor([0, 1, 1, 0]))),
        Calls(lambda x: x + 0 * x[:, :1]),
        Calls(lambda x: F.avg_pool2d(x, 3, 1, 1) + x.mean((2, 3), keepdim=True) * 0.0 + x),
    ],
)
def test_layers_and_functions_that_move_nothing_are_let_through(layer: nn.Module) -> None:
    model = sequence(layer, nn.Conv2d(4, 4, 3, 2, 1), *END).eval()
    images = torch.rand(2, 3, 96, 96)
    backbone = convolutionalize(model, 96, whole_map="global")
    torch.testing.assert_close(scores(backbone, images)[..., 0, 0], model(images))


def test_what_is_no_classifier_is_refused() -> None:
    for model, size, said in (("resnet18", 224, "a str for pictures"), (ResNet(), -1, "-1 x -1")):
        with pytest.raises(UsageError, match=said):
            convolutionalize(model, size)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="num_classes is 0"):
        fc.FCN(convolutionalize(ResNet()), 0)


class Functional(nn.Module):
    """Layers of one's own that call functions, as timm's do; an option that is left out."""

    def __init__(self, computed: bool = False) -> None:
        super().__init__()
        self.computed = computed
        self.kernel = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.last = nn.Parameter(torch.randn(5, 4))
        self.bias = nn.Parameter(torch.randn(5))

    def forward(self, x: Tensor, option: Tensor | None = None) -> Tensor:
        kernel = self.kernel.abs() if self.computed else self.kernel
        x = F.conv2d(x, kernel, None, (8, 8), padding=[1, 1])
        return F.linear(F.relu(x).mean((2, 3)), self.last, self.bias)


def test_layers_called_as_functions_are_layers() -> None:
    model, images = Functional().eval(), torch.rand(2, 3, 96, 96)
    backbone = convolutionalize(model, 96)
    torch.testing.assert_close(scores(backbone, images)[..., 0, 0], model(images))
    assert backbone.maps[8].receptive_field == 3
    assert fc.FCN(fc.dilate(backbone, 4), 2, stride=8)(images).shape == (2, 2, 96, 96)
    with pytest.raises(FullyConvError, match="uses conv2d with weights that it computes"):
        convolutionalize(Functional(computed=True), 96)


@pytest.mark.parametrize(
    "end",
    [
        (nn.AvgPool2d(12), nn.Flatten()),
        (nn.MaxPool2d(12), nn.Flatten()),
        (nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 5, bias=False)),
        (Calls(lambda x: F.adaptive_max_pool2d(x, 1).flatten(1)),),
        (nn.Flatten(), nn.Linear(576, 5)),
        (nn.Conv2d(4, 5, 12), nn.Flatten()),
        (nn.GroupNorm(2, 4), *END),
    ],
)
def test_ends_of_classifiers(end: tuple[nn.Module, ...]) -> None:
    model = varied(sequence(nn.ReLU(), *end))
    images = torch.rand(2, 3, 96, 96)
    backbone = convolutionalize(model, 96, geometry="valid", whole_map="global")
    dense = scores(backbone, images)
    torch.testing.assert_close(dense[..., 0, 0], model(images), rtol=1e-5, atol=1e-6)
    assert backbone.channels == ({8: 5} if isinstance(end[0], nn.Conv2d) else {8: 4})
