"""What a worker does with its part, and what the next run knows of it; without Ray."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from fullyconv.cluster import addresses, labelling, shards
from fullyconv.cluster.addresses import Entry, join, read_bytes, whole_address
from fullyconv.cluster.estimate import Amount, Estimate, Measured, sample
from fullyconv.cluster.labelling import Made, PartLabelling, decoded
from fullyconv.cluster.manifest import Manifest
from fullyconv.cluster.options import ClusterOptions
from fullyconv.cluster.plan import Item, Part, find_items, in_parts
from fullyconv.cluster.shards import Member, members, read_member
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.prediction.photos import list_photos
from fullyconv.prediction.predicting import predict
from fullyconv.prediction.predictor import Predictor

NAMES = ("a.png", "b.png", "b.bmp", "deep/a.png", "deep/er/c.d.png")


def picture(seed: int, size: tuple[int, int] = (20, 30)) -> bytes:
    rng = np.random.default_rng(seed)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures, two of which differ in the suffix alone, in folders; and what is none."""
    for seed, name in enumerate(NAMES):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(seed))
    for name in (".hidden.png", "notes.doc"):
        (tmp_path / "in" / name).write_bytes(b"")
    return tmp_path / "in"


def shard(path: Path, files: dict[str, bytes]) -> Path:
    """A tar of these files, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def labelled(model: Path, part: Part, manifest: Manifest, again: bool = False) -> Made:
    return PartLabelling(Predictor(model, "torch"), ["mask"], manifest).label(part, again)


def results(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))
    }


def untarred(tar: Path) -> dict[str, bytes]:
    with tarfile.open(tar) as opened:
        return {i.name: opened.extractfile(i).read() for i in opened}  # type: ignore[union-attr]


# What there is to do


def test_names_are_those_of_one_process(photos: Path, tmp_path: Path) -> None:
    found = list(find_items([str(photos)], str(tmp_path / "out")))
    expected = list(list_photos(photos))
    assert [(i.address, i.folder, i.name) for i in found] == [
        (str(p.path), p.folder.as_posix(), p.name) for p in expected
    ]
    assert [i.size for i in found] == [Path(p.path).stat().st_size for p in expected]


def test_addresses_are_read_as_paths_are(photos: Path) -> None:
    store = fsspec.filesystem("memory")
    for name in NAMES:
        store.pipe_file(f"/photos/{name}", (photos / name).read_bytes())
    far = list(find_items(["memory://photos"], "memory://out"))
    near = list(find_items([str(photos)], "memory://out"))
    assert [(i.folder, i.name, i.size) for i in far] == [(i.folder, i.name, i.size) for i in near]
    assert far[0].address == "memory:///photos/a.png"
    assert read_bytes(far[0].address) == (photos / "a.png").read_bytes()
    store.pipe_file("/photos/list.txt", b"# comment\ndeep/a.png\nmemory://photos/b.*\n\n")
    listed = list(find_items(["memory://photos/list.txt"], "memory://out"))
    assert [(i.address, i.name) for i in listed] == [
        ("memory:///photos/deep/a.png", "a"),
        ("memory:///photos/b.bmp", "b.bmp"),
        ("memory:///photos/b.png", "b.png"),
    ]
    store.rm("/photos", recursive=True)


def test_results_inside_the_source_are_passed_over(photos: Path) -> None:
    (photos / "results").mkdir()
    (photos / "results" / "a-mask.png").write_bytes(picture(9))
    assert len(list(find_items([str(photos)], str(photos / "results")))) == len(NAMES)
    (photos / "deep" / "up").symlink_to(photos)
    assert len(list(find_items([str(photos)], str(photos / "results")))) == len(NAMES)
    with pytest.raises(UsageError, match="is to hold the results; give another --out"):
        list(find_items([str(photos)], str(photos)))


def test_shards_are_parts_and_photographs_go_together(photos: Path, tmp_path: Path) -> None:
    for number in (8, 9, 10):
        shard(tmp_path / "shards" / f"x-{number:02d}.tar", {"a.png": picture(number)})
    braces = str(tmp_path / "shards" / "x-{08..10}.tar")
    items = list(find_items([braces, str(photos)], str(tmp_path / "out")))
    assert [i.name for i in items if i.is_shard] == ["x-08-labels", "x-09-labels", "x-10-labels"]
    parts = list(in_parts(items, 2))
    assert [(len(p.items), p.is_shard) for p in parts] == [(1, True)] * 3 + [(2, False)] * 2 + [
        (1, False)
    ]
    assert len({p.key for p in parts}) == len(parts)
    assert [p.items[0] for p in parts[3].singles()] == list(parts[3].items)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("film.mp4", "film.mp4 is no photograph, folder or shard"),
        ("camera:0", "camera:0 is no photograph"),
        ("x.tar.gz", "x.tar.gz: shards are tars that are not compressed"),
        ("nothing", "nothing: there is no such file or folder"),
        ("none*.jpg", r"none\*.jpg: no file fits this pattern"),
        ("x-{9..0}.tar", "numbers in braces rise"),
        ("foo://bucket/a", "foo:// is no kind of address that is known"),
        ("oci://bucket/a", "oci://bucket/a: needs a package that is not installed"),
        ("empty", "no picture and no .tar in this folder"),
        ("list.txt", "list.txt: this list names nothing"),
        ("latin.txt", "latin.txt: this list is not text in UTF-8"),
    ],
)
def test_sources_that_cannot_be(
    source: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("# nothing\n")
    (tmp_path / "latin.txt").write_bytes(b"stra\xdfe.jpg\n")
    with pytest.raises(FullyConvError, match=said):
        list(find_items([source], "out"))


def test_no_source_and_names_that_lead_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no photograph is given"):
        list(find_items([], "out"))
    entry = Entry(str(tmp_path / ".."), 0, "", is_folder=True)
    monkeypatch.setattr("fullyconv.cluster.plan.list_folder", lambda address: [entry])
    with pytest.raises(FullyConvError, match="leads out of its folder; rename it"):
        list(find_items([str(tmp_path)], "out"))


# Stores that fail


class _Store:
    """A file system whose every call raises what it is given, one after the other."""

    protocol = "s3"

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def cat_file(self, path: str) -> bytes:
        if self.errors:
            raise self.errors.pop(0)
        return b"there"

    pipe_file = info = ls = cat_file


class NoCredentialsError(Exception):
    """As botocore's."""


