"""Options that several commands share."""

import re
import reprlib
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from kivuko.errors import ModelError, UsageError
from kivuko.languages import DEFAULT_LANGUAGES, language, read_codes

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


class Several(click.Option):
    """An option that takes several values one after another: ``--languages sw so mr``.

    ``follows``: the pattern of a further value, or a function that recognizes one, so that an argument of the command
    after the option's values is not taken for one of them.
    """

    def __init__(self, *names: Any, follows: str | Callable[[str], bool] = r"-|[^-].*", **options: Any) -> None:
        super().__init__(*names, **{**options, "multiple": True})
        self._follows = follows

    def takes(self, word: str) -> bool:
        """Return True if ``word`` is a further value of this option."""
        if callable(self._follows):
            return not word.startswith("-") and self._follows(word)
        return re.fullmatch(self._follows, word) is not None


CODE = r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*"  # a language code among the words of a command line


class Command(click.Command):
    """A command whose :class:`Several` options take several values, which click's do not."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option's name before each further value."""
        lists = {name: one for one in self.params if isinstance(one, Several) for name in one.opts}
        repeated: list[str] = []
        current, first = None, False  # the option whose values are being read; whether its first value comes next
        for word in args:
            if first:
                first = False
            elif word in lists:
                current, first = word, True
            elif current is not None and lists[current].takes(word):
                repeated.append(current)
            else:
                current = None
            repeated.append(word)
        return super().parse_args(ctx, repeated)


def config_option(command: Decorated) -> Decorated:
    """Add ``--config FILE``: options from a TOML file, under the names that the Python call gives them."""
    return click.option(
        "--config", type=PATH, metavar="FILE", is_eager=True, expose_value=False,
        callback=_read_config,
        help="TOML file of options, such as batch_size = 64; those on the command line take precedence.",
    )(command)  # fmt: skip


