"""Dips and cold starts of budget curves, and the effect of class imbalance on gains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fathom.core.records import Setting
from fathom.stats.curves import References, settings
from fathom.stats.differences import Difference, SeedSummary, welch
from fathom.stats.inference import ALPHA, Array, holm, paired_t
from fathom.stats.verdicts import SettingGain

if TYPE_CHECKING:
    import pandas as pd

EARLY = 1 / 3  # of the rounds after the start are early ones


@dataclass(frozen=True)
class Dip:
    """A budget at which a mean curve falls.

    Args:
        setting, query: The curve.
        before, at: Training labels before and after the step.
        change: Mean change of the score over seeds, a fraction below 0.
        p_holm: Two-sided, over all steps of all curves that were searched.
        n: Seeds.
    """

    setting: Setting
    query: str
    before: float
    at: float
    change: float
    p_holm: float
    n: int


@dataclass(frozen=True)
class ColdStart:
    """A method that is worse than its reference in the early rounds.

    Args:
        setting, query, reference: The comparison.
        early: Mean gain over the early rounds after the start, a fraction below 0.
        late: Mean gain at the last budget.
        until: Training labels at the end of the early rounds.
        p_holm: Two-sided, of the early gain, over all comparisons.
        n: Seeds.
    """

    setting: Setting
    query: str
    reference: str
    early: float
    late: float
    until: float
    p_holm: float
    n: int


def dips(frame: "pd.DataFrame", alpha: float = ALPHA) -> list[Dip]:
    """Steps at which a curve falls: paired t-tests over seeds, Holm-corrected over all steps of all curves.

    Args:
        frame: The tidy table.
        alpha: Error rate of the whole search.
    """
    found: list[tuple[Dip, float]] = []
    for setting, part in settings(frame):
        for query, rows in part.groupby("query", sort=False):
            budgets, scores = _curves(rows)
            for step in range(1, len(budgets)):
                change = scores[:, step] - scores[:, step - 1]
                test = paired_t(change[np.isfinite(change)])
                mean = float(np.nanmean(change)) if test.n else 0.0
                before, at = (float(budget) for budget in budgets[step - 1 : step + 1])
                found.append((Dip(setting, str(query), before, at, mean, 1.0, test.n), test.p))
    corrected = holm([p for _, p in found])
    kept = zip((dip for dip, _ in found), corrected, strict=True)
    return [replace(dip, p_holm=float(p)) for dip, p in kept if p < alpha and dip.change < 0]


def cold_starts(
    frame: "pd.DataFrame", baseline: str, references: References | None = None, alpha: float = ALPHA
) -> list[ColdStart]:
    """Methods that lose in the early rounds: mean gain of the first third of the rounds after the start, per seed.

    Paired t-tests over seeds, Holm-corrected over all settings and methods.

    Args:
        frame: The tidy table.
        baseline: Query method to compare with.
        references: Query methods that are compared with another one.
        alpha: Error rate of the whole search.
    """
    found: list[tuple[ColdStart, float]] = []
    for setting, part in settings(frame):
        curves = {str(query): _by_seed(rows) for query, rows in part.groupby("query", sort=False)}
        budgets = part.groupby("round")["budget"].mean().sort_index().to_numpy(dtype=np.float64)
        early = max(1, round(EARLY * (len(budgets) - 1)))
        for query, own in curves.items():
            other = (references or {}).get((setting, query), baseline)
            if query == baseline or other not in curves:
                continue
            both = sorted(own.keys() & curves[other].keys())
            gains = [own[s] - curves[other][s] for s in both if len(own[s]) == len(curves[other][s]) == len(budgets)]
            if len(gains) < 2 or len(budgets) < 2:
                continue
            table = np.array(gains)
            per_seed = table[:, 1 : early + 1].mean(axis=1)
            start = ColdStart(setting, query, other, float(per_seed.mean()), float(table[:, -1].mean()),
                              float(budgets[early]), 1.0, len(gains))  # fmt: skip
            found.append((start, paired_t(per_seed).p))
    corrected = holm([p for _, p in found])
    kept = zip((start for start, _ in found), corrected, strict=True)
    return [replace(s, p_holm=float(p)) for s, p in kept if p < alpha and s.early < 0]


def _by_seed(rows: "pd.DataFrame") -> dict[int, Array]:
    """Seed -> scores by round."""
    ordered = rows.sort_values("round")
    seeds, scores = ordered["seed"].to_numpy(), ordered["score"].to_numpy(dtype=np.float64)
    return {int(seed): scores[seeds == seed] for seed in np.unique(seeds)}


def _curves(rows: "pd.DataFrame") -> tuple[Array, Array]:
    """Budgets [t] and scores [seeds, t]; NaN where a seed lacks a round."""
    wide = rows.pivot_table(index="seed", columns="round", values="score", dropna=False)
    budgets = rows.groupby("round")["budget"].mean().sort_index().to_numpy(dtype=np.float64)
    return budgets, wide.to_numpy(dtype=np.float64)


def imbalance_effect(
    gains: Sequence[SettingGain], balanced: Mapping[str, bool], identity: Mapping[str, str] | None = None
) -> dict[str, Difference]:
    """Query method -> its mean gain on imbalanced minus that on balanced datasets, datasets as the units (Welch).

    Methods with fewer than two datasets of a kind have a refused difference.

    Args:
        gains: Paired gains of one training paradigm.
        balanced: Dataset -> whether its classes are balanced; datasets that are not in it do not count.
        identity: Dataset -> what counts as one dataset.
    """
    found: dict[str, Difference] = {}
    for query in dict.fromkeys(g.query for g in gains):
        by_dataset: dict[tuple[bool, str], list[float]] = {}
        for g in gains:
            if g.query == query and g.gains and g.setting.dataset in balanced:
                name = (identity or {}).get(g.setting.dataset, g.setting.dataset)
                by_dataset.setdefault((balanced[g.setting.dataset], name), []).append(g.estimate.mean)
        imbalanced, even = (
            [float(np.mean(own)) for (kind, _), own in by_dataset.items() if kind == wanted] for wanted in (False, True)
        )
        if imbalanced and even:
            found[query] = welch(_summary(imbalanced), _summary(even))
    return found


def _summary(values: list[float]) -> SeedSummary:
    return SeedSummary.of(dict(enumerate(values)))
