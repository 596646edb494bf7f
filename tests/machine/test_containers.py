"""Containers: a user without a name or home, and a cache that may only be read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tests.faults import fault
from tests.studies import study

from fathom.core.machine import Machine
from fathom.core.records import FathomError
from fathom.data.cache import cache_file
from fathom.engine.engine import run_study
from fathom.machine import doctor, paths

NAMELESS = """
import os
import torch
from fathom.machine.environment import describe
from fathom.machine.paths import data_folders
os.setgid(54321); os.setuid(54321)  # once all is imported: this user may not be allowed to read the packages
describe(torch.device("cpu"), 1)
print(data_folders()[1])
"""


@fault(
    "machine", "a container without HOME whose user has no name", "it runs; the cache is a folder for temporary files"
)
def test_a_user_without_home_has_a_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "XDG_CACHE_HOME", "FATHOM_CACHE", "FATHOM_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert paths.data_folders()[1] == tmp_path / f"fathom-cache-{os.getuid()}"
    with pytest.raises(FathomError, match=r"~/data. cannot be used as a path: Could not determine home directory"):
        paths.data_folders("~/data")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can be another user")
def test_a_process_of_an_unknown_user_starts(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "TMPDIR": "/tmp"}
    command = [sys.executable, "-c", NAMELESS]
    said = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip() == "/tmp/fathom-cache-54321", said


def images(folder: Path) -> str:
    for i in range(80):
        path = folder / ("cat" if i % 2 else "dog") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (3 * i, 255 - 3 * i, 40 * (i % 2))).save(path)
    return f"folder(path={folder}, size=8)"


@fault("machine", "a cache that may only be read", "what it holds is used, nothing is written, a note says so", cases=2)
def test_a_read_only_cache_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    toy = study(("random",), dataset=images(tmp_path / "images"),
                regime="custom(query_size=4, rounds=2, start=8, val_size=6)")  # fmt: skip
    cache = tmp_path / "cache"
    machine = Machine(data=tmp_path / "data", cache=cache)
    assert run_study(toy, tmp_path / "first", workers=0, machine=machine).finished
    for path in cache.glob("*.lock"):
        path.unlink()
    before = {path: path.stat().st_mtime_ns for path in (cache, *cache.rglob("*"))}
    access = os.access

    def denied(path: object, mode: int, **more: object) -> bool:
        return access(path, mode, **more) and not (mode & os.W_OK and Path(str(path)).is_relative_to(cache))

    monkeypatch.setattr("os.access", denied)
    cache_file._noted.cache_clear()
    for index in cache.glob("content-hashes.json"):
        index.unlink()  # so that there would be something to write
        before.pop(index)
        before[cache] = cache.stat().st_mtime_ns
    assert run_study(toy, tmp_path / "second", workers=0, machine=machine).finished
    assert {path: path.stat().st_mtime_ns for path in (cache, *cache.rglob("*"))} == before
    assert [check.state for check in doctor._data(tmp_path / "data", cache)][1] == "warn"
    for path in cache.glob("*.pixels"):
        path.unlink()
    with pytest.raises(FathomError, match=r"cannot write decoded images to .*read-only.*FATHOM_CACHE"):
        run_study(toy, tmp_path / "third", workers=0, machine=machine)
    assert not (tmp_path / "third").exists()
