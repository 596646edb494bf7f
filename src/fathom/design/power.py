"""The statistical power of a design before it is run, for the very tests that the report does.

These are the verdicts of `stats.verdicts`: one per role, paradigm and query method, with datasets as the units where
there are three or more and else with seeds, corrected by Holm over all of them; and one per setting and query method,
corrected over all of those. Power is that of the first step of Holm's correction, as in `stats.power`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fathom.core.records import FathomError, Setting, Study, grouped, unique
from fathom.core.text import plural
from fathom.design.dropout import is_matched_control
from fathom.design.freeze import role_of
from fathom.design.spread import Spread, SpreadSource, sources_of
from fathom.registry.dataset_identity import dataset_identity
from fathom.stats.decisions import MIN_UNITS
from fathom.stats.inference import ALPHA
from fathom.stats.power import detectable, power, power_not_worse, units_needed
from fathom.stats.verdicts import DATASETS, SEEDS, RemainingUnits
from fathom.stats.words import in_points, settle_words

HEADLINE, HERE, SETTING = "headline", "these datasets", "setting"  # kinds of tests, as in `MethodVerdict`
LIKELY = 0.5  # with less power for both questions, "undecided" is the likely verdict


@dataclass(frozen=True)
class PlannedTest:
    """A test of the report, as a design can do it; the same for all of its query methods.

    Args:
        kind: `headline`, `these datasets` (the headline's second verdict, where datasets are its units), or `setting`.
        paradigm, role: Spec string, and role of the datasets.
        queries: Query methods that are tested so.
        settings: Settings whose gains are averaged.
        unit, n: `datasets` or `seeds`, and how many.
        sd: Assumed standard deviation of the gains over units, a fraction.
        source: Where the spread is known from.
        family: Comparisons that Holm corrects for.
        effect: Gain to be found; a fraction.
        margin: Loss to be excluded; a fraction.
    """

    kind: str
    paradigm: str
    role: str
    queries: tuple[str, ...]
    settings: tuple[Setting, ...]
    unit: str
    n: int
    sd: float
    source: str
    family: int
    effect: float
    margin: float

    @property
    def decides(self) -> bool:
        """True if there are enough units for any decision."""
        return self.n >= MIN_UNITS

    @property
    def power(self) -> float:
        """Probability of the verdict `better` at a gain of `effect`."""
        return power(self.n, self.effect / self.sd, ALPHA / self.family) if self.decides else 0.0

    @property
    def power_not_worse(self) -> float:
        """Probability that an equal method is shown to lose less than the margin."""
        return power_not_worse(self.n, 0.0, self.sd, self.margin, ALPHA / self.family) if self.decides else 0.0

    @property
    def detectable(self) -> float | None:
        """The smallest gain that is found with a power of .8, a fraction; None where nothing can be decided."""
        return detectable(self.n, self.sd, family=self.family) if self.decides else None

    @property
    def to_settle(self) -> RemainingUnits:
        """Units to add for a power of .8: of finding the effect, and of excluding the margin."""
        better = units_needed(self.effect, self.sd, family=self.family)
        not_worse = units_needed(self.margin, self.sd, family=self.family, not_worse=True)
        more = [None if needed is None else max(0, needed - self.n) for needed in (better, not_worse)]
        return more[0], more[1]

    def to_json(self) -> dict[str, Any]:
        """JSON-plain values."""
        better, not_worse = self.to_settle
        return {
            **self.__dict__,
            "settings": [list(setting) for setting in self.settings],
            "power": self.power,
            "power_not_worse": self.power_not_worse,
            "detectable": self.detectable,
            "to_settle": {"better": better, "not_worse": not_worse},
        }

    def words(self) -> str:
        """Say what the test can decide, for a person."""
        units = f"{plural(self.n, self.unit.removesuffix('s'))}, {plural(len(self.queries), 'query method')}"
        settle = settle_words(self.unit, self.n, self.to_settle, self.margin, effect=self.effect)
        if not self.decides:
            return f"{units}: nothing is decided with fewer than {MIN_UNITS} {self.unit}. {settle}"
        smallest = _in_points(detectable(self.n, self.sd, family=self.family))
        return (
            f"{units}: finds a gain of {in_points(self.effect)} with {_percent(self.power)} power, shows that an equal "
            f"method is not worse by {in_points(self.margin)} with {_percent(self.power_not_worse)}, and finds a gain "
            f"of {smallest} with 80 %. {settle}"
        )


@dataclass(frozen=True)
class PowerAnalysis:
    """The statistical power of a design.

    Args:
        tests: The tests of the report.
        effect, margin: Gain to be found and loss to be excluded, fractions.
        datasets: Distinct datasets (`dataset_identity`).
        seeds: Seeds of the setting with the fewest.
    """

    tests: tuple[PlannedTest, ...]
    effect: float
    margin: float
    datasets: int
    seeds: int

    def of_kind(self, kind: str) -> list[PlannedTest]:
        """The tests of one kind."""
        return [test for test in self.tests if test.kind == kind]

    @property
    def can_reject(self) -> bool:
        """True if a verdict other than `undecided` is possible at all."""
        return any(test.decides for test in self.tests)

    def to_json(self) -> dict[str, Any]:
        """JSON-plain values, with `can_reject`."""
        tests = [test.to_json() for test in self.tests]
        return {**self.__dict__, "tests": tests, "can_reject": self.can_reject}

    def lines(self) -> list[tuple[str, str]]:
        """(label, value) for a person."""
        main, here = self.of_kind(HEADLINE), self.of_kind(HERE)
        if not main:
            return []
        count = sum(len(test.queries) for test in main)
        found = [("verdicts", f"{count}, corrected by Holm; margin {in_points(self.margin)}")]
        roles = len({test.role for test in main}) > 1
        for test in main:
            found.append((f"  {test.paradigm}{f', {test.role} data' if roles else ''}", test.words()))
            found += [("    on these datasets alone", t.words()) for t in here if _same(t, test)]
            spread = f"standard deviation over {test.unit} {_in_points(test.sd)}"
            found.append(("    spread", f"{spread}: {test.source}"))
        settings = self.of_kind(SETTING)
        smallest = [test.detectable for test in settings if test.detectable is not None]
        count = sum(len(test.queries) for test in settings)
        if smallest and count > sum(len(test.queries) for test in main):
            low, high = _in_points(min(smallest)), _in_points(max(smallest))
            found.append(
                (
                    "  single settings",
                    f"{count} comparisons, corrected by Holm: the smallest gain found with 80 % power is "
                    f"{low if low == high else f'{low} to {high}'}",
                )
            )
        return found

    def notes(self) -> list[str]:
        """Limits of the design that hold whatever the results are."""
        main = self.of_kind(HEADLINE)
        short = unique(test.paradigm for test in main if not test.decides)
        rule = f"a verdict needs {MIN_UNITS} seeds or {MIN_UNITS} datasets"
        if main and not self.can_reject:
            return [f"this design cannot reject anything: {rule}"]
        found = [f"this design cannot reject anything with {', '.join(short)}: {rule}"] if short else []
        likely = [t for t in main if t.decides and max(t.power, t.power_not_worse) < LIKELY]
        if likely:
            names = ", ".join(unique(test.paradigm for test in likely))
            found.append(
                f"undecided is the likely verdict with {names}: fewer than half of such studies find a gain of "
                f"{in_points(self.effect)}, or show that an equal method is not worse by {in_points(self.margin)}"
            )
        return found


def proof(study: Study, spread: SpreadSource, between: Spread, *, effect: float | None = None) -> PowerAnalysis:
    """Compute the statistical power of a study's design.

    Args:
        study: The study.
        spread: Standard deviation of the paired gains over seeds, by setting.
        between: Standard deviation of the true gains between datasets.
        effect: Gain to be found, as a fraction of 1 (a point is .01) [default: the study's margin].

    Raises:
        FathomError: The effect is not in (0, 1), or a spread is not above 0.
    """
    effect = study.margin if effect is None else effect
    if not 0 < effect < 1:
        raise FathomError(f"the effect is a fraction between 0 and 1 (a point is .01); got {effect}")
    parts = _comparisons(study)
    settings = unique(setting for own in parts.values() for setting in own)
    known = {setting: _known(spread, setting) for setting in settings}
    tests: list[PlannedTest] = []
    for (role, paradigm, query), own in parts.items():
        for kind, unit, n, sd, source in _estimates(own, known, between):
            what = (kind, paradigm, role, (query,), tuple(own))
            tests.append(PlannedTest(*what, unit, n, sd, source, len(parts), effect, study.margin))
    family = sum(map(len, parts.values()))
    for (role, paradigm, query), own in parts.items():
        for setting, seeds in own.items():
            what = (SETTING, paradigm, role, (query,), (setting,))
            assumed = known[setting].sd, sources_of([known[setting]])
            tests.append(PlannedTest(*what, SEEDS, len(seeds), *assumed, family, effect, study.margin))
    seeds_of = grouped((run.setting, run.seed) for run in study.runs)
    return PowerAnalysis(
        tests=_merged(tests),
        effect=effect,
        margin=study.margin,
        datasets=len({dataset_identity(run.dataset) for run in study.runs}),
        seeds=min((len(set(own)) for own in seeds_of.values()), default=0),
    )


def _comparisons(study: Study) -> dict[tuple[str, str, str], dict[Setting, set[int]]]:
    """(role, paradigm, query method) -> setting -> seeds that method and baseline both have."""
    seeds = grouped(((run.setting, run.query), run.seed) for run in study.runs)
    found: dict[tuple[str, str, str], dict[Setting, set[int]]] = {}
    for (setting, query), own in seeds.items():
        both = set(own) & set(seeds.get((setting, study.baseline), ()))
        if query == study.baseline or is_matched_control(query, study.baseline) or not both:
            continue
        found.setdefault((role_of(setting.dataset, {}), setting.paradigm, query), {})[setting] = both
    return found


def _known(spread: SpreadSource, setting: Setting) -> Spread:
    found = spread(setting)
    if found is None or not found.sd > 0:
        raise FathomError(f"the spread of gains is a fraction above 0 (a point is .01); got {found} for {setting}")
    return found


def _estimates(
    own: Mapping[Setting, set[int]], known: Mapping[Setting, Spread], between: Spread
) -> list[tuple[str, str, int, float, str]]:
    """(kind, unit, n, sd over units, source) of the headline's tests, averaged as in `stats.verdicts`."""
    datasets = grouped((dataset_identity(setting.dataset), setting) for setting in own)
    source = sources_of(known[setting] for setting in own)
    m = len(datasets)
    per_seed, n_seeds, per_dataset = [], [], []
    for settings in datasets.values():
        variance = sum(known[s].sd ** 2 for s in settings) / len(settings) ** 2  # of a seed's mean over the settings
        common = len(set.intersection(*(own[s] for s in settings)))
        per_seed.append(variance / max(1, common))
        n_seeds.append(common)
        per_dataset.append(sum(known[s].sd ** 2 / len(own[s]) for s in settings) / len(settings) ** 2)
    n = min(n_seeds)
    here = (SEEDS, n, float(sum(per_seed) * max(1, n)) ** 0.5 / m, source)
    if m < MIN_UNITS:
        return [(HEADLINE, *here)]
    over = float(between.sd**2 + np.mean(per_dataset)) ** 0.5
    return [(HEADLINE, DATASETS, m, over, f"{between.source}; over seeds {source}"), (HERE, *here)]


def _same(a: PlannedTest, b: PlannedTest) -> bool:
    return (a.paradigm, a.role, a.queries) == (b.paradigm, b.role, b.queries)


def _merged(tests: list[PlannedTest]) -> tuple[PlannedTest, ...]:
    """Tests that differ in the query method alone, as one."""
    alike = grouped(((*(v for k, v in t.__dict__.items() if k != "queries"),), t) for t in tests)
    return tuple(
        PlannedTest(**{**own[0].__dict__, "queries": tuple(t.queries[0] for t in own)}) for own in alike.values()
    )


def _in_points(fraction: float) -> str:
    return in_points(float(f"{fraction:.2g}"))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
