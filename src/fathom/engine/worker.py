"""A worker: a process that does the jobs of a study until none is left that it could do.

Workers know of each other only through the store. Each takes the first job that is ready, not done, not failed in this
session and not locked by a living process. `python -m fathom.engine.worker` reads its orders as one line of JSON from
standard input and exits when that input closes, so a worker never outlives the process that started it.
"""

import dataclasses
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from os import _exit  # the real one: a member is called with another (`core.member_call`)
from pkgutil import resolve_name
from typing import Any, NoReturn

import torch

from fathom.core.machine import Machine
from fathom.core.records import FathomError, digest
from fathom.core.text import printable
from fathom.data.dataset import DataRoot
from fathom.engine.heartbeat import Heartbeat
from fathom.engine.jobs import WorkItem
from fathom.machine.environment import set_mode
from fathom.machine.paths import data_folders
from fathom.protocol.context import WorkerContext
from fathom.registry import registry
from fathom.registry.code import MemberCode
from fathom.store import locks
from fathom.store.store import Store

POLL_SECONDS = 0.2  # between looks at the store while other workers hold the jobs that are left
SILENT = "two worker processes gave no sign of life for {:g} s each while they did this job"
# Exit status of a worker that found no work left. Not 0: a plug-in that calls os._exit(0) must not look like it.
FINISHED = 40
REPORTED = 41  # of one that ends with an error whose message was printed
_log = logging.getLogger(__name__)


def work(
    context: WorkerContext, jobs: Sequence[WorkItem], session: str, after_job: Callable[[], None] = lambda: None
) -> None:
    """Do jobs until every one is done, failed, or waits for one that failed."""
    finished: set[str] = set()
    failed = _failed(context.store, session)
    # Runs whose last round is there are read and checked after all others: in a large study that takes a while, and
    # no job needs a run.
    complete = {job.name for job in jobs if job.looks_done(context.store)}
    left = sorted(jobs, key=lambda job: job.name in complete)
    while True:
        worked, waiting = _next(context, left, finished, failed, session)
        if worked:
            after_job()
        elif waiting:
            time.sleep(POLL_SECONDS)
            failed |= _failed(context.store, session)
        else:
            return


def _next(
    context: WorkerContext, left: list[WorkItem], finished: set[str], failed: set[str], session: str
) -> tuple[bool, bool]:
    """Do the first free job, and drop those that are settled: (whether there was one, whether a job is left)."""
    waiting: list[WorkItem] = []  # those looked at that may become free
    worked = False
    for place, job in enumerate(left):  # noqa: B007  # what was looked at is replaced below
        if job.name in failed or any(name in failed for name in job.needs):
            failed.add(job.name)
        elif job.done(context.store):
            finished.add(job.name)
        elif not all(name in finished for name in job.needs) or (ended_well := settle(context, job, session)) is None:
            waiting.append(job)
        else:
            (finished if ended_well else failed).add(job.name)
            worked = True
            break
    if left:
        left[: place + 1] = waiting  # else each job would pass all those before it again
    return worked, bool(left)


def settle(context: WorkerContext, job: WorkItem, session: str, tries: int = 1) -> bool | None:
    """Do a job under its lock.

    Args:
        context: Open things of this process.
        job: The job; all that it needs is done.
        session: Name of the call of `run` that it is done for.
        tries: Attempts in the session that may end with the death of their process.

    Returns:
        Whether its result is committed; None where a living process holds the lock, or has taken the job over.
    """
    with context.store.lock(job.name, takes_over=True) as lease:
        if lease is None:
            return None
        context.store.lease = lease
        try:
            # Another process may have done it between our look and our lock.
            return job.done(context.store) or _marked_attempt(context, job, session, tries)
        finally:
            context.store.lease = None


def _marked_attempt(context: WorkerContext, job: WorkItem, session: str, tries: int) -> bool | None:
    """Do a job under a marker, so that a job that kills or freezes its process is not tried without end."""
    stem = context.store.marker_path(job.name, session)
    silent, lease = stem.with_name(f"{stem.name}-0-silent"), context.store.lease
    if lease and lease.taken_over:
        if silent.exists():
            _write_failure(context, job, session, "SilentError", SILENT.format(locks.silence()))
            return False
        locks.leave_marker(silent, context.owner)
        tries += 1  # one marker is of the process that is frozen, not dead
    markers = [stem.with_name(f"{stem.name}-{number}") for number in range(tries)]
    # We hold the job's lock, so a marker of this session was left by a process that died during this very job.
    marker = next((marker for marker in markers if not marker.exists()), None)
    if marker is None:
        for old in markers:
            old.unlink(missing_ok=True)
        write_died(context, job, session)
        return False
    locks.leave_marker(marker, context.owner)
    try:
        return _attempt(context, job, session)
    finally:
        # Where another process has taken the job over, the others are its markers.
        for old in [marker] if lease and lease.lost() else [*markers, silent]:
            old.unlink(missing_ok=True)


def write_died(context: WorkerContext, job: WorkItem, session: str) -> None:
    """Record the failure of a job whose process died."""
    message = "the worker process exited without an error message (possibly out of memory)"
    _write_failure(context, job, session, "DiedError", message)


