"""Tables as plain data: shown in the page, sorted by its script, written as LaTeX. Here are those of a whole study."""

import math
from dataclasses import dataclass

from fathom.core.durations import duration
from fathom.core.records import RunSpec, Setting
from fathom.report.numbers import DASH, number
from fathom.report.style import styles_of
from fathom.results.environments import EnvironmentSummary, differing, spoken
from fathom.results.names import label
from fathom.results.results import STEPS, StudyResults
from fathom.stats.curves import SETTING


@dataclass(frozen=True)
class TableCell:
    """One cell.

    Args:
        text: What is shown.
        value: What it sorts by; None sorts last.
        style: Number of a query method's style, to draw its mark before the text.
        emphasis: `strong`, `up` (interval above zero), `down` (below), or nothing.
        title: What is told on pointing at it: the full text of a short name, the reason of a dash.
    """

    text: str
    value: float | str | None = None
    style: int | None = None
    emphasis: str = ""
    title: str = ""


@dataclass(frozen=True)
class ReportTable:
    """One table.

    Args:
        name: File stem of its LaTeX.
        caption: What it shows, with n, interval, pairing.
        columns: Headers.
        rows: Cells.
        note: Below the table.
        text: Leading columns that hold words, not numbers.
    """

    name: str
    caption: str
    columns: list[str]
    rows: list[list[TableCell]]
    note: str = ""
    text: int = 1


def penalty_table(reading: StudyResults) -> ReportTable:
    """Overall penalty: raw, without what chance explains, and Holm-corrected."""
    penalty = reading.penalty
    raw, corrected = penalty.overall(), penalty.overall(penalty.corrected)
    wins = penalty.outside.sum(1)
    losses = penalty.outside.sum(0)
    rows = []
    for i, query in enumerate(penalty.queries):
        style = styles_of(reading)[query]
        mark = "*" if penalty.partial[i] else ""
        cells = [TableCell(style.label, style.label, style.number), TableCell(number(raw[i], 2) + mark, raw[i])]
        cells += [TableCell(number(corrected[i], 2) + mark, corrected[i])]
        rows.append([*cells, TableCell(str(wins[i]), float(wins[i])), TableCell(str(losses[i]), float(losses[i]))])
    columns = ["Method", "Penalty", "Holm", "Wins", "Losses"]
    note = ""
    if penalty.partial.any():
        columns.append("Settings")
        all_ = len(penalty.seeds)
        for row, present in zip(rows, penalty.present, strict=True):
            row.append(
                TableCell(f"{present:.0f} of {all_}", float(present), emphasis="" if present == all_ else "strong")
            )
        note = (
            f"* Compared in fewer than {all_} settings: mean over the comparisons made, scaled to {all_}; its wins and "
            "losses are of those alone."
        )
    note = " ".join(text for text in (note, reading.footnote(reading.store.study.settings)) if text)
    caption = (
        "Overall penalty: the share of settings and budgets in which the other methods beat it, summed over settings "
        "and averaged over the other methods. Lower is better. Holm: the same with corrected tests. Wins and losses: "
        "cells above the null band."
    )
    return ReportTable("penalty", caption, columns, rows, note)


def times_table(reading: StudyResults) -> ReportTable | None:
    """Median seconds a round of each query method and setting; None where no round is stored."""
    frame = reading.frame
    if frame.empty or "seconds_total" not in frame:
        return None
    steps = [s for s in STEPS if f"seconds_{s}" in frame]
    rows = []
    for key, part in frame.groupby([*SETTING, "query"], sort=False):
        dataset, regime, paradigm, query = map(str, key)
        setting = Setting(dataset, regime, paradigm)
        own = part[part["round"] > 0] if (part["round"] > 0).any() else part  # round 0 is trained once for all methods
        style = styles_of(reading)[query]
        where = reading.names.brief(setting)
        row = [TableCell(style.label, style.label, style.number), TableCell(where, where, title=" · ".join(setting))]
        for step in steps:
            median = float(own[f"seconds_{step}"].median())
            row.append(TableCell(duration(median), median))
        spent, total = float(own[[f"seconds_{s}" for s in steps]].sum().sum()), float(own["seconds_total"].sum())
        rest = 1 - spent / total if total > 0 else float("nan")
        row.append(TableCell(f"{number(100 * rest, 0)} %" if math.isfinite(rest) else DASH, rest))
        whole = float(part["seconds_total"].sum())
        rows.append([*row, TableCell(duration(whole), whole)])
    caption = "Wall-clock: median of a round by step (round 0 left out), the share spent on anything else, all rounds."
    note = reading.retry_notes(reading.store.study.settings)
    columns = ["Method", "Setting", *[s.capitalize() for s in steps], "Else", "All rounds"]
    return ReportTable("times", caption, columns, rows, note, text=2)


def pending_table(reading: StudyResults, limit: int = 60) -> ReportTable | None:
    """Runs that are not complete; None where all are."""
    open_runs = [r for r in reading.runs if not r.complete]
    if not open_runs:
        return None
    rows = []
    for run in open_runs[:limit]:
        state = "not started" if run.planned is None else f"{run.done} of {run.planned} rounds"
        rows.append([*_spec_cells(reading, run.spec), TableCell(state, float(run.done))])
    left = len(open_runs) - limit
    note = f"… and {left} more." if left > 0 else ""
    columns = ["Dataset", "Regime", "Paradigm", "Method", "Seed", "State"]
    return ReportTable(
        "pending", f"{len(open_runs)} of {len(reading.runs)} runs are not complete.", columns, rows, note, 4
    )


def _spec_cells(reading: StudyResults, spec: RunSpec) -> list[TableCell]:
    short = reading.names.parts(spec.setting)
    cells = [TableCell(name, name, title=full) for name, full in zip(short, spec.setting, strict=True)]
    return [*cells, TableCell(label(spec.query), label(spec.query)), TableCell(str(spec.seed), float(spec.seed))]


def environment_table(found: list[EnvironmentSummary]) -> ReportTable | None:
    """What each environment computed, and the facts in which they differ; None where there is one."""
    if len(found) < 2:
        return None
    apart = differing(found)
    rows = []
    for e in found:
        row = [
            TableCell(e.name, e.name),
            TableCell(str(e.rounds), float(e.rounds)),
            TableCell(str(e.shared), float(e.shared)),
        ]
        row += [TableCell(spoken(e.facts.get(key)) or DASH) for key in apart]
        rows.append([*row, TableCell(e.since[:16].replace("T", " ") or DASH, e.since)])
    caption = (
        "Environments that computed this study: committed rounds, results that runs share (encoders, features, HP "
        "search, round 0, full data), and every fact in which they differ. Numbers may differ between them."
    )
    columns = [
        "EnvironmentSummary",
        "Rounds",
        "Shared",
        *(key.replace("_", " ").capitalize() for key in apart),
        "Since (UTC)",
    ]
    return ReportTable("environments", caption, columns, rows)
