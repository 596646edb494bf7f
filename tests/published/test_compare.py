"""Comparison with published cells: matching, refusals with their reasons, verdicts."""

import dataclasses
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tests.published.synthetic import build, cells, sized
from tests.results import synthetic

from fathom.cli import main
from fathom.core.records import FathomError, LabelRegime, RunSpec
from fathom.published import tables
from fathom.published.compare import Comparison, compare_study
from fathom.published.tables import PublishedArea
from fathom.report.report import report
from fathom.stats.curves import aubc

LOW = {"dataset": "cifar10", "paradigm": "standard", "regime": "low"}


def of_query(found: Comparison) -> dict[str, Any]:
    return {cell.query: cell for cell in found.cells}


def test_a_study_with_the_published_means_agrees(tmp_path: Path) -> None:
    build(tmp_path, cells(dataset="cifar10", paradigm="self-sl"))
    found = compare_study(tmp_path)
    assert len(found.cells) == 16
    assert not found.refused
    for cell in found.cells:
        assert cell.ours.mean == pytest.approx(cell.published.mean)
        assert cell.ours.sd == pytest.approx(cell.published.sd)
        assert cell.difference.mean == pytest.approx(0, abs=1e-9)
        assert (cell.gain is None) == (cell.query == "random")
        if cell.gain:
            assert cell.gain.ours.mean == pytest.approx(cell.gain.published.mean)
            assert cell.gain.difference.mean == pytest.approx(0, abs=1e-9)
    assert found.count("differs") == found.count_gains("differs") == 0


def test_gains_are_paired_on_our_side_and_not_on_the_published(tmp_path: Path) -> None:
    def level(a: PublishedArea, seed: int) -> float:
        return a.mean + 0.05 * seed + (0.03 if a.query == "badge" else 0) + 0.001 * ((seed * len(a.query)) % 3)

    build(tmp_path, cells(**LOW), level, seeds=4)
    found = of_query(compare_study(tmp_path))
    random, badge = found["random"], found["badge"]
    ours = np.array([badge.ours.seeds[s] - random.ours.seeds[s] for s in range(4)])
    theirs = [(cell.published.sd, cell.published.n) for cell in (badge, random)]
    parts = [(ours.std(ddof=1) ** 2 / 4, 3), *((sd**2 / n, n - 1) for sd, n in theirs)]
    total = sum(v for v, _ in parts)
    df = total**2 / sum(v**2 / d for v, d in parts)
    mean = ours.mean() - (badge.published.mean - random.published.mean)
    half = stats.t.ppf(0.975, df) * total**0.5
    d = badge.gain.difference
    assert (d.mean, d.low, d.high) == pytest.approx((mean, mean - half, mean + half))
    assert d.p == pytest.approx(2 * stats.t.sf(mean / total**0.5, df))
    assert d.p_outside(0.01) == pytest.approx(stats.t.cdf((mean - 0.01) / total**0.5, df))
    # The levels of our seeds lie far apart, but not their gains.
    assert d.high - d.low < 0.6 * (badge.difference.high - badge.difference.low)
    assert badge.gain.holm == pytest.approx(min(1, 4 * d.p))


def test_verdicts_follow_the_stated_rule(tmp_path: Path) -> None:
    """Far off differs, near agrees, noisy cannot be told; the numbers are scipy's."""
    shifts = {"random": 0.0, "entropy": 0.12, "core-set": 0.01, "bald": 0.03, "badge": 0.0}
    spread = {"random": 0.005, "entropy": 0.005, "core-set": 0.002, "bald": 0.05, "badge": 0.05}

    def level(a: PublishedArea, seed: int) -> float:
        return a.mean + shifts[a.query] + (seed - 1) * spread[a.query]

    build(tmp_path, cells(**LOW), level)
    found = of_query(compare_study(tmp_path))
    for cell in found.values():
        ours, theirs = cell.ours, cell.published
        test = stats.ttest_ind_from_stats(ours.mean, ours.sd, 3, theirs.mean, theirs.sd, theirs.n, equal_var=False)
        assert cell.difference.p == pytest.approx(test.pvalue)
    raw = [cell.difference.p for cell in found.values()]
    assert found["entropy"].holm == pytest.approx(min(raw) * 5)
    verdicts = {query: cell.verdict for query, cell in found.items()}
    assert verdicts == {"random": "cannot tell", "entropy": "differs", "core-set": "cannot tell", "bald": "cannot tell",
                        "badge": "cannot tell"}  # fmt: skip
    inside = [stats.t.cdf((abs(c.difference.mean) - 0.01) / c.difference.se, c.difference.df) for c in found.values()]
    assert min(inside) > 0.05 / 5  # none is shown to be within a point, corrected for five


