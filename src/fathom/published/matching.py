"""Which cells of a study may be held beside the published ones: those that were run as the study ran them."""

from dataclasses import dataclass, field
from typing import Any

from fathom.core.records import FathomError, LabelRegime, Setting
from fathom.published import tables
from fathom.published.tables import PublishedArea, PublishedDataset, PublishedRegime
from fathom.registry.spec_string import SpecString, parse, spell
from fathom.results.results import StudyResults

SIZES = {"start": "starting budget", "query_size": "query size", "rounds": "rounds", "val_size": "validation labels"}
TUNED = ("lr", "weight_decay", "augmentation")  # HPs, which the protocol chooses; pinned or searched
HARMLESS = {*TUNED, "search", "recipe", "imbalance", "last_batch"}  # `recipe` and `imbalance` are looked at apart


@dataclass(frozen=True)
class Match:
    """What a setting of ours stands beside.

    Args:
        table: A key of `published.TABLES`.
        regime: The published data set, paradigm and regime.
        notes: In what the setting differs all the same.
    """

    table: str
    regime: PublishedRegime
    notes: list[str] = field(default_factory=list)

    def area(self, query: str) -> PublishedArea | None:
        """The published cell of a query method."""
        r = self.regime
        wanted = (self.table, r.dataset, r.paradigm, query, r.regime)
        cells = (a for a in tables.areas() if (a.table, a.dataset, a.paradigm, a.query, a.regime) == wanted)
        return next(cells, None)


class NotComparable(Exception):
    """Why something is not comparable."""


def name_of(text: str) -> str:
    """The name of a call-string, without its arguments."""
    return text.partition("(")[0]


def is_published(dataset: str) -> bool:
    """Whether a data set of this name is one of the study."""
    return name_of(dataset) in tables.datasets()


def match(reading: StudyResults, setting: Setting) -> Match:
    """What a setting is held beside.

    Raises:
        Refusal: It is not comparable, and why.
    """
    known = tables.datasets()[name_of(setting.dataset)]
    _same_data(reading, setting, known)
    table = _same_training(reading, setting, known)
    if (metric := reading.metric(setting)) != known.metric:
        raise NotComparable(f"measured by {metric}, published by {known.metric}")
    regime = _same_regime(reading.regime(setting), setting, known)
    return Match(table, regime, [*_choice_notes(reading, setting, regime), *_retry_notes(reading, setting)])


def query_of(query: str) -> str:
    """The published name of a query method.

    Raises:
        Refusal: Its call-string asks for something else.
    """
    call = _parsed(query)
    if call.arguments:
        raise NotComparable(f"run with {_spelled(call)}; published as {call.name} alone")
    return call.name


# ------------------------------------------------------------------------------------------------------- the rules


def _same_data(reading: StudyResults, setting: Setting, known: PublishedDataset) -> None:
    facts = reading.facts.get(setting.dataset)
    if setting.dataset not in known.calls:
        told = _spelled(_parsed(setting.dataset)) or "its usual split"
        raise NotComparable(f"{told} is not the published {known.title}, which is {known.calls[0]}")
    if facts is None:
        raise NotComparable("nothing of it has been run")
    ours = (facts["train"], facts["test"])
    if ours != (known.train, known.test):
        raise NotComparable(
            f"{ours[0]} + {ours[1]} images for training and test; published {known.train} + {known.test}"
        )


def _same_training(reading: StudyResults, setting: Setting, known: PublishedDataset) -> str:
    """The published table that has the setting's treatment of imbalance."""
    call = _parsed(setting.paradigm)
    if call.name not in {r.paradigm for r in tables.regimes()}:
        raise NotComparable(f"no published number was trained with {call.name}")
    arguments = dict(call.arguments)
    if other := {key: value for key, value in arguments.items() if key not in HARMLESS}:
        raise NotComparable(f"trained with {_spelled(SpecString.make('', other))}, which is not published")
    record = reading.hparams.get(setting)
    if record is None:
        raise NotComparable("its HPs are not chosen yet")
    if (recipe := str(record.get("recipe", "study"))) != "study":
        raise NotComparable(f"another recipe than the published one: {recipe}")
    rule = arguments.get("imbalance", "auto")
    if call.name == "semi-sl" and not known.balanced:  # with weighted cross-entropy in both versions of the study
        if rule in ("auto", "weighted"):
            return "final"
        raise NotComparable(f"imbalance={rule} is not published of {call.name} on {known.title}")
    if rule == "auto" or (rule == "oversample" and not known.balanced) or (rule == "none" and known.balanced):
        return "final"
    if rule == "weighted" and not known.balanced:
        return "weighted"
    raise NotComparable(f"imbalance={rule} is not published of {known.title}")


def _same_regime(own: LabelRegime | None, setting: Setting, known: PublishedDataset) -> PublishedRegime:
    if own is None:
        raise NotComparable("nothing of it has been run")
    paradigm = name_of(setting.paradigm)
    there = [r for r in tables.regimes() if (r.dataset, r.paradigm) == (known.name, paradigm)]
    if not there:
        raise NotComparable(f"{paradigm} was not run on {known.title}")
    for regime in there:
        if all(getattr(regime, size) == getattr(own, size) for size in SIZES):
            return regime
    namesake = next((r for r in there if r.regime == name_of(own.name)), None)
    if namesake is None:
        raise NotComparable(f"{paradigm} was not run on {known.title} with such sizes")
    differing = [s for s in SIZES if getattr(namesake, s) != getattr(own, s)]
    told = ", ".join(f"{SIZES[s]} {getattr(own, s)} instead of {getattr(namesake, s)}" for s in differing)
    wanted = ", ".join(f"{s}={getattr(namesake, s)}" for s in sorted(differing))
    raise NotComparable(f"{told}; published with {namesake.regime}({wanted})")


def _choice_notes(reading: StudyResults, setting: Setting, regime: PublishedRegime) -> list[str]:
    """In what the chosen HPs differ from the published choice."""
    key = (regime.dataset, regime.paradigm, regime.regime)
    said = next((c for c in tables.choices() if (c.dataset, c.paradigm, c.regime) == key), None)
    own = reading.hparams[setting]["chosen"]
    if said is None:
        return []
    differing = [hp for hp in TUNED if hp in own and getattr(said, hp) and own[hp] != getattr(said, hp)]
    told = ", ".join(f"{hp} {_plain(own[hp])} (published {_plain(getattr(said, hp))})" for hp in differing)
    return [f"other HPs were chosen: {told}"] if told else []


def _retry_notes(reading: StudyResults, setting: Setting) -> list[str]:
    changes = [str(r["change"]) for r in reading.retries.get(setting, [])]
    return [f"done again with {', '.join(changes)}"] if changes else []


def _parsed(text: str) -> SpecString:
    try:
        return parse(text)
    except FathomError:  # of a visitor's package; not ours to refuse
        return SpecString(text)


def _spelled(call: SpecString) -> str:
    return ", ".join(f"{key}={spell(value)}" for key, value in call.arguments)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
