"""The active-learning loop of the paper, Sec. 2.1 and 3.

A run trains from scratch on the labeled set, restores the best validation epoch, tests, predicts the pool, queries,
has the picks labeled by the oracle, and commits the round; then again, until the regime's last round. What is labeled
after some rounds follows from the committed rounds alone, so a run goes on wherever it stopped.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from fathom.core.records import Round, RunSpec, Setting, digest
from fathom.core.streams import Streams
from fathom.learn.task import Classifier
from fathom.protocol.checkpoint import FileCheckpointer
from fathom.protocol.clock import Clock
from fathom.protocol.context import WorkerContext
from fathom.protocol.diagnostics import diagnostics, engine_of, public_diagnostics
from fathom.protocol.dropout import base_dropout, dropout_of, prediction_draws
from fathom.protocol.metrics import measure
from fathom.protocol.oracle import Labeled, Oracle
from fathom.protocol.pool_query import PoolQuery
from fathom.protocol.preparation import state_of, with_features
from fathom.protocol.retune import retune
from fathom.protocol.split import Split
from fathom.protocol.tune import chosen
from fathom.query.method import build_query as build_method


def run_rounds(
    context: WorkerContext, spec: RunSpec, after_round: Callable[[Round], None] = lambda record: None
) -> None:
    """Do the rounds of a run that are not committed yet."""
    al_run = ActiveLearningRun.open(context, spec, context.store.rounds(spec))
    while al_run.number < al_run.split.regime.rounds:
        record, checkpointer = al_run.round()
        context.store.commit(spec, record)
        checkpointer.close()
        after_round(record)


@dataclass
class ActiveLearningRun:
    """A run at one of its rounds: what is labeled and paid for so far.

    Args:
        lab: What it is computed with.
        spec: What decides it.
        split: Its split, as its paradigm sees it.
        oracle: The holder of labels, with this run's bill.
        labeled: The samples that have labels.
        hparams: Those of the last round; the setting's choice, unless the run searches them again.
        number: The round that comes next.
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
        """A run after some committed rounds: what they queried is all that decides how it goes on."""
        split = with_features(context, spec.setting, context.split_of(spec))
        hparams = committed[-1].hparams if committed else chosen(context, spec.setting)
        al_run = cls(context, spec, split, *split.open(), hparams, number=len(committed))
        for record in committed:
            al_run.labeled.add(record.queried, al_run.oracle.label(record.queried))
        return al_run

    def round(self) -> tuple[Round, FileCheckpointer]:
        """Do the next round; its journal is to be closed when it is committed."""
        spec, split, labeled = self.spec, self.split, self.labeled
        method = build_method(spec.query)
        dropout = dropout_of(self.context.paradigm(spec.paradigm), method)
        clock, streams = Clock(), Streams(spec.seed, self.number)
        with clock("train"):
            self.hparams = retune(self.context, spec, split, labeled, self.number) or self.hparams
            classifier, checkpointer = _train(self.context, spec, split, labeled, dropout, streams, self.hparams)
        with clock("test"):
            metrics, recalls = test(split, classifier, dropout)
            training = diagnostics(split, classifier, labeled, dropout)  # before the query takes its pick of the pool
        budget, paid, labeled_classes = len(labeled), self.oracle.paid, labeled.count(split.dataset.num_classes)
        queried: list[int] = []
        scores: list[float] | None = None
        notes: list[str] = []
        if self.number + 1 < split.regime.rounds:  # nothing is asked after the last round
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
            environment=self.context.environment,
            engine=engine_of(classifier),
        )
        self.number += 1
        return record, checkpointer


def test(split: Split, classifier: Classifier, dropout: float) -> tuple[dict[str, float], list[float | None]]:
    """Metrics on the fixed test split (see `metrics.measure`)."""
    masks = Streams(split.seed)("draws")
    chunks = classifier.stream(split.dataset.test_images, prediction_draws(dropout), masks)
    return measure(torch.cat([p.log_probs for p in chunks]), split.test_labels)


# ------------------------------------------------------------------------------------------------------- train


def round_0_key(context: WorkerContext, setting: Setting, seed: int, dropout: float) -> str:
    """Name of the record of the round-0 classifier that the query methods of a seed share."""
    return f"shared/first/{digest([*setting, seed, dropout, *context.store.retries(setting)], 16)}"


