"""Images of one size, accessed by index: in memory, on the device, or in a memory map; and subsets of them."""

import hashlib
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Int, Shaped, UInt8
from torch import Tensor

from fathom.core.member_call import guarded
from fathom.data.dataset import Images

DEVICE_SHARE = 0.5  # of the device's free memory for a set of images; the rest is for training
CHUNK = 2**26  # bytes that are copied or hashed at a time


class _PixelImages:
    """Images whose pixels are in one array [n, 3, h, w]."""

    pixels: Any
    _device: torch.device

    def __len__(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.pixels.shape[2]), int(self.pixels.shape[3])

    @property
    def device(self) -> torch.device:
        """Where `take` puts its result."""
        return self._device


class TensorImages(_PixelImages):
    """Images in one uint8 tensor, in memory or on the device.

    Args:
        pixels: RGB values, 0 to 255.
        device: Where `take` puts its result; by default where the pixels are. Elsewhere, each batch is copied.
        sha256: Digest of the pixels' bytes in order, where it is known already.
    """

    def __init__(
        self, pixels: UInt8[Tensor, "n 3 h w"], device: torch.device | None = None, sha256: str | None = None
    ) -> None:
        self.pixels = pixels
        self.sha256 = sha256
        self._device = pixels.device if device is None else indexed(device)

    def take(self, ids: Int[Tensor, "b"]) -> UInt8[Tensor, "b 3 h w"]:
        """The images at `ids`, 0 to len - 1 (checked where that needs no synchronization with the device)."""
        check_ids(ids, len(self))
        return put(self.pixels[ids.to(self.pixels.device)], self._device)

    def to(self, device: torch.device) -> "TensorImages":
        """Images that are taken on `device`: moved there where they fit, else copied batch by batch."""
        device = indexed(device)
        if device == self.pixels.device or not fits(self.pixels.nbytes, device):
            return TensorImages(self.pixels, device, self.sha256)
        return TensorImages(self.pixels.to(device), None, self.sha256)


class MappedImages(_PixelImages):
    """Images in a memory map, for sets larger than memory.

    Args:
        pixels: RGB values, 0 to 255, uint8 [n, 3, h, w].
        device: Where `take` puts its result.
        sha256: Digest of the pixels' bytes in order, where it is known already.
    """

    def __init__(
        self, pixels: UInt8[np.ndarray, "n 3 h w"], device: torch.device | None = None, sha256: str | None = None
    ) -> None:
        self.pixels = pixels
        self.sha256 = sha256
        self._device = torch.device("cpu") if device is None else indexed(device)

    def take(self, ids: Int[Tensor, "b"]) -> UInt8[Tensor, "b 3 h w"]:
        """The images at `ids`, 0 to len - 1, read in the order of the file, which avoids a disk seek per image."""
        rows = ids.cpu().numpy()
        check_ids(torch.from_numpy(rows), len(self))
        order = np.argsort(rows, kind="stable")
        batch = np.empty((len(rows), *self.pixels.shape[1:]), np.uint8)
        batch[order] = self.pixels[rows[order]]
        return put(torch.from_numpy(batch), self._device)

    def to(self, device: torch.device) -> "MappedImages | TensorImages":
        """Images that are taken on `device`: moved there where they fit; on the CPU they stay in the map."""
        device = indexed(device)
        if device.type == "cpu" or not fits(self.pixels.nbytes, device):
            return MappedImages(self.pixels, device, self.sha256)
        return TensorImages(gather(self, device), None, self.sha256)


class Subset:
    """Some of the images of a set, in a given order: an index, not a copy. A subset of a subset is one index.

    Args:
        images: The set.
        ids: Which of them, 0 to len(images) - 1.
    """

    def __init__(self, images: Images, ids: Int[Tensor, "n"]) -> None:
        ids = ids.long()
        if len(ids) and not (int(ids.min()) >= 0 and int(ids.max()) < len(images)):
            raise IndexError(f"ids from {int(ids.min())} to {int(ids.max())}; expected 0 to {len(images) - 1}")
        self.images: Images = images.images if isinstance(images, Subset) else images
        self.ids: Tensor = images.ids[ids.to(images.ids.device)] if isinstance(images, Subset) else ids

    def __len__(self) -> int:
        return self.ids.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.images.size

    @property
    def device(self) -> torch.device:
        """Where `take` puts its result."""
        return self.images.device

    def take(self, ids: Int[Tensor, "b"]) -> Shaped[Tensor, "b ..."]:
        """The images at `ids`, 0 to len - 1 of the subset."""
        check_ids(ids, len(self))
        return self.images.take(self.ids[ids.to(self.ids.device)])

    def to(self, device: torch.device) -> "Subset | TensorImages":
        """Images that are taken on `device`.

        The whole set is moved where it fits, else the subset alone; else each batch is copied. Move a set before taking
        subsets of it: subsets of a moved set share its memory.
        """
        device = indexed(device)
        moved = self.images.to(device)
        resident = _held(moved) == device
        nbytes = len(self) * 3 * self.size[0] * self.size[1]
        features = self.size[0] == 1  # no pixels: they are read from their map batch by batch
        if not (features or resident) and device.type != "cpu" and fits(nbytes, device):
            return TensorImages(gather(self, device))
        subset = Subset(moved, self.ids)
        subset.ids = self.ids.to(device) if resident else self.ids
        return subset


