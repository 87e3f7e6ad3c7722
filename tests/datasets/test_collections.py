"""Collections in folders: every true format of queries, documents and judgments, by name, packed or not."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path

import pytest

from kivuko.datasets.collections.collection import Document
from kivuko.datasets.collections.trec_folder import (
    read_documents,
    read_qrels,
    read_queries,
    write_qrels,
    write_queries,
)
from kivuko.datasets.spec import open_collection
from kivuko.errors import DataError, KivukoError, UsageError

TOPICS = """
<top>
<num> Number: 301
<title> International Organized Crime

<desc> Description:
Identify organizations that participate in
international criminal activity.

<narr> Narrative:
A relevant document must name one.
</top>

<top>
<num> Number: 302
<title> Poliomyelitis &amp; Post-Polio
<desc> Description:
Is the disease under control?
</top>
"""
TITLES = {"": {"301": "International Organized Crime", "302": "Poliomyelitis & Post-Polio"}}
CLEF = """<?xml version="1.0" encoding="UTF-8"?>
<topics>
<top> <num>C041</num> <EN-title>Pesticides in Baby Food</EN-title> <EN-desc>Find reports.</EN-desc>
<SW-title>Dawa za wadudu katika chakula</SW-title></top>
<top><num>C042</num><EN-title>Haiti</EN-title><SW-title>Haiti ilivamiwa</SW-title></top>
</topics>
"""
XML = """<xml><topic number="1" lang="sw"><query>paka mweusi</query><title>paka</title></topic>
<topic number="2" lang="sw"><title>mbwa
mkubwa</title></topic></xml>"""
NEUCLIR = [
    {"topic_id": "101", "topics": [
        {"lang": "eng", "source": "original", "topic_title": "Iranian women"},
        {"lang": "fas", "source": "google machine translation", "topic_title": "MT"},
        {"lang": "fas", "source": "human translation", "topic_title": "زنان ایرانی"}]},
]  # fmt: skip
SGML = """<DOC>
<DOCNO> FT911-3 </DOCNO>
<PROFILE>_AN-BEOA7AAIFT</PROFILE>
<DATE>910514
</DATE>
<HEADLINE>
FT  14 MAY 91 / International Company News
</HEADLINE>
<TEXT>
<P>Contigas &amp; partners</P> plan a deal.
</TEXT>
</DOC>
<DOC><DOCNO>LA-1</DOCNO>
Words without a field.
</DOC>
"""


def collection(folder: Path, **files: str | bytes) -> Path:
    """Write files, ``__`` in a name standing for a dot."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


def plain(folder: Path) -> Path:
    return collection(
        folder, queries__sw__tsv="1\tpaka mweusi\n2\tmbwa\n", documents__en__tsv="a\tA black cat\nb\tDog\tA big dog\n",
        qrels__txt="1 0 a 2\n1 0 b 0\n2 0 b 1\n",
    )  # fmt: skip


def test_a_folder_by_the_names_of_its_files(tmp_path: Path) -> None:
    result = open_collection(f"trec:{plain(tmp_path / 'c')}")
    assert (result.name, result.query_languages, result.document_language) == ("c", ("sw",), "en")
    assert result.queries("sw") == {"1": "paka mweusi", "2": "mbwa"}
    assert list(result.documents()) == [Document("a", "A black cat"), Document("b", "A big dog", "Dog")]
    assert [document.whole for document in result.documents()] == ["A black cat", "Dog A big dog"]
    assert result.judgments() == {"1": {"a": 2, "b": 0}, "2": {"b": 1}}
    assert {path.name for path in result.files()} == {"queries.sw.tsv", "documents.en.tsv", "qrels.txt"}
    assert result.document_count() is None


def test_beir_layout_with_splits(tmp_path: Path) -> None:
    rows = [{"_id": "d1", "title": "Cat", "text": "A cat."}, {"_id": "d2", "title": "", "text": "A\u2028dog."}]
    folder = collection(
        tmp_path / "beir",
        corpus__jsonl="".join(json.dumps(row) + "\n" for row in rows),
        queries__jsonl='{"_id": "q1", "text": "black cat"}\n',
    )
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n", encoding="utf-8")
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td2\t1\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"several qrels: dev.tsv, test.tsv; choose with trec:.*#dev"):
        open_collection(f"trec:{folder}")
    result = open_collection(f"trec:{folder}#test")
    assert result.judgments() == {"q1": {"d1": 1}}
    assert (result.name, result.query_languages) == ("beir/test", ("und",))
    assert list(result.documents()) == [Document("d1", "A cat.", "Cat"), Document("d2", "A\u2028dog.")]
    with pytest.raises(UsageError, match=r"no qrels for 'train', only dev.tsv, test.tsv"):
        open_collection(f"trec:{folder}#train")


