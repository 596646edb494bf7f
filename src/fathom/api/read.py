"""The public functions that read a study and judge it: status, table, predictions, report, compare, audit, freeze."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fathom.api.answers import Audit, Freeze, StudyComparison, StudyStatus
from fathom.core.inputs import user_path
from fathom.core.records import FathomError, Study
from fathom.registry import registry
from fathom.stats.decisions import MARGIN

if TYPE_CHECKING:
    import pandas as pd

    from fathom.audit.literature import PublishedAudit
    from fathom.results.predictions import KeptPredictions


def status(folder: str | Path) -> StudyStatus:
    """Read how far a study is: rounds per run, jobs by state, workers, rate, time left, failures.

    Args:
        folder: The study's folder.

    Raises:
        FathomError: The folder holds no study.
    """
    from fathom.core.work import SHARED_RECORDS
    from fathom.engine.status import status_of
    from fathom.store.store import Store

    store = Store.open(folder)
    rounds, rows = {spec: store.rounds(spec) for spec in store.study.runs}, []
    for spec, done in rounds.items():
        regime = store.regime(spec)
        rows.append({"key": spec.key, **spec.to_json(), "rounds": len(done), "of": regime.rounds if regime else None})
    return StudyStatus(
        study=store.study.name,
        runs=rows,
        shared={kind: len(store.records(kind.folder)) for kind in SHARED_RECORDS},
        in_progress=store.in_progress(),
        retries={setting: changes for setting in store.study.settings if (changes := store.retries(setting))},
        tasks=status_of(store, rounds),
        failures=store.failures(),
        names=store.study.names,
    )


def table(folder: str | Path) -> "pd.DataFrame":
    """Read the results of a study: one row per committed round, with the ids and image names of what it queried.

    Args:
        folder: The study's folder.

    Raises:
        FathomError: The folder holds no study.
    """
    from fathom.store.tables import read_rounds

    return read_rounds(folder)


def predictions(
    folder: str | Path, *, only: Sequence[str] = (), round: int | None = None
) -> "Iterator[KeptPredictions]":
    """Read the test predictions that rounds kept, for failure detection, calibration or another metric.

    A study keeps those of the first and the last round of each run, unless its file says `keep = "all"` or `"none"`.
    The study's data are not needed.

    Args:
        folder: The study's folder.
        only: Read only these runs, as for `run`.
        round: Read only this round of each run; -1 is the last one.

    Returns:
        One after the other, each read when it is asked for: `log_probs`, `labels`, and `metrics()`, which computes all
        test metrics from them. A file that is damaged or gone is left out, with a warning.

    Raises:
        FathomError: The folder holds no study, or no round of these kept its test predictions.
    """
    from fathom.results.predictions import read_predictions

    return read_predictions(folder, only, round)


def report(
    folder: str | Path | None = None,
    *,
    compare: tuple[str | Path, str | Path] | None = None,
    to: str | Path = Path("compare.html"),
) -> Path:
    """Write the report: one HTML file, results, picks and statistics as data, figures as SVG and PDF, LaTeX tables.

    Args:
        folder: The study's folder; the study need not be complete.
        compare: Folders of two studies to show side by side on one page instead, paired where seeds and data agree.
        to: The page of `compare`; it is replaced.

    Returns:
        The path of the HTML file.

    Raises:
        FathomError: A folder holds no study, or cannot be written to; or both or neither of `folder` and `compare` are
            given.
    """
    if (folder is None) == (compare is None):
        raise FathomError("expected either the folder of a study, or --compare with the folders of two")
    if folder is not None:
        from fathom.report.report import report as write_report

        return write_report(folder)
    from fathom.report.sections.two_studies import page_of_two
    from fathom.results.results import StudyResults
    from fathom.store import atomic_files

    path = user_path(to)
    page = page_of_two(*map(StudyResults.of, compare or ()))
    atomic_files.write(path, page.encode(), replace=True)
    return path


def compare(folder: str | Path, *, margin: float = 100 * MARGIN) -> StudyComparison:
    """Compare a study with the published numbers and test the published claims on it.

    Areas and gains over Random are compared, cell by cell and as a whole. Only cells with the images, regime, recipe
    and metric of the published study are compared, and only they are asked about the claims; the others are listed
    with the reason. A cell agrees if two one-sided tests show that the difference is within the margin, and differs if
    Welch's test rejects equal means; both at .05, Holm-corrected over all cells. Otherwise it cannot be decided.

    Args:
        folder: The study's folder.
        margin: Difference in AUBC, in points, below which two values count as equal; at most 1.

    Raises:
        FathomError: The folder holds no study, or the margin is not above 0 and at most 1 point.
    """
    from fathom.published.claims import claims
    from fathom.published.compare import compare_study
    from fathom.published.evidence import published_evidence, study_evidence
    from fathom.published.reproduction import reproduction
    from fathom.results.results import StudyResults

    results = StudyResults.of(folder)
    compared = compare_study(results, margin / 100)
    ours, published = claims(study_evidence(results)), claims(published_evidence())
    return StudyComparison(results, compared, ours, published, reproduction(compared))


def audit(study: str | Path) -> Audit:
    """Check which of the five pitfalls a study avoids, with the evidence.

    The results of a study are checked for P1 to P5, statistics, leakage, reproducibility and roll-out; the description
    of a published study for P1 to P5.

    Args:
        study: Folder of a study's results, a .toml description of a published study, or a built-in description such as
            lueth-2023.

    Raises:
        FathomError: There is no such study, or its description has mistakes.
    """
    if user_path(study).is_dir():
        from fathom.audit.audit import audit as audit_folder

        return Audit(str(study), tuple(audit_folder(study)))
    from fathom.audit.literature import published

    described = published(study)
    return Audit(described.name, described.findings, described.title, described.source)


def audit_literature(figure: str | Path | None = None) -> list["PublishedAudit"]:
    """Audit all published studies that have a built-in description.

    Args:
        figure: SVG file to draw the comparison to.
    """
    from fathom.audit.literature import literature

    studies = literature()
    if figure is not None:
        from fathom.report.audit_figure import write_comparison

        write_comparison(studies, user_path(figure))
    return studies


def freeze(
    study: str | Path | Study, out: str | Path | None = None, *, only: Sequence[str] = (), plugins: Sequence[Path] = ()
) -> Freeze:
    """Write a pre-registration file: query methods, paradigms, HP grids and recipes decided on development data.

    A study with roll-out data follows it (`freeze = "NAME.freeze.json"` in its file, or fathom run --freeze FILE). It
    is refused if it departs from the file, and its report says which file it followed.

    Args:
        study: Development study: its name, its file, a `Study`, or the folder of its results.
        out: File to write [default: NAME.freeze.json].
        only: Freeze only these runs, as for `run`.
        plugins: Python files that register your query methods, datasets or paradigms.

    Raises:
        FathomError: The study has roll-out datasets, a run has no round yet, or the file exists with other content.
    """
    from fathom.design.freeze import freeze as write_freeze
    from fathom.design.freeze import load_freeze
    from fathom.design.study_file import load_study
    from fathom.design.subset import select
    from fathom.store.store import Store

    register(plugins)
    has_results = not isinstance(study, Study) and (user_path(study) / "study.json").is_file()
    store = Store.open(str(study)) if has_results else None
    path = write_freeze(select(store.study if store else load_study(study), only), out, store=store)
    content = load_freeze(path)
    return Freeze(path, content.pop("hash"), content.pop("frozen"), content)


def count_rounds(folder: str | Path) -> int:
    """Rounds committed in a study's folder, counted by file name."""
    return sum(1 for _ in user_path(folder).glob("runs/*/round-*.json"))


def register(plugins: Iterable[Path]) -> None:
    """Begin a call, whose code is read once, and register plug-in files; worker processes are given what was read."""
    registry.refresh()
    for path in plugins:
        registry.add_file(path)
