"""No bytes crash a reader of collections or of Wikipedia's articles: what is wrong is one line."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
import wiki_dumps as dumps
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.datasets.collections.trec_folder import read_documents, read_qrels, read_queries
from kivuko.datasets.wikiclir.articles import read_articles
from kivuko.errors import KivukoError

PAGES = [(1, "Paka", "'''Paka''' ni [[mnyama|x]]. {{a|{{b}}}}<ref>c</ref>"), (2, "Mbwa", "Ni &amp; é")]
WHOLE: dict[str, tuple[Callable[[Path], object], list[bytes]]] = {
    "queries": (read_queries, [
        b"1\tpaka\n2\tmbwa\n",
        b'{"id": "1", "text": "paka"}\n{"topic_id": 2, "topics": [{"lang": "eng", "title": "x"}]}\n',
        b"<top>\n<num> Number: 301\n<title> A &amp; B\n<desc> Description:\nx\n</top>\n",
        b'<topics><topic number="1" lang="sw"><title>a</title></topic></topics>',
    ]),
    "qrels": (read_qrels, [b"1 0 a 1\n1 0 b 0\n", b"query-id\tcorpus-id\tscore\n1\ta\t1\n"]),
    "documents": (lambda path: list(read_documents(path)), [
        b"a\tText\nb\tTitle\tText\n", b'{"id": "1", "text": "x", "title": "y"}\n',
        b"<DOC>\n<DOCNO> 1 </DOCNO>\n<TEXT>\n<P>a</P> &amp; b\n</TEXT>\n</DOC>\n",
    ]),
    "articles": (lambda path: [one.plain for one in read_articles(path)], [
        dumps.xml_dump(PAGES, [(3, "Pusi", "Paka")]), dumps.wikiextractor(PAGES), dumps.cirrus(PAGES),
    ]),
}  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, kind: str) -> bytes:
    """Return a valid file with a stretch replaced, doubled or cut; packed now and then, and cut again."""
    whole = draw(st.sampled_from(WHOLE[kind][1]))
    start = draw(st.integers(0, len(whole)))
    end = min(len(whole), start + draw(st.integers(0, 40)))
    put = draw(st.one_of(st.binary(max_size=12), st.just(whole[start:end] * 3), st.sampled_from(_NASTY)))
    result = whole[:start] + put + whole[end:]
    if draw(st.integers(0, 4)) == 0:
        packed = gzip.compress(result)
        result = packed[: draw(st.integers(1, len(packed)))]
    return result


_NASTY = [
    b"<", b">", b"</", b"<top>", b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"[[", b"]]", b"{{", b"}}", b"\\ud800", b'"',
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"9" * 30, b"null", b"[" * 50, b"\xe2\x80\xa8", b"&#xD800;", b"&", b"<ref",
    b"{|", b"==",
]  # fmt: skip


@pytest.mark.parametrize("kind", WHOLE)
def test_damage_is_a_kivuko_error_in_one_line(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp(kind)

    @settings(max_examples=150, deadline=None)
    @given(damaged(kind))
    def check(content: bytes) -> None:
        path = folder / "any"
        path.write_bytes(content)
        try:
            WHOLE[kind][0](path)
        except KivukoError as problem:
            message = str(problem)
        else:
            return
        assert str(path) in message
        assert "\n" not in message

    check()


def test_entities_are_refused_and_markup_is_read_in_linear_time(tmp_path: Path) -> None:
    bomb = dumps.xml_dump(PAGES).replace(b"<mediawiki", b'<!DOCTYPE m [<!ENTITY a "b">]><mediawiki', 1)
    (tmp_path / "bomb.xml").write_bytes(bomb)
    with pytest.raises(KivukoError, match=r"bomb.xml:1: declares entities"):
        list(read_articles(tmp_path / "bomb.xml"))
    # Each of these took a quadratic reader minutes.
    hostile = ["[[" * 40_000, "{{" * 40_000, "<ref>" * 40_000, "=" * 60_000 + "x", "(" + " " * 60_000]
    hostile.append("[http://" * 20_000)
    (tmp_path / "hostile.xml").write_bytes(dumps.xml_dump([(n, f"T{n}", text) for n, text in enumerate(hostile, 1)]))
    assert len([one.plain for one in read_articles(tmp_path / "hostile.xml")]) == len(hostile)
