"""Tab-separated, JSON Lines and Moses bitext as people have it, and as it goes wrong."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.bitext.pairs import Bitext, report_dropped
from kivuko.bitext.prepare import check_bitext
from kivuko.bitext.reading import open_source, read_bitext
from kivuko.errors import DataError, UsageError
from kivuko.streams import read_lines
from kivuko.text import clean_text


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_file(content: str | bytes, name: str = "f.tsv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def sides(bitext: Bitext) -> list[tuple[str, str]]:
    return [(pair.text, pair.english) for pair in bitext.pairs]


def test_first_column_is_the_language_second_english(write: Callable[..., Path]) -> None:
    path = write("mbwa\tdog\npaka\tcat\textra\n")
    bitext = read_bitext(path, "swa")
    assert sides(bitext) == [("mbwa", "dog"), ("paka", "cat")]
    assert [pair.origin for pair in bitext.pairs] == [f"{path}:1", f"{path}:2"]
    assert bitext.languages() == ("sw",)
    assert not bitext.dropped


@pytest.mark.parametrize(
    "header",
    [
        "english\ttext", "Target\tSource", "english\tnon_english", "en\tsw", "eng\tswa", "EN\tsw",
        " en \tswh_Latn", "english\tsw",
    ],
)  # fmt: skip
def test_header_says_which_side_is_which(write: Callable[..., Path], header: str) -> None:
    bitext = read_bitext(write(f"{header}\ndog\tmbwa\n"), "sw")
    assert sides(bitext) == [("mbwa", "dog")]
    assert bitext.pairs[0].origin.endswith(":2")
    swapped = "\t".join(reversed(header.split("\t")))
    assert sides(read_bitext(write(f"{swapped}\nmbwa\tdog\n"), "sw")) == [("mbwa", "dog")]


def test_header_among_other_columns(write: Callable[..., Path]) -> None:
    path = write("id\ten\tfr\tsw\n7\tdog\tchien\tmbwa\n")
    assert sides(read_bitext(path, "sw")) == [("mbwa", "dog")]
    assert sides(read_bitext(path, "fr")) == [("chien", "dog")]


@pytest.mark.parametrize("first", ["maandishi\ttext", "Kiingereza\tEnglish", "ndiyo\tyes", "source\tthe origin"])
def test_a_first_sentence_is_not_taken_for_a_header(write: Callable[..., Path], first: str) -> None:
    assert sides(read_bitext(write(f"{first}\n"), "sw")) == [tuple(first.split("\t"))]


def test_header_of_another_language_is_refused(write: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"f\.tsv:1: the header names fr, en, not sw and en"):
        read_bitext(write("fr\ten\nchien\tdog\n"), "sw")


def test_columns_by_position_and_by_heading(write: Callable[..., Path]) -> None:
    plain = write("1\tdog\tmbwa\n2\tcat\tpaka\n")
    assert sides(read_bitext(plain, "sw", columns=(3, 2))) == [("mbwa", "dog"), ("paka", "cat")]
    headed = write("text\tenglish\tmine\nx\tdog\tmbwa\n")
    assert sides(read_bitext(headed, "sw", columns=("Mine", "english"))) == [("mbwa", "dog")]
    assert sides(read_bitext(headed, "sw", columns=(3, 2))) == [("mbwa", "dog")]
    with pytest.raises(DataError, match=r"f\.tsv:1: no column his in the header, which has: text, english, mine"):
        read_bitext(headed, "sw", columns=("his", "english"))


@pytest.mark.parametrize("columns", [(0, 1), (1, 1), (1, "en"), (1,), ("a", "a")])
def test_columns_that_make_no_sense(write: Callable[..., Path], columns: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="columns"):
        read_bitext(write("mbwa\tdog\n"), "sw", columns=columns)


@pytest.mark.parametrize("name", ["f.tsv.gz", "f.tsv"])
@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, bytes])
def test_compression_is_known_by_content(
    write: Callable[..., Path], compress: Callable[[bytes], bytes], name: str
) -> None:
    path = write(compress("\ufeffmbwa\tdog\r\npaka\tcat".encode()), name)
    assert sides(read_bitext(path, "sw")) == [("mbwa", "dog"), ("paka", "cat")]


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_damaged_compression_is_a_data_error(write: Callable[..., Path], compress: Callable[[bytes], bytes]) -> None:
    whole = compress("\n".join(f"neno {i}\tword {i}" for i in range(3000)).encode())
    with pytest.raises(DataError, match=r"f\.tsv: .*(damaged|cannot be read)"):
        read_bitext(write(whole[: len(whole) // 2]), "sw")
    with pytest.raises(DataError, match=r"f\.tsv"):
        read_bitext(write(whole[:60] + b"\xff" * 60 + whole[120:]), "sw")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, bytes])
def test_empty_files(write: Callable[..., Path], compress: Callable[[bytes], bytes]) -> None:
    with pytest.raises(DataError, match=r"f\.tsv: is empty"):
        read_bitext(write(compress(b"")), "sw")


def test_byte_order_mark_before_a_header(write: Callable[..., Path]) -> None:
    assert sides(read_bitext(write("\ufeffen\tsw\r\ndog\tmbwa\r\n"), "sw")) == [("mbwa", "dog")]


def test_a_lone_quote_swallows_nothing(write: Callable[..., Path]) -> None:
    bitext = read_bitext(write('"mbwa\tdog\npaka\t"cat\n"a "" b"\t\'x\n'), "sw")
    assert sides(bitext) == [('"mbwa', "dog"), ("paka", '"cat'), ('"a "" b"', "'x")]


def test_only_line_feeds_end_lines(write: Callable[..., Path]) -> None:
    odd = "a\u2028b\u0085c\x0bd\x0ce\x1cf\u2029g\rh"
    bitext = read_bitext(write(f"{odd}\tone\npaka\t{odd}\n"), "sw")
    assert sides(bitext) == [("a b c d e f g h", "one"), ("paka", "a b c d e f g h")]
    assert bitext.pairs[1].origin.endswith(":2")


_FIELD = st.text(st.characters(exclude_characters="\t\n\0", exclude_categories=["Cs"]), min_size=1).filter(clean_text)


@given(st.lists(st.tuples(_FIELD, _FIELD), min_size=1, max_size=8))
@settings(max_examples=80, deadline=None)
def test_round_trip_of_any_text(rows: list[tuple[str, str]]) -> None:
    # A first row that names the columns, so that no generated row is taken for a header.
    content = "".join(f"{text}\t{english}\n" for text, english in [("text", "english"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "f.tsv")
        path.write_bytes(content.encode())
        bitext = read_bitext(path, "sw")
    cleaned = [(clean_text(text), clean_text(english)) for text, english in rows]
    assert sides(bitext) == list(dict.fromkeys(cleaned))
    assert bitext.dropped.total() == len(rows) - len(bitext)
    assert [int(p.origin.rpartition(":")[2]) for p in bitext] == [cleaned.index(s) + 2 for s in sides(bitext)]


def test_every_dropped_line_is_counted_with_its_first_place(write: Callable[..., Path]) -> None:
    lines = [
        "mbwa\tdog",
        "paka",
        " \tcat",
        "paka\t\u200b",
        "ng'ombe",
        "",
        "mbwa \tdog",
        "x" * 4001 + "\tlong",
        "mbuzi\t" + "y" * 4001,
        "z" * 4000 + "\tjust fits",
        "mbwa\thound",
        "jibwa\tdog",
        "\t",
    ]
    path = write("\n".join(lines) + "\n")
    bitext = read_bitext(path, "sw")
    assert [p.origin for p in bitext] == [f"{path}:{n}" for n in (1, 10, 11, 12)]
    assert bitext.dropped == {
        "missing column": 2, "empty side": 3, "blank line": 1, "duplicate": 1, "too long": 2,
    }  # fmt: skip
    assert bitext.first_dropped == {
        "missing column": f"{path}:2", "empty side": f"{path}:3", "blank line": f"{path}:6",
        "duplicate": f"{path}:7", "too long": f"{path}:8",
    }  # fmt: skip
    assert (report_dropped(bitext) or "").startswith("9 of 13 lines left out: 3 empty side (first at ")


def test_length_is_counted_in_characters_after_cleaning(write: Callable[..., Path]) -> None:
    text = "म" * 4000
    assert sides(read_bitext(write(f"  {text}  \tdog\n"), "mr")) == [(text, "dog")]


def test_copies_are_kept_and_counted_or_dropped_on_request(write: Callable[..., Path]) -> None:
    path = write("piano\tpiano\nmbwa\tdog\ncafe\u0301\tcafé\n")
    kept = read_bitext(path, "sw")
    assert len(kept) == 3
    assert kept.copied() == {"sw": 2}
    dropped = read_bitext(path, "sw", keep_copied=False)
    assert sides(dropped) == [("mbwa", "dog")]
    assert dropped.dropped == {"copied": 2}
    assert dropped.first_dropped == {"copied": f"{path}:1"}


def test_half_of_the_lines_may_miss_a_column_but_not_more(write: Callable[..., Path]) -> None:
    assert read_bitext(write("mbwa\tdog\npaka\n\n\n"), "sw").dropped["missing column"] == 1
    with pytest.raises(DataError, match=r"f\.tsv:2: .*2 of 3 lines.*separator") as raised:
        read_bitext(write("mbwa\tdog\npaka\nng'ombe\n\n\n"), "sw")
    assert "\n" not in str(raised.value)


def test_another_separator_is_named_as_the_likely_cause(write: Callable[..., Path]) -> None:
    with pytest.raises(
        DataError,
        match=r"f\.tsv:1: fewer than 2 columns separated by tabs.*separated by commas: give it as --format csv",
    ):
        read_bitext(write("mbwa,dog\npaka,cat\n"), "sw")
    with pytest.raises(DataError, match=r"f\.tsv:1: fewer than 5 columns separated by tabs"):
        read_bitext(write("mbwa\tdog\n"), "sw", columns=(1, 5))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("mbwa\t\n\tdog\n", r"f\.tsv:1: no usable pair.*2 of 2 lines left out: 2 empty side"),
        ("text\tenglish\n", r"f\.tsv: holds a header and no line below it"),
        ("\n\n", r"f\.tsv:1: no usable pair.*2 blank line"),
        ("\ufeff", r"f\.tsv:1: no usable pair"),
        ("\t\nmbwa\n", r"f\.tsv:2: fewer than 2 columns separated by tabs"),
    ],
)
def test_nothing_usable(write: Callable[..., Path], content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_bitext(write(content), "sw")


def test_wrong_encodings_say_how_to_convert(write: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"f\.tsv:2: byte 0xE9 is not UTF-8; convert with iconv -f"):
        read_bitext(write("mbwa\tdog\nété\tsummer\n".encode("latin-1")), "fr")
    for encoding in ("utf-16", "utf-32"):
        with pytest.raises(DataError, match=rf"f\.tsv:1: {encoding.upper()}, .*iconv -f {encoding} -t utf-8"):
            read_bitext(write("mbwa\tdog\n".encode(encoding)), "sw")
    with pytest.raises(DataError, match=r"f\.tsv:1: UTF-16LE.*iconv -f utf-16le"):
        read_bitext(write("mbwa\tdog\n".encode("utf-16-le")), "sw")


def test_binary_files(write: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"f\.tsv:2: a NUL byte"):
        read_bitext(write(b"mbwa\tdog\npa\0ka\tcat\n"), "sw")
    with pytest.raises(DataError, match=r"f\.tsv:1: a NUL byte"):
        read_bitext(write(b"x" * (3 << 20) + b"\0\n"), "sw")


def test_places_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.tsv: no such file"):
        read_bitext(tmp_path / "nowhere.tsv", "sw")
    with pytest.raises(DataError, match="is a folder; give the file in it"):
        list(read_lines(tmp_path))
    with pytest.raises(DataError, match=r"holds no Parquet, .* give the folder that does, or a file"):
        read_bitext(str(tmp_path), "sw")
    with pytest.raises(DataError, match="cannot be read"):
        list(read_lines(tmp_path / ("x" * 5000)))
    with pytest.raises(DataError, match="no such file"):
        read_bitext(tmp_path / ("x" * 5000), "sw")
    with pytest.raises(UsageError, match="did you mean sw"):
        read_bitext(tmp_path / "nowhere.tsv", "swahili")


def test_an_endless_line_is_dropped_and_the_next_one_read(write: Callable[..., Path]) -> None:
    bitext = read_bitext(write("mbwa\tdog\n" + "é" * (1 << 20) + "\tx\npaka\tcat\n"), "sw")
    assert [p.origin.rpartition(":")[2] for p in bitext] == ["1", "3"]
    assert bitext.dropped == {"too long": 1}


def test_the_file_is_never_held_whole(write: Callable[..., Path]) -> None:
    path = write(gzip.compress((b"mbwa\tdog\n" * 50_000) + b"y" * (20 << 20) + b"\npaka\tcat\n"))
    tracemalloc.start()
    lines = sum(1 for _ in read_lines(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert lines == 50_002
    assert peak < 8 << 20


OPUS_ON_THE_HUB = [
    {"id": "0", "meta": {"score": 1.1}, "translation": {"en": "dog", "sw": "mbwa"}},
    {"id": "1", "meta": {"score": 1.2}, "translation": {"en": "cat", "sw": "paka"}},
]


@pytest.fixture
def jsonl(tmp_path: Path) -> Callable[..., Path]:
    def write(records: list[Any] | bytes, name: str = "f.jsonl") -> Path:
        path = tmp_path / name
        lines = records if isinstance(records, bytes) else "".join(json.dumps(one) + "\n" for one in records).encode()
        path.write_bytes(lines)
        return path

    return write


def pairs(path: Path, language: str = "sw", **options: Any) -> list[tuple[str, str]]:
    return [(pair.text, pair.english) for pair in read_bitext(path, language, **options)]


@pytest.mark.parametrize("name", ["f.jsonl", "f.ndjson", "f.json", "f.jsonl.gz", "f"])
def test_translations_as_opus_on_the_hub_has_them(jsonl: Callable[..., Path], name: str) -> None:
    path = jsonl(OPUS_ON_THE_HUB, name)
    if name.endswith("gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    source = open_source(path, "swh")
    assert source.format == "jsonl"
    assert list(source) == [(1, "mbwa", "dog", None), (2, "paka", "cat", None)]
    assert source.place(2) == f"{path}:2"
    assert source.bytes_read() == source.size


@pytest.mark.parametrize(
    "record",
    [
        {"english": "dog", "non_english": "mbwa"},
        {"score": 1, "source": "mbwa", "target": "dog"},
        {"EN": "dog", "SW": "mbwa", "fr": "chien"},
        {"eng_Latn": "x", "text": "mbwa", "english": "dog"},
        {"pair": {"english": "dog", "sw": "mbwa"}},
        {"translation": {"swh_Latn": "mbwa", "en": "dog"}},
    ],
)
def test_keys_are_matched_as_headings_are(jsonl: Callable[..., Path], record: dict[str, Any]) -> None:
    assert pairs(jsonl([record])) == [("mbwa", "dog")]


def test_keys_by_name(jsonl: Callable[..., Path]) -> None:
    path = jsonl([{"a": "mbwa", "b": {"x": "dog", "y": "hound"}, "translation": {"en": "no", "sw": "no"}}])
    assert pairs(path, columns=("a", "b.y")) == [("mbwa", "hound")]
    with pytest.raises(
        DataError, match=r"f\.jsonl:1: no column b in the header, which has: a, b\.x, b\.y, translation\.en"
    ):
        pairs(path, columns=("a", "b"))
    with pytest.raises(UsageError, match="no positions; give two keys"):
        pairs(path, columns=(1, 2))


def test_without_the_keys(jsonl: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"f\.jsonl:1: no columns for sw and en, but: a, b\.c; name two of them"):
        pairs(jsonl([{"a": "mbwa", "b": {"c": "dog"}}]))
    with pytest.raises(DataError, match=r"f\.jsonl:1: no columns for sw and en, but: translation.fr, translation.en"):
        pairs(jsonl([{"translation": {"fr": "chien", "en": "dog"}}]))
    with pytest.raises(DataError, match=r"f\.jsonl:1: no columns for sw and en, but: none"):
        pairs(jsonl([{}]))


@pytest.mark.parametrize("value", [b"1" * 4500, b"NaN", b"[" * 90_000 + b"]" * 90_000])
def test_a_field_that_is_not_needed_refuses_no_line(jsonl: Callable[..., Path], value: bytes) -> None:
    line = b'{"id": ' + value + b', "sw": "mbwa", "en": "dog"}'
    assert [(pair.text, pair.english) for pair in read_bitext(jsonl(line), "sw")] == [("mbwa", "dog")]


def test_lines_that_give_no_pair_are_counted(jsonl: Callable[..., Path]) -> None:
    lines = [
        b'{"sw": "mbwa", "en": "dog"}', b"", b'{"sw": "paka"}', b'{"sw": null, "en": "cow"}',
        b'{"sw": 5, "en": "five"}',
        b'{"sw": "pa', b"[1]", b'{"sw": "\\ud800", "en": "half"}', b'{"sw": "\\ud83d\\ude00", "en": "whole"}',
        b'{"sw": "' + b"x" * (2 << 20) + b'", "en": "long"}', b"[" * 100_000, b"9" * 10_000, b'{"sw": ["a"], "en": {}}',
    ]  # fmt: skip
    bitext = read_bitext(jsonl(b"\n".join(lines)), "sw")
    assert [(pair.text, pair.english) for pair in bitext] == [("mbwa", "dog"), ("😀", "whole")]
    assert {reason: int(place.rpartition(":")[2]) for reason, place in bitext.first_dropped.items()} == {
        "blank line": 2, "missing column": 3, "empty side": 4, "not text": 5, "not JSON": 6, "broken characters": 8,
        "too long": 10,
    }  # fmt: skip
    assert bitext.dropped == {
        "blank line": 1, "missing column": 3, "empty side": 1, "not text": 2, "not JSON": 2, "broken characters": 1,
        "too long": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"f\.jsonl: is empty"),
        (b"\n\n", r"f\.jsonl:1: no usable pair.*2 blank line"),
        (b"mbwa\tdog\n", r"f\.jsonl:1: not a JSON object \(.*give one object per line"),
        (b'[\n{"sw": "mbwa", "en": "dog"}\n]', r"f\.jsonl:1: not a JSON object; it is one JSON array.*jq -c"),
        (b'["mbwa", "dog"]\n', r"f\.jsonl:1: an array, not an object"),
        (b'"mbwa"\n', r"f\.jsonl:1: a value, not an object"),
        (b"[" * 100_000, r"f\.jsonl:1: not a JSON object"),
        (b'{"sw": "mbwa", "en": "d\xe9"}\n', r"f\.jsonl:1: byte 0xE9 is not UTF-8"),
        (b'{"sw": "mbwa", "en": "d\0"}\n', r"f\.jsonl:1: a NUL byte"),
        ('{"sw": "mbwa", "en": "d"}\n'.encode("utf-16"), r"f\.jsonl:1: UTF-16"),
    ],
)  # fmt: skip
def test_what_is_no_json_lines(jsonl: Callable[..., Path], content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        read_bitext(jsonl(content), "sw")
    assert "\n" not in str(raised.value)


def test_from_standard_input(jsonl: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    content = gzip.compress(jsonl(OPUS_ON_THE_HUB).read_bytes())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    source = open_source("-", "sw")
    assert (source.format, source.name, source.size) == ("jsonl", "standard input", None)
    assert [raw.text for raw in source] == ["mbwa", "paka"]
    assert source.place(2) == "standard input:2"


def write_pair(folder: Path, text: str = "mbwa\npaka\n", english: str = "dog\ncat\n") -> Path:
    (folder / "Tatoeba.en-sw.sw").write_text(text, encoding="utf-8")
    (folder / "Tatoeba.en-sw.en").write_text(english, encoding="utf-8")
    (folder / "Tatoeba.en-sw.ids").write_text("1\n2\n", encoding="utf-8")
    return folder / "Tatoeba.en-sw"


def test_both_files_by_what_they_begin_with(tmp_path: Path) -> None:
    prefix = write_pair(tmp_path)
    source = open_source(prefix, "swa")
    assert (source.format, source.language) == ("moses", "sw")
    assert source.size == 18
    assert list(source) == [(1, "mbwa", "dog", None), (2, "paka", "cat", None)]
    assert source.place(2) == f"{prefix}.sw:2"
    assert source.bytes_read() == 18


def test_two_files_by_name_in_their_order(tmp_path: Path) -> None:
    prefix = write_pair(tmp_path)
    bitext = read_bitext(f"{prefix}.sw,{prefix}.en", "sw")
    assert [(pair.text, pair.english, pair.origin) for pair in bitext] == [
        ("mbwa", "dog", f"{prefix}.sw:1"),
        ("paka", "cat", f"{prefix}.sw:2"),
    ]
    odd = tmp_path / "a,b"
    odd.mkdir()
    inner = write_pair(odd)
    assert len(read_bitext(f"{inner}.sw,{inner}.en", "sw")) == 2, "a comma in a name is a comma in a name"


def test_compressed_each_in_its_own_way(tmp_path: Path) -> None:
    (tmp_path / "c.en-sw.sw.gz").write_bytes(gzip.compress(b"mbwa\r\npaka"))
    (tmp_path / "c.en-sw.en.bz2").write_bytes(bz2.compress(b"dog\ncat\n"))
    bitext = read_bitext(tmp_path / "c.en-sw", "sw")
    assert [(pair.text, pair.english) for pair in bitext] == [("mbwa", "dog"), ("paka", "cat")]


def test_other_spellings_of_the_codes(tmp_path: Path) -> None:
    (tmp_path / "flores.swh_Latn").write_text("mbwa\n")
    (tmp_path / "flores.eng_Latn").write_text("dog\n")
    (tmp_path / "flores.som_Latn").write_text("eey\n")
    assert [pair.text for pair in read_bitext(tmp_path / "flores", "sw")] == ["mbwa"]
    assert [pair.text for pair in read_bitext(tmp_path / "flores", "so")] == ["eey"]


def test_tabs_and_blank_lines_keep_both_files_in_step(tmp_path: Path) -> None:
    prefix = write_pair(tmp_path, "mbwa\tmkubwa\n\n\npaka\n", "big dog\n\ncow\ncat\n")
    bitext = read_bitext(prefix, "sw")
    assert [(pair.text, pair.english) for pair in bitext] == [("mbwa mkubwa", "big dog"), ("paka", "cat")]
    assert bitext.dropped == {"blank line": 1, "empty side": 1}
    assert bitext.first_dropped == {"blank line": f"{prefix}.sw:2", "empty side": f"{prefix}.sw:3"}


@pytest.mark.parametrize(
    ("text", "english", "shorter"), [("mbwa\n", "dog\ncat\n", "sw"), ("mbwa\npaka\nkuku\n", "dog\ncat\n", "en")]
)
def test_files_of_different_length_are_refused(tmp_path: Path, text: str, english: str, shorter: str) -> None:
    prefix = write_pair(tmp_path, text, english)
    source = open_source(prefix, "sw")
    number = min(text.count("\n"), english.count("\n")) + 1
    with pytest.raises(
        DataError, match=rf"Tatoeba\.en-sw\.{shorter}:{number}: ends before this line while .* continues"
    ):
        list(source)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    prefix = write_pair(tmp_path)
    with pytest.raises(DataError, match=r"there is .*Tatoeba\.en-sw\.sw.*, but no Tatoeba\.en-sw\.so; give both"):
        open_source(prefix, "so")
    (tmp_path / "Tatoeba.en-sw.en").unlink()
    with pytest.raises(DataError, match=r"but no Tatoeba\.en-sw\.en"):
        open_source(prefix, "sw")
    with pytest.raises(DataError, match=r"Tatoeba\.en-sw\.en: no such file"):
        open_source(f"{prefix}.sw,{prefix}.en", "sw")
    with pytest.raises(DataError, match=r"corpus: no such file; check the path \(a Moses pair is FILE,ENGLISH_FILE"):
        open_source(tmp_path / "corpus", "sw")


def test_moses_has_no_columns_and_is_not_one_file(tmp_path: Path) -> None:
    prefix = write_pair(tmp_path)
    with pytest.raises(UsageError, match="no columns"):
        open_source(prefix, "sw", columns=(1, 2))
    with pytest.raises(UsageError, match="standard input is one file"):
        open_source("-", "sw", format="moses")


def test_a_long_line_drops_its_pair_only(tmp_path: Path) -> None:
    prefix = write_pair(tmp_path, "mbwa\n" + "x" * (2 << 20) + "\npaka\n", "dog\nlong\ncat\n")
    bitext = read_bitext(prefix, "sw")
    assert [pair.english for pair in bitext] == ["dog", "cat"]
    assert bitext.dropped == {"too long": 1}


def test_empty_files_of_moses(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="both are empty"):
        read_bitext(write_pair(tmp_path, "", ""), "sw")


@pytest.mark.parametrize(
    ("content", "pairs"),
    [
        ("sw,en\nmbwa,dog\n", [("mbwa", "dog")]),
        ("en;sw\ndog;mbwa\n", [("mbwa", "dog")]),
        ('"sw";"en"\n"mbwa; paka";"dog, cat"\n', [("mbwa; paka", "dog, cat")]),
        ('sw,en\n"mbwa\nmkubwa","a ""big"" dog"\n\npaka,cat\n', [("mbwa mkubwa", 'a "big" dog'), ("paka", "cat")]),
        ("sw\ten\nmbwa, paka\tdog, cat\n", [("mbwa, paka", "dog, cat")]),
        ("mbwa,dog\npaka,cat\n", [("mbwa", "dog"), ("paka", "cat")]),
        ("id|sw|en\n1|mbwa|dog\n", [("mbwa", "dog")]),
        ("\ufeffsw,en\r\nmbwa,dog\r\n", [("mbwa", "dog")]),
        ("sw,en\rmbwa,dog\rpaka,cat\r", [("mbwa", "dog"), ("paka", "cat")]),
    ],
)  # fmt: skip
def test_csv(tmp_path: Path, content: str, pairs: list[tuple[str, str]]) -> None:
    path = tmp_path / "f.csv"
    path.write_text(content, encoding="utf-8", newline="")
    assert [(pair.text, pair.english) for pair in read_bitext(path, "sw")] == pairs
    unnamed = tmp_path / "f"
    unnamed.write_bytes(path.read_bytes())
    assert [(pair.text, pair.english) for pair in read_bitext(unnamed, "sw", format="csv")] == pairs


def test_places_in_csv_are_lines_where_rows_begin(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text('sw,en\n"mbwa\nmkubwa",dog\npaka\npaka,cat\n')
    source = open_source(path, "sw")
    assert [(raw.number, raw.reason) for raw in source] == [(2, None), (4, "missing column"), (5, None)]
    path.write_text('sw,en\nmbwa,dog\n"' + "abc defg\n" * 150_000)
    with pytest.raises(DataError, match=r"f\.csv:3: no row of CSV .* a quotation mark opens here and is not closed"):
        read_bitext(path, "sw")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("mbwa;dog\npaka;cat\n", "fewer than 2 columns .*, as in 2 of 2 lines; it is separated by semicolons: give"),
        ("mbwa|dog\n", ".*separated by bars: give it as --format csv"), ("mbwa dog\n", ".*the separator is spaces"),
        ("1.10\tThe dog.\tMbwa.\n1.2\tA.\tB.\n", r"column 1 holds no sentences \('1.10'\); name the columns of sw"),
        ("mbwa\t17\tdog\n", r"column 2 holds no sentences \('17'\)"),
    ],
)  # fmt: skip
def test_tables_are_named_for_what_they_are(write: Callable[..., Path], content: str, message: str) -> None:
    path = write(content)
    for call in (read_bitext, check_bitext):
        with pytest.raises(DataError, match=rf"f\.tsv:1: {message}"):
            call(path, "sw")


def test_numbers_and_their_names_are_pairs(write: Callable[..., Path]) -> None:
    assert len(read_bitext(write("kumi\t10\nishirini\t20\n"), "sw")) == 2
    assert len(read_bitext(write("sw\ten\tscore\nmbwa\tdog\t0.9\n"), "sw")) == 1


def test_a_csv_header_on_standard_input_is_recognized(tmp_path: Path) -> None:
    path = tmp_path / "unnamed"
    path.write_text("English,Swahili\nThe dog,mbwa\n")
    assert [(pair.text, pair.english) for pair in read_bitext(path, "sw")] == [("mbwa", "The dog")]


@pytest.mark.parametrize(
    "rows",
    ['"Second,second\nThird,third\nFourth "x",fourth\n', '"Second,second\n' + "Third,third\n" * 300 + '"x",y\n',
     '"mbwa "mkubwa" wangu",dog\n'],
)  # fmt: skip
def test_a_quotation_mark_that_is_not_closed_swallows_no_lines_in_silence(tmp_path: Path, rows: str) -> None:
    path = tmp_path / "f.csv"
    path.write_text("sw,en\n" + rows)
    with pytest.raises(DataError, match=r"f\.csv:2: no row of CSV .*: correct it, or give tab-separated text"):
        read_bitext(path, "sw")
    path.write_text('sw,en\nskrini ya 5" nzuri,a 5" screen\n')
    assert read_bitext(path, "sw").pairs[0].english == 'a 5" screen'


def test_columns_of_language_codes_are_no_header(write: Callable[..., Path]) -> None:
    path = write("1\teng\tThe dog\t2\tswh\tMbwa\n3\teng\tThe cat\t4\tswh\tPaka\n")
    with pytest.raises(DataError, match=r"f\.tsv:1: columns 5 and 2 hold names of languages, not sentences"):
        read_bitext(path, "sw")
    bitext = read_bitext(path, "sw", columns=(6, 3))
    assert [(pair.text, pair.english) for pair in bitext] == [("Mbwa", "The dog"), ("Paka", "The cat")]


def test_the_published_header_of_tico_19_wants_its_columns_named(write: Callable[..., Path]) -> None:
    path = write("sourceLang\ttargetLang\tsourceString\ttargetString\tstringID\nen\tsw\tThe dog\tMbwa\t1\n")
    with pytest.raises(
        DataError, match="the header names sourceLang, targetLang, sourceString, targetString, stringID"
    ):
        read_bitext(path, "sw")
    bitext = read_bitext(path, "sw", columns=("targetString", "sourceString"))
    assert [(pair.text, pair.english) for pair in bitext] == [("Mbwa", "The dog")]
