"""Kivuko's objectives as losses for ``sentence_transformers.SentenceTransformerTrainer``.

The data set has a column of sentences, for the student, and after it one of English translations, for the teacher.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kivuko.encoders.modules import is_static, text_route
from kivuko.encoders.teacher import TextTeacher, load_teacher, special_ids
from kivuko.encoders.token_batch import TokenBatch
from kivuko.errors import ModelError, UsageError
from kivuko.losses.kinds import read_term
from kivuko.losses.objectives import WeightedSum

_TEXTS = "kivuko_texts"  # among a column's features, the texts themselves, which the teacher reads
_MOST_KEPT = 100_000  # sentences whose teacher vectors are kept in memory

Features = dict[str, Any]


class DistillationLoss(nn.Module):
    """A weighted sum of Kivuko's objectives: it draws a student's vectors to a teacher's of the translations.

    Make the loss before the trainer: it lets the model's ``preprocess`` pass on the texts that the teacher reads.

    Args:
        model: the student, a ``SentenceTransformer`` that begins with a ``StaticEmbedding`` or a ``Transformer`` and
            whose vectors are as wide as the teacher's. It may be a model with a router, as Kivuko saves them.
        teacher: hub id or folder of the English teacher, or a loaded one.
        objectives: tables as in a recipe: ``kind`` (see docs/recipes.md, or ``package.module:Class``), ``weight`` and
            the kind's options. The default is the recipe ``optical``'s.

    Raises:
        UsageError: an objective or an option that there is not.
        ModelError: the student's tokens cannot be reached, or are of another width than the teacher's.

    Inputs:
        +------------------------------------+--------+
        | Columns                            | Labels |
        +====================================+========+
        | (sentence, its English translation)| none   |
        +------------------------------------+--------+

    References:
        - OPTICAL: Huang, Yu and Allan 2023, https://arxiv.org/abs/2301.12566
    """

    def __init__(
        self,
        model: Any,
        teacher: str | TextTeacher = "all-MiniLM-L6-v2",
        objectives: Sequence[Mapping[str, Any]] = ({"kind": "contrastive"}, {"kind": "transport", "weight": 0.5}),
    ) -> None:
        super().__init__()
        try:
            terms = [read_term(dict(entry)) for entry in objectives]
        except ValueError as problem:
            raise UsageError(f"{problem}.") from problem
        self.model = model
        self.teacher = load_teacher(teacher) if isinstance(teacher, str) else teacher
        _check_student(model, self.teacher)
        self._mean = torch.zeros(self.teacher.dim)  # of the teacher's content tokens so far; the objectives hold it
        self._count = 0
        self._sum = WeightedSum([(term.weight, term.build(self._mean)) for term in terms])
        self.learned = self._sum.learned()
        self._known: dict[str, tuple[Tensor, Tensor]] = {}
        model.preprocess = _passing_texts(model.preprocess)

    def forward(self, sentence_features: Iterable[Features], labels: Tensor | None = None) -> Tensor:
        """Return the loss of a batch, a scalar."""
        columns = list(sentence_features)
        texts = columns[-1].get(_TEXTS)
        if len(columns) < 2 or texts is None:
            raise UsageError(
                "a loss of Kivuko's needs two columns, sentences and their English translations, and must be made "
                "before the trainer (or before its data collator)."
            )
        student = _encode_tokens(self.model, {key: one for key, one in columns[0].items() if key != _TEXTS})
        student.texts = columns[0].get(_TEXTS)
        teacher = self._teacher_batch(texts).to(student.pooled.device)
        return self._sum(student, teacher).total

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings for the trainer's model card."""
        return {"teacher": self.teacher.name}

    def _teacher_batch(self, texts: Sequence[str]) -> TokenBatch:
        """Encode English sentences, those seen before from memory, and move the mean token by the new ones."""
        if new := [text for text in dict.fromkeys(texts) if text not in self._known]:
            with self.teacher.accelerated():
                batch = self.teacher.encode_tokens(new)
            content, lengths = batch.content().cpu(), batch.mask.sum(1).tolist()
            self._count += len(content)
            if len(content):
                self._mean += (content.sum(0) - len(content) * self._mean) / self._count
            if len(self._known) + len(new) > _MOST_KEPT:
                self._known = {text: self._known[text] for text in texts if text in self._known}
            for text, tokens, pooled in zip(new, content.split(lengths), batch.pooled.cpu(), strict=True):
                self._known[text] = (tokens, pooled)
        tokens, pooled = zip(*(self._known[text] for text in texts), strict=True)
        return _packed(torch.cat(tokens), torch.tensor([len(one) for one in tokens]), torch.stack(pooled))


