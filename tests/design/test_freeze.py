"""What was decided before roll-out data were touched, and what a report says of it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.cli.test_cli import call, parsed
from tests.faults import fault
from tests.results.synthetic import Plan, build
from tests.studies import PARADIGM, REGIME, SEARCHING, study

from fathom.core.records import PROTOCOL, FathomError, RunSpec, Study
from fathom.design.departures import follow
from fathom.design.freeze import decided, freeze, load_freeze, role_of
from fathom.design.study_file import load_study
from fathom.engine.engine import run_study
from fathom.registry import registry
from fathom.report.report import report
from fathom.report.summary import summary, warnings
from fathom.results.results import StudyResults
from fathom.results.roles import by_role
from fathom.store.store import Store

pytestmark = pytest.mark.usefixtures("held_out_data")


def rolled(path: Path, **changes: object) -> Path:
    """A study file on held-out data."""
    values = {
        "name": "rolled",
        "datasets": ["own/held-out"],
        "regimes": [REGIME],
        "paradigms": [PARADIGM],
        "queries": ["random", "entropy"],
        "seeds": 1,
        "full_data": 0,
    }
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in (values | changes).items()))
    return path


def test_a_roll_out_follows_what_was_frozen(tmp_path: Path) -> None:
    path = freeze(study())
    assert path.name == "toy.freeze.json"
    assert freeze(study()) == path  # the same again changes nothing
    kept = load_freeze(path)
    assert (kept["queries"], kept["developed_on"], kept["results"]) == (["random", "entropy"], ["digits"], None)
    assert kept["paradigms"][0]["parameters"]["search"] == "3"  # defaults are written out
    loaded = load_study(rolled(tmp_path / "rolled.toml", freeze=path.name))
    assert loaded.freeze == kept
    assert run_study(loaded, tmp_path / "out", workers=0).finished
    assert Store.open(tmp_path / "out").study == loaded
    (said,) = [text for title, text in warnings(StudyResults.of(tmp_path / "out")) if title == "Roll-out"]
    assert kept["hash"] in said
    assert "follow the freeze" in said


def test_results_that_are_older_than_the_freeze_are_no_roll_out(tmp_path: Path) -> None:
    plan = Plan(datasets=("digits", "held"), held_out=("held",))
    late = {**decided(study()), "hash": "abc", "frozen": "2999-01-01T00:00:00+00:00"}
    build(tmp_path / "late", Plan(**{**plan.__dict__, "freeze": late}))
    titles = dict(warnings(StudyResults.of(tmp_path / "late")))
    assert "younger than the first result" in titles["Not a roll-out"]
    build(tmp_path / "none", plan)
    assert "names no freeze" in dict(warnings(StudyResults.of(tmp_path / "none")))["Not a roll-out"]
    page = report(tmp_path / "none").read_text()
    assert page.index("Not a roll-out") < page.index('<dl class="facts">')


def test_development_and_roll_out_stand_apart(tmp_path: Path) -> None:
    build(tmp_path / "out", Plan(datasets=("a", "held-a", "b", "held-b"), held_out=("held-a", "held-b")))
    results = StudyResults.of(tmp_path / "out")
    assert [(s[0], first) for s, first in by_role(results)] == [
        ("a", "development"),
        ("b", ""),
        ("held-a", "roll-out"),
        ("held-b", ""),
    ]
    told = summary(results)
    assert told[0].startswith("Development data. Is active learning worth it here? ")
    assert "on a and b (3 seeds)" in told[0]
    (held,) = [text for text in told if text.startswith("Roll-out data. Is active learning worth it here? ")]
    assert "on held-a and held-b (3 seeds)" in held
    page = report(tmp_path / "out").read_text()
    assert "Development data. Gain in AUBC" in page
    assert "Roll-out data. Gain in AUBC" in page
    assert page.index("Development data</p>") < page.index("Roll-out data</p>")


def test_a_study_on_one_kind_of_data_is_told_as_before(tmp_path: Path) -> None:
    build(tmp_path / "out", Plan())
    results = StudyResults.of(tmp_path / "out")
    assert not summary(results)[0].startswith("On ")
    assert "roll-out" not in " ".join(f"{title} {text}" for title, text in warnings(results)).lower()


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"queries": ["random", "margin"]}, "query method margin; frozen: random, entropy"),
        ({"regimes": [REGIME.replace("rounds=3", "rounds=2")]}, "regime custom"),
        ({"paradigms": [PARADIGM.replace("epochs=2", "epochs=3")]}, "paradigm standard"),
        ({"paradigms": ["frozen"]}, "paradigm frozen"),
    ],
)
def test_a_departure_on_roll_out_data_is_refused(tmp_path: Path, changes: dict[str, object], what: str) -> None:
    kept = freeze(study())
    with pytest.raises(FathomError, match="departs from the freeze toy") as refused:
        load_study(rolled(tmp_path / "rolled.toml", **changes), freeze=kept)
    assert what in str(refused.value)
    load_study(rolled(tmp_path / "free.toml", datasets=["digits"], **changes), freeze=kept)  # development data may


def test_hps_out_of_the_frozen_grid_are_the_frozen_paradigm(tmp_path: Path) -> None:
    kept = freeze(study(paradigm=SEARCHING))
    cached_retries = SEARCHING.replace("lr=0.1|0.01", "lr=0.01")
    load_study(rolled(tmp_path / "in.toml", paradigms=[cached_retries]), freeze=kept)
    with pytest.raises(FathomError, match="departs"):
        load_study(rolled(tmp_path / "out.toml", paradigms=[cached_retries.replace("0.01", "0.5")]), freeze=kept)


METHOD = """
from fathom import score

