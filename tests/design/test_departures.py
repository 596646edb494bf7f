"""Each way to depart from a freeze is refused before anything runs, and told in the report of a study that did."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.cli.test_cli import call
from tests.design.test_freeze import rolled
from tests.faults import fault
from tests.results.synthetic import Plan, build
from tests.studies import FROZEN, PARADIGM, study

from fathom.audit.integrity import rollout
from fathom.core.records import FathomError, RunSpec, Study
from fathom.design import departures as module
from fathom.design.departures import departures, follow, not_held
from fathom.design.freeze import decided, freeze, load_freeze
from fathom.design.study_file import load_study
from fathom.report.summary import warnings
from fathom.results.results import StudyResults
from fathom.results.roles import roll_out_words
from fathom.store import atomic_files
from fathom.store.store import Store

METHODS = ["random", "entropy", "badge", "core-set"]
CLAIMS = ["badge > random"]


pytestmark = pytest.mark.usefixtures("held_out_data")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A freeze of four methods, two paradigms and three seeds."""
    names = {"datasets": ["digits"], "paradigms": [PARADIGM, FROZEN]}
    dev = rolled(tmp_path / "dev.toml", name="dev", queries=METHODS, seeds=3, claims=CLAIMS, **names)
    return freeze(load_study(dev))


def followed(path: Path, **changes: Any) -> Path:
    """A study file that runs all that was frozen, but for the changes."""
    same = {"queries": METHODS, "seeds": 3, "claims": CLAIMS, "paradigms": [PARADIGM, FROZEN]}
    return rolled(path, **(same | changes))


def test_what_was_frozen_may_run_with_more_seeds(kept: Path, tmp_path: Path) -> None:
    content = load_freeze(kept)
    assert (content["baseline"], content["margin"], content["alpha"], content["claims"]) == (
        "random",
        0.01,
        0.05,
        CLAIMS,
    )
    assert [arm["seeds"] for arm in content["arms"]] == [dict.fromkeys(METHODS, 3)] * 2
    assert content["metric"]["chosen"] == ["auto"]
    for seeds in (3, 5, [7, 8, 9]):
        assert load_study(followed(tmp_path / "rolled.toml", seeds=seeds), freeze=kept).freeze == content


WAYS: list[tuple[dict[str, Any], str]] = [
    ({"queries": ["random", "badge"]}, "2 of 4 query methods (own/held-out, custom(query_size=10, rounds=3"),
    ({"queries": METHODS[1:], "baseline": "entropy", "claims": []}, "frozen and not run: random"),
    ({"queries": [*METHODS, "margin"]}, "query method margin; frozen: random, entropy, badge, core-set"),
    ({"baseline": "entropy"}, "baseline entropy; frozen: random"),
    ({"seeds": 1}, "1 seed of badge, core-set, entropy, random"),
    ({"paradigms": [PARADIGM]}, "paradigm frozen(epoch_size=64"),
    ({"margin": 2}, "margin of 2 points; frozen: 1 points"),
    ({"claims": ["badge >= random"]}, "claims: badge >= random; frozen: badge > random"),
    ({"claims": []}, "claims: none; frozen: badge > random"),
    (
        {"datasets": ["folder(metric=accuracy, path=x, role=roll-out)"]},
        "metric accuracy chosen for folder(metric=accuracy",
    ),
]


@fault("identity", "a study departs from its freeze on roll-out data, in each way", "refused and told", cases=1)
@pytest.mark.parametrize(("changes", "what"), WAYS)
def test_a_departure_is_refused_and_told(changes: dict[str, Any], what: str, kept: Path, tmp_path: Path) -> None:
    path = followed(tmp_path / "rolled.toml", **changes)
    refused = call("run", path, "--out", "out", "--freeze", kept, "--plugin", "own.py")
    assert refused.status == 2
    assert "departs from the freeze dev" in refused.err
    assert what in refused.err
    assert not Path("out").exists()
    # A study that got past the refusal, as one whose folder was edited, is told to depart.
    Store(tmp_path / "edited").begin(replace(load_study(path), freeze=load_freeze(kept)))
    results = StudyResults.of(tmp_path / "edited")
    told = dict(warnings(results))["Not a roll-out"]
    assert what in told
    assert "depart from the freeze" in told


