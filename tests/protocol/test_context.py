"""What a store keeps of a data set: the same data are known again, also by a store of an older version."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.studies import labels_of

from fathom.core.records import FathomError, digest
from fathom.data import load
from fathom.data.dataset import DataRoot
from fathom.protocol.context import WorkerContext, facts_of, identity_of
from fathom.store.store import Store


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot(tmp_path, tmp_path / "cache", quiet=True)


def test_groups_on_both_sides_are_counted(root: DataRoot) -> None:
    digits = load("digits", root)
    train, test = np.arange(len(digits.labels)), np.arange(len(digits.test_labels)) + len(digits.labels) - 3
    assert facts_of("digits", digits)["groups_across"] is None  # none declared
    assert facts_of("digits", replace(digits, groups=train, test_groups=test))["groups_across"] == 3
    assert facts_of("digits", replace(digits, groups=train))["groups_across"] is None


def test_exact_duplicates_across_the_splits_are_counted(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load("digits", root)
    here = {images.tobytes() for images in digits.images.take(torch.arange(len(digits.images))).numpy()}
    there = digits.test_images.take(torch.arange(len(digits.test_images))).numpy()
    assert facts_of("digits", digits)["duplicates_across"] == sum(image.tobytes() in here for image in there)
    same = replace(digits, test_images=digits.images, test_labels=labels_of(digits))
    assert facts_of("digits", same)["duplicates_across"] == len(digits.labels)
    monkeypatch.setattr("fathom.data.leakage.MAX_PIXELS", 1000)
    assert facts_of("digits", same)["duplicates_across"] is None


def test_facts_that_changed_are_told(root: DataRoot, tmp_path: Path) -> None:
    facts = facts_of("digits", load("digits", root))
    store = Store(tmp_path / "other")
    store.put(f"datasets/{digest('digits', 12)}", facts | {"revision": "another"})
    with pytest.raises(FathomError, match="revision: another ->"):
        WorkerContext(store, root, torch.device("cpu")).dataset("digits")


def test_what_was_found_and_said_of_a_dataset_does_not_identify_it(root: DataRoot, tmp_path: Path) -> None:
    """A store of a version that looked for less, or said it in other words, goes on."""
    facts = identity_of("digits", load("digits", root))
    store = Store(tmp_path / "other")
    store.put(f"datasets/{digest('digits', 12)}", facts | {"notes": ["other words"], "groups_across": 0})
    assert WorkerContext(store, root, torch.device("cpu")).dataset("digits").name == "digits"
