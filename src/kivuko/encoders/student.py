"""Students: multilingual encoders that learn. Each is a torch module that returns TokenBatch."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from kivuko.encoders.input_embeddings import UsedRows, by_length
from kivuko.encoders.loading import local_folder
from kivuko.encoders.modules import dense_module, features_on, load_sentence_transformer, transformer_module
from kivuko.encoders.reading import Reader, with_sentences
from kivuko.encoders.teacher import special_ids
from kivuko.encoders.token_batch import TokenBatch, masked_mean
from kivuko.encoders.vocabulary import PAD, UNKNOWN
from kivuko.errors import MissingDependencyError, ModelError, wrap_errors
from kivuko.transport.marginals import full_precision, working_dtype

BEGIN = "[CLS]"
_NO_IDS: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
_MOST_REMEMBERED = 1_000_000  # texts whose subwords are kept in memory: some 200 MB
_PART_COST, _PART_COST_GPU = 64, 4096  # tokens that take as long as one more part of a batch
TOKEN_BUDGET = 4096


class Student(Protocol):
    """A trainable encoder; ``rate_factor`` is its share of the recipe's learning rate, 1 for word vectors."""

    name: str
    dim: int
    rate_factor: float

    def encode_tokens(self, texts: list[str]) -> TokenBatch: ...

    def to_modules(self) -> list[nn.Module]: ...

    def tokenize(self, text: str) -> list[str]: ...


class StaticStudent(nn.Module):
    """Subword vectors and nothing else: a sentence is the mean of its subwords' vectors.

    A ``reader`` reads some words as others; it is no part of the modules.
    """

    name = "static"
    rate_factor = 1.0
    remembers = True  # the subwords of training texts, which recur
    fixed: Tensor
    reader: Reader | None = None

    def __init__(self, tokenizer: Tokenizer, dim: int, token_dropout: float = 0.0, fixed: Tensor | None = None) -> None:
        super().__init__()
        self.tokenizer, self.dim, self.token_dropout = tokenizer, dim, token_dropout
        self._known_ids: dict[str, NDArray[np.int64]] = {}
        self.register_buffer("fixed", torch.zeros(0, dim) if fixed is None else fixed.float(), persistent=False)
        self.embedding = nn.Embedding(tokenizer.get_vocab_size() - len(self.fixed), dim)
        nn.init.normal_(self.embedding.weight, std=dim**-0.5)

    @property
    def device(self) -> torch.device:
        return self.embedding.weight.device

    def encode_tokens(self, texts: list[str]) -> TokenBatch:
        """Encode texts; see TokenBatch for the shapes. A text without a subword gets a zero sentence vector."""
        ids = self._ids(texts)
        lengths = torch.tensor([len(one) for one in ids], dtype=torch.long)
        mask = torch.arange(max(1, int(lengths.max()) if len(ids) else 1)) < lengths[:, None]  # [batch, length]
        flat = torch.from_numpy(np.concatenate([*ids, _NO_IDS]))  # [content tokens]
        if self.training and self.token_dropout > 0:
            kept = _drop_tokens(mask, self.token_dropout)
            flat, mask = flat[kept[mask]], kept
        mask = mask.to(self.device)
        packed = self._vectors(flat.to(self.device))  # [content tokens, dim]
        counts = mask.sum(1)
        rows = torch.repeat_interleave(torch.arange(len(ids), device=self.device), counts)
        pooled = packed.new_zeros(len(ids), self.dim).index_add(0, rows, packed) / counts.clamp(min=1)[:, None]
        if self.reader is not None:
            pooled = with_sentences(self._read(texts, pooled), self.reader.sentences(texts))
        return TokenBatch(None, mask, pooled, packed)

    def forward(self, texts: list[str]) -> TokenBatch:
        return self.encode_tokens(texts)

    def _ids(self, texts: list[str]) -> list[NDArray[np.int64]]:
        """Return the subwords' numbers of each text; while it learns, the same texts recur many times."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known_ids]
        encoded = self.tokenizer.encode_batch_fast(new, add_special_tokens=False) if new else []
        encoded_ids = {text: np.asarray(one.ids, dtype=np.int64) for text, one in zip(new, encoded, strict=True)}
        if self.training and self.remembers and len(self._known_ids) < _MOST_REMEMBERED:
            self._known_ids |= encoded_ids
        return [self._known_ids[text] if text in self._known_ids else encoded_ids[text] for text in texts]

    def _read(self, texts: list[str], pooled: Tensor) -> Tensor:
        """Return sentence vectors [texts, dim], those of texts with words that are read as others replaced."""
        assert self.reader is not None
        readings = self.reader.weighted(self.tokenizer, texts)
        if not readings:
            return pooled
        replaced = [(row, ids, weights or []) for row, (ids, weights) in readings.items()]
        # One look-up for all of them: each would bring its own gradient of the whole vocabulary.
        ids = torch.tensor([number for _, own, _ in replaced for number in own], device=self.device)
        shares = torch.tensor([share for _, _, own in replaced for share in own], device=self.device)
        lengths = torch.tensor([len(own) for _, own, _ in replaced], device=self.device)
        texts_of = torch.repeat_interleave(torch.arange(len(replaced), device=self.device), lengths)
        sums = pooled.new_zeros(len(replaced), self.dim).index_add(0, texts_of, shares[:, None] * self._vectors(ids))
        totals = shares.new_zeros(len(replaced)).index_add(0, texts_of, shares)
        rows = torch.tensor([row for row, _, _ in replaced], device=self.device)
        return pooled.index_copy(0, rows, sums / totals[:, None])

    def _vectors(self, ids: Tensor) -> Tensor:
        """Look subwords up, int64 [tokens] -> [tokens, dim], among those that learn and those that are fixed."""
        learn = self.embedding.num_embeddings
        is_fixed = ids >= learn
        if not is_fixed.any():
            looked_up: Tensor = self.embedding(ids)
            return looked_up
        looked_up = self.embedding(ids.clamp(max=learn - 1))
        return torch.where(is_fixed[:, None], self.fixed[(ids - learn).clamp(min=0)], looked_up)

    def tokenize(self, text: str) -> list[str]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).tokens)

    def to_modules(self) -> list[nn.Module]:
        """Return a StaticEmbedding with these vectors and a Normalize: both are sentence-transformers' own."""

        weights = torch.cat([self.embedding.weight.detach(), self.fixed]).cpu()
        return [StaticEmbedding(Tokenizer.from_str(self.tokenizer.to_str()), embedding_weights=weights), Normalize()]


