"""Parts of the user's own, named ``package.module:Class``."""

import importlib
import importlib.util
import re
from typing import Any

from kivuko.errors import UsageError, wrap_errors

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_plugin(text: str) -> bool:
    """Return True if ``text`` has the form ``package.module:Class``.

    >>> is_plugin("my_losses:Hinge"), is_plugin("typo:edits=2"), is_plugin("optical")
    (True, False, False)
    """
    return _NAME.fullmatch(text) is not None


def has_module(text: str) -> bool:
    """Return True if the top package of ``package.module:Class`` can be imported, without importing it."""
    return importlib.util.find_spec(text.partition(":")[0].partition(".")[0]) is not None


def load_plugin(text: str, what: str) -> Any:
    """Import the class or function that ``package.module:Class`` names; ``what`` is its kind, for messages.

    The module is searched where Python searches: installed packages and ``PYTHONPATH``.

    >>> load_plugin("collections:Counter", "objective")("aab")
    Counter({'a': 2, 'b': 1})
    """
    if not is_plugin(text):
        raise UsageError(f"{text}: not the name of an own {what}. Write package.module:Class.")
    module_name, _, attribute = text.partition(":")
    try:
        with wrap_errors(lambda reason: UsageError(f"{text}: importing {module_name} failed ({reason}).")):
            part = importlib.import_module(module_name)
    except UsageError as problem:
        if isinstance(problem.__cause__, ModuleNotFoundError) and _covers(problem.__cause__.name, module_name):
            missing = problem.__cause__.name
            raise UsageError(
                f"{text}: no module '{missing}' for the {what}. Install it, or put its folder on PYTHONPATH."
            ) from problem.__cause__
        raise
    for name in attribute.split("."):
        try:
            part = getattr(part, name)
        except AttributeError as problem:
            raise UsageError(f"{text}: module '{module_name}' has no '{attribute}' for the {what}.") from problem
    return part


def _covers(missing: str | None, module_name: str) -> bool:
    return missing is not None and (module_name == missing or module_name.startswith(f"{missing}."))
