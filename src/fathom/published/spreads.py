"""Spread of gains that the published standard deviations imply: what a plan assumes of data that have not been run."""

from functools import cache

import numpy as np

from fathom.core.records import Setting, grouped
from fathom.design.spread import Spread, names_in
from fathom.published.tables import PublishedArea, areas

BASELINE = "random"


def published_spread(setting: Setting) -> Spread | None:
    """Spread of gains over seeds from the published AUBCs, of the cells that are most like a setting.

    These are the cells of its dataset, regime and paradigm; where there are none, of its dataset and regime; then of
    its regime and paradigm, of its regime; and else all. The difference of two methods has sqrt(2) times the standard
    deviation of one, if they share nothing but the number of the seed. Pairing makes it smaller, so this is on the safe
    side.

    Source: Lüth et al., 2023; final study, three seeds per cell.
    """
    dataset, regime, paradigm = names_in(setting)
    for keys in (("dataset", "regime", "paradigm"), ("dataset", "regime"), ("regime", "paradigm"), ("regime",), ()):
        wanted = {"dataset": dataset, "regime": regime, "paradigm": paradigm}
        own = [a for a in _final() if all(getattr(a, key) == wanted[key] for key in keys)]
        if own:
            what = " ".join(wanted[key] for key in keys) or "all settings"
            return Spread(2**0.5 * _pooled_sd(own), "published (Lüth et al., 2023), unpaired", what)
    return None


@cache
def published_between() -> Spread:
    """Spread of true gains between datasets: the median over query methods and paradigms of the published study.

    The spread of the mean gains of the datasets, less the noise of their seeds.
    """
    found = []
    for key, own in grouped(((a.paradigm, a.query), a) for a in _final() if a.query != BASELINE).items():
        gains = grouped((a.dataset, (a.mean - base.mean, (a.sd**2 + base.sd**2) / a.n)) for a in own
                        if (base := _cell(a.dataset, a.regime, key[0])))  # fmt: skip
        if len(gains) < 3:
            continue
        means = [np.mean([gain for gain, _ in cells]) for cells in gains.values()]
        noise = [sum(variance for _, variance in cells) / len(cells) ** 2 for cells in gains.values()]
        found.append(max(0.0, float(np.var(means, ddof=1) - np.mean(noise))) ** 0.5)
    return Spread(float(np.median(found)), "between datasets, published (Lüth et al., 2023)")


@cache
def _final() -> tuple[PublishedArea, ...]:
    """Cells of the final study whose spread is known."""
    return tuple(a for a in areas() if a.table == "final" and a.n > 1 and np.isfinite(a.sd))


def _pooled_sd(own: list[PublishedArea]) -> float:
    return float(np.mean([a.sd**2 for a in own]) ** 0.5)


def _cell(dataset: str, regime: str, paradigm: str) -> PublishedArea | None:
    key = (dataset, regime, paradigm, BASELINE)
    return next((a for a in _final() if (a.dataset, a.regime, a.paradigm, a.query) == key), None)
