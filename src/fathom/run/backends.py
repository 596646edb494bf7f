"""The engine: `run` checks a study against data, store and machine, then has workers do its jobs.

Local engine: worker processes of one thread each on the CPU (so that a result does not depend on how many there are),
one process per GPU where there are GPUs. Workers commit through the store; the parent only watches it.
"""

import dataclasses
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fathom import registry
from fathom.data.dataset import DataRoot
from fathom.records import FathomError, Study
from fathom.run.crew import Crew
from fathom.run.environment import check, describe, find_device, set_mode
from fathom.run.jobs import Job, done, trainings
from fathom.run.lab import Lab
from fathom.run.prepare import prepare
from fathom.run.retry import retry_settings
from fathom.run.retune import committed as retuned
from fathom.run.sharing import Sharing
from fathom.run.worker import Orders, work
from fathom.store import Store

Progress = Callable[[int, int], None]  # (trainings committed, trainings in all)


class Interrupted(Exception):
    """Ctrl-C or a signal ended the work; what was committed is safe."""

    def __init__(self, outcome: "Outcome", exit_code: int) -> None:
        super().__init__("interrupted")
        self.outcome, self.exit_code = outcome, exit_code


@dataclass(frozen=True)
class Outcome:
    """How a call of `run` ended.

    Args:
        out: The study's folder.
        runs, complete: Runs in the study; runs with all rounds committed.
        trainings, committed: Trainings in the study after sharing; those committed.
        failures: What failed in this call (see `Store.failures`).
        seconds: Wall-clock of this call.
    """

    out: str
    runs: int
    complete: int
    trainings: int
    committed: int
    failures: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def finished(self) -> bool:
        return self.complete == self.runs and self.committed == self.trainings


def data_root(data: str | Path | None = None, *, download: bool = False, quiet: bool = False) -> DataRoot:
    """Where datasets are: `data`, else FATHOM_DATA, else ./data; and the cache of images, features and encoders.

    The cache is FATHOM_CACHE, else in the datasets' folder, else, where there is no such folder, that of the user.
    """
    path = Path(data or os.environ.get("FATHOM_DATA") or "data").expanduser()
    own = path / ".fathom-cache" if path.is_dir() else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "fathom"
    cache = Path(os.environ.get("FATHOM_CACHE") or own).expanduser()
    return DataRoot(path, cache, download=download, quiet=quiet)


def run(
    study: Study,
    out: str | Path,
    *,
    data: str | Path | None = None,
    download: bool = False,
    device: str = "auto",
    threads: int = 1,
    workers: int | None = None,
    fast: bool = False,
    extend: bool = False,
    accept_environment: bool = False,
    only: Study | None = None,
    quiet: bool = True,
    progress: Progress = lambda committed, total: None,
) -> Outcome:
    """Run a study, or go on where it stopped.

    Args:
        study: The study.
        out: Folder for the results; the same folder again goes on where it stopped.
        data: Folder of the datasets' official files (default: FATHOM_DATA, else ./data).
        download: Fetch datasets that are not there.
        device: `auto`, `cpu`, `cuda`, `cuda:1`.
        threads: CPU threads of a worker. Part of what decides the numbers.
        workers: Worker processes; None: one per core on the CPU, one per GPU and more where memory and idle time of a
            GPU carry them; 0: work in this process.
        fast: On CUDA, kernels whose sums have no fixed order; part of what decides the numbers. Without it a run gives
            the same bits again.
        extend: Accept a study that adds runs to the one in `out`.
        accept_environment: Accept other package versions, device type or threads than the results in `out` have.
        only: The part of the study to do now; the folder holds the whole study, and the outcome is of the part.
        quiet: No progress of image decoding and downloads.
        progress: Called with (trainings committed, trainings in all).

    Returns:
        How it ended; failed runs are in it, they raise nothing.

    Raises:
        FathomError: Study, data, regime, store or machine do not fit; nothing was trained.
        Interrupted: Ctrl-C or SIGTERM; what was committed is safe.
    """
    if threads < 1 or (workers is not None and workers < 0):
        raise FathomError(f"expected threads from 1 and workers from 0; got {threads} and {workers}")
    began = time.perf_counter()
    where = find_device(device)
    root = data_root(data, download=download, quiet=quiet)
    store = Store(out)
    store.begin(study, extend=extend)
    environment = describe(where, threads, fast=fast)
    lab = Lab(store, root, where, environment.name)
    count = default_workers(where, threads) if workers is None else workers
    session, again, interrupted = uuid.uuid4().hex[:12], True, _notice_interrupts()
    while again:
        with Crew(count, threads, where, sharing_of(where, workers)) as crew:
            store.forget()
            jobs = prepare(only or study, lab, study)
            check(store, environment, accept=accept_environment)
            store.clean()
            watch = _Watch(store, jobs, began, progress, session, fast, interrupted)
            with _signals(watch):
                _work(crew, lab, jobs, threads, watch)
        again = retry_settings(lab, only or study, session)
    store.clean()
    outcome = watch.outcome()
    if outcome.finished and only is None:
        store.clear_work()
    return outcome


