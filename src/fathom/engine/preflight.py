"""Checks of a study before anything trains: all that can be refused is refused here."""

import torch

from fathom.core.records import FathomError, Setting, Study, grouped, unique
from fathom.core.streams import Streams
from fathom.design.dropout import needs_dropout
from fathom.engine.jobs import Job, jobs_of
from fathom.protocol.context import WorkerContext
from fathom.protocol.dropout import dropout_of
from fathom.protocol.tune import grid_of, retried, retunes
from fathom.query.method import build_query
from fathom.query.view import PoolView

MOST_SEARCHED = 10_000  # starting sets of an HP search, each of which is checked and trained on


def prepare(study: Study, context: WorkerContext, whole: Study | None = None) -> list[Job]:
    """Check every dataset, regime and spec string of a study, and list its jobs.

    Args:
        study: The study, or the part of it to do now.
        context: Open store and datasets.
        whole: The study that it is a part of.

    Raises:
        FathomError: Something does not fit.
    """
    methods = {query: build_query(query) for query in unique(spec.query for spec in study.runs)}
    for query, paradigm in unique((spec.query, spec.paradigm) for spec in study.runs):
        method = methods[query]
        if reason := needs_dropout(query, method.draws, paradigm, dropout_of(context.paradigm(paradigm), method)):
            raise FathomError(reason)
    for setting, run_seeds in grouped((spec.setting, spec.seed) for spec in study.runs).items():
        tried = unique([0, *run_seeds])  # the grid is that of seed 0
        context.check_regime(setting, tried)
        if len(grid_of(context, setting)) > 1:
            if (searched := context.paradigm(setting.paradigm).search) > MOST_SEARCHED:
                raise FathomError(
                    f"{setting.paradigm} searches HPs on {searched:,} starting sets; expected at most "
                    f"{MOST_SEARCHED:,}. Correct the number of search"
                )
            context.check_regime(setting, unique([*tried, *range(searched)]))
    for spec in study.runs:
        regime, method = context.split_of(spec).regime, methods[spec.query]
        if 0 < method.subsample < regime.query_size:
            raise FathomError(
                f"{spec.query} considers {method.subsample} samples of the pool, but {spec.regime} queries "
                f"{regime.query_size}; set subsample to at least {regime.query_size}, or to 0 for the whole pool"
            )
        context.store.begin_run(spec, regime)
    seeds = {spec.setting: spec.seed for spec in reversed(study.runs)}  # the first of each setting
    for setting in study.settings:
        _check_paradigm(study, context, setting, seeds[setting])
    for query in methods:
        _try_out(query)
    return jobs_of(study, context, whole)


def _check_paradigm(study: Study, context: WorkerContext, setting: Setting, seed: int) -> None:
    """Refuse absent weights, features and encoders, and retune rounds and retries that do not fit the setting."""
    paradigm = context.paradigm(setting.paradigm)
    paradigm.facts(context.data)
    rounds = context.split_at(setting, seed).regime.rounds
    if late := [number for number in retunes(paradigm) if number >= rounds]:
        raise FathomError(
            f"{setting.paradigm} searches HPs again in round {late[0]}, but {setting.regime} on {setting.dataset} "
            f"has {rounds} rounds; set retune to rounds from 1 to {rounds - 1}"
        )
    for change in study.retry:
        for hparams in grid_of(context, setting):
            try:
                retried(hparams, [change])
            except KeyError as error:
                raise FathomError(
                    f"retry {change!r} cannot be applied to {setting.paradigm}, whose HPs ({', '.join(hparams)}) "
                    f"have no {error}. Leave it out of the study's retry"
                ) from None


def _try_out(query: str) -> None:
    """Let a built-in method pick from a tiny pool, so that a parameter out of range is refused before any training."""
    if "/" in query:
        return  # a plug-in's method fails in its own run only, and `fathom check-query` tests it
    method = build_query(query)
    shape = (8, max(1, method.draws), 3) if method.predictions else (8, 0, 3)
    generator = Streams(0)("query").torch()
    log_probs = torch.randn(shape, generator=generator).log_softmax(dim=2)
    features = torch.randn(8, 4, generator=generator)
    method.select([PoolView(log_probs, features, features[:2], torch.tensor([0, 1]))], 2, Streams(0)("query"))
