"""Estimate of a study before it runs: trainings before and after sharing, labels, disk space, time from a probe."""

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fathom.core.durations import duration
from fathom.core.html import html_table
from fathom.core.machine import Machine
from fathom.core.records import FathomError, Study, grouped, unique
from fathom.core.work import WorkKind
from fathom.design.remarks import remarks
from fathom.engine.engine import data_root, default_workers
from fathom.engine.preflight import prepare
from fathom.estimate.alternatives import LONG, alternatives
from fathom.estimate.cost import by_axis, kept_bytes, labels_of, memory_bytes, predictions_bytes, run_bytes, seconds_of
from fathom.estimate.profile import Profile, load_profile, write_profile
from fathom.estimate.throughput import Throughput, measure_speeds, speed_name
from fathom.machine.environment import find_device
from fathom.protocol.context import WorkerContext
from fathom.registry.spec_string import parse
from fathom.store.unwritten import UnwrittenStore


@dataclass(frozen=True)
class Plan:
    """Estimate of a study.

    Args:
        study: Its name.
        experiments: Runs: dataset x regime x paradigm x query method x seed.
        trainings: Trainings of the runs without sharing.
        trainings_shared: Trainings if the query methods of a seed share round 0.
        trainings_search: Trainings of the HP search.
        trainings_retune: Trainings of HP searches within runs, for paradigms that retune.
        trainings_full_data: Full-data trainings.
        pretrainings: Encoders trained without labels; all runs of a dataset and seed share one.
        embeddings: Passes of a backbone over a whole dataset.
        labels: Labels that all runs buy, including validation sets; every run pays for itself.
        labels_a_run: Labels of the most expensive run.
        disk_bytes: Size of the finished store; without known rates it excludes the round-0 classifiers.
        predictions_bytes: Size of the test predictions in it, which rounds keep as the study's `keep` says.
        memory_bytes: Peak memory of a worker without the training step (`cost.memory_bytes`).
        seconds: Time with `workers` at the known rates; None if a rate is unknown.
        faster: Faster variants of a study of more than three hours, in words, with their seconds.
        workers: Worker processes that the time is for.
        device: Device that trains.
        rates: Images per second in training and prediction, by `dataset, paradigm`.
        test_images: Dataset -> images of its test split.
        rounds: Regime -> rounds of a run.
        by: `dataset`, `regime` and `paradigm` -> name -> experiments, trainings, trainings_shared.
        notes: Limits of the design, and how the plan was made.
        proof: Statistical power (`design.power.PowerAnalysis`).
        proof_lines: Statistical power, for people.
    """

    study: str
    experiments: int
    trainings: int
    trainings_shared: int
    trainings_search: int
    trainings_retune: int
    trainings_full_data: int
    pretrainings: int
    embeddings: int
    labels: int
    labels_a_run: int
    disk_bytes: int
    predictions_bytes: int
    memory_bytes: int
    seconds: float | None
    workers: int
    device: str
    rates: dict[str, dict[str, float]]
    test_images: dict[str, int]
    rounds: dict[str, int]
    by: dict[str, dict[str, dict[str, int]]]
    faster: list[tuple[str, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    proof: dict[str, Any] = field(default_factory=dict)
    proof_lines: list[tuple[str, str]] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Number of all trainings."""
        beside = self.trainings_search + self.trainings_retune + self.trainings_full_data + self.pretrainings
        return self.trainings_shared + beside

    def to_json(self) -> dict[str, Any]:
        """Plain values for scripts."""
        return {key: value for key, value in self.__dict__.items() if key != "proof_lines"}

    def lines(self) -> list[tuple[str, str]]:
        """The estimate for people: (label, value)."""
        shared = f"{self.trainings_shared} after sharing round 0 ({self.trainings} without)"
        again = f", {self.trainings_retune} to search again within runs" if self.trainings_retune else ""
        search = f"{self.trainings_search} to search HPs{again}"
        rows = [
            ("runs", str(self.experiments)),
            ("trainings", f"{shared}, {search}, {self.trainings_full_data} on all labels"),
            *([("pre-training", f"{self.pretrainings} encoders, without labels")] if self.pretrainings else []),
            *([("features", f"{self.embeddings} x a whole dataset, computed once")] if self.embeddings else []),
            ("labels", f"{self.labels_a_run} at most by one run, {self.labels} by all runs"),
            ("disk", f"{self.disk_bytes / 1e6:.0f} MB, {self.predictions_bytes / 1e6:.1f} MB of it test predictions"),
            ("memory", f"{self.memory_bytes / 1e6:.0f} MB per worker at most, without the training step"),
        ]
        if self.seconds is not None:
            rows.append(("time", f"about {duration(self.seconds)} with {self.workers} workers on {self.device}"))
        rows += [("  or instead", f"about {duration(seconds)} with {words}") for words, seconds in self.faster]
        rows += [(f"  {name}", f"{r['train']:.0f} images/s training, {r['predict']:.0f} predicting") for name, r in
                 self.rates.items()]  # fmt: skip
        for axis, names in self.by.items():
            rows += [(f"  {axis} {name}", f"{row['experiments']} runs, {row['trainings_shared']} trainings "
                      f"({row['trainings']})") for name, row in names.items() if len(names) > 1]  # fmt: skip
        return rows + self.proof_lines + [("note", note) for note in self.notes]

    def _repr_html_(self) -> str:
        return html_table(self.lines(), caption=self.study)


def estimate_plan(
    study: Study,
    *,
    workers: int | None = None,
    probe: bool = True,
    profile: str | Path | None = None,
    save_profile: Path | None = None,
    machine: Machine = Machine(),
) -> Plan:
    """Count a study's work and, with `probe`, time some seconds of it on this machine.

    A dataset whose files are absent is planned by its official sizes, where these are known, and is not timed.

    Args:
        study: The study.
        workers: Worker processes that the time is divided by; None: as `run`.
        probe: Measure training and prediction on this machine for a few seconds.
        profile: Stored profile to use instead of a probe (`estimate.profile`): its name or file.
        save_profile: File to write the measured rates to.
        machine: Data, device and threads of the run.

    Raises:
        FathomError: Study, data or a regime do not fit, as for `run`.
    """
    where = find_device(machine.device)
    known = load_profile(profile) if profile else None
    # On the CPU, as the parent of workers: a dataset is on the device only while it is timed there.
    store = UnwrittenStore("plan", reads=False)
    context = WorkerContext(store, data_root(machine), torch.device("cpu"), sketched={})
    jobs = prepare(study, context)
    sketched, notes = context.sketched or {}, []
    if sketched:
        notes.append(f"planned by official sizes, without the files: {', '.join(sketched)}")
    speeds = _speeds(context, study, known, machine.threads, where) if known or probe else {}
    unknown = unique(speed_name(s) for s in study.settings if speed_name(s) not in speeds)
    if unknown and (probe or known):
        notes.append(
            f"no rate is known for {'; '.join(unknown)}, so no time is given; try a stored profile: --profile h200"
        )
    if save_profile:
        _save(context, {} if known else speeds, study, save_profile, where)
    count = default_workers(where, machine.threads) if workers is None else max(1, workers)  # 0 means this process
    count = 1 if known and workers is None else count
    regimes = {spec: context.split_of(spec).regime for spec in study.runs}
    fitted = grouped((spec.setting, regime) for spec, regime in regimes.items())
    notes += remarks(study.settings, fitted)
    labels = [labels_of(context, spec, regime) for spec, regime in regimes.items()]
    work, kept = Counter(job.kind for job in jobs), predictions_bytes(study, context, jobs)
    seconds = None if unknown else sum(seconds_of(context, job, speeds) for job in jobs) / max(1, min(count, len(jobs)))
    faster: list[tuple[str, float]] = []
    if seconds is not None and seconds > LONG and not sketched:
        measure = partial(_speeds, known=known, threads=machine.threads, device=where)
        found = alternatives(study, context, lambda variant: measure(context, variant), count)
        faster = [(words, time) for words, time in found if time < seconds / 2]
    again = sum(job.retunings for job in jobs)
    return Plan(
        study=study.name,
        experiments=len(study.runs),
        trainings=sum(regime.rounds for regime in regimes.values()),
        trainings_shared=sum(j.trainings(store) for j in jobs if j.kind in (WorkKind.ROUND_0, WorkKind.RUN)) - again,
        trainings_search=work[WorkKind.HP_SEARCH],
        trainings_retune=again,
        trainings_full_data=work[WorkKind.FULL_DATA],
        pretrainings=work[WorkKind.PRETRAIN],
        embeddings=work[WorkKind.FEATURES],
        labels=sum(labels),
        labels_a_run=max(labels, default=0),
        disk_bytes=sum(map(run_bytes, regimes.values())) + kept_bytes(jobs, speeds) + kept,
        predictions_bytes=kept,
        memory_bytes=memory_bytes(context, study.runs),
        seconds=seconds,
        workers=count,
        device=known.name if known else _name(where),
        rates={name: {"train": s.train, "predict": s.predict} for name, s in speeds.items()},
        test_images={
            name: len(context.dataset(name).test_images) for name in unique(s.dataset for s in study.settings)
        },
        rounds={spec.regime: regime.rounds for spec, regime in regimes.items()},
        by=by_axis(study.runs, jobs, store),
        faster=faster,
        notes=notes,
    )


def _speeds(
    context: WorkerContext, study: Study, known: Profile | None, threads: int, device: torch.device
) -> dict[str, Throughput]:
    """Rates by name: those of a stored profile, else measured for the datasets whose files are here."""
    if known:
        given = {speed_name(s): known.speed(context.dataset(s.dataset), s.paradigm) for s in study.settings}
        return {name: speed for name, speed in given.items() if speed}
    here = [setting for setting in study.settings if setting.dataset not in (context.sketched or {})]
    speeds: dict[str, Throughput] = {}
    for name in unique(setting.dataset for setting in here):
        timing = (
            context if device.type == "cpu" else replace(context, device=device, featured={}, _datasets={}, _splits={})
        )
        speeds |= measure_speeds(timing, [setting for setting in here if setting.dataset == name], threads)
    return speeds


def _save(
    context: WorkerContext, measured: dict[str, Throughput], study: Study, path: Path, device: torch.device
) -> None:
    if not measured:
        raise FathomError(
            "--save-profile needs measured rates, and nothing was measured: leave out --no-probe and --profile, and "
            "name the folder of the datasets with --data"
        )
    rows = {}
    for setting in study.settings:
        if speed := measured.get(speed_name(setting)):
            rows[parse(setting.paradigm).name, min(context.dataset(setting.dataset).images.size)] = speed
    write_profile(path, f"{_name(device)} (measured)", rows)


def _name(device: torch.device) -> str:
    return str(device) if device.type != "cuda" else torch.cuda.get_device_name(device)
