"""Roll-out datasets in the results: which results are from them, and whether they follow a freeze."""

from fathom.core.records import ROLES, ROLL_OUT, Setting
from fathom.core.text import plural
from fathom.design.freeze import departures, frozen_code, role_of
from fathom.results.results import StudyResults
from fathom.results.statements.plan_changes import first_roll_out
from fathom.store.codes import NOT_RECORDED, recorded_codes

FOLLOWED, UNKNOWN_CODE, NOT_ONE = (
    "Roll-out",
    "Roll-out with unknown code",
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
    if found := departures(results.store.study, freeze, datasets, codes):
        return NOT_ONE, f"The runs on {names} depart from the freeze ({named}): {'; '.join(found)}."
    unknown = [name for name, code in frozen_code(freeze, codes).items() if not code or NOT_RECORDED in codes[name]]
    if unknown:
        text = f"The runs on {names} name what the freeze ({named}) holds. It is not known if their code is the frozen"
        return UNKNOWN_CODE, f"{text} one: the freeze or the rounds hold no hash of {', '.join(sorted(unknown))}."
    queries, paradigms = plural(len(freeze["queries"]), "query method"), plural(len(freeze["paradigms"]), "paradigm")
    text = f"The runs on {names} follow the freeze {named}: {queries} and {paradigms}, with grids, recipes and code."
    return FOLLOWED, text


def _roll_out_datasets(results: StudyResults) -> list[str]:
    """Roll-out datasets of the study, in its order."""
    datasets = dict.fromkeys(setting.dataset for setting in results.store.study.settings)
    return [dataset for dataset in datasets if role_of(dataset, results.facts) == ROLL_OUT]
