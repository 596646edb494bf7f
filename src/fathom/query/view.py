"""The input and output of a query method. It has no pool labels, no model and no ids, so a method cannot cheat."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fathom.core.records import FathomError
from fathom.query.blocks import row_blocks, wide

LABELED = ("labeled_features", "labeled_labels")
# How a method declares a field, by its name.
DECLARED_BY = {"log_probs": "predictions=True", "features": "features=True"} | dict.fromkeys(LABELED, "labeled=True")


class UndeclaredError(FathomError):
    """A query method read a field of its view that it has not declared."""


@dataclass(frozen=True, eq=False)
class PoolView:
    """The pool as the current classifier sees it. Rows are positions, 0 to n - 1; they name no image.

    Args:
        log_probs: Log-probabilities of the classes in each of k dropout draws (k = 1 without draws), nats; [n, 0, c]
            where the method needs no prediction.
        features: Input of the last linear layer, or the encoder's output (whichever the method declared), without
            dropout; [n, 0] where it does not need them.
        labeled_features: Features of the m training samples, [m, d]; [0, 0] where not needed.
        labeled_labels: Their classes; [0] where not needed.
    """

    log_probs: Float[Tensor, "n k c"]
    features: Float[Tensor, "n d"]
    labeled_features: Float[Tensor, "m _"]
    labeled_labels: Int[Tensor, "m"]

    def __len__(self) -> int:
        return self.log_probs.shape[0]

    @property
    def device(self) -> torch.device:
        """The device of the tensors; positions and scores must be on it."""
        return self.log_probs.device

    def declared(self, method: str, kind: str, fields: Collection[str]) -> "PoolView":
        """The view with some fields alone; reading another one raises `UndeclaredError`.

        A field that is not needed is empty, and a score made of nothing is zero for every sample.

        Args:
            method: Spec string of the query method, for the message.
            kind: `score` or `selection`.
            fields: Names of the fields that it has declared.
        """
        shown = object.__new__(_DeclaredView)
        shown.__dict__.update({name: value for name, value in vars(self).items() if name in fields})
        shown.__dict__.update(_method=method, _kind=kind, _rows=len(self), _on=self.device)
        return shown

    def mean_probs(self) -> Float[Tensor, "n c"]:
        """Mean of the draws' probabilities, the Bayesian prediction. Rows sum to one, in float64.

        In float32 a confident row is one-hot and equal to every other such row; renormalized in float64 it keeps the
        small probabilities apart, and scores of confident samples stay in order.
        """
        n, k, c = self.log_probs.shape
        probs = torch.empty(n, c, dtype=wide(self.device), device=self.device)
        for rows in row_blocks(n, k * c, self.device):
            probs[rows] = mean_probs(self.log_probs[rows])
        return probs


class _DeclaredView(PoolView):
    """`PoolView.declared`: fields that are not declared are absent."""

    def __len__(self) -> int:
        return int(vars(self)["_rows"])

    @property
    def device(self) -> torch.device:
        """The device of the tensors; positions and scores must be on it."""
        found: torch.device = vars(self)["_on"]
        return found

    def __getattr__(self, name: str) -> Any:
        if name not in DECLARED_BY:
            raise AttributeError(f"a view has no {name!r}; it has {', '.join(DECLARED_BY)}")
        kind, way = vars(self)["_kind"], DECLARED_BY[name]
        only = "; a score cannot, so make it a @selection" if kind == "score" and name in LABELED else ""
        raise UndeclaredError(
            f"{vars(self)['_method']} reads view.{name}, which it has not declared, so it was not computed. Declare it "
            f"in the decorator: @{'selection' if only else kind}(..., {way}){only}"
        )


def mean_probs(log_probs: Float[Tensor, "n k c"]) -> Float[Tensor, "n c"]:
    """`PoolView.mean_probs` of some rows."""
    dtype = wide(log_probs.device)
    probs = log_probs[:, 0].to(dtype).exp() if log_probs.shape[1] == 1 else log_probs.exp().sum(1, dtype=dtype)
    return probs.div_(probs.sum(1, keepdim=True))


def concatenate(views: Sequence[PoolView]) -> PoolView:
    """Join the chunks of a pool; their labeled parts are equal. A single chunk is not copied."""
    if len(views) == 1:
        return views[0]
    log_probs, features = torch.cat([v.log_probs for v in views]), torch.cat([v.features for v in views])
    return replace(views[0], log_probs=log_probs, features=features)


@dataclass(frozen=True, eq=False)
class Selection:
    """Distinct positions in the order they were picked, and a score for each.

    Args:
        positions: Distinct rows of the view.
        scores: The value that the method maximized at each pick (see its docstring), or None.
        note: A remark for the report; empty for none.
    """

    positions: Int[Tensor, "q"]
    scores: Float[Tensor, "q"] | None = None
    note: str = ""
