"""Test metrics of a round: one table of their names, units and directions."""

from typing import NamedTuple


class Metric(NamedTuple):
    """A test metric.

    Args:
        name: Field in a round's record, and column of exported tables.
        words: Name for people.
        unit: `fraction`, in [0, 1]; `squared distance`, in [0, 2]; or `nats`, from 0 without an upper bound.
        higher_is_better: Direction.
        chooses: It may be a dataset's main metric, by which HPs and the best epoch are chosen.
        steady: A few samples do not decide it, so a recheck in another environment judges it.
    """

    name: str
    words: str
    unit: str = "fraction"
    higher_is_better: bool = True
    chooses: bool = False
    steady: bool = True


METRICS = (
    Metric("accuracy", "accuracy", chooses=True),
    Metric("balanced_accuracy", "balanced accuracy (mean recall)", chooses=True),
    Metric("macro_f1", "macro F1"),
    Metric("log_loss", "log loss", unit="nats", higher_is_better=False, steady=False),
    Metric("brier", "Brier score", unit="squared distance", higher_is_better=False),
    Metric("ece", "expected calibration error", higher_is_better=False),
    Metric("aurc", "area under the risk-coverage curve", higher_is_better=False, steady=False),
    Metric("augrc", "area under the generalized risk-coverage curve", higher_is_better=False),
    Metric("failure_auroc", "AUROC of failure detection", steady=False),  # absent where no sample fails, or all do
)
MAIN_METRICS = tuple(metric.name for metric in METRICS if metric.chooses)
UNSTEADY = tuple(metric.name for metric in METRICS if not metric.steady)
