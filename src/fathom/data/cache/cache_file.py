"""The parts that all cache files share: one page of JSON (the header), then the data.

Files are named by the content that they were made from, so they can neither be stale nor be mistaken for another. They
are written under a temporary name and renamed, under a lock: two processes make a file once, and no process reads half
of one. `pixels`, `jpegs` and `feature_file` are the three kinds.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from fathom.core.records import FathomError, canonical
from fathom.store.atomic_files import temporary_path
from fathom.store.locks import Lease, lock

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
def locked(cache_dir: Path, key: str) -> Iterator[Lease]:
    """Hold the lock of a key in the cache folder, which is made where absent.

    Raises:
        OSError: The folder cannot be written.
    """
    if not can_write(cache_dir):
        raise OSError(errno.EROFS, "it is read-only for this process, and holds no such file")
    with lock(cache_dir / f"{key}.lock", wait=True) as lease:
        assert lease is not None  # it has waited
        yield lease


def can_write(cache_dir: Path) -> bool:
    """Tell whether this process may write to the cache; where it may not, log once that nothing is added."""
    nearest = next((path for path in (cache_dir, *cache_dir.absolute().parents) if path.is_dir()), cache_dir)
    return os.access(nearest, os.W_OK | os.X_OK) or _noted(cache_dir)


@cache
def _noted(cache_dir: Path) -> bool:
    text = "the cache %s cannot be written: what it holds is used, and nothing is added; FATHOM_CACHE names another one"
    _log.warning(text, cache_dir)
    return False


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
    temporary = temporary_path(path.parent)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            # Without it a power cut can leave the name without the data: the rename may reach the disk first.
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
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
