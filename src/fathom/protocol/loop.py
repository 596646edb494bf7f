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

from fathom.core.records import Round, RunSpec, digest
from fathom.core.streams import Streams
from fathom.learn.task import Classifier
from fathom.protocol.checkpoint import FileJournal
from fathom.protocol.clock import Clock
from fathom.protocol.context import Lab, Setting
from fathom.protocol.diagnostics import engine_of, shown, told
from fathom.protocol.dropout import base_dropout, dropout_of, prediction_draws
from fathom.protocol.metrics import measure
from fathom.protocol.oracle import Labeled, Oracle
from fathom.protocol.pool_query import Asking
from fathom.protocol.preparation import grounded, state_of
from fathom.protocol.retune import retune
from fathom.protocol.split import Start
from fathom.protocol.tune import chosen
from fathom.query.method import build as build_method


def run(lab: Lab, spec: RunSpec, after_round: Callable[[Round], None] = lambda record: None) -> None:
    """Do the rounds of a run that are not committed yet."""
    course = Course.open(lab, spec, lab.store.rounds(spec))
    while course.number < course.start.regime.rounds:
        record, journal = course.round()
        lab.store.commit(spec, record)
        journal.close()
        after_round(record)


@dataclass
class Course:
    """A run at one of its rounds: what is labeled and paid for so far.

    Args:
        lab: What it is computed with.
        spec: What decides it.
        start: Its split, as its paradigm sees it.
        oracle: The holder of labels, with this run's bill.
        labeled: The samples that have labels.
        hparams: Those of the last round; the setting's choice, unless the run searches them again.
        number: The round that comes next.
    """

    lab: Lab
    spec: RunSpec
    start: Start
    oracle: Oracle
    labeled: Labeled
    hparams: dict[str, Any]
    number: int = 0

    @classmethod
    def open(cls, lab: Lab, spec: RunSpec, committed: Sequence[Round] = ()) -> "Course":
        """A run after some committed rounds: what they queried is all that decides how it goes on."""
        start = grounded(lab, spec.setting, lab.start_of(spec))
        hparams = committed[-1].hparams if committed else chosen(lab, spec.setting)
        course = cls(lab, spec, start, *start.open(), hparams, number=len(committed))
        for record in committed:
            course.labeled.add(record.queried, course.oracle.label(record.queried))
        return course

    def round(self) -> tuple[Round, FileJournal]:
        """Do the next round; its journal is to be closed when it is committed."""
        spec, start, labeled = self.spec, self.start, self.labeled
        method = build_method(spec.query)
        dropout = dropout_of(self.lab.paradigm(spec.paradigm), method)
        clock, streams = Clock(), Streams(spec.seed, self.number)
        with clock("train"):
            self.hparams = retune(self.lab, spec, start, labeled, self.number) or self.hparams
            classifier, journal = _train(self.lab, spec, start, labeled, dropout, streams, self.hparams)
        with clock("test"):
            metrics, recalls = test(start, classifier, dropout)
            training = shown(start, classifier, labeled, dropout)  # before the query takes its pick of the pool
        budget, paid, labeled_classes = len(labeled), self.oracle.paid, labeled.count(start.dataset.num_classes)
        queried: list[int] = []
        scores: list[float] | None = None
        notes: list[str] = []
        if self.number + 1 < start.regime.rounds:  # nothing is asked after the last round
            queried, scores, notes = Asking(start, classifier, dropout, method, labeled, streams, clock).ask()
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
            environment=self.lab.environment,
            engine=engine_of(classifier),
        )
        self.number += 1
        return record, journal


def test(start: Start, classifier: Classifier, dropout: float) -> tuple[dict[str, float], list[float | None]]:
    """Metrics on the fixed test split (see `metrics.measure`)."""
    masks = Streams(start.seed)("draws")
    chunks = classifier.stream(start.dataset.test_images, prediction_draws(dropout), masks)
    return measure(torch.cat([p.log_probs for p in chunks]), start.test_labels)


# ------------------------------------------------------------------------------------------------------- train


def first_key(lab: Lab, setting: Setting, seed: int, dropout: float) -> str:
    """Name of the record of the round-0 classifier that the query methods of a seed share."""
    return f"shared/first/{digest([*setting, seed, dropout, *lab.store.retries(setting)], 16)}"


