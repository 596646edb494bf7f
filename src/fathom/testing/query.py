"""Contract of query methods."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from fathom.core.member_call import collected
from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.query.method import QueryMethod, build_query
from fathom.query.view import PoolView, Selection
from fathom.registry.registry import find
from fathom.testing.purity import global_state, other_python_state, refuse

WHOLE = "the whole pool queried"
CHUNK = 7  # samples; divides no pool of the cases


def check_query(text: str, device: torch.device | str = "cpu") -> None:
    """Run a query method on difficult pools and check it against the contract.

    Args:
        text: Spec string of a registered method.
        device: Device of the pools.

    Raises:
        FathomError: The method breaks the contract; the message lists every finding (see `query_findings`).
    """
    refuse("query method", text, query_findings(text, device))


def query_findings(text: str, device: torch.device | str = "cpu") -> list[str]:
    """List how a query method breaks the contract; empty if it keeps it.

    For pools large and small, with few and many classes, without labeled samples, of equal samples, with certain
    predictions and with features of zero, given only what it declared to need, the method must: finish; give as
    many distinct positions as asked for (all of them if asked for all) and finite scores, on the pool's device; give
    the same for the same stream, whether the pool comes whole or in chunks; tell ordinary samples apart;
    change neither its inputs nor a setting or random state of the process; and have a line of documentation.

    Raises:
        FathomError: The method cannot be built: unknown name or parameter, or it cannot be imported.
    """
    entry, _ = find("query", text)
    method = build_query(text)
    findings = [] if entry.summary else [f"{entry.attribute} has no docstring; its first line is shown in lists"]
    with collected():  # also what the repetitions change, which the first call has been told of
        for case in _cases(method, torch.device(device)):
            findings += [f"{case.name}: {finding}" for finding in _examine(method, case)]
    return findings


# ---------------------------------------------------------------------------------------------------------- cases


@dataclass(frozen=True)
class _Case:
    name: str
    view: PoolView
    size: int


def _cases(method: QueryMethod, device: torch.device) -> Iterator[_Case]:
    def case(
        name: str, size: int, n: int = 40, c: int = 4, m: int = 10, sharp: float = 1.0, equal: str = "",
        dtype: torch.dtype = torch.float32,
    ) -> _Case:  # fmt: skip
        draws = max(1, method.draws) if method.predictions else 0
        rng = torch.Generator().manual_seed(n + 1000 * c + m)
        logits = torch.randn(n, draws, c, generator=rng)
        features = torch.randn(n, 6, generator=rng)
        labeled = torch.randn(m, 6, generator=rng)
        if equal == "samples":
            logits, features = logits[:1].expand_as(logits), features[:1].expand_as(features)
        if equal == "features":
            features, labeled = torch.zeros_like(features), torch.zeros_like(labeled)
        view = PoolView(
            log_probs=(sharp * logits).log_softmax(2).to(device, dtype).clone(),
            features=features.to(device, dtype).clone() if method.features else torch.zeros(n, 0, device=device),
            labeled_features=labeled.to(device, dtype) if method.labeled else torch.zeros(0, 0, device=device),
            labeled_labels=torch.randint(c, (m if method.labeled else 0,), generator=rng).to(device),
        )
        return _Case(name, view, size)

    yield case("an ordinary pool", 6)
    yield case("no labeled samples", 6, m=0)
    yield case("a pool of one sample", 1, n=1)
    yield case(WHOLE, 9, n=9)
    yield case("two classes", 6, c=2)
    yield case("a hundred classes", 3, n=24, c=100)
    yield case("all samples equal", 10, equal="samples")
    yield case("certain predictions", 10, sharp=1e4)
    yield case("features of zero", 6, equal="features")
    yield case("double precision", 6, dtype=torch.float64)


# --------------------------------------------------------------------------------------------------------- checks


def _examine(method: QueryMethod, case: _Case) -> Iterator[str]:
    stream = Stream(0, ("query", 0))
    before = _snapshot(case.view)
    size = min(case.size, method.subsample) if method.subsample else case.size
    try:
        with global_state() as touched:
            first = method.select([case.view], size, stream)
    except FathomError as error:
        yield str(error)
        return
    except Exception as error:  # any error is a finding, and the next case is still tried
        yield f"{method.text} raised {type(error).__name__}: {error}"
        return
    yield from touched
    if changed := [f.name for f in fields(case.view) if not torch.equal(before[f.name], getattr(case.view, f.name))]:
        yield f"{method.text} changed its input: {', '.join(changed)}"
        return
    if method.kind == "score" and case.name == WHOLE and _constant(first):
        yield f"{method.text} gives all samples one score, so picks are random; does it need @score(..., draws=20)?"
    with other_python_state():
        second = method.select([case.view], size, stream)
    if not _same(first, second):
        yield f"{method.text} gives other picks for the same stream; draw from stream.numpy() or stream.torch()"
    elif not _same(first, method.select(_chunks(case.view), size, stream)):
        yield f"{method.text} gives other picks when the pool comes in chunks; a score must not depend on other samples"


def _snapshot(view: PoolView) -> dict[str, Tensor]:
    return {f.name: getattr(view, f.name).clone() for f in fields(view)}


def _chunks(view: PoolView) -> Iterator[PoolView]:
    for start in range(0, len(view), CHUNK):
        rows = slice(start, start + CHUNK)
        yield PoolView(view.log_probs[rows], view.features[rows], view.labeled_features, view.labeled_labels)


def _constant(picked: Selection) -> bool:
    """True for scores that differ by rounding at most."""
    if (scores := picked.scores) is None or len(scores) < 2:
        return False
    return float(scores.max() - scores.min()) <= 1e-6 * max(1.0, float(scores.abs().max()))


def _same(a: Selection, b: Selection) -> bool:
    """True for equal picks and scores equal up to rounding, which depends on the shapes of products."""
    if not torch.equal(a.positions, b.positions) or (a.scores is None) != (b.scores is None):
        return False
    return a.scores is None or b.scores is None or torch.allclose(a.scores, b.scores, rtol=1e-4, atol=1e-7)
