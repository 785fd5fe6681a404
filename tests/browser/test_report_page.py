"""The report in a real browser: it opens offline, draws, switches, and can be read by hovering."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from headless import open_browser
from sigmoe.lab._report import write_report
from synthetic_results import paper_like

pytestmark = pytest.mark.browser

PANELS = ("figure1-1a", "figure1-1b", "figure2-2a", "figure2-2b")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(paper_like(tmp_path_factory.mktemp("page") / "results"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with open_browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def page(browser: Chrome, report: Path) -> Chrome:
    browser.get_log("performance")
    browser.get(report.as_uri())
    return browser


def count(page: Chrome, panel: str, selector: str) -> int:
    return len(page.find_elements(By.CSS_SELECTOR, f"#{panel} .plot {selector}"))


def bring_into_view(page: Chrome, element: WebElement) -> None:
    # The page scrolls smoothly, and a click would hit what passes by.
    place = "{block: 'center', behavior: 'instant'}"
    page.execute_script(f"arguments[0].scrollIntoView({place})", element)


def switch(page: Chrome, panel: str, name: str) -> None:
    box = page.find_element(By.CSS_SELECTOR, f'#{panel} [data-switch="{name}"]')
    bring_into_view(page, box)
    box.click()


def mark(page: Chrome, panel: str, name: str, kind: str, n: int) -> WebElement:
    series = f'.series[data-name="{name}"][data-kind="{kind}"]'
    found = page.find_element(By.CSS_SELECTOR, f'#{panel} {series} .mark[data-n="{n}"]')
    page.execute_script(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", found
    )
    return found


def tip(page: Chrome, panel: str) -> str:
    return page.find_element(By.CSS_SELECTOR, f"#{panel} .tip").text


def test_it_loads_without_errors_and_asks_the_network_for_nothing(page, report):
    assert page.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]


@pytest.mark.parametrize("panel", PANELS)
def test_each_panel_is_drawn(page, panel):
    exact = panel.startswith("figure2")
    # Two curves: three or four converged sizes, three paper-style ones, one with random starts.
    assert count(page, panel, ".mark") == (16 if exact else 12)
    assert count(page, panel, "path.curve") == 4
    assert count(page, panel, "path.fit") == 4
    assert count(page, panel, ".beneath path.start") == 2
    assert count(page, panel, "path.fisher") == (2 if panel == "figure2-2b" else 0)
    assert count(page, panel, "path.bars") == 4
    assert count(page, panel, ".failed") == (2 if panel == "figure1-1a" else 0)


def test_marks_stand_where_their_numbers_are(page):
    places = page.execute_script(
        """return [...document.querySelectorAll('#figure2-2b [data-name="ReLU"] .mark')].map(m => {
             const box = m.getBBox();
             return [+m.dataset.n, +m.dataset.mean, box.x + box.width / 2, box.y + box.height / 2];
           })"""
    )
    by_size = sorted(places)
    (first, last) = (by_size[0], by_size[-1])
    # On log axes equal ratios are equal lengths: 1000 to 3162 is a third of 1000 to 31623.
    middle = next(place for place in by_size if place[0] == 3162)
    assert (middle[2] - first[2]) / (last[2] - first[2]) == pytest.approx(1 / 3, abs=0.01)
    heights = [place[3] for place in sorted(places, key=lambda place: place[1])]
    assert heights == sorted(heights, reverse=True)


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("names:ReLU", 8),
        ("kinds:paper-style", 10),
        ("kinds:converged, random starts", 14),
        ("variants:1", 28),
    ],
)
def test_a_toggle_switches_curves_off_and_on(page, name, marks):
    before = count(page, "figure2-2b", ".mark")
    switch(page, "figure2-2b", name)
    assert count(page, "figure2-2b", ".mark") == marks
    switch(page, "figure2-2b", name)
    assert count(page, "figure2-2b", ".mark") == before


@pytest.mark.parametrize("overlay", ["fit", "bars", "start", "fisher"])
def test_overlays_are_switched_alone(page, overlay):
    selector = "path.bars, .arrow" if overlay == "bars" else f"path.{overlay}"
    assert page.find_elements(By.CSS_SELECTOR, f"#figure2-2b .plot path.{overlay}")
    switch(page, "figure2-2b", f"overlays:{overlay}")
    assert count(page, "figure2-2b", f":is({selector})") == 0
    assert count(page, "figure2-2b", ".mark") == 16


def test_the_loss_is_chosen(page):
    switch(page, "figure2-2b", "quantity:function")
    texts = page.find_elements(By.CSS_SELECTOR, "#figure2-2b .axes text")
    assert "‖f̂ − target‖" in {text.text for text in texts}
    means = [
        float(found.get_attribute("data-mean"))
        for found in page.find_elements(
            By.CSS_SELECTOR, '#figure2-2b [data-name="ReLU"][data-kind="converged"] .mark'
        )
    ]
    assert means == pytest.approx([0.6 * (n / 1e3) ** -0.5 for n in (1000, 3162, 10000, 31623)])


def test_everything_switched_off_says_so(page):
    switch(page, "figure1-1b", "names:sigmoid")
    switch(page, "figure1-1b", "names:softmax")
    assert count(page, "figure1-1b", ".mark") == 0
    empty = page.find_element(By.CSS_SELECTOR, "#figure1-1b .empty")
    assert empty.text == "Every curve is switched off."


def test_hovering_shows_the_values_of_a_mark(page):
    target = mark(page, "figure1-1a", "softmax", "converged", 1000)
    ActionChains(page).move_to_element(target).perform()
    lines = tip(page, "figure1-1a").splitlines()
    assert lines[:4] == [
        "softmax, converged (local)",
        "softmax data for both fits, N = 9 for N* = 8",
        "n",
        "1,000",
    ]
    shown = dict(zip(lines[2::2], lines[3::2], strict=True))
    assert shown["mean softmax"] == f"{float(target.get_attribute('data-mean')):.1f}"
    assert (shown["fits"], shown["failed"]) == ("4", "1")
    assert shown["start’s loss"] == "20.0"
    assert shown["Fisher prediction"] == "–"
    assert shown["paper’s slope"] == "−0.24"
    assert count(page, "figure1-1a", ".ring") == 1


def test_the_keyboard_reads_values_too(page):
    chart = page.find_element(By.CSS_SELECTOR, "#figure2-2a .plot svg")
    page.execute_script("arguments[0].focus()", chart)
    seen = []
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ESCAPE):
        page.switch_to.active_element.send_keys(key)
        seen.append(tip(page, "figure2-2a").splitlines()[:4])
    assert [lines[3] for lines in seen[:3]] == ["1,000", "3,162", "3,162"]
    assert seen[1][0] == seen[0][0] != seen[2][0]
    assert seen[3] == []


def test_switches_work_from_the_keyboard(page):
    box = page.find_element(By.CSS_SELECTOR, '#figure2-2b [data-switch="names:linear"]')
    box.send_keys(Keys.SPACE)
    assert count(page, "figure2-2b", ".mark") == 8


class TestSlopeTable:
    def rows(self, page: Chrome) -> list[list[str]]:
        return page.execute_script(
            """return [...document.querySelectorAll('#slope-table tbody tr')].filter(r => !r.hidden)
                 .map(r => [...r.cells].map(c => c.textContent.trim()))"""
        )

    def test_it_opens_with_the_papers_statistic_and_the_curves_own_losses(self, page):
        rows = self.rows(page)
        assert {row[7] for row in rows} == {"log-mean"}
        assert not any(row[6].startswith("start") for row in rows)
        assert page.find_element(By.ID, "slope-count").text == f"{len(rows)} of 504 slopes"

    def test_filters_narrow_it(self, page):
        page.execute_script(
            """const s = document.querySelector('#slope-filters select');
               s.value = '2a'; s.dispatchEvent(new Event('change'))"""
        )
        rows = self.rows(page)
        assert rows
        assert {row[0] for row in rows} == {"2a"}
        page.find_element(By.CSS_SELECTOR, "#slope-filters input[type=search]").send_keys("random")
        assert {row[5] for row in self.rows(page)} == {"random"}

    def test_a_heading_sorts_and_sorts_back(self, page):
        head = page.find_elements(By.CSS_SELECTOR, "#slope-table th button")
        slope = next(button for button in head if button.text == "Slope")
        for direction in (1, -1):
            page.execute_script("arguments[0].click()", slope)
            texts = [row[9] for row in self.rows(page)]
            numbers = [float(text.replace("−", "-")) for text in texts if text != "–"]
            assert numbers == sorted(numbers, reverse=direction < 0)
            assert texts[len(numbers) :] == ["–"] * (len(texts) - len(numbers))


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(browser, report, width):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    try:
        browser.get(report.as_uri())
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width
        drawn = browser.find_element(By.CSS_SELECTOR, "#figure1-1a .plot svg").size["width"]
        assert 0.45 * width < drawn < width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_dark_page_keeps_its_contrast(browser, report):
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    try:
        browser.get(report.as_uri())
        ink, paper = browser.execute_script(
            "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
        )
        assert (ink, paper) == ("rgb(231, 234, 238)", "rgb(20, 23, 27)")
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
