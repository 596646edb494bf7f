"""Batches that spread over the pool: Core-Set (farthest first) and BADGE (k-means++ on gradients).

Both pick greedily by the squared distance of each sample to its nearest center, which every pick can only shorten. So
an old distance is an upper bound, and that is what makes both fast: distances to the picks are folded into the pool
seldom, many picks in one matrix product (`Points.nearest`), and in between only the few samples that could be picked
are looked at.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.query.blocks import wide
from fathom.query.points import Points
from fathom.query.view import PoolView, Selection
from fathom.registry.registry import selection

LEAST_ACTIVE = 64  # samples
CPU_ACTIVE = 2**18  # elements of the active set: 2 MiB of float64 stay in a cache
DEVICE_ACTIVE = 2**24
BATCH = 256  # proposals at a time


# ------------------------------------------------------------------------------------------------------- Core-Set


@selection("core-set", features="encoder", labeled=True)
def core_set(view: PoolView, size: int, stream: Stream) -> Selection:
    """Query the samples that are farthest from everything labeled, one after the other (k-center greedy).

    Euclidean distance of the encoder's features, also below a head of two layers. Scores are the distance of each pick
    to the nearest labeled or picked sample before it. Without labeled samples the first pick is the most central one,
    the nearest to the mean of the pool (ours; elsewhere it is random), and its score is that distance. All further
    picks are those of distances in float64, whatever the features' precision, and so the same on every machine.

    Source: Sener and Savarese 2018, Algorithm 1 (without the outlier refinement, as in the study). Ours: features are
    centered first, which keeps float32 from cancellation; ties in random order.
    """
    order = torch.randperm(len(view), generator=stream.torch()).to(view.device)  # equal distances: the first in here
    features = _single(view.features)
    mean = features.mean(0, keepdim=True)
    precise = mean.to(wide(view.device))

    def exact(rows: Tensor) -> Points:
        return Points((view.features[order[rows]].to(precise) - precise,))

    points = Points((features[order] - mean,))
    if len(view.labeled_features):
        picks, reach = farthest_first(points, exact, Points((view.labeled_features.to(precise) - precise,)), size)
    else:
        first = points.squares.argmin().reshape(1)
        picks, reach = farthest_first(points, exact, exact(first), size - 1, first)
        picks, reach = torch.cat([first, picks]), torch.cat([exact(first).squares, reach])
    return Selection(order[picks], reach.sqrt())


def farthest_first(
    points: Points, exact: Callable[[Tensor], Points], centers: Points, size: int, taken: Tensor | None = None
) -> tuple[Int[Tensor, "q"], Float[Tensor, "q"]]:
    """Pick the point farthest from all centers, make it a center, and so on.

    The points with the largest bounds are the active set, small enough for a cache, and are measured exactly. Picking
    inside it is right as long as its farthest point is at least as far as the largest bound outside.

    Args:
        points: n points, for bounds.
        exact: The points at some rows, in the precision that decides.
        centers: Centers to start with, one at least, in that precision.
        size: Picks, at most as many as points that are not taken.
        taken: Rows that are not to be picked.

    Returns:
        The picks in order, and the squared distance of each to the nearest center when it was picked.
    """
    bounds = points.nearest(centers.to(points.dtype))
    if taken is not None:
        bounds.index_fill_(0, taken, -1)
    picks, values = [torch.empty(0, dtype=torch.long, device=points.device)], [centers.squares[:0]]
    width = sum(f.shape[1] for f in points.factors)
    count = max(LEAST_ACTIVE, (CPU_ACTIVE if points.device.type == "cpu" else DEVICE_ACTIVE) // max(1, width))
    left = size
    while left:
        inside, outside = _active(points, bounds, count)
        near = exact(inside)
        reach = near.nearest(centers).masked_fill_(bounds[inside] < 0, -1)
        new: list[Tensor] = []
        while left:
            value, best = reach.max(0)
            if float(value) < outside:
                break
            new.append(best)
            values.append(value[None])
            reach = torch.minimum(reach, near.nearest(near.take(best[None]))).index_fill_(0, best, -1)
            left -= 1
        if not new:  # the farthest points lie closer together than rounding: measure more of them exactly
            count *= 4
            continue
        if left:
            chosen = torch.stack(new)
            centers = centers.join(near.take(chosen))
            bounds = torch.minimum(bounds, points.nearest(points.take(inside[chosen])))
            bounds.index_fill_(0, torch.cat([*picks, inside[chosen]]), -1)
        picks.append(inside[torch.stack(new)])
    return torch.cat(picks), torch.cat(values)


def _active(points: Points, bounds: Float[Tensor, "n"], count: int) -> tuple[Int[Tensor, "b"], float]:
    """Rows of the active set, and the largest bound outside it, raised by what rounding may have lowered it."""
    if count >= len(points):
        return torch.arange(len(points), device=points.device), -1.0
    raised = bounds + 2 * points.rounding * (bounds + points.squares)
    top = torch.where(bounds < 0, bounds, raised).topk(count + 1)
    return top.indices[:-1], float(top.values[-1])


# ---------------------------------------------------------------------------------------------------------- BADGE


@selection("badge", features=True)
def badge(view: PoolView, size: int, stream: Stream, *, sampler: str = "rejection") -> Selection:
    """Query by k-means++ on the gradients that the last layer would get from the model's own prediction as label.

    The gradient of the cross-entropy in the weights of a linear last layer is (p - onehot(argmax p)) x h, h the input
    of that layer; the bias is left out. The first pick has the largest gradient norm, each further one is drawn with
    probability proportional to its squared distance to the nearest pick (that distance is its score). No sample
    is picked twice; where all that is left coincides with picks, the rest is drawn at random. With several
    draws, p is their mean.

    Args:
        view: The pool with features.
        size: Samples to pick.
        stream: Of the draws.
        sampler: `rejection` draws from old, larger distances and corrects by rejection; `inverse` brings all distances
            up to date after each pick and inverts their cumulated sum. Both have the same distribution; the second
            is slower and picks what explicit gradients would for the same uniform numbers.

    Raises:
        FathomError: `sampler` is neither.

    Source: Ash et al. 2020, Algorithm 1, first center as in the authors' code. Ours: distinct picks; and h is the true
    input of the last layer, where the study's code took the encoder's features below a two-layer head.
    """
    if sampler not in ("rejection", "inverse"):
        raise FathomError(f"badge: sampler expects rejection or inverse; got {sampler!r}")
    points, scale = gradients(view)
    rng = stream.numpy()
    largest = (points.squares == points.squares.max()).nonzero()[:, 0].cpu().numpy()
    spread = spread_by_rejection if sampler == "rejection" else spread_by_inversion
    picks, values = spread(points, size, int(rng.choice(largest)), rng)
    scores = torch.from_numpy(values) * scale**2
    return Selection(torch.from_numpy(picks).to(view.device), scores.to(points.squares))


def gradients(view: PoolView) -> tuple[Points, float]:
    """The last layer's gradients in factored form, divided by a scale that keeps their squares from underflow.

    The scale changes no probability: D^2 sampling depends on ratios only.
    """
    residual = view.mean_probs()
    top = residual.argmax(1, keepdim=True)
    residual.scatter_(1, top, 0.0).scatter_(1, top, -residual.sum(1, keepdim=True))
    features = _single(view.features)
    scales = [float(t.abs().amax()) or 1.0 for t in (residual, features)]
    return Points(((residual / scales[0]).to(features.dtype), features / scales[1])), scales[0] * scales[1]


def _single(features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Features of at least single precision."""
    return features.to(torch.promote_types(features.dtype, torch.float32))