def test_precise_runs_near_the_published_mean_agree(tmp_path: Path) -> None:
    where = {"dataset": "cifar10", "paradigm": "self-sl", "regime": "high"}
    build(tmp_path, cells(**where), lambda a, seed: a.mean + 0.0002 * seed, seeds=8)
    found = compare_study(tmp_path)
    precise = [c for c in found.cells if c.published.sd < 0.0012]
    assert precise
    for cell in precise:
        d, n = cell.difference, len(found.cells)
        corrected = n * stats.t.cdf((abs(d.mean) - 0.01) / d.se, d.df)
        assert cell.verdict == ("agrees" if corrected < 0.05 else cell.verdict)
    assert found.count("agrees") > 0


def test_one_seed_cannot_tell(tmp_path: Path) -> None:
    where = {"dataset": "cifar10-lt", "paradigm": "standard", "regime": "high"}
    build(tmp_path, cells(**where), lambda a, seed: a.mean + (seed - 1) * 0.001)
    found = of_query(compare_study(tmp_path))
    assert found["entropy"].verdict == "cannot tell"
    assert math.isnan(found["entropy"].holm)
    assert "1 seed" in found["entropy"].difference.refused
    assert sum(math.isfinite(cell.holm) for cell in found.values()) == 4


def test_incomplete_runs_do_not_count_and_are_told(tmp_path: Path) -> None:
    build(tmp_path, cells(**LOW), stop=lambda s: 4 if (s.query, s.seed) == ("badge", 2) or s.query == "bald" else None)
    found = compare_study(tmp_path)
    assert of_query(found)["badge"].ours.n == 2
    assert "2 of 3 runs are complete" in of_query(found)["badge"].notes
    assert [(r.query, r.reason) for r in found.refused] == [("bald", "no run of it is complete")]


