"""Predicates on statistics, leakage, reproducibility and roll-out of a study."""

from collections.abc import Mapping
from typing import Any

from fathom.audit.pitfalls import NOTHING, Answer, begun
from fathom.audit.rules import Verdict, predicate
from fathom.core.records import Setting, digest, unique
from fathom.core.text import plural
from fathom.results.classifiers import listed
from fathom.results.environments import UNKNOWN
from fathom.results.results import StudyResults
from fathom.results.roles import FOLLOWED, UNFINISHED, UNKNOWN_CODE, roll_out_words
from fathom.store.codes import NOT_RECORDED

NEAR = 0.01  # share of images with a near-duplicate, up to which `partly` is said
ENOUGH, FEW = 5, 3  # seeds for `pass` and for `partly`; the paper has three


# ------------------------------------------------------------------------------------------------- statistics


def complete_seeds(r: StudyResults) -> dict[Setting, dict[str, set[int]]]:
    """Setting -> query method -> seeds with a complete run, for settings that have begun."""
    found: dict[Setting, dict[str, set[int]]] = {s: {} for s in begun(r)}
    for run in r.runs:
        if run.spec.setting in found:
            seeds = found[run.spec.setting].setdefault(run.spec.query, set())
            seeds |= {run.spec.seed} if run.complete else set()
    return found


@predicate("seeds")
def seeds(r: StudyResults) -> Answer:
    """Complete seeds of the method with the fewest."""
    counts = [len(s) for methods in complete_seeds(r).values() for s in methods.values()]
    if not counts:
        return NOTHING
    least = min(counts)
    evidence = f"{least} to {max(counts)} complete seeds" if least < max(counts) else plural(least, "complete seed")
    return ("pass" if least >= ENOUGH else "partly" if least >= FEW else "fail"), f"{evidence} per method and setting"


@predicate("pairing")
def pairing(r: StudyResults) -> Answer:
    """Seeds that all methods of a setting have completed."""
    if not (found := complete_seeds(r)):
        return NOTHING
    shared = {s: set.intersection(*methods.values()) for s, methods in found.items()}
    unlike = [s for s, methods in found.items() if any(own != shared[s] for own in methods.values())]
    least = min(map(len, shared.values()))
    evidence = f"all methods of a setting share at least {plural(least, 'seed')}"
    if unlike:
        evidence += f"; different seeds in {listed([r.names.title(s) for s in unlike])}"
    return ("fail" if least < 2 else "partly" if unlike else "pass"), evidence


@predicate("correction")
def correction(r: StudyResults) -> Answer:
    """Gains with a Holm-corrected p-value."""
    if not r.details:
        return "unknown", "no method is compared with the baseline"
    tested = sum(not decision.refused for decision in r.details.values())
    evidence = f"{tested} of {plural(len(r.details), 'gain')} have a p-value, Holm-corrected over settings and methods"
    return ("pass" if tested == len(r.details) else "partly" if tested else "fail"), evidence


@predicate("design")
def design(r: StudyResults) -> Answer:
    """Complete runs among the planned ones."""
    done = sum(run.complete for run in r.runs)
    return ("pass" if done == len(r.runs) else "partly" if done else "fail"), f"{done} of {len(r.runs)} runs complete"


@predicate("failures")
def failures(r: StudyResults) -> Answer:
    """Failed attempts and their outcome."""
    retried = f"; {plural(len(r.retries), 'setting')} repeated for all methods alike" if r.retries else ""
    unresolved = [f for f in r.failures if not f["resolved"]]
    evidence = f"{plural(len(r.failures), 'failed attempt')}, {len(unresolved)} without a later success{retried}"
    if not unresolved:
        return "pass", evidence
    for setting in unique(tuple(f.get("setting", ())) for f in unresolved):
        own = [run.complete for run in r.runs_of.get(Setting(*setting), ())] if len(setting) == 3 else []
        if any(own) and not all(own):
            return "fail", f"{evidence}; {r.names.title(setting)} lacks runs of some methods or seeds"
    return "partly", evidence


