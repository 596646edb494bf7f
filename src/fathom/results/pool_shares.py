"""Classes of a pool, for comparisons with what was queried and predicted."""

from typing import Any

import numpy as np


def pool_shares(facts: dict[str, Any]) -> list[float]:
    """Share of each class in a dataset's pool, in [0, 1].

    A long tail is cut from the train part of each seed: class c of C keeps rho^(-c / (C - 1)) of its images, so the
    shares are nominal.
    """
    counts = np.asarray(facts["class_counts"], dtype=np.float64)
    if rho := facts.get("long_tail"):
        counts = counts * float(rho) ** (-np.arange(len(counts)) / max(1, len(counts) - 1))
    return [float(share) for share in counts / max(1.0, counts.sum())]
