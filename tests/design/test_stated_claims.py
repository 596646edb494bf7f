"""Claims as people write them, and what they name in a study."""

import time
from pathlib import Path

import pytest
from tests.faults import fault

from fathom.core.records import FathomError, RunSpec, Study
from fathom.design.stated_claims import bind_claim, parse_claim
from fathom.design.study_file import load_study

PARADIGMS = ("standard(recipe=short)", "self-sl(recipe=short)")
STUDY = Study(
    "s",
    tuple(
        RunSpec(dataset, "low", paradigm, query, seed)
        for dataset in ("digits", "digits-lt")
        for paradigm in PARADIGMS
        for query in ("random", "badge", "bald(draws=10)", "bald(draws=20)")
        for seed in (0, 1)
        if dataset == "digits" or (paradigm == PARADIGMS[0] and query != "badge")
    ),
)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("badge > random", ("badge", ">", "random", (), "aubc", "")),
        ("badge>=random", ("badge", ">=", "random", (), "aubc", "")),
        ("  badge <\trandom ", ("badge", "<", "random", (), "aubc", "")),
        ("bald(draws=10) > random by final", ("bald(draws=10)", ">", "random", (), "final", "")),
        ("a > b by log_loss where seed=0", ("a", ">", "b", ("seed=0",), "aubc", "log_loss")),
        ("a > b by final:accuracy", ("a", ">", "b", (), "final", "accuracy")),
        ('x(p=" by > where ") > b where regime=low', ('x(p=" by > where ")', ">", "b", ("regime=low",), "aubc", "")),
    ],
)
def test_a_claim_is_read(text: str, parts: tuple[object, ...]) -> None:
    claim = parse_claim(text)
    assert (claim.left, claim.relation, claim.right, claim.where, claim.measure, claim.metric) == parts
    assert claim.text == text


def test_options_add_conditions_and_replace_the_metric() -> None:
    claim = parse_claim("a > b by final where regime=low", ["seed=1"], "accuracy")
    assert (claim.where, claim.measure, claim.metric) == (("regime=low", "seed=1"), "aubc", "accuracy")
    assert (claim.unit, parse_claim("a > b by log_loss").unit) == ("fraction", "nats")


@fault("input", "a claim that cannot be read, or names what the study has not got", "one error that says what to write")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("badge", "cannot be read. Expected METHOD > METHOD"),
        ("badge >", "cannot be read"),
        ("a > b > c", "cannot be read"),
        ("badge = random", "has the relation ="),
        ("badge <= random", "write A <= B as B >= A"),
        ("badge > Random", "not a spec string"),
        ("badge > random by beauty", "unknown metric 'beauty'. Expected aubc, final, final:NAME"),
        ("badge > nothing", "no query method or training paradigm 'nothing'. Expected one of: badge"),
        ("badge > randon", "did you mean 'random'?"),
        ("badge > standard", "badge is a query method and standard a training paradigm; expected two of a kind"),
        ("badge > badge", "compares badge with itself"),
        ("bald > random", r"the study has bald(draws=10), bald(draws=20); write one of them in full"),
        ("badge > random where query=badge", "its two sides say the query"),
        ("badge > random where dataset=digits-lt", "no setting of s has both badge and random there"),
        ("self-sl > standard where dataset=digits-lt", "no dataset of s has both self-sl and standard there"),
        ("badge > random where dataset=cifar10", "no run of s has dataset 'cifar10'"),
        ("badge > random where city=x", "expected AXIS=VALUE"),
    ],
)
def test_a_claim_that_a_study_cannot_decide_is_refused(text: str, message: str) -> None:
    with pytest.raises(FathomError) as refused:
        bind_claim(parse_claim(text), STUDY)
    assert message.lower() in str(refused.value).lower()


def test_a_claim_names_the_runs_that_decide_it() -> None:
    methods = bind_claim(parse_claim("badge > random where seed=1"), STUDY)
    assert (methods.axis, methods.left, methods.right, methods.seeds) == ("query", ("badge",), ("random",), {1})
    assert [setting.dataset for setting in methods.settings] == ["digits", "digits"]
    paradigms = bind_claim(parse_claim("self-sl > standard"), STUDY)
    assert (paradigms.axis, paradigms.left, paradigms.right) == ("paradigm", PARADIGMS[1:], PARADIGMS[:1])
    assert {setting.dataset for setting in paradigms.settings} == {"digits"}  # the other has one of them alone


@fault("input", "a claim that is made to be slow to read", "read or refused within a second", cases=1)
@pytest.mark.parametrize("text", ["=" * 999 + ")", "a by " * 199 + ")", " where" * 160 + ")", "(" * 999, "> " * 490])
def test_no_claim_is_slow_to_read(text: str) -> None:
    began = time.perf_counter()
    with pytest.raises(FathomError):
        parse_claim(text)
    assert time.perf_counter() - began < 1
    with pytest.raises(FathomError, match="at most 1,000 characters"):
        parse_claim(text * 10)


def test_a_study_file_lists_each_bad_claim(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    claims = '["badge > random", "badge > nothing", "badge random"]'
    path.write_text(
        'name = "s"\ndatasets = ["digits"]\nregimes = ["low"]\nparadigms = ["standard"]\nseeds = 3\n'
        f'queries = ["random", "badge"]\nclaims = {claims}\n'
    )
    with pytest.raises(FathomError) as refused:
        load_study(path)
    told = str(refused.value).splitlines()
    assert len(told) == 3
    assert "claims[1]: claim 'badge > nothing'" in told[1]
    assert "claims[2]: claim 'badge random' cannot be read" in told[2]
    path.write_text(path.read_text().replace(claims, '["badge > random", "badge >= random where dataset=digits"]'))
    assert load_study(path).claims == ("badge > random", "badge >= random where dataset=digits")
