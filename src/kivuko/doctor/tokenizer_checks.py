"""Checks of a tokenizer: that it belongs to the weights, and how it cuts the sentences of each language."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import regex
from tokenizers import Tokenizer

from kivuko.doctor.finding import Examined, Finding, Level, Sentences
from kivuko.encoders.modules import backend_tokenizer, is_static, subword_table, text_route
from kivuko.encoders.vocabulary import UNKNOWN
from kivuko.languages import language
from kivuko.text import word_list

_SPARE = 1_000  # rows that a network's table may have more than its tokenizer entries: tables are rounded up
_LEGACY = ("clip", "clip_text_model")  # whose published configurations name other special tokens than they use
_FETCH_AGAIN = "Take tokenizer and weights from one place, or train the model again."
_UNKNOWN_SHARES = (0.01, 0.1, 0.5)  # share of out-of-vocabulary words from which it is a note, a warning, a fault
_SMALL, _TOO_SMALL = 3.0, 4.5  # subwords per word
_SMALL_LETTER, _TOO_SMALL_LETTER = 1.2, 2.0  # subwords per letter in scripts without spaces
_CHANGED = 2.0  # times that fertility may differ from that of training
_OTHER_STUDENT = (
    "Choose a student whose vocabulary covers the language, or let 'kivuko distill' learn one (--student static)."
)
_UNSPACED_SCRIPTS = frozenset({"Hani", "Hans", "Hant", "Jpan", "Hira", "Kana", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"})
_BYTE_PIECE = regex.compile(r"<0x[0-9A-Fa-f]{2}>")


@dataclass(frozen=True)
class Cuts:
    """Counts of how a tokenizer splits the sentences of a language."""

    fertility: float  # subwords per word (as separated by spaces); in scripts without spaces, per letter
    per_letter: bool
    words: int  # different words, case folded; in scripts without spaces, different letters
    unknown: float  # share of words of which some part is not in the vocabulary
    in_bytes: float  # share of subwords that are a single byte, where letters are missing
    in_letters: float  # share of words of three letters or more that are cut to single letters
    merged: float  # share of words with the subwords of another word: letters or marks were dropped
    too_long: float  # share of sentences that are longer than the model reads


def check_vocabulary(subject: Examined) -> Iterator[Finding]:
    """Compare the tokenizer's numbers with the rows of the table of subword vectors."""
    if "text" not in subject.encoder.modalities:
        return
    tokenizer = backend_tokenizer(subject.encoder)
    table = getattr(subword_table(subject.encoder), "weight", None)
    first = text_route(subject.encoder)[0]
    if tokenizer is None or table is None:
        yield Finding("note", "vocabulary", "its tokenizer or its table is not accessible: not checked")
        return
    numbers = tokenizer.get_vocab(with_added_tokens=True).values()
    entries, rows = max(numbers, default=-1) + 1, len(table)
    figures = {"entries": float(entries), "rows": float(rows)}
    complaints = list(_other_padding(first))
    if entries > rows:
        what = f"the tokenizer has numbers up to {entries - 1:,}, the weights only {rows:,} rows: a wrong tokenizer"
        complaints.insert(0, Finding("fault", "vocabulary", what, _FETCH_AGAIN, figures=figures))
    elif rows - entries > (0 if is_static(first) else _SPARE):
        what = f"the weights have {rows:,} rows, the tokenizer only {entries:,} entries: perhaps a wrong tokenizer"
        complaints.insert(0, Finding("warning", "vocabulary", what, _FETCH_AGAIN, figures=figures))
    yield from complaints or [Finding("ok", "vocabulary", f"{entries:,} entries for {rows:,} rows", figures=figures)]


def _other_padding(first: Any) -> Iterator[Finding]:
    """Compare the padding tokens: a network that expects another one reads padding as text."""
    config, tokenizer = getattr(getattr(first, "model", None), "config", None), getattr(first, "tokenizer", None)
    expected, own = getattr(config, "pad_token_id", None), getattr(tokenizer, "pad_token_id", None)
    if expected is None or getattr(config, "model_type", "") in _LEGACY:
        return
    if own is None:
        what = "the tokenizer has no padding token, the weights expect one"
        yield Finding("warning", "vocabulary", what, _FETCH_AGAIN)
    elif own != expected:
        what = f"the tokenizer pads with number {own}, the weights expect {expected}: perhaps a wrong tokenizer"
        yield Finding("warning", "vocabulary", what, _FETCH_AGAIN)


