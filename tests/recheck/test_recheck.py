"""A sound study comes out of a recheck the same to the bit; what was changed in it is found."""

import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.faults import fault
from tests.studies import FROZEN, REGIME, SEARCHING, SELF_SL, SEMI_SL, contents, study

from fathom.cli import main
from fathom.core.machine import Machine
from fathom.core.records import FathomError, RunSpec, digest
from fathom.engine.engine import run_study
from fathom.engine.local import LocalEngine
from fathom.engine.worker import WorkerOrders
from fathom.recheck.compare_records import compare_records
from fathom.recheck.recheck import Rechecked, recheck
from fathom.recheck.recompute import Recheck, RecheckItem, RecheckOutcome
from fathom.store import atomic_files
from fathom.store.store import Store

EDITED_RESULT = fault("identity", "result edited together with its digest", "recheck finds it")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with an HP search, dropout, scores and selections, full data."""
    out = tmp_path_factory.mktemp("recheck") / "out"
    made = study(("random", "entropy", "bald", "badge"), (0,), paradigm=SEARCHING, full_data=1)
    assert run_study(made, out, workers=0).finished
    shutil.copytree(out, out.with_name("fresh"))
    assert recheck(out, sample=100, shared=100).sound
    return out


@pytest.fixture
def fresh(whole: Path, tmp_path: Path) -> Path:
    """The study before anybody rechecked it."""
    return Path(shutil.copytree(whole.with_name("fresh"), tmp_path / "fresh"))


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """The study, all of it rechecked: only what a test changes is computed again."""
    return Path(shutil.copytree(whole, tmp_path / "out"))


def spec_of(out: Path, query: str) -> RunSpec:
    return next(spec for spec in Store.open(out).study.runs if spec.query == query)


def rewrite(out: Path, query: str, number: int, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a committed round, and write it and those after it so that every digest and link is right again."""
    folder = out / f"runs/{spec_of(out, query).key}"
    previous = None
    for path in sorted(folder.glob("round-*.json")):
        content, clock = atomic_files.read_record(path)
        at = int(path.stem.removeprefix("round-"))
        if at == number:
            change(content)
        if at > number:
            content["previous"] = previous
        path.write_bytes(atomic_files.pack_record(content, clock))
        previous = digest({key: value for key, value in content.items() if key != "previous"})


def failed(found: Rechecked) -> dict[str, list[str]]:
    return {outcome.what: outcome.differences for outcome in found.outcomes if not outcome.same}


def test_a_sound_study_rechecks_clean_and_is_left_as_it_is(fresh: Path) -> None:
    before = contents(fresh)
    told: list[tuple[int, int]] = []
    found = recheck(fresh, sample=100, shared=100, progress=lambda done, total: told.append((done, total)))
    assert found.sound
    assert found.to_json()["sound"] is True
    assert [o.item.kind for o in found.outcomes].count("round") == 4 * 3
    assert {o.item.kind for o in found.outcomes} == {"round", "hp-search", "full-data"}
    assert all(outcome.bitwise and not outcome.before for outcome in found.outcomes)
    assert told == [(i, len(found.outcomes)) for i in range(len(found.outcomes) + 1)]
    after = contents(fresh)
    assert {name: data for name, data in after.items() if not name.startswith("rechecks/")} == before
    kept = Store.open(fresh).records("rechecks")
    assert len(kept) == len(found.outcomes)
    rounds = [content["round"] for content, _ in kept.values() if content["round"]]
    assert {(r["run"], r["number"]) for r in rounds} == {
        (spec.key, n) for spec in Store.open(fresh).study.runs for n in range(3)
    }
    for content, clock in kept.values():
        assert content["same"] is True
        assert content["differences"] == []
        assert content["environment"]["torch"]
        assert clock["finished"]


