"""A job as a task of a cluster's scheduler: plain JSON in, plain JSON out, on whatever machine.

The scheduler decides where and when; what is done, and that it is done once, is the store's affair as with the workers
of one machine: a task that runs twice, or that ran before, finds its result committed.
"""

import dataclasses
import json
import os
import resource
import socket
import time
from pathlib import Path
from typing import Any

import torch

from fathom.core.records import FathomError, digest
from fathom.engine.jobs import done
from fathom.engine.worker import WorkerOrders, job_of, open_context, settle
from fathom.machine.environment import Environment, check, describe, set_mode
from fathom.protocol.context import WorkerContext
from fathom.registry import registry

PATIENCE = 0.5  # seconds between looks at a job that another process holds

_labs: dict[str, WorkerContext] = {}  # what this process has open, by the digest of its orders


def do_job(orders: str, job: str, *needs: dict[str, Any]) -> dict[str, Any]:
    """Do one job of a study, unless it is done; one that failed is in the store.

    Args:
        orders: `worker.WorkerOrders` as JSON, without jobs.
        job: `jobs.Job` as JSON.
        needs: What the tasks of the jobs before it gave.

    Returns:
        `done`: whether the job's result is committed. `gpu`, `of`: bytes that this process took of its GPU, and has.

    Raises:
        FathomError: This machine does not see the study, or is not one that its results may come from.
    """
    told, it = WorkerOrders(**json.loads(orders)), job_of(json.loads(job))
    context = _lab(orders, told)
    while all(need["done"] for need in needs):
        if (ended_well := settle(context, it, told.session, told.tries)) is not None:
            return {"done": ended_well, **_taken(context)}
        time.sleep(PATIENCE)  # another process holds it: one that we do not know of, or one that is about to be ended
        if done(context.store, it):
            return {"done": True}
    return {"done": False}


def describe_worker(device: str, threads: int, fast: bool, plugins: list[str]) -> dict[str, Any]:
    """What decides the numbers of a worker of the cluster, and its machine, as JSON.

    Raises:
        FathomError: It does not see the files of members.
    """
    _see(plugins)
    for path in plugins:
        registry.add_file(path)
    set_mode(torch.device(device), fast=fast)
    torch.set_num_threads(threads)
    return dataclasses.asdict(describe(torch.device(device), threads, fast=fast))


def _lab(orders: str, told: WorkerOrders) -> WorkerContext:
    key = digest(orders, 16)
    if key not in _labs:
        _labs.clear()  # of an earlier call; its images need not stay
        _see([told.out, *told.plugins])
        context = open_context(told)
        if digest(context.store.study.to_json()) != told.study:
            raise FathomError(
                f"{_here()} finds another study in {told.out} than the one that was started. Expected one shared "
                "folder: is that path a folder of its own on each machine?"
            )
        _labs[key] = dataclasses.replace(context, environment=_checked(context, told).name)
    return _labs[key]


def _here() -> str:
    return f"worker {os.getpid()} on {socket.gethostname()}"


def _see(paths: list[str]) -> None:
    """Refuse a machine that does not see what it needs."""
    if missing := [path for path in paths if not Path(path).exists()]:
        raise FathomError(
            f"{_here()} does not see {', '.join(missing)}. Expected the same folders on every machine of the cluster: "
            "put the results, the data and files of your own members on shared storage, under one path"
        )


def _checked(context: WorkerContext, told: WorkerOrders) -> Environment:
    """This machine's environment, written down; refused where other numbers would come from it."""
    environment = describe(context.device, told.threads, fast=told.fast)
    try:
        check(context.store, environment, accept=told.accept)
    except FathomError as error:
        raise FathomError(f"{_here()}: {error}") from None
    return environment


def _taken(context: WorkerContext) -> dict[str, int]:
    """What this process has taken at most: of the machine's memory, and of its GPU."""
    taken = {"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if context.device.type == "cuda":
        total = torch.cuda.get_device_properties(context.device).total_memory
        taken |= {"gpu": torch.cuda.max_memory_reserved(context.device), "of": total}
    return taken
