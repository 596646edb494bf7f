"""A part of a study now, the rest later, in one folder."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.studies import contents, study

import fathom
from fathom.core.machine import Machine
from fathom.core.records import FathomError
from fathom.design.subset import select
from fathom.engine.engine import run_study
from fathom.store.store import Store

WHOLE = replace(study(("random", "entropy"), (0, 1)), full_data=1)


def test_first_a_part_then_the_rest_is_the_same_as_all_at_once(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    chosen = select(WHOLE, ["seed=1"])
    part = run_study(WHOLE, tmp_path / "a", only=chosen, workers=0, progress=lambda *now: seen.append(now))
    store = Store.open(tmp_path / "a")
    assert part.finished
    assert (part.runs, part.complete) == (2, 2)
    assert seen[-1] == (part.trainings, part.trainings) == (1 + 2 * 2, 1 + 2 * 2)
    assert store.study == WHOLE  # the folder is that of the whole study
    assert [store.complete(spec) for spec in WHOLE.runs] == [spec.seed == 1 for spec in WHOLE.runs]
    assert not store.records("shared/full-data")  # that of the first seed of the study, not of the part

    both = fathom.run(WHOLE, tmp_path / "a", workers=0, quiet=True)
    assert both.finished
    assert both.runs == 4
    fathom.run(WHOLE, tmp_path / "b", workers=0, quiet=True)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_data_sets_of_the_rest_need_not_be_there(tmp_path: Path) -> None:
    more = replace(WHOLE, runs=(*WHOLE.runs, replace(WHOLE.runs[0], dataset="cifar10")))
    options = {"machine": Machine(data=tmp_path / "none"), "workers": 0, "quiet": True}
    assert fathom.run(more, tmp_path / "out", only=["dataset=digits,query=random,seed=0"], **options).finished
    with pytest.raises(FathomError, match="cifar-10-batches-py"):
        fathom.run(more, tmp_path / "out", only=["dataset=cifar10"], **options)
