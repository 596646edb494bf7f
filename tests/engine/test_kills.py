"""kill -9 at random moments over all paradigms, workers and engines; many callers, frozen callers, skewed clocks.

The fast part is in `make test` with few kills; `make faults` kills a hundred times.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.faults import fault, only_in_full
from tests.studies import FROZEN, SEARCHING, SELF_SL, SEMI_SL, contents

from fathom.store.store import Store

ROOT = Path(__file__).parents[2]
PARADIGMS = {"standard": SEARCHING, "self-sl": SELF_SL, "semi-sl": SEMI_SL, "frozen": FROZEN}
SAME = "the same store as an uninterrupted run, each round once"
KILLED = "kill -9 at random moments, four paradigms, 0 to 2 workers and Ray"

# Starts a run for every line it reads, in a fork of a process that has everything imported: killing is cheap.
SERVER = """
import os, sys, torch
torch.set_num_threads(1)
import fathom.learn.paradigms.standard, fathom.engine.engine, fathom.query.core_set, sklearn.datasets, torch._dynamo
from tests.studies import study
from fathom.registry.code import codes_of
from tests.engine.test_kills import PARADIGMS
for paradigm in PARADIGMS.values():  # read once, before the forks
    codes_of(study(("random", "badge"), paradigm=paradigm).runs)
for line in sys.stdin:
    out, paradigm, workers, engine = line.split()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        toy = study(("random", "badge"), (0, 1), paradigm=PARADIGMS[paradigm], full_data=1)
        count = None if engine != "local" else int(workers)
        done = fathom.engine.engine.run_study(toy, out, workers=count, engine=engine).finished
        os._exit(0 if done else 3)  # 3: a worker was killed, and its job is left to the next call
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Starter:
    """Runs of the toy study that are cheap to start and to kill, one at a time."""

    def __init__(self, cache: Path) -> None:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "FATHOM_CACHE": str(cache)}
        pipe = subprocess.PIPE
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER], cwd=ROOT, env=env, stdin=pipe, stdout=pipe, text=True
        )

    def start(self, out: Path, paradigm: str, workers: int = 0, engine: str = "local") -> int:
        """Start a run; returns its process id."""
        assert self.server.stdin is not None
        self.server.stdin.write(f"{out} {paradigm} {workers} {engine}\n")
        self.server.stdin.flush()
        return self.wait()

    def wait(self) -> int:
        """The next number of the server: exit status of the run, minus the signal that ended it."""
        assert self.server.stdout is not None
        return int(self.server.stdout.readline())


@pytest.fixture
def starter(tmp_path: Path) -> Iterator[Starter]:
    made = Starter(tmp_path / "cache")
    yield made
    made.server.communicate()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, bytes]]:
    """What an uninterrupted run of a paradigm leaves, by its name."""
    found: dict[str, dict[str, bytes]] = {}

    def of(paradigm: str) -> dict[str, bytes]:
        if paradigm not in found:
            folder = tmp_path_factory.mktemp(paradigm)
            one = Starter(folder / "cache")
            one.start(folder / "out", paradigm)
            assert one.wait() == 0
            one.server.communicate()
            found[paradigm] = contents(folder / "out")
        return found[paradigm]

    return of


def commits(out: Path) -> int:
    return len([*out.glob("shared/*/*.json"), *out.glob("runs/*/*.json")])


def results(out: Path) -> dict[str, bytes]:
    """The store without failures: a job whose worker was killed is a recorded failure of its call."""
    return {name: data for name, data in contents(out).items() if not name.startswith("failures/")}


def workers_of(parent: int) -> list[int]:
    """Process ids of the workers of a run."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True).stdout
    return [int(pid) for pid in found.split()]


def kill_and_resume(
    starter: Starter, folder: Path, run: tuple[str, int, str], kills: int, whole: dict[str, bytes]
) -> None:
    """Kill a run, or one of its workers, `kills` times at random moments; after each study the store is compared."""
    chance, done, attempt = random.Random(f"{run}"), 0, 0
    while done < kills:
        out, status = folder / str(attempt), -1
        attempt += 1
        while status:
            wanted = commits(out) + chance.randint(0, 6)
            process = starter.start(out, *run)
            while commits(out) < wanted and not _ended(process):
                time.sleep(0.001)
            time.sleep(chance.random() * 0.05)
            target = process
            if done < kills:
                target = process if chance.random() < 0.7 else chance.choice([process, *workers_of(process)])
                with contextlib.suppress(ProcessLookupError):
                    os.kill(target, signal.SIGKILL)
            status = starter.wait()
            done += status == -signal.SIGKILL or (target != process)
        assert results(out) == whole, f"{run} after {done} kills"


def _ended(pid: int) -> bool:
    """Whether a process is dead and not yet waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@only_in_full
