"""Results files: content, round trip, and that every committed one can be read."""

import json
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest
from tests.results.synthetic import Plan, build, regime_of, rounds_of

from fathom.cli import main
from fathom.core.records import FathomError, RunSpec, digest
from fathom.results import export as module
from fathom.results.export import COLUMNS, export, read_all, read_results
from fathom.store.store import Store
from fathom.store.tables import rounds_table

ROOT = Path(__file__).parents[2]
KEPT = sorted((ROOT / "results").glob("*.parquet"))
PLAN = Plan(datasets=("digits",), queries=("random", "badge"), seeds=2, rounds=3,
            stop=lambda s: 2 if (s.query, s.seed) == ("badge", 1) else None)  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results") / "out"
    store = build(root, PLAN)
    store.retry(store.study.settings[0], 1, "fp32", "made up")
    again = Store(root)
    for spec in store.study.runs:  # repeated, as a retry asks
        regime = regime_of(PLAN, spec.paradigm)
        again.begin_run(spec, regime)
        for record in rounds_of(spec, regime, PLAN)[: PLAN.stop(spec)]:
            again.commit(spec, record)
    return root


def test_a_round_trip(out: Path, tmp_path: Path) -> None:
    path = export(out, tmp_path / "deep/synthetic.parquet")
    frame, store = read_results(path), Store.open(out)
    assert set(COLUMNS) <= set(frame)
    assert len(frame) == 3 + 3 + 3 + 2
    assert list(pd.unique(frame["run"])) == [spec.key for spec in store.study.runs]
    table = rounds_table(store)
    for name in ("run", "round", "budget", "paid", "score", "accuracy", "log_loss", "seconds_train"):
        assert frame[name].tolist() == table[name].tolist(), name
    for spec in store.study.runs:
        mine = frame[frame["run"] == spec.key]
        for row, record in zip(mine.to_dict("records"), store.rounds(spec), strict=True):
            assert list(row["queried"]) == record.queried
            assert list(row["queried_classes"]) == record.queried_classes
            assert list(row["labeled_classes"]) == record.labeled_classes
            assert json.loads(row["hparams"]) == record.hparams
            assert row["sha256"] == digest(record.content())
            assert row["complete"] == (len(mine) == 3)
    first = frame.iloc[0]
    assert (first["start"], first["query_size"], first["rounds"], first["val_size"]) == (50, 25, 3, 250)
    assert (first["device_name"], first["commit"], first["torch"]) == ("A processor", "88b3bff", "2.15.0")
    assert list(first["retries"]) == ["fp32"]
    assert first["recipe"].startswith("short")
    assert first["dataset_revision"] == "0123456789ab"


def test_it_is_small(out: Path, tmp_path: Path) -> None:
    """11 rounds with what they queried; zstd."""
    import pyarrow.parquet as pq

    path = export(out, tmp_path / "a.parquet")
    assert path.stat().st_size < 40_000
    group = pq.ParquetFile(path).metadata.row_group(0)
    assert {group.column(i).compression for i in range(group.num_columns)} == {"ZSTD"}


def test_a_file_that_is_too_large_is_told(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CAP", 1000)
    with pytest.warns(module.LargeResultsWarning, match="should keep files up to"):
        assert export(out, tmp_path / "a.parquet").is_file()


def test_all_files_of_a_folder(out: Path, tmp_path: Path) -> None:
    assert read_all(tmp_path).empty
    export(out, tmp_path / "one.parquet")
    export(out, tmp_path / "two.parquet")
    frame = read_all(tmp_path)
    assert frame["file"].value_counts().to_dict() == {"one": 11, "two": 11}


def test_mistakes_are_told(out: Path, tmp_path: Path) -> None:
    with pytest.raises(FathomError, match=r"ends in \.parquet"):
        export(out, tmp_path / "a.csv")
    Store(tmp_path / "empty").begin(Store.open(out).study)
    with pytest.raises(FathomError, match="nothing to export"):
        export(tmp_path / "empty", tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(FathomError, match="not a results file"):
        read_results(tmp_path / "a.parquet")
    frame = read_results(export(out, tmp_path / "b.parquet"))
    frame.drop(columns=["queried", "commit"]).to_parquet(tmp_path / "c.parquet")
    with pytest.raises(FathomError, match="lacks the columns queried, commit"):
        read_results(tmp_path / "c.parquet")
    frame.assign(results_version=99).to_parquet(tmp_path / "d.parquet")
    with pytest.raises(FathomError, match="newer Fathom"):
        read_results(tmp_path / "d.parquet")
    with pytest.raises(FathomError, match="no folder"):
        read_all(tmp_path / "nowhere")


def test_the_verb(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fathom", "export", str(out), "--to", str(tmp_path / "a.parquet"), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"results": str(tmp_path / "a.parquet"), "bytes": (tmp_path / "a.parquet").stat().st_size}


def test_the_folder_has_its_description() -> None:
    text = (ROOT / "results/README.md").read_text(encoding="utf-8")
    unnamed = [name for name in COLUMNS if f"`{name}`" not in text and name not in ("results_version", "study")]
    assert not unnamed


@pytest.mark.parametrize("path", KEPT, ids=lambda p: p.stem)
def test_what_was_kept_loads(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = read_results(path)
    assert path.stat().st_size <= module.CAP
    assert len(frame)
    assert frame["score"].between(0, 1).all()
    assert (frame["commit"] != "").all()
    assert (frame["device_name"] != "").all()
    named = frame[["dataset", "regime", "paradigm", "query", "seed", "protocol", "run"]].drop_duplicates()
    for dataset, regime, paradigm, query, seed, protocol, run in named.itertuples(index=False):
        assert RunSpec(dataset, regime, paradigm, query, int(seed), int(protocol)).key == run
    for _, run in frame.groupby("run", sort=False):
        assert run["round"].tolist() == list(range(len(run)))
        budgets = run["start"] + run["round"] * run["query_size"]
        assert (run["budget"] <= budgets).all()
        bought = [int(i) for ids in run["queried"] for i in ids]
        assert len(set(bought)) == len(bought)
