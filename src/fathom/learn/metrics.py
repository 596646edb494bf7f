"""The two metrics that a best epoch is chosen by, on the device, without making the host wait."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fathom.records import FathomError

METRICS = ("accuracy", "balanced_accuracy")


def validation_score(
    predicted: Int[Tensor, "v"], labels: Int[Tensor, "v"], num_classes: int, metric: str
) -> Float[Tensor, ""]:
    """Accuracy, or mean recall over the classes that `labels` holds; in [0, 1].

    Raises:
        FathomError: Unknown metric.
    """
    if metric not in METRICS:
        raise FathomError(f"unknown metric {metric!r}; expected {' or '.join(METRICS)}")
    right = (predicted == labels).to(torch.float64)
    if metric == "accuracy":
        return right.mean()
    zeros = torch.zeros(num_classes, dtype=torch.float64, device=labels.device)
    count = zeros.scatter_add(0, labels, torch.ones_like(right))
    hits = zeros.scatter_add(0, labels, right)
    return (hits / count.clamp(min=1)).sum() / (count > 0).sum()