class _OneObjective(DistillationLoss):
    kind: str

    def __init__(self, model: Any, teacher: str | TextTeacher = "all-MiniLM-L6-v2", **options: Any) -> None:
        super().__init__(model, teacher, [{"kind": self.kind} | options])


class TransportLoss(_OneObjective):
    """Transport cost of aligning a sentence's tokens with its translation's, see ``TransportObjective``.

    Args:
        model, teacher: see ``DistillationLoss``.
        options: of ``TransportObjective``, such as ``regularization``; ``centered`` as in a recipe.

    Example::

        student = SentenceTransformer("my-static-model")
        pairs = Dataset.from_dict({"sentence": ["paka mweusi"], "translation": ["a black cat"]})
        loss = kivuko.losses.TransportLoss(student, teacher="all-MiniLM-L6-v2")
        SentenceTransformerTrainer(model=student, train_dataset=pairs, loss=loss).train()
    """

    kind = "transport"


class ContrastiveLoss(_OneObjective):
    """Each sentence must find its own translation among those of the batch, see ``SentenceContrastive``.

    Options: ``temperature``, and ``learned`` for one that is trained.
    """

    kind = "contrastive"


class MSELoss(_OneObjective):
    """Squared distance of sentence vectors, see ``SentenceMSE``."""

    kind = "mse"


class CosineLoss(_OneObjective):
    """One minus the cosine of sentence vectors, see ``SentenceCosine``."""

    kind = "cosine"


class GreedyLoss(_OneObjective):
    """Squared distance of greedily matched tokens, see ``GreedyObjective``."""

    kind = "greedy"


class BarycenterLoss(_OneObjective):
    """Squared distance of tokens from their barycenters along a plan, see ``BarycenterObjective``."""

    kind = "barycenter"


class RelationalLoss(_OneObjective):
    """Divergence between how sentences and how their translations resemble each other, see ``RelationalObjective``."""

    kind = "relational"


def _passing_texts(preprocess: Callable[..., Features]) -> Callable[..., Features]:
    """Return a ``preprocess`` that keeps the texts among the features."""
    if getattr(preprocess, "passes_texts", False):
        return preprocess

    def passing(inputs: Sequence[Any], *args: Any, **options: Any) -> Features:
        features = preprocess(inputs, *args, **options)
        if inputs and all(isinstance(one, str) for one in inputs):
            features[_TEXTS] = list(inputs)
        return features

    passing.passes_texts = True  # type: ignore[attr-defined]
    return passing


def _check_student(model: Any, teacher: TextTeacher) -> None:
    first = text_route(model)[0]
    if not is_static(first) and not hasattr(getattr(first, "model", None), "get_input_embeddings"):
        raise ModelError(f"the student's text goes to {type(first).__name__}, whose tokens cannot be reached.")
    if (width := model.get_embedding_dimension()) != teacher.dim:
        raise ModelError(f"the student's vectors are {width} wide, the teacher's {teacher.dim}; add a Dense module.")


def _encode_tokens(model: Any, features: Features) -> TokenBatch:
    """Encode one column with the student: its tokens go through what its sentence vector goes through after pooling."""
    from sentence_transformers.base.modules import Dense

    route = text_route(getattr(model, "module", model))  # a model may be wrapped for several GPUs
    ids = features["input_ids"]
    out = model(dict(features))
    pooled = out["sentence_embedding"]
    dense = [module for module in route[1:] if isinstance(module, Dense)]
    if is_static(route[0]):
        ends = torch.cat([features["offsets"][1:], features["offsets"].new_tensor([len(ids)])])
        tokens = _through(dense, F.embedding(ids, route[0].embedding.weight))
        return _packed(tokens, ends - features["offsets"], pooled)
    special = torch.tensor(sorted(special_ids(route[0].tokenizer)), device=ids.device)
    mask = features["attention_mask"].bool() & ~torch.isin(ids, special)
    return TokenBatch(_through(dense, out["token_embeddings"]), mask, pooled)


def _through(modules: Sequence[Any], vectors: Tensor) -> Tensor:
    for module in modules:
        vectors = module({"sentence_embedding": vectors})["sentence_embedding"]
    return vectors


def _packed(tokens: Tensor, lengths: Tensor, pooled: Tensor) -> TokenBatch:
    """Return a batch of content tokens end to end, float [content tokens, dim]; lengths int64 [batch]."""
    steps = torch.arange(max(1, int(lengths.max())), device=lengths.device)
    return TokenBatch(None, steps < lengths[:, None], pooled, tokens)
