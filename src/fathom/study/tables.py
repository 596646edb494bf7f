"""The report's tables as plain data: shown in the page, sorted by its script, written as LaTeX by `latex`."""

import math
from dataclasses import dataclass
from typing import Any, TypeVar

from fathom.records import RunSpec
from fathom.spans import duration
from fathom.study.inference import MIN_SEEDS
from fathom.study.numbers import DASH, MINUS, gain, number, p_value, percent
from fathom.study.reading import STEPS, Reading, Setting
from fathom.study.style import label

T = TypeVar("T")


@dataclass(frozen=True)
class Cell:
    """One cell.

    Args:
        text: What is shown.
        value: What it sorts by; None sorts last.
        look: Number of a query method's look, to draw its mark before the text.
        emphasis: `strong`, `up` (interval above zero), `down` (below), or nothing.
    """

    text: str
    value: float | str | None = None
    look: int | None = None
    emphasis: str = ""


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


def _emphasis(low: float, high: float) -> str:
    return "up" if low > 0 else "down" if high < 0 else ""


# ------------------------------------------------------------------------------------------------------ one setting


def setting_table(reading: Reading, setting: Setting, name: str) -> Table:
    """AUBC, final score and gain over the baseline of every query method of a setting."""
    means, gains = _of(reading.means, setting), _of(reading.gains, setting)
    rows = []
    for query in dict.fromkeys(r.spec.query for r in reading.runs if r.spec.setting == setting):
        planned, own = reading.seeds(setting, query), means.get(query)
        look = reading.looks[query]
        row = [Cell(look.label, look.label, look.number)]
        if own is None:
            rows.append([*row, Cell(f"0 of {planned}", 0), *[Cell(DASH)] * 6])
            continue
        row.append(Cell(str(planned) if own["n"] == planned else f"{own['n']} of {planned}", own["n"]))
        for what in ("aubc", "final"):
            row.append(Cell(percent(own[what], own[f"{what}_low"], own[f"{what}_high"]), own[what]))
        rows.append(row + _gain_cells(reading, setting, query, gains.get(query)))
    base = label(reading.baseline)
    caption = (
        f"Mean over seeds ± half the 95 % t-interval, in % {reading.metric(setting).replace('_', ' ')}; gains over "
        f"{base} in points, paired by seed, with their 95 % t-interval (not corrected for several methods)."
    )
    columns = ["Method", "Seeds", "AUBC", "Final", f"AUBC {MINUS} {base}", f"Final {MINUS} {base}", "p", "Labels saved"]
    tested = max(reading.seeds(setting, q) for q in reading.queries) >= MIN_SEEDS
    if not tested:  # a column of dashes says less than the note
        columns, rows = _without(columns, 6), [_without(row, 6) for row in rows]
    return Table(name, caption, columns, rows, _setting_note(reading, tested))


def _without(items: list[T], place: int) -> list[T]:
    return items[:place] + items[place + 1 :]


def _gain_cells(reading: Reading, setting: Setting, query: str, found: dict[str, Any] | None) -> list[Cell]:
    if found is None:
        return [Cell("baseline" if query == reading.baseline else DASH), *[Cell(DASH)] * 3]
    cells = []
    for what in ("aubc", "final"):
        low, high = found[f"{what}_low"], found[f"{what}_high"]
        cells.append(Cell(gain(found[what], low, high), found[what], emphasis=_emphasis(low, high)))
    cells.append(Cell(p_value(found["aubc_holm"], found["n"]), found["aubc_holm"]))
    return [*cells, _saving_cell(reading, setting, query)]


def _saving_cell(reading: Reading, setting: Setting, query: str) -> Cell:
    """Label saving at 90 % of the baseline's rise."""
    found = next((s for s in reading.savings.get((setting, query), []) if s.share == 0.9), None)
    if found is None or found.refused:
        return Cell("not estimable" if found else DASH)
    if found.censored:
        return Cell(f"≤ {number(100 * found.saving, 0)} %", found.saving)
    low = "never" if found.low == -math.inf else number(100 * found.low, 0, sign=True)
    text = f"{number(100 * found.saving, 0, sign=True)} % [{low}, {number(100 * found.high, 0, sign=True)}]"
    return Cell(text, found.saving)


def _setting_note(reading: Reading, tested: bool) -> str:
    test = "p: two-sided paired t-test of the AUBC gain, Holm-corrected over the methods of this setting."
    return (
        (test if tested else f"No p-values: fewer than {MIN_SEEDS} seeds.")
        + f" Labels saved: at 90 % of {label(reading.baseline)}'s rise; in brackets the range of the paired bootstrap "
        "over seeds; ≤ where the method never gets there, “never” where a resample does not."
    )


def _of(frame: Any, setting: Setting) -> dict[str, dict[str, Any]]:
    """Query method -> its row of a frame, in one setting."""
    if frame.empty:
        return {}
    part = frame[(frame["dataset"] == setting[0]) & (frame["regime"] == setting[1]) & (frame["paradigm"] == setting[2])]
    return {str(row["query"]): row for row in part.to_dict("records")}


# ------------------------------------------------------------------------------------------------- the whole study


