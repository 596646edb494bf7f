"""Published numbers: derived tables come out as the study notes print them."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from tests.data.make import dataset

from fathom.core.records import FathomError, RunSpec, Setting
from fathom.data.datasets import cifar
from fathom.data.regimes import build_regime
from fathom.design.hparams import published_choice, with_hparams
from fathom.published import tables
from fathom.published.spreads import published_between, published_spread
from fathom.published.tables import PublishedArea
from fathom.registry import registry
from fathom.registry.registry import find
from fathom.stats.power import units_needed

FINAL = {(a.dataset, a.paradigm, a.query, a.regime): a for a in tables.areas() if a.table == "final"}
WEIGHTED = {(a.dataset, a.paradigm, a.query, a.regime): a for a in tables.areas() if a.table == "weighted"}

# Difference in AUBC to Random in points: settings, mean, min, max, how many below Random.
DERIVED = {
    ("standard", "entropy"): (15, -0.99, -5.63, 3.58, 8),
    ("standard", "core-set"): (15, 2.28, -1.41, 10.33, 4),
    ("standard", "bald"): (15, 1.80, -2.56, 8.19, 4),
    ("standard", "badge"): (15, 1.49, -1.72, 5.49, 3),
    ("self-sl", "entropy"): (15, 0.31, -2.54, 3.25, 8),
    ("self-sl", "core-set"): (15, -0.53, -2.76, 1.07, 8),
    ("self-sl", "bald"): (15, -0.77, -9.34, 3.76, 6),
    ("self-sl", "badge"): (15, 1.30, -0.24, 3.28, 1),
    ("semi-sl", "entropy"): (6, -0.76, -3.85, 2.27, 4),
    ("semi-sl", "core-set"): (6, -1.05, -4.93, 2.45, 4),
    ("semi-sl", "badge"): (6, 0.53, -1.51, 2.68, 2),
}
METHODS = ("entropy", "core-set", "bald", "badge")
BY_REGIME = {  # in the order of METHODS
    ("standard", "low"): (-2.59, 0.40, -0.25, -0.07),
    ("standard", "mid"): (-1.59, 2.33, 2.36, 1.65),
    ("standard", "high"): (1.21, 4.12, 3.29, 2.89),
    ("self-sl", "low"): (-1.49, -0.48, -2.01, 0.79),
    ("self-sl", "mid"): (1.11, -0.72, 0.18, 1.60),
    ("self-sl", "high"): (1.31, -0.39, -0.50, 1.52),
}


def gains(where: Callable[[PublishedArea], bool]) -> list[float]:
    """Differences to Random in points, of the cells of a kind."""
    cells = [a for a in FINAL.values() if where(a) and a.query != "random"]
    return [100 * (a.mean - FINAL[a.dataset, a.paradigm, "random", a.regime].mean) for a in cells]


@pytest.mark.parametrize("key", DERIVED, ids="-".join)
def test_gains_of_a_method(key: tuple[str, str]) -> None:
    paradigm, query = key
    found = gains(lambda a: (a.paradigm, a.query) == (paradigm, query))
    settings, mean, low, high, below = DERIVED[key]
    assert len(found) == settings
    assert np.mean(found) == pytest.approx(mean, abs=0.0051)
    assert (min(found), max(found)) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))
    assert sum(g < 0 for g in found) == below


@pytest.mark.parametrize("key", BY_REGIME, ids="-".join)
def test_gains_by_regime(key: tuple[str, str]) -> None:
    for query, mean in zip(METHODS, BY_REGIME[key], strict=True):
        found = gains(lambda a, query=query: (a.paradigm, a.regime, a.query) == (*key, query))  # type: ignore[misc]
        assert len(found) == 5
        assert np.mean(found) == pytest.approx(mean, abs=0.0051)


def test_all_cells_are_there() -> None:
    assert len(FINAL) == 75 + 75 + 24 + 1  # ST, Self-SL, FixMatch, BatchBALD
    assert len(WEIGHTED) == 84
    assert len(FINAL) + len(WEIGHTED) == len(tables.areas())
    few = [key for key, a in FINAL.items() if a.n != 3]
    assert few == [("cifar10-lt", "standard", "entropy", "high")]
    assert math.isnan(FINAL[few[0]].sd)
    assert "one-seed" in FINAL[few[0]].caveats
    assert all(a.sd > 0 for key, a in FINAL.items() if key not in few)
    assert FINAL["cifar10", "self-sl", "batch-bald", "low"].mean == pytest.approx(0.8225)


def test_weighted_loss_against_oversampling() -> None:
    """The figures that the study notes say of both versions."""
    told = {"isic2019": (45.0, 52.7), "mio-tcd": (54.9, 60.7), "cifar10-lt": (68.3, 72.6)}
    for name, both in told.items():
        key = (name, "standard", "random", "high")
        assert (100 * WEIGHTED[key].mean, 100 * FINAL[key].mean) == pytest.approx(both, abs=0.0501)
    again = {"cifar10-lt": (57.5, 54.0), "isic2019": (39.9, 37.4), "mio-tcd": (54.2, 53.0)}
    for name, both in again.items():
        key = (name, "self-sl", "random", "low")
        assert (100 * WEIGHTED[key].mean, 100 * FINAL[key].mean) == pytest.approx(both, abs=0.0501)


def test_p_values_of_the_query_size_ablation_follow_from_its_means() -> None:
    """Two-sample t-tests on the printed means and spreads give the printed p: both were read right."""
    rows = {(r.query, r.query_size, r.budget, r.against): r for r in tables.query_sizes() if r.dataset == "cifar100"}
    assert len(rows) == 40
    for (query, size, budget, against), a in rows.items():
        b = rows[query, against, budget, size]
        assert a.p == b.p
        p = stats.ttest_ind_from_stats(a.mean, a.sd, a.n, b.mean, b.sd, b.n).pvalue
        assert p == pytest.approx(a.p, rel=0.12, abs=0.02), (query, size, budget)


def test_isic_query_sizes() -> None:
    rows = [r for r in tables.query_sizes() if r.dataset == "isic2019"]
    assert len(rows) == 2 * 5 * (5 + 2)
    assert {(r.query, r.budget) for r in rows if r.p < 0.05} == {("entropy", 160), ("random", 160), ("badge", 80)}
    means = {(r.query, r.query_size, r.budget, r.against): r.mean for r in rows}
    for query in ("random", *METHODS):  # the same runs stand in both comparisons
        assert means[query, 40, 200, 10] == means[query, 40, 200, 160]


def test_hp_searches() -> None:
    arms = [a for a in tables.hp_searches() if a.split == "validation"]
    groups = {(a.dataset, a.regime) for a in arms}
    assert groups == {(d, r) for d in ("isic2019", "mio-tcd") for r in ("low", "mid", "high")}
    for group in groups:
        own = [a for a in arms if (a.dataset, a.regime) == group]
        assert len(own) == 8
        (chosen,) = (a for a in own if a.chosen)
        values = {"lr": chosen.lr, "weight_decay": chosen.weight_decay, "augmentation": chosen.augmentation}
        assert published_choice(*group, chosen.paradigm) == values
        best = max(own, key=lambda a: a.mean)
        expected = group in {("isic2019", "mid"), ("isic2019", "high"), ("mio-tcd", "mid"), ("mio-tcd", "high")}
        assert (best == chosen) is expected  # in the two low regimes the study did not take the best mean
    strong = [a.mean for a in arms if a.augmentation == "randaugment-mc"]
    weak = [a.mean for a in arms if a.dataset == "mio-tcd" and a.augmentation == "standard"]
    assert 0.055 < np.mean(strong) - np.mean(weak) < 0.075


def test_penalties() -> None:
    rows = tables.penalties()
    overall = {(r.table, r.paradigm, r.query): r for r in rows if r.what == "penalty"}
    assert len(overall) == 5 + 5 + 4 + 4 + 4 + 3
    lost = [r.value for r in rows if (r.paradigm, r.other, r.what) == ("self-sl", "random", "beats")]
    # The overall penalty is the sum of a column over the other methods; all four entries of this one are printed.
    assert sum(lost) / 4 == pytest.approx(overall["final", "self-sl", "random"].value, abs=0.03)
    assert all(0 < r.value <= r.settings for r in rows)


def test_every_tag_is_explained_and_every_name_is_known() -> None:
    every = [tables.areas(), tables.points(), tables.query_sizes(), tables.hp_searches(), tables.penalties()]
    rows = [row for table in every for row in table]
    assert {row.source for row in rows} <= set(tables.sources())
    assert {tag for row in rows for tag in row.caveats} == set(tables.caveats())
    assert {row.paradigm for row in rows} == {"standard", "self-sl", "semi-sl"}
    known = registry.index()
    assert {a.query for a in tables.areas()} <= set(known["query"])
    assert {a.paradigm for a in tables.areas()} <= set(known["paradigm"])
    assert {a.dataset for a in tables.areas()} == set(tables.datasets())
    for a in tables.areas():
        assert a.metric == tables.datasets()[a.dataset].metric


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "cifar10-lt"])
def test_our_regimes_are_the_published_ones_but_for_one_validation_set(name: str) -> None:
    own = cifar._LONG_TAIL if name == "cifar10-lt" else cifar._KNOWN[name].get("regimes", {})
    tiny = dataset(np.arange(100 if name == "cifar100" else 10), regimes=own, balanced=name != "cifar10-lt")
    differing = []
    for p in (p for p in tables.regimes() if p.dataset == name):
        ours = build_regime(p.regime, tiny, p.paradigm)
        assert (ours.start, ours.query_size, ours.rounds) == (p.start, p.query_size, p.rounds)
        if ours.val_size != p.val_size:
            differing.append((p.regime, ours.val_size, p.val_size))
    assert set(differing) == ({("mid", 1250, 2500)} if name == "cifar10" else set())


def test_a_broken_table_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        (tables.LITERATURE / "regimes.csv")
        .read_text()
        .replace("cifar10,standard,low,50,", "cifar10,standard,low,many,")
    )
    (tmp_path / "regimes.csv").write_text(text)
    monkeypatch.setattr(tables, "LITERATURE", tmp_path)
    tables._rows.cache_clear()
    with pytest.raises(FathomError, match=r"regimes\.csv, line 2: .*many"):
        list(tables._rows("regimes", tables.PublishedRegime))


def test_a_study_with_published_hps_is_run_with_the_published_choice() -> None:
    settings = {(r.dataset, r.regime, r.paradigm) for r in tables.regimes()}
    chosen = {setting: published_choice(*setting) for setting in settings}
    assert sum(map(bool, chosen.values())) == 36
    assert chosen["mio-tcd", "mid", "standard"] == {
        "lr": 0.01,
        "weight_decay": 0.0005,
        "augmentation": "randaugment-mc",
    }
    assert chosen["cifar10-lt", "low", "semi-sl"] == {"lr": 0.03, "weight_decay": 0.001}
    for setting, values in chosen.items():
        (made,) = with_hparams([RunSpec(*setting, "random", 0)], "published")
        entry, call = find("paradigm", made.paradigm)
        run_with = {**entry.parameters, **dict(call.arguments)}  # defaults are left out of a canonical spec string
        assert all(run_with[name] in (value, (value,)) for name, value in values.items())


def test_spreads_of_gains_follow_from_the_published_ones() -> None:
    cells = [a.sd for key, a in FINAL.items() if (key[0], key[1], key[3]) == ("cifar10", "standard", "low")]
    known = published_spread(Setting("cifar10(train_size=5000)", "low(rounds=3)", "standard(recipe=short)"))
    assert known is not None
    assert known.sd == pytest.approx((2 * sum(sd**2 for sd in cells) / len(cells)) ** 0.5)
    sources = {}
    for setting in (
        Setting("cifar10", "low", "frozen"),
        Setting("mnist", "low", "standard"),
        Setting("mnist", "low", "frozen"),
        Setting("mnist", "custom(start=9)", "frozen"),
    ):
        found = published_spread(setting)
        assert found is not None
        assert 0.002 < found.sd < 0.03
        sources[setting] = found.where
    assert list(sources.values()) == ["cifar10 low", "low standard", "low", "all settings"]


def test_low_regimes_need_more_seeds_than_high_ones() -> None:
    low, high = (published_spread(Setting("mnist", regime, "standard")) for regime in ("low", "high"))
    assert low is not None
    assert high is not None
    needed = [units_needed(0.01, spread.sd) for spread in (low, high)]
    assert needed == [24, 9]


def test_gains_differ_between_datasets_by_more_than_their_noise() -> None:
    assert 0.01 < published_between().sd < 0.02
