"""The word table of a model."""

from __future__ import annotations

import pytest

from kivuko.encoders.word_table import WORD_TABLE_FILE, WordTable, read_word_table
from kivuko.errors import CorruptFileError, ModelError, UsageError

TABLE = WordTable({"sw": {"paka": {"cat": 0.75, "kitten": 0.25}, "ng’ombe": {"cow": 1.0}}, "so": {}})


def test_words_are_looked_up_in_any_case_and_with_any_apostrophe():
    assert TABLE.look_up("sw", ["PAKA", "ng'ombe", "mbwa"]) == {
        "paka": {"cat": 0.75, "kitten": 0.25}, "ng’ombe": {"cow": 1.0}, "mbwa": {},
    }  # fmt: skip
    assert TABLE.look_up("swa") == TABLE.entries["sw"]


def test_a_language_that_is_not_there():
    with pytest.raises(UsageError, match="no language 'fi'; it has sw, so"):
        TABLE.look_up("fi")


def test_dictionaries_share_a_word_with_the_bitext_equally():
    table = TABLE.with_dictionary({"sw": {"paka": ["cat", "puss"], "mbwa": ["dog", "hound"]}, "fi": {"kissa": ["cat"]}})
    assert table.english("sw", "paka") == {"cat": 0.625, "puss": 0.25, "kitten": 0.125}
    assert list(table.english("sw", "paka")) == ["cat", "puss", "kitten"]
    assert table.english("sw", "mbwa") == {"dog": 0.5, "hound": 0.5}
    assert table.english("fi", "kissa") == {"cat": 1.0}
    assert TABLE.english("sw", "mbwa") == {}, "the table itself is left as it was"


def test_saved_and_read(tmp_path):
    TABLE.save(tmp_path / WORD_TABLE_FILE)
    assert read_word_table(tmp_path).entries == TABLE.entries


def test_no_table(tmp_path):
    with pytest.raises(ModelError, match=r"no word table.*optical-words"):
        read_word_table(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"sw": {"paka": {"cat": 2}}}', '{"sw": {"paka": {"cat": "1"}}}', '{"a": 1}']
)
def test_damaged(tmp_path, content):
    (tmp_path / WORD_TABLE_FILE).write_text(content)
    with pytest.raises(CorruptFileError, match="corrupted"):
        read_word_table(tmp_path)
