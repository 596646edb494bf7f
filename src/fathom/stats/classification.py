"""Test metrics of a classifier from its log-probabilities: scores of classes, of calibration and of failure detection.

Names, units and directions are in `core.metrics`. A failure is a wrongly classified sample. Confidence is the largest
class probability. Samples of equal confidence are accepted or rejected together, so no result depends on their order.
"""

from typing import Any

import numpy as np

BINS = 15  # of the expected calibration error

Array = np.ndarray[Any, np.dtype[Any]]


def measure(log_probs: Array, labels: Array) -> tuple[dict[str, float], list[float | None]]:
    """Compute all metrics of a test set (`core.metrics.METRICS`) and the recall of each class.

    Classes absent from the test set have no recall and are left out of the means over classes; a class that is never
    predicted has F1 0.

    Args:
        log_probs: Log of the class probabilities, nats [t, c]; with draws, of their mean.
        labels: True classes [t].

    Returns:
        The metrics by name, and the recall of each class (None for a class absent from the test set). `failure_auroc`
        is left out where it is not defined: without a failure, or with failures only.

    Source: Guo et al. 2017, Eq. 3 (ECE); Brodersen et al. 2010 (balanced accuracy).
    """
    predicted = log_probs.argmax(axis=1)
    c = log_probs.shape[1]
    count = np.zeros((c, c), np.int64)  # [true, predicted]
    np.add.at(count, (labels, predicted), 1)
    truth, claims, hits = count.sum(axis=1), count.sum(axis=0), np.diag(count)
    present = truth > 0
    recall = hits[present] / truth[present]
    f1 = 2 * hits[present] / (truth[present] + claims[present])
    confidence, correct = np.exp(log_probs.max(axis=1)), predicted == labels
    metrics = {
        "accuracy": float(correct.mean()),
        "balanced_accuracy": float(recall.mean()),
        "macro_f1": float(f1.mean()),
        "log_loss": float(-log_probs[np.arange(len(labels)), labels].mean()),
        "brier": brier_score(log_probs, labels),
        "ece": expected_calibration_error(confidence, correct),
        "aurc": aurc(confidence, correct),
        "augrc": augrc(confidence, correct),
    }
    if (separation := failure_auroc(confidence, correct)) is not None:
        metrics["failure_auroc"] = separation
    recalls = [float(hits[i] / truth[i]) if truth[i] else None for i in range(c)]
    return metrics, recalls


def brier_score(log_probs: Array, labels: Array) -> float:
    """Mean over samples of the squared distance between probabilities and the true class, summed over classes; 0 to 2.

    Source: Brier 1950, Eq. 2; two classes count twice what the binary form with one probability gives.
    """
    distance = np.exp(log_probs)
    distance[np.arange(len(labels)), labels] -= 1
    return float((distance**2).sum(axis=1).mean())


def expected_calibration_error(confidence: Array, correct: Array) -> float:
    """Mean gap between confidence and accuracy over `BINS` equal bins of confidence, weighted by samples; in [0, 1].

    Source: Guo et al. 2017, Eq. 3; bins are (lower, upper] as there.
    """
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gap = np.bincount(bins, weights=correct.astype(float) - confidence, minlength=BINS)
    return float(np.abs(gap).sum() / len(confidence))


# --------------------------------------------------------------------------------------------- failure detection


def failure_auroc(confidence: Array, correct: Array) -> float | None:
    """Probability that a correct sample has more confidence than a failure, equal ones counting half; in [0, 1].

    Returns:
        None where there is no failure, or nothing but failures.
    """
    accepted, failures = _accepted(confidence, correct)
    if failures[-1] in (0, accepted[-1]):
        return None
    return float(np.trapezoid((accepted - failures) / (accepted[-1] - failures[-1]), failures / failures[-1]))


def aurc(confidence: Array, correct: Array) -> float:
    """Area under the risk-coverage curve: the share of failures among accepted samples, over coverage; in [0, 1].

    The curve has one point per distinct confidence, is linear between them, and constant below the first.

    Source: Geifman and El-Yaniv 2017 (curve); interpolation and ties as in the published code of Traub et al. 2024.
    """
    accepted, failures = _accepted(confidence, correct)
    risk = failures[1:] / accepted[1:]
    return float(np.trapezoid(np.concatenate([risk[:1], risk]), accepted / accepted[-1]))


def augrc(confidence: Array, correct: Array) -> float:
    """Area under the generalized risk-coverage curve: the share of all samples that are accepted failures; in [0, 1/2].

    It is the risk that a failure goes undetected, averaged over coverage.

    Source: Traub et al. 2024, "Overcoming Common Flaws in the Evaluation of Selective Classification Systems", Sec. 3.
    """
    accepted, failures = _accepted(confidence, correct)
    return float(np.trapezoid(failures / accepted[-1], accepted / accepted[-1]))


def _accepted(confidence: Array, correct: Array) -> tuple[Array, Array]:
    """(samples, failures) accepted at no threshold and at each distinct confidence, from the highest down."""
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    last = np.append(ordered[1:] != ordered[:-1], True)  # of the samples of one confidence
    failures = np.cumsum(~correct[order])[last]
    accepted = np.arange(1, len(order) + 1)[last]
    return np.concatenate([[0], accepted]), np.concatenate([[0], failures])
