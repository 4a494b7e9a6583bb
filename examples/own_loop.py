"""Fine-tune inside a loop of one's own: own_loop.py FOLDER MODEL.safetensors [STEPS].

The network is an nn.Module, the data set any torch.utils.data.Dataset, the optimiser any of
PyTorch's. From this package come the network, its weights, the loss, the metric and the file.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import fullyconv as fc

CLASSES = fc.LabelSpace(categories=("background", "disc", "square"))
START = fc.read_header("camvid")


class Folder(Dataset):
    """Pictures of one size, as the network wants them, with their class ids."""

    def __init__(self, folder: Path) -> None:
        self.images = sorted((folder / "images").iterdir())
        self.labels = sorted((folder / "labels").iterdir())

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = np.asarray(Image.open(self.images[index]).convert("RGB"))
        labels = np.array(Image.open(self.labels[index]), np.int64)
        return torch.from_numpy(START.preprocess(image)), torch.from_numpy(labels)


def main(folder: Path, path: Path, steps: int = 100) -> None:
    """Train all layers, the new class scores from zero; then score, and save for `fcn predict`."""
    torch.manual_seed(0)
    config = replace(START.model, num_classes=CLASSES.num_classes)
    model = fc.create_model(config)
    fc.transplant(model, fc.load_model("camvid"))  # all but the scores fits
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loader = DataLoader(Folder(folder / "train"), batch_size=8, shuffle=True, drop_last=True)
    model.train()
    done = 0
    while done < steps:
        for images, target in loader:
            loss = fc.cross_entropy(model(images), target)  # 255 is not counted
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
            if done == steps:
                break
    print(f"loss {loss.item():.2f}")

    model.eval()
    matrix = fc.ConfusionMatrix(CLASSES.num_classes)
    with torch.no_grad():
        for images, target in DataLoader(Folder(folder / "val")):
            matrix.update(model(images).argmax(1), target)
    print(f"mean IU {100 * matrix.compute().mean_iou:.1f}")
    header = fc.Header(model=config, labels=CLASSES, preprocess=START.preprocess)
    fc.save_model(model, path, header=header)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
