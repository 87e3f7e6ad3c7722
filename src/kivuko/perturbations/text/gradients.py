"""Attacks on queries by gradients: HotFlip over the vocabulary, and edits of characters where the gradient points.

Ebrahimi et al. 2018, "HotFlip: White-Box Adversarial Examples for Text Classification" (arXiv 1712.06751): to first
order, looking another subword up at a place changes the loss by the gradient there times the difference of the vectors.
Its proposals are put into the text, tokenized again, and kept only if they really harm.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from kivuko.encoders.modules import text_route
from kivuko.encoders.reading import Reader, read_subwords, with_sentences
from kivuko.encoders.student import StaticStudent
from kivuko.errors import ModelError
from kivuko.perturbations.edits import Edit, EditKind, apply_edit, edit_kinds
from kivuko.perturbations.graphemes import graphemes, offsets, stay_apart
from kivuko.perturbations.text.search import (
    AttackedText,
    TextGoal,
    Vectors,
    check_candidates,
    sampled,
    search,
)
from kivuko.progress import Report
from kivuko.vectors import rescaled

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

    def encode(self, texts: Sequence[str]) -> Vectors:
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

    ``after``: modules that the mean goes through. ``reader``: weights the mean, see ``read_subwords``.
    """

    def __init__(
        self, tokenizer: Any, vectors: Tensor, after: Sequence[Any] = (), reader: Reader | None = None
    ) -> None:
        self.tokenizer, self.vectors, self.after = tokenizer, vectors.detach().float(), list(after)
        self.reader = reader
        self.pieces = [tokenizer.id_to_token(n) or "" for n in range(len(vectors))]
        self.spellings = _spellings(tokenizer, self.pieces)

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Vectors:
        vectors: Vectors = self._finish(self._means(self._weighed(texts)), self._sentences(texts)).numpy()
        return vectors

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        return [one.ids for one in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def gradients(self, texts: Sequence[str], goal: TextGoal, rows: Sequence[int]) -> list[TokenGradients]:
        """Give each vector its share of the mean's gradient; what a reader does is taken as fixed."""
        encoded = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        weighed = self._weighed(texts)
        means, sentences = self._means(weighed).requires_grad_(), self._sentences(texts)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(retrieval_loss(self._finish(means, sentences), goal, rows), means)
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
        if self.reader is None:
            return [(ids, [1.0 / len(ids)] * len(ids) if ids else []) for ids in self.tokenize(texts)]
        shares = []
        for ids, weights in read_subwords(self.reader, self.tokenizer, texts):
            own = [1.0] * len(ids) if weights is None else weights
            total = sum(own)
            shares.append((ids, [weight / total for weight in own]))
        return shares

    def _means(self, weighed: Sequence[tuple[list[int], list[float]]]) -> Tensor:
        flat = torch.tensor([number for ids, _ in weighed for number in ids], dtype=torch.long)
        shares = torch.tensor([share for _, own in weighed for share in own], dtype=torch.float32)
        starts = torch.tensor(np.cumsum([0, *(len(ids) for ids, _ in weighed)])[: len(weighed)], dtype=torch.long)
        return F.embedding_bag(flat, self.vectors, starts, mode="sum", per_sample_weights=shares)

    def _sentences(self, texts: Sequence[str]) -> Tensor | None:
        return None if self.reader is None else self.reader.sentences(texts)

    def _finish(self, means: Tensor, sentences: Tensor | None = None) -> Tensor:
        features: dict[str, Any] = {"sentence_embedding": with_sentences(means, sentences), "modality": "text"}
        for module in self.after:
            features = module(features)
        return F.normalize(rescaled(features["sentence_embedding"]), dim=-1)


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
    def encode(self, texts: Sequence[str]) -> Vectors:
        if not len(texts):
            return np.zeros((0, self.vectors.shape[1]), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))  # texts of like length need little padding
        encoded = []
        for start in range(0, len(order), _TOGETHER):
            part = [texts[n] for n in order[start : start + _TOGETHER]]
            encoded.append(
                self._forward(dict(self.tokenizer(part, padding=True, truncation=True, return_tensors="pt")))
            )
        vectors: Vectors = torch.cat(encoded)[torch.tensor(order).argsort()].numpy()
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

    def _forward(self, features: dict[str, Any]) -> Tensor:
        features = {**features, "modality": "text"}
        for module in self.route:
            features = module(features)
        return F.normalize(rescaled(features["sentence_embedding"].float()), dim=-1)


def gradient_encoder(model: Any) -> GradientEncoder:
    """Return the gradient encoder of a student in training form, or of a model, as it is now."""
    if isinstance(model, StaticStudent):
        vectors = torch.cat([model.embedding.weight.detach(), model.fixed]).cpu()
        return StaticGradients(model.tokenizer, vectors, reader=model.reader)
    route = model.to_modules() if hasattr(model, "to_modules") else text_route(model)
    first = route[0]
    if hasattr(first, "embedding") and hasattr(first, "tokenizer"):
        return StaticGradients(first.tokenizer, first.embedding.weight, route[1:], getattr(first, "reader", None))
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


