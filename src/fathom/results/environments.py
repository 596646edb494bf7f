"""Environments that computed a study, with the work of each and the facts in which they differ."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fathom.core.records import unique
from fathom.core.text import plural
from fathom.core.work import WorkKind
from fathom.store.store import Store

UNKNOWN = "not recorded"
FIRST_FACTS = ("device_name", "device", "threads", "cpu", "cores", "system", "fathom", "commit", "protocol", "python")


@dataclass(frozen=True)
class EnvironmentSummary:
    """One environment and the amount of work it did.

    Args:
        name: Name of its record, which rounds and shared records refer to; `UNKNOWN` for work without such a record.
        facts: Its record: versions, device, commit, machine.
        since: UTC time, ISO 8601, of the first command that ran in it.
        rounds: Number of committed rounds.
        shared: Number of shared records: HP search, round 0, full-data classifiers, ...
    """

    name: str
    facts: dict[str, Any]
    since: str
    rounds: int
    shared: int

    @property
    def work(self) -> str:
        """Its work in words: `12 rounds and 2 shared results`."""
        shared = [plural(self.shared, "shared result")] if self.shared else []
        return " and ".join([plural(self.rounds, "round"), *shared])


def environments(store: Store, kinds: tuple[WorkKind, ...]) -> list[EnvironmentSummary]:
    """Environments of a store by time; work that names none of them comes last, as `UNKNOWN`.

    Args:
        store: The results.
        kinds: Kinds of shared work.
    """
    rounds = [r.environment for spec in store.study.runs for r in store.rounds(spec)]
    records = [clock for kind in kinds for _, clock in store.records(kind.folder).values()]
    shared = [str(clock["environment"]) for clock in records if "environment" in clock]
    found = []
    for name, (content, clock) in store.records("environments").items():
        facts = {**content, **clock}
        since = str(facts.pop("since", ""))
        found.append(EnvironmentSummary(name, facts, since, rounds.count(name), shared.count(name)))
    known = {e.name for e in found}
    found.sort(key=lambda e: e.since)
    unnamed = sum(name not in known for name in rounds), sum(name not in known for name in shared)
    return found + ([EnvironmentSummary(UNKNOWN, {}, "", *unnamed)] if any(unnamed) else [])


def differing(found: list[EnvironmentSummary]) -> list[str]:
    """Names of facts in which the recorded environments differ, most important first."""
    recorded = [e for e in found if e.name != UNKNOWN]
    keys = _ordered(unique(key for e in recorded for key in e.facts))
    return [key for key in keys if len({fact_text(e.facts.get(key)) for e in recorded}) > 1]


def common(found: list[EnvironmentSummary]) -> Iterator[tuple[str, str]]:
    """(fact, value) that all recorded environments share; for a single environment also its time and work."""
    recorded = [e for e in found if e.name != UNKNOWN]
    different = differing(found)
    for key in _ordered(list(recorded[0].facts)) if recorded else []:
        if key not in different:
            yield key.replace("_", " "), fact_text(recorded[0].facts[key])
    if len(found) == len(recorded) == 1:
        yield from (("since", found[0].since), ("computed", found[0].work))


def plugin_code(codes: Mapping[str, Iterable[str]]) -> list[tuple[str, str]]:
    """(member of a plug-in, versions of its code), for those whose code is recorded."""
    own = {member: ", ".join(sorted(filter(None, found))) for member, found in sorted(codes.items()) if "/" in member}
    return [(f"code of {member}", versions) for member, versions in own.items() if versions]


def mixed_words(found: list[EnvironmentSummary]) -> str | None:
    """Warning for a study that more than one environment computed; None where one did."""
    working = [e for e in found if e.rounds or e.shared]
    if len(working) < 2:
        return None
    work = "; ".join(f"{e.name}: {e.work}" for e in working)
    facts = [key.replace("_", " ") for key in differing(working)]
    how = f", which differ in {', '.join(facts)}" if facts else ""
    return (
        f"{len(working)} environments computed this study{how} ({work}). Numbers may differ between environments, so a "
        "difference between methods may be partly due to the environment."
    )


def fact_text(value: Any) -> str:
    """Value of a fact as text; a dictionary as `name version, name version`."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items()) or "none"
    return "" if value is None else str(value)


def _ordered(keys: list[str]) -> list[str]:
    return [*(k for k in FIRST_FACTS if k in keys), *(k for k in keys if k not in FIRST_FACTS)]