def store(monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> _Store:
    made = _Store(*errors)
    monkeypatch.setattr(addresses, "_open", lambda address: (made, "bucket/a", False))
    monkeypatch.setattr(addresses, "_PAUSE", 0)
    return made


def test_what_passes_by_itself_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = store(monkeypatch, TimeoutError("slow down"), OSError("reset"))
    assert read_bytes("s3://bucket/a") == b"there"
    made.errors = [OSError("503")] * 9
    with pytest.raises(FullyConvError, match=r"s3://bucket/a: cannot be read \(503\)"):
        read_bytes("s3://bucket/a")
    assert len(made.errors) == 9 - 4


def test_what_does_not_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    made = store(monkeypatch, NoCredentialsError("Unable to locate credentials"))
    with pytest.raises(FullyConvError, match="no credentials were found .*set AWS_ACCESS_KEY_ID"):
        read_bytes("s3://bucket/a")
    made.errors = [PermissionError("Access Denied")]
    with pytest.raises(FullyConvError, match="check the credentials and their permissions"):
        addresses.look("s3://bucket/a")
    made.errors = [FileNotFoundError()]
    assert addresses.look("s3://bucket/a") is None
    with pytest.raises(FullyConvError, match=r"holds 300,000,000 bytes, and no more than"):
        read_bytes("s3://bucket/a", 300_000_000)


def test_files_are_written_to_stores(tmp_path: Path) -> None:
    addresses.write_bytes("memory://there/deep/a", b"1")
    assert read_bytes("memory://there/deep/a") == b"1"
    (tmp_path / "b").write_bytes(b"22")
    addresses.put_file("memory://there/b", tmp_path / "b")
    copy = addresses.fetch_file("memory://there/b", tmp_path / "copies")
    assert copy.read_bytes() == b"22"
    with pytest.raises(FullyConvError, match="there is no such file"):
        addresses.fetch_file(str(tmp_path / "nothing"), tmp_path)
    with addresses.reading("memory://there/b") as file:
        assert file.read(1) == b"2"
    assert whole_address("memory://there/") == "memory:///there"


# Photographs


def test_a_part_is_labelled_as_one_process_does(
    photos: Path, small_model: Path, tmp_path: Path
) -> None:
    (photos / "z.png").write_bytes(picture(7)[:200])
    predict(photos, model=small_model, out=tmp_path / "one", save="mask", runtime="torch")
    out = str(tmp_path / "far")
    manifest = Manifest(out, {"model": "small"})
    (part,) = in_parts(find_items([str(photos)], out), 100)
    made = labelled(small_model, part, manifest)
    assert results(tmp_path / "far") == results(tmp_path / "one") != {}
    assert (made.done, made.before) == (5, 0)
    assert made.written == sum(map(len, results(tmp_path / "far").values()))
    ((place, said),) = made.failures
    assert place == str(photos / "z.png")
    assert (
        said
        == json.loads((tmp_path / "one" / "predictions.json").read_text())["photos"][3]["error"]
    )
    finished = manifest.finished()
    assert [item.name for item in part.items if item.mark not in finished] == ["z"]
    ours = {line["photo"]: line for line in manifest.lines()}
    theirs = json.loads((tmp_path / "one" / "predictions.json").read_text())["photos"]
    assert len(ours) == 6
    for line in theirs:
        if "error" not in line:
            same = {key: ours[line["photo"]][key] for key in ("height", "width", "shares", "heads")}
            assert same == {key: line[key] for key in same}


def test_a_raster_is_refused_and_a_tiff_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.BytesIO()
    Image.open(io.BytesIO(picture(0))).save(file, "TIFF")
    assert decoded("a.tif", file.getvalue()).shape == (20, 30, 3)
    monkeypatch.setattr(labelling, "is_raster", lambda path: True)
    with pytest.raises(FullyConvError, match="a.tif: is georeferenced, or too large for memory"):
        decoded("a.tif", file.getvalue())


# Shards


def test_a_shard_becomes_what_its_files_would(
    photos: Path, small_model: Path, tmp_path: Path
) -> None:
    files = {name: (photos / name).read_bytes() for name in reversed(NAMES)}
    tar = shard(tmp_path / "shards" / "x.tar", {**files, "a.json": b"{}", "a.seg.png": b"no"})
    predict(photos, model=small_model, out=tmp_path / "one", save="mask", runtime="torch")
    out = str(tmp_path / "far")
    manifest = Manifest(out, {"model": "small"})
    (part,) = in_parts(find_items([str(tar.parent)], out), 100)
    made = labelled(small_model, part, manifest)
    assert (made.done, made.failures) == (5, [])
    result = tmp_path / "far" / "x-labels.tar"
    assert untarred(result) == results(tmp_path / "one")
    assert part.items[0].mark in manifest.finished()
    assert len(manifest.finished()) == 1  # a next run reads a line for a shard
    assert sum("done" in line for line in manifest.lines()) == 6
    content = result.read_bytes()
    labelled(small_model, part, manifest, again=True)
    assert result.read_bytes() == content  # nothing in it tells when it was made


def test_what_failed_in_a_shard_is_tried_again_alone(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar = shard(tmp_path / "x.tar", {f"{n}.png": picture(n) for n in range(4)})
    out = str(tmp_path / "far")
    manifest = Manifest(out, {"model": "small"})
    (part,) = in_parts(find_items([str(tar)], out), 100)
    read = read_member

    def fails(file: Path, member: Member) -> bytes:
        if member.name == "2":
            raise FullyConvError("2.png: does not come")
        return read(file, member)

    monkeypatch.setattr(labelling, "read_member", fails)
    made = labelled(small_model, part, manifest)
    assert (made.done, made.failures) == (3, [(f"{tar}/2.png", "2.png: does not come")])
    assert part.items[0].mark not in manifest.finished()
    monkeypatch.setattr(labelling, "read_member", read)
    with tarfile.open(tmp_path / "far" / "x-labels.tar", "a") as left:  # killed, unrecorded
        left.addfile(tarfile.TarInfo("2-mask.png"))
    made = labelled(small_model, part, manifest)
    assert (made.done, made.before, made.failures) == (1, 3, [])
    with tarfile.open(tmp_path / "far" / "x-labels.tar") as whole:
        assert sorted(whole.getnames()) == [f"{n}-mask.png" for n in range(4)]
        assert all(info.size for info in whole)
    assert part.items[0].mark in manifest.finished()
    (tmp_path / "far" / "x-labels.tar").unlink()  # then nothing of it is finished
    assert labelled(small_model, part, manifest).done == 4


def test_members_that_cannot_be(small_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("../up.png", "/abs.png", "a\\b.png", "ok.png", "ok.png", ".h.png"):
            info = tarfile.TarInfo(name)
            info.size = len(picture(1))
            tar.addfile(info, io.BytesIO(picture(1)))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    found, refused = members(path, "x.tar")
    assert [m.member for m in found] == ["ok.png"]
    assert sorted(refused) == ["../up.png", "/abs.png", "a\\b.png", "link.png"]
    out = str(tmp_path / "far")
    (part,) = in_parts(find_items([str(path)], out), 1)
    made = labelled(small_model, part, Manifest(out, {}))
    assert made.done == 1
    assert "'../up.png' is a link, or leads out of the tar; it is not read" in made.failures[0][1]
    assert list(untarred(tmp_path / "far" / "x-labels.tar")) == ["ok-mask.png"]


def test_shards_that_are_none(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = shard(tmp_path / "x.tar", {"a.png": picture(1), "b.png": picture(2)}).read_bytes()
    for name, content in (("none", b"no tar" * 200), ("cut", whole[:1200]), ("empty", b"")):
        path = tmp_path / f"{name}.tar"
        path.write_bytes(content)
        out = str(tmp_path / "far")
        (part,) = in_parts(find_items([str(path)], out), 1)
        ((place, said),) = labelled(small_model, part, Manifest(out, {})).failures
        assert place == str(path)
        assert said.startswith(f"{path}: this is no tar, or is damaged or cut short")
    with pytest.raises(FullyConvError, match="this is no tar"):
        shards.first_members(str(tmp_path / "none.tar"), 3)
    (member, _), _ = members(tmp_path / "x.tar", "x.tar")
    with pytest.raises(FullyConvError, match="the tar ends in the middle of it"):
        read_member(tmp_path / "cut.tar", member._replace(offset=1100))
    with pytest.raises(FullyConvError, match="no more than .* are read of a photograph"):
        read_member(tmp_path / "x.tar", member._replace(size=10**9))
    monkeypatch.setattr(shards, "_MOST", 1)
    with pytest.raises(FullyConvError, match="x.tar: has more than 1 members; split it"):
        members(tmp_path / "x.tar", "x.tar")


def test_a_tar_of_results_that_cannot_be_written(tmp_path: Path) -> None:
    with (
        pytest.raises(FullyConvError, match="the tar of results cannot be written"),
        shards.writing(tmp_path / "no" / "x", "out/x.tar"),
    ):
        pass


# The record


def test_results_of_another_model_are_not_mixed(tmp_path: Path) -> None:
    out = str(tmp_path)
    first = Manifest(out, {"model": "a", "digest": "1", "save": ("mask",)})
    first.check()
    first.begin()
    first.check()
    other = Manifest(out, {"model": "a", "digest": "2", "save": ("mask",)})
    with pytest.raises(UsageError, match="holds results of the model a with another digest; give"):
        other.check()
    other.check(again=True)
    (tmp_path / "manifest" / "run.json").write_text("[]")
    with pytest.raises(FullyConvError, match="cannot be read as the settings of a run"):
        first.check()


def test_lines_cut_off_and_lines_of_others_are_passed_over(tmp_path: Path) -> None:
    manifest = Manifest(str(tmp_path), {"model": "a"})
    assert len(manifest.finished()) == 0
    assert manifest.part("x") == []
    manifest.write("x", [{"photo": "1", "done": "m1"}, {"photo": "2", "done": "m2"}])
    Manifest(str(tmp_path), {"model": "b"}).write("y", [{"photo": "3", "done": "m3"}])
    path = tmp_path / "manifest" / "x.jsonl"
    assert "m1" in manifest.finished()
    path.write_bytes(path.read_bytes()[:-5])
    finished = manifest.finished()
    assert ["m1" in finished, "m2" in finished, "m3" in finished] == [True, False, False]


# What it will take


def test_the_estimate_is_arithmetic(photos: Path, tmp_path: Path) -> None:
    tar = shard(tmp_path / "x.tar", {f"{n}.png": picture(n) for n in range(60)})
    items = list(find_items([str(photos), str(tar)], "out"))
    amount = Amount.of(items)
    assert (amount.photos, amount.shards, amount.shard_bytes) == (5, 1, tar.stat().st_size)
    assert str(amount).startswith("5 photographs and 1 shards, ")
    contents = sample(items)
    assert len(contents) == 16
    assert [content for _, content in contents[5:]] == [picture(n) for n in range(11)]
    read = sum(len(c) for _, c in contents)
    took = [Measured(16, 4.0, read, 1600), Measured(16, 2.0, read, 1600)]
    estimate = Estimate.of(amount, took, price=0.5)
    assert estimate is not None
    assert estimate.rate == 16 / 4 + 16 / 2
    assert 63 <= estimate.photos <= 67  # 60 in the tar
    assert estimate.written == estimate.photos * 100
    assert estimate.hours == estimate.photos / 12 / 3600
    assert "2 workers x 6.0 = 12.0 photographs per second: about 6 seconds" in str(estimate)
    assert "0.00 at 0.5 an hour" in str(estimate)
    long = Estimate(10**7, 12, 2, 1.0, 0.5)
    assert "about 9.6 days for 10,000,000, 462.96 worker-hours" in str(long)
    assert "231.48 at 0.5 an hour" in str(long)
    assert Estimate.of(amount, [Measured(0, 1.0, 0, 0)]) is None
    nothing = Item(str(tmp_path / "nothing.png"), ".", "nothing", 1, "")
    assert sample([nothing]) == []


def test_options_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="the first three are at least 1"):
        ClusterOptions(threads=0)
    with pytest.raises(UsageError, match="workers is 0; leave it out"):
        ClusterOptions(workers=0)


def test_addresses_are_joined() -> None:
    assert join("/out/", ".", "a.png") == "/out/a.png"
