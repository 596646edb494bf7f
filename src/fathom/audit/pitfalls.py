"""Predicates of the five pitfalls P1 to P5 (paper Sec. 2.3), on the committed runs of a study."""

from collections.abc import Callable, Iterable

from fathom.audit.rules import Verdict, predicate
from fathom.core.records import ROLL_OUT, LabelRegime, Setting, grouped, unique
from fathom.core.text import plural
from fathom.design.freeze import role_of
from fathom.registry.dataset_identity import dataset_identity
from fathom.results.classifiers import listed
from fathom.results.names import short_names
from fathom.results.results import StudyResults
from fathom.results.roles import FOLLOWED, UNFINISHED, UNKNOWN_CODE, roll_out_words

Answer = tuple[Verdict, str]
NOTHING: Answer = ("unknown", "no round is committed yet")


def begun(r: StudyResults) -> list[Setting]:
    """Settings with a committed round; a setting that is only planned avoids no pitfall."""
    return unique(run.spec.setting for run in r.runs if run.done)


def identities(r: StudyResults, specs: Iterable[str]) -> list[str]:
    """Short names of what counts as one dataset (`dataset_identity`): image sizes and subsets are no more datasets."""
    names = short_names(dataset_identity(s.dataset) for s in r.store.study.settings)
    return [names[name] for name in unique(map(dataset_identity, specs))]


def identity(r: StudyResults, spec: str) -> str:
    """Short name of the dataset that a spec string counts as."""
    return identities(r, [spec])[0]


def rolled_out(r: StudyResults) -> list[str]:
    """Roll-out datasets with a committed round."""
    return [d for d in unique(s.dataset for s in begun(r)) if role_of(d, r.facts) == ROLL_OUT]


@predicate("P1")
def distributions(r: StudyResults) -> Answer:
    """Several datasets, one with natural class imbalance, and a roll-out."""
    names = unique(s.dataset for s in begun(r))
    if not names:
        return NOTHING
    if absent := [n for n in names if n not in r.facts]:
        return "unknown", f"the store has no facts about {listed(identities(r, absent))}"
    skewed = [n for n in names if not r.facts[n]["balanced"]]
    natural = [n for n in skewed if not r.facts[n].get("long_tail")]
    held_out = rolled_out(r)
    statement = roll_out_words(r)
    followed = bool(held_out) and statement is not None and statement[0] == FOLLOWED
    datasets, imbalanced, naturally, last = (identities(r, some) for some in (names, skewed, natural, held_out))
    evidence = f"{plural(len(datasets), 'dataset')} ({_or_none(datasets)}); imbalanced: {_or_none(imbalanced)}"
    evidence += f"; naturally imbalanced: {_or_none(naturally)}; roll-out: {_or_none(last)}"
    if held_out and not followed:
        reasons = {UNKNOWN_CODE: "its code is unknown", UNFINISHED: "not all that was frozen is complete"}
        reason = reasons.get(statement[0] if statement else "", "no freeze is followed")
        evidence += f" (not a roll-out: {reason})"
    if len(datasets) >= 3 and natural and followed:
        return "pass", evidence
    return ("partly" if len(datasets) >= 2 or skewed else "fail"), evidence


@predicate("P2")
def starting_budgets(r: StudyResults) -> Answer:
    """Several starting budgets on every dataset."""
    return _varied(r, "starting budgets", lambda regime: regime.start)


@predicate("P3")
def check_query_sizes(r: StudyResults) -> Answer:
    """Several query sizes on every dataset; the evidence lists starting budgets with several query sizes."""
    verdict, evidence = _varied(r, "query sizes", lambda regime: regime.query_size)
    if verdict == "unknown":
        return verdict, evidence
    regimes = [(identity(r, s.dataset), regime) for s in begun(r) if (regime := r.regime(s)) and regime.rounds > 1]
    sizes = grouped(((name, regime.start), regime.query_size) for name, regime in regimes)
    several = [key for key, found in sizes.items() if len(set(found)) > 1]
    fixed = [f"{name} from {start} labels" for name, start in several]
    return verdict, f"{evidence}; varied at one starting budget: {_or_none(fixed)}"


@predicate("P4")
def configuration(r: StudyResults) -> Answer:
    """HPs chosen among several configurations on a validation set."""
    settings = begun(r)
    if not settings:
        return NOTHING
    known = {s: regime for s in settings if s in r.hparams and (regime := r.regime(s))}
    if not known:
        return "unknown", "no HP choice is recorded"
    sizes = {s: len(r.hparams[s].get("table", ())) for s in known}
    chosen = [s for s, regime in known.items() if sizes[s] > 1 and regime.val_size > 0]
    recipes = unique(str(r.hparams[s]["recipe"]) for s in chosen if r.hparams[s].get("recipe", "study") != "study")
    evidence = f"HPs chosen on a validation set in {len(chosen)} of {plural(len(settings), 'setting')}"
    if chosen:
        held = _numbers(known[s].val_size for s in chosen)
        evidence += f", among {_numbers(sizes[s] for s in chosen)} configurations; validation labels: {held}"
    if recipes:
        evidence += f"; shortened recipe: {listed(recipes)}"
    if not chosen:
        return "fail", evidence
    return ("pass" if len(chosen) == len(settings) and not recipes else "partly"), evidence


@predicate("P5")
def check_paradigms(r: StudyResults) -> Answer:
    """Standard, self-supervised and semi-supervised training on every dataset."""
    found = grouped((identity(r, dataset), paradigm.split("(")[0]) for dataset, _, paradigm in begun(r))
    if not found:
        return NOTHING
    evidence = "; ".join(f"{name}: {', '.join(unique(ways))}" for name, ways in found.items())
    if all({"standard", "self-sl", "semi-sl"} <= set(ways) for ways in found.values()):
        return "pass", evidence
    return ("partly" if any(len(set(ways)) > 1 for ways in found.values()) else "fail"), evidence


def _varied(r: StudyResults, what: str, of: Callable[[LabelRegime], int]) -> Answer:
    """Verdict on a size of the label regimes that should take several values on each dataset."""
    found: dict[str, set[int]] = {}
    for setting in begun(r):
        if regime := r.regime(setting):
            values = found.setdefault(identity(r, setting.dataset), set())
            if what != "query sizes" or regime.rounds > 1:  # with a single round nothing is queried
                values.add(of(regime))
    if not found:
        return NOTHING
    evidence = f"{what}: " + "; ".join(f"{name} {_numbers(values)}" for name, values in found.items())
    if all(len(values) >= 3 for values in found.values()):
        return "pass", evidence
    return ("partly" if any(len(values) >= 2 for values in found.values()) else "fail"), evidence


def _numbers(values: Iterable[int]) -> str:
    return ", ".join(str(v) for v in sorted(set(values))) or "none"


def _or_none(names: list[str]) -> str:
    return ", ".join(names) or "none"
