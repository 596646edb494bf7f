"""The parent's view of the work: what is committed, and how it ends."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fathom.core.work import SHARED_JOBS, WorkKind
from fathom.engine.jobs import Job, done, trainings
from fathom.engine.signals import SignalNoticed
from fathom.protocol.retune import committed as retuned
from fathom.store.store import Store

Progress = Callable[[int, int], None]  # (trainings committed, trainings in all)


class Interrupted(Exception):
    """Ctrl-C or a signal ended the work; what was committed is safe."""

    def __init__(self, outcome: "StudyOutcome", exit_code: int) -> None:
        super().__init__("interrupted")
        self.outcome, self.exit_code = outcome, exit_code


@dataclass(frozen=True)
class StudyOutcome:
    """How a call of `run` ended.

    Args:
        out: The study's folder.
        runs, complete: Runs in the study; runs with all rounds committed.
        trainings, committed: Trainings in the study after sharing; those committed.
        failures: What failed in this call (see `Store.failures`).
        seconds: Wall-clock of this call.
    """

    out: str
    runs: int
    complete: int
    trainings: int
    committed: int
    failures: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def finished(self) -> bool:
        return self.complete == self.runs and self.committed == self.trainings


@dataclass
class Watch:
    """Reads the store, and nothing else."""

    store: Store
    jobs: list[Job]
    began: float
    progress: Progress
    session: str
    noticed: SignalNoticed
    total: int = 0

    def __post_init__(self) -> None:
        self.total = sum(trainings(job, self.store) for job in self.jobs)

    def committed(self) -> int:
        """Trainings committed so far, every file read and checked."""
        count = 0
        for job in self.jobs:
            if job.kind == WorkKind.RUN:
                count += max(0, len(self.store.rounds(job.spec)) - 1)
                count += retuned(self.store, job.spec) if job.retunings else 0
            elif done(self.store, job):
                count += trainings(job, self.store)
        return count

    def look(self) -> None:
        """Tell the progress by the names of files alone, so that watching a large study costs nothing."""
        self.noticed.look()
        root, wanted = self.store.root, {job.name for job in self.jobs}
        paths = (path for path in root.glob("runs/*/round-*.json") if f"runs/{path.parent.name}" in wanted)
        rounds = sum(path.stem != "round-00" for path in paths)  # round 0 is a job of its own
        kinds = [kind for kind in SHARED_JOBS if kind.is_training]
        names = (kind.record(path.stem) for kind in kinds for path in root.glob(f"{kind.folder}/*.json"))
        shared = sum(name in wanted for name in names)
        again = sum(
            f"runs/{p.stem.rsplit('-', 2)[0]}" in wanted for p in root.glob(f"{WorkKind.RETUNE_SEARCH.folder}/*.json")
        )
        self.progress(min(rounds + shared + again, self.total), self.total)

    def outcome(self) -> StudyOutcome:
        """How it stands."""
        self.look()
        runs = [job for job in self.jobs if job.kind == WorkKind.RUN]
        return StudyOutcome(
            out=str(self.store.root),
            runs=len(runs),
            complete=sum(self.store.complete(job.spec) for job in runs),
            trainings=self.total,
            committed=self.committed(),
            failures=[f for f in self.store.failures() if f["session"] == self.session],
            seconds=time.perf_counter() - self.began,
        )
