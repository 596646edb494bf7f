"""The report in a browser: filters, hover, legend, keyboard, address, themes, print, accessibility, no request."""

import base64
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.results.synthetic import CLASSES, Plan, build

from fathom.core.records import RunSpec
from fathom.report.drawing import Drawing
from fathom.report.report import report
from fathom.stats.curves import gain_curves
from fathom.stats.inference import Interval, t_interval
from fathom.store.store import Store
from fathom.store.tables import rounds_table

pytestmark = pytest.mark.xdist_group("browser")

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
AXE = Path(__file__).parents[1] / "vendor/axe-core/axe.min.js"
WIDE, PHONE = (1280, 1000), (390, 844)
THUMBNAILS = 10
PANEL = ".explore .chart"
PARADIGMS = ("standard(recipe=short)", "frozen(recipe=short)")


def stop(spec: RunSpec) -> int | None:
    return 2 if (spec.dataset, spec.query, spec.seed) == ("digits", "badge", 3) else None


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    plan = Plan(
        rounds=4, seeds=4, queries=("random", "bald", "badge"), classes=CLASSES[:3], paradigms=PARADIGMS, stop=stop
    )
    build(out, plan)
    data = BytesIO()
    Image.new("RGB", (8, 8), "gray").save(data, "PNG")
    images = dict.fromkeys(map(str, range(THUMBNAILS)), base64.b64encode(data.getvalue()).decode())
    Store.open(out).put("thumbnails/0", {"dataset": "digits", "images": images})
    with pytest.MonkeyPatch.context() as patch:  # fonts take long; that a PDF is one is tested where it is drawn
        patch.setattr(Drawing, "pdf", lambda self: b"%PDF")
        report(out)
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"needs one of {', '.join(NAMES)}")
    with api.sync_playwright() as playwright:
        # Root in a container has no sandbox, and /dev/shm may be small there.
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield started
        started.close()


@dataclass
class Opener:
    """Opens a study's report; what the page says on the console or asks for is kept."""

    browser: Any
    page: Path
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    contexts: list[Any] = field(default_factory=list)

    def __call__(self, hash_: str = "", size: tuple[int, int] = WIDE, **options: Any) -> Any:
        context = self.browser.new_context(
            viewport={"width": size[0], "height": size[1]}, reduced_motion="reduce", **options
        )
        self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url.partition("#")[0]))
        page.goto(f"{self.page.as_uri()}{hash_}")
        return page


@pytest.fixture
def opened(browser: Any, study: Path) -> Iterator[Opener]:
    opener = Opener(browser, study / "report" / "report.html")
    yield opener
    for context in opener.contexts:
        context.close()
    assert opener.said == []
    assert set(opener.asked) == {opener.page.as_uri()}


def chip(page: Any, text: str) -> Any:
    return page.locator(".explore .chip", has=page.get_by_text(text, exact=True)).locator("input")


def method(page: Any, text: str) -> Any:
    return page.locator(".explore .legend button", has_text=text)


def number(page: Any) -> Any:
    return page.get_by_role("spinbutton", name="Number of labels")


def titles(page: Any) -> list[str]:
    return page.locator(".explore .setting h3 > a").all_inner_texts()


def rows(page: Any) -> dict[str, list[str]]:
    """First setting of the table of values: method -> gain, score, seeds."""
    body = page.locator(".explore .scroll.tall tbody").first
    cells = [row.locator("th, td").all_inner_texts() for row in body.locator("tr:not(.group)").all()]
    return {name.strip(): own for name, *own in cells}


def numbers(text: str) -> list[float]:
    """Numbers of a text, whose minus signs are typographic."""
    return [float(n) for n in re.findall(r"[+-]?\d+(?:\.\d+)?", text.replace("\u2212", "-"))]


def shown(band: Interval, share: bool = False) -> Any:
    """Mean and interval in percent or points, to the digit that the page shows; a share lies within 0 and 100."""
    values = [100 * v for v in (band.mean, band.low, band.high)]
    return pytest.approx([min(100.0, max(0.0, v)) for v in values] if share else values, abs=0.0501)


# ------------------------------------------------------------------------------------------------------- selection


