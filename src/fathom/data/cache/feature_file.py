"""One file of features, which grows row by row and survives being killed.

A file is one page of JSON, the features (float16 or float32 [n, d]), and the mean and deviation of each dimension
(float64). It grows under another name; after every whole block of rows the page says how many there are and what their
SHA-256 is, so that work that was killed goes on from there to the same bytes.
"""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fathom.core.records import FathomError, NonFiniteError, canonical
from fathom.data.cache.pixels import sha256_of_rest
from fathom.data.images import CHUNK

DTYPES = {"float16": torch.float16, "float32": torch.float32}
HEADER = 4096  # bytes before the features, one page, so that the map is aligned

_SECONDS = 5.0  # between two marks of progress in the file: what a power cut costs at most

_log = logging.getLogger(__name__)


def statistics(values: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "d"], Float[Tensor, "d"]]:
    """Mean and standard deviation of each dimension, float64 on the CPU; summed in pieces of a size of their own."""
    step = max(1, CHUNK // (8 * values.shape[1]))
    mean = sum((x.cpu().double().sum(0) for x in torch.split(values, step)), torch.zeros(())) / len(values)
    squares = sum(((x.cpu().double() - mean).square().sum(0) for x in torch.split(values, step)), torch.zeros(()))
    return mean, (squares / len(values)).sqrt()


@dataclass(frozen=True)
class FeatureHeader:
    """What the page before the features says: `rows` of them are there, and `sha256` is that of all that follows."""

    rows: int
    dim: int
    dtype: str
    sha256: str
    whole: bool = False

    @property
    def nbytes(self) -> int:
        return self.rows * self.dim * DTYPES[self.dtype].itemsize

    def page(self) -> bytes:
        return canonical(vars(self)).encode().ljust(HEADER)


def _head(file: BinaryIO) -> FeatureHeader | None:
    """The head of a file, if it can be read; the file is then at its first feature."""
    try:
        head = FeatureHeader(**json.loads(file.read(HEADER)))
        return head if head.dtype in DTYPES and head.nbytes >= 0 else None
    except (ValueError, TypeError):
        return None


def valid(path: Path, count: int) -> FeatureHeader | None:
    """The head of a whole, undamaged file; else None."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        head = _head(file)
        if head and head.whole and head.rows == count and sha256_of_rest(file) == head.sha256:
            return head
    _log.warning("cache file %s is damaged; its features are computed again", path)
    return None


class FeatureWriter:
    """A file that features are appended to, and that gets its name when it is whole."""

    def __init__(self, target: Path, count: int, tell: Callable[[int], None]) -> None:
        self.target, self.count, self.tell = target, count, tell
        self.total = hashlib.sha256()
        self.head: FeatureHeader | None = None
        self.marked = time.monotonic()

    def fill(self, make: Callable[[int], Iterator[Tensor]]) -> FeatureHeader:
        """Make what is missing."""
        part = self.target.with_suffix(".part")
        with part.open("r+b" if part.is_file() else "w+b") as file:
            start = self._resume(file)
            try:
                if start < self.count:
                    for chunk in make(start):
                        self._append(file, chunk.detach().cpu())
            finally:  # what was made is worth keeping, whatever has happened
                if self.head and not self.head.whole:
                    self._mark(file, self.head)
            if self.head is None or self.head.rows != self.count:
                rows = self.head.rows if self.head else 0
                raise FathomError(f"a backbone gave features of {rows} images; expected {self.count}, one row an image")
            if not self.head.whole:
                self._close(file, self.head)
        part.replace(self.target)
        assert self.head is not None
        return self.head

    def _resume(self, file: BinaryIO) -> int:
        """Images whose features are there already, and are what they were."""
        head = _head(file)
        if head and head.whole and head.rows == self.count and sha256_of_rest(file) == head.sha256:
            self.head = head
            return head.rows
        if head and not head.whole and head.rows <= self.count and self._same(file, head):
            self.head = head
            file.truncate(HEADER + head.nbytes)
            file.seek(0, os.SEEK_END)
            self.tell(head.rows)
            return head.rows
        self.total = hashlib.sha256()
        file.truncate(0)
        file.seek(HEADER)
        return 0

    def _same(self, file: BinaryIO, head: FeatureHeader) -> bool:
        left = head.nbytes
        while left and (block := file.read(min(left, CHUNK))):
            self.total.update(block)
            left -= len(block)
        return not left and self.total.hexdigest() == head.sha256

    def _append(self, file: BinaryIO, chunk: Tensor) -> None:
        name = str(chunk.dtype).removeprefix("torch.")
        before = self.head or FeatureHeader(0, chunk.shape[-1], name, "")
        if chunk.dim() != 2 or name not in DTYPES or (chunk.shape[1], name) != (before.dim, before.dtype):
            raise FathomError(
                f"a backbone gave a chunk of features {list(chunk.shape)} of {name}; expected [b, {before.dim}] of "
                f"{before.dtype if before.dtype in DTYPES else 'float16 or float32'}"
            )
        if not self.head:
            self._expect_room(chunk)
        if not bool(chunk.isfinite().all()):
            row = before.rows + int((~chunk.isfinite()).any(1).nonzero()[0])
            advice = " Beyond 65,504 float16 ends: ask for dtype=float32" if name == "float16" else ""
            raise NonFiniteError(f"the features of image {row} are not finite in {name}.{advice}")
        data = chunk.contiguous().numpy().data
        file.write(data)
        self.total.update(data)
        self.head = FeatureHeader(before.rows + len(chunk), before.dim, name, self.total.hexdigest())
        if time.monotonic() - self.marked > _SECONDS:
            self._mark(file, self.head)
            self.marked = time.monotonic()
        self.tell(self.head.rows)

    def _expect_room(self, chunk: Tensor) -> None:
        nbytes = self.count * chunk.shape[1] * chunk.dtype.itemsize + HEADER
        if (free := shutil.disk_usage(self.target.parent).free) < nbytes:
            raise FathomError(
                f"features of {self.count} images need {nbytes / 2**30:.1f} GiB in {self.target.parent}, where "
                f"{free / 2**30:.1f} GiB are free. Make room, or name another folder with FATHOM_CACHE"
            )

    def _close(self, file: BinaryIO, head: FeatureHeader) -> None:
        """Append the statistics of what was kept."""
        file.flush()
        array = np.memmap(self.target.with_suffix(".part"), head.dtype, "c", HEADER, (head.rows, head.dim))
        both = torch.stack(statistics(torch.from_numpy(array))).numpy().data
        file.seek(HEADER + head.nbytes)
        file.write(both)
        self.total.update(both)
        self.head = FeatureHeader(head.rows, head.dim, head.dtype, self.total.hexdigest(), whole=True)
        self._mark(file, self.head)

    @staticmethod
    def _mark(file: BinaryIO, head: FeatureHeader) -> None:
        """Say in the page how far it is, once that is on the disk."""
        file.flush()
        os.fsync(file.fileno())
        end = file.tell()
        file.seek(0)
        file.write(head.page())
        file.flush()
        os.fsync(file.fileno())
        file.seek(end)
