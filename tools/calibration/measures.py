"""Measures of one simulated study: what the functions of the report say of it, compared with its truth.

Each measure is a number in [0, 1] per study: 1 where a false verdict stands or a gain is found, or the share of the
study's intervals that hold their true value. What a study does not show is NaN.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from fathom.core.records import Setting
from fathom.stats.curves import budget_curves, gain_curves, gains, method_means, run_areas
from fathom.stats.decisions import BETTER, MARGIN, NOT_WORSE, WORSE, look_alpha
from fathom.stats.penalty import penalty_matrix
from fathom.stats.savings import label_savings
from fathom.stats.verdicts import DATASETS, MethodVerdict, method_verdicts, setting_gains, setting_verdicts
from tools.calibration.simulate import AFTER_START, BUDGETS, CURVE, VALIDATION, WEIGHTS, SimulatedStudy, mean_curve

Measures = dict[str, float]
FIRST_SEEDS = 5  # of a study that grows
RELABELINGS = 500  # for the null band; the report has more
TINY = 1e-9  # rounding of true gains


def areas_of(study: SimulatedStudy) -> pd.DataFrame:
    """Areas of the runs of a study."""
    return run_areas(study.table)


# ------------------------------------------------------------------------------------------------------- verdicts


def verdicts(study: SimulatedStudy) -> Measures:
    """Verdicts of the headline, of these datasets alone, and of all settings."""
    own = setting_gains(areas_of(study), "random")
    heads = method_verdicts(own)
    expected, here, new = (
        dict(zip(study.design.queries, values, strict=True))
        for values in (study.expected, study.gains.mean(0), study.new)
    )
    true = {v.query: float((expected if v.unit == DATASETS else here)[v.query]) for v in heads}
    detail = [(v.decision, true_gain(study, v.gain.setting.dataset, v.gain.query)) for v in setting_verdicts(own)]
    equal = [v.decision.verdict in (BETTER, NOT_WORSE) for v in heads if abs(true[v.query]) < TINY]
    return {
        **_errors("headline", [(v.decision.verdict, true[v.query]) for v in heads]),
        **_errors("here", [(v.here.verdict, here[v.query]) for v in heads]),
        **_errors("settings", [(decision.verdict, gain) for decision, gain in detail]),
        "headline interval": _covered((v.decision.low, true[v.query], v.decision.high) for v in heads),
        "here interval": _covered((v.here.low, here[v.query], v.here.high) for v in heads),
        "settings interval": _covered((decision.low, gain, decision.high) for decision, gain in detail),
        "new dataset": _covered((v.prediction[0], new[v.query], v.prediction[1]) for v in heads if v.prediction),
        "equals not worse": _share(equal),
        "one interval": _covered((v.decision.low, true[v.query], v.decision.high) for v in heads[:1]),
        **_found(study, heads),
    }


def _found(study: SimulatedStudy, heads: Sequence[MethodVerdict]) -> Measures:
    """Share of planted gains that are found: in the headline, and for these datasets alone."""
    planted = study.design.queries[1 : 1 + len(study.design.gains)]
    own = [v for v in heads if v.query in planted]
    return {
        "power": _share(v.decision.verdict == BETTER for v in own),
        "power here": _share(v.here.verdict == BETTER for v in own),
    }


def _errors(level: str, told: Sequence[tuple[str, float]]) -> Measures:
    """1 where any verdict of a study contradicts the truth: its sign, or that a loss is below the margin."""
    better = [word == BETTER and true < TINY for word, true in told]
    worse = [word == WORSE and true > -TINY for word, true in told]
    losses = [word in (BETTER, NOT_WORSE) and true < -MARGIN + TINY for word, true in told]
    return {
        f"{level} false": float(any(better) or any(worse)),
        f"{level} false better": float(any(better)),
        f"{level} false not worse": float(any(losses)),
    }


def true_gain(study: SimulatedStudy, dataset: str, query: str) -> float:
    """True gain in AUBC over Random on one of the datasets, a fraction."""
    return float(study.gains[int(dataset.rpartition("-")[2]), study.design.queries.index(query)])


def _covered(intervals: Iterable[tuple[float, float, float]]) -> float:
    """Share of intervals (low, true value, high) that hold the true value, without those that are undefined."""
    return _share(low - TINY <= true <= high + TINY for low, true, high in intervals if low == low and high == high)


def _share(values: Iterable[bool]) -> float:
    known = list(values)
    return float(np.mean(known)) if known else float("nan")


def looks(study: SimulatedStudy) -> Measures:
    """A study that is looked at after every seed from `FIRST_SEEDS` on: is anything false at any look?"""
    own = setting_gains(areas_of(study), "random")
    found: list[Measures] = []
    for look, seeds in enumerate(range(FIRST_SEEDS, study.design.seeds + 1), start=1):
        seen = [replace(g, gains={s: gain for s, gain in g.gains.items() if s < seeds}) for g in own]
        heads = method_verdicts(seen, alpha=look_alpha(look))
        true = study.expected if heads[0].unit == DATASETS else study.gains.mean(0)
        told = [(v.decision.verdict, float(true[study.design.queries.index(v.query)])) for v in heads]
        found.append(_errors("look", told))
    return {
        "first look": found[0]["look false"],
        "any look": max(each["look false"] for each in found),
        "later look": max(each["look false"] for each in found[1:]),
        "any look not worse": max(each["look false not worse"] for each in found),
    }


# ------------------------------------------------------------------------------------------------------ intervals


def intervals(study: SimulatedStudy) -> Measures:
    """Intervals of curves, areas and gains, which are not corrected for several methods."""
    areas = areas_of(study)
    means, paired, after = method_means(areas), gains(areas, "random"), gain_curves(study.table, "random")
    end = 1 / (AFTER_START @ WEIGHTS)  # gain in the final score per gain in AUBC
    return {
        "area": _covered(_rows(study, means, "aubc_", CURVE @ WEIGHTS)),
        "final": _covered(_rows(study, means, "final_", CURVE[-1], end)),
        "area gain": _covered(_rows(study, paired, "aubc_")),
        "final gain": _covered(_rows(study, paired, "final_", 0.0, end)),
        "curve": _covered(_points(study, budget_curves(study.table), CURVE)),
        "gain curve": _covered(_points(study, after[after["round"] > 0], np.zeros(len(CURVE)))),
    }


def _rows(
    study: SimulatedStudy, frame: pd.DataFrame, prefix: str, level: float = 0.0, scale: float = 1.0
) -> Iterator[tuple[float, float, float]]:
    """Interval and true value of each row; the true value is `level + scale * gain`."""
    for row in frame.to_dict("records"):
        gain = true_gain(study, row["dataset"], row["query"])
        yield row[f"{prefix}low"], level + scale * gain, row[f"{prefix}high"]


def _points(study: SimulatedStudy, frame: pd.DataFrame, level: Any) -> Iterator[tuple[float, float, float]]:
    for row in frame.to_dict("records"):
        gain, number = true_gain(study, row["dataset"], row["query"]), row["round"]
        yield row["low"], level[number] + gain * AFTER_START[number] / (AFTER_START @ WEIGHTS), row["high"]


def labels_saved(study: SimulatedStudy) -> Measures:
    """Labels saved, on training labels, on all paid labels, and the labels that Random needs in addition."""
    found = label_savings(study.table, "random")
    true = [_true_budgets(study, s.setting, s.query, s.budget) for s in found]
    shown = [(s, own, other) for s, (own, other) in zip(found, true, strict=True)]
    needs = [(s, own) for s, own, _ in shown if not s.needs.refused]
    more = [(s, other) for s, _, other in shown if not s.reference_needs.refused]
    kept = [bool(s.needs.refused) or s.needs.low - TINY <= own <= s.needs.high + TINY for s, own, _ in shown]
    return {
        "saved": _covered((s.share()[1], 1 - own / s.budget, s.share()[2]) for s, own in needs),
        "saved of all paid": _covered(
            (s.share(paid=True)[1], 1 - (own + VALIDATION) / (s.budget + VALIDATION), s.share(paid=True)[2])
            for s, own in needs
        ),
        "more needed": _covered((s.extra[1], other - s.budget, s.extra[2]) for s, other in more),
        "estimable": len(needs) / len(found),
        "saved or not estimable": _share(kept),
    }


def _true_budgets(study: SimulatedStudy, setting: Setting, query: str, budget: float) -> tuple[float, float]:
    """Budget of the method for the true score of Random at a budget, and of Random for that of the method."""
    own, random = mean_curve(true_gain(study, setting.dataset, query)), mean_curve(0.0)
    return _reached(own, np.interp(budget, BUDGETS, random)), _reached(random, np.interp(budget, BUDGETS, own))


def _reached(curve: Any, score: float) -> float:
    """First budget at which an increasing curve has a score; infinite where it stays below."""
    return float(np.interp(score, curve, BUDGETS)) if score <= curve[-1] + TINY else float("inf")


# ------------------------------------------------------------------------------------------------- penalty matrix


def penalty(study: SimulatedStudy) -> Measures:
    """Cells of the penalty matrix that show a win though all methods are equal."""
    matrix = penalty_matrix(study.table, draws=RELABELINGS)
    return {
        "raw win": float((matrix.raw > 0).any()),
        "Holm win": float((matrix.corrected > 0).any()),
        "band win": float(matrix.outside.any()),
    }
