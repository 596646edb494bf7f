"""The five pitfalls in a store: what its committed runs show of P1 to P5 (paper Sec. 2.3)."""

from collections.abc import Callable, Iterable

from fathom.audit.rules import Verdict, predicate
from fathom.core.records import LabelRegime, Setting, unique
from fathom.core.text import plural
from fathom.design.freeze import ROLL_OUT, role_of
from fathom.results.classifiers import listed
from fathom.results.results import StudyResults
from fathom.results.roles import FOLLOWED, roll_out_words

Answer = tuple[Verdict, str]
NOTHING: Answer = ("unknown", "no round is committed yet")


def begun(r: StudyResults) -> list[Setting]:
    """The settings in which a round is committed: what was only planned avoids no pitfall."""
    return unique(run.spec.setting for run in r.runs if run.done)


def short(r: StudyResults, datasets: Iterable[str]) -> list[str]:
    """Their short names; the whole call-strings stand in the settings' sections."""
    return [r.names.dataset[name] for name in datasets]


def rolled_out(r: StudyResults) -> list[str]:
    """The data sets of role roll-out that a round is committed on."""
    return [d for d in unique(s.dataset for s in begun(r)) if role_of(d, r.facts) == ROLL_OUT]


@predicate("P1")
def distributions(r: StudyResults) -> Answer:
    """Different data sets, an imbalance of its own, and a roll-out."""
    names = unique(s[0] for s in begun(r))
    if not names:
        return NOTHING
    if absent := [n for n in names if n not in r.facts]:
        return "unknown", f"the store has no facts of {listed(short(r, absent))}"
    skewed = [n for n in names if not r.facts[n]["balanced"]]
    own = [n for n in skewed if not r.facts[n].get("long_tail")]
    apart = rolled_out(r)
    said = roll_out_words(r)
    followed = bool(apart) and said is not None and said[0] == FOLLOWED
    told = f"{plural(len(names), 'data set')} ({_or_none(short(r, names))}); imbalanced: {_or_none(short(r, skewed))}"
    told += f"; not made so by thinning: {_or_none(short(r, own))}; roll-out: {_or_none(short(r, apart))}"
    if apart and not followed:
        told += " (not a roll-out: no freeze is followed)"
    if len(names) >= 3 and own and followed:
        return "pass", told
    return ("partly" if len(names) >= 2 or skewed else "fail"), told


@predicate("P2")
def starting_budgets(r: StudyResults) -> Answer:
    """Different starting budgets on every data set."""
    return _varied(r, "starting budgets", lambda regime: regime.start)


@predicate("P3")
def check_query_sizes(r: StudyResults) -> Answer:
    """Different query sizes on every data set; the evidence says whether one starting budget saw several."""
    verdict, told = _varied(r, "query sizes", lambda regime: regime.query_size)
    if verdict == "unknown":
        return verdict, told
    sizes: dict[tuple[str, int], set[int]] = {}
    for setting in begun(r):
        if (regime := r.regime(setting)) and regime.rounds > 1:
            sizes.setdefault((setting.dataset, regime.start), set()).add(regime.query_size)
    fixed = [f"{r.names.dataset[name]} from {start} labels" for (name, start), found in sizes.items() if len(found) > 1]
    return verdict, f"{told}; varied at one starting budget: {_or_none(fixed)}"


@predicate("P4")
def configuration(r: StudyResults) -> Answer:
    """HPs chosen among several on a validation set."""
    settings = begun(r)
    if not settings:
        return NOTHING
    known = [s for s in settings if s in r.hparams and r.regime(s)]
    if not known:
        return "unknown", "no record of an HP choice"
    sizes = {s: len(r.hparams[s].get("table", ())) for s in known}
    chosen = [s for s in known if sizes[s] > 1 and _held_out(r.regime(s))]
    short = unique(str(r.hparams[s]["recipe"]) for s in chosen if r.hparams[s].get("recipe", "study") != "study")
    told = f"HPs chosen on a validation set in {len(chosen)} of {plural(len(settings), 'setting')}"
    if chosen:
        held = unique(regime.val_size for s in chosen if (regime := r.regime(s)))
        told += f", among {_numbers(sizes[s] for s in chosen)} configurations; validation labels: {_numbers(held)}"
    if short:
        told += f"; shortened recipe: {listed(short)}"
    if not chosen:
        return "fail", told
    return ("pass" if len(chosen) == len(settings) and not short else "partly"), told


@predicate("P5")
def check_paradigms(r: StudyResults) -> Answer:
    """Standard, self-supervised and semi-supervised training side by side."""
    found: dict[str, list[str]] = {}
    for dataset, _, paradigm in begun(r):
        found.setdefault(dataset, []).append(paradigm.split("(")[0])
    if not found:
        return NOTHING
    told = "; ".join(f"{r.names.dataset[name]}: {', '.join(unique(ways))}" for name, ways in found.items())
    if all({"standard", "self-sl", "semi-sl"} <= set(ways) for ways in found.values()):
        return "pass", told
    return ("partly" if any(len(set(ways)) > 1 for ways in found.values()) else "fail"), told


def _varied(r: StudyResults, what: str, of: Callable[[LabelRegime], int]) -> Answer:
    """Whether a size of the label regimes takes several values on each data set."""
    found: dict[str, set[int]] = {}
    for setting in begun(r):
        if regime := r.regime(setting):
            if what == "query sizes" and regime.rounds < 2:
                found.setdefault(setting.dataset, set())  # nothing is ever queried
            else:
                found.setdefault(setting.dataset, set()).add(of(regime))
    if not found:
        return NOTHING
    told = f"{what}: " + "; ".join(f"{r.names.dataset[name]} {_numbers(values)}" for name, values in found.items())
    if all(len(values) >= 3 for values in found.values()):
        return "pass", told
    return ("partly" if any(len(values) >= 2 for values in found.values()) else "fail"), told


def _held_out(regime: LabelRegime | None) -> bool:
    return regime is not None and regime.val_size > 0


def _numbers(values: Iterable[int]) -> str:
    return ", ".join(str(v) for v in sorted(set(values))) or "none"


def _or_none(names: list[str]) -> str:
    return ", ".join(names) or "none"
