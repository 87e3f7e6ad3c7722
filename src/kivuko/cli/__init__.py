"""The command line: one file per command, each thin, each imported only when it is called."""

from kivuko.cli.main import main

__all__ = ["main"]
