"""The engine for many machines: every job is a task of Ray, which places, retries and scales.

A task is told plain JSON and the references of the tasks whose results it needs (`engine.ray_task`); nothing that
it computes travels through Ray. All machines must see the study's folder, the data and the members' files under the
same paths.
"""

import contextlib
import dataclasses
import json
import os
import time
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from fathom.core.records import FathomError
from fathom.engine.gpu_sharing import gpu_share, host_memory
from fathom.engine.jobs import Job, done
from fathom.engine.ray_task import describe_worker, do_job
from fathom.engine.watch import Watch
from fathom.engine.worker import WorkerOrders, write_died
from fathom.machine.environment import Environment
from fathom.protocol.context import WorkerContext
from fathom.registry import registry

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
try:
    import ray
except ImportError:
    raise FathomError(
        'the engine ray needs the package Ray, which is not here: pip install "fathom-al[ray]", on every machine of '
        "the cluster"
    ) from None

LOOK_EVERY = 0.2  # seconds
TRIES = 4  # attempts at a job whose process or machine dies
AHEAD = 8  # tasks given to Ray beyond twice those that the cluster can do at once, so that an autoscaler sees demand
UNPLACED = 60.0  # seconds after which it is told that no machine can take a job


class ClusterWarning(UserWarning):
    """The cluster cannot do what is asked of it at the moment."""


