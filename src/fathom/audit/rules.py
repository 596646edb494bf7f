"""Rules of an audit and what they found: rules are data (`rules.toml`), their predicates small functions.

A predicate is registered by the id of its rule and returns (verdict, evidence).
"""

import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from fathom.results.results import StudyResults

RULES = Path(__file__).with_name("rules.toml")
Verdict = Literal["pass", "partly", "fail", "unknown"]
VERDICTS: tuple[Verdict, ...] = ("pass", "partly", "fail", "unknown")
PITFALLS = ("P1", "P2", "P3", "P4", "P5")
Predicate = Callable[["StudyResults"], tuple[Verdict, str]]
PREDICATES: dict[str, Predicate] = {}


@dataclass(frozen=True)
class Rule:
    """One question of the audit.

    Args:
        id: `P1`, `seeds`.
        group: Heading it stands under.
        title, question: What it asks, in short and in full.
        passes, partly, fails: What counts as each verdict.
        paper: Section that it rests on.
    """

    id: str
    group: str
    title: str
    question: str
    passes: str
    partly: str
    fails: str
    paper: str


@dataclass(frozen=True)
class Finding:
    """What a rule found.

    Args:
        rule: The rule.
        verdict: `pass`, `partly`, `fail`, `unknown`.
        evidence: The numbers and names it rests on; for a published study, the place in the text.
    """

    rule: Rule
    verdict: Verdict
    evidence: str

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self.rule), "verdict": self.verdict, "evidence": self.evidence}


@cache
def rules() -> dict[str, Rule]:
    """The rules by id, in the order of the audit."""
    data = tomllib.loads(RULES.read_text(encoding="utf-8"))
    names = {"pass": "passes", "fail": "fails"}
    found = [Rule(**{names.get(key, key): value for key, value in entry.items()}) for entry in data["rule"]]
    return {rule.id: rule for rule in found}


def predicate(rule: str) -> Callable[[Predicate], Predicate]:
    """Register the predicate of a rule."""

    def register(function: Predicate) -> Predicate:
        PREDICATES[rule] = function
        return function

    return register
