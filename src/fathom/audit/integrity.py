"""Statistics, leakage, reproducibility and roll-out of a store: the rules of an audit beside the five pitfalls."""

import math
from collections.abc import Mapping
from typing import Any

from fathom.audit.pitfalls import NOTHING, Answer, begun
from fathom.audit.rules import predicate
from fathom.core.records import Setting, digest, unique
from fathom.core.text import plural
from fathom.results.classifiers import listed
from fathom.results.environments import UNKNOWN
from fathom.results.results import StudyResults
from fathom.results.roles import FOLLOWED, roll_out_words
from fathom.stats.inference import MIN_SEEDS

ENOUGH, FEW = 5, 3  # seeds


# ------------------------------------------------------------------------------------------------- statistics


def complete_seeds(r: StudyResults) -> dict[Setting, dict[str, set[int]]]:
    """Setting -> query method -> seeds whose run is complete, of the settings that were begun."""
    found: dict[Setting, dict[str, set[int]]] = {s: {} for s in begun(r)}
    for run in r.runs:
        if run.spec.setting in found:
            seeds = found[run.spec.setting].setdefault(run.spec.query, set())
            seeds |= {run.spec.seed} if run.complete else set()
    return found


@predicate("seeds")
def seeds(r: StudyResults) -> Answer:
    """Complete seeds of the method that has fewest."""
    counts = [len(s) for methods in complete_seeds(r).values() for s in methods.values()]
    if not counts:
        return NOTHING
    least = min(counts)
    told = f"{least} to {max(counts)} complete seeds" if least < max(counts) else plural(least, "complete seed")
    return ("pass" if least >= ENOUGH else "partly" if least >= FEW else "fail"), f"{told} a method and setting"


@predicate("pairing")
def pairing(r: StudyResults) -> Answer:
    """Seeds that all methods of a setting have completed."""
    if not (found := complete_seeds(r)):
        return NOTHING
    shared = {s: set.intersection(*methods.values()) for s, methods in found.items()}
    unlike = [s for s, methods in found.items() if any(own != shared[s] for own in methods.values())]
    least = min(map(len, shared.values()))
    told = f"{plural(least, 'seed')} or more shared by all methods of a setting"
    if unlike:
        told += f"; not the same seeds in {listed([r.names.title(s) for s in unlike])}"
    return ("fail" if least < 2 else "partly" if unlike else "pass"), told


@predicate("correction")
def correction(r: StudyResults) -> Answer:
    """Gains with a Holm-corrected p-value."""
    if r.gains.empty:
        return "unknown", "no method is compared with the baseline"
    rows = r.gains.to_dict("records")
    tested = sum(g["n"] >= MIN_SEEDS and math.isfinite(g["aubc_holm"]) for g in rows)
    told = f"{tested} of {plural(len(rows), 'gain')} have a p-value, Holm-corrected over the methods of the setting"
    return ("pass" if tested == len(rows) else "partly" if tested else "fail"), told


@predicate("design")
def design(r: StudyResults) -> Answer:
    """Planned runs that are complete."""
    done = sum(run.complete for run in r.runs)
    return ("pass" if done == len(r.runs) else "partly" if done else "fail"), f"{done} of {len(r.runs)} runs complete"


@predicate("failures")
def failures(r: StudyResults) -> Answer:
    """Failed attempts, and what became of them."""
    again = f"; {plural(len(r.retries), 'setting')} done again for all methods alike" if r.retries else ""
    unresolved = [f for f in r.failures if not f["resolved"]]
    told = f"{plural(len(r.failures), 'failed attempt')}, {len(lost)} not made good{again}"
    if not lost:
        return "pass", told
    for setting in unique(tuple(f.get("setting", ())) for f in lost):
        own = [run.complete for run in r.runs if run.spec.setting == setting]
        if any(own) and not all(own):
            return "fail", f"{told}; {r.names.title(setting)} lacks runs of some methods or seeds"
    return "partly", told


@predicate("control")
def control(r: StudyResults) -> Answer:
    """Methods that are measured against a baseline of another classifier."""
    apart = [(s, q, c.crossed(q, c.reference(q))) for s, c in r.classifiers.items() if s in begun(r)
             for q in c.dropouts if c.crossed(q, r.baseline) and not c.is_control(q)]  # fmt: skip
    if not apart:
        return "pass", "no method is run with another dropout than the baseline"
    lacking = [(s, q) for s, q, crossed in apart if crossed]
    told = f"another dropout than the baseline's: {', '.join(unique(q for _, q, _ in apart))}"
    told += f"; without a matched control in {len(lacking)} of {plural(len(apart), 'comparison')}"
    return ("pass" if not lacking else "fail" if len(lacking) == len(apart) else "partly"), told


# ---------------------------------------------------------------------------------------------------- leakage


