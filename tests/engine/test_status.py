"""What is told of a study under way: states, time left, who is at work; and the order in which its jobs are done."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.studies import FROZEN, SEARCHING, study

from fathom.core.records import Study
from fathom.engine import heartbeat
from fathom.engine.engine import run_study
from fathom.engine.status import status_of
from fathom.store.store import Store


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("status") / "out"
    assert run_study(study(("random", "entropy"), (0, 1), paradigm=SEARCHING, full_data=1), out, workers=0).finished
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "out")


def jobs(out: Path, kind: str) -> list[dict[str, Any]]:
    return [job for job in heartbeat.read_jobs(Store.open(out)) if job["kind"] == kind]


def test_a_finished_study(finished: Path) -> None:
    found = status_of(Store.open(finished))
    assert found is not None
    assert found.jobs == {"done": 12, "running": 0, "waiting": 0, "blocked": 0, "failed": 0}
    assert {kind: states["done"] for kind, states in found.kinds.items()} == {
        "hp-search": 4, "hp-choice": 1, "round-0": 2, "run": 4, "full-data": 1}  # fmt: skip
    assert (found.trainings, found.of) == (4 + 2 + 4 * 2 + 1,) * 2
    assert found.seconds_left == 0
    assert not found.workers
    assert not list((finished / heartbeat.WORKERS).glob("*")), "left by workers of a study that is finished"
    assert all(path.suffix == ".lock" for path in (finished / ".locks").iterdir())


def test_time_left_is_that_of_like_rounds_here(out: Path) -> None:
    store = Store.open(out)
    spec, other = store.study.runs[:2]
    last = out / store.run_name(spec) / "round-02.json"
    last.unlink()
    found = status_of(store)
    assert found is not None
    assert found.kinds["run"] == {"done": 3, "running": 0, "waiting": 1, "blocked": 0, "failed": 0}
    seconds = [store.rounds(s)[2].seconds["total"] for s in store.study.runs if s.query == spec.query and s != spec]
    assert found.seconds_left == pytest.approx(sum(seconds) / len(seconds))
    assert found.hourly is not None
    assert found.hourly > 0
    assert other.query != spec.query


def test_what_waits_for_a_failure_is_blocked_and_the_reason_is_told(out: Path) -> None:
    store = Store.open(out)
    first = jobs(out, "round-0")[1]
    store.path(first["name"]).unlink()
    blocked = [job for job in jobs(out, "run") if first["name"] in job["needs"]]
    for job in blocked:
        shutil.rmtree(out / job["name"])
    content = {"job": first["name"], "what": "round 0", "kind": "round-0", "message": "it diverged", "error": "X"}
    store.fail("first-x", {**content, "setting": list(first["setting"])}, {"session": "s"})
    found = status_of(Store.open(out))
    assert found is not None
    assert found.jobs == {"done": 9, "running": 0, "waiting": 0, "blocked": 2, "failed": 1}
    assert found.reasons == {first["name"]: "it diverged"}


def test_who_is_at_work_and_for_how_long(out: Path) -> None:
    store, job = Store.open(out), jobs(out, "run")[0]
    shutil.rmtree(out / job["name"])
    me = heartbeat.Heartbeat(store, "cpu", "s")
    with me.doing("shared/round-0/x", "round 0", 1) as result:
        result["ok"] = True
    with me.doing(job["name"], "random on digits", 2):
        found = status_of(store)
        assert found is not None
        assert found.kinds["run"]["running"] == 1
        (worker,) = found.workers
        assert (worker["pid"], worker["what"], worker["trainings"]) == (os.getpid(), "random on digits", 1)
        assert worker["hourly"] > 0
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    said = json.loads(me.path.read_bytes())
    me.path.with_name(f"{said['host']}-{dead.pid}.json").write_text(
        json.dumps(said | {"pid": dead.pid, "doing": job["name"]})
    )
    me.path.with_name(f"far-away-{said['pid']}.json").write_text(
        json.dumps(said | {"host": "far-away", "doing": job["name"]})
    )
    assert [worker["pid"] for worker in heartbeat.live_workers(store)] == [os.getpid()]
    with store.lock(job["name"]) as mine:  # somebody works: so the one on a machine that we cannot ask may be alive
        assert mine
        assert {worker["host"] for worker in heartbeat.live_workers(store)} == {said["host"], "far-away"}


def test_a_store_of_an_older_version_has_no_list_of_jobs(out: Path) -> None:
    (out / "jobs.json").unlink()
    assert status_of(Store.open(out)) is None


def test_many_runs_are_looked_at_in_no_time(out: Path) -> None:
    began = time.perf_counter()
    code = "import sys; from fathom.engine.status import status_of; from fathom.store.store import Store; "
    code += f"status_of(Store.open({str(out)!r})); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0, "status must not wait for torch"
    assert time.perf_counter() - began < 10  # a second on a quiet machine


def test_jobs_are_listed_shared_work_first_then_seed_by_seed_over_all_settings(tmp_path: Path) -> None:
    parts = [study(("random", "entropy"), (0, 1), paradigm=p, full_data=1) for p in (SEARCHING, FROZEN)]
    both = Study("toy", tuple(spec for part in parts for spec in part.runs), full_data=1)
    assert [spec.seed for spec in both.runs] == [0, 0, 1, 1] * 2
    import torch

    from fathom.engine.engine import data_root
    from fathom.engine.preflight import prepare
    from fathom.protocol.context import WorkerContext

    store = Store(tmp_path / "out")
    store.begin(both)
    listed = prepare(both, WorkerContext(store, data_root(), torch.device("cpu")))
    assert len({job.name for job in listed}) == len(listed)
    place = {job.name: number for number, job in enumerate(listed)}
    assert all(place[need] < place[job.name] for job in listed for need in job.needs)
    last_choice = max(place[job.name] for job in listed if job.kind in ("hp-search", "hp-choice"))
    runs = [job for job in listed if job.kind == "run"]
    assert last_choice < min(place[job.name] for job in runs)
    assert [(job.seed, job.query) for job in runs] == [
        (seed, query) for seed in (0, 1) for _ in range(2) for query in ("random", "entropy")
    ]
    assert [job.setting for job in runs[:4]] == [both.settings[0]] * 2 + [both.settings[1]] * 2
    assert [job.kind for job in listed[-2:]] == ["full-data"] * 2
    heartbeat.write_jobs(store, [{**dataclasses.asdict(job), "trainings": 1} for job in listed])
    assert [job["name"] for job in heartbeat.read_jobs(store)] == [job.name for job in listed]
