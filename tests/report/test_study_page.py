"""The page: one file that fetches nothing, escapes everything, and never changes while its records do not."""

from __future__ import annotations

import itertools
import re
import sys
from collections import Counter
from dataclasses import replace

import pytest
from page_elements import Elements
from study_records import HIGH, LOW, QUALITY, RECIPES, Plan, made_up, page_of

from kivuko.errors import MissingDependencyError
from kivuko.evaluation.statistics import randomization_test
from kivuko.report import formatting as fmt
from kivuko.report.formatting import keep_together

EVIL = "<script>alert('x')</script>\"&'$x_1$"


@pytest.fixture(scope="module")
def page() -> str:
    plan = Plan(settings=[("emoji", "cosine"), ("emoji-text", "maxsim")], languages=(*LOW[:2], *HIGH[:1]))
    return page_of(*made_up(plan))


def test_same_records_same_bytes(page):
    plan = Plan(settings=[("emoji", "cosine"), ("emoji-text", "maxsim")], languages=(*LOW[:2], *HIGH[:1]))
    assert page_of(*made_up(plan)) == page


def test_order_of_records_changes_nothing(page):
    plan = Plan(settings=[("emoji", "cosine"), ("emoji-text", "maxsim")], languages=(*LOW[:2], *HIGH[:1]))
    header, records, per_query = made_up(plan)
    turned = page_of(header, sorted(records, key=lambda r: (r.measure, r.language)), per_query)
    assert turned == page


def test_the_users_matplotlib_settings_do_not_matter_and_are_kept(page):
    import matplotlib

    plan = Plan(settings=[("emoji", "cosine"), ("emoji-text", "maxsim")], languages=(*LOW[:2], *HIGH[:1]))
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30}):
        assert page_of(*made_up(plan)) == page
        assert matplotlib.rcParams["font.size"] == 30


def test_nothing_is_fetched(page):
    elements = Elements(page)
    for _, attributes in elements.tags:
        for name, value in attributes.items():
            if name.split(":")[-1] in ("src", "href", "srcset", "data", "action", "poster"):
                assert value.startswith(("#", "data:,")), (name, value)
            if not name.startswith("xmlns"):
                assert all(target.startswith("#") for target in re.findall(r"url\(\s*['\"]?([^)]*)", value)), value
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert not elements.named("script")
    assert len(re.findall("https?://", page)) == len(re.findall(r'xmlns="https?://', page))
    assert re.search(r"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'", page)


def test_every_id_is_unique_and_every_reference_has_its_target(page):
    elements = Elements(page)
    ids = Counter(attributes["id"] for _, attributes in elements.tags if "id" in attributes)
    assert max(ids.values()) == 1
    targets = {a["href"][1:] for _, a in elements.tags if a.get("href", "").startswith("#")}
    targets |= {
        name for _, a in elements.tags for value in a.values() for name in re.findall(r"url\(#([^)]+)\)", value)
    }
    targets |= {a["aria-labelledby"] for _, a in elements.tags if "aria-labelledby" in a}
    assert len(targets) > 20
    assert targets <= set(ids)


