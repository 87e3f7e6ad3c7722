"""Everything the page says, worked out before a word of it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kivuko.evaluation import Header, PerQueryScores, Record
from kivuko.evaluation.robustness import AttackedExample
from kivuko.report.low_resource.findings import HEADLINE_SIZE, nearest
from kivuko.report.low_resource.study import LOW
from kivuko.report.rendering import count, own_limits
from kivuko.report.robustness.answer import Answer, Headline, answer
from kivuko.report.robustness.comparisons import (
    EVERYTHING,
    MATCHED,
    RATIO,
    RAW,
    Choice,
    Family,
    RobustnessTest,
    choose,
    compare_all,
)
from kivuko.report.robustness.study import JOINT, TEXT_ADVERSARIAL, RobustnessStudy, Spot


@dataclass(frozen=True)
class Findings:
    """The study, what was chosen, every test, the answer, and attacked examples."""

    study: RobustnessStudy
    choices: tuple[Choice, ...]
    family: Family
    headline: Choice | None
    answer: Answer
    examples: tuple[AttackedExample, ...]
    missing: tuple[str, ...]

    def choice(self, size: int) -> Choice | None:
        """Return what was chosen at a size."""
        return next((choice for choice in self.choices if choice.size == size), None)


def examine(
    header: Header,
    records: Sequence[Record],
    per_query: Sequence[PerQueryScores],
    examples: Sequence[AttackedExample] = (),
) -> Findings:
    """Choose, compare, correct and answer.

    Raises:
        DataError: there is nothing to report, or two records contradict each other.
    """
    study = RobustnessStudy(header, records, per_query)
    choices = tuple(choose(study, size) for size in study.sizes)
    family = compare_all(study, choices)
    size = _headline_size(study)
    headline = next((choice for choice in choices if choice.size == size), None)
    told = answer(_headline(study, family, headline), _why_not(headline))
    missing = (*(note for choice in choices for note in choice.notes), *family.missing, *_uneven_seeds(study))
    return Findings(study, choices, family, headline, told, tuple(examples), missing)


def _headline_size(study: RobustnessStudy) -> int | None:
    told = study.header.protocol.get("headline size")
    return told if told in study.sizes else nearest(study.sizes, HEADLINE_SIZE)


def _headline(study: RobustnessStudy, family: Family, choice: Choice | None) -> Headline | None:
    if choice is None or choice.transport is None or not choice.scopes:
        return None
    size, name = choice.size, choice.transport.objective

    def found(scope: str, kind: str) -> RobustnessTest | None:
        return family.find(size, scope, kind, name)

    raw = found(EVERYTHING, RAW)
    if raw is None:
        return None
    kind = MATCHED if found(EVERYTHING, MATCHED) else RATIO
    families = [
        (scope.name, of_scope, found(scope.name, kind))
        for scope in choice.scopes[1:]
        if (of_scope := found(scope.name, RAW)) is not None
    ]
    return Headline(
        raw, found(EVERYTHING, kind), found(EVERYTHING, RATIO), families, len(study.low), len(choice.scopes[0].attacks)
    )


def _why_not(choice: Choice | None) -> str:
    if choice is None:
        return "no model in them was trained on bitext"
    if choice.transport is None or choice.plain is None:
        lacking = "with" if choice.transport is None else "without"
        return f"at {choice.size:,} pairs no distillation recipe {lacking} transport was measured under attack"
    if not choice.scopes:
        return f"at {choice.size:,} pairs the recipes were not measured under the same attacks"
    names = f"{choice.transport.objective} and {choice.plain.objective}"
    return f"at {choice.size:,} pairs {names} could not be compared query by query"


def _uneven_seeds(study: RobustnessStudy) -> list[str]:
    """Say which recipes have fewer training seeds than the header names."""
    most = len(set(study.header.seeds))
    lines = []
    for size in study.sizes:
        for system in study.systems(size):
            trained = [seed for seed in study.seed_values(Spot(system, language=LOW)) if seed is not None]
            if trained and len(trained) < most:
                lines.append(f"{size:,} pairs: {system.objective} has {len(trained)} of {most} seeds")
    return lines


DEFINITIONS = (
    ("MAP", "Mean average precision: with one right image per query, the mean of one over its rank. 1 is perfect."),
    ("MAP under attack", "The same after an attack has changed the query, the image or both: the mean over the "
     "attacks named, each counting the same, and over the budgets of each."),
    ("Budget", "How much an attack may change: edits of a query, or how far a pixel may move, as a share of the "
     "range from black to white (2/255 is two of its 255 steps), or a severity from 1 to 5."),
    ("Noise, adversarial", "Noise knows nothing of the model: slips, camera noise. An adversarial attack searches "
     "for the change that hurts this model most."),
    ("Share kept (robustness ratio)", "MAP under attack divided by clean MAP, each a mean first. 1: the attack takes "
     "nothing."),
    ("At equal clean MAP", "A better model has more to lose. The recipes are therefore also compared where both "
     "have the same clean MAP: one of them as a mixture of its models of two bitext sizes, which is what a system "
     "measures in the mean that sends each query to the one or the other by lot."),
    ("Success of an attack", "Two rates go by this name: the fall of R@1 (clean minus attacked), and the share of "
     "queries answered correctly before that fail after. Both are given, by name."),
    ("Area", "The area under MAP against budget, divided by the largest budget: mean MAP over all budgets up to it."),
    ("Low- and high-resource mean", "The mean over the languages of a group, each counting the same."),
    ("Gap in robustness", "The share that high-resource languages keep, less the share that low-resource ones keep."),
    ("Transport", "Optimal transport between the words of a sentence and its translation’s: a soft alignment, along "
     "which the teacher’s knowledge of words is passed on."),
    ("Interval over seeds", "A training run depends on luck; a seed fixes it. The 95 % t interval says where the mean "
     "over many seeds would lie; a single seed has none."),
    ("Interval over concepts", "Would other queries change the figure? Concepts (what a query asks for, in all "
     "languages together, clean and attacked) are drawn anew 2,000 times; 95 % of the results lie in the interval."),
    ("p", "Paired randomization test: if two recipes were the same, either figure of a concept could have come from "
     "either. The share of 10,000 random exchanges that give a difference at least as large. For shares kept, clean "
     "and attacked figures are exchanged together."),
    ("p after Holm", "Who asks many questions finds something by luck. Holm’s correction raises each p value so "
     "that the chance of even one false finding among all tests on this page stays below 5 %."),
)  # fmt: skip


def limits(findings: Findings) -> list[str]:
    """Say what the page does not show, from what the header and the records hold."""
    study = findings.study
    lines = own_limits(study.header)
    if study.header.protocol.get("standard") is not True:
        lines.append("Not the standard study, or its header does not say so: a shorter run, or other settings.")
    if (seeds := len(set(study.header.seeds))) < 5:
        lines.append(f"{count(seeds, 'training seed')}: too few to say much about other training runs.")
    lines += [
        f"One collection and {count(len(study.languages), 'language')}. It lets recipes be compared; it does not say "
        "how robust a search over photographs or long documents would be.",
        "An attack gives an upper bound: a stronger one than these may leave less. No robustness is proven here.",
        "A mean over attacks counts each the same; how often each happens in use is another question.",
        "Transport is compared as recipes use it. Two chosen recipes may differ in more than transport; the table of "
        "recipes says in what.",
        "A difference that is not shown may still be there: the intervals say how large it could still be.",
    ]
    lines += _samples(findings)
    families = {facts.family for facts in study.attacks}
    if TEXT_ADVERSARIAL in families or JOINT in families:
        lines.append(
            "Adversarial text is made against each model, so models are not attacked with the same queries; what is "
            "the same is the attack, its budget and its seed."
        )
    return lines


def _samples(findings: Findings) -> list[str]:
    """Say which attacks were made on some of the queries only."""
    study, choice = findings.study, findings.headline
    if choice is None or choice.transport is None:
        return []
    queries = len(study.blocks(choice.transport)) and sum(len(b.values) for b in study.blocks(choice.transport))
    lines = []
    for facts in study.attacks:
        for budget in study.budgets(facts.name, [choice.transport])[:1]:
            attacked = sum(len(b.values) for b in study.blocks(choice.transport, (facts.name, budget)))
            if 0 < attacked < queries:
                lines.append(
                    f"{facts.name} was made on {attacked / queries:.0%} of the queries; what is said of it, and of "
                    "means that it is part of, is over those, clean figures beside it too."
                )
    return lines
