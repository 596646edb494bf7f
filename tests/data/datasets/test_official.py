"""Digits, MNIST, Fashion-MNIST and CIFAR: from files as their authors distribute them."""

import gzip
import hashlib
import pickle
import struct
import sys
import tarfile

import numpy as np
import pytest
import torch
import torchvision
from sklearn.datasets import load_digits
from tests.data.make import root
from tests.faults import fault
from tests.studies import labels_of

from fathom.core.records import FathomError
from fathom.core.streams import Streams
from fathom.data import load
from fathom.data.dataset import DataRoot
from fathom.data.regimes import build_regime, check_regime
from fathom.data.splits import starting_set, train_val_split, validation_set

# ------------------------------------------------------------------------------------------------------- digits


def test_digits_are_those_of_scikit_learn(tmp_path):
    digits = load("digits", root(tmp_path))
    source = load_digits()
    assert len(digits.labels) + len(digits.test_labels) == 1797
    pixels = torch.cat([digits.images.take(torch.arange(1438)), digits.test_images.take(torch.arange(359))])
    key = [image.tobytes() for image in (pixels[:, 0].numpy() / 255 * 16).round().astype(np.uint8)]
    labels = dict(zip(key, [*labels_of(digits), *digits.test_labels], strict=True))
    for image, label in zip(source.images.astype(np.uint8), source.target, strict=True):
        assert labels[image.tobytes()] == label
    assert pixels.max() == 255
    assert torch.equal(pixels[:, 0], pixels[:, 2])
    counts = np.bincount(digits.test_labels)
    assert counts.max() - counts.min() <= 2
    assert not list(tmp_path.iterdir())  # needs no files and writes none


def test_digits_do_not_depend_on_the_seed_and_have_a_revision(tmp_path):
    first, second = load("digits", root(tmp_path)), load("digits-lt(rho=5)", root(tmp_path))
    assert first.revision == second.revision
    assert len(first.revision) == 12
    assert np.array_equal(first.test_labels, second.test_labels)


@pytest.mark.parametrize(("name", "pool"), [("digits", (1188, 1188)), ("digits-lt", (470, 490))])
def test_the_low_regime_fits_the_digits(tmp_path, name, pool):
    digits = load(name, root(tmp_path))
    low = build_regime("low", digits)
    for seed in range(20):
        train, val = train_val_split(digits, Streams(seed)("split"))
        check_regime(digits, low, train, val)
        assert pool[0] <= len(train) <= pool[1]
        start = starting_set(digits, train, low, Streams(seed)("start"))
        assert np.bincount(labels_of(digits)[start]).tolist() == [5] * 10


@pytest.mark.parametrize("text", ["digits-lt(rho=0.5)", "cifar10-lt(rho=0, train_size=500, test_size=100)"])
def test_a_tail_longer_than_the_head_is_refused(tmp_path, text, monkeypatch):
    if "cifar" in text:
        official_cifar(tmp_path, monkeypatch, "cifar10", 100)
    with pytest.raises(FathomError, match="rho is"):
        load(text, root(tmp_path))


# -------------------------------------------------------------------------------------------------------- MNIST


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def official_mnist(folder, monkeypatch, name="MNIST", packed=True):
    """Files of the official form and size, and their checksums as torchvision would know them."""
    generator = np.random.default_rng(0)
    raw = folder / name / "raw"
    raw.mkdir(parents=True)
    resources, arrays = [], {}
    for split, n in (("train", 60_000), ("t10k", 10_000)):
        images = np.zeros((n, 28, 28), np.uint8)
        images[:, 3, 5] = np.arange(n) % 251
        arrays[split] = (images, generator.permutation(np.arange(n) % 10))
        for kind, array in zip(("images-idx3", "labels-idx1"), arrays[split], strict=True):
            data = idx(array)
            zipped = gzip.compress(data, 1)
            file = f"{split}-{kind}-ubyte"
            (raw / (f"{file}.gz" if packed else file)).write_bytes(zipped if packed else data)
            resources.append((f"{file}.gz", hashlib.md5(zipped).hexdigest()))
    monkeypatch.setattr(getattr(torchvision.datasets, name), "resources", resources)
    return arrays


