"""Record of the software and hardware that compute: what decides the numbers, and the rest for the report."""

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from fathom.core.records import PROTOCOL, FathomError, digest
from fathom.core.version import __version__
from fathom.registry.code import MemberCode
from fathom.store.codes import NOT_RECORDED, members_named, recorded_codes
from fathom.store.store import Store


@dataclass(frozen=True)
class Environment:
    """Software and hardware that a study is computed with.

    Args:
        decides: A change of these changes the numbers: protocol, package versions, device, threads. Code of members
            is recorded apart.
        machine: Recorded only: processor, cores, commit, time.
    """

    decides: dict[str, Any]
    machine: dict[str, Any]

    @property
    def name(self) -> str:
        """Hash of everything but the time: another commit or processor is another environment in the report."""
        lasting = {key: value for key, value in self.machine.items() if key != "since"}
        return digest([self.decides, lasting], 12)


def find_device(wanted: str) -> torch.device:
    """The torch device of `auto` (a GPU if there is one, else the CPU), `cpu`, `cuda` or `cuda:N`.

    Raises:
        FathomError: The device cannot be used.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        here = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        reason = str(error).split("\n")[0]
        raise FathomError(f"device {wanted!r} cannot be used ({reason}). Use one of: {', '.join(here)}") from None
    return device


def describe(device: torch.device, threads: int, *, fast: bool = False) -> Environment:
    """The environment of this process."""
    decides: dict[str, Any] = {
        "protocol": PROTOCOL,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _capability(device),
        "threads": threads if device.type == "cpu" else 0,
    }
    if fast and device.type == "cuda":
        decides["mode"] = "fast"
    decides |= {name: _version(name) for name in ("torchvision", "numpy", "scikit-learn")}
    machine = {
        "fathom": __version__,
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
    """Record the environment in the store; refuse one that would mix numbers of two environments.

    Raises:
        FathomError: Earlier rounds were computed under another environment, with the difference; or under one whose
            record is damaged or gone, so that nobody can tell.
    """
    known = store.records("environments")
    unread = store.damaged("environments")
    unknown = unread or (not known and store.holds_results())
    if unknown and not accept and environment.name not in unread:  # records are named by their content
        lost = ", ".join(str(store.path(f"environments/{name}")) for name in unread)
        raise FathomError(
            (f"{lost} is damaged" if unread else f"{store.root} has results and no record of their environment")
            + ", so it cannot be checked that they were computed in the present one. Restore the file, name a new "
            "folder with --out, or continue in the present environment with --accept-environment"
        )
    if known and not accept and environment.decides not in [decides for decides, _ in known.values()]:
        old = next(iter(known.values()))[0]
        new = environment.decides
        lines = [f"  {k}: {old.get(k)} -> {new.get(k)}" for k in sorted(old | new) if old.get(k) != new.get(k)]
        raise FathomError(
            f"the results in {store.root} were computed in another environment:\n" + "\n".join(lines) + "\n"
            "Return to that environment, name a new folder with --out, or mix both with --accept-environment; "
            "the report then says so"
        )
    if environment.name not in known:
        store.put(f"environments/{environment.name}", environment.decides, environment.machine)


def check_code(store: Store, used: Sequence[MemberCode], *, accept: bool) -> None:
    """Refuse code that would mix results of two versions of a member.

    Args:
        store: The results so far; each names the code that it was computed with.
        used: Code that open jobs use and that has no record here.
        accept: Mix them.

    Raises:
        FathomError: Results of a member were computed with other code; the message says which files have changed.
    """
    if accept or not used:
        return
    names = {code.member for code in used}
    every = any(code.kind == "backbone" for code in used)  # which the name of a run does not tell
    earlier = recorded_codes(store, (spec for spec in store.study.runs if every or names & {*members_named(spec)}))
    lines = []
    for code in used:
        known = sorted({*earlier.get(code.member, ())} - {NOT_RECORDED})
        if known and code.sha256 not in known:
            record = store.get(f"code/{known[-1]}")
            changes = code.changes(*record) if record else [f"is not {known[-1]}, whose record is damaged or gone"]
            lines.append(f"  {code.words}: {', '.join(changes)}")
    if lines:
        raise FathomError(
            f"results in {store.root} were computed with other code:\n" + "\n".join(lines) + "\n"
            "Bring that code back, run only what does not use it with --only, name a new folder with --out, or mix "
            "both with --accept-environment; the report then says so"
        )


def set_mode(device: torch.device, *, fast: bool = False) -> None:
    """Choose deterministic CUDA kernels, or with `fast` the fastest ones, whose sums have no fixed order.

    In both modes `fp32` means IEEE single precision: torch's default computes convolutions in TF32, whose products have
    10 bits. Call it before the first use of CUDA. Limits of the fast mode: `learn.training.fit`.
    """
    if device.type != "cuda":
        return
    # The current device of a process is card 0 unless it is set, and what names no device means the current one.
    if device.index is not None:
        torch.cuda.set_device(device)
    # The older of two switches: with the newer (`conv.fp32_precision`) reading the older raises, which libraries do.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = fast
    # In deterministic mode torch fills every `torch.empty` with NaN, to find reads of memory that nothing has written:
    # 567 more kernels per step of a ResNet-18, and no other result where everything is written before it is read.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if fast:
        torch.use_deterministic_algorithms(False)
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)


def _capability(device: torch.device) -> str:
    """Device type, for a CPU with its vector instructions (`cpu AVX2`), which decide the last bits of sums."""
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
    """Commit of the checkout this package runs from; `(modified)` if files differ from it; empty for a wheel."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()

    try:
        if not git("ls-files", "__init__.py"):
            return ""
        return git("rev-parse", "--short=12", "HEAD") + (" (modified)" if git("status", "--porcelain", ".") else "")
    except (OSError, subprocess.TimeoutExpired):
        return ""
