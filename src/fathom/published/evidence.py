"""Evidence for claims about query methods, in one form for our runs and for the published numbers."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from fathom.core.records import Setting, grouped
from fathom.published import tables
from fathom.published.compare import seed_summaries
from fathom.published.matching import name_of
from fathom.results.results import StudyResults
from fathom.stats.curves import SETTING
from fathom.stats.differences import Difference, SeedSummary, paired_difference

BASELINE = "random"


@dataclass(frozen=True)
class Evidence:
    """Areas, scores and HP searches by setting and query method. Scores and areas are fractions.

    Args:
        areas: Areas under the budget curve.
        points: Scores at single budgets, by setting, query method and budget.
        sizes: Setting -> query size.
        starts: Setting -> starting budget.
        grids: Setting -> best minus worst entry of its HP search (validation score at the starting budget).
        balanced: Dataset -> whether its classes are balanced.
    """

    areas: dict[tuple[Setting, str], SeedSummary] = field(default_factory=dict)
    points: dict[tuple[Setting, str, int], SeedSummary] = field(default_factory=dict)
    sizes: dict[Setting, int] = field(default_factory=dict)
    starts: dict[Setting, int] = field(default_factory=dict)
    grids: dict[Setting, float] = field(default_factory=dict)
    balanced: dict[str, bool] = field(default_factory=dict)

    def settings(self, **parts: str) -> list[Setting]:
        """Settings with areas; `dataset`, `regime` and `paradigm` restrict them by name."""
        found = dict.fromkeys(setting for setting, _ in self.areas)
        return [s for s in found if is_of(s, **parts)]

    def methods(self, setting: Setting) -> list[str]:
        """Query methods of a setting without Random, whichever classifier Random is run with."""
        return [q for s, q in self.areas if s == setting and name_of(q) != BASELINE]

    def gain(self, setting: Setting, query: str) -> Difference | None:
        """A method's area minus Random's, paired by seed where seeds are known; None where one is missing."""
        own, reference = self.areas.get((setting, query)), self.areas.get((setting, BASELINE))
        return None if own is None or reference is None else paired_difference(own, reference)

    def gains(self, *methods: str, **parts: str) -> dict[tuple[Setting, str], Difference]:
        """Gains of some methods (default: all) in all settings that `settings(**parts)` gives."""
        found = {}
        for setting in self.settings(**parts):
            for query in methods or self.methods(setting):
                if gain := self.gain(setting, query):
                    found[setting, query] = gain
        return found


def is_of(setting: Setting, dataset: str = "", regime: str = "", paradigm: str = "") -> bool:
    """True for a setting with this dataset (spec string) and these names of regime and paradigm; empty matches all."""
    return (
        dataset in ("", setting.dataset)
        and regime in ("", name_of(setting.regime))
        and paradigm in ("", name_of(setting.paradigm))
    )


def published_evidence() -> Evidence:
    """Evidence of the published study: final numbers, query-size ablation, HP searches, points read off plots."""
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
        # A single stored seed (n > 0) has no spread, and a plotted mean is the better estimate.
        if p.query and p.metric == tables.datasets()[p.dataset].metric and not p.n:
            cell = (Setting(p.dataset, p.regime, p.paradigm), p.query, p.budget)
            found.points.setdefault(cell, SeedSummary(p.value, math.nan, 0))
    searches = grouped((Setting(a.dataset, a.regime, a.paradigm), a) for a in tables.hp_searches())
    for setting, entries in searches.items():
        # The search trains on the starting set, which all query methods share: its score is Random's at the start.
        best = next((a for a in entries if a.chosen), max(entries, key=lambda a: a.mean))
        found.points.setdefault((setting, BASELINE, best.budget), SeedSummary(best.mean, best.sd, best.n))
        if best.split == "validation":
            found.grids[setting] = max(a.mean for a in entries) - min(a.mean for a in entries)
    return found


def study_evidence(results: StudyResults) -> Evidence:
    """Evidence of our runs: complete runs for areas, all committed rounds for scores."""
    found = Evidence()
    for setting in results.store.study.settings:
        named = _named(setting)
        if facts := results.facts.get(setting.dataset):
            found.balanced[named[0]] = bool(facts["balanced"])
        if regime := results.regime(setting):
            found.sizes[named], found.starts[named] = regime.query_size, regime.start
        for query, summary in seed_summaries(results, setting).items():
            if summary.n:
                found.areas[named, query] = summary
        if (spread := _grid(results, setting)) is not None:
            found.grids[named] = spread
    for named, query, budget, summary in _points(results):
        found.points[named, query, budget] = summary
    return found


def _points(results: StudyResults) -> Iterator[tuple[Setting, str, int, SeedSummary]]:
    if results.frame.empty:
        return
    for key, rows in results.frame.groupby([*SETTING, "query", "budget"], sort=False):
        dataset, regime, paradigm, query, budget = key
        scores = {int(seed): float(score) for seed, score in zip(rows["seed"], rows["score"], strict=True)}
        setting = _named(Setting(str(dataset), str(regime), str(paradigm)))
        yield setting, str(query), int(str(budget)), SeedSummary.of(scores)


def _named(setting: Setting) -> Setting:
    """The setting with the published name of its dataset, where its spec string stands for a published dataset."""
    known = tables.datasets().get(name_of(setting.dataset))
    return setting._replace(dataset=known.name) if known and setting.dataset in known.calls else setting


def _grid(results: StudyResults, setting: Setting) -> float | None:
    table = results.hparams.get(setting, {}).get("table", [])
    means = [row["mean"] for row in table if row["mean"] is not None]
    return max(means) - min(means) if len(means) > 1 else None
