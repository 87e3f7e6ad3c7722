"""Training a small translation model from scratch.

Every step's randomness (which pairs, what is dropped) is a function of the seed and the step alone.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kivuko.bitext import Bitext
from kivuko.errors import DataError, UsageError
from kivuko.training.loop import step_seed, warmup_cosine
from kivuko.translation.marian import (
    NO_LABEL,
    Batch,
    Numbered,
    batches,
    initialize_from_counts,
    marian_model,
    marian_tokenizer,
    number_pairs,
    to_batch,
    written_subwords,
)
from kivuko.translation.seq2seq import Seq2SeqTranslator, source_routes
from kivuko.translation.settings import TranslationSettings
from kivuko.translation.translate_test import chrf

Report = Callable[[int, int, dict[str, float]], None]  # (step, steps, figures)


@dataclass(frozen=True)
class TranslatorTraining:
    """The best step, its chrF on held-out pairs (0 to 1), the scores of all steps that were scored, and seconds."""

    best_step: int
    best_score: float
    history: list[tuple[int, float]]
    seconds: float


class _Scorer:
    """Scores weights by the chrF of their greedy translations of some held-out pairs.

    Not by cross-entropy: with 300 pairs per language, that was best after a sixth of the steps, when the model still
    wrote the same few words for every source; the translations improved to the end.
    """

    def __init__(self, translator: Seq2SeqTranslator, held_out: Bitext, most: int) -> None:
        stride = max(1, math.ceil(len(held_out) / most))  # evenly spread, so every language has its share
        self._groups = Bitext(held_out.pairs[::stride]).by_language()
        self._translator = translator

    def score(self, weights: dict[str, Tensor]) -> float:
        """Return the chrF, 0 to 1; the model's own weights and generation settings are restored."""
        model = self._translator.model
        own = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        search, training = model.generation_config, model.training
        model.generation_config = copy.deepcopy(search)
        model.generation_config.num_beams = 1
        model.load_state_dict(weights, strict=False)
        model.eval()
        written, wanted = list[str](), list[str]()
        for language, pairs in self._groups.items():
            written += self._translator.translate([pair.text for pair in pairs], language)
            wanted += [pair.english for pair in pairs]
        model.load_state_dict(own, strict=False)
        model.generation_config = search
        model.train(training)
        return chrf(written, wanted)


def train_translator(
    bitext: Bitext,
    held_out: Bitext,
    settings: TranslationSettings | None = None,
    *,
    seed: int = 0,
    report: Report | None = None,
) -> tuple[Seq2SeqTranslator, TranslatorTraining]:
    """Train one model from all languages of a bitext into English; keep the weights best on ``held_out`` pairs."""
    settings, started = settings or TranslationSettings(), time.monotonic()
    _check(bitext, held_out)
    tokenizer = marian_tokenizer(bitext, settings)
    written = written_subwords(tokenizer, [pair.english for pair in bitext])
    model = marian_model(tokenizer, bitext.languages(), settings, seed, written)
    pairs = number_pairs(bitext.pairs, tokenizer, settings.language_tag, settings.max_length)
    if settings.counted_start:
        initialize_from_counts(model, pairs, seed)
    route = source_routes(bitext.languages(), settings.language_tag)
    translator = Seq2SeqTranslator(model, tokenizer, "marian-from-scratch", route)
    scorer = _Scorer(translator, held_out, settings.selection_pairs)
    best_step, history = _fit(model, pairs.no_longer_than(settings.train_length), scorer, settings, seed, report)
    model.eval()
    return translator, TranslatorTraining(best_step, dict(history)[best_step], history, time.monotonic() - started)


def _check(bitext: Bitext, held_out: Bitext) -> None:
    if not len(bitext):
        raise DataError("no pairs to train a translator on: every line was left out, or the sample is empty.")
    if not len(held_out):
        raise DataError("no pairs held out to select the translator's best step on: give more bitext.")
    if unknown := [code for code in held_out.languages() if code not in bitext.languages()]:
        raise DataError(f"held-out pairs in {', '.join(unknown)}, but none to train a translator on: leave them out.")


def _fit(
    model: Any, pairs: Numbered, scorer: _Scorer, settings: TranslationSettings, seed: int, report: Report | None
) -> tuple[int, list[tuple[int, float]]]:
    steps = settings.steps(pairs.tokens)
    scored_at = {math.ceil(steps * (k + 1) / settings.selections) for k in range(settings.selections)}
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        betas=(0.9, 0.98),
        fused=True,
    )
    mean = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    best, best_step, history = mean, 0, list[tuple[int, float]]()
    for step, rows in batches(pairs, settings.batch_tokens, steps, seed):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * warmup_cosine(step, steps, settings.warmup)
        torch.manual_seed(step_seed(seed, step))
        model.train()
        loss = _cross_entropy(model, to_batch(pairs, rows, settings.word_dropout), settings.label_smoothing)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if not math.isfinite(figure := loss.item()):
            raise UsageError(f"the translator diverged at step {step} (loss {figure}). Lower learning_rate.")
        _move_mean(mean, model, min(settings.averaging, step / (step + 10)))
        if report:
            report(step, steps, {"loss": figure})
        if step in scored_at:
            history.append((step, scorer.score(mean)))
            if history[-1][1] >= max(score for _, score in history):  # of equals the later, which has seen more
                best_step, best = step, {name: weight.clone() for name, weight in mean.items()}
    model.load_state_dict(best, strict=False)
    return best_step, history


def _cross_entropy(model: Any, batch: Batch, smoothing: float = 0.0) -> Tensor:
    """Return the mean over target subwords, in nats."""
    states = model.model(
        input_ids=batch.source, attention_mask=batch.attended, decoder_input_ids=batch.given, use_cache=False
    ).last_hidden_state  # [batch, m, width]
    real = batch.wanted != NO_LABEL
    # The vocabulary is most of the arithmetic, so padding never meets it.
    logits = model.lm_head(states[real]) + model.final_logits_bias  # [real subwords, vocabulary]
    return F.cross_entropy(logits, batch.wanted[real], label_smoothing=smoothing)


@torch.no_grad()
def _move_mean(mean: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(mean.values()), list(model.parameters()), 1 - decay)
