"""Words that are gone: names and turns of phrase that a newcomer has to decode. CONTRIBUTING.md says what to write."""

import ast
import re
from pathlib import Path

import pytest

from fathom.cli import app

ROOT = Path(__file__).parents[1]
LOG = ROOT / "docs" / "log.md"  # what was written about earlier versions stays as it is

# Folders and files under the check, relative to the repository.
ROOMS = ["src", "docs", "bench", "examples", "tools", "README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
ROOMS += ["results/README.md"]

# Word or phrase -> what to write. A pattern is matched in any case, at word boundaries.
WORDS = {
    r"call-strings?": "spec string",
    r"data sets?": "dataset",
    r"visitors?(?:'s?)?": "plug-in, third-party package",
    r"mend(?:s|ed|ing)?": "fix",
    r"reckon(?:s|ed|ing)?": "estimate, count",
    r"for want of": "without",
    r"held? beside": "compare with",
    r"beside the published": "compared with the published",
    r"go(?:es)? on where": "resume",
    r"went on where": "resumed",
    r"whether (?:it|this machine|that) will do": "check that ... is set up correctly",
    r"without a word": "without an error message",
    r"what will not": "what is not",
    r"the same command (?:again )?goes on": "run the same command again to resume",
    r"type the same(?: command)?": "run the same command",
    r"put to (?:its|the|what)": "tested on",
    r"after the fact": "after seeing the results",
    r"flatters?": "is optimistic",
    r"reads as its opposite": "say it",
    r"its own fault": "affects ... only",
    r"what a study takes": "estimate ...",
    r"members? of (?:your|one's) own": "your query methods, datasets or paradigms",
    r"the part of the study that is meant": "these runs",
    r"an? (?:row|line) an? \w+": "one row per ...",
    r"(?:images|views|trainings|labels|numbers) an? (?:second|hour|sample|run|seed|worker|round)": "... per ...",
    r"in the place of": "instead of",
    r"where it is no\b": "if it is not a",
    r"cannot be told": "cannot be decided",
    r"hitherto|thereof|wherein|whereupon|lest|betrays?": "a plain word",
}

# Identifiers that were renamed to the field's own words, as whole words of the code.
NAMES = """
Lab Ground grounded groundwork Asking Crew Presence Sharing gauge Journal FileJournal facade FORGET Shelf set_aside told
under_way train_arm eased Unprepared Trainable witnesses Captured taker HELD ALONE MET MOST Guessing Guesses AsItIs
Pieces Stroke headline mend call_string callstring visitor crew shelf lab
"""


def files() -> list[Path]:
    """Text files of the rooms; this file alone may say the words."""
    found = []
    for room in ROOMS:
        path = ROOT / room
        found += sorted(path.rglob("*")) if path.is_dir() else [path]
    suffixes = {".py", ".md", ".toml", ".j2", ".yaml", ".sbatch"}
    return [path for path in found if path.is_file() and path.suffix in suffixes and path not in (Path(__file__), LOG)]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_words_that_are_gone(path: Path) -> None:
    text = " ".join(re.sub(r"^ *#", " ", path.read_text(encoding="utf-8"), flags=re.M).split())  # over line ends too
    found = {
        match.group(): better
        for pattern, better in WORDS.items()
        for match in re.finditer(rf"\b(?:{pattern})\b", text, flags=re.I)
    }
    assert not found, "write instead: " + "; ".join(f"{word!r} -> {better}" for word, better in found.items())


@pytest.mark.parametrize(
    "path", [path for path in files() if path.suffix == ".py"], ids=lambda path: str(path.relative_to(ROOT))
)
def test_names_that_are_gone(path: Path) -> None:
    tree, used = ast.parse(path.read_text(encoding="utf-8")), set()
    for node in ast.walk(tree):
        used |= {getattr(node, field) for field in ("id", "attr", "arg", "name") if hasattr(node, field)}
    assert not used & set(NAMES.split())


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_first_lines_of_docstrings_stand_alone(path: Path) -> None:
    """`What ...`, `Whether ...` and `The same ...` need the neighbours to be understood."""
    if path.suffix != ".py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = (ast.get_docstring(node) or "").partition("\n")[0]
            assert not re.match(r"(What|Whether|The same|How (far|it|a)|Which:)\b", first), first


def test_help_is_free_of_them() -> None:
    text = " ".join(app.generate_docs(output_format="markdown").split())
    assert not [pattern for pattern in WORDS if re.search(rf"\b(?:{pattern})\b", text, flags=re.I)]
