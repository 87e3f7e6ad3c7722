"""Pages in a real browser: no complaint, no request, no sideways scrolling on a phone, light and dark."""

from __future__ import annotations

import pytest
import robustness_records
import study_records
from browser import chromium, visit

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
    file.write_text(study_records.page_of(*study_records.made_up(study_records.Plan(languages=("sw", "fi")))), "utf-8")
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


ROBUSTNESS_QUESTIONS = {
    "overflow": "document.documentElement.scrollWidth - document.documentElement.clientWidth",
    "panels": "[...document.querySelectorAll('svg')].filter(e => e.getBoundingClientRect().width > 250).length",
    "images": "[...document.querySelectorAll('img')].filter(e => e.complete && e.naturalWidth == 8).length",
    "paper": "getComputedStyle(document.body).backgroundColor",
    "mode": "document.compatMode",
}


@pytest.mark.parametrize("dark", [False, True])
def test_robustness_on_a_phone(tmp_path, dark):
    page = tmp_path / "page with spaces, ü.html"
    page.write_text(
        robustness_records.page_of(
            *robustness_records.made_up(
                robustness_records.Plan(seeds=(0, 1), attacks=("typo", "apgd-own"), concepts=20)
            )
        ),
        "utf-8",
    )
    seen = visit(page, tmp_path / "profile", width=360, questions=ROBUSTNESS_QUESTIONS, dark=dark)
    assert seen.complaints == []
    assert [request for request in seen.requests if not request.startswith("data:")] == [page.as_uri()]
    assert seen.answers["overflow"] <= 0
    assert seen.answers["panels"] == 2
    assert seen.answers["images"] == 4
    assert seen.answers["mode"] == "CSS1Compat"
    assert (seen.answers["paper"] == "rgb(255, 255, 255)") == (not dark)
