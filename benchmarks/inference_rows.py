"""The rows of inference.py: each loads one engine and gives a function that predicts once."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from train_step import PlainPort

from fullyconv.models.fast.elision import elide
from fullyconv.models.fast.winograd import with_winograd
from fullyconv.models.layers import channels_last

Array = NDArray[np.float32]
Predict = Callable[[], Any]
"""Runs the network once and returns its logits, as an array or a tensor."""


@dataclass(frozen=True)
class Case:
    """What every row runs.

    Attributes:
        model: The network.
        images: (N, C, H, W), preprocessed.
        calibration: Further ones, for int8.
        folder: For files.
        threads: Of the CPU.
    """

    model: nn.Module
    images: Array
    calibration: list[Array]
    folder: Path
    threads: int

    @property
    def size(self) -> tuple[int, int]:
        return self.images.shape[2], self.images.shape[3]

    def tensor(self) -> torch.Tensor:
        return torch.from_numpy(self.images)


# --- PyTorch


def _torch(case: Case, model: nn.Module, layout: torch.memory_format, bf16: bool) -> Predict:
    images = case.tensor().contiguous(memory_format=layout)

    def predict() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return model(images)

    return predict


def port(case: Case) -> Predict:
    """The plain port, with our weights; ours in NCHW where it is another network."""
    model = case.model
    ours = [part for part in model.modules() if isinstance(part, nn.Conv2d)]
    plain = PlainPort(model.head.num_classes).eval()
    theirs = [part for part in plain.modules() if isinstance(part, nn.Conv2d)]
    same = [part.weight.shape for part in ours] == [part.weight.shape for part in theirs]
    if same and model.backbone.geometry == "reference":
        for one, other in zip(theirs, ours, strict=True):
            one.load_state_dict(other.state_dict())
        model = plain
    return _torch(case, model, torch.contiguous_format, bf16=False)


def torch_channels_last(case: Case) -> Predict:
    return _torch(case, channels_last(case.model), torch.channels_last, bf16=False)


def torch_compiled(case: Case) -> Predict:
    model = torch.compile(channels_last(case.model))
    return _torch(case, model, torch.channels_last, bf16=False)


def torch_compiled_bf16(case: Case) -> Predict:
    model = torch.compile(channels_last(case.model))
    return _torch(case, model, torch.channels_last, bf16=True)


def ours_torch(case: Case) -> Predict:
    model = with_winograd(elide(channels_last(case.model)))
    return _torch(case, model, torch.channels_last, bf16=False)


# --- engines that read ONNX


def onnx_file(case: Case, elided: bool) -> Path:
    """The network as ONNX, written once for all rows."""
    path = case.folder / f"{'elided' if elided else 'plain'}.onnx"
    if not path.exists():
        model = elide(case.model, case.size) if elided else case.model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model, (case.tensor(),), path, dynamo=True, external_data=True, verbose=False
            )
    return path


def onnx_runtime(case: Case) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = case.threads
    session = onnxruntime.InferenceSession(onnx_file(case, elided=False), options)
    name = session.get_inputs()[0].name
    return lambda: session.run(None, {name: case.images})[0]


def _openvino(case: Case, model: Any, precision: str) -> Predict:
    import openvino

    compiled = openvino.Core().compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": case.threads,
            "PERFORMANCE_HINT": "LATENCY",
        },
    )
    request = compiled.create_infer_request()
    return lambda: request.infer([case.images])[0]


def openvino(precision: str, elided: bool) -> Callable[[Case], Predict]:
    return lambda case: _openvino(case, onnx_file(case, elided), precision)


def openvino_int8(elided: bool, kept: Callable[[int, int], bool]) -> Callable[[Case], Predict]:
    """Post-training quantisation, but for the convolutions kept, by their number and the count."""

    def load(case: Case) -> Predict:
        import nncf
        import openvino

        model = openvino.Core().read_model(onnx_file(case, elided))
        operations = model.get_ordered_ops()
        convolutions = [op for op in operations if op.get_type_name() == "Convolution"]
        names = [
            op.get_friendly_name()
            for number, op in enumerate(convolutions)
            if kept(number, len(convolutions))
        ]
        if names:
            names += [
                op.get_friendly_name()
                for op in operations
                if "ConvolutionBackprop" in op.get_type_name()
            ]
        quantized = nncf.quantize(
            model,
            nncf.Dataset(case.calibration),
            subset_size=len(case.calibration),
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(names=names, validate=False),
        )
        return _openvino(case, quantized, "bf16")

    return load


def opencv(case: Case) -> Predict:
    """OpenCV's DNN module; fed with ONNX, which has no learned constants that Caffe's lacks."""
    import cv2
    import onnx

    path = case.folder / "single.onnx"  # OpenCV reads no weights outside the file
    if not path.exists():
        onnx.save(onnx.load(onnx_file(case, elided=False)), path)
    net = cv2.dnn.readNetFromONNX(str(path))
    cv2.setNumThreads(case.threads)

    def predict() -> Array:
        net.setInput(case.images)
        return net.forward()

    return predict


def ncnn_plain(case: Case) -> Predict:
    """As pnnx converts the network."""
    import ncnn
    import pnnx

    stem = case.folder / "plain"
    if not stem.with_suffix(".ncnn.param").exists():
        here = Path.cwd()
        os.chdir(case.folder)  # pnnx leaves files where it is
        pnnx.export(case.model, "plain.pt", case.tensor(), fp16=False)
        os.chdir(here)
    net = ncnn.Net()
    net.opt.num_threads = case.threads
    net.load_param(str(stem.with_suffix(".ncnn.param")))
    net.load_model(str(stem.with_suffix(".ncnn.bin")))

    def predict() -> Array:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(case.images[0]))
        return np.array(extractor.extract("out0")[1])[None]

    return predict


# --- CUDA


def cuda(compiled: bool, batch: int) -> Callable[[Case], Predict]:
    def load(case: Case) -> Predict:
        images = case.tensor().expand(batch, -1, -1, -1).cuda()
        model = case.model.cuda()
        if compiled:
            model = elide(channels_last(model), case.size)
            model = torch.compile(model, mode="reduce-overhead")
            images = images.contiguous(memory_format=torch.channels_last)

        def predict() -> torch.Tensor:
            with torch.autocast("cuda", torch.bfloat16, enabled=compiled):
                logits = model(images)
            torch.cuda.synchronize()
            return logits[:1].float().cpu() if batch == 1 else logits[0, :1, :1, :1]

        return predict

    return load


@dataclass(frozen=True)
class Row:
    """A way to predict: precision it is compared at, how it is loaded, and whether it is ours."""

    precision: str
    load: Callable[[Case], Predict]
    ours: bool = False


def _none(number: int, count: int) -> bool:
    return False


def _early_and_scores(number: int, count: int) -> bool:
    """VGG16's up to conv4_1 and the three scores: where int8 costs labels and saves little."""
    return count == 18 and (number < 8 or number >= 15)


