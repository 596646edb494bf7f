"""Positions name no image: in another order of the pool, deterministic methods pick the same samples."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.query.pools import pool, rows

from fathom.core.streams import Stream
from fathom.query.method import build_query

DETERMINISTIC = [
    "entropy", "least-confidence", "margin", "variation-ratios(draws=5)", "bald(draws=5)", "batch-bald(draws=5)",
    "core-set", "entropy(stratify=true)",
]  # fmt: skip


@pytest.mark.parametrize("text", DETERMINISTIC)
@settings(derandomize=True, max_examples=8, deadline=None)
@given(n=st.integers(5, 50), m=st.integers(0, 5), seed=st.integers(0, 999))
def test_permuting_the_pool_permutes_the_picks(text, n, m, seed) -> None:
    method = build_query(text)
    view = pool(n=n, m=m, k=max(1, method.draws), seed=seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    straight = method.select([view], 5, Stream(seed))
    permuted = method.select([rows(view, order)], 5, Stream(seed + 1))
    assert order[permuted.positions].tolist() == straight.positions.tolist()
    torch.testing.assert_close(permuted.scores, straight.scores)


def test_random_and_badge_do_draw() -> None:
    view = pool(n=200)
    for text in ("random", "badge"):
        picks = {tuple(build_query(text).select([view], 10, Stream(seed)).positions.tolist()) for seed in range(5)}
        assert len(picks) == 5


def test_random_is_uniform() -> None:
    view = pool(n=20)
    counts = torch.zeros(20)
    for seed in range(1000):
        counts[build_query("random").select([view], 5, Stream(seed)).positions] += 1
    assert ((counts - 250).abs() < 5 * (1000 * 0.25 * 0.75) ** 0.5).all()
