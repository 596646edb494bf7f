"""Audit of a study: verdicts and evidence follow its records."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.faults import fault
from tests.results.synthetic import Plan, build

from fathom.audit.audit import audit, audit_results
from fathom.audit.rules import PREDICATES, VERDICTS, Finding, rules
from fathom.core.records import LabelRegime, digest
from fathom.design.freeze import decided
from fathom.report.page import Page, audit_summary
from fathom.results.results import StudyResults
from fathom.stats.inference import MIN_SEEDS
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
    assert found["correction"] == ("pass" if seeds >= MIN_SEEDS else "fail")


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
    results.facts["digits"] |= {"groups_across": count, "duplicates_across": count}
    found = {f.rule.id: f.verdict for f in audit_results(results)}
    assert (found["groups"], found["duplicates"]) == (verdict, verdict)
    results.facts["digits"]["train"] = 10  # ids of made-up queries go further
    assert {f.rule.id: f.verdict for f in audit_results(results)}["queried"] == "fail"


def test_roll_out_data_want_a_freeze_that_is_followed(tmp_path: Path) -> None:
    held = replace(SMALL, held_out=("digits",))
    found = of(build(tmp_path / "none", held))["rollout"]
    assert found.verdict == "fail"
    assert "names no freeze" in found.evidence
    kept = {**decided(build(tmp_path / "dev", SMALL).study), "hash": "0123", "frozen": "2001-01-01T00:00:00+00:00"}
    assert of(build(tmp_path / "kept", replace(held, freeze=kept)))["rollout"].verdict == "pass"
    found = of(build(tmp_path / "more", replace(held, freeze={**kept, "queries": ["random"]})))["rollout"]
    assert found.verdict == "fail"
    assert "query method badge; frozen: random" in found.evidence


def test_the_report_has_the_audit(tmp_path: Path, undrawn: None) -> None:
    results = StudyResults.of(build(tmp_path, SMALL).root)
    html = Page(results).html()
    findings = audit_results(results)
    assert '<h2 id="audit">Audit</h2>' in html
    assert audit_summary(findings).startswith("Pitfalls: ")
    assert all(f"{f.rule.title}: {f.verdict}</dt>" in html for f in findings)
    assert {f.verdict for f in findings} <= set(VERDICTS)
    assert "validation labels: 250; not paid in 0 rounds" in html