def test_the_same_seed_draws_the_same_rounds_and_goes_on_where_it_stopped(fresh: Path, copy: Path) -> None:
    one, two = recheck(fresh, sample=3, seed=5), recheck(fresh, sample=3, seed=5)
    assert [o.item for o in one.outcomes] == [o.item for o in two.outcomes]
    assert len({o.item for o in one.outcomes}) == 3
    assert all(o.before for o in two.outcomes)
    assert {tuple(o.item for o in recheck(copy, sample=3, seed=s).outcomes) for s in range(6)} != {
        tuple(o.item for o in one.outcomes)
    }


CHANGES: dict[str, tuple[int, Callable[[dict[str, Any]], None], str]] = {
    "a metric": (2, lambda c: c["metrics"].update(accuracy=c["metrics"]["accuracy"] + 1e-9), "metrics.accuracy: "),
    "a score": (1, lambda c: c.update(scores=[c["scores"][0] + 1e-6, *c["scores"][1:]]), "scores: 1 of 10 differ"),
    "the order of picks": (0, lambda c: c["queried"].reverse(), "queried: 10 of 10 differ"),
    "the bill": (1, lambda c: c.update(paid=c["paid"] - 1), "paid: 89 committed, 90 now"),
}


@EDITED_RESULT
@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_round_with_a_valid_digest_is_caught(name: str, copy: Path) -> None:
    number, change, expected = CHANGES[name]
    rewrite(copy, "entropy", number, change)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is damaged: every digest and link is right
        found = recheck(copy, sample=100)
    assert not found.damaged
    assert not found.sound
    told = failed(found)
    mine = told[f"{spec_of(copy, 'entropy')}, round {number}"]
    assert any(text.startswith(expected) for text in mine), mine
    assert all("entropy" in what for what in told)
    if number == 2:
        assert list(told) == [f"{spec_of(copy, 'entropy')}, round 2"]
        assert len(mine) == 1


@EDITED_RESULT
def test_another_pick_is_caught_where_it_was_made(copy: Path) -> None:
    """The rounds after it are what such a pick gives: only the round that claims to have picked it is wrong."""

    def swap(content: dict[str, Any]) -> None:
        pool = set(range(1000)) - set(content["queried"])
        content["queried"][0] = max(
            pool - {i for r in Store.open(copy).rounds(spec_of(copy, "badge")) for i in r.queried}
        )

    rewrite(copy, "badge", 1, swap)
    told = failed(recheck(copy, sample=100))
    assert any("queried: 1 of 10 differ" in text for text in told[f"{spec_of(copy, 'badge')}, round 1"])


@EDITED_RESULT
def test_a_changed_search_and_full_data_are_caught(copy: Path) -> None:
    for kind in ("hp-search", "full-data"):
        path = next((copy / f"shared/{kind}").glob("*.json"))
        content, clock = atomic_files.read_record(path)
        if kind == "hp-search":
            content["val_score"] += 0.01
        else:
            content["metrics"]["accuracy"] -= 0.01
        path.write_bytes(atomic_files.pack_record(content, clock))
    found = recheck(copy, sample=1, shared=100)
    assert sorted(o.item.kind for o in found.outcomes if not o.same) == ["full-data", "hp-search"]


@EDITED_RESULT
def test_another_shared_classifier_is_caught(copy: Path) -> None:
    """The tensors of a round 0 are compared too, by their digest."""
    for path in (copy / "shared/round-0").glob("*.json"):
        content, clock = atomic_files.read_record(path)
        content["tensors"] = "0" * 64
        path.write_bytes(atomic_files.pack_record(content, clock))
    found = recheck(copy, sample=100)
    wrong = [o for o in found.outcomes if not o.same]
    assert {o.item.number for o in wrong} == {0}
    assert all("tensors" in " ".join(o.differences) for o in wrong)


