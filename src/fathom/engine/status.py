"""Progress of a study, from its folder alone: jobs by state, workers, rate, and the time that is left.

Torch-free and without data: the list of jobs is in the store (`engine.heartbeat`), the results in its records, and the
duration of a job in their clock readings.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fathom.core.records import Round, RunSpec, Setting
from fathom.core.work import WorkKind
from fathom.engine import heartbeat
from fathom.store.store import Store

ListedJob = Mapping[str, Any]  # a job, as the store lists it
Clocks = Mapping[str, list[float]]  # name of a job -> seconds of each of its committed records
STATES = ("done", "running", "waiting", "blocked", "failed")


@dataclass(frozen=True)
class Status:
    """Progress of a study.

    Args:
        jobs: State -> number of jobs: `done`, `running`, `waiting`, `blocked` (by one that failed), `failed`.
        kinds: Kind of job -> the same.
        trainings, of: Trainings committed; trainings of the study.
        workers: One row per live worker: host, pid, device, what, seconds at it, trainings, trainings per hour.
        hourly: Trainings per hour of one worker, by the clock readings of what is committed; None before the first.
        seconds_left: With the workers that are busy now, or one where there is none; None before the first training.
        left_for: Number of workers that `seconds_left` is for.
        reasons: Name of a failed job -> why it failed.
    """

    jobs: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, dict[str, int]] = field(default_factory=dict)
    trainings: int = 0
    of: int = 0
    workers: list[dict[str, Any]] = field(default_factory=list)
    hourly: float | None = None
    seconds_left: float | None = None
    left_for: int = 1
    reasons: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON-plain."""
        return asdict(self)


def status_of(store: Store, rounds: Mapping[RunSpec, list[Round]] | None = None) -> Status | None:
    """Read the progress of the study in a store; None where its list of jobs is absent.

    Args:
        store: The store; nothing in it is moved.
        rounds: The committed rounds per run, where they have been read already.
    """
    if not (jobs := heartbeat.read_jobs(store)):
        return None
    clocks = _clocks(store, jobs, rounds)
    workers, failures = heartbeat.live_workers(store), store.failures()
    busy = [worker for worker in workers if worker["doing"]]
    done = {job["name"] for job in jobs if len(clocks.get(job["name"], [])) >= _record_count(job)}
    states = _states(jobs, done, {worker["doing"] for worker in busy}, {failure["job"] for failure in failures})
    kinds: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(STATES, 0))
    for job in jobs:
        kinds[job["kind"]][states[job["name"]]] += 1

    retuned = {job["name"]: committed_searches(store, job["name"]) for job in jobs if _retunings(job)}
    committed, spans = 0, []  # spans: seconds of each committed training
    for job in jobs:
        # The first record of a run is its round 0, whose training is a job of its own.
        records = clocks.get(job["name"], [])[job["kind"] == WorkKind.RUN :]
        committed += min(len(records) + retuned.get(job["name"], 0), job["trainings"])
        spans += records if job["trainings"] else []
    mean = statistics.fmean(spans) if spans else 0.0

    open_jobs = [job for job in jobs if states[job["name"]] not in ("done", "blocked")]
    left, count = _seconds_left(open_jobs, jobs, clocks), max(1, len(busy))
    return Status(
        jobs={state: sum(of[state] for of in kinds.values()) for state in STATES},
        kinds=dict(kinds),
        trainings=committed,
        of=sum(job["trainings"] for job in jobs),
        workers=[_worker_row(worker) for worker in workers],
        hourly=3600 / mean if mean > 0 else None,
        seconds_left=None if left is None else left / count,
        left_for=count,
        reasons={f["job"]: f["message"] for f in failures if states.get(f["job"]) == "failed"},
    )


