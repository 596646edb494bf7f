"""Audit of a study: verdicts and evidence follow its records."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.faults import fault
from tests.results.synthetic import Plan, build

from fathom.audit.agreement import ALPHA, EPOCHS, effective_size, implausible
from fathom.audit.audit import audit, audit_results
from fathom.audit.rules import PREDICATES, VERDICTS, Finding, rules
from fathom.core.records import LabelRegime, digest
from fathom.design.freeze import decided
from fathom.report.page import Page, audit_summary
from fathom.report.summary import warnings
from fathom.results.results import StudyResults
from fathom.stats.decisions import MIN_UNITS
from fathom.store.store import Store

ROOT = Path(__file__).parents[2]
SMALL = Plan(datasets=("digits",), queries=("random", "badge"), seeds=2, rounds=3)


def of(store: Store) -> dict[str, Finding]:
    return {f.rule.id: f for f in audit(store.root)}


def verdicts(root: Path, plan: Plan) -> dict[str, str]:
    return {rule: f.verdict for rule, f in of(build(root, plan)).items()}


def test_every_rule_has_a_predicate_and_stands_in_the_docs() -> None:
    text = (ROOT / "docs/protocol.md").read_text()
    assert set(PREDICATES) == set(rules())
    for rule in rules().values():
        assert f"| {rule.id} | {rule.question} | {rule.passes} | {rule.partly} | {rule.fails} | {rule.paper} |" in text


def test_a_narrow_study_falls_into_the_pitfalls(tmp_path: Path) -> None:
    found = of(build(tmp_path, SMALL))
    assert {rule: found[rule].verdict for rule in ("P1", "P2", "P3", "P5", "seeds")} == dict.fromkeys(
        ("P1", "P2", "P3", "P5", "seeds"), "fail"
    )
    assert "starting budgets: digits 50" in found["P2"].evidence
    assert "digits: standard" in found["P5"].evidence
    assert found["rollout"].verdict == "unknown"
    assert any(finding.verdict == "fail" for finding in found.values())


def test_configuration_needs_a_search_the_full_recipe_and_validation_labels(tmp_path: Path) -> None:
    full = replace(SMALL, recipe="study")
    assert verdicts(tmp_path / "full", full)["P4"] == "pass"
    assert verdicts(tmp_path / "short", SMALL)["P4"] == "partly"
    none = LabelRegime("low", start=50, query_size=25, rounds=3, val_size=0)
    assert verdicts(tmp_path / "none", replace(full, regimes={full.paradigms[0]: none}))["P4"] == "fail"


def test_three_regimes_and_three_paradigms_avoid_their_pitfalls(tmp_path: Path) -> None:
    ways = ("standard", "self-sl", "semi-sl")
    regimes = {w: LabelRegime(f"r{n}", 50 * n, 25 * n, 3, 250) for n, w in enumerate(ways, 1)}
    found = of(build(tmp_path, replace(SMALL, paradigms=ways, regimes=regimes)))
    assert [found[p].verdict for p in ("P2", "P3", "P5")] == ["pass"] * 3
    assert "varied at one starting budget: none" in found["P3"].evidence


@fault("report", "one folder of images under three spec strings", "counts as one dataset in every pitfall", cases=4)
def test_variants_of_one_folder_are_one_dataset(tmp_path: Path) -> None:
    variants = ("folder(path=scans)", "folder(path=./scans, size=32)", "folder(path=scans/, size=96)")
    ways = ("standard", "self-sl", "semi-sl")
    one = of(build(tmp_path / "one", replace(SMALL, datasets=variants, paradigms=ways)))
    assert one["P1"].verdict == "fail"
    assert one["P1"].evidence.startswith("1 dataset (folder); imbalanced: none")
    assert one["P2"].evidence == "starting budgets: folder 50"
    assert one["P5"].evidence == "folder: standard, self-sl, semi-sl"
    two = of(build(tmp_path / "two", replace(SMALL, datasets=("folder(path=scans)", "folder(path=photos)"))))
    assert two["P1"].evidence.startswith("2 datasets (folder(path=scans), folder(path=photos))")


@pytest.mark.parametrize(("seeds", "verdict"), [(2, "fail"), (3, "partly"), (5, "pass")])
def test_seeds(tmp_path: Path, seeds: int, verdict: str) -> None:
    found = verdicts(tmp_path, replace(SMALL, seeds=seeds))
    assert (found["seeds"], found["pairing"], found["design"]) == (verdict, "pass", "pass")
    assert found["correction"] == ("pass" if seeds >= MIN_UNITS else "fail")


def test_an_incomplete_run_breaks_pairing_and_design(tmp_path: Path) -> None:
    late: Callable[[Any], int | None] = lambda s: 1 if (s.seed, s.query) == (2, "badge") else None  # noqa: E731
    found = of(build(tmp_path, replace(SMALL, seeds=3, stop=late)))
    assert (found["pairing"].verdict, found["design"].verdict, found["seeds"].verdict) == ("partly", "partly", "fail")
    assert found["design"].evidence == "5 of 6 runs complete"


def test_bald_wants_its_matched_control(tmp_path: Path) -> None:
    alone = replace(SMALL, queries=("random", "bald"))
    matched = replace(SMALL, queries=("random", "random(dropout=0.5)", "bald"))
    assert verdicts(tmp_path / "alone", alone)["control"] == "fail"
    assert verdicts(tmp_path / "matched", matched)["control"] == "pass"
    assert verdicts(tmp_path / "none", SMALL)["control"] == "pass"


@fault("methods", "an older study has dropout methods without dropout", "the audit fails it", cases=2)
@pytest.mark.parametrize("query", ["bald", "batch-bald(draws=10)"])
def test_draws_without_dropout_fail(query: str, tmp_path: Path) -> None:
    plan = replace(SMALL, queries=("random", query), paradigms=("standard(dropout=0, recipe=short)",))
    found = of(build(tmp_path / "without", plan))["control"]
    assert found.verdict == "fail"
    assert found.evidence == f"run without dropout, so all its dropout draws are equal: {query}"
    own = replace(
        plan,
        queries=("random(dropout=0.3)", query.replace("(", "(dropout=0.3, ") if "(" in query else "bald(dropout=0.3)"),
    )
    assert "run without dropout" not in of(build(tmp_path / "own", own))["control"].evidence


@fault("methods", "validation and test scores lie implausibly far apart", "the audit says where", cases=6)
@pytest.mark.parametrize(
    ("val", "test", "n_val", "n_test", "apart"),
    [
        (0.651, 0.125, 40, 360, True),  # weights that came back scrambled
        (0.125, 0.651, 60, 360, True),
        (0.90, 0.78, 250, 10_000, False),  # a test set that is harder
        (0.90, 0.60, 5_000, 10_000, True),
        (0.70, 0.40, 20, 50, False),  # chance
        (1.0, 0.97, 20, 10_000, False),
    ],
)
def test_scores_that_lie_apart_are_found(val: float, test: float, n_val: int, n_test: int, apart: bool) -> None:
    assert implausible(val, n_val, test, n_test, ALPHA / 100 / EPOCHS) is apart


def test_no_round_of_the_committed_results_is_found() -> None:
    import pandas as pd

    frame = pd.read_parquet(ROOT / "results/frozen-reduced.parquet")
    alone = [
        implausible(v, n, t, 360, ALPHA) for v, n, t in zip(frame.val_score, frame.val_size, frame.score, strict=True)
    ]
    assert len(alone) == 2880
    assert not any(alone)


def test_the_best_of_many_epochs_is_not_implausible() -> None:
    rng = np.random.default_rng(0)
    for n_val, n_test in ((25, 100), (250, 1000)):
        best = rng.binomial(n_val, 0.5, (500, EPOCHS)).max(1) / n_val
        test = rng.binomial(n_test, 0.5, 500) / n_test
        assert not any(implausible(v, n_val, t, n_test, ALPHA / EPOCHS) for v, t in zip(best, test, strict=True))


def test_a_mean_over_classes_has_the_variance_of_fewer_samples() -> None:
    assert effective_size([50, 50]) == 100
    assert effective_size([90, 10]) == pytest.approx(36)
    assert effective_size([0, 10]) == 10


@pytest.mark.parametrize(("val", "verdict"), [(0.9, "pass"), (0.1, "partly")])
def test_agreement_reads_the_rounds(val: float, verdict: str, tmp_path: Path) -> None:
    results = StudyResults.of(build(tmp_path, SMALL).root)
    results.frame["val_score"] = results.frame["score"]
    results.frame.loc[2, "val_score"] = val
    results.facts["digits"]["test"] = 1000
    found = {f.rule.id: f for f in audit_results(results)}["agreement"]
    assert found.verdict == verdict
    assert f"{int(verdict == 'partly')} of 12 rounds differ" in found.evidence


def test_nothing_committed_is_unknown(tmp_path: Path) -> None:
    found = verdicts(tmp_path, replace(SMALL, stop=lambda spec: 0))
    assert {found[rule] for rule in ("P1", "P2", "P3", "P4", "P5", "seeds", "groups", "versions")} == {"unknown"}
    assert found["design"] == "fail"


def test_rechecks_and_damage(tmp_path: Path) -> None:
    store = build(tmp_path, SMALL)
    assert of(store)["recheck"].evidence == "not rechecked"
    spec = store.study.runs[0]
    now = {"round": {"run": spec.key, "number": 1}, "committed": digest(store.rounds(spec)[1].content())}
    store.put("rechecks/old", {**now, "committed": "of another round", "same": False})
    assert of(store)["recheck"].evidence == "not rechecked since the rounds were computed again"
    store.put("rechecks/a", {**now, "same": True})
    assert (of(store)["recheck"].verdict, of(store)["hashes"].verdict) == ("pass", "pass")
    store.put("rechecks/b", {**now, "same": False, "differences": ["score"]})
    assert of(store)["recheck"].verdict == "fail"
    path = store.path(f"runs/{store.study.runs[0].key}/round-02")
    path.write_bytes(path.read_bytes().replace(b'"budget": 100', b'"budget": 101'))
    assert of(store)["hashes"].verdict == "fail"


@pytest.mark.parametrize(("count", "verdict"), [(0, "pass"), (4, "fail"), (None, "unknown")])
def test_facts_of_leakage(tmp_path: Path, count: int | None, verdict: str) -> None:
    results = StudyResults.of(build(tmp_path, SMALL).root)
    results.facts["digits"] |= {"groups": True, "groups_across": count, "duplicates_across": count}
    found = {f.rule.id: f.verdict for f in audit_results(results)}
    assert (found["groups"], found["duplicates"]) == (verdict, verdict)
    results.facts["digits"]["train"] = 10  # ids of made-up queries go further
    assert {f.rule.id: f.verdict for f in audit_results(results)}["queried"] == "fail"


@fault("data", "no groups declared", "unknown in audit, never pass", cases=3)
@pytest.mark.parametrize("likely", ["", 'file names look like 36 tracks; declare them with groups="(video[0-9]+)"'])
def test_no_groups_declared_is_unknown(tmp_path: Path, likely: str) -> None:
    results = StudyResults.of(build(tmp_path, SMALL).root)
    for count in (0, None):  # 0 as stores of earlier versions have it
        results.facts["digits"] |= {"groups": False, "groups_across": count, "likely_groups": likely}
        (found,) = [f for f in audit_results(results) if f.rule.id == "groups"]
        assert found.verdict == "unknown"
        assert (likely or "no groups declared") in found.evidence
    results.facts["digits"] |= {"independent": True}
    (found,) = [f for f in audit_results(results) if f.rule.id == "groups"]
    assert (found.verdict, "declared independent" in found.evidence) == ("pass", True)


@pytest.mark.parametrize(
    ("across", "within", "verdict"),
    [(0, 0, "pass"), (1, 0, "partly"), (0, 400, "partly"), (60, 0, "fail"), (None, None, "unknown")],
)
def test_near_duplicates_are_judged_by_their_share(
    tmp_path: Path, across: int | None, within: int | None, verdict: str
) -> None:
    results = StudyResults.of(build(tmp_path, SMALL).root)
    results.facts["digits"] |= {"near_duplicates_across": across, "near_duplicates_within": within}
    (found,) = [f for f in audit_results(results) if f.rule.id == "near-duplicates"]
    assert found.verdict == verdict
    assert ("declare groups" in found.evidence) == (verdict in ("partly", "fail"))


def test_roll_out_data_want_a_freeze_that_is_followed(tmp_path: Path) -> None:
    held = replace(SMALL, held_out=("digits",))
    found = of(build(tmp_path / "none", held))["rollout"]
    assert found.verdict == "fail"
    assert "names no freeze" in found.evidence
    kept = {**decided(build(tmp_path / "dev", SMALL).study), "hash": "0123", "frozen": "2001-01-01T00:00:00+00:00"}
    kept["code"] = dict.fromkeys(("regime low", "paradigm standard", "query random", "query badge"), "c0de")
    assert of(build(tmp_path / "kept", replace(held, freeze=kept)))["rollout"].verdict == "pass"
    found = of(build(tmp_path / "more", replace(held, freeze={**kept, "queries": ["random"]})))["rollout"]
    assert found.verdict == "fail"
    assert "query method badge; frozen: random" in found.evidence


@fault("identity", "the code of a frozen member is changed after the freeze, or not recorded", "no pass")
@pytest.mark.parametrize(
    ("frozen", "used", "verdict", "words"),
    [
        ("c0de", "c0de", "pass", "and code"),
        ("c0de", "beef", "fail", "the code of query badge (beef); frozen: c0de"),
        ("", "c0de", "unknown", "hold no hash of query badge"),
        ("c0de", "", "unknown", "hold no hash of query badge"),
    ],
)
def test_a_freeze_holds_the_code(tmp_path: Path, frozen: str, used: str, verdict: str, words: str) -> None:
    code = dict.fromkeys(("regime low", "paradigm standard", "query random"), "c0de")
    code |= {"query badge": frozen} if frozen else {}
    dates = {"hash": "0123", "frozen": "2001-01-01T00:00:00+00:00"}
    kept = {**decided(build(tmp_path / "dev", SMALL).study), **dates, "code": code}
    plan = replace(SMALL, held_out=("digits",), freeze=kept)
    found = of(build(tmp_path / "out", replace(plan, code=lambda m: used if m == "query badge" else "c0de")))
    assert found["rollout"].verdict == verdict
    assert words in found["rollout"].evidence
    assert found["code"].verdict == ("pass" if used else "unknown")


def test_two_versions_of_a_member_are_told(tmp_path: Path) -> None:
    versions = iter("abc" * 100)
    store = build(tmp_path, replace(SMALL, code=lambda member: next(versions) if member == "query badge" else "c0de"))
    assert of(store)["code"].verdict == "partly"
    assert "several versions of query badge" in of(store)["code"].evidence
    assert "query badge" in dict(warnings(StudyResults.of(store.root)))["Mixed code"]


def test_the_report_has_the_audit(tmp_path: Path, undrawn: None) -> None:
    results = StudyResults.of(build(tmp_path, SMALL).root)
    html = Page(results).html()
    findings = audit_results(results)
    assert '<h2 id="audit">Audit</h2>' in html
    assert audit_summary(findings).startswith("Pitfalls: ")
    assert all(f"{f.rule.title}: {f.verdict}</dt>" in html for f in findings)
    assert {f.verdict for f in findings} <= set(VERDICTS)
    assert "validation labels: 250; not paid in 0 rounds" in html
