"""Names for people: query methods as in the paper; datasets, regimes and paradigms as short as they stay distinct."""

from collections.abc import Iterable
from typing import NamedTuple

from fathom.core.records import FathomError, Setting, unique
from fathom.registry.spec_string import SpecString, parse, spell

LABELS = {
    "random": "Random",
    "entropy": "Entropy",
    "least-confidence": "Least Confidence",
    "margin": "Margin",
    "variation-ratios": "Variation Ratios",
    "bald": "BALD",
    "batch-bald": "BatchBALD",
    "core-set": "Core-Set",
    "badge": "BADGE",
}
LONG = 24  # letters of a value, from which on its end stands for it


class Names(NamedTuple):
    """Call-string -> short name, for each part of a setting."""

    dataset: dict[str, str]
    regime: dict[str, str]
    paradigm: dict[str, str]

    @classmethod
    def of(cls, settings: Iterable[Setting]) -> "Names":
        """The names of a study's settings."""
        known = list(settings)
        return cls(*(short_names(s[part] for s in known) for part in range(3)))

    def parts(self, setting: Setting) -> Setting:
        """The short names of a setting; a call-string of another study stays as it is."""
        dataset, regime, paradigm = (names.get(text, text) for names, text in zip(self, setting, strict=True))
        return Setting(dataset, regime, paradigm)

    def title(self, setting: Setting) -> str:
        """All three short names: a heading."""
        return " · ".join(self.parts(setting))

    def brief(self, setting: Setting) -> str:
        """The dataset, and whatever else tells the setting from the others: a line of a table."""
        parts = self.parts(setting)
        return ", ".join([parts[0], *(parts[i] for i in (1, 2) if len(self[i]) > 1)])


def label(query: str) -> str:
    """The name of a query method for people: `Core-Set`, `BALD (draws=20)`; a visitor's as it is written."""
    try:
        call = parse(query)
    except FathomError:
        return query
    name = LABELS.get(call.name, call.name)
    return name + str(call).removeprefix(call.name).replace("(", " (")


def short_names(texts: Iterable[str]) -> dict[str, str]:
    """Call-string -> its name alone, or with those arguments in which it differs from others of that name."""
    calls = {text: _parsed(text) for text in unique(texts)}
    found: dict[str, str] = {}
    for text, call in calls.items():
        rivals = [other for other in calls.values() if other.name == call.name]
        differing = [
            key
            for key in unique(k for rival in rivals for k, _ in rival.arguments)
            if len({dict(rival.arguments).get(key, ...) for rival in rivals}) > 1
        ]
        told = [f"{key}={_end(spell(value))}" for key, value in call.arguments if key in differing]
        found[text] = f"{call.name}({', '.join(told)})" if told else call.name
    if len(set(found.values())) < len(found):  # only cut values told them apart
        return {text: text for text in calls}
    return found


def _parsed(text: str) -> SpecString:
    try:
        return parse(text)
    except FathomError:  # the store's, not ours to refuse
        return SpecString(text)


def _end(text: str) -> str:
    """A long value by its end, where paths differ."""
    return text if len(text) <= LONG else f"…{text[-LONG + 1 :]}"
