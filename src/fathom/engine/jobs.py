"""A study as a graph of jobs: shared work first, then runs, all query methods of a seed before the next seed.

A job is plain JSON and its result a committed record. So any process that sees the store can do any job, a job done
twice does no harm, and the open jobs can always be read from the store.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from fathom.core.records import RunSpec, Setting, Study, unique
from fathom.core.work import WorkKind
from fathom.protocol import loop, tune
from fathom.protocol.context import WorkerContext
from fathom.protocol.dropout import dropout_of
from fathom.protocol.preparation import features_of, jobs_before, prepare_state
from fathom.query.method import build_query
from fathom.store.store import Store


@runtime_checkable
class WorkItem(Protocol):
    """A named piece of work that one worker does: a job of a study, or a recheck of a committed result.

    Worker processes rebuild items from JSON by `from_json` of the class that `WorkerOrders.job_type` names.
    """

    @property
    def name(self) -> str:
        """Name of its lock and its failures; unique in its store."""

    @property
    def kind(self) -> str: ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the items that come before it."""

    def looks_done(self, store: Store) -> bool:
        """Tell whether no other item needs this one and its result is there by name, read or not."""

    def done(self, store: Store) -> bool:
        """Tell whether the result is committed."""

    def do(self, context: WorkerContext) -> None:
        """Do the work; its result is in the store afterwards."""

    def trainings(self, store: Store) -> int:
        """Count the trainings in it."""

    def facts(self, store: Store) -> dict[str, Any]:
        """JSON-plain facts for the record of a failure."""


@dataclass(frozen=True)
class Job:
    """One piece of work of a study.

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

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Job":
        """The job that `dataclasses.asdict` made JSON-plain."""
        setting, needs = Setting(*fields["setting"]), tuple(fields["needs"])
        return cls(**{**fields, "kind": WorkKind(fields["kind"]), "setting": setting, "needs": needs})

    @property
    def spec(self) -> RunSpec:
        return RunSpec(*self.setting, self.query, self.seed)

    def __str__(self) -> str:
        what = self.query or self.kind.words
        return f"{what} on {self.setting.dataset}, {self.setting.regime}, {self.setting.paradigm}" + (
            f", seed {self.seed}" if self.seed >= 0 else ""
        )

    def looks_done(self, store: Store) -> bool:
        """Tell whether it is a run whose last round is there, by its name."""
        return self.kind == WorkKind.RUN and store.looks_complete(self.spec)

    def done(self, store: Store) -> bool:
        """Tell whether the result is committed: all rounds of a run, the record of any other job."""
        if self.kind == WorkKind.RUN:
            return store.complete(self.spec)
        return store.get(self.name) is not None

    def do(self, context: WorkerContext) -> None:
        """Do the job; its result is in the store afterwards."""
        match self.kind:
            case WorkKind.PRETRAIN:
                prepare_state(context, self.setting, self.seed)
            case WorkKind.FEATURES:
                features_of(context, self.setting, self.seed)
            case WorkKind.HP_SEARCH:
                tune.train_candidate(context, self.setting, self.hparams, self.seed)
            case WorkKind.HP_CHOICE:
                tune.choose_hparams(context, self.setting)
            case WorkKind.ROUND_0:
                loop.train_round_0(context, self.setting, self.seed, self.dropout)
            case WorkKind.RUN:
                loop.run_rounds(context, self.spec)
            case WorkKind.FULL_DATA:
                loop.train_full_data(context, self.setting, self.seed)
            case _:
                raise ValueError(f"expected a kind of work with jobs; got {self.kind!r}")

    def trainings(self, store: Store) -> int:
        """Count the trainings: of a run its rounds after round 0, which is a job of its own, and its HP searches."""
        if self.kind == WorkKind.RUN:
            regime = store.regime(self.spec)
            return regime.rounds - 1 + self.retunings if regime else 0
        return int(self.kind.is_training)

    def facts(self, store: Store) -> dict[str, Any]:
        """JSON-plain facts for the record of a failure; `retries`: how often the setting had been retried by then."""
        retries = len(store.retries(self.setting))
        return {"setting": list(self.setting), "retries": retries, "query": self.query, "seed": self.seed}


def jobs_of(study: Study, context: WorkerContext, whole: Study | None = None) -> list[Job]:
    """All jobs of a study in the order they should be done.

    First the HPs of every setting are chosen, with what that needs; then, seed by seed, the round 0 and the runs of all
    settings; classifiers on full data last. So a study that is stopped half-way has whole seeds, which can be compared.

    Args:
        study: The study, or the part of it to do now.
        context: Open store and datasets.
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
    here, full_data_seeds = _seeds(study), _seeds(whole or study)
    for setting in study.settings:
        for seed in (seed for seed in full_data_seeds[setting][: study.full_data] if seed in here[setting]):
            needs = _names([choices[setting], *_preparation_jobs(context, setting, seed)[-1:]])
            name = loop.full_data_key(context, setting, seed)
            jobs.setdefault(name, Job(WorkKind.FULL_DATA, name, setting, seed, needs))
    return list(jobs.values())