def spread_by_inversion(
    points: Points, size: int, first: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """k-means++ (D^2 sampling) in its plain form: one uniform number and one pass over the points a pick."""
    picks, values = [first], [float(points.squares[first])]
    bounds = np.full(len(points), np.inf)
    while len(picks) < size:
        bounds = np.minimum(bounds, _fold(points, picks[-1:]))
        bounds[picks[-1]] = 0
        mass = np.cumsum(bounds)
        if mass[-1] <= 0:
            break
        pick = int(np.searchsorted(mass, rng.random() * mass[-1], side="right"))
        picks.append(pick)
        values.append(float(bounds[pick]))
    return _filled(picks, values, size, len(points), rng)


def spread_by_rejection(
    points: Points, size: int, first: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """k-means++ (D^2 sampling) from upper bounds U >= D^2: propose with probability U / sum U, accept with D^2 / U.

    Given that a proposal is accepted, it is sample i with probability D^2_i / sum D^2, whatever U was, so the form is
    exact. Proposals are made and measured in batches; a rejected one brings its own bound up to date. All bounds are
    brought up to date once rejections have cost as many inner products as that would, at most twice the least work.
    """
    picks, values = [first], [float(points.squares[first])]
    bounds = _fold(points, picks)
    bounds[first] = 0
    pending: list[int] = []  # picks not yet folded into the bounds
    rejected = 0
    while len(picks) < size:
        if _worth_folding(rejected, len(pending), len(points)):
            bounds = np.minimum(bounds, _fold(points, pending))
            bounds[pending] = 0
            pending, rejected = [], 0
        mass = np.cumsum(bounds)
        if mass[-1] <= 0:
            break
        batch = min(BATCH, 16 + 2 * (size - len(picks)))
        proposed = np.searchsorted(mass, rng.random(batch) * mass[-1], side="right").clip(max=len(points) - 1)
        accepted, gained = _accept(points, proposed, pending, bounds, rng.random(batch), size - len(picks))
        picks += accepted
        values += gained
        pending += accepted
        rejected += batch - len(accepted)
    return _filled(picks, values, size, len(points), rng)


def _worth_folding(rejected: int, pending: int, n: int) -> bool:
    """Whether rejected proposals have cost as many inner products as it would to bring all bounds up to date."""
    return pending > 0 and rejected * (BATCH + pending) >= n * pending


def _accept(
    points: Points, proposed: np.ndarray, pending: list[int], bounds: np.ndarray, uniform: np.ndarray, most: int
) -> tuple[list[int], list[float]]:
    """Accept or reject proposals one after the other; their bounds are brought up to date in place."""
    near = points.take(torch.from_numpy(proposed).to(points.device))
    thresholds = uniform * bounds[proposed]
    current = bounds[proposed]
    if pending:
        folded = near.nearest(points.take(torch.tensor(pending, device=points.device)))
        current = np.minimum(current, folded.cpu().numpy())
    between = near.squared_distances(near).cpu().numpy()
    accepted: list[int] = []
    gained: list[float] = []
    for i, pick in enumerate(proposed):
        if thresholds[i] < current[i] and len(accepted) < most:
            accepted.append(int(pick))
            gained.append(float(current[i]))
            current = np.minimum(current, between[:, i])
            current[proposed == pick] = 0
    bounds[proposed] = current
    return accepted, gained


def _fold(points: Points, centers: list[int]) -> np.ndarray:
    """Squared distance of every point to the nearest of some of them, float64, in memory."""
    rows = torch.tensor(centers, device=points.device)
    return points.nearest(points.take(rows)).cpu().numpy().astype(np.float64)


def _filled(
    picks: list[int], values: list[float], size: int, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The picks, filled up at random with others (at distance 0) where the distances of all others are 0."""
    others = np.setdiff1d(np.arange(n), picks)
    fill = rng.choice(others, size - len(picks), replace=False) if size > len(picks) else others[:0]
    return np.concatenate([np.array(picks, dtype=np.int64), fill]), np.array(values + [0.0] * len(fill))
