"""Random sampling: the baseline of every query method."""

import torch

from fathom.core.streams import Stream
from fathom.query.view import PoolView, Selection
from fathom.registry.registry import selection


@selection("random", predictions=False)
def random(view: PoolView, size: int, stream: Stream) -> Selection:
    """Query samples uniformly at random, without looking at them.

    Source: Lüth et al. 2023, Sec. 2.2 ("Random").
    """
    order = torch.randperm(len(view), generator=stream.torch())
    return Selection(order[:size].to(view.device))