@fault("engine", KILLED, SAME, cases=10)
@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_killed_at_random_in_this_process(
    paradigm: str, starter: Starter, whole: Callable[[str], dict[str, bytes]], tmp_path: Path
) -> None:
    kill_and_resume(starter, tmp_path, (paradigm, 0, "local"), 10, whole(paradigm))


@only_in_full
@fault("engine", KILLED, SAME, cases=6)
@pytest.mark.parametrize("paradigm", PARADIGMS)
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_random_with_workers(
    paradigm: str, workers: int, starter: Starter, whole: Callable[[str], dict[str, bytes]], tmp_path: Path
) -> None:
    kill_and_resume(starter, tmp_path, (paradigm, workers, "local"), 6, whole(paradigm))


@only_in_full
@pytest.mark.xdist_group("ray")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@fault("engine", KILLED, SAME, cases=3)
@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_killed_at_random_on_ray(
    paradigm: str, starter: Starter, whole: Callable[[str], dict[str, bytes]], tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    from tests.engine.clusters import cluster

    with cluster(1) as (made, _):
        kill_and_resume(starter, tmp_path, (paradigm, 0, f"ray:{made.address}"), 3, whole(paradigm))


# ------------------------------------------------------------------------------------ callers, freezing, clocks

CALLER = """
import os, sys, time
shift = float(os.environ.get("FATHOM_TEST_CLOCK", 0))
real = time.time
time.time = lambda: real() + shift
from fathom.engine.engine import run_study
from tests.engine.test_kills import PARADIGMS
from tests.studies import study
toy = study(("random", "badge"), (0, 1), paradigm=PARADIGMS["standard"], full_data=1)
sys.exit(0 if run_study(toy, sys.argv[1], workers=0).finished else 3)
"""


def caller(out: Path, shift: float = 0.0) -> "subprocess.Popen[bytes]":
    """A call of `run` in a process of its own, whose clock is wrong by `shift` seconds."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "FATHOM_TEST_CLOCK": str(shift)}
    return subprocess.Popen([sys.executable, "-c", CALLER, str(out)], cwd=ROOT, env=env)


def rounds_in(out: Path) -> int:
    return len(list(out.glob("runs/*/round-*.json")))


@only_in_full
@fault("engine", "eight callers of one study at once", "every job done once, the same store", cases=8)
def test_eight_callers_at_once(whole: Callable[[str], dict[str, bytes]], tmp_path: Path) -> None:
    callers = [caller(tmp_path / "out") for _ in range(8)]
    assert [process.wait() for process in callers] == [0] * 8
    assert contents(tmp_path / "out") == whole("standard")
    assert not Store.open(tmp_path / "out").failures()


@only_in_full
@fault("engine", "clocks an hour apart, in both directions", "no job done twice, the same store", cases=3)
def test_callers_whose_clocks_differ(whole: Callable[[str], dict[str, bytes]], tmp_path: Path) -> None:
    callers = [caller(tmp_path / "out", shift) for shift in (-3600.0, 0.0, 3600.0)]
    assert [process.wait() for process in callers] == [0] * 3
    assert contents(tmp_path / "out") == whole("standard")
    assert not Store.open(tmp_path / "out").failures()


@only_in_full
@fault("engine", "caller stopped (SIGSTOP) and continued", "another call does what is free, the same store", cases=2)
@pytest.mark.parametrize("moment", [2, 8])
def test_a_caller_that_is_frozen_for_a_while(
    whole: Callable[[str], dict[str, bytes]], tmp_path: Path, moment: int
) -> None:
    out = tmp_path / "out"
    frozen = caller(out)
    while rounds_in(out) < moment:
        assert frozen.poll() is None
        time.sleep(0.01)
    frozen.send_signal(signal.SIGSTOP)
    before = rounds_in(out)
    other = caller(out)
    deadline = time.monotonic() + 60
    while rounds_in(out) <= before and other.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    frozen.send_signal(signal.SIGCONT)
    assert [frozen.wait(), other.wait()] == [0, 0]
    assert contents(out) == whole("standard")


# ------------------------------------------------------------------------------------------------------ full disk

LIMITED = (
    """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
"""
    + CALLER
)


@only_in_full
@fault("store", "full disk", "path, bytes and what to do; commits intact; resumes once there is room")
@pytest.mark.parametrize("limit", [700, 2_000, 20_000])
def test_a_disk_that_fills_up_in_the_middle(
    limit: int, whole: Callable[[str], dict[str, bytes]], tmp_path: Path
) -> None:
    """Files of at most `limit` bytes can be written: study file, rounds or classifiers do not fit."""
    out, env = tmp_path / "out", {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", LIMITED, str(out), str(limit)], cwd=ROOT, env=env, capture_output=True)
    assert done.returncode in (1, 3)
    told = [failure["message"] for failure in Store(out).failures()] + [done.stderr.decode()]
    assert any("cannot write" in text and "bytes" in text and "same command again" in text for text in told)
    assert not list(out.rglob(".tmp-*"))
    assert caller(out).wait() == 0
    assert results(out) == whole("standard")
