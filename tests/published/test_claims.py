"""Claims of the published study, tested on the published numbers and on synthetic runs with known answers."""

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom
from tests.published.synthetic import as_published, build, cells
from tests.results import synthetic

from fathom.core.records import RunSpec, Setting
from fathom.published import tables
from fathom.published.choice_claim import hp_spread, paradigm_spread
from fathom.published.claims import CLAIMS, DIPS, Claim, claims
from fathom.published.evidence import Evidence, published_evidence, study_evidence
from fathom.published.findings import ClaimFinding, dataset_means, decide_questions, over_datasets
from fathom.published.tables import PublishedArea
from fathom.results.results import StudyResults
from fathom.stats.differences import SeedSummary

EVERY = cells()


@pytest.fixture(scope="module")
def said() -> list[Claim]:
    return claims(published_evidence())


def world(level: Callable[[PublishedArea, int], float], dip: float = 0.0) -> Evidence:
    """Three seeds of every published cell, as if they had been run."""
    found = Evidence(balanced={name: d.balanced for name, d in tables.datasets().items()})
    for a in EVERY:
        setting = Setting(a.dataset, a.regime, a.paradigm)
        found.areas[setting, a.query] = SeedSummary.of({seed: level(a, seed) for seed in range(3)})
        for budget in DIPS.get(a.dataset, ()) if a.regime == "high" else ():
            off = dip if budget == DIPS[a.dataset][1] else 0.0
            found.points[setting, a.query, budget] = SeedSummary.of(
                {s: level(a, s) + 1e-4 * s * off - off for s in range(3)}
            )
    return found


def finding(found: list[Claim], number: int, part: int = 0) -> ClaimFinding:
    return found[number - 1].findings[part]


def test_what_the_published_numbers_themselves_say(said: list[Claim]) -> None:
    assert len(said) == len(CLAIMS) == 8
    verdicts = [[f.verdict for f in claim.findings] for claim in said]
    assert verdicts == [
        ["supported", "not tested"],
        ["cannot tell", "cannot tell"],
        ["cannot tell", "cannot tell", "cannot tell"],
        ["cannot tell"],
        ["cannot tell", "cannot tell"],
        ["cannot tell", "cannot tell", "cannot tell"],
        ["supported", "supported", "cannot tell"],
        ["cannot tell"],
    ]
    assert [c.verdict for c in said] == ["cannot tell"] * 8


def test_badge_never_below_random_does_not_hold_literally(said: list[Claim]) -> None:
    mean, lead, worst = said[2].findings
    assert worst.note.startswith("6 of 36 cells below zero")
    assert "isic2019 low standard badge" in worst.note
    assert 100 * worst.effect == pytest.approx(32.04 - 33.76)
    assert lead.note == "closest: core-set"
    assert (mean.datasets, mean.settings, mean.seeds) == (5, 36, (3, 3))


def test_effects_are_the_published_differences(said: list[Claim]) -> None:
    assert 100 * finding(said, 4).effect == pytest.approx(-2.59, abs=0.0051)  # Entropy, ST low, of 6.1
    cifar10 = finding(said, 7)
    assert 100 * cifar10.effect == pytest.approx(94.78 - 86.69)
    fading = finding(said, 7, 1)
    low, mid = (93.26 - 81.17) - (57.13 - 53.65), (94.78 - 86.69) - (63.07 - 59.70)
    assert 100 * fading.effect == pytest.approx(min(low, mid))
    bald = finding(said, 6)
    assert 100 * bald.effect == pytest.approx(45.54 - 42.31)
    assert "4 of 4 cells on that side" in bald.note
    failing = finding(said, 5, 1)
    assert len(failing.cells) == 7
    assert 100 * failing.effect == pytest.approx(58.57 - 59.70)
    dip = finding(said, 8)
    assert 100 * dip.effect == pytest.approx(40 - (53 + 52) / 2)
    assert math.isnan(dip.low)


def test_a_study_with_the_published_means_finds_the_same_effects(said: list[Claim]) -> None:
    found = claims(world(as_published))
    for number, part in ((2, 0), (2, 1), (3, 0), (3, 1), (4, 0), (5, 0), (7, 1)):
        ours, theirs = finding(found, number, part), finding(said, number, part)
        assert ours.effect == pytest.approx(theirs.effect, abs=1e-9), (number, part)
        assert (ours.datasets, ours.settings) == (theirs.datasets, theirs.settings)
    assert finding(found, 6).verdict == "not tested"
    spread, bounded = finding(found, 1), finding(said, 1)
    assert "chosen and measured on different seeds" in spread.note
    assert math.isnan(bounded.effect)  # without seeds nothing can be chosen, so there is no unbiased estimate
    assert bounded.low < spread.effect < bounded.high
    assert bounded.low > 0
    assert "HP search" in finding(said, 1, 1).note


