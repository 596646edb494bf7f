"""Cells of a study that are comparable with published ones: those that were run as the published study ran them."""

from dataclasses import dataclass, field
from typing import Any

from fathom.core.records import LabelRegime, Setting
from fathom.design.hparams import FIELDS, published_choice
from fathom.published import tables
from fathom.published.tables import PublishedArea, PublishedDataset, PublishedRegime
from fathom.registry.spec_string import SpecString, parse_stored, spell
from fathom.results.results import StudyResults

SIZES = {"start": "starting budget", "query_size": "query size", "rounds": "rounds", "val_size": "validation labels"}
HARMLESS = {*FIELDS, "search", "recipe", "imbalance", "last_batch"}  # `recipe` and `imbalance` have checks of their own


@dataclass(frozen=True)
class Match:
    """Published counterpart of a setting of ours.

    Args:
        table: `final` or `weighted` (`PublishedArea.table`).
        regime: Published dataset, paradigm and regime.
        notes: Differences that do not prevent a comparison.
    """

    table: str
    regime: PublishedRegime
    notes: list[str] = field(default_factory=list)

    def area(self, query: str) -> PublishedArea | None:
        """Published area of a query method; None where there is none."""
        r = self.regime
        wanted = (self.table, r.dataset, r.paradigm, query, r.regime)
        cells = (a for a in tables.areas() if (a.table, a.dataset, a.paradigm, a.query, a.regime) == wanted)
        return next(cells, None)


class NotComparable(Exception):
    """A setting or query method is not comparable; the message gives the reason."""


def name_of(text: str) -> str:
    """Name in a spec string, without its arguments."""
    return text.partition("(")[0]


def is_published(dataset: str) -> bool:
    """True for a dataset that the published study has, with any arguments."""
    return name_of(dataset) in tables.datasets()


def match(results: StudyResults, setting: Setting) -> Match:
    """Find the published counterpart of a setting.

    Raises:
        NotComparable: The setting was run differently.
    """
    table, own = _same_setup(results, setting)
    regime = _same_regime(own, setting, tables.datasets()[name_of(setting.dataset)])
    return Match(table, regime, [*_choice_notes(results, setting, regime), *_retry_notes(results, setting)])


def match_start(results: StudyResults, setting: Setting) -> Setting:
    """Published name of a setting whose scores at single budgets are comparable, though its areas need not be.

    Data, training and metric are as for `match`; starting budget and validation labels are those of a published regime
    of the dataset. Query size, rounds and paradigm may be others of the study, as in its ablations.

    Raises:
        NotComparable: The setting was run differently.
    """
    known, own = tables.datasets()[name_of(setting.dataset)], _same_setup(results, setting)[1]
    there = [r for r in tables.regimes() if r.dataset == known.name]
    alike = next((r for r in there if own and (r.start, r.val_size) == (own.start, own.val_size)), None)
    if own is None or alike is None:
        raise NotComparable("starting budget and validation labels of no published regime")
    regime = f"{alike.regime}(query_size={own.query_size}, rounds={own.rounds})"
    return Setting(known.name, regime, name_of(setting.paradigm))


def _same_setup(results: StudyResults, setting: Setting) -> tuple[str, LabelRegime | None]:
    """(published table, label regime) of a setting with published data, training and metric."""
    known = tables.datasets()[name_of(setting.dataset)]
    _same_data(results, setting, known)
    table = _same_training(results, setting, known)
    if (metric := results.metric(setting)) != known.metric:
        raise NotComparable(f"measured by {metric}, published by {known.metric}")
    return table, results.regime(setting)


def query_of(query: str) -> str:
    """Published name of a query method.

    Raises:
        NotComparable: Its spec string has arguments, which no published number was run with.
    """
    call = parse_stored(query)
    if call.arguments:
        raise NotComparable(f"run with {_spelled(call)}; published as {call.name} alone")
    return call.name


# ------------------------------------------------------------------------------------------------------- the rules


