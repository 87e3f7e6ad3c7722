"""A folder as a source: a dataset saved to disk, or shards of Parquet, JSON lines or other files."""

from __future__ import annotations

import re
from pathlib import Path

from kivuko.bitext.arrow_files import ArrowSource, saved_files, saved_splits
from kivuko.bitext.byte_input import ByteInput
from kivuko.bitext.joined import JoinedSource
from kivuko.bitext.single_file import Columns, file_source, format_by_name
from kivuko.bitext.source import PairSource
from kivuko.errors import DataError, UsageError

# As the hub names the files of a split: train.parquet, train-00000-of-00002.parquet.
_SPLIT = re.compile(r"(train|validation|valid|val|dev|test)(?:[-_.]\d+(?:-of-\d+)?)?(?:\.|$)")
_SAME_SPLIT = {"valid": "validation", "val": "validation", "dev": "validation"}


def folder_source(
    folder: Path, language: str, *, split: str | None = None, format: str | None = None, columns: Columns | None = None
) -> PairSource:
    """Open a folder.

    Args:
        folder: what ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk`` wrote; or files of one format, in the
            order of their names, here or in a folder ``data`` as the hub has it.
        language: normalised BCP 47 code.
        split: which split, where there are several.
        format: which files to read; None: there must be one kind only.
        columns: see the sources.

    Raises:
        DataError: there is no such file, or there are files of several formats.
        UsageError: there are several splits and none of them is named, or not one that is there.
    """
    if format in (None, "datasets") and (splits := saved_splits(folder)) is not None:
        return folder_source(folder / _chosen(folder, splits, split), language, columns=columns)
    if format in (None, "datasets") and (saved := saved_files(folder)) is not None:
        if split is not None:
            raise UsageError(f"{folder}: is one dataset without splits; leave :{split} out")
        return JoinedSource(str(folder), [ArrowSource(path, language, columns) for path in saved])
    shards = _shards(folder, format)
    by_split: dict[str, list[Path]] = {}
    for path in shards:
        found = _SPLIT.match(path.name.lower())
        name = found[1] if found else ""
        by_split.setdefault(_SAME_SPLIT.get(name, name), []).append(path)
    if len(by_split) > 1 or split is not None:
        shards = by_split[_chosen(folder, sorted(by_split), split)]
    return JoinedSource(str(folder), [file_source(ByteInput(path), language, format, columns) for path in shards])


def _chosen(folder: Path, splits: list[str], split: str | None) -> str:
    for name in splits:
        if split is not None and name and _SAME_SPLIT.get(split, split) == _SAME_SPLIT.get(name, name):
            return name
    if split is None and len(splits) == 1:
        return splits[0]
    named = [name for name in splits if name]
    if not named:
        raise UsageError(f"{folder}: its files are not named after splits; leave :{split} out")
    said = f"has no split {split}, but" if split is not None else "holds several splits"
    raise UsageError(
        f"{folder}: {said}: {', '.join(name or '(none)' for name in splits)}; name one, as {folder}:{named[0]}"
    )


def _shards(folder: Path, format: str | None) -> list[Path]:
    for place in (folder, folder / "data"):
        try:
            listed = sorted(one for one in place.iterdir() if not one.name.startswith((".", "_")) and one.is_file())
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DataError(f"{place}: cannot be read ({error.strerror or error}); check the folder") from None
        kinds = {path: kind for path in listed if (kind := format_by_name(path)) and path.name not in _NO_SHARDS}
        different = sorted(set(kinds.values()))
        if format is not None:
            kinds = {path: kind for path, kind in kinds.items() if kind == format}
        elif len(different) > 1:
            raise DataError(
                f"{folder}: holds files of several formats ({', '.join(different)}); say which format to read"
            )
        # A writer that had nothing to say leaves an empty shard.
        if full := [path for path in kinds if path.stat().st_size]:
            return full
    wanted = f"{format} file" if format else "Parquet, JSON lines, TSV, TMX or Arrow file, nor a saved dataset,"
    raise DataError(f"{folder}: holds no {wanted} to read; give the folder that does, or a file")


_NO_SHARDS = frozenset({"dataset_info.json", "dataset_infos.json", "state.json", "dataset_dict.json", "README.txt"})
