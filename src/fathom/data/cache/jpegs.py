"""Resized images kept as JPEG in one file, for sets whose pixels are too many for the disk; decoded batch by batch.

A shard is one page of JSON, then the JPEGs, then the table of where each one begins (int64 [n + 1]) and its CRC-32
(uint32 [n]). It is written under another name, synced and renamed; each image is checked by its CRC when it is read, as
reading all of a large shard at every start would cost minutes.
"""

import hashlib
import io
import json
import logging
import os
import shutil
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor

from fathom.core.records import FathomError, canonical, digest
from fathom.data.cache.pixels import MEMORY_LIMIT, attempt, decode_files, readable, renamed
from fathom.data.files.decode import RULE, Source, decode
from fathom.data.images import MappedImages, TensorImages, check_ids, fits, indexed, put

QUALITY = 92  # of the JPEGs: about 2 bits a pixel
GIB = 2**30

_HEADER = 4096
_TOGETHER = 32  # images from which on threads are worth their start
_log = logging.getLogger(__name__)


class ShardImages:
    """Images in a shard.

    Args:
        path: The shard.
        n: How many images it holds.
        size: (height, width) in pixels.
        table: Where the table begins, in bytes.
        device: Where `take` puts its result.
        sha256: Digest of the JPEGs in order: these are what is trained on.
    """

    def __init__(
        self, path: Path, n: int, size: tuple[int, int], table: int, device: torch.device | None, sha256: str
    ) -> None:
        self.path, self.sha256 = path, sha256
        self._size, self._table = size, table
        self._device = torch.device("cpu") if device is None else indexed(device)
        self._bytes = np.memmap(path, np.uint8, "r")
        self._splits = np.frombuffer(self._bytes[table : table + 8 * (n + 1)].tobytes(), "<i8")
        self._crcs = np.frombuffer(self._bytes[table + 8 * (n + 1) :].tobytes(), "<u4")

    def __len__(self) -> int:
        return len(self._crcs)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self._size

    @property
    def device(self) -> torch.device:
        """Where `take` puts its result."""
        return self._device

    def take(self, ids: Int[Tensor, "b"]) -> UInt8[Tensor, "b 3 h w"]:
        """The images at `ids`, 0 to len - 1, decoded by several threads.

        Raises:
            FathomError: The shard is damaged.
        """
        rows = ids.cpu()
        check_ids(rows, len(self))
        batch = np.empty((len(rows), 3, *self._size), np.uint8)

        def one(place: int, row: int) -> None:
            batch[place] = self._decode(row)

        wanted = rows.tolist()
        if len(wanted) < _TOGETHER:
            for place, row in enumerate(wanted):
                one(place, row)
        else:
            with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
                list(pool.map(one, range(len(wanted)), wanted))
        return put(torch.from_numpy(batch), self._device)

    def to(self, device: torch.device) -> "ShardImages | TensorImages":
        """The same images taken on `device`: decoded and moved there where they fit; on the CPU they stay a shard."""
        device = indexed(device)
        nbytes = 3 * self._size[0] * self._size[1] * len(self)
        if device.type == "cpu" or not fits(nbytes, device):
            return ShardImages(self.path, len(self), self._size, self._table, device, self.sha256)
        out = torch.empty((len(self), 3, *self._size), dtype=torch.uint8, device=device)
        for ids in torch.split(torch.arange(len(self)), 4096):
            out[int(ids[0]) : int(ids[-1]) + 1] = self.take(ids).to(device)
        return TensorImages(out)

    def _decode(self, row: int) -> UInt8[np.ndarray, "3 h w"]:
        data = self._bytes[self._splits[row] : self._splits[row + 1]].tobytes()
        if zlib.crc32(data) != int(self._crcs[row]):
            raise FathomError(
                f"cache file {self.path} is damaged at image {row}; delete it, and its images are decoded again"
            )
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image).transpose(2, 0, 1)


