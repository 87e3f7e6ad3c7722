"""Options that several commands share: several values, configuration files, models."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from kivuko.cli.options import CODE, MODEL, Command, Several, config_option
from kivuko.errors import ModelError, UsageError


@click.command("show", cls=Command)
@click.argument("model", type=MODEL, required=False)
@click.option("-l", "--languages", cls=Several, follows=CODE)
@click.option("--bitext", "sources", cls=Several, follows=CODE + "=.+")
@click.option("--batch-size", type=click.IntRange(1), default=8)
@config_option
def show(model, languages, sources, batch_size):
    """Print what was given."""
    click.echo(repr((model, languages, sources, batch_size)))


def run(*words):
    return CliRunner().invoke(show, list(words), catch_exceptions=False, standalone_mode=False).output.strip()


@pytest.mark.parametrize(
    "words",
    [("-l", "sw", "so"), ("--languages", "sw", "-l", "so"), ("--languages", "sw", "--languages", "so")],
)
def test_values_may_follow_one_another_or_repeat_the_option(words):
    assert run(*words) == "(None, ('sw', 'so'), (), 8)"


def test_an_argument_after_the_values_is_not_one_of_them(tmp_path):
    assert run("-l", "sw", "so", str(tmp_path)) == repr((tmp_path, ("sw", "so"), (), 8))
    assert run("--bitext", "sw=a.tsv", "so=b.tsv", str(tmp_path)) == repr((tmp_path, (), ("sw=a.tsv", "so=b.tsv"), 8))


def test_a_configuration_file_gives_defaults(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('batch_size = 64\nlanguages = ["sw", "so"]\nbitext = {sw = "a.tsv"}\n', encoding="utf-8")
    assert run("--config", str(file)) == "(None, ('sw', 'so'), ('sw=a.tsv',), 64)"
    assert run("--batch-size", "2", "-l", "mr", "--config", str(file)) == "(None, ('mr',), ('sw=a.tsv',), 2)"
    file.write_text('bitext = {sw = ["a.tsv", "b.tsv"]}\n', encoding="utf-8")
    assert run("--config", str(file)) == "(None, (), ('sw=a.tsv', 'sw=b.tsv'), 8)"
    file.write_text('languages = "sw"\n', encoding="utf-8")
    assert run("--config", str(file)) == "(None, ('sw',), (), 8)"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("batchsize = 1\n", "no option 'batchsize'. There are: batch_size, "),
        ("batch_size = \n", "not readable as TOML"),
        ("x = " + "[" * 3000, "not readable as TOML"),
        ("", "holds no option"),
        ("batch_size = [1, 2]\n", "batch_size = [1, 2]: write a single value"),
        ("batch_size = {a = 1}\n", "batch_size = {'a': 1}: write a single value"),
        ("batch_size = true\n", "batch_size = True: write text or a number"),
        ("batch_size = 1979-05-27\n", "write text or a number"),
        ("bitext = {sw = {a = 1}}\n", "bitext = {'sw': {'a': 1}}: write text or a number"),
        ("languages = [true]\n", "languages = [True]: write text or a number"),
    ],
)
def test_a_configuration_file_that_does_not_fit_is_refused(tmp_path, content, message):
    file = tmp_path / "config.toml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=r"config\.toml") as caught:
        run("--config", str(file))
    assert message in str(caught.value)


def test_a_configured_value_is_checked_as_a_typed_one(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("batch_size = 0\n", encoding="utf-8")
    with pytest.raises(click.BadParameter, match="0 is not in the range"):
        run("--config", str(file))


def test_a_missing_configuration_file_is_named(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        run("--config", str(tmp_path / "none.toml"))


@pytest.mark.parametrize("source", ["openai/clip-vit-base-patch32", "open_clip:ViT-B-32/laion2b_s34b_b79k"])
def test_ids_of_models_are_taken_as_they_are(source):
    assert run(source) == repr((source, (), (), 8))


@pytest.mark.parametrize("source", ["all-MiniLM-L6-v2", "xlm-roberta-base"])
def test_ids_without_a_slash_are_taken_where_the_model_is_at_hand(source, monkeypatch):
    monkeypatch.setattr("kivuko.encoders.loading._is_cached", lambda name: name == "xlm-roberta-base")
    assert run(source) == repr((source, (), (), 8))


def test_a_missing_folder_in_a_folder_is_no_id(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"models/none: no such model folder"):
        run("models/none")


def test_a_missing_folder_is_refused_before_torch_is_imported():
    program = "import sys; sys.argv[1:] = ['evaluate', './none']; from kivuko.cli.main import main\ntry: main()\n"
    program += "except SystemExit: print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
    assert "./none: no such model folder" in result.stderr


@pytest.mark.parametrize("source", ["no-such-model", "./models/none", "a/b/c"])
def test_a_folder_that_does_not_exist_is_refused_before_anything_is_loaded(source):
    with pytest.raises(ModelError, match="no such model folder"):
        run(source)


def test_values_of_a_configuration_file_are_checked_as_those_of_the_command_line(tmp_path):
    file = tmp_path / "config.toml"
    for content, message in (("batch_size = 1.5\n", "1.5"), ('batch_size = "x"\n', "x"), ("batch_size = 0\n", "0")):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(click.BadParameter, match=message):
            run("--config", str(file))
    file.write_bytes(b"\xef\xbb\xbfbatch_size = 3\n")
    assert run("--config", str(file)) == "(None, (), (), 3)"
    file.write_bytes("batch_size = 3".encode("utf-16"))
    with pytest.raises(UsageError, match=r"config\.toml: not readable as TOML \(it is not UTF-8 text\)"):
        run("--config", str(file))
