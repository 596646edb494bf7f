"""What `build` refuses, what `select` checks, and what it leaves alone."""

import weakref
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.faults import fault
from tests.query.pools import pool, rows

from fathom.core.records import FathomError, NonFiniteError
from fathom.core.streams import Stream
from fathom.design.dropout import DRAWS
from fathom.query.method import QueryMethod, build_query
from fathom.query.view import PoolView

SCORES_NOT_FINITE = fault(
    "methods", "scores that are not finite", "typed failure of the method alone, nothing selected"
)
WRONG_PICKS = fault(
    "methods",
    "picks that are double, labeled, out of range, too few or no integers",
    "each refused with its own message",
)


def method(function, kind: str = "selection", **options) -> QueryMethod:
    needs = {"draws": 0, "features": "", "labeled": False, "predictions": True} | options
    return QueryMethod("mine", kind, function=function, **needs)


# ------------------------------------------------------------------------------------------------------------ build


def test_what_a_method_needs_is_known_from_its_name() -> None:
    needs = {name: build_query(name) for name in ("random", "entropy", "bald", "core-set", "badge", "bald(draws=20)")}
    assert not needs["random"].predictions
    assert all(m.predictions for name, m in needs.items() if name != "random")
    assert [m.draws for m in needs.values()] == [0, 0, DRAWS, 0, 0, 20]
    assert [m.features for m in needs.values()] == ["", "", "", "encoder", "last", ""]
    assert [m.labeled for m in needs.values()] == [False, False, False, True, False, False]
    assert needs["bald"].kind == "score"
    assert needs["badge"].kind == "selection"


def test_the_text_is_canonical() -> None:
    assert build_query(" bald( subsample=100,draws=20 ) ").text == "bald(draws=20, subsample=100)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("entropie", "Did you mean 'entropy'"),
        ("entropy(beta=2.0)", "no effect on sampling=top"),
        ("entropy(sampling=power, beta=0)", "beta must be above 0; got 0"),
        ("entropy(sampling=best)", "Expected one of: top, power, softmax, softrank"),
        ("entropy(draws=10)", "this one uses the plain softmax"),
        ("bald(draws=1)", "draws must be at least 2"),
        ("bald(draws=0)", "draws must be at least 2"),
        ("bald(draws=none)", "draws expects int"),
        ("entropy(subsample=-1)", "or 0 for the whole pool; got -1"),
        ("badge(sampling=power)", "no parameter 'sampling'"),
        ("entropy(stratify=none)", "stratify expects bool"),
        ("random(dropout=1)", r"auto or a probability in \[0, 1\); got 1"),
        ("random(dropout=-0.1)", "got -0.1"),
        ("random(dropout=some)", "got some"),
        ("bald(dropout=0)", "without dropout all draws are equal"),
    ],
)
def test_build_refuses(text, message) -> None:
    with pytest.raises(FathomError, match=message):
        build_query(text)


@pytest.mark.parametrize("dropout", [0, 0.5, 0.999])
def test_dropout_of_the_classifier_is_a_probability(dropout) -> None:
    assert build_query(f"random(dropout={dropout})").dropout == dropout
    assert build_query("random").dropout == "auto"


def test_own_parameters_reach_the_function() -> None:
    view = pool(k=5)
    votes = build_query("variation-ratios(draws=5, of=votes)").select([view], 60, Stream(0)).scores
    assert torch.allclose(votes * 5, (votes * 5).round(), atol=1e-6)
    with pytest.raises(FathomError, match="sampler expects rejection or inverse"):
        build_query("badge(sampler=fast)").select([pool()], 3, Stream(0))


# ------------------------------------------------------------------------------------------------------- candidates


def test_candidates_are_a_sorted_random_part_of_the_pool() -> None:
    part = build_query("badge(subsample=30)").candidates(100, Stream(0))
    assert len(part.unique()) == 30
    assert torch.equal(part, part.sort().values)
    assert part.min() >= 0
    assert part.max() < 100
    assert torch.equal(part, build_query("entropy(subsample=30)").candidates(100, Stream(0)))
    assert not torch.equal(part, build_query("badge(subsample=30)").candidates(100, Stream(1)))
    assert build_query("badge(subsample=100)").candidates(100, Stream(0)) is None
    assert build_query("badge").candidates(100, Stream(0)) is None


