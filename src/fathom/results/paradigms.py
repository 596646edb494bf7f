"""Comparison of training paradigms (pitfall P5): gain of a paradigm against the gain of a query method within one.

Settings are compared only where they start alike: with the same dataset, starting budget and validation set, a seed has
the same split and starting set in all of them, so runs of one seed make pairs. Query sizes may differ between the
settings; then only the budgets that both have are compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fathom.core.records import Setting, grouped, unique
from fathom.results.results import StudyResults
from fathom.results.statements.plan_changes import study_looks
from fathom.results.trivial import constant_scores
from fathom.stats.choices import cross_fit, lead_interval
from fathom.stats.curves import mean_gains, run_areas
from fathom.stats.decisions import MIN_UNITS, look_alpha
from fathom.stats.inference import Array
from fathom.stats.savings import LabelSaving, label_savings

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
SeedGains = dict[int, float]  # seed -> gain in AUBC, a fraction

REFERENCE = "standard"


@dataclass(frozen=True)
class ParadigmGroup:
    """Settings that start alike and differ in paradigm.

    Args:
        dataset: Spec string.
        title: Short names of what all members share.
        start: Starting budget, labels.
        val_size: Labels of the validation set.
        members: Setting -> short name of its paradigm, with its regime where the paradigm has several.
        reference: Setting -> member that it is compared with: of the same regime if there is one.
    """

    dataset: str
    title: str
    start: int
    val_size: int
    members: dict[Setting, str]
    reference: dict[Setting, Setting]

    @property
    def references(self) -> list[Setting]:
        """Members that others are compared with."""
        return unique(self.reference.values())


@dataclass(frozen=True)
class Pair:
    """One member against its reference, both with the baseline query method, at the budgets that both have.

    Args:
        budgets: Training labels at which both were measured.
        row: Row of `curves.mean_gains` for the comparison.
        saving: Labels saved at the last shared budget, of `member` against `reference`; None where there is one budget.
    """

    budgets: list[int]
    row: dict[str, Any]
    saving: LabelSaving | None


@dataclass(frozen=True)
class BestChoice:
    """The choice of a paradigm and that of a query method in one group, each alone and from the same reference.

    Args:
        group: The group.
        reference: Member that both changes start from.
        paradigms, queries: Candidates.
        budgets: Training labels that were compared.
        seeds: Seeds that all compared runs have completed.
        paradigm_gains, query_gains: [candidates, seeds] gains in AUBC, fractions: of the members with the baseline
            query method over the reference, and of the query methods within the reference.
    """

    group: ParadigmGroup
    reference: Setting
    paradigms: list[Setting]
    queries: list[str]
    budgets: list[int]
    seeds: list[int]
    paradigm_gains: Array
    query_gains: Array

    @property
    def paradigm_picks(self) -> list[Setting | None]:
        """Paradigm that is chosen for each seed on the others; None where none beats the reference there."""
        return [None if i is None else self.paradigms[i] for i in cross_fit(self.paradigm_gains)[1]]

    @property
    def query_picks(self) -> list[str | None]:
        """Query method that is chosen for each seed on the others; None where none beats the baseline there."""
        return [None if i is None else self.queries[i] for i in cross_fit(self.query_gains)[1]]


@dataclass(frozen=True)
class ParadigmVerdict:
    """Gain of choosing the paradigm against gain of choosing the query method on a dataset, averaged over its groups.

    Args:
        dataset: Spec string.
        choices: One per group.
        paradigm, query: Mean gain in AUBC (fraction) of what is chosen on the other seeds (`stats.choices.cross_fit`);
            NaN for one seed.
        low, high: Interval for the gain of the best paradigm minus that of the best query method, whichever these are
            (`stats.choices.lead_interval`); infinite where nothing can be decided.
        level: Its coverage: all datasets with such a verdict are one family.
        n: Seeds that all groups have.
        family: Datasets with such a verdict.
    """

    dataset: str
    choices: list[BestChoice]
    paradigm: float
    query: float
    low: float
    high: float
    level: float
    n: int
    family: int


def paradigm_groups(results: StudyResults) -> list[ParadigmGroup]:
    """Groups of a study that have two or more paradigms, in the order of the study."""
    regimes = {s: regime for s in results.store.study.settings if (regime := results.regime(s))}
    found = grouped(((s.dataset, regime.start, regime.val_size), s) for s, regime in regimes.items())
    return [
        _group(results, dataset, start, val_size, settings)
        for (dataset, start, val_size), settings in found.items()
        if len({s.paradigm for s in settings}) > 1
    ]


def _group(results: StudyResults, dataset: str, start: int, val_size: int, settings: list[Setting]) -> ParadigmGroup:
    names = results.names
    regimes = unique(s.regime for s in settings)
    paradigms = [s.paradigm for s in settings]
    members = {}
    for s in settings:
        regime = f", {names.regime[s.regime]}" if paradigms.count(s.paradigm) > 1 else ""
        members[s] = names.paradigm[s.paradigm] + regime
    # The reference is standard training (the first of several), else the first paradigm of the study.
    first = min(settings, key=lambda s: s.paradigm.split("(")[0] != REFERENCE)
    by_regime = {s.regime: s for s in reversed(settings) if s.paradigm == first.paradigm}
    references = {s: by_regime.get(s.regime, first) for s in settings}
    shared = unique(regime.split("(")[0] for regime in regimes) if len(regimes) > 1 else [names.regime[regimes[0]]]
    title = f"{names.dataset[dataset]} · {', '.join(shared)}"
    return ParadigmGroup(dataset, title, start, val_size, members, references)


def without_group(results: StudyResults) -> list[Setting]:
    """Settings of a dataset with several paradigms that start like no setting of another paradigm."""
    settings = results.store.study.settings
    compared = {setting for group in paradigm_groups(results) for setting in group.members}
    paradigms = grouped((s.dataset, s.paradigm) for s in settings)
    alone = [s for s in settings if len(set(paradigms[s.dataset])) > 1 and s not in compared]
    return [s for s in alone if results.regime(s)]


def budgets_of(results: StudyResults, setting: Setting, queries: Sequence[str]) -> list[int]:
    """Budgets that all complete runs of these methods have; empty where a method has no complete run."""
    areas = results.area_rows(setting)
    frame = results.rows(setting)
    sets = []
    for query in queries:
        done = areas[(areas["query"] == query) & areas["complete"]] if len(areas) else areas
        if done.empty:
            return []
        sets += [set(frame[frame["run"] == run]["budget"].astype(int)) for run in done["run"]]
    return sorted(set.intersection(*sets)) if sets else []


def compare_paradigms(results: StudyResults, group: ParadigmGroup, member: Setting) -> Pair | None:
    """Compare a member with its reference; None where it is a reference itself, or they share no budget or seed."""
    reference = group.reference[member]
    if member == reference:
        return None
    shared = _shared_budgets(results, member, reference)
    if not shared:
        return None
    parts = {"reference": (reference, results.baseline), "member": (member, results.baseline)}
    frame = _as_one_setting(results, parts, shared)
    rows = mean_gains(run_areas(frame), "reference")
    if rows.empty or not rows["n"].iloc[0]:
        return None
    savings = label_savings(frame, "reference", floors=constant_scores(results.facts))
    return Pair(shared, {str(k): v for k, v in rows.iloc[0].items()}, savings[0] if savings else None)


def _shared_budgets(results: StudyResults, one: Setting, other: Setting) -> list[int]:
    """Budgets of both settings with the baseline query method."""
    first, second = (budgets_of(results, s, [results.baseline]) for s in (one, other))
    return sorted(set(first) & set(second))


def _as_one_setting(results: StudyResults, parts: dict[str, tuple[Setting, str]], budgets: list[int]) -> "pd.DataFrame":
    """Complete runs of several (setting, query method) in a table that looks like one setting.

    The statistics compare query methods within a setting. Here each part takes the place of a query method under its
    key, and its rounds are numbered by the shared budgets, so the same functions compare paradigms.
    """
    import pandas as pd

    complete = set(results.areas[results.areas["complete"]]["run"])
    found: list[pd.DataFrame] = []
    for name, (setting, query) in parts.items():
        rows = results.rows(setting)
        rows = rows[(rows["query"] == query) & rows["run"].isin(complete) & rows["budget"].isin(budgets)]
        number = [budgets.index(int(b)) for b in rows["budget"]]
        found.append(rows.assign(regime="", paradigm="", query=name, round=number))
    return pd.concat(found, ignore_index=True)


# -------------------------------------------------------------------------------------------------------- verdict


def paradigm_verdicts(results: StudyResults) -> list[ParadigmVerdict]:
    """Verdict on each dataset that was run with several paradigms and several query methods; all are one family."""
    found = [choice for group in paradigm_groups(results) if (choice := _best_choice(results, group))]
    by_dataset = grouped((choice.group.dataset, choice) for choice in found)
    level = look_alpha(study_looks(results)) / max(1, len(by_dataset))
    return [_verdict(dataset, own, level, len(by_dataset)) for dataset, own in by_dataset.items()]


def _verdict(dataset: str, choices: list[BestChoice], alpha: float, family: int) -> ParadigmVerdict:
    """Mean over groups; the mean of bounds that hold together (Bonferroni) bounds the mean."""
    bounds = [lead_interval(c.paradigm_gains, c.query_gains, alpha / len(choices)) for c in choices]
    low, high = np.mean(bounds, axis=0)
    paradigm, query = (
        float(np.mean([cross_fit(gains)[0].mean() if gains.shape[1] > 1 else np.nan for gains in own]))
        for own in ([c.paradigm_gains for c in choices], [c.query_gains for c in choices])
    )
    n = min(len(c.seeds) for c in choices)
    return ParadigmVerdict(dataset, choices, paradigm, query, float(low), float(high), 1 - alpha, n, family)


def _best_choice(results: StudyResults, group: ParadigmGroup) -> BestChoice | None:
    """Candidates for the paradigm and for the query method of a group, starting from the same reference.

    All members are compared at the budgets that all have, so that they are chosen and measured on one scale.
    """
    start = group.references[0]
    classifiers, baseline = results.classifiers[start], results.baseline
    methods = [q for q in classifiers.dropouts if q != baseline and not classifiers.is_control(q)]
    budgets_with = {m: _shared_budgets(results, m, start) for m in group.members if m not in group.references}
    others = [member for member, shared in budgets_with.items() if len(shared) > 1]
    if not methods or not others:
        return None
    budgets = sorted(set.intersection(*(set(budgets_with[member]) for member in others)))
    if len(budgets) < 2:  # no area
        return None
    queries = {query: f"query {query}" for query in classifiers.dropouts}
    members = {member: f"member {member}" for member in others}
    parts = {key: (start, query) for query, key in queries.items()}
    parts |= {key: (member, baseline) for member, key in members.items()}
    areas = _areas_by_seed(_as_one_setting(results, parts, budgets))
    base = areas.get(queries[baseline], {})
    planned = grouped(((run.setting, run.query), run.seed) for run in results.store.study.runs)
    seeds_of = {key: set(planned.get(part, ())) for key, part in parts.items()}
    plans: dict[Any, int] = {m: len(seeds_of[key] & seeds_of[queries[baseline]]) for m, key in members.items()}
    by_member = _complete({m: _gains(areas.get(key, {}), base) for m, key in members.items()}, plans)
    by_method = {}
    for method in methods:
        reference = classifiers.reference(method)  # the matched control where it was run
        by_method[method] = _gains(areas.get(queries[method], {}), areas.get(queries[reference], {}))
        plans[method] = len(seeds_of[queries[method]] & seeds_of[queries[reference]])
    by_method = _complete(by_method, plans)
    if not by_member or not by_method:
        return None
    seeds = sorted(set.intersection(set(base), *map(set, by_member.values()), *map(set, by_method.values())))
    if not seeds:
        return None
    gained = [np.array([[own[s] for s in seeds] for own in found.values()]) for found in (by_member, by_method)]
    return BestChoice(group, start, list(by_member), list(by_method), budgets, seeds, *gained)


def _areas_by_seed(frame: "pd.DataFrame") -> dict[str, dict[int, float]]:
    """Key of a part -> seed -> area of its complete run."""
    areas = run_areas(frame)
    done = areas[areas["complete"]]
    return {str(name): dict(zip(rows["seed"], rows["aubc"], strict=True)) for name, rows in done.groupby("query")}


def _gains(areas: dict[int, float], reference: dict[int, float]) -> SeedGains:
    """Difference of each seed that both have."""
    return {seed: area - reference[seed] for seed, area in areas.items() if seed in reference}


def _complete(gains: dict[T, SeedGains], planned: Mapping[Any, int]) -> dict[T, SeedGains]:
    """Candidates with as many seeds as any has: one that lacks seeds might lead by failing where it is bad.

    One that was planned with fewer seeds, and has them, lacks none, where they are enough for a decision.
    """
    most = max(map(len, gains.values()), default=0)

    def kept(name: T, n: int) -> bool:
        return n == most or (n >= MIN_UNITS and n == planned[name])

    return {name: own for name, own in gains.items() if own and kept(name, len(own))}
