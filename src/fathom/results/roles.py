"""Roll-out datasets in the results: which results are from them, and whether they follow a freeze."""

from collections import Counter
from typing import Any

from fathom.core.records import ROLES, ROLL_OUT, RunSpec, Setting
from fathom.core.text import number_ranges, plural
from fathom.design.departures import departures, frozen_code, not_held, not_run
from fathom.design.freeze import role_of
from fathom.results.results import StudyResults
from fathom.results.statements.plan_changes import first_roll_out
from fathom.store.codes import NOT_RECORDED, recorded_codes

FOLLOWED, UNKNOWN_CODE, UNFINISHED, NOT_ONE = (
    "Roll-out",
    "Roll-out with unknown code",
    "Roll-out that is not complete",
    "Not a roll-out",
)  # titles of the statement at the head of a report


def by_role(results: StudyResults) -> list[tuple[Setting, str]]:
    """Settings, those on development data first, each with a heading.

    Returns:
        (setting, heading). The heading is the role where a study has both roles and the setting is the first of its
        role, else empty.
    """
    both, previous, found = len(roles(results)) > 1, "", []
    for role in ROLES:
        for setting in results.store.study.settings:
            if role_of(setting.dataset, results.facts) == role:
                found.append((setting, role if both and role != previous else ""))
                previous = role
    return found


def roles(results: StudyResults) -> list[str]:
    """Roles of a study's datasets, development first."""
    found = {role_of(setting.dataset, results.facts) for setting in results.store.study.settings}
    return [role for role in ROLES if role in found]


def roll_out_words(results: StudyResults) -> tuple[str, str] | None:
    """(title, text) that says whether the roll-out followed a freeze; None for a study without roll-out data."""
    if ROLL_OUT not in roles(results):
        return None
    datasets = _roll_out_datasets(results)
    names = ", ".join(results.names.dataset[d] for d in datasets)
    as_development = "Treat these results as results on development data."
    freeze, first = results.store.study.freeze, first_roll_out(results)
    if freeze is None:
        declared = "is declared a roll-out dataset" if len(datasets) == 1 else "are declared roll-out datasets"
        text = f"{names} {declared}, but the study names no freeze that records what was decided before."
        return NOT_ONE, f"{text} {as_development}"
    named = f"{freeze['hash']}, frozen {freeze['frozen'][:10]} on {', '.join(freeze['developed_on'])}"
    # A freeze can be added to a study later, as it decides no number. One that is younger than a result on roll-out
    # data proves nothing: it may have been written with that result in view.
    if first and freeze["frozen"] > first:
        return NOT_ONE, f"The freeze ({named}) is younger than the first result on {names} ({first}). {as_development}"
    codes = recorded_codes(results.store, [r for r in results.store.study.runs if r.dataset in datasets])
    if found := departures(results.store.study, freeze, datasets, codes, results.facts):
        return NOT_ONE, f"The runs on {names} depart from the freeze ({named}): {'; '.join(found)}."
    unknown = [name for name, code in frozen_code(freeze, codes).items() if not code or NOT_RECORDED in codes[name]]
    if unknown:
        text = f"The runs on {names} name what the freeze ({named}) holds. It is not known if their code is the frozen"
        return UNKNOWN_CODE, f"{text} one: the freeze or the rounds hold no hash of {', '.join(sorted(unknown))}."
    done = [run.spec for run in results.runs if run.complete and run.spec.dataset in datasets]
    if open_parts := [*not_run(done, freeze, datasets), *_open_runs(results, datasets)]:
        text = f"The runs on {names} follow the freeze {named}, and not all is complete: {'; '.join(open_parts)}."
        return UNFINISHED, text
    return FOLLOWED, f"The runs on {names} follow the freeze {named}: {_counts(done, freeze)}."


def _open_runs(results: StudyResults, datasets: list[str]) -> list[str]:
    """Count of the runs on roll-out data that are not complete; empty where all are."""
    own = [run for run in results.runs if run.spec.dataset in datasets]
    done = sum(run.complete for run in own)
    return [f"{done} of {plural(len(own), 'run')} complete"] if done < len(own) else []


def _counts(done: list[RunSpec], freeze: dict[str, Any]) -> str:
    """Counts of the parts that ran, of those that were frozen, and a list of what the freeze does not hold."""
    frozen = {"query": freeze["queries"], "paradigm": freeze["paradigms"], "regime": freeze["regimes"]}
    words = {"query": "query method", "paradigm": "paradigm", "regime": "regime"}
    ran = {axis: len({getattr(spec, axis) for spec in done}) for axis in frozen}
    ran["paradigm"] = len({spec.paradigm.partition("(")[0] for spec in done})
    of = {axis: len(known) for axis, known in frozen.items()}
    of["paradigm"] = len({own["call"].partition("(")[0] for own in freeze["paradigms"]})
    parts = [f"{ran[axis]} of {plural(of[axis], word)}" for axis, word in words.items()]
    seeds = Counter((spec.setting, spec.query) for spec in done)
    parts.append(f"{number_ranges(seeds.values())} seeds" if seeds else "no seed")
    held = [f"baseline {freeze['baseline']}"] if "baseline" in freeze else []
    held += [f"margin {100 * freeze['margin']:g} points"] if "margin" in freeze else []
    held += [f"claims {', '.join(freeze['claims']) or 'none'}"] if "claims" in freeze else []
    text = f"{', '.join([*parts, *held])}, with grids, recipes and code"
    absent = not_held(freeze)
    older = " It was written by an older version and does not hold"
    return f"{text}.{older} {', '.join(absent)}, so these were not compared" if absent else text


def _roll_out_datasets(results: StudyResults) -> list[str]:
    """Roll-out datasets of the study, in its order."""
    datasets = dict.fromkeys(setting.dataset for setting in results.store.study.settings)
    return [dataset for dataset in datasets if role_of(dataset, results.facts) == ROLL_OUT]
