"""Checkpoints say everything and round trip; damaged and foreign files are refused."""

from __future__ import annotations

import json
import pickle
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import fullyconv
from fullyconv.checkpoint import Header, load_model, model_path, read_header, save_model
from fullyconv.data.exporters.layout import classes_of
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.evaluation import evaluate
from fullyconv.labels import CAMVID, LABEL_SPACES
from fullyconv.models.create import create_model
from fullyconv.network_info import info
from fullyconv.networks import model_config
from fullyconv.prediction.predictor import Predictor
from fullyconv.preprocess import CAFFE, EFFICIENTNET_LITE

CONFIG = model_config("fcn8s_vgg16", num_classes=11, width=1 / 32)
HEADER = Header(model=CONFIG, labels=CAMVID, preprocess=CAFFE, info={"licence": "x", "best": 0.5})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(_random(CONFIG), path, header=HEADER)
    return path


def _random(config: fullyconv.ModelConfig) -> torch.nn.Module:
    model = create_model(config).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return model


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    "name", ["siftflow-fcn8s", "nyud-fcn32s-color-hha", "fcn8s_efficientnet_lite0"]
)
def test_a_checkpoint_brings_back_network_and_header(tmp_path: Path, name: str, half: bool) -> None:
    config = model_config(name, width=1 / 32)
    labels = LABEL_SPACES.get(name.partition("-")[0], CAMVID)
    header = Header(
        model=config, labels=labels, preprocess=EFFICIENTNET_LITE, info={"a": [1, {"b": None}]}
    )
    model = _random(config)
    save_model(model, tmp_path / "x.safetensors", header=header, half=half)
    assert read_header(tmp_path / "x.safetensors") == header
    loaded = load_model(tmp_path / "x.safetensors")
    assert not loaded.training
    for (key, a), b in zip(model.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert b.dtype == a.dtype
        assert torch.equal(a.half().to(a.dtype) if half and a.is_floating_point() else a, b), key


def test_a_header_from_before_a_setting_existed_means_its_default(path: Path) -> None:
    values = json.loads(read_header(path).to_json())
    del values["model"]["skips"]
    assert Header.from_json(json.dumps(values)).model == CONFIG


def test_a_shipped_model_is_loaded_by_name() -> None:
    assert not load_model("camvid").training


def test_half_precision_is_half_the_size(path: Path, tmp_path: Path) -> None:
    save_model(load_model(path), tmp_path / "half.safetensors", header=HEADER, half=True)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * path.stat().st_size


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FullyConvError, match=r"none.safetensors: cannot be read \(No such file"):
        read_header(tmp_path / "none.safetensors")
    for content in (b"", b"\0" * 4, b"<html>" * 100, pickle.dumps({"a": 1})):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(FullyConvError, match="x: this is no checkpoint"):
            read_header(tmp_path / "x")
    save_file({"a": torch.zeros(1)}, tmp_path / "y.safetensors")
    with pytest.raises(FullyConvError, match="its header does not say which network"):
        read_header(tmp_path / "y.safetensors")


def test_a_header_that_claims_gigabytes_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(FullyConvError, match="this is no checkpoint"):
        read_header(tmp_path / "x")
    deep = b"[" * 200_000
    (tmp_path / "x").write_bytes(struct.pack("<Q", len(deep)) + deep)
    with pytest.raises(FullyConvError, match="this is no checkpoint"):
        read_header(tmp_path / "x")


def _rewritten(path: Path, change: dict[str, object]) -> Path:
    """The same weights under a header with some values changed."""
    values = json.loads(HEADER.to_json()) | change
    save_file(load_file(path), path, metadata={"fullyconv": json.dumps(values)})
    return path


def test_headers_that_do_not_fit_are_refused(path: Path) -> None:
    with pytest.raises(FullyConvError, match="format 99 is newer than this version's 1; upgrade"):
        read_header(_rewritten(path, {"format": 99, "version": "9.0"}))
    with pytest.raises(FullyConvError, match="its header is not readable"):
        read_header(_rewritten(path, {"model": {"surprise": 1}}))
    with pytest.raises(FullyConvError, match="its header is not readable"):
        read_header(_rewritten(path, {"model": None}))
    with pytest.raises(FullyConvError, match="the preprocessing is not readable"):
        read_header(_rewritten(path, {"preprocess": {}}))


def test_weights_that_do_not_fit_their_header_are_refused(path: Path) -> None:
    model = json.loads(HEADER.to_json())["model"]
    with pytest.raises(FullyConvError, match=r"head.score.32.weight is \(11, .*expected \(12, "):
        load_model(_rewritten(path, {"model": model | {"num_classes": 12}}))
    state = load_file(path)
    metadata = {"fullyconv": HEADER.to_json()}
    save_file(state | {"stranger": torch.zeros(1)}, path, metadata=metadata)
    with pytest.raises(FullyConvError, match="stranger is not part of the network"):
        load_model(path)
    del state["head.score.8.bias"]
    save_file(state, path, metadata=metadata)
    with pytest.raises(FullyConvError, match="head.score.8.bias is missing"):
        load_model(path)


