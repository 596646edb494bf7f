"""Killed at any moment and run again: the same store as an uninterrupted run, every round once, no work twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.run.studies import SEARCHING, contents, study

from fathom.run.backends import run
from fathom.store import Store

ROOT = Path(__file__).parents[2]
METHODS = ("random", "badge")

RUNNER = """
import sys
from fathom import registry
from fathom.run.backends import run
from tests.run.studies import SEARCHING, study
workers, out, plugins = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
for path in plugins:
    registry.add_file(path)
queries = tuple(n for n in registry.index()["query"] if "/" in n) or ("random", "badge")
outcome = run(study(queries, (0, 1), paradigm=SEARCHING, ceiling=1), out, workers=workers)
sys.exit(0 if outcome.finished else 3)
"""


def start(out: Path, workers: int = 0, plugins: tuple[Path, ...] = (), **env: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", RUNNER, str(workers), str(out), *map(str, plugins)]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **env})


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "out"
    assert run(study(METHODS, (0, 1), paradigm=SEARCHING, ceiling=1), out, workers=0).finished
    return contents(out)


def commits(out: Path) -> int:
    return len(list(out.rglob("*.json")))


def finish(out: Path) -> None:
    assert run(study(METHODS, (0, 1), paradigm=SEARCHING, ceiling=1), out, workers=0).finished


def test_killed_at_random_moments(uninterrupted: dict[str, bytes], tmp_path: Path) -> None:
    """kill -9 again and again, each time after another number of commits and a random wait."""
    out = tmp_path / "out"
    chance = random.Random(0)
    total, kills = len([n for n in uninterrupted if n.endswith(".json")]), 0
    while commits(out) < total - 2:
        wanted = commits(out) + chance.randint(1, 5)
        process = start(out)
        while process.poll() is None and commits(out) < wanted:
            time.sleep(0.002)
        time.sleep(chance.random() * 0.05)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
    assert kills >= 4
    finish(out)
    assert contents(out) == uninterrupted


@pytest.mark.parametrize("point", ["before-fsync", "after-fsync", "after-link"])
def test_killed_around_a_commit(uninterrupted: dict[str, bytes], tmp_path: Path, point: str) -> None:
    out = tmp_path / "out"
    process = start(out, FATHOM_CRASH_AT=f"{point}:{17 + len(point)}")
    assert process.wait() == -signal.SIGKILL
    finish(out)
    assert contents(out) == uninterrupted


def test_killed_parent_takes_its_workers_along(uninterrupted: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(out, workers=2)
    while commits(out) < 12:
        time.sleep(0.01)
    process.kill()
    process.wait()
    time.sleep(1.0)
    before = commits(out)
    time.sleep(1.0)
    assert commits(out) == before, "a worker outlived its parent"
    finish(out)
    assert contents(out) == uninterrupted


def test_a_killed_worker_is_told_and_the_rest_goes_on(uninterrupted: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(out, workers=2, FATHOM_CRASH_AT="after-fsync:3")  # counts in every process for itself
    assert process.wait() != 0
    finish(out)
    assert contents(out) == uninterrupted


def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    toml = tmp_path / "toy.toml"
    spec = study(METHODS, paradigm=SEARCHING).runs[0]
    lists = {"datasets": [spec.dataset], "regimes": [spec.regime], "paradigms": [spec.paradigm]}
    text = 'name = "toy"\nqueries = ["random", "badge"]\nseeds = 2\n'
    toml.write_text(text + "".join(f"{k} = {json.dumps(v)}\n" for k, v in lists.items()))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "fathom.cli", "run", str(toml), "--out", str(out), "--workers", "2"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while commits(out) < 10:
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
