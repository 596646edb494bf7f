"""The penalty matrix against a plain loop, and what it does with methods that are the same."""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tests.faults import fault

from fathom.core.records import FathomError
from fathom.core.streams import Stream
from fathom.stats import penalty as module
from fathom.stats.penalty import Penalty, penalty_matrix

WRONG_STATISTIC = fault("statistics", "wrong statistic", "equal to hand-computed values, SciPy and published formulas")

NAMES = ["random", "entropy", "bald", "core-set", "badge"]


def table(scores: np.ndarray, dataset: str = "d", queries: list[str] | None = None) -> pd.DataFrame:
    """The tidy table of one setting; scores [seeds, methods, rounds]."""
    queries = queries or NAMES[: scores.shape[1]]
    return pd.DataFrame(
        [
            {"run": f"{dataset}{q}{s}", "dataset": dataset, "regime": "low", "paradigm": "standard", "query": q}
            | {"seed": s, "round": t, "budget": 50 * (t + 1), "paid": 50 * (t + 1), "score": scores[s, i, t]}
            for i, q in enumerate(queries)
            for s in range(scores.shape[0])
            for t in range(scores.shape[2])
        ]
    )


def same(seeds: int, rounds: int, random: np.random.Generator, methods: int = 5) -> np.ndarray:
    """Methods that do not differ: a seed effect that all share, and correlated noise along the curve."""
    noise = 0.7**0.5 * random.normal(size=(seeds, methods, 1)) + 0.3**0.5 * random.normal(size=(seeds, methods, rounds))
    return np.asarray(0.5 + 0.02 * random.normal(size=(seeds, 1, 1)) + 0.01 * noise)


def plain(scores: np.ndarray, start: int) -> np.ndarray:
    """The definition, one test at a time, by scipy."""
    methods, rounds = scores.shape[1], scores.shape[2] - start
    cells = np.zeros((methods, methods))
    for i, j in permutations(range(methods), 2):
        for t in range(start, scores.shape[2]):
            z = scores[:, i, t] - scores[:, j, t]
            if z.std() > 1e-12 and stats.ttest_1samp(z, 0).pvalue < 0.05 and z.mean() > 0:
                cells[i, j] += 1 / rounds
    return cells


@WRONG_STATISTIC
@pytest.mark.parametrize("include_start", [False, True])
def test_raw_cells_are_the_definition(include_start: bool) -> None:
    random = np.random.default_rng(1)
    scores = [same(4, 6, random) + 0.01 * np.arange(5)[None, :, None] for _ in range(2)]
    frame = pd.concat([table(scores[0], "a"), table(scores[1], "b")])
    found = penalty_matrix(frame, draws=0, include_start=include_start)
    expected = sum(plain(s, 0 if include_start else 1) for s in scores)
    assert expected.sum() > 2
    assert found.raw == pytest.approx(expected)
    assert found.overall() == pytest.approx(expected.sum(0) / 4)
    assert (found.settings == 2 * (1 - np.eye(5))).all()
    assert np.isnan(found.band)


@WRONG_STATISTIC
def test_holm_never_wins_more_and_matches_a_plain_correction() -> None:
    scores = same(8, 4, np.random.default_rng(2)) + 0.02 * np.arange(5)[None, :, None]
    found = penalty_matrix(table(scores), draws=0)
    assert (found.corrected <= found.raw + 1e-12).all()
    assert 0 < found.corrected.sum() < found.raw.sum()
    p = sorted(
        stats.ttest_rel(scores[:, i, t], scores[:, j, t]).pvalue
        for i in range(5) for j in range(i) for t in range(1, 4)
    )  # fmt: skip
    rejected = next((k for k, v in enumerate(p) if v * (len(p) - k) >= 0.05), len(p))
    assert found.corrected.sum() * 3 == pytest.approx(rejected)


