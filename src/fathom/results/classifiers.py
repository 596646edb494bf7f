"""Classifier of each query method of a setting, and the note that a comparison across classifiers needs.

Query methods that need MC-dropout samples (draws) are run with a classifier that has dropout, the others with one
without (`design.dropout`). A difference between two such methods is due to query method and classifier together,
unless the baseline was run with both: `random(dropout=0.5)` is the matched control of BALD, and BALD is then compared
with it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fathom.core.records import FathomError, grouped
from fathom.design.dropout import classifier_dropout
from fathom.registry.registry import find
from fathom.registry.spec_string import SpecString, parse, parse_stored
from fathom.results.names import label

CROSSED, MATCHED = "†", "‡"  # marks of a comparison: across two classifiers, with the matched control


def dropout_by_spec(paradigm: str, query: str) -> float:
    """Dropout of the classifier that a query method is run with, by the rule of `design.dropout`.

    Works on spec strings alone, as a report must not import torch or need the plug-ins of the study.
    """
    rule, own = argument("paradigm", paradigm, "dropout", "auto"), argument("query", query, "dropout", "auto")
    return classifier_dropout(rule, own, argument("query", query, "draws", 0))


def argument(kind: str, text: str, name: str, absent: Any) -> Any:
    """Value of a parameter in a spec string, else its default; `absent` where the name is not registered here."""
    try:
        if name in (arguments := dict(parse(text).arguments)):
            return arguments[name]
        entry, _ = find(kind, text)
    except FathomError:
        return absent
    return entry.parameters.get(name, absent)


@dataclass(frozen=True)
class Classifiers:
    """Classifiers of the query methods of one setting.

    Args:
        dropouts: Query method -> dropout of its classifier.
        baseline: Query method that gains are measured from.
    """

    dropouts: Mapping[str, float]
    baseline: str

    @classmethod
    def of(cls, paradigm: str, queries: Iterable[str], baseline: str) -> "Classifiers":
        """Classifiers of a paradigm and query methods, given as spec strings."""
        return cls({query: dropout_by_spec(paradigm, query) for query in queries}, baseline)

    @property
    def mixed(self) -> bool:
        """True where the methods have different classifiers."""
        return len(set(self.dropouts.values())) > 1

    def crossed(self, query: str, other: str) -> bool:
        """True for two methods with different classifiers."""
        return query in self.dropouts and other in self.dropouts and self.dropouts[query] != self.dropouts[other]

    def without_draws(self) -> list[str]:
        """Query methods that compare dropout draws of a classifier without dropout, and so pick by rounding errors."""
        return [q for q, dropout in self.dropouts.items() if not dropout and argument("query", q, "draws", 0)]

    def is_control(self, query: str) -> bool:
        """True for the baseline method with another classifier."""
        return query != self.baseline and _without_dropout(query) == _without_dropout(self.baseline)

    def reference(self, query: str) -> str:
        """Query method that a gain is measured from: the matched control where it was run, else the baseline."""
        if not self.crossed(query, self.baseline) or self.is_control(query):
            return self.baseline
        matched = [q for q in self.dropouts if self.is_control(q) and not self.crossed(q, query)]
        return matched[0] if matched else self.baseline

    def mark(self, query: str) -> str:
        """Mark of a number that compares the method with its reference; empty where both have one classifier."""
        reference = self.reference(query)
        return CROSSED if self.crossed(query, reference) else MATCHED if reference != self.baseline else ""

    def note(self) -> str:
        """Footnote of whatever compares these methods; empty where they have one classifier."""
        if not self.mixed:
            return ""
        groups = self._by_dropout()
        parts = [f"{f'dropout {value:g}' if value else 'no dropout'} for {listed(names)}" for value, names in groups]
        count = "Two" if len(groups) == 2 else str(len(groups))
        text = (
            f"{CROSSED} {count} classifiers: {'; '.join(parts)}. A difference between methods with different "
            "classifiers is due to both, query method and classifier, from round 0 on."
        )
        return " ".join([text, *self._controls()])

    def brief(self) -> str:
        """Methods with a mark, for a caption whose figure has none: `BALD†: see the note.`; else empty."""
        marked = [label(query) + self.mark(query) for query in self.dropouts if self.mark(query)]
        return f"{listed(marked)}: see the note." if marked else ""

    def _by_dropout(self) -> list[tuple[float, list[str]]]:
        """(dropout, names of the methods that are run with it), highest dropout first."""
        groups = grouped((dropout, label(query)) for query, dropout in self.dropouts.items())
        return sorted(groups.items(), reverse=True)

    def _controls(self) -> Iterable[str]:
        """Sentences on the matched controls that were run and on those that are missing."""
        methods = [q for q in self.dropouts if q != self.baseline and not self.is_control(q)]
        matched = [q for q in methods if self.reference(q) != self.baseline]
        missing = [q for q in methods if q not in matched and self.crossed(q, self.baseline)]
        for control, names in grouped((label(self.reference(q)), label(q)) for q in matched).items():
            yield f"{MATCHED} Gains of {listed(names)} are measured from {control}, the matched control."
        for control, names in grouped((self._advised(q), label(q)) for q in missing).items():
            yield f"To separate the two, add {control} to the study, the matched control of {listed(names)}."

    def _advised(self, query: str) -> str:
        """Spec string of the baseline with a method's classifier."""
        call = parse(self.baseline)
        return str(SpecString.make(call.name, {**dict(call.arguments), "dropout": self.dropouts[query]}))


def _without_dropout(query: str) -> str:
    call = parse_stored(query)
    return str(SpecString(call.name, tuple((k, v) for k, v in call.arguments if k != "dropout")))


def listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def joined_notes(notes: Mapping[str, str]) -> str:
    """Notes of several settings (by title) as one text, in which equal notes stand once."""
    stated = grouped((note, title) for title, note in notes.items() if note)
    if len(stated) == 1 and all(notes.values()):
        return next(iter(stated))
    return " ".join(f"In {listed(titles)}: {note}" for note, titles in stated.items())
