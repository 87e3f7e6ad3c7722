"""Tables of SQL dumps as streams of rows."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import wiki_dumps as dumps
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.datasets.wikiclir import dumps as module
from kivuko.datasets.wikiclir.dumps import SqlDump
from kivuko.errors import DataError, KivukoError

ROWS = [
    (1, "sw", "Paka"), (2, "de", "L'Aquila (Stadt)"), (3, "fr", 'Le "mot", (1); fin'), (4, "sw", "A\\B\nC"),
    (5, "so", "),('x'"), (6, "en", ""), (7, "mr", "काळी मांजर"),
]  # fmt: skip


@pytest.fixture
def langlinks(tmp_path: Path) -> Path:
    return dumps.write(tmp_path / "langlinks.sql.gz", dumps.sql_dump("langlinks", dumps.LANGLINKS, ROWS))


def test_rows_come_back_as_they_were(langlinks: Path) -> None:
    result = SqlDump(langlinks, "langlinks").rows("ll_title", "ll_from")
    assert [(title.decode(), int(number)) for title, number in result] == [(row[2], row[0]) for row in ROWS]


def test_columns_are_looked_up_by_name_and_null_is_named(tmp_path: Path) -> None:
    rows = [dumps.page_row(5, "Dar es Salaam"), dumps.page_row(6, "X", namespace=1)]
    path = dumps.write(tmp_path / "page.sql", dumps.sql_dump("page", dumps.PAGE, rows))
    result = list(SqlDump(path, "page").rows("page_title", "page_lang", "page_random", "page_namespace"))
    assert result == [(b"Dar_es_Salaam", b"NULL", b"0.25", b"0"), (b"X", b"NULL", b"0.25", b"1")]


def test_rows_may_stand_on_lines_of_their_own(tmp_path: Path) -> None:
    content = dumps.sql_dump("langlinks", dumps.LANGLINKS, ROWS).replace(b"VALUES (", b"VALUES\n(")
    path = dumps.write(tmp_path / "a.sql", content.replace(b"),(2", b"),\n  (2"))
    assert [int(number) for (number,) in SqlDump(path, "langlinks").rows("ll_from")] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("piece", [7, 40, 64, 1000])
def test_rows_and_numbers_do_not_depend_on_where_pieces_end(
    piece: int, langlinks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = [(number, number % 3, number * 7919) for number in range(200)]
    path = dumps.write(tmp_path / "l.sql.gz", dumps.sql_dump("pagelinks", dumps.PAGELINKS, links, per_statement=90))
    titles, whole = SqlDump(langlinks, "langlinks"), SqlDump(path, "pagelinks")
    monkeypatch.setattr(module, "_PIECE", max(piece, 40))  # the beginning of a statement is read in one piece
    assert len(list(titles.rows("ll_from"))) == len(ROWS)
    result = np.concatenate(list(whole.numbers("pl_target_id", "pl_from", "pl_from_namespace")))
    assert result.tolist() == [[target, number, space] for number, space, target in links]
    slow = whole.rows("pl_target_id", "pl_from", "pl_from_namespace")
    assert [[int(value) for value in row] for row in slow] == result.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(b"(4,", b"(4"), "not a whole row of 'langlinks' with 3 columns"),
        (lambda text: text[: text.index(b"),(5")], "damaged or cut short"),
        (lambda text: text.replace(b"`langlinks`", b"`page`"), "this is table 'page', not 'langlinks'"),
        (lambda text: text.replace(b"ll_lang", b"ll_land"), "no column 'll_lang' (it has ll_from, ll_land, ll_title)"),
        (lambda text: text.replace(b"CREATE TABLE", b"CREATE VIEW"), "no CREATE TABLE `langlinks`"),
        (lambda text: b"", "no CREATE TABLE"),
        (lambda text: b"\x1f\x8b\x08\x00nonsense", "damaged"),
    ],
)
def test_damage_is_one_line(tmp_path: Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "langlinks.sql"
    path.write_bytes(change(dumps.sql_dump("langlinks", dumps.LANGLINKS, ROWS)))
    with pytest.raises(DataError) as caught:
        list(SqlDump(path, "langlinks").rows("ll_from", "ll_lang"))
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_place_is_named_by_its_line(tmp_path: Path) -> None:
    content = dumps.sql_dump("pagelinks", dumps.PAGELINKS, [(1, 0, 2), (3, 0, 4), (5, 0, 6)], per_statement=1)
    path = dumps.write(tmp_path / "p.sql", content.replace(b"(3,0,4)", b"(3,0)"))
    line = content[: content.index(b"(3,0,4)")].count(b"\n") + 1
    for read in (SqlDump(path, "pagelinks").numbers, SqlDump(path, "pagelinks").rows):
        with pytest.raises(DataError, match=f"p.sql:{line}: not a whole row"):
            list(read("pl_from"))


def test_a_text_in_place_of_a_number(tmp_path: Path) -> None:
    path = dumps.write(tmp_path / "p.sql", dumps.sql_dump("pagelinks", dumps.PAGELINKS, [("a", 0, 2)]))
    dump = SqlDump(path, "pagelinks")
    with pytest.raises(DataError, match="not a whole row"):
        list(dump.numbers("pl_from"))
    with pytest.raises(DataError, match="'a' in place of a whole number in table 'pagelinks'"):
        [dump.whole(number) for (number,) in dump.rows("pl_from")]


@settings(max_examples=150, deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=300),
        st.tuples(st.integers(0, 900), st.integers(0, 60), st.binary(max_size=8)).map(
            lambda edit: (
                (whole := dumps.sql_dump("langlinks", dumps.LANGLINKS, ROWS))[: edit[0]]
                + edit[2]
                + whole[edit[0] + edit[1] :]
            )
        ),
    )
)
def test_no_bytes_crash_the_reader(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("sql") / "any.sql"
    path.write_bytes(data)
    for read in (lambda dump: dump.rows("ll_from", "ll_title"), lambda dump: dump.numbers("ll_from")):
        with contextlib.suppress(KivukoError):
            list(read(SqlDump(path, "langlinks")))
