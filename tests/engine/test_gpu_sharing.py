"""Workers join on a GPU while memory and idle time carry them."""

from pathlib import Path

import pytest
from tests.faults import fault

from fathom.engine import gpu_sharing
from fathom.engine.gpu_sharing import GpuLoad, GpuScheduler, parse_nvidia_smi, read_gpu_load, visible

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


LISTED = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaa)
  MIG 3g.40gb     Device  0: (UUID: MIG-1111-2222)
  MIG 3g.40gb     Device  1: (UUID: MIG-1199-3333)
GPU 1: NVIDIA A100 (UUID: GPU-bbb)
  MIG 1g.5gb      Device  0: (UUID: MIG-GPU-bbb/7/0)
"""
PART = """<mig_device>
<index>{}</index> <gpu_instance_id>1</gpu_instance_id>
<fb_memory_usage> <total>{} MiB</total> <reserved>0 MiB</reserved> <used>{} MiB</used> </fb_memory_usage>
<bar1_memory_usage> <total>1 MiB</total> <used>1 MiB</used> </bar1_memory_usage>
</mig_device>"""
DETAILS = f"""<nvidia_smi_log>
<gpu id="0"> <uuid>GPU-aaa</uuid> <fb_memory_usage> <total>81559 MiB</total> <used>9 MiB</used> </fb_memory_usage>
<mig_devices> {PART.format(0, 40960, 1024)} {PART.format(1, 40960, 2048)} </mig_devices> </gpu>
<gpu id="1"> <uuid>GPU-bbb</uuid> <mig_devices> {PART.format(0, 4864, 12)} </mig_devices> </gpu>
</nvidia_smi_log>"""


@fault("gpu", "CUDA_VISIBLE_DEVICES with beginnings of UUIDs", "the loads of these GPUs, in that order", cases=6)
@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ("GPU-b", [1]), ("GPU-bbb,GPU-a", [1, 0]), ("1, 0", [1, 0]),
        ("GPU-", []),  # of several
        ("0,-1,1", [0]), ("", []),  # CUDA ignores what follows a name that is not there
    ],
)  # fmt: skip
def test_names_of_gpus_are_read_as_cuda_reads_them(wanted: str, numbers: list[int]) -> None:
    loads = parse_nvidia_smi(SAID)
    assert visible(loads, wanted) == [loads[str(number)] for number in numbers]


@fault("gpu", "CUDA_VISIBLE_DEVICES with partitions (MIG)", "the memory of these partitions, in that order", cases=4)
@pytest.mark.parametrize(
    ("wanted", "used"),
    [("MIG-1111-2222", [1024]), ("MIG-1199,MIG-1111", [2048, 1024]), ("MIG-GPU-bbb/7/0", [12]), ("MIG-11", [])],
)
def test_partitions_have_a_load(monkeypatch: pytest.MonkeyPatch, wanted: str, used: list[int]) -> None:
    said = {"-L": LISTED, "-q": DETAILS}
    monkeypatch.setattr(gpu_sharing, "_nvidia_smi", lambda *words: said.get(words[0], "0, GPU-aaa, 9, 81559, [N/A]\n"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", wanted)
    assert [load.used // 2**20 for load in read_gpu_load()] == used


def test_without_nvidia_smi_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1")
    assert read_gpu_load() == []


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
