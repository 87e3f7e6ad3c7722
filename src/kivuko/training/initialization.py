"""Embedding initialization: a student's vocabulary and the first vectors of its subwords.

Vocabulary transplant by transport plans over the bitext, or by another aligner of its words; relatives are WECHSEL
(2022) and FOCUS (2023).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import regex
import torch
from tokenizers import AddedToken, Tokenizer
from torch import Tensor
from torch.nn import functional as F

from kivuko.bitext.pairs import Bitext
from kivuko.bitext.word_alignment import align_units
from kivuko.encoders.loading import hash_tensors
from kivuko.encoders.student import StaticStudent, TransformerStudent
from kivuko.encoders.teacher import TextTeacher
from kivuko.encoders.vocabulary import PAD, UNKNOWN, WORD_START, add_words, case_forms, train_vocabulary
from kivuko.encoders.word_reader import unit_vectors_of
from kivuko.errors import ModelError
from kivuko.languages import language
from kivuko.perturbations.graphemes import script_name
from kivuko.progress import progress_bar
from kivuko.text import APOSTROPHE, one_apostrophe, trigrams, word_forms, word_list
from kivuko.training.recipe import Recipe, Start
from kivuko.training.teacher_vectors import Progress, TeacherVectors, teacher_vectors
from kivuko.transport.association import Affinity, Association
from kivuko.vectors import rescaled

_WORD = regex.compile(r"\p{Latin}{3,}")
_known: dict[str, TeacherWords] = {}
_own: dict[str, dict[str, Tensor]] = {}  # of one pretrained student: its vectors of English texts, which studies reuse
_MOST = 50_000  # words of a teacher's vocabulary
_SHORTEST = 3  # letters of a subword whose spelling says something
_MOST_WORDS = 20_000  # that join a pretrained vocabulary
_MOST_SUBWORDS = 8_000  # of an unseen script
_DOTS = 0.1  # share of İ and ı among i, I, İ and ı from which a language has them; about 0.3 in Turkish
_ENCODED_AT_ONCE = 2_048  # texts whose length is evened out
_MOST_MAPPED = 5_000  # sentences that a projection is fitted to
_FITTING_STEPS, _FITTING_BATCH, _FITTING_RATE, _FITTING_TEMPERATURE = 300, 512, 0.001, 0.05  # of a projection
_ENOUGH = 1_000  # pairs that tell whether a vocabulary has the letters of a language
_MOST_COUNTED = 50  # occurrences of a word that its subwords are learned from
_SENTENCE = 10  # English words on the average from which pairs are sentences, whose order says something


@dataclass(frozen=True, eq=False)
class TeacherWords:
    """Words, and their unit vectors less the mean of all: float32 [words, dim]. ``mean``: float32 [dim]."""

    words: list[str]
    vectors: Tensor
    mean: Tensor


def teacher_words(teacher: TextTeacher, progress: Progress | None = None) -> TeacherWords:
    """Encode the whole words of a teacher's vocabulary (some twenty seconds, once; then from the cache)."""
    if (known := _known.get(teacher.fingerprint)) is not None:
        return known
    words = whole_words(teacher.model.tokenizer)
    if not words:
        raise ModelError(f"{teacher.name}: no token of its vocabulary is a whole word; set teacher_words = false.")
    vectors = unit_vectors(teacher, words, progress)
    mean = vectors.mean(0)
    _known.clear()  # one teacher's at a time: they take some thirty megabytes
    return _known.setdefault(teacher.fingerprint, TeacherWords(words, vectors - mean, mean))


def unit_vectors(teacher: TextTeacher, words: Sequence[str], progress: Progress | None = None) -> Tensor:
    """Return the teacher's unit vector of each word by itself, float32 [words, dim]."""
    encoded = teacher_vectors(teacher, words, progress=progress)
    return F.normalize(rescaled(encoded.pooled[[encoded.sentences[word] for word in words]]), dim=-1)


def whole_words(tokenizer: object) -> list[str]:
    """Return the lower-case words in Latin letters, three or more, that a tokenizer takes as one token; sorted."""
    decode, size = tokenizer.decode, len(tokenizer)  # type: ignore[attr-defined, arg-type]
    spelled = {decode([number]).strip(): number for number in range(size)}
    likely = [text for text in spelled if _WORD.fullmatch(text) and text == text.lower()]
    if not likely:
        return []
    ids = tokenizer(likely, add_special_tokens=False)["input_ids"]  # type: ignore[operator]
    return sorted([text for text, own in zip(likely, ids, strict=True) if len(own) == 1][:_MOST])


