"""The doctor on machines that are broken in a known way, and on folders that cannot do what the store needs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.faults import fault

from fathom.machine import doctor, storage
from fathom.machine.doctor import DoctorCheck, examine

POOR_FILE_SYSTEM = fault("machine", "file system without links, locks or room", "doctor names it")
BROKEN_INSTALL = fault(
    "machine", "broken torch, torchvision, driver or missing package", "the command that fixes it, no traceback"
)

WELL = {"torch": "2.15.0+cu132", "torchvision": "0.29.2", "threads": 2, "build": "13.2", "warnings": []}


def named(checks: list[DoctorCheck]) -> dict[str, DoctorCheck]:
    return {check.name: check for check in checks}


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, DoctorCheck]]:
    """Examine a machine of which the probe of torch says this."""

    def look(**said: Any) -> dict[str, DoctorCheck]:
        monkeypatch.setattr(doctor, "probe", lambda: said)
        return named(examine(out="."))

    return look


def test_this_machine_as_the_verb_tells_it(tmp_path: Path) -> None:
    import torch
    import torchvision

    where = ["--data", str(tmp_path), "--out", str(tmp_path / "results" / "deep")]
    command = [sys.executable, "-m", "fathom.cli", "doctor", "--json", *where]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    said = json.loads(done.stdout)
    found = named([DoctorCheck(**check) for check in said["checks"]])
    assert said["ok"] == (done.returncode == 0) == all(check.state != "fail" for check in found.values())
    assert found["torch"].found == torch.__version__
    assert found["torchvision"].found.startswith(torchvision.__version__)
    assert (found["data"].state, found["data"].fix) == ("warn", "name the folder with --data, or use --download")
    assert "ms each, synced" in found["storage: commits"].found
    assert list(tmp_path.iterdir()) == [], "something stayed behind"
    assert {"python", "gpu", "cores", "memory", "cache", "extra timm", "extra ray"} <= set(found)
    assert all(check.fix for check in found.values() if check.state != "ok")


def test_official_files_are_found(tmp_path: Path, probed: Callable[..., dict[str, DoctorCheck]]) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").touch()
    os.environ["FATHOM_DATA"] = str(tmp_path)
    try:
        assert "cifar10 (digits" in probed(**WELL)["data"].found
        os.environ["FATHOM_DATA"] = str(tmp_path / "no")
        assert "FATHOM_DATA" in probed(**WELL)["data"].fix
    finally:
        del os.environ["FATHOM_DATA"]


@BROKEN_INSTALL
def test_a_broken_pair_has_the_command_that_fixes_it(probed: Callable[..., dict[str, DoctorCheck]]) -> None:
    error = "RuntimeError: operator torchvision::nms does not exist"
    check = probed(**{k: v for k, v in WELL.items() if k != "torchvision"}, torchvision_error=error)["torchvision"]
    assert (check.state, error in check.found) == ("fail", True)
    assert check.fix.startswith('pip install --force-reinstall "torch==2.15.0" torchvision')


@BROKEN_INSTALL
def test_a_torch_that_does_not_start_is_reported(probed: Callable[..., dict[str, DoctorCheck]]) -> None:
    found = probed(torch_error="ImportError: libcudart.so.13: cannot open shared object file")
    assert found["torch"].state == "fail"
    assert "libcudart.so.13" in found["torch"].found
    assert 'pip install --force-reinstall "torch>=2.11"' in found["torch"].fix
    assert "torchvision" not in found


@BROKEN_INSTALL
@pytest.mark.parametrize(
    ("said", "state", "found", "fix"),
    [
        ({}, "warn", "driver 470.1 does not work with CUDA 13.2: too old (found version 11040)", "update the driver"),
        ({"build": ""}, "warn", "built for the CPU only", "--torch-backend=auto"),
        ({"gpus": [["NVIDIA H100", 80 * 2**30]]}, "ok", "NVIDIA H100 (80 GiB); CUDA 13.2, driver 470.1", ""),
        ({"gpu_error": "RuntimeError: no kernel image"}, "fail", "no kernel image", "--device cpu"),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_reported(
    probed: Callable[..., dict[str, DoctorCheck]],
    monkeypatch: pytest.MonkeyPatch,
    said: dict[str, Any],
    state: str,
    found: str,
    fix: str,
) -> None:
    monkeypatch.setattr(doctor, "_driver", lambda: "470.1")
    check = probed(**(WELL | {"warnings": ["too old (found version 11040)"]} | said))["gpu"]
    assert check.state == state
    assert found in check.found
    assert fix in check.fix


@BROKEN_INSTALL
@pytest.mark.parametrize("body", ["import os; os.abort()", "raise SystemExit(3)", "print('no JSON')"])
def test_a_torch_that_takes_its_process_along_breaks_nobody_else(monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    monkeypatch.setattr(doctor, "PROBE", body)
    assert "its process ended with status" in doctor.probe()["torch_error"]


@BROKEN_INSTALL
def test_the_probe_itself_notices_a_broken_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    (tmp_path / "torch.py").write_text(
        "__version__ = '2.15.0'\nget_num_threads = lambda: 1\n"
        "class version: cuda = hip = None\nclass cuda: is_available = staticmethod(lambda: False)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    said = doctor.probe()
    assert (said["torch"], said["build"]) == ("2.15.0", "")
    assert said["torchvision_error"] == "RuntimeError: operator torchvision::nms does not exist"


def refuse(*_: Any, **__: Any) -> None:
    raise OSError(95, "Operation not supported")


@POOR_FILE_SYSTEM
def test_a_folder_without_hard_links_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", refuse)
    found = {name: (state, text, fix) for name, state, text, fix in storage.try_storage(tmp_path)}
    assert found["links"][0] == "warn"
    assert "Operation not supported" in found["links"][1]
    assert "NFSv4" in found["links"][2]
    assert found["commits"][0] == found["locks"][0] == "ok"


@POOR_FILE_SYSTEM
def test_a_link_that_replaces_and_a_lock_that_nobody_sees_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", lambda source, target: Path(target).write_bytes(Path(source).read_bytes()))
    monkeypatch.setattr(storage, "ASK", "import sys; sys.exit(True)")  # what one gets who holds it too
    found = {name: (state, text) for name, state, text, _ in storage.try_storage(tmp_path)}
    assert found["links"] == ("fail", "a hard link replaced a file")
    assert found["locks"] == ("fail", "another process does not see a lock")


@POOR_FILE_SYSTEM
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_fails(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert storage.try_storage(tmp_path)[0][1] == "fail"


def test_little_room_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, state in ((2**20, "fail"), (5 * 2**30, "warn"), (2**40, "ok")):
        monkeypatch.setattr(storage.shutil, "disk_usage", lambda _, free=free: type("Usage", (), {"free": free}))
        assert storage._room(tmp_path)[1] == state
