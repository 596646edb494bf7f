"""Seconds of each query method against scikit-activeml and the plain algorithms, on the same pool in the same process.

    python bench/query.py                          # pools of 10,000; some minutes, most of them the peers'
    python bench/query.py --full                   # pools of 50,000
    python bench/query.py --only core-set badge    # some of: scores, core-set, badge, batch-bald
    python bench/query.py --device cuda --huge     # a million samples, 100 classes, 1,000 picks; without peers
    python bench/query.py --json result.json

Contenders take turns, and the best of their turns counts. What a peer cannot finish runs at a smaller n, and so does
ours beside it: every ratio is of one n. All start from the same log-probabilities.
"""

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import skactiveml
import torch
from skactiveml.base import SkactivemlClassifier
from skactiveml.pool import Badge, batch_bald, uncertainty_scores
from skactiveml.pool._core_set import k_greedy_center

from fathom.core.streams import Stream
from fathom.query.method import build_query
from fathom.query.view import PoolView

LABELED, FEATURES, DRAWS = 1000, 512, 50
OURS = "fathom"


@dataclass
class Row:
    """One contender beside ours."""

    method: str
    n: int
    classes: int
    query_size: int
    peer: str
    peer_seconds: float
    seconds: float
    ratio: float
    agreement: str


@dataclass
class Contest:
    """One task done by several implementations, ours first."""

    method: str
    view: PoolView
    size: int
    contenders: dict[str, Callable[[], Any]]
    agreement: Callable[[Any, Any], str]


# ------------------------------------------------------------------------------------------------------------ pools


def make_pool(n: int, classes: int, draws: int = 1) -> PoolView:
    """Rectified features around class means, a linear head that half knows them, dropout 0.5 before it in each draw."""
    rng = torch.Generator().manual_seed(0)
    means = torch.randn(classes, FEATURES, generator=rng)
    labels = torch.randint(classes, (n + LABELED,), generator=rng)
    features = torch.relu(0.5 * means[labels] + torch.randn(n + LABELED, FEATURES, generator=rng))
    head = (0.02 * means + 0.05 * torch.randn(classes, FEATURES, generator=rng)).T
    if draws > 1:
        masks = 2.0 * torch.randint(2, (draws, FEATURES), generator=rng)
        logits = torch.stack([(features[:n] * mask) @ head for mask in masks], 1)
    else:
        logits = (features[:n] @ head)[:, None]
    return PoolView(logits.log_softmax(2), features[:n], features[n:], labels[n:])


def ours(text: str, view: PoolView, size: int) -> np.ndarray:
    """Our picks; on the host, so that a device has finished."""
    return build_query(text).select([view], size, Stream(0)).positions.cpu().numpy()


# ------------------------------------------------------------------------------------------------------------ peers


def plain_bald(probs: np.ndarray) -> np.ndarray:
    """H(mean) - mean H in NumPy, as it is written."""
    mean = probs.mean(1)
    return -(mean * np.log(mean)).sum(1) + (probs * np.log(probs)).sum(2).mean(1)


def plain_core_set(view: PoolView, size: int, dtype: torch.dtype = torch.float32) -> np.ndarray:
    """k-center greedy with one pass over the pool a pick."""
    x = view.features.to(dtype)
    nearest = torch.cdist(x, view.labeled_features.to(dtype)).amin(1).square()
    picks = []
    for _ in range(size):
        picks.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (x - x[picks[-1]]).square().sum(1))
    return np.array(picks)


def peer_core_set(view: PoolView, size: int) -> np.ndarray:
    features = torch.cat([view.features, view.labeled_features]).numpy()
    labels = np.full(len(features), np.nan)
    labels[len(view) :] = 0
    return k_greedy_center(features, labels, batch_size=size)[0]


def plain_badge(view: PoolView, size: int) -> np.ndarray:
    """k-means++ on explicit gradients, one pass a pick."""
    probs = view.log_probs[:, 0].exp()
    residual = probs - torch.nn.functional.one_hot(probs.argmax(1), probs.shape[1])
    gradients = (residual[:, :, None] * view.features[:, None, :]).flatten(1)
    rng = np.random.default_rng(0)
    picks = [int(gradients.square().sum(1).argmax())]
    nearest = np.full(len(view), np.inf)
    while len(picks) < size:
        nearest = np.minimum(nearest, (gradients - gradients[picks[-1]]).square().sum(1).double().numpy())
        nearest[picks] = 0
        picks.append(int(np.searchsorted(nearest.cumsum(), rng.random() * nearest.sum(), side="right")))
    return np.array(picks)


