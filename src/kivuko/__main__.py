"""``kivuko`` and ``python -m kivuko``; it imports little, so that Ctrl-C in the first moments is one line too."""

import os
import sys


def main() -> None:
    """Run the command line."""
    try:
        from kivuko.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("kivuko: interrupted; nothing unfinished was written.\n")
        sys.exit(130)
    finally:
        import signal

        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # while Python ends, Ctrl-C would print a traceback
        # Ctrl-C inside an exec of a string, which imports of dataclasses do, makes "python -m" end by the signal even
        # where the exception is handled; the next exec of a string takes that back.
        exec("")


def _leave_out_current_folder() -> None:
    """Take the current folder, which "python -m" puts first, off the path: a torch.py there would be imported."""
    try:
        here = os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        return
    if not sys.flags.safe_path and sys.path[0] in ("", here) and not __file__.startswith(f"{here}{os.sep}kivuko"):
        del sys.path[0]


if __name__ == "__main__":
    _leave_out_current_folder()
    main()
