"""What the harness adds to what a paradigm shows of its training: what only the holder of the labels can measure."""

from typing import Any

import torch

from fathom.data.images import Subset
from fathom.learn.task import Classifier
from fathom.run.dropout import prediction_draws
from fathom.run.oracle import Labeled, Oracle
from fathom.run.start import Start
from fathom.streams import Streams


def shown(start: Start, classifier: Classifier, labeled: Labeled, dropout: float) -> dict[str, Any]:
    """What the classifier shows of its training; where it names a `threshold`, how right its pseudo-labels are.

    `pseudo_rate`: share of the pool that the classifier is at least that sure of. `pseudo_accuracy`: share of these
    that it is right about, None where it is sure of nothing. The hidden labels are looked at for the report alone.
    """
    found = dict(classifier.shown)
    pool = start.pool_ids(labeled.ids)
    if "threshold" not in found or not len(pool):
        return found
    images = Subset(start.dataset.images, start.tensor(pool))
    chunks = classifier.stream(images, prediction_draws(dropout), Streams(start.seed)("draws"))
    probs = torch.cat([p.log_probs.exp().mean(1) for p in chunks])
    sure, classes = probs.max(1)
    chosen = (sure >= found["threshold"]).cpu().numpy()
    oracle, told = Oracle(start.dataset.labels), classes.cpu().numpy()
    right = oracle.agreement(pool[chosen], told[chosen]) if chosen.any() else None
    return found | {"pseudo_rate": float(chosen.mean()), "pseudo_accuracy": right}
