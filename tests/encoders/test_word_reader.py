"""Words that a vocabulary lacks, read as the English words that a multilingual encoder places near them."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from english_teacher import COLORS, NOUNS, bitext, save_teacher
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from kivuko.bitext.language_id import LanguageGuesser
from kivuko.bitext.pairs import NO_PAIRS, Bitext, Pair
from kivuko.doctor.model_checks import check_weights
from kivuko.encoders import word_reader
from kivuko.encoders.model import About, encode_texts, load_encoder, save_model, untrained_copy
from kivuko.encoders.reading import reader_of, without_reading, words_read
from kivuko.encoders.teacher import load_teacher
from kivuko.encoders.vocabulary import WORD_START, train_vocabulary
from kivuko.encoders.word_reader import WORD_READER_FILE, WordReader
from kivuko.errors import CorruptFileError, UsageError
from kivuko.perturbations.text.gradients import gradient_encoder
from kivuko.perturbations.text.search import TextGoal
from kivuko.search.encoding import encode_queries, unread_words
from kivuko.serve.queries import query_reader
from kivuko.training import word_vectors
from kivuko.training.initialization import started_student, teacher_words, unit_vectors
from kivuko.training.recipe import load_recipe
from kivuko.training.word_vectors import add_word_vectors

UNSEEN = {"punda": "zebra", "jogoo": "bird", "njano": "white"}
TEXTS = ["punda mweusi", "paka", "Jogoo, njano!", "", "12 punda", "zzz"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return load_teacher(save_teacher(tmp_path_factory.mktemp("teacher")))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load_teacher(save_teacher(tmp_path_factory.mktemp("encoder"), {**COLORS, **NOUNS, **UNSEEN}))


@pytest.fixture
def student(teacher, encoder):
    return taught(teacher, encoder)


def taught(teacher, encoder, pairs=None, score=None):
    """A static student with words of the bitext, whose unknown words an encoder reads."""
    torch.manual_seed(0)
    pairs = pairs or bitext()
    recipe = load_recipe("optical-words")
    plain = started_student(train_vocabulary([pair.text for pair in pairs.pairs], 60), pairs, teacher, recipe).eval()
    score = score or (lambda one: one.tokenizer.get_vocab_size() + (one.reader is not None))
    student, _, _ = add_word_vectors(plain, pairs, NO_PAIRS, teacher, recipe.start, score, encoder)
    return student


def weighed(student, best):
    """A score that is highest for the weight ``best`` of the text, and higher with a reader than without one."""
    closeness = 0.0 if student.reader is None else 1 / (1 + abs(student.reader.text_weight - best))
    return student.tokenizer.get_vocab_size() + closeness


def loaded(student, folder):
    save_model(folder, student, None, About("t", "t", "static+encoder", "optical-words", 0, {"sw": 5}), "# A model\n")
    return load_encoder(folder)


@torch.no_grad()
def vectors(student, texts):
    return F.normalize(student.encode_tokens(list(texts)).pooled, dim=-1)


def test_an_unknown_word_is_read_as_the_english_one_next_to_it(student, teacher):
    for word, english in UNSEEN.items():
        assert len(student.tokenize(word)) > 1
        (own,) = student.reader.other_readings(student.tokenizer, word.upper()).values()
        assert next(iter(own)) == english
        assert list(own.values()) == sorted(own.values(), reverse=True)
        assert 0 < sum(own.values()) <= 1 + 1e-6
    words = [*COLORS.values(), *NOUNS.values(), "zebra", "kenya"]
    cosines = (
        vectors(student, UNSEEN) @ F.normalize(unit_vectors(teacher, words) - teacher_words(teacher).mean, dim=-1).T
    )
    assert [words[place] for place in cosines.argmax(1).tolist()] == list(UNSEEN.values())


@pytest.mark.parametrize("text", ["paka mweusi", "zebra", "12 345", "!?", "", "黑猫在椅子上睡觉。"])
def test_known_words_and_what_is_no_word_are_read_as_they_are(student, text):
    assert student.reader.weighted(student.tokenizer, [text]) == {}
    assert student.reader.other_readings(student.tokenizer, text) == {}


def test_the_subwords_stay_and_the_english_words_are_added(student):
    ((row, (ids, weights)),) = student.reader.weighted(student.tokenizer, ["paka", "paka punda"]).items()
    own = student.tokenizer.encode("paka punda", add_special_tokens=False).ids
    assert row == 1
    assert ids[: len(own)] == own
    assert weights[: len(own)] == [1.0] * len(own)
    assert sum(weights[len(own) :]) == pytest.approx(2.0)


def test_the_text_as_a_whole_is_added_by_a_map_to_the_teachers_space(student, teacher, encoder):
    texts = [pair.text for pair in bitext().pairs]
    mapped = student.reader.sentences(texts)
    torch.testing.assert_close(mapped.norm(dim=-1), torch.full((len(texts),), student.reader.text_weight))
    torch.testing.assert_close(mapped[[2, 0]], student.reader.sentences([texts[2], texts[0]]), msg="from memory")
    english = unit_vectors(teacher, [pair.english for pair in bitext().pairs])
    found = (mapped @ english.T).argmax(1).tolist()
    assert np.mean([place == row for row, place in enumerate(found)]) > 0.8
    reader = student.reader
    student.reader = replace(reader, weight=0 * reader.weight, bias=0 * reader.bias)
    words = vectors(student, texts)
    student.reader = reader
    torch.testing.assert_close(vectors(student, texts), F.normalize(words + mapped, dim=-1))


@torch.no_grad()
def test_a_text_without_a_token_stays_zero(student, tmp_path):
    assert not student.encode_tokens([""]).pooled.any()
    assert student.encode_tokens([]).pooled.shape == (0, 32)
    assert not encode_texts(loaded(student, tmp_path / "model"), [""]).any()
    assert not gradient_encoder(student).encode([""]).any()


def test_a_query_in_letters_that_the_vocabulary_lacks_is_read(student, tmp_path):
    model = loaded(student, tmp_path / "model")
    found = encode_queries(model, ["чёрная"])
    np.testing.assert_allclose(found, encode_texts(model, ["чёрная"]), atol=1e-6)
    assert unread_words(model, "чёрная") == ()
    with pytest.raises(UsageError, match="no part of it"):
        encode_queries(without_reading(model), ["чёрная"])


def test_a_model_with_random_weights_has_no_reader(student, tmp_path):
    model = loaded(student, tmp_path / "model")
    assert reader_of(model) is not None
    assert reader_of(untrained_copy(model)) is None
    assert reader_of(model) is not None


def test_a_copy_made_after_a_query_reads_the_same(student, tmp_path):
    model = loaded(student, tmp_path / "model")
    before = encode_texts(model, TEXTS)
    np.testing.assert_allclose(encode_texts(copy.deepcopy(model), TEXTS), before, atol=1e-6)


def test_readings_in_english_tell_nothing_of_the_language(student, tmp_path):
    model = loaded(student, tmp_path / "model")
    guesser = LanguageGuesser(["sw", "de"], ["punda", "zebra"], np.array([[5, 0], [0, 9]], dtype=np.float32))
    searcher = SimpleNamespace(
        model=SimpleNamespace(encoder=model), encode=lambda texts: encode_queries(model, texts),
        readings=lambda text: words_read(model, text), unknown_words=lambda text: (),
    )  # fmt: skip
    (result,) = query_reader(searcher, guesser)(["punda"])
    assert "zebra" in result.readings["punda"]
    assert result.language.code == "sw"


def test_threads_that_forget_each_others_words_read_the_same(student, monkeypatch):
    texts = [*UNSEEN, "abcpunda", "mweusipaka", "pakamweusi"]
    expected = student.reader.weighted(student.tokenizer, texts)
    monkeypatch.setattr(word_reader, "_MOST_REMEMBERED", 2)
    forgetful = replace(student.reader)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: forgetful.weighted(student.tokenizer, texts), range(20)))
    for result in results:
        assert {row: ids for row, (ids, _) in result.items()} == {row: ids for row, (ids, _) in expected.items()}


def test_attacks_get_gradients_of_what_is_read(student, teacher):
    goal = TextGoal(unit_vectors(teacher, ["zebra", "cat"]).numpy(), np.array([0, 1]))
    for one in gradient_encoder(student).gradients(["punda mweusi", "paka"], goal, [0, 1]):
        assert one.gradients.shape == (len(one.ids), 32)
        assert one.gradients.any()


def test_student_model_and_attacks_agree(student, tmp_path):
    expected = vectors(student, TEXTS).numpy()
    model = loaded(student, tmp_path / "model")
    for result in (
        encode_texts(model, TEXTS), gradient_encoder(student).encode(TEXTS), gradient_encoder(model).encode(TEXTS),
    ):  # fmt: skip
        np.testing.assert_allclose(result, expected, atol=1e-6)
    assert next(iter(words_read(model, "punda mweusi")["punda"])) == "zebra"


def test_without_kivuko_the_model_reads_subwords_and_does_not_name_kivuko(student, tmp_path):
    from sentence_transformers import SentenceTransformer

    loaded(student, tmp_path / "model")
    content = [file.read_text() for file in (tmp_path / "model").rglob("*.json") if file.name != "kivuko.json"]
    assert "kivuko" not in "".join(content)
    student.reader = None
    plain = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    np.testing.assert_allclose(plain.encode(TEXTS[:3]), vectors(student, TEXTS[:3]).numpy(), atol=1e-6)


def test_without_the_encoder_subwords_are_read_and_a_note_says_so_once(student, tmp_path, capsys):
    student.reader = replace(student.reader, encoder=str(tmp_path / "away"))
    result = vectors(student, TEXTS)
    assert words_read(loaded(student, tmp_path / "model"), "punda") == {}
    student.reader = None
    torch.testing.assert_close(result, vectors(student, TEXTS))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "away" in line]
    assert "read by their subwords only" in line


def test_the_doctor_says_that_the_encoder_is_missing(student, tmp_path):
    for encoder, do in (("multilingual-e5-small", "kivuko[e5]"), (str(tmp_path / "away"), "hf download")):
        student.reader = replace(student.reader, encoder=encoder)
        word_reader._encoders[encoder] = None
        subject = SimpleNamespace(encoder=loaded(student, tmp_path / "model"), about=About("t", "t", "s", "r", 0, {}))
        (result,) = [one for one in check_weights(subject) if one.level == "warning"]
        assert encoder in result.what
        assert do in result.do
        del word_reader._encoders[encoder]


def test_forgetting_words_changes_nothing(student, monkeypatch):
    texts = [*UNSEEN, "abcpunda", "mweusipaka"]
    expected = student.reader.weighted(student.tokenizer, texts)
    monkeypatch.setattr(word_reader, "_MOST_REMEMBERED", 2)
    monkeypatch.setattr(word_reader, "_ENCODED_AT_ONCE", 2)
    forgetful = replace(student.reader)
    for text, (ids, weights) in zip(texts, expected.values(), strict=True):
        ((own_ids, own_weights),) = forgetful.weighted(student.tokenizer, [text]).values()
        assert own_ids == ids
        assert own_weights == pytest.approx(weights, abs=1e-5)
    assert len(forgetful._known) <= 2


def test_a_word_with_a_meaning_of_its_own_is_not_taken_for_the_english_one(teacher, encoder):
    pairs = Bitext((*bitext().pairs, *(Pair("de", "zebra", "white", "d") for _ in range(9))))
    own, plain = taught(teacher, encoder, pairs), taught(teacher, encoder)
    row = {student: student.tokenizer.token_to_id(f"{WORD_START}zebra") for student in (own, plain)}
    assert row[own] not in own.reader.rows.tolist()
    assert row[plain] in plain.reader.rows.tolist()


def test_an_encoder_that_does_not_help_is_not_kept(teacher, encoder):
    student = taught(teacher, encoder, score=lambda one: one.tokenizer.get_vocab_size())
    assert student.reader is None


def test_the_weight_of_the_text_that_scores_best_is_kept(teacher, encoder, tmp_path):
    for best in (0.5, 1.0, 2.0):
        student = taught(teacher, encoder, score=lambda one, best=best: weighed(one, best))
        assert student.reader.text_weight == best
        loaded(student, tmp_path / f"{best}")
        assert reader_of(load_encoder(tmp_path / f"{best}")).text_weight == best


def test_no_english_word_in_the_vocabulary_no_reader(teacher, encoder, monkeypatch):
    monkeypatch.setattr(word_vectors, "_SAME_MEANING", 2.0)
    assert taught(teacher, encoder).reader is None


def test_a_file_of_another_model_is_named(student, tmp_path):
    loaded(student, tmp_path / "model")
    file = tmp_path / "model" / WORD_READER_FILE
    for changes in ({"rows": student.reader.rows + 10**6}, {"bias": torch.zeros(5), "weight": torch.zeros(5, 32)}):
        replace(student.reader, **changes).save(file)
        with pytest.raises(CorruptFileError, match=f"{WORD_READER_FILE}: of another model"):
            load_encoder(tmp_path / "model")


def test_a_round_trip_keeps_everything(student, tmp_path):
    student.reader.save(tmp_path / WORD_READER_FILE)
    again = WordReader.load(tmp_path / WORD_READER_FILE)
    assert (again.encoder, again.text_weight) == (student.reader.encoder, student.reader.text_weight)
    for name in ("rows", "vectors", "mean", "weight", "bias"):
        torch.testing.assert_close(getattr(again, name), getattr(student.reader, name))
    assert WordReader.load(tmp_path / "none") is None


@pytest.mark.parametrize(
    "change",
    [
        {"rows": torch.tensor([0.5])}, {"rows": torch.full((20,), -1)}, {"rows": torch.zeros(2, 2, dtype=torch.long)},
        {"rows": torch.zeros(0, dtype=torch.long)}, {"vectors": torch.zeros(2, 2)}, {"vectors": None},
        {"mean": torch.full((32,), torch.nan)}, {"mean": torch.zeros(3)}, {"weight": torch.zeros(3, 3)},
        {"bias": torch.full((32,), torch.inf)}, {"text_weight": "nan"}, {"text_weight": "-1"}, {"text_weight": "much"},
    ],
)  # fmt: skip
def test_a_damaged_file_is_named(student, tmp_path, change):
    file = tmp_path / WORD_READER_FILE
    student.reader.save(file)
    tensors = {name: one for name, one in {**load_file(file), **change}.items() if isinstance(one, torch.Tensor)}
    save_file(tensors, file, metadata={"encoder": "e", "text_weight": change.get("text_weight", "0.5")})
    with pytest.raises(CorruptFileError, match=rf"{WORD_READER_FILE}: corrupted or unreadable\. Make the model again"):
        WordReader.load(file)
    for content in (b"", b"no tensors"):
        file.write_bytes(content)
        with pytest.raises(CorruptFileError, match="corrupted"):
            WordReader.load(file)
