"""Tables of one setting: scores and gains, scores over paid labels, the HP grid."""

import math
from collections.abc import Mapping
from typing import Any

from fathom.core.records import Setting, unique
from fathom.core.text import joined, number_ranges
from fathom.report.numbers import DASH, MINUS, emphasis, gain, number, p_value, percent
from fathom.report.style import styles_of
from fathom.report.tables import EMPTY_CELL, ReportTable, TableCell, method_cell
from fathom.results.failures import retry_note
from fathom.results.frames import of_setting
from fathom.results.names import label
from fathom.results.results import StudyResults
from fathom.results.savings_words import Named, needed_text, refused_words, saved_text, savings_words, share_text
from fathom.results.trivial import trivial_words
from fathom.stats.curves import budget_curves
from fathom.stats.decisions import MIN_UNITS
from fathom.stats.savings import LabelSaving


def setting_table(results: StudyResults, setting: Setting, name: str) -> ReportTable:
    """AUBC, final score and gain over the baseline of every query method of a setting."""
    means, gains = rows_by_query(results.means, setting), rows_by_query(results.gains, setting)
    rows = []
    for query in unique(run.spec.query for run in results.runs_of.get(setting, ())):
        planned, own = results.seeds(setting, query), means.get(query)
        if own is None:
            rows.append([method_cell(results, query), TableCell(f"0 of {planned}", 0), *[EMPTY_CELL] * 6])
            continue
        done = TableCell(str(planned) if own["n"] == planned else f"{own['n']} of {planned}", own["n"])
        row = [method_cell(results, query), done, score_cell(own, "aubc"), score_cell(own, "final")]
        rows.append(row + _gain_cells(results, setting, query, gains.get(query)))
    base = label(results.baseline)
    seeds = number_ranges(run.spec.seed for run in results.runs if run.spec.setting == setting)
    caption = (
        f"Mean over seeds {seeds} ± half the 95 % t-interval, in % {results.metric(setting).replace('_', ' ')}; gains "
        f"over {base} in points, paired by seed, with their 95 % t-interval (not corrected for several methods)."
    )
    columns = ["Method", "Seeds", "AUBC", "Final", f"AUBC {MINUS} {base}", f"Final {MINUS} {base}", "p", "Labels saved"]
    tested = max(results.seeds(setting, q) for q in results.queries) >= MIN_UNITS
    if not tested:  # a column of dashes tells less than the note
        columns.remove("p")
        for row in rows:
            del row[6]
    trivial = ". ".join([*trivial_words(results, [setting]), ""]).strip()
    note = joined(trivial, _setting_note(results, tested), results.footnote([setting]))
    return ReportTable(name, caption, columns, rows, note)


def _gain_cells(results: StudyResults, setting: Setting, query: str, found: dict[str, Any] | None) -> list[TableCell]:
    if found is None:
        return [TableCell("baseline" if query == results.baseline else DASH), *[EMPTY_CELL] * 3]
    mark = results.classifiers[setting].mark(query)
    p = TableCell(p_value(found["aubc_holm"]), found["aubc_holm"], title=found["aubc_refused"])
    saving = next(iter(results.savings.get((setting, query), [])), None)
    decision = results.details.get((setting, query))
    area = gain_cell(found, "aubc", mark, decision.verdict if decision else "")
    return [area, gain_cell(found, "final", mark), p, saving_cell(saving)]


def score_cell(row: Mapping[str, Any], what: str) -> TableCell:
    """Cell of a mean score in percent with its interval, from columns `what`, `what_low` and `what_high`."""
    return TableCell(percent(row[what], row[f"{what}_low"], row[f"{what}_high"]), row[what])


def gain_cell(row: Mapping[str, Any], what: str, mark: str = "", verdict: str = "") -> TableCell:
    """Cell of a gain in points with its interval, from the same columns; highlighted by the verdict on it, if any."""
    low, high = row[f"{what}_low"], row[f"{what}_high"]
    return TableCell(gain(row[what], low, high) + mark, row[what], emphasis=emphasis(verdict), title=verdict)


def saving_cell(found: LabelSaving | None, named: Named = label) -> TableCell:
    """Cell of the labels saved, with the share of the training labels; all else is in its tooltip."""
    if found is None:
        return TableCell(DASH)
    if found.needs.refused:
        return TableCell("not estimable", title=savings_words(found, named))
    point, low, high = found.labels
    value = low if found.needs.low == 0 else high if math.isinf(low) else point
    return TableCell(saved_text(found), value, title=savings_words(found, named))


def savings_table(results: StudyResults, setting: Setting, name: str) -> ReportTable | None:
    """Labels saved by every query method at the last and at the middle budget; None where there are none."""
    found = [s for (where, _), own in results.savings.items() if where == setting for s in own]
    if not found:
        return None
    base = label(results.baseline)
    rows = [_saving_row(results, saving) for saving in found]
    columns = ["Method", "At", f"Labels for {base}'s score", "Saved", "Share", "Share of paid"]
    columns += [f"{base}'s labels for its score"]
    caption = (
        f"Labels saved: training labels that a method needs for the score that {base} has with the labels of the "
        f"second column, and labels that {base} needs for the score that the method has with these. First crossing of "
        f"the mean curve, with the {100 * found[0].level:.0f} % interval of the inverted paired t-test over the seeds "
        "that both have completed (not corrected for several methods)."
    )
    note = (
        f"≤, ≥: the interval is open, since the curves have no rounds beyond {number(found[0].last, 0)} labels or "
        "before the first. Share of paid: with the labels of the validation set."
    )
    reasons = unique(refused_words(s, s.needs) for s in found if s.needs.refused)
    note += "".join(f" {text[0].upper()}{text[1:]}." for text in reasons)
    return ReportTable(name, caption, columns, rows, joined(note, results.footnote([setting])))