def test_msmarco_names_are_splits_not_languages(tmp_path: Path) -> None:
    folder = collection(
        tmp_path / "ms", collection__tsv="7\tText\n", queries__dev__small__tsv="1\tq\n", queries__train__tsv="2\tr\n",
        qrels__dev__small__tsv="1\t0\t7\t1\n",
    )  # fmt: skip
    result = open_collection(f"trec:{folder}")
    assert result.query_languages == ("und",)
    assert result.queries("und") == {"1": "q"}


def test_languages_may_be_given_beside_the_files(tmp_path: Path) -> None:
    about = '{"query_language": "swa", "document_language": "en", "documents": 1, "name": "mine"}'
    folder = collection(
        tmp_path / "c", topics__xml=TOPICS, docs__trec=SGML, qrels="301 0 LA-1 1\n", collection__json=about
    )
    result = open_collection(f"trec:{folder}")
    assert (result.name, result.query_languages, result.document_language, result.document_count()) == (
        "mine", ("sw",), "en", 1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (TOPICS, TITLES),
        (TOPICS.replace("</top>", ""), TITLES),
        (CLEF, {"en": {"C041": "Pesticides in Baby Food", "C042": "Haiti"},
                "sw": {"C041": "Dawa za wadudu katika chakula", "C042": "Haiti ilivamiwa"}}),
        (XML, {"sw": {"1": "paka", "2": "mbwa mkubwa"}}),
        ("".join(json.dumps(row) + "\n" for row in NEUCLIR),
         {"en": {"101": "Iranian women"}, "fa": {"101": "زنان ایرانی"}}),
        ('{"qid": 5, "query": "a  b"}\n\n', {"": {"5": "a b"}}),
        ("5\ta\tb\r\n", {"": {"5": "a b"}}),
        ('<query id="9">\npaka\n</query>', {"": {"9": "paka"}}),
    ],
    ids=["trec", "trec-unclosed", "clef", "xml", "neuclir", "jsonl", "tsv", "query-tags"],
)  # fmt: skip
def test_queries_in_every_format(tmp_path: Path, content: str, expected: dict[str, dict[str, str]]) -> None:
    path = tmp_path / "queries"
    path.write_text(content, encoding="utf-8", newline="")
    assert read_queries(path) == expected


def test_sgml_documents(tmp_path: Path) -> None:
    path = tmp_path / "ft911.gz"
    path.write_bytes(gzip.compress(SGML.encode()))
    title = "FT 14 MAY 91 / International Company News"
    assert list(read_documents(path)) == [
        Document("FT911-3", "Contigas & partners plan a deal.", title), Document("LA-1", "Words without a field."),
    ]  # fmt: skip


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress], ids=["plain", "gz", "bz2", "xz"])
def test_packed_by_content_whatever_the_name(tmp_path: Path, pack) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "documents.jsonl"
    path.write_bytes(pack(b'{"docid": "x", "contents": "Text"}\n'))
    assert list(read_documents(path)) == [Document("x", "Text")]


def test_zstandard(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    packed = zstandard.ZstdCompressor().compress(b'{"docid": "x", "contents": "Text"}\n' * 1)
    path = tmp_path / "documents.jsonl.zst"
    path.write_bytes(packed)
    assert list(read_documents(path)) == [Document("x", "Text")]
    path.write_bytes(packed[:-6])
    with pytest.raises(KivukoError, match=r"documents.jsonl.zst"):
        list(read_documents(path))


def test_a_folder_of_documents_is_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "docs" / "b").mkdir(parents=True)
    (tmp_path / "docs" / "b" / "1.jsonl").write_text('{"id": "2", "text": "two"}\n', encoding="utf-8")
    (tmp_path / "docs" / "a.sgml").write_text("<DOC><DOCNO>1</DOCNO><TEXT>one</TEXT></DOC>", encoding="utf-8")
    assert [document.id for document in read_documents(tmp_path / "docs")] == ["1", "2"]


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    write_queries(tmp_path / "q.tsv", {"1": "a\tb\nc", "2": "é"})
    assert read_queries(tmp_path / "q.tsv") == {"": {"1": "a b c", "2": "é"}}
    write_qrels(tmp_path / "qrels.txt", {"1": {"a": 2, "b": -1}})
    assert read_qrels(tmp_path / "qrels.txt") == {"1": {"a": 2, "b": -1}}


