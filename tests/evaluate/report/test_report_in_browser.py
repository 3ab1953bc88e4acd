"""The report in a browser: no requests, three widths, light and dark, tables, filters and links of failures, keys, print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

CLIPPED_TEXT = """[...document.querySelectorAll("svg text")].filter(t => {
    const box = t.getBBox(), whole = t.ownerSVGElement.viewBox.baseVal
    return box.x < 0 || box.x + box.width > whole.width
}).map(t => t.textContent)"""
EMPTY_SPACE = """[...document.querySelectorAll(".grid")].map(grid => {
    const right = grid.getBoundingClientRect().right, rows = new Map()
    for (const card of grid.children) {
        const box = card.getBoundingClientRect()
        if (box.width) rows.set(Math.round(box.top), Math.max(box.right, rows.get(Math.round(box.top)) ?? 0))
    }
    return Math.max(...[...rows.values()].map(end => right - end))
})"""
LIGHT, DARK = "rgb(246, 245, 241)", "rgb(18, 18, 17)"
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


class Opened:
    """A page with the messages of its console and the addresses it requested."""

    def __init__(self, browser: Any, url: str, width: int, scheme: str) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)


def visible_rows(page: Any) -> list[int]:
    cards = page.locator(".failures > article").all()
    return [int(card.get_attribute("id").removeprefix("row-")) for card in cards if card.is_visible()]


@pytest.mark.parametrize(("width", "scheme"), [(1920, "light"), (1200, "dark"), (390, "light")])
def test_three_widths(folder: Path, browser: Any, width: int, scheme: str) -> None:
    opened = Opened(browser, f"file://{folder / 'report.html'}", width, scheme)
    page = opened.page
    assert page.title().startswith("eigenvectors")
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # no horizontal scrolling
    assert page.evaluate(CLIPPED_TEXT) == []
    assert max(page.evaluate(EMPTY_SPACE)) < 2, "every row of cards reaches the right edge"
    assert page.evaluate("document.querySelector('main').clientWidth") >= min(width, 1700)
    for link in page.locator("nav a").all():
        link.click()
        assert page.locator(link.get_attribute("href")).is_visible()
    assert page.evaluate(BACKGROUND) == (LIGHT if scheme == "light" else DARK)
    assert opened.messages == []
    assert [url for url in opened.requests if not url.startswith(("file://", "data:"))] == []
    assert len([url for url in opened.requests if url.startswith("file://")]) == 1


def test_tables_sort_and_filter(folder: Path, browser: Any) -> None:
    page = Opened(browser, f"file://{folder / 'report.html'}", 1200, "light").page
    card = page.locator("#correct_and_incorrect")
    column = card.locator("tbody tr td:nth-child(2)")

    def numbers() -> list[float]:
        return [float(cell.get_attribute("data-v")) for cell in column.all()]

    before = numbers()
    card.locator("thead button").nth(1).click()
    assert numbers() == sorted(before, reverse=True)
    card.locator("thead button").nth(1).click()
    assert numbers() == sorted(before)
    card.locator("thead button").nth(0).click()
    names = [cell.inner_text() for cell in card.locator("tbody tr td:first-child").all()]
    assert names == sorted(names, reverse=True)
    card.locator("input.filter").fill("cosine, incorrect")
    assert [row.is_visible() for row in card.locator("tbody tr").all()].count(True) == 1
    card.locator("input.filter").fill("")
    assert all(row.is_visible() for row in card.locator("tbody tr").all())


def test_the_button_switches_the_colours_and_the_choice_stays(folder: Path, browser: Any) -> None:
    opened = Opened(browser, f"file://{folder / 'report.html'}", 1200, "light")
    page = opened.page
    assert page.locator("#theme").inner_text() == "Dark"
    page.locator("#theme").click()
    assert page.evaluate(BACKGROUND) == DARK and page.locator("#theme").inner_text() == "Light"
    page.reload()
    assert page.evaluate(BACKGROUND) == DARK
    page.keyboard.press("t")
    assert page.evaluate(BACKGROUND) == LIGHT
    page.emulate_media(color_scheme="dark")  # the choice was the system's, so the page follows the system again
    assert page.evaluate(BACKGROUND) == DARK and opened.messages == []


def test_failures_are_filtered_by_outcome_and_covariate(folder: Path, browser: Any) -> None:
    page = Opened(browser, f"file://{folder / 'report.html'}", 1200, "light").page
    values = page.evaluate("JSON.parse(document.querySelector('#failure-values').textContent)")
    form = page.locator("#failure-filter")
    assert len(values) == 114 and len(visible_rows(page)) == 12
    form.locator("[data-field=outcome]").select_option("malformed")
    assert visible_rows(page) == [3]
    form.get_by_role("button", name="Reset").click()
    page.wait_for_function("document.querySelectorAll('.failures > article:not([hidden])').length === 12")
    form.locator("[name=covariate]").select_option("condition_number")
    form.locator("[name=from]").fill("5")
    form.locator("[name=to]").fill("9")
    form.locator("[name=order]").select_option("+condition_number")
    expected = sorted(
        (value["condition_number"], int(row)) for row, value in values.items() if 5 <= value["condition_number"] <= 9
    )
    assert len(expected) > 0 and visible_rows(page) == [row for _, row in expected[:12]]
    assert f"of {len(expected)} that match" in form.locator("output").inner_text()
    command = form.locator("code").inner_text()
    assert command.endswith("--where 'condition_number>=5' --where 'condition_number<=9' --sort condition_number")
    if len(expected) > 12:
        page.locator("#more").click()
        assert len(visible_rows(page)) == min(len(expected), 24)


def test_links_to_rows(folder: Path, browser: Any) -> None:
    url = f"file://{folder / 'report.html'}"
    page = Opened(browser, url, 1200, "light").page
    hidden = page.evaluate("[...document.querySelectorAll('.failures > article[hidden]')].at(-1).id")
    page = Opened(browser, f"{url}#{hidden}", 1200, "light").page
    assert page.locator(f"#{hidden}").is_visible()
    assert page.evaluate("document.activeElement.id") == hidden
    page.locator("#row-3 h3 a").click()
    assert page.url.endswith("#row-3")
    page.evaluate("location.hash = 'row-99999'")
    page.wait_for_function("document.querySelector('#failure-filter output').textContent.startsWith('Row 99999')")
    assert page.locator("#failure-filter code").inner_text().endswith("--row 99999")


def test_keys(folder: Path, browser: Any) -> None:
    page = Opened(browser, f"file://{folder / 'report.html'}", 1200, "light").page
    rows = visible_rows(page)
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.id") == f"row-{rows[1]}" and page.url.endswith(f"#row-{rows[1]}")
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.id") == f"row-{rows[0]}"
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.closest('form').id") == "failure-filter"
    page.locator("#correct_and_incorrect input.filter").focus()
    page.keyboard.type("tj")
    assert page.locator("#correct_and_incorrect input.filter").input_value() == "tj", (
        "keys that are typed do nothing else"
    )
    page = Opened(
        browser, f"file://{folder / 'report.html'}", 1200, "light"
    ).page  # without #row-3, which would have the focus
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.url.endswith("#main"), "the first tab stop skips to the content"


def test_on_paper_the_page_is_light_and_without_controls(folder: Path, browser: Any) -> None:
    page = Opened(browser, f"file://{folder / 'report.html'}", 720, "dark").page
    page.emulate_media(media="print")
    assert page.evaluate(BACKGROUND) == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible() and not page.locator("#failure-filter").is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("[...document.querySelectorAll('.plotted > details')].every(d => d.open)")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("[...document.querySelectorAll('.plotted > details')].some(d => !d.open)")


def test_without_a_script_every_failure_is_shown(folder: Path, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"file://{folder / 'report.html'}")
    assert len(visible_rows(page)) == 114 and not page.locator("#failure-filter").is_visible()
