"""Small tasks for the tests of this room."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits

from fathom.learn.task import Task


@dataclass(eq=False)
class Pixels:
    """Images in memory; `worst` is called with the size of each batch before it is given."""

    x: torch.Tensor
    worst: Callable[[int], None] = lambda count: None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def size(self) -> tuple[int, int]:
        return self.x.shape[2], self.x.shape[3]

    @property
    def device(self) -> torch.device:
        return self.x.device

    def take(self, ids: torch.Tensor) -> torch.Tensor:
        self.worst(len(ids))
        return self.x[ids]


def task(images: torch.Tensor, labels: torch.Tensor, m: int, v: int, **changes: object) -> Task:
    """The first m images are labeled, the next v validate, the rest is the pool."""
    kept = {
        "images": Pixels(images[:m]),
        "labels": labels[:m],
        "val_images": Pixels(images[m : m + v]),
        "val_labels": labels[m : m + v],
        "pool": Pixels(images[m + v :]),
        "num_classes": 10,
        "metric": "accuracy",
        "balanced": True,
        "mean": (0.3, 0.3, 0.3),
        "std": (0.35, 0.35, 0.35),
        "augment": "digits",
    }
    return Task(**(kept | changes))  # type: ignore[arg-type]


def digits(m: int, v: int = 200, seed: int = 0, **changes: object) -> tuple[Task, torch.Tensor]:
    """scikit-learn's handwritten digits, 8x8, in a random order; and the labels of the pool."""
    data = load_digits()
    order = np.random.default_rng(seed).permutation(len(data.target))
    images = torch.from_numpy((data.images[order] * (255 / 16)).astype(np.uint8)).unsqueeze(1).repeat(1, 3, 1, 1)
    labels = torch.from_numpy(data.target[order].astype(np.int64))
    return task(images, labels, m, v, **changes), labels[m + v :]


def noise(m: int, v: int, pool: int, side: int = 8, seed: int = 0, **changes: object) -> Task:
    """Random pixels and labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (m + v + pool, 3, side, side), generator=generator).to(torch.uint8)
    return task(images, torch.randint(10, (m + v + pool,), generator=generator), m, v, **changes)
