"""Measurement of a round's test metrics; their names, units and directions are in `core.metrics`."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

BINS = 15  # of the expected calibration error

Array = np.ndarray[Any, np.dtype[Any]]


def measure(log_probs: Float[Tensor, "t k c"], labels: Int[Tensor, "t"]) -> tuple[dict[str, float], list[float | None]]:
    """Compute all metrics of a test set (`core.metrics.METRICS`).

    The prediction is the mean probability over the k draws. Classes absent from the test set have no recall and are
    left out of the means over classes; a class that is never predicted has F1 0.

    Args:
        log_probs: Log of the class probabilities, nats.
        labels: True classes.

    Returns:
        `accuracy`, `balanced_accuracy` (mean recall), `macro_f1`, `log_loss` (mean negative log probability of the
        true class, nats), `ece` (expected calibration error of the top class over 15 equal bins), and the recall of
        each class.

    Source: Guo et al. 2017, Eq. 3 (ECE); Brodersen et al. 2010 (balanced accuracy).
    """
    mean = torch.logsumexp(log_probs.double(), dim=1) - np.log(log_probs.shape[1])
    log_p, y = mean.cpu().numpy(), labels.cpu().numpy()
    predicted = log_p.argmax(axis=1)
    c = log_p.shape[1]
    count = np.zeros((c, c), np.int64)  # [true, predicted]
    np.add.at(count, (y, predicted), 1)
    truth, claims, hits = count.sum(axis=1), count.sum(axis=0), np.diag(count)
    present = truth > 0
    recall = hits[present] / truth[present]
    f1 = 2 * hits[present] / (truth[present] + claims[present])
    metrics = {
        "accuracy": float((predicted == y).mean()),
        "balanced_accuracy": float(recall.mean()),
        "macro_f1": float(f1.mean()),
        "log_loss": float(-log_p[np.arange(len(y)), y].mean()),
        "ece": expected_calibration_error(np.exp(log_p.max(axis=1)), predicted == y),
    }
    recalls = [float(hits[i] / truth[i]) if truth[i] else None for i in range(c)]
    return metrics, recalls


def expected_calibration_error(confidence: Array, correct: Array) -> float:
    """Mean gap between confidence and accuracy over `BINS` equal bins of confidence, weighted by samples; in [0, 1].

    Source: Guo et al. 2017, Eq. 3; bins are (lower, upper] as there.
    """
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gap = np.bincount(bins, weights=correct.astype(float) - confidence, minlength=BINS)
    return float(np.abs(gap).sum() / len(confidence))
