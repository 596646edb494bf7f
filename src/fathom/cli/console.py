"""What the command line prints on: results on standard output, everything else on standard error."""

import dataclasses
import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fathom.core.durations import duration
from fathom.core.progress import bar
from fathom.core.records import Study
from fathom.registry import registry
from fathom.registry.spec_string import spell
from fathom.store.atomic_files import DamageWarning
from fathom.store.store import Store

if TYPE_CHECKING:
    from fathom.engine.engine import StudyOutcome
    from fathom.engine.pretrain import Encoder
    from fathom.engine.status import Status
    from fathom.recheck.recheck import Rechecked

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, highlight=False)


def member_row(entry: registry.Entry) -> dict[str, Any]:
    """A registered member as a plain row."""
    row = {"kind": entry.kind, "name": entry.name, "summary": entry.summary, "parameters": entry.parameters}
    return row | ({"needs": entry.options} if entry.kind == "query" else {})


def spelled(parameters: dict[str, Any]) -> str:
    """Parameters as a call-string spells them."""
    return escape(", ".join(f"{k}={spell(v)}" for k, v in parameters.items()))


def show_members(members: list[registry.Entry], as_json: bool) -> None:
    """Members with their whole description."""
    if as_json:
        print_json([{**member_row(entry), "doc": entry.doc} for entry in members])
        return
    for entry in members:
        out.print(
            f"[bold]{entry.kind} [cyan]{entry.name}[/]  [dim]{escape(str(entry.path))}[/]\n\n{escape(entry.doc)}\n"
        )
        out.print(f"Parameters: {spelled(entry.parameters) or '(none)'}")


def show_study(study: Study, name: str) -> None:
    """A study's settings with their query methods and seeds."""
    out.print(f"[bold]{escape(study.title or study.name)}[/]\n{escape(study.description)}\n")
    table = Table("dataset", "regime", "paradigm", "queries", "seeds", box=None, header_style="bold", pad_edge=False)
    for setting in study.settings:
        runs = [r for r in study.runs if r.setting == setting]
        queries, seeds = dict.fromkeys(r.query for r in runs), dict.fromkeys(r.seed for r in runs)
        table.add_row(*map(escape, setting), escape(", ".join(queries)), ", ".join(map(str, seeds)))
    out.print(table)
    out.print(f"\n{len(study.runs)} runs. What they cost: fathom plan {escape(shlex.quote(name))}")


def print_data_report(found: Any) -> None:
    """What check-data found, problems last."""
    for line in found.lines():
        out.print(line, markup=False)
    for problem in found.to_json()["problems"]:
        color = "red" if problem["severity"] == "error" else "yellow"
        out.print(f"[{color}]{problem['severity']}[/] {escape(problem['message'])}")


def print_json(value: Any) -> None:
    """One JSON value on standard output, for scripts."""
    print(json.dumps(value, indent=1, ensure_ascii=False, default=str))


@contextmanager
def status_line(what: str, silent: bool) -> Iterator[None]:
    """A spinner while something short is done; nothing where standard error is no terminal."""
    if silent or not err.is_terminal:
        yield
        return
    with err.status(f"{what} ..."):
        yield


@contextmanager
def bar_over(
    what: str, silent: bool, folder: Path | None = None, unit: str = "trainings"
) -> Iterator[Callable[[int, int], None]]:
    """A progress bar over trainings with rate and time left; plain lines where standard error is no terminal.

    Args:
        what: What is done.
        silent: Say nothing.
        folder: Of the study, whose long jobs say how far they are.
        unit: What is counted.
    """
    if silent:
        yield lambda committed, total: None
        return
    store = Store(folder) if folder else None
    with bar(what, err, lambda: "; ".join(map(far, store.in_progress())) if store else "", unit) as tell:
        yield tell


def far(job: dict[str, Any]) -> str:
    """How far a long job is: `pre-training: 37 of 1000 epochs, knn_accuracy 0.71`."""
    kind = {"prepared": "pre-training", "features": "features", "first": "training", "search": "training"}
    name = kind.get(str(job["job"]).split("/")[1], "training") if "/" in str(job["job"]) else "training"
    unit = "images" if name == "features" else "epochs"
    measured = "".join(f", {k} {job[k]:.2f}" for k in ("loss", "knn_accuracy", "val_score") if k in job)
    return f"{name}: {job['done']} of {job['of']} {unit}{measured}"


def print_outcome(outcome: "StudyOutcome", silent: bool) -> None:
    """Say how a study ended, before a report is tried: what failed is told even if that fails too."""
    if not silent:
        out.print(
            f"{outcome.complete} of {outcome.runs} runs complete, "
            f"{outcome.committed} of {outcome.trainings} trainings, {outcome.seconds:.0f} s"
        )
    for failure in outcome.failures:
        err.print(f"[red]failed[/] {escape(failure['what'])}: {escape(failure['message'])}")
    if outcome.failures:
        err.print(f"{len(outcome.failures)} failed; they stay visible in the report. Details: {outcome.out}/failures")