def penalty_table(reading: Reading) -> Table:
    """Overall penalty: raw, without what chance explains, and Holm-corrected."""
    penalty = reading.penalty
    raw, corrected = penalty.overall(), penalty.overall(penalty.corrected)
    wins = penalty.outside.sum(1)
    losses = penalty.outside.sum(0)
    rows = []
    for i, query in enumerate(penalty.queries):
        look = reading.looks[query]
        cells = [Cell(look.label, look.label, look.number), Cell(number(raw[i], 2), raw[i])]
        cells += [Cell(number(corrected[i], 2), corrected[i])]
        rows.append([*cells, Cell(str(wins[i]), float(wins[i])), Cell(str(losses[i]), float(losses[i]))])
    caption = (
        "Overall penalty: the share of settings and budgets in which the other methods beat it, summed over settings "
        "and averaged over the other methods. Lower is better. Holm: the same with corrected tests. Wins and losses: "
        "cells above the null band."
    )
    columns = ["Method", "Penalty", "Holm", "Wins", "Losses"]
    return Table("penalty", caption, columns, rows)


def hparam_table(reading: Reading, setting: Setting, name: str) -> Table | None:
    """The whole HP grid with its validation scores; the chosen entry is marked. None where nothing is stored."""
    record = reading.hparams.get(setting)
    if record is None:
        return None
    names = list(dict.fromkeys(key for row in record["table"] for key in row["hparams"]))
    rows = []
    for entry in record["table"]:
        chosen = entry["hparams"] == record["chosen"]
        strong = "strong" if chosen else ""
        row = [
            Cell(_plain(entry["hparams"].get(n)), _sortable(entry["hparams"].get(n)), emphasis=strong) for n in names
        ]
        mean = entry["mean"]
        scores = ", ".join(DASH if s is None else number(100 * s) for s in entry["scores"])
        searched = bool(entry["scores"])
        text = number(100 * mean, 2) if mean is not None else ("diverged" if searched else "not searched")
        rows.append([*row, Cell(text, mean, emphasis=strong), Cell(scores or DASH), Cell("chosen" if chosen else "")])
    seeds = len(record["seeds"])
    metric = str(record["metric"]).replace("_", " ")
    caption = (
        f"Hyper-parameters: all {len(rows)} entries of the grid, validation {metric} (%) on the starting budget, mean "
        f"over {seeds} starting sets. Chosen before round 0, the same for every query method."
        if seeds
        else "Hyper-parameters: one entry, nothing to choose."
    )
    return Table(name, caption, [*names, "Mean", "Each", ""], rows)


def times_table(reading: Reading) -> Table | None:
    """Median seconds a round of each query method and setting; None where no round is stored."""
    frame = reading.frame
    if frame.empty or "seconds_total" not in frame:
        return None
    steps = [s for s in STEPS if f"seconds_{s}" in frame]
    rows = []
    for (dataset, _, paradigm, query), part in frame.groupby(["dataset", "regime", "paradigm", "query"], sort=False):
        own = part[part["round"] > 0] if (part["round"] > 0).any() else part  # round 0 is trained once for all methods
        look = reading.looks[str(query)]
        row = [Cell(look.label, look.label, look.number), Cell(f"{dataset}, {paradigm}", f"{dataset}, {paradigm}")]
        for step in steps:
            median = float(own[f"seconds_{step}"].median())
            row.append(Cell(duration(median), median))
        spent, total = float(own[[f"seconds_{s}" for s in steps]].sum().sum()), float(own["seconds_total"].sum())
        rest = 1 - spent / total if total > 0 else float("nan")
        row.append(Cell(f"{number(100 * rest, 0)} %" if math.isfinite(rest) else DASH, rest))
        whole = float(part["seconds_total"].sum())
        rows.append([*row, Cell(duration(whole), whole)])
    caption = "Wall-clock: median of a round by step (round 0 left out), the share spent on anything else, all rounds."
    return Table(
        "times", caption, ["Method", "Setting", *[s.capitalize() for s in steps], "Else", "All rounds"], rows, text=2
    )


def pending_table(reading: Reading, limit: int = 60) -> Table | None:
    """Runs that are not complete; None where all are."""
    open_runs = [r for r in reading.runs if not r.complete]
    if not open_runs:
        return None
    rows = []
    for run in open_runs[:limit]:
        state = "not started" if run.planned is None else f"{run.done} of {run.planned} rounds"
        rows.append([*_spec_cells(run.spec), Cell(state, float(run.done))])
    left = len(open_runs) - limit
    note = f"… and {left} more." if left > 0 else ""
    columns = ["Dataset", "Regime", "Paradigm", "Method", "Seed", "State"]
    return Table("pending", f"{len(open_runs)} of {len(reading.runs)} runs are not complete.", columns, rows, note, 4)


def _spec_cells(spec: RunSpec) -> list[Cell]:
    return [Cell(t, t) for t in (*spec.setting, label(spec.query))] + [Cell(str(spec.seed), float(spec.seed))]


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else DASH if value is None else str(value)


def _sortable(value: Any) -> float | str | None:
    return float(value) if isinstance(value, int | float) else None if value is None else str(value)
