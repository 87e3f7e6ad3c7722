"""Starting Python processes: they import nothing from the current folder, and Ctrl-C does not end them."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SAFE_PATH = "PYTHONSAFEPATH"  # leaves the current folder out of the path on which Python looks for modules
_starting = threading.RLock()


@contextmanager
def starting_processes(**variables: str) -> Iterator[None]:
    """Let Python processes that start here inherit environment variables, and find Ctrl-C blocked.

    They start as ``python -c``, which would import a ``torch.py`` or ``struct.py`` from the current folder; where the
    parent itself looks for modules, they are given later. An interrupt that arrives now reaches the parent a moment
    later: it goes to all processes of a terminal, and they would print a traceback while they import.
    """
    variables = {SAFE_PATH: "1", **variables}
    with _starting:
        mask = None
        try:
            for name, value in variables.items():
                os.putenv(name, value)  # os.environ stays as it is: another thread may be going through it
            if hasattr(signal, "pthread_sigmask"):
                from multiprocessing import resource_tracker

                resource_tracker.ensure_running()  # it would unblock what is blocked here
                mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            yield
        finally:
            if mask is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for name in variables:
                if (before := os.environ.get(name)) is None:
                    os.unsetenv(name)
                else:
                    os.putenv(name, before)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
