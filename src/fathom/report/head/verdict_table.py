"""Table of verdicts at the head of a report: one line per query method and training paradigm."""

from collections.abc import Sequence

from fathom.core.records import unique
from fathom.core.text import plural
from fathom.report.head.savings import saved_cell
from fathom.report.head.verdict_text import level_text, marked_label
from fathom.report.numbers import DASH, gain, number
from fathom.report.style import styles_of
from fathom.report.tables import ReportTable, TableCell
from fathom.results.names import label
from fathom.results.results import StudyResults
from fathom.results.roles import roles
from fathom.stats.decisions import BETTER, NOT_WORSE, UNDECIDED, WORSE, GainVerdict
from fathom.stats.inference import LEVEL
from fathom.stats.verdicts import DATASETS, MethodVerdict
from fathom.stats.words import in_points, settle_words

# Classes of the style sheet, which adds a sign to the color.
EMPHASIS = {BETTER: "better", NOT_WORSE: "not-worse", WORSE: "worse", UNDECIDED: "undecided"}


def verdict_tables(results: StudyResults) -> list[ReportTable]:
    """One table per role of the datasets; none where nothing was compared."""
    found = {role: [v for v in results.verdicts if v.role == role] for role in roles(results)}
    return [_table(results, role, own) for role, own in found.items() if own]


def _table(results: StudyResults, role: str, own: list[MethodVerdict]) -> ReportTable:
    datasets = any(v.unit == DATASETS for v in own)
    levels = len({level_text(v.decision.level) for v in own}) > 1  # else the caption says it
    columns = ["Method", "Verdict", "Gain", "Labels saved", "n", *(["Level"] if levels else [])]
    columns += ["These datasets alone", "New dataset"] if datasets else []
    columns += ["Worst setting", f"More {' or '.join(unique(v.unit for v in own))} to settle it"]
    both = len(roles(results)) > 1
    head = f"{role.capitalize()} data. " if both else ""
    rows = [_row(results, v, levels, datasets) for v in own]
    return ReportTable(
        f"verdicts-{role}" if both else "verdicts",
        head + _caption(results, own),
        columns,
        rows,
        _note(own, datasets),
        2,
    )


def _row(results: StudyResults, v: MethodVerdict, levels: bool, datasets: bool) -> list[TableCell]:
    d, style = v.decision, styles_of(results)[v.query]
    several = len(unique(other.paradigm for other in results.verdicts)) > 1
    paradigm = f", {results.names.paradigm[v.paradigm]}" if several else ""
    row = [TableCell(marked_label(results, v) + paradigm, style.label, style.number, title=v.paradigm)]
    row += [verdict_cell(d), TableCell(gain(d.mean, d.low, d.high), d.mean), saved_cell(results, v)]
    missing = f" ({d.missing} missing)" if d.missing else ""
    row.append(TableCell(plural(d.n, v.unit.removesuffix("s")) + missing, float(d.n)))
    row += [TableCell(level_text(d.level), d.level)] if levels else []
    if datasets:
        low, high = v.prediction or (float("nan"), float("nan"))
        text = f"{number(100 * low, 1, sign=True)} to {number(100 * high, 1, sign=True)}" if v.prediction else DASH
        row += [verdict_cell(v.here), TableCell(text, low if v.prediction else None)]
    worst, place = v.worst.estimate.mean, results.names.parts(v.worst.setting)
    text = f"{number(100 * worst, 1, sign=True)} on {place.dataset}, {place.regime}" if len(v.gains) > 1 else DASH
    return [*row, TableCell(text, worst), _settle_cell(v)]


def _settle_cell(v: MethodVerdict) -> TableCell:
    """Cell of the units that would settle a comparison; its tooltip is the sentence."""
    if v.decision.verdict in (BETTER, WORSE) or v.to_settle[1] is None:
        return TableCell(DASH)
    better, not_worse = v.to_settle
    parts = [f"{better} for a gain" if better else "", f"{not_worse} for not worse" if not_worse else ""]
    spelled = settle_words(v.unit, v.decision.n, v.to_settle, v.decision.margin)
    return TableCell(", ".join(filter(None, parts)) or DASH, float(not_worse or 0), title=spelled)


def verdict_cell(decision: GainVerdict) -> TableCell:
    """Cell of a verdict; its tooltip says why nothing was decided, or the verdict without regard to missing runs."""
    without = f"by the complete runs alone: {decision.observed}" if decision.observed else ""
    return TableCell(decision.verdict, decision.verdict, emphasis=EMPHASIS[decision.verdict],
                     title=decision.refused or without)  # fmt: skip


def _caption(results: StudyResults, own: Sequence[MethodVerdict]) -> str:
    base, family = label(results.baseline), own[0].decision.family
    comparisons = plural(family, "comparison")
    units = " and ".join(unique(v.unit for v in own))
    levels = _levels([v.decision.level for v in own])
    corrected = f"corrected for {comparisons} (Holm)" if family > 1 else "of one comparison"
    return (
        f"Verdict on each query method against {base}: gain in AUBC in points, mean over {units} with its {levels} "
        f"interval, {corrected}."
    )


def _levels(levels: Sequence[float]) -> str:
    """`95 %`, or `98.8 to 99.5 %`."""
    low, high = level_text(min(levels)), level_text(max(levels))
    return low if low == high else f"{low.removesuffix(' %')} to {high}"


def _note(own: Sequence[MethodVerdict], datasets: bool) -> str:
    loss = in_points(own[0].decision.margin)
    text = (
        f"Better or worse: the interval excludes 0. Not worse: a loss of {loss} or more is rejected (one-sided t-test, "
        "corrected). Undecided is no evidence of equality. Labels saved: at the last budget, of all paid labels, "
        "training and validation; 95 % intervals, not corrected."
    )
    if datasets:
        text += (
            f" Each dataset is the mean of its settings. New dataset: {level_text(LEVEL)} prediction interval, in "
            "points. These datasets alone: seeds are the units, so nothing is said of others."
        )
    return text
