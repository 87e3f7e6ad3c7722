"""The model: the trained student and the image tower in one ``sentence-transformers`` folder.

Text goes to the student, images to the tower, and both land in the teacher's space, so an index of images made with
the English model stays valid. Only modules of sentence-transformers' own are saved: ``SentenceTransformer(path)``
loads a model where Kivuko is not installed. What reads misspelled words (``spelling.json``) works where it is.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from kivuko.encoders.image_tower import Vectors, encode_images
from kivuko.encoders.loading import PROBES
from kivuko.encoders.spelling import WORDS_FILE as WORDS
from kivuko.encoders.spelling import SpellingNeighbors, WordCounts
from kivuko.encoders.student import Student
from kivuko.encoders.vocabulary import UNKNOWN
from kivuko.errors import CorruptFileError, ModelError, wrap_errors
from kivuko.files import atomic_path

_ABOUT = "kivuko.json"
_TOKEN_MEAN = "token_mean"  # the tensor's name, and the file's


@dataclass(frozen=True)
class About:
    """What a model is: what it was made from and how. Kept in ``kivuko.json`` beside the model.

    ``teacher_source``: hub id or folder that loads the teacher again; ``teacher_prompt``: what is put before its
    texts. ``bitext_sizes``: training pairs per language.
    ``run``: fingerprint of the training run. ``fertility``: subwords per word, per language.
    """

    teacher: str
    teacher_source: str
    student: str
    recipe: str
    seed: int
    bitext_sizes: dict[str, int]
    best_step: int = 0
    validation_score: float = 0.0
    run: str = ""
    kivuko: str = ""
    fertility: dict[str, float] = field(default_factory=dict)
    teacher_prompt: str = ""

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages it was trained on."""
        return tuple(self.bitext_sizes)

    @property
    def pairs_per_language(self) -> int:
        """Training pairs per language, their mean rounded."""
        return round(sum(self.bitext_sizes.values()) / max(1, len(self.bitext_sizes)))


@dataclass(eq=False)
class Model:
    """A text encoder and, where it has one, an image encoder that share one space.

    Attributes:
        encoder: the ``SentenceTransformer`` behind it.
        name: for records and messages.
        path: the folder it was loaded from; None for a model of the hub or one that lives in memory.
        about: what its ``kivuko.json`` says of its training; None for a model that Kivuko did not make.
    """

    encoder: Any
    name: str
    path: Path | None = None
    about: About | None = None

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that it was trained on; none if it does not say."""
        return self.about.languages if self.about is not None else ()

    @property
    def has_images(self) -> bool:
        """Whether it encodes images."""
        return has_images(self.encoder)

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """Encode texts: unit vectors, float32 [texts, dim]."""
        return encode_texts(self.encoder, texts)

    def encode_image(self, images: Sequence[Image.Image]) -> Vectors:
        """Encode images: unit vectors, float32 [images, dim].

        Raises:
            ModelError: the model encodes text only.
        """
        if not self.has_images:
            raise ModelError(f"{self.name}: encodes text only, so it has no vectors for images.")
        return encode_images(self.encoder, images)

    @staticmethod
    def similarity(one: Vectors, other: Vectors) -> Vectors:
        """Return cosines of unit vectors, float32 [n, m], for [n, dim] and [m, dim]."""
        return one @ other.T


def load_model(source: Model | Path | str) -> Model:
    """Load a model, or return it if it is loaded.

    Raises:
        ModelError: the folder is missing, is not a model, or does not load; names the folder.
    """
    if isinstance(source, Model):
        return source
    path = Path(source)
    encoder = load_encoder(path)
    return Model(encoder, path.resolve().name, path, read_about(path))


@dataclass(frozen=True, eq=False)
class TokenMean:
    """The mean content token of the teacher's training sentences, float32 [dim].

    Training takes it from tokens before their cosine, so whoever looks at the plans must do so too. ``teacher``:
    fingerprint of the teacher whose mean it is. ``student_centered``: whether it is taken from the student's tokens as
    well as from the teacher's.
    """

    vector: Tensor
    teacher: str
    student_centered: bool = True


def save_encoder(
    path: Path,
    student: Student,
    image_tower: Any | None,
    about: About,
    card: str,
    token_mean: TokenMean | None = None,
    words: WordCounts | None = None,
) -> None:
    """Write a model, whole or not at all; a model that stood at ``path`` is replaced.

    Args:
        image_tower: a SentenceTransformer that encodes images; None for a text-only model.
        card: the model card, Markdown, written as README.md.
        token_mean: what training centered the tokens on.
        words: of the training sentences, by which the language of a query is told.

    Raises:
        KivukoError: the disk is full, or something that is not a model stands at ``path``.
    """
    refuse_foreign_folder(path)
    with atomic_path(path) as temporary, quiet():
        model = assemble(student, image_tower)
        model.save(str(temporary), create_model_card=False)
        spelling: SpellingNeighbors | None = getattr(student, "spelling", None)
        if spelling is not None:
            spelling.save(temporary)
        if words is not None:
            words.save(temporary / WORDS)
        (temporary / _ABOUT).write_text(json.dumps(asdict(about), indent=1, ensure_ascii=False) + "\n", "utf-8")
        (temporary / "README.md").write_text(card, encoding="utf-8")
        if token_mean is not None:
            vector = token_mean.vector.detach().to("cpu", torch.float32).contiguous()
            file = temporary / f"{_TOKEN_MEAN}.safetensors"
            whose = "both" if token_mean.student_centered else "teacher"
            save_file({_TOKEN_MEAN: vector}, file, metadata={"teacher": token_mean.teacher, "centered": whose})


def assemble(student: Student, image_tower: Any | None) -> Any:
    """Return the SentenceTransformer that sends text to the student and images to the tower."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router

    routes = {"text": student.modules_to_save()}
    if image_tower is not None:
        routes["image"] = list(copy.deepcopy(image_tower).children())
    router = Router(cast(Any, routes), default_route="text")
    return SentenceTransformer(modules=[router], device="cpu", similarity_fn_name="cosine").eval()