class Known(SkactivemlClassifier):
    """A classifier that knows its predictions: so that only the query is measured."""

    def __init__(self, probs: Any = None, classes: Any = None, missing_label: float = np.nan) -> None:
        super().__init__(classes=classes, missing_label=missing_label)
        self.probs = probs

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Known":
        return self

    def predict_proba(self, X: Any) -> Any:
        return self.probs


def peer_badge(view: PoolView, size: int) -> np.ndarray:
    probs = view.log_probs[:, 0].exp().numpy()
    known = Known(probs, classes=list(range(probs.shape[1])))
    x = view.features.numpy()
    return np.array(Badge(random_state=0).query(x, np.full(len(x), np.nan), known, fit_clf=False, batch_size=size))


def peer_batch_bald(view: PoolView, size: int) -> np.ndarray:
    probs = view.log_probs.exp().numpy().swapaxes(0, 1).copy()
    return np.nanargmax(batch_bald(probs, size, n_MC_samples=40_000, random_state=0), axis=1)


# --------------------------------------------------------------------------------------------------------- contests


def common(a: np.ndarray, b: np.ndarray) -> str:
    """How many picks are the same, in order, before the first that differs."""
    differ = np.flatnonzero(a != b)
    return "all" if len(differ) == 0 else f"first {differ[0]}"


def same_order(a: np.ndarray, b: np.ndarray) -> str:
    return f"{common(a, b)} picks equal"


def close(a: torch.Tensor, b: np.ndarray) -> str:
    return f"largest difference {np.abs(a.numpy() - b).max():.0e}"


def random_picks(a: np.ndarray, b: np.ndarray) -> str:
    return f"both draw; {len(set(a))} and {len(set(b))} distinct"


def scores(n: int) -> Iterator[Contest]:
    view = make_pool(n, 10)
    log_probs = view.log_probs[:, 0].double().numpy()
    for text, peer in (("entropy", "entropy"), ("least-confidence", "least_confident"), ("margin", "margin_sampling")):
        contenders = {
            OURS: partial(build_query(text).function, view),
            "scikit-activeml": lambda method=peer: uncertainty_scores(np.exp(log_probs), method=method),
        }
        yield Contest(text, view, n, contenders, close)
    view_of_draws = make_pool(n, 10, DRAWS)
    single = view_of_draws.log_probs.numpy()
    contenders = {
        OURS: lambda: build_query("bald").function(view_of_draws),
        "NumPy": lambda: plain_bald(np.exp(single)),
    }
    yield Contest("bald", view_of_draws, n, contenders, close)


def core_set(n: int, size: int) -> Iterator[Contest]:
    view = make_pool(n, 10)
    contenders = {
        OURS: lambda: ours("core-set", view, size),
        "one pass a pick": lambda: plain_core_set(view, size),
        "scikit-activeml": lambda: peer_core_set(view, size),
    }
    truth = plain_core_set(view, size, torch.float64)

    def agreement(a: np.ndarray, b: np.ndarray) -> str:
        return f"picks as in float64: ours {common(a, truth)}, peer {common(b, truth)}"

    yield Contest("core-set", view, size, contenders, agreement)


def badge(n: int, size: int, slow_n: int) -> Iterator[Contest]:
    view, small = make_pool(n, 10), make_pool(slow_n, 10)
    contenders = {
        OURS: lambda: ours("badge", view, size),
        "factored, one pass a pick": lambda: ours("badge(sampler=inverse)", view, size),
    }
    yield Contest("badge", view, size, contenders, random_picks)
    slow = min(size, 200)
    contenders = {
        OURS: lambda: ours("badge", small, slow),
        "explicit gradients": lambda: plain_badge(small, slow),
        "scikit-activeml": lambda: peer_badge(small, slow),
    }
    yield Contest("badge", small, slow, contenders, random_picks)


