"""Every network, stride and path: aligned with the image, of its size, covering it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import fx, nn

from classifiers import Squeeze
from fullyconv.config import Geometry, ModelConfig, PredictionStride
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.models.backbones import build_backbone
from fullyconv.models.convolutionalize import convolutionalize
from fullyconv.models.create import create_model
from fullyconv.models.fcn import FCN
from fullyconv.models.geometry import CoordMap
from fullyconv.models.layers import BilinearUpsample, Residual
from fullyconv.networks import BACKBONES
from fullyconv.surgery import transplant

# vgg16_torchvision is vgg16 with other preprocessing
DIFFERENT = [name for name in BACKBONES if name != "vgg16_torchvision"]
GEOMETRIES: list[tuple[str, Geometry]] = [
    *((name, "same") for name in DIFFERENT),
    *((name, "reference") for name in DIFFERENT if "efficientnet" not in name),
]
STRIDES: list[PredictionStride] = [32, 16, 8]
# With the coarser scores and, where there are any, without.
NETS: list[tuple[PredictionStride, bool]] = [*((s, True) for s in STRIDES), (16, False), (8, False)]


def build(
    name: str,
    geometry: Geometry,
    stride: PredictionStride,
    skips: bool = True,
    width: float = 1 / 16,
) -> FCN:
    model = create_model(
        ModelConfig(
            backbone=name,
            geometry=geometry,
            stride=stride,
            skips=skips,
            width=width,
            num_classes=2,
        )
    ).eval()
    assert isinstance(model, FCN)
    return model


def linearise(model: FCN, path: int) -> None:
    """Make every layer pass a ramp of positions on, and keep only the scores taken at ``path``."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            kernel = module.kernel_size[0]
            nn.init.zeros_(module.weight)
            per_group = module.weight.shape[0] // module.groups
            for out in range(module.weight.shape[0]):
                # within its group, each output passes on the input of its own number, if any
                source = out if module.groups == module.in_channels else out % per_group
                source = 0 if module.groups > 1 else source % module.weight.shape[1]
                if kernel % 2:
                    module.weight.data[out, source, kernel // 2, kernel // 2] = 1
                else:
                    module.weight.data[out, source] = 1 / kernel**2
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0
    replace_layers(model.backbone)
    for stride, score in model.head.score.items():
        if int(stride) != path:
            assert isinstance(score, nn.Conv2d)
            nn.init.zeros_(score.weight)


def replace_layers(module: nn.Module) -> None:
    """Pooling by averaging; normalisation, clipping and the residuals' addition by nothing."""
    for name, child in module.named_children():
        replace_layers(child)
        if isinstance(child, nn.MaxPool2d):
            average = nn.AvgPool2d(
                child.kernel_size,
                child.stride,
                child.padding,
                child.ceil_mode,
                count_include_pad=False,
            )
            setattr(module, name, average)
        elif isinstance(child, nn.LocalResponseNorm | nn.ReLU6):
            setattr(module, name, nn.Identity())
        elif isinstance(child, Residual):
            setattr(module, name, Mean(child))


class Mean(nn.Module):
    """A residual block whose two ways, each a ramp, are averaged: the sum would double it."""

    def __init__(self, block: Residual) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        both: torch.Tensor = self.block(x)
        return both / 2


@pytest.mark.parametrize(("stride", "skips"), NETS)
@pytest.mark.parametrize(("name", "geometry"), GEOMETRIES)
@torch.inference_mode()
def test_every_path_is_aligned_with_the_image(
    name: str, geometry: Geometry, stride: PredictionStride, skips: bool
) -> None:
    """A picture whose value is its row (then its column) comes out as that ramp, to 0.01 px."""
    size = (420, 390)
    rows = torch.arange(1.0, size[0] + 1).view(1, 1, -1, 1).expand(1, 3, *size)
    columns = torch.arange(1.0, size[1] + 1).view(1, 1, 1, -1).expand(1, 3, *size)
    for path in (s for s in STRIDES if s == stride or (skips and s > stride)):
        model = build(name, geometry, stride, skips)
        linearise(model, path)
        for ramp in (rows, columns):
            logits = model(ramp)
            inside = (..., slice(150, -150), slice(150, -150))
            error = (logits[:, 0][inside] - ramp[:, 0][inside]).abs().max()
            assert error < 0.01, (path, error)


@pytest.mark.parametrize(("stride", "skips"), NETS)
@pytest.mark.parametrize(("name", "geometry"), GEOMETRIES)
def test_sizes_are_labelled_whole(
    name: str, geometry: Geometry, stride: PredictionStride, skips: bool
) -> None:
    """Every size a coarse cell can be cut at, and every remainder by 32 (31 shares no factor)."""
    sizes = [*range(1, 36), *range(36, 601, 31)]
    check_sizes(build(name, geometry, stride, skips, width=1 / 64), sizes)


@pytest.mark.slow
@pytest.mark.parametrize(("stride", "skips"), NETS)
@pytest.mark.parametrize(("name", "geometry"), GEOMETRIES)
def test_all_sizes_are_labelled_whole(
    name: str, geometry: Geometry, stride: PredictionStride, skips: bool
) -> None:
    check_sizes(build(name, geometry, stride, skips, width=1 / 64), list(range(1, 601)))


@torch.inference_mode()
def check_sizes(model: FCN, heights: list[int]) -> None:
    """Logits are of the picture's size; in "same" geometry no pixel is left to fade.

    With zero kernels and biases of 1, a fully covered pixel scores the number of paths exactly.
    """
    paths = len(model.head.score)
    for score in model.head.score.values():
        assert isinstance(score, nn.Conv2d)
        assert score.bias is not None
        nn.init.ones_(score.bias)
    for height in heights:
        width = 1 + (height * 37) % 64  # of every remainder by 32, beside every height
        logits = model(torch.zeros(1, 3, height, width))
        assert logits.shape == (1, 2, height, width)
        if model.backbone.geometry == "same":
            torch.testing.assert_close(logits, torch.full_like(logits, paths))
        else:
            assert (logits > 0).all()


def test_forward_has_no_branch_on_sizes() -> None:
    """One exported graph with free height and width serves every size."""
    for config in ("voc-fcn8s", "fcn8s_googlenet", "fcn16s_alexnet", "fcn8s_efficientnet_lite0"):
        model = create_model(config, width=1 / 16).eval()
        auto = torch.export.Dim.AUTO
        exported = torch.export.export(
            model, (torch.rand(1, 3, 97, 131),), dynamic_shapes=({2: auto, 3: auto},)
        ).module()
        for size in ((64, 64), (33, 200), (150, 47)):
            images = torch.rand(1, 3, *size)
            torch.testing.assert_close(exported(images), model(images))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (3, 8, 9),
            r"with 3 channels C here; got \(3, 8, 9\); one .* is a batch of one: images\[No",
        ),
        ((2, 8, 9, 3), r"got \(2, 8, 9, 3\); channels come second: images.permute\(0, 3, 1, 2\)"),
        ((1, 4, 8, 9), r"images are \(N, C, H, W\) with 3 channels C here; got \(1, 4, 8, 9\)$"),
        ((8, 9), r"got \(8, 9\)$"),
    ],
)
@pytest.mark.parametrize("name", [*DIFFERENT, "siftflow-fcn32s", "a classifier"])
def test_what_is_no_batch_of_images_is_refused(
    name: str, shape: tuple[int, ...], message: str
) -> None:
    if name == "a classifier":
        model: nn.Module = FCN(convolutionalize(Squeeze().eval(), 96, whole_map="global"), 2)
    else:
        name = f"fcn32s_{name}" if name in DIFFERENT else name
        model = create_model(name, width=1 / 16)
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(shape))


