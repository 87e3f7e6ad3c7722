"""The modules of a ``SentenceTransformer``: built from parts, and looked up in a loaded model."""

import contextlib
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from tokenizers import Tokenizer
from torch import Tensor, device, nn
from transformers.utils import logging as transformers_logging

from kivuko.errors import ModelError

_PREPARATION = ("tokenizer_config.json", "preprocessor_config.json")


def load_sentence_transformer(folder: Path | str, dtype: Any = None) -> Any:
    """Load a folder of sentence-transformers on the CPU; code that comes with a model is refused."""
    # A relative path that looks like a hub id is looked up on the hub for each file that the folder lacks.
    options = {} if dtype is None else {"model_kwargs": {"dtype": dtype}}
    return SentenceTransformer(str(Path(folder).absolute()), device="cpu", trust_remote_code=False, **options)


def transformer_module(
    body: Any, preparation: Any, *, one_side: bool = False, dtype: Any = None, **options: Any
) -> Any:
    """Return the module of a network of ``transformers`` with its tokenizer, processor or image processor.

    ``one_side``: the tokenizer or image processor forgets the class that joined it with the other side of a CLIP.
    """
    with tempfile.TemporaryDirectory() as folder:
        body.save_pretrained(folder)
        preparation.save_pretrained(folder)
        for file in [Path(folder, name) for name in _PREPARATION] if one_side else []:
            if file.is_file():
                settings = json.loads(file.read_text(encoding="utf-8"))
                settings.pop("processor_class", None)
                file.write_text(json.dumps(settings, indent=1, ensure_ascii=False), encoding="utf-8")
        return Transformer(folder, model_kwargs={} if dtype is None else {"dtype": dtype}, **options)


def dense_module(linear: nn.Linear, **names: str) -> Any:
    """Return a linear layer as a module; ``names``: ``module_input_name``, where it is not of sentence vectors."""
    dense = Dense(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        activation_function=nn.Identity(),
        **names,
    )
    dense.linear.load_state_dict(linear.state_dict())
    return dense.float()


def features_on(place: device, features: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model reads, with its tensors on a device."""
    return {key: value.to(place) if isinstance(value, Tensor) else value for key, value in features.items()}


def text_modules(model: Any) -> Any:
    """Return the container of a model's text modules, in which they can be replaced."""
    router = model[0]
    if not hasattr(router, "sub_modules"):
        return model
    routes = router.sub_modules
    name = next((name for name in ("text", router.default_route) if name in routes), next(iter(routes)))
    return routes[name]


def text_route(model: Any) -> list[Any]:
    """Return the modules that text goes through, in order; of a model with a router, those of its text route."""
    modules = text_modules(model)
    return list(model) if modules is model else [*modules, *list(model)[1:]]


def is_static(module: Any) -> bool:
    """Return True for a table of subword vectors without a network."""
    embedding = getattr(module, "embedding", None)
    return isinstance(getattr(module, "tokenizer", None), Tokenizer) and isinstance(embedding, nn.EmbeddingBag)


def backend_tokenizer(model: Any) -> Tokenizer | None:
    """Return the tokenizer of the library ``tokenizers`` that a model's text goes through; None if it has none."""
    tokenizer = getattr(text_route(model)[0], "tokenizer", None)
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    return backend if isinstance(backend, Tokenizer) else None


def text_options(first: Any) -> dict[str, Any]:
    options: dict[str, Any] = getattr(first, "processing_kwargs", {}).get("text", {})
    return options


def fixed_length(model: Any) -> int | None:
    """Return the length to which a model pads every text, as SigLIP does; None if it pads to the longest."""
    first = text_route(model)[0]
    options = text_options(first)
    return int(options.get("max_length") or first.max_seq_length) if options.get("padding") == "max_length" else None


def subword_table(model: Any) -> Any | None:
    """Return the layer that looks subword vectors up, itself and no copy; None if it is not accessible."""
    first = text_route(model)[0]
    try:
        return first.embedding if is_static(first) else first.model.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None


def require_one_width(name: str, widths: Mapping[str, int], remedy: str) -> None:
    """Raise ModelError unless all vectors are of one width; ``widths``: by their owner, as messages call it."""
    if len(set(widths.values())) > 1:
        listed = ", ".join(f"{owner} {width}" for owner, width in widths.items())
        raise ModelError(f"{name}: vectors are not of one width ({listed}). {remedy}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the loading libraries' progress bars and notes."""
    bars, level = transformers_logging.is_progress_bar_enabled(), logging.root.manager.disable
    transformers_logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
        if bars:
            transformers_logging.enable_progress_bar()