class _ProjectedStudent(nn.Module):
    """A transformer, projected if its width is not the teacher's."""

    model: Any
    tokenizer: Any
    rows: Tensor | None  # int64 [vocabulary]: the token whose vector each token has, where some share theirs
    token_budget = TOKEN_BUDGET  # tokens, padding included, whose activations are kept for the way back
    fitted = False  # whether the projection was fitted to text before training
    precision = "float32"  # or "bfloat16": of the network's matrix products while it learns; vectors are float32

    def __init__(self, dim: int, name: str, rate_factor: float) -> None:
        super().__init__()
        self.dim, self.name, self.rate_factor = dim, name, rate_factor
        self.register_buffer("rows", None, persistent=False)

    def share_vectors(self, same: Mapping[int, int]) -> None:
        """Let tokens have the vectors of others, as forms of one word in capitals: number -> that of the other."""
        if same:
            self.rows = torch.tensor([same.get(number, number) for number in range(len(self.tokenizer))])

    def _read(self, ids: Tensor) -> Tensor:
        """Return the numbers of tokens, int64, as the network reads them."""
        return ids if self.rows is None else self.rows[ids]

    def _copy_shared(self) -> None:
        """Write shared vectors into the table, so that the network needs no list of them."""
        if self.rows is not None:
            table = self.model.get_input_embeddings().weight
            with torch.no_grad():
                table[: len(self.rows)] = table[self.rows]

    def learn_rows(self, rows: Tensor) -> None:
        """Let only these rows of the token vectors learn, int64, until ``learn_all``."""
        self.model.set_input_embeddings(UsedRows(self.model.get_input_embeddings(), rows))

    def learn_all(self) -> None:
        """End ``learn_rows``: the table is one again, with what its rows have learned."""
        table = self.model.get_input_embeddings()
        if isinstance(table, UsedRows):
            self.model.set_input_embeddings(table.whole())

    @property
    def max_length(self) -> int:
        raise NotImplementedError

    def _project(self, width: int) -> None:
        self.projection = nn.Linear(width, self.dim) if width != self.dim else nn.Identity()

    @property
    def device(self) -> torch.device:
        place: torch.device = next(self.model.parameters()).device
        return place

    def token_ids(self, texts: list[str]) -> list[list[int]]:
        """Return the numbers of the tokens that each text is cut to, as the network reads them."""
        ids: list[list[int]] = self.tokenizer(texts, truncation=True, max_length=self.max_length)["input_ids"]
        return ids if self.rows is None else [self.rows[torch.tensor(own)].tolist() for own in ids]

    def encode_tokens(self, texts: list[str]) -> TokenBatch:
        """Encode texts; see TokenBatch for the shapes. Special tokens count in the pooled vector, not in the mask.

        Texts of like length go through the network together. What exceeds the token budget keeps no activations: they
        are computed again on the way back, part by part. Neither changes a vector, a gradient, or what objectives see.
        """
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.training and self.precision == "bfloat16"):
            return self._encode_by_length(texts)

    def _encode_by_length(self, texts: list[str]) -> TokenBatch:
        lengths = [len(ids) for ids in self.token_ids(texts)]
        cost = _PART_COST if self.device.type == "cpu" else _PART_COST_GPU
        parts = by_length(lengths, cost=cost, most=self.token_budget)
        if len(parts) <= 1:
            return self._encode(texts)
        learns, kept, encoded = self.training and torch.is_grad_enabled(), 0, []
        for rows in reversed(parts):  # the longest first: memory that they leave is enough for the others
            own = [texts[row] for row in rows]
            kept += len(rows) * lengths[rows[-1]]
            if learns and kept > self.token_budget:
                encoded.append(TokenBatch(*checkpoint(self._encode_parts, own, use_reentrant=False)))
            else:
                encoded.append(self._encode(own))
        return _joined(encoded, [row for rows in reversed(parts) for row in rows])

    def _encode_parts(self, texts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        batch = self._encode(texts)
        return batch.tokens, batch.mask, batch.pooled

    def _encode(self, texts: list[str]) -> TokenBatch:
        """Encode texts that go through the network together."""
        raise NotImplementedError

    def forward(self, texts: list[str]) -> TokenBatch:
        """Same as ``encode_tokens``: lets training wrappers call the module."""
        return self.encode_tokens(texts)

    def tokenize(self, text: str) -> list[str]:
        return list(self.tokenizer.tokenize(text))

    def _closing_modules(self) -> list[nn.Module]:
        return [*([dense_module(self.projection)] if isinstance(self.projection, nn.Linear) else []), Normalize()]


class TransformerStudent(_ProjectedStudent):
    """Any Hugging Face encoder, mean-pooled over all attended tokens; longer texts are cut at ``max_length`` tokens."""

    def __init__(
        self, model: Any, tokenizer: Any, dim: int, name: str, max_length: int = 128, rate_factor: float = 0.01
    ) -> None:
        super().__init__(dim, name, rate_factor)
        self.model, self.tokenizer = model, tokenizer
        limit = getattr(model.config, "max_position_embeddings", None) or max_length
        # Models like RoBERTa reserve two positions.
        self._max_length = min(max_length, limit - 2 if limit > 2 else limit)
        self._project(int(model.config.hidden_size))

    @property
    def max_length(self) -> int:
        return self._max_length

    def _encode(self, texts: list[str]) -> TokenBatch:
        encoded = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt",
            return_special_tokens_mask=True,
        ).to(self.device)  # fmt: skip
        special = encoded.pop("special_tokens_mask").bool()
        attended = encoded["attention_mask"].bool()
        if not attended.shape[1]:  # texts without a token, from a tokenizer that adds no special ones
            empty = torch.zeros(len(texts), 1, self.dim, device=self.device)
            return TokenBatch(empty, empty[..., 0].bool(), empty[:, 0])
        encoded["input_ids"] = self._read(encoded["input_ids"])
        hidden = self.model(**encoded).last_hidden_state
        with full_precision(self.device):
            tokens = self.projection(hidden.to(working_dtype(hidden)))
        return TokenBatch(tokens, attended & ~special, masked_mean(tokens, attended))

    def to_modules(self) -> list[nn.Module]:
        """Return Transformer, mean Pooling, Dense where there is a projection, and Normalize."""
        self._copy_shared()
        encoder = transformer_module(merged(self.model), self.tokenizer, max_seq_length=self.max_length)
        pooling = Pooling(int(self.model.config.hidden_size), pooling_mode="mean")
        return [encoder, pooling, *self._closing_modules()]


