"""The local engine: worker processes on this machine, one thread each on the CPU, one process a GPU."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from fathom.core.records import FathomError
from fathom.engine.gpu_sharing import EVERY as SHARING_EVERY
from fathom.engine.gpu_sharing import GpuScheduler
from fathom.engine.worker import WorkerOrders

PATIENCE = 4  # deaths of workers that are made up for, per worker
LOOK_EVERY = 0.2  # seconds


class WorkerPool:
    """Worker processes. They start at once and import what they need while the caller still checks the study.

    Args:
        count: Processes.
        threads: CPU threads of each.
        device: `cuda` gives each worker a GPU of its own, in turn.
        sharing: Lets more workers join while they work; None for `count` workers throughout.
    """

    def __init__(self, count: int, threads: int, device: torch.device, sharing: GpuScheduler | None = None) -> None:
        self.count, self.threads, self.device, self.sharing = count, threads, device, sharing
        self.processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "WorkerPool":
        self.processes = [self._start() for _ in range(self.count)]
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()  # nothing is lost: a commit is there whole or not at all
            process.communicate()  # waits, and closes its orders

    def work(self, orders: WorkerOrders, look: Callable[[], None]) -> None:
        """Give the orders and watch until all workers have left.

        A worker that a signal ended is replaced; the job it died over is not tried again in this session, so this ends.

        Raises:
            FathomError: A worker could not go on.
        """
        deaths, looked = 0, time.monotonic()
        for number in range(self.count):
            self._order(number, orders)
        while any(p.poll() is None for p in self.processes):
            look()
            time.sleep(LOOK_EVERY)
            for number, process in enumerate(self.processes):
                if (process.poll() or 0) < 0 and deaths < PATIENCE * self.count:
                    deaths += 1
                    process.communicate()
                    self.processes[number] = self._start()
                    self._order(number, orders)
            if self.sharing and time.monotonic() - looked > SHARING_EVERY:
                looked = time.monotonic()
                if all(p.poll() is None for p in self.processes) and self.sharing.can_admit(len(self.processes)):
                    self.processes.append(self._start())
                    self._order(len(self.processes) - 1, orders)
        if broken := [p.returncode for p in self.processes if p.returncode]:
            statuses = ", ".join(map(str, broken))
            raise FathomError(
                f"{len(broken)} of {len(self.processes)} workers could not go on (exit status {statuses}; what they "
                "said is above, -9 usually means that memory ran out: give --workers a smaller number). What "
                "was committed is safe; run the same again"
            )

    def _start(self) -> "subprocess.Popen[str]":
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "fathom.engine.worker"],  # -P: nothing is imported from the current folder
            stdin=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches the parent alone, which ends its workers
        )

    def _order(self, number: int, orders: WorkerOrders) -> None:
        device = self.device
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", number % torch.cuda.device_count())
        line = json.dumps(dataclasses.asdict(dataclasses.replace(orders, device=str(device)))) + "\n"
        pipe = self.processes[number].stdin
        assert pipe is not None
        try:
            pipe.write(line)
            pipe.flush()
        except BrokenPipeError:
            pass  # it died while it started; `work` sees that
