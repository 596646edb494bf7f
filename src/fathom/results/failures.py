"""What went wrong and what was done about it: failed attempts, and settings that were done again with a change."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fathom.core.records import PRETRAINING, SEARCH, RunSpec, Setting, digest
from fathom.store.store import Store

CHANGES = {"fp32": "in full precision (fp32)", "lr/10": "with a tenth of the learning rate (lr/10)"}
STAGES = {PRETRAINING: "pre-training", SEARCH: "the HP search"}


def retries_of(store: Store, settings: Sequence[Setting]) -> dict[Setting, list[dict[str, Any]]]:
    """Setting -> the records of its retries in order; settings that were done once are left out."""
    found: dict[Setting, list[dict[str, Any]]] = {}
    for setting in settings:
        count = len(store.retries(setting))
        stem = f"shared/retries/{digest(list(setting), 12)}"
        records = [store.get(f"{stem}-{number}") for number in range(1, count + 1)]
        if records:
            found[setting] = [record[0] for record in records if record]
    return found


def said(changes: Sequence[str]) -> str:
    """Changes in words; those of one stage name it."""
    words = []
    for change in changes:
        stage, _, what = change.rpartition(": ")
        words.append(CHANGES.get(what, f"with {what}") + (f" in {STAGES.get(stage, stage)}" if stage else ""))
    return " and ".join(words)


def retry_note(changes: Sequence[str]) -> str:
    """The footnote of numbers of a setting that was done again; empty for one that was not."""
    if not changes:
        return ""
    how = said(changes)
    return (
        "A training was not finite, so all runs of this setting, of every query method and seed, were done again "
        f"{how}."
    )


def failures_of(store: Store, complete: Mapping[RunSpec, bool], shared: Callable[[str], bool]) -> list[dict[str, Any]]:
    """The failed attempts, each with what became of it.

    `again`: how its setting was done again after it, empty where it was not. `mended`: whether its job was done all the
    same; after a retry, whether the runs that took its place are complete.

    Args:
        store: The results.
        complete: Run -> whether it is complete, in its valid form.
        shared: Whether a record of shared work is there.
    """
    found = []
    jobs = {store.run_name(spec): spec for spec in complete}
    for failure in store.failures():
        named, job = failure.get("setting", ()), str(failure.get("job", ""))
        setting = Setting(*named) if len(named) == 3 else None
        later = store.retries(setting)[failure.get("retries", 0) :] if setting else []
        if later:
            heirs = [spec for spec in complete if spec.setting == setting and _follows(spec, failure)]
            mended = bool(heirs) and all(complete[spec] for spec in heirs)
        else:
            mended = complete[jobs[job]] if job in jobs else job.startswith("shared/") and shared(job)
        how = said(later)
        found.append({**failure, "again": how, "mended": mended})
    return found


def _follows(spec: RunSpec, failure: Mapping[str, Any]) -> bool:
    """Whether a run does again what failed: the same query method and seed, as far as the failure names them."""
    query, seed = failure.get("query", ""), failure.get("seed", -1)
    return (not query or spec.query == query) and (seed is None or seed < 0 or spec.seed == seed)
