"""The cores that a process may use, from fake control groups of both versions."""

from pathlib import Path

import pytest
import torch
from tests.faults import fault

from fathom.core import cores
from fathom.engine.local import default_workers
from fathom.machine import doctor

V2 = "0::/user.slice/job"
V1 = "4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n0::/docker/abc"


def groups(root: Path, lines: str, files: dict[str, str]) -> None:
    (root / "cgroup").write_text(lines + "\n")
    for name, text in files.items():
        path = root / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cores, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "MOUNTS", tmp_path / "fs")
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    return tmp_path


CASES = [
    (V2, {"user.slice/job/cpu.max": "250000 100000"}, 2.5),
    (V2, {"user.slice/job/cpu.max": "max 100000", "user.slice/cpu.max": "100000 50000"}, 2.0),  # of a group above
    (V2, {"cpu.max": "300000 100000"}, 3.0),  # in a container: the path is that of the host
    (V2, {"user.slice/job/cpu.max": "max 100000"}, None),
    (V2, {"user.slice/job/cpu.max": "100000"}, None),
    (V2, {"user.slice/job/cpu.max": "a lot"}, None),
    (V2, {"user.slice/job/cpu.max": "100000 0"}, None),
    (V1, {"cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "150000",
          "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000"}, 1.5),
    (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "50000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 0.5),
    (V1, {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4.0),
    (V1, {"cpu/docker/abc/cpu.cfs_quota_us": "-1", "cpu/docker/abc/cpu.cfs_period_us": "100000"}, None),
    ("", {}, None),
]  # fmt: skip


@fault("machine", "a CPU quota by cgroup v1 or v2", "workers, plan and doctor use the smaller of affinity and quota")
@pytest.mark.parametrize(("lines", "files", "quota"), CASES)
def test_a_quota_limits_the_workers(fake: Path, lines: str, files: dict[str, str], quota: float | None) -> None:
    groups(fake, lines, files)
    assert cores.cpu_quota() == quota
    expected = 8 if quota is None else max(1, int(quota))
    assert cores.available_cores() == default_workers(torch.device("cpu"), 1) == expected
    assert default_workers(torch.device("cpu"), 2) == max(1, expected // 2)
    said = doctor._cores({"threads": 8}).found
    words = "" if quota is None else f"; the CPU quota allows {quota:g}, so fathom run starts {expected} workers"
    assert said == f"8 for this process, torch uses 8 threads by default{words}"


@pytest.mark.parametrize(
    ("lines", "files", "limit"),
    [
        (V2, {"user.slice/job/memory.max": "max", "user.slice/memory.max": "1000000"}, 1000000),
        (V1, {"memory/docker/abc/memory.limit_in_bytes": "2000000"}, 2000000),
        (V1, {"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
    ],
)
def test_a_limit_of_memory(fake: Path, lines: str, files: dict[str, str], limit: int | None) -> None:
    groups(fake, lines, files)
    assert cores.memory_limit() == limit
