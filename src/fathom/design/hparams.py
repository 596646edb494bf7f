"""Published hyper-parameters: the grids that were searched and the values that were chosen, as data.

A study file says `hparams = "search"` to search the published grids (P4) or `hparams = "published"` to take what was
chosen and search nothing. Either is written into the paradigms' call-strings, so that a run says what it is trained
with; without the key they are what the call-strings say. What a call-string says itself always goes first.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from fathom.core.records import FathomError, RunSpec, Study, unique
from fathom.registry.registry import find, suggest
from fathom.registry.spec_string import SpecString, Value, parse

SOURCE = Path(__file__).with_name("hparams.toml")
WORDS = ("search", "published")
FIELDS = ("lr", "weight_decay", "augmentation")  # what was searched


def with_hparams(runs: Iterable[RunSpec], word: str) -> list[RunSpec]:
    """The runs with published grids or values in their paradigms' call-strings, where there are any.

    Args:
        runs: The runs.
        word: `search` or `published`; empty for the call-strings as they are.

    Raises:
        FathomError: Another word.
    """
    if word and word not in WORDS:
        raise FathomError(f"hparams: expected one of: {', '.join(WORDS)}; got {word!r}. {suggest(word, WORDS)}")
    return [replace(run, paradigm=_paradigm(*run.setting, word)) if word else run for run in runs]


def unpublished(study: Study) -> list[tuple[str, str]]:
    """(dataset, paradigm) names of a study for which no chosen values are published, so that they are searched."""
    return unique(
        (parse(d).name, parse(p).name) for d, r, p in study.settings if not _known("published", d, r, parse(p).name)
    )


@cache
def _paradigm(dataset: str, regime: str, paradigm: str, word: str) -> str:
    """The call-string with what is known for it; values that are not published are searched in the published grid."""
    call = parse(paradigm)
    found = (_known("published", dataset, regime, call.name) if word == "published" else {}) or _known(
        "grid", dataset, regime, call.name
    )
    return str(find("paradigm", str(SpecString.make(call.name, found | dict(call.arguments))))[1])


def _known(kind: str, dataset: str, regime: str, paradigm: str) -> dict[str, Value]:
    """HPs of a dataset, regime and paradigm by name; empty where none are published."""
    for entry in _literature()[kind]:
        fits = entry["paradigm"] == paradigm and parse(dataset).name in entry["datasets"]
        if fits and parse(regime).name in entry.get("regimes", [parse(regime).name]):
            given = {key: entry[key] for key in FIELDS if key in entry}
            return {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    return {}


@cache
def _literature() -> dict[str, list[dict[str, Any]]]:
    return tomllib.loads(SOURCE.read_text(encoding="utf-8"))
