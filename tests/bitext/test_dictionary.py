"""Dictionaries as bitext."""

from __future__ import annotations

import gzip
import json

import pytest

from kivuko.bitext.dictionary import dictionaries_of
from kivuko.bitext.reading import open_source, read_bitext
from kivuko.errors import DataError, UsageError

pytest.importorskip("pyglossary")

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

SWAHILI = {
    "00-database-short": "00-database-short\nSwahili-English FreeDict Dictionary\n",
    "00databaseinfo": "00databaseinfo\nAvailability: GPL\n",
    "arusi": "arusi, harusi /aˈrusi/ <n>\n\nwedding\n",
    "gari": "gari /ˈɡari/ <n>\n\ncar, vehicle (any); the train\n   See also: {gari moshi}\n",
    "kula": 'kula /ˈkula/ <v>\n\n1. to eat\n   "kula wali" - eat rice\n2. consume [fig.]\n',
    "mifugo": "mifugo /miˈfuɡo/ <n>\n\nPlural of mfugo: livestock\n",
    "nusunusu": "nusu-nusu <adv>\n\nhalf and half\n",
    "tupu": "tupu <adj>\n\n",
}
FINNISH = {"kissa": "kissa /ˈkisːa/ <n>\ncat, kitty\nkotieläin, joka pyydystää hiiriä\n"}
ENGLISH_FIRST = {
    "boat": "boat //bəʊt// //boʊt// <n>\n\nmashua\nto travel by boat, sail\n",
    "car": "car /kɑː/ <n>\n\ngari, motokaa\n",
    "in vain": "in vain <adv>\n\nbure\n",
}


def base64(number: int) -> str:
    digits = DIGITS[number % 64]
    while number := number // 64:
        digits = DIGITS[number % 64] + digits
    return digits


def dictd(folder, name, entries, packed=True):
    """Write a dictionary as dictd has it: an index of offsets, and definitions."""
    text, index = b"", ""
    for word, definition in entries.items():
        index += f"{word}\t{base64(len(text))}\t{base64(len(definition.encode()))}\n"
        text += definition.encode()
    file = folder / f"{name}.index"
    file.write_text(index, encoding="utf-8")
    (folder / f"{name}.dict{'.dz' if packed else ''}").write_bytes(gzip.compress(text) if packed else text)
    return file


def pairs(source, language="sw"):
    return [(pair.text, pair.english) for pair in read_bitext(f"dict:{source}", language, progress=False)]


SWAHILI_PAIRS = [
    ("arusi", "wedding"), ("gari", "car"), ("gari", "vehicle"), ("gari", "train"), ("kula", "eat"), ("kula", "consume"),
    ("mifugo", "livestock"), ("nusu-nusu", "half and half"),
]  # fmt: skip


@pytest.mark.parametrize("packed", [True, False])
def test_dictd(tmp_path, packed):
    file = dictd(tmp_path, "freedict-swh-eng", SWAHILI, packed)
    assert pairs(file) == SWAHILI_PAIRS
    bitext = read_bitext(f"dict:{file}", "sw", progress=False)
    assert bitext.dropped == {"no translation": 1}
    assert bitext.pairs[0].origin == f"dict:{file}:1"


def test_the_other_file_names_it_too(tmp_path):
    dictd(tmp_path, "freedict-swh-eng", SWAHILI)
    assert pairs(tmp_path / "freedict-swh-eng.dict.dz") == SWAHILI_PAIRS


def test_a_definition_in_the_other_language_is_no_translation(tmp_path):
    assert pairs(dictd(tmp_path, "freedict-fin-eng", FINNISH), "fi") == [("kissa", "cat"), ("kissa", "kitty")]


def test_english_first_by_the_name_of_the_file(tmp_path):
    file = dictd(tmp_path, "freedict-eng-swh", ENGLISH_FIRST)
    assert pairs(file) == [("mashua", "boat"), ("gari", "car"), ("motokaa", "car"), ("bure", "in vain")]


