"""Failed attempts and retries: settings that were run again with a change after a training was not finite."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fathom.core.records import RunSpec, Setting, digest
from fathom.core.retries import PRETRAINING, RETRIES, SEARCH
from fathom.core.work import WorkKind
from fathom.store.store import Store

STAGES = {PRETRAINING: "pre-training", SEARCH: "the HP search"}


def retries_of(store: Store, settings: Sequence[Setting]) -> dict[Setting, list[dict[str, Any]]]:
    """Setting -> records of its retries, in order; settings without retries are left out."""
    found: dict[Setting, list[dict[str, Any]]] = {}
    for setting in settings:
        count = len(store.retries(setting))
        stem = WorkKind.RETRIES.record(digest(list(setting), 12))
        records = [store.get(f"{stem}-{number}") for number in range(1, count + 1)]
        if records:
            found[setting] = [record[0] for record in records if record]
    return found


def change_words(changes: Sequence[str]) -> str:
    """Changes of retries in words, with the stage that they concern."""
    words = []
    for change in changes:
        stage, _, what = change.rpartition(": ")
        words.append(RETRIES.get(what, f"with {what}") + (f" in {STAGES.get(stage, stage)}" if stage else ""))
    return " and ".join(words)


def retry_note(changes: Sequence[str]) -> str:
    """Footnote of the numbers of a setting that was retried; empty for one that was not."""
    if not changes:
        return ""
    return (
        "A training was not finite, so all runs of this setting (every query method and seed) were repeated "
        f"{change_words(changes)}."
    )


def failures_of(store: Store, complete: Mapping[RunSpec, bool], shared: Callable[[str], bool]) -> list[dict[str, Any]]:
    """Failed attempts, each with its outcome.

    Each record gets two more entries. `retried`: the change with which its setting was run again, empty where it was
    not. `resolved`: true where its job has succeeded since; after a retry, where the runs that replaced it are
    complete.

    Args:
        store: The results.
        complete: Run -> whether it is complete (after a retry: the repeated run).
        shared: Function that says whether a record of shared work exists.
    """
    found = []
    jobs = {store.run_name(spec): spec for spec in complete}
    for failure in store.failures():
        named, job = failure.get("setting", ()), str(failure.get("job", ""))
        setting = Setting(*named) if len(named) == 3 else None
        later = store.retries(setting)[failure.get("retries", 0) :] if setting else []
        if later:
            successors = [spec for spec in complete if spec.setting == setting and _replaces(spec, failure)]
            resolved = bool(successors) and all(complete[spec] for spec in successors)
        else:
            resolved = complete[jobs[job]] if job in jobs else job.startswith("shared/") and shared(job)
        found.append({**failure, "retried": change_words(later), "resolved": resolved})
    return found


def _replaces(spec: RunSpec, failure: Mapping[str, Any]) -> bool:
    """True for a run with the query method and seed of the failure, as far as the failure names them."""
    query, seed = failure.get("query", ""), failure.get("seed", -1)
    return (not query or spec.query == query) and (seed is None or seed < 0 or spec.seed == seed)
