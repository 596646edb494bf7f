"""The rounds of a store as a tidy table."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fathom.store.store import Store

if TYPE_CHECKING:
    import pandas as pd


def rounds_table(store: Store) -> "pd.DataFrame":
    """The tidy table of a study: one row per committed round, runs in the order of the study.

    Columns: `run`, the fields of `RunSpec`, `round`, `budget`, `paid`, `queried` (samples), `metric` and `score` (the
    dataset's metric and its value), every metric, `seconds_*` and `finished`.
    """
    import pandas as pd

    facts = store.facts()
    rows = []
    for spec in store.study.runs:
        metric = facts.get(spec.dataset, {}).get("metric", "accuracy")
        for r in store.rounds(spec):
            row: dict[str, Any] = {"run": spec.key, **spec.to_json()}
            row |= {"round": r.round, "budget": r.budget, "paid": r.paid, "queried": len(r.queried)}
            row |= {"metric": metric, "score": r.metrics[metric], **r.metrics}
            row |= {f"seconds_{name}": value for name, value in sorted(r.seconds.items())} | {"finished": r.finished}
            rows.append(row)
    return pd.DataFrame(rows)


def read_rounds(out: str | Path) -> "pd.DataFrame":
    """The tidy table of the study in folder `out`: one row per committed round."""
    return rounds_table(Store.open(out))