def test_filters_select_settings(opened: Opener) -> None:
    page = opened()
    assert titles(page) == [f"{d} · low · {p}" for d in ("digits", "digits-lt") for p in ("standard", "frozen")]
    assert page.locator(PANEL).count() == 4  # gains alone, while there are more than two settings
    chip(page, "digits-lt").uncheck()
    assert titles(page) == ["digits · low · standard", "digits · low · frozen"]
    assert page.locator(PANEL).count() == 4  # scores and gains side by side
    chip(page, "scores").check()
    assert page.locator(PANEL).count() == 2
    chip(page, "standard").uncheck()
    assert titles(page) == ["digits · low · frozen"]
    chip(page, "digits").uncheck()
    assert titles(page) == []
    assert page.get_by_text("No setting is selected.").is_visible()


def test_the_address_holds_the_selection(opened: Opener) -> None:
    page = opened()
    chip(page, "digits-lt").uncheck()
    method(page, "BALD").click()
    chip(page, "all paid").check()
    page.get_by_label("Metric").select_option("log_loss")
    number(page).fill("333")
    number(page).press("Enter")
    hash_ = page.evaluate("location.hash")
    again = opened(hash_)
    assert titles(again) == ["digits · low · standard", "digits · low · frozen"]
    assert method(again, "BALD").get_attribute("aria-pressed") == "false"
    assert chip(again, "all paid").is_checked()
    assert again.get_by_label("Metric").input_value() == "log_loss"
    assert number(again).input_value() == "333"
    assert rows(again) == rows(page)
    assert again.locator(PANEL).first.get_attribute("aria-label") == page.locator(PANEL).first.get_attribute(
        "aria-label"
    )


@pytest.mark.parametrize("hash_", ["#explore?dataset=gone&metric=none&x=y&at=nan&off=z", "#explore?at=1e9", "#explore"])
def test_an_address_of_another_study_is_no_error(opened: Opener, hash_: str) -> None:
    page = opened(hash_)
    assert len(titles(page)) == 4
    assert number(page).input_value() == "125"


def test_a_setting_of_the_page_leads_to_its_curves(opened: Opener) -> None:
    page = opened()
    page.get_by_role("link", name="Explore digits-lt · low · frozen").click()
    assert titles(page) == ["digits-lt · low · frozen"]


# ---------------------------------------------------------------------------------------------------------- values


def curves(study: Path, query: str, budget: float) -> dict[int, float]:
    """Seed -> score of the first setting at a budget, interpolated."""
    frame = rounds_table(Store.open(study))
    own = frame[(frame["dataset"] == "digits") & (frame["paradigm"] == PARADIGMS[0]) & (frame["query"] == query)]
    found = {int(s): np.interp(budget, r["budget"], r["score"], right=np.nan) for s, r in own.groupby("seed")}
    return {seed: float(value) for seed, value in found.items() if np.isfinite(value)}


@pytest.mark.parametrize("budget", [75, 110, 125])
def test_values_at_any_budget_are_those_of_the_runs(opened: Opener, study: Path, budget: int) -> None:
    page = opened()
    number(page).fill(str(budget))
    number(page).press("Enter")
    found = rows(page)
    base = curves(study, "random", budget)
    for query, name in (("badge", "BADGE"), ("bald", "BALD")):
        own = curves(study, query, budget)
        assert len(own) == (4 if query == "bald" or budget == 75 else 3)  # one run ended at 75 labels
        gain = t_interval([own[seed] - base[seed] for seed in own])
        assert numbers(found[name][0]) == shown(gain)
        assert numbers(found[name][1]) == shown(t_interval(list(own.values())), share=True)
        assert found[name][2] == str(len(own))
    assert found["Random"][0] == "\u2013"
    order = [float(cells[0].split()[0].replace("\u2212", "-").replace("\u2013", "0")) for cells in found.values()]
    assert order == sorted(order, reverse=True)


def test_the_slider_moves_the_table_and_is_read_aloud(opened: Opener) -> None:
    page = opened("#explore?dataset=digits&paradigm=standard")
    slider = page.get_by_label("Read all curves at")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == "124 training labels"
    assert number(page).input_value() == "124"
    assert "BADGE, 124 training labels: " in page.get_by_role("status").inner_text()
    assert "at=124" in page.evaluate("location.hash")