def refuse_foreign_folder(path: Path) -> None:
    """Raise ModelError if ``path`` is a file, or a folder with something else than a model in it."""
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / _ABOUT).is_file()):
        raise ModelError(f"{path}: exists and is not a Kivuko model; nothing was replaced. Choose another --out.")


def load_encoder(path: Path | str) -> Any:
    """Load a model (or any sentence-transformers folder that encodes text) on the CPU.

    A model with ``spelling.json`` reads misspelled words by it, which a plain ``SentenceTransformer(path)`` does not.

    Raises:
        ModelError: the folder is missing, is not a model, or does not load; names the folder.
        CorruptFileError: its ``spelling.json`` is damaged.
    """
    from sentence_transformers import SentenceTransformer

    path = Path(path)
    if not path.is_dir():
        raise ModelError(f"{path}: no such model folder. 'kivuko demo' and 'kivuko distill' make one.")
    if not (path / "modules.json").is_file():
        raise ModelError(f"{path}: not a model folder (no modules.json in it). Name the folder that --out wrote.")
    unusable = f"{path}: does not load as a model"
    with (
        wrap_errors(lambda reason: ModelError(f"{unusable} ({reason}). Delete the folder and make it again.")),
        quiet(),
    ):
        model = SentenceTransformer(str(path), device="cpu").eval()
        if "text" in model.modalities:
            model.encode(list(PROBES), show_progress_bar=False)  # what is damaged may load, and break when it is used
    if (spelling := SpellingNeighbors.load(path)) is not None:
        from kivuko.encoders.spelling import read_misspelled

        read_misspelled(model, spelling)
    return model


def read_about(path: Path | str) -> About | None:
    """Return what a model says of itself; None if it is not Kivuko's.

    Raises:
        CorruptFileError: kivuko.json is there but damaged.
    """
    file = Path(path) / _ABOUT
    if not file.is_file():
        return None
    try:
        about = About(**json.loads(file.read_text(encoding="utf-8")))
        _check_types(about)
    except (OSError, ValueError, TypeError, RecursionError) as problem:
        raise CorruptFileError(
            f"{file}: corrupted or of another version. Delete the folder and make the model again."
        ) from problem
    return about


def read_token_mean(path: Path | str, teacher: str | None = None) -> Tensor | None:
    """Return the mean token that a model was trained with, float32 [dim]; None if it does not hold one.

    Args:
        teacher: fingerprint of the teacher that the mean must be of; of another's, None is returned. None: any.

    Raises:
        CorruptFileError: the file is there but damaged.
    """
    stored = _stored_mean(path)
    return stored.vector if stored is not None and teacher in (None, stored.teacher) else None


def centers_student(path: Path | str) -> bool:
    """Tell whether a model's mean token is taken from its own tokens too, see TokenMean; True if it says nothing.

    Raises:
        CorruptFileError: the file is there but damaged.
    """
    stored = _stored_mean(path)
    return stored is None or stored.student_centered


