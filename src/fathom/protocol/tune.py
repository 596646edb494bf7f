"""P4: HPs are chosen once, on the starting budget and the validation set, and shared by all query methods.

Every entry of the paradigm's grid is trained on the starting sets of seeds 0 to `search - 1`; the entry with the best
mean validation score is the setting's choice, for every seed and every query method. The search seeds are fixed, so
that a study that adds seeds keeps its HPs. The whole table is stored with the choice.

Source: paper Sec. 2.3 (P4) and Sec. 3, "Hyperparameter selection".
"""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from fathom.core.records import FathomError, NonFiniteError, Setting, digest
from fathom.core.retries import PRETRAINING, SEARCH, before_runs, of_stage
from fathom.core.streams import Streams
from fathom.core.work import WorkKind
from fathom.learn.task import Paradigm
from fathom.protocol.context import WorkerContext
from fathom.protocol.trainer import Trainer


def search_key(context: WorkerContext, setting: Setting, hparams: dict[str, Any], seed: int) -> str:
    """Name of the record of one training of the search; another encoder gives another name."""
    prepared = of_stage(context.store.retries(setting), PRETRAINING)
    return WorkKind.HP_SEARCH.record(digest([*setting, hparams, seed, *prepared], 16))


def choice_key(context: WorkerContext, setting: Setting) -> str:
    """Name of the record of a setting's choice; another encoder or another grid gives another name."""
    return WorkKind.HP_CHOICE.record(digest([*setting, *before_runs(context.store.retries(setting))], 16))


def grid_of(context: WorkerContext, setting: Setting) -> list[dict[str, Any]]:
    """HPs to choose from: the paradigm's grid, with the changes of a retry after all of them had diverged."""
    split = context.split_at(setting, 0)
    changes = of_stage(context.store.retries(setting), SEARCH)
    grid = context.paradigm(setting.paradigm).grid(split.task(split.open()[1]))
    return [retried(hparams, changes) for hparams in grid]


def train_candidate(context: WorkerContext, setting: Setting, hparams: dict[str, Any], seed: int) -> None:
    """Train one entry of the grid on one starting set, and commit its validation score (see `Trainer`)."""
    trainer = Trainer.open(context, setting, seed)
    facts = {**setting._asdict(), "hparams": hparams, "seed": seed}
    name, (_, labeled) = search_key(context, setting, hparams, seed), trainer.split.open()
    trainer.train_candidate(name, facts, labeled, Streams(seed), hparams)


def choose_hparams(context: WorkerContext, setting: Setting) -> None:
    """Commit the choice: the entry with the best mean validation score, or the earlier one on a tie.

    Raises:
        NonFiniteError: Every entry of the grid diverged.
    """
    paradigm, grid = context.paradigm(setting.paradigm), grid_of(context, setting)
    # Seeds 0, 1, ... whatever seeds the study has: a seed that is added must not change HPs, and so existing results.
    seeds = list(range(paradigm.search)) if len(grid) > 1 else []
    table: list[dict[str, Any]] = []
    for hparams in grid:
        scores = [_score(context, setting, hparams, seed) for seed in seeds]
        finite = [score for score in scores if score is not None]
        # No mean over the seeds that survived: it would favor an entry that diverges on the hard seeds.
        mean = statistics.fmean(finite) if finite and len(finite) == len(scores) else None
        table.append({"hparams": hparams, "scores": scores, "mean": mean})
    means = [row["mean"] for row in table if row["mean"] is not None]
    if seeds and not means:
        raise NonFiniteError(
            f"every HP of {setting.paradigm} on {setting.dataset} diverged; give it a smaller lr, e.g. (lr=0.01)"
        )
    best = next(row for row in table if not seeds or row["mean"] == max(means))
    metric = context.dataset(setting.dataset).metric
    content = {**setting._asdict(), "seeds": seeds, "metric": metric, "recipe": paradigm.recipe_name}
    if changes := before_runs(context.store.retries(setting)):
        content["retries"] = changes
    context.store.put(choice_key(context, setting), content | {"table": table, "chosen": best["hparams"]})


def _score(context: WorkerContext, setting: Setting, hparams: dict[str, Any], seed: int) -> float | None:
    """Validation score of one training of the search, repeated if its record is damaged; None if it diverged."""
    key = search_key(context, setting, hparams, seed)
    while not (found := context.store.get(key)):
        train_candidate(context, setting, hparams, seed)
    score: float | None = found[0]["val_score"]
    return score


def chosen(context: WorkerContext, setting: Setting) -> dict[str, Any]:
    """HPs of a setting as stored, with the changes of its retries; they are never chosen a second time.

    Raises:
        FathomError: They have not been chosen yet.
    """
    if found := context.store.get(choice_key(context, setting)):
        return retried(found[0]["chosen"], of_stage(context.store.retries(setting)))
    raise FathomError(f"the HPs of {' '.join(setting)} are not chosen yet; start the study with fathom run")


def retunes(paradigm: Paradigm) -> list[int]:
    """Rounds in which runs of a paradigm search their HPs again, in order; none by default."""
    given = getattr(paradigm, "retune", 0)
    return sorted(number for number in (given if isinstance(given, tuple) else (given,)) if number)


CHANGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "fp32": lambda hparams: hparams | {"precision": "fp32"},
    "lr/10": lambda hparams: hparams | {"lr": hparams["lr"] / 10},
}


def retried(hparams: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Apply the changes of a setting's retries (`core.retries.RETRIES`) to HPs, in order."""
    for change in changes:
        hparams = CHANGES[change](dict(hparams))
    return dict(hparams)
