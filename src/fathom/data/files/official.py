"""Shared parts of datasets with official files: finding, checking and fetching files, taking the first n images."""

import contextlib
import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from fathom.core.records import FathomError, digest
from fathom.data.dataset import DataRoot, Images
from fathom.data.images import pixels_sha256
from fathom.data.splits import Ids


def revision(images: Images, test_images: Images, labels: Ids, test_labels: Ids, *groups: Ids | None) -> str:
    """12 hexadecimal digits that identify a dataset by its pixels, labels and groups."""
    return joint_revision((images, test_images), labels, test_labels, *groups)


def joint_revision(images: Sequence[Images], *arrays: Ids | None) -> str:
    """12 hexadecimal digits of sets of images and of arrays that describe them; absent arrays are left out."""
    known = [np.ascontiguousarray(array, "<i8").tobytes() for array in arrays if array is not None]
    content = {
        "images": [pixels_sha256(part) for part in images],
        "sizes": [list(part.size) for part in images],
        "arrays": [hashlib.sha256(data).hexdigest() for data in known],
    }
    return digest(content, 12)


def published_test_split(n: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The published test split of ISIC-2019 and MIO-TCD: a quarter at random, not stratified; True marks it.

    Source: Lüth et al. 2023, study code: `default_rng(12345).choice(n, int(.25 n), replace=False)`. Ours: it
        indexes an order of content (rows of the official table, sorted names), not that of a file system.
    """
    chosen = np.zeros(n, bool)
    chosen[np.random.default_rng(12345).choice(n, int(0.25 * n), replace=False)] = True
    return chosen


def fetch(name: str, root: DataRoot, folder: str, download: Callable[[Path], object]) -> None:
    """Download the official files of a dataset, one process at a time; files that exist are kept.

    Args:
        name: Name of the dataset, for messages.
        root: Its folder receives the files.
        folder: The files' folder under `root.path`.
        download: Fetches the files to the path it is given and checks their official checksums.

    Raises:
        FathomError: Downloading is not allowed, or failed.
    """
    where = root.path / folder
    if not root.download:
        raise FathomError(
            f"the files of dataset {name} are not (all) in {where}. Name the folder that holds {folder} with --data or "
            "FATHOM_DATA, or allow the download with --download"
        )
    try:
        root.path.mkdir(parents=True, exist_ok=True)
        root.cache.mkdir(parents=True, exist_ok=True)
        silence = contextlib.redirect_stderr(io.StringIO()) if root.quiet else contextlib.nullcontext()
        with FileLock(root.cache / f"download-{name}.lock"), silence:
            download(root.path)
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise FathomError(
            f"the download of dataset {name} to {where} failed: {error}. Nothing incomplete is used; run the same "
            f"command again, or put the official files there manually"
        ) from error


def md5_of(data: bytes) -> str:
    """The MD5 checksum that official sources publish; it detects damage, not an attack."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def first(name: str, what: str, wanted: int, available: int) -> int:
    """The number of images to take: `wanted`, or all if it is 0.

    Raises:
        FathomError: It exceeds the images available.
    """
    if not 0 <= wanted <= available:
        raise FathomError(f"dataset {name}: {what} is {wanted}; expected 1 to {available}, or 0 for all")
    return wanted or available


def partial_notes(train: int, all_train: int, test: int, all_test: int) -> tuple[str, ...]:
    """The note for the reader of the report if only a part of a dataset was taken."""
    if (train, test) == (all_train, all_test):
        return ()
    return (f"only the first {train:,} of {all_train:,} train and {test:,} of {all_test:,} test images were taken",)
