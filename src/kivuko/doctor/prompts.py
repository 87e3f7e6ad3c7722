"""Whether texts are prepared as the model was trained: prefixes, padding, small letters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import regex

from kivuko.doctor.finding import Finding, Patient, called, names_of
from kivuko.encoders.modules import backend_tokenizer, text_route
from kivuko.encoders.onnx_export import fixed_length
from kivuko.encoders.teacher import default_prompt

CHECK = "prompts"
# Families that were trained with a prefix before every text, and the one for queries.
_PREFIXED = {
    "E5": (regex.compile(r"(?<![a-z0-9])e5(?![a-z0-9])"), "query: "),
    "Nomic Embed": (regex.compile(r"nomic-embed-text"), "search_query: "),
}


def check_prompts(patient: Patient) -> Iterator[Finding]:
    """Look at the model, if it is not Kivuko's (whose students learn without a prefix), and at its teacher."""
    sides = []
    if patient.about is None and "text" in patient.model.modalities:
        sides.append(("the model", patient.model, default_prompt(patient.model), called(patient.folder.absolute())))
    if (teacher := patient.teacher) is not None:
        sides.append(
            (
                f"the teacher {teacher.name}",
                teacher.model,
                teacher.prompt,
                f"{Path(teacher.name).name} {Path(teacher.source).name}",
            )
        )
    found = [finding for who, model, prompt, name in sides for finding in _look(who, model, prompt, name)]
    yield from found
    if sides and not found:
        told = ", ".join(f"{who} reads {prompt!r} first" for who, _, prompt, _ in sides if prompt)
        yield Finding("ok", CHECK, told or "texts are put to the model as they are, which is how it was made")


def _look(who: str, model: Any, prompt: str | None, name: str) -> Iterator[Finding]:
    named = names_of(model, name)
    for family, (pattern, prefix) in _PREFIXED.items():
        if pattern.search(named) and not prompt:
            what = f"{who} is of the family {family}, trained with {prefix!r} before every text; it gets none here"
            do = f"Save it with prompts={{'query': {prefix!r}}} and default_prompt_name='query', or give the prompt."
            yield Finding("warning", CHECK, what, do)
            return
    unused = [key for key, value in (getattr(model, "prompts", None) or {}).items() if value]
    if unused and not prompt:
        what = f"{who} has prompts ({', '.join(unused)}), but none of them is its default: plain texts get none"
        yield Finding("warning", CHECK, what, "Set default_prompt_name in config_sentence_transformers.json.")
    yield from _siglip(who, model)


def _siglip(who: str, model: Any) -> Iterator[Finding]:
    """SigLIP was trained on texts in small letters, padded to one length, and reads the padding."""
    kind = str(getattr(getattr(getattr(text_route(model)[0], "model", None), "config", None), "model_type", ""))
    if not kind.startswith("siglip"):
        return
    if fixed_length(model) is None:
        what = f"{who} is a SigLIP, trained on texts padded to one length; here they are padded to the longest"
        yield Finding("warning", CHECK, what, "Set processing_kwargs to padding='max_length' (64 tokens).")
    tokenizer = backend_tokenizer(model)
    if tokenizer is not None and tokenizer.encode("A CAT").ids != tokenizer.encode("a cat").ids:
        what = f"{who} is a SigLIP, trained on text in small letters; its tokenizer keeps capitals"
        yield Finding("warning", CHECK, what, "Lower-case texts (do_lower_case in its sentence_bert_config.json).")
