"""Named streams: the same name, the same numbers; another name, others; no global state."""

import numpy as np
import pytest
import torch

from fathom.core.streams import PURPOSES, Streams


def test_same_name_same_numbers() -> None:
    assert Streams(3, 1)("init").numpy().random() == Streams(3, 1)("init").numpy().random()
    a, b = (torch.rand(3, generator=Streams(3, 1)("init").torch()) for _ in range(2))
    assert torch.equal(a, b)


def test_every_name_has_its_own_numbers() -> None:
    names = [Streams(seed, number)(p) for seed in (0, 1) for number in (0, 1) for p in PURPOSES]
    names += [Streams(0)("augment").at("epoch", i) for i in range(5)]
    assert len({s.numpy().random() for s in names}) == len(names)


def test_the_numbers_are_those_of_ever() -> None:
    # If this changes, every stored result changes with it: raise records.PROTOCOL.
    assert Streams(0)("split").numpy().random() == 0.32181201056197173


def test_a_misspelt_purpose_is_refused() -> None:
    with pytest.raises(KeyError, match="expected one of"):
        Streams(0)("splti")


def test_global_generators_stay() -> None:
    state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[union-attr, index] # noqa: NPY002
    torch.rand(2, generator=Streams(0)("init").torch())
    Streams(0)("init").numpy().random()
    assert torch.equal(state, torch.random.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()  # type: ignore[index] # noqa: NPY002
