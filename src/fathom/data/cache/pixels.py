"""The cache of decoded files. Kept by content: the name of a cache file is the hash of the files' bytes, their order
and the rule they were decoded by, so that it can neither be stale nor be mistaken for another.

A cache file is one page of JSON and then the pixels, uint8 [n, 3, h, w]. It is written under another name, synced and
renamed, under a lock, so that two processes decode once and nobody reads half a file.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import torch
from filelock import FileLock
from rich.console import Console
from rich.progress import track

from fathom.core.records import FathomError, canonical, digest
from fathom.data.files.decode import FITS, RULE, Source, UnreadableError, decode, pillow_quiet
from fathom.data.images import MappedImages, TensorImages

MEMORY_LIMIT = 2 * 2**30  # bytes; larger sets are memory-mapped

_HEADER = 4096  # bytes before the pixels, one page, so that the map is aligned
RACY = 2.0  # seconds: a file changed so shortly before it was hashed may change again within the clock's grain

_log = logging.getLogger(__name__)
T = TypeVar("T")
S = TypeVar("S")


def decode_files(
    paths: Sequence[Source],
    size: tuple[int, int],
    cache_dir: Path,
    *,
    fit: str = "squash",
    quiet: bool = False,
    memory_limit: int = MEMORY_LIMIT,
    contents: str = "",
) -> TensorImages | MappedImages:
    """The files as images of one size, in the order given; decoded once, by the rule of `fathom.data.files.decode`.

    Args:
        paths: Image files, or members of an archive.
        size: (height, width) in pixels.
        cache_dir: Folder for the decoded pixels; made where absent.
        fit: `squash` or `crop`.
        quiet: No progress bar.
        memory_limit: Bytes; a larger set stays in a memory map.
        contents: Digest of the files' contents in order, where it is known (of members of an archive: always); else
            each file is hashed.

    Raises:
        FathomError: Files are unreadable (the first ten and their number), or the cache cannot be written.
    """
    if fit not in FITS:
        raise FathomError(f"fit is {fit!r}; expected one of: {', '.join(FITS)}")
    if min(size) < 1 or not paths:
        raise FathomError(
            f"expected at least one file and a size of 1 pixel or more, got {len(paths)} files, size {size}"
        )
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        hashes = contents or content_hashes([p for p in paths if isinstance(p, Path)], cache_dir, quiet=quiet)
        key = digest({"files": hashes, "rule": RULE, "size": list(size), "fit": fit}, 32)
        target = cache_dir / f"{key}.pixels"
        shape = (len(paths), 3, *size)
        with FileLock(cache_dir / f"{key}.lock"):
            if not (sha256 := _valid(target, shape)):
                sha256 = _write(target, shape, paths, fit, quiet)
    except OSError as error:
        raise FathomError(
            f"cannot write decoded images to {cache_dir}: {error}. Name another folder with FATHOM_CACHE"
        ) from error
    pixels = np.memmap(target, np.uint8, "r", offset=_HEADER, shape=shape)
    if pixels.nbytes > memory_limit:
        return MappedImages(pixels, sha256=sha256)
    return TensorImages(torch.from_numpy(np.array(pixels)), sha256=sha256)


def content_hashes(paths: Sequence[Path], cache_dir: Path, *, quiet: bool = False) -> list[str]:
    """SHA-256 of each file's bytes. A file whose path, size and times of change are as before is not read again.

    Raises:
        FathomError: Files cannot be read.
    """
    index = cache_dir / "content-hashes.json"
    known = read_index(index)
    new: dict[str, list[Any]] = {}

    def one(path: Path) -> str:
        state = path.stat()
        mark = [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
        entry = known.get(os.fspath(path))
        if entry and entry[:3] == mark:
            return str(entry[3])
        sha256 = _sha256_file(path)
        if time.time() - max(state.st_mtime, state.st_ctime) > RACY:
            new[os.fspath(path)] = [*mark, sha256]
        return sha256

    hashes = each(one, [p.absolute() for p in paths], "reading files", quiet)
    if new:
        with FileLock(cache_dir / "content-hashes.lock"):
            merged = read_index(index) | new
            with renamed(index) as file:
                file.write(canonical(merged).encode())
    return hashes


def each(work: Callable[[S], T], paths: Sequence[S], what: str, quiet: bool) -> list[T]:
    """`work` of each path, in order, by several threads; all unreadable files are collected into one error.

    Raises:
        FathomError: Files are unreadable: the first ten and their number.
    """
    return list(readable(attempt(work, paths, what, quiet), paths))


def attempt(work: Callable[[S], T], paths: Sequence[S], what: str, quiet: bool) -> Iterator[T | UnreadableError]:
    """`work` of each path, in order, by several threads; an unreadable file gives its error in place of a result."""

    def guarded(path: S) -> T | UnreadableError:
        try:
            return work(path)
        except UnreadableError as error:
            return error
        except OSError as error:
            return UnreadableError(error.strerror or str(error))

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = min(16, cores)
    waiting: deque[Future[T | UnreadableError]] = deque()
    with pillow_quiet(), ThreadPoolExecutor(threads) as pool:
        for path in track(paths, what, transient=True, disable=quiet, console=Console(stderr=True)):
            waiting.append(pool.submit(guarded, path))
            if len(waiting) >= 4 * threads:  # one slow file must not let all the others pile up in memory
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def readable(results: Iterable[T | UnreadableError], paths: Sequence[object]) -> Iterator[T]:
    """The results, as long as they come; at the end one error about all that did not."""
    failed: list[str] = []
    for path, result in zip(paths, results, strict=True):
        if isinstance(result, UnreadableError):
            failed.append(f"{path}: {result}")
        else:
            yield result
    if failed:
        shown = "\n  ".join(failed[:10])
        more = f"\n  and {len(failed) - 10} more" if len(failed) > 10 else ""
        raise FathomError(
            f"{len(failed)} of {len(paths)} files cannot be read as images:\n  {shown}{more}\n"
            "Remove or replace them; fathom check-data lists all problems of a dataset"
        )


# ---------------------------------------------------------------------------------------------------- one cache file


def _valid(path: Path, shape: tuple[int, ...]) -> str:
    """The pixels' digest, if `path` is a whole cache file of that shape; else the empty string."""
    if not path.is_file():
        return ""
    nbytes = int(np.prod(shape))
    with path.open("rb") as file:
        try:
            head = json.loads(file.read(_HEADER))
            whole = path.stat().st_size == _HEADER + nbytes and head["shape"] == list(shape)
        except (ValueError, KeyError, TypeError):
            whole = False
        if whole and sha256_of_rest(file) == head["sha256"]:
            return str(head["sha256"])
    _log.warning("cache file %s is damaged; its images are decoded again", path)
    return ""


