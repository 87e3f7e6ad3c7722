"""WikiCLIR from dumps in every true format; relevance checked by hand against the links drawn below."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import wiki_dumps as dumps

from kivuko.datasets.spec import open_collection
from kivuko.datasets.wikiclir.articles import plain_text, read_articles
from kivuko.datasets.wikiclir.build import Options, build_wikiclir
from kivuko.datasets.wikiclir.dumps import WikiDumps, find_dumps
from kivuko.errors import DataError, UsageError

SWAHILI = [
    (1, "Paka", "'''Paka''' ni [[mnyama]] mdogo wa [[nyumba]]ni.<ref>Kamusi</ref> Hula panya."),
    (2, "Mbwa", "{{Mnyama|jina={{PAGENAME}}}}\n'''Mbwa''' ni mnyama anayefugwa na watu. Hubweka."),
    (3, "Peponi", "'''Peponi''' ni riwaya iliyoandikwa na Gurnah."),
    (4, "Tupu", "{{mbegu}}"),  # no sentence
    (5, "Mti", "Mti ni mmea."),  # too short without the title
    (
        6,
        "Samaki wa Ziwa Tanganyika",
        "Samaki wa aina nyingi wanaishi katika ziwa hilo kubwa.",
    ),  # its link leads nowhere
    (7, "Nyota", "Nyota ni gimba kubwa angani."),  # no language link to English
    (8, "Paka Shume", "Paka Shume ni paka dume asiyefugwa."),  # through a redirect to Cat
]
ENGLISH = [
    (10, "Cat", "The '''cat''' is a small [[animal]]. It eats mice."),
    (20, "Dog", "The '''dog''' is a domesticated [[animal]]."),
    (30, "Animal", "'''Animals''' are living beings."),
    (40, "Mouse", "A '''mouse''' is a small rodent."),
    (50, "Paradise (novel)", "'''Paradise''' is a novel by Abdulrazak Gurnah."),
    (60, "Empty", "{{stub}}"),  # no text: no document
]
REDIRECTS = [(11, "Tomcat", "Cat"), (31, "Animals", "Animal")]
# Hand-drawn: cat <-> animal (animal by its redirect's name), cat -> mouse (one way), mouse -> dog (one way),
# dog <-> animal, cat <-> dog, novel <-> Empty (no document), novel -> novel, a talk page -> cat, cat -> a red link.
LINKS = [
    (10, "Animals"), (30, "Cat"), (10, "Mouse"), (40, "Dog"), (20, "Animal"), (30, "Dog"), (10, "Dog"), (20, "Tomcat"),
    (50, "Empty"), (60, "Paradise (novel)"), (50, "Paradise (novel)"), (10, "No such article"), (40, "Animal"),
]  # fmt: skip
LANGLINKS = [
    (1, "en", "Cat"), (1, "de", "Hauskatze"), (2, "en", "Dog"), (3, "en", "Paradise (novel)"), (4, "en", "Mouse"),
    (5, "en", "Animal"), (6, "en", "Fish of Lake Tanganyika"), (7, "de", "Stern"), (8, "en", "Tomcat"),
]  # fmt: skip
# What the graph above means, query -> document -> grade. Cat: mutual with Animal and Dog. Dog: with Animal and Cat.
# Paradise: its only mutual partner is no document. Mouse has no query (4 is empty), nor has Animal (5 is too short).
EXPECTED = {
    "1": {"10": 2, "30": 1, "20": 1},
    "2": {"20": 2, "30": 1, "10": 1},
    "3": {"50": 2},
    "8": {"10": 2, "30": 1, "20": 1},
}
QUERIES = {
    "1": "ni mnyama mdogo wa nyumbani.",
    "2": "ni mnyama anayefugwa na watu.",
    "3": "ni riwaya iliyoandikwa na Gurnah.",
    "8": "ni dume asiyefugwa.",
}


def write_tables(folder: Path, older: bool = False, separate_pages: bool = False) -> None:
    """Write link tables of the newer or the older schema, with or without page and redirect tables."""
    wiki = folder / "enwiki-20240901"
    talk = (9001, 1)
    if older:
        rows = [(start, 0, title.replace(" ", "_"), 0) for start, title in LINKS]
        rows += [(9001, 0, "Cat", 1), (10, 1, "Dog", 0)]
        content = dumps.sql_dump("pagelinks", dumps.PAGELINKS_BEFORE_2024, rows)
    else:
        targets = {title: 500 + place for place, title in enumerate(dict.fromkeys(title for _, title in LINKS))}
        named = [(number, 0, title.replace(" ", "_")) for title, number in targets.items()]
        named.append((100_000, 1, "Cat"))  # Talk:Cat, beyond what was first laid out
        content = dumps.sql_dump("linktarget", dumps.LINKTARGET, named)
        dumps.write(Path(f"{wiki}-linktarget.sql.gz"), content)
        numbered = [(start, 0, targets[title]) for start, title in LINKS]
        numbered += [(*talk, targets["Cat"]), (10, 0, 100_000), (10, 0, 99_999_999)]
        content = dumps.sql_dump("pagelinks", dumps.PAGELINKS, numbered)
    dumps.write(Path(f"{wiki}-pagelinks.sql.gz"), content)
    if separate_pages:
        pages = [dumps.page_row(number, title) for number, title, _ in ENGLISH]
        pages += [dumps.page_row(number, title, redirect=1) for number, title, _ in REDIRECTS]
        pages.append(dumps.page_row(9001, "Cat", namespace=1))
        dumps.write(Path(f"{wiki}-page.sql.gz"), dumps.sql_dump("page", dumps.PAGE, pages))
        leads = [(number, 0, target, "", "") for number, _, target in REDIRECTS]
        dumps.write(Path(f"{wiki}-redirect.sql.gz"), dumps.sql_dump("redirect", dumps.REDIRECT, leads))


def built(folder: Path) -> tuple[dict[str, str], dict[str, dict[str, int]], dict[str, str]]:
    """Return queries, judgments and documents of a collection."""
    collection = open_collection(f"trec:{folder}")
    documents = {document.id: document.whole for document in collection.documents()}
    judged = {query: dict(grades) for query, grades in collection.judgments().items()}
    return collection.queries("sw"), judged, documents


@pytest.mark.parametrize("older", [False, True], ids=["linktarget", "titles"])
@pytest.mark.parametrize("separate", [False, True], ids=["titles-from-articles", "page-table"])
def test_relevance_is_what_the_links_mean(tmp_path: Path, older: bool, separate: bool) -> None:
    write_tables(tmp_path, older, separate)
    dumps.write(tmp_path / "swwiki-20240901-pages-articles.xml.bz2", dumps.xml_dump(SWAHILI))
    english = dumps.xml_dump(ENGLISH, REDIRECTS)
    dumps.write(tmp_path / "enwiki-20240901-pages-articles.xml.bz2", english)
    content = dumps.sql_dump("langlinks", dumps.LANGLINKS, LANGLINKS)
    dumps.write(tmp_path / "swwiki-20240901-langlinks.sql.gz", content)
    result = build_wikiclir(find_dumps(tmp_path, "sw", "en"), Options("sw", "en"), tmp_path / "out")
    queries, judged, documents = built(tmp_path / "out")
    assert judged == EXPECTED
    assert queries == QUERIES
    assert set(documents) == {"10", "20", "30", "40", "50"}
    assert documents["10"] == "Cat The cat is a small animal. It eats mice."
    assert (result.queries, result.documents, result.mates, result.mutual) == (4, 5, 4, 6)
    assert dict(result.left_out) == {
        "queries: language link to no article": 1, "queries: no language link": 2, "queries: no first sentence": 1,
        "queries: too short without the title": 1, "documents: no text": 1,
    }  # fmt: skip


def test_json_articles_and_links_from_the_other_side_give_the_same(tmp_path: Path) -> None:
    write_tables(tmp_path, separate_pages=True)
    plain = [(1, "Paka", "Paka ni mnyama mdogo wa nyumbani. Hula panya."),
             (2, "Mbwa", "Mbwa ni mnyama anayefugwa na watu. Hubweka."),
             (3, "Peponi", "Peponi ni riwaya iliyoandikwa na Gurnah.")]  # fmt: skip
    dumps.write(tmp_path / "swwiki-articles.jsonl.gz", dumps.wikiextractor(plain))
    english = [(number, title, text.replace("'''", "").replace("[[", "").replace("]]", "")) for number, title, text in
               ENGLISH if "{{" not in text]  # fmt: skip
    dumps.write(tmp_path / "enwiki-20240902-cirrussearch-content.json.gz", dumps.cirrus(english))
    rows = [(10, "sw", "Paka"), (20, "sw", "Mbwa"), (50, "sw", "Peponi"), (40, "so", "Jiir")]
    content = dumps.sql_dump("langlinks", dumps.LANGLINKS, rows)
    dumps.write(tmp_path / "enwiki-20240901-langlinks.sql.gz", content)
    build_wikiclir(find_dumps(tmp_path, "sw", "en"), Options("sw", "en"), tmp_path / "out")
    queries, judged, documents = built(tmp_path / "out")
    assert judged == {query: grades for query, grades in EXPECTED.items() if query != "8"}
    assert queries == {query: text for query, text in QUERIES.items() if query != "8"}
    assert documents["10"] == "Cat The cat is a small animal. It eats mice."


def small(tmp_path: Path) -> WikiDumps:
    write_tables(tmp_path)
    dumps.write(tmp_path / "swwiki-latest-pages-articles.xml.bz2", dumps.xml_dump(SWAHILI))
    dumps.write(tmp_path / "enwiki-latest-pages-articles.xml.bz2", dumps.xml_dump(ENGLISH, REDIRECTS))
    content = dumps.sql_dump("langlinks", dumps.LANGLINKS, LANGLINKS)
    dumps.write(tmp_path / "swwiki-20240901-langlinks.sql.gz", content)
    return find_dumps(tmp_path, "sw", "en")


def test_the_same_dumps_give_the_same_bytes_and_the_account_is_kept(tmp_path: Path) -> None:
    result = small(tmp_path)
    for name in ("a", "b"):
        build_wikiclir(result, Options("sw", "en", words=4, most_queries=2, seed=3), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["collection.json", "documents.en.jsonl.gz", "qrels.txt", "queries.sw.tsv"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    about = json.loads((tmp_path / "a" / "collection.json").read_text(encoding="utf-8"))
    assert (about["queries"], about["documents"], about["query_language"]) == (2, 5, "sw")
    assert about["sources"]["pagelinks"]["file"] == "enwiki-20240901-pagelinks.sql.gz"
    queries, judged, documents = built(tmp_path / "a")
    assert set(judged) == set(queries) < set(QUERIES)
    assert documents["10"] == "Cat The cat is a"
    others = {frozenset(_chosen(result, seed, tmp_path)) for seed in range(6)}
    assert len(others) > 1  # another seed, another choice


def _chosen(result: WikiDumps, seed: int, tmp_path: Path) -> dict[str, str]:
    build_wikiclir(result, Options("sw", "en", most_queries=2, seed=seed), tmp_path / f"seed-{seed}")
    return built(tmp_path / f"seed-{seed}")[0]


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    result = small(tmp_path)
    whole = gzip.decompress(result.pagelinks.read_bytes())
    result.pagelinks.write_bytes(gzip.compress(whole[: whole.index(b"VALUES") + 20]))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataError, match="not a whole row of 'pagelinks'"):
        build_wikiclir(result, Options("sw", "en"), tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no swwiki-…-pages-articles.xml.bz2"):
        find_dumps(tmp_path, "sw", "en")
    result = small(tmp_path)
    with pytest.raises(UsageError, match="both in sw"):
        build_wikiclir(result, Options("sw", "swa"), tmp_path / "out")
    with pytest.raises(DataError, match="no article gives a query"):
        build_wikiclir(result, Options("sw", "fr"), tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x", encoding="utf-8")
    with pytest.raises(UsageError, match="is not a collection; nothing was replaced"):
        build_wikiclir(result, Options("sw", "en"), tmp_path / "mine")
    result.linktarget.unlink()  # type: ignore[union-attr]
    with pytest.raises(DataError, match="give the linktarget dump"):
        build_wikiclir(find_dumps(tmp_path, "sw", "en"), Options("sw", "en"), tmp_path / "out")
    dumps.write(tmp_path / "enwiki-20230101-pagelinks.sql.gz", b"x")
    with pytest.raises(DataError, match="several fit"):
        find_dumps(tmp_path, "sw", "en")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b'<doc id="1" title="Paka">\nPaka\n</doc>\n', "run it again with --json"),
        (b"Paka ni mnyama.", "neither MediaWiki's XML nor JSON lines"),
        (b'{"id": "1"}\n', "sw.bin:1: no id or no title"),
        (
            b'{"id": "1", "title": "A", "text": "b"}\n{"id": "x", "title": "A", "text": "b"}\n',
            "sw.bin:2: id 'x' is no whole",
        ),
        (dumps.xml_dump(SWAHILI)[:-40], "not XML as MediaWiki dumps it"),
        (dumps.xml_dump(SWAHILI).replace(b"<id>1</id>", b""), "a <page> without <id> or <title>"),
    ],
)
def test_articles_that_cannot_be_read_are_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "sw.bin"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(read_articles(path))
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plain_dump_goes_before_a_multistream_one_and_parts_are_in_a_folder(tmp_path: Path) -> None:
    result = small(tmp_path)
    dumps.write(tmp_path / "enwiki-latest-pages-articles-multistream.xml.bz2", b"x")
    assert find_dumps(tmp_path, "sw", "en") == result
    (tmp_path / "parts").mkdir()
    for number, half in enumerate((ENGLISH[:3], ENGLISH[3:])):
        dumps.write(tmp_path / "parts" / f"enwiki-pages-articles{number}.xml-p1.bz2", dumps.xml_dump(half, REDIRECTS))
    named = find_dumps(tmp_path, "sw", "en", document_articles=tmp_path / "parts")
    build_wikiclir(named, Options("sw", "en"), tmp_path / "out")
    assert built(tmp_path / "out")[1] == EXPECTED


def test_filipino_is_the_tagalog_wikipedia(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="tlwiki-"):
        find_dumps(tmp_path, "fil", "en")


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("Bandari<br />Ziwa <p>Moja</p><p>Mbili</p>", "Bandari Ziwa Moja Mbili"),
        ("Bandari<BR>Ziwa<hr/>Mto", "Bandari Ziwa Mto"),
        ("<ul><li>Paka</li><li>Mbwa</li></ul>", "Paka Mbwa"),
        ("<table><tr><td>Paka</td><td>Mbwa</td></tr></table>", "Paka Mbwa"),
        ("Moja<div class='a'>Mbili</div>Tatu<poem>Nne</poem>", "Moja Mbili Tatu Nne"),
        ("<b>M</b>bwa <span style='x'>mku</span>bwa H<sub>2</sub>O ki<wbr>tabu", "Mbwa mkubwa H2O kitabu"),
        ("Paka<ref name=a>X</ref>, <nowiki>m</nowiki>bwa<ref/>.", "Paka, mbwa."),
        ("Paka<gallery>A.jpg|x</gallery>Mbwa<score>c</score>.", "Paka Mbwa."),
        ("Paka[[File:A.jpg|thumb|maelezo]]Mbwa", "Paka Mbwa"),
        ('Paka<mapframe zoom=1>{"type": "Feature"}</mapframe>Mbwa <includeonly>x</includeonly>', "Paka Mbwa"),
        ("<section begin=a/><poem>Paka<br>mdogo</poem><q>m</q><ins>b</ins>wa<section end=a />", "Paka mdogo mbwa"),
        ("<blockquote>Moja<br clear=all>Mbili</blockquote> <big-title>x", "Moja Mbili x"),
    ],
)
def test_tags_separate_words_unless_they_format_letters(wikitext: str, text: str) -> None:
    assert plain_text(wikitext) == text


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("他買了-{zh-hans:打印机;zh-hant:印表機}-。", "他買了打印机。"),
        ("-{zh-cn:软件; zh-tw:軟體;}-公司", "软件公司"),
        ("-{简体}-字", "简体字"),
        ("-{zh-hans|计算机}-科学", "计算机科学"),
        ("-{H|zh-cn:博客;zh-tw:網誌}-文章", "文章"),
        ("-{A|zh-hans:[[鼠标|鼠标]];zh-hant:滑鼠}-垫", "鼠标垫"),
        ("-{T|zh:标题}-正文-{R|a;b}-", "正文a;b"),
        ("-{巨集=>zh-cn:宏;zh-tw:巨集}-", "宏"),
        ("-{zh-hans:甲&nbsp;乙;zh-hant:丙}-", "甲 乙"),
        ("-{sr-ec:Београд;sr-el:Beograd}- је", "Београд је"),
        ("-{zh-hans:-{甲}-乙;zh-hant:丙}-", "甲乙"),
        ("nyuzi 10-{{convert|5}} 3-{x", "nyuzi 10- 3-{x"),
    ],
)
def test_one_variant_of_a_conversion_mark_is_kept(wikitext: str, text: str) -> None:
    assert plain_text(wikitext) == text


def test_conversion_marks_take_linear_time() -> None:
    plain_text("-{" * 100_000 + "}-" * 100_000)
    plain_text("-{zh-hans:" + ";zh" * 100_000)
    plain_text("-{" + ";a=>zh" * 50_000 + "}-")
