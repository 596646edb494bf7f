"""One verdict on a whole comparison with the published numbers: does the study reproduce them?

Asked twice: of areas, and of gains over Random, each with half of alpha. The difference (ours minus published) is
averaged over the query methods of a setting, the settings of a dataset, and the datasets. Three datasets or more are
the units of the interval. With fewer, the spread over seeds is used, and the answer holds on these datasets only:

- ours: over seeds, of each the mean over all cells of the dataset, since the cells of a seed share its split;
- published: which cells share what is not known, so their standard errors are averaged as if they moved together. That
  is the largest that the standard error of their mean can be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit

from fathom.core.records import Setting, grouped, unique
from fathom.published.compare import Compared, Comparison, json_value
from fathom.registry.dataset_identity import dataset_identity
from fathom.stats.decisions import MIN_UNITS, GainEstimate, combined
from fathom.stats.inference import ALPHA, LEVEL, SPREAD
from fathom.stats.verdicts import DATASETS, SEEDS

REPRODUCES, DEPARTS, UNCLEAR = "reproduces", "differs", "cannot tell"
AREAS, GAINS = "AUBC", "gain over Random"


@dataclass(frozen=True)
class WholeComparison:
    """Verdict on all comparable cells together.

    Args:
        what: `AUBC` or `gain over Random`.
        verdict: `reproduces`: the 95 % interval lies within the margin (two one-sided tests at .025). `differs`: not
            that, and the difference is not 0 at .025. Else `cannot tell`.
        mean: Ours minus published, a fraction.
        low, high: 95 % interval; NaN where there is none.
        p, p_outside: Of a difference of 0, and of one of the margin or more. Each is tested at .025.
        unit: `datasets` or `seeds`.
        n: Units.
        datasets, settings, cells: Numbers behind the mean.
        published_seeds: Fewest published seeds of a cell.
        left_out: Cells without a spread (one seed), which are not part of it.
        margin: A fraction.
        refused: Why nothing can be decided; empty where something can.
    """

    what: str
    verdict: str
    mean: float
    low: float
    high: float
    p: float
    p_outside: float
    unit: str
    n: int
    datasets: int
    settings: int
    cells: int
    published_seeds: int
    left_out: int
    margin: float
    refused: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values, in fractions; None where a number is undefined."""
        found: dict[str, Any] = json_value(vars(self))
        return found


@dataclass(frozen=True)
class _Cell:
    """Seeds of ours, and published mean with its standard error, of an area or a gain."""

    setting: Setting
    seeds: Mapping[int, float]
    theirs: GainEstimate


def reproduction(found: Comparison) -> list[WholeComparison]:
    """Verdicts on areas and on gains, where there are comparable cells."""
    areas, gains = [_area(cell) for cell in found.cells], [g for cell in found.cells if (g := _gain(found, cell))]
    parts = ((AREAS, areas), (GAINS, gains))
    return [_whole(what, cells, found.margin) for what, cells in parts if cells]


def _area(cell: Compared) -> _Cell:
    a = cell.published
    se = a.sd / a.n**0.5 if a.n > 1 else float("nan")
    return _Cell(cell.setting, cell.ours.seeds, GainEstimate(a.mean, se, a.n - 1, a.n))


def _gain(found: Comparison, cell: Compared) -> _Cell | None:
    if cell.gain is None:
        return None
    theirs, n = cell.gain.published, min(cell.gain.published.n)
    random = next(c for c in found.cells if c.setting == cell.setting and c.published.query == "random")
    both = cell.ours.seeds.keys() & random.ours.seeds.keys()
    seeds = {seed: cell.ours.seeds[seed] - random.ours.seeds[seed] for seed in sorted(both)}
    return _Cell(cell.setting, seeds, GainEstimate(theirs.mean, theirs.se, theirs.df, n))


def _whole(what: str, cells: Sequence[_Cell], margin: float) -> WholeComparison:
    known = [c for c in cells if len(c.seeds) > 1 and np.isfinite(c.theirs.se)]
    by_dataset = grouped((dataset_identity(c.setting.dataset), c) for c in known)
    parts = [_of_dataset(own) for own in by_dataset.values()]
    unit = DATASETS if len(parts) >= MIN_UNITS else SEEDS
    nan = float("nan")
    e = GainEstimate(nan, nan, nan, 0)
    if parts:
        e = GainEstimate.of([part.mean for part in parts]) if unit == DATASETS else combined(parts)
    refused = _refusal(e, unit) if known else "every cell rests on one seed"
    low = high = p = outside = nan
    verdict = UNCLEAR
    if not refused:
        half = float(stdtrit(e.df, (1 + LEVEL) / 2)) * e.se
        low, high = e.mean - half, e.mean + half
        p = float(2 * stdtr(e.df, -abs(e.mean) / e.se))
        outside = float(stdtr(e.df, (abs(e.mean) - margin) / e.se))
        verdict = REPRODUCES if outside < ALPHA / 2 else DEPARTS if p < ALPHA / 2 else UNCLEAR
    return WholeComparison(
        what, verdict, e.mean, low, high, p, outside, unit, e.n, len(parts), len(unique(c.setting for c in known)),
        len(known), min((c.theirs.n for c in known), default=0), len(cells) - len(known), margin, refused,
    )  # fmt: skip


def _refusal(e: GainEstimate, unit: str) -> str:
    if e.n < MIN_UNITS:
        return f"{e.n} seeds are complete in all cells; a decision needs at least {MIN_UNITS}"
    return f"nothing varies between {unit}" if e.se < SPREAD else ""


def _of_dataset(cells: Sequence[_Cell]) -> GainEstimate:
    """Difference on one dataset, with its standard error over seeds; degrees of freedom by Satterthwaite."""
    settings = list(grouped((c.setting, c) for c in cells).values())
    mean = _mean([[float(np.mean(list(c.seeds.values()))) - c.theirs.mean for c in own] for own in settings])
    common = sorted(set.intersection(*(set(c.seeds) for c in cells)))
    ours = GainEstimate.of([_mean([[c.seeds[seed] for c in own] for own in settings]) for seed in common])
    theirs = _mean([[c.theirs.se for c in own] for own in settings])
    fewest = min(c.theirs.df for c in cells)
    variances = (ours.se**2, ours.df), (theirs**2, fewest)
    total = sum(v for v, _ in variances)
    shares = sum(v**2 / max(df, 1e-9) for v, df in variances)
    return GainEstimate(mean, total**0.5, total**2 / shares if shares else 0.0, len(common))


def _mean(settings: Sequence[Sequence[float]]) -> float:
    """Mean over the cells of each setting, then over settings."""
    return float(np.mean([float(np.mean(own)) for own in settings]))
