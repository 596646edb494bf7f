"""Notes for those who watch a study, of any content: they stop neither the study nor `status`."""

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.faults import ALL, fault
from tests.studies import study

import fathom
from fathom.cli import console
from fathom.core.progress import describe_job
from fathom.engine.engine import run_study
from fathom.engine.heartbeat import Heartbeat
from fathom.store.atomic_files import pack_record
from fathom.store.store import Store

HOST, PID = socket.gethostname(), os.getpid()
BEAT = {"host": HOST, "pid": PID, "device": "cpu", "session": "s", "since": 1.0, "doing": "runs/x", "what": "x"}
BEAT |= {"doing_since": 1.0, "jobs": 0, "failed": 0, "trainings": 0, "busy": 0.0}
REPORT = {"job": "runs/x/round-01", "done": 3, "of": 10, "loss": 0.5}
ODD: list[Any] = [
    None,
    True,
    -1,
    1e308,
    10**400,
    float("nan"),
    "x",
    "../../x",
    "\0",
    "x" * 5000,
    [],
    [1],
    {},
    {"a": []},
]


def damaged(sound: dict[str, Any]) -> list[bytes]:
    """Contents of every kind: cut, of other types, without a field, and with a field of another type or range."""
    whole = json.dumps(sound).encode()
    found = [b"", b"{", whole[:-9], b"null", b"[]", b"3", b'"x"', b"\xff\xfe\x00", b"[" * 100_000, b"{}" * 50_000]
    found += [json.dumps({k: v for k, v in sound.items() if k != name}).encode() for name in sound]
    return found + [json.dumps(sound | {name: value}).encode() for name in sound for value in ODD]


def pipe(path: Path) -> None:
    os.mkfifo(path)


def dangling(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


SHAPES: list[Callable[[Path], None]] = [Path.mkdir, pipe, dangling]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("notes") / "out"
    assert run_study(study(("random",)), out, workers=0).finished
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "out")
    for name in (".work", ".workers"):
        (tmp_path / "out" / name).mkdir(exist_ok=True)
    return tmp_path / "out"


def notes(out: Path) -> list[tuple[Path, list[bytes]]]:
    jobs = json.loads((out / "jobs.json").read_bytes())["content"]["jobs"]
    odd_jobs: list[Any] = [
        *ODD,
        [{}],
        [jobs[0] | {"kind": "x"}],
        *([jobs[0] | {name: v}] for name in jobs[0] for v in ODD),
    ]
    lists = [pack_record({"jobs": one}, {}) for one in odd_jobs if "NaN" not in json.dumps(one)]
    lists += [pack_record({}, {}), *damaged({"jobs": []}), pack_record({"jobs": jobs}, {}).replace(b": 2", b": 99", 1)]
    return [
        (out / ".workers" / f"{HOST}-{PID}.json", damaged(BEAT)),
        (out / ".work" / "runs-x-0123456789ab.json", damaged(REPORT)),
        (out / "jobs.json", lists),
    ]


def watched(out: Path) -> None:
    """What a person sees of a study."""
    found = fathom.status(out)
    console.print_status(found)
    json.dumps(found.to_json(), default=str)
    found._repr_html_()
    for job in Store.open(out).in_progress():
        describe_job(job)


@fault("engine", "heartbeats, progress reports and job lists of any content", "status shows the rest", cases=300)
def test_notes_of_any_content_do_not_stop_status(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, contents in notes(out):
        for content in contents if ALL else contents[::4]:
            path.write_bytes(content)
            watched(out)
        path.unlink()
        for make in SHAPES:
            make(path)
            watched(out)
            path.rmdir() if path.is_dir() else path.unlink()
    (out / ".workers" / f"{HOST}-{PID}.json").write_text(json.dumps(BEAT))  # a sound one is shown
    capsys.readouterr()
    console.print_status(fathom.status(out))


@fault("engine", "notes of any content in the folder of a running study", "the study ends", cases=9)
@pytest.mark.parametrize("kind", range(3))
def test_notes_of_any_content_do_not_stop_a_study(out: Path, kind: int) -> None:
    path, contents = notes(out)[kind]
    next(out.glob("runs/*/round-02.json")).unlink()
    for name in ("foreign.txt", "foreign.json", "foreign.lock"):
        for folder in (".work", ".workers", ".locks"):
            (out / folder).mkdir(exist_ok=True)
            (out / folder / name).write_text("mine")
    path.unlink(missing_ok=True)
    if kind:
        path.mkdir()
    else:
        path.write_bytes(contents[5])
    assert run_study(study(("random",)), out, workers=0).finished
    mine = {f"{folder}/{name}" for folder in (".work", ".workers", ".locks")
            for name in ("foreign.txt", "foreign.json", "foreign.lock")}  # fmt: skip
    assert all((out / name).read_text() == "mine" for name in mine), "a file that is not of Fathom was removed"


def test_a_heartbeat_that_cannot_be_written_stops_nothing(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / ".workers", ignore_errors=True)
    (tmp_path / "out" / ".workers").write_text("a file")
    with Heartbeat(Store.open(tmp_path / "out"), "cpu", "s").doing("runs/x", "x", 1) as result:
        result["ok"] = True
    watched(tmp_path / "out")