def started_student(
    tokenizer: Tokenizer, bitext: Bitext, teacher: TextTeacher, recipe: Recipe, progress: Progress | None = None
) -> StaticStudent:
    """Build a static student over a fresh vocabulary, by torch's global generator and the recipe's ``[student]``."""
    start, dim, pieces = recipe.start, teacher.dim, tokenizer.get_vocab_size()
    own = torch.empty(pieces, dim).normal_(std=start.scale * dim**-0.5)
    learned = fixed = torch.zeros(0, dim)
    if start.teacher_words or start.vectors != "random":
        known = teacher_words(teacher, progress)
        if start.teacher_words:
            tokenizer, learned, fixed = _joined(tokenizer, [pair.text for pair in bitext.pairs], known)
        if start.vectors != "random":
            own = _first_vectors(tokenizer, bitext, teacher, start, known.mean)[:pieces]
    student = StaticStudent(tokenizer, dim, recipe.schedule.token_dropout, fixed)
    with torch.no_grad():
        student.embedding.weight.copy_(torch.cat([own, learned]))
    return student


def _first_vectors(tokenizer: Tokenizer, bitext: Bitext, teacher: TextTeacher, start: Start, mean: Tensor) -> Tensor:
    """Return subwords' first vectors, means of those of the English words they go with: float32 [subwords, dim].

    Zero for a subword that the bitext lacks. ``mean`` [dim] is taken from the words' unit vectors.
    """
    english = [word_list(pair.english) for pair in bitext.pairs]
    words = sorted({word for sentence in english for word in sentence})
    number = {word: place for place, word in enumerate(words)}
    encoded = tokenizer.encode_batch([pair.text for pair in bitext.pairs], add_special_tokens=False)
    association = _associate(
        [one.ids for one in encoded], [[number[word] for word in sentence] for sentence in english],
        (tokenizer.get_vocab_size(), len(words)), start, alike(_pieces(tokenizer), words, start.spelling),
        bitext,
    )  # fmt: skip
    return association.mean_of(unit_vectors(teacher, words) - mean)


def _associate(
    texts: list[list[int]], english: list[list[int]], size: tuple[int, int], start: Start, affinity: Affinity | None,
    bitext: Bitext,
) -> Association:  # fmt: skip
    groups = sentence_groups(bitext) if start.positions else [-1] * len(texts)
    return align_units(
        texts, english, size, start.aligner, regularization=start.regularization,
        marginal_penalty=start.marginal_penalty, affinity=affinity, groups=groups,
    )  # fmt: skip


def sentence_groups(bitext: Bitext) -> list[int]:
    """Return the number of each pair's language, -1 where pairs are names and keywords, whose order says little."""
    lengths: dict[str, list[int]] = {}
    for pair in bitext.pairs:
        lengths.setdefault(pair.language, []).append(len(word_list(pair.english)))
    spoken = sorted(code for code, own in lengths.items() if sum(own) >= _SENTENCE * len(own))
    number = {code: place for place, code in enumerate(spoken)}
    return [number.get(pair.language, -1) for pair in bitext.pairs]


def alike(pieces: Sequence[str], words: Sequence[str], weight: float) -> Affinity | None:
    """Return a bonus in nats for pieces and words spelled alike, ``weight`` for the same; None for weight 0."""
    if not weight:
        return None
    ours = [trigrams(piece) if len(piece) >= _SHORTEST else frozenset[str]() for piece in _bare(pieces)]
    theirs = [trigrams(word) for word in words]

    def bonus(rows: Tensor, cols: Tensor) -> Tensor:
        pairs = ((ours[row], theirs[col]) for row, col in zip(rows.tolist(), cols.tolist(), strict=True))
        return torch.tensor([2.0 * weight * len(a & b) / (len(a) + len(b)) for a, b in pairs])

    return bonus


def _bare(pieces: Iterable[str]) -> list[str]:
    return [piece.removeprefix(WORD_START) for piece in pieces]


