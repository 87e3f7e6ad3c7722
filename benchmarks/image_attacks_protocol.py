"""The protocol of the benchmark of image attacks in words: what ran where, with which budgets, and who it favors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.image_attacks_contenders import ART_BATCH
from benchmarks.image_attacks_setting import SPEED_RADIUS
from kivuko.perturbations.image.goal import CE_SCALE
from kivuko.perturbations.image.standard import TARGETS


def protocol(results: dict[str, Any]) -> Iterable[str]:
    """Say what ran where, with which budgets, and who is favored by what."""
    machine = results["machine"]
    yield "## Protocol"
    yield (
        f"{machine['processor']}; {machine['cores']} cores usable, one thread per process; "
        f"{machine['memory_gib']} GiB; {machine['system']}; Python {machine['python']}; "
        + ", ".join(f"{name} {version}" for name, version in machine["packages"].items() if version)
        + f". Run on {results['date']}, extent: {results['extent']['name']}."
    )
    for label, reason in results["absent"].items():
        yield f"{label} took no part: {reason}."
    processes = "one process" if results["processes"] == 1 else f"{results['processes']} processes"
    yield "\n".join(f"- {line}" for line in _rules(results["extent"], processes))


def _rules(extent: dict[str, Any], processes: str) -> Iterable[str]:
    yield (
        f"Images of the emoji world's test split ({extent['images']}, drawn at random, none left out for being "
        "wrong when clean); candidates: all English names of that split, as the teacher's unit vectors. An image "
        "stands while its own name is strictly nearest; the same code judges both contenders."
    )
    yield (
        "Both attack the very same module: the tower with its batch normalizations folded, in eval mode, weights "
        f"frozen. For ART it is wrapped as a `PyTorchClassifier` whose logits are the cosines times {CE_SCALE:g}, by "
        "which our cross entropy multiplies too."
    )
    yield (
        f"Ensembles. Kivuko's `standard`: APGD on cross entropy, targeted APGD at the {TARGETS} nearest rivals,"
        " Square. ART's `AutoAttack` with APGD on cross entropy, APGD on DLR, "
        + ("DeepFool, " if extent["deepfool"] else "")
        + f"Square. {extent['steps']} steps for every APGD, {extent['restarts']} random starts for ART's and one for "
        f"each of ours, {extent['queries']} squares. "
        + ("" if extent["deepfool"] else "ART's default has DeepFool as well, which knows no radius: left out here.")
    )
    yield (
        "ART's radius, first step (two radii) and clipping as ours. Its pixels are judged as they are and rounded to "
        "8-bit levels inside the radius; ours are 8-bit levels already."
    )
    yield (f"Cost of the ensembles: images through the tower, gradients back, seconds with {processes} at work.")
    yield (
        f"Speed: {extent['speed_images']} images that stand when clean, radius {SPEED_RADIUS}/255 on the hardest "
        f"tower, {extent['speed_steps']} steps and one start, or {extent['speed_queries']} squares; the contenders in "
        f"turn in one process, {extent['rounds']} rounds, another first in each, after one short call each. Every "
        "image takes every step, fooled or not. From arrays in memory to pixels in the contender's own arrays."
    )
    yield (
        f"What favors ART: batches of {ART_BATCH} (its own 32 is slower here); its pixels need no rounding; ours "
        "also judges the clean images and the rounded result. What favors us: our ensemble leaves "
        "images alone once they are fooled, ART's only between its parts and starts; we pull up single rivals in "
        "turn, which ART can too, but only all of them."
    )