def test_a_store_is_read_as_evidence(tmp_path: Path) -> None:
    low = cells(dataset="isic2019", regime="high", paradigm="standard", query="random")
    build(tmp_path, [*cells(dataset="cifar10", regime="low"), *low], dip=0.1)
    found = study_evidence(StudyResults.of(tmp_path))
    assert found.balanced == {"cifar10": True, "isic2019": False}  # whatever stands in the call-string
    setting = Setting("cifar10", "low", "self-sl")
    area = found.areas[setting, "badge"]
    assert (area.mean, area.sd, area.n) == pytest.approx((0.8282, 0.0016, 3))
    assert found.points[setting, "badge", 50].mean == pytest.approx(0.8282 - 0.1)
    assert (found.sizes[setting], found.starts[setting]) == (50, 50)
    assert [entry.seeds for entry in found.grids[setting]] == [{0: 0.30}, {0: 0.28}]
    told = claims(found)
    assert finding(told, 8).effect == pytest.approx(-0.1)
    assert finding(told, 4).effect == pytest.approx(0.4307 - 0.4720)
    assert finding(told, 1).settings == 1
    assert found.left_out == []


def test_runs_that_are_not_comparable_are_no_evidence_and_are_told(tmp_path: Path) -> None:
    low = cells(dataset="cifar10", paradigm="standard", regime="low")
    build(tmp_path / "short", low, recipe="short (epochs=10)")
    short = study_evidence(StudyResults.of(tmp_path / "short"))
    assert (short.areas, short.points) == ({}, {})
    found = claims(short)
    assert {claim.verdict for claim in found} == {"not tested"}
    assert "not comparable: recipe differs from the published one: short (epochs=10)" in finding(found, 3).note
    synthetic.build(tmp_path / "own", synthetic.Plan(datasets=("digits",), rounds=3))
    own = claims(study_evidence(StudyResults.of(tmp_path / "own")))
    assert "its dataset is not in the published study" in finding(own, 3).note
    # One method with arguments: it alone is left out.
    entropy = lambda a: RunSpec(a.dataset, a.regime, a.paradigm, "entropy(subsample=1000)", 0)  # noqa: E731
    build(tmp_path / "one", low, call=lambda a: entropy(a) if a.query == "entropy" else None)
    one = study_evidence(StudyResults.of(tmp_path / "one"))
    assert {query for _, query in one.areas} == {"random", "core-set", "bald", "badge"}
    assert {query for _, query, _ in one.points} == {"random", "core-set", "bald", "badge"}
    assert [cell.query for cell in one.left_out] == ["entropy(subsample=1000)"]
    build(tmp_path / "weighted", cells(table="weighted", dataset="mio-tcd", paradigm="standard", regime="mid"),
          call=lambda a: RunSpec(a.dataset, a.regime, "standard(imbalance=weighted)", a.query, 0))  # fmt: skip
    weighted = study_evidence(StudyResults.of(tmp_path / "weighted"))
    assert weighted.areas == {}
    assert "weighted loss" in weighted.reasons


def nothing_matters(datasets: int, paradigms: int, seeds: int, random: np.random.Generator) -> Evidence:
    """Equal paradigms, query methods and HPs; every score is noise."""
    found = Evidence()
    for d, p in product(range(datasets), range(paradigms)):
        setting = Setting(f"d{d}", "low", f"p{p}")
        for query in ("random", "entropy", "badge"):
            found.areas[setting, query] = SeedSummary.of(dict(enumerate(random.normal(0.5, 0.01, seeds))))
        entries = random.normal(0.5, 0.02, (4, 3))
        found.grids[setting] = [SeedSummary.of(dict(enumerate(entry))) for entry in entries]
    return found


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("datasets", "paradigms", "seeds"), [(1, 3, 3), (2, 2, 5), (3, 3, 3), (5, 2, 3)])
def test_claim_1_is_rarely_supported_where_nothing_matters(
    datasets: int, paradigms: int, seeds: int, known: bool
) -> None:
    """At most .05 of worlds, also without the seeds; the largest minus the smallest mean supported 28 to 100 %."""
    count, random = 40, np.random.default_rng(datasets + 10 * paradigms)
    limit = binom.ppf(0.999, count, 0.05)
    supported = [0, 0]
    for _ in range(count):
        evidence = nothing_matters(datasets, paradigms, seeds, random)
        if not known:
            bare = {key: replace(own, seeds={}) for key, own in evidence.areas.items()}
            evidence = replace(evidence, areas=bare)
        for part, question in enumerate((paradigm_spread, hp_spread)):
            supported[part] += question(evidence, "").p_for < 0.05
    assert max(supported) <= limit


def test_the_questions_are_one_family(said: list[Claim]) -> None:
    """Of questions to runs in which nothing matters, at most one family in twenty has a false answer."""
    tested = [f for claim in said for f in claim.findings if f.verdict != "not tested"]
    assert {f.asked for f in tested} == {len(tested)} == {16}
    one = ClaimFinding("?", p_for=0.02, p_against=1.0)
    assert decide_questions([one])[0].verdict == "supported"
    assert decide_questions([one, replace(one, p_for=0.5), replace(one, p_for=0.9)])[0].verdict == "cannot tell"
    assert decide_questions([replace(one, p_for=1.0, p_against=0.02)])[0].verdict == "contradicted"
    assert decide_questions([ClaimFinding("?")])[0].verdict == "not tested"


