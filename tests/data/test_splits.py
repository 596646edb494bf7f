import time

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
from fathom.data.stratify import class_shares, hold_out_groups

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
@given(class_labels(), seeds, st.booleans(), st.data())
def test_split_is_a_partition_that_only_the_seed_decides(labels, seed, stratify, data):
    most = len(labels) - 1 if not stratify else len(labels) - len(set(labels))  # the last image of a class stays
    if not most:
        return
    val_split = data.draw(st.integers(1, most))
    tiny = dataset(labels, val_split=val_split, stratify=stratify)
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
    tiny = dataset(labels, groups=groups, val_split=val_split, stratify=False)
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
    for stratify in (True, False):
        one = dataset([0, 1] * 5, groups=np.zeros(10, np.int64), val_split=2, stratify=stratify)
        with pytest.raises(FathomError, match=r"seed 3 leaves 10 train and 0 validation images.*smaller groups"):
            train_val_split(one, Streams(3)("split"))
    with pytest.raises(FathomError, match="each class has only one"):
        train_val_split(dataset([0, 1, 2]), Streams(0)("split"))


def held_out_counts(tiny, seed):
    """(labels, held-out images of each class) of a seed."""
    labels = tiny.vault.for_data_check()
    train, val = train_val_split(tiny, Streams(seed)("split"))
    assert sorted([*train, *val]) == list(range(len(labels)))
    return labels, np.bincount(labels[val], minlength=tiny.num_classes)


@fault("data", "a held-out part of few images and many classes", "each class has its share, in every seed", cases=60)
@pytest.mark.parametrize(("classes", "each"), [(12, 8), (26, 10), (100, 6)])
def test_the_held_out_part_has_its_share_of_every_class(classes, each):
    """Drawn without regard to class, the 26 x 10 images leave out a class in 19 of 20 seeds."""
    tiny = dataset(np.arange(classes * each) % classes)
    drawn = [held_out_counts(tiny, seed)[1] for seed in range(20)]
    for counts in drawn:
        assert counts.sum() == tiny.val_split
        assert set(counts.tolist()) <= {each // 5, each // 5 + 1}
    assert np.unique(drawn, axis=0).shape[0] > 1 or not each % 5  # no class is favored for the rest


@PROPERTY
@given(class_labels(), seeds, st.data())
def test_shares_are_kept_as_nearly_as_whole_numbers_can(labels, seed, data):
    counts = np.bincount(labels)
    size = data.draw(st.integers(1, len(labels) - 1))
    wanted = class_shares(counts, size, np.random.default_rng(seed))
    assert wanted.sum() == min(size, (counts - 1).sum())
    assert (wanted < counts).all()
    if size >= (counts > 1).sum():
        assert (wanted >= np.minimum(1, counts - 1)).all()
    quota = size * counts / counts.sum()
    if (quota >= 1).all() and (quota <= counts - 1).all():
        assert (np.abs(wanted - quota) < 1).all()


@PROPERTY
@given(class_labels(), seeds, st.data())
def test_stratified_groups_stay_whole_and_on_both_sides(labels, seed, data):
    groups = np.array(data.draw(st.lists(st.integers(0, 12), min_size=len(labels), max_size=len(labels))))
    if len(set(groups.tolist())) < 2:
        return
    try:
        train, val = train_val_split(dataset(labels, groups=groups), Streams(seed)("split"))
    except FathomError:  # each group has an image of a class that is in this group alone
        alone = [g for g in set(groups) if any(set(groups[labels == c]) == {g} for c in set(labels))]
        assert len(alone) == len(set(groups))
        return
    assert not set(groups[train]) & set(groups[val])
    for c in set(labels):
        assert c in labels[train]
        if len(set(groups[labels == c])) == 1:
            assert c not in labels[val]


@fault("data", "groups of uneven size and class", "shares of the classes as near as scikit-learn's", cases=40)
@pytest.mark.parametrize("pure", [True, False], ids=["one class per group", "mixed groups"])
def test_stratified_groups_come_as_near_as_those_of_scikit_learn(pure):
    from sklearn.model_selection import StratifiedGroupKFold

    off, often = [], np.zeros(300)
    for seed in range(20):
        generator = np.random.default_rng(seed)
        groups = np.repeat(np.arange(300), generator.integers(1, 7, 300))
        kinds = generator.choice(5, 300 if pure else len(groups), p=[0.5, 0.25, 0.15, 0.06, 0.04])
        labels = kinds[groups] if pure else kinds
        tiny = dataset(labels, groups=groups, balanced=False)
        own = held_out_counts(tiny, seed)[1]
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        peer = np.bincount(labels[next(splitter.split(labels, labels, groups))[1]], minlength=5)
        off.append([np.abs(counts / np.bincount(labels) - 0.2).mean() for counts in (own, peer)])
        often[np.unique(groups[train_val_split(tiny, Streams(seed)("split"))[1]])] += 1
    own, peer = np.mean(off, axis=0)
    assert own < 0.03
    assert own <= 1.1 * peer
    assert often.max() <= 12  # of 20 seeds: no group is always held out


def test_a_class_in_two_groups_is_on_both_sides_and_one_in_a_single_group_stays_in_training():
    labels = np.repeat([0, 1, 2], [60, 14, 9])
    groups = np.concatenate([np.arange(60), np.repeat([100, 101], 7), np.repeat(200, 9)])
    for seed in range(10):
        _, counts = held_out_counts(dataset(labels, groups=groups, balanced=False), seed)
        assert counts[1:].tolist() == [7, 0]


def test_the_time_to_draw_groups_grows_with_their_number():
    calls = []
    for n in (2_000, 16_000):
        groups = np.repeat(np.arange(n), 2)
        pairs = np.arange(n), np.arange(n) % 50, np.full(n, 2)
        began = time.process_time()
        held_out = hold_out_groups(pairs, np.full(50, len(groups) // 250), np.random.default_rng(0))
        calls.append(time.process_time() - began)
        assert held_out.sum() == pytest.approx(n / 5, abs=50)
    assert calls[1] < 8 * 3 * max(calls[0], 0.005)


def test_long_tail_counts_are_the_study_s():
    assert long_tail_counts(45_000, 10, 50.0) == [4500, 2913, 1886, 1221, 790, 512, 331, 214, 139, 90]


@PROPERTY
@given(class_labels(), seeds, st.floats(1, 100))
def test_long_tail_thins_the_train_part_alone(labels, seed, rho):
    tiny = dataset(labels, long_tail=rho, balanced=False)
    if np.bincount(labels).max() < 2:
        return  # refused
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
