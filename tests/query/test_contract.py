"""The contract of query methods over the registry (a new method brings no boilerplate), and what it catches."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from tests.faults import fault
from tests.query.pools import pool

from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.query.method import build_query
from fathom.query.view import PoolView
from fathom.registry import registry
from fathom.registry.registry import add_file, index
from fathom.testing import check_query, query_findings

BUILT_IN = [name for name in index()["query"] if "/" not in name]
VARIANTS = [
    "bald(sampling=power, stratify=true)", "entropy(sampling=softmax, beta=5.0)", "margin(sampling=softrank)",
    "variation-ratios(of=votes)", "badge(sampler=inverse)", "entropy(subsample=20)", "batch-bald(num_samples=100)",
]  # fmt: skip


def test_all_methods_are_there() -> None:
    uncertainty = {"entropy", "least-confidence", "margin", "variation-ratios", "bald"}
    assert set(BUILT_IN) >= uncertainty | {"random", "batch-bald", "core-set", "badge"}


@pytest.mark.parametrize("text", BUILT_IN + VARIANTS)
def test_every_query_method_keeps_the_contract(text) -> None:
    check_query(text)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("text", BUILT_IN + VARIANTS)
def test_every_query_method_keeps_the_contract_on_a_device(text) -> None:
    check_query(text, "cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("text", ["entropy", "bald(draws=5)", "core-set", "badge", "batch-bald(draws=5)", "random"])
def test_a_device_picks_what_the_processor_picks(text) -> None:
    view = pool(n=500, k=5 if "draws" in text else 1, d=32)
    on_device = PoolView(*(getattr(view, f.name).cuda() for f in fields(view)))
    here, there = build_query(text).select([view], 40, Stream(0)), build_query(text).select([on_device], 40, Stream(0))
    assert there.positions.is_cuda
    assert there.positions.tolist() == here.positions.tolist()


BREACHES = '''"""Methods that each break the contract in one way."""
import random
import numpy as np
import torch
import fathom

RUNS = iter(range(10**6))

@fathom.score("undocumented")
def undocumented(view): return view.log_probs[:, 0, 0].exp()

@fathom.score("torch-random")
def torch_random(view):
    """Draws from torch."""
    return torch.rand(len(view))

@fathom.selection("numpy-random")
def numpy_random(view, size, stream):
    """Draws from NumPy."""
    return torch.from_numpy(np.random.permutation(len(view))[:size])

@fathom.selection("python-random")
def python_random(view, size, stream):
    """Draws from Python."""
    return torch.tensor(random.sample(range(len(view)), size))

@fathom.selection("own-random")
def own_random(view, size, stream):
    """Draws from a generator of its own."""
    return torch.from_numpy(np.random.default_rng().permutation(len(view))[:size])

@fathom.selection("writes")
def writes(view, size, stream):
    """Changes the pool behind torch's back."""
    view.log_probs.numpy()[:] = 0
    return torch.arange(size)

@fathom.score("looks-around")
def looks_around(view):
    """Compares a sample with the rest of its chunk."""
    p = view.log_probs[:, 0, 0].exp()
    return (p - p.mean()).abs()

@fathom.selection("repeats", predictions=False)
def repeats(view, size, stream):
    """Picks one sample over and over."""
    return torch.zeros(size, dtype=torch.long)

@fathom.score("undeclared")
def undeclared(view):
    """Uses features that it did not ask for."""
    return view.features[:, 0]

@fathom.score("looks-at-labeled")
def looks_at_labeled(view):
    """Compares with labeled samples that it did not ask for."""
    return view.log_probs[:, 0, 0].exp() + len(view.labeled_labels)

@fathom.selection("unpredicted", predictions=False, features=True)
def unpredicted(view, size, stream):
    """Reads predictions that it declined."""
    return view.mean_probs().amax(1).argsort()[:size]

@fathom.score("no-draws")
def no_draws(view):
    """Compares draws that it did not ask for."""
    return view.log_probs.exp().var(dim=1, correction=0).sum(dim=1)

@fathom.score("threads")
def threads(view):
    """Takes two threads."""
    torch.set_num_threads(2)
    return view.log_probs[:, 0, 0].exp()

@fathom.score("leaves")
def leaves(view):
    """Leaves the program."""
    raise SystemExit(0)

@fathom.score("exits")
def exits(view):
    """Leaves it at once."""
    import os
    os._exit(0)

@fathom.score("interrupts")
def interrupts(view):
    """Looks like Ctrl-C."""
    raise KeyboardInterrupt

@fathom.score("not-finite")
def not_finite(view):
    """The logarithm of a probability that may be 0."""
    return -view.log_probs[:, 0].exp().amin(1).log()

@fathom.score("shadows")
def shadows(view, *, beta=2.0):
    """Has a parameter that every score has."""
    return view.log_probs[:, 0, 0].exp() ** beta

@fathom.score("keeps")
def keeps(view):
    """Keeps the contract."""
    return view.log_probs[:, 0, 0].exp()
'''


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = Path(tmp_path_factory.mktemp("plugin")) / "breaches_of_contract.py"
    path.write_text(BREACHES)
    yield add_file(path)
    registry._files.pop(path.stem)
    registry.index.cache_clear()


@fault("methods", "query method that breaks the contract", "check-query finds and names it")
@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("undocumented", "undocumented has no docstring"),
        ("torch-random", "an ordinary pool: uses the global random state of torch"),
        ("numpy-random", "uses the global random state of NumPy"),
        ("python-random", "gives other picks for the same stream"),
        ("own-random", "gives other picks for the same stream"),
        ("writes", "changed its input: log_probs"),
        ("looks-around", "gives other picks when the pool comes in chunks"),
        ("repeats", "must return distinct positions"),
        ("undeclared", "has not declared"),
        (
            "undeclared",
            "undeclared reads view.features, which it has not declared, so it was not computed. Declare it "
            "in the decorator: @score(..., features=True)",
        ),
        ("looks-at-labeled", "@selection(..., labeled=True); a score cannot, so make it a @selection"),
        ("unpredicted", "reads view.log_probs, which it has not declared"),
        ("no-draws", "gives all samples one score"),
        ("threads", "changes torch's number of threads from 1 to 2"),
        ("leaves", "leaves raised SystemExit(0), which would end the whole command"),
        ("exits", "exits called os._exit(0)"),
        ("interrupts", "interrupts raised KeyboardInterrupt"),
        ("not-finite", "certain predictions: breaches_of_contract/not-finite: "),
    ],
)
def test_a_breach_is_found_and_named(name, finding, prefix) -> None:
    findings = query_findings(f"{prefix}/{name}")
    assert any(finding in found for found in findings), findings
    with pytest.raises(FathomError, match="breaks its contract in"):
        check_query(f"{prefix}/{name}")


def test_who_keeps_the_contract_is_left_alone(prefix) -> None:
    assert query_findings(f"{prefix}/keeps") == []


def test_a_parameter_that_every_method_has_cannot_be_taken(prefix) -> None:
    with pytest.raises(FathomError, match="rename its beta, which every score method has"):
        check_query(f"{prefix}/shadows")
