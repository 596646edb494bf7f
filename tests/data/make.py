"""Small images, files and datasets that several tests of this room need."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fathom.data.dataset import DataRoot, Dataset
from fathom.data.images import TensorImages


def root(folder: Path) -> DataRoot:
    return DataRoot(folder, folder / "cache", quiet=True)


def pixels(n: int, side: int = 4, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).integers(0, 256, (n, 3, side, side))
    return torch.from_numpy(values.astype(np.uint8))


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth colored picture: what resizing and JPEG leave nearly as it is."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    waves = [np.sin(a * x + b * y + c) for a, b, c in generator.uniform(1, 6, (3, 3))]
    return Image.fromarray(((np.stack(waves, 2) + 1) * 127).astype(np.uint8))


def save(path: Path, seed: int = 0, width: int = 40, height: int = 30) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    photo(width, height, seed).save(path)
    return path


def class_folders(folder: Path, counts: dict[str, int], suffix: str = ".png") -> Path:
    """A folder with one sub-folder a class; every image is another one."""
    seed = 0
    for name, n in counts.items():
        for i in range(n):
            save(folder / name / f"{i:03}{suffix}", seed := seed + 1, width=12, height=10)
    return folder


def dataset(labels: list[int] | np.ndarray, **changes: object) -> Dataset:
    """A dataset of tiny images with the given train labels, numbers as class names."""
    labels = np.asarray(labels, np.int64)
    classes = int(labels.max()) + 1
    values = {
        "name": "tiny",
        "images": TensorImages(pixels(len(labels))),
        "labels": labels,
        "test_images": TensorImages(pixels(classes)),
        "test_labels": np.arange(classes),
        "class_names": tuple(f"class {c}" for c in range(classes)),
        "metric": "accuracy",
        "balanced": True,
        "val_split": max(1, len(labels) // 5),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
        "augment": "cifar",
    }
    return Dataset(**(values | changes))