def test_it_can_be_heard(page):
    elements = Elements(page)
    assert elements.named("html")[0]["lang"] == "en"
    levels = [int(tag[1]) for tag, _ in elements.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert len(elements.named("caption")) == len(elements.named("table"))
    images = elements.named("svg")
    assert len(images) == 2 * 5 + 2 * 2 + 2  # languages and groups; sizes; settings
    for attributes in images:
        assert attributes["role"] == "img"
        assert len(attributes["aria-label"]) > 60
        assert "viewBox".lower() in attributes
        assert "width" not in attributes


def test_it_holds_the_numbers_behind_the_plots_and_the_protocol(page):
    text = " ".join("".join(Elements(page).text).split())
    header, records, _ = made_up(Plan(settings=[("emoji", "cosine")]))
    values = [
        r.value
        for r in records
        if (r.split, r.objective, r.bitext_size, r.language, r.subset, r.measure)
        == ("test", "optical", 300, "sw", "headline", "MAP")
    ]
    assert len(values) == 3
    assert f"{sum(values) / 3:.3f}" in text
    for message in (
        header.command,
        header.created,
        "3.11.7",
        "0, 1, 2",
        "chosen by the low-resource mean MAP over seeds",
    ):
        assert message in text
    assert "standardyes" in text
    for name, recipe in RECIPES.items():
        assert re.search(f"{name} ?{recipe['kind']}", text)
    assert "16 tests in the family" in text
    assert "★" in text
    assert page.index("Optimal transport helps") < page.index("<nav")


def test_what_a_user_wrote_is_inert():
    quality = {"optical": 0.3, "mse": 0.2, EVIL: 0.25}
    recipes = {"optical": {"transport": True}, EVIL: {"description": EVIL, "transport": False}}
    protocol = {"recipes": recipes, EVIL: EVIL, "nested": {EVIL: [EVIL]}, "limits": [EVIL], "half": "\ud800"}
    header, records, per_query = made_up(Plan(quality=quality, protocol=protocol))
    header = replace(header, command=EVIL, versions={EVIL: EVIL}, created=EVIL)
    strange = {"so": EVIL, "fi": "klingon\x00\x1b"}
    records = [replace(r, language=strange.get(r.language, r.language)) for r in records]
    per_query = [replace(b, language=strange.get(b.language, b.language)) for b in per_query]
    page = page_of(header, records, per_query)
    elements = Elements(page)
    assert not elements.named("script")
    assert "<script" not in page
    assert f"“{EVIL}”" in "".join(elements.text)  # shown as it was written, in the answer
    assert not any(name.startswith("on") for _, attributes in elements.tags for name in attributes)
    page.encode()


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan(seeds=(0,)), "One training seed only"),
        (Plan(sizes=(300,)), "300 pairs per language"),
        (Plan(languages=("sw",)), "A gap needs both"),
        (Plan(languages=("fi",)), "do not say"),
        (Plan(quality={}), "no model in them was trained on bitext"),
        (Plan(quality={"mse": 0.2}), "do not say"),
        (Plan(quality={"optical": 0.2}), "without transport could be chosen"),
        (Plan(splits=("test",)), "no validation scores"),
        (Plan(splits=("validation",)), "do not say"),
        (Plan(settings=[("emoji-text", "maxsim")], protocol={}), "does not describe the recipes"),
        (Plan(settings=[("photographs", "dot")]), "photographs, dot"),
        (Plan(quality=dict.fromkeys(QUALITY, 0.0), noise=0.0), "exactly as much as"),
        (Plan(concepts=1, seeds=(0, 1)), "over 1 concept"),
    ],
)
def test_poor_records_give_a_page_that_says_so(plan, message):
    page = page_of(*made_up(plan))
    assert message in " ".join("".join(Elements(page).text).replace("\u00a0", " ").split())


def test_without_any_per_query_scores_the_figures_still_stand():
    header, records, _ = made_up()
    page = page_of(header, records, [])
    assert "do not say" in page
    assert len(Elements(page).named("svg")) > 5


def test_a_missing_matplotlib_is_named_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'kivuko\[report\]'"):
        page_of(*made_up(Plan(seeds=(0,))))


def test_what_belongs_together_stays_on_one_line():
    assert keep_together("14.2 % [1.0 %, 2.0 %]; p = 0.01, p < 0.001") == (
        "14.2\u00a0% [1.0\u00a0%,\u00a02.0\u00a0%]; p\u00a0=\u00a00.01, p\u00a0<\u00a00.001"
    )


def test_a_p_value_that_no_trial_reached_is_written_as_a_bound():
    assert fmt.after_holm(0.0108, at_floor=True) == "p ≤ 0.011 after Holm"
    assert fmt.p_cell(0.0001, True) == "≤ 0.0001"
    assert fmt.p_cell(0.0301, False) == "0.0301"
    test = randomization_test([0.5] * 40, [0.1] * 40)
    assert test.at_floor
    assert not randomization_test([0.5, 0.1] * 20, [0.1, 0.5] * 20).at_floor
