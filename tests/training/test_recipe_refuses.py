"""What is said of recipes that are wrong."""

from __future__ import annotations

import pytest

from kivuko.errors import UsageError
from kivuko.training.recipe import load_recipe, parse_recipe

MSE = '[[objective]]\nkind = "mse"\n'


def refused(content):
    """The message with which a recipe of this content is refused."""
    with pytest.raises(UsageError) as caught:
        parse_recipe(content, "mine", "mine.toml")
    message = str(caught.value)
    assert message.startswith("mine.toml: "), message
    assert "\n" not in message.strip()
    return message


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
        (MSE + "[schedule]\nzzz = 1", "known: accumulation, batch_size, epochs, learning_rate"),
        ("schedule = 3\n" + MSE, "[schedule] must be a table"),
        (
            MSE + "[student]\nteacher_word = true",
            "[student] has no entry 'teacher_word'; did you mean 'teacher_words'?",
        ),
        ("student = 3\n" + MSE, "[student] must be a table"),
    ],
)
def test_a_misspelled_entry_names_the_nearest(content, message):
    assert message in refused(content)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('kind = "msee"', "unknown objective kind 'msee': choose one of transport, mse, cosine, contrastive"),
        ("weight = 1.0", "unknown objective kind None"),
        ("kind = 3", "unknown objective kind"),
        ('kind = ["mse"]', "unknown objective kind"),
        ('kind = "mse"\ntemperature = 1', "objective 'mse' has no option 'temperature' (it has: none)"),
        ('kind = "contrastive"\ntemprature = 1', "has no option 'temprature' (it has: learned, temperature)"),
        ('kind = "contrastive"\ntemperature = 0', "temperature = 0 is not a positive number"),
        ('kind = "contrastive"\ntemperature = nan', "temperature = nan is not a positive number"),
        ('kind = "contrastive"\ntemperature = inf', "temperature = inf is not a positive number"),
        ('kind = "contrastive"\ntemperature = true', "temperature = True is not a positive number"),
        ('kind = "transport"\nregularization = -0.1', "regularization = -0.1 is not a positive number"),
        ('kind = "transport"\nregularization = "0.1"', "regularization = '0.1' is not a positive number"),
        ('kind = "transport"\nmax_iterations = 2.5', "max_iterations = 2.5 is not a positive"),
        ('kind = "transport"\ncentered = 1', "centered = 1 is none of: both, teacher, none, true, false"),
        ('kind = "transport"\ncentered = "student"', "centered = 'student' is none of: both, teacher, none"),
        ('kind = "transport"\nmarginal_penalty = 0', "marginal_penalty = 0 is not a positive number"),
        ('kind = "transport"\nmethod = "simplex"', "method = 'simplex' is none of: sinkhorn, "),
        ('kind = "transport"\nmarginals = "idf"', "marginals = 'idf' is none of: uniform, norm, teacher_norm"),
        ('kind = "transport"\ncost = 1', "cost = 1 is none of: cosine, squared_euclidean"),
        (
            'kind = "transport"\nmethod = "exact"\nmarginal_penalty = 1',
            "marginal_penalty needs a Sinkhorn method, and method 'exact' keeps the marginals",
        ),
        ('kind = "transport"\nmethod = "exact"\nregularization = 1', "regularization means nothing to method 'exact'"),
        ('kind = "transport"\nmethod = "greedy"\nmarginals = "norm"', "marginals mean nothing to method 'greedy'"),
        ('kind = "contrastive"\nlearned = 1', "learned = 1 is neither true nor false"),
        (
            'kind = "contrastive"\nlearned = true\ntemperature = 0.001',
            "a learned temperature starts at 0.01 to 1.0, not at 0.001",
        ),
        ('kind = "greedy"\nregularization = 1', "objective 'greedy' has no option 'regularization' (it has: centered)"),
        ('kind = "barycenter"\nmethod = "exact"', "objective 'barycenter' has no option 'method'"),
        ('kind = "relational"\ntemperature = -1', "temperature = -1 is not a positive number"),
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
        ("steps = 0", "[schedule] steps = 0 is not a positive whole number"),
        ("steps = 1.5", "steps = 1.5 is not a positive whole number"),
        ("steps = true", "steps = True is not a positive whole number"),
        ('steps = "10"', "steps = '10' is not a positive whole number"),
        ("batch_size = -1", "batch_size = -1 is not a positive whole number"),
        ("validate_every = 0", "validate_every = 0 is not a positive whole number"),
        ("learning_rate = 0.0", "learning_rate = 0.0 is not a number above 0, up to 1e30"),
        ("learning_rate = nan", "learning_rate = nan is not a number above 0"),
        ("learning_rate = 2e30", "learning_rate = 2e+30 is not a number above 0, up to 1e30"),
        ("learning_rate = inf", "learning_rate = inf is not a number"),
        ("warmup = 1.0", "warmup = 1.0 is not a number from 0 to below 1"),
        ("warmup = -0.1", "warmup = -0.1 is not a number from 0 to below 1"),
        ("token_dropout = 1", "token_dropout = 1 is not a number from 0 to below 1"),
        ("weight_decay = -1", "weight_decay = -1 is not a number from 0 to 1e6"),
        ("weight_decay = 2e6", "weight_decay = 2000000.0 is not a number from 0 to 1e6"),
    ],
)
def test_a_wrong_schedule_is_named(entry, message):
    assert message in refused(f"{MSE}[schedule]\n{entry}")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('vectors = "means"', "[student] vectors = 'means' is none of: random, transplant"),
        ('aligner = "giza"', "[student] aligner = 'giza' is none of: transport, ibm1, ibm2, fast_align, counts"),
        ('projection = "no"', "[student] projection = 'no' is none of: random, english, pairs"),
        ("vectors = true", "vectors = True is none of"),
        ("scale = 0", "[student] scale = 0 is not a positive number"),
        ("scale = inf", "scale = inf is not a positive number"),
        ("neighbors = 1", "[student] neighbors = 1 is neither true nor false"),
        ("teacher_words = 1", "[student] teacher_words = 1 is neither true nor false"),
        ("regularization = 0", "regularization = 0 is not a positive number"),
        ("marginal_penalty = -1", "marginal_penalty = -1 is not a positive number"),
        ("spelling = -0.5", "[student] spelling = -0.5 is not a number of 0 or more"),
    ],
)
def test_a_wrong_start_is_named(entry, message):
    assert message in refused(f"{MSE}[student]\n{entry}")
