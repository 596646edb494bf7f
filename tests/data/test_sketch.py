"""Sketches have the sizes of what the official files give."""

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torchvision
from tests.data.make import root
from tests.studies import labels_of

from fathom.data import load, sketch_of
from fathom.data.dataset import Dataset
from fathom.data.sketch import mixed


def compare(sketch: Dataset | None, loaded: Dataset, *, counts: bool = True) -> None:
    assert sketch is not None
    for name in ("name", "metric", "balanced", "role", "val_split", "mean", "std", "augment", "long_tail", "regimes",
                 "num_classes", "source", "notes"):  # fmt: skip
        assert getattr(sketch, name) == getattr(loaded, name), name
    assert sketch.images.size == loaded.images.size
    for one, other in ((labels_of(sketch), labels_of(loaded)), (sketch.test_labels, loaded.test_labels)):
        assert len(one) == len(other)
        assert not counts or np.array_equal(np.bincount(one), np.bincount(other))


@pytest.mark.parametrize("name", ["cifar10", "cifar10-lt(rho=20)"])
def test_cifar10(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Official-format files of the official number of images, of random pixels: their checksums are told the reader."""
    import pickle

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    generator, known = np.random.default_rng(0), {}
    official = torchvision.datasets.CIFAR10
    for file, _ in (*official.train_list, *official.test_list):
        pixels = np.zeros((10_000, 3072), np.uint8)
        data = pickle.dumps({"data": pixels, "labels": generator.permutation(np.arange(10_000) % 10).tolist()})
        (folder / file).write_bytes(data)
        known[file] = hashlib.md5(data).hexdigest()
    names = pickle.dumps({"label_names": [str(i) for i in range(10)]})
    (folder / "batches.meta").write_bytes(names)
    lists = {which: [[f, known[f]] for f, _ in getattr(official, which)] for which in ("train_list", "test_list")}
    for which, changed in lists.items():
        monkeypatch.setattr(official, which, changed)
    monkeypatch.setattr(official, "meta", {**official.meta, "md5": hashlib.md5(names).hexdigest()})
    compare(sketch_of(name), load(name, root(tmp_path)))


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_mnist_and_fashion(name: str, tmp_path: Path) -> None:
    """The labels' counts are facts of the official files, not made here; sizes and the rest are compared."""
    sketch = sketch_of(name)
    assert sketch is not None
    folder = tmp_path / ("MNIST" if name == "mnist" else "FashionMNIST") / "raw"
    folder.mkdir(parents=True)
    for part, labels in (("train", labels_of(sketch)), ("t10k", sketch.test_labels)):
        n = len(labels)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(
            struct.pack(">HBB3I", 0, 8, 3, n, 28, 28) + bytes(n * 28 * 28)
        )
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(
            struct.pack(">HBB1I", 0, 8, 1, n) + labels.astype(np.uint8).tobytes()
        )
    compare(sketch, load(name, root(tmp_path)))


def test_cifar100_has_as_many_of_each_class() -> None:
    sketch = sketch_of("cifar100(train_size=1000)")
    assert sketch is not None
    assert np.bincount(labels_of(sketch)).tolist() == [10] * 100
    assert (len(sketch.test_labels), sketch.val_split, sketch.regimes["high"]["rounds"]) == (10_000, 100, 5)
    assert "only the first 1,000" in sketch.notes[0]


def test_a_data_set_without_official_sizes_has_none() -> None:
    assert sketch_of("digits") is None


def test_the_first_of_mixed_labels_have_the_shares_of_all() -> None:
    labels = mixed((30, 60, 10))
    assert np.bincount(labels).tolist() == [30, 60, 10]
    assert np.bincount(labels[:50]).tolist() == [15, 30, 5]
