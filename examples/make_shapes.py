"""Draw a small data set to train on: python examples/make_shapes.py FOLDER.

Discs and squares of any colour on noise, of which the form alone tells the class; 24 pictures to
train on and 6 to score. Their outlines are labelled void, as drawn outlines are never exact.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def main(folder: Path) -> None:
    """Write train/ and val/, each with images/ and labels/, and classes.json."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 6)):
        for kind in ("images", "labels"):
            (folder / split / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image = Image.fromarray(rng.integers(90, 166, (128, 160, 3), np.uint8))
            labels = Image.new("L", image.size, 0)
            for _ in range(4):
                x, y, radius = rng.integers(0, 160), rng.integers(0, 128), rng.integers(14, 30)
                box = (x - radius, y - radius, x + radius, y + radius)
                color = tuple(int(value) for value in rng.integers(0, 256, 3))
                for picture, fill, outline in ((image, color, color), (labels, None, 255)):
                    draw = ImageDraw.Draw(picture)
                    disc = (x + y) % 2
                    shape = draw.ellipse if disc else draw.rectangle
                    shape(box, fill=(1 if disc else 2) if fill is None else fill, outline=outline)
            image.save(folder / split / "images" / f"{split}{number:02}.png")
            labels.save(folder / split / "labels" / f"{split}{number:02}.png")
    classes = {"categories": ["background", "disc", "square"], "void": [255]}
    (folder / "classes.json").write_text(json.dumps(classes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
