"""The rule for what counts as one dataset, by examples and in the three places that count datasets."""

from pathlib import Path

import pytest
from tests.results.synthetic import CLASSES, Plan, build

from fathom.core.records import RunSpec, Setting, Study
from fathom.design.power import HEADLINE, proof
from fathom.design.spread import Spread
from fathom.published.findings import dataset_means
from fathom.registry.dataset_identity import dataset_identity
from fathom.report.across_datasets import across_table
from fathom.results.results import StudyResults

VARIANTS = ("cifar10-lt(rho=50)", "cifar10-lt(rho=20)", "folder(path=a)", "folder(path=a, size=64)", "folder(path=b)")
IDENTITIES = ("cifar10-lt", "folder(path=a)", "folder(path=b)")


@pytest.mark.parametrize(
    ("dataset", "identity"),
    [
        ("cifar10", "cifar10"),
        ("cifar10(train_size=1000)", "cifar10"),
        ("cifar10-lt(rho=20)", "cifar10-lt"),
        ("isic2019(split=published)", "isic2019"),
        ("folder(path=scans, role=roll-out, size=64)", "folder(path=scans)"),
        ("table(path=lesions.csv)", "table(path=lesions.csv)"),
        ("my_al/own(fold=2)", "my_al/own"),
        ("not a (spec", "not a (spec"),
    ],
)
def test_the_source_of_the_images_counts_and_nothing_else(dataset: str, identity: str) -> None:
    assert dataset_identity(dataset) == identity


def test_the_power_analysis_counts_by_the_rule() -> None:
    runs = [RunSpec(d, "low", "standard", q, s) for d in VARIANTS for q in ("random", "badge") for s in range(2)]
    made = proof(Study("s", tuple(runs)), lambda _: Spread(0.01, ""), Spread(0.01, ""))
    assert made.datasets == len(IDENTITIES)
    assert made.of_kind(HEADLINE)[0].n == len(IDENTITIES)


def test_the_claims_count_by_the_rule() -> None:
    gains = {(Setting(d, "low", "standard"), "badge"): float(i) for i, d in enumerate(VARIANTS)}
    assert dataset_means(gains) == dict(zip(IDENTITIES, (0.5, 2.5, 4.0), strict=True))


def test_the_report_counts_by_the_rule(tmp_path: Path) -> None:
    small = {"queries": ("random", "badge"), "seeds": 2, "rounds": 3, "classes": CLASSES[:3]}
    build(tmp_path / "three", Plan(datasets=VARIANTS, **small))  # type: ignore[arg-type]
    results = StudyResults.of(tmp_path / "three")
    table = across_table(results)
    assert table is not None
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["Datasets"].text == "3"
    gains = results.gains.set_index("dataset")["aubc"]
    means = [gains[list(VARIANTS[:2])].mean(), gains[list(VARIANTS[2:4])].mean(), gains[VARIANTS[4]]]
    assert row["Mean gain"].value == pytest.approx(sum(means) / 3)
    assert row["Mean gain"].value == results.verdicts[0].decision.mean
    build(tmp_path / "one", Plan(datasets=VARIANTS[:2], **small))  # type: ignore[arg-type]
    assert across_table(StudyResults.of(tmp_path / "one")) is None
