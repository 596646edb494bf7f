"""Table of gains over all datasets: the verdicts of the study with their numbers."""

from fathom.core.records import DEVELOPMENT, ROLL_OUT, unique
from fathom.core.text import joined, plural
from fathom.registry.dataset_identity import dataset_identity
from fathom.report.numbers import emphasis, gain, number
from fathom.report.style import styles_of
from fathom.report.tables import EMPTY_CELL, ReportTable, TableCell, text_cell
from fathom.results.names import label
from fathom.results.results import StudyResults
from fathom.results.roles import roles
from fathom.stats.inference import LEVEL
from fathom.stats.verdicts import DATASETS, MethodVerdict


def across_table(results: StudyResults, role: str = DEVELOPMENT) -> ReportTable | None:
    """Verdict on each query method over datasets with its numbers; None with fewer than two datasets.

    All numbers are those of `StudyResults.verdicts`; nothing is computed here.

    Args:
        results: Results of the study.
        role: Role of the datasets in the table. Data that were tuned on and data that were not are never averaged.
    """
    verdicts = [verdict for verdict in results.verdicts if verdict.role == role]
    if max((_datasets(verdict) for verdict in verdicts), default=0) < 2:
        return None
    margin = 100 * verdicts[0].decision.margin
    rows = [_row(results, verdict) for verdict in verdicts]
    columns = ["Method", "Paradigm", "Verdict", "Datasets", "Mean gain", "New dataset", "Losses", "Worst setting"]
    columns += ["No failure mode"]
    heading = "Roll-out data. " if role == ROLL_OUT else "Development data. " if len(roles(results)) > 1 else ""
    caption = (
        f"{heading}Gain in AUBC over {label(results.baseline)} in points, with its t-interval at the level of Holm's "
        f"correction over {plural(verdicts[0].decision.family, 'comparison')} of the study. New dataset: "
        f"{100 * LEVEL:.0f} % prediction interval for the gain on one dataset more. Losses: settings with a mean gain "
        f"below {number(-margin)} points. No failure mode: a loss of {number(margin)} points or more is rejected in "
        "each setting (one-sided, at .05)."
    )
    note = joined(_unit_note(verdicts), results.footnote(results.store.study.settings))
    return ReportTable("across-roll-out" if role == ROLL_OUT else "across", caption, columns, rows, note, text=3)


def _datasets(verdict: MethodVerdict) -> int:
    """Number of datasets with a gain."""
    return len({dataset_identity(found.setting.dataset) for found in verdict.gains if found.gains})


def _row(results: StudyResults, verdict: MethodVerdict) -> list[TableCell]:
    decision, style = verdict.decision, styles_of(results)[verdict.query]
    mark = "".join(unique(results.classifiers[found.setting].mark(verdict.query) for found in verdict.gains))
    count = f"{_datasets(verdict)}" + ("" if verdict.unit == DATASETS else f" ({plural(decision.n, 'seed')})")
    known = sum(bool(found.gains) for found in verdict.gains)
    worst = verdict.worst.estimate.mean
    title = results.names.title(verdict.worst.setting)
    safe = "yes" if verdict.safe else "not shown"
    return [
        TableCell(style.label + mark, style.label, style.number),
        text_cell(results.names.paradigm[verdict.paradigm], verdict.paradigm),
        TableCell(decision.verdict, decision.verdict, emphasis=emphasis(decision.verdict), title=decision.refused),
        TableCell(count, float(_datasets(verdict))),
        TableCell(gain(decision.mean, decision.low, decision.high), decision.mean, emphasis=emphasis(decision.verdict)),
        _prediction(verdict),
        TableCell(f"{len(verdict.failures)} of {known}", float(len(verdict.failures))),
        TableCell(f"{number(100 * worst, sign=True)}, {title}", worst),
        text_cell(safe, "lost settings are no evidence" if verdict.lost else ""),
    ]


def _prediction(verdict: MethodVerdict) -> TableCell:
    if verdict.prediction is None:
        return TableCell(EMPTY_CELL.text, title="needs three datasets or more")
    low, high = (number(100 * value, sign=True) for value in verdict.prediction)
    return TableCell(f"{low} to {high}", verdict.prediction[0])


def _unit_note(verdicts: list[MethodVerdict]) -> str:
    """Note on what the sample consists of."""
    units = {verdict.unit for verdict in verdicts}
    notes = []
    if DATASETS in units:
        notes.append(
            "Datasets are the sample: the gain of a dataset is the mean over its settings, that of a setting the mean "
            "over its seeds."
        )
    if units != {DATASETS}:
        notes.append(
            "Where a number of seeds stands beside the datasets, seeds are the sample, and the verdict holds on these "
            "datasets only."
        )
    return " ".join(notes)
