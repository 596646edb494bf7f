"""What a study takes before it is run: trainings before and after sharing, labels, disk, time by a short probe."""

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fathom.query.method import build as build_method
from fathom.records import LabelRegime, RunSpec, Study
from fathom.run.backends import data_root, default_workers
from fathom.run.dropout import dropout_of
from fathom.run.environment import find_device
from fathom.run.groundwork import Ground
from fathom.run.jobs import Job, trainings
from fathom.run.lab import Lab
from fathom.run.prepare import prepare
from fathom.run.speed import Speed, measure_speeds, speed_name
from fathom.spans import duration
from fathom.store import Store

ROUND_BYTES = 2_500  # a committed round without what it queried (measured)
QUERIED_BYTES = 40  # one queried sample: id, class, score (measured)


@dataclass(frozen=True)
class Plan:
    """What a study takes.

    Args:
        study: Its name.
        experiments: Runs: dataset x regime x paradigm x query method x seed.
        trainings: Trainings of the runs if nothing were shared.
        trainings_shared: The same, round 0 shared by the query methods of a seed.
        trainings_search: Trainings that choose the HPs.
        trainings_ceiling: Full-data trainings.
        pretrainings: Encoders that are trained without labels; each is shared by all runs of its dataset and seed.
        embeddings: Times that a backbone goes over a whole dataset.
        labels: Labels that all runs would buy, validation sets included; each run pays for itself.
        labels_a_run: The same for the most expensive run.
        disk_bytes: Size of the finished store; without a probe, without the round-0 classifiers.
        seconds: Time on this machine with `workers`, from the probe; None without one.
        workers: Worker processes the time is for.
        device: What would train.
        rates: Measured images a second, by `dataset, paradigm`: training and prediction.
        notes: What the design cannot show, and the like.
        proves: What the design can prove (`fathom.study.power.Proof`); empty where nobody reckoned it.
    """

    study: str
    experiments: int
    trainings: int
    trainings_shared: int
    trainings_search: int
    trainings_ceiling: int
    pretrainings: int
    embeddings: int
    labels: int
    labels_a_run: int
    disk_bytes: int
    seconds: float | None
    workers: int
    device: str
    rates: dict[str, dict[str, float]]
    notes: list[str] = field(default_factory=list)
    proves: dict[str, Any] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All trainings that will be done."""
        return self.trainings_shared + self.trainings_search + self.trainings_ceiling + self.pretrainings

    def lines(self) -> list[tuple[str, str]]:
        """(label, value) for a person."""
        shared = f"{self.trainings_shared} after sharing round 0 ({self.trainings} without)"
        rows = [
            ("runs", str(self.experiments)),
            ("trainings", f"{shared}, {self.trainings_search} to choose HPs, {self.trainings_ceiling} on all labels"),
            *([("pre-training", f"{self.pretrainings} encoders, without labels")] if self.pretrainings else []),
            *([("features", f"of {self.embeddings} datasets, once each")] if self.embeddings else []),
            ("labels", f"{self.labels_a_run} at most by one run, {self.labels} by all runs, each paying for itself"),
            ("disk", f"{self.disk_bytes / 1e6:.0f} MB"),
        ]
        if self.seconds is not None:
            rows.append(("time", f"about {duration(self.seconds)} with {self.workers} workers on {self.device}"))
        rows += [(f"  {name}", f"{r['train']:.0f} images/s training, {r['predict']:.0f} predicting") for name, r in
                 self.rates.items()]  # fmt: skip
        return rows + [("note", note) for note in self.notes]


def make_plan(
    study: Study,
    *,
    data: str | Path | None = None,
    download: bool = False,
    device: str = "auto",
    workers: int | None = None,
    probe: bool = True,
) -> Plan:
    """Count a study's work and, with `probe`, time some seconds of it on this machine.

    Raises:
        FathomError: Study, data or a regime do not fit; the same checks as before a run.
    """
    where = find_device(device)
    count = default_workers(where, 1) if workers is None else max(1, workers)  # 0: this process, which is one
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "plan")
        store.begin(study)
        lab = Lab(store, data_root(data, download=download), where)
        jobs = prepare(study, lab)
        regimes = {spec: lab.start_of(spec).regime for spec in study.runs}
        work = Counter(job.kind for job in jobs)
        speeds = measure_speeds(lab, study) if probe else {}
        return Plan(
            study=study.name,
            experiments=len(study.runs),
            trainings=sum(regime.rounds for regime in regimes.values()),
            trainings_shared=sum(trainings(j, store) for j in jobs if j.kind in ("first", "run")),
            trainings_search=work["search"],
            trainings_ceiling=work["ceiling"],
            pretrainings=work["prepare"],
            embeddings=work["embed"],
            labels=sum(_labels(lab, spec, r) for spec, r in regimes.items()),
            labels_a_run=max((_labels(lab, spec, r) for spec, r in regimes.items()), default=0),
            disk_bytes=sum(_run_bytes(r) for r in regimes.values()) + (_weights(jobs, speeds) if probe else 0),
            seconds=sum(_seconds(lab, job, speeds) for job in jobs) / max(1, min(count, len(jobs))) if probe else None,
            workers=count,
            device=str(where) if where.type != "cuda" else torch.cuda.get_device_name(where),
            rates={name: {"train": s.train, "predict": s.predict} for name, s in speeds.items()},
        )


def _labels(lab: Lab, spec: RunSpec, regime: LabelRegime) -> int:
    """Labels one run buys, its validation set included."""
    start = lab.start_of(spec)
    return len(start.val_ids) + min(regime.final, len(start.train_ids))


def _run_bytes(regime: LabelRegime) -> int:
    return regime.rounds * ROUND_BYTES + (regime.rounds - 1) * regime.query_size * QUERIED_BYTES


def _weights(jobs: list[Job], speeds: dict[str, Speed]) -> int:
    """Bytes of the round-0 classifiers and encoders that are kept."""
    return sum(speeds[speed_name(job.setting)].weights for job in jobs if job.kind in ("first", "prepare"))


def _seconds(lab: Lab, job: Job, speeds: dict[str, Speed]) -> float:
    """Expected seconds of a job on one worker: images trained on and predicted, at the measured rates."""
    if job.kind == "choose":
        return 0.0
    paradigm, start = lab.paradigm(job.setting[2]), lab.start_at(job.setting, max(job.seed, 0))
    speed, regime, d = speeds[speed_name(job.setting)], start.regime, start.dataset
    if job.kind == "prepare":
        return paradigm.preparing(Ground.of(lab, job.setting[0], job.seed).unlabeled) / speed.prepare
    if job.kind == "embed":
        return (len(d.labels) + len(d.test_labels)) / speed.embed
    validated = paradigm.validated(len(start.val_ids))
    if job.kind != "run":
        labels = len(start.train_ids) if job.kind == "ceiling" else regime.start
        return paradigm.images(labels) / speed.train + validated / speed.predict
    budgets = [regime.start + i * regime.query_size for i in range(1, regime.rounds)]
    seconds = sum(paradigm.images(budget) / speed.train + validated / speed.predict for budget in budgets)
    method = build_method(job.query)
    predicted = regime.rounds * len(d.test_labels)
    if method.predictions:
        predicted += (regime.rounds - 1) * len(start.train_ids)
    # Heads repeated for dropout draws cost little beside the encoder; the query itself is not probed.
    return seconds + predicted / speed.predict * (1.1 if dropout_of(paradigm, method) else 1.0)
