"""The command: what it prints, its exit status, and that it starts without torch."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fullyconv
from caffe_files import caffe_net
from command import fcn
from fullyconv import cli
from fullyconv.caffe import write_caffemodel
from fullyconv.classifier import dense_classifier
from fullyconv.config import Geometry
from fullyconv.errors import StoppedError
from fullyconv.files import write_json
from fullyconv.labels import CAMVID
from fullyconv.models.backbones import Backbone, build_backbone
from fullyconv.protocols import PROTOCOLS
from fullyconv.weights import WEIGHTS
from miniatures import camvid

ROOT = Path(__file__).resolve().parents[1]
STREET = ROOT / "examples" / "wide_road_overcast.jpg"


def test_help_is_quick_and_needs_no_torch() -> None:
    """The promise is 0.5 s on an idle machine; here only what it imports can be asserted."""
    code = (
        "import sys; sys.argv = ['fcn', '--help']\n"
        "import fullyconv, fullyconv.cli\n"
        "try: fullyconv.cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'PIL', 'accelerate', 'tqdm'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    for verb in ("predict", "train", "evaluate", "heatmap", "info", "weights"):
        assert verb in result.stdout


def test_it_runs_as_a_module() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "fullyconv", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout == f"fullyconv {fullyconv.__version__}\n"


def test_predict_prints_shares_and_paths(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert fcn(monkeypatch, "predict", STREET, "--out", tmp_path, "--save", "mask") == 0
    out = capsys.readouterr().out
    assert f"{STREET} (360 x 480)" in out
    assert "road" in out
    assert str(tmp_path / "wide_road_overcast-mask.png") in out
    assert "1 of 1 photographs labelled in" in out


def test_a_bad_photograph_is_one_sentence_and_exit_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("not a picture")
    assert fcn(monkeypatch, "predict", bad, STREET, "--out", tmp_path / "out") == 1
    shown = capsys.readouterr()
    assert "1 of 2 photographs labelled in" in shown.out
    assert f"fcn: {bad}: this is not a picture in any format known here" in shown.err
    assert "Traceback" not in shown.err
    assert (tmp_path / "out" / "wide_road_overcast-mask.png").exists()


def test_heatmap_prints_probabilities_and_paths(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    torch.save(dense_classifier("vgg16", width=1 / 16).state_dict(), tmp_path / "w.pth")
    monkeypatch.setattr("fullyconv.classifier.build_backbone", _narrow)
    bad = tmp_path / "empty.jpg"
    bad.touch()
    command = ["heatmap", bad, STREET, "--classifier", "vgg16", "--weights", tmp_path / "w.pth"]
    command += ["--out", tmp_path / "out", "--class", "tabby cat", "--class", "street sign"]
    assert fcn(monkeypatch, *command) == 1
    shown = capsys.readouterr()
    assert f"{STREET} (360 x 480)\n  tabby cat 0." in shown.out
    for name in ("tabby_cat.png", "street_sign.png", "classes.json"):
        path = tmp_path / "out" / f"wide_road_overcast-{name}"
        assert f"  {path}\n" in shown.out
        assert path.exists()
    assert "1 of 2 photographs classified in" in shown.out
    assert f"fcn: {bad}: this is not a picture in any format known here" in shown.err
    assert "Traceback" not in shown.err


def _narrow(name: str, width: float = 1.0, geometry: Geometry = "same") -> Backbone:
    """A backbone a sixteenth as wide as the published ones."""
    return build_backbone(name, width=width / 16, geometry=geometry)


@pytest.mark.parametrize(
    ("args", "status", "sentence"),
    [
        (["predict", "x.jpg", "--model", "nothing"], 1, "fcn: nothing: there is no such file"),
        (["predict", "x.jpg", "--save", "masks"], 2, "fcn: there is no output 'masks'"),
        (["predict", "x.jpg", "--runtime", "x"], 2, "fcn: there is no runtime 'x'"),
        (["evaluate", "camvid", "no/where"], 1, "fcn: no/where/val: expected the folders images/"),
        (["evaluate", "nothing", "no/where"], 1, "fcn: nothing: there is no such file"),
        (["info", "fcn8s_vgg16", "--size", "0", "5"], 2, "fcn: the size is 0 x 5; a picture"),
        (["info", "voc-fcn"], 2, "fcn: there is no network 'voc-fcn'. Did you mean"),
        (["info", "vgg17"], 2, "fcn: there is no network 'vgg17'. Did you mean vgg16, fcn8s_vgg16"),
        (["predict", STREET, "--model", "vgg17"], 1, "(camvid, nyudv2). Did you mean vgg16, fcn8s"),
        (["predict", STREET, "--model", "vgg16"], 1, "It is a backbone; its networks are fcn32s_"),
        (["export", "voc-fcn8s", "--to", "onnx"], 1, "It is a network; fcn weights import voc-fcn"),
        (
            ["evaluate", "fcn16s_vgg16", "D"],
            1,
            "--model.backbone vgg16 --model.stride 16 trains it",
        ),
        (["train", "fcn8s_vgg16"], 2, "there is no recipe 'fcn8s_vgg16'. It is a network; fcn tr"),
        (["train", "vgg16"], 2, "there is no recipe 'vgg16'. It is a backbone; its networks are"),
        (
            ["train", "finetune", "--from-scratch", "--model.backbone", "vgg17"],
            2,
            "there is no backbone 'vgg17'. Did you mean vgg16",
        ),
        (["weights", "get", "vgg16"], 2, "no weights 'vgg16'. Those for vgg16 are vgg16-ilsvrc"),
        (["weights", "get", "vgg17"], 2, "fcn weights list names them"),
        (["train", "camvid-fcn8s-efficientnet_lite0"], 2, "fcn: no data set folder is given"),
        (["weights", "get", "voc-fcn9s"], 2, "voc-fcn9s"),
        (["heatmp", "x.jpg"], 2, "fcn: there is no 'fcn heatmp'. Did you mean heatmap"),
        (["study", "skip", "x"], 2, "fcn: there is no 'fcn study skip'. Did you mean skips"),
        (["train", "voc-fcn32"], 2, "fcn: there is no recipe 'voc-fcn32'. Did you mean voc-fcn32s"),
        (["heatmap", STREET, "--class", "tabbi"], 2, "no class 'tabbi'. Did you mean tabby"),
        (["heatmap", STREET, "--classifier", "vgg"], 2, "no backbone 'vgg'. Did you mean vgg16"),
        (["heatmap", STREET, "--weights", "x.pth"], 1, "fcn: x.pth: there is no such file of"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: list[object],
    status: int,
    sentence: str,
) -> None:
    assert fcn(monkeypatch, *args) == status
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert "Traceback" not in shown.err


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["fcn", "--debug", "info", "nothing"])
    with pytest.raises(fullyconv.FullyConvError, match="no network 'nothing'"):
        cli.main()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("predict x.jpg --output x -m camvid", ["--output is --out here", "-m is --model here"]),
        ("predict x.jpg --device cuda", ["there is no --device: a GPU is taken where PyTorch has"]),
        ("data check x --quiet", ["there is no --quiet: > /dev/null hides what is printed"]),
        ("train finetune --steps=10", ["--steps is --optim.max-iters here"]),
        ("study skips x --steps x", []),  # there is one; its value is wrong
        ("export camvid --to onnx --weights x", []),  # no option of any name
    ],
)
def test_what_others_call_an_option_is_told_what_it_is_here(
    args: str,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fcn(monkeypatch, *args.split()) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fcn: ")]
    assert len(lines) == len(said)
    for line, start in zip(lines, said, strict=True):
        assert line.startswith(f"fcn: {start}")


def test_a_mistyped_option_of_a_recipe_is_answered_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fcn(monkeypatch, "train", "finetune", "--epochs", 3) == 2
    shown = capsys.readouterr().err
    assert shown.count("--optim.epochs") == 1
    assert shown.count("--help") == shown.count("fcn train finetune --help") == 1


@pytest.mark.parametrize("args", [["--resume", "runs/a"], ["--max-iters", "3"]])
def test_options_do_not_go_before_the_recipe(
    args: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fcn(monkeypatch, "train", *args) == 2
    said = f"fcn: the recipe goes before {args[0]}: fcn train RECIPE {args[0]}; fcn train --help"
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        ([], "fcn predict street.jpg --out results "),
        (["data"], "check"),
        (["train"], "finetune"),
        (["study"], "patch-sampling"),
    ],
)
def test_a_command_that_is_given_nothing_shows_its_help(
    args: list[str],
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fcn(monkeypatch, *args) == 2
    said = capsys.readouterr()
    assert shown in said.out
    assert said.err == ""


@pytest.mark.parametrize("args", [["predict"], ["nothing"], ["train", "nothing"], []])
def test_a_wrong_command_line_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, args: list[str]
) -> None:
    assert fcn(monkeypatch, *args) == 2


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), StoppedError("stopped after 3 of 6")])
def test_ctrl_c_exits_with_130(
    raised: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(args: object) -> int:
        raise raised

    monkeypatch.setattr(cli, "run", interrupted)
    assert fcn(monkeypatch, "info") == 130
    assert capsys.readouterr().err == (f"fcn: {raised}\n" if str(raised) else "")


def test_output_that_nobody_reads_is_no_error() -> None:
    process = subprocess.run(
        f"{sys.executable} -m fullyconv info | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout == "shipped models:\n"
    assert process.stderr == ""


def test_train_and_evaluate_end_to_end(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    scenes: Path,
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    command = f"""train camvid-fcn8s-efficientnet_lite0 --data.root {scenes} --out {run}
        --optim.max-iters 2 --optim.batch-size 2 --data.crop 32 32 --data.workers 0
        --model.width 0.25 --from-scratch"""
    assert fcn(monkeypatch, *command.split()) == 0
    out = capsys.readouterr().out
    assert f"Next: fcn evaluate {run / 'best.safetensors'} {scenes} --split val" in out
    scores = tmp_path / "scores.json"
    assert fcn(monkeypatch, "evaluate", run / "best.safetensors", scenes, "--out", scores) == 0
    out = capsys.readouterr().out
    assert "mean IU" in out
    assert "over" in out
    assert json.loads(scores.read_text())["pictures"] == 3
    with monkeypatch.context() as elsewhere:  # without --out it prints, and leaves nothing behind
        (tmp_path / "here").mkdir()
        elsewhere.chdir(tmp_path / "here")
        assert fcn(elsewhere, "evaluate", run / "best.safetensors", scenes, "--worst", 2) == 0
        assert not list(Path.cwd().iterdir())
    printed = capsys.readouterr().out
    assert printed.startswith(out.partition("\n\n")[0])
    assert "worst pictures, mean IU of each:\n" in printed
    assert ".json" not in printed
    assert fcn(monkeypatch, *command.split()) == 1  # the folder holds a run
    assert "go on with it by --resume" in capsys.readouterr().err


def test_what_evaluate_lacks_is_said_before_torch_is_loaded(scenes: Path) -> None:
    write_json(scenes / "classes.json", {"categories": CAMVID.categories})
    lacking = (
        (["camvid", scenes / "no"], "no/val: expected the folders"),
        (["camvid", scenes, "--protocol", "camvid-test"], "test: expected the folders"),
        ([scenes, "camvid"], "is a data set"),
        (["camvid", scenes, "--protocol", "voc-val"], "the model has 11 classes"),
        (["nyudv2", scenes], "the truth must have the model's classes"),
        (["camvid", scenes, "--out", scenes], "is a folder; --out names the .json file"),
    )
    for args, said in lacking:
        code = (
            f"import sys, fullyconv.cli\ntry: fullyconv.cli.run({['evaluate', *map(str, args)]})\n"
            "except fullyconv.FullyConvError as error: print(error, 'torch' in sys.modules)"
        )
        shown = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        assert said in shown
        assert shown.endswith("False\n")


def test_the_protocols_are_listed_with_a_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fcn(monkeypatch, "evaluate", "--protocols") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(PROTOCOLS)
    assert "camvid-test     CamVid, SegNet's 233 test pictures; 11 classes, void" in lines[-1]
    assert lines[-1].endswith("(fcn data prepare camvid: test/)")
    assert fcn(monkeypatch, "evaluate", "--help") == 0
    assert "--protocols" in " ".join(capsys.readouterr().out.split())


def test_info_prints_the_papers_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fcn(monkeypatch, "info", "voc-fcn-alexnet") == 0
    out = capsys.readouterr().out
    for row in (
        "layers       8\n",
        "57.0 M (56,954,261)",
        "355 px",
        "max stride                 32",
    ):
        assert row in out
    assert fcn(monkeypatch, "info", "googlenet") == 0
    assert "715 px (907 with the classifier's average pooling)" in capsys.readouterr().out
    command = ["info", "fcn8s_efficientnet_lite0", "--size", 64, 96, "--json"]
    assert fcn(monkeypatch, *command) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["size"] == [64, 96]
    assert values["seconds"] is None  # it answers at once
    assert fcn(monkeypatch, "info", "siftflow-fcn8s") == 0
    shown = capsys.readouterr().out
    assert "upsampling to stride 8     kernel 4, offset 9 of the skip\n" in shown
    assert "reference: the image is padded by 100 pixels" in shown
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    command = ["info", "fcn32s_alexnet_torchvision", "--size", 64, 64, "--measure"]
    assert fcn(monkeypatch, *command) == 0
    torch.set_num_threads(threads)
    assert "GFLOP/s, 1 thread, PyTorch" in capsys.readouterr().out
    assert fcn(monkeypatch, "info", "nyud-fcn32s-color-hha") == 0


def test_info_lists_everything_and_reads_checkpoints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fcn(monkeypatch, "info") == 0
    assert "siftflow-fcn16s" in capsys.readouterr().out
    assert fcn(monkeypatch, "info", "--json") == 0
    assert json.loads(capsys.readouterr().out)["shipped models"] == ["camvid", "nyudv2"]
    assert fcn(monkeypatch, "info", "camvid", "--size", 360, 480) == 0
    shown = capsys.readouterr().out
    assert "11 classes                 sky, building" in shown
    assert "input                      images, RGB, mean 127 127 127, deviation 128" in shown
    assert "mean IU, %                  70.5\n" in shown  # shipped/camvid.md
    assert "IU of road, %               96.0\n" in shown
    assert max(map(len, shown.splitlines()[1:])) <= 100
    assert "operations at 360 x 480    2.7 GFLOP" in shown
    assert fcn(monkeypatch, "info", "camvid", "--json") == 0
    assert json.loads(capsys.readouterr().out)["model"]["stride"] == 8


def test_weights_from_a_file_to_a_picture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The researcher's way: a .caffemodel, a checkpoint, a labelled photograph."""
    monkeypatch.setenv("FULLYCONV_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FULLYCONV_OFFLINE", "1")
    assert fcn(monkeypatch, "weights", "list") == 0
    listed = capsys.readouterr().out
    head, *lines = listed.partition("\n\n")[0].splitlines()
    assert head.split() == ["name", "for", "MB", "checksum", "terms", "here"]
    assert len(lines) == len(WEIGHTS)  # a line for each
    (line,) = (line.split() for line in lines if line.startswith("voc-fcn8s "))
    assert line[:4] == ["voc-fcn8s", "voc-fcn8s", "-", "sha1"]
    assert f"  {line[4]}  {WEIGHTS['voc-fcn8s'].licence}\n" in listed
    assert fcn(monkeypatch, "weights", "list", "voc-fcn8s") == 0
    full = capsys.readouterr().out
    assert f"address   {WEIGHTS['voc-fcn8s'].address}\n" in full
    assert "get it    fcn weights get voc-fcn8s\n" in full
    assert fcn(monkeypatch, "weights", "list", "voc-fcn8") == 2
    assert "Did you mean voc-fcn8s" in capsys.readouterr().err
    assert fcn(monkeypatch, "weights", "list", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) >= 15
    assert fcn(monkeypatch, "weights", "get", "voc-fcn8s") == 1
    assert "fcn weights get voc-fcn8s --from FILE" in capsys.readouterr().err

    caffemodel, model = tmp_path / "a.caffemodel", tmp_path / "a.safetensors"
    write_caffemodel(caffemodel, caffe_net("voc-fcn16s"))
    assert fcn(monkeypatch, "weights", "get", "voc-fcn16s", "--from", caffemodel) == 0
    assert fcn(monkeypatch, "weights", "verify", "voc-fcn16s") == 0
    assert "pinned at first use" in capsys.readouterr().out
    command = ["weights", "import", "voc-fcn16s", model, "--width", 1 / 16]
    assert fcn(monkeypatch, *command) == 0
    assert "19 copied" in capsys.readouterr().out
    assert fcn(monkeypatch, *command[:2], "voc-fcn8s", model, "--from", caffemodel) == 1
    assert fcn(monkeypatch, "predict", STREET, "--model", model, "--out", tmp_path) == 0
    assert fcn(monkeypatch, "info", model) == 0
    assert "licence                    Unrestricted use" in capsys.readouterr().out


