"""Bitext from the Hugging Face hub, streamed by the ``datasets`` library."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kivuko.bitext.arrow_pairs import pairs_in_batch, sides_in_schema
from kivuko.bitext.columns import check_columns
from kivuko.bitext.raw_pair import RawPair
from kivuko.errors import DataError, KivukoError, MissingDependencyError, UsageError

PREFIX = "hf:"

_ROWS = 1000
_SPLITS = ("train", "validation", "test", "dev")
# Kinds of files that the library reads as data; others it may unpickle (pandas) or decode as media.
_KINDS = ("arrow", "csv", "json", "parquet", "text", "sql")


class HubSource:
    """The rows of a dataset on the hub, or in a folder as on the hub; see ``PairSource``. Places are row numbers.

    Args:
        spec: ``hf:NAME``, ``hf:NAME:CONFIG``, ``hf:NAME:SPLIT`` or ``hf:NAME:CONFIG:SPLIT``; the split is ``train``
            unless it is named.
        language: normalised BCP 47 code.
        columns: as in ``ParquetSource``.

    Raises:
        MissingDependencyError: the library is not installed.
        UsageError: a malformed name, or ``columns`` that make no sense.
    """

    format = "datasets"

    def __init__(self, spec: str, language: str, columns: tuple[int, int] | tuple[str, str] | None = None) -> None:
        if columns is not None:
            check_columns(columns)
        self.name, self.language = spec, language
        self.size: int | None = None
        self._dataset, self._config, self._split = _parts(spec)
        self._columns = columns
        try:
            import datasets  # noqa: F401
        except ImportError:
            raise MissingDependencyError(f"{spec} needs datasets: pip install 'kivuko[data]'") from None

    def __iter__(self) -> Iterator[RawPair]:
        try:
            yield from self._rows()
        except KivukoError:
            raise
        except Exception as error:  # the library and what it stands on raise every kind there is
            words = " ".join(str(error).split()) or type(error).__name__
            raise DataError(
                f"{self.name}: cannot be read ({words[:240]}); check the name and the network, or download its files "
                f"and give their folder"
            ) from None

    def place(self, number: int) -> str:
        return f"{self.name}:{number}"

    def bytes_read(self) -> int:
        return 0

    def _rows(self) -> Iterator[RawPair]:
        number, sides = 1, None
        for table in self._stream().iter(batch_size=_ROWS):
            for batch in table.to_batches():
                if sides is None:
                    sides = sides_in_schema(batch.schema, self.language, self._columns, self.name)
                yield from pairs_in_batch(batch, sides, number)
                number += len(batch)

    def _stream(self) -> Any:
        import datasets

        with _without_retries():
            builder = datasets.load_dataset_builder(self._dataset, self._config)
        kind = type(builder).__module__.split(".")
        if "packaged_modules" not in kind or kind[-1] not in _KINDS:
            raise DataError(
                f"{self.name}: holds {kind[-1]} files, which are not read; give one of {', '.join(_KINDS[:4])}"
            )
        if builder.info.splits and self._split not in builder.info.splits:
            raise DataError(
                f"{self.name}: has no split {self._split}, but: {', '.join(builder.info.splits)}; name one of them"
            )
        return builder.as_streaming_dataset(split=self._split).with_format("arrow")


@contextmanager
def _without_retries() -> Iterator[None]:
    """Keep the hub's library from telling each try where there is no network: one line says it in the end."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _parts(spec: str) -> tuple[str, str | None, str]:
    name, *rest = spec.removeprefix(PREFIX).split(":")
    if not name or len(rest) > 2 or not all(rest):
        raise UsageError(f"{spec}: give hf:NAME, hf:NAME:CONFIG or hf:NAME:CONFIG:SPLIT")
    if len(rest) == 2:
        return name, rest[0], rest[1]
    if rest and rest[0] in _SPLITS:
        return name, None, rest[0]
    return name, rest[0] if rest else None, "train"
