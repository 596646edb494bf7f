"""Exports to experiment trackers: what arrives, and that a repeated call duplicates nothing.

Each tracker is tested with its own package, and skipped where that is not installed.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.results.synthetic import Plan, build, regime_of, rounds_of

from fathom.cli import main
from fathom.core.records import FathomError
from fathom.results import trackers
from fathom.results.trackers import track
from fathom.store.store import Store

pytestmark = pytest.mark.filterwarnings("ignore")  # of the packages
PLAN = Plan(datasets=("digits",), queries=("random", "badge"), seeds=2, rounds=3,
            stop=lambda s: 2 if (s.query, s.seed) == ("badge", 1) else None)  # fmt: skip


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Four runs of three rounds; one of them lacks its last round."""
    build(tmp_path / "out", PLAN)
    return tmp_path / "out"


def finish(out: Path) -> None:
    """Commit the round that is open."""
    store = Store.open(out)
    spec = next(spec for spec in store.study.runs if (spec.query, spec.seed) == ("badge", 1))
    store.commit(spec, rounds_of(spec, regime_of(PLAN, spec.paradigm), PLAN)[2])


def expected(out: Path) -> dict[str, list[tuple[int, float]]]:
    """Key -> (budget, accuracy) of each round."""
    store = Store.open(out)
    return {spec.key: [(r.budget, r.metrics["accuracy"]) for r in store.rounds(spec)] for spec in store.study.runs}


