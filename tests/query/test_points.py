"""Factored points against explicit ones."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fathom.query.points import Points


def explicit(points: Points) -> torch.Tensor:
    """The points themselves, outer products and all."""
    out = points.factors[0]
    for factor in points.factors[1:]:
        out = torch.einsum("nc,nd->ncd", out, factor).flatten(1)
    return out


def random_points(n: int, widths: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> Points:
    rng = torch.Generator().manual_seed(seed)
    return Points(tuple(torch.randn(n, width, generator=rng).to(dtype) for width in widths))


@settings(derandomize=True, max_examples=25, deadline=None)
@given(
    n=st.integers(1, 40),
    b=st.integers(1, 9),
    widths=st.sampled_from([(5,), (3, 4), (2, 3, 2)]),
    seed=st.integers(0, 999),
)
def test_distances_equal_those_of_explicit_points(n, b, widths, seed) -> None:
    points, centers = random_points(n, widths, seed), random_points(b, widths, seed + 1000)
    expected = torch.cdist(explicit(points), explicit(centers), compute_mode="donot_use_mm_for_euclid_dist") ** 2
    torch.testing.assert_close(points.squared_distances(centers), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(points.nearest(centers), expected.amin(1), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(points.squares, explicit(points).square().sum(1))


@pytest.mark.parametrize("widths", [(5,), (3, 4)])
def test_blocks_of_points_and_centers_change_nothing(widths, monkeypatch: pytest.MonkeyPatch) -> None:
    points, centers = random_points(100, widths, 0), random_points(37, widths, 1)
    whole = points.nearest(centers)
    monkeypatch.setattr("fathom.query.points.CENTERS", 5)
    monkeypatch.setattr("fathom.query.points.CPU_ELEMENTS", 40)
    torch.testing.assert_close(points.nearest(centers), whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("widths", [(512,), (10, 512)])
def test_a_point_is_at_distance_zero_of_itself(widths, dtype) -> None:
    points = random_points(300, widths, 0, dtype)
    assert (points.nearest(points) == 0).all()
    assert (points.squared_distances(points).diagonal() == 0).all()


def test_taking_rows_takes_them_of_every_factor() -> None:
    points = random_points(10, (2, 3), 0)
    rows = torch.tensor([7, 1])
    torch.testing.assert_close(explicit(points.take(rows)), explicit(points)[rows])
