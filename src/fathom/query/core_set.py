"""Core-Set: the samples that are farthest from everything labeled (k-center greedy).

Every pick can only shorten the distance of a sample to its nearest center, so an old distance is an upper bound. That
makes the search fast: picks are folded into the distances of the pool seldom, many in one matrix product
(`Points.nearest`), and in between only the few samples that could be picked next are measured.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fathom.core.streams import Stream
from fathom.query.blocks import wide
from fathom.query.points import Points, at_least_single
from fathom.query.view import PoolView, Selection
from fathom.registry.registry import selection

LEAST_ACTIVE = 64  # samples
CPU_ACTIVE = 2**18  # elements of the active set: 2 MiB of float64 stay in a cache
DEVICE_ACTIVE = 2**24


@selection("core-set", features="encoder", labeled=True)
def core_set(view: PoolView, size: int, stream: Stream) -> Selection:
    """Query the samples that are farthest from everything labeled, one after the other (k-center greedy).

    The distance is Euclidean, on the encoder's features (also below a head of two layers). The score of a pick is its
    distance to the nearest labeled or earlier picked sample. Without labeled samples the first pick is the one nearest
    to the mean of the pool (ours; elsewhere it is random), and its score is that distance. All other picks are decided
    by distances in float64, whatever the features' precision, so they are the same on every machine.

    Source: Sener and Savarese 2018, Algorithm 1 (without the outlier refinement, as in the study). Ours: features are
    centered first, which keeps float32 from cancellation; ties in random order.
    """
    # The pool is searched in random order: of equal distances the first wins, and no sample is preferred for its place.
    order = torch.randperm(len(view), generator=stream.torch()).to(view.device)
    features = at_least_single(view.features)
    mean = features.mean(0, keepdim=True)
    precise = mean.to(wide(view.device))

    # A pool in float64 would cost twice the memory and, on a GPU, many times the arithmetic; so the whole pool is
    # measured in the features' precision, and only the samples that may be picked in float64.
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
    """Pick the point farthest from all centers, make it a center, and repeat.

    The points with the largest bounds are the active set: small enough for a processor's cache, measured exactly. A
    pick from it is correct as long as its farthest point is at least as far away as the largest bound outside.

    Args:
        points: n points, for bounds.
        exact: Gives the points at some rows in the precision that decides.
        centers: Centers to start with, at least one, in that precision.
        size: Picks, at most as many as points that are not taken.
        taken: Rows that are not to be picked.

    Returns:
        The picks in order, and the squared distance of each to the nearest center when it was picked.
    """
    bounds = points.nearest(centers.to(points.dtype))
    if taken is not None:
        bounds.index_fill_(0, taken, -1)  # -1 marks a pick: below every distance, so it is never picked again
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
            if float(value) < outside:  # a point outside may be farther: update the bounds and choose a new active set
                break
            new.append(best)
            values.append(value[None])
            reach = torch.minimum(reach, near.nearest(near.take(best[None]))).index_fill_(0, best, -1)
            left -= 1
        if not new:  # more points than fit into the active set are equally far up to rounding: measure more of them
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
    """Rows of the active set, and the largest bound outside it.

    Bounds are raised by the largest rounding error, so that a bound computed in float32 never hides a point that is
    farther in float64.
    """
    if count >= len(points):
        return torch.arange(len(points), device=points.device), -1.0
    raised = bounds + 2 * points.rounding * (bounds + points.squares)
    top = torch.where(bounds < 0, bounds, raised).topk(count + 1)
    return top.indices[:-1], float(top.values[-1])
