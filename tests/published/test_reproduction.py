"""One verdict on the whole: units, intervals recomputed by hand, the sentence, and its error rates."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from tests.published.synthetic import build, cells

from fathom.core.records import Setting
from fathom.published.compare import Compared, ComparedGain, Comparison, compare_study
from fathom.published.reproduction import WholeComparison, reproduction
from fathom.published.tables import PublishedArea
from fathom.report.compare_tables import compare_summary
from fathom.stats.differences import SeedSummary, contrast, paired_difference, welch

LOW = [c for d in ("cifar10", "cifar100", "cifar10-lt") for c in cells(dataset=d, regime="low", paradigm="self-sl")]


def noisy(area: PublishedArea, seed: int) -> float:
    text = f"{area.dataset} {area.query} {seed}"
    return area.mean + float(np.random.default_rng(list(text.encode())).normal(0, 0.003))


def test_three_datasets_are_the_units(tmp_path: Path) -> None:
    build(tmp_path, LOW, noisy)
    found = compare_study(tmp_path)
    areas, gains = reproduction(found)
    for whole, of in ((areas, lambda c: c.difference.mean), (gains, lambda c: c.gain and c.gain.difference.mean)):
        means = []
        for dataset in ("cifar10", "cifar100", "cifar10-lt"):
            own = [of(c) for c in found.cells if c.setting.dataset == dataset]
            means.append(np.mean([v for v in own if v is not None]))
        half = stats.t.ppf(0.975, 2) * stats.sem(means)
        assert (whole.mean, whole.low, whole.high) == pytest.approx(
            (np.mean(means), np.mean(means) - half, np.mean(means) + half)
        )
        assert whole.p == pytest.approx(stats.ttest_1samp(means, 0).pvalue)
        assert (whole.unit, whole.n, whole.datasets, whole.settings) == ("datasets", 3, 3, 3)
    assert areas.verdict == "reproduces"
    assert areas.cells == len(found.cells)
    assert gains.cells == len(found.cells) - 3
    said = compare_summary(found)
    assert said[0].startswith("AUBC: this study reproduces the published numbers: ours minus published is ")
    assert "3 settings of 3 datasets (95 % interval " in said[0]
    assert said[0].endswith("margin ± 1 point; n = 3 datasets).")


def test_fewer_datasets_use_the_seeds_of_both_sides(tmp_path: Path) -> None:
    build(tmp_path, [c for c in LOW if c.dataset != "cifar100"], noisy, seeds=5)
    found = compare_study(tmp_path)
    whole = reproduction(found)[0]
    parts = []
    for dataset in ("cifar10", "cifar10-lt"):
        own = [c for c in found.cells if c.setting.dataset == dataset]
        seeds = [np.mean([c.ours.seeds[s] for c in own]) for s in range(5)]
        se = np.mean([c.published.sd / 3**0.5 for c in own])
        parts.append((np.mean([c.difference.mean for c in own]), [(stats.sem(seeds) ** 2, 4), (se**2, 2)]))
    variances = [pair for _, own in parts for pair in own]
    total = sum(v for v, _ in variances)
    df = total**2 / sum(v**2 / d for v, d in variances)
    mean, half = np.mean([m for m, _ in parts]), stats.t.ppf(0.975, df) * total**0.5 / 2
    assert (whole.mean, whole.low, whole.high) == pytest.approx((mean, mean - half, mean + half))
    assert (whole.unit, whole.n, whole.published_seeds) == ("seeds", 5, 3)
    assert "n = 5 seeds against 3 published, on these data only" in compare_summary(found)[0]


def test_a_shift_of_all_areas_differs_and_leaves_the_gains(tmp_path: Path) -> None:
    build(tmp_path, LOW, lambda a, seed: noisy(a, seed) + 0.08)
    areas, gains = reproduction(compare_study(tmp_path))
    assert (areas.verdict, gains.verdict) == ("differs", "reproduces")


def test_nothing_is_decided_on_two_seeds_or_cells_of_one(tmp_path: Path) -> None:
    build(tmp_path / "two", [c for c in LOW if c.dataset == "cifar10"], noisy, seeds=2)
    two = compare_study(tmp_path / "two")
    assert {whole.verdict for whole in reproduction(two)} == {"cannot tell"}
    assert "no interval: 2 seeds are complete in all cells; a decision needs at least 3" in compare_summary(two)[0]
    build(tmp_path / "one", LOW, noisy, seeds=1)
    one = compare_study(tmp_path / "one")
    assert compare_summary(one)[0].endswith("published numbers, since every cell rests on one seed.")
    assert math.isnan(reproduction(one)[0].mean)
    assert reproduction(one)[0].to_json()["mean"] is None
    assert reproduction(Comparison(0.01)) == []


def made(shift: float, datasets: int, random: np.random.Generator) -> WholeComparison:
    """Whole verdict on areas of a study with a true difference of `shift` on every dataset; 3 seeds on both sides."""
    found = []
    for number in range(datasets):
        setting = Setting(f"d{number}", "low", "standard")
        for template in cells(dataset="cifar10", regime="low", paradigm="standard")[:3]:
            theirs = random.normal(0.5, 0.005, 3)
            ours = SeedSummary.of(dict(enumerate(random.normal(0.5 + shift, 0.005, 3))))
            area = replace(template, mean=theirs.mean(), sd=theirs.std(ddof=1), n=3)
            d = welch(ours, SeedSummary(area.mean, area.sd, 3))
            found.append(Compared(setting, area.query, area, ours, 3, d, d.p, "", []))
    return reproduction(Comparison(0.01, found))[0]


@pytest.mark.parametrize("datasets", [1, 2, 3, 5])
def test_false_verdicts_are_rare(datasets: int) -> None:
    """Equal studies differ, and studies a margin apart reproduce, in at most .025 of cases."""
    count, random = 120, np.random.default_rng(datasets)
    limit = stats.binom.ppf(0.999, count, 0.025)
    equal = [made(0.0, datasets, random).verdict for _ in range(count)]
    apart = [made(0.01, datasets, random).verdict for _ in range(count)]
    assert equal.count("differs") <= limit
    assert apart.count("reproduces") <= limit
    assert equal.count("reproduces") > limit  # it can


def test_gains_of_a_cell_are_what_the_whole_averages() -> None:
    random = SeedSummary.of({0: 0.50, 1: 0.52, 2: 0.51})
    badge = SeedSummary.of({0: 0.53, 1: 0.54, 2: 0.55})
    one, other = cells(dataset="cifar10", regime="low", paradigm="standard")[:2]
    areas = [replace(one, query="random"), replace(other, query="badge")]
    pubs = [SeedSummary(a.mean, a.sd, a.n) for a in areas]
    ours, theirs = paired_difference(badge, random), welch(pubs[1], pubs[0])
    difference = contrast([(1, SeedSummary.of({0: 0.03, 1: 0.02, 2: 0.04})), (-1, pubs[1]), (1, pubs[0])])
    setting = Setting("cifar10", "low", "standard")
    found = [
        Compared(setting, "random", areas[0], random, 3, welch(random, pubs[0]), math.nan, "", []),
        Compared(setting, "badge", areas[1], badge, 3, welch(badge, pubs[1]), math.nan, "", [],
                 ComparedGain(ours, theirs, difference, math.nan, "")),
    ]  # fmt: skip
    whole = reproduction(Comparison(0.01, found))[1]
    assert (whole.mean, whole.low, whole.high) == pytest.approx((difference.mean, difference.low, difference.high))
