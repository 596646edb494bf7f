"""Dropout of the classifiers of a run (see `design.dropout`)."""

from fathom.design.dropout import classifier_dropout
from fathom.learn.task import Paradigm
from fathom.query.method import QueryMethod


def base_dropout(paradigm: Paradigm) -> float:
    """Dropout of the classifier of methods that need no draws; HPs and full data are those of this classifier."""
    return classifier_dropout(getattr(paradigm, "dropout", "auto"))


def dropout_of(paradigm: Paradigm, method: QueryMethod) -> float:
    """Dropout of the classifier that a query method is run with."""
    return classifier_dropout(getattr(paradigm, "dropout", "auto"), method.dropout, method.draws)
