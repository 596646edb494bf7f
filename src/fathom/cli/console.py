"""Output of the command line: results on standard output, everything else on standard error."""

import dataclasses
import io
import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from fathom.core.durations import duration
from fathom.core.member_call import GlobalStateWarning
from fathom.core.progress import STDERR, SafeConsole, describe_job
from fathom.core.records import Study
from fathom.core.text import plural, printable_json
from fathom.registry import registry
from fathom.registry.spec_string import spell
from fathom.store.atomic_files import DamageWarning

if TYPE_CHECKING:
    from fathom.api import StudyStatus
    from fathom.data.check import DataReport
    from fathom.engine.pretrain import Encoder
    from fathom.engine.status import Status
    from fathom.engine.watch import StudyOutcome
    from fathom.recheck.recheck import Rechecked

out = SafeConsole(soft_wrap=True, highlight=False)
err = STDERR
HELP = SafeConsole()  # of --help and --version


def member_row(entry: registry.Entry) -> dict[str, Any]:
    """A registered member as a plain row."""
    row = {"kind": entry.kind, "name": entry.name, "summary": entry.summary, "parameters": entry.parameters}
    return row | ({"needs": entry.options} if entry.kind == "query" else {})


def spelled(parameters: dict[str, Any]) -> str:
    """Parameters as a spec string spells them."""
    return escape(", ".join(f"{k}={spell(v)}" for k, v in parameters.items()))


def show_members(members: list[registry.Entry], as_json: bool) -> None:
    """Print members with their whole description."""
    if as_json:
        print_json([{**member_row(entry), "doc": entry.doc} for entry in members])
        return
    for entry in members:
        out.print(f"[bold]{entry.kind} [cyan]{entry.name}[/]  [dim]{escape(str(entry.path))}[/]\n")
        out.print(f"{escape(entry.doc)}\n")
        out.print(f"Parameters: {spelled(entry.parameters) or '(none)'}")


def show_study(study: Study, name: str) -> None:
    """Print a study's settings with their query methods and seeds."""
    out.print(f"[bold]{escape(study.title or study.name)}[/]\n{escape(study.description)}\n")
    table = Table("dataset", "regime", "paradigm", "queries", "seeds", box=None, header_style="bold", pad_edge=False)
    for setting in study.settings:
        runs = [r for r in study.runs if r.setting == setting]
        queries, seeds = dict.fromkeys(r.query for r in runs), dict.fromkeys(r.seed for r in runs)
        shown = (study.names.get(setting.dataset, setting.dataset), *setting[1:])
        table.add_row(*map(escape, shown), escape(", ".join(queries)), ", ".join(map(str, seeds)))
    out.print(table)
    out.print(f"\n{len(study.runs)} runs. Estimate what they need: fathom plan {escape(shlex.quote(name))}")


def print_data_report(found: "DataReport") -> None:
    """Print what check-data found, problems last."""
    for line in found.lines():
        out.print(line, markup=False)
    for problem in found.to_json()["problems"]:
        color = "red" if problem["severity"] == "error" else "yellow"
        out.print(f"[{color}]{problem['severity']}[/] {escape(problem['message'])}")


def print_json(value: Any) -> None:
    """Print one JSON value on standard output, for scripts."""
    ascii_only = not out.encoding.lower().startswith("utf")
    print_plain(printable_json(json.dumps(value, indent=1, ensure_ascii=ascii_only, default=str)))


def print_plain(text: object) -> None:
    """Print a line without markup or wrapping on standard output, for scripts."""
    print(text, file=out.file)


