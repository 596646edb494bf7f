"""How stable a ranking of query methods is, and rank-based summaries over datasets.

A ranking is by the mean gain over datasets (the mean of their settings). Five methods of equal worth get some order
from three seeds, too: the chance of a method to be first, and the agreement of the rankings with one seed left out, say
how much of an order is chance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from fathom.core.records import FathomError, grouped, unique
from fathom.core.streams import Stream
from fathom.stats.inference import ALPHA, LEVEL, Array, holm
from fathom.stats.verdicts import SettingGain

DRAWS = 2000  # bootstrap resamples of the seeds
MIN_DATASETS = 3  # of a critical-difference diagram; with fewer, ranks over datasets mean nothing


@dataclass(frozen=True, eq=False)
class Ranking:
    """Query methods by their mean gain, best first.

    Args:
        methods: K methods, with the baseline, whose gain is 0.
        gains: [K] mean gain over datasets, fractions.
        first: [K] share of bootstrap resamples in which the method is first; ties count in parts.
        low, high: [K] rank interval at `LEVEL` over the resamples, 1 is best.
        tau: Kendall's tau between this ranking and each one with a seed left out; empty with fewer than 3 seeds.
        seeds: Fewest seeds of a setting that all ranked methods share.
        settings: Settings that were averaged.
        not_ranked: Methods that lack a setting which another method has.
    """

    methods: list[str]
    gains: Array
    first: Array
    low: Array
    high: Array
    tau: Array
    seeds: int
    settings: int
    not_ranked: list[str]


def ranking(
    gains: Sequence[SettingGain],
    baseline: str,
    *,
    identity: Callable[[str], str] = str,
    draws: int = DRAWS,
    stream: Stream | None = None,
) -> Ranking | None:
    """Rank the methods of one training paradigm; None where no setting has two seeds that all of them share.

    Args:
        gains: Paired gains of one paradigm (`stats.verdicts.setting_gains`).
        baseline: Joins the ranking with a gain of 0.
        identity: Dataset -> what counts as one dataset.
        draws: Resamples. Seeds are resampled within each setting, jointly for all methods.
        stream: Random stream of the resamples.
    """
    by_setting = grouped((g.setting, g) for g in gains if g.gains)
    counts = {query: sum(g.query == query for own in by_setting.values() for g in own) for query in
              unique(g.query for g in gains)}  # fmt: skip
    complete = [query for query, count in counts.items() if count == len(by_setting)]
    if not complete or not by_setting:
        return None
    tables, datasets = [], []  # per setting: [seeds, K - 1]
    for setting, own in by_setting.items():
        of = {g.query: g.gains for g in own}
        seeds = sorted(set.intersection(*(set(of[query]) for query in complete)))
        if len(seeds) < 2:
            return None
        tables.append(np.array([[of[query][seed] for query in complete] for seed in seeds]))
        datasets.append(identity(setting.dataset))
    weights = _weights(datasets)
    means = _with_baseline(_mean(tables, weights))
    random = (stream or Stream(0, ("bootstrap",))).numpy()
    resampled = _with_baseline(sum(w * _resampled(t, draws, random) for w, t in zip(weights, tables, strict=True)))
    order = np.argsort(-means, kind="stable")
    ranks = _ranks(resampled)
    best = resampled == resampled.max(axis=1, keepdims=True)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(ranks, [tail, 100 - tail], axis=0, method="inverted_cdf")
    fewest = min(map(len, tables))
    return Ranking(
        methods=[[*complete, baseline][i] for i in order],
        gains=means[order],
        first=(best / best.sum(axis=1, keepdims=True)).mean(axis=0)[order],
        low=low[order],
        high=high[order],
        tau=_left_out(tables, weights, means) if fewest >= 3 else np.empty(0),
        seeds=fewest,
        settings=len(tables),
        not_ranked=[query for query in counts if query not in complete],
    )


def _weights(datasets: Sequence[str]) -> list[float]:
    """Weight of each setting: datasets count alike, and so do the settings of one."""
    return [1 / (len(set(datasets)) * datasets.count(dataset)) for dataset in datasets]


def _mean(tables: Sequence[Array], weights: Sequence[float]) -> Array:
    return np.asarray(sum(w * table.mean(axis=0) for w, table in zip(weights, tables, strict=True)))


def _with_baseline(means: Any) -> Array:
    return np.concatenate([means, np.zeros((*np.shape(means)[:-1], 1))], axis=-1)


def _resampled(table: Array, draws: int, random: np.random.Generator) -> Array:
    """Means over resampled seeds: [seeds, K] -> [draws, K]."""
    return np.asarray(table[random.integers(0, len(table), (draws, len(table)))].mean(axis=1))


def _ranks(means: Array) -> Array:
    """Rank of each column, 1 for the highest; ties share their mean rank."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-means, axis=-1))


def _left_out(tables: Sequence[Array], weights: Sequence[float], whole: Array) -> Array:
    """Kendall's tau of the whole ranking with each that lacks one seed, in all settings that have it by position."""
    from scipy.stats import kendalltau

    found = []
    for seed in range(max(map(len, tables))):
        rest = [np.delete(t, seed, axis=0) if seed < len(t) else t for t in tables]
        found.append(float(kendalltau(whole, _with_baseline(_mean(rest, weights))).statistic))
    return np.array(found)


# --------------------------------------------------------------------------------------------- scores over tasks


