"""What computed a study: its environments, what each of them computed, and in what they differ."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fathom.core.records import unique
from fathom.core.text import plural
from fathom.store.store import Store

UNKNOWN = "not recorded"
FIRST = ("device_name", "device", "threads", "cpu", "cores", "system", "fathom", "commit", "protocol", "python")


@dataclass(frozen=True)
class EnvironmentSummary:
    """One environment.

    Args:
        name: Of its record, which rounds and shared records name; `UNKNOWN` for those that name none here.
        facts: Versions, device, commit, machine: whatever its record says.
        since: UTC time of its first call.
        rounds: Committed rounds it computed.
        shared: Records of shared work it computed: HP search, round 0, full-data classifiers.
    """

    name: str
    facts: dict[str, Any]
    since: str
    rounds: int
    shared: int

    @property
    def work(self) -> str:
        """What it computed, in words."""
        shared = [plural(self.shared, "shared result")] if self.shared else []
        return " and ".join([plural(self.rounds, "round"), *shared])


def environments(store: Store, kinds: tuple[str, ...]) -> list[EnvironmentSummary]:
    """All environments of a store; last, where there is one, whatever computed what names none of them.

    Args:
        store: The results.
        kinds: Folders of shared work.
    """
    rounds = [r.environment for spec in store.study.runs for r in store.rounds(spec)]
    records = [clock for kind in kinds for _, clock in store.records(f"shared/{kind}").values()]
    shared = [str(clock["environment"]) for clock in records if "environment" in clock]
    found = []
    for name, (content, clock) in store.records("environments").items():
        facts = {**content, **clock}
        since = str(facts.pop("since", ""))
        found.append(EnvironmentSummary(name, facts, since, rounds.count(name), shared.count(name)))
    known = {e.name for e in found}
    found.sort(key=lambda e: e.since)
    nameless = sum(name not in known for name in rounds), sum(name not in known for name in shared)
    return found + ([EnvironmentSummary(UNKNOWN, {}, "", *nameless)] if any(nameless) else [])


def differing(found: list[EnvironmentSummary]) -> list[str]:
    """Facts in which the recorded environments differ, in a readable order."""
    recorded = [e for e in found if e.name != UNKNOWN]
    keys = _ordered(unique(key for e in recorded for key in e.facts))
    return [key for key in keys if len({spoken(e.facts.get(key)) for e in recorded}) > 1]


def common(found: list[EnvironmentSummary]) -> Iterator[tuple[str, str]]:
    """(fact, value) that all recorded environments share, in a readable order; of a single one, what it computed."""
    recorded = [e for e in found if e.name != UNKNOWN]
    apart = differing(found)
    for key in _ordered(list(recorded[0].facts)) if recorded else []:
        if key not in apart:
            yield key.replace("_", " "), spoken(recorded[0].facts[key])
    if len(found) == len(recorded) == 1:
        yield from (("since", found[0].since), ("computed", found[0].work))


def mixed_words(found: list[EnvironmentSummary]) -> str | None:
    """What must be known where more than one environment computed the study; None where one did."""
    working = [e for e in found if e.rounds or e.shared]
    if len(working) < 2:
        return None
    told = "; ".join(f"{e.name}: {e.work}" for e in working)
    apart = [key.replace("_", " ") for key in differing(working)]
    how = f", which differ in {', '.join(apart)}" if apart else ""
    return (
        f"{len(working)} environments computed this study{how} ({told}). Numbers may differ between them; a comparison "
        "across them is not one of query methods alone."
    )


def spoken(value: Any) -> str:
    """A fact in words."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items()) or "none"
    return "" if value is None else str(value)


def _ordered(keys: list[str]) -> list[str]:
    return [*(k for k in FIRST if k in keys), *(k for k in keys if k not in FIRST)]
