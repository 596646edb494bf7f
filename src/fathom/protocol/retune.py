"""HPs searched again within a run, in rounds that its paradigm names (`standard(retune=8)`): an option, never the rule.

P4 chooses HPs once, on the starting budget. A run that searches again trains every entry of the grid on what it has
labeled by then, keeps the best by validation score, and goes on with it. Each of these trainings is a record of its own
under the run's name and round, so that a run that was stopped trains none of them twice.

Source: Lüth et al., 2023, where a dip at 7,000 labels was taken for HPs that no longer fit.
"""

import time
from typing import Any

from fathom.core.records import NonFiniteError, RunSpec, digest
from fathom.core.streams import Streams
from fathom.protocol.context import WorkerContext
from fathom.protocol.dropout import base_dropout
from fathom.protocol.oracle import Labeled
from fathom.protocol.preparation import state_of
from fathom.protocol.split import Split
from fathom.protocol.tune import grid_of, retried, retunes
from fathom.store.store import Store


def retune(context: WorkerContext, spec: RunSpec, split: Split, labeled: Labeled, number: int) -> dict[str, Any] | None:
    """The HPs that a run goes on with from a round on, searched now unless they are stored; None where none is due.

    Args:
        lab: What is open.
        spec: The run.
        split: Its start, as its paradigm sees it.
        labeled: What it has labeled before the round.
        number: The round.

    Raises:
        NonFiniteError: Every entry of the grid diverged.
    """
    grid = grid_of(context, spec.setting)
    if number not in retunes(context.paradigm(spec.paradigm)) or len(grid) < 2:
        return None
    name = f"shared/retunes/{_stem(context.store, spec)}-{number:02d}"
    while not (found := context.store.get(name)):
        scores = [_train(context, spec, split, labeled, number, hparams) for hparams in grid]
        finite = [score for score in scores if score is not None]
        if not finite:
            raise NonFiniteError(f"every HP that round {number} of {spec} tried diverged; give a smaller lr")
        table = [{"hparams": h, "score": score} for h, score in zip(grid, scores, strict=True)]
        best = grid[scores.index(max(finite))]  # the earlier entry on a tie, as in the first search
        content = {"run": spec.key, **spec.to_json(), "round": number, "budget": len(labeled), "table": table}
        context.store.put(name, content | {"chosen": best})
    return retried(found[0]["chosen"], context.store.retries(spec.setting))


def committed(store: Store, spec: RunSpec) -> int:
    """Trainings of a run's searches that are stored."""
    pattern = f"{_stem(store, spec)}-[0-9][0-9]-*.json"
    names = (path.stem for path in (store.root / "shared/retuning").glob(pattern))
    return sum(store.get(f"shared/retuning/{name}") is not None for name in names)


def _train(
    context: WorkerContext, spec: RunSpec, split: Split, labeled: Labeled, number: int, hparams: dict[str, Any]
) -> float | None:
    """Validation score of one entry of the grid on what is labeled; None where it diverged. Trained at most once."""
    name = f"shared/retuning/{_stem(context.store, spec)}-{number:02d}-{digest(hparams, 12)}"
    while not (found := context.store.get(name)):
        began, paradigm = time.perf_counter(), context.paradigm(spec.paradigm)
        tried = retried(hparams, context.store.retries(spec.setting))
        checkpointer = context.checkpointer(name, [tried, labeled.ids])
        content = {"run": spec.key, "round": number, "hparams": hparams, "val_score": None, "failure": ""}
        try:
            state, dropout = state_of(context, spec.setting, spec.seed), base_dropout(paradigm)
            task, streams = split.task(labeled), Streams(spec.seed, number)
            fitted = paradigm.fit(task, tried, state, streams, dropout=dropout, checkpointer=checkpointer.restricted())
            content["val_score"] = fitted.val_score
        except NonFiniteError as error:
            content["failure"] = str(error)
        clock = {"seconds": time.perf_counter() - began, "environment": context.environment}
        context.store.put(name, content, clock)
        checkpointer.close()
    score: float | None = found[0]["val_score"]
    return score


def _stem(store: Store, spec: RunSpec) -> str:
    """The run's folder without what is before it: a setting that is done again searches again."""
    return store.run_name(spec).removeprefix("runs/")