def test_data_are_prepared_trained_on_and_scored(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A published archive in miniature, from its folder to a score, one command each."""
    assert fcn(monkeypatch, "data", "list") == 0
    listed = capsys.readouterr().out
    assert "nyudv2: " in listed
    assert "  splits: train, val, and by --splits val-official\n" in listed
    source = tmp_path / "SegNet"
    camvid(source)
    command = ["data", "prepare", "camvid", source, "--out", tmp_path / "camvid"]
    assert fcn(monkeypatch, *command) == 0
    assert "train" in capsys.readouterr().out
    run = tmp_path / "run"
    train = f"""train finetune --data.root {tmp_path / "camvid"} --out {run} --model.width 0.25
        --from-scratch --optim.max-iters 1 --optim.batch-size 2 --data.crop 32 32
        --data.workers 0""".split()
    assert fcn(monkeypatch, *train) == 0
    best, scores = run / "best.safetensors", tmp_path / "scores.json"
    assert fcn(monkeypatch, "evaluate", best, tmp_path / "camvid", "--out", scores) == 0
    assert "of 11 classes" in capsys.readouterr().out
    assert fcn(monkeypatch, "data", "prepare", "camvit", source, "--out", tmp_path / "x") == 2
    assert "Did you mean camvid" in capsys.readouterr().err


def test_a_photograph_larger_than_expected_is_fine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Image.fromarray(np.zeros((3, 1000, 3), np.uint8)).save(tmp_path / "strip.png")
    start = time.perf_counter()
    assert fcn(monkeypatch, "predict", tmp_path / "strip.png", "--out", tmp_path) == 0
    assert time.perf_counter() - start < 60


def test_runs_are_compared_and_scored_by_a_protocol(
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = "train camvid-fcn8s-efficientnet_lite0 --from-scratch --model.width 0.25 --data.crop"
    small = [*command.split(), 16, 16, "--optim.max-iters", 2, "--log-interval", 1]
    for seed in (1, 2):
        run = ["--seed", seed, "--out", tmp_path / f"run{seed}", "--data.root", scenes]
        assert fcn(monkeypatch, *small, *run) == 0
    assert fcn(monkeypatch, "train", "--compare", tmp_path / "run1", tmp_path / "run2",
               "--out", tmp_path / "both.html") == 0  # fmt: skip
    assert capsys.readouterr().out.endswith(f"{tmp_path / 'both.html'}\n")
    page = (tmp_path / "both.html").read_text()
    assert "2 training runs" in page
    assert "seed" in page
    assert fcn(monkeypatch, "train", "--compare", tmp_path / "none") == 1
    assert "holds no log.jsonl, so it is no run folder" in capsys.readouterr().err
    (scenes / "val").rename(scenes / "test")
    best = tmp_path / "run1" / "best.safetensors"
    options = ["--protocol", "camvid-test", "--worst", 1, "--out", tmp_path / "s.json"]
    assert fcn(monkeypatch, "evaluate", best, scenes, *options) == 0
    out = capsys.readouterr().out
    assert "this model" in out
    assert out.endswith(f"{tmp_path / 's.json'}\n{tmp_path / 's.html'}\n")
    assert json.loads((tmp_path / "s.json").read_text())["protocol"] == "camvid-test"
    assert len(list((tmp_path / "s-worst").iterdir())) == 1


def test_train_help_lists_data_figures_and_sources(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fcn(monkeypatch, "train", "--help") == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for said in (
        "SBD train, scored on VOC's seg11valid; the authors' regime. Published: 65.5 mean IU by "
        "voc-seg11valid (release's README)",
        "NYUDv2 train and val, scored on test; the authors' regime. Published: 29.2 mean IU by "
        "nyudv2-test (first regime; CVPR 2015, table 4)",
        "the first paper's regime. Published: 56.0 mean IU by voc-val (VOC2011; CVPR 2015, table "
        "1)",
        "fcn train --compare RUN1 RUN2 draws runs together",
    ):
        assert said in shown
