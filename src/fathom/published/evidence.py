"""Evidence for claims about query methods, in one form for our runs and for the published numbers.

Of our runs only those count that were run as the published study ran them (`matching`): a claim of the study is about
its conditions, and another recipe, regime or dataset says nothing of it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from fathom.core.records import Setting, grouped, unique
from fathom.published import tables
from fathom.published.compare import UnmatchedCells, seed_summaries
from fathom.published.matching import NotComparable, is_published, match, match_start, name_of, query_of
from fathom.results.results import StudyResults
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
        grids: Setting -> entries of its HP search (validation score at the starting budget).
        balanced: Dataset -> whether its classes are balanced.
        left_out: What was run and is not comparable with the published study, with the reason.
    """

    areas: dict[tuple[Setting, str], SeedSummary] = field(default_factory=dict)
    points: dict[tuple[Setting, str, int], SeedSummary] = field(default_factory=dict)
    sizes: dict[Setting, int] = field(default_factory=dict)
    starts: dict[Setting, int] = field(default_factory=dict)
    grids: dict[Setting, list[SeedSummary]] = field(default_factory=dict)
    balanced: dict[str, bool] = field(default_factory=dict)
    left_out: list[UnmatchedCells] = field(default_factory=list)

    @property
    def reasons(self) -> str:
        """Reasons why runs are left out, joined; empty where none is."""
        return "; ".join(unique(cell.reason for cell in self.left_out))

    def settings(self, **parts: str) -> list[Setting]:
        """Settings with areas; `dataset`, `regime` and `paradigm` restrict them by name."""
        found = dict.fromkeys(setting for setting, _ in self.areas)
        return [s for s in found if is_of(s, **parts)]

    def methods(self, setting: Setting) -> list[str]:
        """Query methods of a setting without Random."""
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
            found.grids[setting] = [SeedSummary(a.mean, a.sd, a.n) for a in entries]
    return found


def study_evidence(results: StudyResults) -> Evidence:
    """Evidence of our comparable runs: complete runs for areas, all committed rounds for scores."""
    found = Evidence()
    for setting in results.store.study.settings:
        if not is_published(setting.dataset):
            found.left_out.append(UnmatchedCells(setting, "", "its dataset is not in the published study"))
            continue
        try:
            named, whole = _comparable(results, setting)
        except NotComparable as reason:
            found.left_out.append(UnmatchedCells(setting, "", str(reason)))
            continue
        if named in found.starts:
            found.left_out.append(UnmatchedCells(setting, "", "another setting stands for the same published one"))
            continue
        found.balanced[named.dataset] = tables.datasets()[named.dataset].balanced
        if regime := results.regime(setting):
            found.sizes[named], found.starts[named] = regime.query_size, regime.start
        for query, summary in seed_summaries(results, setting).items():
            _add(found, setting, named, query, summary, whole)
        for query, budget, summary in _points(results, setting):
            if not any(cell.setting == setting and cell.query == query for cell in found.left_out):
                found.points.setdefault((named, query, budget), summary)
        if whole and (entries := _grid(results, setting)):
            found.grids[named] = entries
    return found


def _comparable(results: StudyResults, setting: Setting) -> tuple[Setting, bool]:
    """(published name, whether areas are comparable) of a setting; some are comparable at single budgets only."""
    try:
        own = match(results, setting)
    except NotComparable as reason:
        try:
            return match_start(results, setting), False
        except NotComparable:
            raise reason from None
    if own.table != "final":
        raise NotComparable("trained with a weighted loss, as only the first version of the study was")
    return Setting(own.regime.dataset, own.regime.regime, own.regime.paradigm), True


def _add(found: Evidence, setting: Setting, named: Setting, query: str, summary: SeedSummary, whole: bool) -> None:
    """Add the area of a query method, or the reason why it is left out."""
    try:
        query_of(query)
    except NotComparable as reason:
        found.left_out.append(UnmatchedCells(setting, query, str(reason)))
        return
    if summary.n and whole:
        found.areas.setdefault((named, query), summary)


def _points(results: StudyResults, setting: Setting) -> Iterator[tuple[str, int, SeedSummary]]:
    frame = results.rows(setting)
    if frame.empty:
        return
    for (query, budget), rows in frame.groupby(["query", "budget"], sort=False):
        scores = {int(seed): float(score) for seed, score in zip(rows["seed"], rows["score"], strict=True)}
        yield str(query), int(str(budget)), SeedSummary.of(scores)


def _grid(results: StudyResults, setting: Setting) -> list[SeedSummary]:
    """Entries of the HP search that are finite on all of its seeds."""
    record = results.hparams.get(setting, {})
    rows = [row["scores"] for row in record.get("table", []) if row["mean"] is not None]
    return [SeedSummary.of(dict(zip(record["seeds"], scores, strict=True))) for scores in rows] if len(rows) > 1 else []
