"""A model and a gallery that belong together: search with words or with an image."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kivuko.encoders.image_tower import Vectors, encode_images
from kivuko.encoders.images import as_rgb
from kivuko.encoders.loading import image_fingerprint
from kivuko.encoders.model import Model, has_images, load_encoder, read_about
from kivuko.encoders.spelling import misspelled_words
from kivuko.errors import ModelError
from kivuko.search.filter import Filter
from kivuko.search.gallery import Gallery
from kivuko.search.items import Hit
from kivuko.search.query import clean_query, encode_queries, unheard_words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from kivuko.encoders.alignment import Aligner, Alignment


class Searcher:
    """A loaded model with a gallery whose images were encoded by the same image side.

    Attributes:
        model: see :func:`kivuko.encoders.model.load_encoder`.
        gallery: what is searched.
        folder: the model's.
    """

    def __init__(self, model: Any, gallery: Gallery, folder: Path) -> None:
        self.model, self.gallery, self.folder = model, gallery, folder
        self._aligner: Aligner | None = None
        self._loading = threading.Lock()

    @classmethod
    def open(cls, gallery_path: Path | str, model: Path | None = None, **index_options: Any) -> Searcher:
        """Open a gallery and the model to search it with.

        Args:
            model: the model's folder; None: the one that the gallery was made with, where it was or, if both were moved
                together, as near to the gallery as before.
            index_options: see :meth:`Gallery.open`.

        Raises:
            ModelError: the model is missing, does not load, encodes no images, or its image side is not the one that
                made the gallery.
            KivukoError: see :meth:`Gallery.open`.
        """
        from kivuko.search.store import GalleryStore

        with GalleryStore.open(Path(gallery_path)) as store:  # the model is checked before an index is built for it
            folder = model or find_model(store.path, store.model)
            loaded = load_encoder(folder).float()  # as it was when the gallery was made, see cli.index
            check_same_space(loaded, folder, store.fingerprint, store.path)
        return cls(loaded, Gallery.open(gallery_path, **index_options), Path(folder))

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode texts in any language of the model: unit vectors, float32 [texts, dim].

        Raises:
            UsageError: a text is empty, or no part of it is in the model's vocabulary.
        """
        return encode_queries(self.model, [clean_query(text) for text in texts], str(self.folder))

    def encode_image(self, image: Image.Image) -> NDArray[np.float32]:
        """Encode an image as those of the gallery were (upright, on white): a unit vector, float32 [dim].

        Raises:
            ModelError: the model gives no vector for it.
        """
        vector: NDArray[np.float32] = encode_images(self.model, [as_rgb(image)])[0]
        if not vector.any() or vector.dot(vector) != vector.dot(vector):
            raise ModelError(f"{self.folder}: gives no vector for this image. Make the model again.")
        return vector

    def search(self, texts: Sequence[str], k: int = 10, where: Filter | None = None) -> list[list[Hit]]:
        """Return for each text the ``k`` nearest images, see :meth:`Gallery.search` and :meth:`encode`."""
        return self.gallery.search(self.encode(texts), k, where) if texts else []

    def readings(self, text: str) -> dict[str, dict[str, float]]:
        """Return the words that the model reads otherwise than written: word -> {reading: share}, likeliest first."""
        return misspelled_words(self.model, clean_query(text))

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Return the words of which the model knows no part, as written: the text's vector says nothing of them."""
        return unheard_words(self.model, clean_query(text))

    def alignment(self, text: str, english: str) -> Alignment:
        """Align a text with its English translation, as training did; the teacher is loaded when first needed.

        Raises:
            UsageError: a text is empty or unknown, or the model names no teacher.
            ModelError, MissingDependencyError: the teacher does not load.
        """
        with self._loading:
            if self._aligner is None:
                from kivuko.encoders.alignment import load_aligner

                model = Model(self.model, self.folder.name, str(self.folder), self.folder, read_about(self.folder))
                self._aligner = load_aligner(model)
        return self._aligner.align(clean_query(text), clean_query(english))

    def close(self) -> None:
        """Let go of the gallery's files."""
        self.gallery.close()

    def __enter__(self) -> Searcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def find_model(gallery: Path, recorded: Path) -> Path:
    """Return the folder of the model that a gallery names: where it was, or as near to the gallery as before.

    Raises:
        ModelError: it is in neither place.
    """
    gallery = gallery.absolute()
    near = [gallery.parent / recorded.name, gallery.parent.parent / recorded.parent.name / recorded.name]
    for place in (recorded, *near):
        if (place / "modules.json").is_file():
            return place
    raise ModelError(
        f"{gallery}: its model is no longer at {recorded}. Name the model's folder (--model), or index again."
    )


def check_same_space(model: Any, folder: Path, fingerprint: str, gallery: Path) -> None:
    """Raise ModelError unless a model's images lie in the space of a gallery's."""
    if not has_images(model):
        raise ModelError(f"{folder}: encodes text only, so it cannot search images. Distill it with an image tower.")
    if image_fingerprint(model) != fingerprint:
        raise ModelError(
            f"{gallery}: was made by another image side than that of {folder}, so their vectors do not compare. "
            "Search with the model that made it, or index the images again with this one."
        )
