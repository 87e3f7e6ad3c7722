"""Gradients of a query's score by the vectors of its subwords, for any kind of text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from kivuko.encoders.modules import text_route
from kivuko.encoders.spelling import SpellingNeighbors
from kivuko.encoders.student import StaticStudent
from kivuko.errors import ModelError
from kivuko.perturbations.text.goal import TextGoal

TEMPERATURE = 0.1  # of the softmax over the gallery; at 0.02 and 0.3 the edits it points to harm less
_TOGETHER = 128  # texts that go through a transformer together


@dataclass(frozen=True, eq=False)
class TokenGradients:
    """The subwords of one text and how the loss changes with their vectors.

    ``ids`` int64 [tokens]; ``spans``: each one's place in the text, in code points; ``gradients`` float [tokens, dim].
    """

    ids: NDArray[np.int64]
    spans: list[tuple[int, int]]
    gradients: Tensor


class GradientEncoder(Protocol):
    """A text encoder with gradients.

    ``vectors``: input embeddings, float [subwords, width]; ``pieces``: the subwords' names in the vocabulary;
    ``spellings``: the text that each adds, "" if none.
    """

    vectors: Tensor
    pieces: list[str]
    spellings: list[str]

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors, float32 [texts, dim]."""
        ...

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text's subwords, special tokens left out."""
        ...

    def gradients(self, texts: Sequence[str], goal: TextGoal, rows: Sequence[int]) -> list[TokenGradients]:
        """Return the gradient of the loss (cross entropy of the own image among all) by each text's subwords."""
        ...


def retrieval_loss(vectors: Tensor, goal: TextGoal, rows: Sequence[int]) -> Tensor:
    """Return the summed cross entropy of the own images, for unit vectors [n, dim]; differentiable."""
    gallery, own = torch.from_numpy(goal.gallery), torch.from_numpy(goal.own[list(rows)])
    return F.cross_entropy(vectors @ gallery.T / TEMPERATURE, own, reduction="sum")


