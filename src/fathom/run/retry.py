"""What happens when a training is not finite: the whole setting is done again, with the change that the study declares.

Repairing one run alone would compare its query method under other HPs; a new seed would hide that it failed. So the
next entry of the study's `retry` is applied to every run of the setting (dataset, regime, paradigm), for all query
methods and seeds, and is told in the report. What was done before stays in the store, and so does the failure.
"""

from fathom.records import Study
from fathom.run.lab import Lab, Setting


def retry_settings(lab: Lab, study: Study, session: str, kind: str) -> bool:
    """Have the settings done again in which a training of this session was not finite. Whether there are any.

    Args:
        lab: Of this process.
        study: With the changes that it declares.
        session: Of the call of `run`.
        kind: Of the device that the workers train on: `cpu` or `cuda`.
    """
    again = lab.store.forget()  # another process may have declared one
    for setting, (number, message) in _diverged(lab, session).items():
        done = lab.store.retries(setting)
        left = list(study.retry)
        for change in done:
            if change in left:
                left.remove(change)
        # In float32 already, as on a CPU or for a head on features, that change would be none.
        left = [c for c in left if c != "fp32" or (kind == "cuda" and not lab.paradigm(setting[2]).backbone)]
        if number != len(done) or not left:
            continue  # it failed under an earlier form of the setting, or nothing is left to try
        lab.store.retry(setting, len(done) + 1, left[0], message)
        again = True
    return again


def _diverged(lab: Lab, session: str) -> dict[Setting, tuple[int, str]]:
    """Settings with a training that was not finite -> (retries of the setting when it failed, what was not finite)."""
    found: dict[Setting, tuple[int, str]] = {}
    for failure in lab.store.failures():
        here = failure["session"] == session and failure["kind"] in ("first", "run", "ceiling")
        if here and failure["error"] == "NonFiniteError":
            dataset, regime, paradigm = failure["setting"]
            setting, last = (dataset, regime, paradigm), (failure.get("retries", 0), failure["message"])
            found[setting] = max(last, found.get(setting, last))
    return found
