"""From a checkpoint to a file for another engine: what is in it, and that it is checked."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from exported import NETWORKS, checkpoint, header_of
from fullyconv import quantizing
from fullyconv.checkpoint import load_model, save_model
from fullyconv.cli import run
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.exporting import export
from fullyconv.models.fast.plan import Plan
from fullyconv.models.fast.stages import Stages
from fullyconv.prediction.predictor import Predictor
from fullyconv.runtimes.engine import HEADER, PLAN
from fullyconv.runtimes.onnx_writer import write_onnx
from fullyconv.runtimes.open import open_runtime

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

Photo = np.ndarray


@pytest.fixture(scope="module")
def tiny() -> Path:
    return checkpoint("tiny")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Noise in images/, and in labels/ ids of three classes in blocks."""
    rng = np.random.default_rng(0)
    for number in range(4):
        for kind, shape in (("images", (40, 56, 3)), ("labels", (40, 56))):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256 if kind == "images" else 3, shape).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / kind / f"{number}.png")
    return tmp_path / "data"


def labels(model: Path, photo: Photo, **options: Any) -> np.ndarray:
    return Predictor(model, **options)(photo).labels


def test_everything_is_in_the_file(
    tiny: Path, tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command: any size, the checks printed, header, plan and licence inside."""
    out = tmp_path / "made" / "tiny.onnx"
    args = ["export", str(tiny), "--to", "onnx", "--out", str(out), "--verify-on"]
    assert run([*args, str(photos / "images")]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"writing {out}\ncomparing it with PyTorch\npicture ")
    for name in ("1 x 1", "33 x 7", "301 x 417", "3.png", f"{out} ("):
        assert name in shown
    texts = {p.key: p.value for p in onnx.load(out).metadata_props}
    assert json.loads(texts[HEADER]) == json.loads(header_of(NETWORKS["tiny"]).to_json())
    assert Plan.from_dict(json.loads(texts[PLAN])) == Stages(load_model(tiny)).plan
    assert texts["licence"] == "none: random numbers"
    assert sorted(p.name for p in out.parent.iterdir()) == ["tiny.onnx"]
    photo = np.random.default_rng(0).integers(0, 256, (31, 45, 3)).astype(np.uint8)
    assert np.array_equal(labels(out, photo), labels(tiny, photo))


def test_it_goes_beside_its_checkpoint(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every run's is called best; the shipped ones lie in the package."""
    here, best = tmp_path / "here", tmp_path / "runs" / "best.safetensors"
    best.parent.mkdir()
    here.mkdir()
    best.write_bytes(tiny.read_bytes())
    monkeypatch.chdir(here)
    assert export(best, "ncnn").files == (best.with_suffix(".ncnn"),)
    assert export(Path("../runs"), "ncnn").files == (Path("../runs/best.ncnn"),)
    assert not list(here.iterdir())
    assert export("camvid", "ncnn", size=(32, 32)).files == (Path("camvid.ncnn"),)
    assert (here / "camvid.ncnn").is_dir()


def test_half_the_size(tiny: Path, tmp_path: Path) -> None:
    whole, half = (
        export(tiny, "onnx", out=tmp_path / f"{p}.onnx", precision=p)
        for p in ("float32", "float16")
    )
    assert max(check.difference for check in whole.checks) < 1e-5
    assert 1e-6 < max(check.difference for check in half.checks) < 5e-3
    kernels = [kernels_of(result.files[0]) for result in (whole, half)]
    assert {k.removesuffix(".float16") for k in kernels[1]} == set(kernels[0])
    assert 2 * sum(kernels[1].values()) == sum(kernels[0].values())


def test_why_a_file_is_twice_the_size_of_a_checkpoint_is_said(tiny: Path, tmp_path: Path) -> None:
    """Of a checkpoint that is stored in float16, as fcn train writes them, and no other."""
    stored = tmp_path / "half.safetensors"
    save_model(load_model(tiny), stored, header=header_of(NETWORKS["tiny"]), half=True)
    notes = {
        (model.stem, to, precision): export(
            model, to, out=(tmp_path / "x").with_suffix(suffix), precision=precision
        ).note
        for model, to, suffix, precision in (
            (stored, "onnx", ".onnx", "float32"),
            (stored, "onnx", ".onnx", "float16"),
            (tiny, "onnx", ".onnx", "float32"),
            (stored, "torch", ".pt2", "float32"),
        )
    }
    whole, half, single, other = notes.values()
    assert "in float32 here, in float16 in the checkpoint: twice its size; --precision f" in whole
    assert half == single == ""
    assert "torch has no other; of onnx, openvino, ncnn --precision float16 writes half" in other
    assert other.startswith("it takes pictures of at least")


def kernels_of(path: Path) -> dict[str, int]:
    """Bytes of each learned kernel."""
    weights = onnx.load(path).graph.initializer
    learned = [t for t in weights if len(t.dims) == 4 and "upsample" not in t.name]
    return {t.name: len(t.raw_data) for t in learned}


@pytest.mark.slow
def test_half_of_what_was_half_is_the_same(tmp_path: Path) -> None:
    """Normalisations are not folded into rounded kernels: the shipped model stays what it is."""
    result = export("camvid", "onnx", out=tmp_path / "c.onnx", precision="float16")
    assert max(check.difference for check in result.checks) < 1e-5


def test_weights_too_large_for_float16(tiny: Path, tmp_path: Path) -> None:
    model = load_model(tiny)
    with torch.no_grad():
        next(model.parameters())[0] = 1e6
    with pytest.raises(FullyConvError, match=r"conv1.weight holds 1e\+06, which float16 cannot"):
        write_onnx(model, header_of(NETWORKS["tiny"]), tmp_path / "x.onnx", half=True)
    assert not (tmp_path / "x.onnx").exists()


def test_one_size_alone(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    result = export(tiny, "onnx", out=tmp_path / "t.onnx", size=(40, 56))
    assert [check.what for check in result.checks] == 2 * ["40 x 56"] + 2 * ["40 x 56, logits"]
    shape = onnx.load(result.files[0]).graph.input[0].type.tensor_type.shape
    assert [axis.dim_value for axis in shape.dim] == [1, 3, 40, 56]
    for runtime in ("onnx", "openvino"):
        predictor = Predictor(result.files[0], runtime)
        assert predictor(np.zeros((40, 56, 3), np.uint8)).labels.shape == (40, 56)
        with pytest.raises(FullyConvError, match="for pictures of 40 x 56 .* alone, and this one"):
            predictor(np.zeros((40, 57, 3), np.uint8))


def test_openvinos_own_files(tiny: Path, tmp_path: Path) -> None:
    """Read by OpenVINO alone, they give the logits; cut short, they are refused."""
    openvino = pytest.importorskip("openvino")
    result = export(tiny, "openvino", out=tmp_path / "t.xml")
    assert [path.name for path in result.files] == ["t.xml", "t.bin"]
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    images = np.random.default_rng(0).normal(size=(1, 3, 33, 50)).astype(np.float32)
    found = openvino.Core().compile_model(str(tmp_path / "t.xml"), "CPU", settings)([images])
    with torch.inference_mode():
        expected = load_model(tiny)(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found["logits"], expected, atol=1e-5 * np.abs(expected).max())
    opened = open_runtime(tmp_path / "t.xml")
    assert opened.engine == "openvino"
    assert opened.header == header_of(NETWORKS["tiny"])
    for name, keep in (("t.bin", 100), ("t.xml", 3000), ("t.xml", 0)):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:keep])
        with pytest.raises(FullyConvError, match="t.xml: OpenVINO cannot read it"):
            open_runtime(tmp_path / "t.xml")
        (tmp_path / name).write_bytes(whole)