class SentenceStudent(_ProjectedStudent):
    """A text model of ``sentence-transformers``, pooled as it pools; projected if its width is not the teacher's."""

    def __init__(self, modules: list[Any], dim: int, name: str, rate_factor: float = 0.01) -> None:
        super().__init__(dim, name, rate_factor)
        self.route = nn.ModuleList(modules)
        self._after = [place for place, one in enumerate(modules) if isinstance(one, Dense | Normalize)]
        widths = [one.get_embedding_dimension() for one in modules if hasattr(one, "get_embedding_dimension")]
        self._project(int([width for width in widths if width is not None][-1]))

    @property
    def model(self) -> Any:
        encoder: Any = self.route[0]
        return encoder.model

    @model.setter
    def model(self, value: Any) -> None:
        encoder: Any = self.route[0]
        encoder.model = value

    @property
    def tokenizer(self) -> Any:
        encoder: Any = self.route[0]
        return encoder.tokenizer

    @property
    def max_length(self) -> int:
        encoder: Any = self.route[0]
        return int(encoder.max_seq_length)

    def _encode(self, texts: list[str]) -> TokenBatch:
        encoder: Any = self.route[0]
        features = features_on(self.device, encoder.preprocess(texts))
        ids, attended = features["input_ids"], features["attention_mask"].bool()
        features["input_ids"] = self._read(ids)
        features = encoder(features)
        tokens = features["token_embeddings"]
        tokens = features["token_embeddings"] = tokens.to(working_dtype(tokens))
        with full_precision(self.device):
            for module in self.route[1:]:
                features = module(features)
            for place in self._after:
                tokens = self.route[place]({"sentence_embedding": tokens})["sentence_embedding"]
            tokens, pooled = self.projection(tokens), self.projection(features["sentence_embedding"])
        special = torch.tensor(sorted(special_ids(self.tokenizer)), device=ids.device)
        return TokenBatch(tokens, attended & ~torch.isin(ids, special), pooled)

    def to_modules(self) -> list[nn.Module]:
        """Return the model's own modules, Dense where there is a projection, and Normalize."""
        self._copy_shared()
        modules = [copy.deepcopy(one) for one in self.route]
        encoder: Any = modules[0]
        encoder.model = merged(encoder.model)
        return [*modules, *self._closing_modules()]