def _clocks(store: Store, jobs: list[dict[str, Any]], rounds: Mapping[RunSpec, list[Round]] | None) -> Clocks:
    """Read the seconds of each committed record, by job."""
    specs = {store.run_name(spec): spec for spec in store.study.runs}
    clocks: dict[str, list[float]] = {}
    for job in jobs:
        name = job["name"]
        if job["kind"] != WorkKind.RUN:
            if record := store.get(name):
                clocks[name] = [float(record[1].get("seconds", 0.0))]
        elif spec := specs.get(name):  # absent while the list is of the study before a retry or an extension
            found = store.rounds(spec) if rounds is None else rounds.get(spec, [])
            clocks[name] = [record.seconds.get("total", 0.0) for record in found]
    return clocks


def _record_count(job: ListedJob) -> int:
    """Number of records that a job commits: of a run its rounds.

    That is one more than its trainings, as round 0 is shared, without those that search HPs again within the run.
    """
    return int(job["trainings"]) - _retunings(job) + 1 if job["kind"] == WorkKind.RUN else 1


def committed_searches(store: Store, run: str) -> int:
    """Count the stored trainings of the HP searches within a run, by the name of its folder."""
    pattern = f"{run.removeprefix('runs/')}-[0-9][0-9]-*.json"
    names = (path.stem for path in (store.root / WorkKind.RETUNE_SEARCH.folder).glob(pattern))
    return sum(store.get(WorkKind.RETUNE_SEARCH.record(name)) is not None for name in names)


def _retunings(job: ListedJob) -> int:
    return int(job.get("retunings", 0))


def _states(jobs: list[dict[str, Any]], done: set[str], doing: set[str], failed: set[str]) -> dict[str, str]:
    """State per job. One pass is enough, as the list has what a job needs before the job."""
    states: dict[str, str] = {}
    for job in jobs:
        name = job["name"]
        if name in done:
            states[name] = "done"
        elif name in doing:
            states[name] = "running"
        elif name in failed:
            states[name] = "failed"
        else:
            stuck = any(states.get(need) in ("failed", "blocked") for need in job["needs"])
            states[name] = "blocked" if stuck else "waiting"
    return states


def _seconds_left(open_jobs: list[dict[str, Any]], jobs: list[dict[str, Any]], clocks: Clocks) -> float | None:
    """Seconds that one worker needs for the open jobs, by the durations so far; None before the first training.

    A training is expected to take the mean of the most similar ones that are committed (see `_similarity_keys`).
    """
    if not open_jobs:
        return 0.0
    if not any(job["trainings"] and clocks.get(job["name"]) for job in jobs):
        return None
    seen: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for job in jobs:
        for number, seconds in enumerate(clocks.get(job["name"], [])):
            for key in _similarity_keys(job, number):
                seen[key].append(seconds)
    means = {key: statistics.fmean(spans) for key, spans in seen.items()}
    left = 0.0
    for job in open_jobs:
        for number in range(len(clocks.get(job["name"], [])), _record_count(job)):
            keys = _similarity_keys(job, number)
            if not WorkKind(job["kind"]).is_training and keys[1] not in means:
                continue  # features and choices are no trainings; before the first in a setting their length is unknown
            left += next(means[key] for key in keys if key in means)
    return left


def _similarity_keys(job: ListedJob, number: int) -> list[tuple[Any, ...]]:
    """Groups of records that predict the duration of a job's record `number`, the most similar group first.

    That is: the same query method and round in the setting, else the same round, else the same kind of job, else the
    kind in the paradigm, else any training of the paradigm, else any training.
    """
    kind, setting = job["kind"], Setting(*job["setting"])
    work = "training" if WorkKind(kind).is_training else kind
    return [
        (kind, setting, job["query"], number),
        (kind, setting, number),
        (kind, setting),
        (kind, setting.paradigm),
        (work, setting.paradigm),
        (work,),
    ]


def _worker_row(beat: Mapping[str, Any]) -> dict[str, Any]:
    """One row on a worker, from its heartbeat."""
    now = time.time()
    seconds = now - beat["doing_since"] if beat["doing"] else 0.0
    alive = max(1e-9, now - beat["since"])
    row = {key: beat[key] for key in ("host", "pid", "device", "what", "trainings", "failed")}
    return row | {"seconds": seconds, "hourly": beat["trainings"] * 3600 / alive}
