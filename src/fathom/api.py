"""What notebooks call: `fathom.run`, `fathom.plan`, `fathom.table`, `fathom.report`. The CLI calls the same."""

import dataclasses
from pathlib import Path
from typing import Any

from fathom.records import Study
from fathom.run.backends import Outcome
from fathom.run.backends import run as run_study
from fathom.run.plan import Plan, make_plan
from fathom.study.design import load_study
from fathom.study.power import EFFECT, SD, Proof


def run(study: str | Path | Study, out: str | Path, **options: Any) -> Outcome:
    """Run a study, or go on where it stopped.

    Args:
        study: A `Study`, the name of a built-in one, or the path of a study file.
        out: Folder for the results; the same folder again goes on where it stopped.
        options: See `fathom.run.backends.run`: data, download, device, threads, workers, extend, ...

    Returns:
        How it ended; failed runs are in it, they raise nothing.

    Raises:
        FathomError: Study, data, regime, store or machine do not fit; nothing was trained.
    """
    return run_study(load_study(study), out, **options)


def plan(study: str | Path | Study, *, effect: float = EFFECT, sd: float = SD, **options: Any) -> Plan:
    """What a study takes, and what its design can prove.

    Args:
        study: A `Study`, the name of a built-in one, or the path of a study file.
        effect: Difference in AUBC that its power is reckoned for, in points.
        sd: Standard deviation of differences paired by seed, in points (see `study.power.SD`).
        options: See `fathom.run.plan.make_plan`: data, device, workers, probe.

    Raises:
        FathomError: Study, data or a regime do not fit.
    """
    the_study = load_study(study)
    proof = Proof.of(the_study, effect=effect, sd=sd)
    made = make_plan(the_study, **options)
    notes = proof.limits()
    if the_study.baseline not in {spec.query for spec in the_study.runs}:
        notes.append(f"no run has the baseline {the_study.baseline!r}: there will be no gains")
    return dataclasses.replace(made, proves=proof.to_json(), notes=[*made.notes, *notes])
