"""Rules of an audit and their findings. Rules are data (`rules.toml`); their predicates are small functions.

A predicate is registered under the id of its rule and returns (verdict, evidence).
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
        id: `P1`, `seeds`, ...
        group: Heading.
        title, question: Short and full wording.
        passes, partly, fails: Condition of each verdict.
        paper: Section of the paper that the rule follows.
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
    """Verdict of a rule with its evidence.

    Args:
        rule: The rule.
        verdict: `pass`, `partly`, `fail` or `unknown`.
        evidence: Numbers and names behind the verdict; for a published study, the place in the text.
    """

    rule: Rule
    verdict: Verdict
    evidence: str

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON: the rule with its verdict and evidence."""
        return {**asdict(self.rule), "verdict": self.verdict, "evidence": self.evidence}


@cache
def rules() -> dict[str, Rule]:
    """Rules by id, in the order of the audit."""
    data = tomllib.loads(RULES.read_text(encoding="utf-8"))
    names = {"pass": "passes", "fail": "fails"}
    found = [Rule(**{names.get(key, key): value for key, value in entry.items()}) for entry in data["rule"]]
    return {rule.id: rule for rule in found}


def predicate(rule: str) -> Callable[[Predicate], Predicate]:
    """Register a function as the predicate of a rule."""

    def register(function: Predicate) -> Predicate:
        PREDICATES[rule] = function
        return function

    return register
