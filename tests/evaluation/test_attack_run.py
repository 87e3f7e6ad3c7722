"""Every attack of the catalog on a tiny world: budgets, what is left unchanged, and the records."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from kivuko.encoders.model import About, Model
from kivuko.errors import DataError
from kivuko.evaluation.attack.results import run_attacks
from kivuko.evaluation.attack.targets import EmojiTarget, some_of
from kivuko.evaluation.group_means import HEADLINE
from kivuko.evaluation.image_tasks import EmojiTask
from kivuko.evaluation.measures import ACCURACY_DROP, AREA, CALLS, GAP, RATIO, SUCCESS_OF_CORRECT, TARGET_FIRST
from kivuko.perturbations.catalog import ATTACKS
from kivuko.perturbations.spec import parse_attack, parse_attacks

LANGUAGES = ("sw", "mr")
CHEAP = {"steps": 2, "queries": 3, "candidates": 4, "epochs": 10}


@pytest.fixture(scope="module")
def parts(tiny_world):
    """A model whose names point past their images, but still nearer to them than to others, and the gallery."""
    from kivuko.datasets.emoji.sources import shipped_image_tower
    from kivuko.encoders.image_tower import load_image_tower
    from kivuko.encoders.model import assemble
    from kivuko.encoders.student import StaticStudent
    from kivuko.encoders.vocabulary import train_vocabulary
    from kivuko.search.building import emoji_vectors

    named = [(own.name, one) for code in LANGUAGES for one, own in tiny_world.annotations[code].items()]
    student = StaticStudent(train_vocabulary([name for name, _ in named], 400), 384)
    model = assemble(student, load_image_tower(shipped_image_tower(), 384))
    gallery = emoji_vectors(model, tiny_world)
    image = {one.sequence: one.image for one in tiny_world.emoji}
    images_of_names = [(name, image[one]) for name, one in named if one in image]
    means = torch.zeros(len(images_of_names), student.embedding.num_embeddings)  # names as means of their subwords
    for row, (name, _) in enumerate(images_of_names):
        ids = student.tokenizer.encode(name, add_special_tokens=False).ids
        means[row].index_add_(0, torch.tensor(ids), torch.full((len(ids),), 1 / len(ids)))
    aside = np.random.default_rng(0).normal(size=(len(gallery), 384)) * 1.5 / 384**0.5
    wanted = torch.from_numpy((gallery + aside).astype(np.float32)[[row for _, row in images_of_names]])
    with torch.no_grad():
        student.embedding.weight.copy_(torch.linalg.lstsq(means, wanted, driver="gelsd").solution)
    return assemble(student, load_image_tower(shipped_image_tower(), 384)), gallery


@pytest.fixture
def target(parts, tiny_world):
    """Return the model under attack in some languages; its teacher knows nothing of English but is one."""
    model, gallery = parts
    about = About("teacher", "", "static", "optical", 0, {"sw": 40, "mr": 40})

    def english(texts):
        drawn = np.stack([np.random.default_rng([*text.encode()]).normal(size=384) for text in texts])
        return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)

    def build(*languages, **options):
        task = EmojiTask(tiny_world, gallery)
        own = EmojiTarget(Model(model, "model", about=about), languages or ("sw",), task, **options)
        own.encode_english = english
        return own

    return build


def cheap(name, **changes):
    """Return an attack with few steps."""
    spec = parse_attack(name)
    for key, value in {**CHEAP, **changes}.items():
        spec = spec.with_value(key, value) if spec.attack.has(key) else spec
    return spec


def value(results, measure, language="sw", spec=None, subset="all"):
    label, budget = (spec.label, spec.budget) if spec else (None, None)
    values = [
        one.value
        for one in results.records
        if (one.measure, one.language, one.attack, one.budget, one.subset) == (measure, language, label, budget, subset)
    ]
    assert len(values) == 1, (measure, language, label, budget, len(values))
    return values[0]


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_every_attack_stays_within_its_budget_and_at_0_changes_nothing(target, name):
    usual = cheap(name, edits=2)
    nothing = usual.with_value(usual.attack.budget, 0)
    if usual.attack.kind == "joint":
        nothing = nothing.with_value("edits", 0)
    results = run_attacks(target(), [nothing, usual])
    for measure in ("R@1", "MAP"):
        clean = value(results, measure)
        assert 0.5 < clean <= 1
        assert value(results, measure, spec=nothing) == clean
        if usual.attack.needs == "queries" or name in ("hotflip", "char-gradient", "pgd", "apgd", "standard"):
            slack = 0.2 if "universal" in name else 0
            assert value(results, measure, spec=usual) <= clean + slack
    unchanged, changed = (
        [one for one in results.examples if (one.condition.attack, one.condition.budget) == (spec.label, spec.budget)]
        for spec in (nothing, usual)
    )
    assert len(unchanged) == len(changed) == len(target().queries("sw"))
    for one in unchanged:
        assert (one.perturbed, one.edits, one.linf or 0, one.rank_after) == (one.query, (), 0, one.rank_before)
    for one in changed:
        assert len(one.edits) <= 2
        assert (one.linf is None) == (usual.attack.kind == "text")
        if usual.attack.budget == "eps":
            assert one.linf <= usual.budget + 1e-7
        assert (one.calls > 0) == (usual.attack.needs != "nothing" and name != "universal-text")
    if name not in ("diacritics", "width", "normalization"):  # which the names here may give no place for
        assert any(one.perturbed != one.query or one.linf for one in changed)


def test_measures_follow_from_the_ranks(target):
    spec = cheap("pgd:eps=64/255", steps=6)
    results = run_attacks(target(), [spec])
    own = results.examples
    assert value(results, "MAP", spec=spec) == pytest.approx(np.mean([1 / one.rank_after for one in own]))
    assert value(results, "R@1", spec=spec) == pytest.approx(np.mean([one.rank_after == 1 for one in own]))
    assert value(results, "MAP") == pytest.approx(np.mean([1 / one.rank_before for one in own]))
    assert value(results, CALLS, spec=spec) == pytest.approx(np.mean([one.calls for one in own]))
    shown = [one for one in own if one.image_after]
    assert 0 < len(shown) <= 2
    assert all(one.rank_after > one.rank_before and one.image_before != one.image_after for one in shown)


def test_a_targeted_attack_brings_another_image_first(target):
    weak, strong = cheap("pgd:targeted=true,eps=1/255"), cheap("pgd:targeted=true,eps=1", steps=40)
    results = run_attacks(target(), [weak, strong])
    aimed = [value(results, TARGET_FIRST, spec=spec) for spec in (weak, strong)]
    assert aimed[1] > 0.5
    assert aimed[0] < aimed[1]
    lost = value(results, "R@1") - value(results, "R@1", spec=strong)
    assert lost > 0
    assert value(results, "R@1", spec=strong) + aimed[1] <= 1  # one image comes first


def test_images_crafted_with_english_are_perturbed_once_for_all_languages(target, monkeypatch):
    made = []
    from kivuko.perturbations import runner
    from kivuko.perturbations.image.pgd import pgd

    counting = {**runner._IMAGE_ATTACKS, "pgd": lambda *given, **named: (made.append(1), pgd(*given, **named))[1]}
    monkeypatch.setattr(runner, "_IMAGE_ATTACKS", counting)
    spec = cheap("pgd:crafted=english,eps=4/255")
    results = run_attacks(target(*LANGUAGES), [spec])
    assert len(made) == 1
    moved = {one.query_id.partition(":")[2]: set() for one in results.examples}
    for one in results.examples:
        moved[one.query_id.partition(":")[2]].add((one.linf, one.l2))
    assert all(len(changes) == 1 for changes in moved.values())


def test_noise_on_an_image_or_a_query_is_the_same_whatever_else_is_measured(target):
    specs = parse_attacks(["gaussian-noise:severity=3", "occlusion:severity=2", "typo:edits=1|2"])
    everything = {
        (one.query_id, one.condition.attack, one.condition.budget): (one.perturbed, one.l2)
        for one in run_attacks(target(*LANGUAGES), specs).examples
    }
    for one in run_attacks(target("mr", most=3), specs).examples:
        assert everything[one.query_id, one.condition.attack, one.condition.budget] == (one.perturbed, one.l2)
    changed = run_attacks(target("mr", seed=1), specs).examples
    assert any(
        everything[one.query_id, one.condition.attack, one.condition.budget] != (one.perturbed, one.l2)
        for one in changed
    )


def test_shares_areas_and_the_gap_are_recorded(target):
    specs = parse_attacks(["typo:edits=0|1|3", "fgsm:eps=8/255"])
    results = run_attacks(target(*LANGUAGES), specs)
    for measure in (RATIO, ACCURACY_DROP, SUCCESS_OF_CORRECT):
        assert np.isfinite(value(results, measure, "low-resource", specs[2], HEADLINE))
    areas = [one for one in results.records if one.measure == AREA]
    assert {(one.attack, one.budget, one.language) for one in areas} == {
        ("typo", 3.0, group) for group in ("sw", "mr", "low-resource")
    }
    clean, once, thrice = (value(results, "MAP", "sw", spec, HEADLINE) for spec in (None, specs[1], specs[2]))
    own = next(one.value for one in areas if one.language == "sw")
    assert own == pytest.approx((clean + once) / 2 / 3 + (once + thrice) / 2 * 2 / 3)
    assert not [one for one in results.records if one.measure == GAP]  # both languages are low-resource


def test_the_gap_is_what_the_groups_keep(target, monkeypatch):
    monkeypatch.setattr(
        "kivuko.evaluation.attack.results.resource_groups",
        lambda codes: {"low-resource": ("sw",), "high-resource": ("mr",)},
    )
    spec = parse_attack("typo:edits=2")
    results = run_attacks(target(*LANGUAGES), [spec])
    gap = next(one for one in results.records if one.measure == GAP)
    kept = [value(results, RATIO, code, spec, HEADLINE) for code in LANGUAGES]
    assert gap.value == pytest.approx(kept[1] - kept[0])
    assert gap.low <= gap.value <= gap.high


def test_the_header_says_what_every_attack_was(target):
    spec = cheap("pgd:eps=8/255")
    attacks = run_attacks(target(), [spec]).protocol()["attacks"]
    assert attacks["pgd:steps=2"]["kind"] == "image adversarial"
    assert attacks["pgd:steps=2"]["unit"] == "radius"
    assert attacks["pgd:steps=2"]["parameters"]["steps"] == "2"
    assert "eps" not in attacks["pgd:steps=2"]["parameters"]


def test_a_smaller_number_of_queries_is_a_part_of_a_larger_one(tiny_world):
    queries = tiny_world.queries("sw", "train")
    few, more = some_of(queries, 3, 0), some_of(queries, 9, 0)
    assert few == more[:3]
    assert not any(query.copied for query in more)
    assert some_of(queries, 9, 1) != more
    same = some_of([replace(query, language="mr") for query in queries], 3, 0)
    assert [query.concept for query in same] == [query.concept for query in few]


def test_a_language_without_queries_is_named(target, monkeypatch):
    monkeypatch.setattr(type(target().task.world), "queries", lambda *_: [])
    with pytest.raises(DataError, match="'sw'"):
        run_attacks(target(), [parse_attack("typo")])


def test_images_of_a_text_attack_are_not_written(target, tmp_path):
    results = run_attacks(target(), [parse_attack("typo"), parse_attack("blur")], images=tmp_path / "p")
    files = list((tmp_path / "p").rglob("*.png"))
    assert {file.parent.parent.name for file in files} == {"blur severity=3"}
    assert len(files) == len(target().queries("sw")) == len(results.examples) // 2
