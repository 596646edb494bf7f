"""Worker processes of the local engine: one thread each on the CPU, one process per GPU."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from fathom.core.machine import Machine
from fathom.core.records import FathomError
from fathom.engine.gpu_sharing import MEASURE_SECONDS, GpuScheduler
from fathom.engine.worker import FINISHED, WorkerOrders

MAX_RESTARTS = 4  # replacements of dead workers, per worker
POLL_SECONDS = 0.2


class WorkerPool:
    """Worker processes. They start at once and import what they need while the caller still checks the study.

    Args:
        count: Number of processes.
        machine: Threads of each; device `cuda` gives each worker a GPU of its own, in turn.
        scheduler: Lets more workers join while they work; None for `count` workers throughout.
    """

    def __init__(self, count: int, machine: Machine, scheduler: GpuScheduler | None = None) -> None:
        self.count, self.machine, self.scheduler = count, machine, scheduler
        self.processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "WorkerPool":
        self.processes = [self._start() for _ in range(self.count)]
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()  # loses nothing that is committed: a commit is there whole or not at all
            process.communicate()  # waits, and closes its standard input

    def work(self, orders: WorkerOrders, look: Callable[[], None]) -> None:
        """Send the orders and watch until all workers have exited.

        A worker that a signal ended, or that exited in the middle of a job, is replaced. The job it died in is not
        tried again in this session, so this ends.

        Raises:
            FathomError: A worker exited with an error.
        """
        restarts, measured = 0, time.monotonic()
        for number in range(self.count):
            self._send(number, orders)
        while any(process.poll() is None for process in self.processes):
            look()
            time.sleep(POLL_SECONDS)
            for number, process in enumerate(self.processes):
                # 1 is the status of an error in Python, which would come again.
                if process.poll() not in (None, FINISHED, 1) and restarts < MAX_RESTARTS * self.count:
                    restarts += 1
                    process.communicate()
                    self.processes[number] = self._start()
                    self._send(number, orders)
            if self.scheduler and time.monotonic() - measured > MEASURE_SECONDS:
                measured = time.monotonic()
                # Once a worker has left there is too little to do, and another one would find nothing.
                all_alive = all(process.poll() is None for process in self.processes)
                if all_alive and self.scheduler.can_admit(len(self.processes)):
                    self.processes.append(self._start())
                    self._send(len(self.processes) - 1, orders)
        if broken := [process.returncode for process in self.processes if process.returncode != FINISHED]:
            statuses = ", ".join(map(str, broken))
            raise FathomError(
                f"{len(broken)} of {len(self.processes)} worker processes failed (exit status {statuses}; their error "
                "messages are above; -9 usually means out of memory: give --workers a smaller number). Committed "
                "results are kept; run the same command again to resume"
            )

    def _start(self) -> "subprocess.Popen[str]":
        environment = os.environ | {name: str(self.machine.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "fathom.engine.worker"],  # -P: import nothing from the current folder
            stdin=subprocess.PIPE,
            stdout=2,  # standard error: what a plug-in prints is not the command's result
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C then reaches the parent alone, which kills its workers
        )

    def _send(self, number: int, orders: WorkerOrders) -> None:
        device = torch.device(self.machine.device)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", number % torch.cuda.device_count())
        orders = dataclasses.replace(orders, machine={**orders.machine, "device": str(device)})
        pipe = self.processes[number].stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps(dataclasses.asdict(orders)) + "\n")
            pipe.flush()
        except BrokenPipeError:
            pass  # it died while it started; `work` sees its exit status
