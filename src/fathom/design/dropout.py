"""Dropout of the classifier that a query method is run with, and the number of MC-dropout samples of a prediction.

A classifier with dropout predicts with the mean over `DRAWS` samples wherever it predicts: on validation set, test set,
and pool for query methods that look at one probability. Methods that need single samples (BALD) get a
number of their own. Runs and reports apply the same rule, so it needs neither torch nor a trained classifier.

Source: Lüth et al., 2023, Sec. 3 and code.
"""

from fathom.registry.spec_string import SpecString, parse_stored

DROPOUT = 0.5  # before the last linear layer of Bayesian classifiers
DRAWS = 50  # MC-dropout samples whose mean is the prediction of a classifier with dropout


def classifier_dropout(paradigm: str | float, own: str | float = "auto", draws: int = 0) -> float:
    """Dropout of a query method's classifier, in [0, 1).

    Args:
        paradigm: The paradigm's `dropout`: `auto` (for methods that need samples), `all` (for every method), or a
            probability for every method.
        own: The query method's own `dropout`, which takes precedence unless it is `auto`: `random(dropout=0.5)` is the
            control that has BALD's classifier.
        draws: MC-dropout samples that the query method needs; 0 for none.
    """
    if not isinstance(own, str):
        return float(own or 0)
    if not isinstance(paradigm, str):
        return float(paradigm or 0)
    return DROPOUT if paradigm == "all" or draws else 0.0


def needs_dropout(query: str, draws: int, paradigm: str, dropout: float) -> str:
    """Why a query method cannot be run with a classifier of this dropout; empty where it can.

    Without dropout all draws are equal, and a method that compares them would pick by rounding errors.
    """
    if not draws or dropout:
        return ""
    return (
        f"{query} compares {draws} dropout draws, and its classifier has no dropout with {paradigm}. Expected a "
        f"paradigm with dropout=auto, dropout=all or a probability, or a method with its own, such as "
        f"{query.partition('(')[0]}(dropout=0.5)"
    )


def prediction_draws(dropout: float) -> int:
    """MC-dropout samples of a prediction; 0 for the plain softmax of a classifier without dropout."""
    return DRAWS if dropout else 0


def is_matched_control(query: str, baseline: str) -> bool:
    """True for the baseline method with another classifier, such as `random(dropout=0.5)`, which is no query method."""
    return query != baseline and _without_dropout(query) == _without_dropout(baseline)


def _without_dropout(query: str) -> SpecString:
    call = parse_stored(query)
    return SpecString(call.name, tuple((k, v) for k, v in call.arguments if k != "dropout"))
