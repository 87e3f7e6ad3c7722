"""Where transport helps is said as the tests say it: shown, not shown, or significantly worse, part by part."""

from __future__ import annotations

import itertools

import pytest
from page_elements import Elements
from study_records import RECIPES, Plan, findings_of, made_up, page_of

from kivuko.evaluation.comparison import PairedComparison
from kivuko.evaluation.statistics import Interval, RandomizationTest, holm
from kivuko.report.comparisons import PARTS, TRANSPORT_CONTRAST, PairedTest
from kivuko.report.low_resource import Verdict, answer, judge
from kivuko.report.parts import paragraph
from kivuko.report.results import Setting

SENTENCES = Setting("tico19", "cosine")
SHOWN, NOT_SHOWN, WORSE = (0.45, 0.001), (0.42, 0.3), (0.35, 0.001)  # the first's mean against 0.4, p after Holm


def made(part, first, second, outcome, size=300, seeds=(0.01, 0.03), roles=()):
    mean, p = outcome
    difference = Interval(mean - 0.4, mean - 0.41, mean - 0.39, 1278)
    comparison = PairedComparison(
        first, second, (mean, 0.4), difference, difference, Interval(0.02, *seeds, 5),
        RandomizationTest(mean - 0.4, p / 20, 1278, 10_000),
    )  # fmt: skip
    return PairedTest(SENTENCES, size, comparison, p, roles=roles, family_size=20, family="parts", part=part)


def all_parts(*outcomes, size=300):
    return [made(*part, outcome, size) for part, outcome in zip(PARTS, outcomes, strict=True)]


def test_all_that_is_shown_is_said_with_size_difference_interval_and_p():
    text = paragraph(all_parts(*[SHOWN] * 6), 300)
    assert text.startswith(
        "With 300 pairs per language, transport is shown to help in the start beyond IBM Model 1, in the start beyond "
        "IBM Model 2, in the start beyond fast_align, in the loss without an aligned start and in the loss on "
        "top of its own start. Word alignment "
        "without transport is shown to help. "
    )
    assert "start, “transplant” 0.450 against “ibm1” 0.400: +0.050 [+0.040, +0.060], +12.5 %, p ≤ 0.001; " in text
    assert "95 % intervals over 1,278 concepts and p after Holm over the 20 tests of this family" in text
    assert "not shown" not in text
    assert "significantly" not in text


def test_word_alignment_alone_is_named_as_what_helps():
    text = paragraph(all_parts(*[NOT_SHOWN] * 5, SHOWN), 300)
    assert text.startswith(
        "With 300 pairs per language, transport is not shown to help in the start beyond IBM Model 1, in the start "
        "beyond IBM Model 2, in the start beyond fast_align, in the loss without an aligned start or in the "
        "loss on top of its own start. Word "
        "alignment without transport is shown to help. "
    )
    assert "is shown to help in" not in text
    assert "p = 0.300" in text


def test_each_part_has_its_own_verdict():
    text = paragraph(all_parts(WORSE, SHOWN, SHOWN, NOT_SHOWN, WORSE, NOT_SHOWN), 300)
    assert text.startswith(
        "With 300 pairs per language, transport is shown to help in the start beyond IBM Model 2 and in the "
        "start beyond fast_align; is not shown to help "
        "in the loss without an aligned start; does significantly worse in the start than IBM Model 1 and in the loss "
        "on top of its own start than that start alone. Word alignment without transport is not shown to help. "
    )
    assert "Word alignment without transport does significantly worse than none." in paragraph(
        all_parts(*[SHOWN] * 5, WORSE), 300
    )


@pytest.mark.parametrize("outcomes", list(itertools.product((SHOWN, NOT_SHOWN, WORSE), repeat=6))[::23])
def test_every_part_is_in_exactly_one_claim(outcomes):
    claims = paragraph(all_parts(*outcomes), 300).partition(" Low-resource mean")[0]
    for place in ("start beyond IBM Model 1|start than IBM Model 1", "start beyond IBM Model 2|start than IBM Model 2",
                  "start beyond fast_align|start than fast_align",
                  "loss without an aligned start", "loss on top of its own start"):  # fmt: skip
        assert sum(claims.count(one) for one in place.split("|")) == 1
    assert ("is shown to help in" in claims) == (SHOWN in outcomes[:5])
    assert ("is not shown to help in" in claims) == (NOT_SHOWN in outcomes[:5])
    assert ("does significantly worse in" in claims) == (WORSE in outcomes[:5])


def test_other_sizes_are_said_to_agree_or_named():
    here, there = all_parts(*[SHOWN] * 6), all_parts(*[SHOWN] * 6, size=1000)
    assert "With 1,000 pairs every verdict is the same." in paragraph([*here, *there], 300)
    there[3] = made(*PARTS[3], NOT_SHOWN, 1000)
    text = paragraph([*here, *there, *all_parts(*[SHOWN] * 6, size=100)], 300)
    assert (
        "With 1,000 and 100 pairs the verdicts are the same, but for: “transport” against “contrastive” at 1,000 "
        "pairs: not shown." in text
    )
    assert "With 1,000" not in paragraph(here, 300)