def test_arrow_keys_read_a_chart(opened: Opener, study: Path) -> None:
    page = opened("#explore?dataset=digits&paradigm=standard&show=gain")
    page.locator(PANEL).focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    frame = rounds_table(Store.open(study))
    gains = gain_curves(frame[frame["paradigm"] == PARADIGMS[0]], "random").query("dataset == 'digits'")
    status = page.get_by_role("status")

    def check(query: str, name: str, budget: int) -> None:
        row = gains[(gains["query"] == query) & (gains["budget"] == budget)].iloc[0]
        head, _, rest = status.inner_text().partition(": ")
        assert head == f"{name}, {budget} training labels"
        value, _, interval = rest.partition(", 95\u00a0% interval ")
        band = Interval(row["mean"], row["low"], row["high"], 0, 0)
        assert [*numbers(value), *numbers(interval)[:2]] == shown(band)
        assert value.endswith(" points")
        assert interval.endswith(f", {row['n']} seeds")

    check("bald", "BALD", 100)
    page.keyboard.press("ArrowDown")
    check("badge", "BADGE", 100)
    page.keyboard.press("End")
    check("badge", "BADGE", 125)
    assert page.locator(".tip").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator(".tip").is_visible()


def test_pointing_at_a_chart_shows_value_interval_and_seeds(opened: Opener, study: Path) -> None:
    page = opened("#explore?dataset=digits&paradigm=standard&show=score")
    over = page.locator(f"{PANEL} .u-over")
    box = over.bounding_box()
    over.hover(position={"x": box["width"] - 12, "y": box["height"] / 2})
    tip = page.locator(".tip")
    assert tip.locator("p").inner_text() == "125 training labels, %"
    own = curves(study, "badge", 125)
    (line,) = (row for row in tip.locator("tr").all() if "BADGE" in row.inner_text())
    mean, band, n = (cell.strip() for cell in line.inner_text().split("\t")[1:])
    assert numbers(f"{mean} {band}") == shown(t_interval(list(own.values())), share=True)
    assert n == "n\u00a0=\u00a03"
    page.mouse.move(0, 0)
    assert not tip.is_visible()


def test_the_legend_hides_and_shows_a_method(opened: Opener) -> None:
    page = opened()
    chart = page.locator(PANEL).first
    assert "BALD" in (chart.get_attribute("aria-label") or "")
    method(page, "BALD").click()
    assert method(page, "BALD").get_attribute("aria-pressed") == "false"
    assert "BALD" not in (chart.get_attribute("aria-label") or "")
    assert set(rows(page)) == {"Random", "BADGE"}
    method(page, "BALD").press("Enter")
    assert set(rows(page)) == {"Random", "BADGE", "BALD"}


def test_gains_of_a_metric_where_lower_is_better(opened: Opener, study: Path) -> None:
    page = opened("#explore?dataset=digits&paradigm=standard&metric=log_loss")
    frame = rounds_table(Store.open(study)).query("dataset == 'digits' and budget == 125")
    frame = frame[frame["paradigm"] == PARADIGMS[0]].pivot_table(index="seed", columns="query", values="log_loss")
    mean = (frame["bald"] - frame["random"]).mean()
    assert rows(page)["BALD"][0].startswith(f"{mean:+.3f}".replace("-", "\u2212"))
    assert "lower is better" in page.get_by_label("Metric").inner_text()
    assert page.locator(".panel .what").first.inner_text().startswith("log loss (nats)")


def test_paid_labels_add_those_of_the_validation_set(opened: Opener) -> None:
    page = opened("#explore?dataset=digits&x=paid")
    assert number(page).input_value() == "375"
    assert "(300 to 375)" in page.locator(".reader").inner_text()


def test_recalls_per_class(opened: Opener) -> None:
    page = opened("#explore?dataset=digits&paradigm=standard&off=BALD")
    page.get_by_text("Recall per class, and what was labeled").click()
    table = page.get_by_role("region", name="Recall per class, digits · low · standard")
    assert table.locator("thead th").all_inner_texts() == ["Class", "Train images", "Test images", "Random", "BADGE"]
    assert table.locator("tbody th").all_inner_texts() == CLASSES[:3]
    title = table.locator("td.heat").first.get_attribute("title")
    assert re.match(r"BADGE, airplane: \S+ \[\S+, \S+\], 3 seeds, \d+\.\d training labels", title)


