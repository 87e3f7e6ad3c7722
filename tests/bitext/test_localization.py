"""Message files as gettext, XLIFF and TBX tools write them, and as they go wrong."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("translate.storage.base", reason="needs translate-toolkit")

from kivuko.bitext import localization
from kivuko.bitext.pairs import RawPair
from kivuko.bitext.reading import open_source, read_bitext
from kivuko.errors import DataError, KivukoError, MissingDependencyError, UsageError

HEADER = r"""# Swahili messages.
msgid ""
msgstr ""
"Project-Id-Version: paka\n"
"Language: sw\n"
"Content-Type: text/plain; charset=UTF-8\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\n"
"""
PO = (
    HEADER
    + r"""
#. A note for translators.
#: src/menu.c:12
msgctxt "menu"
msgid "_Open file"
msgstr "_Fungua faili"

msgid "Delete one cat?"
msgid_plural "Delete %d cats?"
msgstr[0] "Futa paka mmoja?"
msgstr[1] "Futa paka %d?"

#, fuzzy, c-format
msgid "Save %s"
msgstr "Hifadhi %s"

msgid "Close"
msgstr ""

msgid "%d %%"
msgstr "%d %%"

msgid ""
"The <b>black</b> cat "
"sleeps in %(place)s."
msgstr "<b>Paka</b> mweusi analala %(place)s."

msgid "translator-credits"
msgstr "Asha"

#~ msgid "Old"
#~ msgstr "Zamani"
"""
)
PO_PAIRS = [
    ("Fungua faili", "Open file"), ("Futa paka mmoja?", "Delete one cat?"), ("Futa paka?", "Delete cats?"),
    ("Paka mweusi analala.", "The black cat sleeps in."),
]  # fmt: skip
XLIFF = """<?xml version="1.0" encoding="UTF-8"?>
<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">
<file original="a.html" source-language="en-US" target-language="sw" datatype="html"><body>
<trans-unit id="1"><source>The <g id="1">black</g> cat<x id="2" ctype="lb"/>sleeps.</source>
<target state="translated">Paka <g id="1">mweusi</g><x id="2" ctype="lb"/>analala.</target>
<note>About the cat.</note><alt-trans><source>No</source><target>Hapana</target></alt-trans></trans-unit>
<group><trans-unit id="2"><source>Hello <ph id="1">{name}</ph>, welcome</source>
<target>Hujambo <ph id="1">{name}</ph>, karibu</target></trans-unit></group>
<trans-unit id="3"><source>Dog</source></trans-unit>
<trans-unit id="4"><source>Cow</source><target state="needs-review-translation">Ngombe</target></trans-unit>
<trans-unit id="5" approved="no"><source>Hen</source><target>Kuku</target></trans-unit>
<trans-unit id="6"><source><x id="1"/> 12</source><target><x id="1"/> 12</target></trans-unit>
</body></file></xliff>
"""
XLIFF_PAIRS = [("Paka mweusi analala.", "The black cat sleeps."), ("Hujambo, karibu", "Hello, welcome")]
XLIFF_2 = """<xliff version="2.0" xmlns="urn:oasis:names:tc:xliff:document:2.0" srcLang="en" trgLang="sw">
<file id="f1"><notes><note>Hi</note></notes>
<unit id="1"><notes><note>About the cat.</note></notes>
<segment><source>The <pc id="1">black</pc> cat.</source><target>Paka <pc id="1">mweusi</pc>.</target></segment>
<ignorable><source> </source></ignorable>
<segment state="final"><source>It sleeps<ph id="2" type="fmt" subType="xlf:lb"/>now.</source>
<target>Analala<ph id="2" type="fmt" subType="xlf:lb"/>sasa.</target></segment></unit>
<unit id="2"><segment state="initial"><source>Cow</source><target>Ngombe</target></segment></unit>
<unit id="3"><segment><source>Dog</source></segment></unit>
</file></xliff>
"""
XLIFF_2_PAIRS = [("Paka mweusi.", "The black cat."), ("Analala sasa.", "It sleeps now.")]
TBX = """<?xml version="1.0"?>
<!DOCTYPE martif SYSTEM "TBXcoreStructV02.dtd">
<martif type="TBX" xml:lang="en"><text><body>
<termEntry id="1"><descrip type="definition">An animal.</descrip>
<langSet xml:lang="en"><tig><term>cat</term></tig></langSet>
<langSet xml:lang="fr"><tig><term>chat</term></tig></langSet>
<langSet xml:lang="sw-KE"><tig><term>paka</term></tig><ntig><termGrp><term>nyau</term></termGrp></ntig>
<tig><term>pusi</term><termNote type="administrativeStatus">deprecatedTerm-admn-sts</termNote></tig></langSet>
</termEntry>
<termEntry id="2"><langSet xml:lang="en"><tig><term>dog</term></tig></langSet></termEntry>
</body></text></martif>
"""
TBX_3 = """<tbx type="TBX-Basic" style="dca" xml:lang="en" xmlns="urn:iso:std:iso:30042:ed-2"><text><body>
<conceptEntry id="1"><langSec xml:lang="en"><termSec><term>cat</term></termSec></langSec>
<langSec xml:lang="sw"><termSec><term>paka</term></termSec></langSec></conceptEntry></body></text></tbx>
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    def write(name: str, content: str | bytes) -> Path:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path / name

    return write