@fault(
    "statistics",
    "identical methods, simulated",
    "false claims at no more than the stated rate; intervals cover as stated",
)
def test_identical_methods_win_at_half_of_alpha_and_the_band_says_so() -> None:
    random = np.random.default_rng(3)
    cells, any_win, outside, corrected = [], 0, 0, 0
    studies = 120
    for number in range(studies):
        found = penalty_matrix(table(same(4, 6, random)), draws=200, stream=Stream(number))
        cells.append(found.raw.sum() / 20)
        any_win += found.raw.any()
        outside += found.outside.any()
        corrected += found.corrected.any()
    assert np.mean(cells) == pytest.approx(0.025, abs=0.006)
    assert any_win / studies > 0.5  # why the raw matrix misleads
    assert outside / studies <= 0.05 + 2.5 * (0.05 * 0.95 / studies) ** 0.5
    assert corrected / studies <= 0.05 + 2.5 * (0.05 * 0.95 / studies) ** 0.5


def test_the_band_is_the_95_percent_quantile_of_the_largest_cell() -> None:
    """Two methods and seven seeds can be relabeled in 128 ways, each as likely: the band against all of them."""
    scores = same(7, 6, np.random.default_rng(10), methods=2)
    scores[:, 1] += 0.008
    largest = [
        plain(np.where(np.array(swapped)[:, None, None], scores[:, ::-1], scores), 1).max()
        for swapped in product((False, True), repeat=7)
    ]
    exact = {q: np.quantile(largest, q, method="higher") for q in (0.9, 0.935, 0.95, 0.965, 0.99)}
    assert exact[0.9] < exact[0.935] == exact[0.95] == exact[0.965] < exact[0.99]  # 4000 draws cannot miss it
    assert penalty_matrix(table(scores), draws=4000).band == pytest.approx(exact[0.95])


def test_a_method_that_is_better_leaves_the_band() -> None:
    scores = same(5, 8, np.random.default_rng(4))
    scores[:, 4] += 0.06
    found = penalty_matrix(table(scores), draws=300)
    assert found.outside[4, :4].all()
    assert found.outside.sum() == 4
    assert found.overall()[4] == 0


def test_pairs_share_a_seed() -> None:
    scores = same(4, 3, np.random.default_rng(5), methods=2) + np.array([0, 0.3, -0.3, 0.1])[:, None, None]
    scores[:, 1] = scores[:, 0] + 0.01 + np.array([1e-4, 2e-4, -1e-4, 0])[:, None]
    frame = table(scores)
    assert penalty_matrix(frame, draws=0).raw[1, 0] == pytest.approx(1)
    shuffled = penalty_matrix(frame.sample(frac=1, random_state=1), draws=0)
    assert shuffled.raw[shuffled.queries.index("entropy"), shuffled.queries.index("random")] == pytest.approx(1)


def test_what_all_share_and_the_names_of_seeds_change_nothing() -> None:
    scores = same(4, 6, np.random.default_rng(6)) + 0.01 * np.arange(5)[None, :, None]
    frame = table(scores)
    renamed = frame.assign(seed=frame["seed"].map({0: 9, 1: 4, 2: 30, 3: 1}))
    first = penalty_matrix(frame, draws=50)
    for other in (penalty_matrix(table(scores + 0.2), draws=50), penalty_matrix(renamed, draws=0)):
        assert other.raw == pytest.approx(first.raw)
    assert penalty_matrix(table(scores + 0.2), draws=50).band == first.band
    assert penalty_matrix(frame, draws=50).band == first.band


def test_the_band_does_not_depend_on_how_much_is_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = table(same(3, 4, np.random.default_rng(7)))
    whole = penalty_matrix(frame, draws=100).band
    monkeypatch.setattr(module, "CHUNK", 1000)
    assert penalty_matrix(frame, draws=100).band == whole


def test_constant_differences_are_no_win() -> None:
    scores = np.full((3, 2, 4), 0.5)
    scores[:, 1] += 0.0025
    assert not penalty_matrix(table(scores), draws=10).raw.any()


def test_settings_that_cannot_be_compared_are_named() -> None:
    random = np.random.default_rng(8)
    single = table(same(1, 4, random), "single")
    short = table(same(3, 4, random), "short")
    short = short[~((short["query"] == "bald") & (short["seed"] > 0) & (short["round"] == 3))]
    one_round = table(same(3, 1, random), "one-round")
    found = penalty_matrix(pd.concat([single, short, one_round]), draws=10)
    assert found.seeds == [3]
    assert found.queries == ["random", "entropy", "core-set", "badge"]
    single_, short_, one_round_ = ((name, "low", "standard") for name in ("single", "short", "one-round"))
    assert (single_, "complete seeds of random: 1; a test needs 2") in found.refused
    assert (short_, "complete seeds of bald: 1; a test needs 2") in found.refused
    assert (one_round_, "no budget after round 0 that all runs share") in found.refused


