"""Resized images as JPEGs in one cache file (a shard), for sets whose pixels do not fit on the disk.

A shard is a header (`cache_file`), then the JPEGs, then the table of where each one begins (int64 [n + 1]) and of its
CRC-32 (uint32 [n]). Images are decoded batch by batch. Each is checked by its CRC when it is read, because a digest of
the whole shard at every start would take minutes.
"""

import hashlib
import io
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor

from fathom.core.cores import available_cores
from fathom.core.records import FathomError, digest
from fathom.data.cache import cache_file
from fathom.data.cache.cache_file import GIB, HEADER, MEMORY_LIMIT
from fathom.data.cache.pixels import attempt, decode_files, readable
from fathom.data.files.decode import RULE, Source, decode
from fathom.data.images import MappedImages, TensorImages, check_ids, fits, gather, indexed, put

QUALITY = 92  # of the JPEGs: about 2 bits per pixel
MIN_THREADED = 32  # images; for fewer, starting threads takes longer than decoding


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
        if len(wanted) < MIN_THREADED:
            for place, row in enumerate(wanted):
                one(place, row)
        else:
            with ThreadPoolExecutor(min(16, available_cores())) as pool:
                list(pool.map(one, range(len(wanted)), wanted))
        return put(torch.from_numpy(batch), self._device)

    def to(self, device: torch.device) -> "ShardImages | TensorImages":
        """Images that are taken on `device`: decoded and moved there where they fit; on the CPU they stay a shard."""
        device = indexed(device)
        nbytes = 3 * self._size[0] * self._size[1] * len(self)
        if device.type == "cpu" or not fits(nbytes, device):
            return ShardImages(self.path, len(self), self._size, self._table, device, self.sha256)
        return TensorImages(gather(self, device))

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
    """Decode files to images of one size within a disk budget: as pixels where these fit into it, else as JPEGs.

    Args:
        files: Image files, in order.
        contents: Digest of their contents.
        size: (height, width) in pixels.
        cache_dir: Folder of the cache file.
        fit: `squash` or `crop`.
        budget: GiB that the cache of these images may take.
        quiet: No progress bar.
        memory_limit: Bytes; more pixels than that stay in a memory map.

    Raises:
        FathomError: Not even JPEGs fit, files are unreadable, or the cache cannot be written.
    """
    if len(files) * 3 * size[0] * size[1] <= budget * GIB:
        return decode_files(files, size, cache_dir, fit=fit, quiet=quiet, memory_limit=memory_limit, contents=contents)
    key = digest({"files": contents, "rule": RULE, "size": list(size), "fit": fit, "jpeg": QUALITY}, 32)
    path = cache_dir / f"{key}.jpegs"
    with cache_file.cache_errors(cache_dir, "decoded images"):
        known = _valid(path, len(files), size)  # without a lock: a read-only cache can still be read
        if known is not None and path.stat().st_size > budget * GIB:
            raise _too_large(len(files), len(files), size, budget)
        if known is None:
            with cache_file.locked(cache_dir, key):
                known = _valid(path, len(files), size) or _write(path, files, size, fit, budget, quiet)
    table, sha256 = known
    return ShardImages(path, len(files), size, table, None, sha256)


# ------------------------------------------------------------------------------------------------------- helpers


def _write(
    path: Path, files: Sequence[Source], size: tuple[int, int], fit: str, budget: float, quiet: bool
) -> tuple[int, str]:
    """Write a shard; gives (where its table begins, digest of the JPEGs)."""
    starts = np.zeros(len(files) + 1, "<i8")
    crcs = np.zeros(len(files), "<u4")
    total = hashlib.sha256()
    at = HEADER
    with cache_file.renamed(path) as file:
        file.seek(HEADER)
        encoded = attempt(lambda source: _encode(source, size, fit), files, "decoding images", quiet)
        for i, data in enumerate(readable(encoded, files)):
            if at + len(data) + 12 * len(files) > budget * GIB:  # with the table, 8 + 4 bytes per image
                raise _too_large(i, len(files), size, budget)
            if i % 4096 == 0:  # the size of all JPEGs is not known before they are encoded
                cache_file.expect_room(path.parent, 4096 * 2**16, "the next 4,096 images")
            starts[i], crcs[i] = at, zlib.crc32(data)
            total.update(data)
            file.write(data)
            at += len(data)
        starts[-1] = at
        file.write(starts.tobytes() + crcs.tobytes())
        header = {"images": len(files), "size": list(size), "table": at, "sha256": total.hexdigest()}
        cache_file.write_header(file, header)
    return at, total.hexdigest()


def _encode(source: Source, size: tuple[int, int], fit: str) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(decode(source, size, fit).transpose(1, 2, 0)))
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _valid(path: Path, n: int, size: tuple[int, int]) -> tuple[int, str] | None:
    """(where the table begins, digest) of a complete shard; None where there is none, or it is damaged."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        header = cache_file.read_header(file)
    complete = path.stat().st_size == header.get("table", 0) + 12 * n + 8
    if complete and header.get("images") == n and header.get("size") == list(size):
        return int(header["table"]), str(header["sha256"])
    cache_file.warn_of_damage(path)
    return None


def _too_large(done: int, n: int, size: tuple[int, int], budget: float) -> FathomError:
    return FathomError(
        f"{n:,} images of {size[0]} x {size[1]} pixels do not fit into {budget:g} GiB, not even as JPEGs: that was "
        f"reached after {done:,}. Ask for a smaller size, or allow more with cache_gb"
    )
