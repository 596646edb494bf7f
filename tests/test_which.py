"""The page that recommends methods shows the numbers of the committed data."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fathom.registry import registry

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/which.md").read_text(encoding="utf-8")
MINUS = "\N{MINUS SIGN}"
METHODS = ["entropy", "core-set", "bald", "badge"]
DATA = {  # as the page names them
    ("cifar10", "low"): "CIFAR-10, low",
    ("cifar10", "mid"): "CIFAR-10, mid",
    ("cifar10-lt", "low"): "CIFAR-10-LT, low",
    ("cifar10-lt", "mid"): "CIFAR-10-LT, mid",
    ("table", "low"): "CIFAR-100 (12,000 images), low",
    ("isic2019", "low"): "HAM10000, low",
    ("isic2019", "mid"): "HAM10000, mid",
}


def row(first: str) -> list[str]:
    """Return the cells after the first one, of the first row of the page that begins with it."""
    found = next(line for line in TEXT.splitlines() if line.startswith(f"| {first} | "))
    return found.removeprefix(f"| {first} | ").rstrip(" |").split(" | ")


def numbers(text: str) -> list[float]:
    """Return the signed numbers with one decimal in a row or cell."""
    return [float(n) for n in re.findall(r"[-+]\d+\.\d", text.replace(MINUS, "-"))]


def assert_same(shown: list[float], real: list[float]) -> None:
    """Rounded to one decimal, halves either way."""
    np.testing.assert_allclose(shown, real, atol=0.0501)


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    """The published AUBC, one row per setting, one column per query method."""
    (path,) = (ROOT / "src/fathom").rglob("aubc.csv")
    table = pd.read_csv(path)
    final = table[table["table"] == "final"]
    wide = final.pivot_table(index=["dataset", "paradigm", "regime"], columns="query", values="mean").reset_index()
    wide["balance"] = np.where(wide["dataset"].isin(["cifar10", "cifar100"]), "balanced", "imbalanced")
    return wide


@pytest.mark.parametrize("paradigm", ["standard", "self-sl", "semi-sl"])
@pytest.mark.parametrize("method", METHODS)
def test_gains_of_the_published_study(published: pd.DataFrame, paradigm: str, method: str) -> None:
    part = published[published["paradigm"] == paradigm]
    gain = (part[method] - part["random"]).dropna() if method in part else pd.Series(dtype=float)
    if gain.empty:
        assert f"| `{paradigm}` | `{method}` |" not in TEXT
        return
    rows = [line for line in TEXT.splitlines() if line.startswith(f"| `{paradigm}` | `{method}` | ")]
    cells = rows[0].strip("| ").split(" | ")
    assert (int(cells[2]), int(cells[6])) == (len(gain), int((gain < 0).sum()))
    assert_same(numbers(rows[0]), [gain.mean(), gain.min(), gain.max()])
    if len(rows) > 1:
        by_regime = gain.groupby(part["regime"]).mean()
        by_balance = gain.groupby(part["balance"]).mean()
        real = [*(by_regime[r] for r in ("low", "mid", "high")), by_balance["balanced"], by_balance["imbalanced"]]
        assert_same(numbers(rows[1]), real)


@pytest.mark.parametrize("paradigm", ["self-sl", "semi-sl"])
def test_gains_of_paradigms(published: pd.DataFrame, paradigm: str) -> None:
    wide = published.pivot_table(index=["dataset", "regime"], columns="paradigm", values="random")
    gain = (wide[paradigm] - wide["standard"]).dropna()
    for regime, cell in zip(("low", "mid", "high"), row(f"`{paradigm}`"), strict=True):
        values = gain[gain.index.get_level_values("regime") == regime]
        if values.empty:
            assert cell == "not run"
        else:
            assert_same(numbers(cell), [values.mean(), values.min(), values.max()])
            assert cell.partition("), ")[2][:1] == str(len(values))


@pytest.fixture(scope="module")
def own() -> pd.DataFrame:
    """AUBC of the committed pass in points: one row per dataset, regime and seed, one column per query method."""
    rows = pd.read_parquet(ROOT / "results/frozen-reduced.parquet", columns=[
        "dataset", "regime", "query", "seed", "budget", "score"])  # fmt: skip
    family: Callable[[str], str] = lambda spec: spec.split("(")[0]  # noqa: E731
    rows["dataset"], rows["regime"] = rows["dataset"].map(family), rows["regime"].map(family)
    found = {}
    for key, run in rows.groupby(["dataset", "regime", "query", "seed"]):
        run = run.sort_values("budget")
        width = run["budget"].iloc[-1] - run["budget"].iloc[0]
        found[key] = 100 * np.trapezoid(run["score"], run["budget"]) / width
    return pd.Series(found).rename_axis(["dataset", "regime", "query", "seed"]).unstack("query")


@pytest.mark.parametrize("setting", DATA)
def test_gains_on_frozen_features(own: pd.DataFrame, setting: tuple[str, str]) -> None:
    part = own.loc[setting]
    assert len(part) == 6
    for method, cell in zip(["entropy", "bald", "core-set", "badge"], row(DATA[setting]), strict=True):
        gain = part[method] - part["random"]
        half = stats.t.ppf(0.975, len(gain) - 1) * stats.sem(gain)
        assert_same(numbers(cell), [gain.mean(), gain.mean() - half, gain.mean() + half])


def test_every_built_in_method_and_paradigm_is_on_the_page() -> None:
    for kind in ("query", "paradigm"):
        for name in registry.index()[kind]:
            assert f"`{name}`" in TEXT, name