_WORD_STARTS = ("▁", "Ġ")
_ROWS = 128  # places that are scored against the whole vocabulary at once
Slot = tuple[int, int, list[int]]  # start and end, in code points; the subwords there


class Flips:
    """All subwords of a vocabulary that may take the place of others."""

    def __init__(self, encoder: GradientEncoder) -> None:
        usable = [n for n, spelling in enumerate(encoder.spellings) if spelling]
        self._vectors, self._usable = encoder.vectors, encoder.vectors[usable]
        self._spellings = [encoder.spellings[n] for n in usable]
        marked = any(piece.startswith(_WORD_STARTS) for piece in encoder.pieces)
        self._begins = [
            encoder.pieces[n].startswith(_WORD_STARTS) if marked else not encoder.pieces[n].startswith("##")
            for n in usable
        ]

    def best(self, texts: Sequence[str], tokens: Sequence[TokenGradients], count: int) -> list[list[Edit]]:
        """Return for each text the exchanges that to first order raise the loss most, at most half at one place."""
        slots = [_slots(text, own.spans) for text, own in zip(texts, tokens, strict=True)]
        slopes = [own.gradients.new_zeros(0, self._vectors.shape[1]) if not places else
                  torch.stack([own.gradients[inside].mean(0) for _, _, inside in places])
                  for places, own in zip(slots, tokens, strict=True)]  # fmt: skip
        tops = self._tops(slopes, min(2 * count, len(self._spellings)))
        return [
            self._of_text(text, places, own, top, count)
            for text, places, own, top in zip(texts, slots, tokens, tops, strict=True)
        ]

    def _tops(self, slopes: Sequence[Tensor], count: int) -> list[tuple[Tensor, Tensor]]:
        """Return the best products with the vocabulary, and the subwords, each [places, count], for every text.

        In a static encoder all places of a text have the same gradient, which is then multiplied once.
        """
        once = [own[:1] if len(own) and bool((own == own[:1]).all()) else own for own in slopes]
        rows = torch.cat([self._usable[:0], *once])
        parts = [(part @ self._usable.T).topk(count) for part in rows.split(_ROWS)] if len(rows) else []
        sizes = [len(own) for own in once]
        values = torch.cat([rows.new_zeros(0, count), *(part.values for part in parts)]).split(sizes)
        pieces = torch.cat([torch.zeros(0, count).long(), *(part.indices for part in parts)]).split(sizes)
        return [
            (value.expand(len(own), -1), piece.expand(len(own), -1))
            for value, piece, own in zip(values, pieces, slopes, strict=True)
        ]

    def _of_text(
        self, text: str, slots: Sequence[Slot], tokens: TokenGradients, top: tuple[Tensor, Tensor], count: int
    ) -> list[Edit]:
        per_slot = max(1, count // 2) if len(slots) > 1 else count
        products = (tokens.gradients * self._vectors[tokens.ids]).sum(1).tolist()  # of the present subwords
        ranked: list[tuple[float, Edit]] = []
        for slot, values, pieces in zip(slots, top[0].tolist(), top[1].tolist(), strict=True):
            lost = sum(products[n] for n in slot[2])
            edits = ((value - lost, self._edit(text, slot, piece)) for value, piece in zip(values, pieces, strict=True))
            ranked += [(gain, edit) for gain, edit in edits if edit is not None][:per_slot]
        ranked.sort(key=lambda one: -one[0])
        return [edit for _, edit in ranked[:count]]

    def _edit(self, text: str, slot: Slot, piece: int) -> Edit | None:
        """Return the exchange; None if it changes nothing, or changes a neighboring grapheme cluster.

        A subword that begins a word gets a space before it inside of another word.
        """
        start, end, _ = slot
        inside = start > 0 and not text[start - 1].isspace()
        new = " " + self._spellings[piece] if inside and self._begins[piece] else self._spellings[piece]
        before, after = graphemes(text[:start])[-1:], graphemes(text[end:])[:1]
        if new == text[start:end] or not stay_apart("".join(before), new, "".join(after)):
            return None
        return Edit("subword", start, end, new)


def _slots(text: str, spans: Sequence[tuple[int, int]]) -> list[Slot]:
    """Return the places for an exchange: each subword, widened to whole grapheme clusters, without spaces around it."""
    starts = offsets(graphemes(text))
    cluster = [n for n, (start, end) in enumerate(pairwise(starts)) for _ in range(start, end)]
    places: dict[tuple[int, int], None] = {}
    for start, end in spans:
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
        if start < end:
            places[starts[cluster[start]], starts[cluster[end - 1] + 1]] = None
    return [(start, end, [n for n, (a, b) in enumerate(spans) if a < end and start < b]) for start, end in places]


def gains(tokens: TokenGradients, vectors: Tensor, readings: Sequence[Sequence[int]]) -> Vectors:
    """Return by how much the loss would rise, float [readings], if the text were read as other subwords.

    The subwords that differ between a reading and the text's own are exchanged: the sum of the new vectors less that of
    the old, times the mean gradient of the old ones (of the two neighbors, if none is removed). For one subword against
    another this is HotFlip's estimate.
    """
    own = tokens.ids.tolist()
    if not own or not readings:
        return np.zeros(len(readings), dtype=np.float32)
    spans = [_changed(own, reading) for reading in readings]
    added = [reading[first : len(reading) - tail] for reading, (first, tail) in zip(readings, spans, strict=True)]
    gone = [own[first : len(own) - tail] for first, tail in spans]
    used, columns = np.unique([*(n for part in (*added, *gone) for n in part), own[0]], return_inverse=True)
    effects = (tokens.gradients @ vectors[used].T).numpy()  # [tokens, used]
    below = np.concatenate([np.zeros_like(effects[:1]), effects.cumsum(0)])  # so that means over places are cheap
    starts = np.array([first if old else max(0, first - 1) for (first, _), old in zip(spans, gone, strict=True)])
    ends = np.array([len(own) - tail if old else min(len(own), first + 1)
                     for (first, tail), old in zip(spans, gone, strict=True)])  # fmt: skip
    sizes = [*map(len, added), *map(len, gone)]
    which = np.repeat(np.tile(np.arange(len(readings)), 2), sizes)
    sign = np.repeat([1.0, -1.0], [sum(map(len, added)), sum(map(len, gone))])
    columns = columns[:-1]
    mean = (below[ends[which], columns] - below[starts[which], columns]) / (ends - starts)[which]
    return np.bincount(which, weights=sign * mean, minlength=len(readings)).astype(np.float32)


def _changed(own: Sequence[int], reading: Sequence[int]) -> tuple[int, int]:
    """Return how many subwords two readings share at the beginning, and after that at the end."""
    most = min(len(own), len(reading))
    first = next((n for n in range(most) if own[n] != reading[n]), most)
    tail = next((n for n in range(most - first) if own[-1 - n] != reading[-1 - n]), most - first)
    return first, tail


_POOL = 16  # character edits that are estimated for each one that the model is called for
_PER_PLACE = 2  # of these at one place: edits there are often read as the same subwords


def hotflip(
    encoder: GradientEncoder,
    texts: Sequence[str],  # of each query, in the goal's order
    languages: Sequence[str],
    goal: TextGoal,
    *,
    edits: int = 1,  # budget per query, at least 0
    candidates: int = 16,  # exchanges that are tried per query and round, at least 1
    progress: Report | None = None,
) -> list[AttackedText]:
    """Exchange whole subwords for others of the vocabulary; one exchange is one edit of kind "subword"."""
    check_candidates(candidates)
    flips = Flips(encoder)

    def propose(states: Sequence[AttackedText], rows: Sequence[int]) -> list[list[Edit]]:
        now = [state.perturbed.text for state in states]
        return flips.best(now, encoder.gradients(now, goal, rows), candidates)

    return search(encoder.encode, texts, languages, goal, propose, edits=edits, progress=progress)


def char_gradient(
    encoder: GradientEncoder,
    texts: Sequence[str],
    languages: Sequence[str],
    goal: TextGoal,
    *,
    kinds: Sequence[str | EditKind] = ("typo",),
    edits: int = 1,
    candidates: int = 8,
    seed: int = 0,
    progress: Report | None = None,
) -> list[AttackedText]:
    """Edit characters as ``greedy_search`` does, but try only those that the gradient points to.

    Of many random edits, each read by the tokenizer again, those are tried that to first order raise the loss most.
    Arguments and errors as ``greedy_search``.
    """
    check_candidates(candidates)
    chosen = edit_kinds(kinds)

    def propose(states: Sequence[AttackedText], rows: Sequence[int]) -> list[list[Edit]]:
        now, proposed = [state.perturbed.text for state in states], []
        for state, text, own in zip(states, now, encoder.gradients(now, goal, rows), strict=True):
            drawn = sampled(state, chosen, _POOL * candidates, seed)
            readings = encoder.tokenize([apply_edit(text, edit) for edit in drawn]) if drawn else []
            order = np.argsort(-gains(own, encoder.vectors, readings), kind="stable")
            proposed.append(_spread([drawn[n] for n in order.tolist()], candidates))
        return proposed

    return search(encoder.encode, texts, languages, goal, propose, edits=edits, progress=progress)


def _spread(ranked: Sequence[Edit], count: int) -> list[Edit]:
    """Return the first ``count`` edits, few at one place; the others after them where there are not enough."""
    at = Counter[int]()
    near: list[Edit] = []
    spread: list[Edit] = []
    for edit in ranked:
        at[edit.start] += 1
        (spread if at[edit.start] <= _PER_PLACE else near).append(edit)
        if len(spread) == count:
            return spread
    return [*spread, *near][:count]
