"""HPs searched again within a run: once, on what is labeled by then, the same however often the run was stopped."""

from pathlib import Path

import pytest
from tests.faults import fault
from tests.studies import PARADIGM, contents, study

from fathom.core.machine import Machine
from fathom.core.records import FathomError, NonFiniteError
from fathom.engine import heartbeat
from fathom.engine.engine import run_study
from fathom.engine.status import status_of
from fathom.estimate.plan import estimate_plan
from fathom.protocol import retune as module
from fathom.store.store import Store

AGAIN = PARADIGM.replace("lr=0.1", "lr=0.1|0.01, search=1, retune=1")
ROUNDS = 3


def go(folder: Path, paradigm: str = AGAIN, **options: object) -> object:
    return run_study(study(paradigm=paradigm), folder, workers=0, machine=Machine(device="cpu"), **options)


@fault("engine", "the status of a finished study that searches HPs again", "nothing is waiting; every training counts")
def test_each_run_searches_again_in_its_round_and_counts_it(tmp_path: Path) -> None:
    outcome = go(tmp_path / "a")
    store = Store.open(tmp_path / "a")
    assert outcome.finished
    plan = estimate_plan(store.study, probe=False, machine=Machine(device="cpu"))
    assert plan.trainings_retune == 2 * 2  # runs x grid
    assert plan.trainings_search == 2
    assert plan.total == outcome.trainings == outcome.committed == 2 + 1 + 2 * (ROUNDS - 1) + 4
    shown = status_of(store)
    assert shown is not None
    assert shown.jobs == {
        "done": len(heartbeat.read_jobs(store)),
        "running": 0,
        "waiting": 0,
        "blocked": 0,
        "failed": 0,
    }
    assert (shown.trainings, shown.of, shown.seconds_left) == (outcome.trainings, outcome.trainings, 0)
    (store.path(f"{store.run_name(store.study.runs[0])}/round-02")).unlink()
    shown = status_of(store)
    assert shown is not None
    assert (shown.jobs["waiting"], shown.trainings) == (1, outcome.trainings - 1)
    go(tmp_path / "a")
    for spec in store.study.runs:
        rounds = store.rounds(spec)
        (found,) = [c for c, _ in store.records("shared/retune-choice").values() if c["run"] == spec.key]
        assert (found["round"], found["budget"]) == (1, 30)
        best = max(found["table"], key=lambda row: row["score"])
        assert rounds[1].hparams == rounds[2].hparams == found["chosen"] == best["hparams"]
        (first,) = store.records("shared/hp-choice").values()
        assert rounds[0].hparams == first[0]["chosen"]


def test_another_choice_is_what_the_later_rounds_are_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(tmp_path / "plain", PARADIGM.replace("lr=0.1", "lr=0.1|0.01, search=1"))
    ((first, _),) = Store.open(tmp_path / "plain").records("shared/hp-choice").values()
    other = {0.1: 0.01, 0.01: 0.1}[first["chosen"]["lr"]]
    true = module._score

    def prefers_the_other(trainer, spec, labeled, number, hparams):  # type: ignore[no-untyped-def]
        true(trainer, spec, labeled, number, hparams)
        return 1.0 if hparams["lr"] == other else 0.0

    monkeypatch.setattr(module, "_score", prefers_the_other)
    go(tmp_path / "other")
    store = Store.open(tmp_path / "other")
    for spec in store.study.runs:
        assert [r.hparams["lr"] for r in store.rounds(spec)] == [first["chosen"]["lr"], other, other]
        plain = Store.open(tmp_path / "plain")
        same = next(s for s in plain.study.runs if (s.query, s.seed) == (spec.query, spec.seed))
        assert store.rounds(spec)[0].queried == plain.rounds(same)[0].queried
        assert store.rounds(spec)[1].metrics != plain.rounds(same)[1].metrics


def test_a_run_that_was_stopped_anywhere_does_not_search_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(tmp_path / "whole")
    put, left = Store.put, [0]

    class Stop(BaseException):
        pass

    def stops(self, name, *rest):  # type: ignore[no-untyped-def]
        put(self, name, *rest)
        if name.startswith(("shared/retun", "runs/")) and not name.endswith("spec"):
            left[0] -= 1
            if left[0] == 0:
                raise Stop

    monkeypatch.setattr(Store, "put", stops)
    count = 0
    while count < 20:
        count += 1
        left[0] = 1
        try:
            go(tmp_path / "pieces")
        except Stop:
            continue
        break
    assert count > 4  # it was stopped after every arm and every round
    assert contents(tmp_path / "pieces") == contents(tmp_path / "whole")


def test_what_cannot_be_searched_is_refused_and_divergence_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FathomError, match=r"searches HPs again in round 3, but .* has 3 rounds"):
        go(tmp_path / "late", AGAIN.replace("retune=1", "retune=3"))
    with pytest.raises(FathomError, match="retune must be rounds from 1, each once"):
        go(tmp_path / "negative", AGAIN.replace("retune=1", "retune=1|-2"))
    monkeypatch.setattr(module, "_score", lambda *_: None)
    outcome = go(tmp_path / "diverged")
    assert not outcome.finished
    assert {f["error"] for f in outcome.failures} == {NonFiniteError.__name__}


def test_one_entry_leaves_nothing_to_search(tmp_path: Path) -> None:
    outcome = go(tmp_path / "one", PARADIGM.replace("lr=0.1", "lr=0.1, retune=1"))
    assert outcome.finished
    assert not Store.open(tmp_path / "one").records("shared/retune-choice")