def test_another_alpha_is_a_departure(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALPHA", 0.1)
    with pytest.raises(FathomError, match=r"alpha 0\.1; frozen: 0\.05"):
        load_study(followed(tmp_path / "rolled.toml"), freeze=kept)


@fault("identity", "a part of a roll-out study is run", "refused unless that part was frozen", cases=1)
@pytest.mark.parametrize("part", ["seed=0", "query=random+badge", "paradigm=standard"])
def test_a_part_of_a_roll_out_is_a_departure(part: str, kept: Path, tmp_path: Path) -> None:
    path = followed(tmp_path / "rolled.toml")
    refused = call("run", path, "--out", "out", "--freeze", kept, "--plugin", "own.py", "--only", part)
    assert (refused.status, "departs from the freeze dev" in refused.err) == (2, True)
    assert not Path("out").exists()
    frozen = call("freeze", "dev.toml", "--only", part, "--out", "part.json")
    assert frozen.status == 0, frozen.err
    only = {"seeds": 1} if "seed" in part else {"queries": ["random", "badge"]} if "query" in part else {}
    smaller = followed(tmp_path / "small.toml", **only, **({"paradigms": [PARADIGM]} if "paradigm" in part else {}))
    assert load_study(smaller, freeze="part.json").freeze


def test_a_dataset_after_the_other_is_the_whole_of_what_was_frozen(tmp_path: Path) -> None:
    dev = study()
    path = rolled(tmp_path / "rolled.toml", datasets=["own/held-out", "digits"], freeze=freeze(dev).name)
    said = call("run", path, "--out", "out", "--plugin", "own.py", "--only", "dataset=own/held-out", "--workers", 0)
    assert said.status == 0, said.err
    (text,) = [text for title, text in warnings(StudyResults.of("out")) if title == "Roll-out"]
    assert "2 of 2 query methods, 1 of 1 paradigm, 1 of 1 regime, 1 seeds, baseline random, margin 1 points" in text


def synthetic(root: Path, changes: dict[str, Any], **plan: Any) -> StudyResults:
    """A synthetic study of held-out data that follows the freeze of one like it, with changes to the freeze."""
    made = Plan(datasets=("held",), held_out=("held",), queries=("random", "badge"), seeds=3)
    runs = build(root / "dev", replace(made, datasets=("digits",), held_out=())).study.runs
    frozen = {**decided(Study("dev", runs), {}), "hash": "abc", "frozen": "2000-01-01T00:00:00+00:00"} | changes
    for name in [name for name, value in changes.items() if value is None]:
        del frozen[name]
    codes = dict.fromkeys(("query random", "query badge", "paradigm standard", "regime low"), "c0de")
    build(root / "out", replace(made, freeze={"code": codes, **frozen}, **plan))
    return StudyResults.of(root / "out")


def test_the_report_counts_what_ran(tmp_path: Path) -> None:
    whole = synthetic(tmp_path / "a", {})
    title, text = roll_out_words(whole) or ("", "")
    assert title == "Roll-out"
    assert "2 of 2 query methods, 1 of 1 paradigm, 1 of 1 regime, 3 seeds" in text
    assert rollout(whole)[0] == "pass"

    def stop(spec: RunSpec) -> int | None:
        return 0 if spec.query == "badge" and spec.seed == 2 else None

    part = synthetic(tmp_path / "b", {}, stop=stop)
    title, text = roll_out_words(part) or ("", "")
    assert title == "Roll-out that is not complete"
    assert "2 seeds of badge (held, low(query_size=25)); frozen: 3; 5 of 6 runs complete" in text
    assert rollout(part)[0] == "partly"


def test_a_metric_other_than_the_frozen_one_is_told_from_the_facts(tmp_path: Path) -> None:
    rule = {"measure": "AUBC", "chosen": ["auto"], "balanced": "balanced_accuracy", "imbalanced": "balanced_accuracy"}
    title, text = roll_out_words(synthetic(tmp_path, {"metric": rule})) or ("", "")
    assert title == "Not a roll-out"
    assert "metric accuracy on held; frozen for balanced test sets: balanced_accuracy" in text


def test_an_older_freeze_is_followed_in_what_it_holds(tmp_path: Path) -> None:
    older: dict[str, Any] = dict.fromkeys(("arms", "baseline", "metric", "margin", "alpha", "claims"))
    title, text = roll_out_words(synthetic(tmp_path / "a", older)) or ("", "")
    assert title == "Roll-out"
    assert "does not hold the number of seeds, the baseline, the metric, the margin, alpha, claims" in text
    title, text = roll_out_words(synthetic(tmp_path / "b", older | {"queries": ["random", "badge", "bald"]})) or (
        "",
        "",
    )
    assert title == "Not a roll-out"
    assert "2 of 3 query methods (held); frozen and not run: bald" in text
    assert "code" in not_held({})[0]


def test_an_older_freeze_file_loads(tmp_path: Path) -> None:
    new = ("arms", "baseline", "metric", "margin", "alpha", "claims")
    content = {name: value for name, value in decided(study()).items() if name not in new}
    path = tmp_path / "old.freeze.json"
    atomic_files.write(
        path, atomic_files.pack_record({**content, "results": None, "code": {}}, {"frozen": "2020-01-01"})
    )
    kept = load_freeze(path)
    assert follow(study(dataset="own/held-out"), kept).freeze == kept
    with pytest.raises(FathomError, match=r"1 of 2 query methods \(own/held-out\); frozen and not run: entropy"):
        follow(study(("random",), dataset="own/held-out"), kept)


def test_hps_of_each_dataset_are_one_arm(tmp_path: Path) -> None:
    """With published HPs a paradigm has another spec string on each dataset; a roll-out runs one of them."""
    one, other = PARADIGM, PARADIGM.replace("lr=0.1", "lr=0.01")
    runs = (*study(paradigm=one).runs, *study(dataset="digits-lt", paradigm=other).runs)
    content = {**decided(Study("dev", runs)), "hash": "abc", "frozen": "2020"}
    assert [arm["paradigms"] for arm in content["arms"]] == [[runs[0].paradigm, runs[2].paradigm]]
    assert departures(study(dataset="own/held-out", paradigm=other), content, ["own/held-out"], {}) == []
    both = (*study(paradigm=one).runs, *study(paradigm=other).runs)
    content = {**decided(Study("dev", both)), "hash": "abc", "frozen": "2020"}
    assert len(content["arms"]) == 2  # on one dataset they are two paradigms
    (text,) = departures(study(dataset="own/held-out", paradigm=other), content, ["own/held-out"], {})
    assert "is not run" in text


def test_a_freeze_needs_its_baseline() -> None:
    with pytest.raises(FathomError, match="does not run its baseline random"):
        freeze(study(("entropy", "badge")))


def test_facts_of_the_development_data_decide_the_frozen_metric(tmp_path: Path) -> None:
    store = build(tmp_path / "dev", Plan(datasets=("digits",), queries=("random", "badge")))
    facts = {"digits": {**store.facts()["digits"], "metric": "balanced_accuracy", "test_class_counts": [10, 90]}}
    assert decided(store.study, facts)["metric"]["imbalanced"] == "balanced_accuracy"
    facts["digits"]["metric"] = "accuracy"
    metric = decided(store.study, facts)["metric"]
    assert (metric["balanced"], metric["imbalanced"]) == ("accuracy", "accuracy")
