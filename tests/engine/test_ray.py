"""One study on one machine and on a cluster of two: the same store; nodes and drivers that die lose nothing.

Ray's own cluster utility starts the nodes as processes of this machine, which share its file system.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.faults import fault
from tests.studies import ROOT, SEARCHING, contents, study

from fathom.core.machine import Machine, RunOptions
from fathom.core.records import FathomError, Study
from fathom.engine.engine import run_study
from fathom.engine.jobs import Job
from fathom.registry import registry
from fathom.store.store import Store

pytest.importorskip("ray")
from tests.engine.clusters import cluster

KILLED_ON_RAY = fault(
    "engine", "driver or node of a Ray cluster killed", "the same store as an uninterrupted run, each round once"
)

pytestmark = [
    pytest.mark.xdist_group("ray"),
    # Ray leaves files and processes of its own to the end of the interpreter, which tells of them.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

DRIVER = """
import sys
from fathom.engine.engine import Interrupted, run_study
from tests.studies import SEARCHING, study
toy = study(("random", "badge"), (0, 1), paradigm=SEARCHING, full_data=1)
try:
    run_study(toy, sys.argv[1], engine=sys.argv[2])
except Interrupted as stop:
    sys.exit(stop.exit_code)
"""


def toy(queries: tuple[str, ...] = ("random", "badge")) -> Study:
    return study(queries, (0, 1), paradigm=SEARCHING, full_data=1)


def commits(out: Path) -> int:
    """Results so far: trainings of the search, round 0s, rounds."""
    return len([*out.glob("shared/*/*.json"), *out.glob("runs/*/round-*.json")])


def wait_for(out: Path, number: int, process: "subprocess.Popen[bytes]") -> None:
    while commits(out) < number:
        assert process.poll() is None, "the driver has exited"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[tuple[Any, list[Any], str]]:
    with cluster() as (made, nodes):
        yield made, nodes, f"ray:{made.address}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one worker of this machine gives, uninterrupted."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert run_study(toy(), out, workers=1).finished
    return contents(out)


def driver(out: Path, engine: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(out), engine], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


def test_one_worker_two_workers_and_two_nodes_give_the_same_store(
    two_nodes: tuple[Any, list[Any], str], whole: dict[str, bytes], tmp_path: Path
) -> None:
    assert run_study(toy(), tmp_path / "two", workers=2).finished
    assert contents(tmp_path / "two") == whole
    seen: list[tuple[int, int]] = []
    outcome = run_study(toy(), tmp_path / "ray", engine=two_nodes[2], progress=lambda *now: seen.append(now))
    assert outcome.finished
    assert seen[-1] == (outcome.trainings, outcome.trainings)
    assert contents(tmp_path / "ray") == whole
    again = run_study(toy(), tmp_path / "ray", engine="local", workers=0)  # the engine is no part of a study
    assert again.finished


@KILLED_ON_RAY
def test_a_driver_sent_away_and_one_killed_in_the_middle_lose_nothing(
    two_nodes: tuple[Any, list[Any], str], whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = driver(out, two_nodes[2])
    wait_for(out, 3, process)
    process.send_signal(signal.SIGUSR2)
    assert process.wait(timeout=30) == 75
    there = commits(out)
    process = driver(out, two_nodes[2])
    wait_for(out, there + 3, process)
    process.kill()
    process.wait()
    assert run_study(toy(), out, workers=0).finished  # its tasks ended with it, so nobody holds a lock
    assert contents(out) == whole
    assert not Store.open(out).failures()


@KILLED_ON_RAY
def test_a_node_killed_in_the_middle_costs_time_and_nothing_else(
    two_nodes: tuple[Any, list[Any], str], whole: dict[str, bytes], tmp_path: Path
) -> None:
    made, nodes, engine = two_nodes
    out, killed = tmp_path / "out", []

    def look(committed: int, total: int) -> None:
        if 3 <= committed < total - 3 and not killed:
            killed.append(nodes.pop())
            made.remove_node(killed[0], allow_graceful=False)

    assert run_study(toy(), out, engine=engine, progress=look).finished
    assert len(killed) == 1
    assert contents(out) == whole
    assert not Store.open(out).failures()


BAD = '''
import os, signal
from fathom import score

@score("die")
def die(view):
    """Kills its process."""
    os.kill(os.getpid(), signal.SIGKILL)

@score("crash")
def crash(view):
    """Has a bug."""
    return view.no_such_thing
'''


def test_failures_are_those_of_the_other_engine(
    two_nodes: tuple[Any, list[Any], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fathom.engine.ray.TRIES", 2)
    path = tmp_path / "bad.py"
    path.write_text(BAD)
    registry.add_file(path)
    try:
        queries = ("bad/die", "bad/crash", "random")
        outcome = run_study(study(queries), tmp_path / "out", engine=two_nodes[2])
    finally:
        registry._files.clear()
        registry.index.cache_clear()
    assert outcome.complete == 1
    told = {f["query"]: f for f in outcome.failures}
    assert {query: f["error"] for query, f in told.items()} == {"bad/die": "DiedError", "bad/crash": "AttributeError"}
    assert "no_such_thing" in told["bad/crash"]["traceback"]
    assert len(outcome.failures) == 2


@fault("engine", "node that sees another folder", "refused")
def test_a_worker_that_sees_another_folder_is_refused(two_nodes: tuple[Any, list[Any], str], tmp_path: Path) -> None:
    from fathom.engine.ray_task import do_job

    assert run_study(study(("random",)), tmp_path / "out", workers=0).finished
    told = {"out": str(tmp_path / "out"), "machine": Machine(cache=tmp_path, device="cpu").to_json(), "session": "s"}
    told |= {"environment": "", "retries": {}, "jobs": []}
    job = {"kind": "run", "name": "runs/x", "setting": ["a", "b", "c"], "seed": 0, "needs": []}
    with pytest.raises(FathomError, match="finds another study"):
        do_job(json.dumps({**told, "study": "0" * 64}), json.dumps(job))
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(FathomError, match=r"does not see .*out.*shared storage"):
        do_job(json.dumps({**told, "study": ""}), json.dumps(job))
    assert Job.from_json(job).seed == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "slurm"}, "expected engine local, ray or ray:HOST:PORT"),
        ({"engine": "ray:nobody:1", "workers": 2}, "--num-cpus"),
        ({"engine": "ray:ray://host:10001"}, "HOST:PORT"),
        ({"engine": "ray:host:1", "machine": Machine(device="cuda:1")}, "auto, cpu or cuda"),
        ({"engine": "ray:host:1", "options": RunOptions(gpu_share=2.0)}, "above 0 and at most 1"),
        ({"engine": "local", "options": RunOptions(gpu_share=0.5)}, "engine ray"),
    ],
)
def test_what_does_not_fit_an_engine_is_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(FathomError, match=message):
        run_study(toy(), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


OWN = """
import os, sys
import fathom
from fathom.engine.engine import run_study
from tests.studies import study