@guarded("take", "to", "__len__", read=("size", "device"))
class _GuardedImages:
    """Images of a plug-in's own class, with a guard around every call (`core.member_call`)."""

    def __init__(self, images: Images, what: str) -> None:
        self._member, self._what = images, what

    def __getattr__(self, name: str) -> Any:  # for example `sha256`
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._member, name)

    def _wrapped(self, result: Any) -> Any:
        return result if isinstance(result, Tensor | int) else guarded_images(result, self._what)


def guarded_images(images: Images, what: str) -> Images:
    """Images with a guard, unless their class is Fathom's."""
    return images if type(images).__module__.startswith("fathom.") else cast(Images, _GuardedImages(images, what))


def pixels_sha256(images: Images) -> str:
    """SHA-256 of all pixels in order, hexadecimal; it does not depend on where they are stored."""
    known = getattr(images, "sha256", None)
    if isinstance(known, str):
        return known
    total = hashlib.sha256()
    for ids in chunks(images):
        total.update(images.take(ids).contiguous().cpu().numpy().tobytes())
    return total.hexdigest()


def fingerprints(images: Images) -> Iterator[bytes]:
    """Digest of the pixels of each image, in order."""
    for ids in chunks(images):
        for pixels in images.take(ids).cpu().numpy():
            yield hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()


def channel_statistics(images: Images) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of each channel over all pixels, in [0, 1]; exact sums of integers.

    A channel without variation gets a deviation of 1, so that normalization leaves it at 0.
    """
    total, squares = np.zeros(3), np.zeros(3)
    for ids in chunks(images):
        batch = images.take(ids).cpu()
        for c in range(3):  # by histograms: integers below 2**53 are exact in float64, whatever the chunks
            counts = np.bincount(batch[:, c].reshape(-1).numpy(), minlength=256).astype(np.float64)
            total[c] += counts @ np.arange(256)
            squares[c] += counts @ np.arange(256.0) ** 2
    n = len(images) * images.size[0] * images.size[1]
    mean = total / n
    std = np.sqrt(np.maximum(squares / n - mean**2, 0.0))
    std[std == 0] = 255.0
    (m0, m1, m2), (s0, s1, s2) = (np.round(mean / 255, 6).tolist(), np.round(std / 255, 6).tolist())
    return (m0, m1, m2), (s0, s1, s2)


def chunks(images: Images) -> list[Tensor]:
    """Consecutive ids of all images, in pieces of at most `CHUNK` bytes of pixels."""
    step = max(1, CHUNK // (3 * images.size[0] * images.size[1]))
    return list(torch.split(torch.arange(len(images)), step))


# ------------------------------------------------------------------------------------------ shared by all image sets


def indexed(device: torch.device) -> torch.device:
    """A device with its number: `cuda` and `cuda:0` are one device but do not compare equal."""
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _held(images: Images) -> torch.device | None:
    """The device of a set's values, if they are in one tensor."""
    values = getattr(images, "pixels", getattr(images, "values", None))
    return values.device if isinstance(values, Tensor) else None


def gather(images: Images, device: torch.device) -> Tensor:
    """The pixels of all images in one tensor on a device."""
    out = torch.empty((len(images), 3, *images.size), dtype=torch.uint8, device=device)
    for ids in chunks(images):
        out[int(ids[0]) : int(ids[-1]) + 1] = images.take(ids).to(device)
    return out


def put(batch: Tensor, device: torch.device) -> Tensor:
    """Copy a batch to a device; through pinned memory to a GPU, so that the host does not wait for the copy."""
    if batch.device == device:
        return batch
    if device.type == "cuda" and batch.device.type == "cpu":
        return batch.pin_memory().to(device, non_blocking=True)
    return batch.to(device)


def fits(nbytes: int, device: torch.device) -> bool:
    """True if `nbytes` may be kept on a device."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return nbytes <= DEVICE_SHARE * free


def check_ids(ids: Tensor, n: int) -> None:
    """Refuse negative ids, which would index from the end. Ids on a GPU are not checked: that would synchronize."""
    if ids.device.type == "cpu" and len(ids) and not (int(ids.min()) >= 0 and int(ids.max()) < n):
        raise IndexError(f"ids from {int(ids.min())} to {int(ids.max())}; expected 0 to {n - 1}")
