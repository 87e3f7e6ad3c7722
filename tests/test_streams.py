"""Files as they come: compressed in four ways, cut short, piped, with lines that never end."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kivuko import streams as lines_module
from kivuko.bitext.reading import read_bitext
from kivuko.errors import DataError, MissingDependencyError, UsageError
from kivuko.streams import START_BYTES, ByteInput, byte_stream, json_lines, parse_json, read_lines, text_lines

zstandard = pytest.importorskip("zstandard")

Compress = Callable[[bytes], bytes]


def zstd(content: bytes) -> bytes:
    return bytes(zstandard.ZstdCompressor().compress(content))


COMPRESSORS = [gzip.compress, bz2.compress, lzma.compress, zstd, bytes]


def read_all(source: ByteInput, step: int = 1000) -> bytes:
    parts = []
    with source.opened() as stream:
        while part := stream.read(step):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("compress", COMPRESSORS)
def test_what_was_compressed_is_read_and_counted(tmp_path: Path, compress: Compress) -> None:
    content = "".join(f"neno {i}\tword {i * 7919 % 1000}\n" for i in range(20_000)).encode()
    path = tmp_path / "f"
    path.write_bytes(compress(content))
    source = ByteInput(path)
    assert source.size == path.stat().st_size
    assert source.bytes_read() == 0
    assert source.start() == content[:START_BYTES]
    assert read_all(source) == content
    assert source.bytes_read() == source.size
    assert source.as_stored == (compress is bytes)
    assert read_all(source) == content, "a file can be read again"


@pytest.mark.parametrize("compress", COMPRESSORS[:-1])
def test_compressed_parts_one_after_the_other_are_one_file(tmp_path: Path, compress: Compress) -> None:
    path = tmp_path / "f"
    path.write_bytes(compress(b"one\n") + compress(b"two\n") + compress(b""))
    assert list(read_lines(path)) == ["one", "two"]


def test_zstandard_may_begin_with_a_frame_to_skip(tmp_path: Path) -> None:
    path = tmp_path / "f.zst"  # as pzstd writes it
    path.write_bytes(b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstd(b"mbwa\tdog\n"))
    assert list(read_lines(path)) == ["mbwa\tdog"]


@pytest.mark.parametrize("compress", COMPRESSORS[:-1])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_what_was_cut_short_is_said_after_what_is_whole(tmp_path: Path, compress: Compress, share: float) -> None:
    # Text that does not compress well, so that a part of it can be read.
    content = b"".join(b"%d %x\n" % (i, i**7) for i in range(25_000))
    whole = compress(content)
    path = tmp_path / "f"
    path.write_bytes(whole[: max(20, int(len(whole) * share))])
    read: list[str | None] = []
    with pytest.raises(DataError, match=r"f: compressed data damaged or cut short \(.+\); fetch the file") as raised:
        read.extend(read_lines(path))
    assert "\n" not in str(raised.value)
    assert read == content.decode().split("\n")[: len(read)]
    # bzip2 and xz give out nothing of a block that is not whole.
    assert read or share < 0.9 or compress in (bz2.compress, lzma.compress)


@pytest.mark.parametrize("compress", COMPRESSORS[:-1])
def test_a_small_file_may_hold_a_very_long_line(tmp_path: Path, compress: Compress) -> None:
    path = tmp_path / "f"
    path.write_bytes(compress(b"mbwa\tdog\n" + b"y" * (24 << 20) + b"\npaka\tcat\n"))
    tracemalloc.start()
    lines = list(read_lines(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert lines == ["mbwa\tdog", None, "paka\tcat"]
    assert peak < 12 << 20  # 8 of them for what xz looks back on


def test_a_pipe_is_read_once_though_its_start_was_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    content = gzip.compress(b"mbwa\tdog\n" * 10_000)
    writer = threading.Thread(target=path.write_bytes, args=(content,))
    writer.start()
    source = ByteInput(path)
    assert source.size is None
    assert source.start().startswith(b"mbwa\tdog\n")
    assert read_all(source) == b"mbwa\tdog\n" * 10_000
    writer.join()
    with pytest.raises(UsageError, match="pipe can be read only once"):
        read_all(source)


def test_standard_input_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(zstd(b"mbwa\tdog\n"))))
    source = ByteInput(None)
    assert source.name == "standard input"
    assert list(read_lines(source)) == ["mbwa\tdog"]
    with pytest.raises(UsageError, match="standard input can be read only once; write it to a file"):
        source.start()


def test_names_that_no_file_has() -> None:
    with pytest.raises(DataError, match=r"'a\\x00b': no file has a NUL in its name"):
        ByteInput(Path("a\0b")).start()


# Lines of every kind, read in small blocks under a low limit: the boundaries are where readers go wrong.
_PIECES = st.sampled_from([b"\n", b"\r\n", b"\r", b"a", b"\xc3\xa9", b"\xe4\xb8\xad", b"\t", b"xyz" * 5, b"w" * 40])


@given(st.lists(_PIECES, max_size=40), st.integers(1, 9), st.integers(4, 30))
@settings(max_examples=300, deadline=None)
def test_lines_do_not_depend_on_blocks(pieces: list[bytes], block: int, limit: int) -> None:
    content = b"".join(pieces)
    block = min(block, limit)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lines_module, "_BLOCK", block)
        read = [text for run in _runs(content, limit) for text in run]
    lines = content.split(b"\n")
    if not lines[-1]:  # nothing after the last line's end, or nothing at all
        lines.pop()
    expected = [[None] if len(line) > limit else _parted(line.decode().rstrip("\r")) for line in lines]
    assert read == [part for parts in expected for part in parts]


def _parted(line: str) -> list[str | None]:
    """Split at lone CRs where each part is a row of as many tabs, at least one."""
    parts = [part for part in line.split("\r") if part.strip()]
    tabs = {part.count("\t") for part in parts}
    return list(parts) if len(parts) > 1 and len(tabs) == 1 and 0 not in tabs else [line]


def _runs(content: bytes, longest: int) -> list[list[str | None]]:
    runs, number = [], 1
    stream = io.BytesIO(content)
    for run in lines_module._whole_lines(iter(lambda: stream.read(lines_module._BLOCK), b""), longest):
        texts, fault = ([None], None) if run is None else lines_module._texts(run, "f", number)
        assert fault is None
        runs.append(texts)
        number += len(texts)
    return runs


@pytest.mark.parametrize("bad", [b"\0", b"\xff", b"\xc3"])
@pytest.mark.parametrize("before", [0, 1, 50_000])
def test_good_lines_come_before_the_fault_and_it_has_its_line(tmp_path: Path, bad: bytes, before: int) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"mbwa\tdog\n" * before + b"pa" + bad + b"ka\tcat\nkuku\then\n")
    read: list[int] = []
    with pytest.raises(DataError, match=rf"f:{before + 1}: "):
        read.extend(number for number, _ in enumerate(read_lines(path), start=1))
    assert read == list(range(1, before + 1))


def test_a_nul_after_a_long_line_does_not_bring_half_of_it(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"mbwa\n" + b"y" * (3 << 20) + b"\nkuku\n\0\n")
    read: list[str | None] = []
    with pytest.raises(DataError, match="f:4: a NUL byte"):
        read.extend(read_lines(path))
    assert read == ["mbwa", None, "kuku"]


def test_a_url_is_read_as_a_file_would_be() -> None:
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://bucket/en-sw.tsv.gz", "wb") as stream:
        stream.write(gzip.compress(b"mbwa\tdog\npaka\tcat\n"))
    assert [pair.english for pair in read_bitext("memory://bucket/en-sw.tsv.gz", "sw")] == ["dog", "cat"]
    with pytest.raises(DataError, match=r"memory://bucket/none\.tsv: no such file; check the path"):
        read_bitext("memory://bucket/none.tsv", "sw")
    with pytest.raises(UsageError, match=r"nothing://bucket/f\.tsv: .*nothing.*; give https://, s3://, hf://"):
        read_bitext("nothing://bucket/f.tsv", "sw")


def test_a_url_without_fsspec_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingDependencyError, match=r"s3://b/f\.tsv needs fsspec: pip install 'kivuko\[data\]'"):
        read_bitext("s3://b/f.tsv", "sw")


@pytest.mark.parametrize("compress", COMPRESSORS)
def test_progress_ends_with_the_size_of_the_file(tmp_path: Path, compress: Compress) -> None:
    path = tmp_path / "f"
    path.write_bytes(compress(b"mbwa\n" * 1000))
    message: list[int] = []
    with byte_stream(path, message.append) as stream:
        assert stream.readline() == b"mbwa\n"
        assert len(stream.read()) == 4995
    assert message[-1] == path.stat().st_size


def test_numbered_lines_refuse_one_that_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"a\n" + b"y" * (3 << 20) + b"\n")
    assert [number for number, _ in text_lines(path)] == [1, 2]
    with pytest.raises(DataError, match="f:2: a line over 1 MiB; give one text per line"):
        list(text_lines(path, 1 << 20))


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("end", ["\r", "\r\n", "\n", "\r\r\n"])
def test_lines_end_as_on_any_system(tmp_path: Path, compress: Compress, end: str) -> None:
    lines = [f"q{number}\tneno {number}" for number in range(40_000)]  # more than two blocks
    path = tmp_path / "f"
    path.write_bytes(compress((end.join(lines) + end).encode()))
    assert list(read_lines(path)) == lines
    path.write_bytes(compress(end.join(lines[:3]).encode()))
    assert list(text_lines(path)) == list(enumerate(lines[:3], start=1))


def test_a_file_of_lone_returns_may_hold_other_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"a\tx\nb\ty\rc\tz\r")
    assert list(read_lines(path)) == ["a\tx", "b\ty", "c\tz"]
    path.write_bytes(b"a\rb\rc\r\n" + b"d\r" * 300_000 + b"e\r\nf\n\rg")
    assert list(read_lines(path)) == ["a", "b", "c", *["d"] * 300_000, "e", "f", "", "g"]


@pytest.mark.parametrize("block", [1, 2, 3, 5])
def test_a_return_and_a_line_feed_may_be_in_two_blocks(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(lines_module, "_BLOCK", block)
    stream = io.BytesIO(b"\rb\rc\r\nd\r\re\r")
    assert b"".join(lines_module._with_line_feeds(stream)) == b"\nb\nc\nd\n\ne\n"


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"a\tb\nc\td\re\tf\ng\th\n", ["a\tb", "c\td", "e\tf", "g\th"]),  # rows glued together
        (b'{"a": 1}\n{"a": 2}\r{"a": 3}\n', ['{"a": 1}', '{"a": 2}', '{"a": 3}']),
        (b"a\tb\r\r\r \n" * 2 + b"c\rd\te\n", ["a\tb\r\r\r ", "a\tb\r\r\r ", "c\rd\te"]),
        (b"a\tb\nc\rd\te\nf\tg\n", ["a\tb", "c\rd\te", "f\tg"]),  # white space within a sentence
        (b"a b\nc\rd\ne\n", ["a b", "c\rd", "e"]),  # or the lines of a parallel file would shift
    ],
)
def test_a_lone_return_among_line_feeds_ends_a_line_where_that_is_evident(
    tmp_path: Path, content: bytes, lines: list[str]
) -> None:
    (tmp_path / "f").write_bytes(content)
    assert list(read_lines(tmp_path / "f")) == lines


@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("utf-32", "UTF-32"), ("utf-16", "UTF-16"), ("utf-32-le", "UTF-32LE"), ("utf-32-be", "UTF-32BE"),
        ("utf-16-le", "UTF-16LE"), ("utf-16-be", "UTF-16BE"),
    ],
)  # fmt: skip
def test_an_encoding_of_wide_units_is_named(tmp_path: Path, encoding: str, named: str) -> None:
    (tmp_path / "f").write_bytes("mbwa\tdog\npaka\tcat\n".encode(encoding))
    with pytest.raises(DataError, match=f"f:1: {named}, not UTF-8; convert with iconv -f {named.lower()} -t utf-8"):
        list(read_lines(tmp_path / "f"))


@pytest.mark.parametrize(
    "value",
    [
        "NaN", "-Infinity", "1" * 5000, "-" + "9" * 4301, "[" * 100_000 + "]" * 100_000,
        '{"a":' * 20_000 + "1" + "}" * 20_000, '"a\tb"', '"\\ud800"',
    ],
)  # fmt: skip
def test_a_field_that_nobody_needs_refuses_no_line(tmp_path: Path, value: str) -> None:
    (tmp_path / "f").write_text(f'{{"x": {value}, "text": "paka \\"[{{", "y": [1, [2]]}}\n')
    [(number, row)] = json_lines(tmp_path / "f")
    assert (number, row["text"], row["y"]) == (1, 'paka "[{', [1, [2]])


@pytest.mark.parametrize("text", ["{", '{"a": }', "[" * 100_000, '{"a": "b}', "{'a': 1}", "", '{"a": 1} {"a": 2}'])
def test_what_is_no_json_stays_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|Extra|Invalid"):
        parse_json(text)
