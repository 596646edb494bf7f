"""The parts that all cache files share: one page of JSON (the header), then the data.

Files are named by the content that they were made from, so they can neither be stale nor be mistaken for another. They
are written under a temporary name and renamed, under a lock: two processes make a file once, and no process reads half
of one. `pixels`, `jpegs` and `feature_file` are the three kinds.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock

from fathom.core.records import FathomError, canonical

GIB = 2**30
MEMORY_LIMIT = 2 * GIB  # bytes; larger sets are memory-mapped
HEADER = 4096  # bytes before the data: one page, so that the memory map is aligned

_log = logging.getLogger(__name__)


def read_header(file: BinaryIO) -> dict[str, Any]:
    """The header of an open file, which is then at its first byte of data; empty where it cannot be read."""
    try:
        header = json.loads(file.read(HEADER))
    except ValueError:
        return {}
    return header if isinstance(header, dict) else {}


def read_index(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where it is absent or damaged, which costs only time."""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return index if isinstance(index, dict) else {}


def add_to_index(path: Path, new: Mapping[str, Any]) -> None:
    """Add entries to the JSON object in a file; another process may have added others in the meantime."""
    with locked(path.parent, path.stem):
        merged = read_index(path) | dict(new)
        with renamed(path) as file:
            file.write(canonical(merged).encode())


def write_header(file: BinaryIO, header: Mapping[str, Any]) -> None:
    """Write the page at the start of a file, which is then at its first byte of data."""
    file.seek(0)
    file.write(canonical(header).encode().ljust(HEADER))


def sha256_of_rest(file: BinaryIO) -> str:
    """Digest of an open file from its position to its end, hexadecimal."""
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # any of ours has readinto


def warn_of_damage(path: Path) -> None:
    """Log that a file is made again; a damaged cache file costs only time."""
    _log.warning("cache file %s is damaged; it is made again", path)


@contextmanager
def locked(cache_dir: Path, key: str) -> Iterator[None]:
    """Hold the lock of a key in the cache folder, which is made where absent."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(cache_dir / f"{key}.lock"):
        yield


@contextmanager
def cache_errors(cache_dir: Path, what: str) -> Iterator[None]:
    """Turn errors of the file system into advice.

    Raises:
        FathomError: The folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise FathomError(
            f"cannot write {what} to {cache_dir}: {error}. Name another folder with FATHOM_CACHE"
        ) from error


@contextmanager
def renamed(path: Path) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` when all of it is on the disk, and is removed when anything fails."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            # Without it a power cut can leave the name without the data: the rename may reach the disk first.
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def expect_room(folder: Path, nbytes: int, what: str) -> None:
    """Check the free space before the work, not after hours of it.

    Raises:
        FathomError: The disk has less room than `nbytes`.
    """
    if (free := shutil.disk_usage(folder).free) < nbytes:
        raise FathomError(
            f"{what} need {nbytes / GIB:.1f} GiB in {folder}, where {free / GIB:.1f} GiB are free. Free some space, or "
            "name another folder with FATHOM_CACHE"
        )
