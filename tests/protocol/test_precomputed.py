"""Precomputed features belong to the images that they were computed of, whatever the order of either."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.data.make import class_folders
from tests.faults import fault

from fathom.core.records import FathomError, Setting
from fathom.data.dataset import DataRoot
from fathom.data.image_names import ImageRows, names_of
from fathom.protocol.context import WorkerContext
from fathom.protocol.preparation import features_of
from fathom.store.store import Store

PETS = "folder(path=pets, size=8, test_fraction=0.25)"
RIGHT = "matched by id with the images, or refused with counts and examples"


class Case:
    """A folder of images, and a features file whose rows say which image they are of."""

    def __init__(self, folder: Path, dataset: str = PETS) -> None:
        self.folder, self.text = folder, dataset
        class_folders(folder / "pets", {"cat": 12, "dog": 12})
        store, root = Store(folder / "store"), DataRoot(folder, folder / "cache", quiet=True)
        self.context = WorkerContext(store, root, torch.device("cpu"))
        self.dataset = self.context.dataset(dataset)
        self.names = names_of(self.dataset)

    @staticmethod
    def value(name: str) -> list[float]:
        name = name.removeprefix("./")
        return [float(sum(name.encode()) % 97), float(name.startswith("cat"))]

    def write(self, ids: list[str], /, **more: np.ndarray) -> None:
        arrays = {"features": np.array([self.value(i) for i in ids], np.float32), "ids": np.array(ids)}
        np.savez(self.folder / "f.npz", **({k: v for k, v in arrays.items() if len(ids)} | more))

    def read(self, options: str = "") -> list[np.ndarray]:
        self.context.featured.clear()
        setting = Setting(self.text, "low", f"frozen(backbone=features, weights=f.npz, dtype=float32{options})")
        made = features_of(self.context, setting, 0)
        return [x.values.numpy() for x in (made.images, made.test_images)]

    def expect(self, found: list[np.ndarray]) -> None:
        for part, values in zip(("train", "test"), found, strict=True):
            np.testing.assert_array_equal(values, [self.value(name) for name in self.names[part]])


@fault("data", "precomputed features in another order", RIGHT, cases=3)
def test_rows_are_matched_by_file_name(tmp_path: Path) -> None:
    case = Case(tmp_path)
    ids = sorted(case.names["train"] + case.names["test"])  # as a folder is listed
    case.write([f"./{name}" for name in ids])
    case.expect(case.read())
    case.write(ids[::-1])
    case.context.store = Store(tmp_path / "other")
    case.expect(case.read())
    parts = {}
    for part in ("train", "test"):
        own = sorted(case.names[part])
        parts |= {part: np.array([case.value(i) for i in own]), f"{part}_ids": np.array(own, "S")}
    case.write([], **parts)
    case.context.store = Store(tmp_path / "third")
    case.expect(case.read())


@fault("data", "precomputed features in another order", RIGHT, cases=6)
def test_what_does_not_fit_is_refused_with_counts_and_examples(tmp_path: Path) -> None:
    case = Case(tmp_path)
    ids = sorted(case.names["train"] + case.names["test"])
    case.write([*ids[1:], ids[1], "eel/7.png"])
    with pytest.raises(FathomError) as caught:
        case.read()
    for part in (f"1 ids ('{ids[1]}') are repeated", "1 ids ('eel/7.png') are of no image", "24 images once"):
        assert part in str(caught.value)
    assert any(f"1 ids ('{ids[0]}') of {part} images are absent" in str(caught.value) for part in ("train", "test"))
    case.write([], train=np.zeros((18, 2)), test=np.zeros((6, 2)))
    with pytest.raises(FathomError, match=r"holds train, test; expected the arrays features.*order=dataset"):
        case.read()
    case.write([], features=np.zeros((24, 2)), ids=np.zeros((24, 2)))
    with pytest.raises(FathomError, match="expected one name or whole number"):
        case.read()
    np.save(tmp_path / "f.npy", np.zeros((18, 2)))
    with pytest.raises(FathomError, match=r"f\.npy has no ids"):
        case.context.paradigm("frozen(backbone=features, weights=f.npy)").facts(case.context.data)
    with pytest.raises(FathomError, match="order"):
        case.context.paradigm("frozen(order=dataset)")


def test_a_declared_order_is_taken_as_it_is(tmp_path: Path) -> None:
    case = Case(tmp_path)
    rows = {part: np.array([case.value(name) for name in case.names[part]]) for part in ("train", "test")}
    case.write([], **rows)
    case.expect(case.read(", order=dataset"))


def test_official_indices_name_the_images_of_a_dataset_without_names(tmp_path: Path) -> None:
    rows = ImageRows("test", {"train": ("0", "1", "2"), "test": ("0", "1")}, [1])
    assert rows([1, 0], both=False).tolist() == [0]
    with pytest.raises(FathomError, match=r"2 names \('0', '1'\) of images are in both train and test"):
        rows([0, 1, 2], both=True)