def test_what_was_not_measured_and_what_other_seeds_may_not_show_is_said():
    unsure = made(*PARTS[0], SHOWN, seeds=(-0.01, 0.05))
    text = paragraph([unsure], 300)
    assert "(but the interval over training seeds includes zero)" in text
    assert "What word alignment brings without transport was not measured." in text
    assert (
        "Not measured: “transplant” against “ibm2”, “transplant” against “fast-align”, “transport” against "
        "“contrastive”, “optical” against "
        "“transplant” and “ibm1” against “contrastive”." in text
    )
    assert "do not say where transport helps" in paragraph([], 300)
    only = paragraph([made(*PARTS[-1], SHOWN)], 300)
    assert only.startswith("Word alignment without transport is shown to help.")


QUALITY = {
    "contrastive": 0.34, "transport": 0.34, "ibm1": 0.50, "ibm2": 0.49, "fast-align": 0.48, "transplant": 0.52,
    "optical": 0.50,
}  # fmt: skip
RECIPES_HERE = {
    **{name: {"transport": name in ("transport", "transplant", "optical"), "kind": "distillation",
              "control": name in ("ibm1", "ibm2", "fast-align")} for name in QUALITY},
    "mse": RECIPES["mse"],
}  # fmt: skip
PROTOCOL = {
    "study": "low-resource",
    "standard": True,
    "recipes": RECIPES_HERE,
    "contrasts": ["ibm1", "ibm2", "fast-align"],
}


def study(noise=0.01, **quality):
    return made_up(Plan(quality={**QUALITY, "mse": 0.2, **quality}, protocol=PROTOCOL, noise=noise, concepts=60))


def test_the_paragraph_is_computed_from_records_in_a_family_of_its_own():
    findings = findings_of(*study())
    parts = findings.family.parts
    assert len(parts) == 2 * 6
    assert {one.family for one in parts} == {"emoji/cosine: parts"}
    assert [one.adjusted for one in parts] == holm([one.comparison.test.p_value for one in parts])
    assert all(one.part == "" for one in findings.family.tests)
    assert [one.verdict for one in parts if one.size == 300] == [
        "better",
        "better",
        "better",
        "not shown",
        "worse",
        "better",
    ]
    text = " ".join("".join(Elements(page_of(*study())).text).replace("\u00a0", " ").split())
    assert (
        "transport is shown to help in the start beyond IBM Model 1, in the start beyond IBM Model 2 and in "
        "the start beyond fast_align; is not shown "
        "to help in the loss without an aligned start; does significantly worse in the loss on top of its own start "
        "than that start alone. Word alignment without transport is shown to help." in text
    )
    assert "emoji/cosine: parts: 12 tests" in text
    assert "more than the best word alignment without transport, “ibm1” (0.274); p" in text


def test_without_named_controls_the_page_has_no_such_paragraph_and_says_that_it_cannot_tell():
    findings = findings_of(*made_up(Plan(noise=0.005)))
    assert findings.family.parts == ()
    assert "No control by word alignment without transport was measured" in " ".join(findings.answer.support)
    assert "Start, loss, or word alignment?" not in page_of(*made_up())


@pytest.mark.parametrize(
    ("against", "verdict", "begins"),
    [
        ([SHOWN, SHOWN], Verdict.HELPS_LITTLE, "Optimal transport helps, but by less than the required 13.7 %: "),
        ([SHOWN, NOT_SHOWN], Verdict.NOT_BEYOND_ALIGNMENT, "Optimal transport is not shown to help beyond word "),
        ([SHOWN, WORSE], Verdict.ALIGNMENT_IS_BETTER, "Word alignment without optimal transport does better than "),
    ],
)
def test_the_answer_does_not_credit_transport_with_what_word_alignment_does(against, verdict, begins):
    controls = [made("", "optical", f"control-{place}", one) for place, one in enumerate(against)]
    headline = made("", "optical", "contrastive", SHOWN, roles=("best without transport",))
    message = answer(headline, TRANSPORT_CONTRAST, controls=controls, languages=4)
    assert message.kind == verdict
    assert message.sentence.startswith(begins)
    assert "without transport, “control-" in message.sentence
    assert sum("word alignment without transport" in line for line in message.support) == 2
    assert judge(0.2, 0.001, [made("", "a", "b", SHOWN)]) is Verdict.HELPS
    assert judge(0.2, 0.2, controls) is Verdict.UNMEASURABLE


def test_bars_of_a_study_with_controls_are_against_them_at_every_size():
    text = " ".join("".join(Elements(page_of(*study())).text).replace("\u00a0", " ").split())
    assert "At every size: at least +13.7 % relative over best without transport, p < 0.05 after Holm" in text
    assert "At every size: at least +3.0 % relative over ibm1, p < 0.05 after Holm" in text
    assert "at least +10" not in text
