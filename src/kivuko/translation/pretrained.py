"""Translation models that exist already: by name on the hub or from a folder, our own saved ones among them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from kivuko.encoders.bundle import quiet
from kivuko.encoders.hub import require_hub
from kivuko.errors import MissingDependencyError, ModelError, UsageError, first_line
from kivuko.languages import language as describe
from kivuko.translation.language_codes import ModelLanguages
from kivuko.translation.marian import language_tag
from kivuko.translation.seq2seq import Route, RouteFrom, Seq2SeqTranslator, source_routes

_ENGLISH_TAGS = (">>eng<<", ">>en<<")  # OPUS-MT: which language to write
_MADLAD_ENGLISH = "<2en>"
_ONE_WAY = ("marian", "fsmt")  # kinds of model that translate from one language or group into another, untold


def load_translator(name_or_folder: str | Path) -> Seq2SeqTranslator:
    """Load a model that translates into English: one of ours, OPUS-MT (Marian), NLLB, M2M100, mBART-50 or MADLAD-400.

    Raises:
        ModelError: there is no such model, it does not load, or it does not translate into English.
        MissingDependencyError: its tokenizer needs a package that is not installed.
    """
    text = str(name_or_folder)
    if (text.startswith((".", "~")) or Path(text).is_absolute()) and not Path(text).expanduser().is_dir():
        raise ModelError(f"{text}: no such model folder. Name a folder or a translation model on the hub.")
    model, tokenizer = load_seq2seq(text, str(Path(text).expanduser()) if text.startswith("~") else text)
    return Seq2SeqTranslator(model, tokenizer, Path(text).name, _route(model, tokenizer, text))


def load_seq2seq(text: str, source: str) -> tuple[Any, Any]:
    """Return a translation model of ``transformers`` and its tokenizer; ``text`` names it in messages.

    Raises:
        MissingDependencyError, ModelError: see ``load_translator``.
    """
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    require_hub(source)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(source)
            model = AutoModelForSeq2SeqLM.from_pretrained(source, dtype=torch.float32)
    except Exception as problem:  # the loading library raises many kinds, all of them the name's fault
        if "sentencepiece" in str(problem).lower():
            raise MissingDependencyError(
                f"{text}: its tokenizer needs SentencePiece. Run: pip install sentencepiece"
            ) from problem
        raise ModelError(
            f"{text}: not a translation model that loads ({first_line(problem)}). "
            "Name an encoder-decoder with its tokenizer."
        ) from problem
    return model, tokenizer


def _route(model: Any, tokenizer: Any, name: str) -> RouteFrom:
    """Find out how the model wants to be told the language, and that English is what it writes."""
    if own := getattr(model.config, "source_languages", None):
        return source_routes(own, tagged=language_tag(own[0]) in tokenizer.get_vocab())
    special = [*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens]
    if codes := ModelLanguages(special):
        return _coded(codes, tokenizer, name)
    vocabulary = tokenizer.get_vocab()
    if _MADLAD_ENGLISH in vocabulary:
        return lambda language: Route(prefix=f"{_MADLAD_ENGLISH} ")
    if model.config.model_type not in _ONE_WAY:
        raise ModelError(
            f"{name}: a {model.config.model_type} model without language codes, so nothing tells it to translate into "
            "English. Choose an OPUS-MT, NLLB or M2M100 model."
        )
    return _one_way(tokenizer, vocabulary, name)


def _coded(codes: ModelLanguages, tokenizer: Any, name: str) -> RouteFrom:
    english = codes.find("en")
    if english is None:
        raise ModelError(f"{name}: does not translate into English (no code for it). Choose another model.")
    first = tokenizer.convert_tokens_to_ids(english.token)

    def route(language: str) -> Route:
        found = codes.find(language)
        if found is None:
            raise ModelError(
                f"{name}: has no code for {describe(language).name} ({language}) among its {len(codes)} languages. "
                "Choose another model."
            )
        return Route(source_code=found.code, first_token=first)

    return route


def _one_way(tokenizer: Any, vocabulary: Collection[str], name: str) -> RouteFrom:
    """OPUS-MT: the languages are the model's own; where it writes several, a tag in front chooses."""
    tags = [token for token in vocabulary if token.startswith(">>") and token.endswith("<<")]
    prefix = next((f"{tag} " for tag in _ENGLISH_TAGS if tag in tags), "")
    target = _single(getattr(tokenizer, "target_lang", None))
    if (tags and not prefix) or (target not in (None, "en")):
        writes = target or ", ".join(sorted(tag.strip("<>") for tag in tags)[:5])
        raise ModelError(f"{name}: translates into {writes}, not English. Choose a model that writes English.")
    source = _single(getattr(tokenizer, "source_lang", None))

    def route(language: str) -> Route:
        if source is not None and source != describe(language).code.split("-")[0]:
            raise ModelError(f"{name}: translates from {source}, not {language}. Choose a model for {language}.")
        return Route(prefix=prefix)

    return route


def _single(code: str | None) -> str | None:
    """Normalise a code that names one language; None for a group such as ``mul`` or ``bnt``, or none at all."""
    try:
        found = describe(code or "").code.split("-")[0]
    except UsageError:
        return None
    # Groups of languages have codes of three letters, as small languages have; only what is sure is checked.
    return found if len(found) == 2 or found == "fil" else None
