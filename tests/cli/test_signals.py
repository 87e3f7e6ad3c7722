"""Commands that are ended while they run: nothing half-written stays, and what is said of it is true."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# A shell that starts a program in the background lets it ignore Ctrl-C, and whatever it starts in turn.
MAIN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from kivuko.cli import main; main()"
PAIRS = 20_000  # enough for something to be written before the end is seen


def started_clean(folder: Path) -> subprocess.Popen[str]:
    """Begin to clean what comes from a pipe, and wait until the temporary file is there."""
    words = ["bitext", "clean", "-", "-l", "sw", "--no-language-id", "--out", str(folder / "out.tsv")]
    cleaning = subprocess.Popen(
        [sys.executable, "-c", MAIN, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert cleaning.stdin is not None
    cleaning.stdin.write("".join(f"neno la {n}\tword number {n}\n" for n in range(PAIRS)))
    cleaning.stdin.flush()
    for _ in range(600):
        if list(folder.glob(".out.tsv.*.tmp")):
            return cleaning
        time.sleep(0.1)
    cleaning.kill()
    raise AssertionError(cleaning.communicate())


@pytest.mark.parametrize(
    ("sent", "status", "told"),
    [
        (signal.SIGTERM, 143, ""),
        (signal.SIGINT, 130, "kivuko: interrupted; nothing unfinished was written."),
    ],
)
def test_a_command_that_is_ended_leaves_no_temporary_file(tmp_path, sent, status, told):
    cleaning = started_clean(tmp_path)
    try:
        cleaning.send_signal(sent)
        _, err = cleaning.communicate(timeout=60)
    finally:
        cleaning.kill()
    assert (cleaning.returncode, err.strip()) == (status, told)
    assert list(tmp_path.iterdir()) == []


def test_a_forked_child_that_is_ended_leaves_its_parents_files_alone(tmp_path):
    code = (
        "import os, signal, sys, click\n"
        "from pathlib import Path\n"
        "from kivuko.cli.main import COMMANDS, main\n"
        "from kivuko.files import atomic_path\n"
        "@click.command()\n"
        "def command():\n"
        "    with atomic_path(Path(sys.argv[2])) as temporary:\n"
        "        temporary.write_text('whole')\n"
        "        if not (child := os.fork()):\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
        "            os._exit(0)\n"
        "        assert os.waitpid(child, 0)[1] == signal.SIGTERM\n"
        "sys.modules['made'] = type(sys)('made')\n"
        "sys.modules['made'].command = click.command()(click.argument('path')(lambda path: command.callback()))\n"
        "COMMANDS['made'] = ('made', '')\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, "made", str(tmp_path / "out")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out").read_text() == "whole"


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["bitext", "clean", "x.tsv", "-l", "sw"], False),
        (["evaluate", "model"], False),
        (["evaluate", "model", "--dataset", "xm3600:trec"], False),
        (["evaluate", "model", "--dataset", "trec:folder"], True),
        (["evaluate", "model", "--dataset=ir:mmarco/v2/fr/dev"], True),
        (["collection", "show", "trec:folder"], False),
        (["collection", "translate", "trec:folder"], True),
        (["data", "emoji"], False),
        (["data", "fetch", "xm3600"], True),
        (["index", "model"], True),
        (["distill", "--out", "m"], True),
        (["study", "low-resource"], True),
        ([], False),
    ],
)
def test_only_resumable_commands_say_so(run_here, monkeypatch, words, kept):
    import click

    from kivuko.cli.main import program

    def interrupt(**_):
        raise click.Abort

    monkeypatch.setattr(program, "main", interrupt)
    status, _out, err = run_here(*words)
    assert status == 130
    assert ("to resume" in err) == kept
    assert ("nothing unfinished was written" in err) != kept
