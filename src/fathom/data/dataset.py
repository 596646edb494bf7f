"""The dataset as the protocol sees it: images, labels, a fixed test split, and how it wants to be measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from fathom.core.augmentations import AUGMENTATIONS
from fathom.core.metrics import MAIN_METRICS
from fathom.core.records import DEVELOPMENT, ROLES, FathomError
from fathom.data.vault import Labels, LabelVault


@runtime_checkable
class Images(Protocol):
    """Images of one size, reached by index: in memory, on the device, or in a memory map.

    For a paradigm with a fixed backbone they are replaced by its features: floating-point [b, d], `size` (1, d).
    """

    def __len__(self) -> int: ...

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""

    @property
    def device(self) -> torch.device:
        """Where `take` puts its result."""

    def take(self, ids: Int[Tensor, "b"]) -> Shaped[Tensor, "b ..."]:
        """The images at `ids` (0 to len - 1, on any device), RGB, uint8 [b, 3, h, w], on `device`."""

    def to(self, device: torch.device) -> "Images":
        """Images that are taken on `device` (moved there where they fit in memory)."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """One image classification dataset.

    Args:
        name: Canonical spec string it was built from.
        images: Train images (n of them); the order is fixed by content or official file, never by file system.
        labels: Class of each train image, 0 to c - 1; int64 [n]. Given as an array, kept as a `LabelVault`.
        test_images: The fixed test split.
        test_labels: int64 [t].
        class_names: c names.
        metric: Main test metric: `accuracy` or `balanced_accuracy`.
        balanced: True if the classes are of (nearly) equal size; decides how starting sets are drawn, and if training
            oversamples.
        role: `development` (may be tuned on) or `roll-out` (never tuned on).
        val_split: Train images held out for validation, drawn anew by each seed.
        stratify: Hold out the same share of each class (`splits.train_val_split`). False for the datasets of the
            published study, which draws without regard to class.
        mean, std: Channel statistics for normalization, in [0, 1].
        augment: Family of augmentations (`core.augmentations`).
        groups: Group of each train image (lesion, patient, track), int64 [n]; images of a group stay on one side
            of a split. None where there are none.
        test_groups: Groups of the test split, in the numbering of `groups`.
        independent: True if the images are declared to be unrelated, so that no groups are missing.
        long_tail: rho: the train part of a split is thinned to an exponential decay from 1 to 1/rho; None to keep all.
        regimes: Changes of named regimes for this dataset, for example `{"high": {"rounds": 5}}`; for one
            paradigm alone `{"semi-sl/low": {"query_size": 1500, "rounds": 4}}`.
        ids: Name of each train image that does not depend on the order (file name, official index); None for the index.
        test_ids: Name of each test image, likewise.
        source: Where the data is from: citation, address, license.
        revision: Short hash of labels, test labels, groups and pixels, which identifies the data.
        notes: Notes for the reader of the report.
    """

    name: str
    images: Images
    labels: Labels | LabelVault
    test_images: Images
    test_labels: Labels
    class_names: tuple[str, ...]
    metric: str
    balanced: bool
    val_split: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    augment: str
    stratify: bool = True
    role: str = DEVELOPMENT
    groups: Labels | None = None
    test_groups: Labels | None = None
    long_tail: float | None = None
    regimes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    ids: tuple[str, ...] | None = None
    test_ids: tuple[str, ...] | None = None
    source: str = ""
    revision: str = ""
    notes: tuple[str, ...] = ()
    independent: bool = False

    @property
    def num_classes(self) -> int:
        """c, the number of classes."""
        return len(self.class_names)

    @property
    def vault(self) -> LabelVault:
        """The sealed train labels. During a run the oracle alone reveals them."""
        assert isinstance(self.labels, LabelVault)
        return self.labels

    def __post_init__(self) -> None:
        """Seal the train labels; refuse parts that would train without an error and give nonsense.

        Raises:
            FathomError: Parts do not fit together, or a field has an unknown value.
        """
        for what, given, allowed in (
            ("metric", self.metric, MAIN_METRICS),
            ("role", self.role, ROLES),
            ("augment", self.augment, tuple(AUGMENTATIONS)),
        ):
            if given not in allowed:
                raise FathomError(f"dataset {self.name}: {what} is {given!r}; expected one of: {', '.join(allowed)}")
        if self.num_classes < 2 or len(set(self.class_names)) != self.num_classes:
            raise FathomError(
                f"dataset {self.name}: expected two or more classes of different names, "
                f"got {list(self.class_names[:10])}"
            )
        if not 0 < self.val_split < len(self.labels):
            raise FathomError(
                f"dataset {self.name}: val_split is {self.val_split}; expected 1 to {len(self.labels) - 1} images held "
                f"out of {len(self.labels)} train images"
            )
        if self.long_tail is not None and not self.long_tail >= 1:
            raise FathomError(
                f"dataset {self.name}: rho is {self.long_tail}; expected 1 or more, the largest class over the smallest"
            )
        # A copy made by `dataclasses.replace` brings its vault along; its images may differ, so it is checked as well.
        labels = self.labels.for_data_check() if isinstance(self.labels, LabelVault) else self.labels
        self._check_split("train", self.images, labels, self.groups)
        self._check_split("test", self.test_images, self.test_labels, self.test_groups)
        if not isinstance(self.labels, LabelVault):
            object.__setattr__(self, "labels", LabelVault(labels))
        missing = np.flatnonzero(self.vault.class_counts(self.num_classes) == 0)
        if len(missing):
            names = ", ".join(self.class_names[c] for c in missing[:10])
            raise FathomError(
                f"dataset {self.name}: no train image of {len(missing)} of {self.num_classes} classes: {names}. "
                "Leave these classes out, or give more images"
            )

    def _check_split(self, split: str, images: Images, labels: Any, groups: Any) -> None:
        where = f"dataset {self.name}, {split} split"
        if not len(labels):
            raise FathomError(f"{where}: no images; expected at least one")
        if labels.dtype != np.int64 or labels.ndim != 1 or len(images) != len(labels):
            raise FathomError(
                f"{where}: {len(images)} images and labels of shape {labels.shape}, {labels.dtype}; expected one int64 "
                "label per image"
            )
        if labels.min() < 0 or labels.max() >= self.num_classes:
            raise FathomError(
                f"{where}: labels from {labels.min()} to {labels.max()}; expected 0 to {self.num_classes - 1}"
            )
        if groups is not None and groups.shape != labels.shape:
            raise FathomError(f"{where}: {len(groups)} groups for {len(labels)} images; expected one for each")


@dataclass(frozen=True)
class DataRoot:
    """Where datasets are found, and if they may be downloaded.

    Args:
        path: Folder of the official files (`--data` or `FATHOM_DATA`).
        cache: Folder for decoded images, features and encoders (`FATHOM_CACHE`, see `engine.engine.data_root`).
        download: Allows downloads of absent files.
        quiet: No progress bars.
    """

    path: Path
    cache: Path
    download: bool = False
    quiet: bool = False