def _write(path: Path, shape: tuple[int, ...], paths: Sequence[Source], fit: str, quiet: bool) -> str:
    nbytes = int(np.prod(shape))
    if (free := shutil.disk_usage(path.parent).free) < nbytes + _HEADER:
        raise FathomError(
            f"decoded images need {nbytes / 2**30:.1f} GiB in {path.parent}, where {free / 2**30:.1f} GiB are free. "
            "Make room, name another folder with FATHOM_CACHE, or ask for a smaller size"
        )
    size = (shape[2], shape[3])
    with renamed(path) as file:
        file.write(b" " * _HEADER)
        total = hashlib.sha256()
        # The pixels go to the file as they come, so that a set larger than memory can be decoded.
        decoded = attempt(lambda source: decode(source, size, fit), paths, "decoding images", quiet)
        for pixels in readable(decoded, paths):
            total.update(pixels.data)
            file.write(pixels.data)
        file.seek(0)
        file.write(canonical({"shape": list(shape), "rule": RULE, "fit": fit, "sha256": total.hexdigest()}).encode())
    return total.hexdigest()


# ------------------------------------------------------------------------------------------------------- helpers


def read_index(path: Path) -> dict[str, list[Any]]:
    """What is known of files' contents; a damaged index knows nothing, and costs only time."""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return index if isinstance(index, dict) else {}


@contextmanager
def renamed(path: Path) -> Iterator[BinaryIO]:
    """A file to write that becomes `path` when all of it is on the disk, and vanishes when anything fails."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return sha256_of_rest(file)


def sha256_of_rest(file: BinaryIO) -> str:
    """Digest of what an open file holds from where it is read next, hexadecimal."""
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # any of ours has readinto
