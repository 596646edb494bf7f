"""The sample of a recheck: committed rounds and shared trainings, drawn at random by a seed."""

from fathom.core.records import FathomError, Setting, digest
from fathom.core.streams import Stream
from fathom.core.work import WorkKind
from fathom.recheck.recompute import ROUND, RecheckItem
from fathom.store.store import Store


def draw(store: Store, sample: int, seed: int, shared: int = 0) -> list[RecheckItem]:
    """Draw committed rounds and records of shared work without replacement; all of them where there are fewer.

    Raises:
        FathomError: Nothing is committed.
    """
    out = str(store.root)
    rounds = [
        RecheckItem(ROUND, f"{store.run_name(spec)}/round-{number:02d}", out, spec.key, number)
        for spec in store.study.runs
        for number in range(len(store.rounds(spec)))
    ]
    if not rounds:
        raise FathomError(f"{store.root} holds no round that can be read, so there is nothing to recheck")
    records = [
        RecheckItem(kind, kind.record(name), out)
        for kind in (WorkKind.HP_SEARCH, WorkKind.FULL_DATA)
        for name in _names(store, kind)
    ]
    return [*_some(rounds, sample, seed, "rounds"), *_some(records, shared, seed, "shared")]


def _some(items: list[RecheckItem], count: int, seed: int, purpose: str) -> list[RecheckItem]:
    random = Stream(seed, ("recheck", purpose)).numpy()
    places = random.permutation(len(items))[:count]
    return [items[place] for place in sorted(places.tolist())]


def _names(store: Store, kind: WorkKind) -> list[str]:
    """Keys of the records that count: on full data those after the last retry of their setting."""
    found = store.records(kind.folder)
    if kind == WorkKind.HP_SEARCH:
        return list(found)
    changes = {s: store.retries(s) for s in store.study.settings}
    named = {name: (Setting(c["dataset"], c["regime"], c["paradigm"]), c["seed"]) for name, (c, _) in found.items()}
    return [name for name, (s, seed) in named.items() if name == digest([*s, seed, *changes.get(s, [])], 16)]