# ----------------------------------------------------------------------------------------------------------- select


@pytest.mark.parametrize(
    "text", ["entropy", "entropy(sampling=power, beta=2.0)", "margin(stratify=true)", "core-set", "badge"]
)
@settings(derandomize=True, max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(1, 59), max_size=5))
def test_chunks_change_nothing(text, cuts) -> None:
    view = pool(n=60)
    edges = [0, *sorted(set(cuts)), 60]
    chunks = (rows(view, slice(a, b)) for a, b in pairwise(edges))
    whole, parted = build_query(text).select([view], 10, Stream(0)), build_query(text).select(chunks, 10, Stream(0))
    assert whole.positions.tolist() == parted.positions.tolist()
    torch.testing.assert_close(whole.scores, parted.scores)


def test_strata_are_the_predicted_classes_of_the_mean() -> None:
    view = pool(n=200, k=5, c=4)
    predicted = view.log_probs.exp().mean(1).argmax(1)
    picks = build_query("bald(draws=5, stratify=true)").select(
        [rows(view, slice(0, 90)), rows(view, slice(90, 200))], 40, Stream(0)
    )
    assert predicted[picks.positions].bincount().tolist() == [10] * 4
    plain = build_query("bald(draws=5)").select([view], 40, Stream(0))
    assert predicted[plain.positions].bincount(minlength=4).tolist() != [10] * 4


def test_the_highest_scores_are_taken_unless_something_else_is_asked_for() -> None:
    view = pool(n=60)
    scores = view.log_probs[:, 0, 0]
    picks = method(lambda view: view.log_probs[:, 0, 0], kind="score").select([view], 5, Stream(0))
    assert picks.positions.tolist() == scores.argsort(descending=True)[:5].tolist()


def test_a_score_keeps_no_chunk() -> None:
    """A pool of millions streams through: each chunk is gone when the next but one comes."""
    alive: list[weakref.ref[PoolView]] = []

    def chunks() -> Iterator[PoolView]:
        for seed in range(6):
            view = pool(n=10, seed=seed)
            alive.append(weakref.ref(view))
            yield view
            del view
            assert sum(ref() is not None for ref in alive) <= 1

    assert len(build_query("margin(stratify=true)").select(chunks(), 20, Stream(0)).positions) == 20


@pytest.mark.parametrize(("size", "message"), [(61, "cannot query 61 samples from a pool of 60"), (0, "at least 1")])
@pytest.mark.parametrize("text", ["entropy", "badge", "random"])
def test_impossible_sizes_are_refused(text, size, message) -> None:
    with pytest.raises(FathomError, match=message):
        build_query(text).select([pool()], size, Stream(0))
    with pytest.raises(FathomError, match="from a pool of 0"):
        build_query(text).select([], 1, Stream(0))


def test_a_subsample_smaller_than_the_query_is_named() -> None:
    with pytest.raises(FathomError, match=r"Only 60 were considered \(subsample\)"):
        build_query("badge(subsample=60)").select([pool()], 61, Stream(0))


@SCORES_NOT_FINITE
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_scores_that_are_not_finite_select_nothing(bad) -> None:
    def score(view: PoolView) -> torch.Tensor:
        return torch.tensor([0.5, bad, bad] + [0.0] * 57)

    with pytest.raises(NonFiniteError, match="mine: 2 of 60 scores are not finite, nothing was selected"):
        method(score, "score").select([pool()], 3, Stream(0))


@SCORES_NOT_FINITE
@pytest.mark.parametrize(("text", "part"), [("core-set", "features"), ("badge", "features"), ("badge", "log_probs"),
                                            ("core-set", "labeled_features"), ("entropy", "log_probs")])  # fmt: skip
