"""Recipes: those that ship, and what their entries come to."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kivuko.encoders.token_batch import TokenBatch
from kivuko.errors import UsageError
from kivuko.losses.objectives import (
    BarycenterObjective,
    GreedyObjective,
    LearnedContrastive,
    RelationalObjective,
    SentenceContrastive,
    SentenceCosine,
    SentenceMSE,
    TransportObjective,
)
from kivuko.training.recipe import Schedule, Start, load_recipe, parse_recipe
from kivuko.training.recipes import shipped_recipes

CENTER = torch.tensor([0.5, 0.25])
MSE = '[[objective]]\nkind = "mse"\n'


def test_the_shipped_recipes_are_there():
    expected = {"optical", "mse", "sentence", "cosine", "contrastive", "relational", "greedy", "barycenter"}
    assert expected <= set(shipped_recipes())
    assert list(shipped_recipes()) == sorted(shipped_recipes())


TRAINED = [name for name in shipped_recipes() if name != "m2m"]


@pytest.mark.parametrize("name", TRAINED)
def test_every_shipped_recipe_loads_and_computes(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    tokens = torch.randn(3, 2, 2)
    batch = TokenBatch(tokens, torch.ones(3, 2, dtype=torch.bool), tokens.mean(1))
    value = recipe.objective(CENTER)(batch, TokenBatch(tokens.flip(0), batch.mask, batch.pooled.flip(0)))
    assert value.total.isfinite()
    assert value.parts
    assert "\n" not in recipe.description


@pytest.mark.parametrize("name", TRAINED)
def test_every_shipped_recipe_trains(tiny_run, name):
    student = tiny_run.new_student()
    before = student.embedding.weight.detach().clone()
    recipe = load_recipe(name).with_schedule(steps=1, batch_size=8, learning_rate=0.1)
    tiny_run.go(student=student, recipe=recipe)
    assert not torch.equal(student.embedding.weight, before)


def test_only_relational_alone_leaves_the_student_in_a_space_of_its_own(tiny_run):
    def learned(recipe):
        student = tiny_run.new_student()
        return tiny_run.go(
            student=student,
            recipe=recipe.with_schedule(steps=120, learning_rate=0.05, batch_size=16, validate_every=120),
        ).best_score

    shipped = load_recipe("relational")
    alone = parse_recipe('[[objective]]\nkind = "relational"', "alone", "alone.toml")
    assert learned(shipped) > learned(alone) + 0.2


def test_a_recipe_from_a_file(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'description = "d"\n[[objective]]\nkind = "transport"\nweight = 2\nregularization = 0.1\ncentered = false\n'
        'tolerance = 1e-2\nmax_iterations = 7\n[[objective]]\nkind = "contrastive"\ntemperature = 0.2\n'
        "[schedule]\nsteps = 5\nlearning_rate = 1\nwarmup = 0\n"
    )
    recipe = load_recipe(file)
    assert (recipe.name, recipe.description) == ("mine", "d")
    assert recipe.schedule == Schedule(steps=5, learning_rate=1.0, warmup=0.0)
    (first_weight, transport), (second_weight, contrastive) = recipe.objective(CENTER).terms
    assert (first_weight, second_weight) == (2, 1)
    assert transport == TransportObjective(regularization=0.1, center=None, tolerance=0.01, max_iterations=7)
    assert contrastive == SentenceContrastive(temperature=0.2)


def test_transport_is_centered_unless_told_otherwise():
    ((_, transport),) = parse_recipe('[[objective]]\nkind = "transport"', "mine", "mine.toml").objective(CENTER).terms
    assert transport.center is CENTER


def test_objectives_without_options():
    terms = parse_recipe(MSE + '[[objective]]\nkind = "cosine"', "mine", "mine.toml").objective(CENTER).terms
    assert [type(objective) for _, objective in terms] == [SentenceMSE, SentenceCosine]


def built(entry):
    """The one objective of a recipe that has this entry."""
    ((_, objective),) = parse_recipe(f"[[objective]]\n{entry}", "mine", "mine.toml").objective(CENTER).terms
    return objective


@pytest.mark.parametrize(
    ("kind", "made", "default"),
    [
        ("transport", TransportObjective, (CENTER, True)),
        ("barycenter", BarycenterObjective, (CENTER, True)),
        ("greedy", GreedyObjective, (None, True)),
    ],
)
def test_what_is_centered(kind, made, default):
    found = {}
    for centered in ("", "true", "false", '"both"', '"teacher"', '"none"'):
        objective = built(f'kind = "{kind}"' + (f"\ncentered = {centered}" if centered else ""))
        assert type(objective) is made
        found[centered] = (objective.center, objective.student_centered)
    both, teacher, none = (CENTER, True), (CENTER, False), (None, True)
    assert found == {
        "": default, "true": both, '"both"': both, "false": none, '"none"': none, '"teacher"': teacher,
    }  # fmt: skip


def test_transport_with_every_option():
    found = built(
        'kind = "transport"\ncentered = false\nmarginal_penalty = 2\nmethod = "sinkhorn_log"\nmarginals = "norm"\n'
        'cost = "squared_euclidean"'
    )
    assert found == TransportObjective(
        marginal_penalty=2, method="sinkhorn_log", marginals="norm", cost="squared_euclidean"
    )


def test_relational_and_barycenter_with_their_options():
    assert built('kind = "relational"\ntemperature = 0.2') == RelationalObjective(0.2)
    found = built('kind = "barycenter"\ncentered = false\nregularization = 0.2\ntolerance = 0.1\nmax_iterations = 3')
    assert found == BarycenterObjective(regularization=0.2, tolerance=0.1, max_iterations=3)


def test_a_temperature_is_learned_if_the_recipe_says_so():
    learned = built('kind = "contrastive"\ntemperature = 0.1\nlearned = true')
    assert isinstance(learned, LearnedContrastive)
    assert learned.log_scale.exp().item() == pytest.approx(10)
    assert built('kind = "contrastive"\nlearned = false') == SentenceContrastive()


def test_a_student_starts_at_random_unless_told_otherwise():
    assert parse_recipe(MSE, "mine", "mine.toml").start == Start()
    assert Start() == Start("random", "transport", 1.0, False, 0.5, None, 0.0, False)


def test_a_student_with_every_entry():
    found = parse_recipe(
        MSE + '[student]\nvectors = "transplant"\nscale = 2\nteacher_words = true\nregularization = 1\n'
        "marginal_penalty = 3\nspelling = 0\nneighbors = true",
        "mine", "mine.toml",
    ).start  # fmt: skip
    assert found == Start("transplant", "transport", 2.0, True, 1.0, 3.0, 0.0, True)
    assert {type(value) for value in (found.scale, found.regularization, found.marginal_penalty)} == {float}


@pytest.mark.parametrize(
    ("content", "uses"),
    [
        (MSE, False),
        ('[[objective]]\nkind = "transport"\n', True),
        ('[[objective]]\nkind = "transport"\nmethod = "exact"\n', True),
        ('[[objective]]\nkind = "transport"\nmethod = "greedy"\n', False),
        (MSE + '[[objective]]\nkind = "transport"\nweight = 0\n', False),
        (MSE + '[[objective]]\nkind = "barycenter"\nweight = 0.1\n', True),
        ('[[objective]]\nkind = "greedy"\n', False),
        (MSE + '[student]\nvectors = "transplant"\n', True),
        (MSE + '[student]\nvectors = "transplant"\naligner = "ibm1"\n', False),
    ],
)
def test_whether_a_recipe_uses_transport(content, uses):
    assert parse_recipe(content, "mine", "mine.toml").uses_transport is uses


def test_which_shipped_recipes_use_transport():
    assert {"optical", "barycenter"} <= {name for name in shipped_recipes() if load_recipe(name).uses_transport}
    assert not any(load_recipe(name).uses_transport for name in ("mse", "sentence", "cosine", "relational", "greedy"))


@pytest.mark.parametrize(
    ("name", "aligner"), [("counted", "counts"), ("ibm1", "ibm1"), ("ibm2", "ibm2"), ("fast-align", "fast_align")]
)
def test_the_controls_of_the_transplant_differ_in_the_aligner_and_in_nothing_else(name, aligner):
    control, planned = load_recipe(name), load_recipe("transplant")
    assert control.start == replace(planned.start, aligner=aligner)
    assert (control.terms, control.schedule, control.augmentation) == (planned.terms, planned.schedule, None)
    assert planned.uses_transport
    assert not control.uses_transport


@pytest.mark.parametrize(
    ("name", "option"), [("unbalanced", {"marginal_penalty": 0.5}), ("proximal", {"method": "proximal"})]
)
def test_the_variants_of_transport_differ_in_the_plan_and_in_nothing_else(name, option):
    variant, plain = load_recipe(name), load_recipe("transport")
    first, *others = plain.terms
    assert variant.terms == (replace(first, options={**first.options, **option}), *others)
    assert (variant.start, variant.schedule) == (plain.start, plain.schedule)


def test_the_papers_recipe_has_nothing_but_the_papers_loss():
    recipe = load_recipe("paper")
    assert [(term.kind, term.weight) for term in recipe.terms] == [("transport", 1.0)]
    assert recipe.terms[0].options == {"regularization": 0.05, "centered": "none"}
    assert (recipe.start, recipe.augmentation) == (Start(projection="random"), None)


def test_m2m_trains_nothing_whatever_the_schedule_and_needs_a_pretrained_student():
    recipe = load_recipe("m2m")
    assert (recipe.terms, recipe.schedule.steps, recipe.start) == ((), 0, Start(projection="english"))
    assert recipe.with_schedule(steps=100).schedule.steps == 0
    assert recipe.with_options(steps=100).schedule.steps == 0
    with pytest.raises(UsageError, match=r"recipe m2m: .* needs a pretrained student, not static"):
        recipe.check_student("static")
    recipe.check_student("multilingual-e5-small")


def test_a_schedule_can_be_changed_without_touching_the_recipe():
    recipe = parse_recipe(MSE, "mine", "mine.toml")
    changed = recipe.with_schedule(steps=9, batch_size=3)
    assert changed.schedule == Schedule(steps=9, batch_size=3)
    assert changed.terms == recipe.terms
    assert recipe.schedule == Schedule()


@pytest.mark.parametrize(("name", "centers"), [("mse", True), ("optical", False), ("transport", False)])
def test_a_recipe_says_whose_tokens_the_mean_is_taken_from(name, centers):
    assert load_recipe(name).centers_student is centers