def test_images_that_were_queried_most_often(opened: Opener) -> None:
    page = opened("#explore?dataset=digits&paradigm=standard&off=BALD")
    page.get_by_text("Images that were queried most often").click()
    images = page.locator(".bought img")
    assert images.count() == 2 * THUMBNAILS
    alts = images.evaluate_all("all => all.map((image) => image.alt)")
    assert all(re.fullmatch(rf"({'|'.join(CLASSES[:3])}), image \d+, queried in [34] of 4 seeds", alt) for alt in alts)
    assert page.locator(".bought").first.locator("img").evaluate_all("all => all.every((i) => i.naturalWidth === 8)")
    chip(page, "digits-lt").check()
    chip(page, "digits").uncheck()
    assert page.get_by_text("No thumbnails in these settings.").is_visible()


def test_files_it_links_to_exist(opened: Opener, study: Path) -> None:
    page = opened("#explore?show=both")
    links = page.locator(".explore a").evaluate_all("links => links.map((a) => a.getAttribute('href'))")
    files = {link for link in links if not link.startswith("#")}
    assert {"results.csv", "picks.csv", "figures/digits-low-standard-gains.svg"} <= files
    assert [name for name in files if not (study / "report" / name).is_file()] == []
    ids = {link[1:] for link in links if link.startswith("#")}
    assert all(page.locator(f"[id='{name}']").count() == 1 for name in ids)


# -------------------------------------------------------------------------------------------- for everyone, anywhere


def test_the_keyboard_reaches_every_control(opened: Opener) -> None:
    page = opened("#explore?dataset=digits&paradigm=standard")
    wanted = page.locator(
        ".explore :is(button, select, input:not([type=radio]), a, summary, [tabindex='0'])"
    ).count() + len(["show", "axis"])
    page.locator(".explore input").first.focus()
    reached = set()
    for _ in range(2 * wanted):
        reached.add(
            page.evaluate("""() => {
            const at = document.activeElement;
            if (!at.closest(".explore")) return "";
            return [...document.querySelectorAll(".explore *")].indexOf(at) + 1;
        }""")
        )
        page.keyboard.press("Tab")
    assert len(reached - {""}) == wanted
    page.locator(".explore .chip", has_text="gains").last.locator("input").focus()
    page.keyboard.press("ArrowLeft")
    assert "show=" in page.evaluate("location.hash")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_axe_finds_nothing_serious(opened: Opener, scheme: str, size: tuple[int, int]) -> None:
    page = opened(size=size, color_scheme=scheme)
    page.get_by_text("Recall per class, and what was labeled").click()
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = json.loads(page.evaluate("axe.run().then((r) => JSON.stringify(r.violations))"))
    serious = [
        (v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found if v["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert [v["id"] for v in found if any(".explore" in str(n["target"]) for n in v["nodes"])] == []


def test_a_phone_shows_the_gain_without_scrolling_sideways(opened: Opener) -> None:
    page = opened(size=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
    cell = page.locator(".explore .scroll.tall tbody tr:not(.group) td").first
    box = cell.bounding_box()
    assert box["x"] + box["width"] <= PHONE[0]
    assert page.locator(f"{PANEL} canvas").first.bounding_box()["width"] <= PHONE[0]


def test_the_charts_follow_the_theme(opened: Opener) -> None:
    page = opened(color_scheme="light")
    picture = "() => document.querySelector('.explore canvas').toDataURL()"
    found = []
    for scheme in 3 * ("dark", "light"):
        before = page.evaluate(picture)
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(f"(before) => ({picture})() !== before", arg=before)
        found.append(page.evaluate(picture))
    assert found[2:4] == found[4:]


def test_print_has_the_figures_and_not_the_controls(opened: Opener) -> None:
    page = opened()
    page.emulate_media(media="print")
    assert not page.locator(".explore").is_visible()
    assert page.locator("svg.figure").first.is_visible()


def test_without_script_the_figures_stay(opened: Opener) -> None:
    page = opened(java_script_enabled=False)
    assert page.locator("#explore-app").is_hidden()
    assert page.get_by_text("This section needs JavaScript.").is_visible()
    assert page.locator("svg.figure").first.is_visible()
