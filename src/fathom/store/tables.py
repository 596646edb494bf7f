"""The rounds of a store as a tidy table."""

from collections.abc import Sequence
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
    """The tidy table of the study in folder `out`, with the picks of each round.

    Further columns: `queried_ids` and `queried_images`, the ids and the names of the images bought after the round, in
    the order the query method gave.
    """
    store = Store.open(out)
    table = rounds_table(store)
    queried: Any = [r.queried for spec in store.study.runs for r in store.rounds(spec)]
    if len(table):
        names = ImageNames(store)
        images: Any = [names.of(dataset, ids) for dataset, ids in zip(table["dataset"], queried, strict=True)]
        table = table.assign(queried_ids=queried, queried_images=images)
    return table


class ImageNames:
    """Names of the train images of a study's datasets, as they were when it was run.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._known = {content["dataset"]: content["images"] for content, _ in store.records("images").values()}

    def of(self, dataset: str, ids: Sequence[int]) -> list[str]:
        """Names at ids: the path of a file, relative to the folder or table of the dataset, or its official name.

        Images that are no files are named by split and index: `train[17]` is the image at index 17 of the train images
        in the dataset's own order (for CIFAR and MNIST that of the official files).
        """
        names = self._known.get(dataset)
        return [names[i] if names else f"train[{i}]" for i in ids]


def picks_table(store: Store) -> "pd.DataFrame":
    """One row per queried sample: run, round, place in the query, id, image, class, score."""
    import pandas as pd

    names, facts, rows = ImageNames(store), store.facts(), []
    for spec in store.study.runs:
        classes = facts.get(spec.dataset, {}).get("class_names", [])
        for r in store.rounds(spec):
            images = names.of(spec.dataset, r.queried)
            scores: list[Any] = list(r.scores) if r.scores else [None for _ in r.queried]
            for place, (i, image, c, score) in enumerate(
                zip(r.queried, images, r.queried_classes, scores, strict=True)
            ):
                own = {key: value for key, value in spec.to_json().items() if key != "protocol"}
                named = classes[c] if c < len(classes) else str(c)
                rows.append({**own, "round": r.round, "place": place, "id": i, "image": image, "class": named,
                             "score": score})  # fmt: skip
    columns = ["dataset", "regime", "paradigm", "query", "seed", "round", "place", "id", "image", "class", "score"]
    return pd.DataFrame(rows, columns=columns)