def _pieces(tokenizer: Tokenizer) -> list[str]:
    return [tokenizer.id_to_token(number) or "" for number in range(tokenizer.get_vocab_size())]


def _joined(tokenizer: Tokenizer, texts: Sequence[str], known: TeacherWords) -> tuple[Tokenizer, Tensor, Tensor]:
    """Add the teacher's words to a vocabulary: (vocabulary, vectors of those in the texts, vectors of the others)."""
    pieces = tokenizer.get_vocab_size()
    encoded = add_words(tokenizer, known.words).encode_batch(list(texts), add_special_tokens=False)
    used = {token[len(WORD_START) :] for one in encoded for n, token in zip(one.ids, one.tokens, strict=True)
            if n >= pieces}  # fmt: skip
    joined = add_words(tokenizer, sorted(known.words, key=lambda word: (word not in used, word)))
    added = _bare(_pieces(joined)[pieces:])
    row = {word: place for place, word in enumerate(known.words)}
    vectors = known.vectors[[row[word] for word in added]]
    return joined, vectors[: len(used)], vectors[len(used) :]


def with_new_words(student: TransformerStudent, bitext: Bitext, start: Start) -> TransformerStudent:
    """Add the bitext's words that a pretrained student cuts to pieces to its vocabulary, and start their vectors.

    A new word starts at the mean of the student's own vectors of the English subwords that it goes with. Words in
    letters that the vocabulary lacks are cut into subwords learned from the bitext.
    """
    tokenizer = student.tokenizer
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(f"{student.name}: its tokenizer takes no new words (it is not a fast one).")
    before = len(tokenizer)
    counts, forms = _words(bitext)
    cut = [word for word, _ in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]
    pieces = tokenizer(cut, add_special_tokens=False)["input_ids"] if cut else []
    unread = {word for word, ids in zip(cut, pieces, strict=True) if tokenizer.unk_token_id in ids}
    new = [word for word, ids in zip(cut, pieces, strict=True) if len(ids) > 1 and word not in unread][:_MOST_WORDS]
    subwords = _unseen_script(tokenizer, {word: counts[word] for word in cut if word in unread})
    if not new and not subwords:
        return student
    tokenizer.add_tokens([AddedToken(word, single_word=True, normalized=True) for word in new])
    tokenizer.add_tokens([AddedToken(piece, normalized=True) for piece in subwords])
    same = _add_forms(tokenizer, {word: forms[word] for word in new}, single_word=True)
    same |= _add_forms(tokenizer, {piece: case_forms({piece: 1}) for piece in subwords}, single_word=False)
    student.share_vectors(same)
    student.model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    table = student.model.get_input_embeddings().weight
    texts, english = (
        [[same.get(number, number) for number in ids] for ids in tokenizer(side, add_special_tokens=False)["input_ids"]]
        for side in ([pair.text for pair in bitext.pairs], [pair.english for pair in bitext.pairs])
    )
    spelled = [(text or "").strip("▁Ġ# ") for text in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))]
    affinity = alike(spelled, spelled, start.spelling)
    association = _associate(texts, english, (len(tokenizer), len(tokenizer)), start, affinity, bitext)
    with torch.no_grad():
        seen = association.row_mass()[before:] > 0
        known = table[:before].detach().float()
        # New words are mixtures of what the student knew: English sides may hold new words too, of no use to them.
        vectors = association.mean_of(torch.cat([known, known.mean(0).expand(len(tokenizer) - before, -1)]))[before:]
        table[before:] = torch.where(seen[:, None], vectors, known.mean(0)).to(table.dtype)
    return student


