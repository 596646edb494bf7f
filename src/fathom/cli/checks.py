"""Verbs that check: data, query methods."""

from rich.markup import escape

from fathom.cli.app import Data, Download, Json, Plugin, add_plugins, app
from fathom.cli.console import out, print_data_report, print_json
from fathom.registry import registry


@app.command(name="check-data")
def check_data(
    dataset: str, /, *, data: Data = None, download: Download = False, json: Json = False, plugin: Plugin = None
) -> int:
    """Counts per class, sizes, duplicates, unreadable files, group leaks. Exit status 1 where there is an error.

    Args:
        dataset: For example digits, cifar10, "folder(path=images)" or "table(path=data.csv)".
    """
    from fathom.data.check import check_data as check
    from fathom.engine.engine import data_root

    add_plugins(plugin)
    found = check(dataset, data_root(data, download=download, quiet=json))
    if json:
        print_json(found.to_json())
    else:
        print_data_report(found)
    return 0 if found.ok else 1


@app.command(name="check-query")
def check_query(query: str, /, *, json: Json = False, plugin: Plugin = None) -> int:
    """Whether a query method keeps the contract: pure, reproducible, distinct picks, declared needs.

    Args:
        query: Call-string such as bald(draws=20) or my_al/margin, or a .py file: then every method in it.
    """
    from fathom.testing import query_findings

    add_plugins(plugin)
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
