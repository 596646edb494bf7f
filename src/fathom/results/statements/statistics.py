"""Statistics of a study as data: the rows of `statistics.json` and `statistics.csv`, and of `fathom.verdicts`.

All differences and intervals are fractions (a point is .01), labels are counts, and an undefined number is NaN. A block
of rows is one entry of `BLOCKS`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fathom.core.records import Setting
from fathom.results.results import StudyResults
from fathom.results.statements.plan_changes import study_looks
from fathom.results.statements.stated_claims import claim_row, stated_answers
from fathom.results.verdicts import detailed_verdicts
from fathom.stats.decisions import look_alpha
from fathom.stats.verdicts import MethodVerdict, remaining_units
from fathom.store.history import plan_changes

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
FORMAT = 1  # raised when a field of `statistics.json` changes its meaning
NAN = float("nan")


def method_rows(results: StudyResults) -> list[Row]:
    """Headline verdicts: one row per role, training paradigm and query method."""
    return [_method_row(results, verdict) for verdict in results.verdicts]


def _method_row(results: StudyResults, verdict: MethodVerdict) -> Row:
    low, high = verdict.prediction or (NAN, NAN)
    to_better, to_not_worse = verdict.to_settle
    here = verdict.here
    return {
        "role": verdict.role,
        "paradigm": verdict.paradigm,
        "query": verdict.query,
        "reference": verdict.worst.reference,
        "unit": verdict.unit,
        **asdict(verdict.decision),
        "sd": verdict.sd,
        "prediction_low": low,
        "prediction_high": high,
        "datasets": verdict.datasets,
        "settings": len(verdict.gains),
        "seeds_min": min(len(gain.gains) for gain in verdict.gains),
        "seeds_max": max(len(gain.gains) for gain in verdict.gains),
        "here_verdict": here.verdict,
        "here_low": here.low,
        "here_high": here.high,
        "worst": results.names.title(verdict.worst.setting),
        "worst_mean": verdict.worst.estimate.mean,
        "failures": len(verdict.failures),
        "safe": verdict.safe,
        "lost": len(verdict.lost),
        "to_settle_better": NAN if to_better is None else to_better,
        "to_settle_not_worse": NAN if to_not_worse is None else to_not_worse,
    }


def setting_rows(results: StudyResults) -> list[Row]:
    """Verdicts of each setting and query method, corrected over all of them."""
    rows = []
    for own in detailed_verdicts(results):
        gain, decision = own.gain, own.decision
        sd = gain.estimate.se * gain.estimate.n**0.5
        needed = remaining_units(decision.n, sd, decision.family, decision.margin, decision.alpha)
        to_better, to_not_worse = (NAN if count is None else count for count in needed)
        row: Row = {**gain.setting._asdict(), "query": gain.query, "reference": gain.reference, "unit": "seeds"}
        row |= {**asdict(decision), "sd": sd, "seeds": " ".join(map(str, gain.gains))}
        rows.append(row | {"to_settle_better": to_better, "to_settle_not_worse": to_not_worse})
    return rows


def claim_rows(results: StudyResults) -> list[Row]:
    """Stated claims."""
    return [claim_row(answer) for answer in stated_answers(results)]


def saving_rows(results: StudyResults) -> list[Row]:
    """Labels saved: one row per setting, query method and budget; shares of training labels and of all labels."""
    rows = []
    for own in (saving for savings in results.savings.values() for saving in savings):
        row: Row = {**own.setting._asdict(), "query": own.query, "reference": own.reference, "budget": own.budget}
        row |= {"last": own.last, "val": own.val, "n": own.n, "level": own.level}
        for name, triple in (
            ("labels", own.labels),
            ("share", own.share()),
            ("paid_share", own.share(paid=True)),
            ("needs", (own.needs.point, own.needs.low, own.needs.high)),
            ("reference_needs", (own.reference_needs.point, own.reference_needs.low, own.reference_needs.high)),
        ):
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), triple, strict=True))
        rows.append(row | {"refused": own.needs.refused, "flat": own.needs.flat})
    return rows


BLOCKS: Mapping[str, Callable[[StudyResults], list[Row]]] = {
    "methods": method_rows,
    "settings": setting_rows,
    "claims": claim_rows,
    "savings": saving_rows,
}


def statistics_json(results: StudyResults) -> Row:
    """Content of `statistics.json`; a number that is not defined is None, and an end that is open the text `inf`."""
    study = results.store.study
    looks = study_looks(results)
    head: Row = {"format": FORMAT, "study": study.name, "baseline": study.baseline, "margin": study.margin}
    head |= {"looks": looks, "alpha": look_alpha(looks), "history": plan_changes(results.store)}
    return head | {name: [_plain(row) for row in rows(results)] for name, rows in BLOCKS.items()}


def statistics_frame(results: StudyResults, *blocks: str) -> "pd.DataFrame":
    """Rows of blocks, by default of all, with the name of the block in a column `block`."""
    import pandas as pd

    rows = [{"block": name} | row for name in blocks or BLOCKS for row in BLOCKS[name](results)]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["block"])


def gains_frame(results: StudyResults) -> "pd.DataFrame":
    """Paired gains: one row per setting, query method and seed; NaN where one of the two runs is missing."""
    import pandas as pd

    final: Any = results.areas.set_index([*Setting._fields, "query", "seed"])["final"] if len(results.areas) else {}
    rows = []
    for own in results.paired_gains:
        for seed in sorted({*own.gains, *own.missing}):
            ends = [final.get((*own.setting, query, seed), NAN) for query in (own.query, own.reference)]
            row: Row = {**own.setting._asdict(), "query": own.query, "reference": own.reference, "seed": seed}
            row |= {"aubc_gain": own.gains.get(seed, NAN), "final_gain": ends[0] - ends[1]}
            rows.append(row | {"missing": seed in own.missing})
    columns = [*Setting._fields, "query", "reference", "seed", "aubc_gain", "final_gain", "missing"]
    return pd.DataFrame(rows, columns=columns)


def _plain(row: Row) -> Row:
    return {name: _number(value) if isinstance(value, float) else value for name, value in row.items()}


def _number(value: float) -> float | str | None:
    return None if math.isnan(value) else value if math.isfinite(value) else str(value)
