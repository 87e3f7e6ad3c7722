"""A small Marian model, its tokenizer, its batches, and the initialization of its embeddings.

Architecture: Junczys-Dowmunt et al. 2018, "Marian: Fast Neural Machine Translation in C++", as in ``transformers``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor

from kivuko.bitext import Bitext, Pair
from kivuko.encoders.vocabulary import PAD, UNKNOWN, train_vocabulary
from kivuko.training.loop import step_seed
from kivuko.translation.settings import TranslationSettings

END = "</s>"
_INITIAL_STD = 0.05  # of weights, before training: small models learn faster from more than the library's 0.02


def language_tag(language: str) -> str:
    """Return the token that says which language a source text is in.

    >>> language_tag("sw")
    '>>sw<<'
    """
    return f">>{language}<<"


def marian_tokenizer(bitext: Bitext, settings: TranslationSettings) -> Any:
    """Return a ``PreTrainedTokenizerFast`` with one vocabulary for both sides of a bitext, English subwords first.

    Every text ends with ``</s>``; the languages' tags are tokens. Text is lower-cased, and so are translations.
    """
    from transformers import PreTrainedTokenizerFast

    texts = [*(pair.text for pair in bitext), *(pair.english for pair in bitext)]
    own = _written_first(train_vocabulary(texts, settings.vocabulary_size), texts[len(bitext) :])
    tags = [language_tag(language) for language in bitext.languages()] if settings.language_tag else []
    own.add_special_tokens([END, *tags])
    own.post_processor = TemplateProcessing(single=f"$A {END}", special_tokens=[(END, own.token_to_id(END))])
    return PreTrainedTokenizerFast(
        tokenizer_object=own, pad_token=PAD, unk_token=UNKNOWN, eos_token=END, model_max_length=settings.max_length,
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def _written_first(vocabulary: Tokenizer, english: Sequence[str]) -> Tokenizer:
    """Number the subwords of the English side first, with the end token, then those that are only read.

    The decoder then needs the first numbers only: most of its arithmetic is over its vocabulary.
    """
    state = json.loads(vocabulary.to_str())
    written = {number for one in vocabulary.encode_batch(list(english)) for number in one.ids}
    pieces = list(enumerate(state["model"]["vocab"]))
    special = [piece for _, piece in pieces[:2]]
    first, rest = ([piece for number, piece in pieces[2:] if (number in written) == side] for side in (True, False))
    state["model"]["vocab"] = [*special, [END, 0.0], *first, *rest]
    return Tokenizer.from_str(json.dumps(state))


def written_subwords(tokenizer: Any, english: Sequence[str]) -> int:
    ids: list[list[int]] = tokenizer(list(english), truncation=True)["input_ids"]
    return 1 + max(max(own) for own in ids)


def marian_model(
    tokenizer: Any, languages: Sequence[str], settings: TranslationSettings, seed: int, written: int | None = None
) -> Any:
    """Return a ``MarianMTModel`` with random weights, a function of the settings and the seed.

    ``written`` is the size of the decoder's vocabulary, the first subwords; None: all, and it shares the encoder's
    vectors. Its generation settings are a beam search that never writes a tag, an unknown or a padding token.
    """
    from transformers import GenerationConfig, MarianConfig, MarianMTModel

    torch.manual_seed(seed)
    backend: Tokenizer = tokenizer.backend_tokenizer
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    config = MarianConfig(
        vocab_size=backend.get_vocab_size(), d_model=settings.width, max_position_embeddings=settings.max_length + 2,
        encoder_layers=settings.encoder_layers, decoder_layers=settings.decoder_layers,
        encoder_attention_heads=settings.heads, decoder_attention_heads=settings.heads,
        encoder_ffn_dim=settings.feed_forward * settings.width, decoder_ffn_dim=settings.feed_forward * settings.width,
        dropout=settings.dropout, attention_dropout=0.0, activation_dropout=0.0, activation_function="relu",
        scale_embedding=True, pad_token_id=pad, eos_token_id=end, bos_token_id=None, decoder_start_token_id=pad,
        init_std=_INITIAL_STD, forced_eos_token_id=None, source_languages=list(languages),
        decoder_vocab_size=written, share_encoder_decoder_embeddings=written is None,
    )  # fmt: skip
    model = MarianMTModel(config)
    known = range(written or len(tokenizer))
    added = {*tokenizer.get_added_vocab().values(), tokenizer.unk_token_id}
    never = sorted((added - {end}) & {*known})
    model.generation_config = GenerationConfig(
        num_beams=settings.beams, length_penalty=settings.length_penalty, max_length=settings.max_length,
        pad_token_id=pad, eos_token_id=end, decoder_start_token_id=pad, suppress_tokens=never,
    )  # fmt: skip
    return model


NO_LABEL = -100  # torch's cross-entropy ignores it by default
_POOL = 2048  # pairs sorted by length together: enough to save most padding, few enough to mix well


@dataclass(frozen=True)
class Numbered:
    """Pairs as subword numbers, each sequence with the end token."""

    source: list[list[int]]
    target: list[list[int]]
    pad: int  # number of the padding token
    unknown: int  # number of the unknown token
    tagged: bool  # sources begin with a language tag

    def __len__(self) -> int:
        return len(self.source)

    @property
    def tokens(self) -> int:
        return sum(map(len, self.source)) + sum(map(len, self.target))

    def no_longer_than(self, subwords: int) -> Numbered:
        """Return the pairs with at most so many subwords on either side; all of them if none is so short."""
        both = zip(self.source, self.target, strict=True)
        kept = [(source, target) for source, target in both if max(len(source), len(target)) <= subwords]
        if not kept:
            return self
        return replace(self, source=[source for source, _ in kept], target=[target for _, target in kept])


@dataclass(frozen=True)
class Batch:
    """One batch; ``given`` is ``wanted`` moved one to the right, with padding first, as Marian has it."""

    source: Tensor  # int64 [batch, n]
    attended: Tensor  # bool [batch, n]
    given: Tensor  # int64 [batch, m]
    wanted: Tensor  # int64 [batch, m], ``NO_LABEL`` after the end of a sentence


def number_pairs(pairs: Sequence[Pair], tokenizer: Any, tagged: bool, max_length: int) -> Numbered:
    """Return pairs as subword numbers, cut to ``max_length`` with their end token kept."""
    sources = [tagged_text(pair.text, pair.language if tagged else None) for pair in pairs]
    options = {"truncation": True, "max_length": max_length}
    return Numbered(
        tokenizer(sources, **options)["input_ids"],
        tokenizer([pair.english for pair in pairs], **options)["input_ids"],
        tokenizer.pad_token_id,
        tokenizer.unk_token_id,
        tagged,
    )


def tagged_text(text: str, language: str | None) -> str:
    return text if language is None else f"{language_tag(language)} {text}"


def to_batch(pairs: Numbered, rows: Sequence[int], word_dropout: float = 0.0) -> Batch:
    """Pad the chosen pairs; ``word_dropout`` of the source subwords (never the tag or the end) become unknown."""
    source = _padded([pairs.source[row] for row in rows], pairs.pad)
    wanted = _padded([pairs.target[row] for row in rows], NO_LABEL)
    attended = source != pairs.pad
    given = torch.full_like(wanted, pairs.pad)
    given[:, 1:] = torch.where(wanted[:, :-1] == NO_LABEL, pairs.pad, wanted[:, :-1])
    if word_dropout > 0:
        hidden = (torch.rand(source.shape) < word_dropout) & attended
        hidden &= torch.cat([attended[:, 1:], torch.zeros(len(rows), 1, dtype=torch.bool)], 1)  # not the end
        hidden[:, : int(pairs.tagged)] = False
        source = torch.where(hidden, pairs.unknown, source)
    return Batch(source, attended, given, wanted)


def batches(pairs: Numbered, tokens: int, steps: int, seed: int) -> Iterator[tuple[int, list[int]]]:
    """Yield (step, rows) for steps 1 to ``steps``: shuffled epochs, pairs of similar length together.

    A batch has as many pairs as fit into ``tokens`` with their padding, at least one.
    """
    step, epoch = 0, 0
    while True:
        generator = torch.Generator().manual_seed(step_seed(seed, -1 - epoch))
        order: list[int] = torch.randperm(len(pairs), generator=generator).tolist()
        pools = [order[start : start + _POOL] for start in range(0, len(order), _POOL)]
        cut = [rows for pool in pools for rows in cut_by_length(pairs, pool, tokens)]
        for place in torch.randperm(len(cut), generator=generator).tolist():
            step += 1
            yield step, cut[place]
            if step == steps:
                return
        epoch += 1


def cut_by_length(pairs: Numbered, rows: Iterable[int], tokens: int) -> list[list[int]]:
    cut: list[list[int]] = []
    longest = 0
    for row in sorted(rows, key=lambda row: (len(pairs.target[row]), len(pairs.source[row]))):
        longest = max(longest, len(pairs.source[row]))
        if not cut or (len(cut[-1]) + 1) * (longest + len(pairs.target[row])) > tokens:
            cut.append([])
            longest = len(pairs.source[row])
        cut[-1].append(row)
    return cut


def _padded(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    padded = torch.full((len(rows), max(map(len, rows))), filler, dtype=torch.long)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = torch.tensor(row, dtype=torch.long)
    return padded


# Embedding initialization: a transformer with random vectors spends its first thousands of steps learning which words
# translate each other; counts give that at once. Each subword is described by the English sentences whose pairs it
# occurs in, on either side: Levy, Søgaard and Goldberg 2017, "A Strong Baseline for Learning Cross-Lingual Word
# Embeddings from Sentence Alignments".

_MOST_SENTENCES = 20_000  # columns; more sentences share columns, which bounds memory


def sentence_vectors(
    sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], subwords: int, width: int, seed: int
) -> Tensor:
    """Return one vector per subword, float32 [subwords, width], of length 1 or, if it never occurs, zero.

    They are the left singular vectors, each times the square root of its singular value, of the positive pointwise
    mutual information between subwords and English sentences.
    """
    column = {english: place for place, english in enumerate(dict.fromkeys(map(tuple, targets)))}
    columns = min(len(column), _MOST_SENTENCES)
    counts = torch.zeros(subwords, columns)
    for source, target in zip(sources, targets, strict=True):
        place = column[tuple(target)] % columns
        counts[torch.tensor([*source, *target]), place] = 1.0
    total, rows, sums = counts.sum(), counts.sum(1, keepdim=True), counts.sum(0, keepdim=True)
    information = (counts * total / (rows * sums).clamp(min=1e-12)).clamp(min=1.0).log()
    torch.manual_seed(seed)
    rank = min(width, *information.shape)
    left, singular, _ = torch.svd_lowrank(information, q=rank, niter=3)
    vectors = torch.zeros(subwords, width)
    vectors[:, :rank] = left * singular.sqrt()
    unit: Tensor = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return torch.where(rows > 0, unit, 0.0)  # rounding of the decomposition in rows without counts


@torch.no_grad()
def initialize_from_counts(model: Any, pairs: Numbered, seed: int) -> None:
    """Set the vectors of the subwords in ``pairs`` to their ``sentence_vectors``, and cross-attention to the identity.

    Translations have similar vectors, so the untrained model already favors the translations of the source's words.
    """
    read, written = model.get_encoder().embed_tokens.weight, model.get_decoder().embed_tokens.weight
    vectors = sentence_vectors(pairs.source, pairs.target, read.shape[0], read.shape[1], seed)
    for weight in (read, written):
        own = vectors[: len(weight)]
        weight.copy_(torch.where(own.any(1, keepdim=True), own, weight))
    for layer in model.get_decoder().layers:
        for projection in (layer.encoder_attn.v_proj, layer.encoder_attn.out_proj):
            projection.weight.copy_(torch.eye(len(projection.weight)))
