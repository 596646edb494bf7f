"""How spans of time are written, and that all who write them write them so."""

import io
import time

import pytest
from rich.console import Console

from fathom.core.durations import duration
from fathom.core.progress import progress_bar


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (0.00051, "0.5 ms"),
        (0.023, "23 ms"),
        (0.6, "0.6 s"),
        (9.96, "10 s"),
        (99, "99 s"),
        (210, "3.5 min"),
        (5399, "90 min"),
        (7560, "2.1 h"),
        (float("nan"), "\u2013"),
        (float("inf"), "\u2013"),
    ],
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_time_left_is_written_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 60.0, 60.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    out = io.StringIO()
    with progress_bar("study", console=Console(file=out, force_terminal=False, width=200)) as show:
        assert show is not None
        show(0, 10)
        show(2, 9)
    assert f"study: 2 of 9 trainings 2.0/min, {duration(210)} left" in out.getvalue()
