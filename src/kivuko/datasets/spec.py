"""Opening data sets by the names that ``--dataset`` takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kivuko.datasets.captions.caption_set import CaptionSet
from kivuko.datasets.captions.formats import is_caption_spec, is_own_set, open_caption_set, path_of
from kivuko.datasets.collections import Collection, is_collection, open_collection
from kivuko.datasets.own import adapt
from kivuko.errors import UsageError, wrap_errors
from kivuko.plugins import has_module, is_plugin, load_plugin
from kivuko.progress import progress_bar
from kivuko.streams import plain_name

if TYPE_CHECKING:
    from kivuko.datasets.emoji import EmojiWorld

EMOJI = "emoji"
SPECS = (
    "emoji; xm3600:PATH, xtd:PATH, multi30k:PATH, xflickrco:PATH, wit:PATH, flickr30k200:PATH, coco:FILE, "
    "captions:FILE or webdataset:'SHARDS', each with ,IMAGES if the images are elsewhere; ir:ID or trec:FOLDER "
    "for texts; package.module:Class for your own"
)
_COLLECTION = ("spec", "name", "query_languages", "document_language", "queries", "documents", "judgments", "files")


def is_spec(spec: str) -> bool:
    """Return True if a text has the form of a data set's name, without opening anything."""
    return spec == EMOJI or is_caption_spec(spec) or is_collection(spec) or is_plugin(spec)


def check_spec(spec: str) -> None:
    """Raise UsageError, which lists all forms, if a text does not have the form of a data set's name."""
    if not is_spec(spec):
        raise UsageError(f"{spec}: not a data set that is known. Give one of: {SPECS}.")
    if is_plugin(spec) and not (is_caption_spec(spec) or is_collection(spec) or has_module(spec)):
        module = spec.partition(":")[0]
        raise UsageError(f"{spec}: no module '{module}' for the data set, nor a known one. Give one of: {SPECS}.")


def open_dataset(
    dataset: Any,
    *,
    split: str = "test",
    languages: Sequence[str] = (),
    cldr: Path | None = None,
    font: Path | None = None,
    progress: bool | None = None,
) -> EmojiWorld | CaptionSet | Collection:
    """Open a data set by its name (see ``SPECS``), or adapt an object with the methods of ``OwnDataset``.

    ``languages``: of emoji, those to read; of captions whose files do not say their language, the one. ``split``:
    "test" or "validation", of sets that have both. ``cldr`` and ``font`` as in ``emoji_world``.
    """
    if not isinstance(dataset, str):
        return _from_object(dataset, type(dataset).__name__)
    check_spec(dataset)
    if dataset == EMOJI:
        from kivuko.datasets.emoji import emoji_world

        with progress_bar("drawing emoji", progress) as report:
            return emoji_world(languages, cldr=cldr, font=font, progress=report)
    if is_caption_spec(dataset):
        return open_caption_set(dataset, split=split, language=languages[0] if len(languages) == 1 else None)
    if is_collection(dataset):
        return open_collection(dataset)
    own = load_plugin(dataset, "data set")
    with wrap_errors(lambda reason: UsageError(f"{dataset}: calling it without arguments failed ({reason}).")):
        own = own() if callable(own) else own
    return _from_object(own, dataset)


def records_stem(spec: str, name: str) -> str:
    """Return the name of a data set for files: a user's own files by file and folder, others by ``name``."""
    if not is_own_set(spec):
        return spec.replace(":", "-") if is_plugin(spec) and not is_caption_spec(spec) else name
    path = path_of(spec).absolute()
    stem = path.name if path.is_dir() else Path(plain_name(path.name)).stem
    return f"{name}-{path.parent.name}-{stem}"


def _from_object(dataset: Any, spec: str) -> EmojiWorld | CaptionSet | Collection:
    is_open = isinstance(dataset, CaptionSet) or hasattr(dataset, "annotations")
    if is_open or all(hasattr(dataset, name) for name in _COLLECTION):
        return dataset  # type: ignore[no-any-return]
    return adapt(dataset, spec)
