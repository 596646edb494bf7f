"""From scores to a batch: the highest, or a random draw that prefers high scores; optionally by predicted class."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.query.blocks import wide
from fathom.query.view import Selection

SAMPLINGS = ("top", "power", "softmax", "softrank")


def sample_by_rule(
    scores: Float[Tensor, "n"],
    size: int,
    stream: Stream,
    *,
    sampling: str = "top",
    beta: float = 1.0,
    strata: Int[Tensor, "n"] | None = None,
) -> Selection:
    """Pick `size` samples by their scores, best first; equal scores in random order.

    Args:
        scores: Higher is better; finite.
        size: Number of picks, at most n.
        stream: Random stream of ties and noise.
        sampling: `top` takes the highest scores. The others draw without replacement, by the Gumbel-top-k trick, with
            probability proportional to score**beta (`power`), exp(beta score) (`softmax`), rank**-beta (`softrank`).
        beta: Inverse temperature, above 0: toward infinity all become `top`.
        strata: Predicted class of each sample. If given, every class gives its best sample before any gives its second,
            and so on: equal shares as far as a class has samples; the remainder goes to the highest values.

    Returns:
        The picks, with their own scores (without noise).

    Raises:
        FathomError: `sampling` is unknown, or a score is negative with `power`.

    Source: Kirsch et al. 2023 (Stochastic Batch Acquisition), Table 1; stratification is ours.
    """
    order = descending(_values(scores, sampling, beta, stream), stream)
    if strata is not None:
        order = order[torch.argsort(_turns(strata[order]), stable=True)]
    positions = order[:size]
    return Selection(positions, scores[positions])


def descending(values: Float[Tensor, "n"], stream: Stream) -> Int[Tensor, "n"]:
    """Positions by decreasing value; equal values in an order drawn from the stream, never in that of the pool."""
    shuffled = torch.randperm(len(values), generator=stream.at("ties").torch()).to(values.device)
    return shuffled[torch.argsort(values[shuffled], descending=True, stable=True)]


def _values(scores: Float[Tensor, "n"], sampling: str, beta: float, stream: Stream) -> Float[Tensor, "n"]:
    if sampling == "top":
        return scores
    scores = scores.to(wide(scores.device))
    if sampling == "power":
        if (lowest := float(scores.min())) < 0:
            raise FathomError(
                f"sampling=power needs scores of 0 or more, and the lowest is {lowest:g}; use softmax or softrank"
            )
        base = scores.log()  # -inf at 0: only taken when nothing else is left
    elif sampling == "softmax":
        base = scores
    elif sampling == "softrank":
        ranks = torch.arange(1, len(scores) + 1, dtype=scores.dtype, device=scores.device)
        base = torch.empty_like(scores)
        base[descending(scores, stream.at("rank"))] = -ranks.log()
    else:
        raise FathomError(f"unknown sampling {sampling!r}. Expected one of: {', '.join(SAMPLINGS)}")
    # On the CPU, so that the noise does not depend on the device.
    exponential = torch.empty(len(scores), dtype=torch.float64).exponential_(generator=stream.at("noise").torch())
    return beta * base - exponential.log().to(base)  # -log of an exponential variable is Gumbel


def _turns(strata: Int[Tensor, "n"]) -> Int[Tensor, "n"]:
    """For each sample, the number of samples of its stratum before it."""
    grouped = torch.argsort(strata, stable=True)
    _, counts = torch.unique_consecutive(strata[grouped], return_counts=True)
    starts = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    turns = torch.empty_like(grouped)
    turns[grouped] = torch.arange(len(strata), device=strata.device) - starts
    return turns
