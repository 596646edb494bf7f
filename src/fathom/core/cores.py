"""Number of cores that this process may use: its affinity, and the CPU quota of its control groups (containers)."""

import os
from collections.abc import Iterator
from pathlib import Path

GROUPS, MOUNTS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
UNLIMITED = 2**60  # bytes from which a memory limit of cgroup v1 means none


def available_cores() -> int:
    """Cores that this process may use, at least 1; a quota of 2.5 cores counts as 2."""
    quota = cpu_quota()
    return affinity_cores() if quota is None else max(1, min(affinity_cores(), int(quota)))


def affinity_cores() -> int:
    """Cores that this process may be scheduled on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_quota() -> float | None:
    """The smallest CPU quota of this process's control groups, in cores; None without one."""
    found = []
    for folder, version in _groups("cpu"):
        if version == 2:
            words = _words(folder / "cpu.max")
        else:
            words = [*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")]
        if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]) > 0 and int(words[0]) > 0:
            found.append(int(words[0]) / int(words[1]))
    return min(found, default=None)


def memory_limit() -> int | None:
    """The smallest memory limit of this process's control groups, bytes; None without one."""
    names = {2: "memory.max", 1: "memory.limit_in_bytes"}
    words = [word for folder, version in _groups("memory") for word in _words(folder / names[version])[:1]]
    return min((int(word) for word in words if word.isdecimal() and int(word) < UNLIMITED), default=None)


def _groups(controller: str) -> Iterator[tuple[Path, int]]:
    """(folder, version) of each control group that limits this process: its own and those above it.

    In a container the path of the group may be that of the host, and absent here; the mount is then its own group.
    """
    for line in _lines(GROUPS):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (number, controllers) == ("0", ""):
            version, mounts = 2, [MOUNTS, MOUNTS / "unified"]
        elif controller in controllers.split(","):
            version, mounts = 1, [MOUNTS / controllers, MOUNTS / controller]
        else:
            continue
        inner = Path(path.lstrip("/"))
        for mount in dict.fromkeys(mounts):
            yield from ((mount / part, version) for part in (inner, *inner.parents))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, ValueError):
        return []


def _words(path: Path) -> list[str]:
    return [word for line in _lines(path)[:1] for word in line.split()]