@predicate("control")
def control(r: StudyResults) -> Answer:
    """Methods that are compared with a baseline of another classifier, or draw from a classifier without dropout."""
    methods, lacking, comparisons = [], 0, 0
    if undrawn := unique(query for s in begun(r) for query in r.classifiers[s].without_draws()):
        return "fail", f"run without dropout, so all its dropout draws are equal: {', '.join(undrawn)}"
    for setting in begun(r):
        classifiers = r.classifiers[setting]
        for query in classifiers.dropouts:
            if classifiers.crossed(query, r.baseline) and not classifiers.is_control(query):
                methods.append(query)
                comparisons += 1
                lacking += classifiers.crossed(query, classifiers.reference(query))
    if not comparisons:
        return "pass", "no method is run with another dropout than the baseline"
    evidence = f"another dropout than the baseline: {', '.join(unique(methods))}"
    evidence += f"; without a matched control in {lacking} of {plural(comparisons, 'comparison')}"
    return ("pass" if not lacking else "fail" if lacking == comparisons else "partly"), evidence


# ---------------------------------------------------------------------------------------------------- leakage


def _across(r: StudyResults, key: str, what: str, advice: str) -> Answer:
    """Verdict on a fact that counts what lies on both sides of train and test."""
    names = unique(s.dataset for s in begun(r))
    if not names:
        return NOTHING
    counts = {n: r.facts.get(n, {}).get(key) for n in names}
    evidence = "; ".join(f"{r.names.dataset[n]}: {'not recorded' if c is None else c}" for n, c in counts.items())
    if any(counts.values()):
        return "fail", f"{what} across train and test: {evidence}"
    return ("unknown" if None in counts.values() else "pass"), f"{what} across train and test: {evidence}{advice}"


@predicate("groups")
def check_groups(r: StudyResults) -> Answer:
    """Groups (lesion, patient) on both sides of train and test; unknown where none are declared."""
    names = unique(s.dataset for s in begun(r))
    if not names:
        return NOTHING
    found, texts = [], []
    for name in names:
        facts = r.facts.get(name, {})
        count = 0 if facts.get("independent") else facts.get("groups_across") if facts.get("groups") else None
        found.append(count)
        none = "not recorded" if facts.get("groups", True) else facts.get("likely_groups") or "no groups declared"
        said = none if count is None else "declared independent" if facts.get("independent") else str(count)
        texts.append(f"{r.names.dataset[name]}: {said}")
    evidence = f"groups across train and test: {'; '.join(texts)}"
    return ("fail" if any(found) else "unknown" if None in found else "pass"), evidence


@predicate("duplicates")
def duplicates(r: StudyResults) -> Answer:
    """Exact duplicates on both sides, where the store records them."""
    verdict, evidence = _across(r, "duplicates_across", "exact duplicates", "")
    return verdict, evidence + ("; fathom check-data counts them" if "not recorded" in evidence else "")


@predicate("near-duplicates")
def near_duplicates(r: StudyResults) -> Answer:
    """Near-duplicates across train and test, and within the train images."""
    names = unique(s.dataset for s in begun(r))
    if not names:
        return NOTHING
    verdicts, texts = [], []
    for name in names:
        facts = r.facts.get(name, {})
        across, within = facts.get("near_duplicates_across"), facts.get("near_duplicates_within")
        if across is None or within is None:
            verdicts.append("unknown")
            texts.append(f"{r.names.dataset[name]}: not searched")
            continue
        shares = across / max(1, facts.get("test", 0)), within / max(1, facts.get("train", 0))
        verdicts.append("fail" if shares[0] > NEAR else "partly" if across or shares[1] > NEAR else "pass")
        texts.append(
            f"{r.names.dataset[name]}: {plural(across, 'test image')} ({shares[0]:.1%}) with one among the train "
            f"images, {plural(within, 'train image')} ({shares[1]:.1%}) with one among the others"
        )
    worst = next(v for v in ("fail", "unknown", "partly", "pass") if v in verdicts)
    advice = "; declare groups, so that they stay on one side" if worst in ("fail", "partly") else ""
    return worst, f"near-duplicates: {'; '.join(texts)}{advice}"


