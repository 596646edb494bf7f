"""Records of training itself: learning curves of encoders, statistics of pseudo-labels."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fathom.core.records import Round, Setting, grouped, unique
from fathom.results.class_recalls import pool_shares
from fathom.results.results import StudyResults
from fathom.stats.curves import budget_curves
from fathom.stats.inference import Array
from fathom.store.record_store import Record

if TYPE_CHECKING:
    import pandas as pd

RATES = ("mask_rate", "pseudo_rate", "pseudo_accuracy")


@dataclass(frozen=True)
class ProbeCurve:
    """Encoders of one dataset and one pre-training, one per seed.

    Args:
        dataset: Spec string.
        preparation: Spec string of the pre-training.
        records: Seed -> (content, clock).
    """

    dataset: str
    preparation: str
    records: dict[int, Record]

    def curve(self, seed: int) -> tuple[list[float], list[float]]:
        """(epochs, kNN accuracy after each of them, a fraction)."""
        points = [p for p in self.records[seed][0].get("curve", []) if "knn_accuracy" in p]
        return [float(p["epoch"]) for p in points], [float(p["knn_accuracy"]) for p in points]

    @property
    def seeds(self) -> list[int]:
        """Seeds with a curve; an encoder that was downloaded has none."""
        return [seed for seed in self.records if self.curve(seed)[0]]


def probe_curves(results: StudyResults) -> list[ProbeCurve]:
    """Encoders of the study, sorted by dataset and pre-training."""
    found = grouped(((str(r[0]["dataset"]), str(r[0]["preparation"])), r) for r in results.prepared)
    return [ProbeCurve(*key, {int(r[0]["seed"]): r for r in records}) for key, records in found.items()]


@dataclass(frozen=True, eq=False)
class PseudoLabelStats:
    """Statistics of the pseudo-labels of a setting, as its rounds recorded them.

    Args:
        setting: The setting.
        frame: One row per round: `SETTING`, `query`, `seed`, `round`, `budget`, and `RATES` (fractions; NaN where the
            round did not record them).
        threshold: Lowest confidence of a pseudo-label, in [0, 1]; None where unknown.
        rounds: (budget, rounds of the detailed query method at that budget, one per seed), in order.
        query: Query method whose training is shown in detail: the baseline if it was run.
        pool: Share of each class in the pool; empty where unknown.
    """

    setting: Setting
    frame: "pd.DataFrame"
    threshold: float | None
    rounds: list[tuple[int, list[Round]]]
    query: str
    pool: list[float]

    def curves(self, rate: str) -> "pd.DataFrame":
        """Curves of a rate over budgets, in the form of `budget_curves`."""
        known = self.frame[self.frame[rate].notna()]
        return budget_curves(known.assign(score=known[rate]))

    def mask_rates(self) -> list[tuple[int, Array, Array]]:
        """(budget, epochs, mask rate after each of them, mean over seeds) of each round that recorded it."""
        found = []
        for budget, rounds in self.rounds:
            own = [r.training for r in rounds if _numbers(r.training.get("mask_rate"))]
            if own:
                # Seeds may have recorded different numbers of epochs; the last ones are aligned.
                length = min(len(t["mask_rate"]) for t in own)
                rates = np.mean([t["mask_rate"][-length:] for t in own], axis=0)
                epochs = _numbers(own[0].get("epochs"))[-length:]
                found.append((budget, np.array(epochs if len(epochs) == length else range(1, length + 1)), rates))
        return found

    def marginals(self) -> tuple[int, Array, Array | None] | None:
        """(budget, predicted share of each class, target of the alignment or None) in the last round that recorded it.

        Shares are means over seeds.
        """
        for budget, rounds in reversed(self.rounds):
            own = [r.training for r in rounds if _numbers(r.training.get("marginals"))]
            if own and len({len(t["marginals"]) for t in own}) == 1:
                size = len(own[0]["marginals"])
                targets = [t["target"] for t in own if len(_numbers(t.get("target"))) == size]
                target = np.mean(targets, axis=0) if targets else None
                return budget, np.mean([t["marginals"] for t in own], axis=0), target
        return None


def pseudo_label_stats(results: StudyResults) -> list[PseudoLabelStats]:
    """Pseudo-label statistics of each setting; settings that recorded none are left out."""
    found = (_of_setting(results, setting) for setting in results.store.study.settings)
    return [own for own in found if own]


def _of_setting(results: StudyResults, setting: Setting) -> PseudoLabelStats | None:
    import pandas as pd

    rows: list[dict[str, Any]] = []
    runs = [run.spec for run in results.runs_of.get(setting, ())]
    threshold = None
    for spec in runs:
        for r in results.store.rounds(spec):
            rates = {rate: _last(r.training.get(rate)) for rate in RATES}
            if np.isfinite(list(rates.values())).any():
                row: dict[str, Any] = setting._asdict() | {"query": spec.query, "seed": spec.seed}
                rows.append(row | {"round": r.round, "budget": r.budget, "looked_at": r.looked_at} | rates)
                threshold = r.training.get("threshold", threshold)
    if not rows:
        return None
    queries = unique(row["query"] for row in rows)
    query = results.baseline if results.baseline in queries else queries[0]
    rounds = [r for spec in runs if spec.query == query for r in results.store.rounds(spec)]
    by_round = grouped((r.round, r) for r in rounds)
    detailed = [(own[0].budget, own) for _, own in sorted(by_round.items())]
    facts = results.facts.get(setting.dataset)
    pool = pool_shares(facts) if facts else []
    return PseudoLabelStats(setting, pd.DataFrame(rows), threshold, detailed, query, pool)


def _numbers(value: Any) -> list[float]:
    """A list of numbers; empty for anything else, since another paradigm may use the same name for something else."""
    fits = isinstance(value, list) and all(isinstance(v, int | float) for v in value)
    return [float(v) for v in value] if fits else []


def _last(value: Any) -> float:
    """A number, or the last of a list of numbers; NaN for anything else."""
    if isinstance(value, int | float):
        return float(value)
    return (_numbers(value) or [float("nan")])[-1]