def _joined(parts: list[TokenBatch], order: list[int]) -> TokenBatch:
    """Join parts of a batch, whose rows go to the places ``order``, into one."""
    back = torch.argsort(torch.tensor(order))
    longest = max(part.mask.shape[1] for part in parts)
    mask = torch.cat([F.pad(part.mask, (0, longest - part.mask.shape[1])) for part in parts])
    content = torch.cat([part.content() for part in parts])  # [content tokens, dim]
    places = torch.arange(len(content)).split(mask.sum(1).tolist())
    places = torch.cat([places[row] for row in back.tolist()]).to(content.device)
    back = back.to(mask.device)
    pooled = torch.cat([part.pooled for part in parts])[back]
    return TokenBatch(None, mask[back], pooled, content.index_select(0, places))


def small_transformer(tokenizer: Tokenizer, dim: int, layers: int = 3, width: int = 256) -> TransformerStudent:
    """Build a small BERT with random weights over a fresh vocabulary; a special token begins every text."""

    wrapped = wrap_tokenizer(tokenizer)
    config = transformers.BertConfig(
        vocab_size=len(wrapped), hidden_size=width, num_hidden_layers=layers, num_attention_heads=4,
        intermediate_size=2 * width, max_position_embeddings=160, pad_token_id=tokenizer.token_to_id(PAD),
    )  # fmt: skip
    return TransformerStudent(
        transformers.BertModel(config, add_pooling_layer=False), wrapped, dim, "small-transformer", rate_factor=0.1
    )


