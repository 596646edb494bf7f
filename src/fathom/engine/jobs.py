"""A study as a graph of jobs: work that runs share first, then runs, all query methods of a seed before the next seed.

A job is plain JSON, its result a committed record; so any process that sees the store can do any job, a job done twice
does no harm, and what is left to do can always be read from the store.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fathom.core.records import RunSpec, Setting, Study, unique
from fathom.core.work import WorkKind
from fathom.protocol import loop, tune
from fathom.protocol.context import WorkerContext
from fathom.protocol.dropout import dropout_of
from fathom.protocol.preparation import embed_features, jobs_before, prepare_state
from fathom.query.method import build_query as build_method
from fathom.store.store import Store


@dataclass(frozen=True)
class Job:
    """One piece of work that one process does.

    Args:
        kind: Kind of work; one of those that have jobs.
        name: Name of its record in the store (`runs/<key>` for a run).
        setting: (dataset, regime, paradigm).
        seed: Seed; -1 for an HP choice.
        needs: Names of the jobs that come before it.
        hparams: Of an HP search.
        dropout: Of a round 0.
        query: Spec string of a run's query method.
        retunings: Trainings that search HPs again within a run.
    """

    kind: WorkKind
    name: str
    setting: Setting
    seed: int
    needs: tuple[str, ...] = ()
    hparams: dict[str, Any] = field(default_factory=dict, hash=False)
    dropout: float = 0.0
    query: str = ""
    retunings: int = 0

    @property
    def spec(self) -> RunSpec:
        return RunSpec(*self.setting, self.query, self.seed)

    def __str__(self) -> str:
        what = self.query or self.kind.words
        return f"{what} on {self.setting.dataset}, {self.setting.regime}, {self.setting.paradigm}" + (
            f", seed {self.seed}" if self.seed >= 0 else ""
        )


def jobs_of(study: Study, context: WorkerContext, whole: Study | None = None) -> list[Job]:
    """All jobs of a study in the order they should be done.

    First the HPs of every setting are chosen, with what that needs; then, seed by seed, the round 0 and the runs of all
    settings; classifiers on full data last. A study that is stopped half-way so has whole seeds, which can be compared.

    Args:
        study: The study, or the part of it that is to be done now.
        lab: What is open.
        whole: The study that it is a part of: it decides which seeds get a classifier on full data.
    """
    jobs: dict[str, Job] = {}
    choices = {}
    for setting in study.settings:
        for job in _choice_jobs(context, setting):
            jobs.setdefault(job.name, job)
        choices[setting] = job
    seeds = {seed: place for place, seed in enumerate(unique(spec.seed for spec in study.runs))}
    settings = {setting: place for place, setting in enumerate(choices)}
    for spec in sorted(study.runs, key=lambda spec: (seeds[spec.seed], settings[spec.setting])):
        for job in _run_jobs(context, spec, choices[spec.setting]):
            jobs.setdefault(job.name, job)
    here, full_data_records = _seeds(study), _seeds(whole or study)
    for setting in study.settings:
        for seed in (seed for seed in full_data_records[setting][: study.full_data] if seed in here[setting]):
            train_split = _preparation_jobs(context, setting, seed)
            name = loop.full_data_key(context, setting, seed)
            jobs.setdefault(
                name, Job(WorkKind.FULL_DATA, name, setting, seed, _names([choices[setting], *train_split[-1:]]))
            )
    return list(jobs.values())


def _seeds(study: Study) -> dict[Setting, list[int]]:
    """The seeds of each setting, in order."""
    found: dict[Setting, dict[int, None]] = {}
    for spec in study.runs:
        found.setdefault(spec.setting, {})[spec.seed] = None
    return {setting: list(seeds) for setting, seeds in found.items()}


def _choice_jobs(context: WorkerContext, setting: Setting) -> Iterator[Job]:
    """What chooses a setting's HPs; the last job is the choice."""
    paradigm, grid = context.paradigm(setting.paradigm), tune.grid_of(context, setting)
    arms = []
    if len(grid) > 1:
        for seed in range(paradigm.search):
            context.split_at(setting, seed)  # refuses a regime that does not fit a seed of the search
            yield from (train_split := _preparation_jobs(context, setting, seed))
            for hparams in grid:
                name = tune.search_key(context, setting, hparams, seed)
                arms.append(Job(WorkKind.HP_SEARCH, name, setting, seed, _names(train_split[-1:]), hparams=hparams))
        yield from arms
    yield Job(WorkKind.HP_CHOICE, tune.choice_key(context, setting), setting, -1, _names(arms))


def _run_jobs(context: WorkerContext, spec: RunSpec, choice: Job) -> Iterator[Job]:
    """A run, and the round 0 before it, which it shares with other runs."""
    setting, paradigm = spec.setting, context.paradigm(spec.paradigm)
    yield from (train_split := _preparation_jobs(context, setting, spec.seed))
    dropout = dropout_of(paradigm, build_method(spec.query))
    name = loop.round_0_key(context, setting, spec.seed, dropout)
    first = Job(WorkKind.ROUND_0, name, setting, spec.seed, _names([choice, *train_split[-1:]]), dropout=dropout)
    yield first
    grid = len(tune.grid_of(context, setting))
    again = grid * len(tune.retunes(paradigm)) if grid > 1 else 0
    run = Job(WorkKind.RUN, context.store.run_name(spec), setting, spec.seed, _names([first]), query=spec.query)
    yield replace(run, retunings=again)


def _preparation_jobs(context: WorkerContext, setting: Setting, seed: int) -> list[Job]:
    """What must be there before anything of a dataset, paradigm and seed; each needs the one before it."""
    jobs: list[Job] = []
    for kind, name in jobs_before(context.paradigm_of(setting), setting.dataset, seed):
        jobs.append(Job(kind, name, setting, seed, _names(jobs[-1:])))
    return jobs


def _names(jobs: Sequence[Job]) -> tuple[str, ...]:
    return tuple(job.name for job in jobs)


def done(store: Store, job: Job) -> bool:
    """Whether the job's result is committed."""
    if job.kind == WorkKind.RUN:
        return store.complete(job.spec)
    return store.get(job.name) is not None


def do(context: WorkerContext, job: Job) -> None:
    """Do one job; its result is in the store afterwards."""
    match job.kind:
        case WorkKind.PRETRAIN:
            prepare_state(context, job.setting.dataset, context.paradigm_of(job.setting), job.seed)
        case WorkKind.FEATURES:
            embed_features(context, job.setting, job.seed)
        case WorkKind.HP_SEARCH:
            tune.train_candidate(context, job.setting, job.hparams, job.seed)
        case WorkKind.HP_CHOICE:
            tune.choose_hparams(context, job.setting)
        case WorkKind.ROUND_0:
            loop.train_round_0(context, job.setting, job.seed, job.dropout)
        case WorkKind.RUN:
            loop.run_rounds(context, job.spec)
        case WorkKind.FULL_DATA:
            loop.train_full_data(context, job.setting, job.seed)
        case _:
            raise ValueError(f"unknown kind of job {job.kind!r}")


def trainings(job: Job, store: Store) -> int:
    """Trainings in a job: a run's round 0 is a job of its own, an encoder is one training.

    HPs that a run searches again are trainings of its own.
    """
    if job.kind == WorkKind.RUN:
        regime = store.regime(job.spec)
        return regime.rounds - 1 + job.retunings if regime else 0
    return int(job.kind.is_training)
