"""The page in a real browser: typing, opening an image, its alignment, uploading, typos, keys, and a server away.

``KIVUKO_SEARCH_SCREENSHOT=FILE`` and ``KIVUKO_SEARCH_GALLERY=INDEX`` write the README's image of a real index.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from served import served
from tiny_index import HOSTILE_CAPTION, THINGS, far_query

from kivuko.serve.guard import Settings

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(searcher):
    with served(searcher, Settings(max_upload=2**20)) as address:
        yield address


@pytest.fixture
def page(browser, address):
    """The page, opened; afterward: nothing was requested of anyone else, and no script or policy complained."""
    expect.set_options(timeout=PATIENCE_MS)
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    requested, complaints = [], []
    page.on("request", lambda request: requested.append(request.url))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda problem: complaints.append(str(problem)))
    page.goto(address)
    yield page
    context.close()
    assert [url for url in requested if not url.startswith((address, "blob:", "data:"))] == []
    assert [line for line in complaints if "Failed to load resource" not in line] == []


def first(page):
    return page.locator("#grid .card").first


def search(page, words: str, name: str):
    page.get_by_role("searchbox").fill(words)
    expect(first(page)).to_have_attribute("aria-label", name)


def test_a_swahili_query_finds_its_image_and_a_click_shows_the_alignment(page):
    page.get_by_role("searchbox").press_sequentially("tufaha", delay=20)
    expect(first(page)).to_contain_text("the apple")
    expect(page.locator("#language")).to_have_text("Swahili")
    expect(page.locator("#grid .card")).to_have_count(len(THINGS))
    expect(page.get_by_role("status")).to_contain_text("First: the apple")
    assert page.url.endswith("#q=tufaha")
    # The image may come after its card. The page's policy forbids waiting for a function, which evaluates a string.
    first(page).locator("img").evaluate("image => image.decode()")
    first(page).click()
    dialog = page.get_by_role("dialog", name="the apple")
    expect(dialog).to_be_visible()
    table = dialog.get_by_role("table")
    expect(table.get_by_role("columnheader")).to_have_text(["the", "apple"])
    expect(table.get_by_role("rowheader")).to_have_text(["tufaha"])
    assert sum(int(text or 0) for text in table.locator("tbody td").all_inner_texts()) in (99, 100, 101)
    expect(page.locator("#alignment-note")).to_contain_text("Unrelated words get a share, too")
    dialog.get_by_role("button", name="More like this").click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#grid .card")).to_have_count(len(THINGS) - 1)
    expect(page.locator("#understood")).to_contain_text("Like: the apple")
    expect(page.locator("#understood img")).to_have_js_property("naturalWidth", 96)
    page.go_back()
    expect(first(page)).to_contain_text("the apple")


def test_where_nothing_is_close_the_nearest_images_are_folded_away(page, searcher):
    box, grid, note = page.get_by_role("searchbox"), page.locator("#grid"), page.locator("#far")
    box.fill(far_query(searcher))
    expect(note).to_contain_text("No close match")
    expect(grid).to_be_hidden()
    expect(page.get_by_role("status")).to_contain_text("No close match")
    button = page.get_by_role("button", name="Show nearest anyway")
    expect(button).to_have_attribute("aria-expanded", "false")
    box.press("ArrowDown")
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    expect(grid).to_be_visible()
    expect(page.locator("#grid .card")).to_have_count(len(THINGS))
    page.get_by_role("button", name="Hide them").click()
    expect(grid).to_be_hidden()
    search(page, "tufaha", "1: the apple, cosine 1.00")
    expect(note).to_be_hidden()
    expect(grid).to_be_visible()
    box.fill(far_query(searcher))
    expect(grid).to_be_hidden()  # each query is folded anew
    page.get_by_label("Add typos").check(force=True)
    expect(page.locator("#heading")).to_be_visible()
    expect(note).to_be_hidden()
    expect(grid).to_be_visible()  # how the ranks move is what one wants to see
    box.fill("")
    expect(note).to_be_hidden()


def test_more_like_this_begins_at_its_first_image_and_back_ends_where_one_was(page):
    page.set_viewport_size({"width": 400, "height": 500})
    search(page, "tufaha", "1: the apple, cosine 1.00")
    last = page.locator("#grid .card").last
    name = last.get_attribute("aria-label")
    last.click()
    page.get_by_role("button", name="More like this").click()
    expect(page.locator("#understood")).to_contain_text("Like:")
    expect(first(page)).to_be_focused()
    assert page.evaluate("scrollY") == 0
    page.go_back()
    expect(page.locator("#grid .card").last).to_be_focused()
    expect(page.locator("#grid .card").last).to_have_attribute("aria-label", name)
    assert page.evaluate("scrollY") > 0
    page.keyboard.press("Escape")  # from anywhere
    expect(page.locator("#grid .card")).to_have_count(0)
    expect(page.get_by_role("searchbox")).to_be_focused()
    assert page.evaluate("scrollY") == 0


def test_an_address_can_be_shared(page, address):
    page.goto(f"{address}/#q=%E0%A4%86%E0%A4%97")
    page.reload()
    expect(first(page)).to_contain_text("the fire")
    expect(page.get_by_role("searchbox")).to_have_value("आग")
    expect(page.locator("#language")).to_have_text("Marathi")


def test_an_uploaded_image_finds_itself(page, place, tmp_path):
    page.locator("#file").set_input_files(place / "images" / "sea.png")
    expect(first(page)).to_contain_text("the sea")
    expect(page.locator("#understood")).to_contain_text("Like your image: sea.png")
    expect(page.locator("#understood img")).to_have_js_property("naturalWidth", 96)
    expect(first(page)).to_be_focused()
    (tmp_path / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    page.locator("#file").set_input_files(tmp_path / "drawing.svg")
    expect(page.locator("#message")).to_contain_text("not an image of a kind that is read here")
    expect(page.locator("#grid .card")).to_have_count(0)


def test_the_typos_switch_shows_what_they_do(page):
    search(page, "waridi", f"1: {HOSTILE_CAPTION}, cosine 1.00")
    page.get_by_role("switch", name="Add typos").check(force=True)
    expect(page.locator(".chip.typo")).to_contain_text("typed as")
    expect(page.locator("#grid .move").first).to_be_visible()
    before = page.locator(".chip.typo b").inner_text()
    assert before != "waridi"
    assert "typos=1" in page.url
    page.get_by_role("button", name="Other typos").click()
    expect(page.locator(".chip.typo b")).not_to_have_text(before)
    page.get_by_role("switch", name="Add typos").uncheck(force=True)
    expect(page.locator(".chip.typo")).to_have_count(0)


def test_ranks_and_alignment_of_a_misspelled_search_are_those_of_its_query(page, address):
    page.goto(f"{address}/#q=moto+bahari&typos=2&seed=3")
    page.reload()
    typed = page.locator(".chip.typo b").inner_text()
    kept = {"moto", "bahari"} & set(typed.split())
    assert page.locator(".chip.typo .changed").all_inner_texts() == [one for one in typed.split() if one not in kept]
    page.locator("#grid .card", has_text="the").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("#detail-facts")).to_contain_text(f"Misspelled query{typed}")
    expect(dialog.get_by_role("rowheader")).to_have_text(typed.split())
    page.keyboard.press("Escape")
    page.get_by_role("switch", name="Add typos").uncheck(force=True)
    expect(page.locator(".chip.typo")).to_have_count(0)
    page.get_by_role("button", name="Show nearest anyway").click()  # two things at once are close to none
    page.locator("#grid .card", has_text="the").first.click()
    expect(dialog.locator("#detail-facts")).to_contain_text("Querymoto bahari")
    expect(dialog.get_by_role("rowheader")).to_have_text(["moto", "bahari"])


def test_images_that_fell_out_keep_the_query_that_found_them(page):
    moved = {"rank": 1, "score": 0.5, "id": 1, "key": "a", "caption": "the sea", "width": 9, "height": 9, "copies": 1}
    moved["metadata"] = {}
    read = {"language": {"code": "und", "name": "unknown", "share": 0, "basis": "none"}, "readings": []}
    typos = {"query": "tufaaha", "unknown_words": [], "edits": [], "seed": 1, "error": None, **read}
    typos |= {"hits": [moved | {"rank_before": None}], "fell_out": [moved | {"id": 2, "rank_after": None}]}
    answer = {"query": "tufaha", "unknown_words": [], "hits": [], "typos": typos, "generation": 1, "images": 2}
    page.route("**/api/search", lambda route: route.fulfill(json=answer | {"took_ms": 1, **read}))
    page.get_by_role("searchbox").fill("tufaha")
    page.locator("#lost-grid .card").click()
    expect(page.locator("#detail-facts")).to_contain_text("QuerytufahaRank1Rank with typosbeyond 100")
    page.keyboard.press("Escape")
    page.locator("#grid .card").click()
    expect(page.locator("#detail-facts")).to_contain_text("Misspelled querytufaaha")
    expect(page.locator("#language")).to_have_count(0)


def test_words_that_are_not_known_are_named(page):
    page.get_by_role("searchbox").fill("tufaha Ω")
    expect(page.locator(".chip.unknown")).to_have_text("not known: Ω")
    expect(page.get_by_role("status")).to_contain_text("Not known: Ω.")
    page.get_by_role("searchbox").fill("tufaha")
    expect(page.locator(".chip.unknown")).to_have_count(0)


def test_captions_are_text_and_never_markup(page):
    search(page, "waridi", f"1: {HOSTILE_CAPTION}, cosine 1.00")
    first(page).click()
    expect(page.locator("#detail-title")).to_have_text(HOSTILE_CAPTION)
    assert page.locator("[onerror]").count() == 0
    assert page.title() == "waridi · Kivuko"


def test_it_can_be_used_without_a_mouse(page):
    page.locator("body").press("Tab")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("moto")
    expect(first(page)).to_contain_text("the fire")
    page.keyboard.press("ArrowDown")
    expect(first(page)).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#grid .card").nth(1)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="the fire")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(first(page)).to_be_focused()


def test_unknown_words_and_an_empty_box_are_answered_kindly(page):
    expect(page.locator("#message")).to_contain_text("Swahili or Marathi")
    expect(page.get_by_role("searchbox")).to_have_attribute("placeholder", "Search in Swahili or Marathi")
    page.get_by_role("searchbox").fill("ΩΩΩ")
    expect(page.locator("#message")).to_contain_text("Try other words")
    page.get_by_role("searchbox").fill("")
    expect(page.locator("#message")).to_contain_text("drop an image")


def test_every_control_has_a_name(page):
    search(page, "moto", "1: the fire, cosine 1.00")
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, input:not([type=file]), a')].filter((one) =>"
        " one.checkVisibility() && !(one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.length))"
        ".map((one) => one.outerHTML)"
    )
    assert nameless == []
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("#query").get_attribute("dir") == "auto"


def test_nothing_overflows_a_phone(browser, address):
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True)
    page = context.new_page()
    page.goto(f"{address}/#q=tufaha&typos=2&seed=3")
    expect(page.locator("#grid .card").first).to_be_visible(timeout=PATIENCE_MS)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()


def test_the_typos_switch_stays_where_it_is_and_chips_break_between_words(browser, address):
    for width in (390, 1200):
        context = browser.new_context(viewport={"width": width, "height": 844})
        page = context.new_page()
        page.goto(address)
        expect(page.locator("#message")).to_be_visible(timeout=PATIENCE_MS)
        switch = page.locator(".track")
        before = switch.bounding_box()
        query = " ".join(swahili for swahili, *_ in THINGS)
        page.get_by_role("searchbox").fill(query)
        expect(page.locator("#grid .card")).to_have_count(len(THINGS), timeout=PATIENCE_MS)
        page.get_by_role("switch", name="Add typos").check(force=True)
        chip = page.locator(".chip.typo")
        expect(chip).to_be_visible(timeout=PATIENCE_MS)
        assert switch.bounding_box() == before
        assert page.evaluate("parseFloat(getComputedStyle(document.querySelector('.chip.typo')).borderRadius)") <= 20
        label = "(() => { const range = document.createRange(); range.selectNode(document.querySelector('.chip.typo')"
        label += ".firstChild); return range.getClientRects().length; })()"
        assert page.evaluate(label) == 1  # "typed as" stands in one line
        context.close()


def test_a_server_that_is_away_is_said_and_forgotten_when_it_is_back(browser, searcher):
    context = browser.new_context()
    page = context.new_page()
    with served(searcher) as address:
        page.goto(address)
        page.get_by_role("searchbox").fill("moto")
        expect(first(page)).to_contain_text("the fire", timeout=PATIENCE_MS)
    page.get_by_role("searchbox").fill("ndizi")
    expect(page.locator("#offline")).to_be_visible(timeout=PATIENCE_MS)
    with served(searcher, port=int(address.rpartition(":")[2])):
        expect(page.locator("#offline")).to_be_hidden(timeout=PATIENCE_MS)
        expect(first(page)).to_contain_text("the banana", timeout=PATIENCE_MS)
        context.close()


def test_a_locked_index_asks_for_its_key(browser, searcher):
    context = browser.new_context()
    page = context.new_page()
    with served(searcher, Settings(api_key="sesame")) as address:
        page.goto(address)
        for key in ("wrong", "sesame"):
            page.get_by_label("API key").fill(key, timeout=PATIENCE_MS)
            page.get_by_role("button", name="Open").click()
        page.get_by_role("searchbox").fill("moto", timeout=PATIENCE_MS)
        expect(first(page)).to_contain_text("the fire", timeout=PATIENCE_MS)
        expect(page.locator("#grid img").first).to_have_js_property("naturalWidth", 96, timeout=PATIENCE_MS)
        assert page.locator("#grid img").first.get_attribute("src").startswith("blob:")
        context.close()


def test_the_description_of_the_api_is_drawn(page, address):
    page.goto(f"{address}/docs")
    expect(page.locator(".operation")).to_have_count(11)
    page.locator("summary", has_text="/api/search/batch").click()
    expect(page.locator(".operation[open]")).to_contain_text("queries")


@pytest.mark.skipif("KIVUKO_SEARCH_SCREENSHOT" not in os.environ, reason="writes a file of the repository")
def test_screenshot(browser):
    from kivuko.search.searcher import Searcher

    index, query = os.environ["KIVUKO_SEARCH_GALLERY"], os.environ.get("KIVUKO_SEARCH_QUERY", "samaki baharini")
    with Searcher(Path(index)) as searcher, served(searcher) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.goto(f"{address}/#q=moto")  # so that the time shown is not that of the model's first words
        expect(first(page)).to_be_visible(timeout=PATIENCE_MS)
        page.get_by_role("searchbox").fill(query)
        expect(page).to_have_title(f"{query} · Kivuko", timeout=PATIENCE_MS)
        page.wait_for_timeout(500)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=os.environ["KIVUKO_SEARCH_SCREENSHOT"])
