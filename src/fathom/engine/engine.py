"""The engine: `run` checks a study against data, store and machine, then has workers do its jobs.

Local engine: worker processes of one thread each on the CPU, one process per GPU. Weights after training differ between
one and two threads, so the number of threads is part of a result; the number of workers must not be. On a Ray cluster
every job is a task. Workers commit through the store, which the parent only watches; so the engine decides no number.
"""

import dataclasses
import os
import secrets
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Union

from fathom.core.machine import Machine, RunOptions
from fathom.core.records import FathomError, Study, digest
from fathom.data.dataset import DataRoot
from fathom.engine import heartbeat
from fathom.engine.jobs import Job
from fathom.engine.local import LocalEngine, default_workers
from fathom.engine.preflight import prepare
from fathom.engine.retry import retry_settings
from fathom.engine.signals import STOPPED, TRY_AGAIN, SignalNoticed, Terminated, notice_signals
from fathom.engine.thumbnails import keep_thumbnails
from fathom.engine.watch import Interrupted, Progress, StudyOutcome, Watch
from fathom.engine.worker import WorkerOrders
from fathom.machine.environment import check, check_code
from fathom.machine.paths import data_folders
from fathom.protocol.checkpoint import checkpoint_seconds
from fathom.protocol.context import WorkerContext
from fathom.registry import registry
from fathom.registry.code import MemberCode, codes_of
from fathom.registry.registry import members_of
from fathom.store import locks, study_folder
from fathom.store.leftovers import remove_leftovers
from fathom.store.store import Store
from fathom.store.unwritten import UnwrittenStore

if TYPE_CHECKING:
    from fathom.engine.ray import RayEngine

MOST_PROCESSES = 4096  # workers of one machine, or threads of one of them

Engine = Union[LocalEngine, "RayEngine"]

__all__ = ["Interrupted", "Progress", "StudyOutcome", "data_root", "default_workers", "run_study"]


def data_root(machine: Machine = Machine(), *, quiet: bool = False) -> DataRoot:
    """Folders of the datasets and of the cache (see `machine.paths`)."""
    return DataRoot(*data_folders(machine.data, machine.cache), download=machine.download, quiet=quiet)


def worker_machine(machine: Machine, data: DataRoot) -> Machine:
    """The machine of worker processes, with the caller's folders; plug-ins are sent as they were read here."""
    return dataclasses.replace(machine, data=data.path.absolute(), cache=data.cache.absolute(), plugins=())


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
    if not 1 <= machine.threads <= MOST_PROCESSES or not 0 <= (workers or 0) <= MOST_PROCESSES:
        raise FathomError(
            f"expected threads >= 1 and workers >= 0 (at most {MOST_PROCESSES:,}); got {machine.threads} and {workers}"
        )
    locks.silence(), checkpoint_seconds()  # refused now, where the environment's variables are not numbers
    root = data_root(machine, quiet=progress is None)
    call: _Call | None = None
    with notice_signals() as noticed:
        try:
            with find_engine(engine, machine, workers, options.gpu_share) as chosen:
                noticed.install()  # Ray has installed its own handlers
                call = _Call(study, only, Store(out), chosen, noticed, progress)
                return call.work(root, options)
        except (KeyboardInterrupt, Terminated, SystemError) as stop:
            if isinstance(stop, SystemError) and noticed.kind is None:
                raise  # a real one; Ray's compiled code turns the exception of a signal handler into a SystemError too
            terminated = isinstance(stop, Terminated) or noticed.kind is Terminated
            noticed.kind, noticed.deferred = None, False
            if not terminated and (call is None or call.watch is None):
                raise KeyboardInterrupt from None  # before the jobs are known there is no outcome to report
            if call is not None and call.watch is not None:
                call.store.clean()
            outcome = call.outcome() if call else StudyOutcome(str(out), len((only or study).runs), 0, 0, 0)
            raise Interrupted(outcome, TRY_AGAIN if terminated else STOPPED) from None