def test_pytorchs_own_file_holds_no_pickle(tiny: Path, tmp_path: Path) -> None:
    result = export(tiny, "torch", out=tmp_path / "t.pt2")
    assert "at least" in result.note
    images = torch.randn(2, 3, 97, 130)
    with torch.inference_mode():
        found = torch.export.load(tmp_path / "t.pt2").module()(images)
        torch.testing.assert_close(found, load_model(tiny)(images))
    with zipfile.ZipFile(tmp_path / "t.pt2") as archive:
        starts = {name: archive.read(name)[:2] for name in archive.namelist()}
        texts = [name for name in starts if name.endswith(f"extra/{HEADER}")]
        assert json.loads(archive.read(texts[0]))["labels"]["categories"] == [
            "class 0",
            "class 1",
            "class 2",
        ]
    assert not [name for name, start in starts.items() if start in (b"\x80\x02", b"PK")]


def test_what_does_not_say_the_same_is_not_written(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older file of that name stays as it was, and nothing lies about."""
    out = tmp_path / "t.pt2"
    out.write_text("older")
    monkeypatch.setattr("fullyconv.exporting.BOUNDS", {"float32": -1.0})
    with pytest.raises(FullyConvError, match=r"t.pt2: not written, since its scores differ .*\n"):
        export(tiny, "torch", out=out)
    assert [p.name for p in tmp_path.iterdir()] == ["t.pt2"]
    assert out.read_text() == "older"


def test_what_is_asked_for_and_cannot_be(tiny: Path, tmp_path: Path) -> None:
    cases: dict[str, Callable[[], object]] = {
        "no format 'onxx'. Did you mean onnx": lambda: export(tiny, "onxx"),
        "torch files have no precision 'int8'": lambda: export(tiny, "torch", precision="int8"),
        "int8 chooses its ranges by pictures": lambda: export(tiny, "openvino", precision="int8"),
        "are for int8, not for float32": lambda: export(tiny, "onnx", calibrate=tmp_path),
        r"size is \(0, 5\)": lambda: export(tiny, "onnx", size=(0, 5)),
        r"a file for onnx ends in .onnx": lambda: export(tiny, "onnx", out="x.xml"),
        "leave out the pictures to verify on": lambda: export(
            tiny, "onnx", size=(40, 56), verify_on=tmp_path
        ),
        "give HEIGHTxWIDTH": lambda: run(["export", str(tiny), "--to", "onnx", "--size", "5by6"]),
    }
    for match, call in cases.items():
        with pytest.raises(UsageError, match=match):
            call()
    with pytest.raises(FullyConvError, match=r"no picture in this folder"):
        export(tiny, "openvino", precision="int8", calibrate=tmp_path)
    with pytest.raises(FullyConvError, match=r"no picture in this folder"):
        export(tiny, "onnx", verify_on=tmp_path)
    with pytest.raises(FullyConvError, match=r"this network takes images, hha; give a data set"):
        export(checkpoint("late fusion"), "openvino", precision="int8", calibrate=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(FullyConvError, match="file/t.onnx: cannot be written"):
        export(tiny, "onnx", out=tmp_path / "file" / "t.onnx")


def test_int8_says_what_it_changes(
    tiny: Path, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Label agreement, and with labels the mean IU; in the output and in the file."""
    pytest.importorskip("nncf")
    monkeypatch.setattr(quantizing, "MOST", 2)
    monkeypatch.setattr("fullyconv.exporting.LEAST_AGREEMENT", 0.5)
    result = export(tiny, "openvino", out=tmp_path / "t.xml", precision="int8", calibrate=photos)
    change = result.change
    assert change is not None
    assert (change.calibration, change.pictures) == (2, 4)
    assert "mean IU" in str(change)
    header = open_runtime(tmp_path / "t.xml").header
    assert header.info["int8"] == change.to_dict()
    pixels = [np.array(Image.open(p)) for p in sorted((photos / "images").iterdir())]
    same = [np.mean(labels(tmp_path / "t.xml", p) == labels(tiny, p)) for p in pixels]
    assert change.label_agreement == pytest.approx(np.mean(same), abs=1e-3)
    assert change.label_agreement < 1
    sized = export(
        tiny, "openvino", out=tmp_path / "s.xml", precision="int8", calibrate=photos, size=(40, 56)
    )
    assert sized.change == change
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    same = np.mean(labels(tmp_path / "s.xml", noise) == labels(tmp_path / "t.xml", noise))
    assert same == 1
    with pytest.raises(FullyConvError, match="pictures of 40 x 56 .*alone"):
        labels(tmp_path / "s.xml", pixels[0][:30])
    monkeypatch.setattr("fullyconv.exporting.LEAST_AGREEMENT", 1.0)
    with pytest.raises(FullyConvError, match=r"not written, since too much changes \(int8 by 2"):
        export(
            tiny,
            "openvino",
            out=tmp_path / "u.xml",
            precision="int8",
            calibrate=photos / "images",
        )
    assert not (tmp_path / "u.xml").exists()


def test_a_missing_exporter_is_named(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    cases: list[tuple[str, Callable[[], object]]] = [
        ("onnxscript", lambda: export(tiny, "onnx", out=tmp_path / "t.onnx")),
        ("openvino", lambda: export(tiny, "openvino", out=tmp_path / "t.xml")),
    ]
    for name, call in cases:
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(FullyConvError, match=rf"{name} is needed .*fullyconv\[deploy\]"):
            call()
    assert list(tmp_path.iterdir()) == []
