"""Teacher vectors: encoded once, served in batches, kept in a cache that notices damage."""

from __future__ import annotations

import errno

import pytest
import torch
from tiny_run import WordTeacher

from kivuko.errors import CorruptFileError, KivukoError
from kivuko.training.teacher_vectors import teacher_vectors

TEXTS = ["cat eats", "a bird", "", "the child plays all day long", "dog"]


@pytest.fixture
def teacher():
    return WordTeacher()


def one_file(folder):
    (file,) = folder.iterdir()
    return file


def test_a_batch_equals_encoding_directly(teacher, tmp_path):
    vectors = teacher_vectors(teacher, TEXTS, tmp_path)
    rows = torch.tensor([3, 0, 2, 4, 0])
    batch, direct = vectors.batch(rows), teacher.encode_tokens([TEXTS[i] for i in rows])
    torch.testing.assert_close(batch.pooled, direct.pooled)
    assert batch.mask.sum(1).tolist() == [6, 2, 0, 1, 2]
    assert batch.tokens.shape == (5, 6, 16), "special tokens are not kept"
    assert batch.tokens.dtype == torch.float32
    assert batch.tokens[~batch.mask].abs().max() == 0
    for row in range(5):
        kept, expected = batch.tokens[row][batch.mask[row]], direct.tokens[row][direct.mask[row]]
        torch.testing.assert_close(kept, expected, atol=2e-3, rtol=1e-3)  # half precision


def test_the_real_teacher_too(tmp_path):
    from kivuko.encoders.teacher import load_teacher

    real = load_teacher()
    texts = ["a ferry crosses the river", "cat"]
    batch, direct = teacher_vectors(real, texts, tmp_path).batch(torch.tensor([1, 0])), real.encode_tokens(texts[::-1])
    assert batch.mask.sum(1).tolist() == [1, 5]
    torch.testing.assert_close(batch.pooled, direct.pooled, atol=1e-5, rtol=0)
    torch.testing.assert_close(batch.tokens[batch.mask], direct.tokens[direct.mask], atol=2e-3, rtol=2e-3)


def test_the_mean_is_that_of_all_content_tokens(teacher, tmp_path):
    words = [word for text in TEXTS for word in text.split()]
    expected = torch.stack([teacher.vector(word) for word in words]).mean(0)
    torch.testing.assert_close(teacher_vectors(teacher, TEXTS, tmp_path).mean, expected, atol=1e-3, rtol=0)


def test_repeated_sentences_are_encoded_once(teacher, tmp_path):
    vectors = teacher_vectors(teacher, ["dog", "cat", "dog", "dog"], tmp_path)
    assert sorted(teacher.encoded) == ["cat", "dog"]
    assert vectors.sentences == {"dog": 0, "cat": 1}
    assert len(vectors.pooled) == 2


def test_more_sentences_than_fit_in_one_batch_stay_in_order(teacher, tmp_path):
    texts = [f"{'word ' * (i % 7)}n{i}" for i in range(300)]
    told = []
    vectors = teacher_vectors(teacher, texts, tmp_path, progress=lambda *at: told.append(at))
    torch.testing.assert_close(vectors.pooled, teacher.encode_tokens(texts).pooled)
    assert told[-1] == (300, 300)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_blocks_of_sentences_are_as_all_at_once(teacher, tmp_path, monkeypatch):
    texts = [f"{'word ' * (i % 7)}n{i}" for i in range(300)]
    whole = teacher_vectors(teacher, texts, tmp_path / "whole")
    monkeypatch.setattr("kivuko.training.teacher_vectors._BLOCK", 37)
    monkeypatch.setattr("kivuko.training.teacher_vectors._LARGE", 0)
    told = []
    parts = teacher_vectors(teacher, texts, tmp_path / "parts", progress=lambda *at: told.append(at))
    assert told == sorted(told)
    assert told[-1] == (300, 300)
    assert one_file(tmp_path / "whole").name == one_file(tmp_path / "parts").name
    assert parts.mapping is not None
    assert torch.equal(parts.offsets, whole.offsets)
    for name in ("tokens", "pooled", "mean"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), atol=1e-3, rtol=1e-3)
    rows = torch.tensor([250, 3, 3])
    for _ in range(2):  # what left the memory is read again
        torch.testing.assert_close(parts.batch(rows).content(), whole.batch(rows).content(), atol=1e-3, rtol=1e-3)


