"""Power against independent figures and the verdicts themselves, and what a design is told that it cannot do."""

import numpy as np
import pytest
from scipy import stats

from fathom.core.records import FathomError, RunSpec, Setting, Study
from fathom.design.power import HEADLINE, HERE, SETTING, PowerAnalysis, proof
from fathom.design.spread import Spread, at_least_noise, first_known, measured_spread, noise_of_test_set, sources_of
from fathom.stats.power import detectable, power, units_needed
from fathom.stats.verdicts import SettingGain, method_verdicts

BETWEEN = Spread(0.01, "between")


@pytest.mark.parametrize(("n", "d_z"), [(3, 3.27), (5, 1.69), (10, 1.00), (20, 0.66), (50, 0.41)])
def test_the_effect_that_is_found_in_four_of_five_cases(n: int, d_z: float) -> None:
    assert power(n, d_z) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(("n", "d_z"), [(3, 2.0), (5, 1.0), (10, 0.5)])
def test_power_is_the_share_of_rejections_and_that_of_the_noncentral_t(n: int, d_z: float) -> None:
    drawn = np.random.default_rng(0).normal(d_z, 1, (n, 20_000))
    rejected = stats.ttest_1samp(drawn, 0).pvalue < 0.05
    assert power(n, d_z) == pytest.approx(rejected.mean(), abs=0.012)
    critical, shift = stats.t.ppf(0.975, n - 1), d_z * n**0.5
    expected = stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift)
    assert power(n, d_z) == pytest.approx(expected, abs=1e-9)


def test_power_without_an_effect_is_alpha_and_with_a_huge_one_is_one() -> None:
    assert power(5, 1e-9) == pytest.approx(0.05)
    assert power(3, 1e3) == pytest.approx(1)
    assert power(1, 5) == 0


@pytest.mark.parametrize("ratio", [3.0, 1.0, 0.3])
def test_the_seeds_needed_are_the_fewest(ratio: float) -> None:
    n = units_needed(0.01, 0.01 / ratio)
    assert n is not None
    assert power(n, ratio) >= 0.8 > power(n - 1, ratio)
    assert units_needed(1e-5, 0.5) is None


def study(seeds: int, datasets: int, queries: tuple[str, ...] = ("random", "badge"), regimes: int = 1) -> Study:
    runs = [
        RunSpec(f"d{d}", f"r{r}", "p", q, s)
        for d in range(datasets)
        for r in range(regimes)
        for s in range(seeds)
        for q in queries
    ]
    return Study("s", tuple(runs))


def proved(study: Study, sd: float = 0.01, effect: float | None = None) -> PowerAnalysis:
    return proof(study, lambda _: Spread(sd, "test"), BETWEEN, effect=effect)


def simulated(study: Study, true_gain: float, sd: float, between: float, repeats: int) -> list[list[str]]:
    """Verdicts of studies with planted gains of every method, one list per study."""
    rng = np.random.default_rng(7)
    found = []
    settings = list(dict.fromkeys(run.setting for run in study.runs))
    seeds = sorted({run.seed for run in study.runs})
    queries = sorted({run.query for run in study.runs} - {study.baseline})
    for _ in range(repeats):
        gains = []
        for query in queries:
            of_dataset = {s.dataset: true_gain + between * rng.normal() for s in settings}
            for s in settings:
                drawn = of_dataset[s.dataset] + sd * rng.normal(size=len(seeds))
                gains.append(SettingGain(s, query, "random", dict(zip(seeds, drawn, strict=True)), frozenset()))
        found.append([v.decision.verdict for v in method_verdicts(gains)])
    return found


@pytest.mark.parametrize(
    ("seeds", "datasets", "regimes", "between"),
    [(10, 1, 1, 0.0), (6, 1, 3, 0.0), (10, 2, 1, 0.0), (3, 6, 2, 0.01), (2, 8, 1, 0.01)],
)
def test_what_is_promised_is_what_the_verdicts_find(seeds: int, datasets: int, regimes: int, between: float) -> None:
    """One query method, so that Holm's first step is its only one."""
    design = study(seeds, datasets, regimes=regimes)
    (promised,) = proved(design).of_kind(HEADLINE)
    repeats = 1500
    better = np.mean([v == ["better"] for v in simulated(design, 0.01, 0.01, between, repeats)])
    # "Better" is at the same time not worse, and is said in place of it.
    safe = np.mean([v[0] in ("better", "not worse") for v in simulated(design, 0.0, 0.01, between, repeats)])
    error = 4 * (0.25 / repeats) ** 0.5
    # With two datasets the verdict has more degrees of freedom (Satterthwaite) than the plan counts on.
    slack = 0.08 if datasets == 2 else 0.0
    assert -error < better - promised.power < error + slack
    assert -error < safe - promised.power_not_worse < error + slack


def test_the_units_are_those_of_the_report() -> None:
    few, many = proved(study(5, 2)), proved(study(5, 3))
    assert [(t.unit, t.n) for t in few.of_kind(HEADLINE)] == [("seeds", 5)]
    assert not few.of_kind(HERE)
    assert [(t.unit, t.n) for t in many.of_kind(HEADLINE)] == [("datasets", 3)]
    assert [(t.unit, t.n) for t in many.of_kind(HERE)] == [("seeds", 5)]
    (over,) = many.of_kind(HEADLINE)
    assert over.sd == pytest.approx((0.01**2 + 0.01**2 / 5) ** 0.5)
    assert "between; over seeds test" in over.source
    (here,) = many.of_kind(HERE)
    assert here.sd == pytest.approx(0.01 / 3**0.5)


