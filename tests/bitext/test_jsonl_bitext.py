"""JSON lines as the hub and its users write them."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kivuko.bitext import open_source, read_bitext
from kivuko.errors import DataError, UsageError

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
def test_keys_are_found_as_headings_are(jsonl: Callable[..., Path], record: dict[str, Any]) -> None:
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
    with pytest.raises(DataError, match=r"f\.jsonl:1: translation: the header names fr and en, not sw"):
        pairs(jsonl([{"translation": {"fr": "chien", "en": "dog"}}]))
    with pytest.raises(DataError, match=r"f\.jsonl:1: no columns for sw and en, but: none"):
        pairs(jsonl([{}]))


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
        "blank line": 1, "missing column": 2, "empty side": 1, "not text": 2, "not JSON": 3, "broken characters": 1,
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