def joint(n: int, size: int) -> Iterator[Contest]:
    view = make_pool(n, 10, DRAWS)
    contenders = {OURS: lambda: ours("batch-bald", view, size), "scikit-activeml": lambda: peer_batch_bald(view, size)}
    yield Contest("batch-bald", view, size, contenders, same_order)


def contests(options: argparse.Namespace) -> Iterator[Contest]:
    n = options.n or (50_000 if options.full else 10_000)
    size = min(options.query_size, n // 4)
    if "scores" in options.only:
        yield from scores(n)
    if "core-set" in options.only:
        yield from core_set(n, size)
    if "badge" in options.only:
        yield from badge(n, size, slow_n=min(n, 5_000))
    if "batch-bald" in options.only:
        yield from joint(min(n, 10_000 if options.full else 1_000), min(6, size))


def measure(contest: Contest, repeats: int) -> Iterator[Row]:
    """Every contender once a turn; scores are over in milliseconds and take more turns."""
    best, results = dict.fromkeys(contest.contenders, float("inf")), {}
    for _ in range(repeats if contest.size < len(contest.view) else 5 * repeats):
        for name, work in contest.contenders.items():
            start = time.perf_counter()
            results[name] = work()
            best[name] = min(best[name], time.perf_counter() - start)
    for name in list(contest.contenders)[1:]:
        yield Row(
            contest.method, len(contest.view), contest.view.log_probs.shape[2], contest.size, name, best[name],
            best[OURS], best[name] / best[OURS], contest.agreement(results[OURS], results[name]),
        )  # fmt: skip


def huge(options: argparse.Namespace) -> Iterator[Row]:
    """Ours alone, at a size where no peer finishes."""
    n, classes, size = options.n or 1_000_000, 100, options.query_size
    pool = make_pool(n, classes)
    parts = (pool.log_probs, pool.features, pool.labeled_features, pool.labeled_labels)
    view = PoolView(*(part.to(options.device) for part in parts))
    for text in ("entropy", "core-set", "badge"):
        seconds = []
        for _ in range(options.repeats + 1):  # the first one warms up
            start = time.perf_counter()
            ours(text, view, size)
            seconds.append(time.perf_counter() - start)
        yield Row(text, n, classes, size, "-", float("nan"), min(seconds[1:]), float("nan"), f"on {options.device}")


# ------------------------------------------------------------------------------------------------------------ output


def machine(options: argparse.Namespace) -> dict[str, str]:
    """The settings that the figures depend on."""
    info = Path("/proc/cpuinfo")
    models = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        if info.exists()
        else []
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return {
        "processor": f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores",
        "threads": str(options.threads),
        "device": torch.cuda.get_device_name() if options.device.startswith("cuda") else "cpu",
        "torch": torch.__version__,
        "scikit-activeml": skactiveml.__version__,
        "commit": commit.stdout.strip() or "unknown",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="pools of 50,000 instead of 10,000")
    parser.add_argument("--n", type=int, help="another size of the pools")
    parser.add_argument("--query-size", type=int, default=500)
    parser.add_argument("--only", nargs="+", default=["scores", "core-set", "badge", "batch-bald"])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="for --huge")
    parser.add_argument("--huge", action="store_true", help="a million samples, 100 classes; ours alone")
    parser.add_argument("--json", type=Path, help="file for the results")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    facts = machine(options)
    print("# " + "; ".join(f"{name}: {value}" for name, value in facts.items()))
    print(f"{'method':<18}{'n':>9}{'c':>5}{'picks':>8}  {'peer':<26}{'peer s':>9}{'ours s':>9}{'ratio':>8}  agreement")
    rows = []
    found = huge(options) if options.huge else (row for c in contests(options) for row in measure(c, options.repeats))
    for row in found:
        rows.append(row)
        print(f"{row.method:<18}{row.n:>9}{row.classes:>5}{row.query_size:>8}  {row.peer:<26}{row.peer_seconds:>9.3f}"
              f"{row.seconds:>9.3f}{row.ratio:>8.1f}  {row.agreement}", flush=True)  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps({"machine": facts, "rows": [asdict(row) for row in rows]}, indent=1))


if __name__ == "__main__":
    main()
