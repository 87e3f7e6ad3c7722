"""Parquet, Arrow and hub datasets as sources of pairs."""

from __future__ import annotations

import gzip
import io
import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kivuko.bitext.prepare import check_bitext, clean_bitext
from kivuko.bitext.reading import open_source, read_bitext
from kivuko.errors import DataError, KivukoError, MissingDependencyError, UsageError

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
    with pytest.raises(
        DataError, match=r"f\.parquet: no columns for sw and en, but: id, translation.en, translation.fr"
    ):
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
    with pytest.raises(DataError, match=r"f\.parquet: holds no row; give a file"):
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


TRANSLATIONS = [{"en": "dog", "sw": "mbwa"}, {"en": "cat", "sw": "paka"}, {"en": "hen", "sw": "kuku"}]


def saved_pairs(spec: Path | str, **options: Any) -> list[tuple[str, str]]:
    return [(pair.text, pair.english) for pair in read_bitext(spec, "sw", **options)]


def save(folder: Path, shards: list[list[dict[str, str]]]) -> Path:
    """Write what ``Dataset.save_to_disk`` writes: Arrow streams, and a state that lists them."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{i:05}-of-{len(shards):05}.arrow" for i in range(len(shards))]
    for name, rows in zip(names, shards, strict=True):
        table = pa.table({"translation": rows})
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    state = {"_data_files": [{"filename": name} for name in names], "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def test_as_the_library_itself_saves_it(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"translation": datasets.Translation(languages=["en", "sw"])})
    saved = datasets.Dataset.from_dict({"translation": TRANSLATIONS}, features=features)
    saved.save_to_disk(tmp_path / "one", num_shards=2)
    datasets.DatasetDict({"train": saved, "test": saved.select([2])}).save_to_disk(tmp_path / "splits")
    whole = [("mbwa", "dog"), ("paka", "cat"), ("kuku", "hen")]
    assert saved_pairs(tmp_path / "one") == whole
    assert saved_pairs(f"{tmp_path / 'splits'}:train") == whole
    assert saved_pairs(f"{tmp_path / 'splits'}:test") == [("kuku", "hen")]
    assert saved_pairs(tmp_path / "splits" / "test") == [("kuku", "hen")]


def test_places_name_the_shard_and_its_row(tmp_path: Path) -> None:
    folder = save(tmp_path / "d", [TRANSLATIONS, TRANSLATIONS[:1], TRANSLATIONS[1:]])
    source = open_source(folder, "sw")
    assert (source.format, source.name, source.language) == ("datasets", str(folder), "sw")
    read = list(source)
    assert [raw.number for raw in read] == [1, 2, 3, 4, 5, 6]
    assert [source.place(number).removeprefix(f"{folder}/data-0000") for number in (1, 3, 4, 5, 6)] == [
        "0-of-00003.arrow:1", "0-of-00003.arrow:3", "1-of-00003.arrow:1", "2-of-00003.arrow:1", "2-of-00003.arrow:2",
    ]  # fmt: skip
    assert source.bytes_read() == source.size


def test_splits_are_never_mixed(tmp_path: Path) -> None:
    for split in ("train", "test"):
        save(tmp_path / split, [TRANSLATIONS])
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    with pytest.raises(UsageError, match=r"holds several splits: train, test; name one, as .*:train"):
        open_source(tmp_path, "sw")
    with pytest.raises(UsageError, match="has no split validation, but: train, test"):
        open_source(f"{tmp_path}:validation", "sw")
    with pytest.raises(UsageError, match="one dataset without splits; leave :test out"):
        open_source(f"{tmp_path / 'train'}:test", "sw")


@pytest.mark.parametrize(
    "state",
    [
        "", "[]", "{}", '{"_data_files": []}', '{"_data_files": [{"filename": "../x.arrow"}]}',
        '{"_data_files": [{"filename": 5}]}', '{"_data_files": 7}', "[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_state(tmp_path: Path, state: str) -> None:
    save(tmp_path, [TRANSLATIONS])
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(DataError, match=r"state\.json: damaged .*; save the dataset again"):
        open_source(tmp_path, "sw")


def test_damaged_splits_and_rows_that_were_selected(tmp_path: Path) -> None:
    save(tmp_path, [TRANSLATIONS])
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps(state | {"_indices_data_files": [{"filename": "i.arrow"}]}))
    with pytest.raises(DataError, match=r"state\.json: a selection of rows; save it with flatten_indices"):
        open_source(tmp_path, "sw")
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["../.."]}')
    with pytest.raises(DataError, match=r"dataset_dict\.json: damaged"):
        open_source(tmp_path, "sw")


def test_damaged_and_missing_shards(tmp_path: Path) -> None:
    folder = save(tmp_path, [TRANSLATIONS * 100])
    shard = folder / "data-00000-of-00001.arrow"
    whole = shard.read_bytes()
    for content in (whole[: len(whole) // 2], b"\xff" * 100, b"ARROW1" + b"\0" * 50, b""):
        shard.write_bytes(content)
        with pytest.raises(DataError, match=r"\.arrow: damaged, or no Arrow file \(.+\); fetch or save it again"):
            read_bitext(folder, "sw")
    shard.unlink()
    with pytest.raises(DataError, match=r"\.arrow: no such file"):
        read_bitext(folder, "sw")


def test_an_arrow_file_with_an_index(tmp_path: Path) -> None:
    table = pa.table({"sw": ["mbwa", "paka"], "en": ["dog", "cat"]})
    with pa.OSFile(str(tmp_path / "f.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=1)
    assert saved_pairs(tmp_path / "f.arrow") == [("mbwa", "dog"), ("paka", "cat")]


def shards(folder: Path, names: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, row in zip(names, TRANSLATIONS * 2, strict=False):
        pq.write_table(pa.table({"translation": [row]}), folder / name)
    return folder


def test_a_folder_of_shards_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = shards(tmp_path / "data", ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"])
    (tmp_path / "README.md").write_text("a card")
    (folder / "._hidden.parquet").write_bytes(b"")
    for spec in (tmp_path, folder, f"{tmp_path}:train"):
        assert saved_pairs(spec) == [("mbwa", "dog"), ("paka", "cat")]
    assert open_source(tmp_path, "sw").format == "parquet"
    shards(folder, ["test.parquet"])
    with pytest.raises(UsageError, match="holds several splits: test, train; name one"):
        saved_pairs(tmp_path)
    assert saved_pairs(f"{tmp_path}:test") == [("mbwa", "dog")]


def test_shards_without_splits_and_of_json_lines(tmp_path: Path) -> None:
    for number, row in enumerate(TRANSLATIONS):
        (tmp_path / f"part-{number:05}.jsonl").write_text(json.dumps({"translation": row}) + "\n")
    (tmp_path / "part-00009.jsonl").write_text("")  # a writer that had nothing to write
    assert len(saved_pairs(tmp_path)) == 3
    with pytest.raises(UsageError, match="not named after splits; leave :dev out"):
        open_source(f"{tmp_path}:dev", "sw")
    (tmp_path / "more.tsv").write_text("ng'ombe\tcow\n")
    with pytest.raises(DataError, match=r"files of several formats \(jsonl, tsv\); name the format"):
        open_source(tmp_path, "sw")
    assert saved_pairs(tmp_path, format="tsv") == [("ng'ombe", "cow")]


def test_folders_with_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no Parquet, JSON lines"):
        open_source(tmp_path, "sw")
    with pytest.raises(DataError, match="holds no tmx file"):
        open_source(tmp_path, "sw", format="tmx")


def test_a_dataset_as_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    shards(tmp_path / "hub", ["train-00000-of-00001.parquet", "test-00000-of-00001.parquet"])
    spec = f"hf:{tmp_path / 'hub'}"
    source = open_source(spec, "sw")
    assert (source.name, source.format, source.size) == (spec, "datasets", None)
    assert list(source) == [(1, "mbwa", "dog", None)]
    assert source.place(1) == f"{spec}:1"
    assert saved_pairs(f"{spec}:test") == [("paka", "cat")]
    assert saved_pairs(f"{spec}:default:train") == [("mbwa", "dog")]
    with pytest.raises(DataError, match=r"Bad split: validation\. Available splits: \['train', 'test'\]") as raised:
        saved_pairs(f"{spec}:validation")
    assert "\n" not in str(raised.value)
    with pytest.raises(DataError, match=r"nowhere: cannot be read \(.+\); check the name and the network") as raised:
        saved_pairs(f"hf:{tmp_path / 'nowhere'}")
    assert "\n" not in str(raised.value)


def test_nothing_on_the_hub_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    hub = tmp_path / "hub"
    hub.mkdir()
    (hub / "train.pkl").write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR.")
    with pytest.raises(KivukoError):
        saved_pairs(f"hf:{hub}")
    assert not (tmp_path / "owned").exists()


def test_tries_to_reach_the_hub_are_not_logged_one_by_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    datasets = pytest.importorskip("datasets")
    logger = logging.getLogger("huggingface_hub")
    monkeypatch.setattr(logger, "level", logging.WARNING)

    def unreachable(*_: object) -> None:
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise ConnectionError("Couldn't reach 'nobody/none' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset_builder", unreachable)
    with pytest.raises(DataError, match=r"hf:nobody/none: cannot be read \(Couldn't reach"):
        saved_pairs("hf:nobody/none")
    assert not caplog.records
    assert logger.level == logging.WARNING


@pytest.mark.parametrize("spec", ["hf:", "hf:a:b:c:d", "hf::train", "hf:a:"])
def test_malformed_names(spec: str) -> None:
    pytest.importorskip("datasets")
    with pytest.raises(UsageError, match="give hf:NAME, hf:NAME:CONFIG or hf:NAME:CONFIG:SPLIT"):
        open_source(spec, "sw")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(MissingDependencyError, match=r"needs datasets: pip install 'kivuko\[data\]'"):
        open_source("hf:Helsinki-NLP/opus-100:en-sw", "sw")


@pytest.mark.parametrize("character", ["\0", "\x01", "\x1f", "\x85", "\u200b", "\u2028", "\x0b"])
def test_control_characters_part_words(tmp_path: Path, character: str) -> None:
    path = write(tmp_path / "f.parquet", {"sw": [f"Mbwa{character}analala"], "en": [f"The dog{character}sleeps"]})
    assert [(pair.text, pair.english) for pair in read_bitext(path, "sw")] == [("Mbwa analala", "The dog sleeps")]


def test_a_table_without_a_row_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "f.parquet", {"sw": pa.array([], pa.string()), "en": pa.array([], pa.string())})
    for call in (read_bitext, check_bitext):
        with pytest.raises(DataError, match=r"f\.parquet: holds no row; give a file with pairs"):
            call(path, "sw")
    with pytest.raises(DataError, match="holds no row"):
        clean_bitext(path, "sw", tmp_path / "out.tsv")
