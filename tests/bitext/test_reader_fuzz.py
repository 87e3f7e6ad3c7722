"""Damaged files of every format: whatever comes, a reader ends with pairs or with a ``KivukoError`` of one line.

``KIVUKO_FUZZ_EXAMPLES=5000`` makes a long run of it.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tempfile
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kivuko.bitext import open_source, read_bitext
from kivuko.errors import KivukoError

EXAMPLES = int(os.environ.get("KIVUKO_FUZZ_EXAMPLES", "25"))
ROWS = [("mbwa", "dog"), ("paka mweusi", "black cat"), ("été", "summer"), ("", "nothing"), ("taxi", "taxi")]
LONGEST = 2_000  # pairs read of one file: a mutated length may promise more

TMX = (
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
        "tmx": [TMX.format("UTF-8").encode(), TMX.format("UTF-16").encode("utf-16"), TMX.format("GBK").encode("gbk")],
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