def check_tokens(subject: Examined, sentences: Sentences) -> Iterator[Finding]:
    code = sentences.language
    cuts = count_cuts(subject.encoder, sentences.texts(), language(code).script)
    if cuts is None:
        yield Finding("note", "tokens", "its tokenizer is not accessible: not checked", language=code)
        return
    figures = {name: float(value) for name, value in asdict(cuts).items()}
    is_trained = code in subject.trained or not subject.trained
    complaints = [*_unknown(cuts, is_trained), *_small(cuts), *_changed(subject, code, cuts)]
    for level, what, do in complaints:
        yield Finding(level, "tokens", what, do, code, figures)
    if not complaints:
        unit = "letter" if cuts.per_letter else "word"
        what = (
            f"{cuts.fertility:.2f} subwords per {unit}, {cuts.unknown:.1%} of {cuts.words:,} {unit}s out of vocabulary "
            f"({len(sentences.pairs):,} {sentences.origin})"
        )
        yield Finding("ok", "tokens", what, language=code, figures=figures)


def _unknown(cuts: Cuts, is_trained: bool) -> Iterator[tuple[Level, str, str]]:
    unit = "letters" if cuts.per_letter else "words"
    what = f"{cuts.unknown:.0%} of {cuts.words:,} {unit} are not, or not wholly, in the vocabulary"
    note, warning, fault = _UNKNOWN_SHARES
    if cuts.unknown >= fault and is_trained:
        yield "fault", f"{what}: a wrong tokenizer, or one for another script", _OTHER_STUDENT
    elif cuts.unknown >= warning:
        yield "warning", what, _OTHER_STUDENT
    elif cuts.unknown >= note:
        yield "note", f"{cuts.unknown:.1%} of {cuts.words:,} {unit} are not, or not wholly, in the vocabulary", ""
    if cuts.in_bytes > 0.05:
        yield "warning", f"{cuts.in_bytes:.0%} of the subwords are single bytes: letters are missing", _OTHER_STUDENT


def _small(cuts: Cuts) -> Iterator[tuple[Level, str, str]]:
    small, too_small = (_SMALL_LETTER, _TOO_SMALL_LETTER) if cuts.per_letter else (_SMALL, _TOO_SMALL)
    unit = "letter" if cuts.per_letter else "word"
    what = f"{cuts.fertility:.1f} subwords per {unit}: words are split into small pieces"
    if cuts.fertility > too_small:
        yield "warning", what, _OTHER_STUDENT
    elif cuts.fertility > small:
        yield "note", what, "A vocabulary of the language's own would split it less (vocabulary extension)."
    if cuts.too_long > 0.01:
        described = f"{cuts.too_long:.0%} of the sentences are longer than the model reads; their ends are not read"
        do = "Split them, or raise the model's max_seq_length."
        yield "warning" if cuts.too_long > 0.2 else "note", described, do
    if cuts.merged > 0.005:
        what = f"{cuts.merged:.1%} of the words are read as another word: the tokenizer drops marks or letters"
        do = "Switch stripping of accents off in its normalizer (BERT: strip_accents=False), and train again."
        yield "warning" if cuts.merged > 0.02 else "note", what, do


def _changed(subject: Examined, code: str, cuts: Cuts) -> Iterator[tuple[Level, str, str]]:
    """Compare with what was measured, on other sentences, when the model was trained."""
    before = subject.about.fertility.get(code, 0.0) if subject.about else 0.0
    if before > 0 and not 1 / _CHANGED < cuts.fertility / before < _CHANGED and not cuts.per_letter:
        what = (
            f"{cuts.fertility:.2f} subwords per word, but {before:.2f} in training: perhaps the tokenizer has changed"
        )
        yield "warning", what, "Give sentences like those of training (--bitext); if it stays, train the model again."


def count_cuts(model: Any, texts: Sequence[str], script: str) -> Cuts | None:
    """Count how a model's tokenizer splits texts; None if it is not one of the library ``tokenizers``."""
    backend = backend_tokenizer(model)
    if backend is None:
        return None
    own = Tokenizer.from_str(backend.to_str())  # the model's own may have cutting and padding switched on
    own.no_truncation()
    own.no_padding()
    wrapped = getattr(text_route(model)[0], "tokenizer", None)
    unknown = _unknown_number(wrapped, own)
    per_letter = script in _UNSPACED_SCRIPTS
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
    longest = float(getattr(text_route(model)[0], "max_seq_length", None) or "inf")
    special = own.num_special_tokens_to_add(False)
    return Cuts(
        fertility=len(pieces) / max(1, units),
        per_letter=per_letter,
        words=len(words),
        # A word of which no subword is left is as lost as an out-of-vocabulary one.
        unknown=sum(lacks or not one.ids for lacks, one in zip(lacking, cut, strict=True)) / max(1, len(words)),
        in_bytes=sum(bool(_BYTE_PIECE.fullmatch(piece)) for piece in pieces) / max(1, len(pieces)),
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
