"""The recipes that ship, one TOML file each, and the text of a recipe by name or file; needs no torch."""

from importlib import resources
from pathlib import Path

from kivuko.errors import UsageError

_RESERVED = ("teacher", "untrained", "translate-test", "lexical")  # the ceiling, the floor, two baselines
_FILES = resources.files(__name__)


def shipped_recipes() -> tuple[str, ...]:
    return tuple(sorted(Path(entry.name).stem for entry in _FILES.iterdir() if entry.name.endswith(".toml")))


def recipe_text(name: str | Path) -> tuple[str, str, str]:
    """Return (TOML, name of the recipe, its place for messages) of a shipped recipe or a file."""
    text = str(name)
    if not text.endswith(".toml"):
        if text not in shipped_recipes():
            raise UsageError(f"no recipe '{text}': choose one of {', '.join(shipped_recipes())}, or name a .toml file.")
        return (_FILES / f"{text}.toml").read_text(encoding="utf-8"), text, f"recipe '{text}'"
    path = Path(text)
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as problem:
        raise UsageError(f"{path}: cannot be read as a recipe (it is not UTF-8 text).") from problem
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise UsageError(f"{path}: cannot be read as a recipe ({reason}).") from problem
    if path.stem in _RESERVED:
        raise UsageError(f"{path}: '{path.stem}' is a reserved row of every result. Give the file another name.")
    return content, path.stem, str(path)
