"""Attacks on queries alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kivuko.attacks.catalogue import CODE_SWITCH
from kivuko.attacks.spec import AttackSpec
from kivuko.attacks.text import AttackedText, apply_patterns, char_gradient, greedy_search, hotflip, universal_edit
from kivuko.edits import EditKind, Perturbed, perturb
from kivuko.studies.attack.outcome import Attacked, attacked
from kivuko.studies.attack.progress import Progress
from kivuko.studies.attack.victim import QuerySet, Victim, stream


def attack_texts(victim: Victim, spec: AttackSpec, queries: QuerySet, progress: Progress) -> Attacked:
    """Run one attack of kind "text" on the queries of one language."""
    if spec.attack.needs == "nothing":
        kind = victim.code_switch(queries.language) if spec.attack.name == CODE_SWITCH else spec.attack.name
        return _noise(victim, spec, queries, [kind])
    if spec.attack.name == "universal-text":
        return _universal(victim, spec, queries, progress)
    found = _search(victim, spec, queries, progress)
    calls = np.array([one.calls for one in found], dtype=np.int64)
    return attacked(victim, spec, queries, calls, [one.perturbed for one in found])


def _noise(victim: Victim, spec: AttackSpec, queries: QuerySet, kinds: Sequence[str | EditKind]) -> Attacked:
    """Edit at random, each query by its own draws: those of other queries, or more edits, do not change them."""
    made = [
        perturb(query.text, queries.language, kinds, spec.number("edits"), stream(victim.seed, query.id))
        for query in queries.queries
    ]
    return attacked(victim, spec, queries, np.zeros(len(queries), dtype=np.int64), made)


def _search(victim: Victim, spec: AttackSpec, queries: QuerySet, progress: Progress) -> list[AttackedText]:
    texts, languages, goal = queries.texts, [queries.language] * len(queries), victim.goal(queries)
    edits, candidates = spec.number("edits"), spec.number("candidates")
    if spec.attack.name == "hotflip":
        return hotflip(
            victim.gradients, texts, languages, goal, edits=edits, candidates=candidates, progress=progress
        )  # fmt: skip
    kinds = str(spec["kinds"]).split("+")
    if spec.attack.name == "greedy":
        return greedy_search(
            victim.encode, texts, languages, goal, kinds=kinds, edits=edits, candidates=candidates, seed=victim.seed,
            progress=progress,
        )  # fmt: skip
    return char_gradient(
        victim.gradients, texts, languages, goal, kinds=kinds, edits=edits, candidates=candidates, seed=victim.seed,
        progress=progress,
    )  # fmt: skip


def _universal(victim: Victim, spec: AttackSpec, queries: QuerySet, progress: Progress) -> Attacked:
    """Find the misspelling on training names, so that it has seen none of the queries it is tried on."""
    names = victim.training(queries.language)
    found = universal_edit(
        victim.encode, names.texts, queries.language, victim.goal(names), edits=spec.number("edits"), progress=progress
    )
    made: list[Perturbed] = [apply_patterns(text, found) for text in queries.texts]
    return attacked(victim, spec, queries, np.zeros(len(queries), dtype=np.int64), made)
