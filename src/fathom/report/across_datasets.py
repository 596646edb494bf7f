"""Gains across settings: datasets are the sample, so a claim about query methods rests on how many there are."""

import numpy as np

from fathom.design.freeze import ROLL_OUT
from fathom.report.numbers import gain, number, p_value
from fathom.report.style import styles_of
from fathom.report.tables import ReportTable, TableCell
from fathom.results.names import label
from fathom.results.results import StudyResults
from fathom.results.roles import DEVELOPMENT, role_of, roles
from fathom.stats.inference import sign_flip, t_interval

MIN_DATASETS = 6  # below, an exact two-sided test cannot reach .05


def across_table(reading: StudyResults, role: str = DEVELOPMENT) -> ReportTable | None:
    """Gain in AUBC over datasets, each the mean of its regimes; None with fewer than two datasets.

    Datasets are the sample: regimes and seeds of one dataset are not independent of each other.

    Args:
        reading: The study's results.
        role: Of the datasets: what was tuned on and what was not are never averaged together.
    """
    gains = reading.gains
    if not gains.empty:
        gains = gains[[role_of(reading, dataset) == role for dataset in gains["dataset"]]]
    if gains.empty or gains["dataset"].nunique() < 2:
        return None
    rows = []
    for (query, paradigm), part in gains[gains["n"] > 0].groupby(["query", "paradigm"], sort=False):
        values = part.groupby("dataset", sort=False)["aubc"].mean().to_numpy(dtype=np.float64)
        band, style = t_interval(values), styles_of(reading)[str(query)]
        emphasis = "up" if band.low > 0 else "down" if band.high < 0 else ""
        test = sign_flip(values) if len(values) >= MIN_DATASETS else None
        spread = f"{number(100 * part['aubc'].min(), 1, sign=True)} to {number(100 * part['aubc'].max(), 1, sign=True)}"
        rows.append(
            [
                TableCell(style.label + _mark(reading, str(query), str(paradigm)), style.label, style.number),
                TableCell(reading.names.paradigm[str(paradigm)], str(paradigm), title=str(paradigm)),
                TableCell(str(len(values)), float(len(values))),
                TableCell(gain(band.mean, band.low, band.high), band.mean, emphasis=emphasis),
                TableCell(spread, float(part["aubc"].min())),
                TableCell(p_value(test.p, len(values)) if test else "", test.p if test else None),
            ]
        )
    named = "Roll-out data. " if role == ROLL_OUT else "Development data. " if len(roles(reading)) > 1 else ""
    caption = (
        f"{named}Gain in AUBC over {label(reading.baseline)} (points), averaged over the regimes of a dataset; mean "
        "and 95 % t-interval over datasets, and the range over settings."
    )
    note = "p: exact sign-flip test over datasets, not corrected."
    columns = ["Method", "Paradigm", "Datasets", "Mean gain", "Range over settings", "p"]
    if gains["dataset"].nunique() < MIN_DATASETS:
        columns, rows = columns[:-1], [row[:-1] for row in rows]
        note = f"No p-values: an exact test of fewer than {MIN_DATASETS} datasets cannot reach .05."
    note = " ".join(text for text in (note, reading.footnote(reading.store.study.settings)) if text)
    return ReportTable("across-roll-out" if role == ROLL_OUT else "across", caption, columns, rows, note, text=2)


def _mark(reading: StudyResults, query: str, paradigm: str) -> str:
    """What the gains of a method in the settings of a paradigm carry: they do not compare like with like."""
    own = [c for setting, c in reading.classifiers.items() if setting.paradigm == paradigm and query in c.dropouts]
    return "".join(dict.fromkeys(c.mark(query) for c in own))
