"""A job as a task of Ray: plain JSON in, plain JSON out, on any machine of the cluster.

Ray decides where and when. The store decides what counts, as with the workers of one machine: a task that runs twice,
or that ran before, finds its result committed. The first commit wins because files are linked into place without
replacing. Locks only save work, and no lease or clock decides who may work; so a lock that is lost with its machine, a
clock that is an hour wrong or a worker that was frozen for an hour does no harm.
"""

import dataclasses
import json
import os
import resource
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from fathom.core.machine import Machine
from fathom.core.records import FathomError, digest
from fathom.engine.jobs import Job
from fathom.engine.worker import WorkerOrders, open_context, set_up, settle
from fathom.machine.environment import Environment, check, describe
from fathom.protocol.context import WorkerContext

POLL_SECONDS = 0.5  # between looks at a job that another process holds

_contexts: dict[str, WorkerContext] = {}  # open context of this process, by the digest of its orders


def do_job(orders: str, job: str, *needs: dict[str, Any]) -> dict[str, Any]:
    """Do one job of a study, unless it is done; a failure is recorded in the store.

    Args:
        orders: `worker.WorkerOrders` as JSON, without jobs.
        job: `jobs.Job` as JSON.
        needs: Results of the tasks of the jobs before it.

    Returns:
        `done`: whether the job's result is committed. `gpu`, `of`: peak bytes that this process took of its GPU, and
        its memory.

    Raises:
        FathomError: This machine does not see the study, or has another environment than the study's results.
    """
    parsed, item = WorkerOrders(**json.loads(orders)), Job.from_json(json.loads(job))
    context = _context(orders, parsed)
    while all(need["done"] for need in needs):
        if (ended_well := settle(context, item, parsed.session, parsed.tries)) is not None:
            return {"done": ended_well, **_peak_memory(context)}
        # Another process holds it: one of another call of `run`, or one of a lost task that Ray is about to end.
        time.sleep(POLL_SECONDS)
        if item.done(context.store):
            return {"done": True}
    return {"done": False}


def describe_worker(fields: dict[str, Any]) -> dict[str, Any]:
    """Describe the environment of a worker of the cluster, as JSON.

    Args:
        fields: `Machine.to_json`.
    """
    machine = Machine.from_json(fields)
    return dataclasses.asdict(describe(set_up(machine), machine.threads, fast=machine.fast))


def _context(orders: str, parsed: WorkerOrders) -> WorkerContext:
    key = digest(orders, 16)
    if key not in _contexts:
        _contexts.clear()  # of an earlier call of `run`; its images need not stay in memory
        _require([parsed.out, *([parsed.folder] if parsed.folder else [])])
        if parsed.folder:
            os.chdir(parsed.folder)  # where the call was made; nothing is imported from there
        context = open_context(parsed)
        if digest(context.store.study.to_json()) != parsed.study:
            raise FathomError(
                f"{_here()} finds another study in {parsed.out} than the one that was started. Expected one shared "
                "folder: is that path a folder of its own on each machine?"
            )
        _contexts[key] = dataclasses.replace(context, environment=_checked(context, parsed).name)
    return _contexts[key]


def _here() -> str:
    return f"worker {os.getpid()} on {socket.gethostname()}"


def _require(paths: Iterable[str | Path]) -> None:
    """Refuse a machine that does not see the files and folders it needs."""
    if missing := [str(path) for path in paths if not Path(path).exists()]:
        raise FathomError(
            f"{_here()} does not see {', '.join(missing)}. Expected the same folders on every machine of the cluster: "
            "put the results and the data on shared storage, under one path"
        )


def _checked(context: WorkerContext, parsed: WorkerOrders) -> Environment:
    """This machine's environment, recorded; refused where it would give other numbers.

    Every worker describes itself: a node with other vector instructions has other last bits.
    """
    machine = Machine.from_json(parsed.machine)
    environment = describe(context.device, machine.threads, fast=machine.fast)
    try:
        check(context.store, environment, accept=parsed.accept)
    except FathomError as error:
        raise FathomError(f"{_here()}: {error}") from None
    return environment


def _peak_memory(context: WorkerContext) -> dict[str, int]:
    """Peak bytes of this process: of the machine's memory, and of its GPU."""
    taken = {"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}  # ru_maxrss is in KiB on Linux
    if context.device.type == "cuda":
        total = torch.cuda.get_device_properties(context.device).total_memory
        taken |= {"gpu": torch.cuda.max_memory_reserved(context.device), "of": total}
    return taken
