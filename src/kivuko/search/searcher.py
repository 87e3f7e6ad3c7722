"""Search an index of images with words, with an image, or with one of its own images."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from kivuko.errors import ImageIndexError, ModelError, UsageError
from kivuko.search.filter import (
    Conditions,
    Filter,
    as_filter,
    check_count,
    checked_path,
    clean_query,
    refuse_unknown_fields,
)
from kivuko.search.image_index import ImageIndex
from kivuko.search.index import AUTO, Vectors, choose_index
from kivuko.search.items import Hit
from kivuko.search.store import holds_index, restore

if TYPE_CHECKING:
    from PIL import Image

    from kivuko.encoders.alignment import Aligner, Alignment
    from kivuko.encoders.model import Model
    from kivuko.search.background import Background, Closeness
    from kivuko.search.store import IndexStore


class Searcher:
    """Search an index of images in any language of its model.

    The model and the vector index are loaded on first use, or by ``load``. Searching is safe from several threads. Use
    it as a context manager, or ``close`` it.

    Args:
        path: an index that ``kivuko index`` or ``kivuko.build_index`` built; or a model's folder, to search the emoji
            that come with Kivuko.
        model: another model to search with, with the same image side as the one that built the index; None: the model
            that built the index, at its recorded place or, if both were moved together, at the same place relative to
            the index.
        kind: type of the vector index: "flat" (exact), "hnsw", "ivf" or "auto" (exact up to about 20,000 images).
        storage: number type of the vector index: "float32", "float16", "int8" or "auto".
        device: where the model runs; None: the CPU, which is fastest for single queries.
        cldr, font: sources of the emoji world; None: the system's folders.
        progress: show progress bars on standard error; None: only on a terminal.

    Raises:
        ImageIndexError: the path is neither an index nor a model, or the index is not finished.
        CorruptFileError: the index is damaged.
        UsageError: an unknown kind or storage.

    >>> import kivuko
    >>> kivuko.build_index("my-model", "photos.tsv", "photos.index", workers=1).close()
    >>> with kivuko.Searcher("photos.index") as searcher:
    ...     hits = searcher.search("paka mweusi", k=2, where="width>=60")
    ...     lists = searcher.search(["paka", "mbwa"], k=1)
    ...     nearest = searcher.search_image("photos/dog.png", k=1)[0].item
    >>> len(hits), len(lists), nearest.key, nearest.caption
    (2, 2, 'photos/dog.png', 'mbwa mweupe')
    """

    def __init__(
        self, path: Path | str, model: Model | Path | str | None = None, *, kind: str = AUTO, storage: str = AUTO,
        device: str | None = None, cldr: Path | str | None = None, font: Path | str | None = None,
        progress: bool | None = None,
    ) -> None:  # fmt: skip
        choose_index(0, 1, kind, storage)
        path = checked_path(path)
        self._index: ImageIndex | None = None
        self._given: Model | Path | str | None = model
        with contextlib.suppress(ImageIndexError, OSError):
            restore(path)
        if holds_index(path):
            self._index = ImageIndex(path, kind=kind, storage=storage, progress=progress)
        elif (path / "modules.json").is_file() and model is None:
            self._given = path
        elif (path / "modules.json").is_file():
            raise UsageError(f"{path}: is a model already, so there is no need for another model (--model).")
        else:
            what = "neither an index nor a model (no index.sqlite, no modules.json in it)"
            raise ImageIndexError(
                f"{path}: {what if path.exists() else 'no such index or model'}. "
                "'kivuko index MODEL photos/ --out my.index' makes an index, 'kivuko demo' a model."
            )
        self._device, self._progress, self._emoji = device, progress, (cldr, font)
        self._model: Model | None = None
        self._aligner: Aligner | None = None
        self._background: tuple[IndexStore, Background | None] | None = None
        self._lock = threading.RLock()
        self._path, self._closed = path, False

    def __repr__(self) -> str:
        model = "" if self._given is None else f", model={getattr(self._given, 'source', None) or str(self._given)!r}"
        return f"Searcher({str(self._path)!r}{model}{', closed' if self._closed else ''})"

    @property
    def model(self) -> Model:
        """The model that encodes queries.

        Raises:
            ModelError: it is missing, does not load, encodes no images, or has another image side than the index.
        """
        with self._lock:
            if self._model is None:
                self._model = self._load_model()
            return self._model

    @property
    def folder(self) -> Path:
        """The model's folder."""
        return self.model.path or Path(self.model.source)

    @property
    def index(self) -> ImageIndex:
        """The index that is searched."""
        with self._lock:
            if self._closed:
                raise ImageIndexError(f"{self._path}: this searcher is closed. Make a new one.")
            if self._index is None:
                self._index = self._emoji_index()
            return self._index

    def load(self) -> Searcher:
        """Load the model and what ``closeness`` needs, and load or build the vector index, now instead of later."""
        from kivuko.encoders.reading import reader_of

        if (reader := reader_of(self.model.encoder)) is not None:
            reader.sentences(["a"])  # loads its encoder
        _ = self.index.vector_index
        self._open_background()
        return self

    @overload
    def search(self, query: str, k: int = 10, where: Conditions = None) -> list[Hit]: ...  # type: ignore[overload-overlap]

    @overload
    def search(self, query: Sequence[str], k: int = 10, where: Conditions = None) -> list[list[Hit]]: ...

    def search(self, query: str | Sequence[str], k: int = 10, where: Conditions = None) -> list[Hit] | list[list[Hit]]:
        """Return the ``k`` images nearest to a text, best first; for several texts, a list for each.

        Args:
            query: a text, or several, in any language of the model.
            k: number of images, at least 1.
            where: a condition such as ``"license=cc0"``, or several that must all hold; see docs/search.md.

        Returns:
            Hits with an ``item`` (id, key, caption, width, height, metadata, copies) and a ``score``, the cosine.

        Raises:
            UsageError: a text is empty or all of it is out of vocabulary; a condition is not understood, or names a
                field that no image has.
        """
        check_count(k)
        if not isinstance(query, str | Sequence):
            raise UsageError(f"the query is {query!r}: give a text, or a list of texts.")
        texts = [clean_query(text) for text in ([query] if isinstance(query, str) else query)]
        passing = self._filter(where)
        hits = self.index.search(self.encode(texts), k, passing) if texts else []
        return hits[0] if isinstance(query, str) else hits

    def closeness(self, hits: Sequence[Hit]) -> Closeness | None:
        """Return the calibrated score of a text's hits: whether anything in the index is close to that text.

        Its ``share`` is that of random texts (one to three entries of the model's vocabulary) whose best cosine over
        the index is lower than that of the hits, 0 to 1; ``close`` is True from 0.6 on. The random texts are searched
        once, in about a second, and the result is saved in the folder of the index if it can be written. Hits of a
        search with a condition are compared with the whole index too.

        Args:
            hits: what ``search`` returned for one text; those of images have other cosines.

        Returns:
            None if there are no hits, or the tokenizer of the model is not accessible.

        >>> import kivuko
        >>> kivuko.build_index("my-model", "photos/", "close.index", workers=1).close()
        >>> with kivuko.Searcher("close.index") as searcher:
        ...     closeness = searcher.closeness(searcher.search("paka mweusi"))
        >>> 0 <= closeness.share <= 1, closeness.close == (closeness.share >= 0.6)
        (True, True)
        """
        if not hits or (background := self._open_background()) is None:
            return None
        return background.closeness(hits[0].score)

    def search_image(self, image: Image.Image | Path | str, k: int = 10, where: Conditions = None) -> list[Hit]:
        """Return the ``k`` images nearest to an image: a PIL image or a file.

        Raises:
            UsageError: the file holds no image that can be read, or a condition is not understood.
        """
        check_count(k)
        passing = self._filter(where)
        opened = read_image(Path(image)) if isinstance(image, Path | str) else image
        return self.index.search(self.encode_image(opened)[None], k, passing)[0]

    def like(self, id: int, k: int = 10, where: Conditions = None) -> list[Hit]:
        """Return the ``k`` images nearest to the image ``id`` of the index, without itself; needs no model.

        Raises:
            UsageError: no image has this id, or a condition is not understood.
        """
        try:
            return self.index.like(id, k, self._filter(where))
        except KeyError as problem:
            raise UsageError(f"{self.index.store.path}: no image has the id {id}.") from problem

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode texts in any language of the model: unit vectors, float32 [texts, dim].

        Raises:
            UsageError: a text is empty, or all of it is out of vocabulary.
        """
        from kivuko.search.encoding import encode_queries

        cleaned = [clean_query(text) for text in texts]
        return encode_queries(self.model.encoder, cleaned, str(self.folder))

    def encode_image(self, image: Image.Image) -> Vectors:
        """Encode an image as those of the index (upright, on white): a unit vector, float32 [dim]."""
        from PIL import Image

        from kivuko.encoders.image_tower import encode_images
        from kivuko.encoders.images import as_rgb

        if not isinstance(image, Image.Image):
            raise UsageError(f"the image is {image!r}: give a file, or a PIL image.")
        vector: Vectors = encode_images(self.model.encoder, [as_rgb(image)])[0]
        if not vector.any() or vector.dot(vector) != vector.dot(vector):
            raise ModelError(f"{self.folder}: gives no vector for this image. Distill the model again.")
        return vector

    def readings(self, text: str) -> Mapping[str, Mapping[str, float]]:
        """Return the words that the model reads as other words: word -> {reading: share}, likeliest first."""
        from kivuko.encoders.reading import words_read

        return words_read(self.model.encoder, clean_query(text))

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Return the out-of-vocabulary words of a text, as written: its vector ignores them."""
        from kivuko.search.encoding import unread_words

        return unread_words(self.model.encoder, clean_query(text))

    def alignment(self, text: str, english: str) -> Alignment:
        """Align a text with its English translation, as ``kivuko.align`` does; the teacher is loaded on first use.

        Raises:
            UsageError: a text is empty or unknown, or the model names no teacher.
            ModelError, MissingDependencyError: the teacher does not load.
        """
        with self._lock:
            if self._aligner is None:
                from kivuko.encoders.alignment import load_aligner

                self._aligner = load_aligner(self.model, fetch=False)
        return self._aligner.align(clean_query(text), clean_query(english))

    def close(self) -> None:
        """Close the files of the index; after that, nothing can be searched."""
        self._closed = True
        if self._index is not None:
            self._index.close()

    def __enter__(self) -> Searcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_background(self) -> Background | None:
        """Return the background of the index as it is now, from the second time on from memory."""
        from kivuko.search.background import open_background

        with self._lock:
            store = self.index.store
            if self._background is None or self._background[0] is not store:
                self._background = store, open_background(self.index, self.model.encoder)
            return self._background[1]

    def _filter(self, where: Conditions) -> Filter:
        if conditions := as_filter(where):
            refuse_unknown_fields(conditions, self.index.store)
        return conditions

    def _load_model(self) -> Model:
        from kivuko.encoders.loading import PREFIX, local_folder
        from kivuko.encoders.model import Model, load_model

        store = self._index.store if self._index is not None else None
        named = self._given
        if named is None:
            assert store is not None
            named = find_model(store.path, store.model)
        if isinstance(named, str) and not named.startswith(PREFIX):
            named = local_folder(named, fetch=False)
        model = named if isinstance(named, Model) else load_model(named, device=self._device or "cpu")
        name = model.source or model.name
        if not model.has_images:
            raise ModelError(f"{name}: encodes text only, so it cannot search images. Distill it with an image tower.")
        if store is not None:
            check_same_space(model.encoder, name, store.fingerprint, store.path)
        return model

    def _emoji_index(self) -> ImageIndex:
        from kivuko.datasets.emoji.world import emoji_world
        from kivuko.progress import progress_bar
        from kivuko.search.building import emoji_index

        (cldr, font), encoder = self._emoji, self.model.encoder
        with progress_bar("drawing emoji", self._progress) as report:
            world = emoji_world((), cldr=cldr, font=font, progress=report)
        return emoji_index(encoder, world, progress=self._progress)


