"""Sources by name and content, and readers under mutated input."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kivuko.bitext.pairs import PairSource
from kivuko.bitext.reading import open_source, read_bitext
from kivuko.errors import DataError, KivukoError, UsageError

TSV = b"mbwa\tdog\npaka\tcat\n"
TMX = b'<tmx><body><tu><tuv lang="en"><seg>dog</seg></tuv><tuv lang="sw"><seg>mbwa</seg></tuv></tu></body></tmx>'
JSONL = json.dumps({"sw": "mbwa", "en": "dog"}).encode()


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("f.tsv", TSV, "tsv"), ("f.txt", TSV, "tsv"), ("f.TSV.GZ", TSV, "tsv"), ("f", TSV, "tsv"),
        ("f.dat", JSONL, "jsonl"),
        ("f.tmx.zst", TMX, "tmx"), ("f.bin", b"\n " + TMX, "tmx"), ("f.JSONL", JSONL, "jsonl"), ("f.xml", TMX, "tmx"),
        ("f.weird", b"\xef\xbb\xbf" + TMX, "tmx"), ("f.weird", '<?xml version="1.0"?>'.encode("utf-16"), "tmx"),
    ],
)  # fmt: skip
def test_formats_are_detected(tmp_path: Path, name: str, content: bytes, format: str) -> None:
    (tmp_path / name).write_bytes(content)
    source: PairSource = open_source(tmp_path / name, "sw")
    assert source.format == format
    assert source.language == "sw"
    assert source.name == str(tmp_path / name)
    assert source.size == len(content)


def test_the_format_that_is_said_counts(tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_bytes(TMX)
    assert [raw.text for raw in open_source(tmp_path / "f.txt", "sw", format="tmx")] == ["mbwa"]
    with pytest.raises(UsageError, match="unknown format 'xlsx': give tsv, csv, moses, tmx, jsonl, parquet, datasets"):
        open_source(tmp_path / "f.txt", "sw", format="xlsx")
    with pytest.raises(UsageError, match="standard input: a saved dataset is a folder"):
        open_source("-", "sw", format="datasets")
    with pytest.raises(UsageError, match="leave the format tsv out"):
        open_source("hf:name", "sw", format="tsv")


def test_zip_archives_of_one_file_are_read_and_others_named_as_such(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "f.tsv.zip", "w") as archive:
        archive.writestr("f.tsv", TSV)
    assert [raw.text for raw in open_source(tmp_path / "f.tsv.zip", "sw")] == ["mbwa", "paka"]
    with zipfile.ZipFile(tmp_path / "en-sw.zip", "w") as archive:
        archive.writestr("f.en", "dog")
        archive.writestr("f.sw", "mbwa")
    with pytest.raises(DataError, match=r"en-sw\.zip: a zip archive of 2 files, where one is read; unpack it"):
        open_source(tmp_path / "en-sw.zip", "sw")


def test_damaged_and_encrypted_zip_archives_are_named_as_such(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "f.tsv.zip", "w") as archive:
        archive.writestr("f.tsv", TSV * 500)
    content = (tmp_path / "f.tsv.zip").read_bytes()
    (tmp_path / "cut.tsv.zip").write_bytes(content[:-30])
    (tmp_path / "changed.tsv.zip").write_bytes(content.replace(b"mbwa", b"Mbwa", 1))
    for name in ("cut.tsv.zip", "changed.tsv.zip"):
        with pytest.raises(DataError, match=rf"{name}: compressed data damaged or cut short"):
            list(open_source(tmp_path / name, "sw"))
    # The flag of encryption, in the file's own header and in the directory.
    locked = content.replace(content[:8], content[:6] + b"\x01\x00").replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"
    )
    (tmp_path / "locked.tsv.zip").write_bytes(locked)
    with pytest.raises(DataError, match=r"locked\.tsv\.zip: the zip archive is encrypted"):
        list(open_source(tmp_path / "locked.tsv.zip", "sw"))


def test_reading_again_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "f.tsv").write_bytes(TSV)
    source = open_source(tmp_path / "f.tsv", "sw")
    assert list(source) == list(source) == [(1, "mbwa", "dog", None), (2, "paka", "cat", None)]
    assert source.bytes_read() == len(TSV)


def test_standard_input_in_any_format(monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (TSV, TMX, JSONL):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        bitext = read_bitext("-", "sw")
        assert bitext.pairs[0].text == "mbwa"
        assert bitext.pairs[0].origin == "standard input:1"


@pytest.mark.parametrize(
    "spec", ["nowhere.tsv", "nowhere.sw,nowhere.en", "x" * 5000, "a\0b", ",", "nowhere:train", "nowhere,"]
)
def test_specs_that_lead_nowhere(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        open_source(spec, "sw")


def test_an_empty_name() -> None:
    with pytest.raises(UsageError, match="an empty name: give a file"):
        open_source("", "sw")


def test_languages_are_checked_and_normalized(tmp_path: Path) -> None:
    (tmp_path / "f.tsv").write_bytes(TSV)
    assert open_source(tmp_path / "f.tsv", "swh").language == "sw"
    with pytest.raises(UsageError, match="did you mean sw"):
        open_source(tmp_path / "f.tsv", "swahili")


def test_copies_are_dropped_on_request_in_any_format(tmp_path: Path) -> None:
    (tmp_path / "f.jsonl").write_bytes(JSONL + b'\n{"sw": "taxi", "en": "taxi"}\n')
    assert len(read_bitext(tmp_path / "f.jsonl", "sw")) == 2
    kept = read_bitext(tmp_path / "f.jsonl", "sw", keep_copied=False)
    assert kept.dropped == {"copied": 1}


EXAMPLES = int(os.environ.get("KIVUKO_FUZZ_EXAMPLES", "25"))
ROWS = [("mbwa", "dog"), ("paka mweusi", "black cat"), ("été", "summer"), ("", "nothing"), ("taxi", "taxi")]
LONGEST = 2_000  # pairs read of one file: a mutated length may promise more

DOCUMENT = (
    '<?xml version="1.0" encoding="{}"?><!DOCTYPE tmx SYSTEM "tmx14.dtd"><tmx version="1.4"><header/><body>'
    + "".join(
        f'<tu tuid="{i}"><tuv xml:lang="en"><seg>{english} <ph>x</ph>&amp;</seg></tuv>'
        f'<tuv lang="sw"><seg><hi>{text}</hi>&#x20;<![CDATA[<]]></seg></tuv></tu><!-- {i} -->'
        for i, (text, english) in enumerate(ROWS)
    )
    + "</body></tmx>"
)


@cache
def seeds() -> dict[str, list[bytes]]:
    """Whole files of each format, small enough that a mutation hits something."""
    table = pa.table({"translation": [{"en": english, "sw": text} for text, english in ROWS], "score": range(5)})
    plain = pa.table({"sw": [text for text, _ in ROWS], "en": [english for _, english in ROWS]})
    jsonl = "".join(json.dumps({"translation": {"en": b, "sw": a}}) + "\n" for a, b in ROWS).encode()
    tsv = "".join(f"{a}\t{b}\n" for a, b in ROWS).encode()
    return {
        "tsv": [tsv, b"en\tsw\r\n" + tsv, "\ufeffmbwa\tdog".encode()],
        "tmx": [DOCUMENT.format(name).encode(name) for name in ("UTF-8", "UTF-16", "GBK")],
        "jsonl": [jsonl, b'{"sw": "\\ud83d\\ude00", "en": "x", "z": [1e5, null]}\n' * 3],
        "parquet": [
            _parquet(table), _parquet(plain, compression="gzip", data_page_version="2.0"),
            _parquet(plain, use_dictionary=False),
        ],
        "arrow": [_arrow(table, pa.ipc.new_stream), _arrow(plain, pa.ipc.new_file)],
    }  # fmt: skip


def _parquet(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=2, **options)
    return sink.getvalue()


def _arrow(table: pa.Table, writer: object) -> bytes:
    sink = io.BytesIO()
    with writer(sink, table.schema) as stream:  # type: ignore[operator]
        stream.write_table(table, max_chunksize=2)
    return sink.getvalue()


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, "zstd", asbytes=True))


_PACK = st.sampled_from([bytes, bytes, bytes, gzip.compress, bz2.compress, lzma.compress, zstd])
_TOKENS = st.sampled_from(
    [
        b"\0", b"\n", b"\t", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"<", b"&", b"]]>",
        b"<!--",
        b"<tu>", b"</tuv>", b"<seg>", b'<!ENTITY x "y">', b"&x;", b"&#0;", b"&#xD800;", b"{", b"[", b'"', b"\\ud800",
        b"\\u0000", b"9" * 5000, b"[" * 5000, b"{\"a\":" * 2000, b"\x7f\xff\xff\xff", b"\x80\x80\x80\x80\x08", b"NaN",
        b"utf-16", b"PAR1", b"ARROW1", b"\x1f\x8b\x08", b"a" * 3000,
    ]
)  # fmt: skip
_SPOT = st.floats(0, 1, exclude_max=True)
_EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), _SPOT, st.integers(1, 255)),
        st.tuples(st.just("cut"), _SPOT, st.integers(1, 40)),
        st.tuples(st.just("insert"), _SPOT, _TOKENS | st.binary(max_size=6)),
        st.tuples(st.just("repeat"), _SPOT, st.integers(1, 200)),
        st.tuples(st.just("end"), _SPOT, st.none()),
    ),
    min_size=1,
    max_size=5,
)


def damaged(content: bytes, edits: list[tuple[str, float, object]]) -> bytes:
    """Apply edits, each at a share of the length."""
    for kind, share, what in edits:
        spot = int(share * len(content))
        head, tail = content[:spot], content[spot:]
        if kind == "flip" and tail:
            content = head + bytes([tail[0] ^ int(str(what))]) + tail[1:]
        elif kind == "cut":
            content = head + tail[int(str(what)) :]
        elif kind == "insert" and isinstance(what, bytes):
            content = head + what + tail
        elif kind == "repeat":
            content = head + tail[: int(str(what))] + tail
        elif kind == "end":
            content = head
    return content


def survives(path: Path, format: str | None, columns: tuple[int, int] | None = None) -> None:
    """Read it all, as a stream and into memory; what is raised must be a ``KivukoError`` of one line."""
    for read in (_stream, _memory):
        try:
            read(path, format, columns)
        except KivukoError as error:
            message = str(error)
            assert "\n" not in message
            assert len(message) < 700
            assert path.name in message or "columns" in message


def _stream(path: Path, format: str | None, columns: tuple[int, int] | None) -> None:
    source = open_source(path, "sw", format=format, columns=columns)
    last = 0
    for count, raw in enumerate(source):
        assert raw.number >= last
        last = raw.number
        assert source.place(raw.number)
        if raw.reason is None:
            assert isinstance(raw.text, str)
            assert isinstance(raw.english, str)
            (raw.text + raw.english).encode()
        if count > LONGEST:
            return


def _memory(path: Path, format: str | None, columns: tuple[int, int] | None) -> None:
    bitext = read_bitext(path, "sw", format=format, columns=columns)
    assert len(bitext) > 0


@pytest.mark.parametrize("format", ["tsv", "tmx", "jsonl", "parquet", "arrow"])
@given(data=st.data(), pack=_PACK, inner=_EDITS, outer=_EDITS | st.just([]), named=st.booleans())
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damaged_files(format: str, data: st.DataObject, pack: object, inner: list, outer: list, named: bool) -> None:  # type: ignore[type-arg]
    content = data.draw(st.sampled_from(seeds()[format]))
    content = pack(damaged(content, inner))  # type: ignore[operator]
    if pack is not bytes:
        content = damaged(content, outer)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"f.{format}" if named else "f")
        path.write_bytes(content)
        survives(path, None)


@given(
    st.sampled_from(["tsv", "tmx", "jsonl", "parquet", "datasets", None]),
    st.binary(max_size=200) | st.text().map(str.encode),
)
@settings(max_examples=2 * EXAMPLES, deadline=None)
def test_bytes_that_are_nothing(format: str | None, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "f")
        path.write_bytes(content)
        survives(path, format)


@given(st.lists(_TOKENS | st.binary(max_size=8), max_size=30), st.lists(_TOKENS, max_size=10))
@settings(max_examples=EXAMPLES, deadline=None)
def test_damaged_moses_pairs(text: list[bytes], english: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, lines in (("f.sw", text), ("f.en", english)):
            Path(folder, name).write_bytes(b"\n".join(lines))
        survives(Path(folder, "f"), None)


def test_arguments_of_a_wrong_type_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("a\tb\n")
    with pytest.raises(UsageError, match=r"^source=3: give a path, a URL"):
        read_bitext(3, "sw")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^language=None: give a language code"):
        read_bitext(tmp_path / "a.tsv", None)  # type: ignore[arg-type]
