"""A worker: a process that does the jobs of a study until none is left that it could do.

Workers know of each other only through the store. Each takes the first job that is ready, not done, not failed in this
session and not locked by a living process. `python -m fathom.run.worker` reads its orders as one line of JSON from
standard input and dies when that input closes, so a worker never outlives the process that started it.
"""

import dataclasses
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from fathom import files, registry
from fathom.data.dataset import DataRoot
from fathom.records import FathomError, digest
from fathom.run.environment import set_mode
from fathom.run.jobs import Job, do, done
from fathom.run.lab import Lab
from fathom.store import Store

PATIENCE = 0.2  # seconds between looks at the store while others hold what is left


def work(lab: Lab, jobs: list[Job], session: str, after_job: Callable[[Job], None] = lambda job: None) -> None:
    """Do jobs until every one is done, failed, or waits for one that failed."""
    finished: set[str] = set()
    failed = _failed(lab.store, session)
    while True:
        job, waiting = _next(lab, jobs, finished, failed, session)
        if job is not None:
            after_job(job)
        elif waiting:
            time.sleep(PATIENCE)
            failed |= _failed(lab.store, session)
        else:
            return


def _next(lab: Lab, jobs: list[Job], finished: set[str], failed: set[str], session: str) -> tuple[Job | None, bool]:
    """Do the first job that can be had: (the job or None, whether a job is left that may become free)."""
    waiting = False
    for job in jobs:
        if job.name in finished or job.name in failed:
            continue
        if any(name in failed for name in job.needs):
            failed.add(job.name)
            continue
        if done(lab.store, job):
            finished.add(job.name)
            continue
        waiting = True
        if not all(name in finished for name in job.needs):
            continue
        with lab.store.lock(job.name) as mine:
            if not mine:
                continue
            # Another process may have done it between our look and our lock.
            ended_well = done(lab.store, job) or _marked_attempt(lab, job, session)
            (finished if ended_well else failed).add(job.name)
            return job, True
    return None, waiting


def _marked_attempt(lab: Lab, job: Job, session: str) -> bool:
    """Do a job under a mark, so that a job that kills its process (memory, a crash) is not tried again and again.

    We hold the job's lock. If the mark of this session is there, the process that made it died over this job.
    """
    mark = lab.store.mark(job.name, session)
    if mark.exists():
        mark.unlink()
        _write_failure(
            lab, job, session, "DiedError", "the process doing it died without a word; memory may have run out"
        )
        return False
    files.mark(mark, lab.owner)
    try:
        return _attempt(lab, job, session)
    finally:
        mark.unlink(missing_ok=True)


def _attempt(lab: Lab, job: Job, session: str) -> bool:
    """Do a job; on failure write it down and go on with the others."""
    try:
        do(lab, job)
        return True
    except (Exception, SystemExit) as error:  # a plug-in that leaves is a plug-in that failed
        details = "" if isinstance(error, FathomError) else traceback.format_exc()
        _write_failure(lab, job, session, type(error).__name__, str(error), details)
        return False


def _write_failure(lab: Lab, job: Job, session: str, error: str, message: str, details: str = "") -> None:
    content: dict[str, Any] = {"job": job.name, "what": str(job), "kind": job.kind, "setting": list(job.setting)}
    content |= {
        "retries": len(lab.store.retries(job.setting)),
        "query": job.query,
        "seed": job.seed,
        "error": error,
        "message": message,
        "traceback": details,
    }
    clock = {"session": session, "finished": datetime.now(UTC).isoformat(timespec="seconds")}
    lab.store.fail(f"{job.kind}-{digest(job.name, 12)}", content, clock)


def _failed(store: Store, session: str) -> set[str]:
    """Jobs that failed in this session, here or in another worker."""
    return {failure["job"] for failure in store.failures() if failure["session"] == session}


# ------------------------------------------------------------------------------------------------------- process


@dataclasses.dataclass(frozen=True)
class Orders:
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


def main() -> None:
    """Read the orders, work, leave."""
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)  # the first optimizer imports for seconds
    if not (line := sys.stdin.readline()):
        return  # the study was refused
    orders = Orders(**json.loads(line))
    threading.Thread(target=_die_with_parent, daemon=True).start()
    set_mode(torch.device(orders.device), fast=orders.fast)
    torch.set_num_threads(orders.threads)
    for path in orders.plugins:
        registry.add_file(path)
    data = DataRoot(Path(orders.data), Path(orders.cache), download=orders.download, quiet=True)
    lab = Lab(Store.open(orders.out), data, torch.device(orders.device), orders.environment)
    lab.owner = os.getppid()
    lab.store.pinned.update(orders.retries)
    work(lab, [_job(j) for j in orders.jobs], orders.session)


def _job(data: dict[str, Any]) -> Job:
    return Job(**{**data, "setting": tuple(data["setting"]), "needs": tuple(data["needs"])})


def _die_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
