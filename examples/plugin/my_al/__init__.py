"""A query method of one's own: margin sampling, weighted by density."""

import torch

from fathom.core.streams import Stream
from fathom.query.sampling import descending
from fathom.query.scores import margin
from fathom.query.view import PoolView, Selection
from fathom.registry.registry import selection


@selection("density-margin", features=True)
def density_margin(view: PoolView, size: int, stream: Stream, *, beta: float = 1.0) -> Selection:
    """Query samples that the model is torn about and that many others resemble; scores are in [0, 1].

    Information density: uncertainty times the mean cosine similarity to the pool, mapped to [0, 1], to the power beta.

    Source: Settles and Craven 2008, Eq. 12, with the margin for uncertainty.
    """
    directions = torch.nn.functional.normalize(view.features.double(), dim=1)
    density = (1 + directions @ directions.mean(0)) / 2
    scores = margin(view) * density.clamp(0, 1) ** beta
    positions = descending(scores, stream)[:size]
    return Selection(positions, scores[positions])