def test_weights_that_are_not_finite_are_refused(path: Path) -> None:
    state = load_file(path)
    state["head.score.8.bias"][3] = float("nan")
    save_file(state, path, metadata={"fullyconv": HEADER.to_json()})
    with pytest.raises(FullyConvError, match="hold NaN or infinite"):
        load_model(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(cut=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_short_is_refused(path: Path, cut: float) -> None:
    content = path.read_bytes()
    part = path.with_name("part.safetensors")
    part.write_bytes(content[: int(len(content) * cut)])
    with pytest.raises(FullyConvError, match="part.safetensors: "):
        load_model(part)


def test_a_file_that_cannot_be_written_is_named(path: Path) -> None:
    with pytest.raises(FullyConvError, match="model.safetensors/x: cannot be written"):
        save_model(create_model(CONFIG), path / "x", header=HEADER)


@pytest.mark.parametrize("name", ["model.onnx", "model.xml", "model.pt2", "model.ncnn"])
def test_an_exported_model_is_no_checkpoint(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.mkdir() if name.endswith("ncnn") else path.write_bytes(b"12345678")
    with pytest.raises(FullyConvError, match="this is an exported model, or part of one"):
        read_header(path)


def test_a_header_prints_as_a_table() -> None:
    metrics = {
        "mean_iou": 0.123456,
        "per_class_iou": dict.fromkeys(CAMVID.categories, 0.5) | {"sign": 0.98765, "pole": None},
    }
    info = {"data": "x", "speeds": [1, 2], "metrics": metrics, "recipe": {"seed": 1}}
    lines = str(replace(HEADER, info=info)).splitlines()
    assert lines[0].startswith("  11 classes                 sky, building, pole")
    assert "  input                      images, BGR, mean 104.00699 116.66877" in lines[2]
    assert lines[3:10] == [
        "  data                       x",
        "  speeds                     [1, 2]",
        "  mean IU, %                  12.3",
        "  pixel accuracy, %            n/a",
        "  mean accuracy, %             n/a",
        "  f.w. IU, %                   n/a",
        "  IU of sign, %               98.8",
    ]
    assert lines[-1] == "  IU of pole, %                n/a"


@pytest.mark.parametrize("metrics", ["x", 3, [], {}, {"mean_iou": 1}, {"per_class_iou": {"a": []}}])
def test_a_header_prints_whatever_scores_a_file_states(metrics: object) -> None:
    assert "11 classes" in str(replace(HEADER, info={"metrics": metrics}))


def test_a_network_that_no_name_builds_is_not_saved(tmp_path: Path) -> None:
    """It could never be loaded again: a header holds no code."""
    for backbone, message in (
        ("mine", "there is no backbone 'mine'"),
        ("googlenet", r"x.safetensors: was not written, for \d+ weights do not fit the network in"),
    ):
        wrong = replace(HEADER, model=replace(CONFIG, backbone=backbone))
        with pytest.raises(FullyConvError, match=message):
            save_model(_random(CONFIG), tmp_path / "x.safetensors", header=wrong)
    assert not (tmp_path / "x.safetensors").exists()


def test_a_network_in_memory_is_no_model_to_open() -> None:
    model: Any = _random(CONFIG)
    for what in (load_model, Predictor, lambda given: evaluate(given, "data")):
        with pytest.raises(UsageError, match="this FCN is neither; .*save_model.*ConfusionMatrix"):
            what(model)


def test_a_run_folder_stands_for_its_best_network(path: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "samples").mkdir(parents=True)
    (run / "log.jsonl").touch()
    for use in (model_path, read_header, load_model, Predictor):
        with pytest.raises(
            FullyConvError, match=r"run: this run has scored no network yet; .*--res"
        ):
            use(run)
    (run / "best.safetensors").write_bytes(path.read_bytes())
    assert model_path(str(run)) == run / "best.safetensors"
    assert read_header(run) == HEADER
    assert load_model(run).state_dict().keys() == load_model(path).state_dict().keys()
    assert Predictor(run).header == HEADER
    assert classes_of(tmp_path, str(run)) == HEADER.labels
    assert info(str(run)) == info(path)


def test_other_folders_are_no_networks(scenes: Path) -> None:
    with pytest.raises(FullyConvError, match="is no network, no run and no exported network; name"):
        model_path(scenes / "val" / "images")
    for data in (scenes, scenes / "val"):  # swapped
        with pytest.raises(FullyConvError, match="is a data set, .*: fcn evaluate MODEL .* first"):
            evaluate(data, "camvid")


def test_what_to_name_in_place_of_other_files(tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(b"PK" * 20)
    with pytest.raises(FullyConvError, match="goes on .*; best.safetensors will lie beside it onc"):
        read_header(tmp_path / "last.pt")
    (tmp_path / "last.safetensors").touch()
    with pytest.raises(FullyConvError, match="the networks to use lie beside it: last.safeten"):
        read_header(tmp_path / "last.pt")
    file = tmp_path / "fcn8s.caffemodel"
    file.write_bytes(b"\n\x05fcn8s" * 4)
    with pytest.raises(
        FullyConvError, match=r"Caffe's .* fcn weights import NETWORK .* --from .*fcn8s.caffemodel "
    ):
        read_header(file)