def look(committed, total):
    import psutil  # Ray's own copy
    below = psutil.Process().children(recursive=True)
    open_to = {c.laddr.ip for p in below for c in p.net_connections("tcp") if c.status == "LISTEN"}
    assert open_to and all(ip.removeprefix("::ffff:").startswith("127.") or ip == "::1" for ip in open_to), open_to
    assert os.environ["RAY_AUTH_MODE"] == "token"

toy = study(("random",), dataset="folder(path=images, size=8)",
            regime="custom(query_size=4, rounds=2, start=8, val_size=6)")
outcome = run_study(toy, "out", engine=sys.argv[1], progress=look if sys.argv[1] == "ray" else None)
assert outcome.finished, outcome.failures
"""


@fault(
    "engine", "ray: files of the current folder, relative paths", "nothing of it is executed, paths are found", cases=1
)
@pytest.mark.parametrize("own", [True, False], ids=["own cluster", "cluster started elsewhere"])
def test_a_cluster_imports_nothing_from_the_current_folder_and_finds_relative_paths(
    two_nodes: tuple[Any, list[Any], str], tmp_path: Path, own: bool
) -> None:
    for name in ("statistics", "secrets", "sklearn", "torchvision", "fathom_extra", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'EXECUTED')!r}, 'a').write({name!r})")
    for i in range(80):
        path = tmp_path / "images" / ("cat" if i % 2 else "dog") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (3 * i, 255 - 3 * i, 40 * (i % 2))).save(path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if own:
        environment = {name: value for name, value in environment.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-P", "-c", OWN, "ray" if own else two_nodes[2]]
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert not (tmp_path / "EXECUTED").exists()
    assert Store.open(tmp_path / "out").study.name == "toy"


@fault("engine", "ray: a version with known security holes", "refused with the version to install")
def test_a_version_of_ray_with_known_holes_is_refused(tmp_path: Path) -> None:
    code = "import ray; ray.__version__ = '2.51.1'\n" + DRIVER
    command = [sys.executable, "-c", code, str(tmp_path / "out"), "ray"]
    said = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert said.returncode == 1
    assert "Ray 2.51.1 has known security holes" in said.stderr
    assert "expected Ray 2.56 or newer" in said.stderr


@fault("machine", "broken torch, torchvision, driver or missing package", "the command that fixes it, no traceback")
def test_without_the_package_it_is_said_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['ray'] = None\n" + DRIVER
    command = [sys.executable, "-c", code, str(tmp_path / "out"), "ray"]
    said = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    assert said.returncode == 1
    assert b"FathomError: the engine ray needs the package Ray" in said.stderr
    assert b'pip install "fathom-al[ray]"' in said.stderr
