"""The terms that a page explains, in one wording for every page."""

from __future__ import annotations

TERMS = {
    "MAP": "Mean average precision. For one query: at each right answer in the ranking, the share of right answers so "
    "far, averaged over all right answers; then the mean over queries. With one right answer per query it is the mean "
    "of one over its rank. 1 is perfect.",
    "MAP under attack": "The same after an attack has changed the query, the image or both: the mean over the attacks "
    "named, each counting the same, and over the budgets of each.",
    "R@k": "The share of right answers among the first k results, averaged over queries.",
    "Parity": "MAP in a language divided by the MAP of the English teacher on English queries. 1 is equal footing.",
    "Budget": "How much an attack may change: edits of a query, or how far a pixel may move, as a share of the range "
    "from black to white (2/255 is two of its 255 steps), or a severity from 1 to 5.",
    "Noise, adversarial": "Noise knows nothing of the model: slips, camera noise. An adversarial attack searches for "
    "the change that hurts this model most.",
    "Share kept (robustness ratio)": "MAP under attack divided by clean MAP, each a mean first. 1: the attack takes "
    "nothing. In its test, clean and attacked figures are exchanged together.",
    "At equal clean MAP": "A better model has more to lose. The recipes are therefore also compared where both have "
    "the same clean MAP: one of them as a mixture of its models of two bitext sizes, the mean of a system that sends "
    "each query to the one or the other by lot.",
    "Success of an attack": "Two rates go by this name: the fall of R@1 (clean minus attacked), and the share of "
    "queries answered correctly before that fail after. Both are given, by name.",
    "Area": "The area under MAP against budget, divided by the largest budget: mean MAP over all budgets up to it.",
    "Low- and high-resource mean": "The mean over the languages of a group, each counting the same, however many "
    "queries it has.",
    "Gap": "High-resource mean MAP minus low-resource mean MAP.",
    "Gap in robustness": "The share that high-resource languages keep, less the share that low-resource ones keep.",
    "Sentence pairs per language": "Size of the bitext: sentences with their English translation that a student "
    "learned from, for each language.",
    "Transport": "Optimal transport between the words of a sentence and its translation’s: a soft alignment, along "
    "which the teacher’s knowledge of words is passed on.",
    "Interval over seeds": "A training run depends on luck: the sample of bitext, the first weights, the order of "
    "pairs. A seed fixes it. The 95 % t interval says where the mean over many seeds would be; a single seed has none.",
    "Interval over concepts": "Would other queries change the figure? Concepts (what a query asks for, in all "
    "languages together, clean and attacked) are resampled 2,000 times with replacement; 95 % of the results are in "
    "the interval.",
    "p": "Paired randomization test: if two recipes were the same, either figure of a concept could have come from "
    "either. The share of 10,000 random exchanges that give a difference at least as large.",
    "p after Holm": "Testing many hypotheses finds some effects by luck. Holm’s correction raises each p value so that "
    "the chance of even one false finding among all tests on this page stays below 5 %.",
}
