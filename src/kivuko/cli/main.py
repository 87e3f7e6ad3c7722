"""``kivuko``: run a command, and turn errors into one line and exit status 2."""

import importlib
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

import kivuko
from kivuko.errors import KivukoError
from kivuko.files import explain_write_failure

# name -> (module, one line for --help, which imports no command)
COMMANDS = {
    "demo": ("kivuko.cli.demo", "Distill, evaluate and search on embedded data, in a few minutes."),
    "data": ("kivuko.cli.data", "Build, download and describe data sets."),
    "bitext": ("kivuko.cli.bitext", "Check, clean and sample parallel sentences."),
    "distill": ("kivuko.cli.distill", "Train a multilingual model from parallel sentences."),
    "doctor": ("kivuko.cli.doctor", "Check a model, its tokenizer and its index for problems."),
    "export": ("kivuko.cli.export", "Export the text encoder of a model for ONNX Runtime."),
    "collection": ("kivuko.cli.collection", "Build, translate and describe cross-lingual text collections."),
    "evaluate": ("kivuko.cli.evaluate", "Measure the retrieval quality of a model in each language."),
    "index": ("kivuko.cli.index", "Build or update an index of images."),
    "search": ("kivuko.cli.search", "Search images with words in many languages, or with an image."),
    "serve": ("kivuko.cli.serve", "Serve an index as a web page and an HTTP API."),
    "align": ("kivuko.cli.align", "Show the token alignment of a sentence and its translation."),
    "attack": ("kivuko.cli.attack", "Measure robustness to typos, noise and adversarial attacks."),
    "harden": ("kivuko.cli.harden", "Make the image side robust by adversarial fine-tuning."),
    "study": ("kivuko.cli.study", "Run an experiment that compares recipes or models over seeds."),
    "report": ("kivuko.cli.report", "Write the records of a study or an evaluation as an HTML page."),
}

# Commands that keep finished parts and resume when they are run again.
_RESUMABLE = [["demo"], ["distill"], ["harden"], ["index"], ["study"], ["data", "fetch"], ["collection", "translate"]]


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(COMMANDS[cmd_name][0]).command  # type: ignore[no-any-return]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # without importing any
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(kivuko.__version__, prog_name="kivuko")
def program() -> None:
    """Extend English image search to other languages by optimal-transport distillation.

    \b
    Start here:
      kivuko demo                                    train a model on embedded data
      kivuko search kivuko-demo/model "paka mweusi"  search images with it
    """


def main() -> None:
    """Entry point. Exit status: 0 done, 1 a bug, 2 an error that the user can correct, 130 interrupted, 143 SIGTERM."""
    # Hub libraries print progress bars, which mix with those of Kivuko.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for terminals without Unicode, and paths that are not UTF-8
    try:
        with _sigterm_unwinds():
            program.main(prog_name="kivuko", standalone_mode=False)
        sys.stdout.flush()  # a full disk or a closed pipe raises here
    except click.exceptions.NoArgsIsHelpError as problem:
        problem.show()
        sys.exit(2)
    except click.ClickException as problem:
        context = getattr(problem, "ctx", None)
        message = problem.format_message()
        message += "" if message.endswith((".", "?", "!")) else "."
        _fail(message + (f" See '{context.command_path} --help'." if context else ""), 2)
    except (click.Abort, KeyboardInterrupt):
        _fail(_interrupted(sys.argv[1:]), 130)
    except KivukoError as problem:
        _fail(str(problem), 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader is gone
        sys.exit(0)
    except OSError as problem:
        place: Any = problem.filename or "the output"
        explained = explain_write_failure(problem, place)
        if explained is None:
            raise
        _fail(str(explained), 2)


@contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    """Make SIGTERM raise SystemExit, so that temporary files are removed, unless there is another handler."""
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    process = os.getpid()

    def unwind(number: int, _frame: object) -> None:
        if os.getpid() == process:
            raise SystemExit(128 + number)
        signal.signal(number, signal.SIG_DFL)  # in a forked child, whose parent removes the files
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupted(words: Sequence[str]) -> str:
    """Return the message for an interrupted command line; ``words`` are those after ``kivuko``."""
    # An evaluation on texts keeps the vectors of documents.
    on_texts = any(word.removeprefix("--dataset=").startswith(("ir:", "trec:")) for word in words)
    if any(list(words[: len(name)]) == name for name in _RESUMABLE) or (words[:1] == ["evaluate"] and on_texts):
        return "interrupted; finished parts are kept. Run the same command again to resume."
    return "interrupted; nothing unfinished was written."


def _fail(message: str, status: int) -> None:
    click.echo(click.style("kivuko: ", fg="red", bold=True) + " ".join(message.split()), err=True)
    sys.exit(status)