def spec(area: PublishedArea, **changes: str) -> RunSpec:
    return dataclasses.replace(RunSpec(area.dataset, area.regime, area.paradigm, area.query, 0), **changes)


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "part of the data": ({"call": lambda a: spec(a, dataset="cifar10(train_size=5000)")}, "train_size=5000 is not the"),
    "fewer images": ({"facts": lambda f: f | {"train": 40_000}}, r"40000 \+ 10000 images .* published: 50000"),
    "short recipe": ({"recipe": "short (epochs=10)"}, r"recipe differs .*: short \(epochs=10\)"),
    "other paradigm": ({"call": lambda a: spec(a, paradigm="frozen")}, "no published number was trained with frozen"),
    "dropout": ({"call": lambda a: spec(a, paradigm="standard(dropout=all)")}, "dropout=all, which is not published"),
    "weighted": ({"call": lambda a: spec(a, paradigm="standard(imbalance=weighted)")}, "not published for CIFAR-10"),
    "query size": (
        {"regime": lambda r: dataclasses.replace(r, query_size=25)},
        r"query size 25 instead of 50; published with low\(query_size=50\)",
    ),
    "rounds": ({"regime": lambda r: dataclasses.replace(r, rounds=8)}, r"rounds 8 instead of 10"),
    "validation": ({"regime": lambda r: dataclasses.replace(r, val_size=200)}, "validation labels 200 instead of 250"),
    "metric": ({"facts": lambda f: f | {"metric": "balanced_accuracy"}}, "measured by balanced_accuracy"),
    "method": ({"call": lambda a: spec(a, query=f"{a.query}(subsample=1000)")}, "run with subsample=1000"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_was_run_otherwise_is_refused_with_its_reason(name: str, tmp_path: Path) -> None:
    how, reason = REFUSALS[name]
    build(tmp_path, cells(**LOW), **how)
    found = compare_study(tmp_path)
    assert not found.cells
    assert found.refused
    for refused in found.refused:
        assert re.search(reason, refused.reason), refused.reason


def test_a_weighted_loss_is_compared_with_the_first_version_of_the_study(tmp_path: Path) -> None:
    where = {"dataset": "mio-tcd", "paradigm": "standard", "regime": "mid"}
    build(tmp_path, cells(table="weighted", **where), call=lambda a: spec(a, paradigm="standard(imbalance=weighted)"))
    found = compare_study(tmp_path)
    assert len(found.cells) == 4
    assert {cell.published.table for cell in found.cells} == {"weighted"}
    assert {cell.verdict for cell in found.cells} <= {"agrees", "cannot tell"}
    assert all(cell.gain for cell in found.cells if cell.query != "random")


def test_sizes_count_not_names(tmp_path: Path) -> None:
    """A custom regime of the published sizes is the published regime; isic2019 only with the published split."""
    build(tmp_path / "a", cells(**LOW), call=lambda a: spec(a, regime="custom(start=50, val_size=250)"))
    assert len(compare_study(tmp_path / "a").cells) == 5
    isic = cells(dataset="isic2019", paradigm="standard", regime="low")
    build(tmp_path / "b", isic)
    assert len(compare_study(tmp_path / "b").cells) == 5
    build(tmp_path / "c", isic, call=spec)
    (refused,) = compare_study(tmp_path / "c").refused
    assert "isic2019(split=published)" in refused.reason


def test_cifar10_mid_with_the_papers_validation_set_is_not_what_was_published(tmp_path: Path) -> None:
    mid = cells(dataset="cifar10", paradigm="standard", regime="mid")
    build(tmp_path, mid, regime=lambda r: dataclasses.replace(r, val_size=1250))
    (refused,) = compare_study(tmp_path).refused
    assert "published with mid(val_size=2500)" in refused.reason


def test_other_hps_are_told(tmp_path: Path) -> None:
    build(tmp_path, cells(dataset="mio-tcd", paradigm="standard", regime="mid"))
    notes = {note for cell in compare_study(tmp_path).cells for note in cell.notes}
    assert notes == {"other HPs were chosen: lr 0.1 (published: 0.01), weight_decay 0.005 (published: 0.0005)"}


@pytest.mark.parametrize("area", cells(query="random"), ids=lambda a: f"{a.dataset}-{a.paradigm}-{a.regime}")
def test_areas_by_budgets_and_by_rounds_are_the_same_for_the_published_regimes(area: PublishedArea) -> None:
    """The study spaces rounds equally, we use true budgets: no difference while the query size is constant."""
    regime: LabelRegime = sized(area, area.regime)
    scores = np.random.default_rng(0).random(regime.rounds)
    budgets = [regime.start + i * regime.query_size for i in range(regime.rounds)]
    assert aubc(budgets, scores) == pytest.approx(np.trapezoid(scores, dx=1 / (regime.rounds - 1)))
    assert aubc([*budgets[:-1], budgets[-1] - 2], scores) != pytest.approx(aubc(budgets, scores))


@pytest.mark.parametrize("margin", [0.0, -0.02, 0.0101, 0.02, 1.0])
def test_a_margin_must_be_one(margin: float, tmp_path: Path) -> None:
    build(tmp_path, cells(**LOW))
    with pytest.raises(FathomError, match=r"at most 1 point; got .* whatever its gains are"):
        compare_study(tmp_path, margin)


def test_json_holds_no_nan(tmp_path: Path) -> None:
    build(tmp_path, cells(dataset="cifar10-lt", paradigm="standard", regime="high"), seeds=1)
    found = compare_study(tmp_path).to_json()
    text = json.dumps(found, allow_nan=False)
    assert found["cells"][0]["difference"]["p"] is None
    assert found["count"] == {"agrees": 0, "differs": 0, "cannot tell": 5}
    assert json.loads(text)["rule"]["margin"] == 0.01


def test_the_report_has_the_section_where_it_concerns_the_study(tmp_path: Path, undrawn: None) -> None:
    build(tmp_path / "a", [*cells(**LOW), *cells(dataset="cifar10", paradigm="self-sl", regime="low")])
    page = report(tmp_path / "a").read_text(encoding="utf-8")
    assert "Comparison with the published numbers" in page
    assert "Of 11 comparable areas" in page  # with BatchBALD
    assert "Of 9 comparable gains" in page
    assert "Gains over Random: cannot tell whether this study reproduces the published numbers: ours minus" in page
    assert (tmp_path / "a/report/tables/published-gains.tex").is_file()
    assert (tmp_path / "a/report/tables/published.tex").is_file()
    assert (tmp_path / "a/report/tables/claims.tex").is_file()
    assert tables.caveats()["badge-duplicates"] in page
    synthetic.build(tmp_path / "b", synthetic.Plan(datasets=("digits",), seeds=2, rounds=3))
    assert "Comparison with the published" not in report(tmp_path / "b").read_text(encoding="utf-8")


def test_the_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    build(tmp_path, [*cells(**LOW)], lambda a, seed: a.mean + (0.1 if a.query == "badge" else 0) + 0.001 * seed)

    def call(*more: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["fathom", "compare", str(tmp_path), *more])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(str(ended.value.code)), capsys.readouterr().out

    status, text = call()
    assert status == 0
    assert text.startswith("AUBC: ")
    assert "\nGains over Random: " in text
    assert re.search(r"^BADGE .*differs", text, flags=re.M)
    assert "3. BADGE is the best query method overall and has no failure mode." in text
    status, text = call("--margin", "2")
    assert status == 2
    status, text = call("--json", "--margin", "0.5")
    told = json.loads(text)
    assert told["rule"]["margin"] == pytest.approx(0.005)
    assert told["count"]["differs"] == 1
    assert [whole["what"] for whole in told["whole"]] == ["AUBC", "gain over Random"]
    assert told["cells"][-1]["gain"]["difference"]["mean"] == pytest.approx(0.1)
    assert len(told["claims"]) == len(told["published_claims"]) == 8
    assert {cell["published"]["source"] for cell in told["cells"]} == {"nb"}
