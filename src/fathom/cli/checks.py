"""Verbs that check a dataset and a query method."""

from typing import Annotated

from rich.markup import escape

from fathom import api
from fathom.cli.app import AtLeast1, DataOptions, Flat, Json, Plugins, app
from fathom.cli.console import out, print_data_report, print_json
from fathom.registry import registry


@app.command(name="check-data")
def check_data(
    dataset: str,
    /,
    *,
    seeds: Annotated[int, AtLeast1] = 10,
    machine: Annotated[DataOptions, Flat] = DataOptions(),
    json: Json = False,
) -> int:
    """Check a dataset: counts per class, sizes, duplicates, unreadable files, group leaks. Exit status 1 on an error.

    Args:
        dataset: For example digits, cifar10, "folder(path=images)" or "table(path=data.csv)".
        seeds: Number of seeds, as in the study: the label regimes are tried on the splits of all of them.
    """
    from fathom.data.check import check_data as check
    from fathom.engine.engine import data_root

    api.register(machine.plugins)
    found = check(dataset, data_root(machine, quiet=json), seeds)
    if json:
        print_json(found.to_json())
    else:
        print_data_report(found)
    return 0 if found.ok else 1


@app.command(name="check-query")
def check_query(query: str, /, *, plugins: Plugins = (), json: Json = False) -> int:
    """Check that a query method keeps its contract: pure, reproducible, distinct picks, declared needs.

    Args:
        query: Spec string such as bald(draws=20) or my_al/margin, or a .py file: every method in it.
    """
    from fathom.testing import query_findings

    api.register(plugins)
    names = [query]
    if query.endswith(".py"):
        prefix = registry.add_file(query)
        names = [name for name in registry.index()["query"] if name.startswith(f"{prefix}/")]
    results = {name: query_findings(name) for name in names}
    if json:
        print_json(results)
    else:
        for name, findings in results.items():
            for finding in findings:
                out.print(f"[red]{escape(name)}[/]: {escape(finding)}")
            if not findings:
                out.print(f"[green]{escape(name)}[/]: keeps the contract")
    return 1 if any(results.values()) else 0
