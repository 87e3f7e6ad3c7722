"""How a tokenizer cuts the sentences of a language: counts, no judgment."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import regex
from tokenizers import Tokenizer

from kivuko.bitext import word_list
from kivuko.encoders.modules import backend_tokenizer, text_route
from kivuko.encoders.vocabulary import UNKNOWN

_UNSPACED = frozenset({"Hani", "Hans", "Hant", "Jpan", "Hira", "Kana", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"})
_BYTE = regex.compile(r"<0x[0-9A-Fa-f]{2}>")


@dataclass(frozen=True)
class Cuts:
    """What a tokenizer makes of a language's sentences.

    Attributes:
        fertility: subwords per word (what stands between spaces); in scripts without spaces, per letter.
        per_letter: whether it is per letter.
        words: different words, case folded; in scripts without spaces, different letters.
        unknown: share of them of which some part is not in the vocabulary.
        in_bytes: share of all subwords that stand for a single byte, where letters are missing.
        in_letters: share of the words of three letters or more that are cut to single letters.
        merged: share of the words that are cut to the very subwords of another word: letters or marks were dropped.
        too_long: share of the sentences that are longer than the model reads.
    """

    fertility: float
    per_letter: bool
    words: int
    unknown: float
    in_bytes: float
    in_letters: float
    merged: float
    too_long: float


def count_cuts(model: Any, texts: Sequence[str], script: str) -> Cuts | None:
    """Count how a model's tokenizer cuts texts; None if it is not one of the library ``tokenizers``.

    Args:
        script: the language's, ISO 15924.
    """
    backend = backend_tokenizer(model)
    if backend is None:
        return None
    own = Tokenizer.from_str(backend.to_str())  # the model's own may have cutting and padding switched on
    own.no_truncation()
    own.no_padding()
    wrapped = getattr(text_route(model)[0], "tokenizer", None)
    unknown = _unknown_number(wrapped, own)
    per_letter = script in _UNSPACED
    encoded = own.encode_batch(list(texts), add_special_tokens=False)
    pieces = [piece for one in encoded for piece in one.tokens]
    units = sum(len(_letters(text)) if per_letter else len(text.split()) for text in texts)
    parts = _letters if per_letter else word_list
    folded = [unicodedata.normalize("NFKC", text).casefold() for text in texts]
    words = list(dict.fromkeys(part for text in folded for part in parts(text)))
    cut = own.encode_batch(words, add_special_tokens=False)
    lacking = [unknown is not None and unknown in one.ids for one in cut]
    known = [tuple(one.ids) for one, lacks in zip(cut, lacking, strict=True) if not lacks and one.ids]
    longer = [len(word) > 2 for word in words]
    single = [long and len(one.ids) >= len(word) for word, one, long in zip(words, cut, longer, strict=True)]
    longest, special = _longest(model), own.num_special_tokens_to_add(False)
    return Cuts(
        fertility=len(pieces) / max(1, units),
        per_letter=per_letter,
        words=len(words),
        # A word of which nothing at all is left is as lost as an unknown one.
        unknown=sum(lacks or not one.ids for lacks, one in zip(lacking, cut, strict=True)) / max(1, len(words)),
        in_bytes=sum(bool(_BYTE.fullmatch(piece)) for piece in pieces) / max(1, len(pieces)),
        in_letters=0.0 if per_letter else sum(single) / max(1, sum(longer)),
        merged=0.0 if per_letter else (len(known) - len(set(known))) / max(1, len(words)),
        too_long=sum(len(one.ids) + special > longest for one in encoded) / max(1, len(texts)),
    )


def _letters(text: str) -> list[str]:
    return [letter for letter in text if letter.isalpha()]


def _unknown_number(wrapped: Any, own: Tokenizer) -> int | None:
    """Return the number of the unknown token; None where there is none, as with subwords of bytes."""
    named = getattr(wrapped, "unk_token", None)
    for name in (named, UNKNOWN, "<unk>"):
        if name is not None and (number := own.token_to_id(str(name))) is not None:
            return int(number)
    return None


def _longest(model: Any) -> float:
    longest = getattr(text_route(model)[0], "max_seq_length", None)
    return float(longest) if longest else float("inf")
