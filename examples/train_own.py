"""Train on a folder of one's own, score it, label a picture: train_own.py FOLDER RUN [STEPS].

FOLDER holds train/ and val/, each with images/ and labels/, and classes.json.
"""

import sys
from pathlib import Path

import fullyconv as fc


def main(folder: Path, run: Path, steps: int = 300) -> None:
    """The recipe for one's own pictures, begun from the shipped model of road scenes."""
    recipe = fc.recipe(
        "finetune",
        init_from=("camvid",),
        data={"root": folder, "crop": (96, 128)},
        optim={"max_iters": steps},
    )
    best = fc.train(recipe, run)
    print(fc.evaluate(best, folder, split="val").table())
    picture = min((folder / "val" / "images").iterdir())
    fc.Predictor(best)(picture).save(run, "mask,overlay")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
