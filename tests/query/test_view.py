"""The view of the pool: mean predictions, and chunks put together."""

from dataclasses import fields
from itertools import combinations

import pytest
import torch
from tests.faults import fault
from tests.query.pools import pool, rows, scored

from fathom.query.view import PoolView, UndeclaredError, concatenate


@pytest.mark.parametrize("k", [1, 7])
@pytest.mark.parametrize("elements", [1, 100, 2**17])
def test_the_mean_prediction_is_the_mean_of_the_draws(k, elements, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fathom.query.blocks.CPU_ELEMENTS", elements)
    view = pool(k=k)
    probs = view.mean_probs()
    torch.testing.assert_close(probs, view.log_probs.exp().mean(1))
    torch.testing.assert_close(probs.sum(1), torch.ones(60, dtype=torch.float64), rtol=0, atol=1e-15)


def test_the_mean_prediction_leaves_the_view_alone() -> None:
    view = pool()
    before = view.log_probs.clone()
    view.mean_probs().zero_()
    assert torch.equal(view.log_probs, before)


def test_single_precision_sums_to_one_in_double() -> None:
    probs = scored(pool(c=1000, dtype=torch.float32).log_probs).mean_probs()
    assert probs.dtype == torch.float64
    torch.testing.assert_close(probs.sum(1), torch.ones(60, dtype=torch.float64), rtol=0, atol=1e-14)


def test_chunks_make_the_pool_again() -> None:
    view = pool()
    whole = concatenate([rows(view, slice(a, b)) for a, b in ((0, 10), (10, 11), (11, 60))])
    for part in ("log_probs", "features", "labeled_features", "labeled_labels"):
        assert torch.equal(getattr(whole, part), getattr(view, part))
    assert concatenate([view]) is view


@fault("methods", "a method reads what it has not declared", "one error that names it and how to declare it", cases=16)
@pytest.mark.parametrize("declared", [c for n in range(4) for c in combinations([f.name for f in fields(PoolView)], n)])
def test_a_view_has_the_declared_fields_alone(declared: tuple[str, ...]) -> None:
    view = pool(n=5, k=2, d=3)
    shown = view.declared("mine/method(beta=2)", "selection", declared)
    assert (len(shown), shown.device) == (5, view.device)
    for field in fields(PoolView):
        if field.name in declared:
            assert getattr(shown, field.name) is getattr(view, field.name)
            continue
        with pytest.raises(UndeclaredError, match=rf"mine/method\(beta=2\) reads view.{field.name}, .*@selection"):
            getattr(shown, field.name)
    with pytest.raises(AttributeError, match="a view has no 'labels'"):
        _ = shown.labels  # type: ignore[attr-defined]