@pytest.mark.parametrize("packed", [True, False])
def test_mnist_reads_official_files(tmp_path, monkeypatch, packed):
    arrays = official_mnist(tmp_path, monkeypatch, packed=packed)
    mnist = load("mnist", root(tmp_path))
    assert np.array_equal(labels_of(mnist), arrays["train"][1])
    assert np.array_equal(mnist.test_labels, arrays["t10k"][1])
    taken = mnist.images.take(torch.tensor([0, 59_999]))
    assert np.array_equal(taken[:, 1].numpy(), arrays["train"][0][[0, 59_999]])
    assert mnist.class_names[:2] == ("zero", "one")
    assert mnist.augment == "digits"  # a mirrored digit is no digit
    for name in ("low", "mid", "high"):
        check_regime(mnist, build_regime(name, mnist), *train_val_split(mnist, Streams(1)("split")))


def test_damaged_idx_files_are_refused(tmp_path, monkeypatch):
    official_mnist(tmp_path, monkeypatch, packed=False)
    file = tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(FathomError, match="t10k-labels-idx1-ubyte is damaged"):
        load("mnist", root(tmp_path))
    file.with_name(f"{file.name}.gz").write_bytes(b"half of it")
    with pytest.raises(FathomError, match=r"ubyte\.gz is damaged.*checksum"):
        load("mnist", root(tmp_path))


def test_mnist_download_replaces_what_is_damaged(tmp_path, monkeypatch):
    (tmp_path / "source").mkdir()
    arrays = official_mnist(tmp_path / "source", monkeypatch)
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte").write_bytes(b"cut off")  # torchvision alone would take this for complete
    fetched = []

    def copy(url, folder, file, md5):
        fetched.append(file)
        if len(fetched) == 1:
            raise RuntimeError("File not found or corrupted.")  # the first mirror is down
        (raw / file).write_bytes((tmp_path / "source/MNIST/raw" / file).read_bytes())

    monkeypatch.setattr("torchvision.datasets.utils.download_url", copy)
    mnist = load("mnist", DataRoot(tmp_path, tmp_path / "cache", download=True, quiet=True))
    assert np.array_equal(labels_of(mnist), arrays["train"][1])
    assert len(set(fetched)) == 4


