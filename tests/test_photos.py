"""What is found in folders, patterns and lists, and under which names."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from fullyconv.errors import FullyConvError, UsageError
from fullyconv.prediction.photos import Photo, find_photos, kind_of, list_photos


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names(photos: list[Photo]) -> list[str]:
    return [(photo.folder / photo.name).as_posix() for photo in photos]


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("a.jpg", "photo"),
        ("folder", "photo"),
        ("http.jpg", "photo"),
        ("HTTP://a.org/b.mp4", "url"),
        ("https://a.org/b.jpg?c=1", "url"),
        ("camera:12", "camera"),
        ("camera:x", "photo"),
        ("-", "stdin"),
        ("x/a.WebM", "clip"),
        ("a.mov", "clip"),
    ],
)
def test_kinds(source: str, kind: str) -> None:
    assert kind_of(source) == kind
    if kind in ("photo", "clip"):
        assert kind_of(Path(source)) == kind


def test_hidden_files_and_other_files_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "._b.jpg", ".DS_Store", ".git/c.jpg", "d/a.PNG", "d/._a.PNG", "e.txt",
          "clip.mp4", "z/.keep")  # fmt: skip
    assert list(find_photos([tmp_path])) == [
        (tmp_path / "b.jpg", Path()),
        (tmp_path / "d/a.PNG", Path("d")),
    ]


def test_results_are_no_photographs(tmp_path: Path) -> None:
    """Whether they lie in the folder of the photographs, or between them."""
    root = touch(tmp_path / "in", "a.jpg", "d/b.jpg", "predictions/a-overlay.jpg")
    assert names(list(list_photos(root, root / "predictions"))) == ["a", "d/b"]
    touch(root, "a-mask.png", "a-overlay.jpg", "d/b-mask.png", "d/b-color.png", "d/a-mask.jpeg")
    found = names(list(list_photos(root, root)))
    assert found == ["a", "d/a-mask", "d/b", "predictions/a-overlay"][: len(found)]
    assert "d/b" in found
    assert "a-mask" not in found


@pytest.mark.parametrize("record", ["predictions.jsonl", "predictions.json"])
def test_results_of_an_earlier_run_are_no_photographs(record: str, tmp_path: Path) -> None:
    """Nor are they where the new ones go elsewhere."""
    root = touch(tmp_path / "in", "a.jpg", "a-mask.png", "d/b-overlay.jpg", "d/b.jpg", record)
    touch(tmp_path / "in", "t-mask.tif", "d/t-mask.jpeg")
    assert names(list(list_photos(root, tmp_path / "out"))) == ["a", "d/b", "d/t-mask"]
    assert names(list(list_photos([root / "a-mask.png"]))) == ["a-mask"]  # named by itself
    only = touch(tmp_path / "only", "a-mask.png", record)
    with pytest.raises(FullyConvError, match="no picture in this folder, but for results of fcn"):
        list(list_photos(only, tmp_path / "out"))


def test_a_link_upwards_is_not_followed_for_ever(tmp_path: Path) -> None:
    root = touch(tmp_path / "in", "d/a.jpg")
    other = touch(tmp_path / "other", "b.jpg")
    (root / "d" / "up").symlink_to(root)
    (root / "d" / "over").symlink_to(other)
    assert names(list(list_photos(root))) == ["d/a", "d/over/b"]


def test_a_list_keeps_order_and_sub_folders(tmp_path: Path) -> None:
    touch(tmp_path, "data/x/a.jpg", "data/x/b.jpg", "data/c.jpg", "e/f.jpg")
    lines = f"""# pictures

        x/b.jpg
        x/a.jpg
        https://example.org/photos/tower%20bridge.jpeg?size=2
        ../e/f.jpg
        {tmp_path / "e" / "f.jpg"}
        x/*.jpg
        missing.jpg
        film.mp4
    """
    path = tmp_path / "data" / "list.txt"
    path.write_text("\ufeff" + lines, encoding="utf-8")
    expected = ["x/b", "x/a", "tower_bridge", "f.jpg", "f.jpg-2", "missing", "film"]
    listed = list(list_photos(path))
    assert names(listed) == expected
    assert listed[2].path == "https://example.org/photos/tower%20bridge.jpeg?size=2"
    assert listed[0].path == tmp_path / "data/x/b.jpg"
    other = path.rename(tmp_path / "data" / "names")
    assert names(list(list_photos(f"@{other}"))) == expected


def test_lists_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("# nothing\n\n")
    with pytest.raises(FullyConvError, match=r"a.txt: this list names nothing"):
        list(list_photos(tmp_path / "a.txt"))
    (tmp_path / "b.txt").write_bytes(b"\xff\xfea\x00")
    with pytest.raises(FullyConvError, match=r"b.txt: this list is not text in UTF-8"):
        list(list_photos(tmp_path / "b.txt"))
    with pytest.raises(FullyConvError, match=r"c.txt: there is no such file"):
        list(list_photos(tmp_path / "c.txt"))
    with pytest.raises(FullyConvError, match=r"cannot be read \(Is a directory\)"):
        list(list_photos(f"@{tmp_path}"))
    with pytest.raises(UsageError, match="no photograph is given"):
        list(list_photos([]))


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("ftp://a.org/b.jpg", "ftp is not spoken here; give an http or https address, or download"),
        ("s3://bucket/b.jpg", "s3 is not spoken here"),
        ("camera:x", "cameras are numbered; write camera:0"),
        ("camera:", "cameras are numbered"),
    ],
)
def test_addresses_that_are_not_read(source: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=problem):
        list(list_photos(source))
    (tmp_path / "list.txt").write_text(source)
    with pytest.raises(UsageError, match=problem):
        list(list_photos(tmp_path / "list.txt"))


def test_names_are_given_once(tmp_path: Path) -> None:
    root = touch(tmp_path, "a.jpg", "a.jpg.png", "a.png", "d/a.jpg")
    found = names(list(list_photos(root)))
    assert len(set(found)) == 4
    assert names(list(list_photos(root))) == found
    addresses = ["https://x.org/a.jpg", "https://y.org/a.jpg", "https://z.org/", "-", "camera:0"]
    assert names(list(list_photos(addresses))) == [
        "a.jpg",
        "a.jpg-2",
        "image",
        "image-2",
        "camera-0",
    ]


def test_a_folder_is_listed_without_holding_it(tmp_path: Path) -> None:
    """Memory for the names of one sub-folder, not for those of all."""
    for folder in range(40):
        touch(tmp_path, *(f"{folder:02}/{number:05}.jpg" for number in range(50)))

    def peak() -> int:
        tracemalloc.reset_peak()
        assert sum(1 for _ in list_photos(tmp_path)) > 0
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        few = sum(1 for _ in list_photos(tmp_path / "00"))
        start = tracemalloc.get_traced_memory()[0]
        whole = peak() - start
    finally:
        tracemalloc.stop()
    assert few == 50
    assert whole < 200_000  # 2000 paths alone are more than twice that
