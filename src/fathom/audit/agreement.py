"""Predicate on the difference between validation and test scores of a round.

Both estimate the accuracy of one classifier. If they lie further apart than chance allows, one of them is of another
classifier or of other images: for example, weights came back scrambled from a file. The interval of the difference is
Newcombe's hybrid of two Wilson intervals, which holds for small sets and scores near 0 or 1. Its confidence keeps the
chance of any false finding in a study below `ALPHA`, by Bonferroni over the rounds and over `EPOCHS`, as the validation
score is that of the best epoch. A test set may be a little harder than the train split, as sets collected apart are;
so only what exceeds `MARGIN` counts. Balanced accuracy has the variance of fewer samples (`effective_size`).

Source: Newcombe, 1998 (Statistics in Medicine 17:873), method 10; margin and correction ours.
"""

import math
from collections.abc import Sequence

from scipy.stats import norm

from fathom.audit.pitfalls import NOTHING, Answer
from fathom.audit.rules import predicate
from fathom.core.records import RunSpec
from fathom.core.text import plural
from fathom.results.results import StudyResults

ALPHA = 0.01  # chance of a false finding in a study
EPOCHS = 200  # candidates for the best epoch, at most
MARGIN = 0.10  # fraction: a difference up to which the test set may just be harder or easier


def implausible(val: float, n_val: float, test: float, n_test: float, alpha: float) -> bool:
    """True if two scores in [0, 1] differ by more than `MARGIN`, with confidence 1 - alpha.

    Args:
        val, test: Accuracies of one classifier on two sets.
        n_val, n_test: Their sizes.
        alpha: Two-sided, in (0, 1).
    """
    z = float(norm.isf(alpha / 2))
    (low, high), (test_low, test_high) = _wilson(val, n_val, z), _wilson(test, n_test, z)
    if val >= test:
        return val - test - math.hypot(val - low, test_high - test) > MARGIN
    return test - val - math.hypot(test - test_low, high - val) > MARGIN


def effective_size(counts: Sequence[float]) -> float:
    """Samples of a plain mean with about the variance of a mean over classes of these sizes."""
    present = [max(1.0, count) for count in counts if count > 0]
    return len(present) ** 2 / sum(1 / count for count in present) if present else 0.0


@predicate("agreement")
def agreement(r: StudyResults) -> Answer:
    """Rounds whose validation and test scores differ by more than chance and the margin."""
    if r.frame.empty:
        return NOTHING
    sizes = {run.spec.key: _sizes(r, run.spec) for run in r.runs}
    rows = r.frame.to_dict("records")
    scored = [(row, known) for row in rows if (known := sizes[row["run"]]) and row.get("val_score", math.nan) >= 0]
    if not scored:
        return "unknown", "no round has a validation score"
    alpha = ALPHA / len(scored) / EPOCHS
    apart = [row for row, (v, t) in scored if implausible(row["val_score"], v, row["score"], t, alpha)]
    worst = max((row for row, _ in scored), key=lambda row: abs(row["val_score"] - row["score"]))
    evidence = f"{len(apart)} of {plural(len(scored), 'round')} differ by more than ten points and chance; at most "
    evidence += f"{100 * worst['val_score']:.1f} % in validation and {100 * worst['score']:.1f} % in test"
    if apart:
        evidence += f" (round {worst['round']} of {worst['query']}, seed {worst['seed']})"
    return ("partly" if apart else "pass"), evidence


def _sizes(r: StudyResults, spec: RunSpec) -> tuple[float, float] | None:
    """Sizes of a run's validation and test set, those of balanced accuracy reduced; None where unknown."""
    regime, facts = r.store.regime(spec), r.facts.get(spec.dataset)
    if regime is None or not facts or not regime.val_size or not facts.get("test"):
        return None
    if facts["metric"] != "balanced_accuracy":
        return regime.val_size, facts["test"]
    counts = facts["class_counts"]
    share = regime.val_size / max(1, sum(counts))
    return effective_size([share * count for count in counts]), effective_size(facts["test_class_counts"])


def _wilson(p: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's interval of a proportion."""
    center, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (center - half) / (1 + z * z / n), (center + half) / (1 + z * z / n)
