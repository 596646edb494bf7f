"""What a query method may see, and what it gives back. No pool labels, no model, no ids: cheating is untypable."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PoolView:
    """The pool as the current classifier sees it. Rows are positions, 0 to n - 1; they name no image.

    Args:
        log_probs: Log-probabilities of the classes in each of k dropout draws (k = 1 without draws), nats.
        features: Input of the last linear layer, without dropout; [n, 0] where the method does not need it.
        labeled_features: The same for the m training samples; [0, 0] where not needed.
        labeled_labels: Their classes; [0] where not needed.
    """

    log_probs: Float[Tensor, "n k c"]
    features: Float[Tensor, "n d"]
    labeled_features: Float[Tensor, "m d"]
    labeled_labels: Int[Tensor, "m"]

    def __len__(self) -> int:
        return self.log_probs.shape[0]


@dataclass(frozen=True, eq=False)
class Selection:
    """What a selection gives: distinct positions in the order they were picked, and a number for each.

    Args:
        positions: Distinct rows of the view.
        scores: What the method maximized at each pick (its docstring says what), or None.
    """

    positions: Int[Tensor, "q"]
    scores: Float[Tensor, "q"] | None = None
