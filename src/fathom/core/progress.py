"""Progress of a study on standard error: a bar in a terminal or a notebook, elsewhere a line every 15 seconds."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.segment import Segment
from rich.text import Text

from fathom.core.durations import duration
from fathom.core.text import printable
from fathom.core.work import WorkKind

LINE_EVERY = 15.0  # seconds


class SafeConsole(Console):
    """Console that shows control characters in what it prints as text; every text of this package goes through one."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Parse markup; before the layout, so that columns stay aligned."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render anything; those segments that are no control codes of rich itself become visible text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


# One console for bar and messages, so that neither overwrites the other.
STDERR = SafeConsole(stderr=True, highlight=False)

ShowProgress = Callable[[int, int], None]  # (done, total)


@contextmanager
def progress_bar(
    title: str,
    *,
    quiet: bool = False,
    unit: str = "trainings",
    in_progress: Callable[[], str] = lambda: "",
    console: Console = STDERR,
) -> Iterator[ShowProgress | None]:
    """Show how many units are done, their rate since the start, and the time left at that rate.

    Args:
        title: Text before the bar.
        quiet: Show nothing.
        unit: Name of the counted units.
        in_progress: Gives a text on the jobs that run now.
        console: Output; a notebook is detected by rich.

    Yields:
        Function of (done, total) to call after each step; None if `quiet`.
    """
    clock = _Rate()
    if quiet:
        yield None
        return
    # In a notebook rich draws the bar with ipywidgets and warns without it.
    if not (console.is_terminal or (console.is_jupyter and find_spec("ipywidgets"))):
        yield _lines(title, console, clock, in_progress, unit)
        return
    spinner = "dots" if console.encoding.startswith("utf") else "line"
    columns = (SpinnerColumn(spinner), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TextColumn(unit), TimeElapsedColumn(), TextColumn("{task.fields[left]}"), console=console
    ) as progress:
        task = progress.add_task(escape(title), total=None, left="")

        def show(done: int, total: int) -> None:
            left = "  ".join(part for part in (clock.left(done, total), escape(in_progress())) if part)
            progress.update(task, completed=done, total=total, left=left)

        yield show


def describe_job(job: dict[str, Any]) -> str:
    """One running job of `Store.in_progress`: `pre-training: 37 of 1000 epochs, knn_accuracy 0.71`."""
    kind = str(job["job"]).removeprefix("shared/").partition("/")[0]  # of shared/<kind>/<key> or runs/<key>/...
    name = WorkKind(kind).words if kind in (WorkKind.PRETRAIN, WorkKind.FEATURES) else "training"
    unit = "images" if kind == WorkKind.FEATURES else "epochs"
    measured = "".join(f", {key} {job[key]:.2f}" for key in ("loss", "knn_accuracy", "val_score") if key in job)
    return f"{name}: {job['done']} of {job['of']} {unit}{measured}"


def _lines(title: str, console: Console, clock: "_Rate", in_progress: Callable[[], str], unit: str) -> ShowProgress:
    last = [float("-inf")]

    def show(done: int, total: int) -> None:
        now = time.monotonic()
        if now - last[0] >= LINE_EVERY:
            last[0] = now
            left = f"{clock.left(done, total)}  {in_progress()}".rstrip()
            console.print(f"{title}: {done} of {total} {unit} {left}", markup=False, soft_wrap=True)

    return show


class _Rate:
    """Units per second since the first call, so that what an earlier call of `run` committed does not count."""

    def __init__(self) -> None:
        self.first: tuple[float, int] | None = None

    def left(self, done: int, total: int) -> str:
        now = time.monotonic()
        if self.first is None:
            self.first = (now, done)
        seconds, since = now - self.first[0], done - self.first[1]
        if since <= 0 or seconds <= 0:
            return ""
        rate = since / seconds
        pace = f"{rate:.1f}/s" if rate >= 1 else f"{rate * 60:.1f}/min" if rate * 60 >= 1 else f"{rate * 3600:.1f}/h"
        return f"{pace}, {duration((total - done) / rate)} left"
