"""Settings of the whole process that a member (query method, dataset, paradigm, ...) could change: read and write them.

`core.member_call` compares them around every call of a member. All are read in about 0.05 ms.
"""

import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from ctypes import string_at
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR2", "SIGALRM") if hasattr(signal, name))
RANDOM = ("torch", "CUDA", "NumPy", "Python")  # names of the random states
IMPORTED = ("the filters of warnings", "the environment variables")  # what the import of a package may change


class ProcessSetting(NamedTuple):
    """A setting: its name, how to read it, how to write it, and how to compare two values."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]
    equal: Callable[[Any, Any], bool] = lambda a, b: bool(a == b)


@cache
def process_settings() -> tuple[ProcessSetting, ...]:
    """All settings. Where writing one changes others (the precision of products), it comes before them."""
    return (*_torch_settings(), *_backend_settings(), *_random_states(), *_process_settings())


def _torch_settings() -> Iterator[ProcessSetting]:
    import torch

    if hasattr(os, "sched_getaffinity"):  # before the numbers of threads, which follow it; Linux alone
        yield ProcessSetting("the CPU cores of the process", lambda: os.sched_getaffinity(0), _set_cores)
    yield ProcessSetting("torch's number of threads", torch.get_num_threads, torch.set_num_threads)
    yield ProcessSetting("torch's number of threads between operations", torch.get_num_interop_threads, _fixed)
    yield ProcessSetting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype)
    yield ProcessSetting("torch's default device", torch.get_default_device, _set_device)
    yield ProcessSetting("torch's gradient mode", torch.is_grad_enabled, torch.set_grad_enabled)
    yield ProcessSetting("torch's anomaly mode", torch.is_anomaly_enabled, torch.set_anomaly_enabled)
    yield ProcessSetting("torch's autocast", _autocast, _set_autocast)
    debug_mode = torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode
    yield ProcessSetting("torch's deterministic mode", *debug_mode)
    yield _attribute("torch.utils.deterministic", torch.utils.deterministic, "fill_uninitialized_memory")
    yield ProcessSetting("torch's handling of denormal numbers", _flushes_denormal, torch.set_flush_denormal)
    yield ProcessSetting("torch's float32 precision of products", _matmul_precision, torch.set_float32_matmul_precision)
    yield ProcessSetting("torch's hooks of all modules", _module_hooks, _set_module_hooks)


def _backend_settings() -> Iterator[ProcessSetting]:
    from torch.backends import cuda, cudnn, mkldnn

    matmul_flags = ("allow_tf32", "allow_fp16_reduced_precision_reduction", "allow_bf16_reduced_precision_reduction")
    flags = {
        "cudnn": (cudnn, ("enabled", "benchmark", "deterministic", "benchmark_limit", "allow_tf32")),
        "cuda.matmul": (cuda.matmul, (*matmul_flags, "fp32_precision")),
        "cudnn.conv": (cudnn.conv, ("fp32_precision",)),  # type: ignore[attr-defined]  # not in stubs
        "cudnn.rnn": (cudnn.rnn, ("fp32_precision",)),
        "mkldnn.matmul": (mkldnn.matmul, ("fp32_precision",)),  # type: ignore[attr-defined]
        "mkldnn.conv": (mkldnn.conv, ("fp32_precision",)),  # type: ignore[attr-defined]
        "mkldnn": (mkldnn, ("enabled", "deterministic")),
    }
    for place, (holder, names) in flags.items():
        yield from (_attribute(f"torch.backends.{place}", holder, name) for name in names)
    yield ProcessSetting("torch's flash attention", cuda.flash_sdp_enabled, cuda.enable_flash_sdp)
    yield ProcessSetting(
        "torch's memory-efficient attention", cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp
    )
    yield ProcessSetting("torch's plain attention", cuda.math_sdp_enabled, cuda.enable_math_sdp)
    yield ProcessSetting("torch's cuDNN attention", cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp)


def _random_states() -> Iterator[ProcessSetting]:
    import torch

    yield ProcessSetting("torch", torch.get_rng_state, torch.set_rng_state, torch.equal)
    yield ProcessSetting("CUDA", _cuda_random, _set_cuda_random, lambda a, b: a is b or torch.equal(a, b))
    yield ProcessSetting("NumPy", _numpy_random, _set_numpy_random)
    yield ProcessSetting("Python", random.getstate, random.setstate)


def _process_settings() -> Iterator[ProcessSetting]:
    import numpy as np
    from PIL import ImageFile

    yield _attribute("PIL.ImageFile", ImageFile, "LOAD_TRUNCATED_IMAGES")  # else other datasets' damaged files pass
    yield ProcessSetting("NumPy's handling of floating-point errors", np.geterr, lambda value: np.seterr(**value))
    yield ProcessSetting("NumPy's print options", np.get_printoptions, lambda value: np.set_printoptions(**value))
    yield ProcessSetting("the filters of warnings", lambda: list(warnings.filters), _set_filters)
    yield ProcessSetting("the environment variables", lambda: dict(os.environ._data), _set_environ)  # type: ignore[attr-defined]
    yield ProcessSetting("the working folder", _folder, lambda value: os.chdir(value) if value else None)
    yield ProcessSetting("sys.path", lambda: list(sys.path), lambda value: sys.path.__setitem__(slice(None), value))
    yield ProcessSetting("the handlers of signals", lambda: [signal.getsignal(s) for s in SIGNALS], _set_handlers)
    yield ProcessSetting("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit)
    yield ProcessSetting("standard output", lambda: (sys.stdout, sys.stderr), _set_output)


def _attribute(place: str, holder: Any, name: str) -> ProcessSetting:
    def read() -> Any:
        # Torch refuses to read a flag after its precisions were set in two ways. Then there is nothing to restore.
        with suppress(RuntimeError):
            return getattr(holder, name)

    def write(value: Any) -> None:
        if value is not None:
            setattr(holder, name, value)

    return ProcessSetting(f"{place}.{name}", read, write)


def _fixed(value: int) -> NoReturn:
    raise RuntimeError("it can be set once")


def _set_device(value: Any) -> None:
    import torch

    torch.set_default_device(None if value.type == "cpu" else value)  # an explicit cpu would slow every call


def _autocast() -> list[tuple[bool, Any]]:
    import torch

    return [(torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda")]


def _set_autocast(value: list[tuple[bool, Any]]) -> None:
    import torch

    for kind, (enabled, dtype) in zip(("cpu", "cuda"), value, strict=True):
        torch.set_autocast_enabled(kind, enabled)
        torch.set_autocast_dtype(kind, dtype)


def _set_cores(value: set[int]) -> None:
    os.sched_setaffinity(0, value)


def _hooks() -> list[Any]:
    from torch.nn.modules import module

    return [hooks for name, hooks in vars(module).items() if name.startswith("_global_") and isinstance(hooks, dict)]


def _module_hooks() -> list[dict[int, Any]]:
    return [dict(hooks) for hooks in _hooks()]


def _set_module_hooks(value: list[dict[int, Any]]) -> None:
    for hooks, before in zip(_hooks(), value, strict=True):
        hooks.clear()
        hooks.update(before)


def _flushes_denormal() -> bool:
    import numpy as np
    import torch

    return not bool(torch.from_numpy(np.array([1e-310])).mul_(0.5).numpy()[0])  # torch has no function that reads it


def _matmul_precision() -> str | None:
    import torch

    with suppress(RuntimeError):
        return torch.get_float32_matmul_precision()
    return None


def _cuda_random() -> Any:
    import torch

    return torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]


def _set_cuda_random(value: Any) -> None:
    import torch

    if value is not None:
        torch.cuda.set_rng_state(value)


def _numpy_random() -> bytes:
    """The 624 words of the Mersenne Twister and the position in them. `get_state` takes a hundred times as long."""
    import numpy as np

    generator: Any = np.random.get_bit_generator()  # type: ignore[attr-defined]  # not in stubs
    return string_at(generator.ctypes.state_address, 4 * 625)


def _set_numpy_random(value: bytes) -> None:
    import numpy as np

    words = np.frombuffer(value, np.uint32)
    np.random.set_state(("MT19937", words[:624], int(words[624]), 0, 0.0))  # noqa: NPY002 - the state under guard


def _set_filters(value: list[Any]) -> None:
    warnings.filters[:] = value  # type: ignore[index]  # a list in CPython; typed as a sequence
    warnings._filters_mutated()  # type: ignore[attr-defined]  # else cached decisions stay


def _set_environ(value: dict[bytes, bytes]) -> None:
    for name in os.environ._data.keys() - value.keys():  # type: ignore[attr-defined]
        del os.environ[os.fsdecode(name)]
    os.environ.update({os.fsdecode(name): os.fsdecode(text) for name, text in value.items()})


def _folder() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return ""


def _set_handlers(value: list[Any]) -> None:
    for number, handler in zip(SIGNALS, value, strict=True):
        if handler is not None:  # one that C code installed
            signal.signal(number, handler)


def _set_output(value: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = value
