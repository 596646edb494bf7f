"""Which classifier a query method is run with, and how many dropout draws make its predictions.

A classifier with dropout predicts with the mean over `DRAWS` draws, wherever it predicts: validation, test, and the
pool for query methods that look at one probability. Only methods that need single draws are given draws, their own
number of them.
"""

from fathom.learn.task import Paradigm
from fathom.query.method import QueryMethod

DROPOUT = 0.5  # before the last linear layer of Bayesian classifiers
DRAWS = 50  # draws whose mean is the prediction of a classifier with dropout


def base_dropout(paradigm: Paradigm) -> float:
    """Dropout of the classifier of methods that need no draws; HPs and ceiling are those of this classifier."""
    rule = getattr(paradigm, "dropout", "auto")
    if isinstance(rule, str):
        return DROPOUT if rule == "all" else 0.0
    return float(rule)


def dropout_of(paradigm: Paradigm, method: QueryMethod) -> float:
    """Dropout of the classifier that a query method is run with.

    What the method's own call-string says goes first: `random(dropout=0.5)` is the control that has BALD's classifier.
    """
    if method.dropout != "auto":
        return float(method.dropout)
    if getattr(paradigm, "dropout", "auto") == "auto" and method.draws:
        return DROPOUT
    return base_dropout(paradigm)


def prediction_draws(dropout: float) -> int:
    """Draws that make a prediction; 0 for the plain softmax of a classifier without dropout."""
    return DRAWS if dropout else 0
