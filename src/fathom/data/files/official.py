"""Shared parts of datasets with official files: finding, checking and fetching files, and what becomes of them."""

import contextlib
import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fathom.core.records import ROLL_OUT, FathomError, digest
from fathom.data.cache.cache_file import locked
from fathom.data.dataset import DataRoot, Dataset, Images
from fathom.data.images import Subset, pixels_sha256
from fathom.data.sketch import BlankImages
from fathom.data.splits import Ids

LabeledImages = tuple[Images, Ids]


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
        silence = contextlib.redirect_stderr(io.StringIO()) if root.quiet else contextlib.nullcontext()
        with locked(root.cache, f"download-{name}"), silence:
            download(root.path)
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise FathomError(
            f"the download of dataset {name} to {where} failed: {error}. Nothing incomplete is used; run the same "
            f"command again, or put the official files there manually"
        ) from error


def md5_of(data: bytes) -> str:
    """The MD5 checksum that official sources publish; it detects damage, not an attack."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def first(name: str, train_size: int, test_size: int, official: tuple[int, int]) -> tuple[int, int]:
    """Numbers of train and test images to take: the given ones, or all official ones where they are 0.

    Raises:
        FathomError: One of them exceeds the images available.
    """
    for what, wanted, available in zip(("train_size", "test_size"), (train_size, test_size), official, strict=True):
        if not 0 <= wanted <= available:
            raise FathomError(f"dataset {name}: {what} is {wanted}; expected 1 to {available}, or 0 for all")
    return train_size or official[0], test_size or official[1]


def benchmark_dataset(
    name: str, train: LabeledImages, test: LabeledImages, official: tuple[int, int], val_split: int, **known: Any
) -> Dataset:
    """A balanced dataset of the first images of an official train and test split; fewer hold out fewer.

    Args:
        name: Name of the dataset.
        train, test: Images and labels that were read, or are a sketch's.
        official: Official numbers of train and test images.
        val_split: Images held out of all train images.
        known: Other fields of `Dataset`.
    """
    sizes = len(train[1]), len(test[1])
    partial = f"only the first {sizes[0]:,} of {official[0]:,} train and {sizes[1]:,} of {official[1]:,} test images"
    return Dataset(
        name=name,
        images=train[0],
        labels=train[1],
        test_images=test[0],
        test_labels=test[1],
        metric="accuracy",
        balanced=True,
        val_split=max(1, val_split * sizes[0] // official[0]),
        stratify=False,
        notes=() if sizes == official else (f"{partial} were taken",),
        **known,
    )


def roll_out_dataset(
    name: str, images: Images, labels: Ids, test: np.ndarray[Any, np.dtype[np.bool_]], **known: Any
) -> Dataset:
    """ISIC-2019 or MIO-TCD: of all images some are for testing, and a fifth of the others is held out.

    Args:
        name: Name of the dataset.
        images: All images, or those of a sketch.
        labels: Their classes.
        test: True for test images.
        known: Other fields of `Dataset`.
    """
    parts: list[Images] = []
    for side in (~test, test):
        blank = isinstance(images, BlankImages)
        ids = np.flatnonzero(side)
        parts.append(BlankImages(len(ids), images.size) if blank else Subset(images, torch.from_numpy(ids)))
    return Dataset(
        name=name,
        images=parts[0],
        labels=labels[~test],
        test_images=parts[1],
        test_labels=labels[test],
        metric="balanced_accuracy",
        balanced=False,
        val_split=max(1, int(0.2 * len(parts[0]))),
        stratify=False,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        role=ROLL_OUT,
        **known,
    )


def check_options(name: str, size: int, **choices: tuple[str, tuple[str, ...]]) -> None:
    """Check the side of the images, and words against those that are allowed.

    Raises:
        FathomError: One of them is not allowed.
    """
    for key, (given, allowed) in choices.items():
        if given not in allowed:
            raise FathomError(f"{name}: {key} is {given!r}; expected one of: {', '.join(allowed)}")
    if not 8 <= size <= 1024:
        raise FathomError(f"{name}: size is {size}; expected a whole number of pixels from 8 to 1024")