def _saving_row(results: StudyResults, saving: LabelSaving) -> list[TableCell]:
    method, mark = method_cell(results, saving.query), results.classifiers[saving.setting].mark(saving.query)
    return [
        TableCell(method.text + mark, method.value, method.style),
        TableCell(number(saving.budget, 0), saving.budget),
        TableCell(needed_text(saving.needs), saving.needs.point),
        saving_cell(saving),
        TableCell(share_text(saving), saving.share()[0]),
        TableCell(share_text(saving, paid=True), saving.share(paid=True)[0]),
        TableCell(needed_text(saving.reference_needs), saving.reference_needs.point),
    ]


def _setting_note(results: StudyResults, tested: bool) -> str:
    base = label(results.baseline)
    test = (
        "p: two-sided paired t-test of the AUBC gain, Holm-corrected over all settings and methods of the study; a "
        "gain is highlighted where the verdict on it is better or worse."
    )
    return (
        (test if tested else f"No p-values: fewer than {MIN_UNITS} seeds.")
        + f" Labels saved: training labels that the method saves at the score of {base}'s last budget, with their 95 % "
        "interval (paired, not corrected); ≤, ≥: open, since the curves end there."
    )


def paid_table(results: StudyResults, setting: Setting, name: str) -> ReportTable | None:
    """Scores of every query method over all paid labels; None where no round is committed."""
    curves = budget_curves(results.rows(setting), "paid")
    if curves.empty:
        return None
    frame = results.rows(setting)
    extra = (frame["paid"] - frame["budget"]).mean()
    queries = list(curves["query"].unique())
    rows = []
    for _, part in curves.groupby("round", sort=True):
        own = {str(query): row for query, row in part.set_index("query").iterrows()}
        paid = float((part["budget"] * part["n"]).sum() / part["n"].sum())
        cells = [TableCell(f"{paid:.0f}", paid), TableCell(f"{paid - extra:.0f}", paid - extra)]
        rows.append(cells + [_paid_cell(own.get(q), results.seeds(setting, q)) for q in queries])
    caption = (
        "Scores over paid labels (training and validation set): mean ± half the "
        f"95 % t-interval over seeds, in % {results.metric(setting).replace('_', ' ')}."
    )
    columns = ["Paid", "Training set", *(styles_of(results)[q].label for q in queries)]
    note = joined("In parentheses: number of seeds where it is smaller than planned.", results.footnote([setting]))
    return ReportTable(name, caption, columns, rows, note, 0)


def _paid_cell(row: Any, planned: int) -> TableCell:
    if row is None:
        return EMPTY_CELL
    fewer = f" ({row['n']})" if row["n"] < planned else ""
    return TableCell(percent(row["mean"], row["low"], row["high"]) + fewer, row["mean"])


def rows_by_query(frame: Any, setting: Setting) -> dict[str, dict[str, Any]]:
    """Query method -> its row of a frame that has one row per method, in one setting."""
    return {str(row["query"]): row for row in of_setting(frame, setting).to_dict("records")}


def hparam_table(results: StudyResults, setting: Setting, name: str) -> ReportTable | None:
    """HP grid with its validation scores and the chosen entry; None where no choice is stored."""
    record = results.hparams.get(setting)
    if record is None:
        return None
    names = unique(key for row in record["table"] for key in row["hparams"])
    rows = []
    for entry in record["table"]:
        chosen = entry["hparams"] == record["chosen"]
        strong = "strong" if chosen else ""
        values = [entry["hparams"].get(name) for name in names]
        row = [TableCell(_plain(value), _sortable(value), emphasis=strong) for value in values]
        mean = entry["mean"]
        scores = ", ".join(DASH if s is None else number(100 * s) for s in entry["scores"])
        searched = bool(entry["scores"])
        text = number(100 * mean, 2) if mean is not None else ("diverged" if searched else "not searched")
        row += [TableCell(text, mean, emphasis=strong), TableCell(scores or DASH)]
        rows.append([*row, TableCell("chosen" if chosen else "")])
    metric = str(record["metric"]).replace("_", " ")
    caption = "Hyper-parameters (HPs): the grid has one entry, so nothing was searched."
    if seeds := len(record["seeds"]):
        caption = (
            f"Hyper-parameters (HPs): all {len(rows)} grid entries with their validation {metric} (%) at the starting "
            f"budget, mean over {seeds} starting sets. The choice precedes round 0 and holds for every query method."
        )
    note = retry_note([r["change"] for r in results.retries.get(setting, [])])
    return ReportTable(name, caption, [*names, "Mean", "Each starting set", ""], rows, note)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else DASH if value is None else str(value)


def _sortable(value: Any) -> float | str | None:
    return float(value) if isinstance(value, int | float) else None if value is None else str(value)
