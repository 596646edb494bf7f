"""Workers join on a GPU while memory and idle time carry them."""

from pathlib import Path

import pytest

from fathom.engine.gpu_sharing import GpuLoad, GpuScheduler, parse_nvidia_smi, visible

GIB = 2**30
SAID = """0, GPU-aaa, 1024, 81920, 35
1, GPU-bbb, 40960, 81920, 97
2, GPU-ccc, 10, 81920, [N/A]
"""


def sharing(*readings: list[GpuLoad], gpus: int = 1) -> GpuScheduler:
    iterator = iter(readings)
    return GpuScheduler(gpus, read_load=lambda: next(iterator))


EMPTY = GpuLoad(GIB, 80 * GIB, 0.0)


@pytest.mark.parametrize(
    ("workers", "load", "admitted"),
    [
        (1, GpuLoad(5 * GIB, 80 * GIB, 0.3), True),
        (1, GpuLoad(5 * GIB, 80 * GIB, 0.9), False),  # busy
        (1, GpuLoad(41 * GIB, 80 * GIB, 0.3), False),  # another 40 GiB would not fit
        (1, EMPTY, False),  # still loading: nothing is known
        (3, GpuLoad(60 * GIB, 80 * GIB, 0.3), False),
        (3, GpuLoad(31 * GIB, 80 * GIB, 0.3), True),
        (8, GpuLoad(9 * GIB, 80 * GIB, 0.3), False),  # enough
    ],
)
def test_another_worker_joins_where_it_fits_and_finds_work(workers: int, load: GpuLoad, admitted: bool) -> None:
    assert sharing([EMPTY], [load]).can_admit(workers) is admitted


def test_the_gpu_next_in_turn_decides() -> None:
    free, busy = GpuLoad(5 * GIB, 80 * GIB, 0.1), GpuLoad(5 * GIB, 80 * GIB, 0.95)
    assert sharing([EMPTY] * 2, [free, busy], gpus=2).can_admit(2)
    assert not sharing([EMPTY] * 2, [free, busy], gpus=2).can_admit(3)


def test_a_gpu_that_was_named_is_the_one_that_is_measured() -> None:
    free, busy = GpuLoad(5 * GIB, 80 * GIB, 0.1), GpuLoad(75 * GIB, 80 * GIB, 0.99)
    readings = iter([[EMPTY, EMPTY], [free, busy], [busy, free]])
    named = GpuScheduler(1, 1, read_load=lambda: next(readings))
    assert not named.can_admit(1)
    assert named.can_admit(1)


def test_what_cannot_be_measured_admits_nobody() -> None:
    assert not sharing([], []).can_admit(1)


def test_what_nvidia_smi_says() -> None:
    loads = parse_nvidia_smi(SAID)
    assert loads["0"] == loads["GPU-aaa"] == GpuLoad(GIB, 80 * GIB, 0.35)
    assert "2" not in loads
    assert visible(loads, None) == [loads["0"], loads["1"]]
    assert visible(loads, "GPU-bbb,0") == [loads["1"], loads["0"]]


def test_a_job_on_a_cluster_takes_the_share_of_a_gpu_that_was_measured() -> None:
    from fathom.engine.gpu_sharing import CONTEXT, MAX_WORKERS, gpu_share

    total = 80 * 2**30
    assert gpu_share(0, 0) == 1.0, "a whole one while nothing is measured"
    assert gpu_share(total, total) == 1.0
    assert gpu_share(30 * 2**30, total) == 1 / 2
    assert gpu_share(2**20, total) == 1 / MAX_WORKERS
    for taken in (2**30, 9 * 2**30, 20 * 2**30):
        jobs = round(1 / gpu_share(taken, total))
        assert jobs * (taken + CONTEXT) <= 0.9 * total


def test_memory_of_a_worker_counts_its_images_but_no_memory_maps(tmp_path: Path) -> None:
    import torch

    from fathom.core.machine import Machine
    from fathom.engine.engine import data_root
    from fathom.engine.gpu_sharing import PROCESS, host_memory
    from fathom.protocol.context import WorkerContext
    from fathom.store.store import Store

    context = WorkerContext(Store(tmp_path), data_root(Machine(data=tmp_path)), torch.device("cpu"))
    digits = context.dataset("digits")
    height, width = digits.images.size
    assert (
        host_memory(context, {"digits"})
        == PROCESS + (len(digits.labels) + len(digits.test_labels)) * 3 * height * width
    )
    assert host_memory(context, set()) == PROCESS
