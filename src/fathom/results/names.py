"""Display names: query methods as in the paper; datasets as people named them, else as short as they stay distinct."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fathom.core.records import Setting, unique
from fathom.registry.spec_string import parse_stored, spell

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
LONG = 24  # characters; only the end of a longer value is shown


class Names(NamedTuple):
    """Spec string -> short name, for each part of a setting."""

    dataset: dict[str, str]
    regime: dict[str, str]
    paradigm: dict[str, str]

    @classmethod
    def of(cls, settings: Iterable[Setting], given: Mapping[str, str] | None = None) -> "Names":
        """Names for the settings of a study.

        Args:
            settings: All of them.
            given: Dataset -> the name that people gave it (`Study.names`).
        """
        known = list(settings)
        datasets, regimes, paradigms = (short_names(s[part] for s in known) for part in range(3))
        datasets |= {text: str(name) for text, name in (given or {}).items() if text in datasets}
        taken = list(datasets.values())
        return cls({t: n if taken.count(n) == 1 else t for t, n in datasets.items()}, regimes, paradigms)

    def parts(self, setting: Setting) -> Setting:
        """Short names of the parts of a setting; spec strings of another study stay as they are."""
        dataset, regime, paradigm = (names.get(text, text) for names, text in zip(self, setting, strict=True))
        return Setting(dataset, regime, paradigm)

    def title(self, setting: Setting) -> str:
        """All three short names, for a heading."""
        return " · ".join(self.parts(setting))

    def brief(self, setting: Setting) -> str:
        """Dataset, with regime and paradigm where the study has several, for a row of a table."""
        parts = self.parts(setting)
        return ", ".join([parts[0], *(parts[i] for i in (1, 2) if len(self[i]) > 1)])

    def stems(self, settings: Iterable[Setting]) -> dict[Setting, str]:
        """Setting -> the beginning of its file names, such as `lesions-low-standard`: ASCII, distinct."""
        found: dict[str, Setting] = {}
        for setting in settings:
            stem = "-".join(file_word(name, text) for name, text in zip(self.parts(setting), setting, strict=True))
            taken = [stem, *(f"{stem}-{number}" for number in range(2, len(found) + 2))]
            found[next(name for name in taken if name not in found)] = setting
        return {setting: stem for stem, setting in found.items()}


def file_word(name: str, fallback: str = "x") -> str:
    """A name as part of a file name: lower case, ASCII letters, digits and dashes, at most 40 characters.

    Args:
        name: A display name.
        fallback: Spec string that takes its place where no character of it is left.
    """
    for text in (name, fallback.partition("(")[0]):
        plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
        if word := re.sub(r"[^a-z0-9]+", "-", plain)[:40].strip("-"):
            return word
    return "x"


def label(query: str) -> str:
    """Display name of a query method: `Core-Set`, `BALD (draws=20)`; that of a plug-in as it is registered."""
    call = parse_stored(query)
    name = LABELS.get(call.name, call.name)
    return name + str(call).removeprefix(call.name).replace("(", " (")


def short_names(texts: Iterable[str]) -> dict[str, str]:
    """Spec string -> its name, with those arguments only in which it differs from others of the same name."""
    calls = {text: parse_stored(text) for text in unique(texts)}
    found: dict[str, str] = {}
    for text, call in calls.items():
        namesakes = [dict(other.arguments) for other in calls.values() if other.name == call.name]
        shown = []
        for key, value in call.arguments:
            if len({other.get(key, ...) for other in namesakes}) > 1:  # `...` stands for an argument left out
                shown.append(f"{key}={_end(spell(value))}")
        found[text] = f"{call.name}({', '.join(shown)})" if shown else call.name
    if len(set(found.values())) < len(found):  # two names became equal because long values were cut
        return {text: text for text in calls}
    return found


def _end(text: str) -> str:
    """End of a long value, since paths differ at their ends."""
    return text if len(text) <= LONG else f"…{text[-LONG + 1 :]}"
