"""The driver of the fault suite counts cases, resumes, and does not end well where a fault was not tried."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

TESTS = """
import pytest
from tests.faults import fault

@fault("store", "a bit | flips", "noticed", cases=3)
@pytest.mark.parametrize("n", [1, 2])
def test_flip(n):
    pass

@fault("store", "it burns", "put out")
def test_fire():
    assert {burns}

@fault("data", "no data", "told")
def test_absent():
    if {absent}: pytest.skip("needs data")

def test_unmarked():
    assert False
"""


def drive(folder: Path, *, burns: bool = True, absent: bool = False) -> tuple[int, str]:
    (folder / "test_it.py").write_text(TESTS.format(burns=burns, absent=absent))
    command = [sys.executable, "-m", "tools.faults", "--out", str(folder / "out"), "--workers", "0"]
    command += [str(folder / "test_it.py"), "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout


def test_cases_of_a_fault_add_up_and_a_passed_test_is_not_repeated(tmp_path: Path) -> None:
    status, said = drive(tmp_path, burns=False)
    table = (tmp_path / "out/table.md").read_text()
    assert (status, "it burns" in said) == (1, True)
    assert "| store | a bit \\| flips | noticed | as expected | 6 |" in table
    assert "| store | it burns | put out | FAILED (1 of 1 tests) | 0 |" in table
    status, said = drive(tmp_path)
    assert (status, "1 passed" in said, "3 tests have passed" in said) == (0, True, True)
    assert "3 faults, 8 cases, 0 not good" in (tmp_path / "out/table.md").read_text()


def test_a_fault_that_was_not_tried_is_no_success(tmp_path: Path) -> None:
    status, _ = drive(tmp_path, absent=True)
    assert status == 1
    assert "| data | no data | told | NOT TRIED | 0 |" in (tmp_path / "out/table.md").read_text()