ROWS = {
    "plain port, NCHW": Row("float32", port),
    "torch, channels last": Row("float32", torch_channels_last),
    "torch.compile": Row("float32", torch_compiled),
    "ONNX Runtime": Row("float32", onnx_runtime),
    "OpenVINO f32": Row("float32", openvino("f32", elided=False)),
    "OpenCV DNN (ONNX)": Row("float32", opencv),
    "ncnn (pnnx)": Row("float32", ncnn_plain),
    "ours, float32": Row("float32", ours_torch, ours=True),
    "ours, float32, OpenVINO": Row("float32", openvino("f32", elided=True), ours=True),
    "torch.compile bf16": Row("any", torch_compiled_bf16),
    "OpenVINO bf16": Row("any", openvino("bf16", elided=False)),
    "OpenVINO int8": Row("any", openvino_int8(False, _none)),
    "ours, bf16": Row("any", openvino("bf16", elided=True), ours=True),
    "ours, int8 and bf16": Row("any", openvino_int8(True, _early_and_scores), ours=True),
    "ours, int8": Row("any", openvino_int8(True, _none), ours=True),
}
CUDA_ROWS = {
    f"{name}, batch {batch}": Row(f"cuda {batch}", cuda(compiled, batch), ours=compiled)
    for batch in (1, 16)
    for name, compiled in (("CUDA, plain float32", False), ("CUDA, ours, graphs, bf16", True))
}