Write = Callable[[str, str | bytes], Path]


def pairs(path: Path, language: str = "sw") -> list[tuple[str, str]]:
    return [(pair.text, pair.english) for pair in read_bitext(path, language)]


def mo_of(po: str) -> bytes:
    """Return a PO file compiled by the library."""
    from translate.storage.mo import mofile
    from translate.storage.pypo import pofile

    store, compiled = pofile(), mofile()
    store.parse(po.encode())
    for unit in store.units:
        if unit.target and not unit.isfuzzy() and not unit.isobsolete():
            new = compiled.UnitClass(unit.source)
            new.target = unit.target
            if context := unit.getcontext():
                new.setcontext(context)
            compiled.addunit(new)
    return bytes(compiled)


def test_po_gives_confirmed_messages_as_plain_text(write: Write) -> None:
    path = write("sw.po", PO)
    bitext = read_bitext(path, "sw")
    assert [(pair.text, pair.english) for pair in bitext] == PO_PAIRS
    assert bitext.dropped == {
        "header or credits": 2, "fuzzy": 1, "untranslated": 1, "only placeholders or numbers": 1, "obsolete": 1,
    }  # fmt: skip
    assert bitext.pairs[0].origin == f"{path}:9", "where an editor shows the message with its comments"
    assert bitext.first_dropped["fuzzy"] == f"{path}:20"


def test_mo_gives_the_same_pairs(write: Write) -> None:
    bitext = read_bitext(write("sw.mo", mo_of(PO)), "sw")
    assert {(pair.text, pair.english) for pair in bitext} == set(PO_PAIRS)
    assert bitext.dropped == {"header or credits": 2, "only placeholders or numbers": 1}


def test_a_big_endian_mo_file_and_its_encoding(write: Write) -> None:
    entries = [
        (b"", b"Content-Type: text/plain; charset=ISO-8859-1\nLanguage: fr\n"),
        (b"summer", "été".encode("latin-1")),
    ]
    strings, start = b"", 28 + 16 * len(entries)
    tables: list[list[int]] = [[], []]
    for side in (0, 1):
        for entry in entries:
            tables[side] += [len(entry[side]), start + len(strings)]
            strings += entry[side] + b"\0"
    head = struct.pack(">7I", 0x950412DE, 0, len(entries), 28, 28 + 8 * len(entries), 0, 0)
    path = write("fr.gmo", head + struct.pack(">8I", *tables[0], *tables[1]) + strings)
    assert pairs(path, "fr") == [("été", "summer")]


ARABIC = (
    r'"Language: ar\nPlural-Forms: nplurals=6; plural=n==0 ? 0 : n==1 ? 1 : n==2 ? 2 : n%100>=3 && n%100<=10 ? 3 '
    r': n%100>=11 ? 4 : 5;\n"'
)


