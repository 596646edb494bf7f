"""A study as a graph of jobs: work that runs share first, then runs, all query methods of a seed before the next seed.

A job is plain JSON, its result a committed record; so any process that sees the store can do any job, a job done twice
does no harm, and what is left to do can always be read from the store.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fathom.query.method import build as build_method
from fathom.records import RunSpec, Study
from fathom.run import protocol, tune
from fathom.run.dropout import dropout_of
from fathom.run.lab import Lab
from fathom.run.tune import Setting
from fathom.store import Store


@dataclass(frozen=True)
class Job:
    """One piece of work that one process does.

    Args:
        kind: `search` (one training of the HP search), `choose`, `first` (a shared round 0), `run`, `ceiling`.
        name: Name of its record in the store (`runs/<key>` for a run).
        setting: (dataset, regime, paradigm).
        seed: Seed; -1 for `choose`.
        needs: Names of the jobs that come before it.
        hparams: Of a `search` job.
        dropout: Of a `first` job.
        query: Call-string of a `run` job.
    """

    kind: str
    name: str
    setting: Setting
    seed: int
    needs: tuple[str, ...] = ()
    hparams: dict[str, Any] = field(default_factory=dict, hash=False)
    dropout: float = 0.0
    query: str = ""

    @property
    def spec(self) -> RunSpec:
        return RunSpec(*self.setting, self.query, self.seed)

    def __str__(self) -> str:
        what = self.query or self.kind
        return f"{what} on {self.setting[0]}, {self.setting[1]}, {self.setting[2]}" + (
            f", seed {self.seed}" if self.seed >= 0 else ""
        )


def jobs_of(study: Study, lab: Lab) -> list[Job]:
    """All jobs of a study in the order they should be done."""
    jobs: dict[str, Job] = {}
    for setting in study.settings:
        for job in _setting_jobs(study, lab, setting):
            jobs.setdefault(job.name, job)
    return list(jobs.values())


def _setting_jobs(study: Study, lab: Lab, setting: Setting) -> Iterator[Job]:
    paradigm = lab.paradigm(setting[2])
    grid = tune.grid_of(lab, setting)
    arms = []
    if len(grid) > 1:
        for seed in range(paradigm.search):
            lab.start(setting[0], setting[1], seed)  # refuses a regime that does not fit a seed of the search
            for hparams in grid:
                arms.append(Job("search", tune.search_key(setting, hparams, seed), setting, seed, hparams=hparams))
        yield from arms
    choice = Job("choose", tune.choice_key(setting), setting, -1, needs=tuple(a.name for a in arms))
    yield choice
    runs = [spec for spec in study.runs if spec.setting == setting]
    for spec in runs:
        dropout = dropout_of(paradigm, build_method(spec.query))
        first = Job(
            "first",
            protocol.first_key(setting, spec.seed, dropout),
            setting,
            spec.seed,
            needs=(choice.name,),
            dropout=dropout,
        )
        yield first
        yield Job("run", f"runs/{spec.key}", setting, spec.seed, needs=(first.name,), query=spec.query)
    for seed in list(dict.fromkeys(spec.seed for spec in runs))[: study.ceiling]:
        yield Job("ceiling", protocol.ceiling_key(setting, seed), setting, seed, needs=(choice.name,))


def done(store: Store, job: Job) -> bool:
    """Whether the job's result is committed."""
    if job.kind == "run":
        return store.complete(job.spec)
    return store.get(job.name) is not None


def do(lab: Lab, job: Job) -> None:
    """Do one job; its result is in the store afterwards."""
    match job.kind:
        case "search":
            tune.train_arm(lab, job.setting, job.hparams, job.seed)
        case "choose":
            tune.choose(lab, job.setting)
        case "first":
            protocol.train_first(lab, job.setting, job.seed, job.dropout)
        case "run":
            protocol.run(lab, job.spec)
        case "ceiling":
            protocol.train_ceiling(lab, job.setting, job.seed)
        case _:
            raise ValueError(f"unknown kind of job {job.kind!r}")


def trainings(job: Job, store: Store) -> int:
    """Trainings in a job: a run's round 0 is trained by its `first` job."""
    if job.kind == "run":
        regime = store.regime(job.spec)
        return regime.rounds - 1 if regime else 0
    return 0 if job.kind == "choose" else 1
