"""The settings of a translation model trained from scratch."""

from __future__ import annotations

from dataclasses import dataclass

from kivuko.errors import UsageError


@dataclass(frozen=True)
class TranslationSettings:
    """Size, regularization and schedule of a small translation model.

    Small data needs dropout, word dropout and label smoothing: Sennrich and Zhang 2019, "Revisiting Low-Resource Neural
    Machine Translation". Unlike there, a large vocabulary was better than a small one, since counts already relate
    whole words. The values were chosen on the emoji world's validation split, for about a minute of one core.

    Attributes:
        vocabulary_size: subwords at most, of all languages and English together.
        width: of the hidden states; divisible by ``heads``. Feed-forward layers are ``feed_forward`` times as wide.
        encoder_layers, decoder_layers: their numbers.
        dropout: share of activations that training drops.
        word_dropout: share of source subwords that training replaces by the unknown token.
        label_smoothing: share of the probability that goes to all subwords alike; 0 to below 1.
        language_tag: whether a token in front says which language a text is in.
        counted_start: whether subword vectors are initialized from counts (``sentence_vectors``) or at random.
        epochs: passes through the bitext, as far as ``most_steps`` allows.
        least_steps, most_steps: bounds on the optimizer's steps, however small or large the bitext.
        batch_tokens: subwords per step, both sides and their padding counted.
        learning_rate: AdamW's at its peak, after a linear warm-up over the share ``warmup`` of the steps; it falls to
            zero as half a cosine.
        averaging: decay per step of the running mean of the weights, which is the model that is kept; 0 keeps the
            weights themselves.
        selections: how often held-out pairs are scored, evenly spread over the steps.
        selection_pairs: held-out pairs that are translated for it, at most.
        beams: hypotheses that translation keeps in its search.
        length_penalty: exponent of the length that a hypothesis' log-probability is divided by.
        max_length: subwords of a text that are read, and of a translation that are written, at most.
        train_length: pairs with more subwords on a side are not trained on; the counted start still uses them.
    """

    vocabulary_size: int = 8000
    width: int = 128
    encoder_layers: int = 1
    decoder_layers: int = 1
    heads: int = 4
    feed_forward: int = 2
    dropout: float = 0.2
    word_dropout: float = 0.1
    label_smoothing: float = 0.1
    language_tag: bool = True
    counted_start: bool = True
    epochs: int = 25
    least_steps: int = 200
    most_steps: int = 450
    batch_tokens: int = 1500
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    warmup: float = 0.1
    averaging: float = 0.98
    selections: int = 5
    selection_pairs: int = 280
    beams: int = 4
    length_penalty: float = 1.0
    max_length: int = 24
    train_length: int = 16

    def __post_init__(self) -> None:
        """Refuse what no training could use.

        Raises:
            UsageError: a value is out of its range; names the setting.
        """
        for name in ("width", "heads", "batch_tokens", "least_steps", "most_steps", "selections", "beams"):
            if getattr(self, name) < 1:
                raise UsageError(f"translation setting {name} = {getattr(self, name)}: give at least 1")
        for name in ("dropout", "word_dropout", "label_smoothing", "averaging"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"translation setting {name} = {getattr(self, name)}: give 0 or more, and below 1")
        if self.width % self.heads:
            raise UsageError(f"translation setting width = {self.width}: not divisible by heads = {self.heads}")

    def steps(self, tokens: int) -> int:
        """Return the number of optimizer steps for a bitext of so many subwords, both sides counted."""
        wanted = round(self.epochs * tokens / self.batch_tokens)
        return max(self.least_steps, min(self.most_steps, wanted))
