"""Answers of the public functions: frozen records with `to_json` for scripts and a table for notebooks."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fathom.audit.rules import Finding
from fathom.core.html import html_table
from fathom.core.records import Setting, grouped

if TYPE_CHECKING:
    from fathom.engine.status import Status
    from fathom.published.claims import Claim
    from fathom.published.compare import Comparison
    from fathom.published.reproduction import WholeComparison
    from fathom.results.results import StudyResults


@dataclass(frozen=True)
class StudyStatus:
    """Progress of a study, from its folder alone.

    Args:
        study: Name of the study.
        runs: One row per run: key, its spec, `rounds` committed, `of` rounds in total (None: not known yet).
        shared: Kind of shared work -> records committed.
        in_progress: Long jobs that run now.
        retries: Setting -> changes it was run again with, because a training was not finite.
        tasks: Jobs by state and kind, workers, rate and time left; None in a store without a list of jobs.
        failures: Failed jobs with their messages.
        names: Dataset -> the name that the study file gives it.
    """

    study: str
    runs: list[dict[str, Any]]
    shared: dict[str, int]
    in_progress: list[dict[str, Any]]
    retries: dict[Setting, list[str]]
    tasks: "Status | None"
    failures: list[dict[str, Any]]
    names: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> int:
        """Runs whose rounds are all committed."""
        return sum(row["rounds"] == row["of"] for row in self.runs)

    def to_json(self) -> dict[str, Any]:
        """Plain values for scripts."""
        found = {name: getattr(self, name) for name in ("study", "runs", "shared", "in_progress", "failures", "names")}
        return found | {"tasks": self.tasks.to_json() if self.tasks else None}

    def cells(self) -> list[tuple[str, ...]]:
        """One row per setting and query method: dataset, regime, paradigm, query, `done/total` rounds by seed."""
        axes = ("regime", "paradigm", "query")
        cells = [(self.names.get(row["dataset"], row["dataset"]), *(row[a] for a in axes)) for row in self.runs]
        counts = [(cell, f"{row['rounds']}/{row['of'] or '?'}") for cell, row in zip(cells, self.runs, strict=True)]
        return [(*cell, "  ".join(done)) for cell, done in grouped(counts).items()]

    def _repr_html_(self) -> str:
        caption = f"{self.study}: {self.complete} of {len(self.runs)} runs complete, {len(self.failures)} failures"
        return html_table(self.cells(), ("dataset", "regime", "paradigm", "query", "rounds by seed"), caption)


@dataclass(frozen=True)
class StudyComparison:
    """A study compared with the published numbers and claims.

    Args:
        results: The study's results.
        comparison: Its cells, with the published ones.
        claims: The published claims, tested on the study.
        published_claims: The same claims, tested on the published numbers.
        whole: One verdict on all areas together and one on all gains over Random.
    """

    results: "StudyResults" = field(repr=False)
    comparison: "Comparison"
    claims: list["Claim"]
    published_claims: list["Claim"]
    whole: list["WholeComparison"]

    def to_json(self) -> dict[str, Any]:
        """Plain values for scripts, in fractions."""
        claims = {"claims": self.claims, "published_claims": self.published_claims}
        tested = {name: [claim.to_json() for claim in found] for name, found in claims.items()}
        whole = {"whole": [whole.to_json() for whole in self.whole]}
        return {"study": self.results.store.study.name, **whole, **self.comparison.to_json(), **tested}

    def _repr_html_(self) -> str:
        rows = [
            (*cell.setting, cell.query, f"{100 * cell.ours.mean:.2f}", f"{100 * cell.published.mean:.2f}", cell.verdict)
            for cell in self.comparison.cells
        ]
        columns = ("dataset", "regime", "paradigm", "query", "AUBC in %", "published", "verdict")
        return html_table(rows, columns, self.results.store.study.name)


@dataclass(frozen=True)
class StudyClaim:
    """Decision on a claim about a study.

    Args:
        claim: Its wording.
        verdict: `supported`, `contradicted`, `undecided` or `not tested`.
        sentence: What was found, how sure that is and what it rests on, to be quoted.
        fields: All numbers, as in `statistics.json`: `mean`, `low`, `high`, `level`, `n`, `unit`, `p_holm`, `power`,
            `missing`, ... Differences are fractions, or nats for a metric in nats; None where there is no number.
    """

    claim: str
    verdict: str
    sentence: str
    fields: dict[str, Any] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values for scripts."""
        return dict(self.fields)

    def _repr_html_(self) -> str:
        return html_table([(self.claim, self.verdict, self.sentence)], ("claim", "verdict", "in words"), "")


@dataclass(frozen=True)
class Audit:
    """Verdicts of the audit rules on one study.

    Args:
        study: Folder, file or name of the study.
        findings: One per rule.
        title, source: Of a published study: authors and year, and what its description rests on.
    """

    study: str
    findings: tuple[Finding, ...]
    title: str = ""
    source: str = ""

    @property
    def failed(self) -> bool:
        """True if a rule says `fail`."""
        return any(finding.verdict == "fail" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Plain values for scripts."""
        return {**self.__dict__, "findings": [finding.to_json() for finding in self.findings]}

    def _repr_html_(self) -> str:
        rows = [(finding.rule.title, finding.verdict, finding.evidence) for finding in self.findings]
        return html_table(rows, ("rule", "verdict", "evidence"), self.title or self.study)


@dataclass(frozen=True)
class Freeze:
    """A pre-registration file: what was decided on development data before roll-out data are used.

    Args:
        file: Its path.
        hash: 12 hexadecimal digits of its content.
        frozen: UTC time of writing, ISO 8601.
        content: What it says: query methods, paradigms with all HPs, regimes, datasets of development, results.
    """

    file: Path
    hash: str
    frozen: str
    content: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain values for scripts."""
        return {"file": str(self.file), **self.content, "hash": self.hash, "frozen": self.frozen}
