"""The oracle is honest and bills each label once."""

import numpy as np
import pytest

from fathom.core.records import FathomError
from fathom.protocol.oracle import Oracle


def test_labels_and_bill() -> None:
    oracle = Oracle(np.array([3, 1, 4, 1, 5]))
    assert oracle.label([4, 0]).tolist() == [5, 3]
    assert oracle.label([0, 1]).tolist() == [3, 1]
    assert oracle.paid == 3
    assert oracle.label([]).tolist() == []


@pytest.mark.parametrize("ids", [[5], [-1]])
def test_unknown_samples_are_refused(ids: list[int]) -> None:
    with pytest.raises(FathomError, match="dataset ids 0 to 4"):
        Oracle(np.arange(5)).label(ids)