@pytest.mark.parametrize("name", ["id", "ID", "qid", "query-id", "docid"])
def test_a_line_of_headings_is_no_data(tmp_path: Path, name: str) -> None:
    (tmp_path / "q").write_text(f"{name}\ttext\n1\tpaka\nid\tmbwa\n", encoding="utf-8")
    assert read_queries(tmp_path / "q") == {"": {"1": "paka", "id": "mbwa"}}
    (tmp_path / "d").write_text(f"{name}\ttitle\ttext\n1\tcat\ta cat\n", encoding="utf-8")
    assert list(read_documents(tmp_path / "d")) == [Document("1", "a cat", "cat")]
    (tmp_path / "q").write_text(f"{name}\ttext\n", encoding="utf-8")
    with pytest.raises(DataError, match="no query in it"):
        read_queries(tmp_path / "q")


def test_qrels_are_split_as_trec_eval_splits_them(tmp_path):
    content = "# judged by us\n\nquery-id\tcorpus-id\tscore\r\nq\u00a01\td\u30001\t2\r\n# q2\td2\t1\r\n\u00a0\td\t1\n"
    (tmp_path / "q.tsv").write_text(content, "utf-8", newline="")
    assert read_qrels(tmp_path / "q.tsv") == {"q\u00a01": {"d\u30001": 2}, "\u00a0": {"d": 1}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 0 a\n", "qrels:1: 3 columns, but qrels have 4"),
        ("1 0 a 1\n1 0 b x\n", "qrels:2: grade 'x' is no whole number"),
        ("1 0 a 1.0\n", "grade '1.0' is no whole number"),
        ("1 0 a 10000\n1 0 b 10001\n", "qrels:2: grade 10001 is over 10,000"),
        ("1 0 a 1\n1 0 a 2\n", "qrels:2: query '1' and document 'a' were given another grade"),
        ("", "no judgment in it"),
        ("query-id\tcorpus-id\tscore\n1\ta\n", "qrels:2: 2 columns, but qrels have 3"),
    ],
)
def test_bad_judgments_are_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "qrels").write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_qrels(tmp_path / "qrels")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no tab here\n", "q:1: no tab; write id<TAB>text"),
        ("1\ta\n1\tb\n", "q:2: query id 1 occurs twice"),
        ("1\t \n", "q:1: query 1 has no text"),
        ("a b\tx\n", "q:1: id 'a b' holds white space"),
        ("\tx\n", "q:1: no id"),
        ('{"id": 1}\n', "q:1: query 1 has no text"),
        ('{"id": 1,\n', "q:1: not a JSON object"),
        ("<top><num>1</top>", "q:1: topic 1 has no title"),
        ("<top><title>a</top>", "q:1: no id"),
        ("<html></html>", "no topic in it"),
        ("", "no query in it"),
        (b"1\t\xe9t\xe9\n", "q:1: byte 0xE9 is not UTF-8"),
        (b"1\ta\0\n", "q:1: a NUL byte"),
        ("1\ta\n".encode("utf-16"), "q:1: UTF-16, not UTF-8"),
        ('{"topic_id": "1", "topics": [{"lang": "qqq", "topic_title": "x"}]}\n', "q:1: unknown language code 'qqq'"),
        ('{"topic_id": "1", "topics": []}\n', "q:1: 'topics' holds no topic"),
    ],
)
def test_bad_queries_are_one_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    (tmp_path / "q").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        read_queries(tmp_path / "q")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"id": "1", "headline": "x"}\n', "d:1: no text"),
        ('{"text": "x"}\n', "d:1: no id"),
        ("1\n", "d:1: 1 tab-separated columns"),
        ("<DOC><DOCNO>1</DOCNO>\nx", "d:1: this document has no </DOC>"),
        ("<DOC>\n<TEXT>x</TEXT></DOC>", "d:1: no id"),
        (gzip.compress(b'{"id": "1", "text": "x"}\n' * 50, mtime=0)[:40], "damaged or cut short"),
    ],
)
def test_bad_documents_are_one_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    (tmp_path / "d").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        list(read_documents(tmp_path / "d"))
    assert message in str(caught.value)