def refuse_unread_script(student: Any, bitext: Bitext) -> None:
    """Raise ModelError if a language's letters are in no piece of a student's vocabulary, and its words unknown."""
    tokenizer = student.tokenizer
    for code, pairs in bitext.by_language().items():
        words = list(dict.fromkeys(word for pair in pairs[:_ENOUGH] for word in word_list(pair.text)))
        ids = tokenizer(words, add_special_tokens=False)["input_ids"] if words else []
        unread = [word for word, own in zip(words, ids, strict=True) if tokenizer.unk_token_id in own]
        if 2 * len(unread) <= len(words):
            continue
        letters = Counter(letter for word in unread for letter in word if letter.isalpha())
        known = {letter for piece in tokenizer.get_vocab() for letter in piece}
        lacking = Counter({letter: count for letter, count in letters.items() if letter not in known})
        if 2 * lacking.total() > letters.total():
            script = script_name(lacking.most_common(1)[0][0]).capitalize()
            raise ModelError(
                f"{student.name}: its vocabulary lacks the {script} script of {language(code).name} ({code}): "
                f"{len(unread) / len(words):.0%} of its words are unknown. Choose a recipe that adds words "
                "(--recipe optical), or a student that learns its vocabulary (--student static)."
            )


def _words(bitext: Bitext) -> tuple[Counter[str], dict[str, list[str]]]:
    """Count a bitext's words, in small letters, and list the forms in which each may be written."""
    seen: dict[str, Counter[str]] = {}
    dotted: set[str] = set()  # words of languages with İ and ı
    for pairs in bitext.by_language().values():
        letters = Counter(letter for pair in pairs for letter in pair.text if letter in "iIİı")
        has_dots = letters["İ"] + letters["ı"] > _DOTS * letters.total()  # not by a name of another language
        words = Counter(word for pair in pairs for word in word_forms(pair.text))
        for form, count in words.items():
            small = one_apostrophe(form.replace("İ", "i").replace("I", "ı") if has_dots else form).casefold()
            seen.setdefault(small, Counter())[form] += count
            dotted |= {small} if has_dots else set()
    counts, forms = Counter[str](), dict[str, list[str]]()
    for small, own in seen.items():
        cased = case_forms(own, dotted=small in dotted)
        counts[cased[0]] = own.total()
        marks = (APOSTROPHE, "'", "\u02bc", "\u2018") if APOSTROPHE in small else ()
        typed = [one_apostrophe(form).replace(APOSTROPHE, mark) for form in cased for mark in marks]
        forms[cased[0]] = list(dict.fromkeys([*cased, *typed]))
    return counts, forms


def _add_forms(tokenizer: Any, forms: Mapping[str, Sequence[str]], *, single_word: bool) -> dict[int, int]:
    """Add the other forms of added words to a vocabulary, and return the number of each with that of its word.

    A form that a tokenizer reads like another one, or has as one token of its own, is left out.
    """
    normalizer = tokenizer.backend_tokenizer.normalizer
    read = normalizer.normalize_str if normalizer is not None else str
    taken, others = {read(word) for word in forms}, {}
    longest = max(map(len, forms.values()), default=0)
    # First the second form of each word, and then the third: a word's own capitals come before those of others.
    ranked = [(own[place], word) for place in range(1, longest) for word, own in forms.items() if place < len(own)]
    pieces = tokenizer([form for form, _ in ranked], add_special_tokens=False)["input_ids"] if ranked else []
    for (form, word), ids in zip(ranked, pieces, strict=True):
        if read(form) not in taken and (len(ids) > 1 or tokenizer.unk_token_id in ids):
            taken.add(read(form))
            others[form] = word
    tokenizer.add_tokens([AddedToken(form, single_word=single_word, normalized=True) for form in others])
    number = tokenizer.convert_tokens_to_ids
    return {number(form): number(word) for form, word in others.items()}


def _unseen_script(tokenizer: Any, counts: dict[str, int]) -> list[str]:
    """Return subwords, learned from words and their counts, all of whose letters a tokenizer does not know."""
    if not counts:
        return []
    learned = train_vocabulary([word for word, count in counts.items() for _ in range(min(count, _MOST_COUNTED))],
                               _MOST_SUBWORDS)  # fmt: skip
    pieces = {piece.removeprefix(WORD_START) for piece in learned.get_vocab()} - {PAD, UNKNOWN, ""}
    letters = sorted({letter for piece in pieces for letter in piece})
    ids = tokenizer(letters, add_special_tokens=False)["input_ids"] if letters else []
    unknown = {letter for letter, own in zip(letters, ids, strict=True) if tokenizer.unk_token_id in own}
    return sorted(piece for piece in pieces if unknown.issuperset(piece))