def train_first(lab: Lab, setting: Setting, seed: int, dropout: float) -> None:
    """Train the round-0 classifier once, and keep it for all query methods of the seed."""
    began = time.perf_counter()
    start, key = grounded(lab, setting, lab.start_at(setting, seed)), first_key(lab, setting, seed, dropout)
    hparams = chosen(lab, setting)
    classifier, journal = _fit(lab, setting, start, start.open()[1], Streams(seed, 0), dropout, key, hparams)
    arrays = {name: tensor.cpu().numpy() for name, tensor in classifier.state().items()}
    content = {"dataset": setting[0], "regime": setting[1], "paradigm": setting[2], "seed": seed, "dropout": dropout}
    content |= {"val_score": classifier.val_score, "tensors": lab.store.put_tensors(key, arrays)}
    if stated := told(classifier):
        content["shown"] = stated
    clock = {"seconds": time.perf_counter() - began, "environment": lab.environment, "engine": engine_of(classifier)}
    lab.store.put(key, content, clock)
    journal.close()


def ceiling_key(lab: Lab, setting: Setting, seed: int) -> str:
    """Name of the record of a full-data classifier."""
    return f"shared/ceiling/{digest([*setting, seed, *lab.store.retries(setting)], 16)}"


def train_ceiling(lab: Lab, setting: Setting, seed: int) -> None:
    """Train on every label of the train part: what the best possible budget could reach with the setting's HPs."""
    began = time.perf_counter()
    start, key = grounded(lab, setting, lab.start_at(setting, seed)), ceiling_key(lab, setting, seed)
    oracle, _ = start.open()
    everything = Labeled(start.train_ids.tolist(), oracle.label(start.train_ids).tolist())
    dropout = base_dropout(lab.paradigm(setting[2]))
    streams, hparams = Streams(seed, start.regime.rounds), chosen(lab, setting)
    classifier, journal = _fit(lab, setting, start, everything, streams, dropout, key, hparams)
    metrics, recalls = test(start, classifier, dropout)
    content = {"dataset": setting[0], "regime": setting[1], "paradigm": setting[2], "seed": seed}
    content |= {"budget": len(everything), "hparams": hparams, "metrics": metrics, "recalls": recalls}
    clock = {"seconds": time.perf_counter() - began, "environment": lab.environment}
    lab.store.put(key, content, clock)
    journal.close()


def _train(
    lab: Lab,
    spec: RunSpec,
    start: Start,
    labeled: Labeled,
    dropout: float,
    streams: Streams,
    hparams: dict[str, Any],
) -> tuple[Classifier, FileJournal]:
    """This round's classifier; that of round 0 is the one that the methods of the seed share."""
    if streams.round:
        what = f"{lab.store.run_name(spec)}/round-{streams.round:02d}"
        return _fit(lab, spec.setting, start, labeled, streams, dropout, what, hparams)
    key = first_key(lab, spec.setting, spec.seed, dropout)
    found = lab.store.get(key)
    arrays = lab.store.get_tensors(key, found[0]["tensors"]) if found else None
    if found is None or arrays is None:
        train_first(lab, spec.setting, spec.seed, dropout)
        return _train(lab, spec, start, labeled, dropout, streams, hparams)
    state = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    precise = {name: str(value) for name, value in chosen(lab, spec.setting).items() if name == "precision"}
    classifier = lab.paradigm(spec.paradigm).restore(start.task(labeled), state, dropout=dropout, **precise)
    classifier.val_score = found[0]["val_score"]
    classifier.shown = found[0].get("shown", {})
    return classifier, lab.journal(key, "")


def _fit(
    lab: Lab,
    setting: Setting,
    start: Start,
    labeled: Labeled,
    streams: Streams,
    dropout: float,
    what: str,
    hparams: dict[str, Any],
) -> tuple[Classifier, FileJournal]:
    """Train, or go on with a training that was killed; the journal is closed when its result is committed."""
    paradigm, task = lab.paradigm(setting[2]), start.task(labeled)
    journal = lab.journal(what, [hparams, dropout, labeled.ids])
    state = state_of(lab, setting, start.seed)
    return paradigm.fit(task, hparams, state, streams, dropout=dropout, journal=journal.facade()), journal
