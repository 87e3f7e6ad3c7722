"""Reading misspelled words by the training sentences' words that are spelled nearly alike."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.bitext.pairs import Bitext, Pair
from kivuko.encoders.model import About, encode_texts, load_encoder, save_model
from kivuko.encoders.reading import ReadingStaticEmbedding, read_subwords, without_reading, words_read
from kivuko.encoders.spelling import (
    SPELLING_FILE,
    SpellingNeighbors,
)
from kivuko.encoders.student import StaticStudent
from kivuko.encoders.vocabulary import train_vocabulary
from kivuko.errors import CorruptFileError
from kivuko.perturbations.text.gradients import gradient_encoder

PAIRS = (
    *(Pair("sw", "paka mweusi", "black cat", "t"),) * 4,
    Pair("sw", "simba na paka", "lion and cat", "t"),
    *(Pair("fi", "musta kissa", "black cat", "t"),) * 4,
    Pair("fi", "sauna ja pakka", "sauna and pack", "t"),
)
KNOWN = ["paka mweusi", "simba na paka", "musta kissa"]


@pytest.fixture(scope="module")
def spelling():
    return SpellingNeighbors.from_bitext(Bitext(PAIRS))


@pytest.fixture(scope="module")
def vocabulary():
    return train_vocabulary([pair.text for pair in PAIRS], size=60)


@pytest.fixture
def student(vocabulary, spelling):
    torch.manual_seed(0)
    student = StaticStudent(vocabulary, 16).eval()
    student.reader = spelling
    return student


def test_words_are_counted_by_language(spelling):
    row = spelling.words.index("paka")
    assert spelling.counts[:, row].tolist() == [5, 0]
    assert spelling.languages == ("sw", "fi")
    assert len(SpellingNeighbors.from_bitext(Bitext(PAIRS), most=2).words) == 2


def test_shares_of_a_word_add_up_to_one_and_known_words_are_themselves(spelling):
    known, misspelled = spelling.readings(["paka", "mwuesi"])
    assert known == {"paka": 1.0}
    assert sum(misspelled.values()) == pytest.approx(1.0)
    assert misspelled["mweusi"] > 2 * misspelled["mwuesi"] > 0


def test_the_other_words_tell_the_language(spelling):
    swahili = spelling.readings(["pakaa", "mweusi"])[0]
    finnish = spelling.readings(["pakaa", "musta"])[0]
    assert swahili["paka"] > 0.7 > finnish["paka"]
    assert finnish["pakka"] > swahili.get("pakka", 0)


@pytest.mark.parametrize("word", ["pk", "ab", "xyzxyz", "ng"])
def test_short_words_and_those_like_no_other_stay_as_they_are(spelling, word):
    assert spelling.readings([word]) == [{word: 1.0}]


def test_fewer_edits_count_more(spelling):
    one, two = spelling.readings(["simbaa"])[0]["simba"], spelling.readings(["simbaae"])[0]["simba"]
    assert one > two > 0


def test_known_texts_keep_their_vectors(student):
    read = student.encode_tokens(KNOWN).pooled
    student.reader = None
    torch.testing.assert_close(read, student.encode_tokens(KNOWN).pooled)


def test_a_misspelled_text_comes_nearer_to_what_was_meant(student, vocabulary):
    meant, read = student.encode_tokens(["paka mweusi", "paka mwuesi"]).pooled
    student.reader = None
    plain = student.encode_tokens(["paka mwuesi"]).pooled[0]
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(read, meant, dim=0) > cosine(plain, meant, dim=0) + 0.05


def test_the_vector_is_the_weighted_mean_that_subwords_tells_of(student, vocabulary, spelling):
    ((ids, weights),) = read_subwords(spelling, vocabulary, ["paka mwuesi"])
    own = vocabulary.encode("paka mwuesi").ids
    assert ids[: len(own)] == own
    assert weights[0] == 1.0
    assert 0 < weights[len(own) - 1] < 0.5
    expected = torch.tensor(weights) @ student.embedding.weight[ids] / sum(weights)
    torch.testing.assert_close(student.encode_tokens(["paka mwuesi"]).pooled[0], expected)


def test_training_reads_misspelled_words_too_and_teaches_their_neighbors(student, vocabulary):
    read = student.encode_tokens(["paka mwuesi", "simba"]).pooled
    student.train()
    learned = student.encode_tokens(["paka mwuesi", "simba"]).pooled
    torch.testing.assert_close(learned, read)
    learned[0].sum().backward()
    steps = student.embedding.weight.grad[:, 0]
    meant, own = vocabulary.encode("mweusi").ids, vocabulary.encode("mwuesi").ids
    assert (steps[meant] > 0.1).all()  # nearly all of the word's half of the mean
    assert 0 < steps[own[-1]] < steps[meant].min()


def _model(student, folder):
    about = About("t", "t", "static", "optical-robust", 0, {"sw": 5, "fi": 5})
    save_model(folder, student, None, about, "# A model\n")
    return load_encoder(folder)


def test_student_model_and_attacks_agree(student, tmp_path):
    texts = [*KNOWN, "paka mwuesi", "simbba", "", "mustaa kisa!", "🦁"]
    expected = torch.nn.functional.normalize(student.encode_tokens(texts).pooled, dim=-1).detach().numpy()
    model = _model(student, tmp_path / "model")
    for result in (
        encode_texts(model, texts), gradient_encoder(student).encode(texts), gradient_encoder(model).encode(texts),
    ):  # fmt: skip
        np.testing.assert_allclose(result, expected, atol=1e-6)


def test_a_model_says_what_it_read_otherwise(student, tmp_path):
    model = _model(student, tmp_path / "model")
    result = words_read(model, "Paka MWUESI!")
    assert list(result) == ["mwuesi"]
    assert next(iter(result["mwuesi"])) == "mweusi"
    assert words_read(without_reading(model), "Paka MWUESI!") == {}


def test_a_model_loads_without_kivuko_and_then_reads_what_is_written(student, tmp_path):
    from sentence_transformers import SentenceTransformer

    _model(student, tmp_path / "model")
    content = "".join(file.read_text() for file in (tmp_path / "model").rglob("*.json") if file.name != "kivuko.json")
    assert "kivuko" not in content
    plain = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    student.reader = None
    expected = torch.nn.functional.normalize(student.encode_tokens(["paka mwuesi"]).pooled, dim=-1).detach().numpy()
    np.testing.assert_allclose(plain.encode(["paka mwuesi"]), expected, atol=1e-6)


def test_a_loaded_model_is_saved_as_it_was(student, tmp_path):
    model = _model(student, tmp_path / "model")
    assert isinstance(model[0].sub_modules["text"][0], ReadingStaticEmbedding)
    without_reading(model).save(str(tmp_path / "again"), create_model_card=False)
    assert "kivuko" not in "".join(file.read_text() for file in (tmp_path / "again").rglob("*.json"))


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"counts": {}}', '{"counts": {"sw": {"paka": -1}}}',
                                     '{"counts": {"sw": {"paka": "x"}}}', '{"counts": {"sw": ["paka"]}}'])  # fmt: skip
def test_a_damaged_file_is_named(student, tmp_path, content):
    _model(student, tmp_path / "model")
    (tmp_path / "model" / SPELLING_FILE).write_text(content)
    with pytest.raises(CorruptFileError, match=SPELLING_FILE):
        load_encoder(tmp_path / "model")


def test_forgetting_words_changes_nothing(spelling, vocabulary, monkeypatch):
    texts = ["paka mwuesi", "simbba", "pakaa musta", "mwuesi", "simbaa pakaa"]
    expected = read_subwords(spelling, vocabulary, texts)
    monkeypatch.setattr("kivuko.encoders.spelling._MOST_REMEMBERED", 2)
    forgetful = SpellingNeighbors(spelling.languages, spelling.words, spelling.counts)
    assert [read_subwords(forgetful, vocabulary, [text])[0] for text in texts] == expected
    assert read_subwords(forgetful, vocabulary, texts) == expected
    read_subwords(forgetful, vocabulary, ["simbbaz"])
    assert len(forgetful._near) <= 2


def test_the_words_survive_a_round_trip(spelling, tmp_path):
    spelling.save(tmp_path / SPELLING_FILE)
    again = SpellingNeighbors.load(tmp_path / SPELLING_FILE)
    assert again.readings(["mwuesi", "paka"])[0] == pytest.approx(spelling.readings(["mwuesi", "paka"])[0])
    assert SpellingNeighbors.load(tmp_path / "nowhere" / SPELLING_FILE) is None
    assert json.loads((tmp_path / SPELLING_FILE).read_text())["counts"]["fi"]["musta"] == 4


@given(st.text(max_size=30))
@settings(deadline=None)
def test_any_text_has_a_finite_vector(text):
    spelling = SpellingNeighbors.from_bitext(Bitext(PAIRS))
    vocabulary = _vocabulary()
    ((ids, weights),) = read_subwords(spelling, vocabulary, [text])
    assert weights is None or (len(weights) == len(ids) and sum(weights) > 0 and min(weights) >= 0)


def _vocabulary(known=[]):  # noqa: B006  made once
    if not known:
        known.append(train_vocabulary([pair.text for pair in PAIRS], size=60))
    return known[0]


def test_a_word_that_a_space_split_is_read_whole(student, spelling):
    assert spelling.restored("pa ka mweusi") == "paka mweusi"
    assert spelling.restored("pa ka mwe usi") == "paka mweusi"
    assert spelling.restored("simba na paka") == "simba na paka"  # words that are all known stay apart
    assert spelling.restored("pa, ka") == "pa, ka"
    words, halves = ["xpa", "kqz"], {"xpakqz"}
    assert not halves & set().union(*spelling.readings(words, {0})), "parts of what punctuation separates"
    assert spelling.readings(words) != spelling.readings(words, {0})
    vectors = student.encode_tokens(["paka mweusi", "pa ka mweusi", "paka"]).pooled
    torch.testing.assert_close(vectors[1], vectors[0])
    assert not torch.allclose(vectors[1], vectors[2])


def test_two_words_run_together_are_read_apart_within_one_language(student, spelling):
    both, one = spelling.readings(["pakamweusi"])[0], spelling.readings(["simbamkubwa"])[0]
    assert both == pytest.approx({"pakamweusi": 0.1, "paka mweusi": 0.9})
    assert one == pytest.approx({"simbamkubwa": 0.5, "simba mkubwa": 0.5}), "a known word beside one of no pair"
    assert "musta paka" not in spelling.readings(["mustapaka"])[0], "Finnish and Swahili"
    vectors = student.encode_tokens(["paka mweusi", "pakamweusi"]).pooled
    student.reader = None
    plain = student.encode_tokens(["pakamweusi"]).pooled[0]
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(vectors[0], vectors[1], dim=0) > 0.95 > cosine(vectors[0], plain, dim=0)


def test_fragments_beside_each_other_are_read_as_one_word_too(spelling):
    for text in (["mwa", "hadhiri"], ["m", "hadhiri"]):
        assert all("".join(text) in own for own in spelling.readings(text))
    assert all("pakakubwa" not in own for own in spelling.readings(["paka", "kubwa"])), "a known word is no fragment"
    apart = spelling.readings(["mkubwasana", "mzuriajabu"])
    assert all("mkubwasanamzuriajabu" not in own for own in apart), "nor are two long words"
    for own in spelling.readings(["mwa", "hadhiri"]):
        assert sum(own.values()) == pytest.approx(1.0)


def test_letters_of_another_script_that_look_alike_are_read_as_those_of_the_language(student):
    vectors = student.encode_tokens(["paka mweusi", "p\u0430k\u0430 mweusi", "P\u0410KA mweusi"]).pooled
    torch.testing.assert_close(vectors[1], vectors[0])
    torch.testing.assert_close(vectors[2], vectors[0])


def test_punctuation_is_no_look_alike(spelling):
    assert (
        ord(":")
        not in SpellingNeighbors.from_bitext(
            Bitext((Pair("mr", "\u0926\u0941\u0903\u0916 paka", "sorrow", "t"),))
        )._lookalikes
    )
