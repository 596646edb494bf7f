"""A member cannot change the numbers of others through the process, nor end it."""

import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ImageFile
from tests.faults import fault, number

from fathom.core.member_call import (
    SIGNS_OF_LIFE,
    GlobalStateWarning,
    MemberExitError,
    collected,
    each_call,
    member_call,
)
from fathom.core.process_settings import process_settings
from fathom.store import locks

BACKENDS = torch.backends
CHANGES: dict[str, tuple[Callable[[], object], str]] = {
    "threads": (lambda: torch.set_num_threads(3), "torch's number of threads from 1 to 3"),
    "dtype": (lambda: torch.set_default_dtype(torch.float64), "default dtype"),
    "device": (lambda: torch.set_default_device("meta"), "default device"),
    "precision": (lambda: torch.set_float32_matmul_precision("medium"), "float32 precision"),
    "new precision": (lambda: setattr(BACKENDS.cuda.matmul, "fp32_precision", "tf32"), "cuda.matmul.fp32_precision"),
    "mkldnn precision": (lambda: setattr(BACKENDS.mkldnn.matmul, "fp32_precision", "bf16"), "mkldnn.matmul"),
    "old precision": (lambda: setattr(BACKENDS.cuda.matmul, "allow_tf32", True), "allow_tf32"),
    "cudnn precision": (lambda: setattr(BACKENDS.cudnn, "allow_tf32", False), "cudnn.allow_tf32"),
    "cudnn": (lambda: setattr(BACKENDS.cudnn, "benchmark", True), "cudnn.benchmark"),
    "mkldnn": (lambda: setattr(BACKENDS.mkldnn, "enabled", False), "mkldnn.enabled"),
    "hooks": (lambda: torch.nn.modules.module.register_module_forward_hook(print), "hooks of all modules"),
    "cores": (lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}), "CPU cores"),
    "damaged images": (lambda: setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True), "LOAD_TRUNCATED_IMAGES"),
    "attention": (lambda: BACKENDS.cuda.enable_flash_sdp(False), "flash attention"),
    "deterministic": (lambda: torch.use_deterministic_algorithms(True, warn_only=True), "deterministic mode"),
    "fill": (lambda: setattr(torch.utils.deterministic, "fill_uninitialized_memory", False), "fill_uninitialized"),
    "gradients": (lambda: torch.set_grad_enabled(False), "gradient mode"),
    "autocast": (lambda: torch.set_autocast_enabled("cpu", True), "autocast"),
    "denormals": (lambda: torch.set_flush_denormal(True), "denormal"),
    "torch seed": (lambda: torch.manual_seed(1), "random state of torch"),
    "NumPy seed": (lambda: np.random.seed(1), "random state of NumPy"),  # noqa: NPY002
    "NumPy draw": (lambda: np.random.rand(), "random state of NumPy"),  # noqa: NPY002
    "Python seed": (lambda: random.seed(1), ""),
    "NumPy errors": (lambda: np.seterr(all="ignore"), "floating-point errors"),
    "printing": (lambda: np.set_printoptions(precision=1), "print options"),
    "warnings": (lambda: warnings.simplefilter("ignore"), "filters of warnings"),
    "environment": (lambda: os.environ.update(OMP_NUM_THREADS="7", NEW="1"), "environment variables"),
    "folder": (lambda: os.chdir("/"), "working folder"),
    "path": (lambda: sys.path.insert(0, "/"), "sys.path"),
    "signals": (lambda: signal.signal(signal.SIGINT, signal.SIG_IGN), "handlers of signals"),
    "recursion": (lambda: sys.setrecursionlimit(9999), "recursion limit"),
    "output": (lambda: setattr(sys, "stdout", sys.stderr), "standard output"),
}


def state() -> list[object]:
    return [setting.read() for setting in process_settings()]


def changed(before: list[object]) -> list[str]:
    pairs = zip(process_settings(), before, strict=True)
    return [setting.name for setting, value in pairs if not setting.equal(value, setting.read())]


