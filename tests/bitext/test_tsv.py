"""Tab-separated bitext as people have it, and as it goes wrong."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko.bitext import Bitext, clean_text, read_tsv, report_dropped
from kivuko.errors import DataError, UsageError
from kivuko.streams import read_lines


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
    bitext = read_tsv(path, "swa")
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
    bitext = read_tsv(write(f"{header}\ndog\tmbwa\n"), "sw")
    assert sides(bitext) == [("mbwa", "dog")]
    assert bitext.pairs[0].origin.endswith(":2")
    swapped = "\t".join(reversed(header.split("\t")))
    assert sides(read_tsv(write(f"{swapped}\nmbwa\tdog\n"), "sw")) == [("mbwa", "dog")]


def test_header_among_other_columns(write: Callable[..., Path]) -> None:
    path = write("id\ten\tfr\tsw\n7\tdog\tchien\tmbwa\n")
    assert sides(read_tsv(path, "sw")) == [("mbwa", "dog")]
    assert sides(read_tsv(path, "fr")) == [("chien", "dog")]


@pytest.mark.parametrize("first", ["maandishi\ttext", "Kiingereza\tEnglish", "ndiyo\tyes", "source\tthe origin"])
def test_a_first_sentence_is_not_taken_for_a_header(write: Callable[..., Path], first: str) -> None:
    assert sides(read_tsv(write(f"{first}\n"), "sw")) == [tuple(first.split("\t"))]


def test_header_of_another_language_is_refused(write: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"f\.tsv:1: the header names fr and en, not sw"):
        read_tsv(write("fr\ten\nchien\tdog\n"), "sw")


def test_columns_by_position_and_by_heading(write: Callable[..., Path]) -> None:
    plain = write("1\tdog\tmbwa\n2\tcat\tpaka\n")
    assert sides(read_tsv(plain, "sw", columns=(3, 2))) == [("mbwa", "dog"), ("paka", "cat")]
    headed = write("text\tenglish\tmine\nx\tdog\tmbwa\n")
    assert sides(read_tsv(headed, "sw", columns=("Mine", "english"))) == [("mbwa", "dog")]
    assert sides(read_tsv(headed, "sw", columns=(3, 2))) == [("mbwa", "dog")]
    with pytest.raises(DataError, match=r"f\.tsv:1: no column his in the header, which has: text, english, mine"):
        read_tsv(headed, "sw", columns=("his", "english"))


@pytest.mark.parametrize("columns", [(0, 1), (1, 1), (1, "en"), (1,), ("a", "a")])
def test_columns_that_make_no_sense(write: Callable[..., Path], columns: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="columns"):
        read_tsv(write("mbwa\tdog\n"), "sw", columns=columns)


@pytest.mark.parametrize("name", ["f.tsv.gz", "f.tsv"])
@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, bytes])
def test_compression_is_known_by_content(
    write: Callable[..., Path], compress: Callable[[bytes], bytes], name: str
) -> None:
    path = write(compress("\ufeffmbwa\tdog\r\npaka\tcat".encode()), name)
    assert sides(read_tsv(path, "sw")) == [("mbwa", "dog"), ("paka", "cat")]


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_damaged_compression_is_a_data_error(write: Callable[..., Path], compress: Callable[[bytes], bytes]) -> None:
    whole = compress("\n".join(f"neno {i}\tword {i}" for i in range(3000)).encode())
    with pytest.raises(DataError, match=r"f\.tsv: .*(damaged|cannot be read)"):
        read_tsv(write(whole[: len(whole) // 2]), "sw")
    with pytest.raises(DataError, match=r"f\.tsv"):
        read_tsv(write(whole[:60] + b"\xff" * 60 + whole[120:]), "sw")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, bytes])
def test_empty_files(write: Callable[..., Path], compress: Callable[[bytes], bytes]) -> None:
    with pytest.raises(DataError, match=r"f\.tsv: is empty"):
        read_tsv(write(compress(b"")), "sw")


def test_byte_order_mark_before_a_header(write: Callable[..., Path]) -> None:
    assert sides(read_tsv(write("\ufeffen\tsw\r\ndog\tmbwa\r\n"), "sw")) == [("mbwa", "dog")]


def test_a_lone_quote_swallows_nothing(write: Callable[..., Path]) -> None:
    bitext = read_tsv(write('"mbwa\tdog\npaka\t"cat\n"a "" b"\t\'x\n'), "sw")
    assert sides(bitext) == [('"mbwa', "dog"), ("paka", '"cat'), ('"a "" b"', "'x")]


def test_only_line_feeds_end_lines(write: Callable[..., Path]) -> None:
    odd = "a\u2028b\u0085c\x0bd\x0ce\x1cf\u2029g\rh"
    bitext = read_tsv(write(f"{odd}\tone\npaka\t{odd}\n"), "sw")
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
        bitext = read_tsv(path, "sw")
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
    bitext = read_tsv(path, "sw")
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
    assert sides(read_tsv(write(f"  {text}  \tdog\n"), "mr")) == [(text, "dog")]


def test_copies_are_kept_and_counted_or_dropped_on_request(write: Callable[..., Path]) -> None:
    path = write("piano\tpiano\nmbwa\tdog\ncafe\u0301\tcafé\n")
    kept = read_tsv(path, "sw")
    assert len(kept) == 3
    assert kept.copied() == {"sw": 2}
    dropped = read_tsv(path, "sw", keep_copied=False)
    assert sides(dropped) == [("mbwa", "dog")]
    assert dropped.dropped == {"copied": 2}
    assert dropped.first_dropped == {"copied": f"{path}:1"}


def test_half_of_the_lines_may_miss_a_column_but_not_more(write: Callable[..., Path]) -> None:
    assert read_tsv(write("mbwa\tdog\npaka\n\n\n"), "sw").dropped["missing column"] == 1
    with pytest.raises(DataError, match=r"f\.tsv:2: .*2 of 3 lines.*separator") as raised:
        read_tsv(write("mbwa\tdog\npaka\nng'ombe\n\n\n"), "sw")
    assert "\n" not in str(raised.value)


def test_another_separator_is_named_as_the_likely_cause(write: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"f\.tsv:1: fewer than 2 tab-separated columns.*separator"):
        read_tsv(write("mbwa,dog\npaka,cat\n"), "sw")
    with pytest.raises(DataError, match=r"f\.tsv:1: fewer than 5 tab-separated columns"):
        read_tsv(write("mbwa\tdog\n"), "sw", columns=(1, 5))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("mbwa\t\n\tdog\n", r"f\.tsv:1: no usable pair.*2 of 2 lines left out: 2 empty side"),
        ("text\tenglish\n", r"f\.tsv: no usable pair.*header and nothing below"),
        ("\n\n", r"f\.tsv:1: no usable pair.*2 blank line"),
        ("\ufeff", r"f\.tsv:1: no usable pair"),
        ("\t\nmbwa\n", r"f\.tsv:2: fewer than 2 tab-separated columns"),
    ],
)
def test_nothing_usable(write: Callable[..., Path], content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_tsv(write(content), "sw")


def test_wrong_encodings_say_how_to_convert(write: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"f\.tsv:2: byte 0xE9 is not UTF-8; convert with iconv -f"):
        read_tsv(write("mbwa\tdog\nété\tsummer\n".encode("latin-1")), "fr")
    for encoding in ("utf-16", "utf-32"):
        with pytest.raises(DataError, match=r"f\.tsv:1: UTF-16.*iconv -f utf-16 -t utf-8"):
            read_tsv(write("mbwa\tdog\n".encode(encoding)), "sw")
    with pytest.raises(DataError, match=r"f\.tsv:1: a NUL byte.*iconv -f utf-16le"):
        read_tsv(write("mbwa\tdog\n".encode("utf-16-le")), "sw")


def test_binary_files(write: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"f\.tsv:2: a NUL byte"):
        read_tsv(write(b"mbwa\tdog\npa\0ka\tcat\n"), "sw")
    with pytest.raises(DataError, match=r"f\.tsv:1: a NUL byte"):
        read_tsv(write(b"x" * (3 << 20) + b"\0\n"), "sw")


def test_places_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.tsv: no such file"):
        read_tsv(tmp_path / "nowhere.tsv", "sw")
    with pytest.raises(DataError, match="is a folder"):
        read_tsv(str(tmp_path), "sw")
    with pytest.raises(DataError, match="cannot be read"):
        read_tsv(tmp_path / ("x" * 5000), "sw")
    with pytest.raises(UsageError, match="did you mean sw"):
        read_tsv(tmp_path / "nowhere.tsv", "swahili")


def test_an_endless_line_is_dropped_and_the_next_one_read(write: Callable[..., Path]) -> None:
    bitext = read_tsv(write("mbwa\tdog\n" + "é" * (1 << 20) + "\tx\npaka\tcat\n"), "sw")
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
