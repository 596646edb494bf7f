"""Synthetic pools for the tests of query methods."""

import torch

from fathom.query.view import PoolView


def pool(
    n: int = 60,
    k: int = 1,
    c: int = 4,
    d: int = 6,
    m: int = 10,
    seed: int = 0,
    sharp: float = 1.0,
    dtype: torch.dtype = torch.float64,
) -> PoolView:
    """A random pool with a row of draws, features and labeled samples."""
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, 1, c, generator=rng) + 0.7 * torch.randn(n, k, c, generator=rng)
    return PoolView(
        (sharp * logits).to(dtype).log_softmax(2),
        torch.randn(n, d, generator=rng).to(dtype),
        torch.randn(m, d, generator=rng).to(dtype),
        torch.randint(c, (m,), generator=rng),
    )


def scored(log_probs: torch.Tensor) -> PoolView:
    """A pool of which only predictions are known."""
    n = len(log_probs)
    return PoolView(log_probs, torch.zeros(n, 0), torch.zeros(0, 0), torch.zeros(0, dtype=torch.long))


def rows(view: PoolView, at: torch.Tensor | slice) -> PoolView:
    """The pool at some positions."""
    return PoolView(view.log_probs[at], view.features[at], view.labeled_features, view.labeled_labels)