class StaticGradients:
    """A static student or a model of one: a text is the mean of its subwords' vectors [subwords, dim].

    ``after``: modules that the mean goes through. ``spelling``: weights the mean, see ``SpellingNeighbors.subwords``.
    """

    def __init__(
        self, tokenizer: Any, vectors: Tensor, after: Sequence[Any] = (), spelling: SpellingNeighbors | None = None
    ) -> None:
        self.tokenizer, self.vectors, self.after = tokenizer, vectors.detach().float(), list(after)
        self.spelling = spelling
        self.pieces = [tokenizer.id_to_token(n) or "" for n in range(len(vectors))]
        self.spellings = _spellings(tokenizer, self.pieces)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = self._finish(self._means(self._weighed(texts))).numpy()
        return vectors

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        return [one.ids for one in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def gradients(self, texts: Sequence[str], goal: TextGoal, rows: Sequence[int]) -> list[TokenGradients]:
        """Give each vector its share of the mean's gradient; the reading of misspelled words is taken as fixed."""
        encoded = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        weighed = self._weighed(texts)
        means = self._means(weighed).requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(retrieval_loss(self._finish(means), goal, rows), means)
        return [
            TokenGradients(
                np.array(one.ids, dtype=np.int64),
                list(one.offsets),
                torch.tensor(shares[: len(one.ids)])[:, None] * own,
            )
            for one, (_, shares), own in zip(encoded, weighed, gradient, strict=True)
        ]

    def _weighed(self, texts: Sequence[str]) -> list[tuple[list[int], list[float]]]:
        """Return the subwords of each text and their shares of its vector, which add up to 1."""
        if self.spelling is None:
            return [(ids, [1.0 / len(ids)] * len(ids) if ids else []) for ids in self.tokenize(texts)]
        shares = []
        for ids, weights in self.spelling.subwords(self.tokenizer, texts):
            own = [1.0] * len(ids) if weights is None else weights
            total = sum(own)
            shares.append((ids, [weight / total for weight in own]))
        return shares

    def _means(self, weighed: Sequence[tuple[list[int], list[float]]]) -> Tensor:
        flat = torch.tensor([number for ids, _ in weighed for number in ids], dtype=torch.long)
        shares = torch.tensor([share for _, own in weighed for share in own], dtype=torch.float32)
        starts = torch.tensor(np.cumsum([0, *(len(ids) for ids, _ in weighed)])[: len(weighed)], dtype=torch.long)
        return F.embedding_bag(flat, self.vectors, starts, mode="sum", per_sample_weights=shares)

    def _finish(self, means: Tensor) -> Tensor:
        features: dict[str, Any] = {"sentence_embedding": means, "modality": "text"}
        for module in self.after:
            features = module(features)
        return F.normalize(features["sentence_embedding"], dim=-1)


class TransformerGradients:
    """The modules of a model's text route, the first a Transformer with a fast tokenizer."""

    def __init__(self, route: Sequence[Any]) -> None:
        self.route = [module.eval() for module in route]
        self.tokenizer = self.route[0].tokenizer
        self._lookup = self.route[0].model.get_input_embeddings()
        self.vectors = self._lookup.weight.detach().float()
        self.pieces = [one or "" for one in self.tokenizer.convert_ids_to_tokens(list(range(len(self.vectors))))]
        self.spellings = _spellings(self.tokenizer.backend_tokenizer, self.pieces)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if not len(texts):
            return np.zeros((0, self.vectors.shape[1]), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))  # texts of like length need little padding
        parts = [order[n : n + _TOGETHER] for n in range(0, len(order), _TOGETHER)]
        encoded = torch.cat([self._forward(self._features([texts[n] for n in part])) for part in parts])
        back = torch.empty(len(order), dtype=torch.long)
        back[order] = torch.arange(len(order))
        vectors: NDArray[np.float32] = encoded[back].numpy()
        return vectors

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(list(texts), truncation=True, add_special_tokens=False)["input_ids"]
        return ids

    def gradients(self, texts: Sequence[str], goal: TextGoal, rows: Sequence[int]) -> list[TokenGradients]:
        portions = (slice(n, n + _TOGETHER) for n in range(0, len(texts), _TOGETHER))
        return [one for part in portions for one in self._portion(texts[part], goal, rows[part])]

    def _portion(self, texts: Sequence[str], goal: TextGoal, rows: Sequence[int]) -> list[TokenGradients]:
        encoded = self.tokenizer(
            list(texts), padding=True, truncation=True, return_tensors="pt",
            return_offsets_mapping=True, return_special_tokens_mask=True,
        )  # fmt: skip
        spans, special = encoded.pop("offset_mapping"), encoded.pop("special_tokens_mask").bool()
        caught: list[Tensor] = []

        def catch(_module: Any, _given: Any, out: Tensor) -> Tensor:
            caught.append(out.detach().requires_grad_())  # the weights may be frozen
            return caught[-1]

        hook = self._lookup.register_forward_hook(catch)
        try:
            with torch.enable_grad():
                loss = retrieval_loss(self._forward(dict(encoded)), goal, rows)
                (gradient,) = torch.autograd.grad(loss, caught[0])
        finally:
            hook.remove()
        content = encoded["attention_mask"].bool() & ~special
        return [
            TokenGradients(
                encoded["input_ids"][n][keep].numpy(), [tuple(s) for s in spans[n][keep].tolist()], gradient[n][keep]
            )
            for n, keep in enumerate(content)
        ]

    def _features(self, texts: Sequence[str]) -> dict[str, Any]:
        return dict(self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt"))

    def _forward(self, features: dict[str, Any]) -> Tensor:
        features = {**features, "modality": "text"}
        for module in self.route:
            features = module(features)
        return F.normalize(features["sentence_embedding"].float(), dim=-1)


def gradient_encoder(model: Any) -> GradientEncoder:
    """Return the gradient encoder of a student in training form, or of a model, as it is now."""
    if isinstance(model, StaticStudent):
        vectors = torch.cat([model.embedding.weight.detach(), model.fixed]).cpu()
        return StaticGradients(model.tokenizer, vectors, spelling=model.spelling)
    route = model.to_modules() if hasattr(model, "to_modules") else text_route(model)
    first = route[0]
    if hasattr(first, "embedding") and hasattr(first, "tokenizer"):
        return StaticGradients(first.tokenizer, first.embedding.weight, route[1:], getattr(first, "spelling", None))
    if getattr(getattr(first, "tokenizer", None), "is_fast", False) and hasattr(first, "model"):
        return TransformerGradients(route)
    raise ModelError(
        f"the text side begins with {type(first).__name__}: gradients can be taken through static vectors and "
        "transformers with a fast tokenizer. Attack it with 'greedy', which needs no gradients."
    )


def _spellings(tokenizer: Any, pieces: Sequence[str]) -> list[str]:
    """Return the text that each subword adds; "" for special tokens and parts of a character."""
    special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    decoded = tokenizer.decode_batch([[number] for number in range(len(pieces))], skip_special_tokens=False)
    bare = [text.removeprefix("##").replace("▁", " ").strip() for text in decoded]
    unusable = ("\ufffd", "[UNK]", "[PAD]", "<unk>", "<pad>")
    return ["" if n in special or any(one in text for one in unusable) else text for n, text in enumerate(bare)]
