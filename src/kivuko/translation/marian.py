"""A small Marian model with random weights, and a tokenizer over a vocabulary of the bitext's own.

Architecture: Junczys-Dowmunt et al. 2018, "Marian: Fast Neural Machine Translation in C++", as in ``transformers``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from kivuko.bitext import Bitext
from kivuko.encoders.vocabulary import PAD, UNKNOWN, train_vocabulary
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
    """Return a ``PreTrainedTokenizerFast`` with one vocabulary for both sides of a bitext, what is written in front.

    Every text ends with ``</s>``; the languages' tags are tokens, to be written in front of a text. Text is
    lower-cased (see ``train_vocabulary``), so translations come out in lower case.

    Raises:
        DataError: there is no text to learn from.
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
    """Number the subwords of the English side first, the end token among them, then those that are only read.

    The decoder then needs the first numbers only, and most of its arithmetic is over the words that it may write.
    """
    state = json.loads(vocabulary.to_str())
    written = {number for one in vocabulary.encode_batch(list(english)) for number in one.ids}
    pieces = list(enumerate(state["model"]["vocab"]))
    special = [piece for _, piece in pieces[:2]]
    first, rest = ([piece for number, piece in pieces[2:] if (number in written) == side] for side in (True, False))
    state["model"]["vocab"] = [*special, [END, 0.0], *first, *rest]
    return Tokenizer.from_str(json.dumps(state))


def written_subwords(tokenizer: Any, english: Sequence[str]) -> int:
    """Return how many of the first subwords a decoder of these texts needs: one more than the largest number."""
    ids: list[list[int]] = tokenizer(list(english), truncation=True)["input_ids"]
    return 1 + max(max(own) for own in ids)


def marian_model(
    tokenizer: Any, languages: Sequence[str], settings: TranslationSettings, seed: int, written: int | None = None
) -> Any:
    """Return a ``MarianMTModel`` with random weights, a function of the settings and the seed.

    Args:
        written: subwords that the decoder knows, the first ones; None: all, and it shares the encoder's vectors.

    Its configuration keeps under ``source_languages`` what it translates from, and its generation settings how:
    beam search that never writes a tag, an unknown or a padding token.
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
