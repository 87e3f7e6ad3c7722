"""Headers of tables: tags and names of languages in any order decide the sides, what is not understood is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from kivuko.bitext.columns import code_of, fit, fitting, is_header, sides_in_header
from kivuko.bitext.prepare import check_bitext, clean_bitext
from kivuko.bitext.reading import read_bitext
from kivuko.bitext.rules import Rules
from kivuko.errors import DataError

PAIRS = [("Mbwa analala.", "The dog sleeps."), ("Paka anakula samaki.", "The cat eats fish."), ("Mvua leo.", "Rain.")]
OFF = Rules(language_id="off")

HEADERS = [
    (("en-US", "sw-KE"), "sw"), (("en_GB", "sw_TZ"), "sw"), (("EN", "SWH"), "sw"), (("eng_Latn", "swh_Latn"), "sw"),
    (("English", "Swahili"), "sw"), (("ENGLISH", "KISWAHILI"), "sw"), (("Kiingereza", "Kiswahili"), "sw"),
    (("Anglais", "swahili"), "sw"), (("English (US)", "Swahili (Kenya)"), "sw"),
    (("English (en)", "Swahili [sw]"), "sw"),
    (("text_en", "text_sw"), "sw"), (("en sentence", "sw sentence"), "sw"), (("English", "Translation"), "sw"),
    (('"en-US"', '"sw-KE"'), "sw"), (("\ufeffen", "sw"), "sw"), (("eng", "zh-Hant-TW"), "zh-Hant"),
    (("English", "Traditional Chinese"), "zh-Hant"), (("en", "中文（繁體）"), "zh-TW"), (("en", "zh-TW"), "zh-Hant"),
    (("English", "मराठी"), "mr"), (("इंग्रजी", "मराठी"), "mr"), (("en", "Português (Brasil)"), "pt"),
    (("en", "nb-NO"), "no"), (("en", "pes_Arab"), "fa"), (("en", "fil"), "tl"), (("english", "text"), "sw"),
    (("target", "source"), "sw"), (("tgt", "src"), "sw"),
]  # fmt: skip


def tsv(path: Path, rows: list[tuple[str, ...]]) -> Path:
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_by_all(path: Path, language: str) -> list[tuple[str, str]]:
    """Return the pairs that distillation reads, after showing that checking and cleaning read the same."""
    bitext = read_bitext(path, language)
    assert check_bitext(path, language, rules=OFF).account.kept == len(bitext)
    cleaned = path.with_name("cleaned.tsv")
    clean_bitext(path, language, cleaned, rules=Rules(language_id="off", min_script_share=0))
    pairs = [(pair.text, pair.english) for pair in bitext]
    assert [(pair.text, pair.english) for pair in read_bitext(cleaned, language)] == pairs
    return pairs


@pytest.mark.parametrize(("header", "language"), HEADERS)
def test_languages_in_a_header_decide_the_sides(tmp_path: Path, header: tuple[str, str], language: str) -> None:
    english, text = header
    rows = [(english, text) for text, english in PAIRS]
    path = tsv(tmp_path / "f.tsv", [header, *rows])
    assert [(p.text, p.english) for p in read_bitext(path, language)] == PAIRS
    turned = tsv(tmp_path / "g.tsv", [(text, english), *PAIRS])
    assert [(p.text, p.english) for p in read_bitext(turned, language)] == PAIRS


def test_all_commands_read_a_header_alike_in_every_format(tmp_path: Path) -> None:
    names = ("score", "en-US", "source", "sw-KE", "id")
    rows = [("0.9", english, "web", text, str(number)) for number, (text, english) in enumerate(PAIRS)]
    table = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    pa.parquet.write_table(pa.table(table), tmp_path / "f.parquet")
    (tmp_path / "f.jsonl").write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    for separator in ",;|\t":
        lines = [separator.join(f'"{cell}"' for cell in row) + "\n" for row in (names, *rows)]
        (tmp_path / f"{ord(separator)}.csv").write_text("\ufeff" + "".join(lines))
    (tmp_path / "quoted.tsv").write_text("".join("\t".join(f'"{c}"' for c in row) + "\n" for row in (names, *rows)))
    tsv(tmp_path / "f.tsv", [names, *rows])
    for file in sorted(tmp_path.iterdir()):
        assert read_by_all(file, "sw") == PAIRS, file.name


@pytest.mark.parametrize(
    "header",
    [("fr-FR", "en-US"), ("French", "English"), ("en", "de"), ("Deutsch", "Français"), ("id", "score", "English"),
     ("id", "score", "text"), ("en-GB", "so-SO")],
)  # fmt: skip
def test_a_header_that_is_not_understood_is_refused(tmp_path: Path, header: tuple[str, ...]) -> None:
    path = tsv(tmp_path / "f.tsv", [header, *((*PAIRS[0], "x")[: len(header)],)])
    for call in (lambda: read_bitext(path, "sw"), lambda: check_bitext(path, "sw", rules=OFF)):
        with pytest.raises(DataError, match=r"f\.tsv:1: the header names .*, not sw and en; give the language"):
            call()
    out = tmp_path / "o.tsv"
    with pytest.raises(DataError, match="the header names"):
        clean_bitext(path, "sw", out, rules=OFF)
    assert not out.exists()
    assert len(read_bitext(path, "sw", columns=(1, 2))) == 1, "with positions, the header is skipped"


@pytest.mark.parametrize(
    "row",
    [("so", "then"), ("was", "he"), ("Kiswahili", "Swahili"), ("Kiingereza", "English"), ("mama", "mother"),
     ("Kiswahili ni kizuri", "English is hard"), ("text", "text"), ("paka", "cat"), ("jina", "name"), ("hapana", "no"),
     ("bisad madow", "a black cat")],
)  # fmt: skip
def test_words_that_are_also_codes_are_no_header(tmp_path: Path, row: tuple[str, str]) -> None:
    assert not is_header(row, "sw")
    assert len(read_bitext(tsv(tmp_path / "f.tsv", [row, *PAIRS]), "sw")) == 4


def test_a_score_or_an_id_is_no_language() -> None:
    assert sides_in_header(["en_score", "en", "sw", "sw_id"], "sw") == (2, 1)
    assert sides_in_header(["id", "en"], "id") == (0, 1), "alone it is Indonesian's code"
    assert sides_in_header(["en-GB", "en", "sw"], "sw") == (2, 1), "what is named exactly comes first"


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("zh_TW", "zh-TW"), ("ZH-HANT", "zh-Hant"), ("zh-CHT", "zh-Hant"), ("zh-CHS", "zh-Hans"), ("CHT", "zh-Hant"),
        ("zht", "zh-Hant"), ("cmn-Hant-TW", "zh-Hant-TW"), ("zh-cmn-Hans-CN", "zh-Hans-CN"), ("chi", "zh"),
        ("zho", "zh"),
        ("sr_RS@latin", "sr-Latn-RS"), ("sr@latin", "sr-Latn"), ("sh", "sr-Latn"), ("scc", "sr"), ("srp", "sr"),
        ("sr-SP", "sr"), ("sr-Latn-CS", "sr-Latn-RS"), ("sr-Cyrl-BA", "sr-Cyrl-BA"),
        ("nb-NO", "no-NO"), ("nob", "no"), ("no-bok", "no"), ("no-nyn", "nn"), ("nno", "nn"), ("no_nn", "nn"),
        ("pt_BR.UTF-8", "pt-BR"), ("por", "pt"), ("pob", "pt-BR"), ("PTB", "pt-BR"), ("pt-PT", "pt-PT"),
        ("English", "en"), ("x-foo", None), ("", None), ("a" * 99, None), ("la\0tin", None), ("12345", None),
    ],
)  # fmt: skip
def test_tags_that_files_bear(tag: str, code: str | None) -> None:
    assert code_of(tag) == code


@pytest.mark.parametrize(
    ("wanted", "fits", "others"),
    [
        ("zh-Hant", ["zh-Hant", "zh-TW", "zh-HK", "zh-MO", "zh-Hant-HK", "zh"], ["zh-CN", "zh-Hans", "zh-SG", "yue"]),
        ("zh-Hans", ["zh-Hans", "zh-CN", "zh-SG", "zh"], ["zh-TW", "zh-Hant"]),
        ("zh", ["zh", "zh-CN", "zh-Hans", "zh-TW", "zh-Hant-HK"], ["ja"]),
        ("zh-TW", ["zh-TW", "zh-Hant", "zh"], ["zh-HK", "zh-CN"]),
        ("sr-Latn", ["sr-Latn", "sr-Latn-RS", "sr-RS", "sr"], ["sr-Cyrl", "sr-Cyrl-RS", "hr"]),
        ("sr", ["sr", "sr-Cyrl", "sr-Latn-BA", "sr-ME"], ["bs"]),
        ("pt", ["pt", "pt-BR", "pt-PT", "pt-AO"], ["gl"]),
        ("pt-BR", ["pt-BR", "pt"], ["pt-PT"]),
        ("no", ["no", "no-NO", "nn"], ["da"]),
        ("nn", ["nn", "nn-NO"], ["no", "da"]),
        ("pa-Arab", ["pa-Arab", "pa-PK", "pa"], ["pa-IN", "pa-Guru"]),
        ("uz-Cyrl", ["uz-Cyrl", "uz-UZ", "uz"], ["uz-AF", "uz-Latn"]),
    ],
)  # fmt: skip
def test_which_varieties_fit_and_which_fits_best(wanted: str, fits: list[str], others: list[str]) -> None:
    ranks = [fit(wanted, code) for code in fits]
    assert None not in ranks
    assert ranks[0] == 0
    assert [fit(wanted, code) for code in others] == [None] * len(others)
    assert fitting(wanted, [*others, *reversed(fits)]) == len(others) + len(fits) - 1


@pytest.mark.parametrize(
    "record",
    [
        {"id": 1, "translation": {"en-US": "dog", "sw-KE": "mbwa"}},
        {"English": "dog", "Kiswahili": "mbwa", "score": 0.1},
        {"translation": {"eng_Latn": "dog", "swh_Latn": "mbwa"}, "laser_score": 1.1, "source_sentence_lid": 0.9},
        {"sentence_eng_Latn": "dog", "sentence_swh_Latn": "mbwa", "URL": "x"},
        {"Source (English)": "dog", "Target (Swahili)": "mbwa"},
    ],
)  # fmt: skip
def test_keys_of_published_data_sets(tmp_path: Path, record: dict[str, object]) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text("\ufeff" + json.dumps(record) + "\n", encoding="utf-8")
    assert [(pair.text, pair.english) for pair in read_bitext(path, "sw")] == [("mbwa", "dog")]
    pa.parquet.write_table(pa.Table.from_pylist([record]), tmp_path / "f.parquet")
    assert [(pair.text, pair.english) for pair in read_bitext(tmp_path / "f.parquet", "sw")] == [("mbwa", "dog")]


def test_english_on_both_sides(tmp_path: Path) -> None:
    assert read_bitext(tsv(tmp_path / "f.tsv", [("en", "en"), ("dog", "dog")]), "en").pairs[0].text == "dog"
