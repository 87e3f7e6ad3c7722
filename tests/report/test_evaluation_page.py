"""The page of an evaluation or an attack run holds every figure of its records."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest
import robustness_records
import study_records
from page_elements import Elements

import kivuko
from kivuko.errors import DataError, UsageError
from kivuko.evaluation.attack.examples import examples_path, write_examples
from kivuko.evaluation.attack.run import AttackReport
from kivuko.evaluation.evaluate import Evaluation
from kivuko.evaluation.records import per_query_path, write_records
from kivuko.report.page import render
from kivuko.report.results import Source
from kivuko.report.writing import Report, kind_of, page_of, report


@pytest.fixture(scope="module")
def evaluated() -> Source:
    """One trained model, its English teacher and its untrained copy, on the test split."""
    header, records, per_query = study_records.made_up(study_records.Plan(splits=("test",), seeds=(0,), sizes=(300,)))
    header = replace(header, command="kivuko evaluate mine", protocol={"ties": "x"})
    names = ("optical", "teacher", "untrained")
    return Source(
        header,
        [record for record in records if record.objective in names],
        [block for block in per_query if block.condition.objective in names],
    )


@pytest.fixture(scope="module")
def attacked() -> Source:
    """One trained model under four attacks."""
    plan = robustness_records.Plan(
        clean={"optical": 0.6}, seeds=(0,), sizes=(300,), splits=("test",), towers=("static+emoji",)
    )
    header, records, per_query, examples = robustness_records.made_up(plan)
    protocol = {"attacks": robustness_records.ATTACKS}
    return Source(replace(header, command="kivuko attack mine", protocol=protocol), records, per_query, examples)


def words(page: str) -> str:
    return " ".join("".join(Elements(page).text).replace("\u00a0", " ").split())


@pytest.mark.parametrize("which", ["evaluated", "attacked"])
def test_every_figure_of_the_records_is_on_the_page(which, request):
    source = request.getfixturevalue(which)
    text = words(render(page_of(source)))
    for record in source.records:
        assert f"{record.value:.3f} [{record.low:.3f}, {record.high:.3f}]" in text, record


@pytest.mark.parametrize("which", ["evaluated", "attacked"])
def test_the_page_can_be_heard_and_fetches_nothing(which, request):
    page = render(page_of(request.getfixturevalue(which)))
    elements = Elements(page)
    ids = Counter(attributes["id"] for _, attributes in elements.tags if "id" in attributes)
    assert max(ids.values()) == 1
    assert not elements.named("script")
    assert len(re.findall("https?://", page)) == len(re.findall(r'xmlns="https?://', page))
    assert all(len(attributes["aria-label"]) > 60 for attributes in elements.named("svg"))


def test_an_evaluation_is_compared_with_its_teacher_and_tested(evaluated):
    page = page_of(evaluated)
    assert page.answer.sentence.startswith("“static” (optical) reaches a MAP of 0.")
    assert "over 2 low-resource languages" in page.answer.sentence
    assert "its English teacher alone reaches 0.0" in page.answer.sentence
    text = words(render(page))
    assert "4 tests in the family" in text  # teacher and untrained, low- and high-resource
    assert text.count("≤ 0.0001 ≤ 0.0004") == 4, "p values at their floor are bounds, before and after Holm"
    assert "Under attack" not in text


def test_an_attack_run_tells_the_strongest_attack_and_shows_examples(attacked):
    page = page_of(attacked)
    assert "the strongest attack here, " in page.answer.sentence
    elements = Elements(render(page))
    assert len(elements.named("img")) == 4
    assert "Success of each attack at its largest budget" in words(render(page))


def test_files_are_told_apart(evaluated, attacked):
    assert kind_of(evaluated) == "evaluation"
    assert kind_of(attacked) == "evaluation"
    header, records, per_query = study_records.made_up()
    assert kind_of(Source(header, records, per_query)) == "low-resource"
    assert kind_of(Source(replace(header, protocol={}), records, per_query)) == "low-resource"
    mine = robustness_records.made_up(robustness_records.Plan(protocol={}, seeds=(0, 1)))
    assert kind_of(Source(*mine)) == "robustness"
    with pytest.raises(DataError, match="nothing to report"):
        kind_of(Source(replace(header, protocol={}), []))


def test_the_public_call_writes_the_page_and_returns_its_answer(attacked, tmp_path):
    records = tmp_path / "attack.jsonl"
    write_records(records, attacked.header, list(attacked.records), list(attacked.per_query))
    write_examples(examples_path(records), attacked.examples)
    page = kivuko.write_report(records, tmp_path / "page.html")
    assert page == tmp_path / "page.html"
    assert page.read_text("utf-8") == render(page_of(attacked))
    assert report(records, page) == Report(page, page_of(attacked).answer.sentence)
    with pytest.raises(UsageError, match="place of the records"):
        kivuko.write_report(records, per_query_path(records))


def test_results_are_written_without_a_file_and_several_on_one_page(evaluated, attacked, tmp_path):
    first = Evaluation(list(evaluated.records), evaluated.header, list(evaluated.per_query))
    page = kivuko.write_report(first, tmp_path / "one.html")
    assert page.read_text("utf-8") == render(page_of(evaluated))
    own = [replace(one, model="larger", value=one.value * 0.9) for one in first.records if one.objective == "optical"]
    blocks = [
        replace(one, condition=replace(one.condition, model="larger"), values=one.values * 0.9)
        for one in first.per_query
        if one.condition.objective == "optical"
    ]
    second = Evaluation(own, replace(first.header, command="kivuko evaluate larger"), blocks)
    text = words(kivuko.write_report([first, second], tmp_path / "two.html").read_text("utf-8"))
    assert "10 tests in the family" in text  # each model against the other and both references, in two groups
    assert "kivuko evaluate mine; kivuko evaluate larger" in text
    for record in [*first.records, *own]:
        assert f"{record.value:.3f} [{record.low:.3f}, {record.high:.3f}]" in text, record
    assert text == words(kivuko.write_report([first, second, first], tmp_path / "two.html").read_text("utf-8"))
    report = AttackReport(list(attacked.records), attacked.header, list(attacked.per_query), examples=attacked.examples)
    page = kivuko.write_report(report, tmp_path / "attack.html")
    assert page.read_text("utf-8") == render(page_of(attacked))
    with pytest.raises(UsageError, match="in no file, so the page has no name"):
        kivuko.write_report(first)


def test_a_gap_between_groups_and_an_attack_with_no_budget_are_no_languages_and_no_attacks(attacked):
    typo = next(one for one in attacked.records if one.attack == "typo" and one.language == "low-resource")
    gap = replace(typo, language="high-resource less low-resource", measure="robustness gap", value=0.123)
    nothing = [
        replace(block, condition=replace(block.condition, attack="typo", budget=0.0))
        for block in attacked.per_query
        if block.condition.attack is None
    ]
    page = page_of(replace(attacked, records=[*attacked.records, gap], per_query=[*attacked.per_query, *nothing]))
    assert "0.123" in words(render(page))


def test_a_researchers_own_study_gets_the_page_of_a_study(tmp_path):
    header, records, per_query = study_records.made_up(study_records.Plan(protocol={}, noise=0.005))
    mine = tmp_path / "mine.jsonl"
    write_records(mine, replace(header, command="own.py"), records, per_query)
    assert report(mine).answer.startswith("“optical” is better than “greedy”")
    assert "Which recipe carries an English search model furthest" in mine.with_suffix(".html").read_text("utf-8")
