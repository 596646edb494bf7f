"""Test images, and the way to Pillow and back."""

import numpy as np
import torch
from PIL import Image


def images(count: int = 12, h: int = 32, w: int = 32, seed: int = 0) -> torch.Tensor:
    """Smooth, noisy, two-level and constant images: histograms of every kind."""
    rng = np.random.default_rng(seed)
    out = rng.integers(0, 256, (max(count, 8), 3, h, w))
    ramp = np.linspace(20, 230, h * w).reshape(h, w)
    out[1] = ramp
    out[2] = np.stack([ramp.T.reshape(h, w), ramp / 2, 255 - ramp])
    out[3] = 77
    out[4] = np.where(rng.random((3, h, w)) < 0.2, 3, 250)
    out[5] = rng.normal(120, 6, (3, h, w)).clip(0, 255)
    out[6] = 0
    out[7] = 255
    return torch.from_numpy(out[:count].astype(np.uint8))


def pil(x: torch.Tensor) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(x.permute(1, 2, 0).numpy()))


def back(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
