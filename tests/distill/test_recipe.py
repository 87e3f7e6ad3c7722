"""Recipes: those that ship, and what is said of those that are wrong."""

from __future__ import annotations

import pytest
import torch

from kivuko.distill.recipe import Schedule, load_recipe, parse_recipe, shipped_recipes
from kivuko.distill.sentence import SentenceContrastive, SentenceCosine, SentenceMSE
from kivuko.distill.transport import TransportObjective
from kivuko.encoders.token_batch import TokenBatch
from kivuko.errors import UsageError

CENTRE = torch.tensor([0.5, 0.25])
MSE = '[[objective]]\nkind = "mse"\n'


def refused(content):
    """The message with which a recipe of this content is refused."""
    with pytest.raises(UsageError) as caught:
        parse_recipe(content, "mine", "mine.toml")
    message = str(caught.value)
    assert message.startswith("mine.toml: "), message
    assert "\n" not in message.strip()
    return message


def test_the_shipped_recipes_are_there():
    assert {"optical", "mse"} <= set(shipped_recipes())
    assert list(shipped_recipes()) == sorted(shipped_recipes())


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_loads_and_computes(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    tokens = torch.randn(3, 2, 2)
    batch = TokenBatch(tokens, torch.ones(3, 2, dtype=torch.bool), tokens.mean(1))
    value = recipe.objective(CENTRE)(batch, TokenBatch(tokens.flip(0), batch.mask, batch.pooled.flip(0)))
    assert value.total.isfinite()
    assert value.parts


def test_a_recipe_from_a_file(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'description = "d"\n[[objective]]\nkind = "transport"\nweight = 2\nregularization = 0.1\ncentred = false\n'
        'tolerance = 1e-2\nmax_iterations = 7\n[[objective]]\nkind = "contrastive"\ntemperature = 0.2\n'
        "[schedule]\nsteps = 5\nlearning_rate = 1\nwarmup = 0\n"
    )
    recipe = load_recipe(file)
    assert (recipe.name, recipe.description) == ("mine", "d")
    assert recipe.schedule == Schedule(steps=5, learning_rate=1.0, warmup=0.0)
    (first_weight, transport), (second_weight, contrastive) = recipe.objective(CENTRE).terms
    assert (first_weight, second_weight) == (2, 1)
    assert transport == TransportObjective(regularization=0.1, centre=None, tolerance=0.01, max_iterations=7)
    assert contrastive == SentenceContrastive(temperature=0.2)


def test_transport_is_centred_unless_told_otherwise():
    ((_, transport),) = parse_recipe('[[objective]]\nkind = "transport"', "mine", "mine.toml").objective(CENTRE).terms
    assert transport.centre is CENTRE


def test_objectives_without_options():
    terms = parse_recipe(MSE + '[[objective]]\nkind = "cosine"', "mine", "mine.toml").objective(CENTRE).terms
    assert [type(objective) for _, objective in terms] == [SentenceMSE, SentenceCosine]


def test_a_schedule_can_be_changed_without_touching_the_recipe():
    recipe = parse_recipe(MSE, "mine", "mine.toml")
    changed = recipe.with_schedule(steps=9, batch_size=3)
    assert changed.schedule == Schedule(steps=9, batch_size=3)
    assert changed.terms == recipe.terms
    assert recipe.schedule == Schedule()


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(UsageError, match=r"no recipe 'opticla': choose one of .*mse.*optical.*name a \.toml file"):
        load_recipe("opticla")
    with pytest.raises(UsageError, match="no recipe"):
        load_recipe("../recipes/optical")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"none\.toml: cannot be read as a recipe"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"binary\.toml: cannot be read as a recipe"):
        load_recipe(tmp_path / "binary.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(UsageError, match=r"folder\.toml: cannot be read as a recipe"):
        load_recipe(tmp_path / "folder.toml")


def test_toml_that_is_none_is_named_with_the_line():
    assert "not valid TOML" in (message := refused("[[objective]]\nkind = mse"))
    assert "line 2" in message


@pytest.mark.parametrize(
    "content", ["", 'description = "d"', "objective = []", 'objective = "mse"', "[schedule]\nsteps = 3"]
)
def test_a_recipe_without_objectives_is_refused(content):
    assert "names no objective" in refused(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("shedule = 1\n" + MSE, "the recipe has no entry 'shedule'; did you mean 'schedule'?"),
        (MSE + "[schedule]\nlerning_rate = 1", "[schedule] has no entry 'lerning_rate'; did you mean 'learning_rate'?"),
        (MSE + "[schedule]\nbatchsize = 1", "did you mean 'batch_size'?"),
        (MSE + "[schedule]\nzzz = 1", "known: batch_size, learning_rate"),
        ("schedule = 3\n" + MSE, "[schedule] must be a table"),
    ],
)
def test_a_misspelt_entry_names_the_nearest(content, message):
    assert message in refused(content)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('kind = "msee"', "unknown objective kind 'msee': choose one of transport, mse, cosine, contrastive"),
        ("weight = 1.0", "unknown objective kind None"),
        ("kind = 3", "unknown objective kind"),
        ('kind = ["mse"]', "unknown objective kind"),
        ('kind = "mse"\ntemperature = 1', "objective 'mse' has no option 'temperature' (it has: none)"),
        ('kind = "contrastive"\ntemprature = 1', "has no option 'temprature' (it has: temperature)"),
        ('kind = "contrastive"\ntemperature = 0', "temperature = 0 is not a positive number"),
        ('kind = "contrastive"\ntemperature = nan', "temperature = nan is not a positive number"),
        ('kind = "contrastive"\ntemperature = inf', "temperature = inf is not a positive number"),
        ('kind = "contrastive"\ntemperature = true', "temperature = True is not a positive number"),
        ('kind = "transport"\nregularization = -0.1', "regularization = -0.1 is not a positive number"),
        ('kind = "transport"\nregularization = "0.1"', "regularization = '0.1' is not a positive number"),
        ('kind = "transport"\nmax_iterations = 2.5', "max_iterations = 2.5 is not a positive"),
        ('kind = "transport"\ncentred = 1', "centred = 1"),
        ('kind = "mse"\nweight = -1', "weight = -1 is not a number of 0 or more"),
        ('kind = "mse"\nweight = nan', "weight = nan is not a number of 0 or more"),
        ('kind = "mse"\nweight = true', "weight = True is not a number of 0 or more"),
    ],
)
def test_a_wrong_objective_is_named(entry, message):
    assert message in refused(f"[[objective]]\n{entry}")


def test_an_objective_that_is_no_table_is_refused():
    assert "unknown objective kind" in refused('objective = ["mse"]')


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("steps = 0", "steps must be above 0"),
        ("steps = 1.5", "steps = 1.5 is not a whole number"),
        ("steps = true", "steps = True is not a whole number"),
        ('steps = "10"', "steps = '10' is not a whole number"),
        ("batch_size = -1", "batch_size must be above 0"),
        ("validate_every = 0", "validate_every must be above 0"),
        ("learning_rate = 0.0", "learning_rate must be above 0"),
        ("learning_rate = nan", "learning_rate = nan is not a number"),
        ("learning_rate = inf", "learning_rate = inf is not a number"),
        ("warmup = 1.0", "warmup must be at least 0 and below 1"),
        ("warmup = -0.1", "warmup must be at least 0 and below 1"),
        ("token_dropout = 1", "token_dropout must be at least 0 and below 1"),
        ("weight_decay = -1", "weight_decay must be 0 or more"),
    ],
)
def test_a_wrong_schedule_is_named(entry, message):
    assert message in refused(f"{MSE}[schedule]\n{entry}")
