"""Near-duplicates: re-encoded, resized and slightly cropped copies, and neighboring frames.

An image is described by its grey levels at 16 x 16 pixels. Two images are near-duplicates if, at 8 x 8 and without
their mean, they differ by at most `DISTANCE` of their contrast, and if what 16 x 16 adds to 8 x 8 correlates by at
least `DETAIL`. Pairs are found without comparing all: divided by their norms, such images are within `_RADIUS`, also in
the first principal components, where a tree finds the nearest `_NEIGHBORS` of each.

Measured on real images (`docs/log.md`): copies saved as JPEG of quality 50 to 95 or of half or double size are found
in 99.8 to 100 % of cases (CIFAR-10, HAM10000; halves of 28 x 28 pixels in 54 %). Among 50,000 different images of
CIFAR-10 19 pairs are found, among 10,015 of HAM10000 61, of which 60 are of one lesion. Fashion-MNIST, whose images are
silhouettes, has such a pair for 4 % of 20,000 images.

Source: ours; after the thumbnails and gradients of perceptual hashes (Zauner 2010), without their rounding to bits.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

SIDE = 16
DISTANCE = 0.10
DETAIL = 0.90
FLOOR = 4.0  # grey levels of contrast: nearly flat images are compared by these
LIMIT = 250_000  # images; more take minutes, and are not searched
_COMPONENTS, _NEIGHBORS = 12, 32
_RADIUS = DISTANCE / (1 - DISTANCE) ** 0.5  # |a - b|^2 = (|a| - |b|)^2 + |a| |b| |a / |a| - b / |b||^2

Thumbnails = np.ndarray[Any, np.dtype[np.uint8]]  # [n, SIDE, SIDE]


def thumbnail(image: Image.Image) -> Thumbnails:
    """Grey levels of an image at 16 x 16 pixels."""
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def thumbnails(batches: Iterable[Any]) -> Thumbnails:
    """Thumbnails of images that come in batches, uint8 [b, 3, h, w]."""
    made = [thumbnail(Image.fromarray(pixels.transpose(1, 2, 0))) for batch in batches for pixels in batch]
    return np.stack(made) if made else np.empty((0, SIDE, SIDE), np.uint8)


def find_near_duplicates(images: Thumbnails) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    """Find pairs of near-duplicates: positions [p, 2], the smaller first, sorted; None for more than `LIMIT` images."""
    from scipy.spatial import cKDTree

    if len(images) > LIMIT:
        return None
    if len(images) < 2:
        return np.empty((0, 2), np.int64)
    low, contrast = _low(images)
    scaled = low / contrast[:, None]
    sample = scaled[:: max(1, len(scaled) // 20_000)]
    axes = np.linalg.eigh(sample.T @ sample)[1][:, -_COMPONENTS:]
    points = np.ascontiguousarray(scaled @ axes) / low.shape[1] ** 0.5
    tree, found = cKDTree(points), []
    for start in range(0, len(points), 8192):
        block = points[start : start + 8192]
        near = tree.query(block, min(_NEIGHBORS + 1, len(points)), distance_upper_bound=_RADIUS)[1].reshape(
            len(block), -1
        )
        i, k = np.nonzero(near < len(points))  # the tree fills up with n
        pairs = np.sort(np.stack([i + start, near[i, k]], 1), 1)
        pairs = pairs[pairs[:, 0] < pairs[:, 1]]
        found.append(pairs[_same(images, low, contrast, *pairs.T)])
    return np.unique(np.concatenate(found), axis=0).astype(np.int64)


# ------------------------------------------------------------------------------------------------------- helpers


def _low(images: Thumbnails) -> tuple[Any, Any]:
    """(grey levels at 8 x 8 without their mean, their deviation), float32."""
    half = SIDE // 2
    low = images.reshape(-1, half, 2, half, 2).mean((2, 4), dtype=np.float32).reshape(len(images), half * half)
    low -= low.mean(1, keepdims=True)
    return low, np.maximum(low.std(1), FLOOR)


def _same(images: Thumbnails, low: Any, contrast: Any, i: Any, j: Any) -> Any:
    """True for pairs that are near-duplicates."""
    same = np.zeros(len(i), bool)
    for part in np.split(np.arange(len(i)), range(65_536, len(i), 65_536)):
        a, b = i[part], j[part]
        apart = np.sqrt(np.square(low[a] - low[b]).mean(1)) / np.maximum(contrast[a], contrast[b])
        close = part[apart <= DISTANCE]
        x, y = _detail(images[i[close]]), _detail(images[j[close]])
        size = np.sqrt(np.square(x).sum(1) * np.square(y).sum(1))
        flat = (np.square(x).mean(1) < 1) & (np.square(y).mean(1) < 1)  # less than a grey level: nothing to compare
        same[close] = flat | ((x * y).sum(1) >= DETAIL * np.maximum(size, 1e-9))
    return same


def _detail(images: Thumbnails) -> Any:
    """Grey levels that 16 x 16 pixels show beyond 8 x 8."""
    half = SIDE // 2
    whole = images.astype(np.float32)
    low = whole.reshape(-1, half, 2, half, 2).mean((2, 4))
    detail = (whole - low.repeat(2, 1).repeat(2, 2)).reshape(len(images), SIDE * SIDE)
    return detail - detail.mean(1, keepdims=True)
