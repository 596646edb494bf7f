"""The contract of datasets over the registry, and what it catches."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.data.make import class_folders
from tests.faults import fault
from tests.studies import labels_of

from fathom.core.records import FathomError
from fathom.data import load
from fathom.data.dataset import DataRoot, Dataset
from fathom.data.datasets import digits as module
from fathom.data.images import TensorImages
from fathom.testing import check_dataset, dataset_findings


@pytest.mark.parametrize("text", ["digits", "digits-lt", "digits-lt(rho=50)"])
def test_datasets_that_need_no_files_keep_the_contract(text: str) -> None:
    check_dataset(text)


def test_a_folder_of_ones_own_keeps_the_contract(tmp_path: Path) -> None:
    class_folders(tmp_path / "images", {"cat": 40, "dog": 30})
    check_dataset("folder(path=images, size=16)", tmp_path)


def plain_digits() -> Dataset:
    return load("digits", DataRoot(Path("nowhere"), Path("nowhere")))


class Odd(TensorImages):
    """Gives pixels as floats."""

    def take(self, ids):  # type: ignore[no-untyped-def]
        return super().take(ids).float()


class Shaky(TensorImages):
    """Augments what it gives."""

    calls = 0

    def take(self, ids):  # type: ignore[no-untyped-def]
        Shaky.calls += 1
        return super().take(ids) ^ (Shaky.calls % 2)


def both_sides(d):  # type: ignore[no-untyped-def]
    n = len(d.labels)
    return {"groups": np.arange(n) // 2, "test_groups": np.arange(len(d.test_labels)) // 2}


def shuffled(d):  # type: ignore[no-untyped-def]
    return in_order(d, torch.randperm(len(d.labels)))


def unsorted(d):  # type: ignore[no-untyped-def]
    return in_order(d, torch.from_numpy(np.random.default_rng().permutation(len(d.labels))))


def in_order(d, order):  # type: ignore[no-untyped-def]
    return {"images": TensorImages(d.images.take(order)), "labels": labels_of(d)[order.numpy()]}


def twins(d):  # type: ignore[no-untyped-def]
    x = d.test_images.take(torch.arange(len(d.test_labels)))
    x[:3] = d.images.take(torch.arange(3))
    return {"test_images": TensorImages(x)}


def renamed(d):  # type: ignore[no-untyped-def]
    return {"revision": str(np.random.default_rng().integers(2**60))}


def in_memory(d):  # type: ignore[no-untyped-def]
    return d.images.take(torch.arange(len(d.labels)))


class Ending(TensorImages):
    """Ends the process."""

    def take(self, ids):  # type: ignore[no-untyped-def]
        os._exit(0)


class Threaded(TensorImages):
    """Takes two threads."""

    def take(self, ids):  # type: ignore[no-untyped-def]
        torch.set_num_threads(2)
        return super().take(ids)


CASES = {
    "would end the whole command": lambda d: sys.exit(0),
    "called os._exit(0), which would end": lambda d: {"images": Ending(in_memory(d))},
    "changes torch's number of threads": lambda d: {"images": Threaded(in_memory(d))},
    "changes torch's default dtype": lambda d: torch.set_default_dtype(torch.float64) or {},
    "source is empty": lambda d: {"source": ""},
    "revision is empty": lambda d: {"revision": ""},
    "revision differs between two loads": renamed,
    "images: take of some ids gave torch.float32": lambda d: {"images": Odd(in_memory(d))},
    "other pixels the second time": lambda d: {"images": Shaky(in_memory(d))},
    "groups have images in both train and test": both_sides,
    "uses the global random state of torch": shuffled,
    "labels differ between two loads": unsorted,
    "3 test images are also train images": twins,
}


@fault("data", "dataset that breaks the contract", "check_dataset finds and names it")
@pytest.mark.parametrize("finding", CASES)
def test_each_breach_is_found(finding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = plain_digits()
    monkeypatch.setattr(module, "digits", lambda root: replace(plain, **CASES[finding](plain)))
    found = dataset_findings("digits")
    assert any(finding in line for line in found), found
    with pytest.raises(FathomError, match="breaks its contract in"):
        check_dataset("digits")


def test_test_images_that_are_train_images_may_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = plain_digits()
    monkeypatch.setattr(module, "digits", lambda root: replace(plain, **twins(plain)))
    assert not any("test images" in line for line in dataset_findings("digits", disjoint=False))


@pytest.mark.parametrize("text", ["cifar10", "cifar10-lt"])
def test_official_files_keep_the_contract(text: str, cifar10: Path) -> None:
    check_dataset(text, cifar10, disjoint=False)
