"""Verbs that review what has been run: beside the published numbers, again, and for others to read."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from fathom.cli.app import Data, Device, Download, Json, Plugin, Quiet, add_plugins, app, command_line
from fathom.cli.console import bar_over, err, out, print_json, print_rechecked, print_table


@app.command
def compare(
    folder: Path,
    /,
    *,
    margin: Annotated[float, Parameter(validator=validators.Number(gt=0, lt=100))] = 2.0,
    json: Json = False,
) -> None:
    """Hold a study beside the published numbers, cell by cell, and put the published claims to its runs.

    Only cells that were run as the study ran them are compared: same images, regime, recipe and metric; the others are
    listed with the reason. A cell agrees where the 90 % Welch interval of the difference lies within the margin (two
    one-sided tests); it differs where not that and Welch's test rejects at .05, Holm-corrected over all cells; else it
    cannot be told.

    Args:
        folder: The study's folder.
        margin: Difference in AUBC, in points, below which two values count as the same.
    """
    from fathom.published.claims import claims
    from fathom.published.compare import compare_study as hold_beside
    from fathom.published.evidence import published_evidence, study_evidence
    from fathom.report.compare_tables import cells_table, claim_lines, compare_summary, refused_table
    from fathom.results.results import StudyResults

    reading = StudyResults.of(folder)
    found = hold_beside(reading, margin / 100)
    ours, theirs = claims(study_evidence(reading)), claims(published_evidence())
    if json:
        told = {"claims": [c.to_json() for c in ours], "published_claims": [c.to_json() for c in theirs]}
        print_json({"study": reading.store.study.name, **found.to_json(), **told})
        return
    for text in reading.damage:
        err.print(f"damaged: {text}", markup=False, soft_wrap=True)
    out.print(compare_summary(found), markup=False)
    for table in (cells_table(reading, found), refused_table(reading, found)):
        if table is not None:
            out.print(f"\n{table.caption}", markup=False)
            print_table(table.columns, [[cell.text for cell in row] for row in table.rows], table.text)
            if table.note:
                out.print(table.note, markup=False)
    out.print("\nWhat the published study claims (margins and rules: docs/protocol.md)", markup=False)
    for line in claim_lines(ours, theirs):
        out.print(line, markup=False)
    if found.foreign:
        out.print(f"\nNot in the published study: {', '.join(found.foreign)}", markup=False)


@app.command
def recheck(
    folder: Path,
    /,
    *,
    sample: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 5,
    seed: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 0,
    shared: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 0,
    workers: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 0,
    threads: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
    data: Data = None,
    download: Download = False,
    device: Device = "auto",
    quiet: Quiet = False,
    json: Json = False,
    plugin: Plugin = None,
) -> int:
    """Compute some committed rounds again and compare them with what is committed. Exit status 1 where they differ.

    In the environment that a round was computed in, everything but clock readings must be the same to the bit; in
    another one, budgets, bill and HPs must be the same and metrics lie within two points. What came out is kept in
    FOLDER/rechecks; nothing else is changed. Interrupted, the same command goes on.

    Args:
        folder: The study's folder.
        sample: How many rounds, drawn at random.
        seed: Which: the same seed draws the same rounds.
        shared: How many trainings of the HP search and on full data besides.
        workers: Worker processes; 0 works in this process.
        threads: CPU threads [default: as the rounds were computed with].
    """
    from fathom.recheck.recheck import recheck as do_again

    add_plugins(plugin)
    silent, done = quiet or json, [0, sample]
    try:
        with bar_over("recheck", silent, unit="rechecked") as progress:

            def tell(count: int, total: int) -> None:
                done[:] = count, total
                progress(count, total)

            found = do_again(
                folder,
                sample=sample,
                seed=seed,
                shared=shared,
                data=data,
                download=download,
                device=device,
                threads=threads,
                workers=workers,
                quiet=silent,
                progress=tell,
            )
    except KeyboardInterrupt:
        text = f"{done[0]} of {done[1]} are rechecked; to go on, type the same command again:\n  {command_line()}"
        raise KeyboardInterrupt(text) from None
    if json:
        print_json(found.to_json())
    else:
        print_rechecked(found)
    return 0 if found.sound else 1


@app.command
def export(folder: Path, /, *, to: Path, json: Json = False) -> None:
    """Write a study's committed rounds as one small Parquet file, to be kept in a repository.

    A row a round: what was run, metrics, budgets, queried ids, HPs and retries, hardware, versions, commit.

    Args:
        folder: The study's folder.
        to: The file, for example results/NAME.parquet; it is replaced.
    """
    from fathom.results.export import export as write

    path = write(folder, to)
    if json:
        print_json({"results": str(path), "bytes": path.stat().st_size})
    else:
        print(path)