def test_a_folder_gives_all_of_a_language(tmp_path):
    for name, entries in (
        ("freedict-swh-eng", SWAHILI),
        ("freedict-eng-swh", ENGLISH_FIRST),
        ("freedict-fin-eng", FINNISH),
    ):
        dictd(tmp_path, name, entries)
    dictd(tmp_path, "freedict-swh-pol", {"paka": "paka <n>\n\nkot\n"})
    assert [file.name for file in dictionaries_of(tmp_path, "sw")] == [
        "freedict-eng-swh.index",
        "freedict-swh-eng.index",
    ]
    english_first = [("mashua", "boat"), ("gari", "car"), ("motokaa", "car"), ("bure", "in vain")]
    assert pairs(tmp_path) == [*english_first, SWAHILI_PAIRS[0], *SWAHILI_PAIRS[2:]]
    assert len(read_bitext(f"dict:{tmp_path}", "sw-TZ", progress=False)) == 11
    with pytest.raises(DataError, match="holds no dictionary of so and English, such as freedict"):
        open_source(f"dict:{tmp_path}", "so")


def test_tei(tmp_path):
    entry = "<entry><form><orth>{}</orth><pron>x</pron></form><gramGrp><pos>n</pos></gramGrp><sense>{}</sense></entry>"
    cat = '<cit type="trans" xml:lang="en"><quote>cat</quote></cit><cit type="trans"><quote>tomcat (male)</quote></cit>'
    example = '<cit type="example"><quote>mbwa mkali</quote><cit type="trans"><quote>fierce dog</quote></cit></cit>'
    dog = f'<cit type="trans"><quote>dog</quote></cit>{example}'
    file = tmp_path / "swh-eng.tei"
    file.write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<TEI xmlns="http://www.tei-c.org/ns/1.0"><teiHeader><fileDesc>'
        "<titleStmt><title>Swahili-English</title></titleStmt><extent>2 headwords</extent></fileDesc></teiHeader>"
        f'<text><body xml:lang="sw">{entry.format("paka", cat)}{entry.format("mbwa", dog)}</body></text></TEI>',
        encoding="utf-8",
    )
    assert pairs(file) == [("paka", "cat"), ("paka", "tomcat"), ("mbwa", "dog")]


def test_stardict(tmp_path):
    from pyglossary.glossary_v2 import Glossary

    Glossary.init()
    glossary = Glossary()
    glossary.setInfo("name", "Swahili-English")
    for word, definition in (("paka", "cat, puss"), ("mbwa", "dog")):
        glossary.addEntry(glossary.newEntry(word, definition, defiFormat="m"))
    glossary.write(str(tmp_path / "words.ifo"), formatName="Stardict", dictzip=False)
    assert sorted(pairs(tmp_path / "words.ifo")) == [("mbwa", "dog"), ("paka", "cat"), ("paka", "puss")]


def test_wiktextract_has_words_of_the_language_and_translations_of_english_ones(tmp_path):
    lines = [
        {"word": "gari", "lang_code": "sw", "senses": [{"glosses": ["Vehicle:", "a car (motor vehicle), cart"]}, {}]},
        {"word": "magari", "lang_code": "sw", "senses": [{"glosses": ["plural of gari"], "form_of": [{}]}]},
        {"word": "kissa", "lang_code": "fi", "senses": [{"glosses": ["cat"]}]},
        {"word": "dog", "lang_code": "en",
         "translations": [{"code": "sw", "word": "mbwa"}, {"code": "fi", "word": "koira"}],
         "senses": [{"translations": [{"lang_code": "swh", "word": "jibwa"}, {"code": "sw"}]}]},
        {"redirect": "x"},
    ]  # fmt: skip
    file = tmp_path / "dump.jsonl.gz"
    file.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    assert pairs(file) == [("gari", "car"), ("gari", "cart"), ("mbwa", "dog"), ("jibwa", "dog")]


