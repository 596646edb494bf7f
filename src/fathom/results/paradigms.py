"""Training paradigms side by side (pitfall P5): what a paradigm gains, beside what a query method gains within one.

Settings are compared only where they begin alike: the same dataset, starting budget and validation set, so that a seed
has the same split and starting set in all of them, and runs of a seed make pairs. Query sizes may differ between them;
then only the budgets that both have count.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fathom.core.records import Setting, unique
from fathom.results.results import StudyResults, of_setting
from fathom.stats.curves import gains, run_areas
from fathom.stats.inference import Array, Interval, t_interval
from fathom.stats.savings import LabelSaving, label_savings

if TYPE_CHECKING:
    import pandas as pd

REFERENCE = "standard"


@dataclass(frozen=True)
class ParadigmGroup:
    """Settings that begin alike and differ in paradigm: each an arm of the comparison.

    Args:
        dataset: Call-string.
        title: Short names of what all arms share.
        start: Starting budget, labels.
        val_size: Labels of the validation set.
        members: Setting -> short name of its paradigm, with its regime where the paradigm has several.
        reference: The arm that the others are measured against, for each of them: of the same regime if there is one.
    """

    dataset: str
    title: str
    start: int
    val_size: int
    members: dict[Setting, str]
    reference: dict[Setting, Setting]

    @property
    def references(self) -> list[Setting]:
        """The arms that others are measured against."""
        return unique(self.reference.values())


@dataclass(frozen=True)
class Pair:
    """One arm against its reference, both with the baseline query method, at the budgets that both have.

    Args:
        budgets: Training labels at which both were measured.
        row: Their row of `curves.gains`.
        saving: Labels saved at 90 % of the reference's rise; None where too few seeds are complete.
    """

    budgets: list[int]
    row: dict[str, Any]
    saving: LabelSaving | None


@dataclass(frozen=True)
class HparamChoice:
    """What was best in one group, and what changing to it gained on each seed.

    Args:
        group: The group.
        reference: The arm that changes start from.
        paradigm: The best arm with the baseline query method; None where none beat the reference on average.
        query: The best query method of the reference arm; None where none beat the baseline on average.
        budgets: Training labels that were compared.
        seeds: Seeds that all of them have completed.
        by_paradigm, by_query: Gain in AUBC of each seed (fraction); 0 where the choice is to stay.
    """

    group: ParadigmGroup
    reference: Setting
    paradigm: Setting | None
    query: str | None
    budgets: list[int]
    seeds: list[int]
    by_paradigm: Array
    by_query: Array


@dataclass(frozen=True)
class Verdict:
    """Paradigm or query method: which choice gains more on a dataset, averaged over its groups, paired by seed."""

    dataset: str
    choices: list[HparamChoice]
    paradigm: Interval
    query: Interval
    difference: Interval


def paradigm_groups(reading: StudyResults) -> list[ParadigmGroup]:
    """The groups of a study with two or more paradigms, in its order."""
    found: dict[tuple[str, int, int], list[Setting]] = {}
    for setting in reading.store.study.settings:
        if regime := reading.regime(setting):
            found.setdefault((setting.dataset, regime.start, regime.val_size), []).append(setting)
    return [
        _group(reading, dataset, start, val_size, settings)
        for (dataset, start, val_size), settings in found.items()
        if len({s[2] for s in settings}) > 1
    ]


def _group(reading: StudyResults, dataset: str, start: int, val_size: int, settings: list[Setting]) -> ParadigmGroup:
    names = reading.names
    regimes = unique(s[1] for s in settings)
    several = len(regimes) > 1
    twice = {s[2] for s in settings if sum(other[2] == s[2] for other in settings) > 1}
    arms = {s: names.paradigm[s[2]] + (f", {names.regime[s[1]]}" if s[2] in twice else "") for s in settings}
    first = min(settings, key=lambda s: s[2].split("(")[0] != REFERENCE)  # the first standard one, else the first
    same = {s[1]: s for s in reversed(settings) if s[2] == first[2]}
    shared = unique(r.split("(")[0] for r in regimes)
    title = f"{names.dataset[dataset]} · {', '.join(shared) if several else names.regime[regimes[0]]}"
    return ParadigmGroup(dataset, title, start, val_size, arms, {s: same.get(s[1], first) for s in settings})


def apart(reading: StudyResults) -> list[Setting]:
    """Settings of a dataset with several paradigms that begin like no setting of another paradigm."""
    settings = reading.store.study.settings
    several = {d for d in {s[0] for s in settings} if len({s[2] for s in settings if s[0] == d}) > 1}
    together = {s for group in paradigm_groups(reading) for s in group.members}
    return [s for s in settings if s[0] in several and s not in together and reading.regime(s)]


def budgets_of(reading: StudyResults, setting: Setting, queries: Sequence[str]) -> list[int]:
    """Budgets that all complete runs of these methods have; none where a method has no complete run."""
    areas = of_setting(reading.areas, setting)
    frame = of_setting(reading.frame, setting)
    sets = []
    for query in queries:
        done = areas[(areas["query"] == query) & areas["complete"]] if len(areas) else areas
        if done.empty:
            return []
        sets += [set(frame[frame["run"] == run]["budget"].astype(int)) for run in done["run"]]
    return sorted(set.intersection(*sets)) if sets else []


def compare_paradigms(reading: StudyResults, group: ParadigmGroup, arm: Setting) -> Pair | None:
    """An arm against its reference; None where it is one itself, or they share no budget or seed."""
    reference = group.reference[arm]
    if arm == reference:
        return None
    shared = _shared(reading, arm, reference)
    if not shared:
        return None
    parts = {"reference": (reference, reading.baseline), "arm": (arm, reading.baseline)}
    frame = _frame(reading, parts, shared)
    rows = gains(run_areas(frame), "reference")
    if rows.empty or not rows["n"].iloc[0]:
        return None
    saved = [s for s in label_savings(frame, "reference") if s.share == 0.9]
    return Pair(shared, {str(k): v for k, v in rows.iloc[0].items()}, saved[0] if saved else None)


def _shared(reading: StudyResults, arm: Setting, reference: Setting) -> list[int]:
    own, other = (budgets_of(reading, s, [reading.baseline]) for s in (arm, reference))
    return sorted(set(own) & set(other))


def _frame(reading: StudyResults, parts: dict[str, tuple[Setting, str]], budgets: list[int]) -> "pd.DataFrame":
    """Complete runs of (setting, query method) as the runs of one setting, at these budgets, under other names."""
    import pandas as pd

    complete = set(reading.areas[reading.areas["complete"]]["run"])
    found: list[pd.DataFrame] = []
    for name, (setting, query) in parts.items():
        rows = of_setting(reading.frame, setting)
        rows = rows[(rows["query"] == query) & rows["run"].isin(complete) & rows["budget"].isin(budgets)]
        number = [budgets.index(int(b)) for b in rows["budget"]]
        found.append(rows.assign(regime="", paradigm="", query=name, round=number))
    return pd.concat(found, ignore_index=True)


# -------------------------------------------------------------------------------------------------------- verdict


def verdicts(reading: StudyResults) -> list[Verdict]:
    """The verdict on each dataset that was run with several paradigms and several query methods."""
    found: dict[str, list[HparamChoice]] = {}
    for group in paradigm_groups(reading):
        if choice := _choice(reading, group):
            found.setdefault(group.dataset, []).append(choice)
    made = [_verdict(dataset, choices) for dataset, choices in found.items()]
    return [verdict for verdict in made if verdict]


def _verdict(dataset: str, choices: list[HparamChoice]) -> Verdict | None:
    seeds = sorted(set.intersection(*(set(c.seeds) for c in choices)))
    if not seeds:
        return None

    def mean(values: list[Array]) -> Array:
        own = [v[[c.seeds.index(s) for s in seeds]] for c, v in zip(choices, values, strict=True)]
        return np.asarray(np.mean(own, axis=0))

    by_paradigm, by_query = mean([c.by_paradigm for c in choices]), mean([c.by_query for c in choices])
    difference = t_interval(by_paradigm - by_query)
    return Verdict(dataset, choices, t_interval(by_paradigm), t_interval(by_query), difference)


def _choice(reading: StudyResults, group: ParadigmGroup) -> HparamChoice | None:
    """The best paradigm and the best query method of a group, each alone, from the same place.

    All arms are compared at the budgets that all have, so that the best one is chosen, and measured, on one scale. Arms
    and methods that lack seeds which others have are not ranked: they might lead by failing where they are bad.
    """
    start = group.references[0]
    classifiers, baseline = reading.classifiers[start], reading.baseline
    methods = [q for q in classifiers.dropouts if q != baseline and not classifiers.is_control(q)]
    others = [arm for arm in group.members if arm not in group.references and len(_shared(reading, arm, start)) > 1]
    if not methods or not others:
        return None
    budgets = sorted(set.intersection(*(set(_shared(reading, arm, start)) for arm in others)))
    if len(budgets) < 2:
        return None
    parts = {str(("query", q)): (start, q) for q in classifiers.dropouts}
    parts |= {str(("arm", arm)): (arm, baseline) for arm in others}
    areas = run_areas(_frame(reading, parts, budgets))
    done = areas[areas["complete"]]
    found = {name: dict(zip(rows["seed"], rows["aubc"], strict=True)) for name, rows in done.groupby("query")}
    base = str(("query", baseline))
    versus: dict[str, str] = {str(("query", q)): str(("query", classifiers.reference(q))) for q in methods}
    versus |= {str(("arm", arm)): base for arm in others}
    gained = {
        name: {seed: found[name][seed] - found[other][seed] for seed in found[name] if seed in found[other]}
        for name, other in versus.items()
        if name in found and other in found
    }
    arm_gains = _ranked({arm: gained.get(str(("arm", arm)), {}) for arm in others})
    query_gains = _ranked({q: gained.get(str(("query", q)), {}) for q in methods})
    seeds = sorted(set.intersection(set(found.get(base, {})), *map(set, [*arm_gains.values(), *query_gains.values()])))
    if not seeds or not arm_gains or not query_gains:
        return None
    arm, by_paradigm = _best(arm_gains, seeds)
    query, by_query = _best(query_gains, seeds)
    return HparamChoice(group, start, arm, query, budgets, seeds, by_paradigm, by_query)


def _ranked(gained: dict[Any, dict[int, float]]) -> dict[Any, dict[int, float]]:
    """Those with as many seeds as any has."""
    most = max(map(len, gained.values()), default=0)
    return {name: own for name, own in gained.items() if own and len(own) == most}


def _best(gained: dict[Any, dict[int, float]], seeds: list[int]) -> tuple[Any, Array]:
    """What gains most on average with its gain on each seed; None and zeros where nothing gains."""
    values = {name: np.array([own[s] for s in seeds], dtype=np.float64) for name, own in gained.items()}
    best = max(values, key=lambda name: float(values[name].mean()))
    return (best, values[best]) if values[best].mean() > 0 else (None, np.zeros(len(seeds)))