def test_damaged_files_are_counted_and_their_rounds_not_drawn(copy: Path) -> None:
    key = spec_of(copy, "random").key
    path = copy / f"runs/{key}/round-01.json"
    path.write_bytes(path.read_bytes().replace(b'"budget": 30', b'"budget": 31'))
    with pytest.warns(atomic_files.DamageWarning):
        found = recheck(copy, sample=100)
    assert [f"{key}/round-01.json: SHA-256 differs" in text for text in found.damaged] == [True]
    assert not found.sound
    assert not failed(found)
    assert len([o for o in found.outcomes if o.item.run == key]) == 1
    assert path.is_file()  # looking moves nothing


def test_another_environment_is_told_and_judged_by_the_tolerance(copy: Path) -> None:
    for path in (copy / "environments").glob("*.json"):
        content, clock = atomic_files.read_record(path)
        path.write_bytes(atomic_files.pack_record(content | {"numpy": "1.0"}, clock))
    rewrite(copy, "bald", 2, lambda c: c["metrics"].update(accuracy=c["metrics"]["accuracy"] + 0.015))
    rewrite(copy, "random", 2, lambda c: c["metrics"].update(accuracy=c["metrics"]["accuracy"] + 0.03))
    found = recheck(copy, sample=100)
    assert not any(o.bitwise or o.before for o in found.outcomes)
    assert list(failed(found)) == [f"{spec_of(copy, 'random')}, round 2"]
    (near,) = (o for o in found.outcomes if o.notes)
    assert "metrics.accuracy" in near.notes[0]
    kept = [content for content, _ in Store.open(copy).records("rechecks").values()]
    assert {content["tolerance"] for content in kept if not content["bitwise"]} == {0.02}


def test_what_may_differ_between_environments() -> None:
    committed = {"budget": 20, "queried": [1, 2], "metrics": {"accuracy": 0.5, "log_loss": 1.0}}
    now = {"budget": 20, "queried": [1, 3], "metrics": {"accuracy": 0.51, "log_loss": 3.0}}
    assert compare_records(committed, committed, True) == ([], [])
    assert len(compare_records(committed, now, True)[0]) == 3
    assert compare_records(committed, now, False)[0] == []
    assert compare_records(committed, now | {"budget": 21}, False)[0] == ["budget: 20 committed, 21 now"]
    assert (
        compare_records(committed, {**now, "metrics": {"accuracy": 0.5}}, True)[0][1]
        == "metrics.log_loss: 1.0 committed, null now"
    )


def test_metrics_that_the_committed_round_lacks_are_told_and_not_compared() -> None:
    committed, now = {"metrics": {"accuracy": 0.5}}, {"metrics": {"accuracy": 0.5, "brier": 0.7, "augrc": 0.1}}
    told = ["not compared, as the committed record has no such metric: brier, augrc"]
    assert compare_records(committed, now, True) == compare_records(committed, now, False) == ([], told)
    wrong, _ = compare_records(committed, {"metrics": {**now["metrics"], "accuracy": 0.4}}, True)
    assert wrong == ["metrics.accuracy: 0.5 committed, 0.4 now"]


def test_a_study_of_a_version_with_fewer_metrics_rechecks_clean(copy: Path) -> None:
    rewrite(copy, "entropy", 2, lambda c: [c["metrics"].pop(name) for name in ("brier", "aurc", "augrc")])
    found = recheck(copy, sample=100)
    assert found.sound
    (mine,) = (o for o in found.outcomes if not o.before)
    assert mine.bitwise
    assert mine.notes == ["not compared, as the committed record has no such metric: brier, aurc, augrc"]


@pytest.mark.slow
def test_features_and_worker_processes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_study(study(("random", "badge"), paradigm=FROZEN, regime=REGIME), out, workers=0).finished
    path = next(out.glob("runs/*/round-02.json"))
    content, clock = atomic_files.read_record(path)
    content["metrics"]["accuracy"] = 0.25
    path.write_bytes(atomic_files.pack_record(content, clock))
    found = recheck(out, sample=6, workers=2)
    assert [(o.same, [text[:34] for text in o.differences]) for o in found.outcomes if not o.same] == [
        (False, ["metrics.accuracy: 0.25 committed, "])
    ]
    assert found.to_json()["same"] == 5
    assert len(Store.open(out).records("rechecks")) == 6


