"""The active-learning loop of the paper, Sec. 2.1 and 3.

A run trains from scratch on the labeled set, restores the best validation epoch, tests, predicts the pool, queries,
has the picks labeled by the oracle, and commits the round; it repeats this until the regime's last round. What is
labeled after some rounds follows from the committed rounds alone, so a run can be resumed after any of them.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import torch

from fathom.core.records import Round, RunSpec, Setting, digest
from fathom.core.streams import Streams
from fathom.core.work import WorkKind
from fathom.design.dropout import prediction_draws
from fathom.learn.task import Classifier
from fathom.learn.tensor_file import from_bytes, to_bytes
from fathom.protocol.checkpoint import FileCheckpointer
from fathom.protocol.clock import Clock
from fathom.protocol.context import WorkerContext
from fathom.protocol.diagnostics import diagnostics, engine_of, public_diagnostics
from fathom.protocol.dropout import base_dropout, dropout_of
from fathom.protocol.oracle import Labeled, Oracle
from fathom.protocol.pool_query import PoolQuery
from fathom.protocol.predictions import keep_predictions
from fathom.protocol.preparation import stored_weights, with_features
from fathom.protocol.retune import retune
from fathom.protocol.split import Split
from fathom.protocol.trainer import Trainer
from fathom.protocol.tune import chosen
from fathom.query.method import build_query
from fathom.stats.classification import Array, measure


def run_rounds(
    context: WorkerContext, spec: RunSpec, after_round: Callable[[Round], None] = lambda record: None
) -> None:
    """Do and commit the rounds of a run that are not committed yet."""
    al_run = ActiveLearningRun.open(context, spec, context.store.rounds(spec))
    while al_run.number < al_run.split.regime.rounds:
        record, checkpointer = al_run.round()
        context.store.commit(spec, record)
        checkpointer.close()
        after_round(record)


@dataclass
class ActiveLearningRun:
    """A run before one of its rounds: what is labeled and paid for so far.

    Args:
        context: The worker's open store, device and datasets.
        spec: The run.
        split: Its split as its paradigm sees it.
        oracle: The run's one oracle, with its bill.
        labeled: The labels bought so far.
        hparams: HPs of the last round; the setting's choice, unless the run searches them again.
        number: The next round.
    """

    context: WorkerContext
    spec: RunSpec
    split: Split
    oracle: Oracle
    labeled: Labeled
    hparams: dict[str, Any]
    number: int = 0

    @classmethod
    def open(cls, context: WorkerContext, spec: RunSpec, committed: Sequence[Round] = ()) -> "ActiveLearningRun":
        """Resume a run after its committed rounds; what they queried is all that decides the rounds that follow."""
        split = with_features(context, spec.setting, context.split_of(spec))
        hparams = committed[-1].hparams if committed else chosen(context, spec.setting)
        al_run = cls(context, spec, split, *split.open(), hparams, number=len(committed))
        for record in committed:
            al_run.labeled.add(record.queried, al_run.oracle.label(record.queried))
        return al_run

    @property
    def trainer(self) -> Trainer:
        """Trainer of the run's setting on its split."""
        return Trainer(self.context, self.spec.setting, self.split)

    def round(self) -> tuple[Round, FileCheckpointer]:
        """Do the next round.

        Returns:
            The round, and the checkpointer to close when the round is committed.
        """
        split, labeled = self.split, self.labeled
        method = build_query(self.spec.query)
        dropout = dropout_of(self.trainer.paradigm, method)
        clock, streams = Clock(self.context.device), Streams(self.spec.seed, self.number)
        with clock("train"):
            self.hparams = retune(self.trainer, self.spec, labeled, self.number) or self.hparams
            classifier, checkpointer = self.train(dropout)
        with clock("test"):
            log_probs = predict_test(split, classifier, dropout)
            metrics, recalls = measure(log_probs, split.dataset.test_labels)
            # Pseudo-labels are judged on this round's pool, so before the query takes its picks out of it.
            training = diagnostics(split, classifier, labeled, self.oracle, dropout)
        budget, paid, labeled_classes = len(labeled), self.oracle.paid, labeled.count(split.dataset.num_classes)
        queried: list[int] = []
        scores: list[float] | None = None
        notes: list[str] = []
        if self.number + 1 < split.regime.rounds:  # no round would train on what the last one queried
            queried, scores, notes = PoolQuery(split, classifier, dropout, method, labeled, streams, clock).select()
        classes = self.oracle.label(queried)
        labeled.add(queried, classes)
        record = Round(
            round=self.number,
            budget=budget,
            paid=paid,
            hparams=self.hparams,
            metrics={**metrics, "val_score": classifier.val_score},
            recalls=recalls,
            queried=queried,
            queried_classes=classes.tolist(),
            scores=scores,
            labeled_classes=labeled_classes,
            notes=notes,
            training=training,
            seconds=clock.read(),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            engine=engine_of(classifier),
            looked_at=self.oracle.looked_at,
            **self.context.stamp(self.spec.setting, self.spec.query),
        )
        self.number += 1
        if self.context.store.study.keeps(record.round, split.regime.rounds):  # written before the round that names it
            record = replace(record, predictions=keep_predictions(self.context.store, log_probs))
        return record, checkpointer

    def train(self, dropout: float) -> tuple[Classifier, FileCheckpointer]:
        """Train this round's classifier, or restore the one of round 0 that all methods of the seed share."""
        if self.number == 0:
            return self._shared_round_0(dropout)
        job = f"{self.context.store.run_name(self.spec)}/round-{self.number:02d}"
        checkpointer = self.trainer.checkpointer(job, self.labeled, dropout, self.hparams)
        streams = Streams(self.spec.seed, self.number)
        return self.trainer.fit(self.labeled, streams, dropout, self.hparams, checkpointer), checkpointer

    def _shared_round_0(self, dropout: float) -> tuple[Classifier, FileCheckpointer]:
        context, spec = self.context, self.spec
        key = round_0_key(context, spec.setting, spec.seed, dropout)
        train = partial(train_round_0, context, spec.setting, spec.seed, dropout)
        content, state = stored_weights(context.store, key, train)
        # In the precision that it was trained in, which a retry may have changed.
        classifier = self.trainer.restore(state, self.labeled, dropout, chosen(context, spec.setting))
        classifier.val_score = content["val_score"]
        classifier.diagnostics = content.get("diagnostics", {})
        return classifier, context.checkpointer(key, "")


