"""Whether tokenizer and weights belong together. A wrong tokenizer gives 0.1 % accuracy and no error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kivuko.doctor.finding import Finding, Patient
from kivuko.encoders.modules import backend_tokenizer, input_table, is_static, text_route

CHECK = "vocabulary"
_SPARE = 1_000  # rows that a network's table may have more than its tokenizer entries: tables are rounded up
_LEGACY = ("clip", "clip_text_model")  # whose published configurations name other special tokens than they use
_DO = "Take tokenizer and weights from one place; a model: make it again."


def check_vocabulary(patient: Patient) -> Iterator[Finding]:
    """Compare the tokenizer's numbers with the rows of the table that they are looked up in."""
    if "text" not in patient.model.modalities:
        return
    tokenizer, table = backend_tokenizer(patient.model), input_table(patient.model)
    first = text_route(patient.model)[0]
    if tokenizer is None or table is None:
        yield Finding("note", CHECK, "its tokenizer or its table is not open to look at: not checked")
        return
    numbers = tokenizer.get_vocab(with_added_tokens=True).values()
    entries, rows = max(numbers, default=-1) + 1, len(table)
    figures = {"entries": float(entries), "rows": float(rows)}
    found = False
    if entries > rows:
        what = f"the tokenizer has numbers up to {entries - 1:,}, the weights only {rows:,} rows: a wrong tokenizer"
        yield Finding("fault", CHECK, what, _DO, figures=figures)
        found = True
    elif rows - entries > (0 if is_static(first) else _SPARE):
        what = f"the weights have {rows:,} rows, the tokenizer only {entries:,} entries: perhaps a wrong tokenizer"
        yield Finding("warning", CHECK, what, _DO, figures=figures)
        found = True
    for one in _other_padding(first):
        yield one
        found = True
    if not found:
        yield Finding("ok", CHECK, f"{entries:,} entries for {rows:,} rows", figures=figures)


def _other_padding(first: Any) -> Iterator[Finding]:
    """Compare the padding token: a network that knows another one reads padding as text."""
    config, tokenizer = getattr(getattr(first, "model", None), "config", None), getattr(first, "tokenizer", None)
    expected, own = getattr(config, "pad_token_id", None), getattr(tokenizer, "pad_token_id", None)
    if expected is None or getattr(config, "model_type", "") in _LEGACY:
        return
    if own is None:
        yield Finding("warning", CHECK, "the tokenizer has no padding token, the weights expect one", _DO)
    elif own != expected:
        what = f"the tokenizer pads with number {own}, the weights expect {expected}: perhaps a wrong tokenizer"
        yield Finding("warning", CHECK, what, _DO)
