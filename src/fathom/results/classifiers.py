"""Which classifier each query method of a setting is run with, and what a comparison across two of them must say.

Query methods that need dropout draws are run with a classifier that has dropout, the others with one that has none
(`design.dropout`). A difference between such methods is one of query method and classifier together, unless the
baseline was run with both: `random(dropout=0.5)` is the matched control of BALD, and BALD is then measured against it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fathom.core.records import FathomError, unique
from fathom.design.dropout import classifier_dropout
from fathom.registry.registry import find
from fathom.registry.spec_string import SpecString, parse
from fathom.results.names import label

CROSSED, MATCHED = "†", "‡"  # marks of numbers: across two classifiers, against the matched control


def dropout_of(paradigm: str, query: str) -> float:
    """Dropout of the classifier that a query method is run with; by call-strings alone (`design.dropout`)."""
    rule, own = argument("paradigm", paradigm, "dropout", "auto"), argument("query", query, "dropout", "auto")
    return classifier_dropout(rule, own, argument("query", query, "draws", 0))


def argument(kind: str, text: str, name: str, absent: Any) -> Any:
    """What a call-string sets for a parameter, else its default; `absent` where the member is unknown here."""
    try:
        if name in (arguments := dict(parse(text).arguments)):
            return arguments[name]
        entry, _ = find(kind, text)
    except FathomError:
        return absent
    return entry.parameters.get(name, absent)


@dataclass(frozen=True)
class Classifiers:
    """The classifiers of the query methods of one setting.

    Args:
        dropouts: Query method -> dropout of its classifier.
        baseline: Query method that gains are measured against.
    """

    dropouts: Mapping[str, float]
    baseline: str

    @classmethod
    def of(cls, paradigm: str, queries: Iterable[str], baseline: str) -> "Classifiers":
        """Those of a paradigm and query methods, by call-string."""
        return cls({query: dropout_of(paradigm, query) for query in queries}, baseline)

    @property
    def mixed(self) -> bool:
        """Whether they are not all alike."""
        return len(set(self.dropouts.values())) > 1

    def crossed(self, query: str, other: str) -> bool:
        """Whether two methods have different classifiers."""
        return query in self.dropouts and other in self.dropouts and self.dropouts[query] != self.dropouts[other]

    def is_control(self, query: str) -> bool:
        """Whether a method is the baseline with another classifier."""
        return query != self.baseline and _without_dropout(query) == _without_dropout(self.baseline)

    def reference(self, query: str) -> str:
        """What a method's gain is measured against: the baseline, or its matched control where that was run."""
        if not self.crossed(query, self.baseline) or self.is_control(query):
            return self.baseline
        matched = [q for q in self.dropouts if self.is_control(q) and not self.crossed(q, query)]
        return matched[0] if matched else self.baseline

    def mark(self, query: str) -> str:
        """What a number that compares the method with its reference carries."""
        reference = self.reference(query)
        return CROSSED if self.crossed(query, reference) else MATCHED if reference != self.baseline else ""

    def note(self) -> str:
        """What must stand beside whatever compares these methods; empty where their classifiers are alike."""
        if not self.mixed:
            return ""
        groups: dict[float, list[str]] = {}
        for query, dropout in self.dropouts.items():
            groups.setdefault(dropout, []).append(label(query))
        told = [f"dropout {value:g} for {listed(names)}" if value else f"no dropout for {listed(names)}"
                for value, names in sorted(groups.items(), reverse=True)]  # fmt: skip
        count = "Two" if len(groups) == 2 else str(len(groups))
        text = (
            f"{CROSSED} {count} classifiers: {'; '.join(told)}. Across them a difference is one of query method and "
            "classifier together, from round 0 on."
        )
        return " ".join([text, *self._controls()])

    def brief(self) -> str:
        """The note in short, for a caption."""
        if not self.mixed:
            return ""
        *more, least = sorted(set(self.dropouts.values()), reverse=True)
        told = [f"{v:g} for {listed([label(q) for q, own in self.dropouts.items() if own == v])}" for v in more]
        others = f"{least:g}" if least else "none"
        text = f"{CROSSED} Different classifiers: dropout {', '.join(told)}, {others} for the others."
        matched = [q for q in self.dropouts if self.mark(q) == MATCHED]
        return text + (f" {MATCHED} Gains over {label(self.reference(matched[0]))}." if matched else "")

    def _controls(self) -> Iterable[str]:
        """The matched controls that there are, and those that there should be."""
        methods = [q for q in self.dropouts if q != self.baseline and not self.is_control(q)]
        matched: dict[str, list[str]] = {}
        missing: dict[str, list[str]] = {}
        for query in methods:
            if (reference := self.reference(query)) != self.baseline:
                matched.setdefault(label(reference), []).append(label(query))
            elif self.crossed(query, self.baseline):
                missing.setdefault(self._advised(query), []).append(label(query))
        for control, names in matched.items():
            yield f"{MATCHED} Gains of {listed(names)} are measured against {control}, the matched control."
        for control, names in missing.items():
            yield f"Add {control} to the study: the matched control of {listed(names)}."

    def _advised(self, query: str) -> str:
        """Call-string of the baseline with a method's classifier."""
        call = parse(self.baseline)
        return str(SpecString.make(call.name, {**dict(call.arguments), "dropout": self.dropouts[query]}))


def _without_dropout(query: str) -> str:
    try:
        call = parse(query)
    except FathomError:  # the store's, not ours to refuse
        return query
    return str(SpecString(call.name, tuple((k, v) for k, v in call.arguments if k != "dropout")))


def listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def joined_notes(notes: Mapping[str, str]) -> str:
    """The notes of several settings (by title) as one: said once where all say the same."""
    said = {title: note for title, note in notes.items() if note}
    if len(set(said.values())) == 1 and len(said) == len(notes):
        return next(iter(said.values()))
    return " ".join(
        f"In {listed([title for title, own in said.items() if own == note])}: {note}" for note in unique(said.values())
    )
