"""Classifiers that are no better than a constant answer: what they show about query methods is noise."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fathom.core.records import Setting
from fathom.results.names import label

if TYPE_CHECKING:
    from fathom.results.results import StudyResults

HARDLY = 0.1  # of the way from a constant answer to a perfect one; ours


def constant_score(facts: Mapping[str, Any] | None) -> float:
    """Test score of a classifier that always names one class: the best it can reach by that.

    The share of the most frequent test class for accuracy; chance, 1 / classes with a test image, for balanced
    accuracy. -inf where the counts are not recorded.
    """
    counts = [n for n in (facts or {}).get("test_class_counts", ()) if n]
    if not counts or facts is None:
        return float("-inf")
    return 1 / len(counts) if facts["metric"] == "balanced_accuracy" else max(counts) / sum(counts)


def constant_scores(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Dataset -> `constant_score`, from the facts of each dataset."""
    return {dataset: constant_score(own) for dataset, own in facts.items()}


def trivial_methods(results: "StudyResults", setting: Setting) -> dict[str, float]:
    """Query methods of a setting whose mean final score is at or below `constant_score` -> that mean."""
    means, level = results.means, constant_score(results.facts.get(setting.dataset))
    own = means[(means[["dataset", "regime", "paradigm"]] == list(setting)).all(axis=1)] if len(means) else means
    scores = {str(row["query"]): float(row["final"]) for row in own.to_dict("records")}
    return {query: score for query, score in scores.items() if np.isfinite(score) and score <= level}


def trivial_words(results: "StudyResults", settings: Iterable[Setting]) -> list[str]:
    """One sentence per setting that has such classifiers, with their numbers."""
    found = []
    for setting in settings:
        if methods := trivial_methods(results, setting):
            facts = results.facts[setting.dataset]
            level, metric = f"{100 * constant_score(facts):.1f} %", str(facts["metric"]).replace("_", " ")
            what = "chance" if facts["metric"] == "balanced_accuracy" else "always naming the majority class"
            scores = ", ".join(f"{label(query)} {100 * score:.1f} %" for query, score in methods.items())
            found.append(
                f"{results.names.title(setting)}: no better than {what} ({level} {metric}) with the last budget: "
                f"{scores}. Such classifiers have learned nothing that a query method could use, so gains and savings "
                "here say nothing about query methods"
            )
    return found


def weak_words(results: "StudyResults", settings: Iterable[Setting]) -> list[str]:
    """One sentence per setting whose best mean final score is hardly better than `constant_score`."""
    found = []
    for setting in settings:
        level, best = constant_score(results.facts.get(setting.dataset)), _best_final(results, setting)
        if best is not None and level < best <= level + HARDLY * (1 - level):
            what = "chance" if results.metric(setting) == "balanced_accuracy" else "always naming the majority class"
            found.append(
                f"{results.names.title(setting)}: hardly better than {what} ({100 * level:.1f} %): with the last "
                f"budget the best mean score is {100 * best:.1f} %, so gains here say little about query methods"
            )
    return found


def _best_final(results: "StudyResults", setting: Setting) -> float | None:
    means = results.means
    own = means[(means[["dataset", "regime", "paradigm"]] == list(setting)).all(axis=1)] if len(means) else means
    scores = [float(score) for score in own["final"] if np.isfinite(score)] if len(own) else []
    return max(scores, default=None)
