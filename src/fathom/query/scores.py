"""Uncertainty scores: one number per sample, independent of the rest of the pool. The highest are queried.

All use the mean of the k draws' probabilities, as the study does; only BALD and the votes of the variation ratios use
single draws. Every score is at least 0, so that power sampling applies to each.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from fathom.core.records import FathomError
from fathom.query.blocks import row_blocks, wide
from fathom.query.view import PoolView, mean_probs
from fathom.registry.registry import score


@score("entropy")
def entropy(view: PoolView) -> Float[Tensor, "n"]:
    """Query the samples whose predictive distribution has the highest entropy, in nats, 0 to log c.

    Source: Shannon 1948; Lüth et al. 2023, Sec. 2.2 ("Entropy"). With several draws, of their mean.
    """
    return _row_by_row(view, lambda probs: -(probs.clamp_min(torch.finfo(probs.dtype).tiny).log_() * probs).sum(1))


@score("least-confidence")
def least_confidence(view: PoolView) -> Float[Tensor, "n"]:
    """Query the samples whose most likely class has the lowest probability; 1 - max p, in [0, 1].

    Source: Lewis and Gale 1994; Settles 2009, Sec. 3.1. Ours: the sum over the other classes, which keeps the
    digits that 1 - max p loses to rounding where p is near 1.
    """
    return _row_by_row(view, lambda probs: _drop_top(probs).sum(1))


@score("margin")
def margin(view: PoolView) -> Float[Tensor, "n"]:
    """Query the samples whose two most likely classes are closest; 1 - (p1 - p2), in [0, 1].

    Source: Scheffer et al. 2001; Settles 2009, Sec. 3.1. Ours: 1 - margin instead of the negative margin, so that it is
    never negative and power sampling applies; the order is the same.
    """

    def closeness(probs: Tensor) -> Tensor:
        others = _drop_top(probs)
        return others.sum(1) + others.amax(1)

    return _row_by_row(view, closeness)


@score("variation-ratios", draws=50)
def variation_ratios(view: PoolView, *, of: str = "mean") -> Float[Tensor, "n"]:
    """Query the samples on whose class the dropout draws agree least; in [0, 1].

    Args:
        view: The pool with k draws.
        of: `mean`: 1 - max_y p(y|x) of the mean over draws, as the study computes it. `votes`: 1 - the fraction of
            draws whose most likely class is the most frequent one; its values are multiples of 1/k, so there are many
            ties (broken at random).

    Raises:
        FathomError: `of` is neither.

    Source: `mean`: Gal et al. 2017, Sec. 4. `votes`: Freeman 1965; Gal 2016 (thesis), Sec. 3.3.1.
    """
    if of == "mean":
        return least_confidence(view)
    if of != "votes":
        raise FathomError(f"variation-ratios: of expects mean or votes; got {of!r}")
    n, k, c = view.log_probs.shape
    votes = torch.zeros(n, c, dtype=wide(view.device), device=view.device)
    winners = view.log_probs.argmax(2)
    votes.scatter_add_(1, winners, torch.ones_like(winners, dtype=votes.dtype))
    return 1 - votes.amax(1) / k


@score("bald", draws=50)
def bald(view: PoolView) -> Float[Tensor, "n"]:
    """Query the samples whose label tells most about the weights: the mutual information of both, in nats.

    I(y; w | x) = H(mean over draws of p) - mean over draws of H(p), 0 to log min(c, k).

    Source: Houlsby et al. 2011, Eq. 2; Gal et al. 2017, Sec. 4. Ours: computed as the mean Kullback-Leibler divergence
    of the draws from their mean, which is the same number without the cancellation of two entropies.
    """
    n, k, c = view.log_probs.shape
    information = torch.empty(n, dtype=wide(view.device), device=view.device)
    for rows in row_blocks(n, k * c, view.device):
        log_probs = floored(view.log_probs[rows])
        probs = log_probs.exp()
        log_mean = probs.mean(1, keepdim=True).clamp_min(torch.finfo(probs.dtype).tiny).log()
        information[rows] = (log_probs - log_mean).mul_(probs).sum((1, 2), dtype=information.dtype)
    return information.div_(k).clamp_min_(0)


def floored(log_probs: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Log-probabilities with -inf made finite, so that p log p is 0 and not NaN where p is 0."""
    return log_probs.clamp_min(-1e4)


def _row_by_row(view: PoolView, score: Callable[[Tensor], Tensor]) -> Float[Tensor, "n"]:
    """Apply a score to the mean probabilities [b, c] block by block; it may write into them."""
    n, k, c = view.log_probs.shape
    out = torch.empty(n, dtype=wide(view.device), device=view.device)
    for rows in row_blocks(n, k * c, view.device):
        out[rows] = score(mean_probs(view.log_probs[rows]))
    return out


def _drop_top(probs: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """Set the largest probability of each row to 0, in place."""
    return probs.scatter_(1, probs.argmax(1, keepdim=True), 0.0)
