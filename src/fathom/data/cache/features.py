"""Features in place of images, computed once; their file is named by the digest of images, backbone and weights."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fathom.core.records import FathomError, digest
from fathom.data.cache.cache_file import HEADER, MEMORY_LIMIT, cache_errors, locked
from fathom.data.cache.feature_file import FeatureHeader, FeatureWriter, statistics, valid
from fathom.data.images import check_ids, fits, indexed, put
from fathom.store.locks import TakenOverError


class FeatureImages:
    """Features of n images, in memory, on a device or in a memory map; taken as float32.

    Args:
        values: float16 or float32.
        device: Where `take` puts its result; by default where the values are.
        sha256: Digest of the file, where there is one.
        mean, std: Of each dimension, over all images; computed where not given.
        standard: What `take` subtracts and divides by; None to give the values as they are.
        mapped: True for a memory map, which is read in the order of the file.
    """

    def __init__(
        self,
        values: Float[Tensor, "n d"],
        device: torch.device | None = None,
        sha256: str | None = None,
        mean: Float[Tensor, "d"] | None = None,
        std: Float[Tensor, "d"] | None = None,
        standard: tuple[Tensor, Tensor] | None = None,
        mapped: bool = False,
    ) -> None:
        self.values, self.mapped = values, mapped
        self._device = values.device if device is None else indexed(device)
        self.mean, self.std = (mean, std) if mean is not None and std is not None else statistics(values)
        self.sha256 = sha256
        self.standard = standard and (standard[0].to(self._device), standard[1].to(self._device))

    def __len__(self) -> int:
        return self.values.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """(1, d)."""
        return 1, self.values.shape[1]

    @property
    def device(self) -> torch.device:
        """Where `take` puts its result."""
        return self._device

    def take(self, ids: Int[Tensor, "b"]) -> Float[Tensor, "b d"]:
        """The features at `ids`, 0 to len - 1, float32; standardized where that was asked for."""
        check_ids(ids, len(self))
        ids = ids.to(self.values.device)
        if self.mapped:  # in the file's order: random order would read a page of the disk per row
            order = ids.argsort()
            rows = torch.empty((len(ids), self.values.shape[1]), dtype=self.values.dtype)
            rows[order] = self.values[ids[order]]
        else:
            rows = self.values[ids]
        x = put(rows, self._device).to(torch.float32)
        return x if self.standard is None else x.sub_(self.standard[0]).div_(self.standard[1])

    def to(self, device: torch.device) -> "FeatureImages":
        """Return the features for use on `device`: copied if they fit in its memory, memory-mapped on the CPU."""
        device = indexed(device)
        values, mapped = self.values, self.mapped
        if device != values.device and device.type != "cpu" and fits(values.nbytes, device):
            values, mapped = values.to(device), False
        return FeatureImages(values, device, self.sha256, self.mean, self.std, self.standard, mapped)

    def standardized(self, mean: Float[Tensor, "d"], std: Float[Tensor, "d"]) -> "FeatureImages":
        """Features from which `take` subtracts `mean` and which it divides by `std`."""
        standard = (mean.to(torch.float32), torch.where(std > 0, std, 1.0).to(torch.float32))
        return FeatureImages(self.values, self._device, self.sha256, self.mean, self.std, standard, self.mapped)


def standardized(train: FeatureImages, test: FeatureImages) -> tuple[FeatureImages, FeatureImages]:
    """Standardize train and test features by the mean and standard deviation over the train images.

    It uses no label and nothing of the test images. A dimension that never varies becomes 0.

    Raises:
        FathomError: Their dimensions differ.

    Source: ours; so that the HPs of a head mean the same for all backbones.
    """
    if train.size != test.size:
        raise FathomError(
            f"features of {train.size[1]} dimensions for training and {test.size[1]} for testing; expected the same. "
            "Are both from one backbone?"
        )
    return train.standardized(train.mean, train.std), test.standardized(train.mean, train.std)


def features_key(images: str, backbone: str, facts: Mapping[str, Any]) -> str:
    """32 hexadecimal digits that identify the features of a set of images.

    Args:
        images: Digest of the pixels (`data.images.pixels_sha256`).
        backbone: `Paradigm.backbone`, which names the kind of float too.
        facts: `Paradigm.facts`, and everything else that decides the numbers.

    The path of the weights is part of `backbone`, so the same weights under another path are embedded again. Their
    SHA-256 in `facts` would be enough; the key stays as it is, because every cached file is named by it.
    """
    return digest({"images": images, "backbone": backbone, "facts": dict(facts)}, 32)


def kept_features(
    key: str,
    count: int,
    make: Callable[[int], Iterator[Tensor]],
    cache_dir: Path,
    *,
    tell: Callable[[int], None] | None = None,
    memory_limit: int = MEMORY_LIMIT,
) -> FeatureImages:
    """The features of a key: read from the cache, or made and stored there. Two processes make them once.

    Args:
        key: `features_key`.
        count: n, images.
        make: Gives the features from an image on, in order, in chunks [b, d] of float16 or float32, as they are stored.
            A killed process resumes where a chunk began, so that chunks of one size give the same bytes.
        cache_dir: Folder; made where absent.
        tell: Called with the number of images done, after every chunk.
        memory_limit: Bytes; a larger file stays in a memory map.

    Raises:
        NonFiniteError: A feature is not finite.
        FathomError: Chunks do not fit together, the disk is full, or the cache cannot be written.
    """
    target = cache_dir / f"{key}.features"
    with cache_errors(cache_dir, "features"):
        header = valid(target, count)  # without a lock: a read-only cache can still be read
        while header is None:
            with locked(cache_dir, key) as lease, suppress(TakenOverError):  # then the other process makes it
                # Another process may have made it while this one waited for the lock.
                header = valid(target, count) or FeatureWriter(target, count, tell, lease).fill(make)
    return _open(target, header, memory_limit)


def _open(path: Path, header: FeatureHeader, memory_limit: int) -> FeatureImages:
    dtype, shape = np.dtype(header.dtype), (header.rows, header.dim)
    # Copy-on-write, because torch warns about tensors on read-only memory; nothing is ever written.
    array = np.memmap(path, dtype, "c", offset=HEADER, shape=shape)
    mapped = array.nbytes > memory_limit
    values = torch.from_numpy(array if mapped else np.array(array))
    both = np.fromfile(path, np.float64, offset=HEADER + header.nbytes).reshape(2, header.dim)
    mean, std = torch.from_numpy(both)
    return FeatureImages(values, None, header.sha256, mean, std, mapped=mapped)
