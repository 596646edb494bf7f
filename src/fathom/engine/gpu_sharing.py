"""GPU sharing: how many workers share a GPU, by the memory and idle time measured while they work.

A training on small images leaves most of a large GPU idle. So a study begins with one worker per GPU. Another joins
as long as the memory that each worker there takes would fit once more, and the GPU is not busy most of the time.
"""

import os
import re
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
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    query = "--query-gpu=index,uuid,memory.used,memory.total,utilization.gpu"
    loads = parse_nvidia_smi(_nvidia_smi(query, "--format=csv,noheader,nounits"))
    if wanted and "MIG-" in wanted:
        loads |= parse_partitions(_nvidia_smi("-L"), _nvidia_smi("-q", "-x"))
    return visible(loads, wanted)


def _nvidia_smi(*words: str) -> str:
    """Output of nvidia-smi; empty where it is absent, fails or hangs."""
    try:
        done = subprocess.run(["nvidia-smi", *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if not done.returncode else ""


def parse_nvidia_smi(text: str) -> dict[str, GpuLoad]:
    """Load by index and by UUID, from the output of nvidia-smi (memory in MiB, utilization in percent)."""
    found: dict[str, GpuLoad] = {}
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        try:
            load = GpuLoad(int(parts[2]) * 2**20, int(parts[3]) * 2**20, int(parts[4]) / 100)
        except (IndexError, ValueError):
            continue  # a GPU that is divided into partitions (MIG) reports no utilization
        found |= {parts[0]: load, parts[1]: load}
    return found


def parse_partitions(listing: str, details: str) -> dict[str, GpuLoad]:
    """Load of the partitions of GPUs (MIG) by name.

    nvidia-smi gives names in one output (`-L`) and memory in another (`-q -x`), both by GPU and by index of the
    partition. It gives no utilization, so that memory alone decides how many workers share a partition.
    """
    memory: dict[tuple[str, int], GpuLoad] = {}
    for uuid, gpu in re.findall(r"<uuid>(GPU-[^<]+)</uuid>(.*?)</gpu>", details, re.DOTALL):
        for index, part in re.findall(r"<mig_device>\s*<index>(\d+)</index>(.*?)</mig_device>", gpu, re.DOTALL):
            block = re.search(r"<fb_memory_usage>(.*?)</fb_memory_usage>", part, re.DOTALL)
            sizes = dict(re.findall(r"<(total|used)>(\d+) MiB<", block[1] if block else ""))
            if len(sizes) == 2:
                memory[uuid, int(index)] = GpuLoad(int(sizes["used"]) * 2**20, int(sizes["total"]) * 2**20, 0.0)
    found, uuid = {}, ""
    for line in listing.splitlines():
        if gpu := re.match(r"GPU \d+:.*\(UUID: (GPU-[^)]+)\)", line):
            uuid = gpu[1]
        elif (part := re.match(r"\s+MIG .*Device\s+(\d+): \(UUID: (MIG-[^)]+)\)", line)) and (
            load := memory.get((uuid, int(part[1])))
        ):
            found[part[2]] = load
    return found


def visible(loads: dict[str, GpuLoad], wanted: str | None) -> list[GpuLoad]:
    """The loads of `CUDA_VISIBLE_DEVICES`, in its order.

    As CUDA reads it: indices, or the beginning of a UUID or of a partition's name that only one has; whatever follows a
    name that is not there is ignored.
    """
    if wanted is None:
        return [load for name, load in loads.items() if name.isdigit()]
    found: list[GpuLoad] = []
    for name in (part.strip() for part in wanted.split(",")):
        fitting = [full for full in loads if full == name or (not name.isdigit() and name and full.startswith(name))]
        if len(fitting) != 1:
            break
        found.append(loads[fitting[0]])
    return found


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
