"""The pairwise penalty matrix: how often one query method beats another, and how much of that is chance.

At each budget of a setting, method i beats method j if a two-sided paired t-test over the seeds rejects at `alpha` and
i's mean is higher; then 1 / (budgets of the setting) is added to cell (i, j). A row counts wins, a column losses, and
no cell exceeds the number of settings. The overall penalty of a method is the mean of its column over the other methods
(where it was not compared in every setting: the mean over the comparisons that were made, and marked).

Deviations from the published code, and why:
  - Pairs share a seed. The code paired by position in a list, which loses the shared starting set (the power at n = 3
    falls from .29 to .12).
  - Round 0 is left out by default: no query method has selected anything there, so a difference is not theirs.
    `include_start=True` counts all budgets, as published.
  - All budgets count, as in Lüth et al.; Ash et al. took exponentially spaced ones below saturation.
  - Only seeds that every method of the setting has completed count; with fewer than two the setting is refused, by
    name, instead of staying in the denominator.
  - Differences that do not vary between seeds are no win (t would be infinite).

The raw matrix alone misleads: 94-99 % of settings with identical methods show a win somewhere. So it comes with two
corrections: Holm's within each setting, and the null band, the largest cell that relabeled methods reach.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import stdtr

from fathom.core.records import FathomError, Setting, unique
from fathom.core.streams import Stream
from fathom.stats.curves import settings
from fathom.stats.inference import ALPHA, SPREAD, Array, critical_t, holm

if TYPE_CHECKING:
    import pandas as pd

Refused = tuple[Setting, str]  # a setting, and the reason why it or a method of it could not be compared

CHUNK = 4_000_000  # numbers held at once while permuting


@dataclass(frozen=True, eq=False)
class PenaltyBlock:
    """One setting, complete: a score for every method, seed and budget.

    Args:
        setting: (dataset, regime, paradigm).
        queries: K methods.
        seeds: S seeds that all of them have completed.
        scores: [S, K, T] over T budgets.
    """

    setting: Setting
    queries: list[str]
    seeds: list[int]
    scores: Array


@dataclass(frozen=True, eq=False)
class Penalty:
    """A pairwise penalty matrix over one or more settings.

    Args:
        queries: K methods, in the order of rows and columns.
        raw: [K, K] wins of row over column, in settings (0 to `settings[i, j]`).
        corrected: The same with Holm-corrected tests.
        settings: [K, K] settings in which both methods were compared; where it is 0, the cell has no meaning.
        present: [K] settings in which the method was compared with any other, of `len(seeds)`.
        band: 95 % quantile of the largest cell of relabeled studies: a cell must exceed it to be more than chance.
        alpha: Of the tests.
        seeds: Seeds of each setting that counted.
        budgets: Budgets of each setting that counted.
        draws: Relabelings behind `band`.
        include_start: True if round 0 counted.
        refused: Settings, and in them methods, that could not be compared: (setting, reason).
    """

    queries: list[str]
    raw: Array
    corrected: Array
    settings: Array
    present: Array
    band: float
    alpha: float
    seeds: list[int]
    budgets: list[int]
    draws: int
    include_start: bool
    refused: list[Refused] = field(default_factory=list)

    def overall(self, matrix: Array | None = None) -> Array:
        """Overall penalty of each method, in settings; lower is better.

        In a complete design it is the sum of the column / (K - 1), as published. A method must not gain by settings in
        which it was not compared: each of its cells counts as a share of the settings behind it, and the mean of these
        shares is scaled to all settings. NaN for a method that was compared with none.

        Source: Ash et al., 2020; Lüth et al., 2023. They divide by K - 1 in all cases, which rewards a method for
        failing where it would lose; on complete designs both are equal.
        """
        cells = self.raw if matrix is None else matrix
        met = self.settings > 0
        weight = np.divide(len(self.seeds), self.settings, out=np.zeros_like(self.settings), where=met)
        with np.errstate(invalid="ignore"):
            return np.asarray((cells * weight).sum(0) / met.sum(0))

    @property
    def partial(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """[K] methods that were not compared in every setting."""
        return np.asarray(self.present < len(self.seeds))

    @property
    def outside(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Cells above the null band."""
        return np.asarray(self.raw > self.band + 1e-9)


