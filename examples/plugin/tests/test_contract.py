"""The method keeps the contract of query methods."""

import pytest

from fathom.testing import check_query


@pytest.mark.parametrize("text", ["my_al/density-margin", "my_al/density-margin(beta=2.0, subsample=30)"])
def test_density_margin_keeps_the_contract(text: str) -> None:
    check_query(text)
