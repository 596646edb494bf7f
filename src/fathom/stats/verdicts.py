"""Verdicts of a study: is a query method better than the baseline, not worse, worse, or is that undecided?

The headline has one verdict per training paradigm and query method, over all of its settings:

- Three datasets or more: datasets are the units. The gain of a dataset is the mean over its settings, and that of a
  setting the mean over its seeds, so neither regimes nor seeds of one dataset count as independent evidence.
  `here` is the verdict for these datasets alone, in which the seeds are the units.
- Fewer: seeds are the units, each with its mean gain over the settings of its dataset. It holds on these datasets only,
  and says nothing of others.

All verdicts of the headline are one family of tests, and so are all settings x methods of the detail
(`stats.decisions`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fathom.core.records import Setting, grouped
from fathom.stats.curves import SETTING, References
from fathom.stats.decisions import (
    MARGIN,
    MIN_UNITS,
    MISSING_SDS,
    GainEstimate,
    GainVerdict,
    combined,
    decide,
    rejects_loss,
)
from fathom.stats.inference import ALPHA, LEVEL, Array, critical_t
from fathom.stats.power import units_needed

if TYPE_CHECKING:
    import pandas as pd

DATASETS, SEEDS = "datasets", "seeds"  # units
RemainingUnits = tuple[int | None, int | None]


@dataclass(frozen=True)
class SettingGain:
    """Paired gains of one query method in one setting.

    Args:
        setting: (dataset, regime, paradigm).
        query, reference: The method, and the one it is compared with.
        gains: Seed -> gain in AUBC, a fraction, of the seeds that both have completed.
        missing: Seeds that one of the two has completed and the other has not.
    """

    setting: Setting
    query: str
    reference: str
    gains: Mapping[int, float]
    missing: frozenset[int]

    @cached_property
    def estimate(self) -> GainEstimate:
        """Mean gain over seeds."""
        return GainEstimate.of(list(self.gains.values()), len(self.missing))


@dataclass(frozen=True)
class SettingVerdict:
    """Verdict on one method in one setting; its family is all settings x methods of the study."""

    gain: SettingGain
    decision: GainVerdict


@dataclass(frozen=True)
class MethodVerdict:
    """Headline verdict on one query method with one training paradigm.

    Args:
        query, paradigm: Spec strings.
        role: Role of the datasets; empty where the caller gave none.
        unit: `datasets` or `seeds`.
        decision: The verdict.
        here: Verdict for these datasets alone, with seeds as the units; `decision` itself where that is its unit.
        gains: Its settings.
        prediction: Interval for the gain on a new dataset, a fraction, at `LEVEL`; None where seeds are the units.
        worst: Setting with the lowest mean gain.
        failures: Settings whose mean gain is below -margin.
        safe: True where every setting on its own rejects a loss of `margin` or more (one-sided, at alpha).
        to_settle: Units to add for 80 % power: for `better` at a gain of the margin, and for `not worse` of equal
            methods. 0 where there are enough, None where it is more than can be run or unknown.
        lost: Settings in which every seed of the method or of its reference is lost.
        sd: Standard deviation of the gains over units, a fraction; that of one unit with the standard error there is.
    """

    query: str
    paradigm: str
    role: str
    unit: str
    decision: GainVerdict
    here: GainVerdict
    gains: Sequence[SettingGain]
    prediction: tuple[float, float] | None
    worst: SettingGain
    failures: Sequence[SettingGain]
    safe: bool
    to_settle: RemainingUnits
    lost: Sequence[Setting] = ()
    sd: float = float("nan")

    @property
    def datasets(self) -> int:
        """Number of datasets, by spec string."""
        return len({gain.setting.dataset for gain in self.gains})


def setting_gains(
    areas: "pd.DataFrame", baseline: str, references: References | None = None, skip: Collection[str] = ()
) -> list[SettingGain]:
    """Paired gains of every method and setting, in the order of the table.

    Args:
        areas: From `run_areas`.
        baseline: Query method to compare with.
        references: Query methods that are compared with another one.
        skip: Query methods to leave out, such as matched controls.
    """
    methods: dict[Setting, dict[str, dict[int, float]]] = {}
    columns = (areas[name].tolist() for name in (*SETTING, "query", "seed", "aubc", "complete"))
    for dataset, regime, paradigm, query, seed, area, complete in zip(*columns, strict=True):
        own = methods.setdefault(Setting(dataset, regime, paradigm), {}).setdefault(query, {})
        if complete and area == area:  # a run of one round has no area
            own[seed] = area
    found = []
    for setting, done in methods.items():
        for query, own in done.items():
            other = (references or {}).get((setting, query), baseline)
            if query != baseline and query not in skip and other in done:
                gains = {seed: own[seed] - done[other][seed] for seed in sorted(own.keys() & done[other].keys())}
                missing = frozenset(own.keys() ^ done[other].keys())
                found.append(SettingGain(setting, query, other, gains, missing))
    return found


def setting_verdicts(
    gains: Sequence[SettingGain], *, margin: float = MARGIN, alpha: float = ALPHA
) -> list[SettingVerdict]:
    """Verdict on each gain, in the order given, all of them one family."""
    decisions = decide([gain.estimate for gain in gains], margin, alpha)
    return [SettingVerdict(gain, decision) for gain, decision in zip(gains, decisions, strict=True)]


def method_verdicts(
    gains: Sequence[SettingGain],
    *,
    identity: Callable[[str], str] = str,
    role: Callable[[str], str] = lambda _: "",
    margin: float = MARGIN,
    alpha: float = ALPHA,
) -> list[MethodVerdict]:
    """Headline verdicts: one per role, paradigm and query method, in order of first appearance, all of them one family.

    Args:
        gains: From `setting_gains`.
        identity: Dataset -> what counts as one dataset (`registry.dataset_identity`).
        role: Dataset -> its role; roles are never averaged.
        margin, alpha: As in `decide`.
    """
    groups = grouped(((role(g.setting.dataset), g.setting.paradigm, g.query), g) for g in gains)
    known = [(key, own) for key, own in groups.items() if any(g.gains for g in own)]
    return family_verdicts(known, identity=identity, margin=margin, alpha=alpha)


def family_verdicts(
    family: Sequence[tuple[tuple[str, str, str], Sequence[SettingGain]]],
    *,
    identity: Callable[[str], str] = str,
    margin: float = MARGIN,
    alpha: float = ALPHA,
) -> list[MethodVerdict]:
    """Verdict on each group of gains, in the order given, all of them one family.

    Args:
        family: (role, paradigm, query method) of each group, and its gains, of which one or more has a seed. The three
            texts are those of its verdict, and decide nothing.
        identity, margin, alpha: As in `method_verdicts`.
    """
    parts = [_by_dataset(own, identity) for _, own in family]
    on_these = [combined([_over_seeds(dataset) for dataset in own]) for own in parts]
    units = [DATASETS if len(own) >= MIN_UNITS else SEEDS for own in parts]
    main = [_over_datasets(own) if u == DATASETS else on for own, u, on in zip(parts, units, on_these, strict=True)]
    decisions, here = decide(main, margin, alpha), decide(on_these, margin, alpha)
    return [
        _method_verdict(key, gains, unit, estimate, decision, own)
        for (key, gains), unit, estimate, decision, own in zip(family, units, main, decisions, here, strict=True)
    ]


def _method_verdict(
    key: tuple[str, str, str],
    gains: Sequence[SettingGain],
    unit: str,
    estimate: GainEstimate,
    decision: GainVerdict,
    here: GainVerdict,
) -> MethodVerdict:
    role, paradigm, query = key
    margin, alpha = decision.margin, decision.alpha
    known = [g for g in gains if g.gains]
    sd = estimate.se * estimate.n**0.5
    return MethodVerdict(
        query=query,
        paradigm=paradigm,
        role=role,
        unit=unit,
        decision=decision,
        here=here if unit == DATASETS else decision,
        gains=gains,
        prediction=_prediction(decision, sd) if unit == DATASETS else None,
        worst=min(known, key=lambda g: g.estimate.mean),
        failures=[g for g in known if g.estimate.mean < -margin],
        safe=len(known) == len(gains) and all(rejects_loss(g.estimate, margin, alpha) for g in known),
        to_settle=remaining_units(decision.n, sd, decision.family, margin, alpha),
        lost=[g.setting for g in gains if not g.gains],
        sd=sd,
    )


def remaining_units(n: int, sd: float, family: int, margin: float, alpha: float = ALPHA) -> RemainingUnits:
    """Units to add to n for 80 % power: of finding a gain of the margin, and of showing that equals are not worse.

    Args:
        n: Units there are.
        sd: Standard deviation of the gains over units; a fraction, as `margin`.
        family: Comparisons that Holm corrects for.
    """
    if not (np.isfinite(sd) and sd > 0):
        return None, None
    needed = [units_needed(margin, sd, family=family, alpha=alpha, not_worse=kind) for kind in (False, True)]
    better, not_worse = (None if want is None else max(0, want - n) for want in needed)
    return better, not_worse


def _by_dataset(gains: Sequence[SettingGain], identity: Callable[[str], str]) -> list[list[SettingGain]]:
    return list(grouped((identity(g.setting.dataset), g) for g in gains).values())


def _over_datasets(parts: list[list[SettingGain]]) -> GainEstimate:
    """Estimate with datasets as the units; missing seeds move the gain of their dataset."""
    cases: dict[str, list[float]] = {"mean": [], "worst": [], "best": []}
    missing = 0
    every = [g.estimate for own in parts for g in own if g.gains]
    spreads = [e.se * e.n**0.5 for e in every if e.n > 1] or [float(np.std([e.mean for e in every], ddof=1))]
    spread = float(np.mean(np.square(spreads)) ** 0.5)
    for own in parts:
        estimates = [g.estimate for g in own if g.gains]
        if not estimates:
            continue
        missing += sum(e.missing for e in estimates)
        cases["mean"].append(float(np.mean([e.mean for e in estimates])))
        for case in ("worst", "best"):
            cases[case].append(float(np.mean([_mean_in(e, case, spread) for e in estimates])))
    found = GainEstimate.of(cases["mean"])
    if not missing:
        return found
    worst, best = (GainEstimate.of(cases[case]) for case in ("worst", "best"))
    return GainEstimate(found.mean, found.se, found.df, found.n, missing, (worst.mean, worst.se), (best.mean, best.se))


def _mean_in(e: GainEstimate, case: str, spread: float) -> float:
    """Mean of a setting with its missing seeds at their worst or best value.

    Args:
        case: `worst` or `best`.
        spread: Standard deviation over seeds in the other settings, for a setting with one gain, which has none.
    """
    if not e.missing or getattr(e, case):
        return float((getattr(e, case) or (e.mean,))[0])
    return e.mean + (1 if case == "best" else -1) * MISSING_SDS * spread * e.missing / (e.n + e.missing)


def _over_seeds(own: list[SettingGain]) -> GainEstimate:
    """Estimate on one dataset with seeds as the units: of each seed the mean gain over the settings."""
    values = _per_seed(own)
    known = [g for g in own if g.gains]
    seen = set().union(*(set(g.gains) | g.missing for g in known)) if known else set()
    return GainEstimate.of(values, len(seen) - len(values))


def _per_seed(own: list[SettingGain]) -> Array:
    """Mean gain over settings of each seed that has a gain in all of them."""
    known = [g.gains for g in own if g.gains]
    seeds = sorted(set.intersection(*map(set, known))) if known else []
    return np.array([np.mean([gains[seed] for gains in known]) for seed in seeds], dtype=np.float64)


def _prediction(decision: GainVerdict, sd: float) -> tuple[float, float]:
    """Interval for the gain on a new dataset: `mean ± t_(M-1) sd sqrt(1 + 1/M)`.

    `sd` holds the true spread between datasets and the noise of their seeds, as a new study of one dataset would.

    Source: Higgins, Thompson and Spiegelhalter, 2009, with the spread of the observed means.
    """
    half = critical_t(decision.n, 1 - LEVEL) * sd * (1 + 1 / decision.n) ** 0.5
    return decision.mean - half, decision.mean + half
