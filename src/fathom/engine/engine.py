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

from fathom.core.machine import Machine, RunOptions
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


def data_root(machine: Machine = Machine(), *, quiet: bool = False) -> DataRoot:
    """Folders of the datasets and of the cache (see `machine.paths`)."""
    return DataRoot(*data_folders(machine.data, machine.cache), download=machine.download, quiet=quiet)


def run_study(
    study: Study,
    out: str | Path,
    *,
    only: Study | None = None,
    workers: int | None = None,
    engine: str = "local",
    options: RunOptions = RunOptions(),
    machine: Machine = Machine(),
    progress: Progress | None = None,
) -> StudyOutcome:
    """Run a study, or resume it.

    Args:
        study: The whole study. The caller has applied `options.hparams` and `options.freeze` to it.
        out: Folder for the results; a folder that holds part of them resumes.
        only: The part of the study to run now. The folder holds the whole study; the outcome counts the part.
        workers: Worker processes; 0 works in this process. None: one per core on the CPU; one per GPU, and more where
            the memory and idle time of a GPU allow it. Must be None on Ray.
        engine: `local` (worker processes of this machine), `ray` or `ray:HOST:PORT` (a cluster, see docs/clusters.md).
        options: `extend`, `accept_environment` and `gpu_share`.
        machine: Data, cache, device, threads. Its plug-ins are registered by the caller.
        progress: Called with (trainings committed, trainings in total). None: no progress of any kind is shown.

    Returns:
        The counts and the failed runs; a failed run raises nothing.

    Raises:
        FathomError: Study, data, regime, store or machine do not fit; nothing was trained.
        Interrupted: Ctrl-C, SIGTERM or SIGUSR2 during training; committed rounds are kept.
    """
    if machine.threads < 1 or (workers is not None and workers < 0):
        raise FathomError(f"expected threads >= 1 and workers >= 0; got {machine.threads} and {workers}")
    root = data_root(machine, quiet=progress is None)
    call: _Call | None = None
    with notice_signals() as noticed:
        try:
            with find_engine(engine, machine, workers, options.gpu_share) as chosen:
                noticed.install()  # an engine may have put its own handlers there
                report = progress or (lambda committed, total: None)
                call = _Call(study, only, Store(out), chosen, noticed, report, options.accept_environment)
                return call.work(root, options.extend)
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


def find_engine(text: str, machine: Machine, workers: int | None, gpu_share: float | None = None) -> Engine:
    """The engine called `local`, `ray` or `ray:ADDRESS`.

    Raises:
        FathomError: There is none of that name, or an option is not for it.
    """
    name, _, address = text.partition(":")
    if name == "ray":
        from fathom.engine.ray import RayEngine

        return RayEngine(address, machine.device, machine.threads, workers, machine.fast, gpu_share)
    if text != "local":
        raise FathomError(f"expected engine local, ray or ray:HOST:PORT (such as ray:10.0.0.1:6379); got {text!r}")
    if gpu_share is not None:
        raise FathomError("gpu_share needs the engine ray; the local engine starts as many workers as a GPU can take")
    return LocalEngine(find_device(machine.device), machine.threads, workers, machine.fast)


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
