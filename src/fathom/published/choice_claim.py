"""The claim that HPs and the paradigm matter more than active learning, without the bias of picking extremes.

The largest of several noisy means minus the smallest is above zero also where nothing matters. So, for each dataset
and regime, the pair (best and worst paradigm, or HPs) and the method with the largest effect are chosen on all seeds
but one and measured on that one (`stats.choices.cross_fit`), and datasets are the units.

With fewer than three datasets, and for the published numbers, whose seeds are not known, the answer on paradigms rests
on a bound (`stats.choices.pooled_lead_bound`): one pair of paradigms for all datasets, corrected for their number,
against the least favorable method of each dataset and regime. It is about these datasets only. Means of fewer than
three seeds are no candidates. On HPs the published numbers give no answer: most entries of the searches have no spread.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np

from fathom.core.records import Setting, grouped
from fathom.published.evidence import BASELINE, Evidence
from fathom.published.findings import (
    NO_SETTINGS,
    ClaimCell,
    ClaimFinding,
    dataset_means,
    finding_of,
    over_datasets,
    untested,
)
from fathom.registry.dataset_identity import dataset_identity
from fathom.stats.choices import cross_fit, pooled_lead_bound, standard_errors
from fathom.stats.decisions import MIN_UNITS
from fathom.stats.differences import Difference, SeedSummary, contrast
from fathom.stats.inference import ALPHA, Array

Weights = dict[Any, float]  # key of a mean -> its weight in an effect


@dataclass(frozen=True)
class _Group:
    """Candidates for the two choices on one dataset and regime, as weighted sums of `means`."""

    means: Mapping[Any, SeedSummary]
    pairs: dict[Any, Weights]  # one paradigm (or HPs) minus another, in both orders
    gains: dict[Any, Weights]  # a query method minus Random, with both signs


def paradigm_spread(e: Evidence, question: str) -> ClaimFinding:
    """Random with the best paradigm minus Random with the worst, minus the largest gain of any method there."""
    groups: dict[ClaimCell, _Group] = {}
    for dataset, regime in dict.fromkeys((d, r) for d, r, _ in e.settings()):
        there = [s for s in e.settings(dataset=dataset) if s.regime == regime and _enough(e, s, BASELINE)]
        gains = {key: gain for s in there for key, gain in _gains(e, s).items()}
        if len(there) > 1 and gains:
            pairs = {
                (a.paradigm, b.paradigm): {(a, BASELINE): 1.0, (b, BASELINE): -1.0} for a, b in permutations(there, 2)
            }
            groups[Setting(dataset, regime, "all"), ""] = _Group(e.areas, pairs, gains)
    return _answer(e, question, groups) or _bounded(e, question, groups)


def hp_spread(e: Evidence, question: str) -> ClaimFinding:
    """Best minus worst entry of the HP search, minus the largest gain of any method in the setting."""
    groups: dict[ClaimCell, _Group] = {}
    for setting, entries in e.grids.items():
        keys = [(setting, "HPs", number) for number in range(len(entries))]
        if gains := _gains(e, setting):
            pairs = {(a, b): {a: 1.0, b: -1.0} for a, b in permutations(keys, 2)}
            means: dict[Any, SeedSummary] = {**e.areas}
            means.update(zip(keys, entries, strict=True))
            groups[setting, ""] = _Group(means, pairs, gains)
    withdrawn = untested(question, "no HP search with seeds to choose on and others to measure on")
    return _answer(e, question, groups, fewest=1) or withdrawn


def _gains(e: Evidence, setting: Setting) -> dict[Any, Weights]:
    """Gains of all methods of a setting, with both signs, since a loss is an effect too."""
    methods = [q for q in e.methods(setting) if _enough(e, setting, q)] if _enough(e, setting, BASELINE) else []
    return {
        (setting.paradigm, q, sign): {(setting, q): sign, (setting, BASELINE): -sign}
        for q in methods
        for sign in (1.0, -1.0)
    }


def _enough(e: Evidence, setting: Setting, query: str) -> bool:
    found = e.areas.get((setting, query))
    return found is not None and found.n >= MIN_UNITS


def _answer(
    e: Evidence, question: str, groups: Mapping[ClaimCell, _Group], fewest: int = MIN_UNITS
) -> ClaimFinding | None:
    """Answer with datasets as units; None where fewer than `fewest` have seeds to choose on and to measure on."""
    if not groups:
        return untested(question, NO_SETTINGS)
    held_out = {cell: _held_out(group) for cell, group in groups.items()}
    known = {cell: effect for cell, effect in held_out.items() if effect is not None}
    if len(dataset_means(known)) < fewest:
        return None
    left_out = len(groups) - len(known)
    note = "chosen and measured on different seeds"
    return over_datasets(e, question, known, note=note + f"; {left_out} left out (too few seeds)" * bool(left_out))


def _held_out(group: _Group) -> float | None:
    """Effect of the pair minus effect of the method, each chosen on other seeds than it is measured on."""
    parts = [_by_seed(group, list(own.values())) for own in (group.pairs, group.gains)]
    if any(part is None or part.shape[1] < MIN_UNITS for part in parts):
        return None
    spread, gain = (float(cross_fit(part, none=False)[0].mean()) for part in parts if part is not None)
    return spread - gain


def _by_seed(group: _Group, candidates: Sequence[Weights]) -> Array | None:
    """[candidates, seeds] effects on the seeds that all have; None where there is no seed."""
    keys = {key for weights in candidates for key in weights}
    seeds = sorted(set.intersection(*(set(group.means[key].seeds) for key in keys)))
    if not seeds:
        return None
    return np.array([[sum(w * group.means[k].seeds[s] for k, w in own.items()) for s in seeds] for own in candidates])


# -------------------------------------------------------------------------------------------- bounds without choosing


def _bounded(e: Evidence, question: str, groups: Mapping[ClaimCell, _Group]) -> ClaimFinding:
    """Answer for these datasets, by the candidates that all groups have."""
    leads = [_leads(group) for group in groups.values()]
    datasets = [dataset_identity(setting.dataset) for setting, _ in groups]
    weights = np.array([1 / datasets.count(name) / len(set(datasets)) for name in datasets])
    pairs, gains = (_shared([own.pairs for own in groups.values()]), _shared([own.gains for own in groups.values()]))
    ahead = [(mean[own], se[own], df[own]) for (mean, se, df), own in zip(leads, pairs, strict=True)]
    behind = [(-mean.T[own], se.T[own], df.T[own]) for (mean, se, df), own in zip(leads, gains, strict=True)]
    low, high = (partial(pooled_lead_bound, own, weights) for own in (ahead, behind))
    nan = float("nan")
    ends = [end if np.isfinite(end) else nan for end in (low(ALPHA / 2), -high(ALPHA / 2))]
    d = Difference(nan, ends[0], ends[1], nan, nan, nan, nan, (0, 0))
    used = {key for group in groups.values() for gain in group.gains.values() for key in gain}
    seeds = [e.areas[key].n for key in used]
    note = "on these datasets only; no estimate, since there are no seeds to choose on and others to measure on"
    return finding_of(question, d, (_p(low), _p(high)), groups, seeds, note)


def _shared(candidates: Sequence[dict[Any, Weights]]) -> list[list[int]]:
    """For each group the positions of the candidates that all groups have, in one order."""
    keys = [key for key in candidates[0] if all(key in own for own in candidates)]
    return [[list(own).index(key) for key in keys] for own in candidates]


def _leads(group: _Group) -> tuple[Array, Array, Array]:
    """Mean, standard error and degrees of freedom of each pair minus each gain."""
    found = [[_lead(group, pair, gain) for gain in group.gains.values()] for pair in group.pairs.values()]
    mean, se, df = np.moveaxis(np.array(found, dtype=np.float64), -1, 0)
    return mean, se, df


def _lead(group: _Group, pair: Weights, gain: Weights) -> tuple[float, float, float]:
    """By seed where all means have three or more in common; else by Satterthwaite, as of independent means."""
    weights = grouped([*pair.items(), *((key, -w) for key, w in gain.items())])
    terms = [(sum(w), group.means[key]) for key, w in weights.items()]
    common = sorted(set.intersection(*(set(summary.seeds) for _, summary in terms)))
    if len(common) >= MIN_UNITS:
        values = np.array([sum(w * summary.seeds[seed] for w, summary in terms) for seed in common])
        return float(values.mean()), float(standard_errors(values)), len(common) - 1.0
    d = contrast(terms)
    return d.mean, d.se if min(summary.n for _, summary in terms) >= MIN_UNITS else float("nan"), d.df


def _p(bound: Callable[[float], float]) -> float:
    """The smallest two-sided alpha, to a hundredth of itself, at which a bound is above zero; 1 where none is."""
    low, high = -12.0, 0.0  # log10
    if not bound(0.5) > 0:
        return 1.0
    while high - low > 0.004:
        middle = (low + high) / 2
        low, high = (low, middle) if bound(10**middle / 2) > 0 else (middle, high)
    return float(10**high)
