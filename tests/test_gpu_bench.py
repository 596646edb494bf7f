"""`bench/gpu.py` on the CPU, so that it runs on the first GPU it meets."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tests.faults import only_in_full

ROOT = Path(__file__).parents[1]


def bench(out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "bench" / "gpu.py"), "--rehearse", "--out", str(out), *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_gpu", ROOT / "bench" / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_a_section_is_measured_once_and_a_failure_is_recorded(tmp_path: Path) -> None:
    """`steps-fast` has a time of none: it is recorded as run out of time, and the others go on."""
    short = bench(tmp_path, "--only", "steps-fast", "--patience", "0.001")
    assert short.returncode == 1
    assert "ran out of its" in json.loads((tmp_path / "steps-fast.json").read_text())["error"]
    first = bench(tmp_path, "--only", "machine", "query")
    assert first.returncode == 0, first.stdout + first.stderr + (tmp_path / "log.txt").read_text()[-2000:]
    assert "core-set seconds" in json.loads((tmp_path / "query.json").read_text())
    table = (tmp_path / "table.md").read_text()
    assert "CPU rehearsal: these figures say nothing about a GPU" in table
    assert "ran out of its" in table, "the failure of another call is in the table"
    again = bench(tmp_path, "--only", "machine", "query")
    assert "[machine: done before]" in again.stdout
    assert "[query: done before]" in again.stdout
    assert set(json.loads((tmp_path / "table.json").read_text())) == {"machine", "query", "steps-fast"}


def test_the_table_compares_what_was_planned_with_what_was_measured(module: ModuleType) -> None:
    row = {"recipe": "st", "large": False, "side": 32, "views": 1024, "ours": 500.0, "eager": 300.0, "plain": 400.0}
    row |= {"step_ms": 1.0, "replay_ms": 0.5, "augment_ms": 0.2, "gib": 3.0, "summary": "captured", "flop_per_s": 2e12}
    results = {
        "machine": {"device": "GPU", "tflop_per_s": 10.0},
        "steps-deterministic": {"rows": [row], "wall_seconds": 9.0},
        "plan": {"images_per_s": {"standard": 450.0, "self-sl": 1.0}},
        "bits": {"error": "exit status 1: a | b"},
    }
    text = module.table(results, rehearsed=False)
    assert "| st | 32 | deterministic | 1024 | 500 | 300 | 400 | **1.25** |" in text
    assert "| 20.0% | 3.0 | captured |" in text
    assert "planned / measured: standard 0.9" in text
    assert "error: exit status 1: a / b" in text
    assert "| run (0 s) | not run |" in text


def test_sections_fit_into_eight_minutes_and_have_code(module: ModuleType) -> None:
    assert module.BUDGET < 480
    text = (ROOT / "bench" / "gpu_sections.py").read_text()
    for name in module.SECTIONS:
        assert f'"{name}": ' in text


@only_in_full
def test_the_whole_rehearsal(tmp_path: Path) -> None:
    done = bench(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "not run" not in done.stdout
