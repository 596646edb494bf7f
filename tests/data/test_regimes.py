import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.make import dataset
from tests.faults import fault
from tests.studies import labels_of

from fathom.core.records import FathomError, LabelRegime
from fathom.core.streams import Streams
from fathom.data.regimes import SIZES, build_regime, check_regime, fit_regime, split_counts
from fathom.data.splits import starting_set, train_val_split, validation_set
from fathom.registry import registry

TOO_FEW_SAMPLES = fault(
    "labels",
    "budget, query or validation set larger than the data",
    "the last round takes the rest and says so; else refused before training",
)

TEN = dataset(np.arange(200) % 10)


def sizes(text, on=TEN):
    made = build_regime(text, on)
    return made.start, made.query_size, made.rounds, made.val_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("low", (50, 50, 10, 250)),
        ("mid", (250, 250, 10, 1250)),
        ("high", (1000, 1000, 10, 5000)),
        ("low(query_size=20)", (50, 20, 10, 250)),
        ("low(start=30)", (30, 30, 10, 150)),
        ("low(start=30, query_size=7, rounds=3, val_size=11)", (30, 7, 3, 11)),
        ("mid(val_size=2500)", (250, 250, 10, 2500)),
        ("custom(start=40)", (40, 40, 10, 200)),
        ("custom(start=40, query_size=1, rounds=100, val_size=10)", (40, 1, 100, 10)),
    ],
)
def test_sizes(text, expected):
    assert sizes(text) == expected


def test_the_budgets_of_the_paper():
    assert build_regime("low", TEN).final == 500
    assert build_regime("high", TEN).final == 10_000


def test_what_a_dataset_changes_comes_between_rule_and_argument():
    changed = dataset(np.arange(200) % 10, regimes={"high": {"start": 500, "rounds": 5, "val_size": 700}})
    assert sizes("high", changed) == (500, 500, 5, 700)
    assert sizes("low", changed) == sizes("low")
    assert sizes("high(rounds=2)", changed) == (500, 500, 2, 700)
    assert sizes("high(start=100)", changed) == (100, 100, 5, 500)  # follows the start that was asked for
    assert sizes("high(start=100, val_size=1)", changed) == (100, 100, 5, 1)


def test_name_is_the_canonical_call_string():
    made = build_regime("low( rounds=3,query_size=20 )", TEN)
    assert made.name == "low(query_size=20, rounds=3)"
    assert build_regime(made.name, TEN) == made


@pytest.mark.parametrize("name", ["low", "mid", "high", "custom"])
@pytest.mark.parametrize("key", ["start", "query_size", "rounds", "val_size"])
@pytest.mark.parametrize("value", ["0", "-5", "2.5", "many", "true", "1|2"])
def test_sizes_are_positive_whole_numbers(name, key, value):
    arguments = {"start": "10"} | {key: value}
    text = f"{name}({', '.join(f'{k}={v}' for k, v in arguments.items())})"
    with pytest.raises(FathomError, match=f"{key} is .*expected a whole number of 1 or more"):
        build_regime(text, TEN)


def test_custom_needs_a_start():
    with pytest.raises(FathomError, match=r"custom\(start=200\)"):
        build_regime("custom(query_size=5)", TEN)


def test_unknown_names_are_refused():
    with pytest.raises(FathomError, match="Did you mean 'low'"):
        build_regime("lo", TEN)
    with pytest.raises(FathomError, match="Did you mean 'query_size'"):
        build_regime("low(querysize=5)", TEN)
    assert set(registry.index()["regime"]) >= {"low", "mid", "high", "custom"}


def fits(on, made, seed=0):
    train, val = train_val_split(on, Streams(seed)("split"))
    check_regime(on, made, train, val)
    return train, val


@TOO_FEW_SAMPLES
def test_only_the_last_query_may_find_too_few():
    on = dataset(np.arange(125) % 5, val_split=25)  # 100 in the pool
    fits(on, build_regime("custom(start=40, query_size=30, rounds=3, val_size=25)", on))  # 40, 70, 100
    fits(on, build_regime("custom(start=40, query_size=31, rounds=3, val_size=25)", on))  # the last finds 29 of 31
    with pytest.raises(FathomError) as caught:
        fits(on, build_regime("custom(start=40, query_size=30, rounds=4, val_size=25)", on))
    assert "4 rounds need 130 training labels, the pool has 100 images" in str(caught.value)
    assert "use custom(query_size=30, rounds=3, start=40, val_size=25)" in str(caught.value)


@TOO_FEW_SAMPLES
def test_a_class_that_is_too_small_is_named():
    on = dataset(np.repeat([0, 1, 2], [60, 60, 8]), val_split=20)
    with pytest.raises(FathomError, match="of class 'class 2' only"):
        fits(on, build_regime("custom(start=60, val_size=6)", on))


