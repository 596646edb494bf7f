"""Progress of a study on standard error: a bar where it is a terminal, a line now and then where it is not."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from fathom.core.durations import duration

LINE_EVERY = 15.0  # seconds


@contextmanager
def bar(
    what: str, console: Console, in_progress: Callable[[], str] = lambda: "", unit: str = "trainings"
) -> Iterator[Callable[[int, int], None]]:
    """Yields `tell(committed, total)`; counts trainings, their rate in this call, and the time left at that rate.

    Args:
        what: What is done.
        console: Where it is told.
        under_way: What long work says of itself at the moment.
        unit: What is counted.
    """
    clock = _Rate()
    if not console.is_terminal:
        yield _lines(what, console, clock, in_progress, unit)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TextColumn(unit), TimeElapsedColumn(), TextColumn("{task.fields[left]}"), console=console
    ) as progress:
        task = progress.add_task(what, total=None, left="")

        def tell(committed: int, total: int) -> None:
            left = "  ".join(part for part in (clock.left(committed, total), escape(in_progress())) if part)
            progress.update(task, completed=committed, total=total, left=left)

        yield tell


def _lines(
    what: str, console: Console, clock: "_Rate", in_progress: Callable[[], str], unit: str
) -> Callable[[int, int], None]:
    last = [float("-inf")]

    def tell(committed: int, total: int) -> None:
        now = time.monotonic()
        if now - last[0] >= LINE_EVERY:
            last[0] = now
            left = f"{clock.left(committed, total)}  {in_progress()}".rstrip()
            console.print(f"{what}: {committed} of {total} {unit} {left}", markup=False, soft_wrap=True)

    return tell


class _Rate:
    """Trainings a second since the first look, so that what an earlier call did does not count."""

    def __init__(self) -> None:
        self.first: tuple[float, int] | None = None

    def left(self, committed: int, total: int) -> str:
        now = time.monotonic()
        if self.first is None:
            self.first = (now, committed)
        seconds, since = now - self.first[0], committed - self.first[1]
        if since <= 0 or seconds <= 0:
            return ""
        rate = since / seconds
        pace = f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min" if rate * 60 >= 1 else f"{rate * 3600:.1f}/h"
        return f"{pace}, {duration((total - committed) / rate)} left"
