"""The oracle is honest, bills each label once, and counts what reports look at apart."""

import numpy as np
import pytest

from fathom.core.records import FathomError
from fathom.data.vault import LabelVault
from fathom.protocol.oracle import Oracle


def test_labels_and_bill() -> None:
    oracle = Oracle(LabelVault(np.array([3, 1, 4, 1, 5])))
    assert oracle.label([4, 0]).tolist() == [5, 3]
    assert oracle.label([0, 1]).tolist() == [3, 1]
    assert oracle.paid == 3
    assert oracle.label([]).tolist() == []


def test_what_a_report_looks_at_is_not_paid_for() -> None:
    oracle = Oracle(LabelVault(np.array([3, 1, 4, 1, 5])))
    oracle.label([0])
    assert oracle.agreement(np.array([0, 1, 2]), np.array([3, 1, 1])) == pytest.approx(2 / 3)
    assert oracle.look(np.array([2, 3])).tolist() == [4, 1]
    assert (oracle.paid, oracle.looked_at) == (1, 4)


@pytest.mark.parametrize("ids", [[5], [-1], [0, 7]])
def test_unknown_samples_are_refused(ids: list[int]) -> None:
    oracle = Oracle(LabelVault(np.arange(5)))
    with pytest.raises(FathomError, match=f"asked for sample {ids[-1]}; expected dataset ids 0 to 4"):
        oracle.label(ids)
    assert oracle.paid == 0
