"""Verbs that check what has been run: compare it with the published numbers, test claims, recompute it, export it."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from fathom import api
from fathom.cli.app import AtLeast0, AtLeast1, DeviceOptions, Flat, Json, Quiet, Repeatable, again, app
from fathom.cli.console import err, out, print_json, print_plain, print_rechecked, print_table
from fathom.core.text import plural
from fathom.stats.decisions import MARGIN
from fathom.stats.inference import ALPHA

CLAIM_STATUS = {"supported": 0, "contradicted": 1}  # 3 for others


@app.command
def compare(
    folder: Path,
    /,
    *,
    margin: Annotated[float, Parameter(validator=validators.Number(gt=0, lt=100))] = 100 * MARGIN,
    json: Json = False,
) -> None:
    """Compare a study with the published numbers and test the published claims on it.

    Areas and gains over Random are compared, cell by cell and as a whole. Only cells with the images, regime, recipe
    and metric of the published study are compared, and only they are asked about the claims; the others are listed
    with the reason. A cell agrees if two one-sided tests show that the difference is within the margin, and differs if
    Welch's test rejects equal means; both at .05, Holm-corrected over all cells. Otherwise it cannot be decided.

    Args:
        folder: The study's folder.
        margin: Difference in AUBC, in points, below which two values count as equal; at most 1.
    """
    from fathom.report.compare_tables import cells_table, claim_lines, compare_summary, gains_table, refused_table

    compared = api.compare(folder, margin=margin)
    if json:
        print_json(compared.to_json())
        return
    results, comparison = compared.results, compared.comparison
    for text in results.damage:
        err.print(f"damaged: {text}", markup=False, soft_wrap=True)
    for sentence in compare_summary(comparison):
        out.print(sentence, markup=False)
    made = (gains_table, cells_table, refused_table)
    for table in (make(results, comparison) for make in made):
        if table is not None:
            out.print(f"\n{table.caption}", markup=False)
            print_table(table.columns, [[cell.text for cell in row] for row in table.rows], table.text)
            if table.note:
                out.print(table.note, markup=False)
    out.print("\nClaims of the published study (margins and rules: docs/protocol.md)", markup=False)
    for line in claim_lines(compared.claims, compared.published_claims):
        out.print(line, markup=False)
    if comparison.foreign:
        out.print(f"\nNot in the published study: {', '.join(comparison.foreign)}", markup=False)


@app.command
def claim(
    folder: Path,
    text: str,
    /,
    *,
    where: Annotated[tuple[str, ...], Repeatable] = (),
    metric: str = "",
    margin: Annotated[float | None, Parameter(validator=validators.Number(gt=0, lt=100))] = None,
    alpha: Annotated[float, Parameter(validator=validators.Number(gt=0, lt=1))] = ALPHA,
    json: Json = False,
) -> int:
    """Decide a claim about a study, such as "badge > random", by the tests of its report. Prints one sentence to quote.

    "A > B" says that A is better, "A >= B" that it is not worse by the margin, "A < B" that it is worse. Both are query
    methods of the study, or both training paradigms, which are compared with the baseline query method. With three
    datasets or more datasets are the units of the test, else seeds. A claim that the study file states (claims = [...])
    is decided in the family of all stated claims, any other one alone, as one that was chosen after seeing the results.

    Exit status: 0 the claim is supported; 1 it is contradicted; 3 it is undecided or could not be tested.

    Args:
        folder: The study's folder.
        text: The claim, in quotes; "badge > random by final where regime=low" has a metric and conditions.
        where: Use only these settings: dataset=cifar10,regime=low; also paradigm= and seed=, as --only of fathom run.
        metric: aubc: area under the budget curve by the dataset's metric. final: score of the last round. Or the name
            of a recorded metric such as balanced_accuracy (its area), or final:NAME [default: aubc].
        margin: Loss that counts as none, in points (nats for a metric in nats) [default: that of the study].
        alpha: Error rate of the test.
    """
    found = api.claim(folder, text, where=where, metric=metric, margin=margin, alpha=alpha)
    if json:
        print_json(found.to_json())
    else:
        out.print(found.sentence, markup=False)
    return CLAIM_STATUS.get(found.verdict, 3)


@app.command
def recheck(
    folder: Path,
    /,
    *,
    sample: Annotated[int, AtLeast1] = 5,
    seed: Annotated[int, AtLeast0] = 0,
    shared: Annotated[int, AtLeast0] = 0,
    workers: Annotated[int, AtLeast0] = 0,
    machine: Annotated[DeviceOptions, Flat] = DeviceOptions(),
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Recompute some committed rounds and compare them with what is committed. Exit status 1 if they differ.

    In the environment that a round was computed in, everything except clock readings must be equal to the bit. In
    another environment budgets, bills and HPs must be equal, and metrics agree within two points. The outcomes are kept
    in FOLDER/rechecks; nothing else changes. Run the same command again to resume.

    Args:
        folder: The study's folder.
        sample: Number of rounds, chosen at random.
        seed: Seed for choosing the rounds.
        shared: Also recompute this many HP-search and full-data trainings.
        workers: Worker processes; 0 works in this process.
    """
    try:
        found = api.recheck(
            folder, sample=sample, seed=seed, shared=shared, workers=workers, machine=machine, quiet=quiet or json
        )
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"{stop}. {again()}" if str(stop) else again()) from None
    if json:
        print_json(found.to_json())
    else:
        print_rechecked(found)
    return 0 if found.sound else 1


@app.command
def export(folder: Path, /, *, to: str, json: Json = False) -> None:
    """Write a study's committed rounds to one small Parquet file, for a repository, or to an experiment tracker.

    A file has one row per round: the run, metrics, budgets, queried ids, HPs and retries, hardware, versions, commit. A
    tracker gets one run per run of the study, with its spec as parameters and the metrics of each round at the step of
    its budget; run the command again to add new rounds. Trackers need their package: pip install 'fathom-al[mlflow]',
    'fathom-al[tensorboard]' or 'fathom-al[wandb]'.

    Args:
        folder: The study's folder.
        to: The file, for example results/NAME.parquet, which is replaced; or mlflow:URI, tensorboard:FOLDER or
            wandb:[ENTITY/]PROJECT.
    """
    from fathom.results.trackers import is_tracker, track

    if is_tracker(to):
        found = track(folder, to)
        if json:
            print_json(found.__dict__)
            return
        counts = f"{plural(found.runs, 'run')}, {plural(found.rounds, 'round')}, {found.added} of them new"
        out.print(f"{found.target}: {counts}", markup=False, soft_wrap=True)
        if found.note:
            out.print(found.note, markup=False, soft_wrap=True)
        return
    from fathom.results.export import export as write

    path = write(folder, to)
    if json:
        print_json({"results": str(path), "bytes": path.stat().st_size})
    else:
        print_plain(path)
