"""Killed at any moment and run again: the same store as an uninterrupted run, every round once, no work twice."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults import fault
from tests.studies import SEARCHING, contents, study

from fathom.engine.engine import run_study
from fathom.engine.heartbeat import live_workers
from fathom.store import locks
from fathom.store.store import Store

ROOT = Path(__file__).parents[2]
METHODS = ("random", "badge")

RUNNER = """
import sys
from fathom.registry import registry
from fathom.engine.engine import run_study
from tests.studies import SEARCHING, study
workers, out, plugins = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
for path in plugins:
    registry.add_file(path)
queries = tuple(n for n in registry.index()["query"] if "/" in n) or ("random", "badge")
outcome = run_study(study(queries, (0, 1), paradigm=SEARCHING, full_data=1), out, workers=workers)
sys.exit(0 if outcome.finished else 3)
"""

# Starts a run for every line it reads, in a fork of a process that has everything imported: killing is cheap.
FORKS = """
import os, sys, torch
torch.set_num_threads(1)
import fathom.learn.paradigms.standard, fathom.engine.engine, fathom.query.core_set, sklearn.datasets, torch._dynamo
from fathom.registry.code import codes_of
from tests.studies import SEARCHING, study
codes_of(study(("random", "badge"), paradigm=SEARCHING).runs)  # read once, before the forks
for line in sys.stdin:
    out, crash = line.split()
    child = os.fork()
    if child == 0:
        os.environ["FATHOM_CRASH_AT"] = crash
        toy = study(("random", "badge"), (0, 1), paradigm=SEARCHING, full_data=1)
        fathom.engine.engine.run_study(toy, out, workers=0)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def start(out: Path, workers: int = 0, plugins: tuple[Path, ...] = (), **env: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", RUNNER, str(workers), str(out), *map(str, plugins)]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **env})


class Forks:
    """Runs that are cheap to start and to kill."""

    def __init__(self) -> None:
        command, env = [sys.executable, "-c", FORKS], {**os.environ, "PYTHONPATH": str(ROOT)}
        pipe = subprocess.PIPE
        self.server = subprocess.Popen(command, cwd=ROOT, env=env, stdin=pipe, stdout=pipe, text=True)

    def start(self, out: Path, crash: str = "never:0") -> int:
        """Start a run; returns its process id."""
        assert self.server.stdin is not None
        self.server.stdin.write(f"{out} {crash}\n")
        self.server.stdin.flush()
        return self._read()

    def wait(self) -> int:
        """Exit status of the run; minus the signal that ended it."""
        return self._read()

    def _read(self) -> int:
        assert self.server.stdout is not None
        return int(self.server.stdout.readline())


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    forks = Forks()
    yield forks
    forks.server.communicate()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "out"
    assert run_study(study(METHODS, (0, 1), paradigm=SEARCHING, full_data=1), out, workers=0).finished
    return contents(out)


def commits(out: Path) -> int:
    return len(list(out.rglob("*.json")))


def children(parent: int) -> list[int]:
    """Process ids of the workers of a run."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True).stdout
    return [int(pid) for pid in found.split()]


def gone(pids: list[int]) -> None:
    """Wait until no process of these is left."""
    deadline = time.monotonic() + 20
    while left := [pid for pid in pids if Path(f"/proc/{pid}/exe").exists()]:
        assert time.monotonic() < deadline, f"workers outlived their parent: {left}"
        time.sleep(0.05)


def finish(out: Path) -> None:
    assert run_study(study(METHODS, (0, 1), paradigm=SEARCHING, full_data=1), out, workers=0).finished


def test_killed_at_random_moments(uninterrupted: dict[str, bytes], forks: Forks, tmp_path: Path) -> None:
    """kill -9 again and again, each time a random while after some commits more."""
    chance, kills = random.Random(0), 0
    total = len([name for name in uninterrupted if name.endswith(".json")]) + 1  # and the environment
    for attempt in range(3):
        out, status = tmp_path / str(attempt), -1
        while status:
            wanted = commits(out) + chance.randint(0, 8)
            process = forks.start(out)
            while commits(out) < min(wanted, total):
                time.sleep(0.001)
            if wanted <= total:  # else it may end well
                time.sleep(chance.random() * 0.05)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            status = forks.wait()
            kills += status == -signal.SIGKILL
        assert contents(out) == uninterrupted
    assert kills >= 12


@fault("store", "kill -9 around a commit", "the same store as an uninterrupted run, each round once")
@pytest.mark.parametrize("passage", [1, 6, 13, 20])
@pytest.mark.parametrize("point", ["before-fsync", "after-fsync", "after-link"])
def test_killed_around_a_commit(
    uninterrupted: dict[str, bytes], forks: Forks, tmp_path: Path, point: str, passage: int
) -> None:
    out = tmp_path / "out"
    forks.start(out, f"{point}:{passage}")
    assert forks.wait() == -signal.SIGKILL
    forks.start(out)
    assert forks.wait() == 0
    assert contents(out) == uninterrupted


@fault("engine", "kill -9 of the parent", "its workers end, a second call finishes")
def test_killed_parent_takes_its_workers_along(uninterrupted: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(out, workers=2)
    while commits(out) < 12:
        time.sleep(0.01)
    workers = children(process.pid)
    assert len(workers) == 2
    process.kill()
    process.wait()
    gone(workers)
    finish(out)
    assert contents(out) == uninterrupted


@fault("engine", "kill -9 of a worker", "told, the rest is done, a second call finishes")
def test_a_killed_worker_is_told_and_the_rest_goes_on(uninterrupted: dict[str, bytes], tmp_path: Path) -> None:
    for attempt in range(20):  # a job may end just before its worker is killed
        out = tmp_path / str(attempt)
        process = start(out, workers=2)
        while not (busy := [beat for beat in live_workers(Store(out)) if beat["doing"].startswith("shared/hp-search")]):
            assert process.poll() is None
        os.kill(busy[0]["pid"], signal.SIGKILL)
        status, failures = process.wait(), Store.open(out).failures()
        if failures:
            break
    assert (status, [failure["error"] for failure in failures]) == (3, ["DiedError"])
    assert len(list((out / "shared/hp-search").glob("*.json"))) == 3  # of four: the other worker went on
    finish(out)
    assert {n: d for n, d in contents(out).items() if not n.startswith("failures/")} == uninterrupted


@fault("engine", "Ctrl-C", "exit 130, the command to resume, nothing left behind")
def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    toml = tmp_path / "toy.toml"
    spec = study(METHODS, paradigm=SEARCHING).runs[0]
    lists = {"datasets": [spec.dataset], "regimes": [spec.regime], "paradigms": [spec.paradigm]}
    text = 'name = "toy"\nqueries = ["random", "badge"]\nseeds = 4\n'  # work enough that it is caught in the middle
    toml.write_text(text + "".join(f"{k} = {json.dumps(v)}\n" for k, v in lists.items()))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "fathom.cli", "run", str(toml), "--out", str(out), "--workers", "2"]
    # A shell without job control starts background commands with SIGINT ignored, and children inherit that.
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while commits(out) < 14 and process.poll() is None:  # the study's files, and three trainings of the search
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert f"fathom run {toml} --out {out} --workers 2" in said
    assert "Traceback" not in said
    assert not list(out.rglob(".tmp-*"))
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert Path(again.stdout.strip().splitlines()[-1]).is_file()


@fault("engine", "SIGTERM, SIGUSR2 of a scheduler", "exit 75 within seconds, no lock held, a second call finishes")
@pytest.mark.parametrize(("number", "workers"), [(signal.SIGUSR2, 2), (signal.SIGTERM, 0)])
def test_sent_away_it_leaves_within_seconds_and_goes_on_when_called_again(
    uninterrupted: dict[str, bytes], tmp_path: Path, number: signal.Signals, workers: int
) -> None:
    """As Slurm does before a time limit: exit status 75, no lock held, nobody left behind."""
    out = tmp_path / "out"
    runner = RUNNER.replace("outcome = ", "from fathom.engine.engine import Interrupted\ntry: outcome = ")
    runner += "except Interrupted as stop: sys.exit(stop.exit_code)\n"
    runner = runner.replace("sys.exit(0 if outcome.finished else 3)\n", "")
    process = subprocess.Popen(
        [sys.executable, "-c", runner, str(workers), str(out)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    while commits(out) < 12:
        time.sleep(0.01)
    told, left = time.monotonic(), children(process.pid)
    assert len(left) == workers
    process.send_signal(number)
    assert process.wait(timeout=30) == 75
    assert time.monotonic() - told < 10
    gone(left)
    for path in (out / ".locks").glob("*.lock"):
        with locks.lock(path, wait=False) as free:
            assert free, path
    finish(out)
    assert contents(out) == uninterrupted
    assert not Store.open(out).failures()


COUNTING = '''
import os
from fathom import selection

@selection("counted", predictions=False)
def counted(view, size, stream):
    """Random, and leaves a mark for every call."""
    with open(os.environ["FATHOM_TEST_MARKS"], "a") as marks:
        marks.write(f"{stream.seed} {stream.path}\\n")
    return __import__("torch").randperm(len(view), generator=stream.torch())[:size]
'''


@fault("engine", "several callers on one study", "every job done once")
def test_two_processes_on_one_study_share_the_work(tmp_path: Path) -> None:
    plugin, marks, out = tmp_path / "marking.py", tmp_path / "marks", tmp_path / "out"
    plugin.write_text(COUNTING)
    marks.touch()
    both = [start(out, workers, (plugin,), FATHOM_TEST_MARKS=str(marks)) for workers in (0, 2)]
    assert [p.wait() for p in both] == [0, 0]
    calls = marks.read_text().splitlines()
    assert len(calls) == len(set(calls)) == 2 * 2  # two seeds, two queries each, nobody asked twice
    store = Store.open(out)
    assert all(store.complete(spec) for spec in store.study.runs)
    assert not store.failures()