@TOO_FEW_SAMPLES
def test_a_start_without_every_class_is_refused():
    with pytest.raises(FathomError, match=r"10 classes need a starting set of 10.*custom\(start=10, val_size=10\)"):
        fits(TEN, build_regime("custom(start=9, val_size=10)", TEN))


def seeds_of(on, count=10):
    return {seed: train_val_split(on, Streams(seed)("split")) for seed in range(count)}


def counts_of(on):
    return {seed: split_counts(on, *split) for seed, split in seeds_of(on).items()}


@fault("data", "a validation set larger than what is held out", "it shrinks to what can be drawn", cases=20)
def test_the_validation_set_shrinks_to_what_is_held_out():
    on = dataset(np.arange(12 * 20) % 12)  # 48 held out; 5 x 60 is the rule
    for seed, made in fit_regime(on, build_regime("low(rounds=2)", on), counts_of(on)).items():
        assert (made.start, made.val_size) == (60, 48)
        val = validation_set(on, train_val_split(on, Streams(seed)("split"))[1], made, Streams(seed)("validation"))
        assert np.bincount(labels_of(on)[val], minlength=12).tolist() == [4] * 12
    with pytest.raises(FathomError, match="validation set of 50 labels cannot be drawn"):
        fits(on, build_regime("low(rounds=2, val_size=50)", on))  # a size that is given is meant


def test_the_validation_set_keeps_one_label_of_each_class():
    on = dataset(np.arange(60) % 12, val_split=11)
    with pytest.raises(FathomError) as caught:
        fits(on, build_regime("low(start=12, rounds=2)", on))
    assert "a validation set of 12 labels cannot be drawn: the held-out part has 11 images" in str(caught.value)
    advised = str(caught.value).partition("use ")[2]
    fits(on, build_regime(advised, on))


@fault("data", "a regime that fits some seeds of a study only", "the seed is named; the advice fits all", cases=10)
def test_the_seed_is_named_and_the_advice_fits_every_seed():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), generator.integers(1, 12, 30))
    on = dataset(generator.integers(0, 3, len(groups)), groups=groups, balanced=False)
    splits = seeds_of(on)
    pools = [len(train) for train, _ in splits.values()]
    assert min(pools) < max(pools)
    text = f"custom(start=10, query_size=1, rounds={max(pools) - 8})"
    with pytest.raises(FathomError) as caught:
        fit_regime(on, build_regime(text, on), counts_of(on))
    first = next(seed for seed, n in enumerate(pools) if n < max(pools))
    assert f"in the split of seed {first} and of " in str(caught.value)
    fit_regime(on, build_regime(str(caught.value).partition("use ")[2], on), counts_of(on))


@settings(derandomize=True, max_examples=80, deadline=None)
@given(st.data(), st.booleans(), st.integers(0, 5))
def test_what_passes_can_be_drawn_and_what_is_advised_passes(data, balanced, seed):
    counts = data.draw(st.lists(st.integers(8, 60), min_size=2, max_size=5))
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    on = dataset(labels, balanced=balanced, long_tail=None if balanced else data.draw(st.sampled_from([None, 3.0])))
    n = st.integers(1, 150)
    wanted = LabelRegime("custom", data.draw(n), data.draw(n), data.draw(st.integers(1, 12)), data.draw(n))
    arguments = ", ".join(f"{key}={getattr(wanted, key)}" for key in SIZES)
    made = build_regime(f"custom({arguments})", on)
    try:
        train, val = fits(on, made, seed)
    except FathomError as error:
        if "use custom" not in (message := str(error)):
            assert "leave out the rare classes" in message
            return
        made = build_regime(message[message.index("use custom") + 4 :], on)
        if "10 classes need" in message or "classes need a starting set" in message:
            return  # the start was mended; the rest may have to be, in a second step
        train, val = fits(on, made, seed)
        for key in SIZES:
            assert getattr(made, key) <= getattr(wanted, key)
    streams = Streams(seed)
    assert len(starting_set(on, train, made, streams("start"))) == made.start
    assert len(validation_set(on, val, made, streams("validation"))) == made.val_size
    assert made.rounds == 1 or made.start + (made.rounds - 2) * made.query_size < len(train)


def test_a_paradigm_may_have_sizes_of_its_own():
    """Lüth et al., 2023, code: FixMatch on CIFAR-100 and CIFAR-10-LT has 4 rounds of three times the query size."""
    plain = dataset(
        np.arange(200) % 10, regimes={"low": {"start": 40}, "semi-sl/low": {"query_size": 150, "rounds": 4}}
    )

    def of(text, paradigm):
        made = build_regime(text, plain, paradigm)
        return made.start, made.query_size, made.rounds, made.val_size

    assert of("low", "standard") == of("low", "") == (40, 40, 10, 200)
    assert of("low", "semi-sl") == (40, 150, 4, 200)
    assert of("mid", "semi-sl") == of("mid", "")
    assert of("low(query_size=7)", "semi-sl") == (40, 7, 4, 200), "what is given goes first"