def predict_test(split: Split, classifier: Classifier, dropout: float) -> Array:
    """Log-probabilities of the fixed test split, float64 [t, c]: of the mean probability over the draws."""
    masks = Streams(split.seed)("draws")
    chunks = classifier.stream(split.dataset.test_images, prediction_draws(dropout), masks)
    log_probs = torch.cat([p.log_probs for p in chunks]).double()
    mean: Array = (torch.logsumexp(log_probs, dim=1) - np.log(log_probs.shape[1])).cpu().numpy()
    return mean


# --------------------------------------------------------------------------------------- trainings that runs share


def round_0_key(context: WorkerContext, setting: Setting, seed: int, dropout: float) -> str:
    """Name of the record of the round-0 classifier that the query methods of a seed share."""
    return WorkKind.ROUND_0.record(digest([*setting, seed, dropout, *context.store.retries(setting)], 16))


def train_round_0(context: WorkerContext, setting: Setting, seed: int, dropout: float) -> None:
    """Train the round-0 classifier once, and store it for all query methods of the seed."""
    began = time.perf_counter()
    trainer, key = Trainer.open(context, setting, seed), round_0_key(context, setting, seed, dropout)
    hparams, (_, labeled) = chosen(context, setting), trainer.split.open()
    checkpointer = trainer.checkpointer(key, labeled, dropout, hparams)
    classifier = trainer.fit(labeled, Streams(seed, 0), dropout, hparams, checkpointer)
    weights = to_bytes(classifier.state(), "the classifier's state")
    trainer.check_restored(classifier, from_bytes(weights), labeled, dropout, hparams)
    content = {**setting._asdict(), "seed": seed, "dropout": dropout}
    content |= {"val_score": classifier.val_score, "tensors": context.store.put_arrays(key, weights)}
    if stated := public_diagnostics(classifier):
        content["diagnostics"] = stated
    trainer.commit(key, content, began, engine=engine_of(classifier))
    checkpointer.close()


def full_data_key(context: WorkerContext, setting: Setting, seed: int) -> str:
    """Name of the record of a full-data classifier."""
    return WorkKind.FULL_DATA.record(digest([*setting, seed, *context.store.retries(setting)], 16))


def train_full_data(context: WorkerContext, setting: Setting, seed: int) -> None:
    """Train on every label of the train part with the setting's HPs: the score that no budget is expected to exceed."""
    began = time.perf_counter()
    trainer, key = Trainer.open(context, setting, seed), full_data_key(context, setting, seed)
    split, dropout, hparams = trainer.split, base_dropout(trainer.paradigm), chosen(context, setting)
    oracle, labeled = split.open()
    everything = Labeled(split.train_ids.tolist(), oracle.label(split.train_ids).tolist(), labeled.val_labels)
    checkpointer = trainer.checkpointer(key, everything, dropout, hparams)
    # The streams are those of the round after the last one, so that no round of a run shares its draws.
    classifier = trainer.fit(everything, Streams(seed, split.regime.rounds), dropout, hparams, checkpointer)
    metrics, recalls = measure(predict_test(split, classifier, dropout), split.dataset.test_labels)
    content = {**setting._asdict(), "seed": seed, "budget": len(everything)}
    trainer.commit(key, content | {"hparams": hparams, "metrics": metrics, "recalls": recalls}, began)
    checkpointer.close()
