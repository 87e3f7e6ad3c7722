"""The settings of a translation model trained from scratch."""

from __future__ import annotations

from dataclasses import dataclass

from kivuko.errors import UsageError


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