def _seeds(study: Study) -> dict[Setting, list[int]]:
    """The seeds of each setting, in order."""
    found: dict[Setting, dict[int, None]] = {}
    for spec in study.runs:
        found.setdefault(spec.setting, {})[spec.seed] = None
    return {setting: list(seeds) for setting, seeds in found.items()}


def _choice_jobs(context: WorkerContext, setting: Setting) -> Iterator[Job]:
    """The jobs of a setting's HP search; the last one is the choice."""
    paradigm, grid = context.paradigm(setting.paradigm), tune.grid_of(context, setting)
    candidates = []
    if len(grid) > 1:
        for seed in range(paradigm.search):
            context.split_at(setting, seed)  # refuses a regime that does not fit a seed of the search
            yield from (before := _preparation_jobs(context, setting, seed))
            for hparams in grid:
                name = tune.search_key(context, setting, hparams, seed)
                candidates.append(Job(WorkKind.HP_SEARCH, name, setting, seed, _names(before[-1:]), hparams=hparams))
        yield from candidates
    yield Job(WorkKind.HP_CHOICE, tune.choice_key(context, setting), setting, -1, _names(candidates))


def _run_jobs(context: WorkerContext, spec: RunSpec, choice: Job) -> Iterator[Job]:
    """A run, and the round 0 before it, which it shares with other runs."""
    setting, seed, paradigm = spec.setting, spec.seed, context.paradigm(spec.paradigm)
    yield from (before := _preparation_jobs(context, setting, seed))
    dropout = dropout_of(paradigm, build_query(spec.query))
    name = loop.round_0_key(context, setting, seed, dropout)
    yield Job(WorkKind.ROUND_0, name, setting, seed, _names([choice, *before[-1:]]), dropout=dropout)
    again = len(tune.retunes(paradigm))
    grid = len(tune.grid_of(context, setting)) if again else 0  # of few paradigms, and it takes a while to make
    retunings = grid * again if grid > 1 else 0
    run_name = context.store.run_name(spec)
    yield Job(WorkKind.RUN, run_name, setting, seed, (name,), query=spec.query, retunings=retunings)


def _preparation_jobs(context: WorkerContext, setting: Setting, seed: int) -> list[Job]:
    """The jobs before anything of a dataset, paradigm and seed; each needs the one before it."""
    jobs: list[Job] = []
    for kind, name in jobs_before(context.paradigm_of(setting), setting.dataset, seed):
        jobs.append(Job(kind, name, setting, seed, _names(jobs[-1:])))
    return jobs


def _names(jobs: Sequence[Job]) -> tuple[str, ...]:
    return tuple(job.name for job in jobs)