def test_each_pair_has_the_seeds_that_both_have() -> None:
    scores = same(6, 5, np.random.default_rng(9), methods=4) + 0.02 * np.arange(4)[None, :, None]
    gone = {("bald", 2), ("core-set", 4), ("core-set", 5)}
    frame = table(scores)
    frame = frame[[(q, s) not in gone for q, s in zip(frame["query"], frame["seed"], strict=True)]]
    found = penalty_matrix(frame, draws=0)
    for i, j in permutations(range(4), 2):
        both = [s for s in range(6) if not {(NAMES[i], s), (NAMES[j], s)} & gone]
        assert found.raw[i, j] == pytest.approx(plain(scores[both], 1)[i, j])
    assert (found.seeds, found.fewest) == ([6], [3])
    assert found.raw[1, 0] == pytest.approx(plain(scores, 1)[1, 0])  # what others lack changes nothing
    assert (found.settings == 1 - np.eye(4)).all()


def test_pairs_without_common_seeds_are_not_compared() -> None:
    frame = table(same(4, 3, np.random.default_rng(9), methods=3))
    half = {"entropy": (0, 1), "bald": (2, 3)}
    frame = frame[[s in half.get(q, range(4)) for q, s in zip(frame["query"], frame["seed"], strict=True)]]
    found = penalty_matrix(frame, draws=10)
    assert found.settings.tolist() == [[0, 1, 1], [1, 0, 0], [1, 0, 0]]
    assert not found.partial.any()
    alone = penalty_matrix(frame[frame["query"] != "random"], draws=10)
    assert [reason for _, reason in alone.refused] == ["no two methods share two complete seeds"]


def test_holm_covers_the_whole_study() -> None:
    random = np.random.default_rng(2)
    settings = {name: same(8, 4, random) + 0.02 * np.arange(5)[None, :, None] for name in ("a", "b", "c")}
    found = penalty_matrix(pd.concat([table(scores, name) for name, scores in settings.items()]), draws=0)
    p = sorted(
        stats.ttest_rel(scores[:, i, t], scores[:, j, t]).pvalue
        for scores in settings.values() for i in range(5) for j in range(i) for t in range(1, 4)
    )  # fmt: skip
    rejected = next((k for k, v in enumerate(p) if v * (len(p) - k) >= 0.05), len(p))
    assert 0 < rejected < len(p)
    assert found.corrected.sum() * 3 == pytest.approx(rejected)


@pytest.mark.parametrize("settings", [1, 2])
def test_with_one_setting_holm_decides_in_place_of_the_band(settings: int) -> None:
    random = np.random.default_rng(4)
    scores = [same(8, 8, random) for _ in range(settings)]
    for part in scores:
        part[:, 4] += 0.06
    found = penalty_matrix(pd.concat([table(part, f"d{i}") for i, part in enumerate(scores)]), draws=300)
    assert found.powerless == (settings == 1)
    assert (found.beyond_chance == (found.corrected > 0 if settings == 1 else found.outside)).all()
    assert found.beyond_chance[4, :4].all()
    assert found.beyond_chance.sum() == 4


def test_relabelings_keep_the_missing_runs_and_are_uniform() -> None:
    present = np.array([[True] * 3, [True, False, True], [False, True, True]])
    order = np.random.default_rng(0).permuted(np.broadcast_to(np.arange(3), (6000, 3, 3)), axis=2)
    found = module._among(order.copy(), present)
    assert (found[:, 0] == order[:, 0]).all()
    assert (found[:, 1, 1] == 1).all()
    assert (found[:, 2, 0] == 0).all()
    swapped = [(found[:, 1, 0] == 2).mean(), (found[:, 2, 1] == 2).mean()]
    assert swapped == pytest.approx([0.5, 0.5], abs=0.03)  # four standard errors
    assert (np.sort(found, axis=2) == np.arange(3)).all()


