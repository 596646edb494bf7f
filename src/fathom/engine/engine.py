"""The engine: `run` checks a study against data, store and machine, then has workers do its jobs.

Local engine: worker processes of one thread each on the CPU (so that a result does not depend on how many there are),
one process per GPU where there are GPUs. On a Ray cluster every job is a task. Workers commit through the store, which
the parent only watches; so the engine decides no number.
"""

import dataclasses
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Union

from fathom.core.records import FathomError, Study, digest
from fathom.data.dataset import DataRoot
from fathom.engine import heartbeat
from fathom.engine.jobs import Job, trainings
from fathom.engine.local import LocalEngine, default_workers
from fathom.engine.preflight import prepare
from fathom.engine.retry import retry_settings
from fathom.engine.signals import STOPPED, TRY_AGAIN, SignalNoticed, Terminated, notice_signals
from fathom.engine.watch import Interrupted, Progress, StudyOutcome, Watch
from fathom.engine.worker import WorkerOrders
from fathom.machine.environment import check, find_device
from fathom.machine.paths import data_folders
from fathom.protocol.context import WorkerContext
from fathom.registry import registry
from fathom.store.store import Store

if TYPE_CHECKING:
    from fathom.engine.ray import RayEngine

Engine = Union[LocalEngine, "RayEngine"]

__all__ = ["Interrupted", "Progress", "StudyOutcome", "data_root", "default_workers", "run_study"]


def data_root(data: str | Path | None = None, *, download: bool = False, quiet: bool = False) -> DataRoot:
    """Where datasets and the cache of images, features and encoders are (see `machine.paths`)."""
    return DataRoot(*data_folders(data), download=download, quiet=quiet)


def run_study(
    study: Study,
    out: str | Path,
    *,
    data: str | Path | None = None,
    download: bool = False,
    engine: str = "local",
    device: str = "auto",
    threads: int = 1,
    workers: int | None = None,
    fast: bool = False,
    extend: bool = False,
    accept_environment: bool = False,
    only: Study | None = None,
    quiet: bool = True,
    gpu_share: float | None = None,
    progress: Progress = lambda committed, total: None,
) -> StudyOutcome:
    """Run a study, or go on where it stopped.

    Args:
        study: The study.
        out: Folder for the results; the same folder again goes on where it stopped.
        data: Folder of the datasets' official files (default: FATHOM_DATA, else ./data).
        download: Fetch datasets that are not there.
        engine: `local` (worker processes of this machine), `ray` or `ray:ADDRESS` (a cluster, see docs/clusters.md).
        device: `auto`, `cpu`, `cuda`, `cuda:1`.
        threads: CPU threads of a worker. Part of what decides the numbers.
        workers: Worker processes; None: one per core on the CPU, one per GPU and more where memory and idle time of a
            GPU carry them; 0: work in this process. Ray decides that by itself.
        fast: On CUDA, kernels whose sums have no fixed order; part of what decides the numbers. Without it a run gives
            the same bits again.
        extend: Accept a study that adds runs to the one in `out`.
        accept_environment: Accept other package versions, device type or threads than the results in `out` have.
        only: The part of the study to do now; the folder holds the whole study, and the outcome is of the part.
        quiet: No progress of image decoding and downloads.
        gpu_share: Share of a GPU that a job takes on Ray; None: a whole one, until what jobs take of it is measured.
        progress: Called with (trainings committed, trainings in all).

    Returns:
        How it ended; failed runs are in it, they raise nothing.

    Raises:
        FathomError: Study, data, regime, store or machine do not fit; nothing was trained.
        Interrupted: Ctrl-C, SIGTERM or SIGUSR2; what was committed is safe.
    """
    if threads < 1 or (workers is not None and workers < 0):
        raise FathomError(f"expected threads from 1 and workers from 0; got {threads} and {workers}")
    root = data_root(data, download=download, quiet=quiet)
    call: _Call | None = None
    with notice_signals() as noticed:
        try:
            with find_engine(engine, device, threads, workers, fast, gpu_share) as chosen:
                noticed.install()  # an engine may have put its own handlers there
                call = _Call(study, only, Store(out), chosen, noticed, progress, accept_environment)
                return call.work(root, extend)
        except (KeyboardInterrupt, Terminated, SystemError) as stop:
            if isinstance(stop, SystemError) and noticed.kind is None:
                raise  # else it is what an extension module made of a signal that came while it worked
            terminated = isinstance(stop, Terminated) or noticed.kind is Terminated
            noticed.kind, noticed.deferred = None, False
            if not terminated and (call is None or call.watch is None):
                raise KeyboardInterrupt from None  # as while data are loaded: nothing is known yet
            Store(out).clean()
            outcome = call.outcome() if call else StudyOutcome(str(out), len((only or study).runs), 0, 0, 0)
            raise Interrupted(outcome, TRY_AGAIN if terminated else STOPPED) from None


