"""Identity of the code that committed results were computed with, by member."""

from collections import Counter
from collections.abc import Iterable

from fathom.core.records import RunSpec, Setting
from fathom.core.work import SHARED_JOBS
from fathom.registry.spec_string import parse_stored
from fathom.store.store import Store

NOT_RECORDED = ""


def recorded_codes(store: Store, runs: Iterable[RunSpec]) -> dict[str, Counter[str]]:
    """Member (`query my_al/margin`) -> identity of its code -> number of results of these runs.

    Results are rounds and the work that runs of a setting share. One that names no code counts as `NOT_RECORDED`.
    """
    found: dict[str, Counter[str]] = {}

    def count(expected: Iterable[str], code: dict[str, str]) -> None:
        for member in {*expected, *code}:
            found.setdefault(member, Counter())[code.get(member, NOT_RECORDED)] += 1

    specs = list(runs)
    for spec in specs:
        members = members_named(spec)
        for record in store.rounds(spec):
            count(members, record.code)
    settings = {spec.setting for spec in specs}
    for kind in SHARED_JOBS:
        for content, clock in store.records(kind.folder).values():
            setting = Setting(*(str(content.get(axis)) for axis in Setting._fields))
            if setting in settings and "environment" in clock:  # a choice of HPs is computed from other records
                count(_named(setting._asdict()), clock.get("code", {}))
    return found


def members_named(spec: RunSpec) -> list[str]:
    """Members that a RunSpec names: `dataset digits`, ..., `query my_al/margin`; a paradigm may name a backbone too."""
    return _named({**spec.setting._asdict(), "query": spec.query})


def _named(texts: dict[str, str]) -> list[str]:
    return [f"{kind} {parse_stored(text).name}" for kind, text in texts.items()]
