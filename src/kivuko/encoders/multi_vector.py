"""A student and its teacher as one multi-vector encoder: queries to the student's tokens, documents to the teacher's.

The folder holds modules of ``sentence-transformers`` only, so ``MultiVectorEncoder(path)`` loads it anywhere.
"""

import copy
import itertools
import json
from collections.abc import Sequence
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

import kivuko
from kivuko.encoders.model import About, quiet
from kivuko.encoders.modules import require_one_width, text_route, transformer_module
from kivuko.encoders.student import wrap_tokenizer
from kivuko.encoders.teacher import TextTeacher
from kivuko.errors import ModelError
from kivuko.files import atomic_path, refuse_foreign

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
    with quiet():
        encoder = assemble_multi_vector(model, teacher, query_mean=query_mean, document_mean=document_mean)
        with atomic_path(path) as temporary:
            encoder.save(str(temporary), create_model_card=False)
            text = json.dumps({**described, "kivuko": kivuko.__version__}, indent=1, ensure_ascii=False)
            (temporary / _ABOUT).write_text(text + "\n", encoding="utf-8")
            (temporary / "README.md").write_text(_card(teacher, centered, about), encoding="utf-8")


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
    training = f"recipe `{about.recipe}`, student {about.student}, seed {about.seed}" if about else "not recorded"
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
