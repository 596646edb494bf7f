"""Precomputed features: a file in place of a backbone.

`.npz`: the arrays `train` [n, d] and `test` [t, d]. `.npy`: the array of the train images; that of the test images is a
second file, for example `features.npy` and `features-test.npy`. Rows are in the order of the dataset's images
(`Dataset.ids` names them). Train and test are distinguished by their numbers of rows; if these are equal, an `.npz`
must contain `train_sha256` and `test_sha256`, the SHA-256 of each split's pixels (uint8 [n, 3, h, w] in order).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fathom.core.records import FathomError
from fathom.learn.features.backbone import BackboneInfo, BackboneRequest
from fathom.learn.task import ImageSource
from fathom.registry.registry import backbone

PARTS = ("train", "test")
_ROWS = 4096  # rows per chunk


@backbone("features", resizes=False)
def precomputed(request: BackboneRequest) -> BackboneInfo:
    """Read features that were computed elsewhere, one row per image, from an `.npz` or `.npy` file.

    Raises:
        FathomError: The file is absent or of another type.
    """
    source = Precomputed(request.file())
    return BackboneInfo({"backbone": request.name, **source.facts()}, lambda: source)


@dataclass(frozen=True)
class Precomputed:
    """The features of a file.

    Args:
        path: `.npz` or `.npy`.
    """

    path: Path

    def facts(self) -> dict[str, Any]:
        """Name and SHA-256 of the file or files."""
        total = hashlib.sha256()
        for path in self._files():
            with path.open("rb") as file:
                hashlib.file_digest(file, lambda: total)
        return {"weights": self.path.name, "sha256": total.hexdigest()}

    def __call__(self, images: ImageSource) -> Iterator[Float[Tensor, "b d"]]:
        """The rows of these images, in chunks.

        Raises:
            FathomError: The file does not have one row per image, or is not of the layout above.
        """
        # A killed extraction resumes with a subset of the images (`data.images.Subset`): its rows are those of the
        # complete set.
        whole, ids = getattr(images, "images", images), getattr(images, "ids", torch.arange(len(images)))
        rows = self._rows(whole)
        for part in ids.cpu().split(_ROWS):
            yield torch.from_numpy(np.ascontiguousarray(rows[part.numpy()], np.float32)).to(images.device)

    def _files(self) -> list[Path]:
        if self.path.suffix == ".npz":
            return [self.path]
        if self.path.suffix != ".npy":
            raise FathomError(f"precomputed features are read from .npz or .npy; got {self.path.name}")
        other = self.path.with_name(f"{self.path.stem}-test.npy")
        if not other.is_file():
            raise FathomError(
                f"{self.path.name} has the features of the train images; expected those of the test images in {other}"
            )
        return [self.path, other]

    def _rows(self, whole: ImageSource) -> Any:
        arrays = self._arrays()
        wrong = [k for k in PARTS if arrays[k].ndim != 2 or arrays[k].dtype.kind not in "fiu" or not arrays[k].shape[1]]
        if wrong:
            array = arrays[wrong[0]]
            raise FathomError(
                f"{wrong[0]} in {self.path} is {array.dtype} {list(array.shape)}; expected numbers [images, dimensions]"
            )
        fitting = [k for k in PARTS if len(arrays[k]) == len(whole)]
        if len(fitting) == 2:
            fitting = self._by_content(arrays, whole)
        if not fitting:
            raise FathomError(
                f"{self.path} has {len(arrays['train'])} train and {len(arrays['test'])} test rows; expected "
                f"{len(whole)} for these images: one row per image of the dataset, in its order"
            )
        return arrays[fitting[0]]

    def _arrays(self) -> dict[str, Any]:
        try:
            if self.path.suffix == ".npy":
                return dict(zip(PARTS, (np.load(p, "r", allow_pickle=False) for p in self._files()), strict=True))
            with self.path.open("rb") as data, np.load(data, allow_pickle=False) as file:
                digests = [f"{part}_sha256" for part in PARTS]
                return {name: file[name] for name in (*PARTS, *(d for d in digests if d in file.files))}
        except Exception as error:  # a damaged archive raises the errors of several packages
            raise FathomError(
                f"{self.path} cannot be read as features ({error}). Expected an .npz with the arrays train [n, d] and "
                "test [t, d], or two .npy files"
            ) from error

    def _by_content(self, arrays: dict[str, Any], whole: ImageSource) -> list[str]:
        """The part whose pixels have the digest of these images."""
        known = {part: str(arrays[f"{part}_sha256"]) for part in PARTS if f"{part}_sha256" in arrays}
        if len(known) < 2:
            raise FathomError(
                f"{self.path} has {len(whole)} train and test rows, so their number does not distinguish them. Add "
                "train_sha256 and test_sha256 to the .npz: the SHA-256 of each split's pixels (uint8 [n, 3, h, w])"
            )
        total = hashlib.sha256()
        for ids in torch.split(torch.arange(len(whole)), _ROWS):
            total.update(whole.take(ids.to(whole.device)).contiguous().cpu().numpy().tobytes())
        return [part for part in PARTS if known[part] == total.hexdigest()]