def test_fashion_mnist(real_data, tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in real_data.glob("tier*/fashion_mnist/*.gz"):
        (raw / file.name).symlink_to(file)
    fashion = load("fashion-mnist", root(tmp_path))
    assert np.bincount(labels_of(fashion)).tolist() == [6000] * 10
    assert np.bincount(fashion.test_labels).tolist() == [1000] * 10
    pixels = fashion.images.pixels[:, 0].float() / 255
    assert fashion.mean[0] == pytest.approx(float(pixels.mean()), abs=1e-4)
    assert fashion.std[0] == pytest.approx(float(pixels.std()), abs=1e-4)
    assert fashion.class_names[0] == "T-shirt/top"


# -------------------------------------------------------------------------------------------------------- CIFAR


def official_cifar(folder, monkeypatch, name, batch):
    """Pickles of the official form with `batch` images each, and their checksums as torchvision would know them."""
    cls = torchvision.datasets.CIFAR10 if name == "cifar10" else torchvision.datasets.CIFAR100
    key, classes = ("labels", 10) if name == "cifar10" else ("fine_labels", 100)
    (folder / cls.base_folder).mkdir(parents=True)
    generator = np.random.default_rng(0)
    truth = {}
    for attribute, files in (("train_list", cls.train_list), ("test_list", cls.test_list)):
        listed = []
        for file, _ in files:
            data = generator.integers(0, 256, (batch, 3072)).astype(np.uint8)
            labels = generator.permutation(np.arange(batch) % classes).tolist()
            truth[file] = (data, labels)
            content = pickle.dumps({"data": data, key: labels})
            (folder / cls.base_folder / file).write_bytes(content)
            listed.append([file, hashlib.md5(content).hexdigest()])
        monkeypatch.setattr(cls, attribute, listed)
    meta = pickle.dumps({cls.meta["key"]: [f"name {c}" for c in range(classes)]})
    (folder / cls.base_folder / cls.meta["filename"]).write_bytes(meta)
    monkeypatch.setattr(cls, "meta", cls.meta | {"md5": hashlib.md5(meta).hexdigest()})
    return truth


def test_cifar100_takes_the_fine_labels(tmp_path, monkeypatch):
    truth = official_cifar(tmp_path, monkeypatch, "cifar100", 10_000)
    taken = load("cifar100(train_size=3000, test_size=500)", root(tmp_path))
    data, labels = truth["train"]
    assert labels_of(taken).tolist() == labels[:3000]
    assert np.array_equal(taken.images.pixels.reshape(3000, -1).numpy(), data[:3000])
    assert taken.num_classes == 100
    assert taken.val_split == 300
    assert "only the first 3,000 of 50,000 train" in taken.notes[0]
    assert [build_regime(r, taken).start for r in ("low", "mid", "high")] == [500, 1000, 5000]
    assert [build_regime(r, taken).rounds for r in ("low", "mid", "high")] == [10, 10, 5]
    assert [build_regime(r, taken).val_size for r in ("low", "mid", "high")] == [2500, 5000, 5000]


def test_only_the_needed_batches_are_needed(tmp_path, monkeypatch):
    official_cifar(tmp_path, monkeypatch, "cifar10", 100)
    for i in (3, 4, 5):
        (tmp_path / f"cifar-10-batches-py/data_batch_{i}").unlink()
    assert len(load("cifar10(train_size=200, test_size=100)", root(tmp_path)).labels) == 200
    with pytest.raises(FathomError, match="--download"):
        load("cifar10(train_size=201, test_size=100)", root(tmp_path))


@fault("input", "pickle with a program", "not executed")
def test_a_strange_pickle_is_never_opened(tmp_path, monkeypatch):
    official_cifar(tmp_path, monkeypatch, "cifar10", 100)

    class Evil:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    (tmp_path / "cifar-10-batches-py/data_batch_1").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(FathomError, match="data_batch_1 does not have the checksum"):
        load("cifar10(train_size=100, test_size=100)", root(tmp_path))


def test_the_archive_will_do(tmp_path, monkeypatch):
    official_cifar(tmp_path / "source", monkeypatch, "cifar10", 100)
    folder = tmp_path / "source/cifar-10-batches-py"
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as tar:
        tar.add(folder, "cifar-10-batches-py")
    text = "cifar10(train_size=500, test_size=100)"
    assert load(text, root(tmp_path)).revision == load(text, root(tmp_path / "source")).revision
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(archive.read_bytes()[:50_000])  # a download that broke off
    with pytest.raises(FathomError, match="damaged"):
        load(text, root(tmp_path))


@pytest.mark.parametrize("text", ["cifar10(train_size=60000)", "cifar10(test_size=-1)", "mnist(train_size=60001)"])
def test_impossible_sizes_are_refused(tmp_path, text):
    with pytest.raises(FathomError, match=r"expected 1 to \d+, or 0 for all"):
        load(text, root(tmp_path))


@pytest.mark.parametrize(
    ("name", "folder"), [("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python"), ("mnist", "MNIST/raw")]
)
def test_absent_files_name_the_folder_and_the_way_out(tmp_path, name, folder):
    with pytest.raises(FathomError) as caught:
        load(name, root(tmp_path))
    for part in (folder, str(tmp_path), "FATHOM_DATA", "--download"):
        assert part in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failure", [OSError("no route to host"), RuntimeError("File not found or corrupted.")])
def test_a_failed_download_is_said_plainly(tmp_path, monkeypatch, failure):
    def download(self, *arguments, **options):
        raise failure

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "__init__", download)
    with pytest.raises(FathomError, match=r"download of dataset cifar10 .* failed: "):
        load("cifar10", DataRoot(tmp_path, tmp_path / "cache", download=True, quiet=True))


