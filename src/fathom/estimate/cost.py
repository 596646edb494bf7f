"""Cost of jobs: seconds at known rates, labels, disk space, memory."""

from collections.abc import Iterable
from functools import cache

import numpy as np

from fathom.core.records import LabelRegime, RunSpec, Setting, Study
from fathom.core.work import WorkKind
from fathom.engine.jobs import Job
from fathom.estimate.throughput import Throughput, speed_name
from fathom.protocol.context import WorkerContext
from fathom.protocol.dropout import dropout_of
from fathom.query.method import build_query
from fathom.registry.dataset_identity import dataset_identity
from fathom.registry.spec_string import parse
from fathom.store.store import Store

ROUND_BYTES = 2_500  # a committed round without what it queried (measured)
QUERIED_BYTES = 40  # one queried sample: id, class, score (measured)
FEATURES = 512  # numbers per sample that a query method may hold of the pool (ResNet-18)
LARGE = 96  # pixels
AXES = ("dataset", "regime", "paradigm")


def labels_of(context: WorkerContext, spec: RunSpec, regime: LabelRegime) -> int:
    """Number of labels that one run buys, including its validation set."""
    split = context.split_of(spec)
    return len(split.val_ids) + min(regime.final, len(split.train_ids))


def run_bytes(regime: LabelRegime) -> int:
    """Size of a finished run on disk, in bytes."""
    return regime.rounds * ROUND_BYTES + (regime.rounds - 1) * regime.query_size * QUERIED_BYTES


def predictions_bytes(study: Study, context: WorkerContext, jobs: Iterable[Job]) -> int:
    """Size of the test predictions that rounds keep, in bytes: float16, and one file for a round 0 that runs share."""
    total = 0
    for job in jobs:
        d = context.dataset(job.setting.dataset)
        rounds = context.split_at(job.setting, max(job.seed, 0)).regime.rounds
        numbers = {WorkKind.ROUND_0: range(1), WorkKind.RUN: range(1, rounds)}.get(job.kind, range(0))
        total += sum(study.keeps(number, rounds) for number in numbers) * 2 * len(d.test_labels) * d.num_classes
    return total


def kept_bytes(jobs: Iterable[Job], speeds: dict[str, Throughput]) -> int:
    """Size of the stored round-0 classifiers and encoders, in bytes."""
    kept = (speed_name(job.setting) for job in jobs if job.kind in (WorkKind.ROUND_0, WorkKind.PRETRAIN))
    return sum(speeds[name].weights for name in kept if name in speeds)


def memory_bytes(context: WorkerContext, specs: Iterable[RunSpec]) -> int:
    """Peak memory of a worker without the training step: images, predictions and features of the pool, in bytes.

    Images of `LARGE` pixels or more are memory maps or decoded in batches, so they are not counted.
    """
    most = 0
    for name in {spec.dataset for spec in specs}:
        d = context.dataset(name)
        held = [i for i in (d.images, d.test_images) if min(i.size) < LARGE]
        pixels = sum(len(i) * 3 * int(np.prod(i.size)) for i in held)
        most = max(most, pixels + 4 * (len(d.labels) - d.val_split) * (FEATURES + d.num_classes))
    return most


def by_axis(specs: Iterable[RunSpec], jobs: Iterable[Job], store: Store) -> dict[str, dict[str, dict[str, int]]]:
    """Count experiments and trainings, before and after sharing round 0, by dataset, regime and paradigm.

    A dataset is what counts as one (`dataset_identity`), so two folders are two.
    """
    found: dict[str, dict[str, dict[str, int]]] = {axis: {} for axis in AXES}

    def add(setting: Setting, **counts: int) -> None:
        for axis, text in zip(AXES, setting, strict=True):
            zero = {"experiments": 0, "trainings": 0, "trainings_shared": 0}
            row = found[axis].setdefault(dataset_identity(text) if axis == "dataset" else parse(text).name, zero)
            for key, count in counts.items():
                row[key] += count

    for spec in specs:
        regime = store.regime(spec)
        add(spec.setting, experiments=1, trainings=regime.rounds if regime else 0)
    for job in jobs:
        if job.kind in (WorkKind.ROUND_0, WorkKind.RUN):
            add(job.setting, trainings_shared=job.trainings(store) - job.retunings)
    return found


def seconds_of(context: WorkerContext, job: Job, speeds: dict[str, Throughput]) -> float:
    """Expected seconds of a job on one worker: images trained on and predicted, at the known rates."""
    if job.kind == WorkKind.HP_CHOICE:
        return 0.0
    paradigm, split = context.paradigm(job.setting.paradigm), context.split_at(job.setting, max(job.seed, 0))
    speed, regime, d = speeds[speed_name(job.setting)], split.regime, split.dataset
    if job.kind == WorkKind.PRETRAIN:
        return paradigm.pretraining_images(context.train_split(job.setting.dataset, job.seed).unlabeled) / speed.prepare
    if job.kind == WorkKind.FEATURES:
        return (len(d.labels) + len(d.test_labels)) / speed.embed
    validation_images = paradigm.validation_images(len(split.val_ids))
    if job.kind != WorkKind.RUN:
        labels = len(split.train_ids) if job.kind == WorkKind.FULL_DATA else regime.start
        return paradigm.training_images(labels) / speed.train + validation_images / speed.predict
    budgets = [regime.start + i * regime.query_size for i in range(1, regime.rounds)]
    seconds = sum(
        paradigm.training_images(budget) / speed.train + validation_images / speed.predict for budget in budgets
    )
    if job.retunings:
        middle = paradigm.training_images((regime.start + regime.final) // 2)  # the rounds themselves change little
        seconds += job.retunings * (middle / speed.train + validation_images / speed.predict)
    method = _method(job.query)
    predicted = regime.rounds * len(d.test_labels)
    if method.predictions:
        predicted += (regime.rounds - 1) * len(split.train_ids)
    # Heads repeated for dropout draws cost little compared with the encoder (factor 1.1); queries are not probed.
    return seconds + predicted / speed.predict * (1.1 if dropout_of(paradigm, method) else 1.0)


_method = cache(build_query)
