"""What claims about query methods rest on, in one form: our runs, or the published numbers themselves."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from fathom.core.records import Setting
from fathom.published import tables
from fathom.published.compare import arms_of
from fathom.published.matching import name_of
from fathom.results.results import StudyResults
from fathom.stats.curves import SETTING
from fathom.stats.differences import Difference, SeedSummary, paired_difference

BASELINE = "random"


@dataclass(frozen=True)
class Evidence:
    """Areas, scores and HP searches, by setting (dataset, regime, paradigm) and query method.

    Args:
        areas: Areas under the budget curve.
        points: Scores at single budgets, by setting, query method and budget.
        sizes: Query size of a setting.
        starts: Starting budget of a setting.
        grids: Best minus worst entry of a setting's HP search, validation score at the starting budget.
        balanced: Whether the classes of a data set are.
    """

    areas: dict[tuple[Setting, str], SeedSummary] = field(default_factory=dict)
    points: dict[tuple[Setting, str, int], SeedSummary] = field(default_factory=dict)
    sizes: dict[Setting, int] = field(default_factory=dict)
    starts: dict[Setting, int] = field(default_factory=dict)
    grids: dict[Setting, float] = field(default_factory=dict)
    balanced: dict[str, bool] = field(default_factory=dict)

    def settings(self, **parts: str) -> list[Setting]:
        """The settings that have areas; with `dataset`, `regime` or `paradigm`, those of that name."""
        found = dict.fromkeys(setting for setting, _ in self.areas)
        return [s for s in found if is_of(s, **parts)]

    def methods(self, setting: Setting) -> list[str]:
        """The query methods of a setting but for Random, in any classifier of its."""
        return [q for s, q in self.areas if s == setting and name_of(q) != BASELINE]

    def gain(self, setting: Setting, query: str) -> Difference | None:
        """A method's area minus Random's, paired by seed where seeds are known; None where there is no such pair."""
        own, reference = self.areas.get((setting, query)), self.areas.get((setting, BASELINE))
        return None if own is None or reference is None else paired_difference(own, reference)

    def gains(self, *methods: str, **parts: str) -> dict[tuple[Setting, str], Difference]:
        """The gains of some methods (by default of all) in the settings of some parts."""
        found = {}
        for setting in self.settings(**parts):
            for query in methods or self.methods(setting):
                if gain := self.gain(setting, query):
                    found[setting, query] = gain
        return found


def is_of(setting: Setting, dataset: str = "", regime: str = "", paradigm: str = "") -> bool:
    """Whether a setting is of a data set, and of a regime and a paradigm whatever their arguments."""
    return (
        dataset in ("", setting.dataset)
        and regime in ("", name_of(setting.regime))
        and paradigm in ("", name_of(setting.paradigm))
    )


def published_evidence() -> Evidence:
    """The published numbers: the final study, the query-size ablation, HP searches, points read off plots."""
    found = Evidence(balanced={name: d.balanced for name, d in tables.datasets().items()})
    for a in tables.areas():
        if a.table == "final":
            found.areas[Setting(a.dataset, a.regime, a.paradigm), a.query] = SeedSummary(a.mean, a.sd, a.n)
    for r in tables.regimes():
        setting = Setting(r.dataset, r.regime, r.paradigm)
        found.sizes[setting], found.starts[setting] = r.query_size, r.start
    for q in tables.query_sizes():
        regime = "low" if q.query_size == q.start else f"low(query_size={q.query_size})"
        setting = Setting(q.dataset, regime, q.paradigm)
        found.sizes[setting], found.starts[setting] = q.query_size, q.start
        found.points[setting, q.query, q.budget] = SeedSummary(q.mean, q.sd, q.n)
    for p in tables.points():
        if p.query and p.metric == tables.datasets()[p.dataset].metric and not p.n:  # one seed tells nothing here
            found.points.setdefault(
                (Setting(p.dataset, p.regime, p.paradigm), p.query, p.budget), SeedSummary(p.value, math.nan, 0)
            )
    searches: dict[Setting, list[tables.PublishedArm]] = {}
    for arm in tables.arms():
        searches.setdefault(Setting(arm.dataset, arm.regime, arm.paradigm), []).append(arm)
    for setting, arms in searches.items():
        best = next((a for a in arms if a.chosen), max(arms, key=lambda a: a.mean))
        found.points.setdefault((setting, BASELINE, best.budget), SeedSummary(best.mean, best.sd, best.n))
        if best.split == "validation":
            found.grids[setting] = max(a.mean for a in arms) - min(a.mean for a in arms)
    return found


def study_evidence(reading: StudyResults) -> Evidence:
    """Our runs: complete ones for areas, all committed rounds for scores."""
    found = Evidence()
    for setting in reading.store.study.settings:
        named = _named(setting)
        if facts := reading.facts.get(setting.dataset):
            found.balanced[named[0]] = bool(facts["balanced"])
        if regime := reading.regime(setting):
            found.sizes[named], found.starts[named] = regime.query_size, regime.start
        for query, arm in arms_of(reading, setting).items():
            if arm.n:
                found.areas[named, query] = arm
        if (spread := _grid(reading, setting)) is not None:
            found.grids[named] = spread
    for named, query, budget, arm in _points(reading):
        found.points[named, query, budget] = arm
    return found


def _points(reading: StudyResults) -> Iterator[tuple[Setting, str, int, SeedSummary]]:
    if reading.frame.empty:
        return
    for key, rows in reading.frame.groupby([*SETTING, "query", "budget"], sort=False):
        dataset, regime, paradigm, query, budget = key
        scores = {int(seed): float(score) for seed, score in zip(rows["seed"], rows["score"], strict=True)}
        yield (
            _named(Setting(str(dataset), str(regime), str(paradigm))),
            str(query),
            int(str(budget)),
            SeedSummary.of(scores),
        )


def _named(setting: Setting) -> Setting:
    """The setting with the published name of its data set, where it is that one."""
    known = tables.datasets().get(name_of(setting.dataset))
    return setting._replace(dataset=known.name) if known and setting.dataset in known.calls else setting


def _grid(reading: StudyResults, setting: Setting) -> float | None:
    table = reading.hparams.get(setting, {}).get("table", [])
    means = [row["mean"] for row in table if row["mean"] is not None]
    return max(means) - min(means) if len(means) > 1 else None
