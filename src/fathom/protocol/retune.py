"""Optional HP search within a run, in rounds that its paradigm names: `standard(retune=8)`.

By default HPs are chosen once, on the starting budget (P4, `tune`). A run that searches again trains every entry of the
grid on what it has labeled by then, and uses the best by validation score from that round on. Each training is a record
of its own under the run's name and round, so an interrupted run does not repeat it.

Source: Lüth et al., 2023, who explain a dip at 7,000 labels by HPs that no longer fit.
"""

from typing import Any

from fathom.core.records import NonFiniteError, RunSpec, digest
from fathom.core.streams import Streams
from fathom.core.work import WorkKind
from fathom.protocol.oracle import Labeled
from fathom.protocol.trainer import Trainer
from fathom.protocol.tune import grid_of, retried, retunes
from fathom.store.store import Store


def retune(trainer: Trainer, spec: RunSpec, labeled: Labeled, number: int) -> dict[str, Any] | None:
    """Search the HPs of a run again, if its paradigm names this round; a stored search is not repeated.

    Args:
        trainer: Trainer of the run's setting on its split.
        spec: The run.
        labeled: Its labeled samples before the round.
        number: The round.

    Returns:
        The HPs that the run uses from this round on; None if no search is due, or the grid has one entry.

    Raises:
        NonFiniteError: Every entry of the grid diverged.
    """
    if number not in retunes(trainer.paradigm):
        return None  # first: the grid is that of the search, which has an oracle of its own
    store, grid = trainer.context.store, grid_of(trainer.context, spec.setting)
    if len(grid) < 2:
        return None
    name = WorkKind.RETUNE_CHOICE.record(f"{_stem(store, spec)}-{number:02d}")
    while not (found := store.get(name)):
        scores = [_score(trainer, spec, labeled, number, hparams) for hparams in grid]
        finite = [score for score in scores if score is not None]
        if not finite:
            raise NonFiniteError(f"every HP that round {number} of {spec} tried diverged; give a smaller lr")
        table = [{"hparams": h, "score": score} for h, score in zip(grid, scores, strict=True)]
        best = grid[scores.index(max(finite))]  # the earlier entry on a tie, as in the first search
        content = {"run": spec.key, **spec.to_json(), "round": number, "budget": len(labeled), "table": table}
        store.put(name, content | {"chosen": best})
    return retried(found[0]["chosen"], store.retries(spec.setting))


def _score(trainer: Trainer, spec: RunSpec, labeled: Labeled, number: int, hparams: dict[str, Any]) -> float | None:
    """Validation score of one entry of the grid on what is labeled, trained at most once; None if it diverged."""
    store = trainer.context.store
    name = WorkKind.RETUNE_SEARCH.record(f"{_stem(store, spec)}-{number:02d}-{digest(hparams, 12)}")
    facts = {"run": spec.key, "round": number, "hparams": hparams}
    changed = retried(hparams, store.retries(spec.setting))
    while not (found := store.get(name)):
        trainer.train_candidate(name, facts, labeled, Streams(spec.seed, number), changed)
    score: float | None = found[0]["val_score"]
    return score


def _stem(store: Store, spec: RunSpec) -> str:
    """Name of the run's folder. A setting that is retried has another one, so it searches again."""
    return store.run_name(spec).removeprefix("runs/")