def _across(r: StudyResults, key: str, what: str, advice: str) -> Answer:
    """What a fact of the data sets counts on both sides of train and test."""
    names = unique(s[0] for s in begun(r))
    if not names:
        return NOTHING
    counts = {n: r.facts.get(n, {}).get(key) for n in names}
    told = "; ".join(f"{r.names.dataset[n]}: {'not recorded' if c is None else c}" for n, c in counts.items())
    if any(counts.values()):
        return "fail", f"{what} across train and test: {told}"
    return ("unknown" if None in counts.values() else "pass"), f"{what} across train and test: {told}{advice}"


@predicate("groups")
def check_groups(r: StudyResults) -> Answer:
    """Groups (lesion, patient) on both sides."""
    return _across(r, "groups_across", "groups", "")


@predicate("duplicates")
def duplicates(r: StudyResults) -> Answer:
    """Exact duplicates on both sides, where the store's facts tell."""
    verdict, told = _across(r, "duplicates_across", "exact duplicates", "")
    return verdict, told + ("; fathom check-data counts them" if "not recorded" in told else "")


@predicate("validation")
def check_validation(r: StudyResults) -> Answer:
    """Validation labels on the bill of every round."""
    if r.frame.empty:
        return NOTHING
    sizes, wrong = set(), 0
    for run in r.runs:
        if regime := r.store.regime(run.spec):
            rounds = r.store.rounds(run.spec)
            sizes |= {regime.val_size} if rounds else set()
            wrong += sum(x.paid < x.budget + regime.val_size for x in rounds)
    told = (
        f"{len(r.frame)} rounds; validation labels {', '.join(map(str, sorted(sizes)))}; left off the bill in {wrong}"
    )
    return ("fail" if wrong else "pass"), told


@predicate("queried")
def queried(r: StudyResults) -> Answer:
    """Queried ids against the train split, and for repeats."""
    if r.frame.empty:
        return NOTHING
    twice, foreign, total, unsized = 0, 0, 0, False
    for run in r.runs:
        ids = [i for x in r.store.rounds(run.spec) for i in x.queried]
        train = r.facts.get(run.spec.dataset, {}).get("train")
        unsized |= bool(ids) and train is None
        foreign += sum(not 0 <= i < train for i in ids) if train is not None else 0
        twice += len(ids) - len(set(ids))
        total += len(ids)
    told = f"{total} queried labels: {twice} bought twice in a run, {foreign} outside the train split"
    return ("fail" if twice or foreign else "unknown" if unsized else "pass"), told


# -------------------------------------------------------------------------------------------- reproducibility


@predicate("hashes")
def hashes(r: StudyResults) -> Answer:
    """Damaged records, now or in quarantine."""
    told = (
        f"{len(r.damage)} damaged, {len(r.quarantine)} in quarantine; {plural(len(r.frame), 'round')} read and checked"
    )
    return ("fail" if r.damage else "partly" if r.quarantine else "pass"), told


@predicate("versions")
def versions(r: StudyResults) -> Answer:
    """Rounds whose environment is recorded."""
    if r.frame.empty:
        return NOTHING
    known = sum(e.rounds for e in r.environments if e.name != UNKNOWN and e.facts)
    verdict = "pass" if known == len(r.frame) else "partly" if known else "fail"
    return verdict, f"{known} of {plural(len(r.frame), 'round')} name a recorded environment"  # type: ignore[return-value]


@predicate("environment")
def environment(r: StudyResults) -> Answer:
    """How many environments computed the study."""
    used = [e for e in r.environments if e.rounds or e.shared]
    if not used:
        return NOTHING
    told = "; ".join(f"{e.name}: {e.work}" for e in used)
    if any(e.name == UNKNOWN for e in used):
        return "unknown", told
    return ("pass" if len(used) == 1 else "partly"), told


@predicate("recheck")
def check_rechecks(r: StudyResults) -> Answer:
    """Records of rounds that were computed again, of those that are still committed as they were then."""
    kept = [content for content, _ in r.store.records("rechecks").values()]
    found = [record for record in kept if _still(r, record)]
    if not found:
        return "unknown", "not rechecked" + (" since the rounds were computed again" if kept else "")
    other = sum(not record.get("same") for record in found)
    return ("fail" if other else "pass"), f"{plural(len(found), 'recheck')}, {other} with another result"


def _still(r: StudyResults, record: Mapping[str, Any]) -> bool:
    """Whether what was rechecked is what is committed now."""
    if not (at := record.get("round")):
        shared = r.store.get(str(record["shared"]))
        return shared is not None and digest(shared[0]) == record["committed"]
    for run in r.runs:
        rounds = r.store.rounds(run.spec) if run.spec.key == at["run"] else []
        if at["number"] < len(rounds):
            return bool(digest(rounds[at["number"]].content()) == record["committed"])
    return False


# --------------------------------------------------------------------------------------------------- roll-out


@predicate("rollout")
def rollout(r: StudyResults) -> Answer:
    """Whether roll-out data were met with what had been frozen."""
    if not begun(r):
        return NOTHING
    if not (said := roll_out_words(r)):
        return "unknown", "development data only: whether it holds on unseen data was not put to the test"
    title, text = said
    return ("pass" if title == FOLLOWED else "fail"), text