def test_inputs_that_are_not_finite_select_nothing(text, part) -> None:
    view = pool()
    getattr(view, part)[3] = torch.nan
    with pytest.raises(NonFiniteError, match="nothing"):
        build_query(text).select([view], 3, Stream(0))


@WRONG_PICKS
@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (torch.ones(59), r"one floating-point number for each of 60 samples; got torch.float32 \[59\]"),
        (torch.ones(60, dtype=torch.long), "got torch.int64"),
        ([1.0] * 60, "got list"),
    ],
)
def test_a_score_of_the_wrong_kind_is_refused(scores, message) -> None:
    with pytest.raises(FathomError, match=message):
        method(lambda view: scores, "score").select([pool()], 3, Stream(0))


@WRONG_PICKS
@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([0, 1, 2], "1-d tensor of positions on cpu; got list"),
        (torch.tensor([[0, 1, 2]]), "1-d tensor"),
        (torch.tensor([0.0, 1.0, 2.0]), "integer positions; got torch.float32"),
        (torch.tensor([True, True, True]), "integer positions; got torch.bool"),
        (torch.tensor([0, 1]), "exactly 3 positions; got 2"),
        (torch.tensor([0, 1, 60]), "from 0 to 59; 1 lie outside"),
        (torch.tensor([0, 1, -1]), "from 0 to 59; 1 lie outside"),
        (torch.tensor([5, 5, 5]), "distinct positions; 2 of 3 are repetitions"),
    ],
)
def test_positions_of_the_wrong_kind_are_refused(positions, message) -> None:
    with pytest.raises(FathomError, match=message):
        method(lambda view, size, stream: positions).select([pool()], 3, Stream(0))


def test_plain_positions_of_any_integer_type_will_do() -> None:
    picked = method(lambda view, size, stream: torch.arange(size, dtype=torch.int32)).select([pool()], 3, Stream(0))
    assert picked.positions.tolist() == [0, 1, 2]
    assert picked.positions.dtype == torch.int64
    assert picked.scores is None


@fault("methods", "query method that changes its inputs", "refused")
@pytest.mark.parametrize("part", ["log_probs", "features", "labeled_features", "labeled_labels"])
@pytest.mark.parametrize("kind", ["score", "selection"])
def test_changing_the_view_is_refused(kind, part) -> None:
    def score(view: PoolView) -> torch.Tensor:
        getattr(view, part).mul_(1)
        return torch.zeros(60)

    def choose(view: PoolView, size: int, stream: Stream) -> torch.Tensor:
        return score(view).argsort()[:size]

    declared = replace(method(score if kind == "score" else choose, kind), features="last", labeled=True)
    with pytest.raises(FathomError, match="changed its view in place"):
        declared.select([pool()], 3, Stream(0))


def test_a_view_without_what_is_needed_is_refused() -> None:
    with pytest.raises(FathomError, match="needs 50 draws of each prediction; the view has 1"):
        build_query("bald").select([pool()], 3, Stream(0))
    with pytest.raises(FathomError, match=r"needs features of the classifier; the view has \[60, 0\]"):
        build_query("badge").select([pool(d=0)], 3, Stream(0))
    view = pool()
    wrong = PoolView(view.log_probs, view.features, torch.zeros(10, 9), view.labeled_labels)
    with pytest.raises(FathomError, match=r"needs labeled_features of the classifier; the view has \[10, 9\]"):
        build_query("core-set").select([wrong], 3, Stream(0))