def _work(crew: Crew, lab: Lab, jobs: list[Job], threads: int, watch: "_Watch") -> None:
    """Have the jobs done, by the crew or in this process."""
    if crew.count:
        crew.work(_orders(lab, jobs, threads, watch), watch.look)
        return
    set_mode(lab.device, fast=watch.fast)
    torch.set_num_threads(threads)
    work(lab, jobs, watch.session, lambda job: watch.look())


def _orders(lab: Lab, jobs: list[Job], threads: int, watch: "_Watch") -> Orders:
    """What the workers are told."""
    return Orders(
        out=str(lab.store.root),
        data=str(lab.data.path),
        cache=str(lab.data.cache),
        download=False,
        device=str(lab.device),
        threads=threads,
        fast=watch.fast,
        environment=lab.environment,
        retries=lab.store.pinned,
        session=watch.session,
        plugins=registry.added_files(),
        jobs=[dataclasses.asdict(job) for job in jobs],
    )


def sharing_of(device: torch.device, workers: int | None) -> Sharing | None:
    """More workers may join on GPUs, unless their number was given."""
    if workers is not None or device.type != "cuda":
        return None
    return Sharing(torch.cuda.device_count()) if device.index is None else Sharing(1, device.index)


def default_workers(device: torch.device, threads: int) -> int:
    """One worker per GPU to begin with (see `run.sharing`); on the CPU as many as its cores carry."""
    if device.type == "cuda":
        return torch.cuda.device_count() if device.index is None else 1
    return max(1, len(os.sched_getaffinity(0)) // threads if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@dataclass
class _Watch:
    """The parent's view of the work: what is committed, and how it ends."""

    store: Store
    jobs: list[Job]
    began: float
    progress: Progress
    session: str
    fast: bool
    interrupted: list[bool]
    total: int = 0

    def __post_init__(self) -> None:
        self.total = sum(trainings(job, self.store) for job in self.jobs)

    def committed(self) -> int:
        """Trainings committed so far, every file read and checked."""
        count = 0
        for job in self.jobs:
            if job.kind == "run":
                count += max(0, len(self.store.rounds(job.spec)) - 1)
                count += retuned(self.store, job.spec) if job.retunings else 0
            elif done(self.store, job):
                count += trainings(job, self.store)
        return count

    def look(self) -> None:
        """Tell the progress by the names of files alone, so that watching a large study costs nothing."""
        if self.interrupted:
            self.interrupted.clear()
            raise KeyboardInterrupt
        wanted = {job.name for job in self.jobs}
        paths = (path for path in self.store.root.glob("runs/*/round-*.json") if f"runs/{path.parent.name}" in wanted)
        rounds = sum(path.stem != "round-00" for path in paths)  # round 0 is trained by its `first` job
        names = (
            f"shared/{kind}/{path.stem}"
            for kind in ("prepared", "search", "first", "ceiling")
            for path in self.store.root.glob(f"shared/{kind}/*.json")
        )
        shared = sum(name in wanted for name in names)
        again = sum(
            f"runs/{path.stem.rsplit('-', 2)[0]}" in wanted for path in self.store.root.glob("shared/retuning/*.json")
        )
        self.progress(min(rounds + shared + again, self.total), self.total)

    def outcome(self) -> Outcome:
        self.look()
        runs = [job for job in self.jobs if job.kind == "run"]
        return Outcome(
            out=str(self.store.root),
            runs=len(runs),
            complete=sum(self.store.complete(job.spec) for job in runs),
            trainings=self.total,
            committed=self.committed(),
            failures=[f for f in self.store.failures() if f["session"] == self.session],
            seconds=time.perf_counter() - self.began,
        )


def _notice_interrupts() -> list[bool]:
    """Remember Ctrl-C: raised inside a destructor or a callback, where Python drops exceptions, it would be lost."""
    noticed: list[bool] = []

    def notice(*_: object) -> None:
        noticed[:] = [True]
        raise KeyboardInterrupt

    # Not where somebody else handles it, or has it ignored, or outside the main thread.
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) in (
        signal.default_int_handler,
        *_installed,
    ):
        _installed[:] = [notice]
        signal.signal(signal.SIGINT, notice)
    return noticed


_installed: list[Any] = []  # our own handler, so that a second call in one process replaces it


class _Terminated(BaseException):
    """SIGTERM came."""


@contextmanager
def _signals(watch: _Watch) -> Iterator[None]:
    """Turn Ctrl-C (exit status 130) and SIGTERM (75: try again) into `Interrupted`."""

    def terminate(*_: object) -> None:
        raise _Terminated

    try:
        before = signal.signal(signal.SIGTERM, terminate)
    except ValueError:  # not in the main thread, as in some notebooks
        before = None
    try:
        yield
    except (KeyboardInterrupt, _Terminated) as stop:
        watch.store.clean()
        raise Interrupted(watch.outcome(), 75 if isinstance(stop, _Terminated) else 130) from None
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