def interquartile_mean(scores: Sequence[Sequence[float]] | Array) -> float:
    """Mean of the middle half of all scores [tasks, seeds], robust to a few outliers.

    Source: Agarwal et al., 2021 (rliable); scipy's trimmed mean.
    """
    from scipy.stats import trim_mean

    return float(trim_mean(np.asarray(scores, dtype=np.float64), 0.25, axis=None))


def probability_of_improvement(x: Sequence[Sequence[float]], y: Sequence[Sequence[float]]) -> float:
    """Probability that a run of x beats a run of y on the same task, averaged over tasks; ties count half.

    Args:
        x, y: Per task the scores of its seeds, which may differ in number.

    Raises:
        FathomError: The numbers of tasks differ, or a task has no score.

    Source: Agarwal et al., 2021, Eq. in Sec. 4.3 (rliable). Runs are not paired here; `paired_improvement` pairs them.
    """
    if len(x) != len(y) or not all(len(task) for task in [*x, *y]):
        raise FathomError(f"expected scores of the same tasks, at least one each; got {len(x)} and {len(y)} tasks")
    found = []
    for a, b in zip(x, y, strict=True):
        difference = np.subtract.outer(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
        found.append(float((difference > 0).mean() + 0.5 * (difference == 0).mean()))
    return float(np.mean(found))


def paired_improvement(gains: Sequence[Sequence[float]]) -> float:
    """Share of seeds with a gain above 0, averaged over tasks; ties count half."""
    found = [(np.asarray(task) > 0).mean() + 0.5 * (np.asarray(task) == 0).mean() for task in gains]
    return float(np.mean(found))


def task_interval(
    statistic: Callable[[list[Array]], float],
    tasks: Sequence[Sequence[float]],
    draws: int = DRAWS,
    stream: Stream | None = None,
) -> tuple[float, float]:
    """Percentile interval of a statistic over tasks, with seeds resampled within each task.

    It answers for these tasks, not for a new one, and covers .88 at 3 seeds, .91 at 5, .93 at 10.

    Args:
        statistic: Function of the resampled tasks.
        tasks: Per task the scores of its seeds.
        draws: Resamples.
        stream: Random stream of the resamples.

    Source: stratified bootstrap by Agarwal et al., 2021.
    """
    random = (stream or Stream(0, ("bootstrap",))).numpy()
    arrays = [np.asarray(task, dtype=np.float64) for task in tasks]
    values = [statistic([a[random.integers(0, len(a), len(a))] for a in arrays]) for _ in range(draws)]
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


# --------------------------------------------------------------------------------------------- critical difference


@dataclass(frozen=True, eq=False)
class RankComparison:
    """Mean ranks over datasets, and the pairs that no test tells apart: the critical-difference diagram.

    Args:
        methods: K methods, best mean rank first.
        ranks: [K] mean rank over datasets, 1 is best.
        friedman: P-value of equal methods; NaN with fewer than 3 methods.
        pairs: (i, j) -> Holm-corrected p of the Wilcoxon test of methods i < j.
        bars: Runs of neighboring methods (first, last) that no pair of which is told apart.
        datasets: Datasets that were ranked.
    """

    methods: list[str]
    ranks: Array
    friedman: float
    pairs: dict[tuple[int, int], float]
    bars: list[tuple[int, int]]
    datasets: int


def critical_difference(methods: Sequence[str], scores: Array, alpha: float = ALPHA) -> RankComparison:
    """Compare methods over datasets by their ranks.

    Bars come from pairwise exact Wilcoxon tests with Holm's correction, not from Nemenyi's distance of mean ranks,
    which depends on the other methods in the pool. A bar means that no difference was shown, not that there is none.

    Args:
        methods: K names.
        scores: [datasets, K], higher is better.
        alpha: Error rate of the family of pairs.

    Raises:
        FathomError: Fewer than `MIN_DATASETS` datasets or 2 methods, or a score is undefined.

    Source: Demšar, 2006; Benavoli et al., 2016.
    """
    from scipy.stats import friedmanchisquare, wilcoxon

    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or len(scores) < MIN_DATASETS or scores.shape[1] < 2 or not np.isfinite(scores).all():
        raise FathomError(
            f"expected finite scores of at least {MIN_DATASETS} datasets and 2 methods; got an array of {scores.shape}"
        )
    mean = _ranks(scores).mean(axis=0)
    order = np.argsort(mean, kind="stable")
    sorted_scores = scores[:, order]
    pairs = list(combinations(range(len(order)), 2))
    p = [float(wilcoxon(d).pvalue) if (d := sorted_scores[:, i] - sorted_scores[:, j]).any() else 1.0 for i, j in pairs]
    corrected = dict(zip(pairs, map(float, holm(p)), strict=True))
    friedman = float(friedmanchisquare(*scores.T).pvalue) if len(order) > 2 else float("nan")
    return RankComparison(
        [methods[i] for i in order], mean[order], friedman, corrected, _bars(corrected, len(order), alpha), len(scores)
    )


def _bars(pairs: dict[tuple[int, int], float], count: int, alpha: float) -> list[tuple[int, int]]:
    """The longest runs of neighbors without a rejected pair."""

    def alike(first: int, last: int) -> bool:
        return all(pairs[pair] >= alpha for pair in combinations(range(first, last + 1), 2))

    found: list[tuple[int, int]] = []
    for i in range(count):
        last = max(j for j in range(i, count) if alike(i, j))
        if last > i and not any(a <= i and last <= b for a, b in found):
            found.append((i, last))
    return found