def _read_config(ctx: click.Context, _param: click.Parameter, file: Path | None) -> None:
    """Make the entries of the file the defaults of the command's options."""
    if file is None:
        return
    try:
        entries = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UsageError(f"--config {file}: no such file.") from None
    except UnicodeDecodeError:
        raise UsageError(f"--config {file}: not readable as TOML (it is not UTF-8 text).") from None
    except (OSError, ValueError, RecursionError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise UsageError(f"--config {file}: not readable as TOML ({reason}).") from None
    if not entries:
        raise UsageError(f"--config {file}: holds no option.")
    known = {
        name.removeprefix("--").replace("-", "_"): one for one in ctx.command.params for name in one.opts
        if isinstance(one, click.Option) and name.startswith("--") and name != "--config"
    }  # fmt: skip
    for name, value in entries.items():
        if name not in known:
            raise UsageError(f"--config {file}: no option '{name}'. There are: {', '.join(sorted(known))}.")
        try:
            typed = _as_typed(known[name], value)
        except ValueError as problem:
            raise UsageError(f"--config {file}: {name} = {reprlib.repr(value)}: {problem}.") from None
        ctx.default_map = {**(ctx.default_map or {}), str(known[name].name): typed}


def _as_typed(option: click.Option, value: Any) -> Any:
    """Return a value of a configuration file as it is typed, or raise ValueError if the option takes none such."""
    if option.is_flag:
        if not isinstance(value, bool):
            raise ValueError("write true or false")
        return value
    if isinstance(value, dict):  # bitext = {sw = "sw.tsv"} is --bitext sw=sw.tsv
        pairs = [(key, one) for key, own in value.items() for one in (own if isinstance(own, list) else [own])]
        values, texts = [one for _, one in pairs], [f"{key}={one}" for key, one in pairs]
    else:
        values = value if isinstance(value, list) else [value]
        texts = [str(one) for one in values]
    if any(isinstance(one, bool) or not isinstance(one, str | int | float) for one in values):
        raise ValueError("write text or a number")
    if not option.multiple and isinstance(value, dict | list):
        raise ValueError("write a single value")
    return texts if option.multiple else texts[0]


class ModelSource(click.ParamType[Path | str]):
    """A model as ``kivuko.load_model`` takes it: a folder, a hub id, or ``open_clip:NAME/PRETRAINED``."""

    name = "model"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        """Return a folder as a Path and an id as text; raise ModelError where it is neither, before torch is loaded."""
        if isinstance(value, Path) or Path(value).expanduser().exists():
            return Path(value).expanduser()
        from kivuko.encoders.loading import is_model_id

        if is_model_id(value):
            return str(value)
        raise ModelError(f"{value}: no such model folder. 'kivuko demo' and 'kivuko distill' make one.")


MODEL = ModelSource()
DEVICE = click.option("--device", metavar="NAME", help="Such as cpu or cuda:0.  [default: the fastest there is]")
SEED = click.IntRange(0, 2**63 - 1)  # what torch takes


class Share(click.FloatRange):
    """A range of floats that holds no NaN, which ``FloatRange`` lets pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if number != number:
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


def split_sources(sources: Iterable[str], option: str = "--bitext ") -> dict[str, list[str]]:
    """Read ``sw=sw.tsv`` ...: per language code, its sources in order."""
    by_language: dict[str, list[str]] = {}
    for source in sources:
        code, equals, place = source.partition("=")
        if not equals or not place:
            raise UsageError(f"{option}{source}: write it as CODE=FILE, for example sw=sw.tsv.")
        by_language.setdefault(language(code).code, []).append(place)
    return by_language


def split_codes(values: tuple[str, ...]) -> tuple[str, ...]:
    """Accept ``-l sw -l so``, ``-l sw,so`` and ``-l "sw so"`` alike; check and normalize the codes."""
    codes = read_codes(values) or ()
    if "en" in codes:
        raise UsageError("--languages en: English is the teacher's own and always there; name the other languages.")
    return codes


def languages_option(command: Decorated) -> Decorated:
    """Add ``--languages``; the default is the project's seven."""
    return click.option(
        "-l", "--languages", "languages", cls=Several, follows=CODE, default=DEFAULT_LANGUAGES, metavar="CODES",
        callback=lambda _ctx, _param, values: split_codes(values),
        help="Language codes, such as sw so.  [default: " + ",".join(DEFAULT_LANGUAGES) + "]",
    )(command)  # fmt: skip


CLDR = click.option("--cldr", type=PATH, help="Folder that holds CLDR's annotations/, if not the system's.")


def add_options(*options: Callable[[Any], Any]) -> Callable[[Decorated], Decorated]:
    """Return a decorator that adds options to a command, in this order."""

    def decorate(command: Decorated) -> Decorated:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


# Where the emoji world comes from if not from the system's folders.
sources_options = add_options(
    CLDR, click.option("--font", type=PATH, help="NotoColorEmoji.ttf, if it is not in the system's folder.")
)

# An index to search.
index_options = add_options(
    click.option("--model", type=PATH, help="Folder of the model.  [default: that of the index]"),
    click.option(
        "--index", "kind", default="auto", show_default=True, metavar="KIND",
        help="Type of the vector index: flat (exact), hnsw, ivf or auto.",
    ),
    click.option(
        "--storage", default="auto", show_default=True, metavar="TYPE",
        help="Number type of the vector index: float32, float16, int8 or auto.",
    ),
)  # fmt: skip

# What a model is measured on.
dataset_options = add_options(
    click.option(
        "--dataset", default="emoji", show_default=True, metavar="SPEC",
        help="emoji; xm3600:PATH, xtd:PATH, multi30k:PATH, xflickrco:PATH, wit:PATH, flickr30k200:PATH, coco:FILE, "
        "captions:FILE or webdataset:'SHARDS', each with ,IMAGES if the images are elsewhere; tico19:PATH, "
        "flores:PATH, tatoeba:PATH, ir:ID or trec:FOLDER for texts, emoji:phrases (evaluate only); "
        "package.module:Class for your own.",
    ),
    click.option(
        "-l", "--languages", cls=Several, follows=CODE, metavar="CODES",
        help="Language codes, such as sw so.  [default: the model's own; without kivuko.json, the data set's]",
    ),
    click.option("--split", type=click.Choice(["validation", "test"]), default="test", show_default=True),
    click.option(
        "--captions", type=click.Choice(["every", "first"]), default="every", show_default=True,
        help="Which captions of an image are queries: figures differ, and papers use either.",
    ),
    click.option("--skip-missing", is_flag=True, help="Leave out images that are missing or broken, and count them."),
    click.option("--batch-size", type=click.IntRange(min=1), help="Texts encoded together.  [default: 256]"),
    click.option("--workers", type=click.IntRange(1, 64), help="Processes that decode images.  [default: one a core]"),
    DEVICE,
)  # fmt: skip


def study_options(records: str, quick: str, larger: str) -> Callable[[Decorated], Decorated]:
    """Add the options that studies share. ``records``: the default file; ``quick``, ``larger``: what these do."""
    return add_options(
        click.option(
            "-r", "--recipe", "recipes", cls=Several, metavar="NAME|FILE",
            help="Recipes' names or files; several.  [default: a set with and without transport]",
        ),
        click.option(
            "--sizes", cls=Several, metavar="N|all",
            help="Sentence pairs per language; several.  [default: the grid's]",
        ),
        click.option(
            "--dataset", default="emoji", show_default=True, metavar="SPEC",
            help="What to learn from and search: emoji, or sentences: tico19:PATH, flores:PATH or tatoeba:PATH.",
        ),
        click.option(
            "--student", default="static", show_default=True, metavar="NAME|FOLDER",
            help="static, or a pretrained encoder, such as multilingual-e5-small.",
        ),
        click.option(
            "--english", type=PATH, metavar="FILE",
            help="English text, one sentence per line, or a WordNet folder: a pretrained student's projection is "
            "fitted to it.",
        ),
        click.option(
            "--multi-vector/--one-vector", "multi_vector", default=True,
            help="Measure late interaction on sentences, or not.  [default: measure]",
        ),
        click.option(
            "--image-tower", type=PATH, metavar="FOLDER",
            help="Search the emoji images of this image tower.  [default: the one that comes with Kivuko]",
        ),
        click.option("--seeds", type=click.IntRange(1, 100), help="Number of seeds.  [default: 5]"),
        click.option("--steps", type=click.IntRange(min=1), help="Steps of every recipe.  [default: by size]"),
        click.option(
            "--workers", type=click.IntRange(1, 256), help="Processes, one core each.  [default: the number of cores]"
        ),
        click.option(
            "--translator", metavar="NAME|FOLDER",
            help="A translation model for translate-test, in place of those trained on the bitext.",
        ),
        click.option("--no-translation", is_flag=True, help="Leave out translate-test and word tables."),
        click.option("--quick", is_flag=True, help=quick),
        click.option("--larger", is_flag=True, help=larger),
        click.option(
            "--records", type=PATH, default=Path(records), show_default=True,
            help="JSON Lines file.",
        ),
    )  # fmt: skip