def start_transformer(
    student: TransformerStudent, tokenizer: Tokenizer, bitext: Bitext, teacher: TextTeacher, start: Start
) -> None:
    """Start the input vectors of a small transformer over a fresh vocabulary at the teacher's words, in place."""
    pieces = tokenizer.get_vocab_size()
    mean = teacher_words(teacher).mean
    vectors = _first_vectors(tokenizer, bitext, teacher, start, mean)
    table = student.model.get_input_embeddings().weight
    with torch.no_grad():
        seen = vectors.norm(dim=1) > 0
        narrowed = _principal(vectors[seen], table.shape[1])
        size = table[:pieces].norm(dim=1).mean() / narrowed.norm(dim=1).mean().clamp_min(1e-12)
        table[: len(seen)][seen] = (narrowed * size).to(table.dtype)


def _principal(vectors: Tensor, width: int) -> Tensor:
    """Return vectors [n, dim] along their ``width`` first principal directions, zeros where there are fewer."""
    rank = min(width, *vectors.shape)
    _, _, directions = torch.linalg.svd(vectors, full_matrices=False)
    kept = vectors @ directions[:rank].T
    return torch.nn.functional.pad(kept, (0, width - rank))


_PENALTIES = tuple(10.0**power for power in range(-6, 3))  # of the ridge, shares of the largest squared singular value


@torch.no_grad()
def map_english(
    student: Any,
    english: Sequence[str],
    teacher: TextTeacher,
    encoded: TeacherVectors | None = None,
    more: Sequence[str] = (),
) -> tuple[list[str], Tensor]:
    """Set a pretrained student's projection, in place, to a linear map learned from English sentences only.

    Ridge regression with an intercept, from the student's sentence vectors to the teacher's unit vectors of the same
    sentences, as in M2M (arXiv 2601.10096): the student brings its languages together, the map does the rest. Of many
    sentences some thousands are taken, of every length. ``encoded``: the teacher's vectors of ``english``, if they are
    known. ``more``: English text beside that of the bitext. Returns the sentences and the teacher's vectors, float32
    [sentences, dim].
    """
    texts = _of_every_length(english)
    theirs = [_unit(encoded or teacher_vectors(teacher, texts), texts)]
    if extra := _of_every_length(set(more) - set(texts)):
        with progress_bar("encoding English text") as report:
            theirs.append(_unit(teacher_vectors(teacher, extra, progress=report), extra))
    goal = torch.cat(theirs)
    student.projection = _ridge_map(_own_vectors(student, texts + extra), goal).to(student.device)
    student.fitted = True
    return texts + extra, goal


def map_pairs(
    student: Any, bitext: Bitext, teacher: TextTeacher, encoded: TeacherVectors | None = None, more: Sequence[str] = ()
) -> None:
    """Fit a pretrained student's projection, in place, to sentence pairs: ``map_english``, then a contrastive loss.

    Only the projection learns, from the student's vectors of both sides, each computed once, against the teacher's of
    all the English. To fit it before the encoder learns keeps what the encoder knows (Kumar et al. 2022, arXiv
    2202.10054), and costs less than a hundredth of as many steps of the encoder. The arguments are those of
    ``map_english``.
    """
    english, goal = map_english(student, [pair.english for pair in bitext.pairs], teacher, encoded, more)
    texts, targets = _among(bitext, english)
    inputs = _own_vectors(student, texts)
    _fit_map(student.projection, *(one.to(student.device) for one in (inputs, targets, goal)))


def map_sentences(
    encoder: TextTeacher, bitext: Bitext, teacher: TextTeacher, encoded: TeacherVectors | None = None
) -> torch.nn.Linear:
    """Return a linear map from an encoder's unit vectors to the teacher's, fitted to pairs as ``map_pairs`` does it.

    ``encoded``: the teacher's vectors of the bitext's English, if they are known.
    """
    english = _of_every_length(pair.english for pair in bitext.pairs)
    texts, targets = _among(bitext, english)
    with progress_bar("fitting a map of sentences") as report:
        parts = []
        for at in range(0, len(texts), _ENCODED_AT_ONCE):
            parts.append(unit_vectors_of(encoder, texts[at : at + _ENCODED_AT_ONCE]))
            report(min(at + _ENCODED_AT_ONCE, len(texts)), len(texts))
    inputs, goal = torch.cat(parts), _unit(encoded or teacher_vectors(teacher, english), english)
    projection = _ridge_map(inputs[-len(english) :], goal)
    _fit_map(projection, inputs, targets, goal)
    return projection.requires_grad_(False)


