"""A translator over any sequence-to-sequence model of ``transformers``: ours, Marian, NLLB, M2M100."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kivuko.errors import ModelError
from kivuko.files import atomic_path, refuse_foreign
from kivuko.languages import language as describe
from kivuko.translation.marian import language_tag


@dataclass(frozen=True)
class Route:
    """Settings for one source language."""

    prefix: str = ""  # in front of every text
    source_code: str | None = None  # the tokenizer's own name of the language
    first_token: int | None = None  # that every translation must begin with; None: the model decides


RouteFrom = Callable[[str], Route]  # raises ModelError for a language that the model does not know


class Seq2SeqTranslator:
    """A translator over any model with ``generate`` and its tokenizer.

    ``route`` gives a language's settings. ``growth`` limits a translation's subwords, as a multiple of the longest text
    of its batch (and at least 8 more): otherwise a loop ("very very very ...") runs to the model's limit.
    """

    def __init__(
        self, model: Any, tokenizer: Any, name: str, route: RouteFrom | None = None, *, batch_size: int = 64,
        growth: float = 1.5,
    ) -> None:  # fmt: skip
        self.model, self.tokenizer, self.name, self.batch_size = model.eval(), tokenizer, name, batch_size
        self._growth = growth
        self._route = route or (lambda language: Route())

    def translate(self, texts: list[str], language: str) -> list[str]:
        """Translate into English by beam search; texts of like length are translated together."""
        route = self._route(describe(language).code)
        translations = [""] * len(texts)
        order = sorted((row for row, text in enumerate(texts) if text.strip()), key=lambda row: len(texts[row]))
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            for row, translation in zip(rows, self._batch([texts[row] for row in rows], route), strict=True):
                translations[row] = translation
        return translations

    def save(self, path: Path) -> None:
        refuse_foreign(path, "config.json", "a model folder", "Choose another place.")
        with atomic_path(path) as temporary:
            self.model.save_pretrained(temporary)
            self.tokenizer.save_pretrained(temporary)

    @torch.no_grad()
    def _batch(self, texts: list[str], route: Route) -> list[str]:
        if route.source_code is not None:
            self.tokenizer.src_lang = route.source_code
        limit = getattr(self.model.config, "max_position_embeddings", None) or 512
        given = self.tokenizer(
            [route.prefix + text for text in texts], padding=True, truncation=True,
            max_length=min(limit, self.tokenizer.model_max_length), return_tensors="pt",
        ).to(self.model.device)  # fmt: skip
        given.pop("token_type_ids", None)
        forced = {} if route.first_token is None else {"forced_bos_token_id": route.first_token}
        # Measured on the emoji world, a translation is at most six subwords longer than its source.
        read = given["input_ids"].shape[1]
        most = min(self.model.generation_config.max_length or limit, max(read + 8, int(self._growth * read)))
        written = self.model.generate(**given, **forced, max_length=most)
        return [text.strip() for text in self.tokenizer.batch_decode(written, skip_special_tokens=True)]


def source_routes(languages: Collection[str], tagged: bool) -> RouteFrom:
    """Return the routes of a model trained on these languages; tagged, it wants ``>>sw<<`` in front of Swahili."""

    def route(language: str) -> Route:
        if language not in languages:
            raise ModelError(
                f"this translator was trained on {', '.join(languages)}, not {language}: "
                "train one on bitext of that language."
            )
        return Route(prefix=f"{language_tag(language)} " if tagged else "")

    return route
