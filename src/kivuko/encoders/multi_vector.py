"""Late interaction: MaxSim, and a student and its teacher as one multi-vector encoder.

Queries go to the student's tokens, documents to the teacher's. The folder holds modules of ``sentence-transformers``
only, so ``MultiVectorEncoder(path)`` loads it anywhere. MaxSim: Khattab and Zaharia 2020, "ColBERT", arXiv 2004.12832,
equation 3; vectors of several texts are end to end, so no padded token's similarity of 0 beats every negative one.
"""

import copy
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Router, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

import kivuko
from kivuko.encoders.model import About, quiet
from kivuko.encoders.modules import require_one_width, text_route, transformer_module
from kivuko.encoders.student import wrap_tokenizer
from kivuko.encoders.teacher import TextTeacher
from kivuko.errors import ModelError, UsageError
from kivuko.files import atomic_path, refuse_foreign
from kivuko.transport.alignment import TokenLists
from kivuko.transport.marginals import full_precision
from kivuko.vectors import rescaled

_BUDGET = 2**26  # numbers: 256 MB
_MOST_TOKENS = 2**16  # query tokens whose distinct vectors are computed together
_ABOUT = "kivuko-multi-vector.json"
_TOKENS = "token_embeddings"  # sentence-transformers' name for them
_LONGEST = 1024  # tokens of a query; the memory of a batch grows with the square


def save_multi_vector(
    path: Path,
    model: Any,
    teacher: TextTeacher,
    *,
    query_mean: Tensor | None = None,
    document_mean: Tensor | None = None,
    about: About | None = None,
) -> None:
    """Write a multi-vector encoder, whole or not at all; it replaces one at ``path``."""
    refuse_foreign_multi_vector(path)
    centered = [side for side, mean in (("queries", query_mean), ("documents", document_mean)) if mean is not None]
    described = {"teacher": teacher.name, "teacher_source": teacher.source, "centered": centered}
    trained = {"model": asdict(about)} if about is not None else {}
    with quiet():
        encoder = assemble_multi_vector(model, teacher, query_mean=query_mean, document_mean=document_mean)
        with atomic_path(path) as temporary:
            encoder.save(str(temporary), create_model_card=False)
            text = json.dumps({**described, **trained, "kivuko": kivuko.__version__}, indent=1, ensure_ascii=False)
            (temporary / _ABOUT).write_text(text + "\n", encoding="utf-8")
            (temporary / "README.md").write_text(_card(teacher, centered, about), encoding="utf-8")