def test_the_channels_that_are_wanted_are_said_and_followed() -> None:
    fused = create_model("nyud-fcn32s-color-hha", width=1 / 64)
    with pytest.raises(ValueError, match=r"with 6 channels C here; got \(1, 3, 8, 8\)"):
        fused(torch.zeros(1, 3, 8, 8))
    model = build("vgg16", "same", 32)
    for images in (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), np.zeros((1, 3, 8, 8))):
        with pytest.raises(ValueError, match=r"of floats in .*Preprocess makes; got "):
            model(images)
    # a first layer that somebody exchanges is what counts, and one that is not known takes any
    stage = model.backbone.stages["8"]
    assert isinstance(stage, nn.Sequential)
    first = stage[0]
    assert isinstance(first, nn.Conv2d)
    stage[0] = nn.Conv2d(5, first.out_channels, 3, 1, 1)
    assert model(torch.zeros(1, 5, 8, 8)).shape == (1, 2, 8, 8)
    stage[0] = Mean(Residual())
    assert model.backbone.in_channels is None
    with pytest.raises(ValueError, match=r"with any number of channels C here; got \(3, 8, 8\)"):
        model(torch.zeros(3, 8, 8))


def test_a_classifier_is_no_backbone() -> None:
    with pytest.raises(UsageError, match=r"is a Squeeze; .*becomes one by fullyconv.convolutional"):
        FCN(Squeeze(), 5)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
