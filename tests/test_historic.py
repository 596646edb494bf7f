"""Stores of old versions load for ever: the table, the status and the report."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from fathom.core.records import FORMAT
from fathom.report.report import report
from fathom.store.store import Store

HISTORIC = Path(__file__).parent / "historic"
VERSIONS = sorted(path.name for path in HISTORIC.iterdir() if path.is_dir())


def test_every_format_has_an_old_store() -> None:
    assert [f"v{n}" for n in range(1, FORMAT + 1)] == VERSIONS, "a new format: store a study of it, keep the old ones"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_table_is_what_it_was(version: str) -> None:
    before = {p: p.read_bytes() for p in (HISTORIC / version).rglob("*") if p.is_file()}
    table = Store.open(HISTORIC / version).table()
    expected = pd.read_csv(HISTORIC / f"{version}.csv", dtype={"run": str})
    assert len(expected) == 6
    assert expected["score"].between(0, 1).all()
    pd.testing.assert_frame_equal(table[list(expected)], expected, rtol=1e-12, check_dtype=False)
    assert {p: p.read_bytes() for p in (HISTORIC / version).rglob("*") if p.is_file()} == before


def test_v1_is_read_whole() -> None:
    store = Store.open(HISTORIC / "v1")
    assert [len(store.rounds(spec)) for spec in store.study.runs] == [3, 3, 0]
    assert [store.complete(spec) for spec in store.study.runs] == [True, True, False]
    assert [spec.key for spec in store.study.runs] == ["d0fb18390243", "15d247402acd", "368583aa9fa3"]
    (failure,) = store.failures()
    assert (failure["query"], failure["error"]) == ("mine/nan", "NonFiniteError")
    assert {kind: len(store.records(f"shared/{kind}")) for kind in ("search", "hparams", "first", "ceiling")} == {
        "search": 2, "hparams": 1, "first": 1, "ceiling": 1
    }  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_its_report_can_be_written(version: str, tmp_path: Path) -> None:
    out = shutil.copytree(HISTORIC / version, tmp_path / version)
    page = report(out).read_text(encoding="utf-8")
    assert "A toy study written by version 0.1.0" in page
    assert "mine/nan" in page  # what failed stays visible
    assert not (out / "quarantine").exists()
    results = pd.read_csv(out / "report/results.csv")
    assert len(results) >= 6
