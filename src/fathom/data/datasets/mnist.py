"""MNIST and Fashion-MNIST, read from the official idx files."""

import gzip
import struct
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fathom.core.records import FathomError
from fathom.data.dataset import DataRoot, Dataset
from fathom.data.files.official import LabeledImages, benchmark_dataset, fetch, first, md5_of, revision
from fathom.data.images import TensorImages
from fathom.data.sketch import BlankImages, mixed
from fathom.data.splits import Ids
from fathom.registry.registry import dataset

SIZES, VAL_SPLIT = (60_000, 10_000), 5_000


@dataset("mnist", sketch="_mnist")
def mnist(root: DataRoot, *, train_size: int = 0, test_size: int = 0) -> Dataset:
    """MNIST: 60,000 + 10,000 handwritten digits of 28 x 28 pixels in 10 (nearly) balanced classes.

    Args:
        root: Holds `MNIST/raw` with the four official files, `.gz` or unpacked.
        train_size: Take only the first n train images, for smoke runs (0: all); a twelfth is then held out.
        test_size: Take only the first n test images (0: all).

    Raises:
        FathomError: Files are absent and may not be downloaded, or are damaged.

    Source: LeCun et al. 1998. 5,000 held-out images are ours, so that all three regimes fit as for CIFAR-10; the study
        held out 100, for its check of BatchBALD alone.
    """
    return _load("mnist", root, train_size, test_size)


@dataset("fashion-mnist", sketch="_fashion_mnist")
def fashion_mnist(root: DataRoot, *, train_size: int = 0, test_size: int = 0) -> Dataset:
    """Fashion-MNIST: 60,000 + 10,000 pictures of clothes of 28 x 28 pixels in 10 balanced classes.

    Arguments as for `mnist`; the files are in `FashionMNIST/raw`.

    Source: Xiao et al. 2017. 5,000 held-out images are ours, as for `mnist`.
    """
    return _load("fashion-mnist", root, train_size, test_size)


# ------------------------------------------------------------------------------------------------------- helpers


_KNOWN: dict[str, dict[str, Any]] = {
    "mnist": {
        "mean": (0.1307,) * 3,
        "std": (0.3081,) * 3,
        "augment": "digits",
        "source": "Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-Based Learning Applied to Document "
        "Recognition, 1998",
    },
    "fashion-mnist": {
        "mean": (0.2860,) * 3,
        "std": (0.3530,) * 3,
        "augment": "cifar",
        "source": "H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST, arXiv:1708.07747, 2017; MIT license",
    },
}
_COUNTS = {  # train and test images of each class
    "mnist": (
        (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    ),
    "fashion-mnist": ((6_000,) * 10, (1_000,) * 10),
}


def _sketch(name: str, *, train_size: int = 0, test_size: int = 0) -> Dataset:
    """A sketch with the official counts per class; its first n labels are nearly balanced, as in the files."""
    sizes = first(name, train_size, test_size, SIZES)
    parts = zip(sizes, _COUNTS[name], strict=True)
    train, test = ((BlankImages(n, (28, 28)), mixed(counts)[:n]) for n, counts in parts)
    return _made(name, train, test)


_mnist, _fashion_mnist = partial(_sketch, "mnist"), partial(_sketch, "fashion-mnist")


def _load(name: str, root: DataRoot, train_size: int, test_size: int) -> Dataset:
    n, t = first(name, train_size, test_size, SIZES)
    train, test = _split(name, root, "train", n, SIZES[0]), _split(name, root, "t10k", t, SIZES[1])
    return _made(name, train, test, revision=revision(train[0], test[0], train[1], test[1]))


def _made(name: str, train: LabeledImages, test: LabeledImages, **known: Any) -> Dataset:
    """The dataset of images and labels, which were read or are a sketch's."""
    known |= _KNOWN[name] | {"class_names": tuple(c.split(" - ")[-1] for c in _official(name).classes)}
    return benchmark_dataset(name, train, test, SIZES, VAL_SPLIT, **known)


def _official(name: str) -> Any:
    from torchvision import datasets

    return datasets.MNIST if name == "mnist" else datasets.FashionMNIST


def _split(name: str, root: DataRoot, split: str, n: int, total: int) -> tuple[TensorImages, Ids]:
    official, md5s = _official(name), dict(_official(name).resources)
    folder = f"{official.__name__}/raw"
    arrays = []
    for kind, shape in (("images-idx3", (total, 28, 28)), ("labels-idx1", (total,))):
        file = f"{split}-{kind}-ubyte"
        array = _find(root, root.path / folder / file, md5s[f"{file}.gz"], shape)
        if array is None:
            fetch(name, root, folder, lambda path: _download(path, official))
            array = _find(root, root.path / folder / file, md5s[f"{file}.gz"], shape)
        if array is None:
            raise FathomError(f"the download of dataset {name} ended without {file}; run the same command again")
        arrays.append(array[:n])
    pixels = torch.from_numpy(np.repeat(arrays[0][:, None], 3, axis=1))
    return TensorImages(pixels), arrays[1].astype(np.int64)


def _download(path: Path, official: Any) -> None:
    """Download the packed files, each with its checksum.

    Not by `official(download=True)`, which accepts any unpacked file, even a truncated one.
    """
    from torchvision.datasets.utils import download_url

    raw = path / official.__name__ / "raw"
    for file, md5 in official.resources:
        failures = []
        for mirror in official.mirrors:
            try:
                download_url(f"{mirror}{file}", raw, file, md5)
                break
            except (OSError, RuntimeError) as error:
                failures.append(f"{mirror}{file}: {error}")
        else:
            raise OSError("; ".join(failures))


def _find(root: DataRoot, path: Path, md5: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
    """The array of an official file: of the packed one (by its checksum) or the unpacked one (by its size).

    None if neither exists, or if it is damaged and may be downloaded again.
    """
    packed = path.with_name(f"{path.name}.gz")
    reasons = []
    if packed.is_file():
        data = packed.read_bytes()
        if md5_of(data) == md5:
            return _idx(gzip.decompress(data), shape)
        reasons.append(f"{packed} is damaged or not the official file: its checksum is not {md5}")
    if path.is_file():
        array = _idx(path.read_bytes(), shape)
        if array is not None:
            return array
        reasons.append(f"{path} is damaged: expected an idx file of {' x '.join(map(str, shape))} bytes")
    if reasons and not root.download:
        raise FathomError(
            f"{'; '.join(reasons)}. Delete it and put the official file there, or allow the download with --download"
        )
    return None


def _idx(data: bytes, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
    """The bytes of an idx file as an array; None if they are not a complete file of that shape.

    Source: LeCun, the MNIST database: two zeros, type 8 (bytes), the number of axes, their lengths (big-endian).
    """
    head = 4 + 4 * len(shape)
    if data[:head] != struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape):
        return None
    if len(data) != head + int(np.prod(shape)):
        return None
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)