def _among(bitext: Bitext, english: Sequence[str]) -> tuple[list[str], Tensor]:
    """Return the texts of the pairs with this English and then itself, and the place of each one's English, int64."""
    row = {text: place for place, text in enumerate(english)}
    pairs = [pair for pair in bitext.pairs if pair.english in row]
    return [*(pair.text for pair in pairs), *english], torch.tensor(
        [*(row[pair.english] for pair in pairs), *range(len(english))]
    )


def _ridge_map(inputs: Tensor, goal: Tensor) -> torch.nn.Linear:
    """Return the map by ridge regression from vectors [n, width] to others [n, dim]."""
    weight, bias = ridge(inputs, goal)
    projection = torch.nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        projection.weight.copy_(weight)
        projection.bias.copy_(bias)
    return projection


def _fit_map(projection: torch.nn.Linear, inputs: Tensor, targets: Tensor, goal: Tensor) -> None:
    """Fit a linear map, in place: inputs [n, width] to their ``targets``, int64 [n], among unit vectors [m, dim]."""
    generator = torch.Generator().manual_seed(torch.initial_seed())
    optimizer = torch.optim.AdamW(projection.parameters(), _FITTING_RATE)
    for step in range(_FITTING_STEPS):
        optimizer.param_groups[0]["lr"] = _FITTING_RATE * (1 - step / _FITTING_STEPS)
        chosen = torch.randint(len(inputs), (_FITTING_BATCH,), generator=generator).to(inputs.device)
        alike = F.normalize(projection(inputs[chosen]), dim=-1) @ goal.T
        loss = F.cross_entropy(alike / _FITTING_TEMPERATURE, targets[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()


def _of_every_length(texts: Iterable[str]) -> list[str]:
    """Return distinct texts, by length; of many some thousands."""
    ordered = sorted(dict.fromkeys(sorted(texts)), key=len)
    return ordered[:: -(-len(ordered) // _MOST_MAPPED)] if ordered else []


def _unit(encoded: TeacherVectors, texts: Sequence[str]) -> Tensor:
    return F.normalize(rescaled(encoded.pooled[[encoded.sentences[text] for text in texts]]), dim=-1)


@torch.no_grad()
def _own_vectors(student: Any, texts: Sequence[str]) -> Tensor:
    """Return a student's vectors before its projection, float32 [texts, width]; those of one student are kept."""
    digest = hashlib.sha256(str(len(student.tokenizer)).encode())
    hash_tensors(digest, student.model.state_dict())
    if (key := digest.hexdigest()) not in _own:
        _own.clear()
    known = _own.setdefault(key, {})
    new = [text for text in texts if text not in known]
    projection, student.projection = student.projection, torch.nn.Identity()
    student.eval()
    with progress_bar("fitting the projection") as report:
        for at in range(0, len(new), 64):
            part = new[at : at + 64]
            known.update(zip(part, student.encode_tokens(part).pooled.float().cpu(), strict=True))
            report(at + len(part), len(new))
    student.projection = projection
    return torch.stack([known[text] for text in texts])


def ridge(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weight [targets' dim, inputs' dim] and bias of ridge regression; the penalty by leaving one out."""
    x, y = inputs.double(), targets.double()
    center, goal = x.mean(0), y.mean(0)
    left, values, right = torch.linalg.svd(x - center, full_matrices=False)  # [n, k], [k], [k, dim]
    along = left.T @ (y - goal)  # [k, targets' dim]

    def error(penalty: float) -> float:
        shrunk = values**2 / (values**2 + penalty)  # [k]
        leverage = (left**2 @ shrunk + 1 / len(x)).clamp_max(1 - 1e-9)  # [n], of each sentence on its own prediction
        return float((((y - goal - (left * shrunk) @ along) / (1 - leverage)[:, None]) ** 2).sum())

    penalty = min((share * float(values[0]) ** 2 + 1e-12 for share in _PENALTIES), key=error)
    weight = ((right.T * (values / (values**2 + penalty))) @ along).T  # [targets' dim, dim]
    return weight.float(), (goal - weight @ center).float()