@fault("methods", "a member changes a setting of the process", "a finding; restored and told once", cases=len(CHANGES))
@pytest.mark.parametrize("name", CHANGES)
def test_a_setting_is_restored_and_told(name: str) -> None:
    change, said = CHANGES[name]
    before = state()
    with collected() as findings, member_call("mine/method"):
        change()
    assert changed(before) == []
    assert any(said in finding for finding in findings) if said else not findings, findings
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            with member_call(f"mine/{name}"):
                change()
    told = [w for w in caught if issubclass(w.category, GlobalStateWarning)]
    assert len({str(w.message) for w in told}) == len(told), "told more than once"
    assert bool(told) == (bool(said) and "random state" not in said)
    assert changed(before) == []


@fault("methods", "members change settings of the process in any order", "all are as before", cases=number(20, 500))
def test_any_mixture_is_restored() -> None:
    before, order = state(), random.Random(0)
    for _ in range(number(20, 500)):
        with collected(), member_call("mine/method"):
            for name in order.sample(sorted(CHANGES), 6):
                CHANGES[name][0]()
        assert changed(before) == []


def raising(error: BaseException) -> Callable[[], None]:
    def member() -> None:
        raise error

    return member


EXITS: dict[str, Callable[[], object]] = {
    "SystemExit": lambda: sys.exit(0),
    "os._exit": lambda: os._exit(0),
    "KeyboardInterrupt": raising(KeyboardInterrupt()),
    "GeneratorExit": raising(GeneratorExit()),
    "BaseException": raising(BaseException("mine")),
}


@fault("methods", "a member ends the process", "an error of the member alone", cases=len(EXITS))
@pytest.mark.parametrize("name", EXITS)
def test_a_member_cannot_end_the_process(name: str) -> None:
    with pytest.raises(MemberExitError, match=f"mine/method .*{name}.*would end the whole command"), member_call(
        "mine/method"
    ):  # fmt: skip
        EXITS[name]()
    with pytest.raises(ValueError, match="own"), member_call("mine/method"):
        raise ValueError("own")


@pytest.mark.parametrize("busy", [lambda: sum(range(10**5)), lambda: time.sleep(0.01), lambda: torch.ones(10**5).sum()])
def test_the_users_interrupt_passes(busy: Callable[[], object]) -> None:
    threading.Timer(0.1, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)).start()

    def member() -> None:
        with member_call("mine/method"):
            while True:
                busy()

    with pytest.raises(KeyboardInterrupt):
        member()


def test_a_forked_child_may_end_itself() -> None:
    with member_call("mine/method"):
        child = os.fork()
        if child == 0:
            os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_thread_left_behind_is_found() -> None:
    end = threading.Event()
    try:
        with collected() as findings, member_call("mine/method"):
            threading.Thread(target=end.wait, name="fathom-signs-of-life").start()  # of a lock that a cache needs
        assert findings == []
        with collected() as findings, member_call("mine/method"):
            threading.Thread(target=end.wait).start()
        assert findings == ["leaves a thread running; let it end before the call returns"]
    finally:
        end.set()


def test_the_first_lock_of_a_process_is_no_thread_of_a_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_thread", [])
    with collected() as findings, member_call("mine/dataset"), locks.lock(tmp_path / "cache.lock", wait=True):
        assert [thread.name for thread in locks._thread] == [SIGNS_OF_LIFE]
    assert findings == []


def test_every_step_of_an_iterator_is_guarded() -> None:
    def predictions() -> Iterator[int]:
        for step in range(3):
            torch.set_num_threads(2 + step)
            yield torch.get_num_threads()

    with collected() as findings:
        seen = [(item, torch.get_num_threads()) for item in each_call("mine/paradigm", predictions())]
    assert seen == [(2, 1), (3, 1), (4, 1)]
    assert len(findings) == 3


def test_the_guard_takes_less_than_a_millisecond() -> None:
    def once() -> float:
        began = time.process_time()
        for _ in range(20):
            with member_call("mine/method"):
                pass
        return (time.process_time() - began) / 20

    once()
    assert min(once() for _ in range(5)) < 1e-3
