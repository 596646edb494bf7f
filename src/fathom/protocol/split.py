"""Where a run starts: dataset, regime, split, starting set, validation set. The same for all methods of a seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from fathom.core.records import LabelRegime
from fathom.core.streams import Streams
from fathom.data.dataset import Dataset
from fathom.data.images import Subset
from fathom.data.regimes import check_regime
from fathom.data.splits import starting_set, train_val_split, validation_set
from fathom.learn.task import Task
from fathom.protocol.oracle import Labeled, Oracle

Ids = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class Split:
    """One seed of one dataset and regime (paper Sec. 2.1: D is divided into L and U, the rest is validation and test).

    Args:
        dataset: Its images on the device that trains.
        regime: How much is labeled.
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
            FathomError: The regime does not fit the dataset, with the largest that would.
        """
        streams = Streams(seed)
        train, held_out = train_val_split(dataset, streams("split"))
        check_regime(dataset, regime, train, held_out)
        split = starting_set(dataset, train, regime, streams("start"))
        val = validation_set(dataset, held_out, regime, streams("validation"))
        return cls(dataset, regime, seed, np.sort(train), np.sort(split), np.sort(val), device)

    def open(self) -> tuple[Oracle, Labeled]:
        """A fresh oracle that has sold validation and starting set, and the starting set with its labels."""
        oracle = Oracle(self.dataset.labels)
        oracle.label(self.val_ids)
        return oracle, Labeled(self.start_ids.tolist(), oracle.label(self.start_ids).tolist())

    def pool_ids(self, labeled: Sequence[int]) -> Ids:
        """The unlabeled samples, sorted."""
        return np.setdiff1d(self.train_ids, np.asarray(labeled, np.int64), assume_unique=True)

    def task(self, labeled: Labeled) -> Task:
        """What a paradigm may see when these samples are labeled."""
        d = self.dataset
        return Task(
            images=Subset(d.images, self.tensor(labeled.ids)),
            labels=self.tensor(labeled.labels),
            val_images=Subset(d.images, self.tensor(self.val_ids)),
            val_labels=self._val_labels,
            pool=Subset(d.images, self.tensor(self.pool_ids(labeled.ids))),
            num_classes=d.num_classes,
            metric=d.metric,
            balanced=d.balanced,
            mean=d.mean,
            std=d.std,
            augment=d.augment,
        )

    def tensor(self, values: Any) -> torch.Tensor:
        """Ids or labels as int64 on the device."""
        return torch.as_tensor(np.asarray(values, np.int64), device=self.device)

    @cached_property
    def _val_labels(self) -> torch.Tensor:
        return self.tensor(Oracle(self.dataset.labels).label(self.val_ids))

    @cached_property
    def test_labels(self) -> torch.Tensor:
        return self.tensor(self.dataset.test_labels)
