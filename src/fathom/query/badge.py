"""BADGE: k-means++ on the gradients of the last layer.

Every pick can only shorten the distance of a sample to its nearest pick, so an old distance is an upper bound. That
makes the default sampler fast: it draws from old distances, corrects by rejection, and folds many picks into the
distances of the pool in one matrix product (`Points.nearest`).
"""

import numpy as np
import torch

from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.query.points import Points, at_least_single
from fathom.query.view import PoolView, Selection
from fathom.registry.registry import selection

BATCH = 256  # proposals per batch


@selection("badge", features=True)
def badge(view: PoolView, size: int, stream: Stream, *, sampler: str = "rejection") -> Selection:
    """Query by k-means++ on the gradients that the last layer would get from the model's own prediction as label.

    The gradient of the cross-entropy in the weights of a linear last layer is (p - onehot(argmax p)) x h, where h is
    the input of that layer; the bias is left out. The first pick has the largest gradient norm. Each further one is
    drawn with probability proportional to its squared distance to the nearest pick, and that distance is its score. No
    sample is picked twice; if all remaining samples coincide with picks, the rest is drawn at random. With several
    draws, p is their mean.

    Args:
        view: The pool with features.
        size: Samples to pick.
        stream: Random stream of the draws.
        sampler: `rejection` draws from old, larger distances and corrects by rejection; `inverse` updates all
            distances after each pick and inverts their cumulative sum. Both have the same distribution. The second is
            slower, and picks what an implementation with explicit gradients picks for the same uniform numbers.

    Raises:
        FathomError: `sampler` is neither.

    Source: Ash et al. 2020, Algorithm 1, first center as in the authors' code. Ours: distinct picks; and h is the true
    input of the last layer (the study's code took the encoder's features below a two-layer head).
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

    The scale changes no probability, because D^2 sampling depends on ratios only.
    """
    residual = view.mean_probs()
    top = residual.argmax(1, keepdim=True)
    # p_top - 1 is minus the sum of the other probabilities: in this form a confident row does not round to 0.
    residual.scatter_(1, top, 0.0)
    residual.scatter_(1, top, -residual.sum(1, keepdim=True))
    features = at_least_single(view.features)
    scales = [float(t.abs().amax()) or 1.0 for t in (residual, features)]
    return Points(((residual / scales[0]).to(features.dtype), features / scales[1])), scales[0] * scales[1]


def spread_by_inversion(
    points: Points, size: int, first: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """k-means++ (D^2 sampling) in its plain form: one uniform number and one pass over the points per pick."""
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

    An accepted proposal is sample i with probability D^2_i / sum D^2, whatever U was, so the method is exact. Proposals
    are made and measured in batches; the bound of a measured one becomes its distance. All bounds are updated once
    rejections have cost as many inner products as the update costs, so the work is at most twice the minimum.
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
        # A batch costs one product with the pool's rows; small batches near the end waste fewer proposals.
        batch = min(BATCH, 16 + 2 * (size - len(picks)))
        proposed = np.searchsorted(mass, rng.random(batch) * mass[-1], side="right").clip(max=len(points) - 1)
        accepted, gained = _accept(points, proposed, pending, bounds, rng.random(batch), size - len(picks))
        picks += accepted
        values += gained
        pending += accepted
        rejected += batch - len(accepted)
    return _filled(picks, values, size, len(points), rng)


def _worth_folding(rejected: int, pending: int, n: int) -> bool:
    """True once rejected proposals have cost as many inner products as updating all bounds would."""
    return pending > 0 and rejected * (BATCH + pending) >= n * pending


def _accept(
    points: Points, proposed: np.ndarray, pending: list[int], bounds: np.ndarray, uniform: np.ndarray, most: int
) -> tuple[list[int], list[float]]:
    """Accept or reject proposals in order; their bounds are updated in place.

    Returns:
        The accepted proposals, and their squared distances to the nearest pick when they were accepted.
    """
    near = points.take(torch.from_numpy(proposed).to(points.device))
    thresholds = uniform * bounds[proposed]
    current = bounds[proposed]
    if pending:
        folded = near.nearest(points.take(torch.tensor(pending, device=points.device)))
        current = np.minimum(current, folded.cpu().numpy())
    # Proposals of one batch are accepted one by one, and each shortens the distances of those after it; all distances
    # between them come from one product, so that the device is asked once per batch.
    between = near.squared_distances(near).cpu().numpy()
    accepted: list[int] = []
    gained: list[float] = []
    for i, pick in enumerate(proposed):
        if thresholds[i] < current[i] and len(accepted) < most:
            accepted.append(int(pick))
            gained.append(float(current[i]))
            current = np.minimum(current, between[:, i])
            current[proposed == pick] = 0  # exactly, so that a sample proposed twice is not accepted twice
    bounds[proposed] = current
    return accepted, gained


def _fold(points: Points, centers: list[int]) -> np.ndarray:
    """Squared distance of every point to the nearest of some of them, float64, on the CPU.

    On the CPU, because the draw itself (NumPy's generator, `cumsum` in float64) must not depend on the device.
    """
    rows = torch.tensor(centers, device=points.device)
    return points.nearest(points.take(rows)).cpu().numpy().astype(np.float64)


def _filled(
    picks: list[int], values: list[float], size: int, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The picks, completed at random with other samples (at distance 0) if all remaining distances are 0."""
    others = np.setdiff1d(np.arange(n), picks)
    fill = rng.choice(others, size - len(picks), replace=False) if size > len(picks) else others[:0]
    return np.concatenate([np.array(picks, dtype=np.int64), fill]), np.array(values + [0.0] * len(fill))