@pytest.mark.slow
@pytest.mark.parametrize("paradigm", [SELF_SL, SEMI_SL], ids=["self-sl", "semi-sl"])
def test_encoders_are_taken_as_committed_and_pseudo_labels_recomputed(paradigm: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_study(study(("badge",), paradigm=paradigm, regime=REGIME), out, workers=0).finished
    before = contents(out)
    found = recheck(out, sample=3)
    assert found.sound
    assert all(o.bitwise for o in found.outcomes)
    assert {name: data for name, data in contents(out).items() if not name.startswith("rechecks/")} == before


def test_a_worker_process_tells_a_users_mistake(copy: Path, tmp_path: Path) -> None:
    for path in (copy / "datasets").glob("*.json"):
        content, clock = atomic_files.read_record(path)
        path.write_bytes(atomic_files.pack_record(content | {"revision": "another"}, clock))
    shutil.rmtree(copy / "rechecks")
    with pytest.raises(FathomError, match="is not the one that the results"):
        recheck(copy, sample=1, workers=1)


def test_an_interrupted_recheck_keeps_what_it_had(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    do, count = Recheck.do, iter(range(100))

    def stop_at_the_third(self: Recheck, item: RecheckItem) -> RecheckOutcome:
        if next(count) == 2:
            raise KeyboardInterrupt
        return do(self, item)

    monkeypatch.setattr(Recheck, "do", stop_at_the_third)
    monkeypatch.setattr(sys, "argv", ["fathom", "recheck", str(fresh), "--sample", "4"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert "2 of 4 are rechecked" in capsys.readouterr().err
    monkeypatch.setattr(Recheck, "do", do)
    assert sum(o.before for o in recheck(fresh, sample=4).outcomes) == 2


def test_the_verb(copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*more: str) -> int:
        monkeypatch.setattr(sys, "argv", ["fathom", "recheck", str(copy), "--sample", "100", "-q", *more])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(str(ended.value.code))

    assert call() == 0
    assert "12 of 12 are equal to what is committed; 0 damaged files" in capsys.readouterr().out
    rewrite(copy, "random", 2, lambda c: c["metrics"].update(accuracy=0.5))
    assert call("--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["rechecked"], told["same"], told["sound"]) == (12, 11, False)
    (wrong,) = (o for o in told["outcomes"] if not o["same"])
    assert "metrics.accuracy: 0.5 committed" in wrong["differences"][0]


@pytest.mark.parametrize(
    ("bad", "message"), [({"sample": 0}, "sample >= 1"), ({"sample": 1, "workers": -1}, "workers >= 0")]
)
def test_numbers_that_make_no_sense(bad: dict[str, int], message: str, copy: Path) -> None:
    with pytest.raises(FathomError, match=message):
        recheck(copy, **bad)  # type: ignore[arg-type]


def test_nothing_to_recheck(tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="holds no study"):
        recheck(tmp_path, sample=1)
    Store(tmp_path / "out").begin(study())
    with pytest.raises(FathomError, match="nothing to recheck"):
        recheck(tmp_path / "out", sample=1)
    assert json.dumps(Rechecked("x").to_json())


@pytest.mark.parametrize("download", [True, False])
def test_workers_of_a_recheck_download_if_told_to(download: bool, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its datasets are loaded in the workers alone, so nobody else could."""
    seen: list[bool] = []

    def look(self: LocalEngine, orders: WorkerOrders, *rest: Any) -> None:
        seen.append(orders.machine["download"])
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalEngine, "work", look)
    with pytest.raises(KeyboardInterrupt):
        recheck(fresh, sample=2, seed=9, machine=Machine(download=download), workers=2)
    assert seen == [download]
