"""TMX as OPUS, Moses tools and translation memories write it, and as it goes wrong."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kivuko.bitext.pairs import PairSource
from kivuko.bitext.reading import open_source, read_bitext
from kivuko.errors import DataError, UsageError

# As OPUS writes it: a document type, creation tools, one line per element.
OPUS = """<?xml version="1.0" encoding="UTF-8" ?>
<tmx version="1.4">
<header creationdate="Thu Jan  1 00:00:00 2015" srclang="en" adminlang="en" o-tmf="unknown" segtype="sentence"
        creationtool="Uplug" creationtoolversion="unknown" datatype="PlainText" />
  <body>
    <tu>
      <tuv xml:lang="en"><seg>The dog &amp; the cat.</seg></tuv>
      <tuv xml:lang="sw"><seg>Mbwa &amp; paka.</seg></tuv>
    </tu>
    <tu>
      <tuv xml:lang="en"><seg>Where is it?</seg></tuv>
      <tuv xml:lang="sw"><seg>Iko wapi?</seg></tuv>
    </tu>
  </body>
</tmx>
"""


@pytest.fixture
def tmx(tmp_path: Path) -> Callable[..., Path]:
    def write(content: str | bytes, name: str = "f.tmx") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def units(*inner: str, head: str = '<?xml version="1.0"?>') -> str:
    return f'{head}<tmx version="1.4"><header/><body>' + "".join(f"<tu>{one}</tu>" for one in inner) + "</body></tmx>"


def tuv(language: str, text: str, attribute: str = "xml:lang") -> str:
    return f'<tuv {attribute}="{language}"><seg>{text}</seg></tuv>'


def sides(source: PairSource) -> Iterator[tuple[str | None, str | None]]:
    return ((text, english) for _, text, english, _ in source)


@pytest.mark.parametrize("name", ["f.tmx", "f.tmx.gz", "f", "f.tsv.unknown"])
def test_as_opus_writes_it(tmx: Callable[..., Path], name: str) -> None:
    path = tmx(gzip.compress(OPUS.encode()) if name.endswith("gz") else OPUS, name)
    source = open_source(path, "sw")
    assert source.format == "tmx"
    assert list(source) == [
        (6, "Mbwa & paka.", "The dog & the cat.", None),
        (10, "Iko wapi?", "Where is it?", None),
    ]
    assert source.place(10) == f"{path}:10", "an editor finds the unit there"
    assert source.bytes_read() == source.size == path.stat().st_size


@pytest.mark.parametrize("attribute", ["xml:lang", "lang"])
@pytest.mark.parametrize(
    ("ours", "english"), [("SW", "EN-US"), ("sw-KE", "en_GB"), ("swh", "eng"), ("sw_TZ", "en-US"), ("swa", "EN")]
)
def test_languages_however_they_are_written(tmx: Callable[..., Path], attribute: str, ours: str, english: str) -> None:
    path = tmx(units(tuv(english, "dog", attribute) + tuv("fr", "chien", attribute) + tuv(ours, "mbwa", attribute)))
    assert list(sides(open_source(path, "sw"))) == [("mbwa", "dog")]


def test_a_variety_is_matched_exactly_where_it_can_be(tmx: Callable[..., Path]) -> None:
    both = tuv("en", "bus") + tuv("pt-PT", "autocarro") + tuv("pt-BR", "ônibus")
    path = tmx(units(both, tuv("en", "train") + tuv("pt", "trem"), tuv("en", "tram") + tuv("pt-PT", "elétrico")))
    assert list(sides(open_source(path, "pt-BR"))) == [("ônibus", "bus"), ("trem", "train"), (None, "tram")]
    assert list(sides(open_source(path, "pt")))[:3] == [("autocarro", "bus"), ("ônibus", "bus"), ("trem", "train")]


def test_cuzco_and_ayacucho_quechua_are_not_the_same(tmx: Callable[..., Path]) -> None:
    path = tmx(units(tuv("en", "dog") + tuv("quy", "allqu") + tuv("quz", "alqo")))
    assert list(sides(open_source(path, "quz"))) == [("alqo", "dog")]


def test_several_variants_give_every_combination_that_differs(tmx: Callable[..., Path]) -> None:
    path = tmx(
        units(
            tuv("en-US", "color")
            + tuv("en-GB", "colour")  # codespell:ignore colour
            + tuv("en", "color")
            + tuv("sw", "rangi")
            + tuv("sw", "kala")
        )
    )
    assert list(sides(open_source(path, "sw"))) == [
        ("rangi", "color"), ("rangi", "colour"), ("kala", "color"), ("kala", "colour"),  # codespell:ignore colour
    ]  # fmt: skip
    many = units("".join(tuv("sw", f"neno {i}") for i in range(40)) + tuv("en", "word"))
    assert [raw.reason for raw in open_source(tmx(many, "m.tmx"), "sw")] == ["too many variants"]


def test_formatting_codes_are_no_text_but_what_they_mark_is(tmx: Callable[..., Path]) -> None:
    marked = (
        'Click <bpt i="1" type="bold">&lt;b&gt;</bpt>here<ept i="1">&lt;/b&gt;</ept><ph type="lb"/>or '
        '<hi type="term">there<ph>{0}<sub>a footnote</sub>{1}</ph></hi><it pos="begin">&lt;i&gt;</it>.'
    )
    path = tmx(units(tuv("en", marked) + tuv("sw", "<![CDATA[a < b]]> &#x41;<!-- no -->&#66;")))
    assert list(sides(open_source(path, "sw"))) == [("a < b AB", "Click here or there.")]


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [
        ("utf-8-sig", "UTF-8"), ("utf-16", "UTF-16"), ("utf-16", None), ("utf-16-le", "UTF-16"), ("utf-16-be", None),
        ("utf-32", None), ("latin-1", "ISO-8859-1"), ("cp1252", "windows-1252"), ("utf-8", "utf-16"),
        ("utf-8", "us-ascii"), ("cp1252", "CP1252"),
    ],
)  # fmt: skip
def test_encodings(tmx: Callable[..., Path], encoding: str, declared: str | None) -> None:
    head = f'<?xml version="1.0" encoding="{declared}"?>' if declared else '<?xml version="1.0"?>'
    path = tmx(units(tuv("en", "summer") + tuv("fr", "été"), head=head).encode(encoding), "f")
    assert list(sides(open_source(path, "fr"))) == [("été", "summer")]


@pytest.mark.parametrize("encoding", ["shift_jis", "gb18030", "euc_jp", "big5", "euc_kr", "iso2022_jp"])
def test_encodings_of_several_bytes(tmx: Callable[..., Path], encoding: str) -> None:
    head = f'<?xml version="1.0" encoding="{encoding}"?>'
    many = [tuv("en", f"{i}") + tuv("ja", f"日{i}本") for i in range(5000)]  # over one block
    path = tmx(units(*many, head=head).encode(encoding))
    assert list(sides(open_source(path, "ja"))) == [(f"日{i}本", f"{i}") for i in range(5000)]


@pytest.mark.parametrize("encoding", ["klingon", "idna", "punycode", "rot13", "zlib", "unicode_escape", "hex"])
def test_encodings_that_no_document_is_in(tmx: Callable[..., Path], encoding: str) -> None:
    path = tmx(units(head=f'<?xml version="1.0" encoding="{encoding}"?>'))
    with pytest.raises(DataError, match=rf"f\.tmx:1: declares the encoding '{encoding}', which is unknown; convert"):
        list(open_source(path, "sw"))


def test_units_that_lack_a_side_are_counted(tmx: Callable[..., Path]) -> None:
    path = tmx(units(tuv("en", "dog") + tuv("sw", "mbwa"), tuv("en", "cat") + tuv("fr", "chat"), tuv("sw", "kuku"), ""))
    bitext = read_bitext(path, "sw")
    assert [(pair.text, pair.english) for pair in bitext] == [("mbwa", "dog")]
    assert bitext.dropped == {"missing language": 3}


def test_a_language_that_is_not_there(tmx: Callable[..., Path]) -> None:
    path = tmx(units(tuv("en", "dog") + tuv("fr", "chien"), tuv("de", "Hund") + tuv("en", "dog")))
    with pytest.raises(DataError, match=r"f\.tmx: none of its 2 units is in sw; it holds: en, fr, de$"):
        list(open_source(path, "sw"))
    with pytest.raises(DataError, match="holds no translation unit"):
        list(open_source(tmx(units()), "sw"))


MALFORMED = {
    "cut short": (OPUS[:300], r"f\.tmx:7: not well-formed XML .*cut short"),
    "empty": ("", r"f\.tmx:1: not well-formed XML \(no element found.*empty or cut short"),
    "tag not closed": (OPUS.replace("</seg></tuv>", "</tuv>", 1), r"f\.tmx:7: not well-formed XML \(mismatched tag"),
    "bare ampersand": (OPUS.replace("&amp;", "&", 1), r"f\.tmx:7: not well-formed XML"),
    "control character": (OPUS.replace("cat", "c\x1ft"), r"f\.tmx:7: .*invalid token.*a character that XML does not"),
    "another encoding": (OPUS.encode().replace(b"cat", b"c\xe9t"), r"f\.tmx:7: .*another encoding than the one"),
    "NUL": (OPUS.replace("cat", "c\0t"), r"f\.tmx:7: "),
    "text after the end": (OPUS + "<tu/>", r"f\.tmx:16: .*junk after document element"),
    "a web page": ("<html><body>404</body></html>", r"f\.tmx:1: the document is <html>, not <tmx>"),
    "no XML": ("mbwa\tdog\n", r"f\.tmx:1: not well-formed XML"),
    "unknown entity": (OPUS.replace("&amp;", "&nosuch;", 1), r"f\.tmx:7: .*undefined entity"),
}


@pytest.mark.parametrize(("content", "message"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_documents(tmx: Callable[..., Path], content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        list(open_source(tmx(content), "sw"))
    assert "\n" not in str(raised.value)


def test_the_units_before_a_fault_come_first(tmx: Callable[..., Path]) -> None:
    path = tmx(OPUS.replace("Where is it?", "Where & it?"))
    read: list[str | None] = []
    with pytest.raises(DataError, match=r"f\.tmx:11: "):
        read.extend(raw.text for raw in open_source(path, "sw"))
    assert read == ["Mbwa & paka."]


LAUGHS = (
    '<!DOCTYPE tmx [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]>"
)


@pytest.mark.parametrize(
    "doctype",
    [
        LAUGHS, '<!DOCTYPE tmx [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE tmx [<!ENTITY % p SYSTEM "http://localhost/x.dtd"> %p;]>',
    ],
)  # fmt: skip
def test_entities_are_refused(tmx: Callable[..., Path], doctype: str) -> None:
    path = tmx(units(tuv("en", "&i;&x;") + tuv("sw", "mbwa"), head=doctype))
    with pytest.raises(DataError, match=r"f\.tmx:1: declares the entity .*; take <!ENTITY \.\.\.> out"):
        list(open_source(path, "sw"))


def test_a_document_type_is_not_fetched_and_entities_of_html_are_known(tmx: Callable[..., Path]) -> None:
    head = '<!DOCTYPE tmx SYSTEM "tmx14.dtd">'
    path = tmx(units(tuv("en", "caf&eacute;&nbsp;au lait") + tuv("sw", "kahawa"), head=head))
    assert list(sides(open_source(path, "sw"))) == [("kahawa", "café\xa0au lait")]
    with pytest.raises(DataError, match="unknown entity &nosuch;"):
        list(open_source(tmx(units(tuv("en", "&nosuch;") + tuv("sw", "x"), head=head)), "sw"))


def test_a_long_segment_is_dropped_and_never_held(tmx: Callable[..., Path]) -> None:
    path = tmx(
        gzip.compress(
            units(tuv("en", "long") + tuv("sw", "y" * (24 << 20)), tuv("en", "dog") + tuv("sw", "mbwa")).encode()
        )
    )
    source = open_source(path, "sw")
    tracemalloc.start()
    read = list(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(raw.text, raw.reason) for raw in read] == [(None, "too long"), ("mbwa", None)]
    assert peak < 8 << 20


@pytest.mark.parametrize("inner", ["<!-- {} -->", '<tuv x="{}">', "<?p {} ?>", "<{}>"])
def test_a_tag_without_end_is_refused_before_it_fills_memory(tmx: Callable[..., Path], inner: str) -> None:
    path = tmx(units(inner.format("y" * (12 << 20))))
    with pytest.raises(DataError, match=r"f\.tmx:1: a tag or comment of over 4 MiB begins here"):
        list(open_source(path, "sw"))


def test_tmx_has_no_columns(tmx: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="TMX has no columns"):
        open_source(tmx(OPUS), "sw", columns=(1, 2))


def segments(tmp_path: Path, *segments: str) -> list[str]:
    units = "".join(
        f'<tu><tuv xml:lang="sw"><seg>{one}</seg></tuv><tuv xml:lang="en"><seg>{number}</seg></tuv></tu>'
        for number, one in enumerate(segments)
    )
    (tmp_path / "s.tmx").write_text(f"<tmx><body>{units}</body></tmx>", encoding="utf-8")
    return [pair.text for pair in read_bitext(tmp_path / "s.tmx", "sw")]


@pytest.mark.parametrize(
    ("segment", "text"),
    [
        ("Mbwa<ph>&lt;br/&gt;</ph>analala", "Mbwa analala"), ("Mbwa<ph/>analala", "Mbwa analala"),
        ("Mbwa<ph x='1'>{1}</ph>analala.", "Mbwa analala."), ("Mbwa analala<ph>1</ph>.", "Mbwa analala."),
        ("Mbwa<bpt i='1'>&lt;p&gt;</bpt>analala<ept i='1'>&lt;/p&gt;</ept>", "Mbwa analala"),
        ("<bpt i='1'>&lt;b&gt;</bpt>M<ept i='1'>&lt;/b&gt;</ept>bwa", "Mbwa"), ("<hi>M</hi>bwa", "Mbwa"),
        ("<ph>&lt;b&gt;</ph>M<ph>&lt;/b&gt;</ph>bwa", "Mbwa"), ("<ph>{\\b </ph>M<ph>}</ph>bwa", "Mbwa"),
        ("Mbwa<it pos='begin'>\\line </it>analala", "Mbwa analala"),
        ("Mbwa<ut>&lt;tab&gt;</ut>analala", "Mbwa analala"),
        ("Mbwa<br/>analala", "Mbwa analala"), ("<p>Mbwa</p><p>analala</p>", "Mbwa analala"),
        ("Mbwa<x id='1'/>analala", "Mbwa analala"), ("Mbwa\u200banalala", "Mbwa analala"),
        ("Mbwa&#x85;analala", "Mbwa analala"), ("Mbwa<ph type='lb'/>, paka", "Mbwa , paka"),
    ],
)  # fmt: skip
def test_elements_that_part_words_become_a_space(tmp_path: Path, segment: str, text: str) -> None:
    assert segments(tmp_path, segment) == [text]


@pytest.mark.parametrize("tag", ["zh-TW", "zh-HK", "zh_TW", "ZH-CHT", "zh-Hant", "zh-Hant-TW", "cht", "zho-Hant", "zh"])
def test_every_tag_of_traditional_chinese(tmx: Callable[..., Path], tag: str) -> None:
    path = tmx(units(tuv(tag, "這是一本書。") + tuv("en-US", "This is a book.")))
    assert [pair.text for pair in read_bitext(path, "zh-Hant")] == ["這是一本書。"]


def test_the_variety_that_fits_best_is_taken(tmx: Callable[..., Path]) -> None:
    variants = {"zh-CN": "这是", "zh": "這", "zh-TW": "這是", "en": "This is"}
    path = tmx(units("".join(tuv(tag, text) for tag, text in variants.items())))
    assert [pair.text for pair in read_bitext(path, "zh-Hant")] == ["這是"]


def test_variants_without_a_segment_are_named(tmp_path: Path) -> None:
    path = tmp_path / "f.tmx"
    path.write_text('<tmx><body><tu><tuv xml:lang="sw">Mbwa</tuv><tuv xml:lang="en">Dog</tuv></tu></body></tmx>')
    with pytest.raises(DataError, match=r"f\.tmx: 2 <tuv> elements in sw or en hold no <seg>"):
        read_bitext(path, "sw")


@pytest.mark.parametrize("opening", ["<x>", "<tu>", "<tu><tuv xml:lang='sw'><seg><hi>", "<tuv xml:lang='sw'><seg><ph>"])
def test_tags_nested_without_end_are_refused_early(tmp_path: Path, opening: str) -> None:
    path = tmp_path / "f.tmx"
    path.write_text("<tmx><body>" + opening + opening[opening.rindex("<") :] * 99_999)
    with pytest.raises(DataError, match=r"f\.tmx:1: over 1,000 tags within one another"):
        read_bitext(path, "sw")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<seg>bread & butter</seg>", "an & that begins no entity: write &amp;"),
        ("<seg>1 < 2</seg>", "a < that begins no tag: write &lt;"),
        ("<seg>cut", "cut short"),
    ],
)
def test_what_is_not_well_formed_is_named_for_what_it_is(tmp_path: Path, body: str, message: str) -> None:
    path = tmp_path / "f.tmx"
    path.write_text(f'<tmx><body>\n<tu><tuv xml:lang="sw">{body}')
    with pytest.raises(DataError, match=rf"f\.tmx:2: not well-formed XML .*{message}"):
        read_bitext(path, "sw")
    for other in ("mbwa\tdog\n", '{"sw": "mbwa", "en": "dog"}\n'):
        path.write_text(other)
        with pytest.raises(DataError, match=r"f\.tmx:1: .* does not begin as XML does: name its format"):
            read_bitext(path, "sw")