def read_multi_vector_about(path: Path) -> About | None:
    """Return how the query side was trained; None where the folder does not say, or not as this version does."""
    try:
        return About(**json.loads((path / _ABOUT).read_text(encoding="utf-8"))["model"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def refuse_foreign_multi_vector(path: Path) -> None:
    """Raise ModelError if ``path`` is a file, or a folder with something else than a multi-vector encoder of ours."""
    refuse_foreign(path, _ABOUT, "a multi-vector encoder of Kivuko's", "Choose another folder.")


def assemble_multi_vector(
    model: Any, teacher: TextTeacher, *, query_mean: Tensor | None = None, document_mean: Tensor | None = None
) -> Any:
    """Return the ``MultiVectorEncoder``: queries by the model's tokens, documents by the teacher's.

    Means, float [dim], are taken from a side's tokens and must be of their scale. The teacher's mean token may be too
    long for a student that learned mostly from sentence vectors. None: tokens as they are.
    """
    (*query, query_mask), (*document, document_mask) = _query_modules(model), _document_modules(teacher)
    widths = {"the model's tokens": int(query[-1].get_embedding_dimension()), f"those of {teacher.name}": teacher.dim}
    for side, mean in (("query", query_mean), ("document", document_mean)):
        widths |= {f"the {side} mean": len(mean)} if mean is not None else {}
    require_one_width("late interaction", widths, "Name the teacher that taught the model.")
    # The query route comes first: the masks find the numbers of their words with the first route's tokenizer.
    routes = {
        "query": [*query, *_shift(query_mean), query_mask],
        "document": [*document, *_shift(document_mean), document_mask],
    }
    router = Router(cast(Any, routes), default_route="document")
    modules = [router, Normalize(module_input_name=_TOKENS)]
    return MultiVectorEncoder(modules=modules, device="cpu", similarity_fn_name="maxsim").eval()


def _shift(mean: Tensor | None) -> list[Any]:
    """Return the module that takes a mean from every token, as a list; an empty one without a mean."""
    if mean is None:
        return []
    bias = -mean.detach().to("cpu", torch.float32)
    return [
        Dense(
            len(mean), len(mean), activation_function=nn.Identity(), init_weight=torch.eye(len(mean)), init_bias=bias,
            module_input_name=_TOKENS,
        )
    ]  # fmt: skip


def _query_modules(model: Any) -> list[Any]:
    """Return copies of a model's modules that give token vectors, and a mask for its special tokens."""
    first, *rest = model.to_modules() if hasattr(model, "to_modules") else text_route(model)
    if isinstance(first, StaticEmbedding):
        encoder = _embedding_table(first.tokenizer, first.embedding.weight.detach().float().cpu())
    elif isinstance(first, Transformer) and first.tokenizer is not None:
        encoder = copy.deepcopy(first)
    else:
        raise ModelError(f"the model gives no token vectors (its text goes to {type(first).__name__}).")
    if strange := [type(one).__name__ for one in rest if not isinstance(one, Pooling | Normalize | Dense)]:
        raise ModelError(f"the model's tokens cannot be taken from it: its {strange[0]} works on whole sentences.")
    projections = [copy.deepcopy(module) for module in rest if isinstance(module, Dense)]
    for projection in projections:  # what the sentence vector goes through, the tokens go through
        projection.module_input_name = projection.module_output_name = _TOKENS
    tokenizer = encoder.tokenizer
    special = [token for token in tokenizer.all_special_tokens if token != tokenizer.unk_token]
    return [encoder, *projections, MultiVectorMask(skiplist_words=special, skiplist_tasks=["query"])]


def _document_modules(teacher: TextTeacher) -> list[Any]:
    """Return copies of the teacher's modules up to its pooling, and a mask that leaves its content tokens."""
    modules = list(itertools.takewhile(lambda module: not isinstance(module, Pooling), teacher.model))
    tokenizer = teacher.model.tokenizer
    if not modules or not isinstance(modules[0], Transformer) or not hasattr(tokenizer, "get_vocab"):
        raise ModelError(f"{teacher.name}: not one transformer, so it cannot be the document side.")
    special = {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}
    # By number, not by word: the library looks words up in the first route's tokenizer, the student's.
    content = sorted({*tokenizer.get_vocab().values()} - special)
    return [*map(copy.deepcopy, modules), MultiVectorMask(keep_only_token_ids=content)]


def _embedding_table(tokenizer: Tokenizer, weights: Tensor) -> Any:
    """Return a Transformer module that gives each token its row of ``weights`` [vocabulary, dim], and nothing else.

    StaticEmbedding adds the rows up too early. An XLNet without layers is the table itself.
    """
    longest = int((tokenizer.truncation or {}).get("max_length", _LONGEST))
    # Its special token before every text is masked out again: transformers cannot take a batch without any token.
    wrapped = wrap_tokenizer(tokenizer)
    config = transformers.XLNetConfig(
        vocab_size=max(len(wrapped), len(weights)), d_model=weights.shape[1], n_layer=0, n_head=1, d_inner=1,
        use_mems_eval=False, pad_token_id=wrapped.pad_token_id,
    )  # fmt: skip
    table = transformers.XLNetModel(config)
    with torch.no_grad():
        table.word_embedding.weight.zero_()
        table.word_embedding.weight[: len(weights)] = weights
    with quiet():
        return transformer_module(table, wrapped, max_seq_length=longest + 1)


def _card(teacher: TextTeacher, centered: Sequence[str], about: About | None) -> str:
    languages = ", ".join(about.languages) if about else "the languages of its bitext"
    training = (
        f"recipe `{about.recipe}`, student {about.described_student}, seed {about.seed}" if about else "not recorded"
    )
    shift = f" (a mean token is taken from those of {' and '.join(centered)} first)" if centered else ""
    codes = "".join(f"\n- {code}" for code in about.languages) if about else ""
    return f"""\
---{f"{chr(10)}language:{codes}" if codes else ""}
library_name: sentence-transformers
tags:
- kivuko
- multi-vector
- late-interaction
---
# Late interaction: {languages} to English

Queries in {languages}; documents in English, encoded by {teacher.name}. A text is one vector of width {teacher.dim} for
each content token, of unit length{shift};
the score is MaxSim, the sum over query tokens of the highest cosine to a document token.

```python
from sentence_transformers import MultiVectorEncoder
model = MultiVectorEncoder("path/to/this/folder")
queries = model.encode_query(["paka mweusi"])
documents = model.encode_document(["a black cat", "a red apple"])
print(model.similarity(queries, documents))
```

Made with Kivuko {kivuko.__version__}: {training}.
"""


@torch.no_grad()
def maxsim(queries: TokenLists, documents: TokenLists, *, average: bool = False, budget: int = _BUDGET) -> Tensor:
    """Score every query against every document: the sum over its tokens of the highest cosine to a document's token.

    Only distinct query vectors are scored, in about ``budget`` numbers of memory. Returns float32 [queries, documents];
    a document without a token scores -inf, a query without one 0. ``average``: comparable between queries too.
    """
    if queries.vectors.shape[1:] != documents.vectors.shape[1:]:
        raise UsageError(
            f"query tokens are {list(queries.vectors.shape[1:])} wide, document tokens "
            f"{list(documents.vectors.shape[1:])}: both must be of one space"
        )
    if budget < 1:
        raise UsageError(f"the memory budget is {budget} numbers; give at least 1")
    device = documents.vectors.device
    with full_precision(device):
        targets = _unit(documents.vectors, documents.mean)
        # Longest first: the documents that have a j-th token are then a stretch from the beginning.
        lengths, order = documents.lengths.to(device).sort(descending=True, stable=True)
        starts = documents.starts().to(device)[:-1][order]
        scores = torch.zeros(len(queries.lengths), len(order), device=device)
        places = queries.starts().tolist()
        for first, last in _groups(queries.lengths.tolist(), _MOST_TOKENS):
            tokens = queries.vectors[places[first] : places[last]].to(device)
            if not len(tokens):
                continue
            distinct, row_of = torch.unique(tokens, dim=0, return_inverse=True)
            sources = _unit(distinct, queries.mean)
            offsets = torch.tensor(places[first:last], device=device) - places[first]
            step = max(1, budget // (2 * len(sources)))
            for place in range(0, len(order), step):
                part = slice(place, place + step)
                best = _best(sources, targets, starts[part], lengths[part])  # [distinct, part]
                scores[first:last, order[part]] = F.embedding_bag(row_of, best, offsets, mode="sum")
        scores[:, documents.lengths.to(device) == 0] = -torch.inf
        if average:
            scores /= queries.lengths.to(device).clamp(min=1)[:, None]
    return scores


def token_lists(vectors: Sequence[Tensor], mean: Tensor | None = None) -> TokenLists:
    """Lay token vectors of several texts, float [tokens, dim] each, end to end; ``mean`` [dim] is taken from each."""
    lengths = torch.tensor([len(one) for one in vectors], dtype=torch.long)
    return TokenLists(torch.cat(list(vectors)), lengths, mean)


def _unit(vectors: Tensor, mean: Tensor | None) -> Tensor:
    vectors = vectors.float()
    return F.normalize(rescaled(vectors if mean is None else vectors - mean.to(vectors)), dim=-1)


def _best(sources: Tensor, targets: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
    """Return the highest cosine of each source to the tokens of each document: [sources, documents].

    Document d owns ``targets[starts[d] : starts[d] + lengths[d]]``, and lengths fall, so nothing is padded.
    """
    best = sources.new_full((len(sources), len(starts)), -torch.inf)
    product = torch.empty_like(best).flatten()
    for step in range(int(lengths[0])):
        count = int((lengths > step).sum())
        scores = product[: len(sources) * count].view(len(sources), count)
        torch.mm(sources, targets[starts[:count] + step].T, out=scores)
        torch.maximum(best[:, :count], scores, out=best[:, :count])
    return best


def _groups(lengths: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of consecutive queries with at most ``most`` tokens together; one with more is alone."""
    first = tokens = 0
    for number, length in enumerate(lengths):
        if tokens and tokens + length > most:
            yield first, number
            first, tokens = number, 0
        tokens += length
    if first < len(lengths):
        yield first, len(lengths)
