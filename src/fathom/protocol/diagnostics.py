"""What the harness adds to what a paradigm shows of its training: what only the holder of the labels can measure."""

import json
from typing import Any

import torch

from fathom.core.records import FathomError
from fathom.core.streams import Streams
from fathom.data.images import Subset
from fathom.learn.task import Classifier
from fathom.protocol.dropout import prediction_draws
from fathom.protocol.oracle import Labeled, Oracle
from fathom.protocol.split import Split

ENGINE = "step"  # how the engine did its steps, which decides no number


def public_diagnostics(classifier: Classifier) -> dict[str, Any]:
    """What a classifier shows of its training, without how the engine did its steps.

    Raises:
        FathomError: It is not plain JSON.
    """
    found = {name: value for name, value in getattr(classifier, "diagnostics", {}).items() if name != ENGINE}
    try:
        json.dumps(found, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FathomError(f"what a classifier shows of its training must be plain JSON without NaN: {error}") from None
    return found


def engine_of(classifier: Classifier) -> str:
    """How the engine did its steps: `captured`, or `eager: ` and why; empty on a CPU, where there is one way."""
    return str(getattr(classifier, "diagnostics", {}).get(ENGINE, ""))


def diagnostics(split: Split, classifier: Classifier, labeled: Labeled, dropout: float) -> dict[str, Any]:
    """What the classifier shows of its training; where it names a `threshold`, how right its pseudo-labels are.

    `pseudo_rate`: share of the pool that the classifier is at least that sure of. `pseudo_accuracy`: share of these
    that it is right about, None where it is sure of nothing. The hidden labels are looked at for the report alone.
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
    oracle, classes = Oracle(split.dataset.labels), guessed.cpu().numpy()
    right = oracle.agreement(pool[chosen], classes[chosen]) if chosen.any() else None
    return found | {"pseudo_rate": float(chosen.mean()), "pseudo_accuracy": right}
