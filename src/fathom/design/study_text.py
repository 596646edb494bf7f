"""A study as the text of a study file, so that a report holds what is needed to run it again."""

import json
from collections.abc import Sequence

from fathom.core.records import RunSpec, Study, grouped
from fathom.stats.decisions import MARGIN

Block = tuple[str, str, tuple[str, ...], tuple[int, ...]]  # regime, paradigm, query methods, seeds


def study_text(study: Study) -> str:
    """TOML that `load_study` reads as a study of the same runs; a freeze is named, as it is a file of its own."""
    lines = [f"name = {_text(study.name)}"]
    lines += [f"{key} = {_text(value)}" for key in ("title", "description") if (value := getattr(study, key))]
    lines += [f"baseline = {_text(study.baseline)}", f"full_data = {study.full_data}"]
    if study.retry:
        lines.append(f"retry = {_list(study.retry)}")
    if study.margin != MARGIN:
        lines.append(f"margin = {100 * study.margin:.12g}")
    if study.claims:
        lines.append(f"claims = {_list(study.claims)}")
    if study.freeze:
        lines.append(f"# follows the freeze {study.freeze['hash']}: run it with --freeze and that file")
    for (regime, paradigm, queries, seeds), datasets in _blocks(study.runs).items():
        named = [
            f"{{data = {_text(d)}, name = {_text(study.names[d])}}}" if d in study.names else _text(d) for d in datasets
        ]
        lines += ["", "[[run]]", f"datasets = [{', '.join(named)}]", f"regimes = {_list([regime])}"]
        lines += [f"paradigms = {_list([paradigm])}", f"queries = {_list(queries)}", f"seeds = {_seeds(seeds)}"]
    return "\n".join(lines) + "\n"


def _blocks(runs: Sequence[RunSpec]) -> dict[Block, list[str]]:
    """Cross products that make up the runs -> their datasets."""
    seeds = grouped(((run.setting, run.query), run.seed) for run in runs)
    methods = grouped(((setting, tuple(own)), query) for (setting, query), own in seeds.items())
    return grouped(
        ((setting.regime, setting.paradigm, tuple(queries), own), setting.dataset)
        for (setting, own), queries in methods.items()
    )


def _seeds(seeds: Sequence[int]) -> str:
    return str(len(seeds)) if list(seeds) == list(range(len(seeds))) else str(list(seeds))


def _list(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(_text, texts))}]"


def _text(text: str) -> str:
    """A TOML string: JSON's escapes are TOML's, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
