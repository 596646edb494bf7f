"""Two studies compared: each query method in each setting that both have, paired where seeds and data agree."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy.special import stdtrit

from fathom.core.records import Setting, unique
from fathom.stats.decisions import GainEstimate, GainVerdict, decide
from fathom.stats.differences import SeedSummary, welch
from fathom.stats.inference import LEVEL

if TYPE_CHECKING:
    from fathom.results.results import StudyResults

SIZES = ("start", "query_size", "rounds", "val_size")


@dataclass(frozen=True)
class SharedCell:
    """One query method in one setting of two studies.

    Args:
        setting, query: Spec strings.
        first, second: AUBC of the complete runs of each study, by seed.
        decision: Verdict on second minus first; all shared cells are one family.
        unpaired: Why seeds are not paired; empty where they are.
    """

    setting: Setting
    query: str
    first: SeedSummary
    second: SeedSummary
    decision: GainVerdict
    unpaired: str


@dataclass(frozen=True)
class StudyDifferences:
    """Two studies side by side.

    Args:
        cells: What both have.
        only_first, only_second: (setting, query method) that one of them has.
        not_compared: (setting, reason) of settings whose scores do not measure one thing.
    """

    cells: list[SharedCell]
    only_first: list[tuple[Setting, str]]
    only_second: list[tuple[Setting, str]]
    not_compared: list[tuple[Setting, str]]


def study_differences(first: "StudyResults", second: "StudyResults") -> StudyDifferences:
    """Compare the areas under the budget curves of two studies, second minus first.

    The margin of the verdicts is that of the second study.
    """
    own = [unique((run.spec.setting, run.spec.query) for run in results.runs) for results in (first, second)]
    shared = [key for key in own[0] if key in set(own[1])]
    refused = {s: why for s in unique(s for s, _ in shared) if (why := _incomparable(first, second, s))}
    kept = [(setting, query) for setting, query in shared if setting not in refused]
    reasons = {setting: _unpaired(first, second, setting) for setting in unique(s for s, _ in kept)}
    summaries = [tuple(_summary(results, *key) for results in (first, second)) for key in kept]
    estimates = [_estimate(a, b, reasons[key[0]]) for key, (a, b) in zip(kept, summaries, strict=True)]
    decisions = decide(estimates, second.store.study.margin)
    cells = [
        SharedCell(*key, a, b, decision, reasons[key[0]])
        for key, (a, b), decision in zip(kept, summaries, decisions, strict=True)
    ]
    only = [[key for key in own[i] if key not in set(own[1 - i])] for i in (0, 1)]
    return StudyDifferences(cells, only[0], only[1], list(refused.items()))


def _incomparable(first: "StudyResults", second: "StudyResults", setting: Setting) -> str:
    """Reason why scores of a setting are not of one kind; empty where they are."""
    metrics, regimes = [r.metric(setting) for r in (first, second)], [r.regime(setting) for r in (first, second)]
    if metrics[0] != metrics[1]:
        return f"measured by {metrics[0]} and by {metrics[1]}"
    if None in regimes:
        return "no run has started in one of the studies"
    differing = [size for size in SIZES if getattr(regimes[0], size) != getattr(regimes[1], size)]
    pairs = [f"{size} {getattr(regimes[0], size)} and {getattr(regimes[1], size)}" for size in differing]
    return f"other sizes: {', '.join(pairs)}" if pairs else ""


def _unpaired(first: "StudyResults", second: "StudyResults", setting: Setting) -> str:
    """Reason why the seeds of a setting have other splits in the two studies; empty where they share them."""
    facts = [results.facts.get(setting.dataset, {}) for results in (first, second)]
    if facts[0].get("revision") != facts[1].get("revision"):
        return "other data (the revisions of the dataset differ)"
    protocols = [{run.spec.protocol for run in results.runs_of[setting]} for results in (first, second)]
    return "other versions of the protocol" if protocols[0] != protocols[1] else ""


def _summary(results: "StudyResults", setting: Setting, query: str) -> SeedSummary:
    rows = results.area_rows(setting)
    done = rows[(rows["query"] == query) & rows["complete"] & rows["aubc"].notna()]
    return SeedSummary.of({int(seed): float(area) for seed, area in zip(done["seed"], done["aubc"], strict=True)})


def _estimate(first: SeedSummary, second: SeedSummary, unpaired: str) -> GainEstimate:
    common = sorted(first.seeds.keys() & second.seeds.keys())
    if not unpaired and len(common) > 1:
        return GainEstimate.of([second.seeds[seed] - first.seeds[seed] for seed in common])
    difference = welch(second, first)
    if difference.refused:
        return GainEstimate(difference.mean, float("nan"), 1.0, min(first.n, second.n))
    se = (difference.high - difference.mean) / float(stdtrit(difference.df, (1 + LEVEL) / 2))
    return GainEstimate(difference.mean, se, difference.df, min(first.n, second.n))