def test_refused(tmp_path):
    file = dictd(tmp_path, "freedict-swh-eng", SWAHILI)
    for spec, language, message in (
        (file, "fi", "is a dictionary of sw by its name, not of fi"),
        (tmp_path / "none.ifo", "sw", "no such file"),
        (tmp_path / "none-eng.index", "sw", "no such file"),
    ):
        with pytest.raises(DataError, match=message) as problem:
            read_bitext(f"dict:{spec}", language, progress=False)
        assert "\n" not in str(problem.value)
    (tmp_path / "alone.index").write_text("paka\tA\tB\n")
    with pytest.raises(DataError, match=r"there is no alone\.dict or alone\.dict\.dz beside it"):
        pairs(tmp_path / "alone.index")
    (tmp_path / "words.xyz").write_text("paka cat")
    with pytest.raises(DataError, match="not the name of a dictionary that is read"):
        pairs(tmp_path / "words.xyz")
    with pytest.raises(UsageError, match="names no file"):
        open_source("dict:", "sw")
    with pytest.raises(UsageError, match="leave format and columns out"):
        open_source(f"dict:{file}", "sw", format="tsv")


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.tei", b"<TEI><entry>"), ("x.ifo", b"nothing"), ("x.index", b"\xff\xfe\x00"), ("x.jsonl", b"{")],
)
def test_damaged(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "x.dict").write_bytes(b"\x80\x81")
    with pytest.raises(DataError) as problem:
        pairs(tmp_path / name)
    assert "\n" not in str(problem.value)
    assert name in str(problem.value)


def test_an_index_that_points_outside(tmp_path):
    (tmp_path / "x.index").write_text("paka\tZZZZ\tZZ\n")
    (tmp_path / "x.dict").write_bytes(b"paka\ncat\n")
    with pytest.raises(DataError, match=r"x\.index"):
        pairs(tmp_path / "x.index")


def test_articles_go_and_words_that_end_in_them_stay(tmp_path):
    entries = {"mgomba": "mgomba <n>\n\na banana tree, camera lens\n", "enda": "enda <v>\n\nto go to bed\n"}
    file = dictd(tmp_path, "freedict-swh-eng", entries)
    assert pairs(file) == [("mgomba", "banana tree"), ("mgomba", "camera lens"), ("enda", "go to bed")]
    file = dictd(
        tmp_path, "freedict-eng-dan", {"to hunt": "to hunt <v>\n\nat jage\n", "dogs": "dogs <n>\n\nto hunde\n"}
    )
    assert pairs(file, "da") == [("at jage", "hunt"), ("to hunde", "dogs")]


def test_wiktextract_with_fields_of_other_types(tmp_path):
    lines = [
        {"word": 7, "lang_code": "sw", "senses": [{"glosses": ["seven"]}]},
        {"word": "saba", "lang_code": "sw", "senses": [{"glosses": [7, "seven"]}, "x"]},
        {"word": "paka", "lang_code": "sw", "senses": [{"glosses": ["Alternative form of pakaa"], "alt_of": [{}]}]},
        {"word": "\ud800x", "lang_code": "sw", "senses": [{"glosses": ["half"]}]},
        {"word": "Washington, D.C.", "lang_code": "en", "translations": [{"code": "sw", "word": ["q"]},
                                                                        {"code": "sw", "word": "Washington"}]},
    ]  # fmt: skip
    file = tmp_path / "dump.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert pairs(file) == [("saba", "seven"), ("Washington", "Washington, D.C")]
    assert read_bitext(f"dict:{file}", "sw", progress=False).dropped == {"no translation": 1, "broken characters": 1}


def test_a_name_that_no_file_can_have():
    with pytest.raises(DataError, match="no such file"):
        open_source(f"dict:{'x' * 300}.index", "sw")
