"""Outcomes that no change may alter unnoticed: who is split where, what random picks, and under which key it is kept.

All of them are whole numbers that do not depend on platform, threads or rounding. If one of these tests fails, the same
study file means something else than it did: either mend the code, or raise `PROTOCOL` in `core/records.py` and write
the file of the new protocol with `python -m tests.test_golden`. The file of an old protocol is never written again.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.studies import REGIME, labels_of, study

from fathom.core.records import PROTOCOL, digest
from fathom.engine.engine import data_root, run_study
from fathom.protocol.context import WorkerContext
from fathom.registry.registry import find
from fathom.store.store import Store

GOLDEN = Path(__file__).parent / "golden" / f"protocol-{PROTOCOL}.json"
DATASETS, SEEDS = ("digits", "digits-lt"), (0, 1)
SPELLINGS = {
    "dataset": ("digits", "digits-lt(rho=20)", "cifar10-lt( rho = 50.0 )"),
    "regime": ("low", "low(rounds=8, query_size=25)"),
    "paradigm": ("standard", "standard(lr=0.1|0.01, dropout=all)", "standard(recipe=short)"),
    "query": ("random", "bald(draws=20)", "entropy(sampling=power, beta=2)"),
}


def outcomes(folder: Path) -> dict[str, Any]:
    """Run two toy studies and note their discrete outcomes."""
    found: dict[str, Any] = {"spellings": {}, "keys": {}, "seeds": {}}
    for kind, texts in SPELLINGS.items():
        found["spellings"] |= {f"{kind} {text}": str(find(kind, text)[1]) for text in texts}
    for dataset in DATASETS:
        toy = study(("random",), SEEDS, dataset=dataset)
        store = Store(folder / dataset)
        assert run_study(toy, store.root, workers=0).finished
        context = WorkerContext(store, data_root(), torch.device("cpu"))
        for spec in toy.runs:
            found["keys"][str(spec)] = spec.key
            split = context.split_of(spec)
            labels = labels_of(split.dataset)
            found["seeds"][f"{dataset} {spec.seed}"] = {
                "revision": split.dataset.revision,
                "train": digest(split.train_ids.tolist(), 16),
                "train_counts": np.bincount(labels[split.train_ids], minlength=10).tolist(),
                "start": split.start_ids.tolist(),
                "validation": split.val_ids.tolist(),
                "picks": [r.queried for r in store.rounds(spec)],
                "paid": [r.paid for r in store.rounds(spec)],
            }
    return found


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return outcomes(tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    assert GOLDEN.is_file(), "PROTOCOL was raised: write its file with `python -m tests.test_golden`"
    return dict(json.loads(GOLDEN.read_text()))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dataset", DATASETS)
def test_splits_starting_sets_and_picks_of_random(
    today: dict[str, Any], golden: dict[str, Any], dataset: str, seed: int
) -> None:
    now, then = (outcome["seeds"][f"{dataset} {seed}"] for outcome in (today, golden))
    for name in then:
        assert now[name] == then[name], f"{name} of {dataset}, seed {seed}, is not what protocol {PROTOCOL} gives"


def test_a_run_is_kept_under_the_same_key(today: dict[str, Any], golden: dict[str, Any]) -> None:
    assert today["keys"] == golden["keys"]


def test_a_variation_has_the_same_one_spelling(today: dict[str, Any], golden: dict[str, Any]) -> None:
    assert today["spellings"] == golden["spellings"]


def test_the_file_is_of_two_different_seeds(golden: dict[str, Any]) -> None:
    """Guards the file itself: seeds differ, the tail is long, and everything is of the size the regime says."""
    for dataset in DATASETS:
        one, two = (golden["seeds"][f"{dataset} {seed}"] for seed in SEEDS)
        assert one["train"] != two["train"]
        assert one["start"] != two["start"]
        assert one["picks"] != two["picks"]
        assert (len(one["start"]), len(one["validation"]), [len(p) for p in one["picks"]]) == (20, 60, [10, 10, 0])
    tail = golden["seeds"]["digits-lt 0"]["train_counts"]
    assert tail == sorted(tail, reverse=True)
    assert tail[0] > 5 * tail[-1]
    assert "start=20" in REGIME


def write() -> None:
    """Write the file of a new protocol."""
    if GOLDEN.exists():
        sys.exit(
            f"{GOLDEN} is there already. What a protocol gives never changes: raise PROTOCOL in core/records.py first"
        )
    with tempfile.TemporaryDirectory() as folder:
        found = outcomes(Path(folder))
    parts = [f' "{key}": {{\n' + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()) + "\n }"
             for key, value in found.items()]  # fmt: skip
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text("{\n" + ",\n".join(parts) + "\n}\n")


if __name__ == "__main__":
    write()
