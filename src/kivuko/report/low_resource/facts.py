"""What a reader needs to judge the figures: the protocol in full, words explained, and what is not shown."""

from __future__ import annotations

from kivuko.report.header_facts import Fact, header_facts, own_limits, told_table
from kivuko.report.low_resource.findings import Findings
from kivuko.report.low_resource.selection import RULE
from kivuko.report.low_resource.table import Table
from kivuko.report.low_resource.wording import count

DEFINITIONS = (
    ("MAP", "Mean average precision. For one query: at each right answer in the ranking, the share of right answers so "
     "far, averaged over all right answers; then the mean over queries. With one right answer per query it is the "
     "mean of one over its rank. 1 is perfect."),
    ("R@k", "The share of right answers among the first k results, averaged over queries."),
    ("Parity", "MAP in a language divided by the MAP of the English teacher on English queries. 1 is equal footing."),
    ("Low- and high-resource mean", "The mean over the languages of a group, each counting the same, however many "
     "queries it has."),
    ("Gap", "High-resource mean MAP minus low-resource mean MAP."),
    ("Sentence pairs per language", "Size of the bitext: sentences with their English translation that a student "
     "learned from, for each language."),
    ("Transport", "Optimal transport between the words of a sentence and its translation’s: a soft alignment, along "
     "which the teacher’s knowledge of words is passed on."),
    ("Interval over seeds", "A training run depends on luck: the sample of bitext, the first weights, the order of "
     "pairs. A seed fixes it. The 95 % t interval says where the mean over many seeds would lie; a single seed has "
     "none."),
    ("Interval over concepts", "Would other queries change the figure? Concepts (what a query asks for, in all "
     "languages together) are drawn anew 2,000 times with replacement; 95 % of the results lie in the interval."),
    ("p", "Paired randomisation test: if two recipes were the same, either figure of a concept could have come from "
     "either. The share of 10,000 random exchanges that give a difference at least as large."),
    ("p after Holm", "Who asks many questions finds something by luck. Holm’s correction raises each p value so that "
     "the chance of even one false finding in the whole family, all tests on this page, stays below 5 %."),
)  # fmt: skip


def protocol_facts(findings: Findings) -> list[Fact]:
    """Return every key of the header: command, date, seeds, versions, then the protocol's own."""
    return header_facts(findings.study.header, RULE)


def recipes_told(findings: Findings) -> Table | Fact | None:
    """Return what the header tells of the recipes, as a table; as it stands where it has another form."""
    told = findings.study.header.protocol.get("recipes")
    return told_table(told, "recipes", ("kind", "transport", "description"))


def limits(findings: Findings) -> list[str]:
    """Say what the page does not show, from what the header and the records hold."""
    study = findings.study
    told = study.header.protocol
    lines = []
    if told.get("standard") is not True:
        lines.append("Not the standard study, or its header does not say so: a shorter run, or other settings.")
    seeds = len(set(study.header.seeds))
    if seeds < 5:
        lines.append(f"{count(seeds, 'training seed')}: too few to say much about other training runs.")
    lines += [
        f"One collection and {count(len(study.languages), 'language')}. It lets recipes be compared; it does not say "
        "how well a search over photographs or long documents would do, nor how another language would fare.",
        "Transport is compared as recipes use it. Two chosen recipes may differ in more than transport; the table of "
        "recipes says in what.",
        "The choice is among the recipes in the table. A recipe that nobody tried might do better, with transport or "
        "without.",
        "A difference that is not shown may still be there: the intervals say how large it could still be.",
    ]
    if study.high:
        lines.append(
            "Low- and high-resource languages saw about equally much bitext here; that isolates the language, and is "
            "not how data is spread in the world."
        )
    return [*own_limits(study.header), *lines]