def test_a_download_that_gives_the_wrong_file_is_refused(tmp_path, monkeypatch):
    def download(self, root, download):
        assert download
        (root / "cifar-10-batches-py").mkdir()
        (root / "cifar-10-batches-py/data_batch_1").write_bytes(b"half a file")

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "__init__", download)
    with pytest.raises(FathomError, match="ended without data_batch_1"):
        load("cifar10", DataRoot(tmp_path, tmp_path / "cache", download=True, quiet=True))


@pytest.fixture(scope="session")
def real_cifar10(real_data, tmp_path_factory):
    """The official CIFAR-10 pickles, rebuilt from lossless images; torchvision's checksums are the judge."""
    sys.path.insert(0, str(real_data))
    try:
        import unpack_data
    finally:
        sys.path.remove(str(real_data))
    sheets = {split: unpack_data._sheets("cifar10", split) for split in ("train", "test")}
    if (len(sheets["train"]), len(sheets["test"])) != (50, 10):
        pytest.skip("needs all of CIFAR-10 in ../shared/data")
    root = tmp_path_factory.mktemp("cifar10")
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    batches = {f"data_batch_{i + 1}": sheets["train"][10 * i : 10 * i + 10] for i in range(5)}
    with unpack_data._skeletons("cifar10") as parts:
        for name, paths in (batches | {"test_batch": sheets["test"]}).items():
            pixels = np.concatenate([unpack_data.read_sheet(path) for path in paths]).transpose(0, 3, 1, 2)
            (folder / name).write_bytes(parts.read(f"{name}.head") + pixels.tobytes() + parts.read(f"{name}.tail"))
        (folder / "batches.meta").write_bytes(parts.read("batches.meta"))
    return root


def test_cifar10(real_cifar10):
    folder = real_cifar10
    cifar = load("cifar10", root(folder))
    assert np.bincount(labels_of(cifar)).tolist() == [5000] * 10
    assert " ".join(cifar.class_names) == "airplane automobile bird cat deer dog frog horse ship truck"
    for images, labels, train in (
        (cifar.images, labels_of(cifar), True),
        (cifar.test_images, cifar.test_labels, False),
    ):
        official = torchvision.datasets.CIFAR10(root=folder, train=train)
        assert np.array_equal(labels, official.targets)
        assert np.array_equal(images.pixels[::50].numpy(), official.data[::50].transpose(0, 3, 1, 2))
    some = cifar.images.pixels[:10_000].float() / 255
    assert cifar.mean == pytest.approx(some.mean((0, 2, 3)).tolist(), abs=5e-3)


def test_cifar10_lt(real_cifar10):
    long_tail = load("cifar10-lt(rho=50)", root(real_cifar10))
    train, val = train_val_split(long_tail, Streams(3)("split"))
    counts = np.bincount(labels_of(long_tail)[train])
    assert counts[1:].tolist() == [2913, 1886, 1221, 790, 512, 331, 214, 139, 90]
    assert 4400 < counts[0] <= 4500  # the random split may leave class 0 fewer than its nominal 4,500
    for name, size in (("low", 250), ("mid", 1250), ("high", 5000)):
        regime = build_regime(name, long_tail)
        check_regime(long_tail, regime, train, val)
        chosen = validation_set(long_tail, val, regime, Streams(3)("validation"))
        assert len(chosen) == size
        if size < 5000:  # validation stays balanced
            assert np.bincount(labels_of(long_tail)[chosen]).tolist() == [size // 10] * 10
        start = starting_set(long_tail, train, regime, Streams(3)("start"))
        assert np.bincount(labels_of(long_tail)[start]).min() >= 5