def penalty_matrix(
    frame: "pd.DataFrame",
    *,
    alpha: float = ALPHA,
    include_start: bool = False,
    rounds: Mapping[str, int] | None = None,
    draws: int = 2000,
    stream: Stream | None = None,
) -> Penalty:
    """The pairwise penalty matrix of all settings of a table.

    Args:
        frame: The tidy table.
        alpha: Level of each two-sided test, in (0, 1).
        include_start: Count round 0 too, as published.
        rounds: Run key -> planned rounds; by default the maximum over the runs of its setting.
        draws: Relabelings for the null band; 0 for none (the band is NaN).
        stream: Random stream of the relabelings.

    Raises:
        FathomError: `alpha` is not in (0, 1).

    Source: Ash et al., 2020; Lüth et al., 2023, App. The deviations are in the module's docstring.
    """
    if not 0 < alpha < 1:
        raise FathomError(f"the level of the tests lies between 0 and 1; got {alpha}")
    refused: list[Refused] = []
    blocks = list(complete_blocks(frame, refused, include_start=include_start, rounds=rounds))
    queries = unique(q for block in blocks for q in block.queries)
    shape = (len(queries), len(queries))
    raw, corrected, compared = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for block in blocks:
        rows = [queries.index(q) for q in block.queries]
        place = np.ix_(rows, rows)
        raw[place] += _wins(block.scores[None], alpha)[0]
        corrected[place] += _corrected_wins(block.scores, alpha)
        compared[place] += 1 - np.eye(len(block.queries))
    return Penalty(
        queries=queries,
        raw=raw,
        corrected=corrected,
        settings=compared,
        present=np.array([sum(q in block.queries for block in blocks) for q in queries], dtype=np.float64),
        band=_band(blocks, queries, alpha, draws, stream or Stream(0, ("permutation",))),
        alpha=alpha,
        seeds=[len(b.seeds) for b in blocks],
        budgets=[b.scores.shape[2] for b in blocks],
        draws=draws,
        include_start=include_start,
        refused=refused,
    )


# ------------------------------------------------------------------------------------------------- complete blocks


def complete_blocks(
    frame: "pd.DataFrame", refused: list[Refused], *, include_start: bool, rounds: Mapping[str, int] | None = None
) -> Iterator[PenaltyBlock]:
    """The settings that can be compared; what cannot is appended to `refused`.

    A method with fewer than two complete seeds leaves the comparison; then the seeds that all others share count.
    """
    for setting, part in settings(frame):
        curves = _complete_curves(part, rounds or {}, first=0 if include_start else 1)
        started = list(part["query"].unique())
        queries = [q for q in started if len(curves.get(q, {})) >= 2]
        for query in started:
            if query not in queries:
                refused.append((setting, f"complete seeds of {query}: {len(curves.get(query, {}))}; a test needs 2"))
        if len(queries) < 2:
            refused.append((setting, "fewer than two methods to compare"))
            continue
        seeds = sorted(set.intersection(*(set(curves[q]) for q in queries)))
        if len(seeds) < 2:
            refused.append((setting, f"seeds complete for every method: {len(seeds)}; a test needs 2"))
            continue
        lengths = {len(curves[q][s]) for q in queries for s in seeds}
        if lengths == {0} or len(lengths) > 1:
            refused.append((setting, "no budget after round 0 that all runs share"))
            continue
        scores = np.array([[curves[q][s] for q in queries] for s in seeds])
        yield PenaltyBlock(setting, queries, seeds, scores)


