"""Stated claims, decided on the runs of a study: the same tests as the report's, in one sentence."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from tests.cli.test_cli import call, parsed
from tests.results.synthetic import Plan, build, facts, regime_of

import fathom
from fathom.core.records import FathomError, LabelRegime, RunSpec
from fathom.design.stated_claims import parse_claim
from fathom.report.report import report
from fathom.report.summary import warnings
from fathom.report.tables import stated_claims_table
from fathom.results.results import StudyResults
from fathom.results.statements.stated_claims import ClaimAnswer, answer_claims, stated_answers
from fathom.stats.decisions import look_alpha
from fathom.stats.power import power, power_not_worse
from fathom.store.store import Store

THREE = ("digits", "digits-lt", "more")
FEW = ("random", "entropy", "badge")


def results_of(root: Path, **changes: object) -> StudyResults:
    build(root, replace(Plan(queries=FEW, seeds=4), **changes))  # type: ignore[arg-type]
    return StudyResults.of(root)


def decided(results: StudyResults, *texts: str, **options: float) -> list[ClaimAnswer]:
    return answer_claims(results, [parse_claim(text) for text in texts], **options)


def areas(results: StudyResults, column: str = "aubc") -> Callable[[str], object]:
    wide = results.areas.pivot_table(index=["dataset", "seed"], columns="query", values=column)
    return lambda query: wide[query] - wide["random"]


@pytest.mark.parametrize("datasets", [THREE[:1], THREE[:2], THREE])
def test_a_claim_has_the_verdict_of_the_report(tmp_path: Path, datasets: tuple[str, ...]) -> None:
    results = results_of(tmp_path / "out", datasets=datasets, queries=("random", "badge"))
    (answer,) = decided(results, "badge > random")
    (headline_verdict,) = results.verdicts
    assert answer.method is not None
    assert answer.method.decision == headline_verdict.decision
    assert answer.method.unit == ("datasets" if len(datasets) == 3 else "seeds")
    own = areas(results)("badge")
    if len(datasets) != 2:
        level = "dataset" if len(datasets) == 3 else "seed"
        expected = stats.ttest_1samp(own.groupby(level).mean(), 0)  # type: ignore[attr-defined]
        assert answer.method.decision.p == pytest.approx(expected.pvalue)
    assert answer.verdict == "supported"


def test_each_relation_is_decided_by_its_own_test(tmp_path: Path) -> None:
    effect = {"entropy": -0.03, "badge": 0.03}
    results = results_of(tmp_path / "out", effect=lambda q: effect.get(q, 0.0), noise=0.004, seeds=6)
    texts = {
        "badge > random": "supported",
        "badge >= random": "supported",
        "badge < random": "contradicted",
        "entropy > random": "contradicted",
        "entropy < random": "supported",
        "entropy >= random": "contradicted",
        "random > entropy": "supported",
    }
    assert {text: decided(results, text)[0].verdict for text in texts} == texts


def test_a_loss_that_is_shown_may_be_smaller_than_the_margin(tmp_path: Path) -> None:
    results = results_of(tmp_path / "out", effect=lambda q: -0.004 * (q == "badge"), noise=0.001, seeds=10)
    (answer,) = decided(results, "badge >= random")
    assert answer.method is not None
    assert answer.method.decision.verdict == "worse"
    assert answer.verdict == "supported"
    assert decided(results, "badge >= random", margin=0.001)[0].verdict == "contradicted"


def test_power_is_that_of_the_claim_s_own_test(tmp_path: Path) -> None:
    results = results_of(tmp_path / "out", datasets=("digits",))
    sd = np.std(areas(results)("badge"), ddof=1)  # type: ignore[call-overload]
    better, not_worse = (decided(results, text, margin=0.02)[0] for text in ("badge > random", "badge >= random"))
    assert better.power == pytest.approx(power(4, 0.02 / sd))
    assert not_worse.power == pytest.approx(power_not_worse(4, 0, sd, 0.02))


def test_metrics_and_measures(tmp_path: Path) -> None:
    results = results_of(tmp_path / "out", datasets=("digits",))
    final, loss = decided(results, "badge > random by final", "badge > random by log_loss")
    (area,) = decided(results, "badge > random")
    assert final.method is not None
    assert loss.method is not None
    assert area.method is not None
    assert final.method.decision.mean == pytest.approx(areas(results, "final")("badge").mean())  # type: ignore[attr-defined]
    # The synthetic log loss is 1 - accuracy, and lower is better: the gain is the same, in nats.
    assert loss.method.decision.mean == pytest.approx(area.method.decision.mean)
    assert "nats" in loss.sentence
    assert "a decrease counts as a gain" in loss.sentence
    (absent,) = decided(results, "badge > random by ece")
    assert (absent.verdict, absent.method) == ("not tested", None)
    assert "hold no ece" in absent.sentence


def test_missing_seeds_count_at_their_least_favorable_value(tmp_path: Path) -> None:
    def stop(spec: RunSpec) -> int | None:
        return 2 if spec.query == "badge" and spec.seed == 3 else None

    results = results_of(tmp_path / "out", datasets=("digits",), stop=stop)
    (answer,) = decided(results, "badge > random")
    assert answer.method is not None
    assert (answer.method.decision.n, answer.method.decision.missing) == (3, 1)
    assert "1 seed missing on one side" in answer.sentence


def test_paradigms_are_compared_with_the_baseline_method(tmp_path: Path) -> None:
    both = ("standard(recipe=short)", "self-sl(recipe=short)")
    plan = {"paradigms": both, "level": lambda spec: 0.02 * (spec.paradigm == both[1]), "datasets": ("digits",)}
    results = results_of(tmp_path / "out", **plan)
    (answer,) = decided(results, "self-sl > standard")
    wide = results.areas[results.areas["query"] == "random"].pivot(index="seed", columns="paradigm", values="aubc")
    gain = wide[both[1]] - wide[both[0]]
    assert answer.method is not None
    assert answer.method.decision.mean == pytest.approx(gain.mean())
    assert answer.method.decision.p == pytest.approx(stats.ttest_1samp(gain, 0).pvalue)
    assert "self-sl is better than standard" in answer.sentence


def test_paradigms_with_other_query_sizes_are_compared_at_the_budgets_that_both_have(tmp_path: Path) -> None:
    both = ("standard(recipe=short)", "self-sl(recipe=short)")
    wider = LabelRegime("low(query_size=50)", start=50, query_size=50, rounds=4, val_size=250)
    results = results_of(tmp_path / "out", paradigms=both, regimes={both[1]: wider}, datasets=("digits",), noise=0.0)
    (answer,) = decided(results, "self-sl >= standard")
    assert answer.method is not None
    assert answer.method.decision.mean == pytest.approx(0.0)  # no noise and no effect: equal where both were measured


def test_stated_claims_are_one_family_with_the_margin_of_the_study(tmp_path: Path) -> None:
    claims = ("badge > random", "entropy < random", "badge >= entropy")
    results = results_of(tmp_path / "out", claims=claims, margin=0.02)
    answers = stated_answers(results)
    assert [answer.claim.text for answer in answers] == list(claims)
    for answer in answers:
        assert answer.method is not None
        assert (answer.method.decision.family, answer.method.decision.margin) == (3, 0.02)
        assert answer.stated.before is True
        assert "stated before the first result (20" in answer.sentence
        assert "Holm over 3 claims" in answer.sentence
    table = stated_claims_table(results)
    assert table is not None
    assert [row[0].text for row in table.rows] == list(claims)
    assert stated_claims_table(results_of(tmp_path / "none")) is None
    page = report(tmp_path / "out").read_text()
    assert page.count("Stated claims</h2>") == 1
    assert "stated before the first result" in page


def test_a_claim_that_is_added_after_results_says_so(tmp_path: Path) -> None:
    store = build(tmp_path / "out", Plan(queries=FEW, seeds=3, claims=("badge > random",)))
    store.begin(replace(store.study, claims=("badge > random", "entropy < random")))
    first, second = stated_answers(StudyResults.of(tmp_path / "out"))
    assert (first.stated.before, second.stated.before) == (True, False)
    assert "stated after results were there (20" in second.sentence
    store = Store(tmp_path / "out")
    store.begin(replace(store.study, claims=()))
    store.begin(replace(store.study, claims=("badge > random",)))
    (again,) = stated_answers(StudyResults.of(tmp_path / "out"))
    assert again.stated.before is False  # withdrawn, and stated again with the results in view


def test_a_stated_claim_that_cannot_be_read_is_not_tested(tmp_path: Path) -> None:
    results = results_of(tmp_path / "out", claims=("nonsense", "badge > gone", "badge > random"))
    assert [answer.verdict for answer in stated_answers(results)] == ["not tested", "not tested", "supported"]
    assert "not tested" in report(tmp_path / "out").read_text()


def test_claims_are_decided_on_roll_out_data_alone(tmp_path: Path) -> None:
    results = results_of(tmp_path / "out", datasets=("digits", "held"), held_out=("held",))
    (answer,) = decided(results, "badge > random")
    assert answer.method is not None
    assert {gain.setting.dataset for gain in answer.method.gains} == {"held"}
    assert "development data are left out" in answer.sentence
    assert decided(results, "badge > random where dataset=digits")[0].method is not None
    (mixed,) = decided(results, "badge > random where dataset=digits+held")
    assert "never averaged" in mixed.reason


def test_a_study_that_grew_spends_less_alpha(tmp_path: Path) -> None:
    plan = Plan(datasets=("digits",), queries=FEW, seeds=3)
    store = build(tmp_path / "out", plan)
    more = [RunSpec("digits", regime_of(plan, p).name, p, q, s) for p in plan.paradigms for q in FEW for s in (3, 4)]
    store.begin(replace(store.study, runs=(*store.study.runs, *more), margin=0.02), extend=True)
    results = StudyResults.of(tmp_path / "out")
    assert {verdict.decision.alpha for verdict in results.verdicts} == {look_alpha(2)}
    (answer,) = decided(results, "badge > random")
    assert answer.method is not None
    assert answer.method.decision.alpha == look_alpha(2)
    assert "look 2 at this study" in answer.sentence
    told = dict(warnings(results))
    assert "3 complete seeds of Random, Entropy and BADGE in" in told["Runs were added after a look"]
    assert "5 are planned since" in told["Runs were added after a look"]
    assert "alpha = .005" in told["Runs were added after a look"]
    assert "from 1 to 2 points" in told["The margin was not set before"]


@pytest.mark.parametrize(("held_out", "looks"), [((), 2), (("held",), 1)])
def test_a_dataset_that_is_added_to_methods_with_results_is_a_look_but_at_its_first_role(
    tmp_path: Path, held_out: tuple[str, ...], looks: int
) -> None:
    plan = Plan(datasets=("digits",), queries=FEW, seeds=3, held_out=held_out)
    store = build(tmp_path / "out", plan)
    more = [replace(spec, dataset="held") for spec in store.study.runs]
    store.begin(replace(store.study, runs=(*store.study.runs, *more)), extend=True)
    store.put("datasets/9", facts("held", plan))
    results = StudyResults.of(tmp_path / "out")
    assert {verdict.decision.alpha for verdict in results.verdicts} == {look_alpha(looks)}
    told = dict(warnings(results)).get("Runs were added after a look", "")
    assert ("had 9 complete runs in other settings" in told) == (looks == 2)


def test_methods_that_are_added_are_no_look(tmp_path: Path) -> None:
    plan = Plan(datasets=("digits",), queries=FEW, seeds=3)
    store = build(tmp_path / "out", plan)
    more = [replace(spec, query="bald") for spec in store.study.runs if spec.query == "random"]
    store.begin(replace(store.study, runs=(*store.study.runs, *more)), extend=True)
    results = StudyResults.of(tmp_path / "out")
    assert {verdict.decision.alpha for verdict in results.verdicts} == {0.05}
    assert "after a look" not in " ".join(title for title, _ in warnings(results))


def test_the_function_and_the_command(tmp_path: Path) -> None:
    effect = {"entropy": -0.03, "badge": 0.03}
    out = tmp_path / "out"
    build(out, Plan(queries=FEW, seeds=6, noise=0.004, effect=lambda q: effect.get(q, 0.0), claims=("badge > random",)))
    assert fathom.claim(out, "badge > random").fields["stated_before_first_result"] is True
    alone = fathom.claim(out, "badge > random", margin=2, where=["dataset=digits"])
    assert (alone.verdict, alone.fields["margin"], alone.fields["family"]) == ("supported", 0.02, 1)
    assert alone.fields["stated_before_first_result"] is None or "dataset" not in alone.claim
    said = [call("claim", out, text) for text in ("badge > random", "entropy > random", "entropy > badge by final")]
    assert [found.status for found in said] == [0, 1, 1]
    assert said[0].out.count("\n") == 1
    assert parsed("claim", out, "badge > random")["verdict"] == "supported"
    bad = call("claim", out, "badge > nothing")
    assert (bad.status, bad.out) == (2, "")
    few = tmp_path / "few"
    build(few, Plan(queries=FEW, seeds=2))
    undecided = call("claim", few, "badge > random")
    assert undecided.status == 3
    assert "a decision needs at least 3" in undecided.out
    with pytest.raises(FathomError, match="fractions between 0 and 1"):
        fathom.claim(out, "badge > random", alpha=2)
