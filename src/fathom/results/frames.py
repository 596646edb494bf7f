"""Rows of a setting in a frame."""

from typing import Any

from fathom.core.records import Setting
from fathom.stats.curves import SETTING


def by_setting(frame: Any) -> dict[Setting, Any]:
    """Rows of each setting: one pass over a table that would take a pass per setting otherwise."""
    return {} if frame.empty else {Setting(*key): rows for key, rows in frame.groupby(SETTING, sort=False)}


def of_setting(frame: Any, setting: Setting) -> Any:
    """Rows of a frame that belong to a setting."""
    return frame if frame.empty else frame[(frame[SETTING] == list(setting)).all(axis=1)]
