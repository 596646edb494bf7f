"""CIFAR-10, CIFAR-100 and the long-tailed CIFAR-10, read from the official Python files."""

import pickle
import tarfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fathom.core.records import FathomError
from fathom.data.dataset import DataRoot, Dataset
from fathom.data.files.official import LabeledImages, benchmark_dataset, fetch, first, md5_of, revision
from fathom.data.images import TensorImages
from fathom.data.sketch import BlankImages
from fathom.data.splits import Ids
from fathom.registry.registry import dataset

SIZES, VAL_SPLIT = (50_000, 10_000), 5_000
SOURCE = "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, University of Toronto, 2009"


@dataset("cifar10", sketch="_cifar10")
def cifar10(root: DataRoot, *, train_size: int = 0, test_size: int = 0) -> Dataset:
    """CIFAR-10: 50,000 + 10,000 photos of 32 x 32 pixels in 10 balanced classes.

    Args:
        root: Holds `cifar-10-batches-py` or `cifar-10-python.tar.gz`.
        train_size: Take only the first n train images, for smoke runs (0: all); a tenth is then held out.
        test_size: Take only the first n test images (0: all).

    Raises:
        FathomError: Files are absent and may not be downloaded, or their checksums are wrong.

    Source: Krizhevsky 2009; channel statistics and 5,000 held-out images as in Lüth et al. 2023 (study code).
    """
    return _load("cifar10", root, train_size, test_size)


@dataset("cifar10-lt", sketch="_cifar10_lt")
def cifar10_lt(root: DataRoot, *, rho: float = 50.0, train_size: int = 0, test_size: int = 0) -> Dataset:
    """CIFAR-10-LT: CIFAR-10 with the train part thinned to a long tail; class 0 is `rho` times as frequent as class 9.

    Validation and test stay balanced; `semi-sl` has 4 rounds and three times the query size in the low and mid regime.
    Arguments otherwise as for `cifar10`.

    Source: Lüth et al. 2023, Sec. 3, after Cui et al. 2019 (CVPR). The thinning has its own random stream, so it is
        the same for all paradigms; in the study's code it depended on the transform.
    """
    return _long_tailed(_load("cifar10", root, train_size, test_size), rho)


@dataset("cifar100", sketch="_cifar100")
def cifar100(root: DataRoot, *, train_size: int = 0, test_size: int = 0) -> Dataset:
    """CIFAR-100: 50,000 + 10,000 photos of 32 x 32 pixels in 100 balanced classes. Arguments as for `cifar10`.

    `semi-sl` has 4 rounds and three times the query size in the low and mid regime.

    Source: Krizhevsky 2009; regimes of Lüth et al. 2023, Sec. 3 (5, 10, 50 labels per class; 5 rounds in the high
        regime) and study code (5,000 validation labels in the high regime: all that are held out).
    """
    return _load("cifar100", root, train_size, test_size)


# ------------------------------------------------------------------------------------------------------- helpers

_KNOWN: dict[str, dict[str, Any]] = {
    "cifar10": {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)},
    "cifar100": {
        "mean": (0.5071, 0.4867, 0.4408),
        "std": (0.2675, 0.2565, 0.2761),
        "regimes": {
            "mid": {"start": 1_000, "val_size": 5_000},
            "high": {"start": 5_000, "rounds": 5, "val_size": 5_000},
            "semi-sl/low": {"query_size": 1_500, "rounds": 4},
            "semi-sl/mid": {"query_size": 3_000, "rounds": 4},
        },
    },
}
_LONG_TAIL = {"semi-sl/low": {"query_size": 150, "rounds": 4}, "semi-sl/mid": {"query_size": 750, "rounds": 4}}


def _long_tailed(loaded: Dataset, rho: float) -> Dataset:
    return replace(loaded, balanced=False, long_tail=float(rho), regimes=_LONG_TAIL)


def _load(name: str, root: DataRoot, train_size: int, test_size: int) -> Dataset:
    n, t = first(name, train_size, test_size, SIZES)
    reader = _Reader(name, root)
    train, test = reader.split("train", n), reader.split("test", t)
    known = revision(train[0], test[0], train[1], test[1])
    return _made(name, train, test, class_names=reader.class_names(), revision=known)


