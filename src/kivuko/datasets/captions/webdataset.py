"""Webdataset shards as a caption set: pictures and captions in tar files, read where they lie.

``NAME.jpg`` with ``NAME.txt`` (a caption a line), ``NAME.sw.txt`` for a language, or ``NAME.json`` with ``caption`` or
``captions`` (a text, a list, or an object of languages) and, where it says so, ``language``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kivuko.datasets.captions.caption_set import CaptionSet, Picture
from kivuko.datasets.captions.gathering import Gathering, as_texts, code_of
from kivuko.datasets.captions.request import Request
from kivuko.datasets.captions.tar_samples import Sample, find_shards, samples
from kivuko.errors import DataError, UsageError

NAME = "webdataset"


def read_webdataset(request: Request) -> CaptionSet:
    """Read all shards that PATH names; it may hold ``*`` and ``{000..012}``.

    Samples without a picture, and those without a caption, are left out and counted.

    Raises:
        DataError: no shard, or a damaged one, or no caption in them.
        UsageError: they do not say the language, and the request neither.
    """
    gathered = Gathering()
    codes: dict[str, str] = {}
    for shard in find_shards(str(request.path)):
        gathered.files[shard] = None
        for sample in samples(shard):
            if isinstance(sample, str):
                gathered.left_out["sample without a picture"] += 1
                continue
            place = f"{shard}, sample {sample.key}"
            key = f"{shard.name}/{sample.key}"
            if key in gathered.pictures:  # shards of one name in several folders
                key = f"{shard}/{sample.key}"
            told = False
            for written, texts in _captions(sample, place):
                code = written or request.language
                if code is None:
                    raise UsageError(f"{place}: does not say its language; name it: -l sw")
                code = codes.get(code) or codes.setdefault(code, code_of(code, place))
                before = gathered.left_out.total()
                gathered.add_captions(key, code, texts, place)
                told |= gathered.left_out.total() - before < len(texts)
            if told:
                gathered.add_picture(Picture(key, sample.shard, place, sample.offset, sample.length))
            else:
                gathered.left_out["sample without a caption"] += 1
    return gathered.finish(NAME, "all", Path(request.path))


def _captions(sample: Sample, place: str) -> Iterator[tuple[str | None, list[Any]]]:
    """Yield captions and the language that they say; a text beside the metadata counts, not both."""
    about: dict[str, Any] = {}
    if "json" in sample.texts:
        about = _metadata(sample.texts["json"], place)
    language = next((about[name] for name in ("language", "lang") if isinstance(about.get(name), str)), None)
    written = False
    for rest, content in sample.texts.items():
        named, _, kind = rest.rpartition(".")
        if kind != "json":
            written = True
            yield named or language, _decoded(content, place).splitlines()
    if written:
        return
    told = about.get("caption", about.get("captions"))
    if isinstance(told, dict):
        for own, texts in told.items():
            yield own, as_texts(texts)
    elif told is not None:
        yield language, as_texts(told)


def _metadata(content: bytes, place: str) -> dict[str, Any]:
    try:
        found = json.loads(_decoded(content, place))
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{place}: its .json is not JSON; make the shard again") from problem
    return found if isinstance(found, dict) else {}


def _decoded(content: bytes, place: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise DataError(f"{place}: its text is not UTF-8; make the shard again") from problem