def keep(
    files: Sequence[Source],
    contents: str,
    size: tuple[int, int],
    cache_dir: Path,
    *,
    fit: str,
    budget: float,
    quiet: bool,
    memory_limit: int = MEMORY_LIMIT,
) -> TensorImages | MappedImages | ShardImages:
    """The files as images of one size, within a disk budget: as pixels where these fit into it, else as JPEGs.

    Args:
        files: Image files, in order.
        contents: Digest of their contents.
        size: (height, width) in pixels.
        cache_dir: Where to.
        fit: `squash` or `crop`.
        budget: GiB that the cache of these images may take.
        quiet: No progress bar.
        memory_limit: Bytes; pixels of more than that stay in a memory map.

    Raises:
        FathomError: Not even JPEGs fit, files are unreadable, or the cache cannot be written.
    """
    if len(files) * 3 * size[0] * size[1] <= budget * GIB:
        return decode_files(files, size, cache_dir, fit=fit, quiet=quiet, memory_limit=memory_limit, contents=contents)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        key = digest({"files": contents, "rule": RULE, "size": list(size), "fit": fit, "jpeg": QUALITY}, 32)
        path = cache_dir / f"{key}.jpegs"
        with FileLock(cache_dir / f"{key}.lock"):
            head = _head(path, len(files), size)
            if head is not None and path.stat().st_size > budget * GIB:
                raise _too_large(len(files), len(files), size, budget)
            table, sha256 = head or _write(path, files, size, fit, budget, quiet)
        return ShardImages(path, len(files), size, table, None, sha256)
    except OSError as error:
        raise FathomError(
            f"cannot write decoded images to {cache_dir}: {error}. Name another folder with FATHOM_CACHE, or ask for "
            "a smaller size"
        ) from error


# ------------------------------------------------------------------------------------------------------- helpers


def _write(
    path: Path, files: Sequence[Source], size: tuple[int, int], fit: str, budget: float, quiet: bool
) -> tuple[int, str]:
    """Write a shard; gives (where its table begins, digest of the JPEGs)."""
    starts = np.zeros(len(files) + 1, "<i8")
    crcs = np.zeros(len(files), "<u4")
    total = hashlib.sha256()
    at = _HEADER
    with renamed(path) as file:
        file.write(b" " * _HEADER)
        encoded = attempt(lambda source: _encode(source, size, fit), files, "decoding images", quiet)
        for i, data in enumerate(readable(encoded, files)):
            if at + len(data) + 12 * len(files) > budget * GIB:
                raise _too_large(i, len(files), size, budget)
            if i % 4096 == 0 and shutil.disk_usage(path.parent).free < 2**28:
                raise FathomError(
                    f"{path.parent} is nearly full after {i:,} of {len(files):,} images. Make room, name another "
                    "folder with FATHOM_CACHE, or ask for a smaller size"
                )
            starts[i], crcs[i] = at, zlib.crc32(data)
            total.update(data)
            file.write(data)
            at += len(data)
        starts[-1] = at
        file.write(starts.tobytes() + crcs.tobytes())
        file.seek(0)
        head = {"images": len(files), "size": list(size), "table": at, "sha256": total.hexdigest()}
        file.write(canonical(head).encode())
    return at, total.hexdigest()


def _encode(source: Source, size: tuple[int, int], fit: str) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(decode(source, size, fit).transpose(1, 2, 0)))
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _head(path: Path, n: int, size: tuple[int, int]) -> tuple[int, str] | None:
    """(where the table begins, digest) of a whole shard; None where there is none, or it is damaged."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        try:
            head = json.loads(file.read(_HEADER))
            whole = path.stat().st_size == head["table"] + 12 * n + 8
            if whole and head["images"] == n and head["size"] == list(size):
                return int(head["table"]), str(head["sha256"])
        except (ValueError, KeyError, TypeError):
            pass
    _log.warning("cache file %s is damaged; its images are decoded again", path)
    return None


def _too_large(done: int, n: int, size: tuple[int, int], budget: float) -> FathomError:
    return FathomError(
        f"{n:,} images of {size[0]} x {size[1]} pixels do not fit into {budget:g} GiB, not even as JPEGs: that was "
        f"reached after {done:,}. Ask for a smaller size, or allow more with cache_gb"
    )
