"""Names of modules and their members, in docs and in strings and docstrings of the source, exist."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = sorted(p.name for p in (ROOT / "src/fathom").iterdir() if (p / "__init__.py").is_file())
FILES = [
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "src").rglob("*.py")),
]
FULL = re.compile(r"(?<![\w/.-])fathom((?:\.\w+)+)")
SHORT = re.compile(rf"`((?:{'|'.join(ROOMS)})(?:\.\w+)+)(?=[`(:])")


def resolves(name: str) -> bool:
    """Whether `fathom.<name>` is a module or a member of one, to any depth."""
    parts = name.split(".")
    for split in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(["fathom", *parts[:split]]))
        except ModuleNotFoundError:
            continue
        for part in parts[split:]:
            if not hasattr(found, part):
                return part in getattr(found, "__annotations__", {}) or part in getattr(
                    found, "__dataclass_fields__", {}
                )
            found = getattr(found, part)
        return True
    return hasattr(importlib.import_module("fathom"), parts[0]) and len(parts) == 1


@pytest.mark.parametrize("path", [p for p in FILES if p.name != "log.md"], ids=lambda p: str(p.relative_to(ROOT)))
def test_names_in_prose_exist(path: Path) -> None:
    text = path.read_text()
    found = {m[1].lstrip(".") for m in FULL.finditer(text)} | {m[1] for m in SHORT.finditer(text)}
    endings = (".json", ".md", ".toml", ".py", ".svg", ".html", ".csv", ".parquet", ".lock", ".bib", ".freeze")
    wrong = sorted(name for name in found if not f".{name}".endswith(endings) and not resolves(name))
    assert not wrong, f"{wrong} do not exist"


def test_a_name_that_is_gone_is_found() -> None:
    assert resolves("data.sketch.BlankImages.size")
    assert not resolves("data.sketch.blank")
    assert not resolves("learn.recipe.expect_labels")
