"""Decoded image files in one cache file: a header (`cache_file`), then the pixels, uint8 [n, 3, h, w].

The name of a cache file is the hash of the image files' bytes, their order and the rule they were decoded by.
"""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from rich.progress import track

from fathom.core.cores import available_cores
from fathom.core.progress import SafeConsole
from fathom.core.records import FathomError, digest
from fathom.data.cache import cache_file
from fathom.data.cache.cache_file import HEADER, MEMORY_LIMIT, read_index
from fathom.data.files.decode import FITS, RULE, WHITE, Source, UnreadableError, decode, pillow_quiet
from fathom.data.files.listing import text_of
from fathom.data.images import MappedImages, TensorImages

# Seconds. A file that changed so shortly before it was hashed may change again without a new modification time, as the
# clock of a file system can be as coarse as 2 s (FAT); its hash is not remembered.
RACY = 2.0

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
    white: int = WHITE,
) -> TensorImages | MappedImages:
    """Decode files to images of one size, in the order given; once, by the rule of `fathom.data.files.decode`.

    Args:
        paths: Image files, or members of an archive.
        size: (height, width) in pixels.
        cache_dir: Folder for the decoded pixels; made where absent.
        fit: `squash` or `crop`.
        quiet: No progress bar.
        memory_limit: Bytes; a larger set stays in a memory map.
        contents: Digest of the files' contents in order, where it is known (always, for members of an archive); else
            each file is hashed.
        white: White of 16-bit grey files (`value_range`).

    Raises:
        FathomError: Files are unreadable (the first ten and their number), or the cache cannot be written.
    """
    if fit not in FITS:
        raise FathomError(f"fit is {fit!r}; expected one of: {', '.join(FITS)}")
    if min(size) < 1 or not paths:
        raise FathomError(
            f"expected at least one file and a size of 1 pixel or more, got {len(paths)} files, size {size}"
        )
    shape = (len(paths), 3, *size)
    with cache_file.cache_errors(cache_dir, "decoded images"):
        hashes = contents or content_hashes([p for p in paths if isinstance(p, Path)], cache_dir, quiet=quiet)
        rule = {"rule": RULE} if white == WHITE else {"rule": RULE, "white": white}
        key = digest({"files": hashes, **rule, "size": list(size), "fit": fit}, 32)
        target = cache_dir / f"{key}.pixels"
        if not (sha256 := _valid(target, shape)):  # without a lock: a read-only cache can still be read
            with cache_file.locked(cache_dir, key):
                sha256 = _valid(target, shape) or _write(
                    target, shape, paths, lambda path: decode(path, size, fit, white), quiet, {**rule, "fit": fit}
                )
    pixels = np.memmap(target, np.uint8, "r", offset=HEADER, shape=shape)
    if pixels.nbytes > memory_limit:
        return MappedImages(pixels, sha256=sha256)
    return TensorImages(torch.from_numpy(np.array(pixels)), sha256=sha256)


def content_hashes(paths: Sequence[Path], cache_dir: Path, *, quiet: bool = False) -> list[str]:
    """SHA-256 of each file's bytes. A file whose path, size and times of change are unchanged is not read again.

    Raises:
        FathomError: Files cannot be read.
    """
    index = cache_dir / "content-hashes.json"
    known = read_index(index)
    new: dict[str, list[Any]] = {}

    def one(path: Path) -> str:
        state = path.stat()
        mark = [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
        name = text_of(path)
        entry = known.get(name)
        if entry and entry[:3] == mark:
            return str(entry[3])
        sha256 = _sha256_file(path)
        if time.time() - max(state.st_mtime, state.st_ctime) > RACY:
            new[name] = [*mark, sha256]
        return sha256

    hashes = each(one, [p.absolute() for p in paths], "reading files", quiet)
    if new and cache_file.can_write(cache_dir):
        cache_file.add_to_index(index, new)
    return hashes


def each(work: Callable[[S], T], paths: Sequence[S], what: str, quiet: bool) -> list[T]:
    """Apply `work` to each path by several threads, in order; all unreadable files are collected into one error.

    Raises:
        FathomError: Files are unreadable: the first ten and their number.
    """
    return list(readable(attempt(work, paths, what, quiet), paths))


def attempt(work: Callable[[S], T], paths: Sequence[S], what: str, quiet: bool) -> Iterator[T | UnreadableError]:
    """Apply `work` to each path by several threads, in order; an unreadable file gives its error as result."""

    def guarded(path: S) -> T | UnreadableError:
        try:
            return work(path)
        except UnreadableError as error:
            return error
        except OSError as error:
            return UnreadableError(error.strerror or str(error))

    threads = min(16, available_cores())
    waiting: deque[Future[T | UnreadableError]] = deque()
    with pillow_quiet(), ThreadPoolExecutor(threads) as pool:
        for path in track(paths, what, transient=True, disable=quiet, console=SafeConsole(stderr=True)):
            waiting.append(pool.submit(guarded, path))
            if len(waiting) >= 4 * threads:  # one slow file must not let all the others pile up in memory
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def readable(results: Iterable[T | UnreadableError], paths: Sequence[object]) -> Iterator[T]:
    """Pass results on; at the end raise one error about all unreadable files."""
    failed: list[str] = []
    for path, result in zip(paths, results, strict=True):
        if isinstance(result, UnreadableError):
            failed.append(f"{text_of(path)}: {result}")
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
    """The pixels' digest, if `path` is a complete cache file of that shape; else the empty string."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        header = cache_file.read_header(file)
        complete = path.stat().st_size == HEADER + int(np.prod(shape)) and header.get("shape") == list(shape)
        if complete and cache_file.sha256_of_rest(file) == header.get("sha256"):
            return str(header["sha256"])
    cache_file.warn_of_damage(path)
    return ""


def _write(
    path: Path,
    shape: tuple[int, ...],
    paths: Sequence[Source],
    work: Callable[[Source], Any],
    quiet: bool,
    facts: dict[str, Any],
) -> str:
    cache_file.expect_room(path.parent, HEADER + int(np.prod(shape)), "decoded images")
    with cache_file.renamed(path) as file:
        file.seek(HEADER)
        total = hashlib.sha256()
        # The pixels are written as they come, so that a set larger than memory can be decoded.
        decoded = attempt(work, paths, "decoding images", quiet)
        for pixels in readable(decoded, paths):
            total.update(pixels.data)
            file.write(pixels.data)
        cache_file.write_header(file, {"shape": list(shape), **facts, "sha256": total.hexdigest()})
    return total.hexdigest()


# ------------------------------------------------------------------------------------------------------- helpers


def _sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return cache_file.sha256_of_rest(file)
