"""Progress and outcome of a study, as the parent process counts them in the store."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fathom.core.html import html_table
from fathom.core.records import LabelRegime, Setting, grouped, unique
from fathom.core.work import SHARED_JOBS, WorkKind
from fathom.design.remarks import remarks
from fathom.engine.jobs import Job
from fathom.engine.signals import SignalNoticed
from fathom.engine.status import committed_searches
from fathom.store.store import Store

COUNT_EVERY = 20  # times the duration of a count of files, between two of them
Progress = Callable[[int, int], None]  # (trainings committed, trainings in all)


class Interrupted(Exception):
    """Ctrl-C or a signal ended the work; committed results are kept."""

    def __init__(self, outcome: "StudyOutcome", exit_code: int) -> None:
        super().__init__("interrupted")
        self.outcome, self.exit_code = outcome, exit_code


@dataclass(frozen=True)
class StudyOutcome:
    """Result of a call of `run`.

    Args:
        out: The study's folder.
        runs, complete: Runs in the study; runs with all rounds committed.
        trainings, committed: Trainings in the study, shared ones once; committed ones.
        failures: Failed attempts of this call (see `Store.failures`).
        seconds: Wall-clock of this call.
        notes: Remarks on the settings (`design.remarks`).
    """

    out: str
    runs: int
    complete: int
    trainings: int
    committed: int
    failures: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return self.complete == self.runs and self.committed == self.trainings

    def _repr_html_(self) -> str:
        counts = [("runs complete", f"{self.complete} of {self.runs}")]
        counts.append(("trainings committed", f"{self.committed} of {self.trainings}"))
        return html_table(
            [*counts, *(("failed", f"{f['what']}: {f['message']}") for f in self.failures)], caption=self.out
        )


@dataclass
class Watch:
    """Counts what is committed; reads the store and nothing else."""

    store: Store
    jobs: list[Job]
    began: float
    progress: Progress
    session: str
    noticed: SignalNoticed
    total: int = 0
    next_count: float = 0.0  # monotonic time before which files are not counted again

    def __post_init__(self) -> None:
        self.total = sum(job.trainings(self.store) for job in self.jobs)
        self.wanted = {job.name for job in self.jobs}

    def committed(self) -> tuple[int, int]:
        """Count the complete runs and the committed trainings; every file is read and checked."""
        complete = count = 0
        for job in self.jobs:
            if job.kind == WorkKind.RUN:
                rounds, regime = len(self.store.rounds(job.spec)), self.store.regime(job.spec)
                complete += regime is not None and rounds == regime.rounds
                count += max(0, rounds - 1)  # round 0 is a job of its own
                count += committed_searches(self.store, job.name) if job.retunings else 0
            elif job.done(self.store):
                count += job.trainings(self.store)
        return complete, count

    def look(self) -> None:
        """Notice signals and report progress; counting the files of a large study takes a twentieth of the time."""
        self.noticed.look()
        began = time.monotonic()
        if began >= self.next_count:
            self._count()
            self.next_count = began + COUNT_EVERY * (time.monotonic() - began)

    def _count(self) -> None:
        """Report progress, by the names of files alone: reading them every moment would cost time in a large study."""
        root, wanted = self.store.root, self.wanted
        count = 0
        for path in root.glob(f"{WorkKind.RUN.folder}/*/round-*.json"):
            run = WorkKind.RUN.record(path.parent.name)
            count += run in wanted and path.stem != "round-00"  # round 0 is a job of its own
        for kind in SHARED_JOBS:
            if kind.is_training:
                count += sum(kind.record(path.stem) in wanted for path in root.glob(f"{kind.folder}/*.json"))
        for path in root.glob(f"{WorkKind.RETUNE_SEARCH.folder}/*.json"):
            run = path.stem.rsplit("-", 2)[0]  # of <run>-<round>-<digest of the HPs>
            count += WorkKind.RUN.record(run) in wanted
        self.progress(min(count, self.total), self.total)

    def outcome(self) -> StudyOutcome:
        """Count what is committed and what failed in this call."""
        self.noticed.look()
        self._count()
        complete, committed = self.committed()
        runs = [job for job in self.jobs if job.kind == WorkKind.RUN]
        return StudyOutcome(
            out=str(self.store.root),
            runs=len(runs),
            complete=complete,
            trainings=self.total,
            committed=committed,
            failures=[failure for failure in self.store.failures() if failure["session"] == self.session],
            seconds=time.perf_counter() - self.began,
            notes=remarks(unique(job.setting for job in runs), grouped(self._regimes(runs))),
        )

    def _regimes(self, runs: list[Job]) -> list[tuple[Setting, LabelRegime]]:
        found = ((job.setting, self.store.regime(job.spec)) for job in runs)
        return [(setting, regime) for setting, regime in found if regime]
