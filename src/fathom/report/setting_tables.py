"""The tables of one setting: scores and gains, scores against paid labels, the HP grid."""

import math
from typing import Any, TypeVar

from fathom.core.records import Setting
from fathom.report.numbers import DASH, MINUS, gain, number, p_value, percent
from fathom.report.style import styles_of
from fathom.report.tables import ReportTable, TableCell
from fathom.results.failures import retry_note
from fathom.results.names import label
from fathom.results.results import StudyResults, of_setting
from fathom.stats.curves import budget_curves
from fathom.stats.inference import MIN_SEEDS
from fathom.stats.savings import LabelSaving

T = TypeVar("T")


def emphasis(low: float, high: float) -> str:
    """How an interval is set: `up` above zero, `down` below, else empty."""
    return "up" if low > 0 else "down" if high < 0 else ""


def setting_table(reading: StudyResults, setting: Setting, name: str) -> ReportTable:
    """AUBC, final score and gain over the baseline of every query method of a setting."""
    means, gains = _of(reading.means, setting), _of(reading.gains, setting)
    rows = []
    for query in dict.fromkeys(r.spec.query for r in reading.runs if r.spec.setting == setting):
        planned, own = reading.seeds(setting, query), means.get(query)
        style = styles_of(reading)[query]
        row = [TableCell(style.label, style.label, style.number)]
        if own is None:
            rows.append([*row, TableCell(f"0 of {planned}", 0), *[TableCell(DASH)] * 6])
            continue
        row.append(TableCell(str(planned) if own["n"] == planned else f"{own['n']} of {planned}", own["n"]))
        for what in ("aubc", "final"):
            row.append(TableCell(percent(own[what], own[f"{what}_low"], own[f"{what}_high"]), own[what]))
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
    return ReportTable(name, caption, columns, rows, _noted(reading, setting, _setting_note(reading, tested)))


def _without(items: list[T], place: int) -> list[T]:
    return items[:place] + items[place + 1 :]


def _gain_cells(reading: StudyResults, setting: Setting, query: str, found: dict[str, Any] | None) -> list[TableCell]:
    if found is None:
        return [TableCell("baseline" if query == reading.baseline else DASH), *[TableCell(DASH)] * 3]
    cells = []
    mark = reading.classifiers[setting].mark(query)
    for what in ("aubc", "final"):
        low, high = found[f"{what}_low"], found[f"{what}_high"]
        cells.append(TableCell(gain(found[what], low, high) + mark, found[what], emphasis=emphasis(low, high)))
    cells.append(TableCell(p_value(found["aubc_holm"], found["n"]), found["aubc_holm"], title=found["aubc_refused"]))
    return [*cells, saving_cell(_saving_of(reading, setting, query))]


def _saving_of(reading: StudyResults, setting: Setting, query: str) -> LabelSaving | None:
    """Label saving at 90 % of the baseline's rise."""
    return next((s for s in reading.savings.get((setting, query), []) if s.share == 0.9), None)


def saving_cell(found: LabelSaving | None) -> TableCell:
    """A label saving with its range."""
    if found is None or found.refused:
        return TableCell("not estimable" if found else DASH)
    if found.censored:
        return TableCell(f"≤ {number(100 * found.saving, 0)} %", found.saving)
    low = "never" if found.low == -math.inf else number(100 * found.low, 0, sign=True)
    text = f"{number(100 * found.saving, 0, sign=True)} % [{low}, {number(100 * found.high, 0, sign=True)}]"
    return TableCell(text, found.saving)


def _noted(reading: StudyResults, setting: Setting, note: str) -> str:
    """A note, and what must stand beside all numbers of the setting."""
    return " ".join(text for text in (note, reading.footnote([setting])) if text)


def _setting_note(reading: StudyResults, tested: bool) -> str:
    test = "p: two-sided paired t-test of the AUBC gain, Holm-corrected over the methods of this setting."
    return (
        (test if tested else f"No p-values: fewer than {MIN_SEEDS} seeds.")
        + f" Labels saved: of the training labels, at 90 % of {label(reading.baseline)}'s rise; in brackets the range "
        "of the paired bootstrap over seeds; ≤ where the method never gets there, “never” where a resample does not. "
        "Every method pays for the validation labels too, so of all labels paid the share is smaller."
    )


def paid_table(reading: StudyResults, setting: Setting, name: str) -> ReportTable | None:
    """Scores of every query method against all labels paid for; None where no round is committed."""
    curves = budget_curves(of_setting(reading.frame, setting), "paid")
    if curves.empty:
        return None
    extra = of_setting(reading.frame, setting).assign(extra=lambda rows: rows["paid"] - rows["budget"])["extra"].mean()
    queries = list(curves["query"].unique())
    rows = []
    for _, part in curves.groupby("round", sort=True):
        own = {str(query): row for query, row in part.set_index("query").iterrows()}
        paid = float((part["budget"] * part["n"]).sum() / part["n"].sum())
        cells = [TableCell(f"{paid:.0f}", paid), TableCell(f"{paid - extra:.0f}", paid - extra)]
        rows.append(cells + [_score_cell(own.get(q), reading.seeds(setting, q)) for q in queries])
    caption = (
        "Scores against the labels paid for: those of the training set and of the validation set. Mean ± half the "
        f"95 % t-interval over seeds, in % {reading.metric(setting).replace('_', ' ')}."
    )
    note = "The last row has the labels paid in the last round. In parentheses: seeds, where fewer than planned."
    return ReportTable(
        name,
        caption,
        ["Paid", "Training set", *(styles_of(reading)[q].label for q in queries)],
        rows,
        _noted(reading, setting, note),
        0,
    )


def _score_cell(row: Any, planned: int) -> TableCell:
    if row is None:
        return TableCell(DASH)
    fewer = f" ({row['n']})" if row["n"] < planned else ""
    return TableCell(percent(row["mean"], row["low"], row["high"]) + fewer, row["mean"])


def _of(frame: Any, setting: Setting) -> dict[str, dict[str, Any]]:
    """Query method -> its row of a frame, in one setting."""
    return {str(row["query"]): row for row in of_setting(frame, setting).to_dict("records")}


def hparam_table(reading: StudyResults, setting: Setting, name: str) -> ReportTable | None:
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
            TableCell(_plain(entry["hparams"].get(n)), _sortable(entry["hparams"].get(n)), emphasis=strong)
            for n in names
        ]
        mean = entry["mean"]
        scores = ", ".join(DASH if s is None else number(100 * s) for s in entry["scores"])
        searched = bool(entry["scores"])
        text = number(100 * mean, 2) if mean is not None else ("diverged" if searched else "not searched")
        rows.append(
            [
                *row,
                TableCell(text, mean, emphasis=strong),
                TableCell(scores or DASH),
                TableCell("chosen" if chosen else ""),
            ]
        )
    seeds = len(record["seeds"])
    metric = str(record["metric"]).replace("_", " ")
    caption = (
        f"Hyper-parameters: all {len(rows)} entries of the grid, validation {metric} (%) on the starting budget, mean "
        f"over {seeds} starting sets. Chosen before round 0, the same for every query method."
        if seeds
        else "Hyper-parameters: one entry, nothing to choose."
    )
    note = retry_note([r["change"] for r in reading.retries.get(setting, [])])
    return ReportTable(name, caption, [*names, "Mean", "Each", ""], rows, note)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else DASH if value is None else str(value)


def _sortable(value: Any) -> float | str | None:
    return float(value) if isinstance(value, int | float) else None if value is None else str(value)