def find_engine(
    text: str, device: str, threads: int, workers: int | None, fast: bool, gpu_share: float | None = None
) -> Engine:
    """The engine called `local`, `ray` or `ray:ADDRESS`.

    Raises:
        FathomError: There is none of that name, or an option is not for it.
    """
    name, _, address = text.partition(":")
    if name == "ray":
        from fathom.engine.ray import RayEngine

        return RayEngine(address, device, threads, workers, fast, gpu_share)
    if text != "local":
        raise FathomError(f"expected engine local, ray or ray:ADDRESS (such as ray:10.0.0.1:6379); got {text!r}")
    if gpu_share is not None:
        raise FathomError("gpu_share is for the engine ray; here workers join a GPU by what is measured, see workers")
    return LocalEngine(find_device(device), threads, workers, fast)


class _Call:
    """One call of `run`."""

    def __init__(
        self,
        study: Study,
        only: Study | None,
        store: Store,
        engine: Engine,
        noticed: SignalNoticed,
        progress: Progress,
        accept: bool,
    ) -> None:
        self.study, self.only, self.part = study, only, only or study
        self.store, self.engine, self.noticed = store, engine, noticed
        self.progress, self.accept = progress, accept
        self.began, self.session = time.perf_counter(), uuid.uuid4().hex[:12]
        self.watch: Watch | None = None

    def work(self, root: DataRoot, extend: bool) -> StudyOutcome:
        """Check, have the jobs done, again where settings are done again."""
        store, engine = self.store, self.engine
        store.begin(self.study, extend=extend)
        environment = engine.describe()
        context = WorkerContext(store, root, engine.device, environment.name)
        again = True
        while again:
            with engine.worker_pool():
                store.refresh_retries()
                jobs = prepare(self.part, context, self.study)
                check(store, environment, accept=self.accept)
                store.clean()
                heartbeat.write_jobs(store, [{**dataclasses.asdict(j), "trainings": trainings(j, store)} for j in jobs])
                self.watch = Watch(store, jobs, self.began, self.progress, self.session, self.noticed)
                engine.work(self._orders(context, jobs), jobs, context, self.watch)
            again = retry_settings(context, self.part, self.session, engine.kind)
        store.clean()
        outcome = self.outcome()
        if outcome.finished and self.only is None:
            store.clear_work()
            heartbeat.clear(store)
        return outcome

    def outcome(self) -> StudyOutcome:
        """How it stands."""
        if self.watch is None:
            return StudyOutcome(str(self.store.root), len(self.part.runs), 0, 0, 0)
        return self.watch.outcome()

    def _orders(self, context: WorkerContext, jobs: list[Job]) -> WorkerOrders:
        """What the workers are told."""
        return WorkerOrders(
            out=str(context.store.root),
            data=str(context.data.path),
            cache=str(context.data.cache),
            download=False,
            device=str(context.device),
            threads=self.engine.threads,
            fast=self.engine.fast,
            environment=context.environment,
            retries=context.store.cached_retries,
            session=self.session,
            plugins=registry.added_files(),
            jobs=[dataclasses.asdict(job) for job in jobs],
            study=digest(self.study.to_json()),
            accept=self.accept,
        )
