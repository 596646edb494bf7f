import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.make import dataset
from tests.faults import fault

from fathom.core.records import FathomError, LabelRegime
from fathom.core.streams import Stream, Streams
from fathom.data.splits import (
    START_FLOOR,
    VAL_FLOOR,
    fixed_test_split,
    largest_start,
    largest_validation,
    long_tail_counts,
    starting_set,
    train_val_split,
    validation_set,
)

PROPERTY = settings(derandomize=True, max_examples=40, deadline=None)
seeds = st.integers(0, 2**31)


@st.composite
def class_labels(draw, largest=60):
    """Labels of 2 to 6 classes, each present, in any order."""
    counts = draw(st.lists(st.integers(1, largest), min_size=2, max_size=6))
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(draw(seeds)).permutation(labels)


def regime(start=10, val_size=10):
    return LabelRegime("custom", start, start, 3, val_size)


@PROPERTY
@given(class_labels(), seeds, st.data())
def test_split_is_a_partition_that_only_the_seed_decides(labels, seed, data):
    val_split = data.draw(st.integers(1, len(labels) - 1))
    tiny = dataset(labels, val_split=val_split)
    train, val = train_val_split(tiny, Streams(seed)("split"))
    assert len(val) == val_split
    assert sorted([*train, *val]) == list(range(len(labels)))
    again = train_val_split(tiny, Streams(seed)("split"))
    assert np.array_equal(train, again[0])
    assert np.array_equal(val, again[1])


def test_seeds_split_differently():
    tiny = dataset(np.arange(100) % 2)
    held_out = {tuple(train_val_split(tiny, Streams(seed)("split"))[1]) for seed in range(20)}
    assert len(held_out) == 20
    often = np.bincount(np.concatenate(list(held_out)), minlength=100)
    assert often.min() < often.max() < 15  # each image in about 4 of 20; no image always


@fault("data", "duplicates and groups across splits", "counted or refused")
@PROPERTY
@given(class_labels(), seeds, st.data())
def test_groups_stay_on_one_side(labels, seed, data):
    groups = np.array(data.draw(st.lists(st.integers(0, 12), min_size=len(labels), max_size=len(labels))))
    if len(set(groups.tolist())) < 2:
        return
    val_split = data.draw(st.integers(1, len(labels) - 1))
    tiny = dataset(labels, groups=groups, val_split=val_split)
    try:
        train, val = train_val_split(tiny, Streams(seed)("split"))
    except FathomError:  # one side would be empty: only where one group is nearly everything
        assert np.bincount(groups).max() > min(val_split, len(labels) - val_split)
        return
    assert not set(groups[train]) & set(groups[val])
    assert sorted([*train, *val]) == list(range(len(labels)))
    sizes = np.bincount(groups)
    assert abs(len(val) - val_split) <= sizes.max()
    if len(val) < val_split:  # no group on the other side would have come closer
        gap = val_split - len(val)
        assert min(sizes[g] for g in set(groups[train].tolist())) >= 2 * gap


@PROPERTY
@given(class_labels(), seeds)
def test_the_numbering_of_groups_does_not_matter(labels, seed):
    groups = np.arange(len(labels)) // 3
    if groups[-1] < 1:
        return
    renamed = 1000 - 7 * groups
    sides = []
    for numbering in (groups, renamed):
        try:
            sides.append(train_val_split(dataset(labels, groups=numbering), Streams(seed)("split"))[1].tolist())
        except FathomError:
            sides.append(None)
        assert sides[0] == sides[-1]
    marks = [fixed_test_split(labels, 0.3, numbering).tolist() for numbering in (groups, renamed)]
    assert marks[0] == marks[1]


def test_groups_that_leave_a_side_empty_are_refused():
    with pytest.raises(FathomError, match="groups leave 10 train and 0 validation"):
        train_val_split(dataset([0, 1] * 5, groups=np.zeros(10, np.int64), val_split=2), Streams(0)("split"))


def test_long_tail_counts_are_the_study_s():
    assert long_tail_counts(45_000, 10, 50.0) == [4500, 2913, 1886, 1221, 790, 512, 331, 214, 139, 90]


@PROPERTY
@given(class_labels(), seeds, st.floats(1, 100))
def test_long_tail_thins_the_train_part_alone(labels, seed, rho):
    tiny = dataset(labels, long_tail=rho, balanced=False)
    full, full_val = train_val_split(dataset(labels), Streams(seed)("split"))
    train, val = train_val_split(tiny, Streams(seed)("split"))
    assert np.array_equal(val, full_val)
    assert [i for i in full if i in set(train)] == train.tolist()  # a part, in the same order
    have = np.bincount(labels[full], minlength=tiny.num_classes)
    wanted = long_tail_counts(len(full), tiny.num_classes, rho)
    assert np.bincount(labels[train], minlength=tiny.num_classes).tolist() == np.minimum(have, wanted).tolist()


