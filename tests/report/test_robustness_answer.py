"""The answer about robustness is computed: better, only better because better anyway, no different, worse."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from robustness_records import CLEAN, KEPT, Plan, findings_of, made_up

from kivuko.evaluation.comparison import PairedComparison
from kivuko.evaluation.records import Header
from kivuko.evaluation.robustness import Matched
from kivuko.evaluation.statistics import Interval, RandomizationTest
from kivuko.report.comparisons import EVERYTHING, MATCHED, RATIO, TRANSPORT_CONTRAST, PairedTest
from kivuko.report.comparisons import UNDER_ATTACK as RAW
from kivuko.report.formatting import budget_label
from kivuko.report.results import Setting, attack_facts
from kivuko.report.robustness import Headline, Verdict, judge
from kivuko.report.robustness import answer as answer_of

QUICK = {"towers": ("static+emoji",), "seeds": (0, 1), "attacks": ("typo", "apgd-own"), "concepts": 40}


def result(difference=0.02, p=0.001, kind=RAW, scope=EVERYTHING, seeds=2):
    comparison = PairedComparison(
        "optical", "contrastive", (0.2 + difference, 0.2),
        difference=Interval(difference, difference - 0.01, difference + 0.01, 320),
        relative=Interval(difference / 0.2, difference / 0.2 - 0.05, difference / 0.2 + 0.05, 320),
        over_seeds=Interval(difference, difference - 0.001, difference + 0.001, seeds),
        test=RandomizationTest(difference, p, 320, 10_000),
    )  # fmt: skip
    matching = Matched(comparison, 0.31, "contrastive", (300, 1400), 0.4) if kind == MATCHED else None
    return PairedTest(Setting("emoji", "cosine"), 300, comparison, p, scope, kind, (), matching, 60)


def answer(findings):
    return answer_of(findings, TRANSPORT_CONTRAST)


def headline(raw, equal, families=()):
    return Headline(raw, equal, None, families, languages=4, attacks=9)


@pytest.mark.parametrize(
    ("raw", "equal", "verdict", "begins"),
    [
        ((0.02, 0.001), (0.01, 0.01), Verdict.IMPROVES, "Optimal transport improves robustness: "),
        ((0.02, 0.001), (0.01, 0.20), Verdict.ONLY_BETTER, "Optimal transport does better under attack, but once"),
        ((0.02, 0.001), (-0.01, 0.01), Verdict.BETTER_BUT_FRAGILE, "Optimal transport does better under attack, yet"),
        ((0.02, 0.05), (0.01, 0.01), Verdict.AT_EQUAL, "Optimal transport is more robust at equal clean accuracy"),
        ((0.02, 0.30), (0.01, 0.30), Verdict.NO_CHANGE, "Optimal transport brings no measurable change"),
        ((-0.02, 0.30), (-0.01, 0.30), Verdict.NO_CHANGE, "Optimal transport brings no measurable change"),
        ((0.02, 0.30), (-0.01, 0.01), Verdict.FRAGILE, "Optimal transport is less robust at equal clean"),
        ((-0.02, 0.01), (0.01, 0.30), Verdict.WORSE, "Optimal transport does worse under attack: "),
        ((-0.02, 0.01), (-0.01, 0.01), Verdict.HARMS, "Optimal transport harms robustness: "),
    ],
)
def test_verdict_and_the_words_for_it(raw, equal, verdict, begins):
    first, second = result(*raw), result(*equal, kind=MATCHED)
    assert judge(first, second) is verdict
    message = answer(headline(first, second))
    assert message.kind == verdict.name.lower()
    assert message.sentence.startswith(begins)
    assert "“optical”" in message.sentence
    assert "“contrastive” (0.200" in message.sentence
    assert "9 attacks in 4 low-resource languages" in message.sentence
    assert "at equal clean MAP the difference is" in message.sentence
    assert " after Holm, over 60 tests)" in message.sentence
    assert message.sentence.count(". ") == 0  # one sentence


def test_every_pair_of_signs_has_its_verdict():
    findings = {
        judge(result(d, p), result(e, q, MATCHED))
        for (d, p), (e, q) in itertools.product([(0.1, 0.001), (0.1, 0.5), (-0.1, 0.001)], repeat=2)
    }
    assert findings == set(Verdict) - {Verdict.UNANSWERED}


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (0.03, "0.030 [0.020, 0.040] more than the best without it"),
        (-0.03, "0.030 [0.020, 0.040] less than the best without it"),
        (0.005, "a difference of +0.005 [−0.005, +0.015] to the best without it"),
        (0.0001, "a difference of 0.000 [−0.010, +0.010] to"),
        (0.0, "exactly as much as the best without it"),
    ],
)
def test_effect_is_written_with_its_interval(difference, words):
    assert words in answer(headline(result(difference), None)).sentence


def test_families_say_where_it_holds_and_where_not():
    families = [
        ("text noise", result(), result(0.02, 0.001, MATCHED)),
        ("text adversarial", result(), result(0.01, 0.4, MATCHED)),
        ("image noise", result(), result(0.01, 0.4, MATCHED)),
        ("image adversarial", result(), result(-0.02, 0.001, MATCHED)),
    ]
    sentence = answer(headline(result(), result(0.01, 0.01, MATCHED), families)).sentence
    assert sentence.endswith(
        "; by kind of attack, at equal clean MAP, it is better against text noise, no difference is shown against text "
        "adversarial attacks and image noise, and it is worse against image adversarial attacks."
    )
    raw_only = [(name, raw, None) for name, raw, _ in families]
    assert "by kind of attack, in MAP under attack, it is better" in answer(headline(result(), None, raw_only)).sentence


def test_support_tells_what_the_sentence_leaves_out():
    message = " ".join(answer(headline(result(), result(0.0, 1.0, MATCHED))).support)
    assert "both at 0.310, “contrastive” as a mixture of its models of 300 and 1,400 pairs" in message
    assert "over 320 concepts" in message
    assert "95 % interval over 2 training seeds: +0.020 [+0.019, +0.021]" in message
    assert "One training seed only" in " ".join(answer(headline(result(seeds=1), None)).support)
    assert "can be chance" in " ".join(answer(headline(result(p=0.4), None)).support)
    unsure = result()
    unsure = replace(unsure, comparison=replace(unsure.comparison, over_seeds=Interval(0.02, -0.01, 0.05, 5)))
    assert "That interval includes zero" in " ".join(answer(headline(unsure, None)).support)


def test_where_clean_accuracy_could_not_be_made_equal_the_share_kept_is_told():
    sentence = answer(headline(result(), result(0.01, 0.01, RATIO))).sentence
    assert (
        "and the share of clean MAP that it keeps differs by +0.010 [0.000, +0.020] (p = 0.010 after Holm)" in sentence
    )
    assert "no comparison at equal clean accuracy" in answer(headline(result(), None)).sentence


# --- from records ---


@pytest.mark.parametrize(
    ("clean", "kept", "verdict"),
    [
        (0.6, 0.5, Verdict.ONLY_BETTER),  # contrastive has 0.5 clean and keeps half, in every case
        (0.6, 0.7, Verdict.IMPROVES),
        (0.6, 0.45, Verdict.BETTER_BUT_FRAGILE),
        (0.5, 0.5, Verdict.NO_CHANGE),
        (0.5, 0.3, Verdict.HARMS),
        (0.42, 0.5, Verdict.WORSE),
    ],
)
def test_answer_follows_the_records(clean, kept, verdict):
    plan = Plan(clean={**CLEAN, "optical": clean, "transport": 0.2}, kept={**KEPT, "optical": kept}, **QUICK)
    findings = findings_of(*made_up(plan))
    assert findings.answer.kind == verdict.name.lower()
    assert findings.headline.size == 300
    assert findings.headline.first.objective == "optical"
    assert findings.headline.second.objective == "contrastive"


def test_a_gain_against_one_kind_of_attack_is_told_as_such():
    plan = Plan(
        clean={**CLEAN, "optical": 0.5}, attack_kept={("optical", "typo"): 0.8, ("optical", "apgd-own"): 0.3}, **QUICK
    )
    sentence = findings_of(*made_up(plan)).answer.sentence
    assert "it is better against text noise, and it is worse against image adversarial attacks" in sentence


def test_holm_covers_every_test():
    findings = findings_of(*made_up(Plan(**QUICK)))
    # two sizes, two recipes with transport, three scopes, three kinds
    assert len(findings.family.tests) + len(findings.family.missing) == 2 * 2 * 3 * 3
    for one in findings.family.tests:
        assert one.adjusted >= one.comparison.test.p_value
    matched = [one for one in findings.family.tests if one.kind == MATCHED]
    assert matched
    for one in matched:
        assert one.matching.mixed in (one.comparison.first, one.comparison.second)


def test_choice_is_on_clean_validation_scores_and_hardened_recipes_do_not_stand_for_transport():
    better = {**CLEAN, "optical-robust": 0.9, "transport": 0.55, "mse": 0.52}
    findings = findings_of(*made_up(Plan(clean=better, **QUICK)))
    assert findings.headline.first.objective == "optical"
    assert findings.headline.second.objective == "mse"
    assert {system.objective for system in findings.headline.candidates} == {"optical", "transport"}
    unseen = findings_of(*made_up(Plan(clean=better, splits=("test",), **QUICK)))
    assert unseen.headline.second.objective == "contrastive"
    assert any("contrastive was taken by its name" in line for line in unseen.missing)


def test_an_attack_that_one_recipe_lacks_is_left_out_of_means_and_named():
    header, records, per_query, _ = made_up(Plan(**QUICK))
    lacking = [r for r in records if (r.objective, r.attack) != ("contrastive", "apgd-own")]
    blocks = [b for b in per_query if (b.condition.objective, b.condition.attack) != ("contrastive", "apgd-own")]
    findings = findings_of(header, lacking, blocks)
    assert [scope.name for scope in findings.headline.scopes] == [EVERYTHING, "text noise"]
    assert any("apgd-own was not made on every recipe" in line for line in findings.missing)
    assert "mean of 1 attack in" in findings.answer.sentence


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (Plan(clean={"mse": 0.4}, **QUICK), "no distillation recipe with transport was measured under attack"),
        (Plan(clean={"optical": 0.4}, **QUICK), "no distillation recipe without transport"),
        (Plan(clean={}, **QUICK), "no model in them was trained on bitext"),
    ],
)
def test_records_that_cannot_answer_say_so(plan, reason):
    findings = findings_of(*made_up(plan))
    assert findings.answer.kind == "unanswered"
    assert reason in findings.answer.sentence


def test_without_per_query_scores_nothing_is_tested():
    header, records, _, _ = made_up(Plan(**QUICK))
    findings = findings_of(header, records, [])
    assert findings.answer.kind == "unanswered"
    assert findings.answer.sentence.endswith("optical and contrastive could not be compared query by query.")


@pytest.mark.parametrize(
    ("unit", "budget", "text"),
    [
        ("edits", 1.0, "1 edit"), ("edits", 2.0, "2 edits"), ("radius", 2 / 255, "2/255"), ("radius", 0.5, "0.5"),
        ("severity", 3.0, "severity 3"), ("radius", 0.0, "clean"), ("radius", None, "clean"), ("words", 2.0, "words 2"),
    ],
)  # fmt: skip
def test_budgets_are_written_as_people_do(unit, budget, text):
    assert budget_label(unit, budget) == text


def test_what_the_header_leaves_out_of_an_attack_follows_from_its_name():
    def facts(protocol, name):
        return attack_facts(Header(command="", protocol=protocol, seeds=()), name)

    assert facts({}, "typo:edits=2").family == "text noise"
    assert facts({}, "hotflip").family == "text adversarial"
    assert facts({"attacks": "lost"}, "sga").unit == "radius"
    assert facts({}, "unheard-of").family == "other attacks"
    assert facts({"attacks": {"typo": {"kind": "slips", "unit": "letters"}}}, "typo").family == "slips"
