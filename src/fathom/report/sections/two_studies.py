"""Page that shows two studies side by side."""

from typing import Any

from markupsafe import Markup

from fathom.core.records import Setting, unique
from fathom.core.text import plural
from fathom.core.version import __version__
from fathom.report.builder import page_template
from fathom.report.drawing import Drawing
from fathom.report.figures import curve_figure
from fathom.report.numbers import DASH, gain, p_value, percent
from fathom.report.style import styles_of
from fathom.report.tables import ReportTable, TableCell, method_cell, text_cell
from fathom.results.names import label
from fathom.results.results import StudyResults
from fathom.results.side_by_side import SharedCell, StudyDifferences, study_differences
from fathom.stats.curves import budget_curves
from fathom.stats.verdicts import MethodVerdict


def page_of_two(first: StudyResults, second: StudyResults) -> str:
    """HTML page of two studies: verdicts of each, differences of what both have, and their curves."""
    found = study_differences(first, second)
    names = _study_names(first, second)
    settings = unique(cell.setting for cell in found.cells)
    return page_template("two_studies.html.j2").render(
        names=names,
        words=_summary(found, names),
        verdicts=_verdict_table(first, second, names),
        cells=_cell_table(second, found, names),
        curves=[(second.names.title(s), list(_curves(number, s, first, second, names)))
                for number, s in enumerate(settings)],
        not_compared=[f"{second.names.title(s)}: {reason}" for s, reason in found.not_compared],
        only=[(name, _listed(keys, results)) for name, keys, results in
              zip(names, (found.only_first, found.only_second), (first, second), strict=True) if keys],
        method_styles=[*styles_of(second).values()],
        version=__version__,
    )  # fmt: skip


def _study_names(first: StudyResults, second: StudyResults) -> tuple[str, str]:
    own = [results.store.study.name for results in (first, second)]
    if own[0] == own[1]:
        own = [f"{name} ({results.store.root.name})" for name, results in zip(own, (first, second), strict=True)]
    return (f"{own[0]} (1)", f"{own[1]} (2)") if own[0] == own[1] else (own[0], own[1])


def _summary(found: StudyDifferences, names: tuple[str, str]) -> str:
    if not found.cells:
        return "The two studies share no query method in the same setting, so there is nothing to compare."
    paired = sum(not cell.unpaired for cell in found.cells)
    counts = {word: sum(cell.decision.verdict == word for cell in found.cells) for word in
              ("better", "worse", "not worse", "undecided")}  # fmt: skip
    counted = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return (
        f"{names[1]} against {names[0]}: {plural(len(found.cells), 'comparison')} of a query method in a setting that "
        f"both have, {paired} of them paired by seed. {counted[0].upper()}{counted[1:]} (AUBC, Holm over all of them)."
    )


def _cell_table(results: StudyResults, found: StudyDifferences, names: tuple[str, str]) -> ReportTable:
    columns = ["Method", "Setting", *names, "Difference", "p", "Seeds", "Paired", "Verdict"]
    caption = (
        f"AUBC in % of every query method that both studies have, and {names[1]} minus {names[0]} in points with its "
        "interval at the level of Holm's correction."
    )
    rows = [_row(results, cell) for cell in found.cells]
    return ReportTable("differences", caption, columns, rows, text=2)


def _row(results: StudyResults, cell: SharedCell) -> list[TableCell]:
    d = cell.decision
    scores = [TableCell(percent(s.mean, float("nan"), float("nan")), s.mean) for s in (cell.first, cell.second)]
    emphasis = {"better": "up", "worse": "down"}.get(d.verdict, "")
    return [
        method_cell(results, cell.query),
        text_cell(results.names.title(cell.setting)),
        *scores,
        TableCell(gain(d.mean, d.low, d.high), d.mean, emphasis=emphasis),
        TableCell(p_value(d.p_holm), d.p_holm, title=d.refused),
        TableCell(f"{cell.first.n}, {cell.second.n}"),
        TableCell("no" if cell.unpaired else "yes", title=cell.unpaired),
        TableCell(d.verdict, title=d.refused),
    ]


def _verdict_table(first: StudyResults, second: StudyResults, names: tuple[str, str]) -> ReportTable:
    """Headline verdicts of both studies on the methods that either has."""
    own = [{(v.query, v.paradigm): v for v in results.verdicts} for results in (first, second)]
    rows = []
    for query, paradigm in unique([*own[0], *own[1]]):
        cells = [_verdict_cell(verdicts.get((query, paradigm))) for verdicts in own]
        paradigms = second.names.paradigm if paradigm in second.names.paradigm else first.names.paradigm
        rows.append([text_cell(label(query)), text_cell(paradigms[paradigm]), *cells])
    caption = f"Verdict of each study on its query methods against {label(first.baseline)}, with the gain in AUBC."
    return ReportTable("verdicts", caption, ["Method", "Paradigm", *names], rows, text=2)


def _verdict_cell(found: MethodVerdict | None) -> TableCell:
    if found is None:
        return TableCell(DASH)
    d = found.decision
    return TableCell(f"{d.verdict}: {gain(d.mean, d.low, d.high)} (n = {d.n} {found.unit})", d.mean)


def _curves(number: int, setting: Setting, first: StudyResults, second: StudyResults, names: tuple[str, str]) -> Any:
    """Curves of a setting in both studies, with the methods that both have, so that colors mean one thing."""
    for which, (results, name) in enumerate(zip((first, second), names, strict=True)):
        rows = results.rows(setting)
        rows = rows[rows["query"].isin(styles_of(second))]
        if len(rows):
            drawing: Drawing = curve_figure(
                f"compare-{number}-{which}", budget_curves(rows), styles_of(second), results.metric(setting),
                results.full_data_score(setting),
            )  # fmt: skip
            yield {"inline": Markup(drawing.inline), "caption": name}


def _listed(keys: list[tuple[Setting, str]], results: StudyResults) -> str:
    return "; ".join(f"{label(query)}, {results.names.title(setting)}" for setting, query in keys)