@pytest.mark.parametrize(
    ("language", "head", "forms", "expected"),
    [
        (
            "ar",
            ARABIC,
            "zabcde",
            [("a", "One day"), ("b", "days"), ("c", "days"), ("d", "days"), ("e", "days")],
        ),
        ("ja", r'"Language: ja\nPlural-Forms: nplurals=1; plural=0;\n"', "a", [("a", "One day"), ("a", "days")]),
        ("fr", r'"Language: fr\nPlural-Forms: nplurals=2; plural=n>1;\n"', "ab", [("a", "One day"), ("b", "days")]),
        (
            "fr",
            r'"Language: fr\nPlural-Forms: nplurals=2; plural=__import__(1);\n"',
            "ab",
            [("a", "One day"), ("b", "days")],
        ),
        ("fr", r'"Language: fr\nPlural-Forms: nplurals=2; plural=n/0;\n"', "ab", [("a", "One day"), ("b", "days")]),
        ("fr", r'"Language: fr\n"', "ab", [("a", "One day"), ("b", "days")]),
    ],
    ids=["six", "one", "French", "no formula", "no number", "none"],
)
def test_plural_forms_go_with_the_form_of_their_number(
    write: Write, language: str, head: str, forms: str, expected: list[tuple[str, str]]
) -> None:
    translations = "".join(f'msgstr[{index}] "{form}"\n' for index, form in enumerate(forms))
    path = write("f.po", f'msgid ""\nmsgstr ""\n{head}\n\nmsgid "One day"\nmsgid_plural "%d days"\n{translations}')
    assert pairs(path, language) == expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (r"Language: en\n", ("Paka mweusi", "Black cat")),
        (r"X-Source-Language: sw\nLanguage: en\n", ("Paka mweusi", "Black cat")),
        (r"Language: sw_KE\n", ("Black cat", "Paka mweusi")), (r"Language: \n", ("Black cat", "Paka mweusi")),
        (r"X-Poedit-Language: Swahili\n", ("Black cat", "Paka mweusi")),
    ],
)  # fmt: skip
def test_english_is_the_source_or_the_target(write: Write, head: str, expected: tuple[str, str]) -> None:
    path = write("f.po", f'msgid ""\nmsgstr "{head}"\n\nmsgid "Paka mweusi"\nmsgstr "Black cat"\n')
    assert pairs(path) == [expected]


def test_a_form_for_nothing_alone_is_counted_and_left_out(write: Write) -> None:
    forms = "".join(f'msgstr[{index}] "{form}"\n' for index, form in enumerate("zabcde"))
    path = write("f.po", f'msgid ""\nmsgstr ""\n{ARABIC}\n\nmsgid "One day"\nmsgid_plural "%d days"\n{forms}')
    bitext = read_bitext(path, "ar")
    assert bitext.dropped == {"header or credits": 1, "plural form for none": 1}


def test_another_pair_of_languages_is_named(write: Write) -> None:
    german = write("de.po", PO.replace("Language: sw", "Language: de"))
    with pytest.raises(
        DataError, match=r"de\.po: translates English to German, not English to Swahili or back; give a"
    ):
        read_bitext(german, "sw")
    path = write("f.xlf", XLIFF.replace('"en-US"', '"fr"'))
    with pytest.raises(DataError, match=r"f\.xlf: translates French to Swahili, not English to Swahili or back"):
        read_bitext(path, "sw")
    british = "".join(f'msgid "Word {n}"\nmsgstr "Word {n}"\n\n' for n in range(30))
    with pytest.raises(DataError, match=r"translates English to another English \(en_GB\), not English to Swahili"):
        read_bitext(write("en_GB.po", HEADER.replace("Language: sw", "Language: en_GB") + "\n" + british), "sw")


def test_xliff_1_without_codes_notes_and_what_is_not_confirmed(write: Write) -> None:
    path = write("f.xlf", XLIFF)
    bitext = read_bitext(path, "sw")
    assert [(pair.text, pair.english) for pair in bitext] == XLIFF_PAIRS
    assert bitext.dropped == {"untranslated": 1, "fuzzy": 2, "only placeholders or numbers": 1}
    assert [pair.origin for pair in bitext] == [f"{path}:4", f"{path}:7"]
    backward = XLIFF.replace(
        'source-language="en-US" target-language="sw"', 'source-language="sw" target-language="en"'
    )
    assert pairs(write("b.xlf", backward)) == [(english, text) for text, english in XLIFF_PAIRS]


