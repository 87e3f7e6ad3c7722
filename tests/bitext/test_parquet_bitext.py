"""Parquet as the hub has it: two columns or a struct, in any string type, in row groups."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kivuko.bitext import open_source, read_bitext
from kivuko.errors import DataError, UsageError

PAIRS = [("mbwa", "dog"), ("paka", "cat"), ("kuku", "hen")]


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def translations(pairs: list[tuple[str | None, str | None]]) -> pa.Array:
    kind = pa.struct([("en", pa.string()), ("sw", pa.string())])
    return pa.array([{"en": english, "sw": text} for text, english in pairs], kind)


def pairs(path: Path, **options: Any) -> list[tuple[str, str]]:
    return [(pair.text, pair.english) for pair in read_bitext(path, "sw", **options)]


def test_translations_as_opus_on_the_hub_has_them(tmp_path: Path) -> None:
    path = write(tmp_path / "f.parquet", {"id": ["0", "1", "2"], "translation": translations(PAIRS)}, row_group_size=2)
    source = open_source(path, "sw")
    assert (source.format, source.size) == ("parquet", path.stat().st_size)
    assert list(source) == [(number, *pair, None) for number, pair in enumerate(PAIRS, start=1)]
    assert source.place(3) == f"{path}:3"
    assert source.bytes_read() == source.size
    assert list(source) == list(source)


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.dictionary(pa.int32(), pa.string()),
        pa.string_view(),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("headings", [("non_english", "english"), ("SW", "en"), ("source", "target")])
def test_two_columns_in_any_string_type(tmp_path: Path, kind: pa.DataType, headings: tuple[str, str]) -> None:
    texts, english = zip(*PAIRS, strict=True)
    columns = {"score": [1.0, 2.0, 3.0], headings[1]: pa.array(english, pa.string()), headings[0]: _as(texts, kind)}
    path = write(tmp_path / "f.parquet", columns)
    assert pairs(path) == PAIRS
    assert pairs(path, columns=headings) == PAIRS
    assert pairs(path, columns=(3, 2)) == PAIRS


def _as(texts: tuple[str, ...], kind: pa.DataType) -> pa.Array:
    plain = pa.array(texts, pa.string())
    return plain.dictionary_encode() if pa.types.is_dictionary(kind) else plain.cast(kind)


def test_fields_of_structs_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "f.parquet", {"translation": translations(PAIRS), "mine": ["a", "b", "c"]})
    assert pairs(path, columns=("mine", "translation.en")) == [("a", "dog"), ("b", "cat"), ("c", "hen")]
    assert pairs(path, columns=("translation.sw", "translation.en")) == PAIRS


def test_without_the_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "f.parquet", {"id": [1], "translation": pa.array([{"en": "dog", "fr": "chien"}])})
    with pytest.raises(DataError, match=r"f\.parquet: translation: the header names fr and en, not sw"):
        pairs(path)
    path = write(tmp_path / "f.parquet", {"id": [1], "sentence": ["mbwa"]})
    with pytest.raises(DataError, match=r"f\.parquet: no columns for sw and en, but: id, sentence; name two of them"):
        pairs(path)
    with pytest.raises(DataError, match=r"f\.parquet: no column en in the header, which has: id, sentence"):
        pairs(path, columns=("sentence", "en"))
    with pytest.raises(DataError, match=r"f\.parquet: there are 2 columns, not 7: id, sentence"):
        pairs(path, columns=(1, 7))
    with pytest.raises(DataError, match=r"f\.parquet: column id holds int64, not text"):
        pairs(path, columns=("sentence", "id"))
    with pytest.raises(UsageError, match="columns"):
        pairs(path, columns=("id", "id"))


def test_rows_without_text_are_counted(tmp_path: Path) -> None:
    rows = pa.array(
        [{"en": "dog", "sw": "mbwa"}, None, {"en": None, "sw": "paka"}, {"en": "hen", "sw": ""}],
        pa.struct([("en", pa.string()), ("sw", pa.string())]),
    )
    path = write(tmp_path / "f.parquet", {"translation": rows})
    bitext = read_bitext(path, "sw")
    assert [(pair.text, pair.english) for pair in bitext] == [("mbwa", "dog")]
    assert bitext.dropped == {"empty side": 3}
    assert bitext.first_dropped == {"empty side": f"{path}:2"}


def test_bytes_that_are_not_utf8_cost_their_row_only(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(pa.string(), 3, pa.array([b"mbwa", b"\xff\xfe", b"kuku"], pa.binary()).buffers())
    for number, column in enumerate([broken, broken.cast(pa.binary())]):
        path = write(tmp_path / f"{number}.parquet", {"sw": column, "en": ["dog", "cat", "hen"]})
        assert [(raw.text, raw.reason) for raw in open_source(path, "sw")] == [
            ("mbwa", None), (None, "broken characters"), ("kuku", None),
        ]  # fmt: skip


def test_a_long_text_costs_its_row_only(tmp_path: Path) -> None:
    texts = ["mbwa", "x" * (2 << 20), "kuku"]
    path = write(tmp_path / "f.parquet", {"sw": texts, "en": ["dog", "long", "hen"]})
    assert [(raw.text, raw.reason) for raw in open_source(path, "sw")] == [
        ("mbwa", None), (None, "too long"), ("kuku", None),
    ]  # fmt: skip


def test_many_rows_come_in_order_across_row_groups_and_batches(tmp_path: Path) -> None:
    many = [(f"neno {i}", f"word {i}") for i in range(10_000)]
    path = write(tmp_path / "f.parquet", {"translation": translations(many)}, row_group_size=3000)
    assert [(raw.number, raw.text, raw.english) for raw in open_source(path, "sw")] == [
        (i + 1, *pair) for i, pair in enumerate(many)
    ]


def test_memory_does_not_grow_with_the_row_group(tmp_path: Path) -> None:
    sentence = "neno " * 40
    peaks = []
    for rows in (20_000, 200_000):
        path = tmp_path / f"{rows}.parquet"
        texts = pa.array([f"{sentence}{i}" for i in range(rows)])
        write(path, {"sw": texts, "en": texts}, compression="zstd", row_group_size=rows, use_dictionary=False)
        del texts
        pool = pa.default_memory_pool()
        before, highest = pool.bytes_allocated(), 0
        for raw in open_source(path, "sw"):
            if raw.number % 4096 == 1:
                highest = max(highest, pool.bytes_allocated() - before)
        peaks.append(highest)
    assert peaks[1] < 1.5 * peaks[0] < 40 << 20, "200,000 rows are 80 MB of text"


def test_compressed_once_more_or_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = write(tmp_path / "f.parquet", {"translation": translations(PAIRS)}).read_bytes()
    packed = tmp_path / "f.parquet.gz"
    packed.write_bytes(gzip.compress(content))
    assert pairs(packed) == PAIRS
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    source = open_source("-", "sw")
    assert source.format == "parquet"
    assert [raw.text for raw in source] == ["mbwa", "paka", "kuku"]


def test_damaged_files(tmp_path: Path) -> None:
    whole = write(tmp_path / "w.parquet", {"translation": translations(PAIRS * 1000)}).read_bytes()
    path = tmp_path / "f.parquet"
    for content in (whole[: len(whole) // 2], whole[:-9] + b"\xff" * 9, b"PAR1", b"PAR1PAR1", b"PAR1" + b"\xff" * 99):
        path.write_bytes(content)
        with pytest.raises(
            DataError, match=r"f\.parquet: damaged, or no Parquet file \(.+\); fetch it again"
        ) as raised:
            read_bitext(path, "sw")
        assert "\n" not in str(raised.value)
    for content, message in ((b"", "is empty"), (b"mbwa\tdog\n", "does not begin as Parquet files do")):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_bitext(path, "sw")
    empty = write(path, {"sw": pa.array([], pa.string()), "en": pa.array([], pa.string())})
    with pytest.raises(DataError, match="no usable pair"):
        read_bitext(empty, "sw")


def test_no_damage_to_the_footer_ends_the_process(tmp_path: Path) -> None:
    """pyarrow aborts where figures of a column that it looks at are wrong: they must not be looked at."""
    whole = write(tmp_path / "w.parquet", {"translation": translations(PAIRS)}).read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    path = tmp_path / "f.parquet"
    refused = 0
    for spot in range(len(whole) - footer, len(whole) - 8):
        path.write_bytes(whole[:spot] + bytes([whole[spot] ^ 1]) + whole[spot + 1 :])
        try:
            read_bitext(path, "sw")
        except DataError:
            refused += 1
    assert refused > footer // 10
