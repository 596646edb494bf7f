"""Checks of this machine: Python, torch, GPU, cores, memory, data, cache, storage, optional packages.

torch and torchvision are tried in a process of their own, because a broken pair may crash it.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from fathom.core.cores import affinity_cores, available_cores, cpu_quota, memory_limit
from fathom.machine.paths import data_folders
from fathom.machine.storage import nearest, try_storage

PROBE = r"""
import json, warnings
said = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    try:
        import torch
        said["torch"] = str(torch.__version__)
        said["threads"] = torch.get_num_threads()
        said["build"] = torch.version.cuda or torch.version.hip or ""
        if torch.cuda.is_available():
            found = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
            said["gpus"] = [[gpu.name, gpu.total_memory] for gpu in found]
            torch.ones(2, device="cuda").sum().item()
    except Exception as error:
        said["torch_error" if "torch" not in said else "gpu_error"] = f"{type(error).__name__}: {error}"
    if "torch" in said:
        try:
            import torchvision
            said["torchvision"] = str(torchvision.__version__)
            torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
        except Exception as error:
            said["torchvision_error"] = f"{type(error).__name__}: {error}"
said["warnings"] = [str(w.message) for w in caught if "cuda" in str(w.message).lower() or "driver" in str(w.message)]
print(json.dumps(said))
"""
PATIENCE = 180  # seconds for torch to start
FILES = {  # dataset -> its official files in the folder of datasets
    "cifar10": ("cifar-10-batches-py/data_batch_1",),
    "cifar100": ("cifar-100-python/train",),
    "mnist": ("MNIST/raw/train-images-idx3-ubyte*",),
    "fashion-mnist": ("FashionMNIST/raw/train-images-idx3-ubyte*",),
    "isic2019": ("**/ISIC_2019_Training_GroundTruth.csv", "ISIC_2019_Training_Input*"),
    "mio-tcd": ("MIO-TCD-Classification*",),
}
EXTRAS = {"timm": "backbones of frozen by their timm name", "ray": "the engine ray, for many machines"}


@dataclass(frozen=True)
class DoctorCheck:
    """One check and its outcome.

    Args:
        name: Subject of the check.
        state: `ok`, `warn` or `fail`.
        found: Finding.
        fix: What to do; empty if nothing.
    """

    name: str
    state: str
    found: str
    fix: str = ""


def _judge(name: str, good: bool, found: str, fix: str, bad: str = "fail") -> DoctorCheck:
    return DoctorCheck(name, "ok", found) if good else DoctorCheck(name, bad, found, fix)


def examine(
    data: str | Path | None = None, out: str | Path = ".", cache: str | Path | None = None
) -> list[DoctorCheck]:
    """Check this machine, the data, the cache and the folder for results. Nothing is changed, no file stays behind."""
    probed = probe()
    checks = [_python(), *_packages(), *_torch(probed), _gpu(probed), _cores(probed), _memory(), *_data(data, cache)]
    checks += [DoctorCheck(f"storage: {name}", *rest) for name, *rest in try_storage(Path(out))]
    return checks + [_extra(name, use) for name, use in EXTRAS.items()]


def probe() -> dict[str, Any]:
    """Collect facts about torch and torchvision in a new process; `torch_error` holds the message if torch fails."""
    try:
        done = subprocess.run([sys.executable, "-P", "-c", PROBE], capture_output=True, text=True, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"torch_error": f"it did not start: {error}"}
    try:
        said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"torch_error": f"its process ended with status {done.returncode}: {last}"}
    return said


def _python() -> DoctorCheck:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return _judge("python", sys.version_info >= (3, 11), found, "use Python 3.11 or newer")


def _packages() -> Iterator[DoctorCheck]:
    """Required packages that are not installed."""
    try:
        needed = [line for line in requires("fathom-al") or [] if "extra ==" not in line]
    except PackageNotFoundError:
        yield DoctorCheck("packages", "warn", "Fathom itself is not installed, only imported", "pip install -e .")
        return
    names = [match.group() for line in needed if (match := re.match(r"[A-Za-z0-9._-]+", line))]
    absent = [name for name in names if not _version(name)]
    found = f"absent: {', '.join(absent)}" if absent else f"{len(names)} installed"
    yield _judge("packages", not absent, found, f"pip install {' '.join(absent)}")


def _torch(probed: dict[str, Any]) -> Iterator[DoctorCheck]:
    if error := probed.get("torch_error"):
        fix = f'pip install --force-reinstall "torch{_wanted("torch") or ">=2.11"}"'
        yield DoctorCheck("torch", "fail", error, fix)
        return
    torch, vision = probed["torch"], probed.get("torchvision", "")
    yield DoctorCheck("torch", "ok", torch)
    if error := probed.get("torchvision_error"):
        installed = vision or _version("torchvision") or "absent"
        text = f"{installed} does not work with torch {torch}: {error.splitlines()[0]}"
        # Installed together, pip chooses the torchvision that requires this torch.
        pair = f'"torch=={torch.split("+")[0]}" torchvision'
        yield DoctorCheck("torchvision", "fail", text, f"pip install --force-reinstall {pair}  (uv pip: --reinstall)")
        return
    yield DoctorCheck("torchvision", "ok", f"{vision}, and its operators work with torch {torch}")


def _wanted(name: str) -> str:
    """Version of a package that Fathom requires, such as `>=2.11`."""
    try:
        lines = requires("fathom-al") or []
    except PackageNotFoundError:
        return ""
    return next((match[1] for line in lines if (match := re.match(rf"{name}\s*([<>=!~][^;\s]*)", line))), "")


def _gpu(probed: dict[str, Any]) -> DoctorCheck:
    driver = _driver()
    if error := probed.get("gpu_error"):
        return DoctorCheck("gpu", "fail", f"torch cannot use the GPU: {error.splitlines()[0]}", "--device cpu")
    if gpus := probed.get("gpus"):
        names = ", ".join(f"{name} ({memory / 2**30:.0f} GiB)" for name, memory in gpus)
        return DoctorCheck("gpu", "ok", f"{names}; CUDA {probed['build']}, driver {driver or 'unknown'}")
    if not driver:
        return DoctorCheck("gpu", "ok", "none: trainings run on the CPU")
    if "torch" not in probed:
        return DoctorCheck("gpu", "warn", f"driver {driver}; torch does not start, so the GPU was not tried")
    if not probed.get("build"):
        text = f"driver {driver} is installed, but this torch is built for the CPU only"
        return DoctorCheck("gpu", "warn", text, "uv pip install --torch-backend=auto --reinstall torch torchvision")
    reason = (probed.get("warnings") or ["torch finds no GPU"])[0].splitlines()[0]
    fix = f"update the driver, or install a torch built for an older CUDA than {probed['build']} (--torch-backend=auto)"
    return DoctorCheck("gpu", "warn", f"driver {driver} does not work with CUDA {probed['build']}: {reason}", fix)


def _driver() -> str:
    """Version of the NVIDIA driver; empty if there is none."""
    if not shutil.which("nvidia-smi"):
        return ""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout.strip() else ""


def _cores(probed: dict[str, Any]) -> DoctorCheck:
    cores, quota = affinity_cores(), cpu_quota()
    found = f"{cores} for this process, torch uses {probed.get('threads', '?')} threads by default"
    if quota is not None and quota < cores:
        found += f"; the CPU quota allows {quota:g}, so fathom run starts {available_cores()} workers"
    return DoctorCheck("cores", "ok", found)


def _memory() -> DoctorCheck:
    try:
        lines = [line.split() for line in Path("/proc/meminfo").read_text().splitlines()]
        available = next(int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:")
    except (OSError, StopIteration):
        return DoctorCheck("memory", "ok", "unknown")
    if (limit := memory_limit()) is not None:
        available = min(available, limit)
    free = available / 2**30
    needs = "" if free >= 2 else ", and a worker needs about 1.5"
    return _judge("memory", free >= 2, f"{free:.1f} GiB{needs}", "--workers 1", "warn")


def _data(data: str | Path | None, cache: str | Path | None) -> Iterator[DoctorCheck]:
    path, folder = data_folders(data, cache)
    if path.is_dir():
        found = [name for name, patterns in FILES.items() if all(any(path.glob(p)) for p in patterns)]
        text = f"{path}: {', '.join(found) or 'no official files'} (digits are built in)"
        yield _judge("data", bool(found), text, "name the folder with --data, or use --download", "warn")
    else:
        fix = "name it with --data or FATHOM_DATA, or let fathom run --download create it; digits need none"
        yield DoctorCheck("data", "warn", f"{path} does not exist", fix)
    there = nearest(folder)
    free = shutil.disk_usage(there).free / 2**30
    if os.access(there, os.W_OK):
        yield _judge("cache", free >= 10, f"{folder}, {free:.1f} GiB free", "free disk space", "warn")
    else:
        fix = "name another folder with --cache or FATHOM_CACHE"
        if there == folder:
            text = f"{folder} cannot be written: what it holds is used, and nothing can be added"
            yield DoctorCheck("cache", "warn", text, fix)
        else:
            yield DoctorCheck("cache", "fail", f"{folder} does not exist and cannot be created", fix)


def _version(name: str) -> str:
    """Version of an installed package; empty if it is absent."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _extra(name: str, use: str) -> DoctorCheck:
    found = _version(name)
    return DoctorCheck(f"extra {name}", "ok", found or f'not installed; pip install "fathom-al[{name}]" for {use}')
