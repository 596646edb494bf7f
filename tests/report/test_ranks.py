"""Section on ranks: order and stability, ranks over datasets, dips and cold starts."""

from pathlib import Path

from tests.results.synthetic import Plan, build

from fathom.report.builder import PageBuilder
from fathom.report.sections.ranks import ranks
from fathom.results.results import StudyResults


def page(out: Path, **values: object) -> PageBuilder:
    build(out, Plan(**values))  # type: ignore[arg-type]
    return PageBuilder(StudyResults.of(out))


def test_the_section_ranks_methods_and_tells_cold_starts(tmp_path: Path) -> None:

    made = page(tmp_path, seeds=5, noise=0.002, effect=lambda query: {"badge": 0.05, "entropy": -0.05}.get(query, 0.0))
    found = ranks(made)
    assert found is not None
    (group,) = found["groups"]
    order = [row[0].text for row in group["table"].rows]
    assert order[0] == "BADGE"
    assert order[-1] == "Entropy"
    assert "BADGE is first in 100 % of the resamples" in group["words"]
    assert "Kendall's tau" in group["words"]
    assert group["figure"] is None  # two datasets are too few for ranks over datasets
    assert any(text.startswith("Cold start: Entropy") for text in found["events"])


def test_with_three_datasets_there_is_a_diagram(tmp_path: Path) -> None:
    made = page(tmp_path, datasets=("digits", "digits-lt", "mnist"), queries=("random", "badge", "entropy"))
    found = ranks(made)
    assert found is not None
    assert "Bars join methods" in found["groups"][0]["figure"].caption
    assert made.drawings[-1].svg.startswith(b"<?xml")


def test_one_seed_or_one_method_is_no_ranking(tmp_path: Path) -> None:
    assert ranks(page(tmp_path / "a", seeds=1)) is None
    assert ranks(page(tmp_path / "b", queries=("random",))) is None
