"""Recall of each class at the last budget, and the gain of query methods over their reference, paired by seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fathom.core.records import Round, Setting
from fathom.results.results import StudyResults
from fathom.stats.inference import LEVEL, t_interval

Recalls = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class ClassGain:
    """Recall of each class under one query method, in the order of the dataset's classes.

    Args:
        against: Query method that it is compared with; empty for the baseline, whose recalls are not a difference.
        n: Seeds: complete runs, or pairs of them.
        mean, low, high: Mean and 95 % t-interval over seeds, fractions; NaN where a class has no test image. The
            intervals are not corrected for the number of classes.
        labels: Mean training labels of each class at the last budget.
    """

    against: str
    n: int
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    labels: Sequence[float]


def class_gains(results: StudyResults, setting: Setting) -> dict[str, ClassGain]:
    """Query method -> its recalls per class: the baseline's own, and the differences of the others to their reference.

    Only complete runs count. Empty where no run is complete or the dataset's classes are not known.

    Source: ours; the paper reports means over classes only.
    """
    if not results.facts.get(setting.dataset, {}).get("class_names"):
        return {}
    last: dict[str, dict[int, Round]] = {}
    for run in results.runs_of.get(setting, ()):
        if run.complete and (rounds := results.store.rounds(run.spec)):
            last.setdefault(run.spec.query, {})[run.spec.seed] = rounds[-1]
    found: dict[str, ClassGain] = {}
    for query, own in last.items():
        if query == results.baseline:
            found[query] = _summary("", [_recalls(r) for r in own.values()], list(own.values()))
            continue
        against = results.references.get((setting, query), results.baseline)
        pairs = [(own[seed], last[against][seed]) for seed in own if seed in last.get(against, {})]
        if pairs:
            differences = [_recalls(a) - _recalls(b) for a, b in pairs]
            found[query] = _summary(against, differences, [a for a, _ in pairs])
    return found


def _recalls(record: Round) -> Recalls:
    return np.array([np.nan if value is None else value for value in record.recalls], dtype=np.float64)


def _summary(against: str, values: list[Recalls], records: list[Round]) -> ClassGain:
    bands = [t_interval(column, LEVEL) for column in np.stack(values).T]
    labels = np.mean([record.labeled_classes for record in records], axis=0)
    mean, low, high = ([float(getattr(band, name)) for band in bands] for name in ("mean", "low", "high"))
    return ClassGain(against, len(values), mean, low, high, labels.tolist())


def pool_shares(facts: dict[str, Any]) -> list[float]:
    """Share of each class in a dataset's pool, in [0, 1].

    A long tail is cut from the train part of each seed: class c of C keeps rho^(-c / (C - 1)) of its images, so the
    shares are nominal.
    """
    counts = np.asarray(facts["class_counts"], dtype=np.float64)
    if rho := facts.get("long_tail"):
        counts = counts * float(rho) ** (-np.arange(len(counts)) / max(1, len(counts) - 1))
    return [float(share) for share in counts / max(1.0, counts.sum())]