def _attempt(context: WorkerContext, job: WorkItem, session: str) -> bool | None:
    """Do a job; record its failure, so that this worker can continue with the others. None: see `settle`."""
    if context.heartbeat is None:
        context.heartbeat = Heartbeat(context.store, str(context.device), session)
    try:
        with context.heartbeat.doing(job.name, str(job), job.trainings(context.store)) as result:
            job.do(context)
            result["ok"] = True
        return None if _discarded(context, job) else True
    except (Exception, SystemExit) as error:  # SystemExit: a plug-in that calls sys.exit fails its own run only
        if _discarded(context, job):
            return None
        details = "" if isinstance(error, FathomError) else traceback.format_exc()
        _write_failure(context, job, session, type(error).__name__, str(error), details)
        return False


def _discarded(context: WorkerContext, job: WorkItem) -> bool:
    """Tell whether another process has taken the job over, and log it: what this one computed does not count."""
    if context.store.lease is None or not context.store.lease.lost():
        return False
    text = "%s: this worker (process %d) gave no sign of life for %g s or more, and another one took over; "
    _log.warning(text + "its late result is discarded", job, os.getpid(), locks.silence())
    return True


def _write_failure(
    context: WorkerContext, job: WorkItem, session: str, error: str, message: str, details: str = ""
) -> None:
    content = {"job": job.name, "what": str(job), "kind": job.kind, **job.facts(context.store)}
    # A message may hold anything, such as a file name that is not UTF-8, which no record can.
    content |= {"error": error, "message": printable(message), "traceback": printable(details)}
    clock = {"session": session, "finished": datetime.now(UTC).isoformat(timespec="seconds")}
    context.store.fail(f"{job.kind}-{digest(job.name, 12)}", content, clock)


def _failed(store: Store, session: str) -> set[str]:
    """Names of the jobs that failed in this session, here or in another worker."""
    return {failure["job"] for failure in store.failures() if failure["session"] == session}


# ------------------------------------------------------------------------------------------------------- process


@dataclasses.dataclass(frozen=True)
class WorkerOrders:
    """Orders of a worker process, as one line of JSON.

    Args:
        out: The store's folder.
        folder: Working folder of the caller, for relative paths in spec strings; empty where it is this process's own.
        machine: `Machine.to_json`, with the folders of the caller.
        session: Name of the call of `run`.
        environment: Name of the environment record; empty where the worker describes its own machine.
        retries: Retries of the settings as the caller knows them, so that all workers start from the same.
        jobs: JSON of the items to do, in order.
        job_type: Class of the items, `module:name`.
        study: Digest of the study, for workers on other machines.
        tries: Attempts at a job whose process dies.
        accept: Accept another environment on other machines.
        code: Source of the plug-ins as the caller has read it (`registry.registry.export_code`).
        codes: Fields of the `MemberCode` of each member.
    """

    out: str
    machine: dict[str, Any]
    session: str
    environment: str
    retries: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    jobs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    job_type: str = "fathom.engine.jobs:Job"
    study: str = ""
    tries: int = 1
    accept: bool = False
    code: dict[str, Any] = dataclasses.field(default_factory=dict)
    codes: dict[str, Any] = dataclasses.field(default_factory=dict)
    folder: str = ""


def serve(beats: int | None = None) -> None:
    """Read the orders from standard input, do the jobs, exit with `FINISHED`.

    Args:
        beats: File descriptor of a pipe to the parent process for signs of life.
    """
    with locks.giving_signs(lambda: _beat(beats)):
        # The first optimizer of a process imports modules for seconds: done while the parent still checks the study.
        torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        if line := sys.stdin.readline():  # else the study was refused
            _follow(WorkerOrders(**json.loads(line)))


def _follow(orders: WorkerOrders) -> NoReturn:
    """Do the jobs of the orders, and exit."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if hasattr(signal, "SIGUSR2"):  # Slurm may signal all processes of a job; the parent alone reacts, and ends us
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        context = open_context(orders)
        job_type = resolve_name(orders.job_type)
        work(context, [job_type.from_json(job) for job in orders.jobs], orders.session)
    except Exception:
        traceback.print_exc()
        leave(REPORTED)
    leave(FINISHED)


def leave(status: int) -> NoReturn:
    """End this process without waiting for threads that a member may have left running."""
    sys.stdout.flush()
    sys.stderr.flush()
    _exit(status)


def _beat(pipe: int | None) -> None:
    if pipe is not None:
        os.write(pipe, b".")


def open_context(orders: WorkerOrders) -> WorkerContext:
    """Open the store, datasets and device that the orders name.

    Raises:
        FathomError: The study's folder is absent, or this machine has other source of Fathom than the caller.
    """
    if orders.code:
        registry.adopt_code(orders.code)
    machine = Machine.from_json(orders.machine)
    device = set_up(machine)
    data = DataRoot(*data_folders(machine.data, machine.cache), download=machine.download, quiet=True)
    context = WorkerContext(Store.open(orders.out), data, device, orders.environment)
    context.owner = os.getppid()
    context.codes = {name: MemberCode(**fields) for name, fields in orders.codes.items()}
    context.store.cached_retries.update(orders.retries)
    return context


def set_up(machine: Machine) -> torch.device:
    """Set torch's threads and kernels in this process; returns the device."""
    device = torch.device(machine.device)
    set_mode(device, fast=machine.fast)
    torch.set_num_threads(machine.threads)
    return device


def _die_with_parent() -> None:
    sys.stdin.read()
    _exit(1)


if __name__ == "__main__":
    serve(*map(int, sys.argv[1:]))
