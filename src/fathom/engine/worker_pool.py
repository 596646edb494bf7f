"""Worker processes of the local engine: one thread each on the CPU, one process per GPU."""

import contextlib
import dataclasses
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from fathom.core.machine import Machine
from fathom.core.records import FathomError
from fathom.engine.gpu_sharing import MEASURE_SECONDS, GpuScheduler
from fathom.engine.worker import FINISHED, REPORTED, WorkerOrders
from fathom.store import locks

MAX_RESTARTS = 4  # replacements of dead workers, per worker
POLL_SECONDS = 0.2
START_SECONDS = 600.0  # until the first sign of life of a process, which imports torch before
_log = logging.getLogger(__name__)


class WorkerProcess:
    """One worker process, and when it last gave a sign of life.

    Args:
        threads: Number of threads that it computes with.
    """

    def __init__(self, threads: int) -> None:
        environment = os.environ | {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        # Windows passes no such pipe on; a worker that is frozen there is not noticed.
        self.beats: int | None
        self.beats, other = os.pipe() if os.name == "posix" else (None, None)
        more = [] if other is None else [str(other)]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "fathom.engine.worker", *more],  # -P: import nothing from the current folder
            stdin=subprocess.PIPE,
            stdout=2,  # standard error: what a plug-in prints is not the command's result
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C then reaches the parent alone, which kills its workers
            pass_fds=() if other is None else (other,),
        )
        if self.beats is not None and other is not None:
            os.close(other)
            os.set_blocking(self.beats, False)
        self.received, self.silence, self.silent = 0, locks.Silence(), False

    @property
    def status(self) -> int | None:
        """Exit status; None while the process runs."""
        return self.process.poll()

    def look(self) -> None:
        """Note its signs of life; warn once when they end."""
        if self.beats is None:
            return
        with contextlib.suppress(BlockingIOError):
            self.received += len(os.read(self.beats, 4096))
        limit = locks.silence() if self.received else max(START_SECONDS, locks.silence())
        was, self.silent = self.silent, self.silence.look(self.received) > limit
        if self.silent and not was and self.status is None:
            text = "worker process %d gave no sign of life for %g s; another one takes over its job"
            _log.warning(text, self.process.pid, limit)

    def close(self) -> None:
        """End the process; wait for it."""
        if self.status is None:
            self.process.kill()  # loses nothing that is committed: a commit is there whole or not at all
        self.process.communicate()  # waits, and closes its standard input
        if self.beats is not None:
            os.close(self.beats)
            self.beats = None


class WorkerPool:
    """Worker processes. They start at once and import what they need while the caller still checks the study.

    Args:
        count: Number of processes.
        machine: Threads of each; device `cuda` gives each worker a GPU of its own, in turn.
        scheduler: Lets more workers join while they work; None for `count` workers throughout.
    """

    def __init__(self, count: int, machine: Machine, scheduler: GpuScheduler | None = None) -> None:
        self.count, self.machine, self.scheduler = count, machine, scheduler
        self.workers: list[WorkerProcess] = []
        self.restarts = 0

    def __enter__(self) -> "WorkerPool":
        self.workers = [WorkerProcess(self.machine.threads) for _ in range(self.count)]
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.close()

    def work(self, orders: WorkerOrders, look: Callable[[], None]) -> None:
        """Send the orders and watch until all workers have exited, or are frozen while others have done their work.

        A worker that dies is replaced. The job it died in is not tried again in this session, so this ends.

        Raises:
            FathomError: A worker exited with an error.
        """
        measured = time.monotonic()
        for number in range(self.count):
            self._send(number, orders)
        while not self._ended(orders):
            look()
            time.sleep(POLL_SECONDS)
            for worker in self.workers:
                worker.look()
            self._replace_dead(orders)
            if self.scheduler and time.monotonic() - measured > MEASURE_SECONDS:
                measured = time.monotonic()
                # Once a worker has left there is too little to do, and another one would find nothing.
                all_alive = all(worker.status is None for worker in self.workers)
                if all_alive and self.scheduler.can_admit(len(self.workers)):
                    self._add(orders)
        if broken := [worker.status for worker in self.workers if worker.status not in (None, FINISHED)]:
            statuses = ", ".join(map(str, broken))
            raise FathomError(
                f"{len(broken)} of {len(self.workers)} worker processes failed (exit status {statuses}; their error "
                "messages are above; -9 usually means out of memory: give --workers a smaller number). Committed "
                "results are kept; run the same command again to resume"
            )

    def _ended(self, orders: WorkerOrders) -> bool:
        """Tell whether no worker is left that does something; where all are frozen, another one is started."""
        left = [worker for worker in self.workers if worker.status is None]
        if any(not worker.silent for worker in left):
            return False
        # One that has finished has waited for the jobs of those that are frozen, and has taken them over.
        if not left or any(worker.status == FINISHED for worker in self.workers):
            return True
        if not self._may_restart():
            raise FathomError(
                f"{len(left)} worker processes give no sign of life, as do those that were started in their place. "
                "Committed results are kept; run the same command again to resume"
            )
        self._add(orders)
        return False

    def _replace_dead(self, orders: WorkerOrders) -> None:
        for number, worker in enumerate(self.workers):
            # An error that was reported would come again. Any other exit is a death in the middle of a job: a signal,
            # or a plug-in that calls os._exit.
            if worker.status not in (None, FINISHED, REPORTED) and self._may_restart():
                worker.close()
                self.workers[number] = WorkerProcess(self.machine.threads)
                self._send(number, orders)

    def _may_restart(self) -> bool:
        self.restarts += 1
        return self.restarts <= MAX_RESTARTS * self.count

    def _add(self, orders: WorkerOrders) -> None:
        self.workers.append(WorkerProcess(self.machine.threads))
        self._send(len(self.workers) - 1, orders)

    def _send(self, number: int, orders: WorkerOrders) -> None:
        device = torch.device(self.machine.device)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", number % torch.cuda.device_count())
        orders = dataclasses.replace(orders, machine={**orders.machine, "device": str(device)})
        pipe = self.workers[number].process.stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps(dataclasses.asdict(orders)) + "\n")
            pipe.flush()
        except BrokenPipeError:
            pass  # it died while it started; `work` sees its exit status