def _same_data(results: StudyResults, setting: Setting, known: PublishedDataset) -> None:
    facts = results.facts.get(setting.dataset)
    if setting.dataset not in known.calls:
        arguments = _spelled(parse_stored(setting.dataset)) or "the default split"
        raise NotComparable(f"{arguments} is not the published {known.title}, which is {known.calls[0]}")
    if facts is None:
        raise NotComparable("no run has started yet")
    ours = (facts["train"], facts["test"])
    if ours != (known.train, known.test):
        raise NotComparable(
            f"{ours[0]} + {ours[1]} images for training and test; published: {known.train} + {known.test}"
        )


def _same_training(results: StudyResults, setting: Setting, known: PublishedDataset) -> str:
    """Name of the published table with the setting's treatment of class imbalance."""
    table = published_table(setting.paradigm, known)
    record = results.hparams.get(setting)
    if record is None:
        raise NotComparable("the HP search is not finished yet")
    if (recipe := str(record.get("recipe", "study"))) != "study":
        raise NotComparable(f"recipe differs from the published one: {recipe}")
    return table


def published_table(paradigm: str, known: PublishedDataset) -> str:
    """Name of the published table whose runs were trained as a paradigm's spec string says, on a published dataset.

    Raises:
        NotComparable: None was.
    """
    call = parse_stored(paradigm)
    if call.name not in {r.paradigm for r in tables.regimes()}:
        raise NotComparable(f"no published number was trained with {call.name}")
    arguments = dict(call.arguments)
    if other := {key: value for key, value in arguments.items() if key not in HARMLESS}:
        raise NotComparable(f"trained with {_spelled(SpecString.make('', other))}, which is not published")
    rule = arguments.get("imbalance", "auto")
    if call.name == "semi-sl" and not known.balanced:
        # Both versions of the study train Semi-SL with weighted cross-entropy, so its numbers are in the final table.
        if rule in ("auto", "weighted"):
            return "final"
        raise NotComparable(f"imbalance={rule} is not published for {call.name} on {known.title}")
    if rule == "auto" or (rule == "oversample" and not known.balanced) or (rule == "none" and known.balanced):
        return "final"
    if rule == "weighted" and not known.balanced:
        return "weighted"
    raise NotComparable(f"imbalance={rule} is not published for {known.title}")


def _same_regime(own: LabelRegime | None, setting: Setting, known: PublishedDataset) -> PublishedRegime:
    if own is None:
        raise NotComparable("no run has started yet")
    paradigm = name_of(setting.paradigm)
    there = [r for r in tables.regimes() if (r.dataset, r.paradigm) == (known.name, paradigm)]
    if not there:
        raise NotComparable(f"{paradigm} on {known.title} is not published")
    for regime in there:
        if all(getattr(regime, size) == getattr(own, size) for size in SIZES):
            return regime
    namesake = next((r for r in there if r.regime == name_of(own.name)), None)
    if namesake is None:
        raise NotComparable(f"{paradigm} on {known.title} has no published regime of these sizes")
    differing = [s for s in SIZES if getattr(namesake, s) != getattr(own, s)]
    sizes = ", ".join(f"{SIZES[s]} {getattr(own, s)} instead of {getattr(namesake, s)}" for s in differing)
    wanted = ", ".join(f"{s}={getattr(namesake, s)}" for s in sorted(differing))
    raise NotComparable(f"{sizes}; published with {namesake.regime}({wanted})")


def _choice_notes(results: StudyResults, setting: Setting, regime: PublishedRegime) -> list[str]:
    """Differences between the chosen HPs and the published choice."""
    published = published_choice(regime.dataset, regime.regime, regime.paradigm)
    own = results.hparams[setting]["chosen"]
    differing = [hp for hp, value in published.items() if hp in own and own[hp] != value]
    text = ", ".join(f"{hp} {_plain(own[hp])} (published: {_plain(published[hp])})" for hp in differing)
    return [f"other HPs were chosen: {text}"] if text else []


def _retry_notes(results: StudyResults, setting: Setting) -> list[str]:
    changes = [str(r["change"]) for r in results.retries.get(setting, [])]
    return [f"retried with {', '.join(changes)}"] if changes else []


def _spelled(call: SpecString) -> str:
    return ", ".join(f"{key}={spell(value)}" for key, value in call.arguments)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
