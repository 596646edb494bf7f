"""Changes that may be made for a setting in which a training was not finite, and the stages that they concern."""

from collections.abc import Iterable

# What may be changed for a setting in which a training was not finite -> its words in a report.
RETRIES = {"fp32": "in full precision (fp32)", "lr/10": "with a tenth of the learning rate (lr/10)"}
PRETRAINING, SEARCH = "pre-training", "search"  # stages of a setting that a change may concern alone


def of_stage(changes: Iterable[str], stage: str = "") -> list[str]:
    """Those of a setting's changes that concern one stage, as entries of `RETRIES`; without a stage trainings of runs.

    In the store the stage stands before the change: `search: lr/10`.
    """
    parts = [change.rpartition(": ") for change in changes]
    return [what for of, _, what in parts if of == stage]


def before_runs(changes: Iterable[str]) -> list[str]:
    """Those of a setting's changes that concern what comes before its HPs are chosen."""
    return [change for change in changes if ": " in change]