@torch.inference_mode()
def test_checked_images_are_traced_and_compiled_as_ever() -> None:
    model = build("vgg16", "same", 8)
    nn.init.normal_(model.get_parameter("head.score.8.weight"))
    images = torch.rand(1, 3, 40, 40)
    traced = torch.jit.trace(model, torch.rand(1, 3, 40, 40))  # type: ignore[no-untyped-call]
    torch.testing.assert_close(traced(images), model(images))
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images), model(images))
    assert any(node.op == "call_module" for node in fx.Tracer().trace(model.backbone).nodes)


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_single_layer_is_what_the_skip_net_has_of_it(name: str) -> None:
    """Without skips there is nothing after the layer, and its scores are the skip net's own."""
    whole, layer = build(name, "same", 16), build(name, "same", 16, skips=False)
    assert list(layer.head.score) == ["16"]
    assert list(layer.head.upsample) == list(layer.head.offset) == ["1"]
    assert list(layer.backbone.stages) == ["8", "16"]
    assert layer.backbone.maps == {s: whole.backbone.maps[s] for s in (8, 16)}
    assert layer.head.map.stride == 1
    assert layer.head.map.receptive_field < whole.head.map.receptive_field
    for score in whole.head.score.values():
        assert isinstance(score, nn.Conv2d)
        nn.init.normal_(score.weight)
    nn.init.zeros_(whole.get_parameter("head.score.32.weight"))
    report = transplant(layer, whole)
    assert not report.missing
    assert all(".32." in name for name in report.extra)
    images = torch.rand(1, 3, 70, 90)
    with torch.inference_mode():
        assert layer(images).abs().max() > 0
        torch.testing.assert_close(layer(images), whole(images))


def test_single_layers_of_a_net_of_several_parts() -> None:
    """Both heads, both streams, and the fixed factor on the layer, which stays where it was."""
    heads = create_model("siftflow-fcn8s", width=1 / 16, skips=False).eval()
    assert heads(torch.rand(1, 3, 20, 30))["geometric"].shape == (1, 3, 20, 30)
    streams = create_model("nyud-fcn32s-color-hha", width=1 / 16, stride=8, skips=False).eval()
    assert streams(torch.rand(1, 6, 20, 30)).shape == (1, 40, 20, 30)
    plain, scaled = (
        create_model("voc-fcn8s", width=1 / 16, skips=False, skip_scale=(1.0, factor)).eval()
        for factor in (1.0, 0.25)
    )
    nn.init.normal_(plain.get_parameter("head.score.8.weight"))
    scaled.load_state_dict(plain.state_dict())
    images = torch.rand(1, 3, 20, 30)
    torch.testing.assert_close(scaled(images), plain(images) / 4)


def test_the_scores_start_at_zero_and_upsampling_is_not_learned() -> None:
    model = create_model("fcn8s_vgg16", width=1 / 16).eval()
    assert not model(torch.rand(1, 3, 30, 30)).any()
    assert not any("upsample" in name for name, _ in model.named_parameters())
    assert not any("upsample" in name for name in model.state_dict())


def test_learned_upsampling_starts_bilinear_and_learns() -> None:
    fixed = create_model("fcn8s_vgg16", width=1 / 16, num_classes=3)
    learned = create_model("fcn8s_vgg16", width=1 / 16, num_classes=3, upsample="learned")
    names = [name for name, _ in learned.named_parameters() if "upsample" in name]
    assert names == ["head.upsample.16.weight", "head.upsample.8.weight"]  # the last stays fixed
    for parameter in fixed.parameters():
        nn.init.normal_(parameter, std=0.1)
    learned.load_state_dict(fixed.state_dict(), strict=False)
    images = torch.rand(1, 3, 40, 50)
    torch.testing.assert_close(learned.eval()(images), fixed.eval()(images))
    learned(images).square().sum().backward()
    gradient = learned.get_parameter(names[0]).grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_no_kernel_for_a_grid_that_no_kernel_can_reach() -> None:
    backbone = build_backbone("vgg16", width=1 / 64)
    at = backbone.maps[32]
    backbone.maps[32] = CoordMap(at.stride, at.start + Fraction(1, 4))
    with pytest.raises(FullyConvError, match="no bilinear kernel of factor 32"):
        FCN(backbone, 2, 32)


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"num_classes": 0}, "num_classes is 0; it must be"),
        ({"in_channels": 0}, "in_channels is 0"),
        ({"width": 0.0}, "width is 0.0"),
        ({"streams": ("a", "b"), "in_channels": 4}, "2 streams needs 6 input channels, not 4"),
    ],
)
def test_impossible_networks_are_refused(config: dict[str, object], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        ModelConfig(**config)  # type: ignore[arg-type]


def test_names_that_do_not_exist_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no network 'voc-fcn8'. Did you mean voc-fcn8s"):
        create_model("voc-fcn8")
    with pytest.raises(UsageError, match=r"no setting 'classes'"):
        create_model("voc-fcn8s", classes=3)
    with pytest.raises(UsageError, match=r"no backbone 'vgg'. Did you mean vgg16"):
        build_backbone("vgg")
    with pytest.raises(UsageError, match="EfficientNet-Lite has no 'reference' geometry"):
        build_backbone("efficientnet_lite0", geometry="reference")


def test_a_configuration_can_be_changed_on_the_way() -> None:
    config = ModelConfig(backbone="vgg16", width=1 / 64, num_classes=3)
    model = create_model(config, num_classes=4).eval()
    assert model(torch.zeros(1, 3, 8, 8)).shape == (1, 4, 8, 8)


def test_the_fixed_kernel_is_no_parameter() -> None:
    assert not list(BilinearUpsample(2, 4, 2).parameters())