def test_the_files_of_one_xliff_each_have_their_languages(write: Write) -> None:
    first = XLIFF[XLIFF.index("<file") : XLIFF.index("</xliff>")]
    both = XLIFF.replace("</xliff>", first.replace('"sw"', '"de"') + "</xliff>")
    bitext = read_bitext(write("f.xlf", both), "sw")
    assert [(pair.text, pair.english) for pair in bitext] == XLIFF_PAIRS
    assert bitext.dropped["missing language"] == 6


def test_xliff_2_gives_a_pair_for_each_segment(write: Write) -> None:
    bitext = read_bitext(write("f.xliff", XLIFF_2), "sw")
    assert [(pair.text, pair.english) for pair in bitext] == XLIFF_2_PAIRS
    assert bitext.dropped == {"fuzzy": 1, "untranslated": 1}
    newer = XLIFF_2.replace("document:2.0", "document:2.2").replace('version="2.0"', 'version="2.2"')
    assert pairs(write("g.xliff", newer)) == XLIFF_2_PAIRS


def test_xliff_as_angular_writes_it(write: Write) -> None:
    unit = (
        '<trans-unit id="1"><source>Hello <x id="INTERPOLATION" equiv-text="{{name}}"/>!<x id="LINE_BREAK" '
        'ctype="lb" equiv-text="&lt;br/&gt;"/>Bye</source><target>Habari <x id="INTERPOLATION" '
        'equiv-text="{{name}}"/>!<x id="LINE_BREAK" ctype="lb" equiv-text="&lt;br/&gt;"/>Kwaheri</target></trans-unit>'
        '<trans-unit id="2"><source>{VAR_PLURAL, plural, =1 {one cat} other {cats}}</source>'
        "<target>{VAR_PLURAL, plural, =1 {paka} other {paka}}</target></trans-unit>"
    )
    start, end = XLIFF.index("<trans-unit"), XLIFF.index("</body>")
    bitext = read_bitext(write("f.xlf", XLIFF[:start] + unit + XLIFF[end:]), "sw")
    assert [(pair.text, pair.english) for pair in bitext] == [("Habari! Kwaheri", "Hello! Bye")]
    assert bitext.dropped == {"forms within a message": 1}


def test_forms_parted_by_bars_go_together_where_they_are_as_many(write: Write) -> None:
    start, end = XLIFF.index("<trans-unit"), XLIFF.index("</body>")
    units = (
        "<trans-unit id='1'><source>One cat.|{{ n }} cats.</source>"
        "<target>Paka mmoja.|Paka {{ n }}.</target></trans-unit>"
        "<trans-unit id='2'><source>One dog.|Dogs.</source><target>a|b|c</target></trans-unit>"
        "<trans-unit id='3'><source>Cat | Dog</source><target>Paka | Mbwa</target></trans-unit>"
    )
    bitext = read_bitext(write("f.xlf", XLIFF[:start] + units + XLIFF[end:]), "sw")
    assert [(pair.text, pair.english) for pair in bitext] == [
        ("Paka mmoja.", "One cat."), ("Paka.", "cats."), ("Paka | Mbwa", "Cat | Dog"),
    ]  # fmt: skip
    assert bitext.dropped == {"forms within a message": 1}


@pytest.mark.parametrize(
    ("encoding", "declared"), [("utf-16", "UTF-16"), ("latin-1", "ISO-8859-1"), ("utf-8-sig", "UTF-8")]
)
def test_encodings_of_xml(write: Write, encoding: str, declared: str) -> None:
    content = XLIFF.replace("UTF-8", declared).replace("Hujambo", "Hüjambo").encode(encoding)
    assert pairs(write("f.xlf", content))[1] == ("Hüjambo, karibu", "Hello, welcome")


def test_entities_of_html_in_a_document_whose_type_is_not_read(write: Write) -> None:
    content = XLIFF.replace("<xliff", '<!DOCTYPE xliff SYSTEM "xliff.dtd"><xliff', 1).replace("Hujambo", "H&uuml;jambo")
    assert pairs(write("f.xlf", content))[1] == ("Hüjambo, karibu", "Hello, welcome")


