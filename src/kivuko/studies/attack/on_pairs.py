"""Attacks on queries and their pictures together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kivuko.attacks.joint import AttackedPairs, Pairs, TextSide, co_attack, separate, set_level
from kivuko.attacks.spec import AttackSpec
from kivuko.studies.attack.outcome import Attacked, AttackedPictures, attacked, threat_of
from kivuko.studies.attack.progress import Progress
from kivuko.studies.attack.victim import QuerySet, Victim

_SCHEMES = {"sep": separate, "co-attack": co_attack, "sga": set_level}


def attack_pairs(
    victim: Victim, spec: AttackSpec, queries: QuerySet, languages: Sequence[str], progress: Progress
) -> Attacked:
    """Run one attack of kind "joint" on the queries of one language.

    Args:
        languages: all that are measured: of these, "sga" takes the other names of a picture.
    """
    pixels = victim.pixels(queries.own.tolist())
    others = _other_names(victim, queries, languages) if spec.attack.name == "sga" else ()
    pairs = Pairs(queries.texts, [queries.language] * len(queries), queries.own, pixels, victim.gallery, others)
    side = TextSide(
        spec.number("edits"), tuple(str(spec["kinds"]).split("+")), spec.number("candidates"), victim.seed
    )  # fmt: skip
    scheme: Any = _SCHEMES[spec.attack.name]
    found: AttackedPairs = scheme(
        victim.encode, victim.tower, pairs, threat_of(spec), side,
        steps=spec.number("steps"), seed=victim.seed, progress=progress,
    )  # fmt: skip
    pictures = AttackedPictures(queries.own, pixels, found.images.pixels)
    return attacked(victim, spec, queries, found.calls, [one.perturbed for one in found.texts], pictures)


def _other_names(victim: Victim, queries: QuerySet, languages: Sequence[str]) -> list[list[str]]:
    """Return for each query what its picture is called in the other languages."""
    names: dict[int, list[str]] = {}
    for code in languages:
        if code != queries.language:
            for query in victim.world.queries(code, victim.split):
                names.setdefault(query.image, []).append(query.text)
    return [names.get(image, []) for image in queries.own.tolist()]
