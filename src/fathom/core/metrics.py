"""Test metrics of a round: one table of their names, units and directions."""

from typing import NamedTuple


class Metric(NamedTuple):
    """A test metric.

    Args:
        name: Field in a round's record, and column of exported tables.
        words: Name for people.
        unit: `fraction`, in [0, 1], or `nats`, from 0 without an upper bound.
        higher_is_better: Direction.
        chooses: It may be a dataset's main metric, by which HPs and the best epoch are chosen.
    """

    name: str
    words: str
    unit: str = "fraction"
    higher_is_better: bool = True
    chooses: bool = False


METRICS = (
    Metric("accuracy", "accuracy", chooses=True),
    Metric("balanced_accuracy", "balanced accuracy (mean recall)", chooses=True),
    Metric("macro_f1", "macro F1"),
    Metric("log_loss", "log loss", unit="nats", higher_is_better=False),
    Metric("ece", "expected calibration error", higher_is_better=False),
)
MAIN_METRICS = tuple(metric.name for metric in METRICS if metric.chooses)
UNBOUNDED = tuple(metric.name for metric in METRICS if metric.unit != "fraction")
