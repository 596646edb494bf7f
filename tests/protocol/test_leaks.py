"""Labels lie in a vault: during a run the oracle alone reveals them, and one oracle keeps the whole bill."""

import ast
import inspect
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.faults import fault
from tests.studies import FROZEN, PARADIGM, SELF_SL, SEMI_SL, study

import fathom
from fathom.data.dataset import DataRoot, Dataset
from fathom.data.vault import LabelVault
from fathom.engine.engine import run_study
from fathom.protocol import loop
from fathom.protocol.context import WorkerContext
from fathom.protocol.oracle import Oracle
from fathom.store.store import Store

HIDDEN_LABELS = fault(
    "labels",
    "hidden labels within reach of a method",
    "no label of the pool is in its arguments; each is read once, when bought",
)

SOURCE = Path(fathom.__file__).parent
READERS = {
    "reveal": {"protocol/oracle.py"},
    "first_per_class": {"data/splits.py"},
    "group_counts": {"data/splits.py"},
    "class_counts": {"data/dataset.py", "data/splits.py", "data/regimes.py", "protocol/context.py"},
    "for_data_check": {
        "data/dataset.py",
        "data/check.py",
        "data/datasets/folder.py",
        "data/leakage.py",
        "testing/dataset.py",
    },
}


@HIDDEN_LABELS
def test_every_reader_of_the_vault_is_known() -> None:
    public = {name for name, _ in inspect.getmembers(LabelVault, inspect.isfunction) if not name.startswith("_")}
    assert public == set(READERS)
    found: dict[str, set[str]] = {name: set() for name in READERS}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in READERS:
                found[node.attr].add(path.relative_to(SOURCE).as_posix())
    assert found == READERS


@HIDDEN_LABELS
def test_only_the_vault_holds_labels() -> None:
    vault = LabelVault(np.array([3, 1, 4]))
    assert not [name for name in dir(vault) if not name.startswith("_") and not callable(getattr(vault, name))]
    assert "3" not in repr(vault).replace("3 labels", "")
    given = np.array([0, 1, 0])
    sealed = LabelVault(given)
    given[:] = 1
    assert sealed.class_counts(2).tolist() == [2, 1]
    with pytest.raises(ValueError, match="read-only"):
        sealed.for_data_check()[0] = 1


@HIDDEN_LABELS
def test_a_dataset_seals_its_labels() -> None:
    from dataclasses import replace

    from fathom.data import load

    digits = load("digits", DataRoot(Path(), Path(), quiet=True))
    assert isinstance(digits.labels, LabelVault)
    assert replace(digits, name="again").vault is digits.vault
    changed = replace(digits, labels=np.zeros(len(digits.labels), np.int64) + np.arange(len(digits.labels)) % 10)
    assert isinstance(changed.labels, LabelVault)
    assert not any(
        isinstance(value, np.ndarray) and len(value) == len(digits.labels) for value in vars(digits).values()
    )
    assert isinstance(digits, Dataset)


@HIDDEN_LABELS
@pytest.mark.parametrize("paradigm", [PARADIGM, SELF_SL, SEMI_SL, FROZEN], ids=lambda p: p.partition("(")[0])
def test_a_run_reads_labels_through_oracle_and_split_alone(
    paradigm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    callers = set()

    def watched(method):  # type: ignore[no-untyped-def]
        def call(*args, **kwargs):  # type: ignore[no-untyped-def]
            frame = sys._getframe(1)
            while not frame.f_globals.get("__name__", "").startswith("fathom."):  # frames of the shape checks
                frame = frame.f_back  # type: ignore[assignment]
            callers.add((method.__name__, frame.f_globals["__name__"]))
            return method(*args, **kwargs)

        return call

    for name in READERS:
        monkeypatch.setattr(LabelVault, name, watched(getattr(LabelVault, name)))
    assert run_study(study(("random", "badge"), paradigm=paradigm), tmp_path / "out", workers=0).finished
    assert ("reveal", "fathom.protocol.oracle") in callers
    allowed = {(name, "fathom." + path[:-3].replace("/", ".")) for name, paths in READERS.items() for path in paths}
    assert callers <= allowed


@HIDDEN_LABELS
def test_one_oracle_keeps_the_bill_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pseudo-labels are judged by the run's own oracle, which looks at the pool and pays for the picks alone."""
    toy = study(("random",), paradigm=SEMI_SL)
    assert run_study(toy, tmp_path / "out", workers=0).finished
    store, (spec,) = Store.open(tmp_path / "out"), toy.runs
    context = WorkerContext(store, DataRoot(tmp_path, tmp_path, quiet=True), torch.device("cpu"))
    context.split_of(spec)
    made = []
    build = Oracle.__init__
    monkeypatch.setattr(Oracle, "__init__", lambda self, vault: made.append(self) or build(self, vault))  # type: ignore[func-returns-value]
    al_run = loop.ActiveLearningRun.open(context, spec, store.rounds(spec)[:1])
    record, _ = al_run.round()
    assert made == [al_run.oracle]
    assert al_run.oracle.paid == record.paid + len(record.queried) == 60 + 40
    assert al_run.oracle.looked_at > 0
    assert record.content() == store.rounds(spec)[1].content()
