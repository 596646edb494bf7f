"""Audit of published studies: the five pitfalls, from short descriptions in TOML.

    name = "munjal-2022"
    title = "Munjal et al., 2022"
    source = "Source of the description"         # optional
    reference = 44                               # its number there, optional
    [P4]                                         # P1 to P5; a missing one is unknown
    verdict = "pass"                             # pass, partly, fail or unknown, as defined in `rules.toml`
    what = "HPs tuned on a validation set"       # what the study does
    where = "Sec. 2.3, P4: '...'"                # the place in the text

`studies/` describes the studies that the paper discusses; every cell follows from the text of the paper alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from fathom.audit.rules import PITFALLS, VERDICTS, Finding, Verdict, rules
from fathom.core.inputs import read_toml, user_path
from fathom.core.records import FathomError
from fathom.core.text import quoted
from fathom.registry.registry import suggest

AUDITS = Path(__file__).parent / "studies"
SILENT = "the text does not say"


class _Cell(BaseModel):
    model_config = ConfigDict(extra="forbid")

    verdict: Verdict
    what: Annotated[StrictStr, Field(min_length=1)]
    where: Annotated[StrictStr, Field(min_length=1)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[StrictStr, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: Annotated[StrictStr, Field(min_length=1)]
    source: StrictStr = ""
    reference: Annotated[StrictInt, Field(ge=1)] | None = None
    P1: _Cell | None = None
    P2: _Cell | None = None
    P3: _Cell | None = None
    P4: _Cell | None = None
    P5: _Cell | None = None


@dataclass(frozen=True)
class PublishedAudit:
    """A published study with its findings on the five pitfalls.

    Args:
        name: Kebab-case.
        title: Authors and year.
        source: Source of the description.
        reference: Its number in the source; None where it has none.
        findings: P1 to P5.
    """

    name: str
    title: str
    source: str
    reference: int | None
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "findings": [f.to_json() for f in self.findings]}


def built_in() -> list[str]:
    """Names of the built-in descriptions."""
    return sorted(path.stem for path in AUDITS.glob("*.toml"))


def literature() -> list[PublishedAudit]:
    """All built-in descriptions by year and name; the paper's own study is last."""
    found = [published(name) for name in built_in()]
    return sorted(found, key=lambda s: (s.reference is None, s.name.rpartition("-")[2], s.name))


def published(source: str | Path) -> PublishedAudit:
    """Read the description of a published study.

    Args:
        source: Built-in name, or path of a TOML file.

    Raises:
        FathomError: There is no such description, or it has mistakes; all of them are listed.
    """
    path = user_path(source)
    if path.suffix != ".toml":
        if str(source) not in built_in():
            raise FathomError(
                f"expected a study's folder, a .toml file or the name of a published study; got {quoted(str(source))}. "
                + suggest(str(source), built_in())
            )
        path = AUDITS / f"{source}.toml"
    try:
        file = _File.model_validate(read_toml(path, "the description"))
    except ValidationError as error:
        listed = "\n".join(f"  {_explain(item)}" for item in error.errors(include_url=False))
        raise FathomError(f"{path} does not describe a published study:\n{listed}") from None
    findings = tuple(_finding(pitfall, getattr(file, pitfall)) for pitfall in PITFALLS)
    return PublishedAudit(file.name, file.title, file.source, file.reference, findings)


def _finding(pitfall: str, cell: _Cell | None) -> Finding:
    rule = rules()[pitfall]
    return Finding(rule, cell.verdict, f"{cell.what} [{cell.where}]") if cell else Finding(rule, "unknown", SILENT)


def _explain(item: Any) -> str:
    """Message for one mistake in a description."""
    place, kind, given = item["loc"], item["type"], item.get("input")
    key = ".".join(map(str, place))
    if kind == "extra_forbidden":
        return f"{key}: unknown key. {suggest(str(place[-1]), (_Cell if len(place) > 1 else _File).model_fields)}"
    if kind == "missing":
        return f"{key}: missing; expected {_verdicts() if place[-1] == 'verdict' else 'a text'}"
    if place[-1] == "verdict":
        return f"{key}: expected {_verdicts()}; got {given!r}"
    if key == "name":
        return f"name: expected kebab-case such as my-study-2026; got {given!r}"
    if key in PITFALLS:
        return f"{key}: expected a table with verdict, what and where; got {given!r}"
    return f"{key}: {item['msg'][0].lower()}{item['msg'][1:]}; got {given!r}"


def _verdicts() -> str:
    return f"{', '.join(VERDICTS[:-1])} or {VERDICTS[-1]}"
