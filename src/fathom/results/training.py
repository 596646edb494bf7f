"""What rounds and shared records say of training itself: encoders, backbones, pseudo-labels."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fathom.core.records import Round, Setting, unique
from fathom.results.results import StudyResults, class_shares
from fathom.stats.curves import SETTING, budget_curves
from fathom.stats.inference import Array

if TYPE_CHECKING:
    import pandas as pd

Record = tuple[dict[str, Any], dict[str, Any]]
RATES = ("mask_rate", "pseudo_rate", "pseudo_accuracy")


@dataclass(frozen=True)
class ProbeCurve:
    """Encoders of one dataset that were learned in one way, one a seed.

    Args:
        dataset: Call-string.
        preparation: What decides them, beside dataset and seed.
        records: Seed -> (content, clock).
    """

    dataset: str
    preparation: str
    records: dict[int, Record]

    def curve(self, seed: int) -> tuple[list[float], list[float]]:
        """(epochs, kNN accuracy after each, a fraction)."""
        points = [p for p in self.records[seed][0].get("curve", []) if "knn_accuracy" in p]
        return [float(p["epoch"]) for p in points], [float(p["knn_accuracy"]) for p in points]

    @property
    def watched(self) -> list[int]:
        """Seeds with a curve."""
        return [seed for seed in self.records if self.curve(seed)[0]]


def probes(reading: StudyResults) -> list[ProbeCurve]:
    """The study's encoders, in order of dataset and way."""
    found: dict[tuple[str, str], dict[int, Record]] = {}
    for content, clock in reading.prepared:
        key = (str(content["dataset"]), str(content["preparation"]))
        found.setdefault(key, {})[int(content["seed"])] = (content, clock)
    return [ProbeCurve(*key, records) for key, records in found.items()]


@dataclass(frozen=True, eq=False)
class PseudoLabelStats:
    """What the rounds of a setting say of their pseudo-labels.

    Args:
        setting: The setting.
        frame: One row a round: `SETTING`, `query`, `seed`, `round`, `budget`, and `RATES` (fractions; NaN where the
            round says nothing of it).
        threshold: Least confidence of a pseudo-label; None where unknown.
        rounds: (budget, the rounds of that number of the query method shown, one a seed), in order.
        query: Query method whose trainings are shown in detail: the baseline if it was run.
        pool: Share of each class in the pool; empty where unknown.
    """

    setting: Setting
    frame: "pd.DataFrame"
    threshold: float | None
    rounds: list[tuple[int, list[Round]]]
    query: str
    pool: list[float]

    def curves(self, rate: str) -> "pd.DataFrame":
        """A rate over budgets, as `budget_curves` gives scores."""
        known = self.frame[self.frame[rate].notna()]
        return budget_curves(known.assign(score=known[rate]))

    def mask_rates(self) -> list[tuple[int, Array, Array]]:
        """(budget, epochs, mask rate after each, mean over seeds) of each round that says so."""
        found = []
        for budget, rounds in self.rounds:
            own = [r.training for r in rounds if _numbers(r.training.get("mask_rate"))]
            if own:
                length = min(len(t["mask_rate"]) for t in own)
                rates = np.mean([t["mask_rate"][-length:] for t in own], axis=0)
                epochs = _numbers(own[0].get("epochs"))[-length:]
                found.append((budget, np.array(epochs if len(epochs) == length else range(1, length + 1)), rates))
        return found

    def marginals(self) -> tuple[int, Array, Array | None] | None:
        """(budget, mean guess of each class, what it was aligned to or None) in the last round, mean over seeds."""
        for budget, rounds in reversed(self.rounds):
            own = [r.training for r in rounds if _numbers(r.training.get("marginals"))]
            if own and len({len(t["marginals"]) for t in own}) == 1:
                size = len(own[0]["marginals"])
                targets = [t["target"] for t in own if len(_numbers(t.get("target"))) == size]
                target = np.mean(targets, axis=0) if targets else None
                return budget, np.mean([t["marginals"] for t in own], axis=0), target
        return None


def guesses(reading: StudyResults) -> list[PseudoLabelStats]:
    """What the rounds of each setting say of pseudo-labels; settings that say nothing are left out."""
    found = (_of_setting(reading, setting) for setting in reading.store.study.settings)
    return [own for own in found if own]


def _of_setting(reading: StudyResults, setting: Setting) -> PseudoLabelStats | None:
    import pandas as pd

    rows: list[dict[str, Any]] = []
    runs = [run.spec for run in reading.runs if run.spec.setting == setting]
    threshold = None
    for spec in runs:
        for r in reading.store.rounds(spec):
            rates = {rate: _last(r.training.get(rate)) for rate in RATES}
            if np.isfinite(list(rates.values())).any():
                row: dict[str, Any] = dict(zip(SETTING, setting, strict=True)) | {"query": spec.query}
                rows.append(row | {"seed": spec.seed, "round": r.round, "budget": r.budget} | rates)
                threshold = r.training.get("threshold", threshold)
    if not rows:
        return None
    queries = unique(row["query"] for row in rows)
    query = reading.baseline if reading.baseline in queries else queries[0]
    by_round: dict[int, list[Round]] = {}
    for spec in runs:
        for r in reading.store.rounds(spec) if spec.query == query else []:
            by_round.setdefault(r.round, []).append(r)
    detailed = [(own[0].budget, own) for _, own in sorted(by_round.items())]
    facts = reading.facts.get(setting.dataset)
    return PseudoLabelStats(
        setting, pd.DataFrame(rows), threshold, detailed, query, class_shares(facts) if facts else []
    )


def _numbers(value: Any) -> list[float]:
    """A list of numbers; empty for anything else, which another paradigm may show under the same name."""
    fits = isinstance(value, list) and all(isinstance(v, int | float) for v in value)
    return [float(v) for v in value] if fits else []


def _last(value: Any) -> float:
    """A number, or the last of several; NaN for anything else."""
    if isinstance(value, int | float):
        return float(value)
    return (_numbers(value) or [float("nan")])[-1]
