"""Spread of paired gains that a finished study observed, for the plan of the next one."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fathom.core.records import FathomError, Setting
from fathom.design.spread import Spread, names_in
from fathom.registry.dataset_identity import dataset_identity
from fathom.stats.verdicts import DATASETS, MethodVerdict, SettingGain

if TYPE_CHECKING:
    from fathom.results.results import StudyResults


class ObservedSpreads:
    """Spreads of the gains of a study; a source for `design.power.proof`.

    Args:
        results: The study.

    Raises:
        FathomError: No setting has a query method and its baseline with two seeds in common.
    """

    def __init__(self, results: "StudyResults") -> None:
        self.name = results.store.study.name
        self.gains = [gain for gain in results.paired_gains if len(gain.gains) > 1 and _variance(gain) > 0]
        self.verdicts = results.verdicts
        if not self.gains:
            raise FathomError(
                f"no spread can be taken from {self.name}: no query method has two complete seeds in common with "
                f"{results.baseline}. Name a study that has, or leave out --from"
            )

    def __call__(self, setting: Setting) -> Spread:
        """Spread in the settings most like this one: itself, its dataset and paradigm, its paradigm, else all."""
        identity, names = dataset_identity(setting.dataset), names_in(setting)
        alike: list[tuple[str, Callable[[SettingGain], bool]]] = [
            ("this setting", lambda g: g.setting == setting),
            (" ".join(names), lambda g: _like(g, identity, names)),
            (f"{names[0]} {names[2]}", lambda g: _like(g, identity, names, any_regime=True)),
            (names[2], lambda g: names_in(g.setting)[2] == names[2]),
        ]
        for words, fits in alike:
            if own := [gain for gain in self.gains if fits(gain)]:
                return self._pooled(own, words)
        return self._pooled(self.gains, "all settings")

    def between(self) -> Spread | None:
        """Spread of true gains between datasets; None where the study has no verdict over datasets."""
        found = [_between(v) for v in self.verdicts if v.unit == DATASETS and np.isfinite(v.decision.low)]
        if not found:
            return None
        return Spread(float(np.mean(found)) ** 0.5, f"between datasets, observed in {self.name}")

    def _pooled(self, own: list[SettingGain], words: str) -> Spread:
        """Pooled over query methods and settings, weighted by degrees of freedom."""
        weights = [len(gain.gains) - 1 for gain in own]
        sd = float(np.average([_variance(gain) for gain in own], weights=weights)) ** 0.5
        return Spread(sd, f"observed in {self.name}", f"{words} ({sum(weights)} degrees of freedom)")


def _variance(gain: SettingGain) -> float:
    return float(np.var(list(gain.gains.values()), ddof=1))


def _like(gain: SettingGain, identity: str, names: tuple[str, str, str], *, any_regime: bool = False) -> bool:
    own = names_in(gain.setting)
    fits = dataset_identity(gain.setting.dataset) == identity and own[2] == names[2]
    return fits and (any_regime or own[1] == names[1])


def _between(verdict: MethodVerdict) -> float:
    """Variance between the mean gains of datasets, less the noise of their seeds; at least 0."""
    parts: dict[str, list[SettingGain]] = {}
    for gain in verdict.gains:
        if len(gain.gains) > 1:
            parts.setdefault(dataset_identity(gain.setting.dataset), []).append(gain)
    means = [np.mean([gain.estimate.mean for gain in own]) for own in parts.values()]
    noise = [sum(_variance(g) / len(g.gains) for g in own) / len(own) ** 2 for own in parts.values()]
    return max(0.0, float(np.var(means, ddof=1) - np.mean(noise))) if len(means) > 1 else 0.0