def test_any_reader_of_safetensors_reads_the_cache(teacher, tmp_path):
    from safetensors.torch import load_file

    vectors = teacher_vectors(teacher, TEXTS, tmp_path)
    loaded = load_file(one_file(tmp_path))
    assert all(torch.equal(loaded[name], getattr(vectors, name)) for name in ("tokens", "offsets", "pooled", "mean"))


def test_the_second_call_does_not_ask_the_teacher(teacher, tmp_path):
    first = teacher_vectors(teacher, TEXTS, tmp_path)
    teacher.encoded.clear()
    second = teacher_vectors(teacher, TEXTS, tmp_path)
    assert teacher.encoded == []
    assert second.sentences == first.sentences
    for name in ("tokens", "offsets", "pooled", "mean"):
        assert torch.equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize("change", ["teacher", "sentences", "order"])
def test_other_sentences_or_another_teacher_are_another_cache(teacher, tmp_path, change):
    teacher_vectors(teacher, TEXTS, tmp_path)
    texts = {"teacher": TEXTS, "sentences": [*TEXTS, "new"], "order": TEXTS[::-1]}[change]
    other = WordTeacher()
    if change == "teacher":
        other.fingerprint = "other weights"
    vectors = teacher_vectors(other, texts, tmp_path)
    assert other.encoded
    torch.testing.assert_close(vectors.pooled[vectors.sentences["dog"]], teacher.vector("dog"))


def test_it_lies_in_the_users_cache_folder_unless_named(teacher, tmp_path, monkeypatch):
    monkeypatch.setenv("KIVUKO_CACHE", str(tmp_path))
    teacher_vectors(teacher, ["dog"])
    assert one_file(tmp_path / "teacher").suffix == ".safetensors"


@pytest.mark.parametrize("texts", [[], [""], ["", " "]])
def test_sentences_without_tokens_are_no_error(teacher, tmp_path, texts):
    vectors = teacher_vectors(teacher, texts, tmp_path)
    batch = vectors.batch(torch.arange(len(texts)))
    assert batch.tokens.shape == (len(texts), 1, 16)
    assert not batch.mask.any()
    assert vectors.mean.tolist() == [0] * 16


def loaded(teacher, texts, cache):
    """The vectors, or the error that their cache is damaged."""
    try:
        return teacher_vectors(teacher, texts, cache)
    except CorruptFileError as problem:
        return problem


def test_no_flipped_bit_in_the_cache_goes_unnoticed(teacher, tmp_path):
    texts = ["cat eats", "dog"]
    good = teacher_vectors(teacher, texts, tmp_path)
    file = one_file(tmp_path)
    content = file.read_bytes()
    for place in range(len(content)):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        found = loaded(teacher, texts, tmp_path)
        if isinstance(found, CorruptFileError):
            assert str(file) in str(found)
            assert "Delete this file and run again." in str(found)
            continue
        for name in ("tokens", "offsets", "pooled", "mean"):  # white space in the header may change without harm
            one, other = getattr(good, name), getattr(found, name)
            assert one.dtype == other.dtype, place
            assert torch.equal(one, other), place


def test_the_same_bytes_taken_for_other_numbers_are_noticed(teacher, tmp_path):
    teacher_vectors(teacher, TEXTS, tmp_path)
    file = one_file(tmp_path)
    content = file.read_bytes()
    assert content.count(b'"F16"') == 1
    file.write_bytes(content.replace(b'"F16"', b'"I16"'))
    assert isinstance(loaded(teacher, TEXTS, tmp_path), CorruptFileError)


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_cache_is_named(teacher, tmp_path, length):
    teacher_vectors(teacher, TEXTS, tmp_path)
    file = one_file(tmp_path)
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(CorruptFileError, match="Delete this file and run again") as caught:
        teacher_vectors(teacher, TEXTS, tmp_path)
    assert str(caught.value).startswith(f"{file}: ")


def test_a_teacher_that_fails_leaves_no_cache(tmp_path):
    class Broken(WordTeacher):
        def encode_tokens(self, texts):
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        teacher_vectors(Broken(), TEXTS, tmp_path)
    assert list(tmp_path.rglob("*")) == []


def test_a_full_disk_is_one_clear_error_and_leaves_no_cache(teacher, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("kivuko.training.teacher_vectors.shutil.copyfileobj", full)
    with pytest.raises(KivukoError, match="disk is full"):
        teacher_vectors(teacher, TEXTS, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_folder_that_is_a_file_is_named(teacher, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(KivukoError, match="there is a file where a folder is needed"):
        teacher_vectors(teacher, TEXTS, tmp_path / "taken")