@contextmanager
def results_alone() -> Iterator[None]:
    """Keep standard output for `out` and `print_plain`: what a plug-in, its child or C code prints goes to stderr.

    It stays so until the process ends, as functions that a plug-in registers for the end may print too. Letters that
    the terminal's encoding lacks are printed as escapes.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    before = results = sys.stdout
    alone = before is sys.__stdout__ and before is not None  # not where a caller collects the output
    if alone:
        before.flush()
        copy = io.BufferedWriter(io.FileIO(os.dup(1), "w"))
        results = io.TextIOWrapper(copy, before.encoding, before.errors, line_buffering=before.isatty())
        os.dup2(2, 1)
    sys.stdout = sys.stderr
    for console in (out, HELP):
        console.file = results
    try:
        yield
    finally:
        with suppress(BrokenPipeError):  # a reader such as `head` has gone
            results.flush()
        if not alone:
            sys.stdout = before
            for console in (out, HELP):
                console._file = None  # again what sys.stdout is then


@contextmanager
def status_line(title: str, silent: bool) -> Iterator[None]:
    """Show a spinner during a short computation; nothing if standard error is not a terminal."""
    if silent or not err.is_terminal:
        yield
        return
    with err.status(f"{title} ..."):
        yield


def print_outcome(outcome: "StudyOutcome", silent: bool) -> None:
    """Print how a study ended. Called before the report is written, which may fail too."""
    if not silent:
        out.print(
            f"{outcome.complete} of {outcome.runs} runs complete, "
            f"{outcome.committed} of {outcome.trainings} trainings, {outcome.seconds:.0f} s"
        )
        for note in outcome.notes:
            err.print(f"note: {note}", markup=False)
    for failure in outcome.failures:
        err.print(f"[red]failed[/] {escape(failure['what'])}: {escape(failure['message'])}")
    if outcome.failures:
        err.print(f"{len(outcome.failures)} failed; they stay visible in the report. Details: {outcome.out}/failures")


def print_table(columns: list[str], rows: list[list[str]], text: int = 1) -> None:
    """Print a plain table, wrapped to the terminal; its first `text` columns are left-aligned."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, name in enumerate(columns):
        table.add_column(escape(name), justify="left" if number < text else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    out.print(table)


def print_rechecked(found: "Rechecked") -> None:
    """Print the outcomes of a recheck."""
    for outcome in found.outcomes:
        mark = "[green]same[/]" if outcome.same else "[red]differs[/]"
        within = f"another environment: metrics within {100 * found.tolerance:g} points"
        how = "to the bit" if outcome.bitwise else within
        before = ", rechecked before" if outcome.before else ""
        out.print(f"{mark} {escape(outcome.what)} [dim]({how}{before})[/]")
        for text in (*outcome.differences, *outcome.notes):
            out.print(f"  {text}", markup=False)
    for text in found.damaged:
        out.print(f"[red]damaged[/] {escape(text)}")
    same = sum(outcome.same for outcome in found.outcomes)
    out.print(f"{same} of {len(found.outcomes)} are equal to what is committed; {len(found.damaged)} damaged files")


def print_encoder(made: "Encoder", as_json: bool, silent: bool) -> None:
    """Print a stored encoder; its name alone in the last line, for scripts."""
    if as_json:
        print_json(dataclasses.asdict(made))
        return
    for row in [] if silent else made.curve:
        err.print("  ".join(f"{name} {value:g}" for name, value in row.items()), markup=False)
    if not silent:
        err.print(f'stored as {made.path}; use it as self-sl(encoder="{made.name[:12]}")', markup=False, soft_wrap=True)
    print_plain(made.name)


def print_status(found: "StudyStatus") -> None:
    """Print the rounds of each cell of a study, what runs now, and what failed."""
    table = Table("dataset", "regime", "paradigm", "query", "rounds done, by seed", box=None, header_style="bold")
    for row in found.cells():
        table.add_row(*map(escape, row))
    out.print(table)
    for job in found.in_progress:
        out.print(f"in progress: {escape(describe_job(job))}")
    for setting, changes in found.retries.items():
        for change in changes:
            out.print(escape(f"run again with {change}, because a training was not finite: {' '.join(setting)}"))
    if found.tasks:
        _print_work(found.tasks)
    out.print(f"{found.complete} of {len(found.runs)} runs complete")
    for failure in found.failures:
        out.print(f"[red]failed[/] {escape(failure['what'])}: {escape(failure['message'])}")


def _print_work(found: "Status") -> None:
    """Print jobs by kind and state, workers, rate and time left."""
    table = Table("jobs", *found.jobs, box=None, header_style="bold", pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for kind, states in [*found.kinds.items(), ("all", found.jobs)]:
        table.add_row(kind, *(str(number) if number else "[dim].[/]" for number in states.values()))
    out.print(table)
    for worker in found.workers:
        doing = f"{worker['what']}, for {duration(worker['seconds'])}" if worker["what"] else "waits for a job"
        done = f"{worker['trainings']} trainings, {worker['hourly']:.1f}/h"
        out.print(escape(f"worker {worker['host']}:{worker['pid']} ({worker['device']}): {doing}; {done}"))
    rate = f", {found.hourly:.1f} per hour and worker" if found.hourly else ""
    out.print(f"{found.trainings} of {found.of} trainings{rate}")
    if found.seconds_left and found.jobs["waiting"] + found.jobs["running"]:
        idle = "; no worker runs now" if not found.workers else ""
        workers = plural(found.left_for, "worker")
        out.print(f"about {duration(found.seconds_left)} left with {workers}{idle}")


def write_report(folder: Path, silent: bool) -> Path:
    """Write a study's report; returns the path of its page."""
    from fathom import api

    try:
        with status_line("Writing the report", silent):
            return api.report(folder)
    except KeyboardInterrupt:
        command = shlex.join(["fathom", "report", str(folder)])
        raise KeyboardInterrupt(f"All rounds are kept in {folder}. Write the report with:\n  {command}") from None


def show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """Print a warning; a warning of another package with its place in the code."""
    place = (
        ""
        if issubclass(category, DamageWarning | GlobalStateWarning)
        else f"{filename}:{lineno}: {category.__name__}: "
    )
    err.print(f"[yellow]warning:[/] {escape(place + str(message))}", soft_wrap=True)
