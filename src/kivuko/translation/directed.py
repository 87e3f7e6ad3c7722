"""Translation models that write another language than English, told which one by their own codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kivuko.errors import ModelError, UsageError
from kivuko.languages import language as describe
from kivuko.translation.language_codes import ModelLanguages
from kivuko.translation.pretrained import load_seq2seq
from kivuko.translation.seq2seq import Route, RouteFrom, Seq2SeqTranslator


def load_translator_into(name_or_folder: str | Path, target: str) -> Seq2SeqTranslator:
    """Load a model that translates into ``target``: OPUS-MT (Marian), NLLB, M2M100, mBART-50 or MADLAD-400.

    ``translate(texts, language)`` of what is returned takes the language of the texts, and writes ``target``.

    Args:
        target: BCP 47 code of the language to write.

    Raises:
        ModelError: there is no such model, it does not load, or nothing says that it writes that language.
        MissingDependencyError: its tokenizer needs a package that is not installed.
        UsageError: there is no such language.
    """
    code, text = describe(target).code, str(name_or_folder)
    if (text.startswith((".", "~")) or Path(text).is_absolute()) and not Path(text).expanduser().is_dir():
        raise ModelError(f"{text}: no such model folder. Name a folder or a translation model on the hub.")
    model, tokenizer = load_seq2seq(text, str(Path(text).expanduser()) if text.startswith("~") else text)
    return Seq2SeqTranslator(model, tokenizer, Path(text).name, _route_into(tokenizer, text, code), growth=2.0)


def _route_into(tokenizer: Any, name: str, target: str) -> RouteFrom:
    """Find out how the model is told what to write."""
    special = [*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens]
    if codes := ModelLanguages(special):
        return _coded(codes, tokenizer, name, target)
    vocabulary = tokenizer.get_vocab()
    madlad = f"<2{target.split('-')[0]}>"
    if madlad in vocabulary:
        return lambda language: Route(prefix=f"{madlad} ")
    tags = {token.strip("><"): token for token in vocabulary if token.startswith(">>") and token.endswith("<<")}
    for tag, token in tags.items():
        if _same(tag, target):
            return lambda language: Route(prefix=f"{token} ")
    if not tags and _same(str(getattr(tokenizer, "target_lang", "") or ""), target):
        return lambda language: Route()
    writes = getattr(tokenizer, "target_lang", None) or ", ".join(sorted(tags)[:5]) or "a language it does not name"
    raise ModelError(f"{name}: writes {writes}, not {describe(target).name} ({target}). Choose another model.")


def _coded(codes: ModelLanguages, tokenizer: Any, name: str, target: str) -> RouteFrom:
    written = codes.find(target)
    if written is None:
        raise ModelError(
            f"{name}: has no code for {describe(target).name} ({target}) among its {len(codes)} languages. "
            "Choose another model."
        )
    first = tokenizer.convert_tokens_to_ids(written.token)

    def route(language: str) -> Route:
        read = codes.find(language)
        if read is None:
            raise ModelError(
                f"{name}: has no code for {describe(language).name} ({language}), which is to be translated."
            )
        return Route(source_code=read.code, first_token=first)

    return route


def _same(code: str, target: str) -> bool:
    """Tell whether a model's own code (``swh``, ``sw``) is the target language."""
    try:
        return describe(code.replace("_", "-")).code == target
    except UsageError:  # a tag of the model's own that is no language's code
        return False
