"""``fcn predict --engine ray``: workers that die, runs that are killed, and what comes out."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from command import fcn
from fake_ray import Actor, FakeRay, Ref
from fullyconv.cluster import workers
from fullyconv.cluster.labelling import Made
from fullyconv.cluster.manifest import Manifest
from fullyconv.cluster.options import ClusterOptions
from fullyconv.cluster.plan import Part
from fullyconv.cluster.predicting import Outcome, predict_on_cluster
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.prediction.predicting import predict


def draw(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """Small pictures of smooth colours, in folders of a thousand."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number // 1000:02d}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cells = Image.fromarray(rng.integers(0, 256, (6, 8, 3)).astype(np.uint8))
        cells.resize(size, Image.Resampling.BILINEAR).save(path, quality=90)
    return folder


def masks(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}


def done(out: Path) -> list[str]:
    """The photographs that the manifest says are finished, as often as it says so."""
    lines = [
        json.loads(line)
        for path in (out / "manifest").glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    return [line["photo"] for line in lines if "done" in line]


# Without Ray: what is done when workers die


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    """Ray, in this process."""
    ray = FakeRay()
    monkeypatch.setattr(workers, "optional", lambda *_: ray)
    monkeypatch.setattr(workers, "_PAUSE", 0)
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # what is set here is taken back
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return ray


def on_fake(photos: Path, model: Path, out: Path, **settings: Any) -> tuple[Outcome, list[str]]:
    said: list[str] = []
    options = ClusterOptions(**{"part": 3, **settings})
    outcome = predict_on_cluster(
        str(photos), model=model, out=out, save="mask", runtime="torch", options=options,
        say=said.append,
    )  # fmt: skip
    return outcome, said


def test_labels_are_those_of_one_process(fake: FakeRay, small_model: Path, tmp_path: Path) -> None:
    photos = draw(tmp_path / "in", 8, (32, 24))
    predict(photos, model=small_model, out=tmp_path / "one", save="mask", runtime="torch")
    outcome, said = on_fake(photos, small_model, tmp_path / "far", price=0.5)
    assert masks(tmp_path / "far") == masks(tmp_path / "one")
    assert (outcome.done, outcome.failed, outcome.deaths) == (8, 0, 0)
    assert said[0].startswith("8 photographs, 0.0 MB to label; 0 were finished before")
    assert "2 workers x" in said[1]
    assert len(list((tmp_path / "far" / "manifest").glob("*.jsonl"))) == 3
    summary = json.loads((tmp_path / "far" / "predictions.json").read_text())
    one = json.loads((tmp_path / "one" / "predictions.json").read_text())
    assert [summary[key] for key in ("categories", "palette", "labelled", "failed")] == [
        one["categories"], one["palette"], 8, 0,
    ]  # fmt: skip
    again, _ = on_fake(photos, small_model, tmp_path / "far")
    assert (again.done, again.before, again.estimate) == (0, 8, None)
    (photos / "00" / "new.jpg").write_bytes((photos / "00" / "00000.jpg").read_bytes())
    more, _ = on_fake(photos, small_model, tmp_path / "far")
    assert (more.done, more.before) == (1, 8)


def test_ray_is_begun_for_this_machine_alone(
    fake: FakeRay, small_model: Path, tmp_path: Path
) -> None:
    photos = draw(tmp_path / "in", 1, (32, 24))
    inits: list[dict[str, Any]] = []
    fake.init = lambda **options: inits.append(options)  # type: ignore[method-assign]
    fake.resources = {"CPU": 8.0, "GPU": 2.0}
    on_fake(photos, small_model, tmp_path / "a", workers=3, threads=2, plan=True)
    assert inits[0]["address"] == "local"
    assert inits[0]["num_cpus"] == 6
    assert inits[0]["include_dashboard"] is False
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert (os.environ["RAY_AUTH_MODE"], len(os.environ["RAY_AUTH_TOKEN"])) == ("token", 64)
    assert fake.options["num_cpus"] == 2
    assert not (tmp_path / "a").exists()  # plan: nothing was written
    on_fake(photos, small_model, tmp_path / "a", address="10.0.0.1:6379", threads=2, plan=True)
    assert inits[1]["address"] == "10.0.0.1:6379"
    assert fake.actors == 3 + 4
    on_fake(photos, small_model, tmp_path / "a", address="auto", gpus=0.5, plan=True)
    assert fake.actors == 3 + 4 + 4

    def refuses(**options: Any) -> None:
        raise ConnectionError("nobody there")

    fake.init = refuses  # type: ignore[method-assign]
    with pytest.raises(FullyConvError, match=r"10.0.0.1:1: cannot be reached or begun \(nobody"):
        on_fake(photos, small_model, tmp_path / "a", address="10.0.0.1:1")


def test_a_worker_that_dies_costs_nothing(fake: FakeRay, small_model: Path, tmp_path: Path) -> None:
    photos = draw(tmp_path / "in", 8, (32, 24))
    deaths = iter([True, False, True])
    fake.dies = lambda name, args: name == "label" and next(deaths, False)
    outcome, said = on_fake(photos, small_model, tmp_path / "far")
    assert (outcome.done, outcome.failed, outcome.deaths) == (8, 0, 2)
    assert len(set(done(tmp_path / "far"))) == len(done(tmp_path / "far")) == 8
    assert sum("a worker died; its part" in line for line in said) == 2


def test_a_photograph_that_kills_workers_is_given_up(
    fake: FakeRay, small_model: Path, tmp_path: Path
) -> None:
    photos = draw(tmp_path / "in", 8, (32, 24))

    def dies(name: str, args: tuple[Any, ...]) -> bool:
        addresses = [i.address for i in args[0].items] if name == "label" else []
        return str(photos / "00" / "00004.jpg") in addresses

    fake.dies = dies
    outcome, said = on_fake(photos, small_model, tmp_path / "far")
    assert (outcome.done, outcome.failed, outcome.deaths) == (7, 1, 4)
    assert "00004.jpg: workers die of it (The actor died)" in outcome.failures[0]
    assert any("3 workers died at the same part" in line for line in said)
    (line,) = (tmp_path / "far" / "failed.jsonl").read_text().splitlines()
    assert json.loads(line)["photo"] == str(photos / "00" / "00004.jpg")
    fake.dies = lambda name, args: False
    assert on_fake(photos, small_model, tmp_path / "far")[0].done == 1
    assert (tmp_path / "far" / "failed.jsonl").read_text() == ""
    assert len(set(done(tmp_path / "far"))) == len(done(tmp_path / "far")) == 8


def test_workers_that_cannot_begin(
    fake: FakeRay, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = draw(tmp_path / "in", 2, (32, 24))
    fake.dies = lambda name, args: name == "open"
    with pytest.raises(FullyConvError, match="workers die while they open the model"):
        on_fake(photos, small_model, tmp_path / "far")
    fake.dies = lambda name, args: name == "measure"
    with pytest.raises(FullyConvError, match="a worker died at the first photographs"):
        on_fake(photos, small_model, tmp_path / "far")
    fake.dies = lambda name, args: False
    with pytest.raises(FullyConvError, match="there is no runtime 'none'"):
        predict_on_cluster(photos, model=small_model, out=tmp_path / "far", runtime="none")
    ready, fake.wait = fake.wait, lambda refs, timeout: ([], refs)  # type: ignore[method-assign]
    monkeypatch.setattr(workers, "_FIRST", 0)
    with pytest.raises(FullyConvError, match=r"no worker has begun in 0 seconds: .*'CPU': 2.0"):
        on_fake(photos, small_model, tmp_path / "far")
    fake.wait = ready  # type: ignore[method-assign]
    monkeypatch.setattr(workers, "_FIRST", 600)
    monkeypatch.setattr(workers.Worker, "label", lambda self, part: workers.Refusal("disk full"))
    with pytest.raises(FullyConvError, match="disk full"):
        on_fake(photos, small_model, tmp_path / "far")
    assert json.loads((tmp_path / "far" / "predictions.json").read_text())["labelled"] == 0


def test_results_that_cannot_be_written_end_the_run(
    fake: FakeRay, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = draw(tmp_path / "in", 2, (32, 24))

    def full(address: str, content: bytes) -> None:
        raise FullyConvError(f"{address}: cannot be written (disk full)")

    monkeypatch.setattr("fullyconv.cluster.labelling.write_bytes", full)
    with pytest.raises(FullyConvError, match=r"00000-mask.png: cannot be written \(disk full\)"):
        on_fake(photos, small_model, tmp_path / "far")


def test_another_model_and_networks_of_bands_are_refused(
    fake: FakeRay, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = draw(tmp_path / "in", 2, (32, 24))
    on_fake(photos, small_model, tmp_path / "far")
    other = tmp_path / "small.safetensors"
    other.write_bytes(small_model.read_bytes()[:-1] + b"\0")
    with pytest.raises(UsageError, match="results of the model small.safetensors with another dig"):
        on_fake(photos, other, tmp_path / "far")
    monkeypatch.setattr("fullyconv.preprocess.Preprocess.bands", property(lambda self: True))
    with pytest.raises(FullyConvError, match="is a network of bands"):
        on_fake(photos, small_model, tmp_path / "bands")


def test_the_model_travels(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To a machine that does not have it, or has another of that name."""
    model = tmp_path / "there" / "m.safetensors"
    model.parent.mkdir()
    model.write_bytes(small_model.read_bytes())
    files = workers.files_of(model)
    assert not workers.travels("camvid")
    assert workers.travels(str(model))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    task = workers.Task(
        str(model), workers.digest_of(files), ("mask",), "torch", "float32", False, (1.0,), None,
        False, 1,
    )  # fmt: skip

    def opened() -> tuple[str, Any]:
        worker = workers.Worker(task, Manifest(str(tmp_path), {}))
        path = worker._model(files)
        return path, worker  # its folder is there as long as it is

    assert opened()[0] == str(model)
    model.write_bytes(b"another")
    path, worker = opened()
    assert path != str(model)
    assert Path(path).read_bytes() == small_model.read_bytes()
    assert isinstance(worker.open(files), dict)
    folder = tmp_path / "net"
    folder.mkdir()
    for name in ("net.xml", "net.bin", "fullyconv.json"):
        (folder / name).write_text(name)
    assert list(workers.files_of(folder / "net.xml")) == ["net.xml", "net.bin"]
    assert len(workers.files_of(folder)) == 3


def test_workers_that_come_late_join_in(fake: FakeRay) -> None:
    """A cluster may begin with one worker and grow."""
    said: list[str] = []
    pool = workers.Pool.__new__(workers.Pool)
    pool.ray, pool.say, pool.about, pool.deaths = fake, said.append, {}, 0
    pool._files = None

    class Quick:
        def label(self, part: Part) -> Made:
            return Made(done=1)

    pool._idle, pool._opening = [], {Ref(value={}): Actor(fake, Quick())}
    pool._tries = pool._most = 3
    made = list(pool.run(iter([Part(()), Part(())])))
    assert [m.done for m in made] == [1, 1]


# The command


def test_the_command(
    fake: FakeRay,
    small_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photos = draw(tmp_path / "in", 4, (32, 24))
    for number in range(22):
        (photos / "00" / f"bad{number:02d}.jpg").write_bytes(b"no picture")
    out = tmp_path / "far"
    command = [
        "predict", photos, "--model", small_model, "--out", out, "--runtime", "torch",
        "--save", "mask", "--engine", "ray", "--cluster.part", 5, "--cluster.price", 0.1,
    ]  # fmt: skip
    assert fcn(monkeypatch, *command, "--cluster.plan") == 0
    said = capsys.readouterr().out
    assert "2 workers x" in said
    assert "nothing was labelled: --cluster.plan" in said
    assert not out.exists()
    assert fcn(monkeypatch, *command) == 1
    said, wrong = capsys.readouterr()
    assert "4 of 26 photographs labelled in" in said
    assert "22 could not be labelled" in wrong
    assert "and 2 more, named in" in wrong
    assert len((out / "failed.jsonl").read_text().splitlines()) == 22
    assert fcn(monkeypatch, *command) == 1
    assert "4 were labelled before" in capsys.readouterr().out
    assert fcn(monkeypatch, *command, "--tiles") == 2
    assert "are not for --engine ray" in capsys.readouterr().err
    for far in (["s3://bucket/a.jpg"], [photos, "--out", "s3://bucket/out"]):
        assert fcn(monkeypatch, "predict", *map(str, far)) == 2
        assert "--engine ray takes addresses" in capsys.readouterr().err


def test_the_commands_of_the_page_run(
    fake: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for those that need a bucket; test_pages.py has these parsed."""
    monkeypatch.chdir(tmp_path)
    draw(Path("photos"), 2, (32, 24))
    Path("shards").mkdir()
    for number in range(2):
        with tarfile.open(f"shards/train-{number:03d}.tar", "w") as tar:
            tar.add(f"photos/00/{number:05d}.jpg", arcname="a.jpg")
    Path("failed.txt").write_text("photos/00/00000.jpg\n")
    page = (Path(__file__).parents[1] / "docs" / "howto" / "cluster.md").read_text()
    commands = re.findall(r"^fcn (.*?)(?:  *#.*)?$", page, re.MULTILINE)
    here = [shlex.split(command) for command in commands if "s3://" not in command]
    assert len(here) == 4
    for words in here:
        assert fcn(monkeypatch, *words) == 0, words
    assert len(masks(Path("results"))) == 3
    assert len(list(Path("results-of-shards").glob("train-00?-labels.tar"))) == 2


def test_help_imports_neither_ray_nor_torch() -> None:
    code = (
        "import sys; sys.argv = ['fcn', 'predict', '--help']\n"
        "from fullyconv import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "assert not {'ray', 'torch', 'fsspec'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "--cluster.workers" in result.stdout


def test_without_ray_it_says_what_to_install(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = draw(tmp_path / "in", 1, (32, 24))
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "")
    monkeypatch.setitem(sys.modules, "ray", None)
    said: list[str] = []
    with pytest.raises(FullyConvError, match=r"ray is needed .* pip install .fullyconv.cluster"):
        predict_on_cluster(photos, model=small_model, out=tmp_path / "far", say=said.append)
    assert not said
    assert not (tmp_path / "far").exists()
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(FullyConvError, match=r"fsspec is needed .* pip install .fullyconv.cluster"):
        predict_on_cluster(photos, model=small_model, out=tmp_path / "far")


# With Ray


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "fullyconv", "predict", *map(str, args), "--engine", "ray"]


def run(*args: object, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command(*args), capture_output=True, text=True, env=env, timeout=300)


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """The processes of Ray that have a model."""
    found = []
    for child in process.children(recursive=True):
        try:
            if child.name().startswith("ray::Worker") or "ray::Worker" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def ray() -> None:
    pytest.importorskip("ray")


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_two_workers_label_as_one_process(tmp_path: Path) -> None:
    photos = draw(tmp_path / "in", 12, (32, 24))
    predict(photos, out=tmp_path / "one", save="mask")
    options = ["--save", "mask", "--cluster.workers", 2, "--cluster.part", 2]
    result = run(photos, "--out", tmp_path / "far", *options)
    assert result.returncode == 0, result.stderr
    assert "12 of 12 photographs labelled" in result.stdout
    assert masks(tmp_path / "far") == masks(tmp_path / "one")


def killed_in_the_middle(photos: Path, out: Path, whole: bool) -> tuple[int, str]:
    """Begin a run, and kill a worker, or all of it, when a third is done; its exit status."""
    process = subprocess.Popen(
        command(photos, "--out", out, "--save", "mask", "--cluster.workers", 2),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 200
        while len(list((out / "manifest").glob("*.jsonl"))) < 13:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        models = workers_of(psutil.Process(process.pid))
        assert len(models) == 2
        if whole:
            process.kill()
        else:
            models[0].send_signal(signal.SIGKILL)
        said, _ = process.communicate(timeout=250)
        if whole:
            _, alive = psutil.wait_procs(models, timeout=60)
            assert not alive  # they end with the run that began them
        return process.returncode, said
    finally:
        process.kill()


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_nothing_is_lost_and_nothing_doubled(tmp_path: Path) -> None:
    """5,000 pictures, a worker killed; then the whole run killed, and gone on with."""
    photos = draw(tmp_path / "in", 5000, (128, 96))
    predict(photos, out=tmp_path / "one", save="mask")
    expected = masks(tmp_path / "one")
    assert len(expected) == 5000

    status, said = killed_in_the_middle(photos, tmp_path / "far", whole=False)
    assert (status, "1 workers died" in said) == (0, True), said
    assert masks(tmp_path / "far") == expected
    assert sorted(done(tmp_path / "far")) == sorted(str(p) for p in photos.rglob("*.jpg"))

    status, _ = killed_in_the_middle(photos, tmp_path / "two", whole=True)
    assert status == -signal.SIGKILL
    before = len(done(tmp_path / "two"))
    assert 1000 < before < 5000
    result = run(photos, "--out", tmp_path / "two", "--save", "mask", "--cluster.workers", 2)
    assert result.returncode == 0, result.stderr
    assert f"{before:,} were finished before" in result.stdout
    assert f"{5000 - before} of {5000 - before} photographs labelled" in result.stdout
    assert masks(tmp_path / "two") == expected
    assert sorted(done(tmp_path / "two")) == sorted(str(p) for p in photos.rglob("*.jpg"))


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An S3 of this machine, and its address in the environment."""
    pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    yield s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    server.stop()


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
@pytest.mark.filterwarnings("ignore")  # of the server's packages
def test_buckets_and_shards(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = draw(tmp_path / "in", 40, (64, 48))
    predict(photos, out=tmp_path / "one", save="mask")
    s3.mkdir("photos")
    s3.mkdir("results")
    for path in sorted(photos.rglob("*.jpg"))[:20]:
        s3.put_file(str(path), f"photos/00/{path.name}")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for path in sorted(photos.rglob("*.jpg"))[20:]:
            tar.add(path, arcname=f"00/{path.name}")
    s3.put_file(str(tmp_path / "x.tar"), "photos/shards/x.tar")
    far = ["s3://photos", "--out", "s3://results/r", "--save", "mask", "--cluster.workers", 2]
    result = run(*far)
    assert result.returncode == 0, result.stderr
    assert "40 of 40 photographs labelled" in result.stdout
    found = {f"00/{Path(name).name}": s3.cat_file(name) for name in s3.ls("results/r/00")}
    s3.get_file("results/r/shards/x-labels.tar", str(tmp_path / "labels.tar"))
    with tarfile.open(tmp_path / "labels.tar") as tar:
        found |= {i.name: tar.extractfile(i).read() for i in tar}  # type: ignore[union-attr]
    assert found == masks(tmp_path / "one")
    again = run(*far)
    assert "0 photographs, 0.0 MB to label; 21 were finished before" in again.stdout
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    result = run(*far)
    assert result.returncode == 1
    assert "no credentials were found" in result.stderr
