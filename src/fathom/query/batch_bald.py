"""BatchBALD: the batch whose labels have the highest joint mutual information with the weights, found greedily.

Given the labels of the batch so far, one more label adds I(y; w | batch) = H(y | batch) - E_w H(y | w). The first term
averages over the configurations of the batch (the c^b possible tuples of its labels), and that is the cost. It can only
grow if the batch says less: with a smaller batch, or with merged configurations (entropy is concave). So the gain of a
sample at an earlier step is an upper bound of its gain now, and its gain given a few hundred merged configurations is a
close one. Only samples whose bound exceeds the best gain found are computed in full; up to rounding and the sampling
error, the picks are those of computing all.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.query.blocks import row_blocks, wide
from fathom.query.scores import bald, floored
from fathom.query.view import PoolView, Selection
from fathom.registry.registry import selection

MERGED = (512, 128)  # numbers of merged configurations, each merged from the level before
REFINED = (512, 64, 16)  # samples computed together: with 128 configurations, with 512, with all
ROUNDS = 3  # of k-means, to merge configurations


@selection("batch-bald", draws=50)
def batch_bald(view: PoolView, size: int, stream: Stream, *, num_samples: int = 40_000) -> Selection:
    """Query the batch of samples whose labels jointly tell most about the weights (greedy joint mutual information).

    The score of a pick is the information that it adds to the earlier picks, in nats. Draws must be consistent: draw j
    of every sample is of the same weights.

    Args:
        view: The pool with k draws.
        size: Samples to pick.
        stream: Random stream of sampled configurations and ties.
        num_samples: The joint entropy is exact while the batch has at most this many configurations (c^b). Beyond it,
            this many configurations are sampled, equally many from each draw, and the greedy choice is correct up to
            the sampling error.

    Raises:
        FathomError: `num_samples` is smaller than k.

    Source: Kirsch et al. 2019, Algorithm 1, Eq. 11 and 12; 40,000 as in the study. Ours: lazy evaluation with the
    bounds above; conditional instead of joint entropies, which avoids the cancellation of two large sums; and sampled
    configurations that are extended by each pick instead of drawn anew.
    """
    n, k, _ = view.log_probs.shape
    if num_samples < k:
        raise FathomError(f"batch-bald: num_samples must be at least the {k} draws; got {num_samples}")
    search = _Search(view, torch.randperm(n, generator=stream.at("ties").torch()).to(view.device))
    joint = _Joint(k, num_samples, stream, view)
    picks: list[Tensor] = []
    gains: list[Tensor] = []
    for _ in range(size):
        if picks:
            joint.add(search.log_probs(picks[-1][None])[0])
        pick, gain = search.best(joint)
        picks.append(pick)
        gains.append(gain)
    return Selection(search.order[torch.stack(picks)], torch.stack(gains))


class _Configurations:
    """Configurations of the labels of a batch.

    Args:
        posterior: p(draw | configuration); rows sum to one.
        weights: p(configuration); sum to one.
    """

    def __init__(self, posterior: Float[Tensor, "m k"], weights: Float[Tensor, "m"]) -> None:
        self.posterior, self.weights = posterior, weights

    def __len__(self) -> int:
        return len(self.weights)

    def entropy(self, probs: Float[Tensor, "b k c"]) -> Float[Tensor, "b"]:
        """H(y | configuration) of b samples, averaged over configurations; nats."""
        b, k, c = probs.shape
        columns = probs.permute(1, 0, 2).reshape(k, b * c)
        total = torch.zeros(b * c, dtype=self.weights.dtype, device=probs.device)
        # In blocks, because [configurations, b c] at once leaves every cache.
        for rows in row_blocks(len(self), b * c, probs.device):
            mixed = self.posterior[rows] @ columns  # p(y | configuration) of every sample and class
            logs = mixed.clamp_min(torch.finfo(mixed.dtype).tiny).log_()  # p log p is 0, not NaN, where p is 0
            total -= self.weights[rows].to(mixed.dtype) @ mixed.mul_(logs)
        return total.reshape(b, c).sum(1)

    def merged(self, count: int, generator: torch.Generator) -> "_Configurations":
        """At most `count` configurations, each the weighted mean of similar ones.

        Any grouping gives an upper bound of the entropy; a good grouping gives a close one. Configurations are grouped
        by k-means on the square roots of their posteriors (Euclidean distance there is Hellinger distance), fitted to a
        sample of them.
        """
        places = self.posterior.sqrt()
        sample = torch.multinomial(self.weights.cpu(), 8 * count, replacement=True, generator=generator)
        fitted = places[sample.to(places.device)]
        centers = fitted[:count]
        for _ in range(ROUNDS):
            mass, sums = _group_sums(fitted, _nearest(fitted, centers), count)
            centers = torch.where(mass[:, None] > 0, sums / mass.clamp_min(1)[:, None], centers)
        # The column of ones, times the weights, sums to the weight of each group.
        rows = torch.cat([self.posterior, torch.ones_like(self.posterior[:, :1])], 1) * self.weights[:, None]
        _, sums = _group_sums(rows, _nearest(places, centers), count)
        weights = sums[:, -1]
        used = weights > 0
        return _Configurations((sums[used, :-1] / weights[used, None]).to(places.dtype), weights[used])


def _nearest(places: Float[Tensor, "m k"], centers: Float[Tensor, "g k"]) -> Int[Tensor, "m"]:
    """The nearest center of each place; |place|^2 is left out, as it is the same for all centers."""
    nearest = torch.empty(len(places), dtype=torch.long, device=places.device)
    squares = torch.einsum("gk,gk->g", centers, centers)
    for rows in row_blocks(len(places), len(centers), places.device):
        nearest[rows] = torch.addmm(squares, places[rows], centers.T, alpha=-2).argmin(1)
    return nearest


def _group_sums(rows: Float[Tensor, "m k"], groups: Int[Tensor, "m"], count: int) -> tuple[Tensor, Tensor]:
    """Size and sum of each group.

    Summed in a fixed order: `scatter_add` on a GPU adds in any order, and so gives other last digits in every run.
    """
    sizes = torch.bincount(groups, minlength=count)
    ordered = rows[torch.argsort(groups, stable=True)]
    return sizes, torch.segment_reduce(ordered, "sum", lengths=sizes)


class _Joint:
    """The configurations of the batch so far: all of them, or a sample once there are more than `most`."""

    def __init__(self, k: int, most: int, stream: Stream, view: PoolView) -> None:
        self.most, self.stream, self.dtype = most, stream, view.log_probs.dtype
        self.members: list[Tensor] = []  # log-probabilities [k, c] of each pick
        self.log_joint = torch.zeros(1, k, dtype=wide(view.device), device=view.device)  # log p(configuration | draw)
        self.exact = True

    def add(self, log_probs: Float[Tensor, "k c"]) -> None:
        """Extend the configurations by one more pick."""
        k, c = log_probs.shape
        self.members.append(log_probs.to(self.log_joint.dtype))
        if not self.exact:
            self._sample(len(self.members) - 1)
        elif len(self.log_joint) * c <= self.most:
            extended = self.log_joint[:, None, :] + self.members[-1].T  # [configurations, c, k]
            self.log_joint = extended.reshape(-1, k)
        else:  # too many to list: draw configurations of the whole batch, from here on
            self.exact = False
            self.log_joint = self.log_joint.new_zeros(self.most // k * k, k)
            for member in range(len(self.members)):
                self._sample(member)

    def _sample(self, member: int) -> None:
        """Extend each sampled configuration by a label that is drawn from the draw it belongs to."""
        log_probs = self.members[member]
        generator = self.stream.at("configurations", member).torch()
        each = len(self.log_joint) // len(log_probs)
        # On the CPU: the generator of a GPU draws other numbers, and the picks must not depend on the device.
        labels = torch.multinomial(log_probs.exp().cpu(), each, replacement=True, generator=generator)
        self.log_joint += log_probs.T[labels.reshape(-1).to(log_probs.device)]

    def ladder(self, columns: int) -> list[_Configurations]:
        """The configurations at increasing numbers: 128, 512 and all; merged only as far as that saves work.

        Args:
            columns: Width of the work that merging may save: samples times classes.
        """
        m, k = self.log_joint.shape
        if self.exact:
            weights = (self.log_joint.logsumexp(1) - math.log(k)).exp()
        else:
            weights = torch.full_like(self.log_joint[:, 0], 1 / m)
        full = _Configurations(self.log_joint.softmax(1).to(self.dtype), weights)
        generator = self.stream.at("merge", len(self.members)).torch()
        ladder = [full]
        for count in MERGED:
            shrinks = 2 * count <= int((ladder[0].weights > 0).sum())
            worth_it = 2 * ROUNDS * count <= columns  # k-means costs 2 products with `count` centers per round
            if shrinks and worth_it:
                ladder.insert(0, ladder[0].merged(count, generator))
        return ladder


class _Search:
    """The pool in random order (so that ties are broken at random), with an upper bound of each sample's gain."""

    def __init__(self, view: PoolView, order: Int[Tensor, "n"]) -> None:
        self.view, self.order = view, order
        self.bounds = bald(view)[order]  # the gain of a first pick, and from then on an upper bound
        noise = torch.empty_like(self.bounds)  # E_w H(y | w), which no pick changes
        for rows in row_blocks(len(order), view.log_probs[0].numel(), view.device):
            log_probs = floored(view.log_probs[rows])
            noise[rows] = -(log_probs * log_probs.exp()).sum(2, dtype=noise.dtype).mean(1)
        self.noise = noise[order]

    def log_probs(self, rows: Int[Tensor, "b"]) -> Float[Tensor, "b k c"]:
        return floored(self.view.log_probs[self.order[rows]])

    def best(self, joint: _Joint) -> tuple[Int[Tensor, ""], Float[Tensor, ""]]:
        """The sample with the highest gain, which is then removed, and its gain in nats.

        Whenever the bound of a sample is among the highest, it is computed again at the next level of the ladder, from
        merged configurations to all. The sample with the highest bound is the best once its bound is exact.
        """
        ladder = joint.ladder(self.view.log_probs[:, 0].numel()) if joint.members else []
        steps = REFINED[len(REFINED) - len(ladder) :]
        level = torch.zeros_like(self.bounds, dtype=torch.uint8)
        while True:
            top = self.bounds.topk(min(REFINED[0], len(self.bounds))).indices
            levels = level[top].tolist()
            if levels[0] == len(ladder):  # its bound is its gain, and no other bound is higher
                gain = self.bounds[top[0]].clone()
                self.bounds[top[0]] = -torch.inf
                return top[0], gain
            # The cheapest computation first: samples at the lowest level among the highest bounds.
            lowest = min(levels[: REFINED[-1]])
            rows = top[level[top] == lowest][: steps[lowest]]
            gains = ladder[lowest].entropy(self.log_probs(rows).exp()) - self.noise[rows]
            self.bounds[rows] = torch.minimum(self.bounds[rows], gains)  # both are upper bounds, up to rounding
            level[rows] = lowest + 1