@pytest.mark.parametrize("text", ["core-set", "badge", "batch-bald(draws=5)", "entropy"])
def test_the_precision_set_for_training_does_not_reach_the_query(text) -> None:
    view = pool(n=300, k=5 if "draws" in text else 1, d=32, dtype=torch.float32)
    plain = build_query(text).select([view], 20, Stream(0)).positions.tolist()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert build_query(text).select([view], 20, Stream(0)).positions.tolist() == plain
            assert torch.is_autocast_enabled("cpu")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_the_precision_is_that_of_training_again_even_after_an_error() -> None:
    def fail(view: PoolView) -> torch.Tensor:
        assert torch.backends.cuda.matmul.fp32_precision == torch.backends.mkldnn.matmul.fp32_precision == "ieee"
        assert not torch.is_grad_enabled()
        raise RuntimeError("on purpose")

    torch.backends.cuda.matmul.fp32_precision = "tf32"  # set so, torch.get_float32_matmul_precision() would raise
    try:
        with pytest.raises(RuntimeError, match="on purpose"):
            method(fail, "score").select([pool()], 3, Stream(0))
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
        assert torch.is_grad_enabled()
    finally:
        torch.backends.cuda.matmul.fp32_precision = "ieee"


@fault("gpu", "a notebook sets float32 products to `high`", "query products are IEEE and raise nothing", cases=6)
@pytest.mark.parametrize("common", ["highest", "high", "medium"])
@pytest.mark.parametrize("own", ["", "tf32"])
def test_both_switches_of_torch_agree_during_a_query(common: str, own: str) -> None:
    """A product on CUDA asks both, as `get_float32_matmul_precision` does, and raises where they disagree."""

    def careful(view: PoolView) -> torch.Tensor:
        assert torch.get_float32_matmul_precision() == "highest"
        assert torch.backends.cuda.matmul.allow_tf32 is False
        return view.log_probs[:, 0, 0].exp()

    cuda, cpu = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    torch.set_float32_matmul_precision(common)
    if own:
        cuda.fp32_precision = own
    before = (cuda.fp32_precision, cpu.fp32_precision)
    try:
        method(careful, "score").select([pool()], 3, Stream(0))
        assert (cuda.fp32_precision, cpu.fp32_precision) == before
        if own != "tf32" or common != "highest":  # else they disagreed before, and do again
            assert torch.get_float32_matmul_precision() == common
    finally:
        cuda.fp32_precision = "ieee"
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("text", ["core-set", "badge", "batch-bald(draws=5)", "bald(draws=5)", "margin"])
def test_tensors_of_inference_mode_are_welcome(text) -> None:
    k = 5 if "draws" in text else 1
    with torch.inference_mode():
        inferred = pool(k=k)
    picked = build_query(text).select([inferred], 5, Stream(0))
    assert picked.positions.tolist() == build_query(text).select([pool(k=k)], 5, Stream(0)).positions.tolist()
    with torch.inference_mode():
        assert build_query(text).select([inferred], 5, Stream(0)).positions.tolist() == picked.positions.tolist()


@pytest.mark.parametrize("name", ["bald", "batch-bald", "variation-ratios(of=votes)"])
def test_a_query_uses_as_many_draws_as_a_prediction(name: str) -> None:
    assert build_query(name).draws == DRAWS


@fault("methods", "a classifier ignores dropout", "one error instead of picks by rounding errors", cases=2)
@pytest.mark.parametrize("text", ["bald(draws=5)", "batch-bald(draws=5)"])
def test_equal_draws_are_refused(text: str) -> None:
    view = pool(n=100, k=5)
    equal = replace(view, log_probs=view.log_probs[:, :1].expand(-1, 5, -1).clone())
    with pytest.raises(FathomError, match="all 5 draws of every sample are equal"):
        build_query(text).select([equal], 10, Stream(0))
    one = replace(equal, log_probs=equal.log_probs.clone())
    one.log_probs[-1, 0] = one.log_probs[-1, 0].flip(0)
    build_query(text).select([one], 10, Stream(0))


@fault("methods", "a method that gives all samples one score", "noted: its picks are random")
def test_one_score_for_all_is_noted() -> None:
    view = pool(n=40, k=1)
    constant = replace(build_query("entropy"), text="mine/flat", function=lambda view: torch.zeros(len(view)))
    assert constant.select([view], 5, Stream(0)).note == "mine/flat gave all samples one score: its picks are random"
    assert not constant.select([view], 40, Stream(0)).note  # all are taken
    assert not build_query("entropy").select([view], 5, Stream(0)).note
