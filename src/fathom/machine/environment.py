"""What computes: the versions and the device that decide the numbers, and the machine, for the record."""

import hashlib
import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

import torch

import fathom
from fathom.core.records import PROTOCOL, FathomError, digest
from fathom.registry.registry import added_files
from fathom.store.store import Store


@dataclass(frozen=True)
class Environment:
    """Where a study is computed.

    Args:
        decides: What other numbers would come from if it changed: protocol, package versions, device type, threads.
        machine: What does not decide but is told: processor, cores, commit, time.
    """

    decides: dict[str, Any]
    machine: dict[str, Any]

    @property
    def name(self) -> str:
        """Stands for all of it but the time: another commit or processor is another environment, told in the report."""
        told = {key: value for key, value in self.machine.items() if key != "since"}
        return digest([self.decides, told], 12)


def find_device(wanted: str) -> torch.device:
    """`auto` (the first GPU, else the CPU), `cpu`, `cuda`, `cuda:1`.

    Raises:
        FathomError: The device is not here.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        here = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        reason = str(error).split("\n")[0]
        raise FathomError(f"device {wanted!r} cannot be used ({reason}). Here: {', '.join(here)}") from None
    return device


def describe(device: torch.device, threads: int, *, fast: bool = False) -> Environment:
    """The environment of this process."""
    plugins = {Path(p).name: hashlib.sha256(Path(p).read_bytes()).hexdigest()[:12] for p in added_files()}
    for point in entry_points(group="fathom"):
        if point.dist and point.dist.name != "fathom-al":
            plugins[point.dist.name] = point.dist.version
    decides: dict[str, Any] = {
        "protocol": PROTOCOL,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _capability(device),
        "threads": threads if device.type == "cpu" else 0,
        "plugins": plugins,
    }
    if fast and device.type == "cuda":
        decides["mode"] = "fast"
    decides |= {name: _version(name) for name in ("torchvision", "numpy", "scikit-learn")}
    machine = {
        "fathom": fathom.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return Environment(decides, machine)


def check(store: Store, environment: Environment, *, accept: bool) -> None:
    """Write the environment down; refuse one that would mix other numbers into the results here.

    Raises:
        FathomError: Earlier rounds were computed under another environment, with the difference.
    """
    known = store.records("environments")
    if known and not accept and environment.decides not in [decides for decides, _ in known.values()]:
        old = next(iter(known.values()))[0]
        new = environment.decides
        lines = [f"  {k}: {old.get(k)} -> {new.get(k)}" for k in sorted(old | new) if old.get(k) != new.get(k)]
        raise FathomError(
            f"the results in {store.root} were computed in another environment:\n" + "\n".join(lines) + "\n"
            "Go back to it, name a new folder with --out, or mix the two and have the report say so with "
            "--accept-environment"
        )
    if environment.name not in known:
        store.put(f"environments/{environment.name}", environment.decides, environment.machine)


def set_mode(device: torch.device, *, fast: bool = False) -> None:
    """Ask CUDA for the same bits every time, or, where `fast`, for the fastest kernels, whose sums have no fixed order.

    Call it before CUDA is first used; the CPU needs nothing. For the limits of the fast mode see `learn.training.fit`.
    """
    if device.type != "cuda":
        return
    torch.backends.cudnn.benchmark = fast
    if fast:
        torch.use_deterministic_algorithms(False)
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)


def _capability(device: torch.device) -> str:
    """Vector instructions decide the last bits of sums: `cpu AVX2`, `cpu AVX512`."""
    return f"cpu {torch.backends.cpu.get_cpu_capability()}" if device.type == "cpu" else device.type


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def _commit() -> str:
    """Commit of the checkout this package runs from; `modified` where files differ from it; empty for a wheel."""
    folder = Path(fathom.__file__).parent
    try:
        git = ["git", "-C", str(folder)]
        tracked = subprocess.run([*git, "ls-files", "__init__.py"], capture_output=True, text=True, timeout=10)
        if tracked.returncode or not tracked.stdout.strip():
            return ""
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, timeout=10)
        dirty = subprocess.run([*git, "status", "--porcelain", "."], capture_output=True, text=True, timeout=10)
        return head.stdout.strip() + (" (modified)" if dirty.stdout.strip() else "")
    except (OSError, subprocess.TimeoutExpired):
        return ""
