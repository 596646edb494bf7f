"""What the command line prints on: results on standard output, everything else on standard error."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape

from fathom import registry
from fathom.callstring import spell
from fathom.progress import bar

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
def bar_over(what: str, silent: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar over trainings with rate and time left; plain lines where standard error is no terminal."""
    if silent:
        yield lambda committed, total: None
        return
    with bar(what, err) as tell:
        yield tell
