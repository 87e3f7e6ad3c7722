"""How queries and documents of a text collection are encoded by the models that Kivuko knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kivuko.encoders.bundle import About, encode_texts, load_bundle, quiet, read_about, untrained_copy
from kivuko.encoders.fingerprint import folder_fingerprint
from kivuko.encoders.model_kind import model_kind
from kivuko.encoders.teacher import TextTeacher, teacher_of
from kivuko.errors import ModelError, blamed
from kivuko.studies.evaluation import TEACHER, UNTRAINED, teacher_encoder

ENGLISH = "en"
Encode = Callable[[list[str]], Any]
_PASSAGE_PROMPTS = ("document", "passage", "corpus")


@dataclass(frozen=True)
class System:
    """One way to read queries. ``languages``: whose queries it is given, None for all that are asked about."""

    model: str
    objective: str
    encode: Encode
    languages: tuple[str, ...] | None = None
    about: About | None = None


@dataclass(frozen=True)
class Encoders:
    """What a collection is searched with: one reader of documents, and the systems whose queries are compared to it.

    ``documents_by``: who reads the documents, for the protocol. ``longest``: tokens of a text that are read, None
    where that is not told. ``scoring``: "cosine" or "maxsim". ``space``: what tells its vectors of documents from those
    of others; None for what is too large to be remembered, a list of vectors for each document.
    """

    encode_documents: Encode
    systems: tuple[System, ...]
    documents_by: str
    scoring: str = "cosine"
    longest: int | None = None
    space: str | None = None
    notes: tuple[str, ...] = ()

    def score(self, queries: Any, documents: Any) -> ArrayLike:
        """Return [queries, documents], higher is better."""
        if self.scoring == "maxsim":
            from kivuko.encoders.maxsim import maxsim

            return maxsim(queries, documents).cpu().numpy()
        return np.asarray(queries @ documents.T)


def load_encoders(path: Path, document_language: str) -> Encoders:
    """Load a model for a collection whose documents are in this language.

    A model of Kivuko's was taught to put its languages where its English teacher puts English: English documents are
    read by the teacher, all others by the model itself. Beside the model, the teacher is asked in every language as it
    is (in English that is the ceiling), and so are random weights (the floor). Any other folder of
    ``sentence-transformers`` reads queries and documents itself, with its own prompts for either; a
    ``MultiVectorEncoder`` scores by MaxSim.

    Raises:
        ModelError: the folder is no model that encodes text, or its teacher cannot be loaded.
    """
    if (path / "modules.json").is_file() and model_kind(str(path)) == "multi-vector":
        return _multi_vector(path)
    bundle, about = load_bundle(path), read_about(path)
    if "text" not in getattr(bundle, "modalities", ("text",)):
        raise ModelError(f"{path}: encodes no text, so it cannot search a text collection. Name another model.")
    if about is None:
        return _foreign(bundle, path)
    with quiet():
        teacher = teacher_of(about)
    return _kivuko(bundle, path, about, teacher, document_language)


def _kivuko(bundle: Any, path: Path, about: About, teacher: TextTeacher, document_language: str) -> Encoders:
    name = path.name
    student = System(name, about.recipe, lambda texts: encode_texts(bundle, texts), about.languages, about)
    if document_language not in (ENGLISH, "und"):
        known = document_language in about.languages
        note = f"note: {name} was not trained on {document_language}, the documents' language."
        return Encoders(
            lambda texts: encode_texts(bundle, texts), (student,), f"{name} (the model itself)",
            longest=_longest(bundle), space=folder_fingerprint(path), notes=() if known else (note,),
        )  # fmt: skip
    blank = untrained_copy(bundle)
    systems = (
        System(teacher.name, TEACHER, teacher_encoder(teacher)),
        System(about.student, UNTRAINED, lambda texts: encode_texts(blank, texts), about.languages),
        student,
    )
    notes = () if document_language == ENGLISH else ("note: the documents' language is not told; taken for English.",)
    return Encoders(
        _teacher_documents(teacher),
        systems,
        f"{teacher.name} (the teacher)",
        longest=_longest(teacher.model),
        space=f"{teacher.fingerprint} {getattr(teacher.model, 'prompts', None)}",
        notes=notes,
    )


def _teacher_documents(teacher: TextTeacher) -> Encode:
    """Read documents as the teacher reads sentences, or with its own prompt for passages, as E5 asks for."""
    prompts = getattr(teacher.model, "prompts", None) or {}
    if any(prompts.get(name) for name in _PASSAGE_PROMPTS):
        return _documents_with_prompt(teacher.model)
    return teacher_encoder(teacher)


def _foreign(model: Any, path: Path) -> Encoders:
    def encode(texts: list[str]) -> Any:
        options = {"batch_size": 64, "normalize_embeddings": True, "show_progress_bar": False}
        return np.asarray(model.encode_query(texts, **options), dtype=np.float32).reshape(len(texts), -1)

    system = System(path.name, path.name, encode)
    return Encoders(
        _documents_with_prompt(model), (system,), f"{path.name} (the model itself)", longest=_longest(model),
        space=folder_fingerprint(path),
    )  # fmt: skip


def _documents_with_prompt(model: Any) -> Encode:
    def encode(texts: list[str]) -> Any:
        options = {"batch_size": 64, "normalize_embeddings": True, "show_progress_bar": False}
        return np.asarray(model.encode_document(texts, **options), dtype=np.float32).reshape(len(texts), -1)

    return encode


def _multi_vector(path: Path) -> Encoders:
    from sentence_transformers import MultiVectorEncoder

    from kivuko.encoders.maxsim import token_lists

    unusable = f"{path}: does not load as a multi-vector encoder"
    with blamed(lambda reason: ModelError(f"{unusable} ({reason}). Make it again.")), quiet():
        model = MultiVectorEncoder(str(path), device="cpu").eval()
    options = {"batch_size": 64, "show_progress_bar": False}

    return Encoders(
        lambda texts: token_lists(model.encode_document(texts, **options)),
        (System(path.name, path.name, lambda texts: token_lists(model.encode_query(texts, **options))),),
        f"{path.name} (its document side)", scoring="maxsim", longest=_longest(model),
    )  # fmt: skip


def _longest(model: Any) -> int | None:
    longest = getattr(model, "max_seq_length", None)
    return longest if isinstance(longest, int) else None
