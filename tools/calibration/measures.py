"""Measures of one simulated study: what the functions of the report say of it, compared with its truth.

Each measure is a number in [0, 1] per study: 1 where a false verdict stands or a gain is found, or the share of the
study's intervals that hold their true value. What a study does not show is NaN.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from fathom.stats.curves import budget_curves, gain_curves, mean_gains, method_means, run_areas
from fathom.stats.decisions import BETTER, MARGIN, NOT_WORSE, WORSE, look_alpha
from fathom.stats.penalty import penalty_matrix
from fathom.stats.savings import LabelSaving, label_savings
from fathom.stats.verdicts import DATASETS, SettingGain, method_verdicts, setting_gains, setting_verdicts
from tools.calibration.simulate import AFTER_START, BUDGETS, CURVE, VALIDATION, WEIGHTS, Batch, mean_curve, study_of

Measures = dict[str, float]
Bounds = tuple[float, float, float]  # low, true value, high
FIRST_SEEDS = 5  # of a study that grows
RELABELINGS = 500  # for the null band; the report has more
TINY = 1e-9  # rounding of true gains


def gains_of(batch: Batch) -> list[list[SettingGain]]:
    """Paired gains of each study."""
    found: list[list[SettingGain]] = [[] for _ in range(len(batch.gains))]
    for gain in setting_gains(run_areas(batch.table), "random"):
        found[study_of(gain.setting.dataset)].append(gain)
    return found


# ------------------------------------------------------------------------------------------------------- verdicts


def verdicts(batch: Batch) -> Iterator[Measures]:
    """Verdicts of the headline, of these datasets alone, and of all settings."""
    for number, own in enumerate(gains_of(batch)):
        yield _verdicts(batch, number, own)


def _verdicts(batch: Batch, number: int, own: list[SettingGain]) -> Measures:
    heads, queries = method_verdicts(own), batch.design.queries
    expected = dict(zip(queries, batch.expected, strict=True))
    here = dict(zip(queries, batch.gains[number].mean(0), strict=True))
    new = dict(zip(queries, batch.new[number], strict=True))
    true = {v.query: float((expected if v.unit == DATASETS else here)[v.query]) for v in heads}
    detail = [(v.decision, batch.true_gain(v.gain.setting.dataset, v.gain.query)) for v in setting_verdicts(own)]
    equal = [v.decision.verdict in (BETTER, NOT_WORSE) for v in heads if abs(true[v.query]) < TINY]
    planted = [v for v in heads if v.query in queries[1 : 1 + len(batch.design.gains)]]
    return {
        **_errors("headline", [(v.decision.verdict, true[v.query]) for v in heads]),
        **_errors("here", [(v.here.verdict, here[v.query]) for v in heads]),
        **_errors("settings", [(decision.verdict, gain) for decision, gain in detail]),
        "headline interval": _covered((v.decision.low, true[v.query], v.decision.high) for v in heads),
        "one interval": _covered((v.decision.low, true[v.query], v.decision.high) for v in heads[:1]),
        "here interval": _covered((v.here.low, here[v.query], v.here.high) for v in heads),
        "settings interval": _covered((decision.low, gain, decision.high) for decision, gain in detail),
        "new dataset": _covered((v.prediction[0], new[v.query], v.prediction[1]) for v in heads if v.prediction),
        "power": _share(v.decision.verdict == BETTER for v in planted),
        "equals not worse": _share(equal),
    }


def _errors(level: str, pairs: Sequence[tuple[str, float]]) -> Measures:
    """1 where any verdict of a study contradicts the truth: its sign, or that a loss is below the margin."""
    better = [word == BETTER and true < TINY for word, true in pairs]
    worse = [word == WORSE and true > -TINY for word, true in pairs]
    losses = [word in (BETTER, NOT_WORSE) and true < -MARGIN + TINY for word, true in pairs]
    return {
        f"{level} false": float(any(better) or any(worse)),
        f"{level} false better": float(any(better)),
        f"{level} false not worse": float(any(losses)),
    }


def _covered(intervals: Iterable[Bounds]) -> float:
    """Share of intervals that hold the true value, without those that are undefined."""
    return _share(low - TINY <= true <= high + TINY for low, true, high in intervals if low == low and high == high)


def _share(values: Iterable[bool]) -> float:
    known = list(values)
    return float(np.mean(known)) if known else float("nan")


def looks(batch: Batch) -> Iterator[Measures]:
    """A study that is looked at after every seed from `FIRST_SEEDS` on: is anything false at any look?"""
    for number, own in enumerate(gains_of(batch)):
        found = []
        for look, seeds in enumerate(range(FIRST_SEEDS, batch.design.seeds + 1), start=1):
            seen = [replace(g, gains={s: gain for s, gain in g.gains.items() if s < seeds}) for g in own]
            heads = method_verdicts(seen, alpha=look_alpha(look))
            true = batch.expected if heads[0].unit == DATASETS else batch.gains[number].mean(0)
            pairs = [(v.decision.verdict, float(true[batch.design.queries.index(v.query)])) for v in heads]
            found.append(_errors("look", pairs)["look false"])
        yield {"first look": found[0], "any look": max(found), "later look": max(found[1:])}


# ------------------------------------------------------------------------------------------------------ intervals


def intervals(batch: Batch) -> Iterator[Measures]:
    """Intervals of curves, areas and gains, which are not corrected for several methods."""
    areas = run_areas(batch.table)
    means, paired, after = method_means(areas), mean_gains(areas, "random"), gain_curves(batch.table, "random")
    end = 1 / (AFTER_START @ WEIGHTS)  # gain in the final score per gain in AUBC
    kinds = {
        "area": _rows(batch, means, "aubc_", CURVE @ WEIGHTS),
        "final": _rows(batch, means, "final_", CURVE[-1], end),
        "area gain": _rows(batch, paired, "aubc_"),
        "final gain": _rows(batch, paired, "final_", 0.0, end),
        "curve": _points(batch, budget_curves(batch.table), CURVE),
        "gain curve": _points(batch, after[after["round"] > 0], np.zeros(len(CURVE))),
    }
    found = {kind: _by_study(batch, rows) for kind, rows in kinds.items()}
    for number in range(len(batch.gains)):
        yield {kind: _covered(studies[number]) for kind, studies in found.items()}


def _by_study(batch: Batch, rows: Iterable[tuple[str, Bounds]]) -> list[list[Bounds]]:
    found: list[list[Bounds]] = [[] for _ in range(len(batch.gains))]
    for dataset, bounds in rows:
        found[study_of(dataset)].append(bounds)
    return found


def _rows(
    batch: Batch, frame: pd.DataFrame, prefix: str, level: float = 0.0, scale: float = 1.0
) -> Iterator[tuple[str, Bounds]]:
    """Dataset, and interval and true value of each row; the true value is `level + scale * gain`."""
    for row in frame.to_dict("records"):
        true = level + scale * batch.true_gain(row["dataset"], row["query"])
        yield row["dataset"], (row[f"{prefix}low"], true, row[f"{prefix}high"])


def _points(batch: Batch, frame: pd.DataFrame, level: Any) -> Iterator[tuple[str, Bounds]]:
    for row in frame.to_dict("records"):
        gain = mean_curve(batch.true_gain(row["dataset"], row["query"])) - CURVE
        yield row["dataset"], (row["low"], float((level + gain)[row["round"]]), row["high"])


def labels_saved(batch: Batch) -> Iterator[Measures]:
    """Labels saved, on training labels, on all paid labels, and the labels that Random needs in addition."""
    studies: list[list[LabelSaving]] = [[] for _ in range(len(batch.gains))]
    for saving in label_savings(batch.table, "random"):
        studies[study_of(saving.setting.dataset)].append(saving)
    for own in studies:
        bounds: dict[str, list[Bounds]] = {"saved": [], "saved of all paid": [], "more needed": []}
        for s in own:
            needs, other = _true_budgets(batch.true_gain(s.setting.dataset, s.query), s.budget)
            if not s.needs.refused:
                paid = s.budget + VALIDATION
                (_, low, high), (_, paid_low, paid_high) = s.share(), s.share(paid=True)
                bounds["saved"].append((low, 1 - needs / s.budget, high))
                bounds["saved of all paid"].append((paid_low, 1 - (needs + VALIDATION) / paid, paid_high))
            if not s.reference_needs.refused:
                bounds["more needed"].append((s.extra[1], other - s.budget, s.extra[2]))
        yield {kind: _covered(rows) for kind, rows in bounds.items()} | {"estimable": len(bounds["saved"]) / len(own)}


def _true_budgets(gain: float, budget: float) -> tuple[float, float]:
    """Budget of a method for the true score of Random at a budget, and of Random for that of the method."""
    own, random = mean_curve(gain), mean_curve(0.0)
    return _reached(own, np.interp(budget, BUDGETS, random)), _reached(random, np.interp(budget, BUDGETS, own))


def _reached(curve: Any, score: float) -> float:
    """First budget at which an increasing curve has a score; infinite where it stays below."""
    return float(np.interp(score, curve, BUDGETS)) if score <= curve[-1] + TINY else float("inf")


# ------------------------------------------------------------------------------------------------- penalty matrix


def penalty(batch: Batch) -> Iterator[Measures]:
    """Cells of the penalty matrix that show a win though all methods are equal."""
    rows = len(batch.table) // len(batch.gains)
    for first in range(0, len(batch.table), rows):
        matrix = penalty_matrix(batch.table.iloc[first : first + rows], draws=RELABELINGS)
        yield {
            "raw win": float((matrix.raw > 0).any()),
            "Holm win": float((matrix.corrected > 0).any()),
            "band win": float(matrix.outside.any()),
            "win shown": float(matrix.beyond_chance.any()),
        }
