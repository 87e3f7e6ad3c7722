"""Sources of pictures: folders, captions files, webdataset shards, the emoji world."""

from __future__ import annotations

import os
from pathlib import Path

from kivuko.errors import DataError, UsageError
from kivuko.gallery.sources.captions import CAPTION_ENDINGS, CaptionsSource
from kivuko.gallery.sources.emoji import EmojiSource
from kivuko.gallery.sources.folder import FolderSource
from kivuko.gallery.sources.shards import ShardSource
from kivuko.gallery.work import Skip, Source, Work

__all__ = ["CaptionsSource", "EmojiSource", "FolderSource", "ShardSource", "Skip", "Source", "Work", "open_source"]


def open_source(path: Path) -> Source:
    """Return the source that a path names: a folder, a ``.tar`` shard, or a captions file (TSV, CSV, JSONL).

    Raises:
        DataError: nothing is there, or it cannot be read.
        UsageError: a file of another kind.
    """
    if not path.exists():
        raise DataError(f"{path}: no such folder or file.")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path}: cannot be read (no permission).")
    if path.is_dir():
        return FolderSource(path)
    if not path.is_file():
        raise UsageError(f"{path}: neither a folder nor a regular file.")
    ending = path.suffix.lower()
    if ending == ".tar":
        return ShardSource(path)
    if ending in CAPTION_ENDINGS:
        return CaptionsSource(path)
    if path.name.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")):
        raise UsageError(f"{path}: a compressed shard cannot be read in any order; unpack it to .tar first.")
    raise UsageError(
        f"{path}: what is it? Name a folder of pictures, a captions file (.tsv, .csv, .jsonl) or a shard (.tar)."
    )