def test_the_family_is_all_that_is_compared() -> None:
    design = study(5, 2, ("random", "badge", "bald", "random(dropout=0.5)"), regimes=2)
    made = proved(design)
    (headline,) = made.of_kind(HEADLINE)
    assert headline.queries == ("badge", "bald")  # a matched control is no query method
    assert headline.family == 2
    assert headline.sd == pytest.approx(0.01 / 4**0.5)  # the mean of four settings
    assert {test.family for test in made.of_kind(SETTING)} == {8}
    assert headline.detectable == pytest.approx(detectable(5, 0.005, family=2))
    assert made.to_json()["tests"][0]["to_settle"] == {
        "better": headline.to_settle[0],
        "not_worse": headline.to_settle[1],
    }


def test_seeds_that_the_baseline_lacks_are_no_pairs() -> None:
    runs = [RunSpec("d", "r", "p", "badge", seed) for seed in range(6)]
    runs += [RunSpec("d", "r", "p", "random", seed) for seed in range(4)]
    (headline,) = proved(Study("s", tuple(runs))).of_kind(HEADLINE)
    assert headline.n == 4
    assert not proved(Study("s", tuple(runs[:6]))).tests


def test_a_design_that_cannot_reject_is_told_so() -> None:
    two = proved(study(2, 2))
    assert not two.can_reject
    assert two.notes() == ["this design cannot reject anything: a verdict needs 3 seeds or 3 datasets"]
    assert two.to_json()["can_reject"] is False
    said = dict(two.lines())["  p"]
    assert "nothing is decided with fewer than 3 seeds. " in said
    assert "more seeds would show a gain of 1 point" in said
    assert proved(study(2, 3)).can_reject  # three datasets
    assert proved(study(20, 1)).notes() == []
    both = Study("s", study(20, 1).runs + tuple(RunSpec("d0", "r0", "q", m, 0) for m in ("random", "badge")))
    assert proved(both).notes() == ["this design cannot reject anything with q: a verdict needs 3 seeds or 3 datasets"]


def test_a_design_that_will_hardly_decide_is_told_so() -> None:
    (note,) = proved(study(3, 1), sd=0.02).notes()
    assert note.startswith("undecided is the likely verdict with p: ")


def test_the_words_have_the_numbers() -> None:
    made = proved(study(9, 1), sd=0.009)
    said = dict(made.lines())
    assert said["verdicts"] == "1, corrected by Holm; margin 1 point"
    assert said["  p"].startswith("9 seeds, 1 query method: finds a gain of 1 point with 83 % power, shows")
    assert said["  p"].endswith("9 seeds can show a gain of 1 point, or that it is not worse by 1 point (80 % power)")
    assert said["    spread"] == "standard deviation over seeds 0.9 points: test"
    assert "  single settings" not in said  # it would be the same test
    assert "2 comparisons" in dict(proved(study(9, 1, regimes=2)).lines())["  single settings"]


def test_an_effect_in_percent_is_refused() -> None:
    with pytest.raises(FathomError, match=r"a point is \.01"):
        proved(study(3, 1), effect=1.0)
    with pytest.raises(FathomError, match="above 0"):
        proved(study(3, 1), sd=0.0)


def test_a_spread_is_at_least_the_noise_of_the_test_set() -> None:
    setting = Setting("d", "low", "p")
    rng = np.random.default_rng(0)
    correct = rng.random((4000, 100, 5)) < 0.8  # study, test image, round
    other = np.where(rng.random(correct.shape) < 0.5, correct, rng.random(correct.shape) < 0.8)  # correlation .5
    gains = (correct.mean(1) - other.mean(1)) @ [0, 1 / 4, 1 / 4, 1 / 4, 1 / 4]
    assert noise_of_test_set(100, 5, 0.8) == pytest.approx(gains.std(), rel=0.05)
    source = at_least_noise(lambda _: Spread(0.005, "known"), {"d": 100}, {"low": 5})
    assert source(setting) == Spread(
        pytest.approx(0.015), "noise of 100 test images at a score of 90 %, above what is known"
    )
    large = at_least_noise(lambda _: Spread(0.005, "known"), {"d": 10_000}, {"low": 5})
    assert large(setting) == Spread(0.005, "known")


def test_what_was_measured_on_such_data_is_known_by_name() -> None:
    frozen = measured_spread(Setting("cifar10", "low(query_size=50)", "frozen(backbone=x)"))
    assert frozen is not None
    assert frozen.sd == pytest.approx(0.0073)
    own = measured_spread(Setting("folder(path=scans)", "custom(start=20)", "standard"))
    assert own is not None
    assert "small sets of photos" in own.source
    assert measured_spread(Setting("cifar10", "low", "standard")) is None
    other = Spread(0.5, "other")
    assert first_known([measured_spread, lambda _: other])(Setting("cifar10", "low", "standard")) == other


def test_sources_are_said_once() -> None:
    spreads = [
        Spread(0.1, "known"),
        Spread(0.2, "known"),
        Spread(0.1, "published", "a low"),
        Spread(0.1, "published", "b"),
    ]
    assert sources_of(spreads) == "known; published, for a low; b"
    assert sources_of(Spread(0.1, "published", str(i)) for i in range(9)) == "published, for 9 settings"
