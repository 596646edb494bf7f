"""What notebooks call: `fathom.run`, `fathom.plan`, `fathom.table`, `fathom.report`. The CLI calls the same."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fathom.core.records import Study
from fathom.design.hparams import unpublished
from fathom.design.power import EFFECT, SD, proof
from fathom.design.study_file import load_study
from fathom.design.subset import select
from fathom.engine.engine import StudyOutcome
from fathom.engine.engine import run_study as run_study
from fathom.estimate.plan import Plan, estimate_plan

if TYPE_CHECKING:
    import pandas as pd


def run(
    study: str | Path | Study,
    out: str | Path,
    *,
    only: Sequence[str] = (),
    hparams: str | None = None,
    **options: Any,
) -> StudyOutcome:
    """Run a study, or go on where it stopped.

    Args:
        study: A `Study`, the name of a built-in one, or the path of a study file.
        out: Folder for the results; the same folder again goes on where it stopped.
        only: The part of the study to do now, such as `["dataset=cifar10,regime=low"]` (`design.subset`). The folder
            holds the whole study, so that the rest can be done in it later.
        hparams: `search` or `published` in the place of what the study says (`design.hparams`).
        options: See `fathom.engine.engine.run`: data, download, device, threads, workers, extend, ...

    Returns:
        How it ended; failed runs are in it, they raise nothing.

    Raises:
        FathomError: Study, data, regime, store or machine do not fit; nothing was trained.
    """
    whole = load_study(study, hparams)
    part = select(whole, only)
    return run_study(whole, out, only=part if len(part.runs) < len(whole.runs) else None, **options)


def plan(
    study: str | Path | Study,
    *,
    only: Sequence[str] = (),
    hparams: str | None = None,
    effect: float = EFFECT,
    sd: float = SD,
    **options: Any,
) -> Plan:
    """What a study takes, and what its design can and cannot show.

    Args:
        study: A `Study`, the name of a built-in one, or the path of a study file.
        only: The part of the study that is meant, as for `run`.
        hparams: As for `run`.
        effect: Difference that the study should find, as a fraction of 1 (a point is .01).
        sd: Standard deviation of paired differences, in the same unit (`design.power`).
        options: See `fathom.estimate.plan.estimate_plan`: data, device, workers, probe, profile.

    Raises:
        FathomError: Study, data or a regime do not fit.
    """
    the_study = select(load_study(study, hparams), only)
    made = estimate_plan(the_study, **options)
    shown = proof(the_study, effect=effect, sd=sd)
    notes = [*made.notes, *shown.notes(), *_limits(the_study)]
    if hparams == "published" and (searched := unpublished(the_study)):
        pairs = ", ".join(f"{paradigm} on {dataset}" for dataset, paradigm in searched)
        notes.append(f"no chosen HPs are published for {pairs}: they are searched")
    return dataclasses.replace(made, notes=notes, proof=shown.to_json(), proof_lines=shown.lines())


def _limits(study: Study) -> list[str]:
    """What else the design cannot show."""
    if study.baseline not in {spec.query for spec in study.runs}:
        return [f"no run has the baseline {study.baseline!r}: there will be no gains"]
    return []


def table(out: str | Path) -> "pd.DataFrame":
    """One row per committed round of the study in folder `out`.

    Raises:
        FathomError: The folder holds no study.
    """
    from fathom.store.tables import read_rounds

    return read_rounds(out)
