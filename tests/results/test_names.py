"""Short names: short, and distinct."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fathom.core.records import Setting
from fathom.registry.spec_string import SpecString
from fathom.results.names import Names, short_names

LONG = "standard(augmentation=standard, batch_size=64, epochs=12, lr=0.03|0.01)"


def test_a_name_alone_where_it_is_the_only_one() -> None:
    assert short_names(["table(path=ham.csv, size=32)", "digits"]) == {
        "table(path=ham.csv, size=32)": "table",
        "digits": "digits",
    }


def test_what_tells_them_apart_stays() -> None:
    found = short_names(["low(rounds=3, val_size=9)", "low(query_size=5, val_size=9)", "mid(val_size=9)"])
    assert list(found.values()) == ["low(rounds=3)", "low(query_size=5)", "mid"]
    assert list(short_names(["low", "low(rounds=3)"]).values()) == ["low", "low(rounds=3)"]


def test_long_values_are_cut_only_where_they_still_differ() -> None:
    front = "/a/very/long/way/to/some/folder"
    found = short_names([f"folder(path={front}/lesions)", f"folder(path={front}/satellites)"])
    assert list(found.values()) == ["folder(path=…/to/some/folder/lesions)", "folder(path=…/some/folder/satellites)"]
    same = [f"folder(path={end}{front})" for end in ("x", "y")]
    assert list(short_names(same).values()) == same


def test_what_is_no_spec_string_stays() -> None:
    assert short_names(["not a (call", "digits"])["not a (call"] == "not a (call"


@given(
    st.lists(
        st.builds(
            SpecString.make,
            st.sampled_from(["a", "b"]),
            st.dictionaries(st.sampled_from("xyz"), st.integers(0, 2) | st.text("uv", min_size=1, max_size=40)),
        ).map(str),
        max_size=6,
    )
)
@settings(max_examples=60, derandomize=True, deadline=None)
def test_names_stay_distinct_and_in_order(texts: list[str]) -> None:
    found = short_names(texts)
    assert list(found) == list(dict.fromkeys(texts))
    assert len(set(found.values())) == len(found)
    assert all(short.split("(")[0] == text.split("(")[0] for text, short in found.items())


def test_a_setting_is_told_by_what_differs() -> None:
    one, two = Setting("digits", "low(rounds=8)", LONG), Setting("digits-lt", "low(rounds=8)", LONG)
    names = Names.of([one, two])
    assert names.title(one) == "digits · low · standard"
    assert names.brief(two) == "digits-lt"
    assert Names.of([one, Setting("digits", "mid", LONG)]).brief(one) == "digits, low"
    assert names.title(Setting("other(a=1)", "low(rounds=8)", LONG)) == "other(a=1) · low · standard"


def test_a_given_name_wins_and_stays_distinct() -> None:
    settings_ = [Setting(text, "low", "standard") for text in ("table(path=ham.csv)", "digits", "folder(path=x)")]
    names = Names.of(settings_, {"table(path=ham.csv)": "Skin lesions", "mnist": "not of this study"})
    assert [names.title(s) for s in settings_] == [
        "Skin lesions · low · standard", "digits · low · standard", "folder · low · standard"]  # fmt: skip
    taken = Names.of(settings_, {"table(path=ham.csv)": "digits"})
    assert taken.dataset["table(path=ham.csv)"] == "table(path=ham.csv)"


def test_file_names_say_what_they_hold() -> None:
    texts = ["table(path=ham.csv)", "digits", "folder(path=a)", "folder(path=b)", "digits(x=1)"]
    settings_ = [Setting(text, "low(query_size=5)", "self-sl") for text in texts]
    given = {
        "table(path=ham.csv)": "Hautläsionen / 2024",
        "digits": "皮膚",
        "folder(path=a)": "A B",
        "folder(path=b)": "a-b",
    }
    stems = Names.of(settings_, given).stems(settings_)
    assert list(stems.values()) == [
        "hautlasionen-2024-low-self-sl", "digits-low-self-sl", "a-b-low-self-sl", "a-b-low-self-sl-2",
        "digits-x-1-low-self-sl"]  # fmt: skip