@score("sure")
def sure(view):
    "Query what the classifier is surest of."
    return view.log_probs.exp().mean(1).amax(1)
"""


@fault("identity", "the code of a frozen member is changed after the freeze, or not recorded", "no pass")
def test_changed_code_departs_from_the_freeze(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(METHOD)
    registry.add_file(tmp_path / "mine.py")
    methods = {"queries": ["random", "mine/sure"]}
    kept = freeze(study(("random", "mine/sure")))
    assert {"query mine/sure", "query random", "regime custom", "paradigm standard"} <= {*load_freeze(kept)["code"]}
    (tmp_path / "mine.py").write_text(METHOD.replace('"Query what', '# Turned?\n    "Queries what'))
    registry.refresh()
    load_study(rolled(tmp_path / "same.toml", **methods), freeze=kept)
    (tmp_path / "mine.py").write_text(METHOD.replace("return ", "return -"))
    registry.refresh()
    with pytest.raises(FathomError, match=r"departs from the freeze .*\n  the code of query mine/sure \(\w+\); frozen"):
        load_study(rolled(tmp_path / "other.toml", **methods), freeze=kept)


def test_a_freeze_of_results_has_the_code_that_computed_them(tmp_path: Path) -> None:
    plan = Plan(datasets=("digits",), seeds=1, rounds=2)
    old = build(tmp_path / "old", replace(plan, code=lambda member: ""))
    assert load_freeze(freeze(old.study, tmp_path / "a.json", store=old))["code"] == {}
    new = build(tmp_path / "new", plan)
    assert load_freeze(freeze(new.study, tmp_path / "b.json", store=new))["code"]["query badge"] == "c0de"
    versions = iter("abcdef" * 9)
    mixed = build(tmp_path / "mixed", replace(plan, code=lambda m: next(versions) if m == "query badge" else "c0de"))
    with pytest.raises(FathomError, match="several versions of the code of query badge"):
        freeze(mixed.study, tmp_path / "c.json", store=mixed)


def test_a_wider_grid_than_was_frozen_is_refused(tmp_path: Path) -> None:
    kept = freeze(study(paradigm=SEARCHING))
    wider = SEARCHING.replace("lr=0.1|0.01", "lr=0.1|0.01|0.5")  # the frozen grid and one more
    overlapping = SEARCHING.replace("lr=0.1|0.01", "lr=0.01|0.5")
    for number, paradigm in enumerate((wider, overlapping)):
        with pytest.raises(FathomError, match="departs"):
            load_study(rolled(tmp_path / f"{number}.toml", paradigms=[paradigm]), freeze=kept)


def test_a_freeze_of_another_protocol_is_refused(tmp_path: Path) -> None:
    kept = load_freeze(freeze(study()))
    held_out = study(dataset="own/held-out")
    assert follow(held_out, kept).freeze == kept
    with pytest.raises(FathomError, match=rf"protocol {PROTOCOL}; frozen: {PROTOCOL + 1}"):
        follow(held_out, kept | {"protocol": PROTOCOL + 1})
    assert follow(study(), kept | {"protocol": PROTOCOL + 1})  # nothing of it is roll-out data


def test_a_freeze_of_results_stands_for_them(tmp_path: Path) -> None:
    store = build(tmp_path / "dev", Plan(datasets=("digits",), paradigms=("standard(recipe=short)",)))
    kept = load_freeze(freeze(store.study, tmp_path / "dev.json", store=store))
    assert kept["results"]["rounds"] == 3 * 5 * 8
    other = build(tmp_path / "other", Plan(datasets=("digits",), noise=0.009))
    assert load_freeze(freeze(other.study, tmp_path / "b.json", store=other))["hash"] != kept["hash"]
    none = build(tmp_path / "open", Plan(datasets=("digits",), stop=lambda spec: 0 if spec.seed else None))
    with pytest.raises(FathomError, match=r"10 of 15 runs .* have no round yet"):
        freeze(none.study, tmp_path / "c.json", store=none)


def test_roll_out_data_are_not_frozen(tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="own/held-out"):
        freeze(study(dataset="own/held-out"))
    held = build(tmp_path / "out", Plan(datasets=("digits",), held_out=("digits",)))
    assert (role_of("digits"), role_of("digits", held.facts())) == ("development", "roll-out")
    with pytest.raises(FathomError, match="roll-out datasets"):
        freeze(held.study, store=held)


def test_a_freeze_is_never_changed(tmp_path: Path) -> None:
    path = freeze(study())
    before = path.read_bytes()
    with pytest.raises(FathomError, match="exists with other content"):
        freeze(study(("random", "margin")))
    assert path.read_bytes() == before


def test_what_is_no_freeze_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FathomError, match="does not exist"):
        load_freeze(tmp_path / "none.json")
    path = freeze(study())
    path.write_bytes(path.read_bytes().replace(b"entropy", b"margins"))
    with pytest.raises(FathomError, match="damaged"):
        load_freeze(path)
    build(tmp_path / "store", Plan(datasets=("digits",), seeds=1))
    with pytest.raises(FathomError, match="is not a freeze"):
        load_freeze(tmp_path / "store/study.json")


def test_a_dataset_of_a_store_that_says_no_role_is_development(tmp_path: Path) -> None:
    store = Store(tmp_path / "old")
    store.put("datasets/a", {"name": "own/held-out", "metric": "accuracy"})
    assert (role_of("own/held-out"), role_of("own/held-out", store.facts())) == ("roll-out", "development")


def test_one_s_own_images_may_be_roll_out() -> None:
    assert role_of("folder(path=x, role=roll-out)") == "roll-out"
    assert role_of("folder(path=x)") == "development"


def test_a_dataset_that_gives_another_role_than_it_declares_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        FathomError, match=r'registered with the role .development. .* @dataset\(.liar., role="roll-out"'
    ):
        run_study(study(dataset="own/liar"), tmp_path / "out", workers=0)


def test_a_study_from_before_there_were_freezes_loads() -> None:
    spec = RunSpec("digits", "low", "standard", "random", 0)
    old = {
        "name": "old",
        "runs": [spec.to_json()],
        "title": "",
        "description": "",
        "baseline": "random",
        "full_data": 1,
    }
    assert Study.from_json(old).freeze is None
    assert hash(Study("a", (spec,), freeze={"hash": "x"})) == hash(Study("a", (spec,)))


def test_the_command_writes_it_and_says_its_hash(tmp_path: Path) -> None:
    rolled(tmp_path / "dev.toml", name="dev", datasets=["digits"])
    said = parsed("freeze", "dev.toml")
    assert (said["file"], said["hash"]) == ("dev.freeze.json", load_freeze("dev.freeze.json")["hash"])
    refused = call("freeze", rolled(tmp_path / "rolled.toml"), "--plugin", "own.py")
    assert refused.status == 2
    assert "roll-out datasets (own/held-out)" in refused.err
    both = rolled(tmp_path / "both.toml", name="both", datasets=["digits", "own/held-out"])
    part = parsed("freeze", both, "--only", "dataset=digits", "--plugin", "own.py")
    assert part["developed_on"] == ["digits"]
