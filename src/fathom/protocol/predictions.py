"""Test predictions that rounds keep for later questions, in half precision."""

import numpy as np
import torch

from fathom.learn.tensor_file import to_bytes
from fathom.stats.classification import Array
from fathom.store.store import PREDICTIONS, Store

LOWEST = float(np.finfo(np.float16).min)  # nats; a smaller log-probability would become minus infinity


def keep_predictions(store: Store, log_probs: Array) -> str:
    """Write the log-probabilities of the test split as float16; returns the SHA-256 of the file, for the round.

    Args:
        store: The study's store.
        log_probs: Of the mean probability over the draws, nats [t, c].
    """
    halves = torch.from_numpy(np.maximum(log_probs, LOWEST).astype(np.float16))
    return store.put_named_by_content(PREDICTIONS, to_bytes({"log_probs": halves}, "the test predictions"))