def _complete_curves(part: "pd.DataFrame", rounds: Mapping[str, int], first: int) -> dict[str, dict[int, Array]]:
    """Query method -> seed -> scores from round `first` on, of the complete runs of one setting.

    Columns are taken out as arrays once: the table of a run costs pandas more time than all tests of its setting.
    """
    most = int(part["round"].max()) + 1
    ordered = part.sort_values("round")
    numbers, scores = ordered["round"].to_numpy(), ordered["score"].to_numpy(dtype=np.float64)
    methods, seeds = ordered["query"].to_numpy(), ordered["seed"].to_numpy()
    curves: dict[str, dict[int, Array]] = {}
    for run, places in ordered.groupby("run", sort=False).indices.items():
        planned = rounds.get(str(run), most)
        if numbers[places].tolist() == list(range(planned)):
            of_method = curves.setdefault(str(methods[places[0]]), {})
            of_method[int(seeds[places[0]])] = scores[places][first:]
    return curves


# ------------------------------------------------------------------------------------------------------------ wins


def _statistics(scores: Array) -> tuple[Array, Array]:
    """Mean difference and t of every pair i < j: two arrays [R, pairs, T], t = 0 where there is no spread."""
    first, second = np.triu_indices(scores.shape[2], 1)
    difference = scores[:, :, first] - scores[:, :, second]  # [R, S, pairs, T]
    n = scores.shape[1]
    mean, sd = difference.mean(1), difference.std(1, ddof=1)
    varies = sd >= SPREAD
    t = np.where(varies, mean / np.where(varies, sd, 1.0) * n**0.5, 0.0)
    return mean, t


def _wins(scores: Array, alpha: float) -> Array:
    """Share of budgets at which row beats column, for R relabelings at once: [R, S, K, T] -> [R, K, K]."""
    mean, t = _statistics(scores)
    return _shares(mean, np.abs(t) > critical_t(scores.shape[1], alpha), scores.shape[2])


def _corrected_wins(scores: Array, alpha: float) -> Array:
    """`_wins` of one labeling, Holm-corrected over all pairs and budgets of the setting: [S, K, T] -> [K, K]."""
    mean, t = _statistics(scores[None])
    p = np.where(t == 0, 1.0, 2 * stdtr(len(scores) - 1, -np.abs(t)))
    rejected = (holm(p.ravel()) < alpha).reshape(p.shape)
    return np.asarray(_shares(mean, rejected, scores.shape[1])[0])


def _shares(mean: Array, rejected: np.ndarray[Any, np.dtype[np.bool_]], methods: int) -> Array:
    """Share of budgets at which row beats column, from arrays over pairs: [R, pairs, T] -> [R, K, K]."""
    wins = np.zeros((len(mean), methods, methods))
    first, second = np.triu_indices(methods, 1)
    wins[:, first, second] = (rejected & (mean > 0)).mean(2)
    wins[:, second, first] = (rejected & (mean < 0)).mean(2)
    return wins


def _band(blocks: list[PenaltyBlock], queries: list[str], alpha: float, draws: int, stream: Stream) -> float:
    """95 % quantile, over relabelings, of the largest cell.

    A relabeling permutes the methods within each seed, whole curves at a time, so the dependence between the budgets of
    a run and between the methods of a seed is kept. Quantiles of the largest cell give one threshold that holds for the
    whole matrix, without a correction for its number of cells.
    """
    if not blocks or draws < 1:
        return float("nan")
    total = np.zeros((draws, len(queries), len(queries)))
    for number, block in enumerate(blocks):
        size, methods, budgets = block.scores.shape
        place = np.array([queries.index(q) for q in block.queries])
        random = stream.at(number).numpy()
        step = max(1, CHUNK // (size * methods**2 * budgets))  # `_statistics` holds a number per seed, pair and budget
        for start in range(0, draws, step):
            count = min(step, draws - start)
            order = random.permuted(np.broadcast_to(np.arange(methods), (count, size, methods)), axis=2)
            relabeled = np.take_along_axis(block.scores[None], order[..., None], axis=2)
            total[start : start + count, place[:, None], place] += _wins(relabeled, alpha)
    largest = total.reshape(draws, -1).max(1)
    return float(np.quantile(largest, 0.95, method="higher"))
