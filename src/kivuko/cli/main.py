"""``kivuko``: finds the command, runs it, and turns errors into one line and exit status 2."""

from __future__ import annotations

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

# name -> (module, one line for --help). The line stands here so that --help imports no command.
COMMANDS = {
    "demo": (
        "kivuko.cli.demo",
        "Run the whole route on the emoji world: data, distillation, figures, an image.",
    ),
    "data": ("kivuko.cli.data", "Build and look at data sets."),
    "bitext": ("kivuko.cli.bitext", "Check, clean and sample parallel sentences."),
    "distill": ("kivuko.cli.distill", "Teach a multilingual student from parallel sentences."),
    "doctor": ("kivuko.cli.doctor", "Look for what is wrong with a model, its tokenizer or its gallery."),
    "export": ("kivuko.cli.export", "Write a model's text side for ONNX Runtime."),
    "collection": ("kivuko.cli.collection", "Build and look at cross-lingual text collections."),
    "evaluate": ("kivuko.cli.evaluate", "Measure how well a model retrieves, per language."),
    "index": ("kivuko.cli.index", "Build an index of images, or bring it up to date."),
    "search": ("kivuko.cli.search", "Search images with a sentence in any trained language."),
    "serve": ("kivuko.cli.serve", "Search an index on a web page, or over HTTP."),
    "align": ("kivuko.cli.align", "See which English word each word is carried to."),
    "attack": ("kivuko.cli.attack", "See what misspellings, noise and adversaries leave of a search."),
    "harden": ("kivuko.cli.harden", "Make an image tower robust against perturbed pixels."),
    "study": ("kivuko.cli.study", "Run a research question as an experiment over seeds."),
    "report": ("kivuko.cli.report", "Make one self-contained HTML page of a study's records."),
}

# Commands that keep what they have finished and go on from there when they are given again.
_GOING_ON = [["demo"], ["distill"], ["harden"], ["index"], ["study"], ["data", "fetch"], ["collection", "translate"]]


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See click."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See click."""
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(COMMANDS[cmd_name][0]).command  # type: ignore[no-any-return]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table above, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(kivuko.__version__, prog_name="kivuko")
def program() -> None:
    """Carry an English image-search model into another language by optimal transport.

    \b
    Start here:
      kivuko demo                                    everything, on embedded data
      kivuko search kivuko-demo/model "paka mweusi"  search with what it made
    """


def main() -> None:
    """Entry point. Exit status: 0 done, 1 a fault of Kivuko's, 2 something the user can mend, 130 interrupted.

    Ended by SIGTERM, it removes what is half-written, as on Ctrl-C, and exits with 143.
    """
    # Hub libraries print progress bars and try the network; a tool that runs offline should do neither unasked.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without the letter, a path that is not UTF-8
    try:
        with _sigterm_unwinds():
            program.main(standalone_mode=False)
        sys.stdout.flush()  # so that a full disk or a reader that left is noticed here
    except click.exceptions.NoArgsIsHelpError as problem:
        problem.show()
        sys.exit(2)
    except click.ClickException as problem:
        named = getattr(problem, "ctx", None)
        said = problem.format_message()
        said += "" if said.endswith((".", "?", "!")) else "."  # as click's messages mostly, but not always, do
        _fail(said + (f" '{named.command_path} --help' tells more." if named else ""), 2)
    except (click.Abort, KeyboardInterrupt):
        _fail(_interrupted(sys.argv[1:]), 130)
    except KivukoError as problem:
        _fail(str(problem), 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left; nothing more to say
        sys.exit(0)
    except OSError as problem:
        place: Any = problem.filename or "the output"
        explained = explain_write_failure(problem, place)
        if explained is None:
            raise
        _fail(str(explained), 2)


@contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    """Make SIGTERM raise SystemExit, so that temporary files are removed; what else heeds it stays as it is."""
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    process = os.getpid()

    def unwind(number: int, _frame: object) -> None:
        if os.getpid() == process:
            raise SystemExit(128 + number)
        signal.signal(number, signal.SIG_DFL)  # a child that was forked: the files are its parent's
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupted(words: Sequence[str]) -> str:
    """Say what an interrupted command has left; ``words`` are those after ``kivuko``."""
    # What is evaluated on texts has its documents' vectors kept.
    on_texts = any(word.removeprefix("--dataset=").startswith(("ir:", "trec:")) for word in words)
    if any(list(words[: len(name)]) == name for name in _GOING_ON) or (words[:1] == ["evaluate"] and on_texts):
        return "interrupted; what was finished is kept, and the same command goes on from there."
    return "interrupted; what was not finished was not written."


def _fail(message: str, status: int) -> None:
    click.echo(click.style("kivuko: ", fg="red", bold=True) + " ".join(message.split()), err=True)
    sys.exit(status)