def test_tbx_pairs_the_terms_of_an_entry(write: Write) -> None:
    bitext = read_bitext(write("f.tbx", TBX), "sw")
    assert [(pair.text, pair.english) for pair in bitext] == [("paka", "cat"), ("nyau", "cat")]
    assert bitext.dropped == {"missing language": 1}
    assert pairs(write("g.tbx", TBX_3)) == [("paka", "cat")]
    with pytest.raises(DataError, match=r"f\.tbx: none of its entries is in so; it holds: en, fr, sw-KE$"):
        read_bitext(write("f.tbx", TBX), "so")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_files_are_read(write: Write, compress: Callable[[bytes], bytes]) -> None:
    assert pairs(write("sw.po.gz", compress(PO.encode()))) == PO_PAIRS
    assert set(pairs(write("sw.mo.xz", compress(mo_of(PO))))) == set(PO_PAIRS)
    assert pairs(write("f.xlf.bz2", compress(XLIFF.encode()))) == XLIFF_PAIRS


def test_formats_are_detected_by_content(write: Write) -> None:
    for content, format in (
        (PO, "po"),
        (mo_of(PO), "mo"),
        (XLIFF, "xliff"),
        (XLIFF_2, "xliff"),
        (TBX, "tbx"),
        (TBX_3, "tbx"),
    ):
        assert open_source(write("f", content), "sw").format == format
    with pytest.raises(UsageError, match="po has no columns; leave them out"):
        open_source(write("f.po", PO), "sw", columns=(1, 2))


def test_a_folder_of_files_leaves_the_template_out(tmp_path: Path) -> None:
    for name, content in (("a.po", PO), ("b.po", PO.replace("Open", "Shut")), ("a.pot", PO)):
        (tmp_path / name).write_text(content)
    source = open_source(tmp_path, "sw")
    read = list(source)
    assert [raw.english for raw in read if raw.reason is None].count("Open file") == 1
    assert source.place(read[-1].number).startswith(f"{tmp_path}/b.po:")


BAD = {
    "a template": ("f.pot", PO, r"f\.pot: a template, which has no translations; give the \.po file of sw"),
    "no PO": ("f.po", "<html>\n", r"f\.po:1: not as gettext writes PO; see what msgfmt --check says"),
    "a PO file with a fault": ("f.po", PO + '\nmsgid "x"\nmsgstr no\n', r"f\.po:\d+: not as gettext writes PO"),
    "binary": ("f.po", mo_of(PO), r"f\.po: damaged, or not a PO file \(a NUL byte\)"),
    "another encoding": ("f.po", PO.encode().replace(b"Fungua", b"F\xe9ngua"), r"f\.po: damaged, or not a PO file"),
    "an unknown encoding": ("f.po", PO.replace("UTF-8", "klingon"), r"f\.po:\d+: not as gettext writes PO"),
    "an empty file": ("f.po", "", r"f\.po: is empty; give a PO file"),
    "nothing but a header": ("f.po", HEADER, r"f\.po: holds no message; give a PO file with translations"),
    "no MO": ("f.mo", PO, r"f\.mo: damaged, or not an MO file \(it does not begin as MO files do\)"),
    "an MO file cut short": ("f.mo", mo_of(PO)[:-9], r"f\.mo: damaged, or not an MO file \(it is cut short\)"),
    "the start of an MO file": ("f.mo", mo_of(PO)[:13], r"f\.mo: damaged, or not an MO file \(it is cut short\)"),
    "an empty XLIFF file": ("f.xlf", "", r"f\.xlf:1: not well-formed XML \(no element found\)"),
    "another document": ("f.xlf", TBX, r"f\.xlf: the document is <martif>, not <xliff>; give an XLIFF file"),
    "no TBX": ("f.tbx", XLIFF, r"f\.tbx: the document is <xliff>, not <martif> or <tbx>; give a TBX file"),
    "cut short": ("f.xlf", XLIFF[:700], r"f\.xlf:\d+: not well-formed XML \(.*\); mend that line"),
    "no file in it": ("f.xlf", '<xliff version="1.2"/>', r"f\.xlf: "),
    "no unit": ("f.xlf", '<xliff version="1.2"><file><body/></file></xliff>', r"f\.xlf: holds no message"),
    "no TBX entry": ("f.tbx", "<martif/>", r"f\.tbx: holds no message; give a TBX file with translations"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), BAD.values(), ids=BAD)
