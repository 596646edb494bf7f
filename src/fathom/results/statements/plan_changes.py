"""Changes of a study's plan after its first result: runs added after a look, another margin, claims stated later."""

from typing import TYPE_CHECKING, NamedTuple

from fathom.core.records import ROLL_OUT, Setting, unique
from fathom.core.text import number_ranges, plural
from fathom.design.freeze import role_of
from fathom.results.classifiers import listed
from fathom.results.names import label
from fathom.stats.decisions import look_alpha
from fathom.store.history import Change, plan_changes, unread_changes

if TYPE_CHECKING:
    from fathom.results.results import StudyResults


class StatedWhen(NamedTuple):
    """When a claim was stated.

    Args:
        at: UTC time, ISO 8601; empty where it is not known.
        before: True if no round was committed by then; None where it is not known.
    """

    at: str = ""
    before: bool | None = None


def study_looks(results: "StudyResults") -> int:
    """Number of this analysis: 1 for a study that never grew after its first result.

    It grew where a method that had complete runs got further seeds, or a further dataset or regime of the same role and
    paradigm: only then could the decision to add them follow from the results. Methods that were added have had no
    earlier look. A record that cannot be read counts as a look, since it is not known what changed.
    """
    return 1 + len(_growths(results)) + unread_changes(results.store)


def _growths(results: "StudyResults") -> list[Change]:
    found = [change for change in plan_changes(results.store) if change["results"]]
    return [change for change in found if any(own["complete"] or _widens(results, own) for own in change["grown"])]


def _widens(results: "StudyResults", own: Change) -> bool:
    """True for a new setting of a method with complete runs on data of the same role: its headline averages both."""
    roles = {role_of(dataset, results.facts) for dataset in own.get("elsewhere", {})}
    return role_of(own["dataset"], results.facts) in roles


def change_warnings(results: "StudyResults") -> list[tuple[str, str]]:
    """(title, text) of each kind of change that a reader must know of before reading a verdict."""
    found = []
    if texts := [_growth_words(results, change) for change in _growths(results)]:
        look = study_looks(results)
        text = (
            f"{' '.join(texts)} This is look {look} at the study, so its tests have alpha = {_short(look_alpha(look))}"
        )
        found.append(("Runs were added after a look", f"{text} (see “alpha spending” in the protocol)."))
    if unread := unread_changes(results.store):
        text = f"{plural(unread, 'record')} of what was changed in this study cannot be read. Each counts as a look"
        found.append(("Unknown changes", f"{text}: tests have alpha = {_short(look_alpha(study_looks(results)))}."))
    for change in plan_changes(results.store):
        (old, new), day = change["margin"], change["at"][:10]
        if change["results"] and old != new:
            text = f"It was changed from {100 * old:g} to {100 * new:g} points on {day}, after results were there"
            found.append(("The margin was not set before", f"{text}; “not worse” is by the new one."))
        (base, other) = change["baseline"]
        if change["results"] and base != other:
            text = f"It was changed from {label(base)} to {label(other)} on {day}, after results were there."
            found.append(("The baseline was not set before", text))
    return found


def _growth_words(results: "StudyResults", change: Change) -> str:
    """Sentences on one growth: how many complete seeds there were of which methods, and what is planned now."""
    return " ".join(filter(None, (_seed_words(results, change), _setting_words(results, change))))


def _setting_words(results: "StudyResults", change: Change) -> str:
    """Sentence on settings that were added to methods with results; empty where there are none."""
    own = [entry for entry in change["grown"] if _widens(results, entry)]
    if not own:
        return ""
    titles = unique(results.names.title(Setting(e["dataset"], e["regime"], e["paradigm"])) for e in own)
    methods = unique(label(e["query"]) for e in own)
    there = sum(sum(e["elsewhere"].values()) for e in {e["query"]: e for e in own}.values())
    were = "was" if len(titles) == 1 else "were"
    known = f"{listed(methods)} had {plural(there, 'complete run')} in other settings"
    return f"On {change['at'][:10]} {listed(titles)} {were} added, when {known}."


def _seed_words(results: "StudyResults", change: Change) -> str:
    """Sentence on seeds that were added to settings with results; empty where there are none."""
    own = [entry for entry in change["grown"] if entry["complete"]]
    if not own:
        return ""
    settings = unique(Setting(e["dataset"], e["regime"], e["paradigm"]) for e in own)
    methods = unique(label(e["query"]) for e in own)
    where = results.names.title(settings[0]) if len(settings) == 1 else plural(len(settings), "setting")
    counts = {name: number_ranges(e[name] for e in own) for name in ("before", "complete", "after")}
    planned = "" if counts["before"] == counts["complete"] else f" of {counts['before']} planned"
    there = f"{counts['complete']} complete seeds{planned} of {listed(methods)} in {where}"
    return f"On {change['at'][:10]} there were {there}, and {counts['after']} are planned since."


def stated_when(results: "StudyResults", claim: str) -> StatedWhen:
    """When a claim of the study file, or of the freeze that the study follows, was stated first and not withdrawn."""
    found = StatedWhen()
    for change in plan_changes(results.store):
        was, now = (claim in claims for claims in change["claims"])
        if not now:
            found = StatedWhen()
        elif not was:
            found = StatedWhen(change["at"], not change["results"])
    freeze, first = results.store.study.freeze or {}, first_roll_out(results)
    if not found.before and claim in freeze.get("claims", ()) and (not first or str(freeze["frozen"]) <= first):
        return StatedWhen(str(freeze["frozen"]), True)
    return found


def first_roll_out(results: "StudyResults") -> str:
    """Time at which the first round on roll-out data was committed, ISO 8601; empty where there is none."""
    frame = results.frame
    if frame.empty:
        return ""
    held_out = [d for d in frame["dataset"].unique() if role_of(str(d), results.facts) == ROLL_OUT]
    times = frame[frame["dataset"].isin(held_out)]["finished"]
    return str(times.min()) if len(times) else ""


def _short(value: float) -> str:
    return f"{value:.2g}".removeprefix("0")
