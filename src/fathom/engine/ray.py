"""The Ray engine for many machines: every job is a task of Ray, which places, retries and scales.

A task gets plain JSON and the references of the tasks whose results it needs (`engine.ray_task`). Jobs are plain JSON
and their results committed records, so no scheduler of ours is needed, and nothing that a task computes travels through
Ray. All machines must see the study's folder and the data under the same paths; plug-ins are sent to them.
"""

import contextlib
import dataclasses
import json
import os
import re
import time
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from fathom.core.machine import Machine
from fathom.core.records import FathomError
from fathom.engine.gpu_sharing import gpu_share, host_memory
from fathom.engine.jobs import Job
from fathom.engine.ray_task import describe_worker, do_job
from fathom.engine.watch import Watch
from fathom.engine.worker import WorkerOrders, write_died
from fathom.machine.environment import Environment
from fathom.protocol.context import WorkerContext

LEAST = (2, 56)  # has token authentication (2.52), and the fixes of the advisories on earlier versions up to 2.55
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is imported: no usage reports
try:
    import ray
    from ray._private import ray_constants
    from ray.job_config import JobConfig
except ImportError:
    raise FathomError(
        'the engine ray needs the package Ray, which is not installed: pip install "fathom-al[ray]" on every machine '
        "of the cluster"
    ) from None

if tuple(map(int, re.findall(r"\d+", ray.__version__)[:2])) < LEAST:
    raise FathomError(
        f"Ray {ray.__version__} has known security holes, and its first versions ask for no token; expected Ray "
        f'{".".join(map(str, LEAST))} or newer: pip install -U "fathom-al[ray]" on every machine of the cluster'
    )

QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
FOLLOWED = ("FATHOM_SILENCE_SECONDS", "FATHOM_CHECKPOINT_SECONDS")  # variables that workers get from the caller
POLL_SECONDS = 0.2
TRIES = 4  # attempts at a job whose process or machine dies
# Tasks submitted beyond twice those that the cluster can do at once. With all tasks submitted at once Ray would do the
# round 0s of all seeds, which are ready early, before the first run; with fewer an autoscaler would see no demand.
AHEAD = 8
UNPLACED_SECONDS = 60.0  # without any finished task, before a warning that no machine can take a job


class ClusterWarning(UserWarning):
    """The cluster has no resources for the jobs at the moment, or is open to others."""


class _OwnPaths(JobConfig):
    """Configuration of a job whose workers import from what is installed, and nothing else.

    Ray would add the current folder and that of the script to their path, so that a file `statistics.py` there would be
    executed.
    """

    def _serialize(self) -> Any:  # bytes, whatever Ray's annotation says
        self._py_driver_sys_path: list[str] = []
        return super()._serialize()


