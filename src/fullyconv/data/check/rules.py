"""What the facts of all files say is wrong with a data set."""

from __future__ import annotations

from collections import Counter

from fullyconv.data.check.duplicates import MOST_COMPARED, Seen, is_copy
from fullyconv.data.check.facts import Facts, LabelFacts, PictureFacts, examine
from fullyconv.data.check.finding import Findings
from fullyconv.data.check.label_rules import is_mask_space, label_finding
from fullyconv.data.check.layout import IMPORT, Layout, Sample
from fullyconv.labels import LabelSpace

TINY = 32
"""Width below which a picture is smaller than a cell of the coarsest scores (stride 32)."""
_BLACK = 65536 // 10  # what 16-bit pictures should reach
_RARE = 1e-4  # of the pixels of a split
_ENOUGH = 20  # label files of a split, of which a class should be in more than one
_MOST_SIZES = 1000
_MOST_IDS = 100_000  # more than 16 bits hold
_QUARTER = (5, 6, 7, 8)  # EXIF orientations that swap height and width


class Rules:
    """Judges samples one after the other, and in the end the data set as a whole."""

    def __init__(self, layout: Layout, findings: Findings) -> None:
        self.layout, self.findings = layout, findings
        self._seen = Seen()
        self._sizes: Counter[tuple[int, int]] = Counter()
        self._pixels: dict[str, Counter[int]] = {split: Counter() for split in layout.splits}
        self._pictures: dict[str, Counter[int]] = {split: Counter() for split in layout.splits}
        self._label_files: Counter[str] = Counter()
        self._coloured = 0
        self._colored_labels = False

    def judge(self, sample: Sample, facts: dict[str, PictureFacts | LabelFacts]) -> None:
        """Add what is wrong with one sample, the next of the layout."""
        content = look = 0
        for kind, found in facts.items():
            if isinstance(found, PictureFacts):
                self._picture(sample, kind, found)
                if kind == "images":
                    content, look = found.content, found.look
            else:
                self._labels(sample, kind, found)
        self._seen.add(content, look, self.layout.splits.index(sample.split))
        self._compare_sizes(sample, facts)

    def _picture(self, sample: Sample, kind: str, facts: PictureFacts) -> None:
        files = (sample.path(kind),)
        if facts.problem:
            self.findings.add(facts.problem, files, facts.sentence)
            return
        if kind != "images" or facts.size is None:
            return
        height, width = facts.size
        if min(facts.size) < TINY:
            self.findings.add("tiny-picture", files, f"{height} x {width}")
        dark = facts.brightest is not None and 0 < facts.brightest < _BLACK
        if not facts.content and not dark:
            self.findings.add("constant-picture", files)
        elif facts.grey and facts.brightest is None:
            self.findings.add("grey-picture", files)
        elif not facts.grey:
            self._coloured += 1
        if dark:
            self.findings.add("dark-16-bit", files, f"its largest value is {facts.brightest:,}")
        elif facts.brightest is not None:
            self.findings.add("deep-picture", files)
        if facts.transparent:
            self.findings.add("transparent", files)
        if facts.frames > 1:
            self.findings.add("frames", files, f"{facts.frames} pictures")

    def _labels(self, sample: Sample, kind: str, facts: LabelFacts) -> None:
        space, files = self.layout.heads[kind], (sample.path(kind),)
        found = label_finding(facts, space)
        if found is not None:
            self.findings.add(found[0], files, found[1])
        if kind == "labels" and len(self._pixels[sample.split]) < _MOST_IDS:
            self._label_files[sample.split] += 1
            self._colored_labels |= bool(facts.colors)
            self._pixels[sample.split].update(facts.ids)
            self._pictures[sample.split].update(facts.ids.keys())

    def _compare_sizes(self, sample: Sample, facts: dict[str, PictureFacts | LabelFacts]) -> None:
        """Every file of a sample against its picture."""
        picture = facts.get("images")
        if picture is None or picture.size is None:
            return
        fits = True
        for kind, other in facts.items():
            finding = None if kind == "images" else size_finding(picture.size, picture, other)
            if finding is not None:
                fits = False
                files = (sample.path(kind), sample.path("images"))
                self.findings.add(finding[0], files, finding[1])
        if fits and (picture.size in self._sizes or len(self._sizes) < _MOST_SIZES):
            self._sizes[picture.size] += 1

    def finish(self) -> None:
        """Add what only all samples together tell."""
        if self.findings.count("grey-picture") > self._coloured:
            self.findings.drop("grey-picture")
        if len(self._sizes) > 1:
            most = ", ".join(f"{h} x {w}: {n}" for (h, w), n in self._sizes.most_common(5))
            self.findings.add("mixed-sizes", (), f"{len(self._sizes)} sizes; {most}")
        space = self.layout.heads["labels"]
        if space is None:
            ids = sorted(set().union(*self._pixels.values()))
            said = ", ".join(map(str, ids[:20])) + (", ..." if len(ids) > 20 else "")
            for true, detail in (
                (ids, f"the label files hold the ids {said}"),
                (self._colored_labels, f"the label files are coloured pictures: {IMPORT}"),
            ):
                if true:
                    self.findings.add("classes", ("classes.json",), detail)
        else:
            self._judge_numbering(space)
            self._judge_classes(space)
        self._judge_names(self._judge_same())
        self._judge_alike()

    def _judge_numbering(self, space: LabelSpace) -> None:
        """Findings of single files that mean something else if they are those of all files."""
        ids: Counter[int] = sum(self._pixels.values(), Counter())
        count = space.num_classes
        from_0 = space.raw_ids == tuple(range(count))
        if from_0 and {*ids} - {*space.void, 0} == {*range(1, count + 1)} and not ids[0]:
            self.findings.rename("ids-outside", "ids-from-1")
        if is_mask_space(space) and ids[1]:
            self.findings.rename("mask-0-255", "perhaps-0-255")

    def _judge_classes(self, space: LabelSpace) -> None:
        """Classes that never or hardly occur; silent where the ids themselves are wrong."""
        wrong = ("ids-from-1", "mask-0-255", "colour-mask", "unknown-colours", "palette-order")
        if any(self.findings.count(kind) for kind in wrong):
            return
        for split in self.layout.splits:
            pixels, pictures = self._pixels[split], self._pictures[split]
            total, enough = sum(pixels.values()), self._label_files[split] >= _ENOUGH
            for name, raw in zip(space.categories, space.raw_ids, strict=True):
                where = f"{name!r} in {split}" if split else repr(name)
                if not total:
                    break
                if not pixels[raw]:
                    training = split in ("", "train")
                    self.findings.add("class-never" if training else "class-absent", (), where)
                elif pixels[raw] < _RARE * total or (enough and pictures[raw] == 1):
                    said = f"{pixels[raw]:,} px in {pictures[raw]} pictures"
                    self.findings.add("class-rare", (), f"{where}: {said}")

    def _judge_same(self) -> set[str]:
        """Same pictures; returns those of a split that are in another one under the same name."""
        samples, again = self.layout.samples, set()
        for a, b in self._seen.same():
            files = (samples[b].path("images"), samples[a].path("images"))
            if samples[a].split != samples[b].split:
                self.findings.add("leak", files)
                again.add(files[0])
            else:
                differ = self._label_content(samples[a]) != self._label_content(samples[b])
                self.findings.add("duplicate", files, "their labels differ" if differ else "")
        return again

    def _label_content(self, sample: Sample) -> int:
        if "labels" not in sample.suffixes:
            return 0
        facts = examine(self.layout.root, "labels", sample.path("labels"), labels=True)
        return facts.content

    def _judge_names(self, told: set[str]) -> None:
        stems: dict[str, Sample] = {}
        for sample in self.layout.samples:
            if "images" not in sample.suffixes or "labels" not in sample.suffixes:
                continue
            if sample.split == "train":
                stems[sample.stem] = sample
            elif sample.split == "val" and sample.stem in stems:
                files = (sample.path("images"), stems[sample.stem].path("images"))
                if files[0] not in told:
                    self.findings.add("name-in-both", files)

    def _judge_alike(self) -> None:
        samples, root = self.layout.samples, self.layout.root
        for number, (a, b) in enumerate(self._seen.alike()):
            files = (samples[b].path("images"), samples[a].path("images"))
            if number >= MOST_COMPARED:
                self.findings.add("uncompared", (), f"{MOST_COMPARED:,} pairs were compared")
                return
            if is_copy(*(root / path for path in files)):
                self.findings.add("near-leak", files)