def _sketch(name: str, num_classes: int, *, train_size: int = 0, test_size: int = 0) -> Dataset:
    """A sketch with equal classes; the names of the classes are known only from the files."""
    sizes = first(name, train_size, test_size, SIZES)
    train, test = ((BlankImages(n, (32, 32)), np.arange(n, dtype=np.int64) % num_classes) for n in sizes)
    return _made(name, train, test, class_names=tuple(f"class {c}" for c in range(num_classes)))


_cifar10, _cifar100 = partial(_sketch, "cifar10", 10), partial(_sketch, "cifar100", 100)


def _cifar10_lt(*, rho: float = 50.0, train_size: int = 0, test_size: int = 0) -> Dataset:
    """The sizes of `cifar10-lt` without its files."""
    return _long_tailed(_cifar10(train_size=train_size, test_size=test_size), rho)


def _made(name: str, train: LabeledImages, test: LabeledImages, **known: Any) -> Dataset:
    """The dataset of images and labels, which were read or are a sketch's."""
    known |= _KNOWN[name] | {"augment": "cifar", "source": SOURCE}
    return benchmark_dataset(name, train, test, SIZES, VAL_SPLIT, **known)


class _Reader:
    """Reads the official files of one dataset: from their folder, else from the archive, else downloaded.

    The files are pickles, which can run any program. So each is read only if its bytes have the official checksum (from
    torchvision). Only the files that are needed are read: a smoke run works with some of the batches.
    """

    def __init__(self, name: str, root: DataRoot) -> None:
        from torchvision import datasets

        self.name = name
        self.root = root
        self.official: Any = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100

    def split(self, split: str, n: int) -> tuple[TensorImages, Ids]:
        """The first n images of `train` or `test`, and their classes."""
        pixels: list[np.ndarray[Any, np.dtype[np.uint8]]] = []
        labels: list[int] = []
        for file, md5 in self.official.train_list if split == "train" else self.official.test_list:
            if len(labels) >= n:
                break
            batch = pickle.loads(self._verified(file, md5), encoding="latin1")
            pixels.append(np.asarray(batch["data"], np.uint8))
            labels.extend(batch["labels"] if "labels" in batch else batch["fine_labels"])
        stacked = np.concatenate(pixels)[:n].reshape(-1, 3, 32, 32)
        return TensorImages(torch.from_numpy(stacked)), np.asarray(labels[:n], np.int64)

    def class_names(self) -> tuple[str, ...]:
        meta = self.official.meta
        return tuple(pickle.loads(self._verified(meta["filename"], meta["md5"]), encoding="latin1")[meta["key"]])

    def _verified(self, file: str, md5: str) -> bytes:
        data = self._find(file, md5)
        if data is None:
            download = lambda path: self.official(root=path, download=True)  # noqa: E731
            fetch(self.name, self.root, self.official.base_folder, download)
            data = self._find(file, md5)
        if data is None:
            raise FathomError(f"the download of dataset {self.name} ended without {file}; run the same command again")
        return data

    def _find(self, file: str, md5: str) -> bytes | None:
        """The bytes of an official file, or None where it is absent, or damaged and may be downloaded again."""
        places: list[tuple[Path, bytes]] = []
        path = self.root.path / self.official.base_folder / file
        if path.is_file():
            places.append((path, path.read_bytes()))
        archive = self.root.path / self.official.filename
        if not places and archive.is_file():
            try:
                with tarfile.open(archive) as tar:
                    member = tar.extractfile(f"{self.official.base_folder}/{file}")
                    places += [(archive, member.read())] if member else []
            except (OSError, EOFError, KeyError, tarfile.TarError):
                places.append((archive, b""))
        for place, data in places:
            if md5_of(data) == md5:
                return data
            if not self.root.download:
                raise FathomError(
                    f"{place} is damaged or not the official file: {file} does not have the checksum {md5}. Delete it "
                    "and put the official file there, or allow the download with --download"
                )
        return None
