"""``kivuko``: run a command, and turn errors into one line and exit status 2."""

import importlib
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

import kivuko
from kivuko.errors import KivukoError, UsageError
from kivuko.files import explain_write_failure, refuse_unreadable
from kivuko.processes import SAFE_PATH

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
    "words": ("kivuko.cli.words", "Show the English words that a model's words go with."),
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
    os.environ.setdefault(SAFE_PATH, "1")  # for processes of libraries; those of Kivuko have it anyway
    presses: list[int] = []
    try:
        with _signals(presses):
            _check_surroundings()
            program.main(prog_name="kivuko", standalone_mode=False)
            sys.stdout.flush()  # a full disk or a closed pipe raises here
    except SystemExit:
        raise
    except BaseException as problem:
        _end(problem, bool(presses))
        raise


def _check_surroundings() -> None:
    """Open standard streams that are closed, whose place the next file would take; refuse what cannot work."""
    without_output = sys.stdout is None
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin, sys.stdout, sys.stderr = (
        stream or open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
        for number, (mode, stream) in enumerate((("r", sys.stdin), ("w", sys.stdout), ("w", sys.stderr)))
    )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for terminals without Unicode, and paths that are not UTF-8
    if without_output:
        raise UsageError("standard output is closed. Send it to a file, or to /dev/null.")
    if _folder_is_gone():
        raise UsageError("the current folder does not exist any more. Change to another one (cd).")


def _folder_is_gone() -> bool:
    try:
        os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        return True
    return False


def _end(problem: BaseException, pressed: bool) -> None:
    """Exit with one line for an error that has one.

    ``pressed``: Ctrl-C was pressed, which libraries may turn into an error of their own.
    """
    if pressed or isinstance(problem, click.Abort | KeyboardInterrupt):
        _fail(_interrupted(sys.argv[1:]), 130)
    if isinstance(problem, click.exceptions.NoArgsIsHelpError):
        problem.show()
        sys.exit(2)
    if isinstance(problem, click.ClickException):
        context = getattr(problem, "ctx", None)
        message = problem.format_message()
        message += "" if message.endswith((".", "?", "!")) else "."
        _fail(message + (f" See '{context.command_path} --help'." if context else ""), 2)
    if isinstance(problem, KivukoError):
        _fail(str(problem), 2)
    if isinstance(problem, BrokenPipeError):
        _drop_output()  # the reader is gone
        sys.exit(0)
    if isinstance(problem, OSError):
        place: Any = problem.filename or "the output"
        explained = _unreadable(problem) or explain_write_failure(problem, place)
        if explained is None and isinstance(problem, FileNotFoundError) and _folder_is_gone():
            explained = KivukoError("the current folder was removed. Change to another one (cd) and run again.")
        if explained is not None:
            if problem.filename is None:
                _drop_output()
            _fail(str(explained), 2)


def _unreadable(problem: OSError) -> KivukoError | None:
    """Return the error that says that a file or folder may not be read, if that is it."""
    try:
        if isinstance(problem, PermissionError) and problem.filename is not None:
            refuse_unreadable(Path(os.fsdecode(problem.filename)))
    except KivukoError as explained:
        return explained
    return None


def _drop_output() -> None:
    """Send what is left of standard output nowhere: at exit it would fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _signals(presses: list[int]) -> Iterator[None]:
    """Let SIGTERM, and SIGHUP as if it were that, raise SystemExit, so that temporary files are removed.

    ``presses`` notes Ctrl-C. Signals that have another handler, or are ignored (``nohup``), are left alone.
    """
    process = os.getpid()

    def unwind(number: int, _frame: object) -> None:
        if os.getpid() == process:
            raise SystemExit(128 + number)
        signal.signal(number, signal.SIG_DFL)  # in a forked child, whose parent removes the files
        os.kill(os.getpid(), number)

    def hang_up(_number: int, _frame: object) -> None:
        signal.raise_signal(signal.SIGTERM)  # a server has its own handler for it

    def interrupt(number: int, frame: Any) -> None:
        presses.append(number)
        signal.default_int_handler(number, frame)

    wanted: list[tuple[int, Any, Any]] = [
        (signal.SIGTERM, signal.SIG_DFL, unwind),
        (signal.SIGINT, signal.default_int_handler, interrupt),
    ]
    if hasattr(signal, "SIGHUP"):
        wanted.append((signal.SIGHUP, signal.SIG_DFL, hang_up))
    wanted = [one for one in wanted if signal.getsignal(one[0]) is one[1]]
    for number, _, handler in wanted:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, usual, _ in wanted:
            signal.signal(number, usual)


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