def test_mlflow(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()

    def read() -> dict[str, list[tuple[int, float]]]:
        client = mlflow.MlflowClient(tracking_uri=uri)
        (name,) = [e.experiment_id for e in client.search_experiments() if e.name == Store.open(out).study.name]
        runs = client.search_runs([name])
        assert len(runs) == 4
        for run in runs:
            assert run.data.params["regime"] == Store.open(out).study.runs[0].regime
            assert {"dataset", "query", "seed", "start", "hparams.lr"} <= run.data.params.keys()
        return {
            run.data.tags["fathom_run"]: [
                (m.step, m.value) for m in client.get_metric_history(run.info.run_id, "accuracy")
            ]
            for run in runs
        }

    first = track(out, f"mlflow:{uri}")
    assert (first.runs, first.rounds, first.added) == (4, 11, 11)
    assert read() == expected(out)
    assert track(out, f"mlflow:{uri}").added == 0
    assert read() == expected(out)
    finish(out)
    assert track(out, f"mlflow:{uri}").added == 1
    assert read() == expected(out)
    client = mlflow.MlflowClient(tracking_uri=uri)
    statuses = {run.info.status for e in client.search_experiments() for run in client.search_runs([e.experiment_id])}
    assert statuses == {"FINISHED"}


def test_a_server_that_is_not_there_is_one_clear_error(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(FathomError, match=r"MLflow at http://127\.0\.0\.1:9 cannot be written"):
        track(out, "mlflow:http://127.0.0.1:9")


def test_tensorboard(out: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logs = tmp_path / "logs"

    def read() -> dict[str, list[tuple[int, float]]]:
        found = {}
        for folder in (logs / Store.open(out).study.name).iterdir():
            assert len(list(folder.iterdir())) == 1
            events = accumulator.EventAccumulator(str(folder))
            events.Reload()
            (text,) = events.Tensors("parameters")
            assert b"| query | " in text.tensor_proto.string_val[0]
            found[folder.name.rpartition("-")[2]] = [
                (e.step, pytest.approx(e.value, rel=1e-6)) for e in events.Scalars("accuracy")
            ]
        return found

    first = track(out, f"tensorboard:{logs}")
    assert (first.runs, first.rounds, first.added) == (4, 11, 11)
    assert read() == expected(out)
    assert track(out, f"tensorboard:{logs}").added == 0
    finish(out)
    assert track(out, f"tensorboard:{logs}").added == 1
    assert read() == expected(out)


def test_wandb_offline(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an account only the folders that `wandb sync` uploads can be looked at."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")

    def folders() -> list[str]:
        return sorted(p.name.rpartition("-")[2] for p in (tmp_path / "wandb").glob("offline-run-*"))

    keys = [spec.key for spec in Store.open(out).study.runs]
    first = track(out, "wandb:digits")
    assert (first.runs, first.added) == (4, 9)
    assert "1 runs left out" in first.note
    assert folders() == sorted(keys[:3])
    assert track(out, "wandb:digits").added == 0
    finish(out)
    assert track(out, "wandb:digits").added == 3
    assert folders() == sorted(keys)
    data = b"".join(p.read_bytes() for p in (tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert data.count(b"balanced_accuracy") >= 12


class Service:
    """The part of the package `wandb` that an export calls, with a project that remembers its runs."""

    class errors:
        class Error(Exception):
            pass

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}

    def Settings(self, **options: Any) -> dict[str, Any]:
        return options

    def init(self, *, id: str, **options: Any) -> "Session":
        assert options["resume"] == "allow"
        run = self.runs.setdefault(id, {"config": options["config"], "history": {}, "options": options})
        return Session(run)


class Session:
    def __init__(self, run: dict[str, Any]) -> None:
        self.run = run
        self.summary = dict(next(reversed(run["history"].values()), {}))

    def log(self, values: dict[str, float], step: int) -> None:
        assert step not in self.run["history"], "logged twice"
        self.run["history"][step] = values

    def finish(self) -> None:
        self.run["finished"] = True


def test_wandb_online_by_a_stand_in(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service itself needs an account; a run that is resumed has the summary of its last round."""
    monkeypatch.delenv("WANDB_MODE", raising=False)
    service = Service()
    monkeypatch.setitem(sys.modules, "wandb", service)  # type: ignore[arg-type]
    for added in (11, 0):
        assert track(out, "wandb:team/digits").added == added
    finish(out)
    assert track(out, "wandb:team/digits").added == 1
    found = {key: [(step, v["accuracy"]) for step, v in run["history"].items()] for key, run in service.runs.items()}
    assert found == expected(out)
    run = next(iter(service.runs.values()))
    assert (run["options"]["entity"], run["options"]["project"], run["finished"]) == ("team", "digits", True)
    assert run["config"]["query"] == "random"


def test_the_verb(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")

    def call(*more: str) -> int:
        monkeypatch.setattr(sys, "argv", ["fathom", "export", str(out), *more])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(str(ended.value.code or 0))

    assert call("--to", f"tensorboard:{tmp_path / 'logs'}") == 0
    assert "4 runs, 11 rounds, 11 of them new" in capsys.readouterr().out
    assert call("--to", f"tensorboard:{tmp_path / 'logs'}", "--json") == 0
    assert json.loads(capsys.readouterr().out)["added"] == 0
    assert call("--to", "wandb:") == 2
    assert "expected mlflow:URI, tensorboard:FOLDER or wandb:[ENTITY/]PROJECT" in capsys.readouterr().err
    assert call("--to", str(tmp_path / "a.parquet")) == 0
    assert (tmp_path / "a.parquet").is_file()


@pytest.mark.parametrize("tracker", trackers.TRACKERS)
def test_a_package_that_is_absent_is_named(tracker: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        if name.partition(".")[0] == tracker:
            raise ImportError(f"No module named {name!r}")
        return __import__(name, fromlist=["package"])

    monkeypatch.setattr(trackers, "import_module", absent)
    with pytest.raises(FathomError, match=rf"pip install 'fathom-al\[{tracker}\]'"):
        track(out, f"{tracker}:here")


def test_nothing_to_export(tmp_path: Path) -> None:
    build(tmp_path / "out", Plan(datasets=("digits",), seeds=1, stop=lambda spec: 0))
    with pytest.raises(FathomError, match="nothing to export"):
        track(tmp_path / "out", "tensorboard:x")
