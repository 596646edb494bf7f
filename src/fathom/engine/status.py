"""How far a study is, from its folder alone: jobs by state, who is at work, the rate, and the time that is left.

Torch-free and without data: the list of jobs is in the store (`engine.heartbeat`), what is done in its records, and how
long a job takes in their clock readings.
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

Task = dict[str, Any]  # a job, as the store lists it
STATES = ("done", "running", "waiting", "blocked", "failed")


@dataclass(frozen=True)
class Status:
    """How far a study is.

    Args:
        jobs: State -> number of jobs: `done`, `running`, `waiting`, `blocked` (by one that failed), `failed`.
        kinds: Kind of job -> the same.
        trainings, of: Trainings committed; those of the study.
        workers: Who is at work: host, pid, device, what, seconds at it, trainings, trainings an hour.
        hourly: Trainings an hour that one worker does, by the clock readings of what is committed; None without any.
        seconds_left: With the workers that are here now, or one where there is none; None where no job is done yet.
        left_for: Workers that `seconds_left` is for.
        reasons: Name of a job that failed -> why.
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
    """How far the study in a store is; None where its list of jobs is not there.

    Args:
        store: Where to look. Nothing in it is moved.
        rounds: The committed rounds by run, where they have been read already.
    """
    if not (jobs := heartbeat.read_jobs(store)):
        return None
    specs = {store.run_name(spec): spec for spec in store.study.runs}
    clocks: dict[str, list[float]] = {}  # job -> seconds of each of its trainings that is committed
    for job in jobs:
        if job["kind"] == WorkKind.RUN:
            spec = specs.get(job["name"])  # None while the list is of an earlier form of the study
            found = [] if spec is None else store.rounds(spec) if rounds is None else rounds.get(spec, [])
            clocks[job["name"]] = [r.seconds.get("total", 0.0) for r in found]
        elif record := store.get(job["name"]):
            clocks[job["name"]] = [float(record[1].get("seconds", 0.0))]
    done = {j["name"] for j in jobs if len(clocks.get(j["name"], [])) >= _parts(j)}
    workers = heartbeat.live_workers(store)
    states = _states(jobs, done, {w["doing"] for w in workers}, {f["job"] for f in store.failures()})
    kinds: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(STATES, 0))
    for job in jobs:
        kinds[job["kind"]][states[job["name"]]] += 1
    committed = sum(
        min(max(0, len(clocks.get(j["name"], [])) - (j["kind"] == WorkKind.RUN)), j["trainings"]) for j in jobs
    )
    spans = [s for j in jobs if j["trainings"] for s in clocks.get(j["name"], [])[j["kind"] == WorkKind.RUN :]]
    busy = [w for w in workers if w["doing"]]
    left = _left([j for j in jobs if j["name"] not in done and states[j["name"]] != "blocked"], jobs, clocks)
    count = max(1, len(busy))
    return Status(
        jobs={state: sum(of[state] for of in kinds.values()) for state in STATES},
        kinds=dict(kinds),
        trainings=committed,
        of=sum(j["trainings"] for j in jobs),
        workers=[_worker(w) for w in workers],
        hourly=3600 / mean if spans and (mean := statistics.fmean(spans)) > 0 else None,
        seconds_left=None if left is None else left / count,
        left_for=count,
        reasons={f["job"]: f["message"] for f in store.failures() if states.get(f["job"]) == "failed"},
    )


def _parts(job: Mapping[str, Any]) -> int:
    """Records that a job commits: a run its rounds, which are one more than its trainings."""
    return int(job["trainings"]) + 1 if job["kind"] == WorkKind.RUN else 1


def _states(jobs: list[dict[str, Any]], done: set[str], doing: set[str], failed: set[str]) -> dict[str, str]:
    """State of each job; the list is such that what a job needs comes before it."""
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


def _left(
    open_jobs: list[dict[str, Any]], jobs: list[dict[str, Any]], clocks: Mapping[str, list[float]]
) -> float | None:
    """Seconds of one worker that the open jobs take, at what such jobs have taken here; None while nothing has.

    A training is thought to take as long as those of the same round in the same setting did, else as those of the same
    kind in the setting, else as those of the same paradigm, else as all.
    """
    seen: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for job in jobs:
        for number, seconds in enumerate(clocks.get(job["name"], [])):
            for key in _keys(job, number):
                seen[key].append(seconds)
    if not open_jobs:
        return 0.0
    means = {key: statistics.fmean(spans) for key, spans in seen.items()}
    if not any(job["trainings"] and clocks.get(job["name"]) for job in jobs):
        return None
    left = 0.0
    for job in open_jobs:
        for number in range(len(clocks.get(job["name"], [])), _parts(job)):
            if not WorkKind(job["kind"]).is_training and _keys(job, number)[1] not in means:
                continue  # no training, and of no known length
            left += next(means[key] for key in _keys(job, number) if key in means)
    return left


def _keys(job: Mapping[str, Any], number: int) -> list[tuple[Any, ...]]:
    """What jobs like this one are told by, the most like it first."""
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


def _worker(said: Mapping[str, Any]) -> dict[str, Any]:
    """One line on a worker."""
    now = time.time()
    at_it = now - said["doing_since"] if said["doing"] else 0.0
    since = max(1e-9, now - said["since"])
    row = {k: said[k] for k in ("host", "pid", "device", "what", "trainings", "failed")}
    return row | {"seconds": at_it, "hourly": said["trainings"] * 3600 / since}