class RayEngine:
    """A Ray cluster.

    Args:
        address: Of its head, such as `10.0.0.1:6379`; empty: Ray's own rule (`RAY_ADDRESS`, else a cluster of this
            machine, else one is started here and ended with the call).
        device: `auto`: GPUs where the cluster has any; `cpu`, `cuda`.
        threads: CPU threads of a job; also the CPUs that Ray reserves for it.
        workers: Must be None: Ray decides how many.
        fast: See `environment.set_mode`.
        gpu_share: Share of a GPU that a job takes; None: a whole one, until it is measured what jobs take.
    """

    def __init__(
        self, address: str, device: str, threads: int, workers: int | None, fast: bool, gpu_share: float | None
    ) -> None:
        if workers is not None:
            raise FathomError(
                f"expected no number of workers with the engine ray, which does as many jobs at once as the cluster's "
                f"CPUs and GPUs carry; got {workers}. Set them with ray start --num-cpus and --num-gpus"
            )
        if address.startswith("ray:"):
            raise FathomError(
                f"expected HOST:PORT of the cluster's head, such as ray:10.0.0.1:6379; got {address!r}. The call must "
                "run on a machine of the cluster, as it reads the study's folder"
            )
        if device not in ("auto", "cpu", "cuda"):
            raise FathomError(
                f"expected device auto, cpu or cuda with the engine ray, which deals GPUs; got {device!r}"
            )
        if gpu_share is not None and not 0 < gpu_share <= 1:
            raise FathomError(f"expected a share of a GPU above 0 and at most 1; got {gpu_share}")
        self.address, self.wanted, self.threads, self.fast, self.share = address, device, threads, fast, gpu_share
        self.kind, self.taken = "cpu", (0, 0)  # bytes of a GPU that a job took at most, and that the GPU has
        self.open: dict[Any, Job] = {}

    @property
    def device(self) -> torch.device:
        """What this process loads data on, to check the study."""
        return torch.device("cpu")

    def __enter__(self) -> "RayEngine":
        self.mine = not ray.is_initialized()
        if self.mine:
            threads = {"OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}
            quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
            try:
                ray.init(address=self.address or None, runtime_env={"env_vars": threads}, **quiet)
            except Exception as error:  # Ray raises bare ones too, as where a node takes too long to start
                reason = str(error).splitlines()[0]
                raise FathomError(
                    f"cannot reach a Ray cluster at {self.address or 'the address that Ray found'}: {reason}. Expected "
                    "the HOST:PORT that `ray start --head` printed, from a machine of the cluster"
                ) from None
        gpus = _resources().get("GPU", 0)
        if self.wanted == "cuda" and not gpus:
            warnings.warn("the cluster has no GPU at the moment; jobs wait for one", ClusterWarning, stacklevel=2)
        self.kind = "cuda" if self.wanted == "cuda" or (self.wanted == "auto" and gpus) else "cpu"
        return self

    def __exit__(self, *_: object) -> None:
        if self.mine:
            ray.shutdown()  # and with it all tasks; nothing is lost: a commit is there whole or not at all
        else:  # not for all: Ray may crash where a task ends while it is cancelled and the connection is closed
            for ref in self.open:
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.cancel(ref)
        self.open.clear()

    def describe(self) -> Environment:
        """What decides the numbers of a worker of the cluster; the others are compared with it."""
        ask = ray.remote(describe_worker).options(num_cpus=self.threads, num_gpus=self._gpus())
        told = ask.remote(self.kind, self.threads, self.fast, registry.added_files())
        self.heard = time.monotonic()
        while not ray.wait([told], timeout=LOOK_EVERY)[0]:
            self._look_unplaced()
        try:
            return Environment(**ray.get(told))
        except ray.exceptions.RayTaskError as error:
            raise _spoken(error) from None

    @contextlib.contextmanager
    def worker_pool(self) -> Iterator[None]:
        """Ray has its own workers."""
        yield

    def work(self, orders: WorkerOrders, jobs: list[Job], context: WorkerContext, watch: Watch) -> None:
        """Give the jobs to Ray in the order of the study, and watch until none is left.

        Raises:
            FathomError: A machine of the cluster cannot work for the study.
        """
        watch.noticed.deferred = True  # Ray's compiled code turns what a handler raises into a SystemError
        told = dataclasses.replace(orders, device=self.kind, environment="", jobs=[], tries=TRIES)
        line = json.dumps(dataclasses.asdict(told))
        memory = min(host_memory(context, {job.setting.dataset for job in jobs}), self._most("memory"))
        given: dict[str, Any] = {}  # name of a job -> what its task gives
        self.heard = time.monotonic()
        # A worker with a GPU ends with its job, as is Ray's default: its next job may be on another GPU.
        task = ray.remote(max_calls=1 if self.kind == "cuda" else 0, max_retries=TRIES - 1)(do_job)
        for job in jobs:
            watch.noticed.look()
            if done(context.store, job):
                continue
            while len(self.open) >= 2 * self._slots() + AHEAD:
                self._settle(context, given, orders.session, watch)
            options = {"num_cpus": self.threads, "num_gpus": self._gpus(), "memory": memory, "name": str(job)}
            needs = [given[name] for name in job.needs if name in given]
            text = json.dumps(dataclasses.asdict(job))
            given[job.name] = task.options(**options).remote(line, text, *needs)
            self.open[given[job.name]] = job
        while self.open:
            self._settle(context, given, orders.session, watch)
        watch.noticed.deferred = False

    def _settle(self, context: WorkerContext, given: dict[str, Any], session: str, watch: Watch) -> None:
        """Wait a moment, and note what has ended."""
        ended, _ = ray.wait(list(self.open), num_returns=1, timeout=LOOK_EVERY)
        watch.look()
        for ref in ended:
            job = self.open.pop(ref)
            self.heard = time.monotonic()
            given[job.name] = result = self._result(context, ref, job, given, session)
            if result.get("of"):
                self.taken = (max(self.taken[0], result["gpu"]), result["of"])
        self._look_unplaced()

    def _result(
        self, context: WorkerContext, ref: Any, job: Job, given: dict[str, Any], session: str
    ) -> dict[str, Any]:
        """What a task gave; one whose process died as often as it was tried is a failure of its job."""
        try:
            result: dict[str, Any] = ray.get(ref)
            return result
        except ray.exceptions.RayTaskError as error:
            raise _spoken(error) from None
        except ray.exceptions.RayError:
            # A task after one that died gives the same error without having been tried.
            if not any(isinstance(given.get(n), dict) and not given[n]["done"] for n in job.needs):
                write_died(context, job, session)
            return {"done": False}

    def _gpus(self) -> float:
        """Share of a GPU that a job takes."""
        return 0.0 if self.kind != "cuda" else self.share or gpu_share(*self.taken)

    def _slots(self) -> int:
        """Jobs that the cluster can do at once."""
        here = _resources()
        slots = here.get("CPU", 0) / self.threads
        return int(min(slots, here.get("GPU", 0) / self._gpus()) if self._gpus() else slots)

    def _most(self, resource: str) -> float:
        """The most that one machine of the cluster has of a resource; infinite where there is none yet."""
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        found = [node["Resources"].get(resource, 0) for node in nodes if node["Alive"]]
        return max(found, default=0) or float("inf")

    def _look_unplaced(self) -> None:
        """Say it where no machine of the cluster can take a job: the user may wait for an autoscaler, or for ever."""
        if time.monotonic() - self.heard < UNPLACED:
            return
        self.heard = float("inf")  # told once
        if self._most("CPU") < self.threads or (self._gpus() and self._most("GPU") == float("inf")):
            gpu = f" and {self._gpus():g} GPU" if self._gpus() else ""
            text = f"no machine of the cluster can take a job of {self.threads} CPUs{gpu}; waiting for one that can"
            warnings.warn(text, ClusterWarning, stacklevel=2)


def _spoken(error: Any) -> Exception:
    """What a task raised: a mistake of the user's alone, anything else as Ray tells it."""
    return FathomError(str(error.cause)) if isinstance(error.cause, FathomError) else error


def _resources() -> dict[str, float]:
    """What the cluster has in all."""
    found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return found
