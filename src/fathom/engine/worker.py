"""A worker: a process that does the jobs of a study until none is left that it could do.

Workers know of each other only through the store. Each takes the first job that is ready, not done, not failed in this
session and not locked by a living process. `python -m fathom.engine.worker` reads its orders as one line of JSON from
standard input and dies when that input closes, so a worker never outlives the process that started it.
"""

import dataclasses
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from fathom.core.records import FathomError, Setting, digest
from fathom.core.work import WorkKind
from fathom.data.dataset import DataRoot
from fathom.engine.heartbeat import Heartbeat
from fathom.engine.jobs import Job, do, done, trainings
from fathom.machine.environment import set_mode
from fathom.protocol.context import WorkerContext
from fathom.registry import registry
from fathom.store import atomic_files
from fathom.store.store import Store

PATIENCE = 0.2  # seconds between looks at the store while others hold what is left


def work(
    context: WorkerContext, jobs: list[Job], session: str, after_job: Callable[[Job], None] = lambda job: None
) -> None:
    """Do jobs until every one is done, failed, or waits for one that failed."""
    finished: set[str] = set()
    failed = _failed(context.store, session)
    while True:
        job, waiting = _next(context, jobs, finished, failed, session)
        if job is not None:
            after_job(job)
        elif waiting:
            time.sleep(PATIENCE)
            failed |= _failed(context.store, session)
        else:
            return


def _next(
    context: WorkerContext, jobs: list[Job], finished: set[str], failed: set[str], session: str
) -> tuple[Job | None, bool]:
    """Do the first job that can be had: (the job or None, whether a job is left that may become free)."""
    waiting = False
    for job in jobs:
        if job.name in finished or job.name in failed:
            continue
        if any(name in failed for name in job.needs):
            failed.add(job.name)
            continue
        if done(context.store, job):
            finished.add(job.name)
            continue
        waiting = True
        if not all(name in finished for name in job.needs):
            continue
        ended_well = settle(context, job, session)
        if ended_well is None:
            continue
        (finished if ended_well else failed).add(job.name)
        return job, True
    return None, waiting


def settle(context: WorkerContext, job: Job, session: str, tries: int = 1) -> bool | None:
    """Do a job under its lock: whether its result is there afterwards; None where a living process holds it.

    Args:
        lab: Of this process.
        job: What is done; all that it needs is there.
        session: Of the call of `run` that it is done for.
        tries: Attempts in the session that may end with the death of their process.
    """
    with context.store.lock(job.name) as mine:
        if not mine:
            return None
        # Another process may have done it between our look and our lock.
        return done(context.store, job) or _marked_attempt(context, job, session, tries)


def _marked_attempt(context: WorkerContext, job: Job, session: str, tries: int) -> bool:
    """Do a job under a mark, so that a job that kills its process (memory, a crash) is not tried again and again.

    We hold the job's lock. Where a mark of this session is there, the process that made it died over this job.
    """
    stem = context.store.marker_path(job.name, session)
    marks = [stem.with_name(f"{stem.name}-{number}") for number in range(tries)]
    mark = next((mark for mark in marks if not mark.exists()), None)
    if mark is None:
        for old in marks:
            old.unlink(missing_ok=True)
        write_died(context, job, session)
        return False
    atomic_files.leave_marker(mark, context.owner)
    try:
        return _attempt(context, job, session)
    finally:
        for old in marks:
            old.unlink(missing_ok=True)


def write_died(context: WorkerContext, job: Job, session: str) -> None:
    """Write down that the process that did a job died."""
    _write_failure(
        context, job, session, "DiedError", "the process doing it died without a word; memory may have run out"
    )


def _attempt(context: WorkerContext, job: Job, session: str) -> bool:
    """Do a job; on failure write it down and go on with the others."""
    if context.heartbeat is None:
        context.heartbeat = Heartbeat(context.store, str(context.device), session)
    try:
        with context.heartbeat.doing(job.name, str(job), trainings(job, context.store)) as result:
            do(context, job)
            result["ok"] = True
        return True
    except (Exception, SystemExit) as error:  # a plug-in that leaves is a plug-in that failed
        details = "" if isinstance(error, FathomError) else traceback.format_exc()
        _write_failure(context, job, session, type(error).__name__, str(error), details)
        return False


def _write_failure(context: WorkerContext, job: Job, session: str, error: str, message: str, details: str = "") -> None:
    content: dict[str, Any] = {"job": job.name, "what": str(job), "kind": job.kind, "setting": list(job.setting)}
    content |= {
        "retries": len(context.store.retries(job.setting)),
        "query": job.query,
        "seed": job.seed,
        "error": error,
        "message": message,
        "traceback": details,
    }
    clock = {"session": session, "finished": datetime.now(UTC).isoformat(timespec="seconds")}
    context.store.fail(f"{job.kind}-{digest(job.name, 12)}", content, clock)


def _failed(store: Store, session: str) -> set[str]:
    """Jobs that failed in this session, here or in another worker."""
    return {failure["job"] for failure in store.failures() if failure["session"] == session}


# ------------------------------------------------------------------------------------------------------- process


@dataclasses.dataclass(frozen=True)
class WorkerOrders:
    """What a worker process is told, as JSON."""

    out: str
    data: str
    cache: str
    download: bool
    device: str
    threads: int
    fast: bool
    environment: str
    retries: dict[str, list[str]]
    session: str
    plugins: list[str]
    jobs: list[dict[str, Any]]
    study: str = ""  # digest of the study, for workers of other machines
    tries: int = 1  # attempts at a job whose process dies
    accept: bool = False  # whether another environment is accepted there


def serve() -> None:
    """Read the orders, work, leave."""
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)  # the first optimizer imports for seconds
    if not (line := sys.stdin.readline()):
        return  # the study was refused
    orders = WorkerOrders(**json.loads(line))
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if hasattr(signal, "SIGUSR2"):  # Slurm may send it to all processes; the one that started us decides
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    context = open_context(orders)
    work(context, [job_of(j) for j in orders.jobs], orders.session)


def open_context(orders: WorkerOrders) -> WorkerContext:
    """What a worker process has open, as its orders say.

    Raises:
        FathomError: The study's folder or a file of members is not here.
    """
    set_mode(torch.device(orders.device), fast=orders.fast)
    torch.set_num_threads(orders.threads)
    for path in orders.plugins:
        registry.add_file(path)
    data = DataRoot(Path(orders.data), Path(orders.cache), download=orders.download, quiet=True)
    context = WorkerContext(Store.open(orders.out), data, torch.device(orders.device), orders.environment)
    context.owner = os.getppid()
    context.store.cached_retries.update(orders.retries)
    return context


def job_of(data: dict[str, Any]) -> Job:
    """A job from its JSON."""
    setting, needs = Setting(*data["setting"]), tuple(data["needs"])
    return Job(**{**data, "kind": WorkKind(data["kind"]), "setting": setting, "needs": needs})


def _die_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    serve()
