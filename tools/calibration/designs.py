"""Designs of `make calibration`, in sections of one table each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from fathom.stats.decisions import MARGIN
from fathom.stats.inference import ALPHA
from fathom.stats.power import power, power_not_worse, units_needed
from tools.calibration import measures
from tools.calibration.measures import Measures
from tools.calibration.simulate import Batch, Design, mean_collapse

AT_MOST, AT_LEAST = 0.05, 0.93  # targets: of false verdicts, and of coverage
GRID = ((1, 1), (3, 1), (3, 3), (5, 3))  # datasets, regimes: 1, 3, 9 and 15 settings
PLANTED = (0.01, 0.02, -0.01)  # true gains where intervals are measured


@dataclass(frozen=True)
class Column:
    """A measure, its heading, and what it should keep to."""

    measure: str
    heading: str
    most: float | None = None
    least: float | None = None


@dataclass(frozen=True)
class Row:
    """One design of a section.

    Args:
        design: What is simulated.
        labels: Cells before the measures.
        promised: Measure -> value that `stats.power` gives.
    """

    design: Design
    labels: tuple[str, ...]
    promised: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """A table: designs, and what is measured of each.

    Args:
        title, text: Heading, and what is simulated.
        headings: Of the labels of its rows.
        columns: Measures.
        rows: Designs.
        measure: Measures of each study of a batch.
        studies: Studies per design.
    """

    title: str
    text: str
    headings: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    measure: Callable[[Batch], Iterator[Measures]] = measures.verdicts
    studies: int = 1500


FALSE = (
    Column("headline false", "headline false", AT_MOST),
    Column("here false", "these datasets false", AT_MOST),
    Column("settings false", "settings false", AT_MOST),
)
INTERVALS = (
    Column("headline interval", "headline interval", least=AT_LEAST),
    Column("here interval", "these datasets interval", least=AT_LEAST),
    Column("settings interval", "setting interval", least=AT_LEAST),
)
SIZE = ("datasets x regimes", "methods", "seeds")


def _size(design: Design) -> tuple[str, ...]:
    return f"{design.datasets} x {design.regimes}", str(design.methods), str(design.seeds)


def _rows(designs: Sequence[Design], name: Callable[[Design], str] | None = None) -> tuple[Row, ...]:
    return tuple(Row(d, (*([name(d)] if name else []), *_size(d))) for d in designs)


def _sized(sizes: Sequence[tuple[int, int, int]], base: Design) -> Iterator[Design]:
    """A design in several sizes (datasets, regimes, seeds)."""
    for datasets, regimes, seeds in sizes:
        yield replace(base, datasets=datasets, regimes=regimes, seeds=seeds)


def _identical() -> Section:
    sizes = [(d, g, n) for d, g in GRID for n in (3, 5, 10, 20)]
    more = [(d, g, n) for d, g in (GRID[0], GRID[-1]) for n in (3, 10)]
    designs = [*_sized(sizes, Design()), *_sized(more, Design(methods=10))]
    text = "All methods are equal. A study counts as false if any of its verdicts is *better* or *worse*."
    return Section("Identical methods", text, SIZE, (*FALSE, *INTERVALS), _rows(designs))


def _uneven() -> Section:
    def name(d: Design) -> str:
        parts = [f"spreads 1 to {d.uneven:g}"] if d.uneven > 1 else []
        return ", ".join([*parts, *([f"gains of datasets ± {100 * d.between:g} points"] if d.between else [])])

    designs = [
        *_sized([(1, 1, 3), (2, 2, 3), (3, 3, 3), (5, 3, 3), (5, 3, 10)], Design(uneven=4.0)),
        *_sized([(3, 1, 5), (5, 1, 5), (10, 1, 5)], Design(between=0.01)),
        *_sized([(3, 1, 5), (5, 3, 3), (10, 1, 5)], Design(between=0.01, uneven=4.0)),
    ]
    columns = (*FALSE, *INTERVALS, Column("new dataset", "prediction for a new dataset", least=AT_LEAST))
    text = (
        "Methods are equal on average. Spreads differ between settings and methods, log-uniformly. Where gains "
        "differ between datasets, the headline is about their mean over all datasets, *these datasets* and settings "
        "about the gains on these. The last column is the share of new datasets whose measured gain lies "
        "in the prediction interval."
    )
    return Section("Unequal spreads and unequal datasets", text, ("design", *SIZE), columns, _rows(designs, name))


def _collapses() -> Section:
    sizes = [(1, 1, 3), (1, 1, 5), (1, 1, 10), (5, 3, 3), (5, 3, 5)]
    designs = [d for share in (0.1, 0.2) for d in _sized(sizes, Design(collapse=share))]
    text = (
        "Methods are equal, and runs of all of them collapse: from a random round on they score 5 to 30 points lower. "
        "Differences have heavy tails then, and the t-tests are conservative."
    )
    columns = (*FALSE, *INTERVALS)
    return Section("Collapsed runs in all methods", text, ("collapsed", *SIZE), columns, _rows(designs, _collapsed))


def _equal_collapses() -> Section:
    sizes = [(1, 1, 3), (5, 3, 3), (5, 3, 5)]
    designs = [d for share in (0.1, 0.2) for d in _sized(sizes, Design(collapse=share, same_depth=True))]
    text = (
        "As before, but every collapsed run loses the same 17.5 points after round 0. With three seeds a method all "
        "of whose runs collapse in a setting looks reliably worse there; among 60 comparisons this happens by chance."
    )
    columns = (*FALSE[:2], Column("settings false", "settings false"), *INTERVALS)
    title = "Collapsed runs that end in one score"
    return Section(title, text, ("collapsed", *SIZE), columns, _rows(designs, _collapsed))


def _collapsed(design: Design) -> str:
    return f"{100 * design.collapse:g} % of runs"


def _one_collapses() -> Section:
    sizes = [(1, 1, 3), (1, 1, 5), (1, 1, 10), (1, 1, 20), (5, 3, 3), (5, 3, 10)]
    designs = [d for share in (0.1, 0.2) for d in _sized(sizes, Design(collapse=share, collapsing="one"))]
    columns = (
        Column("headline false better", "false *better*", AT_MOST),
        Column("headline false not worse", "false *not worse*"),
        Column("settings false better", "settings: false *better*", AT_MOST),
        Column("settings false not worse", "settings: false *not worse*"),
        Column("one interval", "interval of that method"),
    )
    losses = " and ".join(f"{100 * share * mean_collapse(False):.2g}" for share in (0.1, 0.2))
    text = (
        f"Runs of one method collapse, which costs it {losses} points on average; all else is equal. *Not worse* is "
        "false where this is more than the margin, 1 point. What a few runs do not show no interval can cover."
    )
    return Section(
        "Collapsed runs in one method", text, ("collapsed", *SIZE), columns,
        _rows(designs, lambda d: f"{100 * d.collapse:g} % of its runs"),
    )  # fmt: skip


def _missing() -> Section:
    sizes = [(1, 1, 5), (1, 1, 10), (1, 1, 20), (3, 1, 5), (5, 3, 3), (5, 3, 5), (5, 3, 10)]
    columns = (
        Column("headline false better", "headline: false *better*", AT_MOST), *FALSE,
        Column("headline interval", "headline interval", least=AT_LEAST),
    )  # fmt: skip
    text = (
        "Methods are equal; of one method the worst 30 % of runs never finish. Its verdict must hold with the missing "
        "runs at their worst, and its interval reaches from their worst to their best."
    )
    return Section("Missing runs", text, SIZE, columns, _rows(list(_sized(sizes, Design(lost=0.3)))))


def _losses() -> Section:
    sizes = [(1, 1, 3), (1, 1, 5), (1, 1, 10), (3, 3, 3), (5, 3, 3), (5, 3, 5)]
    kinds = {"one method": Design(gains=(-MARGIN,)), "all methods": Design(gains=(-MARGIN,) * 4)}
    columns = (
        Column("headline false not worse", "headline", AT_MOST),
        Column("settings false not worse", "settings", AT_MOST),
    )
    rows = [Row(d, (name, *_size(d))) for name, base in kinds.items() for d in _sized(sizes, base)]
    text = "The true loss is the margin, 1 point. Share of studies with any *not worse* (or *better*) of such a method."
    return Section("A loss of the margin", text, ("loss in", *SIZE), columns, tuple(rows))


def _looks() -> Section:
    designs = _sized([(1, 1, 20), (3, 1, 20), (5, 1, 20)], Design())
    pair = _sized([(1, 1, 20)], Design(methods=2))
    columns = (
        Column("first look", "first look", AT_MOST),
        Column("any look", "any look", AT_MOST),
        Column("later look", "any later look"),
    )
    text = (
        "Methods are equal. The study is looked at after 5 seeds and again after every seed up to 20. *Any look*: at "
        "least one of the 16 reports shows a false *better* or *worse* in the headline."
    )
    return Section("Looks", text, SIZE, columns, _rows([*pair, *designs]), measures.looks, 1000)


def _power() -> Section:
    columns = (Column("power", "found *better*"), Column("equals not worse", "equal methods *not worse*"))
    enough = units_needed(MARGIN, Design().sd, family=4) or 0
    bases = [Design(seeds=10), Design(seeds=enough), Design(datasets=5, seeds=5, between=0.004)]
    rows = []
    for base in bases:
        n, sd = base.seeds, base.sd
        if base.datasets > 1:
            n, sd = base.datasets, (base.between**2 + base.sd**2 / (base.regimes * base.seeds)) ** 0.5
        for gain in (0.005, 0.01, 0.02):
            for name, gains in (("one", (gain,)), ("all", (gain,) * 4)):
                design = replace(base, gains=gains)
                first = ALPHA / (design.methods - 1)
                promised = {"power": power(n, gain / sd, first)}
                if name == "one":
                    promised["equals not worse"] = power_not_worse(n, 0.0, sd, MARGIN, first)
                rows.append(Row(design, (f"{100 * gain:g} in {name}", *_size(design)), promised))
    text = (
        "A gain is planted in one method or in all. In brackets what `stats.power` promises for the first step of "
        f"Holm's correction. {enough} seeds are what `units_needed` asks for 1 point at 80 %; with datasets as units "
        "the true gains differ by 0.4 points between them."
    )
    return Section("Power", text, ("points", *SIZE), columns, tuple(rows), studies=1000)


def _single_intervals() -> Section:
    columns = tuple(
        Column(name, heading, least=AT_LEAST)
        for name, heading in (
            ("area", "AUBC"), ("final", "final score"), ("curve", "point of a curve"), ("area gain", "gain in AUBC"),
            ("final gain", "gain in the final score"), ("gain curve", "point of a gain curve"),
        )
    )  # fmt: skip
    rows = _rows(list(_sized([(1, 1, n) for n in (3, 5, 10, 20)], Design(gains=PLANTED))))
    text = (
        "Coverage of the 95 % t-intervals that are not corrected for several methods; true gains 1, 2, -1 and 0 points."
    )
    return Section("Intervals of one setting", text, SIZE, columns, rows, measures.intervals, 500)


def _saved() -> Section:
    columns = (
        Column("saved", "labels saved", least=AT_LEAST),
        Column("saved of all paid", "of all paid labels", least=AT_LEAST),
        Column("more needed", "more that Random needs", least=AT_LEAST),
        Column("estimable", "estimable"),
    )
    rows = _rows(list(_sized([(1, 1, n) for n in (3, 5, 10, 20)], Design(gains=PLANTED))))
    text = "Coverage of the budgets of equal true scores by the intervals shown; true gains 1, 2, -1 and 0 points."
    return Section("Labels saved", text, SIZE, columns, rows, measures.labels_saved, 1000)


def _penalty() -> Section:
    columns = (
        Column("raw win", "raw"), Column("Holm win", "Holm", AT_MOST), Column("band win", "null band", AT_MOST),
        Column("win shown", "marked as more than chance", AT_MOST),
    )  # fmt: skip
    rows = _rows(list(_sized([(d, g, n) for d, g in GRID for n in (3, 5)], Design())))
    text = "Methods are equal. Share of studies whose penalty matrix shows a win in any cell."
    return Section("Penalty matrix", text, SIZE, columns, rows, measures.penalty, 500)


def sections() -> list[Section]:
    """All sections, in the order of the page."""
    return [
        _identical(), _uneven(), _collapses(), _equal_collapses(), _one_collapses(), _missing(), _losses(), _looks(),
        _power(), _single_intervals(), _saved(), _penalty(),
    ]  # fmt: skip
