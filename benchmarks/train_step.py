"""Seconds and peak memory of one training step of FCN-8s-VGG16, ours beside a plain port.

    python benchmarks/train_step.py [--steps 3] [--size 375 500]

One picture, 21 classes, the loss summed over pixels, SGD with momentum 0.99 (the authors' regime).
Each variant runs in a process of its own, one after the other, so that its peak memory is its own.
The plain port is written as such ports usually are: NCHW, dense transposed convolutions, padding
100, float32. The floor is what the convolutions' operations take at the measured peak of a matrix
product: three times a forward pass (forward, gradient of the input, gradient of the weights).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import fullyconv as fc
from fullyconv.models.layers import bilinear_kernel, channels_last

VARIANTS = {
    "plain port, float32": ("port", "float32"),
    "ours, reference, float32": ("reference", "float32"),
    "ours, reference, bfloat16": ("reference", "bfloat16"),
    "ours, same, float32": ("same", "float32"),
    "ours, same, bfloat16": ("same", "bfloat16"),
}


class PlainPort(nn.Module):
    """FCN-8s the way it is usually ported: numbers written down, full upsampling kernels."""

    def __init__(self, classes: int = 21) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, padding = 3, 100
        self.cuts = []
        for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, padding=padding), nn.ReLU(inplace=True)]
                channels, padding = width, 1
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=True))
            self.cuts.append(len(layers))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Conv2d(512, 4096, 7),
            nn.ReLU(inplace=True),
            nn.Dropout2d(),
            nn.Conv2d(4096, 4096, 1),
            nn.ReLU(inplace=True),
            nn.Dropout2d(),
            nn.Conv2d(4096, classes, 1),
        )
        self.score4, self.score3 = nn.Conv2d(512, classes, 1), nn.Conv2d(256, classes, 1)
        self.up2, self.up4 = (
            nn.ConvTranspose2d(classes, classes, 4, 2, bias=False) for _ in range(2)
        )
        self.up8 = nn.ConvTranspose2d(classes, classes, 16, 8, bias=False)
        for up in (self.up2, self.up4, self.up8):
            kernel = bilinear_kernel(up.kernel_size[0])
            up.weight.data.copy_(torch.eye(classes)[:, :, None, None] * kernel)
            up.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        image = x
        x = pool3 = self.features[: self.cuts[2]](x)
        x = pool4 = self.features[self.cuts[2] : self.cuts[3]](x)
        x = self.classifier(self.features[self.cuts[3] :](x))
        x = self.up2(x)
        x = x + self.score4(pool4)[:, :, 5 : 5 + x.shape[2], 5 : 5 + x.shape[3]]
        x = self.up4(x)
        x = x + self.score3(pool3)[:, :, 9 : 9 + x.shape[2], 9 : 9 + x.shape[3]]
        x = self.up8(x)
        return x[:, :, 31 : 31 + image.shape[2], 31 : 31 + image.shape[3]].contiguous()


def build(kind: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    if kind == "port":
        model: nn.Module = PlainPort().train()
        trained = [p for p in model.parameters() if p.requires_grad]
        return model, torch.optim.SGD(trained, lr=1e-10, momentum=0.99, weight_decay=5e-4)
    model = channels_last(fc.create_model("fcn8s_vgg16", num_classes=21, geometry=kind).train())
    return model, fc.sgd(model, lr=1e-10, momentum=0.99, weight_decay=5e-4)


def measure(kind: str, precision: str, size: tuple[int, int], steps: int) -> dict[str, float]:
    """Seconds of the fastest step after one to warm up, and the process's peak memory."""
    model, optimizer = build(kind)
    images, target = torch.randn(1, 3, *size), torch.randint(0, 21, (1, *size))
    if kind != "port":
        images = images.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(images)
        F.cross_entropy(logits.float(), target, reduction="sum").backward()
        optimizer.step()
        optimizer.zero_grad()

    seconds = [timed(step) for _ in range(steps + 1)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.to("meta").eval()(images.to("meta"))
    return {"seconds": min(seconds[1:]), "peak": peak, "flop": 3 * counter.get_total_flops()}


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def peak_flops(dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product, the best of twenty."""
    a = torch.randn(2048, 2048).to(dtype)
    b = a.clone()
    return 2 * 2048**3 / min(timed(lambda: a @ b) for _ in range(20))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--size", type=int, nargs=2, default=(375, 500))
    parser.add_argument(
        "--variant", choices=VARIANTS, help="internal: measure this one, print JSON"
    )
    options = parser.parse_args()
    size = (options.size[0], options.size[1])
    if options.variant:
        print(json.dumps(measure(*VARIANTS[options.variant], size, options.steps)))
        return
    peaks = {name: peak_flops(getattr(torch, name)) for name in ("float32", "bfloat16")}
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}, matrix product "
        + ", ".join(f"{peak / 1e9:.0f} GFLOP/s {name}" for name, peak in peaks.items())
    )
    print(f"{'variant':<28}{'seconds':>9}{'ratio':>8}{'peak GiB':>10}{'of floor':>10}")
    first = 0.0
    for name, (_, precision) in VARIANTS.items():
        command = [sys.executable, __file__, "--variant", name, "--steps", str(options.steps)]
        command += ["--size", *map(str, size)]
        output = subprocess.run(command, check=True, capture_output=True, env=os.environ).stdout
        result = json.loads(output)
        first = first or result["seconds"]
        floor = result["flop"] / peaks[precision]
        print(
            f"{name:<28}{result['seconds']:>9.2f}{first / result['seconds']:>8.2f}"
            f"{result['peak'] / 2**30:>10.2f}{floor / result['seconds']:>10.0%}"
        )


if __name__ == "__main__":
    main()
