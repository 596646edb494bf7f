"""Label savings at matched score: the labels that a query method saves at the score of the baseline.

For a target score, `n_m` is the smallest budget at which the mean curve of method m reaches it (first crossing, linear
between budgets), and the saving is `1 - n_m / n_baseline`. A method that never reaches the target is censored: its
saving is only bounded from above. Where the baseline does not rise over the seeds, no score can be matched.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from fathom.core.records import Setting
from fathom.core.streams import Stream
from fathom.stats.curves import References, settings
from fathom.stats.inference import Array, t_interval
from fathom.stats.penalty import PenaltyBlock, complete_blocks

if TYPE_CHECKING:
    import pandas as pd

TARGETS = (0.5, 0.75, 0.9, 1.0)  # of the way from the baseline's first to its final mean score


@dataclass(frozen=True)
class LabelSaving:
    """Label saving of one query method in one setting at one target.

    Args:
        setting: (dataset, regime, paradigm).
        query: The method.
        share: The target, as a share of the baseline's rise.
        target: The target score, a fraction.
        saving: Fraction of the baseline's labels, negative where more are needed; NaN where not estimable.
        low, high: 95 % percentile interval of the paired bootstrap over seeds; -inf where resamples are censored.
        censored: The method never reaches the target: `saving` is an upper bound.
        n: Seeds.
        refused: Reason why there is no saving; empty where there is one.
    """

    setting: Setting
    query: str
    share: float
    target: float
    saving: float
    low: float
    high: float
    censored: bool
    n: int
    refused: str = ""


def first_crossing(budgets: Array, curve: Array, target: float) -> float:
    """The smallest budget at which a curve reaches a target, linear between budgets; infinite if it never does."""
    return float(_crossings(budgets, curve[None], target)[0])


def _crossings(budgets: Array, curves: Array, target: float) -> Array:
    """`first_crossing` of many curves [r, budgets] at once."""
    reached = curves >= target
    at, rows = reached.argmax(1), np.arange(len(curves))
    before = np.maximum(at - 1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (target - curves[rows, before]) / (curves[rows, at] - curves[rows, before])
        found = budgets[before] + share * (budgets[at] - budgets[before])
    return np.where(reached.any(1), np.where(at == 0, budgets[0], found), np.inf)


def label_savings(
    frame: "pd.DataFrame",
    baseline: str,
    references: References | None = None,
    *,
    rounds: Mapping[str, int] | None = None,
    floors: Mapping[str, float] | None = None,
    draws: int = 1000,
    stream: Stream | None = None,
) -> list[LabelSaving]:
    """Label savings of every method of every setting at each of `TARGETS`.

    Both curves are resampled by the same seeds (all n^n resamples up to n = 4, else `draws` random ones). With three
    seeds such an interval is wide and still covers too little; it is a range, not a test.

    Args:
        frame: The tidy table.
        baseline: Spec string of the method to compare with.
        references: Query methods that are compared with another one; without runs of that one there is no saving.
        rounds: Run key -> planned rounds.
        floors: Dataset -> score of a constant answer; reaching no more than that saves no label.
        draws: Bootstrap resamples.
        stream: Random stream of the resamples.

    Source: matched score as in Mussmann and Liang, 2018; censoring, slope test and paired bootstrap are ours.
    """
    stream = stream or Stream(0, ("bootstrap",))
    found: list[LabelSaving] = []
    parts = dict(settings(frame))
    for number, block in enumerate(complete_blocks(frame, [], include_start=True, rounds=rounds)):
        if block.scores.shape[2] > 1:
            budgets = parts[block.setting].groupby("round")["budget"].mean().sort_index().to_numpy(dtype=np.float64)
            against = {q: (references or {}).get((block.setting, q), baseline) for q in block.queries if q != baseline}
            floor = (floors or {}).get(block.setting.dataset, float("-inf"))
            found += _of_block(block, budgets, against, _resamples(len(block.seeds), draws, stream.at(number)), floor)
    return found


def _of_block(
    block: PenaltyBlock, budgets: Array, against: Mapping[str, str], resamples: Any, floor: float
) -> Iterator[LabelSaving]:
    for query, other in against.items():
        if other not in block.queries:
            continue
        own, reference = (block.scores[:, block.queries.index(name)] for name in (query, other))
        rise = t_interval(reference[:, -1] - reference[:, 0])
        first, final = reference[:, 0].mean(), reference[:, -1].mean()
        for share in TARGETS:
            target = float(first + share * (final - first))
            nan = float("nan")
            if not rise.low > 0 or target <= floor:
                reason = "not estimable: the baseline's curve does not clearly rise"
                if target <= floor:
                    reason = "not estimable: the target is no better than always giving one answer"
                yield LabelSaving(block.setting, query, share, target, nan, nan, nan, False, len(block.seeds), reason)
                continue
            points, censors = _savings(budgets, own.mean(0)[None], reference.mean(0)[None], target)
            point, censored = float(points[0]), bool(censors[0])
            many, lost = _savings(budgets, own[resamples].mean(1), reference[resamples].mean(1), target)
            # Resamples whose baseline misses the target have no saving. A censored one may be arbitrarily low, so it
            # counts as -inf, and quantiles are values of the sample: between -inf and a number is no number.
            values = np.where(lost, -np.inf, many)[np.isfinite(many)]
            low, high = np.quantile(values, [0.025, 0.975], method="inverted_cdf") if len(values) else (nan, nan)
            n = len(block.seeds)
            yield LabelSaving(block.setting, query, share, target, point, float(low), float(high), censored, n)


def _savings(budgets: Array, own: Array, reference: Array, target: float) -> tuple[Array, Any]:
    """Savings of curves [r, budgets], and which are censored. NaN where the baseline never reaches the target."""
    needed, spent = _crossings(budgets, reference, target), _crossings(budgets, own, target)
    known = np.isfinite(needed)
    censored = known & ~np.isfinite(spent)
    saving = 1 - np.where(censored, budgets[-1], np.where(known, spent, np.nan)) / np.where(known, needed, np.nan)
    return saving, censored


def _resamples(n: int, draws: int, stream: Stream) -> Any:
    if n <= 4:
        return np.array(list(product(range(n), repeat=n)))
    return stream.numpy().integers(0, n, size=(draws, n))
