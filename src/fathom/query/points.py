"""Points and their squared distances, for query methods that spread a batch over the pool.

A point is the outer product of one row of each factor. With one factor it is a feature vector (Core-Set); with two it
is the gradient (p - onehot) x features of a linear last layer (BADGE). Inner products of outer products factor,
<g x h, g' x h'> = <g, g'> <h, h'>, so the product is never formed: memory O(n(c + d)) instead of O(n c d).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import torch
from jaxtyping import Float, Int
from torch import Tensor

CENTERS = 512  # centers per matrix product
CPU_ELEMENTS = 2**20  # elements of one block of products: small enough for a cache, large enough to be compute bound
DEVICE_ELEMENTS = 2**27


@dataclass(frozen=True, eq=False)
class Points:
    """n points in factored form.

    Squared distances are |x|^2 + |c|^2 - 2<x, c>. Distances no larger than their rounding error count as 0: with 512
    features in float32, points nearer than 0.2 % of their norm are one point.
    """

    factors: tuple[Float[Tensor, "n _"], ...]

    def __len__(self) -> int:
        return self.factors[0].shape[0]

    @property
    def device(self) -> torch.device:
        return self.factors[0].device

    @property
    def dtype(self) -> torch.dtype:
        return self.factors[0].dtype

    @cached_property
    def squares(self) -> Float[Tensor, "n"]:
        """|x|^2 of each point."""
        return _product([torch.linalg.vector_norm(f, dim=1).square() for f in self.factors])

    @property
    def rounding(self) -> float:
        """Largest rounding error of the squared distance of equal points, as a fraction of their |x|^2."""
        width = sum(f.shape[1] for f in self.factors)
        return (16 + math.sqrt(width)) * torch.finfo(self.dtype).eps

    def take(self, rows: Int[Tensor, "b"]) -> "Points":
        """The points at `rows`."""
        return Points(tuple(f[rows] for f in self.factors))

    def to(self, dtype: torch.dtype) -> "Points":
        """The points in another precision."""
        return Points(tuple(f.to(dtype) for f in self.factors))

    def join(self, others: "Points") -> "Points":
        """These points, then the others."""
        return Points(tuple(torch.cat(pair) for pair in zip(self.factors, others.factors, strict=True)))

    def squared_distances(self, centers: "Points") -> Float[Tensor, "n b"]:
        """From every point to every center, all at once in memory; for few of either."""
        inner = _product([f @ c.T for f, c in zip(self.factors, centers.factors, strict=True)])
        distances = self.squares[:, None] + inner.mul_(-2).add_(centers.squares)
        return self._snap(distances, self.squares[:, None])

    def nearest(self, centers: "Points") -> Float[Tensor, "n"]:
        """Squared distance of every point to the nearest of the centers, one matrix product per block.

        |x|^2 does not change which center is nearest, so it is added once per point, after the minimum.
        """
        out = torch.empty_like(self.squares)
        elements = CPU_ELEMENTS if self.device.type == "cpu" else DEVICE_ELEMENTS
        step = max(1, elements // min(CENTERS, len(centers)))
        groups = [_Group(centers, start) for start in range(0, len(centers), CENTERS)]
        for start in range(0, len(self), step):
            rows = slice(start, start + step)
            parts = [f[rows] for f in self.factors]
            out[rows] = torch.stack([group.least(parts) for group in groups]).amin(0)
        return self._snap(out.add_(self.squares), self.squares)

    def _snap(self, distances: Tensor, squares: Tensor) -> Tensor:
        return distances.masked_fill_(distances <= self.rounding * squares, 0)


class _Group:
    """Some of the centers, laid out for matrix products."""

    def __init__(self, centers: Points, start: int) -> None:
        rows = slice(start, start + CENTERS)
        self.factors = [f[rows].T for f in centers.factors]
        self.squares = centers.squares[rows]

    def least(self, parts: Sequence[Tensor]) -> Tensor:
        """The least |c|^2 - 2<x, c> over the group's centers c, for each of a block of points x."""
        if len(parts) == 1:
            return torch.addmm(self.squares, parts[0], self.factors[0], alpha=-2).amin(1)
        inner = _product([p @ f for p, f in zip(parts[1:], self.factors[1:], strict=True)])
        # The last product is fused with the factor -2 and the squares: one pass less over the largest tensor.
        return torch.addcmul(self.squares, parts[0] @ self.factors[0], inner, value=-2).amin(1)


def at_least_single(features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Features of at least single precision: squared distances of float16 would overflow."""
    return features.to(torch.promote_types(features.dtype, torch.float32))


def _product(tensors: Sequence[Tensor]) -> Tensor:
    return reduce(torch.mul, tensors)