def wrap_tokenizer(tokenizer: Tokenizer) -> Any:
    """Return a copy of a tokenizer as one of ``transformers``; a special token begins every text."""
    own = Tokenizer.from_str(tokenizer.to_str())
    own.no_truncation()
    own.no_padding()
    own.add_special_tokens([BEGIN])
    own.post_processor = TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, own.token_to_id(BEGIN))])
    unknown = UNKNOWN if own.token_to_id(UNKNOWN) is not None else None
    return transformers.PreTrainedTokenizerFast(tokenizer_object=own, pad_token=PAD, unk_token=unknown, cls_token=BEGIN)


def load_transformer_student(name: str | Path, dim: int) -> Any:
    """Load any Hugging Face encoder, by hub name or from a folder, as a student: a TransformerStudent.

    A folder or hub id of ``sentence-transformers`` becomes a SentenceStudent, which pools as the model does.
    """
    text = str(name)
    folder = local_folder(text).absolute()
    if not folder.is_dir():
        raise ModelError(f"{text}: no such model folder. Name a folder or a model on the hub.")
    with wrap_errors(lambda reason: ModelError(f"{text}: not a Hugging Face encoder that loads ({reason}).")):
        if (folder / "modules.json").is_file():
            return _load_sentence_student(folder, dim, text)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    if getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()
    if (takes := getattr(model, "main_input_name", "input_ids")) != "input_ids":
        raise ModelError(f"{text}: not a text encoder (it takes {takes}).")
    if not isinstance(getattr(model.config, "hidden_size", None), int):
        raise ModelError(f"{text}: not a text encoder (its configuration has no hidden size).")
    if tokenizer.pad_token is None:
        raise ModelError(f"{text}: its tokenizer has no padding token, so it is no encoder. Choose a BERT-like model.")
    return TransformerStudent(model, tokenizer, dim, Path(text).name)


def _load_sentence_student(folder: Path, dim: int, name: str) -> SentenceStudent:
    model = load_sentence_transformer(folder, torch.float32)
    modules = list(model)
    if not isinstance(modules[0], Transformer) or modules[0].tokenizer is None:
        raise ModelError(f"{name}: its text goes to {type(modules[0]).__name__}; a student must be a transformer.")
    if strange := [type(one).__name__ for one in modules[1:] if not isinstance(one, Pooling | Dense | Normalize)]:
        raise ModelError(f"{name}: has a module {strange[0]}, which Kivuko cannot train through.")
    return SentenceStudent(modules, dim, Path(name).name)


def add_lora(model: Any, rank: int, *, train_embeddings: bool = False) -> Any:
    """Return a ``transformers`` encoder with low-rank adapters (LoRA, arXiv 2106.09685), its own weights frozen."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as problem:
        raise MissingDependencyError("lora_rank needs peft. Run: pip install 'kivuko[lora]'") from problem
    adapted = get_peft_model(model, LoraConfig(r=rank, lora_alpha=rank, target_modules="all-linear", bias="none"))
    if train_embeddings:
        adapted.get_input_embeddings().weight.requires_grad_(True)
    return adapted


def merged(model: Any) -> Any:
    """Return a copy of an encoder with its adapters added to its weights; an encoder without any as it is."""
    return copy.deepcopy(model).merge_and_unload() if hasattr(model, "merge_and_unload") else model


def _drop_tokens(mask: Tensor, share: float) -> Tensor:
    """Hide a share of True positions at random, but never the whole of a row."""
    kept = mask & (torch.rand(mask.shape) >= share)
    return torch.where(kept.any(1, keepdim=True), kept, mask)
