"""Training a small Marian translation model from scratch: its settings, model, tokenizer, batches and training.

Architecture: Junczys-Dowmunt et al. 2018, "Marian: Fast Neural Machine Translation in C++", as in ``transformers``.
Every step's randomness (which pairs, what is dropped) is a function of the seed and the step alone.
"""

from __future__ import annotations

import copy
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from torch.nn import functional as F

from kivuko.bitext.pairs import Bitext, Pair
from kivuko.encoders.vocabulary import PAD, UNKNOWN, train_vocabulary
from kivuko.errors import DataError, UsageError
from kivuko.training.loop import Report, Training, TrainingResult, fit, step_seed, warmup_cosine
from kivuko.translation.seq2seq import Seq2SeqTranslator, language_tag, source_routes

END = "</s>"
_INITIAL_STD = 0.05  # of weights, before training: small models learn faster from more than the library's 0.02


@dataclass(frozen=True)
class TranslationSettings:
    """Size, regularization and schedule of a small translation model.

    Small data needs dropout, word dropout and label smoothing (Sennrich and Zhang 2019, "Revisiting Low-Resource Neural
    Machine Translation"); a large vocabulary was better than a small one, since counts already relate whole words. The
    values were chosen on the emoji world's validation split, for about a minute of one core.
    """

    vocabulary_size: int = 8000  # subwords at most, of all languages and English together
    width: int = 128  # of the hidden states; divisible by ``heads``
    encoder_layers: int = 1
    decoder_layers: int = 1
    heads: int = 4
    feed_forward: int = 2  # width of these layers, in multiples of ``width``
    dropout: float = 0.2  # share of activations that training drops
    word_dropout: float = 0.1  # share of source subwords that training replaces by the unknown token
    label_smoothing: float = 0.1  # share of the probability that all subwords get alike
    language_tag: bool = True  # a token in front says which language a text is in
    counted_start: bool = True  # initialize subword vectors from counts (``sentence_vectors``)
    epochs: int = 25  # as far as ``most_steps`` allows
    least_steps: int = 200
    most_steps: int = 450
    batch_tokens: int = 1500  # subwords per step, both sides and their padding counted
    learning_rate: float = 3e-3  # AdamW's at its peak
    weight_decay: float = 0.01
    warmup: float = 0.1  # share of the steps; then half a cosine down to zero
    averaging: float = 0.98  # decay per step of the running mean of the weights, which is kept
    selections: int = 5  # times that held-out pairs are scored, evenly spread over the steps
    selection_pairs: int = 280  # held-out pairs that are translated for it, at most
    beams: int = 4  # hypotheses of the search
    length_penalty: float = 1.0  # exponent of the length that divides a log-probability
    max_length: int = 24  # subwords of a text that are read or written, at most
    train_length: int = 16  # longer pairs are used for the counted start only

    def __post_init__(self) -> None:
        for name in ("width", "heads", "batch_tokens", "least_steps", "most_steps", "selections", "beams"):
            if getattr(self, name) < 1:
                raise UsageError(f"translation setting {name} = {getattr(self, name)}: give at least 1")
        for name in ("dropout", "word_dropout", "label_smoothing", "averaging"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"translation setting {name} = {getattr(self, name)}: give 0 or more, and below 1")
        if self.width % self.heads:
            raise UsageError(f"translation setting width = {self.width}: not divisible by heads = {self.heads}")

    def steps(self, tokens: int) -> int:
        wanted = round(self.epochs * tokens / self.batch_tokens)
        return max(self.least_steps, min(self.most_steps, wanted))


def train_translator(
    bitext: Bitext,
    held_out: Bitext,
    settings: TranslationSettings | None = None,
    *,
    seed: int = 0,
    report: Report | None = None,
) -> tuple[Seq2SeqTranslator, TrainingResult]:
    """Train one model from all languages of a bitext into English; keep the weights best on ``held_out`` pairs."""
    settings = settings or TranslationSettings()
    _check(bitext, held_out)
    tokenizer = marian_tokenizer(bitext, settings)
    written = written_subwords(tokenizer, [pair.english for pair in bitext])
    model = marian_model(tokenizer, bitext.languages(), settings, seed, written)
    pairs = number_pairs(bitext.pairs, tokenizer, settings.language_tag, settings.max_length)
    if settings.counted_start:
        initialize_from_counts(model, pairs, seed)
    route = source_routes(bitext.languages(), settings.language_tag)
    translator = Seq2SeqTranslator(copy.deepcopy(model), tokenizer, "marian-from-scratch", route)
    training = _Training(model, translator, pairs.no_longer_than(settings.train_length), held_out, settings, seed)
    scored = frozenset(math.ceil(training.steps * (k + 1) / settings.selections) for k in range(settings.selections))
    return translator, fit(training, training.steps, every=scored, report=report)