def print_table(columns: list[str], rows: list[list[str]], text: int = 1) -> None:
    """A plain table, its first `text` columns words, wrapped to the terminal."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, name in enumerate(columns):
        table.add_column(escape(name), justify="left" if number < text else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    out.print(table)


def print_rechecked(found: "Rechecked") -> None:
    """What came of a recheck, differences last."""
    for outcome in found.outcomes:
        mark = "[green]same[/]" if outcome.same else "[red]differs[/]"
        how = (
            "to the bit" if outcome.bitwise else f"another environment: metrics within {100 * found.tolerance:g} points"
        )
        before = ", rechecked before" if outcome.before else ""
        out.print(f"{mark} {escape(outcome.what)} [dim]({how}{before})[/]")
        for text in (*outcome.differences, *outcome.notes):
            out.print(f"  {text}", markup=False)
    for text in found.damaged:
        out.print(f"[red]damaged[/] {escape(text)}")
    same = sum(outcome.same for outcome in found.outcomes)
    out.print(f"{same} of {len(found.outcomes)} came out as committed; {len(found.damaged)} damaged files")


def print_encoder(made: "Encoder", as_json: bool, silent: bool) -> None:
    """What is known of a kept encoder; its name stands alone in the last line, for scripts."""
    if as_json:
        print_json(dataclasses.asdict(made))
        return
    for row in [] if silent else made.curve:
        err.print("  ".join(f"{name} {value:g}" for name, value in row.items()), markup=False)
    if not silent:
        err.print(f'kept as {made.path}; use it as self-sl(encoder="{made.name[:12]}")', markup=False, soft_wrap=True)
    print(made.name)


def print_status(
    store: Store, rows: list[dict[str, Any]], failures: list[dict[str, Any]], found: "Status | None" = None
) -> None:
    """How far each cell of a study is, what is under way, and what failed."""
    table = Table("dataset", "regime", "paradigm", "query", "rounds done, by seed", box=None, header_style="bold")
    for cell in dict.fromkeys((r["dataset"], r["regime"], r["paradigm"], r["query"]) for r in rows):
        mine = [r for r in rows if (r["dataset"], r["regime"], r["paradigm"], r["query"]) == cell]
        table.add_row(*map(escape, cell), "  ".join(f"{r['rounds']}/{r['of'] or '?'}" for r in mine))
    out.print(table)
    for job in store.in_progress():
        out.print(f"under way: {escape(far(job))}")
    for setting in store.study.settings:
        for change in store.retries(setting):
            out.print(f"done again with {escape(change)}, as a training was not finite: {escape(' '.join(setting))}")
    if found:
        _print_work(found)
    complete = sum(r["rounds"] == r["of"] for r in rows)
    out.print(f"{complete} of {len(rows)} runs complete")
    for failure in failures:
        out.print(f"[red]failed[/] {escape(failure['what'])}: {escape(failure['message'])}")


def _print_work(found: "Status") -> None:
    """Jobs by kind and state, who is at work, the rate and the time left."""
    table = Table("jobs", *found.jobs, box=None, header_style="bold", pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for kind, states in [*found.kinds.items(), ("all", found.jobs)]:
        table.add_row(kind, *(str(number) if number else "[dim].[/]" for number in states.values()))
    out.print(table)
    for worker in found.workers:
        doing = f"{worker['what']}, for {duration(worker['seconds'])}" if worker["what"] else "looks for a job"
        done = f"{worker['trainings']} trainings, {worker['hourly']:.1f}/h"
        out.print(escape(f"worker {worker['host']}:{worker['pid']} ({worker['device']}): {doing}; {done}"))
    rate = f", one worker does {found.hourly:.1f} an hour" if found.hourly else ""
    out.print(f"{found.trainings} of {found.of} trainings{rate}")
    if found.seconds_left and found.jobs["waiting"] + found.jobs["running"]:
        nobody = "; nobody is at work now" if not found.workers else ""
        out.print(f"about {duration(found.seconds_left)} left with {found.left_for} at work{nobody}")


def write_report(folder: Path, silent: bool) -> Path:
    """Write a study's report; its page."""
    from fathom.report.report import report as write

    try:
        with status_line("Writing the report", silent):
            return write(folder)
    except KeyboardInterrupt:
        command = shlex.join(["fathom", "report", str(folder)])
        raise KeyboardInterrupt(f"All rounds are safe in {folder}; this writes the report:\n  {command}") from None


def show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """What Fathom warns of is for the user; a warning of a package says where it comes from."""
    place = "" if issubclass(category, DamageWarning) else f"{filename}:{lineno}: {category.__name__}: "
    err.print(f"[yellow]warning:[/] {escape(place + str(message))}", soft_wrap=True)