def _stored_mean(path: Path | str) -> TokenMean | None:
    file = Path(path) / f"{_TOKEN_MEAN}.safetensors"
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as stored:
            vector: Tensor = stored.get_tensor(_TOKEN_MEAN)
            told = stored.metadata() or {}
        if vector.ndim != 1 or not vector.is_floating_point() or not vector.isfinite().all():
            raise ValueError("not a vector of finite numbers")
    except (SafetensorError, OSError, ValueError) as problem:
        raise CorruptFileError(f"{file}: corrupted or unreadable. Make the model again.") from problem
    # Models made before the entry was there were trained with the mean taken from both sides.
    side = told.get("centered") or told.get("centred")  # the spelling of earlier versions
    return TokenMean(vector.float(), told.get("teacher", ""), student_centered=side != "teacher")


def _check_types(about: About) -> None:
    for one in fields(About):
        value = getattr(about, one.name)
        kind = {"str": str, "int": int, "float": (int, float)}.get(str(one.type), dict)
        if isinstance(value, bool) or not isinstance(value, kind):  # type: ignore[arg-type]
            raise TypeError(f"'{one.name}' is {value!r}")
        number = int if one.name == "bitext_sizes" else (int, float)
        if isinstance(value, dict) and not all(isinstance(entry, number) for entry in value.values()):
            raise TypeError(f"'{one.name}' is {value!r}")


def encode_texts(model: Any, texts: Sequence[str]) -> Vectors:
    """Encode texts with a model: unit vectors, float32 [texts, dim]."""
    found = model.encode(list(texts), batch_size=256, normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(found, dtype=np.float32).reshape(len(texts), -1)


def knows(model: Any, text: str) -> bool:
    """Tell whether any part of ``text`` is in a model's vocabulary: of the rest its vector says nothing."""
    first = model[0].sub_modules["text"][0] if hasattr(model[0], "sub_modules") else model[0]
    tokenizer = getattr(first, "tokenizer", None)
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(backend, Tokenizer):
        return True
    unknown = backend.token_to_id(getattr(tokenizer, "unk_token", None) or UNKNOWN)
    found = backend.encode(text, add_special_tokens=False)
    return any(number != unknown and piece.strip("▁ ") for piece, number in zip(found.tokens, found.ids, strict=True))


def has_images(model: Any) -> bool:
    """Tell whether a loaded model encodes images."""
    return "image" in model.modalities


def untrained_copy(model: Any, seed: int = 0) -> Any:
    """Return a model whose text side has random weights: the floor that any training must leave behind."""
    blank = copy.deepcopy(model)
    route = blank[0].sub_modules["text"] if hasattr(blank[0], "sub_modules") else blank
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in route.modules():
            for name, weight in module.named_parameters(recurse=False):
                if isinstance(module, nn.LayerNorm):
                    weight.fill_(1.0 if name == "weight" else 0.0)
                elif name.endswith("bias"):
                    weight.zero_()
                else:
                    weight.normal_(0.0, 0.05, generator=generator)
    return blank


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the loading libraries' progress bars and notes, which would break up Kivuko's own output."""
    from transformers.utils import logging as transformers_logging

    bars, level = transformers_logging.is_progress_bar_enabled(), logging.root.manager.disable
    transformers_logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
        if bars:
            transformers_logging.enable_progress_bar()


def text_route(model: Any) -> list[Any]:
    """Return the modules of a model's text side, in order.

    Args:
        model: a ``SentenceTransformer``; of one with a router, the route that text takes.
    """
    router = model[0]
    if not hasattr(router, "sub_modules"):
        return list(model)
    routes = router.sub_modules
    name = next((name for name in ("text", router.default_route) if name in routes), next(iter(routes)))
    return [*routes[name], *list(model)[1:]]


def is_static(module: Any) -> bool:
    """Tell whether a text side begins with a table of subword vectors and has no network."""
    import torch

    embedding = getattr(module, "embedding", None)
    return isinstance(getattr(module, "tokenizer", None), Tokenizer) and isinstance(embedding, torch.nn.EmbeddingBag)


def backend_tokenizer(model: Any) -> Tokenizer | None:
    """Return the tokenizer of the library ``tokenizers`` that a model's text goes through; None if it has none."""
    tokenizer = getattr(text_route(model)[0], "tokenizer", None)
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    return backend if isinstance(backend, Tokenizer) else None


def input_table(model: Any) -> Any | None:
    """Return the table of subword vectors that a model's text side begins with, [vocabulary, width]; None if hidden.

    It is the parameter itself, not a copy.
    """
    first = text_route(model)[0]
    if is_static(first):
        return first.embedding.weight
    try:
        return first.model.get_input_embeddings().weight
    except (AttributeError, NotImplementedError):
        return None
