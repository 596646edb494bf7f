"""Workers that are frozen or leave in the middle of a job: the study ends, and each round counts once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults import fault, only_in_full
from tests.studies import ROOT, contents, study

from fathom.core.records import FathomError
from fathom.engine.engine import run_study
from fathom.registry import registry
from fathom.store import locks
from fathom.store.store import Store

STOPPING = '''
import os, signal
from pathlib import Path
import torch
from fathom import selection

def pick(view, size, stream):
    return torch.randperm(len(view), generator=stream.torch())[:size]

@selection("once", predictions=False)
def once(view, size, stream):
    """Freezes the first process that asks it."""
    mark = Path(os.environ["FATHOM_TEST_MARK"])
    if not mark.exists():
        mark.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)
    return pick(view, size, stream)

@selection("always", predictions=False)
def always(view, size, stream):
    """Freezes every process that asks it."""
    os.kill(os.getpid(), signal.SIGSTOP)
    return pick(view, size, stream)

@selection("leaves", predictions=False)
def leaves(view, size, stream, *, status=0):
    """Ends its process without an error, past Python, where no guard can refuse it."""
    import ctypes
    ctypes.CDLL(None)._exit(status)
'''

RUNNER = """
import sys
from fathom.engine.engine import run_study
from fathom.registry import registry
from tests.studies import study
registry.add_file(sys.argv[2])
sys.exit(0 if run_study(study(("stopping/once", "random")), sys.argv[1], workers=0).finished else 3)
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("FATHOM_TEST_MARK", str(tmp_path / "mark"))
    path = tmp_path / "stopping.py"
    path.write_text(STOPPING)
    registry.add_file(path)
    yield path
    registry._files.clear()
    registry.index.cache_clear()


@only_in_full
@fault("engine", "a worker frozen by SIGSTOP", "taken over after the stated silence; the study ends", cases=1)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_frozen_worker_is_taken_over(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setenv("FATHOM_SILENCE_SECONDS", "4")
    outcome = run_study(study(("stopping/once", "random")), tmp_path / "out", workers=workers)
    assert outcome.finished
    assert not outcome.failures


@only_in_full
@fault("engine", "a job that freezes every worker", "a failure of that job; the others are done")
def test_a_job_that_freezes_every_worker_fails(plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FATHOM_SILENCE_SECONDS", "3")
    outcome = run_study(study(("stopping/always", "random")), tmp_path / "out", workers=1)
    assert outcome.complete == 1
    (failure,) = outcome.failures
    assert (failure["query"], failure["error"]) == ("stopping/always", "SilentError")
    assert "two worker processes gave no sign of life for 3 s" in failure["message"]


@fault("engine", "a frozen worker that comes back", "its late result is discarded with a line in the log")
def test_the_late_result_of_a_worker_that_comes_back_is_discarded(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FATHOM_SILENCE_SECONDS", "4")
    out, mark = tmp_path / "out", tmp_path / "mark"
    command = [sys.executable, "-c", RUNNER, str(out), str(plugin)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    while not mark.exists():
        assert first.poll() is None
        time.sleep(0.05)
    assert run_study(study(("stopping/once", "random")), out, workers=0).finished
    done = contents(out)
    first.send_signal(signal.SIGCONT)
    _, said = first.communicate(timeout=120)
    assert first.returncode == 0, said
    assert "stopping/once on digits" in said
    assert "its late result is discarded" in said
    assert {n: d for n, d in contents(out).items() if n in done} == done
    assert not Store.open(out).failures()


@only_in_full
@fault("engine", "a worker that leaves by os._exit in a job", "a failure of that job; the others are done", cases=1)
@pytest.mark.parametrize(("status", "workers"), [(0, 1), (0, 2), (1, 1), (40, 2)])
def test_a_worker_that_leaves_in_a_job_has_not_finished(
    plugin: Path, tmp_path: Path, status: int, workers: int
) -> None:
    queries = (f"stopping/leaves(status={status})", "random")
    outcome = run_study(study(queries), tmp_path / "out", workers=workers)
    assert outcome.complete == 1
    (failure,) = outcome.failures
    assert (failure["query"], failure["error"]) == (queries[0], "DiedError")


# ------------------------------------------------------------------------------------------------------- locks

SIGNING = """
import os, time
from fathom.store import locks
signs = []
with locks.giving_signs(lambda: signs.append(None)):
    time.sleep(0.5)
    os.environ["FATHOM_SILENCE_SECONDS"] = "soon"
    before = len(signs)
    time.sleep(1)
    assert len(signs) > before > 0, (before, len(signs))
"""


@fault("engine", "a plug-in spoils FATHOM_SILENCE_SECONDS", "the worker goes on giving signs of life")
def test_signs_of_life_survive_a_variable_that_is_no_time() -> None:
    env = {**os.environ, "FATHOM_SILENCE_SECONDS": "1"}
    said = subprocess.run([sys.executable, "-c", SIGNING], env=env, capture_output=True, text=True, timeout=60)
    assert (said.returncode, said.stderr) == (0, "")


HOLDER = """
import sys, time
from pathlib import Path
from fathom.store import locks
skew = float(sys.argv[2])
import os
utime, now = os.utime, time.time
time.time = lambda: now() + skew
os.utime = lambda path: utime(path, (now() + skew, now() + skew))  # as a machine does whose clock is wrong
with locks.lock(Path(sys.argv[1]), wait=False) as lease:
    print("held", flush=True)
    sys.stdin.readline()
    print("lost" if lease.lost() else "kept", flush=True)
"""


def holder(path: Path, skew: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLDER, str(path), str(skew)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def taken(path: Path, seconds: float) -> bool:
    """Whether this process has the lock within some seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with locks.lock(path, wait=False, takes_over=True) as lease:
            if lease is not None:
                return lease.taken_over
        time.sleep(0.1)
    return False


@fault("engine", "two machines whose clocks differ by an hour", "no false take-over", cases=1)
@pytest.mark.parametrize("skew", [3600, -3600])
def test_clocks_that_differ_cause_no_take_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skew: float) -> None:
    monkeypatch.setenv("FATHOM_SILENCE_SECONDS", "2")
    process = holder(tmp_path / "x.lock", skew)
    assert not taken(tmp_path / "x.lock", 4)
    assert process.communicate("\n")[0] == "kept\n"


@fault("engine", "a lock whose holder is frozen", "taken over once; the holder notices")
def test_a_silent_holder_loses_its_lock_and_notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FATHOM_SILENCE_SECONDS", "1")
    process = holder(tmp_path / "x.lock", 0)
    process.send_signal(signal.SIGSTOP)
    assert taken(tmp_path / "x.lock", 20)
    process.send_signal(signal.SIGCONT)
    assert process.communicate("\n")[0] == "lost\n"


def test_the_time_that_a_waiting_process_was_frozen_itself_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    silence = locks.Silence()
    silence.look("a")
    for step in (0.5, 3600.0, 0.5):
        now[0] += step
        seconds = silence.look("a")
    assert seconds == 0.5 + locks.STEP_SECONDS + 0.5
    assert silence.look("b") == 0


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan"])
def test_a_silence_that_is_no_time_is_refused(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FATHOM_SILENCE_SECONDS", given)
    with pytest.raises(FathomError, match=f"FATHOM_SILENCE_SECONDS is '{given}'; expected a number of seconds above 0"):
        run_study(study(), tmp_path / "out", workers=0)
    assert not (tmp_path / "out").exists()
