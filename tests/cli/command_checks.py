"""What every command must do: refuse in one line, and answer --help at once."""

from __future__ import annotations

import subprocess
import sys


def refused(result: tuple[int, str, str], *told: str) -> None:
    """Check for exit status 2 and exactly one line on standard error, which tells all of ``told``."""
    status, _, err = result
    assert status == 2, err
    assert err.startswith("kivuko: ")
    assert err.count("\n") == 1, err
    for word in told:
        assert word in err


def help_without_heavy_imports(*words: str) -> str:
    """Return what ``--help`` of a command prints; checks that it imports nothing that takes long."""
    code = (
        f"import sys; sys.argv = {['kivuko', *words, '--help']!r}\n"
        "from kivuko.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'transformers', 'rich', 'PIL'} & set(sys.modules), 'heavy import'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
