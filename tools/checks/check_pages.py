"""Pages in headless Chromium: every plot drawn, everything clicked, nothing said on the console.

    python tools/checks/check_pages.py CHROMIUM SHOTS PAGE.html...

Takes Playwright's Python package and the system's Chromium. At 400, 900 and 1400 px, in both themes, no page may be wider
than the window. Every option of every select box is chosen, every legend clicked, every table downloaded as CSV and compared
with the page. Screenshots and a PDF of each page are left in SHOTS.
"""

import csv
import io
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTHS = [400, 900, 1400]
VISIBLE = "[...document.querySelectorAll('.plot')].filter(plot => !plot.closest('[hidden]'))"


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def check_drawn(page, place):
    undrawn = page.evaluate(f"{VISIBLE}.filter(plot => !plot.querySelector('.main-svg .xy')).length")
    check(undrawn == 0, f"{place}: {undrawn} plots are not drawn")
    empty = page.evaluate(
        f"""{VISIBLE}.filter(plot => !plot.querySelector('.trace, .point, .points path'))
        .map(plot => plot.getAttribute('aria-label'))"""
    )
    check(not empty, f"{place}: nothing is drawn in {empty}")


def check_width(page, place):
    """Plots follow a window's width a little later."""
    for _ in range(20):
        wide, window = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        if wide <= window:
            return
        page.wait_for_timeout(250)
    raise AssertionError(f"{place}: {wide} px wide in a window of {window} px")


def check_theme(page, place):
    background = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(background)
    page.click("[data-theme-toggle]")
    check(page.evaluate(background) != before, f"{place}: the theme button changes nothing")
    return page.evaluate("document.documentElement.dataset.theme")


def check_choices(page, place):
    for box in page.locator("[data-choices]").all():
        select = box.locator("select").first
        values = [option.get_attribute("value") for option in select.locator("option").all()]
        for value in [*values[:-1], values[-1]]:
            select.select_option(value)
            shown = box.locator("> [data-choice]:not([hidden])")
            check(shown.count() == 1, f"{place}: {shown.count()} choices are shown")
            check(shown.first.get_attribute("data-choice") == value, f"{place}: option {value} shows another")
            check_drawn(page, f"{place}, option {value}")


def check_legends(page, place):
    """A click on the first name of each legend hides its curve."""
    for plot in page.locator(".plot:visible").all():
        toggles = plot.locator(".legendtoggle")
        if toggles.count() < 2:
            continue
        hidden = "plot => plot._fullData.filter(trace => trace.visible === 'legendonly').length"
        toggles.first.dispatch_event("mousedown")
        toggles.first.dispatch_event("mouseup")
        page.wait_for_timeout(400)
        check(plot.evaluate(hidden) > 0, f"{place}: a click on a legend hides nothing")
        return


def expected_rows(table):
    return table.evaluate(
        "table => [...table.rows].map(row => [...row.cells].map(cell => cell.dataset.raw ?? cell.textContent))"
    )


def check_csv(page, place):
    buttons = page.locator("button.csv:visible")
    tables = page.locator("table").count()
    check(page.locator("button.csv").count() == tables, f"{place}: not every table has a button")
    for button in buttons.all()[:3]:
        with page.expect_download() as download:
            button.click()
        rows = list(csv.reader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
        check(download.value.suggested_filename.endswith(".csv"), f"{place}: {download.value.suggested_filename}")
        table = button.locator("xpath=following-sibling::*[1]").locator("xpath=descendant-or-self::table").first
        shown = [[cell.removeprefix("'") for cell in row] for row in rows]
        check(shown == expected_rows(table), f"{place}: the CSV differs from its table")
        check(len(rows) > 1 and len({len(row) for row in rows}) == 1, f"{place}: the CSV has {len(rows)} lines")


def check_page(browser, path, shots):
    context = browser.new_context(viewport={"width": WIDTHS[-1], "height": 900}, accept_downloads=True)
    page = context.new_page()
    said = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(("file:", "blob:", "data:")) else said.append(request.url))
    page.goto(path.resolve().as_uri())
    name = f"{path.parent.name}-{path.stem}"
    check_drawn(page, name)
    check_choices(page, name)
    check_csv(page, name)
    for theme in ("first", "second"):
        chosen = check_theme(page, name)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(1000)
            place = f"{name}, {width} px, {chosen}"
            check_width(page, place)
            check_drawn(page, place)
            page.screenshot(path=shots / f"{name}-{width}-{chosen}.png", full_page=True)
    check_legends(page, name)
    page.pdf(path=shots / f"{name}.pdf", format="A4", print_background=True)
    check(not said, f"{name}: {said}")
    context.close()
    print(f"{name}: {page_summary(path)}")


def page_summary(path):
    return f"{path.stat().st_size / 1e6:.1f} MB, no error at {', '.join(map(str, WIDTHS))} px in both themes"


def main():
    chromium, shots, *paths = sys.argv[1:]
    shots = Path(shots)
    shots.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for path in paths:
            check_page(browser, Path(path), shots)
        browser.close()


if __name__ == "__main__":
    main()
