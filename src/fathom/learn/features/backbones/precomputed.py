"""Precomputed features: a file in place of a backbone.

Rows are matched with images by name, because a dataset's order is shuffled and nobody can guess it. An `.npz` holds one
of these:

| arrays | rows |
|---|---|
| `features` [n + t, d], `ids` [n + t] | of train and test images, in any order |
| `train` [n, d], `train_ids` [n], `test` [t, d], `test_ids` [t] | of each part, in any order |

An id is the path of the image below the dataset's folder (`cat/001.jpg`), as in `Dataset.ids` and `Dataset.test_ids`;
for a dataset without such names it is the official index, from 0, of each part.

With `order=dataset` the file has no ids, and its rows are in the order of the dataset's images: an `.npz` with `train`
and `test`, or an `.npy` with the train images next to one with the test images (`features.npy`, `features-test.npy`).
Train and test are then distinguished by their numbers of rows; if these are equal, the `.npz` must contain
`train_sha256` and `test_sha256`, the SHA-256 of each split's pixels (uint8 [n, 3, h, w] in order).
"""

import hashlib
import zipfile
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
from fathom.learn.task import ImageSource, RowFinder
from fathom.registry.registry import backbone

PARTS = ("train", "test")
LARGEST = 2**36  # bytes of an array of an .npz, which is read into memory
_ROWS = 4096  # rows per chunk
_LAYOUT = "arrays features [n, d] and ids [n], or train, train_ids, test and test_ids"


@backbone("features", resizes=False)
def precomputed(request: BackboneRequest) -> BackboneInfo:
    """Read features that were computed elsewhere, one row per image, from an `.npz` or `.npy` file.

    Raises:
        FathomError: The file is absent or of another type.
    """
    source = Precomputed(request.file(), by_ids=request.order != "dataset")
    return BackboneInfo({"backbone": request.name, **source.facts()}, lambda: source)


@dataclass(frozen=True)
class Precomputed:
    """The features of a file.

    Args:
        path: `.npz` or `.npy`.
        by_ids: Match rows by the ids in the file; else they are in the order of the dataset.
        rows: Finds the rows of the images by name; set by `embed`.
    """

    path: Path
    by_ids: bool = True
    rows: RowFinder | None = None

    def facts(self) -> dict[str, Any]:
        """Name and SHA-256 of the file or files, and how rows are matched."""
        total = hashlib.sha256()
        for path in self._files():
            with path.open("rb") as file:
                hashlib.file_digest(file, lambda: total)
        matched = "ids" if self.by_ids else "dataset order"
        return {"weights": self.path.name, "sha256": total.hexdigest(), "matched": matched}

    def __call__(self, images: ImageSource) -> Iterator[Float[Tensor, "b d"]]:
        """The rows of these images, in chunks.

        Raises:
            FathomError: The file does not have one row per image, or is not of the layout above.
        """
        if self.by_ids:
            values, rows = self._by_ids()
        else:
            # A killed extraction resumes with a subset of the images (`data.images.Subset`): its rows are those of the
            # complete set.
            whole, ids = getattr(images, "images", images), getattr(images, "ids", torch.arange(len(images)))
            values, rows = self._in_order(whole), ids.cpu().numpy()
        for part in np.split(rows, range(_ROWS, len(rows), _ROWS)):
            yield torch.from_numpy(np.ascontiguousarray(values[part], np.float32)).to(images.device)

    def _files(self) -> list[Path]:
        if self.path.suffix == ".npz":
            return [self.path]
        if self.path.suffix != ".npy":
            raise FathomError(f"precomputed features are read from .npz or .npy; got {self.path.name}")
        if self.by_ids:
            raise FathomError(
                f"{self.path.name} has no ids, so its rows cannot be matched with images. Expected an .npz with the "
                f"{_LAYOUT}; or declare with order=dataset that its rows are in the dataset's order"
            )
        other = self.path.with_name(f"{self.path.stem}-test.npy")
        if not other.is_file():
            raise FathomError(
                f"{self.path.name} has the features of the train images; expected those of the test images in {other}"
            )
        return [self.path, other]

    def _by_ids(self) -> tuple[Any, Any]:
        """(features, rows of the images)."""
        if self.rows is None:
            raise FathomError(f"the rows of {self.path} are matched by name, and the names of these images are unknown")
        arrays = self._arrays()
        part = self.rows.part
        both = "ids" in arrays and "features" in arrays
        name, ids_name = ("features", "ids") if both else (part, f"{part}_ids")
        if name not in arrays or ids_name not in arrays:
            raise FathomError(
                f"{self.path} holds {', '.join(arrays) or 'nothing'}; expected the {_LAYOUT}, because rows are matched "
                "by id. If its rows are in the dataset's order, declare that with order=dataset"
            )
        values, ids = _numbers(arrays[name], name, self.path), arrays[ids_name]
        if ids.shape != (len(values),) or ids.dtype.kind not in "USiu":
            raise FathomError(
                f"{ids_name} in {self.path} is {ids.dtype} {list(ids.shape)}; expected one name or whole number for "
                f"each of the {len(values)} rows"
            )
        try:
            return values, self.rows(ids.tolist(), both=both)
        except FathomError as error:
            raise FathomError(f"{ids_name} in {self.path}: {error}") from error

    def _in_order(self, whole: ImageSource) -> Any:
        arrays = self._arrays()
        if absent := [part for part in PARTS if part not in arrays]:
            raise FathomError(f"{self.path} lacks {' and '.join(absent)}; expected the arrays train and test")
        for part in PARTS:
            _numbers(arrays[part], part, self.path)
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
            with zipfile.ZipFile(self.path) as archive:
                large = [info for info in archive.infolist() if info.file_size > LARGEST]
            if large:
                raise FathomError(
                    f"{large[0].filename} in {self.path} unpacks to {large[0].file_size:,} bytes; at most {LARGEST:,} "
                    "are read into memory. Save .npy files, which are read in pieces"
                )
            known = ["features", "ids", *(f"{part}{end}" for part in PARTS for end in ("", "_ids", "_sha256"))]
            with self.path.open("rb") as data, np.load(data, allow_pickle=False) as file:
                return {name: file[name] for name in known if name in file.files}
        except FathomError:
            raise
        except Exception as error:  # a damaged archive raises the errors of several packages
            raise FathomError(
                f"{self.path} cannot be read as features ({error}). Expected an .npz with the {_LAYOUT}"
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


def _numbers(array: Any, name: str, path: Path) -> Any:
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.shape[1]:
        raise FathomError(
            f"{name} in {path} is {array.dtype} {list(array.shape)}; expected numbers [images, dimensions]"
        )
    return array
