"""History of a study's plan: what was added or changed in its folder, and how much was known by then.

    OUT/history/0000.json               one change: seeds per method before and after, margin, baseline, claims

Results that are there are a look at the data. A study that gets more seeds after a look had its chance, and its tests
need another level (`stats.decisions.look_alpha`); a margin or a claim that was changed after one was not set before.
Such changes are allowed, and recorded here. A study that never changed has no record, unless it states claims.
"""

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fathom.core.records import Study, digest, grouped
from fathom.store import atomic_files

if TYPE_CHECKING:
    from fathom.store.store import Store

FOLDER = "history"
Change = dict[str, Any]


def note_change(store: "Store", after: Study) -> None:
    """Record that the study in a folder becomes another one; called before it does, and may be called again.

    Args:
        store: The store.
        after: The study that it becomes.
    """
    before = store.study if atomic_files.try_read(store.path("study"))[0] else None
    if before == after:
        return
    results = any(store.root.glob("runs/*/round-*.json"))
    states = _state(before) if before else "", _state(after)
    claims = [list(before.claims) if before else [], list(after.claims)]
    if states[0] == states[1] or not (claims[0] != claims[1] or (results and before)):
        return
    known = [path.stem for path in store.root.glob(f"{FOLDER}/*.json")]
    last = store.get(f"{FOLDER}/{max(known)}") if known else None
    # A call that was killed between this record and the study's file does the same again.
    if last and last[0]["to"] == states[1] and (last[0]["from"] == states[0] or not before):
        return
    content = {
        "from": states[0],
        "to": states[1],
        "results": results,
        "runs": [len(before.runs) if before else 0, len(after.runs)],
        "grown": _grown(store, before, after) if before and results else [],
        "margin": [before.margin if before else after.margin, after.margin],
        "baseline": [before.baseline if before else after.baseline, after.baseline],
        "claims": claims,
    }
    number = max((int(stem) for stem in known if stem.isdigit()), default=-1) + 1
    store.put(f"{FOLDER}/{number:04d}", content, {"at": datetime.now(UTC).isoformat(timespec="seconds")})


def _state(study: Study) -> str:
    """Digest of all of a study that a change is recorded of."""
    keys = sorted(spec.key for spec in study.runs)
    return digest([keys, study.margin, study.baseline, list(study.claims)], 16)


def _grown(store: "Store", before: Study, after: Study) -> list[dict[str, Any]]:
    """Setting and query method of each group of runs that gets more seeds, or is new beside runs of the same method.

    Its seeds: planned before, complete by now, planned after. Of a new setting also `elsewhere`: dataset -> complete
    runs of this method with this paradigm, as a headline averages over datasets and regimes.
    """
    planned = Counter((spec.setting, spec.query) for spec in after.runs)
    old = grouped(((spec.setting, spec.query), spec) for spec in before.runs)
    done = {key: sum(map(store.looks_complete, own)) for key, own in old.items()}
    found = []
    for (setting, query), count in planned.items():
        known = len(old.get((setting, query), ()))
        others = [(s.dataset, n) for (s, q), n in done.items() if n and (s.paradigm, q) == (setting.paradigm, query)]
        if count > known and (known or others):
            elsewhere = {d: sum(n for other, n in others if other == d) for d, _ in others} if not known else {}
            counts = {"before": known, "complete": done.get((setting, query), 0), "after": count}
            found.append({**setting._asdict(), "query": query, **counts, "elsewhere": elsewhere})
    return found


def plan_changes(store: "Store") -> list[Change]:
    """Changes of the study in a folder, oldest first, each with the time `at` which it was recorded.

    A record of a change that then was not made, because the process was killed, is left out.
    """
    found = [{**content, "at": str(clock.get("at", ""))} for content, clock in store.records(FOLDER).values()]
    following = [*(change["from"] for change in found[1:]), _state(store.study)] if found else []
    return [own for own, state in zip(found, following, strict=True) if own["from"] != state or own["to"] == state]


def unread_changes(store: "Store") -> int:
    """Number of changes whose records are damaged or gone, but for those after the last one that is there."""
    numbers = {int(path.stem) for path in store.root.glob(f"{FOLDER}/*.json") if path.stem.isdigit()}
    return max(numbers, default=-1) + 1 - len(store.records(FOLDER))
