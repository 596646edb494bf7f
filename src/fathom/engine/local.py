"""The engine that every installation has: worker processes of this machine (`engine.worker_pool`), or itself."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fathom.engine.gpu_sharing import GpuScheduler
from fathom.engine.jobs import Job
from fathom.engine.watch import Watch
from fathom.engine.worker import WorkerOrders, work
from fathom.engine.worker_pool import WorkerPool
from fathom.machine.environment import Environment, describe, set_mode
from fathom.protocol.context import WorkerContext


class LocalEngine:
    """Workers of this machine.

    Args:
        device: What they train on; `cuda` without a number: all GPUs in turn.
        threads: CPU threads of each.
        workers: Their number; None: see `default_workers`, and on GPUs more may join; 0: this process works.
        fast: See `environment.set_mode`.
    """

    def __init__(self, device: torch.device, threads: int, workers: int | None, fast: bool) -> None:
        self.device, self.threads, self.workers, self.fast = device, threads, workers, fast

    @property
    def kind(self) -> str:
        """Kind of device that the workers train on."""
        return self.device.type

    def __enter__(self) -> "LocalEngine":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def describe(self) -> Environment:
        """What decides the numbers of the workers: that of this process, as they run on the same machine."""
        return describe(self.device, self.threads, fast=self.fast)

    @contextmanager
    def worker_pool(self) -> Iterator[None]:
        """Have workers that start while the caller still checks the study."""
        count = default_workers(self.device, self.threads) if self.workers is None else self.workers
        with WorkerPool(count, self.threads, self.device, sharing_of(self.device, self.workers)) as self._crew:
            yield

    def work(self, orders: WorkerOrders, jobs: list[Job], context: WorkerContext, watch: Watch) -> None:
        """Have the jobs done, by the workers or in this process."""
        if self._crew.count:
            self._crew.work(orders, watch.look)
            return
        set_mode(context.device, fast=self.fast)
        torch.set_num_threads(self.threads)
        work(context, jobs, watch.session, lambda job: watch.look())


def sharing_of(device: torch.device, workers: int | None) -> GpuScheduler | None:
    """More workers may join on GPUs, unless their number was given."""
    if workers is not None or device.type != "cuda":
        return None
    return GpuScheduler(torch.cuda.device_count()) if device.index is None else GpuScheduler(1, device.index)


def default_workers(device: torch.device, threads: int) -> int:
    """One worker per GPU to begin with (see `engine.gpu_sharing`); on the CPU as many as its cores carry."""
    if device.type == "cuda":
        return torch.cuda.device_count() if device.index is None else 1
    return max(1, len(os.sched_getaffinity(0)) // threads if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