def known(area: PublishedArea, seed: int) -> float:
    """A world in which the study is right: BADGE leads everywhere, Entropy fails at the start, Semi-SL fades."""
    level = {"standard": 0.3, "self-sl": 0.55, "semi-sl": 0.8 if area.dataset == "cifar10" else 0.6}[area.paradigm]
    gain = {"random": 0.0, "badge": 0.04, "entropy": 0.01, "core-set": 0.01, "bald": 0.01, "batch-bald": 0.01}[
        area.query
    ]
    if area.dataset in ("cifar10", "cifar100"):
        gain *= 0.5
    if (area.query, area.regime, area.paradigm) == ("entropy", "low", "standard"):
        gain = -0.03
    if area.dataset == "mio-tcd":
        gain *= 1.1
    text = f"{area.dataset} {area.regime} {area.paradigm} {area.query} {seed}"
    jitter = float(np.random.default_rng(list(text.encode())).normal(0, 0.0002))
    return level + gain + jitter


def test_a_world_in_which_claims_hold() -> None:
    found = claims(world(known, dip=0.1))
    for number, part in ((2, 0), (3, 0), (3, 1), (3, 2), (4, 0), (7, 0), (7, 1), (8, 0)):
        assert finding(found, number, part).verdict == "supported", (number, part, finding(found, number, part))
    assert found[2].verdict == found[3].verdict == found[7].verdict == "supported"
    assert finding(found, 8).effect == pytest.approx(-0.1, abs=0.002)
    assert finding(found, 8).datasets == 2


def test_a_world_in_which_they_do_not() -> None:
    """The same with all gains turned around, and no dip."""

    def level(a: PublishedArea, seed: int) -> float:
        random = known(dataclasses.replace(a, query="random"), seed)
        return random - (known(a, seed) - random)

    found = claims(world(level, dip=-0.05))
    for number, part in ((3, 0), (3, 1), (3, 2), (4, 0), (8, 0)):
        assert finding(found, number, part).verdict == "contradicted", (number, part, finding(found, number, part))
    assert found[2].verdict == "contradicted"


def test_query_sizes_of_our_own_runs(tmp_path: Path) -> None:
    """BALD gains from a smaller query size, nothing else does."""
    low = [
        a for a in cells(dataset="cifar100", paradigm="self-sl", regime="low") if a.query in ("random", "bald", "badge")
    ]

    def level(a: PublishedArea, seed: int) -> float:
        return 0.5 + 0.0005 * ((seed * 2 + len(a.query)) % 3) - (0.05 if a.query == "bald" else 0)

    build(tmp_path / "large", low, level)
    small = {"random": 0.5, "bald": 0.4995, "badge": 0.5}
    build(
        tmp_path / "small",
        low,
        lambda a, seed: small[a.query] + 0.0002 * ((seed + len(a.query)) % 3),
        call=lambda a: RunSpec("cifar100", "low(query_size=250, rounds=19)", "self-sl", a.query, 0),
        regime=lambda r: dataclasses.replace(r, query_size=250, rounds=19),
    )
    both = [study_evidence(StudyResults.of(tmp_path / name)) for name in ("large", "small")]
    merged = Evidence(**{key: {**a, **getattr(both[1], key)} for key, a in vars(both[0]).items() if key != "left_out"})
    bald, random, others = claims(merged)[5].findings
    assert bald.verdict == "supported"
    assert bald.effect == pytest.approx(0.05, abs=0.003)
    assert len(bald.cells) == 9  # budgets 1,000 to 5,000 that both have
    assert random.verdict == "supported"
    assert others.verdict == "supported"
    assert len(others.cells) == 18


def test_nothing_is_claimed_of_nothing() -> None:
    assert {c.verdict for c in claims(Evidence())} == {"not tested"}
    alone = Evidence(
        {(Setting("d", "low", "standard"), q): SeedSummary.of({0: 0.5, 1: 0.6}) for q in ("random", "badge")}
    )
    found = claims(alone)
    assert finding(found, 3).verdict == "cannot tell"
    assert "one dataset" in finding(found, 3).note
    text = json.dumps([c.to_json() for c in found], allow_nan=False)
    assert '"verdict": "not tested"' in text


def test_as_published_is() -> None:
    (area,) = cells(dataset="cifar10", paradigm="standard", regime="low", query="random")
    arm = SeedSummary.of({seed: as_published(area, seed) for seed in range(3)})
    assert (arm.mean, arm.sd) == pytest.approx((area.mean, area.sd))


def test_parts_of_a_dataset_are_one_dataset_and_folders_are_told_apart() -> None:
    values = {
        (Setting("cifar10", "low", "standard"), "badge"): 0.1,
        (Setting("cifar10(train_size=1000)", "low", "standard"), "badge"): 0.3,
        (Setting("folder(path=a)", "low", "standard"), "badge"): 0.4,
        (Setting("folder(path=b)", "low", "standard"), "badge"): 0.5,
    }
    means = dataset_means(values)
    assert means == pytest.approx({"cifar10": 0.2, "folder(path=a)": 0.4, "folder(path=b)": 0.5})
    assert over_datasets(Evidence(), "?", values).datasets == 3
