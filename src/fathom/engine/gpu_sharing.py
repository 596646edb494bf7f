"""GPU sharing: how many workers share a GPU, by the memory and idle time measured while they work.

A training on small images leaves most of a large GPU idle. So a study begins with one worker per GPU. Another joins
as long as the memory that each worker there takes would fit once more, and the GPU is not busy most of the time.
"""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field

from fathom.data.images import TensorImages
from fathom.protocol.context import WorkerContext

MEASURE_SECONDS = 20.0  # between measurements; a worker needs some of them to load its data and train
BUSY = 0.8  # utilization above which another worker would only slow the others down
RESERVE = 0.1  # of a GPU's memory that is never planned for
MAX_WORKERS = 8  # per GPU
CONTEXT = 600 * 2**20  # bytes of a GPU that a process holds in addition to its tensors
PROCESS = 3 * 2**29  # bytes of a worker without its images: Python, torch, a training on small images (measured)

LoadReader = Callable[[], list["GpuLoad"]]


@dataclass(frozen=True)
class GpuLoad:
    """Memory use and utilization of a GPU.

    Args:
        used, total: Memory, bytes.
        busy: Share of the time in which a kernel ran on it, in [0, 1].
    """

    used: int
    total: int
    busy: float


def read_gpu_load() -> list[GpuLoad]:
    """Measure the GPUs that this process may use, in torch's order; empty where nvidia-smi cannot."""
    command = ["nvidia-smi", "--query-gpu=index,uuid,memory.used,memory.total,utilization.gpu"]
    try:
        done = subprocess.run([*command, "--format=csv,noheader,nounits"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return visible(parse_nvidia_smi(done.stdout), os.environ.get("CUDA_VISIBLE_DEVICES")) if not done.returncode else []


def parse_nvidia_smi(text: str) -> dict[str, GpuLoad]:
    """Load by index and by UUID, from the output of nvidia-smi (memory in MiB, utilization in percent)."""
    found: dict[str, GpuLoad] = {}
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        try:
            load = GpuLoad(int(parts[2]) * 2**20, int(parts[3]) * 2**20, int(parts[4]) / 100)
        except (IndexError, ValueError):
            continue  # a partition of a GPU (MIG) reports no utilization
        found |= {parts[0]: load, parts[1]: load}
    return found


def visible(loads: dict[str, GpuLoad], wanted: str | None) -> list[GpuLoad]:
    """The loads of `CUDA_VISIBLE_DEVICES`, in its order."""
    names = [name for name in loads if name.isdigit()] if wanted is None else [n.strip() for n in wanted.split(",")]
    return [loads[name] for name in names if name in loads]


@dataclass
class GpuScheduler:
    """Decides when another worker may join.

    Args:
        gpus: Number of GPUs; worker `n` works on GPU `n % gpus`.
        first: Index of the first of them.
        read_load: Function that measures them.
        idle_bytes: Memory in use on each GPU before any worker started.
    """

    gpus: int
    first: int = 0
    read_load: LoadReader = read_gpu_load
    idle_bytes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.idle_bytes = [load.used for load in self.read_load()[self.first :]]

    def can_admit(self, workers: int) -> bool:
        """Tell whether the next worker fits on the GPU that is next in turn, and would find idle time there."""
        gpu, loads = workers % self.gpus, self.read_load()[self.first :]
        there = workers // self.gpus
        if len(loads) < self.gpus or len(self.idle_bytes) < self.gpus or not 0 < there < MAX_WORKERS:
            return False
        load = loads[gpu]
        each = (load.used - self.idle_bytes[gpu]) / there
        # No memory taken yet: the workers there are still loading, so it is unknown what one takes.
        return each > 0 and load.busy < BUSY and load.used + each < (1 - RESERVE) * load.total


def gpu_share(taken: int, total: int) -> float:
    """Share of a GPU per job, so that as many run on it as fit in its memory; 1 before anything is measured.

    Args:
        taken: Peak bytes that torch reserved for a job.
        total: Memory of the GPU, bytes.
    """
    if not taken or not total:
        return 1.0
    together = int((1 - RESERVE) * total // (taken + CONTEXT))
    return 1 / max(1, min(MAX_WORKERS, together))


def host_memory(context: WorkerContext, datasets: set[str]) -> int:
    """Upper estimate of a worker's memory, bytes: Python with torch, and the images that are not memory maps."""
    loaded = [context.dataset(name) for name in datasets]
    parts = [images for dataset in loaded for images in (dataset.images, dataset.test_images)]
    nbytes: list[int] = [images.pixels.nbytes for images in parts if isinstance(images, TensorImages)]
    return PROCESS + sum(nbytes)
