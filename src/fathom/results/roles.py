"""What a report says of roll-out data: whether what ran on them was decided before, and which results are which."""

from fathom.core.records import Setting
from fathom.core.text import plural
from fathom.design.freeze import ROLL_OUT, departures
from fathom.results.results import StudyResults

DEVELOPMENT = "development"
FOLLOWED, NOT_ONE = "Roll-out", "Not a roll-out"  # titles of what is said at the head of a report


def role_of(reading: StudyResults, dataset: str) -> str:
    """`development` or `roll-out`: the role of a dataset."""
    return str(reading.facts.get(dataset, {}).get("role", DEVELOPMENT))


def by_role(reading: StudyResults) -> list[tuple[Setting, str]]:
    """The settings, those on development data first, and the role that each is the first of where there are two."""
    apart, before, found = len(roles(reading)) > 1, "", []
    for name in (DEVELOPMENT, ROLL_OUT):
        for setting in reading.store.study.settings:
            if role_of(reading, setting.dataset) == name:
                found.append((setting, name if apart and name != before else ""))
                before = name
    return found


def roles(reading: StudyResults) -> list[str]:
    """The roles in a study, development first."""
    found = {role_of(reading, setting.dataset) for setting in reading.store.study.settings}
    return [name for name in (DEVELOPMENT, ROLL_OUT) if name in found]


def first_result(reading: StudyResults) -> str:
    """When the first round on roll-out data was committed, ISO 8601; empty where there is none."""
    frame = reading.frame
    if frame.empty:
        return ""
    held_out = [d for d, facts in reading.facts.items() if facts.get("role") == ROLL_OUT]
    times = frame[frame["dataset"].isin(held_out)]["finished"]
    return str(times.min()) if len(times) else ""


def roll_out_words(reading: StudyResults) -> tuple[str, str] | None:
    """(title, text) for the head of the report where a study has roll-out data; None where it has none."""
    if ROLL_OUT not in roles(reading):
        return None
    held_out = [d for d, facts in reading.facts.items() if facts.get("role") == ROLL_OUT]
    names = ", ".join(reading.names.dataset[d] for d in held_out)
    kept, first = reading.store.study.freeze, first_result(reading)
    if kept is None:
        return (
            NOT_ONE,
            f"{names} {_are(names)} meant as roll-out data, but no freeze says what had been decided before they were "
            "touched. Read their results as those of development data.",
        )
    told = f"{kept['hash']}, frozen {kept['frozen'][:10]} on {', '.join(kept['developed_on'])}"
    if first and kept["frozen"] > first:
        return (
            NOT_ONE,
            f"The freeze ({told}) is younger than the first result on {names} ({first}). Read these results as those "
            "of development data.",
        )
    if more := departures(reading.store.study, kept, held_out):
        return (NOT_ONE, f"What ran on {names} departs from the freeze ({told}): {'; '.join(more)}.")
    what = f"{plural(len(kept['queries']), 'query method')} and {plural(len(kept['paradigms']), 'training paradigm')}"
    return (
        FOLLOWED,
        f"What ran on {names} follows the freeze {told}: {what} with their grids and recipes; nothing else was let "
        "run there.",
    )


def _are(names: str) -> str:
    return "are" if "," in names else "is"
