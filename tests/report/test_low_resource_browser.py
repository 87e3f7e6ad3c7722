"""The page in a real browser: no complaint, no request, no sideways scrolling on a phone, light and dark."""

from __future__ import annotations

import pytest
from browser import chromium, visit
from study_records import Plan, made_up

from kivuko.report.low_resource import low_resource_page

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium")

QUESTIONS = {
    "overflow": "document.documentElement.scrollWidth - document.documentElement.clientWidth",
    "width": "document.documentElement.clientWidth",
    "images": "[...document.querySelectorAll('svg')].filter(e => e.getBoundingClientRect().width > 250).length",
    "wide tables": "[...document.querySelectorAll('.box')].filter(e => e.scrollWidth > e.clientWidth).length",
    "paper": "getComputedStyle(document.body).backgroundColor",
    "ink in plots": "getComputedStyle([...document.querySelectorAll('svg text')]"
    ".find(e => e.textContent == 'low-resource mean')).fill",
    "mode": "document.compatMode",
}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "page with spaces, ü.html"
    file.write_text(low_resource_page(*made_up(Plan(languages=("sw", "fi")))), "utf-8")
    return file


@pytest.mark.parametrize("dark", [False, True])
def test_phone(page, tmp_path, dark):
    seen = visit(page, tmp_path, width=360, questions=QUESTIONS, dark=dark)
    assert seen.complaints == []
    assert seen.requests == [page.as_uri()]
    assert seen.answers["width"] == 360
    assert seen.answers["overflow"] <= 0
    assert seen.answers["images"] == 4 + 2 + 1
    assert seen.answers["wide tables"] > 0  # they scroll in their own box
    assert seen.answers["mode"] == "CSS1Compat"
    light, ink = "rgb(255, 255, 255)", "rgb(27, 27, 26)"
    assert (seen.answers["paper"] == light, seen.answers["ink in plots"] == ink) == (not dark, not dark)


def test_the_check_sees_what_it_looks_for(tmp_path):
    """A page that complains, asks for a file and is too wide is caught."""
    file = tmp_path / "bad.html"
    file.write_text(
        '<!DOCTYPE html><img src="x.png"><div style="width: 2000px">a</div><script>throw 1</script>', "utf-8"
    )
    seen = visit(file, tmp_path / "profile", width=360, questions=QUESTIONS)
    assert seen.answers["overflow"] > 1000
    assert len(seen.requests) == 2
    assert seen.complaints
