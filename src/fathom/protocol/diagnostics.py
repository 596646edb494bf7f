"""Diagnostics of a round's training: those of the paradigm, and those that need the hidden labels."""

import json
from typing import Any

import torch

from fathom.core.records import FathomError
from fathom.core.streams import Streams
from fathom.data.images import Subset
from fathom.design.dropout import prediction_draws
from fathom.learn.task import Classifier
from fathom.protocol.oracle import Labeled, Oracle
from fathom.protocol.split import Split

ENGINE = "step"  # how the engine did its steps, which decides no number


def public_diagnostics(classifier: Classifier) -> dict[str, Any]:
    """Diagnostics of a classifier's training, without how the engine did its steps.

    Raises:
        FathomError: It is not plain JSON.
    """
    found = {name: value for name, value in getattr(classifier, "diagnostics", {}).items() if name != ENGINE}
    try:
        json.dumps(found, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FathomError(f"diagnostics of a classifier must be plain JSON without NaN: {error}") from None
    return found


def engine_of(classifier: Classifier) -> str:
    """How training steps were done: `captured`, or `eager: ` and the reason; empty on a CPU, where all are eager."""
    return str(getattr(classifier, "diagnostics", {}).get(ENGINE, ""))


def diagnostics(
    split: Split, classifier: Classifier, labeled: Labeled, oracle: Oracle, dropout: float
) -> dict[str, Any]:
    """Diagnostics of the classifier's training; where it names a `threshold`, also how good its pseudo-labels are.

    The hidden labels are looked at for the report alone, so they are not part of the run's bill.

    Returns:
        The classifier's own diagnostics, with `pseudo_rate`: share of the pool with a confidence of at least the
        threshold, in [0, 1]; and `pseudo_accuracy`: share of these with the right class, None where there are none.
    """
    found = public_diagnostics(classifier)
    pool = split.pool_ids(labeled.ids)
    if "threshold" not in found or not len(pool):
        return found
    images = Subset(split.dataset.images, split.tensor(pool))
    chunks = classifier.stream(images, prediction_draws(dropout), Streams(split.seed)("draws"))
    probs = torch.cat([p.log_probs.exp().mean(1) for p in chunks])
    sure, guessed = probs.max(1)
    chosen = (sure >= found["threshold"]).cpu().numpy()
    classes = guessed.cpu().numpy()
    right = oracle.agreement(pool[chosen], classes[chosen]) if chosen.any() else None
    return found | {"pseudo_rate": float(chosen.mean()), "pseudo_accuracy": right}
