"""Kinds of work in a study: one table of their names, words, record folders and retry stages."""

from enum import StrEnum

from fathom.core.retries import PRETRAINING, SEARCH


class WorkKind(StrEnum):
    """A kind of job or of shared record; a plain string in JSON.

    Args:
        value: Name of the job kind and of the record folder.
        words: Name for people, singular.
        is_training: Whether one record stands for one training.
        stage: Stage of the study's retries that a non-finite value in such a job starts; None where it starts none.
    """

    words: str
    is_training: bool
    stage: str | None

    # Jobs, in the order of the pipeline.
    PRETRAIN = "pretrain", "pre-training", True, PRETRAINING
    FEATURES = "features", "features"
    # A candidate that diverges is an outcome of the search; only a choice without any finite candidate is a failure.
    HP_SEARCH = "hp-search", "HP search", True
    HP_CHOICE = "hp-choice", "HP choice", False, SEARCH
    ROUND_0 = "round-0", "round 0", True, ""
    RUN = "run", "run", True, ""
    FULL_DATA = "full-data", "full data", True, ""
    # Records without a job of their own: declared by the parent, or written within a run.
    RETRIES = "retries", "retry"
    RETUNE_SEARCH = "retune-search", "HP search within a run", True
    RETUNE_CHOICE = "retune-choice", "HP choice within a run"

    def __new__(cls, value: str, words: str = "", is_training: bool = False, stage: str | None = None) -> "WorkKind":
        kind = str.__new__(cls, value)
        kind._value_, kind.words, kind.is_training, kind.stage = value, words, is_training, stage
        return kind

    @property
    def folder(self) -> str:
        """Record folder in a store, for example `shared/round-0`."""
        return "runs" if self is WorkKind.RUN else f"shared/{self}"

    def record(self, key: str) -> str:
        """Name of a record of this kind, for example `shared/round-0/<key>`."""
        return f"{self.folder}/{key}"


SHARED_RECORDS = tuple(kind for kind in WorkKind if kind is not WorkKind.RUN)
SHARED_JOBS = SHARED_RECORDS[: SHARED_RECORDS.index(WorkKind.RETRIES)]  # jobs whose results several runs use
