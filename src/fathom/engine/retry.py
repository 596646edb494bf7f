"""What happens when a training is not finite: the whole setting is done again, with the change that the study declares.

Repairing one run alone would compare its query method under other HPs; a new seed would hide that it failed. So the
next entry of the study's `retry` is applied to every run of the setting (dataset, regime, paradigm), for all query
methods and seeds, and is told in the report. What was done before stays in the store, and so does the failure.

A change concerns the stage that failed: trainings of runs; the HP search, if no HPs of the grid were finite, whose grid
is then searched with the change; or pre-training, whose encoders are trained anew for every seed of every setting that
uses them, after which HPs are chosen again on those. Each stage goes through the study's `retry` by itself.
"""

from typing import Any

from fathom.core.records import PRETRAINING, Setting, Study, of_stage, unique
from fathom.core.work import WorkKind
from fathom.learn.task import Paradigm
from fathom.protocol.context import WorkerContext


def retry_settings(context: WorkerContext, study: Study, session: str, kind: str) -> bool:
    """Have the settings done again in which a training of this session was not finite. Whether there are any.

    Args:
        lab: Of this process.
        study: With the changes that it declares.
        session: Of the call of `run`.
        kind: Of the device that the workers train on: `cpu` or `cuda`.
    """
    again = context.store.refresh_retries()  # another process may have declared one
    for setting, stage, number, message in _diverged(context, session):
        if number != len(context.store.retries(setting)):
            continue  # it failed under an earlier form of the setting
        affected = [setting] if stage != PRETRAINING else _sharing(context, study, setting)
        change = _next_change(context, study, setting, stage, kind)
        for one in affected if change else ():
            told = f"{stage}: {change}" if stage else change
            context.store.retry(one, len(context.store.retries(one)) + 1, told, message)
            again = True
    return again


def _next_change(context: WorkerContext, study: Study, setting: Setting, stage: str, kind: str) -> str:
    """The first entry of the study's `retry` that was not tried in this stage and changes anything; empty if none."""
    left = list(study.retry)
    for change in of_stage(context.store.retries(setting), stage):
        if change in left:
            left.remove(change)
    if kind != "cuda":
        left = [change for change in left if change != "fp32"]  # a CPU computes in float32 anyway
    if stage == PRETRAINING:
        paradigm, family = context.paradigm_of(setting), context.dataset(setting.dataset).augment
        left = [change for change in left if paradigm.with_retry(change, family)]
    elif context.paradigm(setting.paradigm).backbone:
        left = [change for change in left if change != "fp32"]  # and so does a head on features
    return left[0] if left else ""


def _sharing(context: WorkerContext, study: Study, setting: Setting) -> list[Setting]:
    """The settings that use the encoders of one, itself among them."""

    def train_split(one: Setting) -> tuple[str, str]:
        paradigm: Paradigm = context.paradigm_of(one)
        return one[0], paradigm.preparation

    return [one for one in study.settings if train_split(one) == train_split(setting)]


def _diverged(context: WorkerContext, session: str) -> list[tuple[Setting, str, int, str]]:
    """(setting, stage, retries of the setting when it failed, what was not finite), of each setting what comes first.

    A setting has one change a time: what failed in a later stage is done again anyway, on what is then there.
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
    """The latest form of the setting, and in it the earliest stage, is the highest."""
    return int(failure.get("retries", 0)), -stage