@fault(
    "statistics",
    "identical methods, simulated",
    "false claims at no more than the stated rate; intervals cover as stated",
)
def test_the_band_holds_with_missing_runs() -> None:
    random, studies, outside = np.random.default_rng(21), 100, 0
    for number in range(studies):
        frames = [table(same(4, 5, random, methods=4), name) for name in ("a", "b")]
        frames[0] = frames[0][~((frames[0]["query"] == "bald") & (frames[0]["seed"] == 1))]
        frames[1] = frames[1][~((frames[1]["query"] == "entropy") & (frames[1]["seed"] > 2))]
        found = penalty_matrix(pd.concat(frames), draws=150, stream=Stream(number))
        outside += found.outside.any()
    assert outside / studies <= 0.05 + 3 * (0.05 * 0.95 / studies) ** 0.5


def test_methods_that_never_met_have_no_setting() -> None:
    random = np.random.default_rng(10)
    frame = pd.concat(
        [table(same(3, 3, random, 2), "a", ["random", "bald"]), table(same(3, 3, random, 2), "b", ["random", "badge"])]
    )
    found = penalty_matrix(frame, draws=20)
    assert found.settings.tolist() == [[0, 1, 1], [1, 0, 0], [1, 0, 0]]


def test_nothing_to_compare() -> None:
    found = penalty_matrix(pd.DataFrame([]))
    assert isinstance(found, Penalty)
    assert found.raw.shape == (0, 0)
    with pytest.raises(FathomError, match="between 0 and 1"):
        penalty_matrix(pd.DataFrame([]), alpha=5)


def test_power_at_five_seeds() -> None:
    random = np.random.default_rng(11)
    wins = 0.0
    for _ in range(60):
        scores = random.normal(0, 0.01, (5, 2, 2))
        scores[:, 1] += 0.01 * 2**0.5 * 1.69  # d_z for 80 % power at n = 5
        wins += penalty_matrix(table(scores), draws=0).raw[1, 0]
    assert wins / 60 == pytest.approx(0.8, abs=0.13)


def worse_and_worse(gone: tuple[str, str] | None = None) -> Penalty:
    """Two settings in which good beats bad beats worst at every budget; `gone` = (dataset, method) that has no run."""
    random = np.random.default_rng(12)
    names = ["good", "bad", "worst"]
    steps = -0.2 * np.arange(3)[None, :, None]
    frame = pd.concat([table(same(4, 4, random, 3) + steps, dataset, names) for dataset in ("d1", "d2")])
    if gone:
        frame = frame[~((frame["dataset"] == gone[0]) & (frame["query"] == gone[1]))]
    return penalty_matrix(frame, draws=0)


def test_failing_where_it_would_lose_does_not_lower_a_penalty() -> None:
    whole, holed = worse_and_worse(), worse_and_worse(("d2", "worst"))
    assert whole.overall().tolist() == [0, 1, 2]
    assert not whole.partial.any()
    assert holed.overall().tolist() == [0, 1, 2]
    assert holed.present.tolist() == [2, 2, 1]
    assert holed.partial.tolist() == [False, False, True]
    assert holed.raw[0, 2] == 1  # what was seen stays as it was seen
    assert holed.overall(holed.corrected) == pytest.approx(holed.overall())


def test_a_complete_design_keeps_the_published_definition_to_the_bit() -> None:
    found = penalty_matrix(table(same(5, 7, np.random.default_rng(13)) + 0.01 * np.arange(5)[None, :, None]), draws=0)
    assert found.overall().tolist() == (found.raw.sum(0) / 4).tolist()
    assert found.overall(found.corrected).tolist() == (found.corrected.sum(0) / 4).tolist()


def test_a_method_alone_or_never_compared_has_no_penalty() -> None:
    assert penalty_matrix(pd.DataFrame([]), draws=0).overall().tolist() == []
    found = worse_and_worse()
    nobody = replace(found, settings=found.settings * np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0]]))
    assert np.isnan(nobody.overall()).tolist() == [False, False, True]