def size_finding(size: tuple[int, int], picture: Facts, other: Facts) -> tuple[str, str] | None:
    """What is wrong with the sizes of a picture and of what lies beside it: kind and detail."""
    if other.size is None:
        return None
    (height, width), (rows, columns) = size, other.size
    swapped = (height, width) == (columns, rows)
    quarter = (picture.turned in _QUARTER) != (other.turned in _QUARTER)
    if swapped and height != width and quarter:
        which = "the picture" if picture.turned in _QUARTER else "this file"
        return (
            "exif-rotation",
            f"only {which} has an orientation ({picture.turned}, {other.turned})",
        )
    if size != other.size:
        said = f"{rows} x {columns}, the picture {height} x {width}"
        if swapped:
            return "size-mismatch", f"{said}: height and width are swapped, one of them was turned"
        scale = rows / height
        if abs(scale - 1) > 0.05 and abs(columns / width / scale - 1) < 0.02:
            return "size-mismatch", f"{said}: the same shape at another scale"
        return "size-mismatch", said
    # orientations 2, 3 and 4, and any on a square, leave the size as it is
    if picture.turned != other.turned and 1 in (picture.turned, other.turned):
        silent = height == width or max(picture.turned, other.turned) not in _QUARTER
        if silent:
            return "exif-doubt", f"orientation {picture.turned} and {other.turned}"
    return None
