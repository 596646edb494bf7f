"""Tables as plain data: shown in the page, sorted by its script, written as LaTeX. Here are those of a whole study."""

import math
from dataclasses import dataclass

from fathom.core.durations import duration
from fathom.core.records import RunSpec
from fathom.report.numbers import DASH, number
from fathom.report.style import looks_of
from fathom.results.environments import Environment, differing, spoken
from fathom.results.names import label
from fathom.results.results import STEPS, Reading
from fathom.stats.curves import SETTING


@dataclass(frozen=True)
class Cell:
    """One cell.

    Args:
        text: What is shown.
        value: What it sorts by; None sorts last.
        look: Number of a query method's look, to draw its mark before the text.
        emphasis: `strong`, `up` (interval above zero), `down` (below), or nothing.
        title: What is told on pointing at it: the full text of a short name, the reason of a dash.
    """

    text: str
    value: float | str | None = None
    look: int | None = None
    emphasis: str = ""
    title: str = ""


@dataclass(frozen=True)
class Table:
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
    rows: list[list[Cell]]
    note: str = ""
    text: int = 1


def penalty_table(reading: Reading) -> Table:
    """Overall penalty: raw, without what chance explains, and Holm-corrected."""
    penalty = reading.penalty
    raw, corrected = penalty.overall(), penalty.overall(penalty.corrected)
    wins = penalty.outside.sum(1)
    losses = penalty.outside.sum(0)
    rows = []
    for i, query in enumerate(penalty.queries):
        look = looks_of(reading)[query]
        mark = "*" if penalty.partial[i] else ""
        cells = [Cell(look.label, look.label, look.number), Cell(number(raw[i], 2) + mark, raw[i])]
        cells += [Cell(number(corrected[i], 2) + mark, corrected[i])]
        rows.append([*cells, Cell(str(wins[i]), float(wins[i])), Cell(str(losses[i]), float(losses[i]))])
    columns = ["Method", "Penalty", "Holm", "Wins", "Losses"]
    note = ""
    if penalty.partial.any():
        columns.append("Settings")
        all_ = len(penalty.seeds)
        for row, present in zip(rows, penalty.present, strict=True):
            row.append(Cell(f"{present:.0f} of {all_}", float(present), emphasis="" if present == all_ else "strong"))
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
    return Table("penalty", caption, columns, rows, note)


def times_table(reading: Reading) -> Table | None:
    """Median seconds a round of each query method and setting; None where no round is stored."""
    frame = reading.frame
    if frame.empty or "seconds_total" not in frame:
        return None
    steps = [s for s in STEPS if f"seconds_{s}" in frame]
    rows = []
    for key, part in frame.groupby([*SETTING, "query"], sort=False):
        dataset, regime, paradigm, query = map(str, key)
        setting = (dataset, regime, paradigm)
        own = part[part["round"] > 0] if (part["round"] > 0).any() else part  # round 0 is trained once for all methods
        look = looks_of(reading)[query]
        where = reading.names.brief(setting)
        row = [Cell(look.label, look.label, look.number), Cell(where, where, title=" · ".join(setting))]
        for step in steps:
            median = float(own[f"seconds_{step}"].median())
            row.append(Cell(duration(median), median))
        spent, total = float(own[[f"seconds_{s}" for s in steps]].sum().sum()), float(own["seconds_total"].sum())
        rest = 1 - spent / total if total > 0 else float("nan")
        row.append(Cell(f"{number(100 * rest, 0)} %" if math.isfinite(rest) else DASH, rest))
        whole = float(part["seconds_total"].sum())
        rows.append([*row, Cell(duration(whole), whole)])
    caption = "Wall-clock: median of a round by step (round 0 left out), the share spent on anything else, all rounds."
    note = reading.retry_notes(reading.store.study.settings)
    columns = ["Method", "Setting", *[s.capitalize() for s in steps], "Else", "All rounds"]
    return Table("times", caption, columns, rows, note, text=2)


def pending_table(reading: Reading, limit: int = 60) -> Table | None:
    """Runs that are not complete; None where all are."""
    open_runs = [r for r in reading.runs if not r.complete]
    if not open_runs:
        return None
    rows = []
    for run in open_runs[:limit]:
        state = "not started" if run.planned is None else f"{run.done} of {run.planned} rounds"
        rows.append([*_spec_cells(reading, run.spec), Cell(state, float(run.done))])
    left = len(open_runs) - limit
    note = f"… and {left} more." if left > 0 else ""
    columns = ["Dataset", "Regime", "Paradigm", "Method", "Seed", "State"]
    return Table("pending", f"{len(open_runs)} of {len(reading.runs)} runs are not complete.", columns, rows, note, 4)


def _spec_cells(reading: Reading, spec: RunSpec) -> list[Cell]:
    short = reading.names.parts(spec.setting)
    cells = [Cell(name, name, title=full) for name, full in zip(short, spec.setting, strict=True)]
    return [*cells, Cell(label(spec.query), label(spec.query)), Cell(str(spec.seed), float(spec.seed))]


def environment_table(found: list[Environment]) -> Table | None:
    """What each environment computed, and the facts in which they differ; None where there is one."""
    if len(found) < 2:
        return None
    apart = differing(found)
    rows = []
    for e in found:
        row = [Cell(e.name, e.name), Cell(str(e.rounds), float(e.rounds)), Cell(str(e.shared), float(e.shared))]
        row += [Cell(spoken(e.facts.get(key)) or DASH) for key in apart]
        rows.append([*row, Cell(e.since[:16].replace("T", " ") or DASH, e.since)])
    caption = (
        "Environments that computed this study: committed rounds, results that runs share (encoders, features, HP "
        "search, round 0, full data), and every fact in which they differ. Numbers may differ between them."
    )
    columns = ["Environment", "Rounds", "Shared", *(key.replace("_", " ").capitalize() for key in apart), "Since (UTC)"]
    return Table("environments", caption, columns, rows)
