"""Stores of earlier formats are refused in one clear sentence and left as they are."""

import shutil
from pathlib import Path

import pytest
from tests.faults import fault
from tests.studies import contents, study

from fathom.core.records import FORMAT, FathomError
from fathom.engine.engine import run_study
from fathom.report.report import report
from fathom.store.store import Store

HISTORIC = Path(__file__).parent / "historic"
VERSIONS = sorted(path.name for path in HISTORIC.iterdir() if path.is_dir())
REFUSED = "earlier development version .format 1, expected 2.: make it again: a study in a new folder"


def test_every_earlier_format_has_a_store() -> None:
    assert [f"v{n}" for n in range(1, FORMAT)] == VERSIONS, "a new format: keep a store of the one before it"


@fault("store", "record of another version", "refused with what to do, left as it is")
@pytest.mark.parametrize("version", VERSIONS)
def test_an_earlier_format_is_refused_and_left_as_it_is(version: str, tmp_path: Path) -> None:
    root = Path(shutil.copytree(HISTORIC / version, tmp_path / version))
    before = contents(root)
    for read in (Store.open, report, lambda out: run_study(study(), out, workers=0)):
        with pytest.raises(FathomError, match=REFUSED):
            read(root)
    assert contents(root) == before