@PROPERTY
@given(class_labels(), seeds, st.integers(1, 80), st.booleans())
def test_starting_set(labels, seed, start, balanced):
    tiny = dataset(labels, balanced=balanced, val_split=1)
    pool = np.arange(len(labels))
    counts = np.bincount(labels)
    if largest_start(tiny, counts, start) < start:
        with pytest.raises(FathomError, match="can be drawn"):
            starting_set(tiny, pool, regime(start), Streams(seed)("start"))
        return
    ids = starting_set(tiny, pool, regime(start), Streams(seed)("start"))
    assert len(ids) == len(set(ids)) == start
    got = np.bincount(labels[ids], minlength=tiny.num_classes)
    if balanced:
        assert got.max() - got.min() <= 1
    else:
        assert got.min() >= min(START_FLOOR, start // tiny.num_classes)
    shuffled = starting_set(tiny, pool, regime(start), Streams(seed)("start"))
    assert np.array_equal(ids, shuffled)


def test_the_rest_of_an_imbalanced_start_is_uniform():
    labels = np.repeat([0, 1], [900, 100])
    tiny = dataset(labels, balanced=False)
    drawn = np.zeros(1000)
    for seed in range(300):
        drawn[starting_set(tiny, np.arange(1000), regime(100), Streams(seed)("start"))] += 1
    common, rare = drawn[:900].mean() / 300, drawn[900:].mean() / 300
    # 5 of each class for sure, then 90 of the remaining 990, uniformly
    assert common == pytest.approx((5 + 895 * 90 / 990) / 900, rel=0.02)
    assert rare == pytest.approx((5 + 95 * 90 / 990) / 100, rel=0.05)
    assert drawn.max() < 3 * 300 * rare  # no image is favored


@PROPERTY
@given(class_labels(), seeds, st.integers(1, 100), st.booleans(), st.booleans())
def test_validation_set(labels, seed, size, balanced, long_tail):
    tiny = dataset(labels, balanced=balanced and not long_tail, long_tail=10.0 if long_tail else None)
    val = np.random.default_rng(0).permutation(len(labels))
    counts = np.bincount(labels)
    if largest_validation(tiny, counts, size) < size:
        return
    ids = validation_set(tiny, val, regime(val_size=size), Streams(seed)("validation"))
    assert len(ids) == len(set(ids)) == size
    got = np.bincount(labels[ids], minlength=tiny.num_classes)
    if size == len(val):
        assert np.array_equal(ids, val)
    elif balanced or long_tail:
        assert got.max() - got.min() <= 1
        for c in range(tiny.num_classes):  # the first of each class, in the order of the split
            of_class = val[labels[val] == c]
            assert set(ids[labels[ids] == c]) == set(of_class[: got[c]])
    else:
        assert (got >= np.minimum(counts, min(VAL_FLOOR, size // tiny.num_classes))).all()


@settings(derandomize=True, max_examples=20, deadline=None)
@given(class_labels(largest=25), st.integers(1, 90), st.booleans())
def test_largest_start_is_the_largest(labels, size, balanced):
    tiny = dataset(labels, balanced=balanced)
    pool = np.arange(len(labels))

    def fits(n):
        try:
            got = np.bincount(labels[starting_set(tiny, pool, regime(n), Stream(0))], minlength=tiny.num_classes)
        except FathomError:
            return False
        return got.min() >= (n // tiny.num_classes if balanced else min(START_FLOOR, n // tiny.num_classes))

    brute = max((n for n in range(1, size + 1) if fits(n)), default=0)
    assert largest_start(tiny, np.bincount(labels), size) == brute


@PROPERTY
@given(class_labels(), st.floats(0.05, 0.9))
def test_fixed_test_split_is_stratified(labels, fraction):
    test = fixed_test_split(labels, fraction)
    for c, n in enumerate(np.bincount(labels)):
        assert test[labels == c].sum() == min(round(fraction * n), n - 1)
    assert np.array_equal(test, fixed_test_split(labels, fraction))


def test_a_fixed_test_split_leaves_one_image_of_every_class_for_training():
    labels = np.repeat([0, 1, 2], [1, 2, 3])
    test = fixed_test_split(labels, 0.9)
    assert [int((~test[labels == c]).sum()) for c in range(3)] == [1, 1, 1]


def test_fixed_test_split_keeps_groups_whole_and_nearly_stratified():
    generator = np.random.default_rng(3)
    groups = np.repeat(np.arange(400), generator.integers(1, 6, 400))
    labels = generator.choice(4, 400, p=[0.6, 0.25, 0.1, 0.05])[groups]
    test = fixed_test_split(labels, 0.25, groups)
    assert not set(groups[test]) & set(groups[~test])
    for c, n in enumerate(np.bincount(labels)):
        assert test[labels == c].sum() == pytest.approx(0.25 * n, abs=3)
    spread = np.bincount(groups)[np.unique(groups[test])].mean()
    assert spread == pytest.approx(np.bincount(groups).mean(), rel=0.2)  # neither small nor large groups are favored
