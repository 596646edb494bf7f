"""Starting point of a run: dataset, regime, split, starting set and validation set.

All query methods of a seed share it, so that a difference between them is one of what they queried.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fathom.core.records import LabelRegime
from fathom.core.streams import Streams
from fathom.data.dataset import Dataset
from fathom.data.images import Subset
from fathom.data.regimes import fit_regime, split_counts
from fathom.data.splits import starting_set, train_val_split, validation_set
from fathom.learn.task import Task, Unlabeled
from fathom.protocol.oracle import Labeled, Oracle

Ids = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class TrainSplit:
    """The train part of a seed's split, which pre-training may see before anything is labeled.

    It does not depend on the regime, so all regimes of a seed share one encoder.

    Args:
        dataset: Its images on the device that trains.
        train_ids: All samples that may be labeled, sorted.
        seed: Seed of the split.
        device: Where tensors are put.
    """

    dataset: Dataset
    train_ids: Ids
    seed: int
    device: torch.device

    @classmethod
    def draw(cls, dataset: Dataset, seed: int, device: torch.device) -> "TrainSplit":
        """Draw the split from the seed's own stream, as `Split.draw` does."""
        train, _ = train_val_split(dataset, Streams(seed)("split"))
        return cls(dataset, np.sort(train), seed, device)

    def images_at(self, ids: Ids) -> Subset:
        """Images at dataset ids."""
        return Subset(self.dataset.images, torch.as_tensor(ids, device=self.device))

    @property
    def unlabeled(self) -> Unlabeled:
        """The train images without their labels."""
        d = self.dataset
        return Unlabeled(self.images_at(self.train_ids), d.mean, d.std, d.augment)


@dataclass(frozen=True, eq=False)
class Split:
    """One seed of one dataset and regime (paper Sec. 2.1: D is divided into L and U, the rest is validation and test).

    Args:
        dataset: Its images on the device that trains.
        regime: How much is labeled, with the validation size of this seed.
        seed: Seed of the run.
        train_ids: All samples that may be labeled, sorted.
        start_ids: The starting set, sorted.
        val_ids: The validation set, sorted.
        device: Where tensors are put.
    """

    dataset: Dataset
    regime: LabelRegime
    seed: int
    train_ids: Ids
    start_ids: Ids
    val_ids: Ids
    device: torch.device

    @classmethod
    def draw(cls, dataset: Dataset, regime: LabelRegime, seed: int, device: torch.device) -> "Split":
        """Draw split, starting set and validation set from the seed's own streams.

        Raises:
            FathomError: The regime does not fit the dataset. The message names the largest regime that does.
        """
        streams = Streams(seed)
        train, held_out = train_val_split(dataset, streams("split"))
        regime = fit_regime(dataset, regime, {seed: split_counts(dataset, train, held_out)})[seed]
        start = starting_set(dataset, train, regime, streams("start"))
        val = validation_set(dataset, held_out, regime, streams("validation"))
        return cls(dataset, regime, seed, np.sort(train), np.sort(start), np.sort(val), device)

    def open(self) -> tuple[Oracle, Labeled]:
        """Begin a run: a new oracle that validation and starting set are bought from, and their labels."""
        oracle = Oracle(self.dataset.vault)
        val_labels = oracle.label(self.val_ids)
        return oracle, Labeled(self.start_ids.tolist(), oracle.label(self.start_ids).tolist(), val_labels)

    def pool_ids(self, labeled: Sequence[int]) -> Ids:
        """Ids of the unlabeled samples, sorted."""
        return np.setdiff1d(self.train_ids, np.asarray(labeled, np.int64), assume_unique=True)

    def task(self, labeled: Labeled) -> Task:
        """All that a paradigm may see when these samples are labeled."""
        d = self.dataset
        return Task(
            images=Subset(d.images, self.tensor(labeled.ids)),
            labels=self.tensor(labeled.labels),
            val_images=Subset(d.images, self.tensor(self.val_ids)),
            val_labels=self.tensor(labeled.val_labels),
            pool=Subset(d.images, self.tensor(self.pool_ids(labeled.ids))),
            num_classes=d.num_classes,
            metric=d.metric,
            balanced=d.balanced,
            mean=d.mean,
            std=d.std,
            augment=d.augment,
        )

    def tensor(self, values: Any) -> torch.Tensor:
        """Put ids or labels on the device as int64."""
        return torch.as_tensor(np.asarray(values, np.int64), device=self.device)