def test_bad_files_fail_in_one_line(write: Write, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        read_bitext(write(name, content), "sw")
    assert "\n" not in str(raised.value)


LAUGHS = '<!DOCTYPE xliff [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
DOCTYPES = {
    "exponential": LAUGHS + "]>", "a file": '<!DOCTYPE xliff [<!ENTITY i SYSTEM "file:///etc/passwd">]>',
    "a parameter": '<!DOCTYPE xliff [<!ENTITY % i SYSTEM "http://localhost/x.dtd"> %i;]>',
    "after a comment": '<!-- <xliff> --><!DOCTYPE xliff [<!ENTITY i "x">]>',
}  # fmt: skip


@pytest.mark.parametrize("doctype", DOCTYPES.values(), ids=DOCTYPES)
@pytest.mark.parametrize(("name", "content", "root"), [("f.xlf", XLIFF, "<xliff"), ("f.tbx", TBX_3, "<tbx")])
def test_entities_are_refused(write: Write, name: str, content: str, root: str, doctype: str) -> None:
    content = content.replace(root, doctype + root, 1).replace("paka", "&i;").replace("Hujambo", "&i;")
    with pytest.raises(DataError, match=rf"{name}:[12]: declares the entity .*; take <!ENTITY \.\.\.> out"):
        read_bitext(write(name, content), "sw")


def test_files_that_would_fill_the_memory_are_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of 5,000 entries, each is said to be the whole file.
    count, size = 5000, 28 + 16 * 5000
    table = struct.pack("<2I", size, 0) * count
    with pytest.raises(DataError, match=r"f\.mo: damaged, or not an MO file \(its strings overlap\)"):
        read_bitext(write("f.mo", struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0) + 2 * table), "sw")
    monkeypatch.setattr(localization, "MAX_FILE_BYTES", 1 << 20)
    for name, content in (("f.po", PO), ("f.mo", mo_of(PO)), ("f.xlf", XLIFF), ("f.tbx", TBX)):
        whole = content.encode() if isinstance(content, str) else content
        with pytest.raises(DataError, match=rf"{name}\.gz: over 1 MiB, .*split it, or convert it to TMX"):
            read_bitext(write(f"{name}.gz", gzip.compress(whole + b" " * (1 << 20))), "sw")


def test_deep_and_long_input_ends_soon(write: Write) -> None:
    started = time.perf_counter()
    with pytest.raises(DataError, match=r"f\.xlf:\d+: not well-formed XML"):
        read_bitext(write("f.xlf", XLIFF.replace("Hujambo", '<g id="1">' * 100_000)), "sw")
    long = "_&~%({$" * 200_000
    bitext = read_bitext(write("f.po", PO + f'\nmsgid "{long}"\nmsgstr "{long}"\n'), "sw")
    assert bitext.dropped["too long"] == 1
    for part in ("%(", "{", "$", "&", "_a", "<a", '\\"', "%", "%s", "`%s", "$(", "( %s ) ", " ", "<p>"):
        long = part * (16_000 // len(part))
        read_bitext(write("f.po", PO + f'\nmsgid "{long}"\nmsgstr "{long}"\n'), "sw")
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize(
    ("name", "content"),
    [("f.po", PO.encode()), ("f.mo", mo_of(PO)), ("f.xlf", XLIFF.encode()), ("f.tbx", TBX.encode())],
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_give_pairs_or_one_line(write: Write, name: str, content: bytes, data: st.DataObject) -> None:
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(changed) - 1))
        changed[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    source = open_source(write(name, bytes(changed)), "sw")
    read: list[RawPair] = []
    try:
        read.extend(source)
    except KivukoError as error:
        message = str(error)
    else:
        message = ""
    assert "\n" not in message
    assert all(raw.reason or (raw.text and raw.english) for raw in read)


def test_the_package_that_is_missing_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("f.po", PO)
    monkeypatch.setitem(sys.modules, "translate.storage.base", None)
    with pytest.raises(
        MissingDependencyError, match=r"a PO file needs translate-toolkit: pip install 'kivuko\[dictionaries\]'"
    ):
        read_bitext(path, "sw")


def test_the_way_that_the_library_reads_does_not_depend_on_the_surroundings(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "USECPO", "1")
    assert pairs(write("f.po", PO)) == PO_PAIRS
