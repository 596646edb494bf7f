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
  - A pair is compared on the seeds that both have completed, whatever other methods lack; with fewer than two it is not
    compared, instead of staying in the denominator.
  - Differences that do not vary between seeds are no win (t would be infinite).

The raw matrix alone misleads: 94-99 % of settings with identical methods show a win somewhere. So it comes with two
corrections: Holm's over all pairs, budgets and settings of the study, and the null band, the largest cell that
relabeled methods reach. From two settings on the band finds more: with 3 to 5 seeds in 2 settings a gain of 2 sd is
found in 46 to 98 % of cells, by Holm in 6 to 45 %. With one it finds next to nothing, since one lucky curve wins at
most budgets of its setting (measured).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtr

from fathom.core.records import FathomError, unique
from fathom.core.streams import Stream
from fathom.stats.inference import ALPHA, SPREAD, Array, critical_t, holm
from fathom.stats.penalty_blocks import Mask, PenaltyBlock, Places, Refused, complete_blocks

if TYPE_CHECKING:
    import pandas as pd


CHUNK = 4_000_000  # numbers held at once while permuting


@dataclass(frozen=True, eq=False)
class Penalty:
    """A pairwise penalty matrix over one or more settings.

    Args:
        queries: K methods, in the order of rows and columns.
        raw: [K, K] wins of row over column, in settings (0 to `settings[i, j]`).
        corrected: The same with tests that are Holm-corrected over the whole study.
        settings: [K, K] settings in which both methods were compared; where it is 0, the cell has no meaning.
        present: [K] settings in which the method was compared with any other, of `len(seeds)`.
        band: 95 % quantile of the largest cell of relabeled studies: a cell must exceed it to be more than chance.
        alpha: Of the tests.
        seeds: Most seeds of a compared pair, of each setting that counted.
        fewest: Fewest seeds of a compared pair, of each setting that counted.
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
    fewest: list[int]
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
    def partial(self) -> Mask:
        """[K] methods that were not compared in every setting."""
        return np.asarray(self.present < len(self.seeds))

    @property
    def outside(self) -> Mask:
        """Cells above the null band."""
        return np.asarray(self.raw > self.band + 1e-9)

    @property
    def powerless(self) -> bool:
        """True where Holm decides in place of the null band: with one setting, or if no cell could exceed it."""
        return len(self.seeds) < 2 or not self.band < len(self.seeds) - 1e-9

    @property
    def beyond_chance(self) -> Mask:
        """Cells that are more than chance: above the null band, or where that is powerless, with a win under Holm."""
        return np.asarray(self.corrected > 0) if self.powerless else self.outside


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
    raw, corrected, compared, present = np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(len(queries))
    for block, wins in zip(blocks, _corrected_wins(blocks, alpha), strict=True):
        rows = [queries.index(q) for q in block.queries]
        place = np.ix_(rows, rows)
        raw[place] += _wins(block, block.scores[None], alpha)[0]
        corrected[place] += wins
        met = np.zeros((len(rows), len(rows)))
        for _, first, second in block.pairs():
            met[first, second] = met[second, first] = 1
        compared[place] += met
        present[rows] += met.any(0)
    counts = [[int(seeds.sum()) for seeds, _, _ in block.pairs()] for block in blocks]
    return Penalty(
        queries=queries,
        raw=raw,
        corrected=corrected,
        settings=compared,
        present=present,
        band=_band(blocks, queries, alpha, draws, stream or Stream(0, ("permutation",))),
        alpha=alpha,
        seeds=[max(own) for own in counts],
        fewest=[min(own) for own in counts],
        budgets=[b.scores.shape[2] for b in blocks],
        draws=draws,
        include_start=include_start,
        refused=refused,
    )


# ------------------------------------------------------------------------------------------------------------ wins


def _statistics(scores: Array, first: Places, second: Places) -> tuple[Array, Array]:
    """Mean difference and t of pairs of methods: two arrays [R, pairs, T], t = 0 where there is no spread."""
    difference = scores[:, :, first] - scores[:, :, second]  # [R, S, pairs, T]
    n = scores.shape[1]
    mean, sd = difference.mean(1), difference.std(1, ddof=1)
    varies = sd >= SPREAD
    t = np.where(varies, mean / np.where(varies, sd, 1.0) * n**0.5, 0.0)
    return mean, t


def _wins(block: PenaltyBlock, scores: Array, alpha: float) -> Array:
    """Share of budgets at which row beats column, for R relabelings of a block at once: [R, S, K, T] -> [R, K, K]."""
    wins = np.zeros((len(scores), scores.shape[2], scores.shape[2]))
    for seeds, first, second in block.pairs():
        mean, t = _statistics(scores if seeds.all() else scores[:, seeds], first, second)
        _count(wins, mean, np.abs(t) > critical_t(int(seeds.sum()), alpha), first, second)
    return wins


def _corrected_wins(blocks: Sequence[PenaltyBlock], alpha: float) -> list[Array]:
    """`_wins` of each block as it is [K, K], Holm-corrected over all pairs, budgets and blocks."""
    found, values = [], []
    for number, block in enumerate(blocks):
        for seeds, first, second in block.pairs():
            mean, t = _statistics(block.scores[None, seeds], first, second)
            values.append(np.where(t == 0, 1.0, 2 * stdtr(int(seeds.sum()) - 1, -np.abs(t))))
            found.append((number, mean, first, second))
    corrected = holm(np.concatenate([p.ravel() for p in values]) if values else np.zeros(0))
    wins = [np.zeros((1, len(block.queries), len(block.queries))) for block in blocks]
    parts = np.split(corrected, np.cumsum([p.size for p in values])[:-1]) if values else []
    for (number, mean, first, second), part in zip(found, parts, strict=True):
        _count(wins[number], mean, part.reshape(mean.shape) < alpha, first, second)
    return [own[0] for own in wins]


def _count(wins: Array, mean: Array, rejected: Mask, first: Places, second: Places) -> None:
    """Put the share of budgets at which one of a pair beats the other into `wins` [R, K, K]; inputs [R, pairs, T]."""
    wins[:, first, second] = (rejected & (mean > 0)).mean(2)
    wins[:, second, first] = (rejected & (mean < 0)).mean(2)


def _band(blocks: Sequence[PenaltyBlock], queries: list[str], alpha: float, draws: int, stream: Stream) -> float:
    """95 % quantile, over relabelings, of the largest cell.

    A relabeling permutes the methods within each seed, whole curves at a time, so the dependence between the budgets of
    a run and between the methods of a seed is kept. Quantiles of the largest cell give one threshold that holds for the
    whole matrix, without a correction for its number of cells.

    Where methods lack seeds, the curves of a seed are permuted among the methods that have it. Every relabeling then
    has the same missing runs as the study, and each pair the same n. So the band is exact given which runs are missing,
    if that does not depend on their scores.
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
            relabeled = np.take_along_axis(block.scores[None], _among(order, block.present)[..., None], axis=2)
            total[start : start + count, place[:, None], place] += _wins(block, relabeled, alpha)
    largest = total.reshape(draws, -1).max(1)
    return float(np.quantile(largest, 0.95, method="higher"))


def _among(order: Places, present: Mask) -> Places:
    """Permutations [R, S, K] of all methods, restricted to those that are present in a seed; the others stay."""
    for seed in np.flatnonzero(~present.all(1)):
        here = present[seed]
        own = order[:, seed]  # the present ones in the order of a uniform permutation are a uniform permutation of them
        order[:, seed, here] = own[here[own]].reshape(len(order), -1)
        order[:, seed, ~here] = np.flatnonzero(~here)
    return order