def _check(bitext: Bitext, held_out: Bitext) -> None:
    if not len(bitext):
        raise DataError("no pairs to train a translator on: every line was left out, or the sample is empty.")
    if not len(held_out):
        raise DataError("no pairs held out to select the translator's best step on: give more bitext.")
    if unknown := [code for code in held_out.languages() if code not in bitext.languages()]:
        raise DataError(f"held-out pairs in {', '.join(unknown)}, but none to train a translator on: leave them out.")


class _Training(Training):
    """The training of ``model``; the translator's own weights are the running mean of the model's."""

    name = "the translator"
    later_of_equals = True  # it has seen more

    def __init__(
        self, model: Any, translator: Seq2SeqTranslator, pairs: Numbered, held_out: Bitext,
        settings: TranslationSettings, seed: int,
    ) -> None:  # fmt: skip
        self.model, self.translator, self.weights = model, translator, translator.model
        self.settings, self.steps, self.clipped = settings, settings.steps(pairs.tokens), list(model.parameters())
        self.optimizer = torch.optim.AdamW(
            self.clipped, lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.98), fused=True
        )
        self._pairs, self._seed, self._step = pairs, seed, 0
        self._batches = batches(pairs, settings.batch_tokens, self.steps, seed)
        stride = math.ceil(len(held_out) / settings.selection_pairs)  # evenly spread, so every language has its share
        self._held_out = Bitext(held_out.pairs[:: max(1, stride)]).by_language()

    def set_rate(self, step: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * warmup_cosine(step, self.steps, self.settings.warmup)

    def loss(self, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        self._step, rows = next(self._batches)
        torch.manual_seed(step_seed(self._seed, step))
        self.model.train()
        batch = to_batch(self._pairs, rows, self.settings.word_dropout)
        return _cross_entropy(self.model, batch, self.settings.label_smoothing), {}

    @torch.no_grad()
    def after_step(self) -> None:
        decay = min(self.settings.averaging, self._step / (self._step + 10))
        torch._foreach_lerp_(list(self.weights.parameters()), list(self.model.parameters()), 1 - decay)

    def score(self) -> float:
        """Return the chrF of greedy translations of held-out pairs, 0 to 1.

        Not cross-entropy: with 300 pairs per language, that was best after a sixth of the steps, when the model still
        wrote the same few words for every source; the translations improved to the end.
        """
        search = self.translator.model.generation_config
        self.translator.model.generation_config = copy.deepcopy(search)
        self.translator.model.generation_config.num_beams = 1
        written, wanted = list[str](), list[str]()
        for language, pairs in self._held_out.items():
            written += self.translator.translate([pair.text for pair in pairs], language)
            wanted += [pair.english for pair in pairs]
        self.translator.model.generation_config = search
        return chrf(written, wanted)


def _cross_entropy(model: Any, batch: Batch, smoothing: float = 0.0) -> Tensor:
    """Return the mean over target subwords, in nats."""
    states = model.model(
        input_ids=batch.source, attention_mask=batch.attended, decoder_input_ids=batch.given, use_cache=False
    ).last_hidden_state  # [batch, m, width]
    real = batch.wanted != NO_LABEL
    # The vocabulary is most of the arithmetic, so padding never meets it.
    logits = model.lm_head(states[real]) + model.final_logits_bias  # [real subwords, vocabulary]
    return F.cross_entropy(logits, batch.wanted[real], label_smoothing=smoothing)


_ORDERS, _BETA = range(1, 7), 2.0


def chrf(translations: Sequence[str], references: Sequence[str]) -> float:
    """Return chrF over a whole collection, 0 to 1; case and white space are ignored.

    Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation": n = 1 to 6, recall counts twice; the
    mean of the F-scores of all n (sacrebleu takes the F-score of their mean precision and recall).

    >>> chrf(["black cat"], ["Black cat"])
    1.0
    """
    scores = []
    for order in _ORDERS:
        matched = written = wanted = 0
        for translation, reference in zip(translations, references, strict=True):
            counts, expected = _ngrams(translation, order), _ngrams(reference, order)
            matched += (counts & expected).total()
            written, wanted = written + counts.total(), wanted + expected.total()
        if wanted:  # a collection of short words has no long n-grams
            precision, recall = matched / max(written, 1), matched / wanted
            both = _BETA**2 * precision + recall
            scores.append((1 + _BETA**2) * precision * recall / both if both else 0.0)
    return sum(scores) / len(scores) if scores else 0.0


def _ngrams(text: str, order: int) -> Counter[str]:
    letters = "".join(text.casefold().split())
    return Counter(letters[start : start + order] for start in range(len(letters) - order + 1))


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
