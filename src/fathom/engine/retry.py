"""Retries: a setting in which a training was not finite is computed again, with a change that the study declares.

Repairing one run alone would compare its query method under other HPs; a new seed would hide the failure. So the next
entry of the study's `retry` is applied to every run of the setting (dataset, regime, paradigm), for all query methods
and seeds, and the report says so. Earlier results stay in the store, and so does the failure.

A change concerns the stage that failed (`WorkKind.stage`): trainings of runs; the HP search, if no HPs of the grid were
finite, whose grid is then searched with the change; or pre-training, whose encoders are trained again for every seed of
every setting that uses them, after which HPs are chosen again. Each stage goes through the study's `retry` by itself.
"""

from typing import Any

from fathom.core.records import Setting, Study, unique
from fathom.core.retries import PRETRAINING, of_stage
from fathom.core.work import WorkKind
from fathom.learn.task import Paradigm
from fathom.protocol.context import WorkerContext


def retry_settings(context: WorkerContext, study: Study, session: str, kind: str) -> bool:
    """Declare a retry for each setting in which a training of this session was not finite.

    Args:
        context: Open things of this process.
        study: Study with the changes that it declares.
        session: Name of the call of `run`.
        kind: Kind of device that the workers train on: `cpu` or `cuda`.

    Returns:
        Whether there is a new retry, here or by another process.
    """
    again = context.store.refresh_retries()  # another process may have declared one
    for setting, stage, number, message in _diverged(context, session):
        if number != len(context.store.retries(setting)):
            continue  # the failure is older than the setting's last retry
        affected = [setting] if stage != PRETRAINING else _sharing(context, study, setting)
        change = _next_change(context, study, setting, stage, kind)
        for one in affected if change else ():
            stored = f"{stage}: {change}" if stage else change
            context.store.retry(one, len(context.store.retries(one)) + 1, stored, message)
            again = True
    return again


def _next_change(context: WorkerContext, study: Study, setting: Setting, stage: str, kind: str) -> str:
    """The first entry of the study's `retry` that was not tried in this stage and has an effect; empty if none."""
    left = list(study.retry)
    for change in of_stage(context.store.retries(setting), stage):
        if change in left:
            left.remove(change)
    if kind != "cuda":
        left = [change for change in left if change != "fp32"]  # a CPU always computes in float32
    if stage == PRETRAINING:
        paradigm, family = context.paradigm_of(setting), context.dataset(setting.dataset).augment
        left = [change for change in left if paradigm.with_retry(change, family)]
    elif context.paradigm(setting.paradigm).backbone:
        left = [change for change in left if change != "fp32"]  # a head on features always trains in float32
    return left[0] if left else ""


def _sharing(context: WorkerContext, study: Study, setting: Setting) -> list[Setting]:
    """The settings that use the encoders of one, itself included."""

    def encoder_of(one: Setting) -> tuple[str, str]:
        paradigm: Paradigm = context.paradigm_of(one)
        return one.dataset, paradigm.preparation

    return [one for one in study.settings if encoder_of(one) == encoder_of(setting)]


def _diverged(context: WorkerContext, session: str) -> list[tuple[Setting, str, int, str]]:
    """The earliest failure per setting: (setting, stage, retries of the setting at that time, message).

    A setting gets one change at a time: its later stages are computed again anyway, on the new earlier ones.
    """
    found: dict[Setting, tuple[int, int, str, str]] = {}
    order = unique(kind.stage for kind in WorkKind if kind.stage is not None)
    for failure in context.store.failures():
        stage = WorkKind(failure["kind"]).stage
        if failure["session"] != session or failure["error"] != "NonFiniteError" or stage is None:
            continue
        setting, last = Setting(*failure["setting"]), _rank(failure, order.index(stage))
        found[setting] = max((*last, stage, failure["message"]), found.get(setting, (-1, -9, "", "")))
    ranked = sorted(found.items(), key=lambda item: -item[1][1])  # pre-training first, which concerns several settings
    return [(setting, stage, number, message) for setting, (number, _, stage, message) in ranked]


def _rank(failure: dict[str, Any], stage: int) -> tuple[int, int]:
    """Sort key: the highest is the failure after the most retries, and among these the one of the earliest stage."""
    return int(failure.get("retries", 0)), -stage
