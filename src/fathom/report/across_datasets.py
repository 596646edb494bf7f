"""Table of gains across settings, with datasets as the units of the sample."""

from typing import Any

import numpy as np

from fathom.core.records import DEVELOPMENT, ROLL_OUT, unique
from fathom.core.text import joined
from fathom.design.freeze import role_of
from fathom.registry.dataset_identity import dataset_identity
from fathom.report.numbers import emphasis, gain, number, p_value
from fathom.report.style import styles_of
from fathom.report.tables import ReportTable, TableCell, count_cell
from fathom.results.names import label
from fathom.results.results import StudyResults
from fathom.results.roles import roles
from fathom.stats.inference import ALPHA, minimum_p, sign_flip, t_interval

MIN_DATASETS = next(n for n in range(1, 100) if minimum_p(n) <= ALPHA)  # 6: with fewer, no exact test can reach .05


def across_table(results: StudyResults, role: str = DEVELOPMENT) -> ReportTable | None:
    """Gain in AUBC over datasets, each the mean of its settings; None with fewer than two datasets.

    Datasets (`dataset_identity`) are the units, since regimes and seeds of one dataset are not independent.

    Args:
        results: Results of the study.
        role: Role of the datasets in the table. Data that were tuned on and data that were not are never averaged.
    """
    gains = results.gains
    if not gains.empty:
        gains = gains[[role_of(dataset, results.facts) == role for dataset in gains["dataset"]]]
    count = len({dataset_identity(dataset) for dataset in gains["dataset"]}) if not gains.empty else 0
    if count < 2:
        return None
    tested = count >= MIN_DATASETS
    groups = gains[gains["n"] > 0].groupby(["query", "paradigm"], sort=False)
    rows = [_row(results, str(query), str(paradigm), part, tested) for (query, paradigm), part in groups]
    columns = ["Method", "Paradigm", "Datasets", "Mean gain", "Range over settings", *(["p"] if tested else [])]
    heading = "Roll-out data. " if role == ROLL_OUT else "Development data. " if len(roles(results)) > 1 else ""
    caption = (
        f"{heading}Gain in AUBC over {label(results.baseline)} in points: mean and 95 % t-interval over datasets (each "
        "dataset is the mean of its settings), and the range over settings."
    )
    note = "p: exact sign-flip test over datasets, not corrected for several methods."
    if not tested:
        note = f"No p-values: with fewer than {MIN_DATASETS} datasets an exact test cannot reach p < .05."
    note = joined(note, results.footnote(results.store.study.settings))
    return ReportTable("across-roll-out" if role == ROLL_OUT else "across", caption, columns, rows, note, text=2)


def _row(results: StudyResults, query: str, paradigm: str, part: Any, tested: bool) -> list[TableCell]:
    """Row of one method and paradigm; `part` are its rows of `StudyResults.gains`."""
    by_dataset = part["aubc"].groupby(part["dataset"].map(dataset_identity), sort=False)
    values = by_dataset.mean().to_numpy(dtype=np.float64)
    band, style = t_interval(values), styles_of(results)[query]
    low, high = (number(100 * value, 1, sign=True) for value in (part["aubc"].min(), part["aubc"].max()))
    row = [
        TableCell(style.label + _mark(results, query, paradigm), style.label, style.number),
        TableCell(results.names.paradigm[paradigm], paradigm, title=paradigm),
        count_cell(len(values)),
        TableCell(gain(band.mean, band.low, band.high), band.mean, emphasis=emphasis(band.low, band.high)),
        TableCell(f"{low} to {high}", float(part["aubc"].min())),
    ]
    if tested:  # a method may lack some of the datasets
        test = sign_flip(values) if len(values) >= MIN_DATASETS else None
        row.append(TableCell(p_value(test.p, len(values)) if test else "", test.p if test else None))
    return row


def _mark(results: StudyResults, query: str, paradigm: str) -> str:
    """Marks of a method's gains in the settings of a paradigm: other classifier, matched control."""
    marks = [
        classifiers.mark(query)
        for setting, classifiers in results.classifiers.items()
        if setting.paradigm == paradigm and query in classifiers.dropouts
    ]
    return "".join(unique(marks))