class RayEngine:
    """A Ray cluster.

    Args:
        address: Of its head, such as `10.0.0.1:6379`; empty: `RAY_ADDRESS`, else a cluster is started on this machine
            and ended with the call.
        machine: `device` is `auto` (GPUs where the cluster has any), `cpu` or `cuda`. `threads` is also the number of
            CPUs that Ray reserves per job.
        gpu_share: Share of a GPU per job; None: a whole GPU, until the memory of finished jobs is measured.
    """

    def __init__(self, address: str, machine: Machine, gpu_share: float | None) -> None:
        if address.startswith("ray:"):
            raise FathomError(
                f"expected HOST:PORT of the cluster's head, such as ray:10.0.0.1:6379; got {address!r}. The call must "
                "run on a machine of the cluster, as it reads the study's folder"
            )
        if machine.device not in ("auto", "cpu", "cuda"):
            raise FathomError(
                f"expected device auto, cpu or cuda with the engine ray, which assigns the GPUs; got {machine.device!r}"
            )
        if gpu_share is not None and not 0 < gpu_share <= 1:
            raise FathomError(f"expected a share of a GPU above 0 and at most 1; got {gpu_share}")
        self.address, self.wanted, self.machine, self.share = address, machine.device, machine, gpu_share
        self.peak_gpu_bytes = self.total_gpu_bytes = 0  # of finished jobs; of the GPU
        self.open: dict[Any, Job] = {}  # submitted tasks

    @property
    def kind(self) -> str:
        """Kind of device that the jobs train on: `cpu` or `cuda`, once the cluster is connected."""
        return self.machine.device

    @property
    def device(self) -> torch.device:
        """Device that this process loads data on, to check the study."""
        return torch.device("cpu")

    def __enter__(self) -> "RayEngine":
        self.mine = not ray.is_initialized()
        if self.mine:
            address = self.address or os.environ.get("RAY_ADDRESS") or "local"
            try:
                if address == "local":
                    ray_constants.ENABLE_RAY_CLUSTER = False  # its processes listen on the loopback interface alone
                    ray.init(address, include_dashboard=False, job_config=self._job(), **QUIET)
                else:
                    ray.init(address, job_config=self._job(), **QUIET)
            except Exception as error:  # Ray raises plain ones too, for example where a node starts too slowly
                reason = str(error).splitlines()[0]
                raise FathomError(
                    f"cannot reach a Ray cluster at {self.address or 'the address that Ray found'}: {reason}. Expected "
                    "the HOST:PORT that `ray start --head` printed, from a machine of the cluster"
                ) from None
        _warn_open(ray.get_runtime_context().gcs_address)
        gpus = _resources().get("GPU", 0)
        if self.wanted == "cuda" and not gpus:
            warnings.warn("the cluster has no GPU at the moment; jobs wait for one", ClusterWarning, stacklevel=2)
        kind = "cuda" if self.wanted == "cuda" or (self.wanted == "auto" and gpus) else "cpu"
        self.machine = dataclasses.replace(self.machine, device=kind)
        return self

    def _job(self) -> "_OwnPaths":
        """Configuration of the workers: threads, and the variables that every worker of the study follows."""
        variables = {name: str(self.machine.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        variables |= {name: value for name in FOLLOWED if (value := os.environ.get(name))}
        return _OwnPaths(runtime_env={"env_vars": variables})

    def __exit__(self, *_: object) -> None:
        if self.mine:
            ray.shutdown()  # ends all tasks too; loses nothing that is committed: a commit is there whole or not at all
        else:  # only then: Ray may crash where a task ends while it is cancelled and the connection is closed
            for ref in self.open:
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.cancel(ref)
        self.open.clear()

    def describe(self) -> Environment:
        """Describe the environment of one worker of the cluster; the others are compared with it."""
        task = ray.remote(describe_worker).options(num_cpus=self.machine.threads, num_gpus=self._gpus())
        answer = task.remote(dataclasses.replace(self.machine, plugins=()).to_json())
        self.heard = time.monotonic()
        while not ray.wait([answer], timeout=POLL_SECONDS)[0]:
            self._warn_unplaced()
        try:
            return Environment(**ray.get(answer))
        except ray.exceptions.RayTaskError as error:
            raise _cause(error) from None

    @contextlib.contextmanager
    def worker_pool(self) -> Iterator[None]:
        """Do nothing: Ray has its own workers."""
        yield

    def work(self, orders: WorkerOrders, jobs: list[Job], context: WorkerContext, watch: Watch) -> None:
        """Submit the jobs to Ray in the order of the study, and watch until none is left.

        Raises:
            FathomError: A machine of the cluster cannot work for the study.
        """
        watch.noticed.deferred = True  # else Ray's compiled code turns what a handler raises into a SystemError
        # Without an environment: every worker describes its own machine.
        sent = dataclasses.replace(orders, environment="", jobs=[], tries=TRIES)
        line = ray.put(json.dumps(dataclasses.asdict(sent)))  # once for all tasks: it holds the source of plug-ins
        memory = min(host_memory(context, {job.setting.dataset for job in jobs}), self._most("memory"))
        results: dict[str, Any] = {}  # name of a job -> reference of its task, then its result
        self.heard = time.monotonic()
        # max_calls=1 ends a worker with its job on a GPU, as is Ray's default: its next job may be on another GPU.
        task = ray.remote(max_calls=1 if self.kind == "cuda" else 0, max_retries=TRIES - 1)(do_job)
        for job in jobs:
            watch.noticed.look()
            if job.done(context.store):
                continue
            while len(self.open) >= 2 * self._slots() + AHEAD:
                self._collect(context, results, orders.session, watch)
            options = {"num_cpus": self.machine.threads, "num_gpus": self._gpus(), "memory": memory, "name": str(job)}
            needs = [results[name] for name in job.needs if name in results]
            text = json.dumps(dataclasses.asdict(job))
            results[job.name] = task.options(**options).remote(line, text, *needs)
            self.open[results[job.name]] = job
        while self.open:
            self._collect(context, results, orders.session, watch)
        watch.noticed.deferred = False

    def _collect(self, context: WorkerContext, results: dict[str, Any], session: str, watch: Watch) -> None:
        """Wait a moment, and collect the result of a task that has ended."""
        ended, _ = ray.wait(list(self.open), num_returns=1, timeout=POLL_SECONDS)
        watch.look()
        for ref in ended:
            job = self.open.pop(ref)
            self.heard = time.monotonic()
            results[job.name] = result = self._result(context, ref, job, results, session)
            if result.get("of"):
                self.peak_gpu_bytes = max(self.peak_gpu_bytes, result["gpu"])
                self.total_gpu_bytes = result["of"]
        self._warn_unplaced()

    def _result(
        self, context: WorkerContext, ref: Any, job: Job, results: dict[str, Any], session: str
    ) -> dict[str, Any]:
        """The result of a task. Where its process died in every attempt, the job's failure is recorded."""
        try:
            result: dict[str, Any] = ray.get(ref)
            return result
        except ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except ray.exceptions.RayError:
            # A task that needs one that died gives the same error without having been tried: no failure of its own.
            needed = [results.get(name) for name in job.needs]
            if not any(isinstance(result, dict) and not result["done"] for result in needed):
                write_died(context, job, session)
            return {"done": False}

    def _gpus(self) -> float:
        """Share of a GPU per job."""
        return 0.0 if self.kind != "cuda" else self.share or gpu_share(self.peak_gpu_bytes, self.total_gpu_bytes)

    def _slots(self) -> int:
        """Number of jobs that the cluster can do at once."""
        here = _resources()
        slots = here.get("CPU", 0) / self.machine.threads
        return int(min(slots, here.get("GPU", 0) / self._gpus()) if self._gpus() else slots)

    def _most(self, resource: str) -> float:
        """The largest amount of a resource on one machine of the cluster; infinite where no machine has any yet."""
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        found = [node["Resources"].get(resource, 0) for node in nodes if node["Alive"]]
        return max(found, default=0) or float("inf")

    def _warn_unplaced(self) -> None:
        """Warn where no machine of the cluster can take a job: only the user knows whether an autoscaler adds one."""
        if time.monotonic() - self.heard < UNPLACED_SECONDS:
            return
        self.heard = float("inf")  # warn once
        if self._most("CPU") < self.machine.threads or (self._gpus() and self._most("GPU") == float("inf")):
            gpu = f" and {self._gpus():g} GPU" if self._gpus() else ""
            need = f"{self.machine.threads} CPUs{gpu}"
            text = f"no machine of the cluster can take a job of {need}; waiting for one that can"
            warnings.warn(text, ClusterWarning, stacklevel=2)


def _cause(error: Any) -> Exception:
    """The error of a task: a FathomError as it was raised, anything else with Ray's own traceback."""
    return FathomError(str(error.cause)) if isinstance(error.cause, FathomError) else error


def _warn_open(address: str) -> None:
    """Warn of a cluster that runs the code of anybody who reaches its port."""
    if os.environ.get("RAY_AUTH_MODE") != "token" and not address.startswith(("127.", "localhost", "[::1]")):
        text = f"the cluster at {address} runs the code of whoever reaches that port: start it with RAY_AUTH_MODE=token"
        warnings.warn(text, ClusterWarning, stacklevel=3)


def _resources() -> dict[str, float]:
    """Total resources of the cluster."""
    found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return found
