"""Training of a setting's classifiers: of the rounds, on full data, and of the candidates of an HP search."""

import time
from dataclasses import dataclass
from typing import Any

import torch

from fathom.core.records import FathomError, NonFiniteError, Setting
from fathom.core.streams import Streams
from fathom.data.images import Subset
from fathom.design.dropout import prediction_draws
from fathom.learn.task import Classifier, HParams, Paradigm, State
from fathom.protocol.checkpoint import FileCheckpointer
from fathom.protocol.context import WorkerContext
from fathom.protocol.dropout import base_dropout
from fathom.protocol.oracle import Labeled
from fathom.protocol.preparation import state_of, with_features
from fathom.protocol.split import Split

COMPARED = 256  # validation images that a restored classifier is compared on
# Of a probability: strides change the last bits; fast kernels and bfloat16 round otherwise in every call.
TOLERANCE = {"cpu": 1e-4, "cuda": 0.02}


@dataclass(frozen=True)
class Trainer:
    """Trains the paradigm of a setting on a split.

    Args:
        context: The worker's open store, device and datasets.
        setting: Dataset, regime and paradigm.
        split: The split as the paradigm sees it: with features in place of images if it has a backbone.
    """

    context: WorkerContext
    setting: Setting
    split: Split

    @classmethod
    def open(cls, context: WorkerContext, setting: Setting, seed: int) -> "Trainer":
        """Trainer on the split of a seed."""
        return cls(context, setting, with_features(context, setting, context.split_at(setting, seed)))

    @property
    def paradigm(self) -> Paradigm:
        """The setting's paradigm."""
        return self.context.paradigm(self.setting.paradigm)

    def checkpointer(self, job: str, labeled: Labeled, dropout: float, hparams: dict[str, Any]) -> FileCheckpointer:
        """Checkpointer of one training, named by all that decides it; close it when the result is committed."""
        code = self.context.plugin_code(self.setting)
        return self.context.checkpointer(job, [hparams, dropout, labeled.ids, *code])

    def fit(
        self, labeled: Labeled, streams: Streams, dropout: float, hparams: HParams, checkpointer: FileCheckpointer
    ) -> Classifier:
        """Train on what is labeled, or resume a training that was interrupted.

        Raises:
            NonFiniteError: A loss, weight or buffer is not finite.
        """
        task = self.split.task(labeled)
        state = state_of(self.context, self.setting, self.split.seed)
        return self.paradigm.fit(task, hparams, state, streams, dropout=dropout, checkpointer=checkpointer.restricted())

    def restore(self, state: State, labeled: Labeled, dropout: float, hparams: HParams) -> Classifier:
        """Restore a classifier from its state, in the precision that its HPs name."""
        precise = {name: str(value) for name, value in hparams.items() if name == "precision"}
        return self.paradigm.restore(self.split.task(labeled), state, dropout=dropout, **precise)

    def check_restored(
        self, classifier: Classifier, state: State, labeled: Labeled, dropout: float, hparams: HParams
    ) -> None:
        """Check that a classifier restored from what is stored predicts what the trained one does.

        Raises:
            FathomError: It does not, so every number of the runs that share it would be wrong.
        """
        images = Subset(self.split.dataset.images, self.split.tensor(self.split.val_ids[:COMPARED]))
        draws, masks = prediction_draws(dropout), Streams(self.split.seed)("draws")
        trained, restored = (
            torch.cat([p.log_probs.exp().mean(1) for p in one.stream(images, draws, masks)])
            for one in (classifier, self.restore(state, labeled, dropout, hparams))
        )
        allowed = TOLERANCE.get(self.split.device.type, 0.02)
        if trained.shape != restored.shape or not bool((gap := (trained - restored).abs()).max() <= allowed):
            shown = f"by up to {float(gap.max()):.2g}" if trained.shape == restored.shape else "in shape"
            raise FathomError(
                f"{self.setting.paradigm} restores another classifier from its state than it trained: class "
                f"probabilities of {len(images)} validation images differ {shown}. `state` must return all that "
                "`restore` needs; fathom.testing.check_paradigm shows where it does not"
            )

    def train_candidate(
        self, name: str, facts: dict[str, Any], labeled: Labeled, streams: Streams, hparams: dict[str, Any]
    ) -> None:
        """Train one candidate of an HP search, and commit its validation score as a record.

        A candidate that diverges is an outcome of the search, not a failure of the study: its record has the failure
        and no score.

        Args:
            name: Name of the record.
            facts: Further content of the record.
            labeled: The samples to train on.
            streams: Streams of the training.
            hparams: HPs to train with.
        """
        began, dropout = time.perf_counter(), base_dropout(self.paradigm)
        checkpointer = self.checkpointer(name, labeled, dropout, hparams)
        content = {**facts, "val_score": None, "failure": ""}
        try:
            content["val_score"] = self.fit(labeled, streams, dropout, hparams, checkpointer).val_score
        except NonFiniteError as error:
            content["failure"] = str(error)
        self.commit(name, content, began)
        checkpointer.close()

    def commit(self, name: str, content: dict[str, Any], began: float, **clock: Any) -> None:
        """Put a record into the store, with the seconds since `began`, environment and code beside it."""
        seconds = time.perf_counter() - began
        self.context.store.put(name, content, {"seconds": seconds, **self.context.stamp(self.setting), **clock})
