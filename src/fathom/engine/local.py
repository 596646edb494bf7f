"""The local engine: worker processes of this machine (`engine.worker_pool`), or this process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch

from fathom.core.cores import available_cores
from fathom.core.machine import Machine
from fathom.engine.gpu_sharing import GpuScheduler
from fathom.engine.jobs import WorkItem
from fathom.engine.worker import WorkerOrders, set_up, work
from fathom.engine.worker_pool import WorkerPool
from fathom.machine.environment import Environment, describe, find_device
from fathom.protocol.context import WorkerContext


@runtime_checkable
class Watcher(Protocol):
    """Called while jobs are done: reports progress, and may raise to stop the work."""

    def look(self) -> None:
        """Look at the store."""


class LocalEngine:
    """Workers of this machine.

    Args:
        machine: Device, threads and kernels; device `cuda` without a number: all GPUs in turn.
        workers: Number of processes; None: see `default_workers`, and on GPUs more may join; 0: this process works.
    """

    def __init__(self, machine: Machine, workers: int | None) -> None:
        self.trains_on, self.workers = find_device(machine.device), workers
        self.machine = replace(machine, device=str(self.trains_on))

    @property
    def kind(self) -> str:
        """Kind of device that the workers train on."""
        return self.trains_on.type

    @property
    def device(self) -> torch.device:
        """Device of this process's datasets: the CPU, unless it does the jobs itself.

        The parent of workers only checks the study; each dataset that it held on a GPU would be missing there.
        """
        return torch.device("cpu") if self.workers != 0 else self.trains_on

    def __enter__(self) -> "LocalEngine":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def describe(self) -> Environment:
        """Describe the environment of the workers: that of this process, as they run on the same machine."""
        return describe(self.trains_on, self.machine.threads, fast=self.machine.fast)

    @contextmanager
    def worker_pool(self) -> Iterator[None]:
        """Start workers that import what they need while the caller still checks the study."""
        count = default_workers(self.trains_on, self.machine.threads) if self.workers is None else self.workers
        with WorkerPool(count, self.machine, scheduler_of(self.trains_on, self.workers)) as self._pool:
            yield

    def work(self, orders: WorkerOrders, jobs: Sequence[WorkItem], context: WorkerContext, watch: Watcher) -> None:
        """Have the jobs done, by the workers or in this process."""
        if self._pool.count:
            self._pool.work(orders, watch.look)
            return
        set_up(self.machine)
        work(context, jobs, orders.session, watch.look)


def scheduler_of(device: torch.device, workers: int | None) -> GpuScheduler | None:
    """A scheduler that lets more workers join on GPUs; None on the CPU, or where their number was given."""
    if workers is not None or device.type != "cuda":
        return None
    return GpuScheduler(torch.cuda.device_count()) if device.index is None else GpuScheduler(1, device.index)


def default_workers(device: torch.device, threads: int) -> int:
    """One worker per GPU to begin with (see `engine.gpu_sharing`); on the CPU one per `threads` cores."""
    if device.type == "cuda":
        return torch.cuda.device_count() if device.index is None else 1
    return max(1, available_cores() // threads)