@predicate("validation")
def check_validation(r: StudyResults) -> Answer:
    """Validation labels among the paid labels of every round."""
    if r.frame.empty:
        return NOTHING
    sizes, wrong = set(), 0
    for run in r.runs:
        if regime := r.store.regime(run.spec):
            rounds = r.store.rounds(run.spec)
            sizes |= {regime.val_size} if rounds else set()
            wrong += sum(x.paid < x.budget + regime.val_size for x in rounds)
    evidence = (
        f"{len(r.frame)} rounds; validation labels: {', '.join(map(str, sorted(sizes)))}; not paid in {wrong} rounds"
    )
    return ("fail" if wrong else "pass"), evidence


@predicate("queried")
def queried(r: StudyResults) -> Answer:
    """Queried ids outside the train split, and ids that were queried twice."""
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
    evidence = f"{total} queried labels: {twice} queried twice in a run, {foreign} outside the train split"
    return ("fail" if twice or foreign else "unknown" if unsized else "pass"), evidence


# -------------------------------------------------------------------------------------------- reproducibility


@predicate("hashes")
def hashes(r: StudyResults) -> Answer:
    """Damaged records, in place or in quarantine."""
    evidence = (
        f"{len(r.damage)} damaged, {len(r.quarantine)} in quarantine; {plural(len(r.frame), 'round')} read and checked"
    )
    return ("fail" if r.damage else "partly" if r.quarantine else "pass"), evidence


@predicate("versions")
def versions(r: StudyResults) -> Answer:
    """Rounds with a recorded environment."""
    if r.frame.empty:
        return NOTHING
    known = sum(e.rounds for e in r.environments if e.name != UNKNOWN and e.facts)
    verdict = "pass" if known == len(r.frame) else "partly" if known else "fail"
    return verdict, f"{known} of {plural(len(r.frame), 'round')} name a recorded environment"  # type: ignore[return-value]


@predicate("environment")
def environment(r: StudyResults) -> Answer:
    """Number of environments that computed the study."""
    used = [e for e in r.environments if e.rounds or e.shared]
    if not used:
        return NOTHING
    evidence = "; ".join(f"{e.name}: {e.work}" for e in used)
    if any(e.name == UNKNOWN for e in used):
        return "unknown", evidence
    return ("pass" if len(used) == 1 else "partly"), evidence


@predicate("code")
def code_versions(r: StudyResults) -> Answer:
    """Versions of the code of each member."""
    if r.frame.empty:
        return NOTHING
    mixed = [name for name, counts in r.codes.items() if len({*counts} - {NOT_RECORDED}) > 1]
    unknown = [name for name, counts in r.codes.items() if NOT_RECORDED in counts]
    evidence = f"{plural(len(r.codes), 'member')}; several versions of {listed(mixed) if mixed else 'none'}"
    if unknown:
        evidence += f"; not recorded for {listed(unknown)}"
    return ("partly" if mixed else "unknown" if unknown else "pass"), evidence


@predicate("recheck")
def check_rechecks(r: StudyResults) -> Answer:
    """Rechecks of results that are still committed as they were then."""
    records = [content for content, _ in r.store.records("rechecks").values()]
    found = [record for record in records if _current(r, record)]
    if not found:
        return "unknown", "not rechecked" + (" since the rounds were computed again" if records else "")
    other, changed = sum(not record.get("same") for record in found), sum(bool(x.get("changed_code")) for x in found)
    evidence = f"{plural(len(found), 'recheck')}, {other} with a different result"
    evidence += f", {changed} with other code" if changed else ""
    return ("fail" if other else "unknown" if changed == len(found) else "pass"), evidence


def _current(r: StudyResults, record: Mapping[str, Any]) -> bool:
    """True where the rechecked result is the one that is committed now."""
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
    """Roll-out data that were run as frozen."""
    if not begun(r):
        return NOTHING
    if not (statement := roll_out_words(r)):
        return "unknown", "development data only, so nothing is known about unseen data"
    title, text = statement
    verdicts: dict[str, Verdict] = {FOLLOWED: "pass", UNKNOWN_CODE: "unknown", UNFINISHED: "partly"}
    return verdicts.get(title, "fail"), text