def read_image(path: Path) -> Image.Image:
    """Read an image file, upright and RGB; UsageError if it is none."""
    from kivuko.encoders.images import RefusedImage, decode
    from kivuko.search.decoding import read_place
    from kivuko.search.items import FilePlace

    try:
        return decode(read_place(FilePlace(str(path))))
    except RefusedImage as problem:
        reason = f"{problem.reason}: {problem.detail}" if problem.detail else problem.reason
        raise UsageError(f"{path}: {reason}. Name the file of an image.") from problem


def find_model(index: Path, recorded: Path) -> Path | str:
    """Return the model that an index names: its id or its folder, also if it was moved together with the index."""
    if not recorded.is_absolute() and recorded.name:
        return str(recorded)
    index = index.absolute()
    near = [index.parent / recorded.name, index.parent.parent / recorded.parent.name / recorded.name]
    for place in (recorded, *near):
        if (place / "modules.json").is_file():
            return place
    raise ModelError(
        f"{index}: its model is no longer at {recorded}. Name the model's folder (--model), or index again."
    )


def check_same_space(encoder: Any, name: str, fingerprint: str, index: Path) -> None:
    """Raise ModelError unless a model's images share the space of an index's."""
    from kivuko.encoders.loading import image_fingerprint

    if image_fingerprint(encoder) != fingerprint:
        raise ModelError(
            f"{index}: was built by another image side than that of {name}, so their vectors do not compare. "
            "Search with the model that built it, or index the images again with this one."
        )