def test_a_line_of_200_megabytes_is_never_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        for _ in range(200):
            stream.write(b"x" * (1 << 20))
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(DataError, match=r"d.jsonl.gz:1: a line over 16 MiB"):
        list(read_documents(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80 << 20


def test_incomplete_folders_say_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        open_collection(f"trec:{tmp_path / 'none'}")
    folder = plain(tmp_path / "c")
    (folder / "documents.sw.tsv").write_text("a\tPaka\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"several documents: documents.en.tsv, documents.sw.tsv; keep one"):
        open_collection(f"trec:{folder}")
    for name, message in (
        ("documents.sw.tsv", ""), ("documents.en.tsv", "no documents"), ("queries.sw.tsv", "no queries"),
        ("qrels.txt", "no qrels"),
    ):  # fmt: skip
        (folder / name).unlink()
        if message:
            with pytest.raises(DataError, match=message):
                open_collection(f"trec:{folder}")
    with pytest.raises(UsageError, match="not a text collection"):
        open_collection("msmarco")
    collection(folder, collection__json="{")
    with pytest.raises(DataError, match=r"collection.json: not JSON"):
        open_collection(f"trec:{folder}")


def test_lines_that_end_in_lone_returns(tmp_path: Path) -> None:
    (tmp_path / "queries.sw.tsv").write_bytes(b"q1\tpaka mweusi\rq2\tmbwa mweupe\r")
    (tmp_path / "documents.en.jsonl").write_bytes(b'{"id": "d1", "text": "a cat"}\r{"id": "d2", "text": "a dog"}\r')
    (tmp_path / "qrels.txt").write_bytes(b"q1 0 d1 1\rq2 0 d2 1\r")
    result = open_collection(f"trec:{tmp_path}")
    assert result.queries("sw") == {"q1": "paka mweusi", "q2": "mbwa mweupe"}
    assert [document.text for document in result.documents()] == ["a cat", "a dog"]
    assert result.judgments() == {"q1": {"d1": 1}, "q2": {"d2": 1}}
    topics = b"<top>\r<num> Number: 1\r<title> paka mweusi\r</top>\r<top>\r<num> 2\r<title> mbwa\r</top>\r"
    (tmp_path / "topics.xml").write_bytes(topics)
    assert read_queries(tmp_path / "topics.xml") == {"": {"1": "paka mweusi", "2": "mbwa"}}


def test_a_field_that_is_not_needed_refuses_no_document(tmp_path: Path) -> None:
    value = "1" * 5000
    (tmp_path / "d.jsonl").write_text(f'{{"id": "d1", "text": "a cat", "score": NaN, "hash": {value}}}\n')
    assert [document.id for document in read_documents(tmp_path / "d.jsonl")] == ["d1"]


def test_tags_separate_words_unless_they_format_letters(tmp_path: Path) -> None:
    text = "<DOC><DOCNO>d1</DOCNO><TEXT>Bandari<BR>Ziwa<P>Mo<b>j</b>a<P>Mbili<li>H<sub>2</sub>O</TEXT></DOC>"
    (tmp_path / "d.sgml").write_text(text)
    assert [document.text for document in read_documents(tmp_path / "d.sgml")] == ["Bandari Ziwa Moja Mbili H2O"]
    (tmp_path / "t.xml").write_text("<top><num>1</num><title>paka <i>m</i>weusi</title><desc>x</desc></top>")
    assert read_queries(tmp_path / "t.xml") == {"": {"1": "paka mweusi"}}


def test_topics_whose_text_has_no_tag_of_its_own(tmp_path: Path) -> None:
    text = (
        '<topics task="2021 TREC Clinical Trials">\n <topic number="-1">\n mtoto wa miaka\n 2\n </topic>\n</topics>\n'
    )
    (tmp_path / "t.xml").write_text(text)
    assert read_queries(tmp_path / "t.xml") == {"": {"-1": "mtoto wa miaka 2"}}


def test_a_document_without_a_title_or_with_none(tmp_path: Path) -> None:
    lines = [
        '{"_id": "1", "title": null, "text": "a cat"}',
        '{"_id": 2, "text": "a dog"}',
        '{"_id": "3", "title": "", "text": "a"}',
    ]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    assert [(one.id, one.title) for one in read_documents(tmp_path / "corpus.jsonl")] == [
        ("1", ""),
        ("2", ""),
        ("3", ""),
    ]


@pytest.mark.parametrize("mark", ["\x01", "\x1b", "\x7f", "\x9f", "\u200b"])
def test_control_characters_separate_words(tmp_path: Path, mark: str) -> None:
    text = f"paka{mark}mweusi"
    contents = {
        "d.jsonl": json.dumps({"id": "1", "text": text, "title": text}), "d.tsv": f"1\t{text}\t{text}",
        "d.sgml": f"<DOC><DOCNO>1</DOCNO><TITLE>{text}</TITLE><TEXT>{text}</TEXT></DOC>",
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        assert [one.whole for one in read_documents(tmp_path / name)] == ["paka mweusi paka mweusi"]
    (tmp_path / "q.tsv").write_text(f"q1\t{text}\n", encoding="utf-8")
    (tmp_path / "q.xml").write_text(f"<top><num>q1</num><title>{text}</title></top>", encoding="utf-8")
    for name in ("q.tsv", "q.xml"):
        assert read_queries(tmp_path / name) == {"": {"q1": "paka mweusi"}}
