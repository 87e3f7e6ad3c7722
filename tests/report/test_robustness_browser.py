"""The page about robustness in a real browser: no complaint, no request, no sideways scrolling on a phone."""

from __future__ import annotations

import pytest
from browser import chromium, visit
from robustness_records import Plan, made_up

from kivuko.report.robustness import robustness_page

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium")

QUESTIONS = {
    "overflow": "document.documentElement.scrollWidth - document.documentElement.clientWidth",
    "panels": "[...document.querySelectorAll('svg')].filter(e => e.getBoundingClientRect().width > 250).length",
    "images": "[...document.querySelectorAll('img')].filter(e => e.complete && e.naturalWidth == 8).length",
    "paper": "getComputedStyle(document.body).backgroundColor",
    "mode": "document.compatMode",
}


@pytest.mark.parametrize("dark", [False, True])
def test_phone(tmp_path, dark):
    page = tmp_path / "page with spaces, ü.html"
    page.write_text(robustness_page(*made_up(Plan(seeds=(0, 1), attacks=("typo", "apgd-own"), concepts=20))), "utf-8")
    seen = visit(page, tmp_path / "profile", width=360, questions=QUESTIONS, dark=dark)
    assert seen.complaints == []
    assert [request for request in seen.requests if not request.startswith("data:")] == [page.as_uri()]
    assert seen.answers["overflow"] <= 0
    assert seen.answers["panels"] == 2
    assert seen.answers["images"] == 4
    assert seen.answers["mode"] == "CSS1Compat"
    assert (seen.answers["paper"] == "rgb(255, 255, 255)") == (not dark)
