"""A cache file of features, which grows row by row and can be resumed after a kill.

A file is a header (`cache_file`), the features (float16 or float32 [n, d]), and the mean and standard deviation of each
dimension (float64). It grows under a temporary name. The header is updated every few seconds with the number of rows
and their SHA-256, so that a killed process resumes there and ends with the same bytes.
"""

import hashlib
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

from fathom.core.records import FathomError, NonFiniteError
from fathom.data.cache.cache_file import HEADER, expect_room, read_header, sha256_of_rest, warn_of_damage, write_header
from fathom.data.images import CHUNK
from fathom.store.atomic_files import temporary_path
from fathom.store.locks import Lease, TakenOverError

DTYPES = {"float16": torch.float16, "float32": torch.float32}
_SECONDS = 5.0  # between two updates of the header: the most work that a power cut costs


def statistics(values: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "d"], Float[Tensor, "d"]]:
    """Mean and standard deviation of each dimension, float64 on the CPU.

    Summed in pieces whose size depends on d alone: sums of floats depend on their order, and features that came in
    other chunks (another GPU, a resumed process) must have the same statistics.
    """
    step = max(1, CHUNK // (8 * values.shape[1]))
    mean = sum((x.cpu().double().sum(0) for x in torch.split(values, step)), torch.zeros(())) / len(values)
    squares = sum(((x.cpu().double() - mean).square().sum(0) for x in torch.split(values, step)), torch.zeros(()))
    return mean, (squares / len(values)).sqrt()


@dataclass(frozen=True)
class FeatureHeader:
    """The header of a file: `rows` of features are there, and `sha256` is the digest of all that follows."""

    rows: int
    dim: int
    dtype: str
    sha256: str
    whole: bool = False

    @property
    def nbytes(self) -> int:
        return self.rows * self.dim * DTYPES[self.dtype].itemsize


def _header(file: BinaryIO) -> FeatureHeader | None:
    """The header of a file, if it can be read; the file is then at its first feature."""
    try:
        header = FeatureHeader(**read_header(file))
        return header if header.dtype in DTYPES and header.nbytes >= 0 else None
    except TypeError:
        return None


def valid(path: Path, count: int) -> FeatureHeader | None:
    """The header of a complete, undamaged file; else None."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        header = _header(file)
        if header and header.whole and header.rows == count and sha256_of_rest(file) == header.sha256:
            return header
    warn_of_damage(path)
    return None


class FeatureWriter:
    """A file that features are appended to, and that is renamed when it is complete."""

    def __init__(
        self, target: Path, count: int, tell: Callable[[int], None] | None = None, lease: Lease | None = None
    ) -> None:
        self.target, self.count, self.tell, self.lease = target, count, tell or (lambda done: None), lease
        self.total = hashlib.sha256()
        self.header: FeatureHeader | None = None
        self.marked = time.monotonic()

    def fill(self, make: Callable[[int], Iterator[Tensor]]) -> FeatureHeader:
        """Append the features that are missing.

        Args:
            make: Gives the features from an image on, in order, in chunks.

        Raises:
            NonFiniteError: A feature is not finite.
            FathomError: Chunks do not fit together, or are not one row per image.
            TakenOverError: Another process has taken over.
        """
        part = self.target.with_suffix(".part")
        if self.lease and self.lease.taken_over and part.is_file():
            # A process that was frozen may come back and write to the file that it has open: so not to this one.
            temporary = temporary_path(part.parent)
            shutil.copyfile(part, temporary)
            temporary.replace(part)
        with part.open("r+b" if part.is_file() else "w+b") as file:
            start = self._resume(file)
            try:
                if start < self.count:
                    for chunk in make(start):
                        self._append(file, chunk.detach().cpu())
            finally:  # keep what was computed, also after an error or Ctrl-C
                if self.header and not self.header.whole:
                    self._mark(file, self.header)
            if self.header is None or self.header.rows != self.count:
                rows = self.header.rows if self.header else 0
                raise FathomError(
                    f"a backbone gave features of {rows} images; expected {self.count}, one row per image"
                )
            if not self.header.whole:
                self._close(file, self.header)
        self._expect_lease()
        part.replace(self.target)
        assert self.header is not None
        return self.header

    def _resume(self, file: BinaryIO) -> int:
        """Read what a killed process left; gives the number of images whose features are intact."""
        header = _header(file)
        if header and header.whole and header.rows == self.count and sha256_of_rest(file) == header.sha256:
            self.header = header
            return header.rows
        if header and not header.whole and header.rows <= self.count and self._intact(file, header):
            self.header = header
            file.truncate(HEADER + header.nbytes)
            file.seek(0, os.SEEK_END)
            self.tell(header.rows)
            return header.rows
        self.total = hashlib.sha256()
        file.truncate(0)
        file.seek(HEADER)
        return 0

    def _intact(self, file: BinaryIO, header: FeatureHeader) -> bool:
        left = header.nbytes
        while left and (block := file.read(min(left, CHUNK))):
            self.total.update(block)
            left -= len(block)
        return not left and self.total.hexdigest() == header.sha256

    def _expect_lease(self) -> None:
        if self.lease and self.lease.lost():
            raise TakenOverError(self.target.stem)

    def _append(self, file: BinaryIO, chunk: Tensor) -> None:
        self._expect_lease()
        name = str(chunk.dtype).removeprefix("torch.")
        before = self.header or FeatureHeader(0, chunk.shape[-1], name, "")
        if chunk.dim() != 2 or name not in DTYPES or (chunk.shape[1], name) != (before.dim, before.dtype):
            raise FathomError(
                f"a backbone gave a chunk of features {list(chunk.shape)} of {name}; expected [b, {before.dim}] of "
                f"{before.dtype if before.dtype in DTYPES else 'float16 or float32'}"
            )
        if not self.header:
            nbytes = self.count * chunk.shape[1] * chunk.dtype.itemsize + HEADER
            expect_room(self.target.parent, nbytes, f"features of {self.count} images")
        if not bool(chunk.isfinite().all()):
            row = before.rows + int((~chunk.isfinite()).any(1).nonzero()[0])
            advice = " float16 ends at 65,504: ask for dtype=float32" if name == "float16" else ""
            raise NonFiniteError(f"the features of image {row} are not finite in {name}.{advice}")
        data = chunk.contiguous().numpy().data
        file.write(data)
        self.total.update(data)
        self.header = FeatureHeader(before.rows + len(chunk), before.dim, name, self.total.hexdigest())
        if time.monotonic() - self.marked > _SECONDS:
            self._mark(file, self.header)
            self.marked = time.monotonic()
        self.tell(self.header.rows)

    def _close(self, file: BinaryIO, header: FeatureHeader) -> None:
        """Append the statistics of the features as they are stored, that is, after rounding to their dtype."""
        file.flush()
        array = np.memmap(self.target.with_suffix(".part"), header.dtype, "c", HEADER, (header.rows, header.dim))
        both = torch.stack(statistics(torch.from_numpy(array))).numpy().data
        file.seek(HEADER + header.nbytes)
        file.write(both)
        self.total.update(both)
        self.header = FeatureHeader(header.rows, header.dim, header.dtype, self.total.hexdigest(), whole=True)
        self._mark(file, self.header)

    @staticmethod
    def _mark(file: BinaryIO, header: FeatureHeader) -> None:
        """Update the header once the rows are on the disk, so that it never claims rows that a power cut has lost."""
        file.flush()
        os.fsync(file.fileno())
        end = file.tell()
        write_header(file, vars(header))
        file.flush()
        os.fsync(file.fileno())
        file.seek(end)
