"""Published hyper-parameters: the grids that were searched and the values that were chosen, as data.

In a study file, `hparams = "search"` searches the published grids (P4) and `hparams = "published"` takes the published
choice and searches nothing. Both are written into the paradigms' spec strings, so that the key of a run contains the
HPs it is trained with. An HP that a spec string sets itself takes precedence; without the key all HPs come from there.
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
    """Write published grids or values, where there are any, into the paradigms' spec strings.

    Args:
        runs: The runs.
        word: `search` or `published`; empty to leave the spec strings unchanged.

    Raises:
        FathomError: Another word.
    """
    if word and word not in WORDS:
        raise FathomError(f"hparams: expected one of: {', '.join(WORDS)}; got {word!r}. {suggest(word, WORDS)}")
    return [replace(run, paradigm=_paradigm(*run.setting, word)) if word else run for run in runs]


def unpublished(study: Study) -> list[tuple[str, str]]:
    """(dataset, paradigm) names of a study without published choice, whose HPs are therefore searched."""
    return unique(
        (parse(d).name, parse(p).name) for d, r, p in study.settings if not _known("published", d, r, parse(p).name)
    )


def published_choice(dataset: str, regime: str, paradigm: str) -> dict[str, Value]:
    """HPs that the published study ran a setting with, by name; empty where none are published.

    Args:
        dataset, regime, paradigm: Spec strings of the setting; only their names count.
    """
    return _known("published", dataset, regime, parse(paradigm).name)


@cache
def _paradigm(dataset: str, regime: str, paradigm: str, word: str) -> str:
    """The spec string with published HPs; without a published choice, with the published grid."""
    call = parse(paradigm)
    found = _known("published", dataset, regime, call.name) if word == "published" else {}
    found = found or _known("grid", dataset, regime, call.name)
    completed = SpecString.make(call.name, found | dict(call.arguments))
    return str(find("paradigm", str(completed))[1])


def _known(kind: str, dataset: str, regime: str, paradigm: str) -> dict[str, Value]:
    """Published HPs of a dataset, regime and paradigm; empty where there are none."""
    for entry in _literature()[kind]:
        fits = entry["paradigm"] == paradigm and parse(dataset).name in entry["datasets"]
        if fits and parse(regime).name in entry.get("regimes", [parse(regime).name]):
            given = {key: entry[key] for key in FIELDS if key in entry}
            return {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    return {}


@cache
def _literature() -> dict[str, list[dict[str, Any]]]:
    return tomllib.loads(SOURCE.read_text(encoding="utf-8"))
