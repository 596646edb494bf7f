"""What the folder of a study remembers of changes of its plan."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.faults import fault
from tests.store.test_store import REGIME, SPECS, a_round

from fathom.core.records import RunSpec, Study
from fathom.store.atomic_files import DamageWarning, try_read
from fathom.store.history import note_change, plan_changes, unread_changes
from fathom.store.store import Store

MORE = tuple(RunSpec("digits", "low", "standard", query, 2) for query in ("random", "bald"))
STUDY = Study("s", SPECS)


def finish(store: Store, spec: RunSpec) -> None:
    store.begin_run(spec, REGIME)
    for number in range(REGIME.rounds):
        store.commit(spec, a_round(number))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "out")
    made.begin(STUDY)
    return made


def test_a_study_that_does_not_change_has_no_history(store: Store) -> None:
    finish(store, SPECS[0])
    store.begin(STUDY, extend=True)
    store.begin(replace(STUDY, title="Other words", full_data=3))
    assert not (store.root / "history").exists()
    assert plan_changes(store) == []


def test_seeds_that_are_added_are_recorded_with_what_was_complete(store: Store) -> None:
    for spec in SPECS[:3]:  # both seeds of random, one of bald
        finish(store, spec)
    grown = replace(STUDY, runs=(*SPECS, *MORE))
    store.begin(grown, extend=True)
    store.begin(grown, extend=True)  # as when the same command is run again
    (change,) = plan_changes(store)
    assert (change["results"], change["runs"]) == (True, [4, 6])
    counts = {own["query"]: (own["before"], own["complete"], own["after"]) for own in change["grown"]}
    assert counts == {"random": (2, 2, 3), "bald": (2, 1, 3)}
    assert change["at"][:2] == "20"


def test_methods_that_are_added_are_no_growth_of_others(store: Store) -> None:
    finish(store, SPECS[0])
    store.begin(replace(STUDY, runs=(*SPECS, replace(SPECS[0], query="badge"))), extend=True)
    assert [change["grown"] for change in plan_changes(store)] == [[]]


def test_margin_baseline_and_claims_may_change_and_it_is_recorded(store: Store) -> None:
    store.begin(replace(STUDY, margin=0.03))  # nothing has run: a plan may be changed
    assert plan_changes(store) == []
    store.begin(replace(STUDY, margin=0.03, claims=("bald > random",)))
    finish(store, SPECS[0])
    store.begin(replace(STUDY, margin=0.02, baseline="bald", claims=("bald > random", "bald >= random")))
    first, second = plan_changes(store)
    assert (first["results"], first["claims"]) == (False, [[], ["bald > random"]])
    assert second["results"] is True
    assert (second["margin"], second["baseline"]) == ([0.03, 0.02], ["random", "bald"])
    assert second["claims"][1] == ["bald > random", "bald >= random"]


def test_claims_of_a_study_file_that_is_written_again_are_stated_then(store: Store) -> None:
    finish(store, SPECS[0])
    store.path("study").unlink()
    with pytest.warns(DamageWarning, match="written again"):
        Store(store.root).begin(replace(STUDY, claims=("bald > random",)))
    (change,) = plan_changes(Store(store.root))
    assert (change["results"], change["claims"]) == (True, [[], ["bald > random"]])


@fault("store", "a growing study is killed between the record and the study file", "one change is recorded", cases=2)
@pytest.mark.parametrize("again", [True, False])
def test_a_call_that_was_killed_before_the_study_changed_counts_once_or_not_at_all(store: Store, again: bool) -> None:
    finish(store, SPECS[0])
    grown = replace(STUDY, runs=(*SPECS, *MORE))
    note_change(store, grown)
    assert len(store.records("history")) == 1
    if again:
        store.begin(grown, extend=True)
    assert len(plan_changes(Store(store.root))) == again


@fault("store", "a record of a study's changes is damaged or gone", "it counts as a change that is not known", cases=2)
@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_a_change_that_cannot_be_read_is_counted(store: Store, how: str) -> None:
    finish(store, SPECS[0])
    for margin in (0.02, 0.03):
        store.begin(replace(STUDY, margin=margin))
    path = store.path("history/0000")
    assert unread_changes(store) == 0
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes().replace(b"0.02", b"0.09"))
    with pytest.warns() if how == "damaged" else pytest.MonkeyPatch.context():
        assert unread_changes(Store(store.root)) == 1
    store.begin(replace(STUDY, margin=0.04))
    assert try_read(store.path("history/0002"))[0] is not None  # no number is used twice


def test_a_record_of_another_shape_is_damage(store: Store) -> None:
    finish(store, SPECS[0])
    store.begin(replace(STUDY, margin=0.02))
    content, _ = try_read(store.path("history/0000"))[0] or ({}, {})
    assert json.dumps(content["margin"]) == "[0.01, 0.02]"
    store.path("history/0000").unlink()
    store.put("history/0000", {**content, "margin": "wide"})
    with pytest.warns(match="lacks margin"):
        assert unread_changes(Store(store.root)) == 1