def find_engine(text: str, machine: Machine, workers: int | None, gpu_share: float | None = None) -> Engine:
    """Find the engine called `local`, `ray` or `ray:HOST:PORT`.

    Raises:
        FathomError: There is none of that name, or an option does not fit it.
    """
    name, _, address = text.partition(":")
    if name == "ray":
        if not (address or os.environ.get("RAY_ADDRESS")):
            # Ray reads these when it is imported. A cluster that is started here is for this call alone: it listens on
            # the loopback interface, and takes nothing from a process that has not its token.
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
            if os.environ.setdefault("RAY_AUTH_MODE", "token") == "token":
                os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        from fathom.engine.ray import RayEngine

        if workers is not None:
            raise FathomError(
                f"expected no number of workers with the engine ray, which does as many jobs at once as the cluster's "
                f"CPUs and GPUs allow; got {workers}. Set them with ray start --num-cpus and --num-gpus"
            )
        return RayEngine(address, machine, gpu_share)
    if text != "local":
        raise FathomError(f"expected engine local, ray or ray:HOST:PORT (such as ray:10.0.0.1:6379); got {text!r}")
    if gpu_share is not None:
        raise FathomError("gpu_share needs the engine ray; the local engine starts as many workers as a GPU can take")
    return LocalEngine(machine, workers)


class _Call:
    """One call of `run_study`."""

    def __init__(
        self,
        study: Study,
        only: Study | None,
        store: Store,
        engine: Engine,
        noticed: SignalNoticed,
        progress: Progress | None,
    ) -> None:
        self.study, self.only, self.part = study, only, only or study
        self.store, self.engine, self.noticed = store, engine, noticed
        self.progress: Progress = progress or (lambda committed, total: None)
        self.began, self.session = time.perf_counter(), uuid.uuid4().hex[:12]
        self.watch: Watch | None = None

    def work(self, root: DataRoot, options: RunOptions) -> StudyOutcome:
        """Check the study, have its jobs done, and repeat while a retry is declared for a setting."""
        store, engine = self.store, self.engine
        study_folder.expect_study(store, self.study, extend=options.extend)
        environment = engine.describe()
        context = WorkerContext(store, root, engine.device, environment.name, accept=options.accept_environment)
        context.codes = codes_of(self.part.runs)
        orders = self._orders(context, options.accept_environment)
        again = True
        while again:
            with engine.worker_pool():
                store.refresh_retries()
                context.store = trial = UnwrittenStore(store.root)  # a study that is refused changes nothing on disk
                trial.study, trial.cached_retries = self.study, store.cached_retries
                jobs = prepare(self.part, context, self.study)
                check(trial, environment, accept=options.accept_environment)
                check_code(trial, open_code(jobs, context), accept=options.accept_environment)
                store.begin(self.study, extend=options.extend)
                trial.write_to(store)
                context.store = store
                store.clean()
                remove_leftovers(root.cache)
                listed = [dataclasses.asdict(job) for job in jobs]
                trainings = [job.trainings(store) for job in jobs]
                heartbeat.write_jobs(store, [j | {"trainings": n} for j, n in zip(listed, trainings, strict=True)])
                self.watch = Watch(store, jobs, self.began, self.progress, self.session, self.noticed)
                orders = dataclasses.replace(orders, retries=store.cached_retries, jobs=listed)
                engine.work(orders, jobs, context, self.watch)
            again = retry_settings(context, self.part, self.session, engine.kind)
        store.clean()
        outcome = self.outcome()
        if outcome.finished:
            keep_thumbnails(context)
        if outcome.finished and self.only is None:
            store.clear_work()
            heartbeat.clear(store)
        return outcome

    def outcome(self) -> StudyOutcome:
        """Count what is committed now."""
        if self.watch is None:
            return StudyOutcome(str(self.store.root), len(self.part.runs), 0, 0, 0)
        return self.watch.outcome()

    def _orders(self, context: WorkerContext, accept: bool) -> WorkerOrders:
        """The orders of every worker; retries and jobs are filled in before each pass."""
        machine = worker_machine(self.engine.machine, context.data)
        return WorkerOrders(
            out=str(context.store.root.absolute()),
            folder=str(Path.cwd()),  # relative paths in spec strings are those of the caller
            # This process loads every dataset before any worker starts, so that only one process downloads.
            machine=dataclasses.replace(machine, download=False).to_json(),
            session=self.session,
            environment=context.environment,
            study=digest(self.study.to_json()),
            accept=accept,
            code=registry.export_code(),
            codes={name: dataclasses.asdict(code) for name, code in context.codes.items()},
        )


def open_code(jobs: Iterable[Job], context: WorkerContext) -> list[MemberCode]:
    """Code of members that has no record here, and that a job which is still to be done uses."""
    known = {path.stem for path in (context.store.root / "code").glob("*.json")}
    new = {name: code for name, code in context.codes.items() if code.sha256 not in known}
    used: set[str] = set()
    for job in jobs if new else ():
        names = {f"{entry.kind} {entry.name}" for entry in members_of(job.setting, job.query)} & new.keys()
        if names - used and not job.done(context.store):
            used |= names
    return [code for name, code in new.items() if name in used]