def train_round_0(context: WorkerContext, setting: Setting, seed: int, dropout: float) -> None:
    """Train the round-0 classifier once, and keep it for all query methods of the seed."""
    began = time.perf_counter()
    split, key = (
        with_features(context, setting, context.split_at(setting, seed)),
        round_0_key(context, setting, seed, dropout),
    )
    hparams = chosen(context, setting)
    classifier, checkpointer = _fit(context, setting, split, split.open()[1], Streams(seed, 0), dropout, key, hparams)
    arrays = {name: tensor.cpu().numpy() for name, tensor in classifier.state().items()}
    content = {
        "dataset": setting.dataset,
        "regime": setting.regime,
        "paradigm": setting.paradigm,
        "seed": seed,
        "dropout": dropout,
    }
    content |= {"val_score": classifier.val_score, "tensors": context.store.put_tensors(key, arrays)}
    if stated := public_diagnostics(classifier):
        content["diagnostics"] = stated
    clock = {
        "seconds": time.perf_counter() - began,
        "environment": context.environment,
        "engine": engine_of(classifier),
    }
    context.store.put(key, content, clock)
    checkpointer.close()


def full_data_key(context: WorkerContext, setting: Setting, seed: int) -> str:
    """Name of the record of a full-data classifier."""
    return f"shared/ceiling/{digest([*setting, seed, *context.store.retries(setting)], 16)}"


def train_full_data(context: WorkerContext, setting: Setting, seed: int) -> None:
    """Train on every label of the train part: what the best possible budget could reach with the setting's HPs."""
    began = time.perf_counter()
    split, key = with_features(context, setting, context.split_at(setting, seed)), full_data_key(context, setting, seed)
    oracle, _ = split.open()
    everything = Labeled(split.train_ids.tolist(), oracle.label(split.train_ids).tolist())
    dropout = base_dropout(context.paradigm(setting.paradigm))
    streams, hparams = Streams(seed, split.regime.rounds), chosen(context, setting)
    classifier, checkpointer = _fit(context, setting, split, everything, streams, dropout, key, hparams)
    metrics, recalls = test(split, classifier, dropout)
    content = {"dataset": setting.dataset, "regime": setting.regime, "paradigm": setting.paradigm, "seed": seed}
    content |= {"budget": len(everything), "hparams": hparams, "metrics": metrics, "recalls": recalls}
    clock = {"seconds": time.perf_counter() - began, "environment": context.environment}
    context.store.put(key, content, clock)
    checkpointer.close()


def _train(
    context: WorkerContext,
    spec: RunSpec,
    split: Split,
    labeled: Labeled,
    dropout: float,
    streams: Streams,
    hparams: dict[str, Any],
) -> tuple[Classifier, FileCheckpointer]:
    """This round's classifier; that of round 0 is the one that the methods of the seed share."""
    if streams.round:
        what = f"{context.store.run_name(spec)}/round-{streams.round:02d}"
        return _fit(context, spec.setting, split, labeled, streams, dropout, what, hparams)
    key = round_0_key(context, spec.setting, spec.seed, dropout)
    found = context.store.get(key)
    arrays = context.store.get_tensors(key, found[0]["tensors"]) if found else None
    if found is None or arrays is None:
        train_round_0(context, spec.setting, spec.seed, dropout)
        return _train(context, spec, split, labeled, dropout, streams, hparams)
    state = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    precise = {name: str(value) for name, value in chosen(context, spec.setting).items() if name == "precision"}
    classifier = context.paradigm(spec.paradigm).restore(split.task(labeled), state, dropout=dropout, **precise)
    classifier.val_score = found[0]["val_score"]
    classifier.diagnostics = found[0].get("diagnostics", {})
    return classifier, context.checkpointer(key, "")


def _fit(
    context: WorkerContext,
    setting: Setting,
    split: Split,
    labeled: Labeled,
    streams: Streams,
    dropout: float,
    what: str,
    hparams: dict[str, Any],
) -> tuple[Classifier, FileCheckpointer]:
    """Train, or go on with a training that was killed; the journal is closed when its result is committed."""
    paradigm, task = context.paradigm(setting.paradigm), split.task(labeled)
    checkpointer = context.checkpointer(what, [hparams, dropout, labeled.ids])
    state = state_of(context, setting, split.seed)
    return paradigm.fit(
        task, hparams, state, streams, dropout=dropout, checkpointer=checkpointer.restricted()
    ), checkpointer
