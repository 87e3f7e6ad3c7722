"""Checking, cleaning and sampling files of parallel text in bounded memory: the calls behind ``kivuko bitext``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from kivuko.bitext.cleaning import Sifting, sift
from kivuko.bitext.leak import LeakCheck, LeakReport
from kivuko.bitext.pairs import Columns, PairSource, RawPair
from kivuko.bitext.reading import open_source
from kivuko.bitext.rules import Rules
from kivuko.bitext.sampling import DEFAULT_TEMPERATURE, count_ranks, quotas, sampled, tempered_shares
from kivuko.bitext.verdict import Account, Verdict, judge_bitext
from kivuko.bitext.writing import RejectedWriter, pair_writer, text_stream
from kivuko.errors import DataError, UsageError
from kivuko.languages import other_than_english
from kivuko.progress import reading_bar
from kivuko.streams import COMPRESSED


@dataclass(frozen=True)
class BitextCheck:
    """The result of ``check_bitext``."""

    format: str  # of the source, such as ``tsv``
    account: Account
    verdict: Verdict
    leaks: LeakReport | None  # None if no captions were given

    def to_dict(self) -> dict[str, Any]:
        account, leaks = self.account, self.leaks
        content: dict[str, Any] = {
            "verdict": self.verdict.level, "findings": self.verdict.findings, "advice": self.verdict.advice,
            "source": account.source, "format": self.format, "language": account.language, "read": account.seen,
            "usable": account.kept, "left_out": dict(account.dropped), "first": account.first,
            "examples": {reason: [one._asdict() for one in some] for reason, some in account.examples.items()},
            "statistics": asdict(account.statistics()), "swapped": account.swapped, "notes": account.notes,
        }  # fmt: skip
        if leaks is not None:
            content["leaks"] = {
                "captions": leaks.captions, "found": leaks.leaked, "pairs": leaks.pairs,
                "pairs_looked_at": leaks.looked, "examples": [one._asdict() for one in leaks.examples],
            }  # fmt: skip
        return content


def check_bitext(
    source: str | Path,
    language: str,
    *,
    rules: Rules | None = None,
    captions: Iterable[str] | None = None,
    format: str | None = None,
    columns: Columns | None = None,
    first: int | None = None,
    progress: bool | None = None,
) -> BitextCheck:
    """Read parallel text, or its ``first`` pairs, and judge whether it can be trained on; write nothing.

    ``captions`` of an evaluation set, in any language, are looked for on both sides.
    """
    opened, sifting, leaks = _opened(source, language, rules, captions, None, format, columns, first)
    with reading_bar(opened, "checking", progress) as bar:
        for _ in sifting.batches():
            bar.show(sifting.account.seen)
    report = leaks.report() if leaks else None
    return BitextCheck(opened.format, sifting.account, judge_bitext(sifting.account, report), report)


@dataclass(frozen=True)
class CleanedBitext:
    """The result of ``clean_bitext``: the format of the source, the account, caption leaks, and the pairs written."""

    format: str
    account: Account
    leaks: LeakReport | None
    written: int


def clean_bitext(
    source: str | Path,
    language: str,
    out: Path,
    *,
    rejected: Path | None = None,
    rules: Rules | None = None,
    captions: Iterable[str] | None = None,
    format: str | None = None,
    columns: Columns | None = None,
    first: int | None = None,
    progress: bool | None = None,
) -> CleanedBitext:
    """Write the pairs that pass every rule to a tab-separated file, whole or not at all.

    ``rejected`` is a file for the others: reason, place, sentence, English. Pairs that hold one of ``captions`` are
    left out. ``.gz``, ``.bz2``, ``.xz`` and ``.zst`` are compressed.
    """
    refuse_overwriting([str(source)], [out] if rejected is None else [out, rejected])
    with ExitStack() as stack:
        writer = None if rejected is None else RejectedWriter(stack.enter_context(text_stream(rejected)))
        write = writer.write if writer else None
        opened, sifting, leaks = _opened(source, language, rules, captions, write, format, columns, first)
        pairs = stack.enter_context(pair_writer(out, opened.language))
        bar = stack.enter_context(reading_bar(opened, "cleaning", progress))
        for _, texts, english in sifting.batches():
            pairs.write(texts, english)
            bar.show(sifting.account.seen)
        account = sifting.account
        if not account.kept:
            reason, count, place = next(iter(account.by_reason()), ("nothing in it", 0, opened.name))
            raise DataError(f"{place}: no pair is left: {count:,} {reason}; kivuko bitext check gives details")
    return CleanedBitext(opened.format, account, leaks.report() if leaks else None, pairs.written)


def _opened(
    source: str | Path,
    language: str,
    rules: Rules | None,
    captions: Iterable[str] | None,
    rejected: Any,
    format: str | None,
    columns: Columns | None,
    first: int | None,
) -> tuple[PairSource, Sifting, LeakCheck | None]:
    code = other_than_english(language)
    opened = open_source(source, code, format=format, columns=columns)
    if first is not None:
        opened = _FirstPairs(opened, first)
    leaks = None if captions is None else LeakCheck(captions)
    return opened, sift(opened, rules or Rules(), captions=leaks, rejected=rejected), leaks


@dataclass(frozen=True)
class LanguageSample:
    """The sample of one language."""

    pairs: int  # in the source
    share: float  # of the whole sample, by temperature, 0 to 1
    taken: int  # pairs written
    path: Path | None  # None where nothing was taken


def sample_bitext(
    sources: Mapping[str, str | Path],
    out: Path,
    *,
    pairs: int,
    temperature: float = DEFAULT_TEMPERATURE,
    seed: int = 0,
    compress: str = "",
    progress: bool | None = None,
) -> dict[str, LanguageSample]:
    """Write a sample of several languages' parallel text, ``pairs`` together, one file per language.

    Every source is read twice. The same seed gives the same sample, and a smaller sample is part of a larger one.
    ``compress`` is the suffix of the files' compression, such as ``gz``.
    """
    if compress and f".{compress}" not in COMPRESSED:
        raise UsageError(f"compress {compress!r}: give {', '.join(one[1:] for one in COMPRESSED)}")
    specs: dict[str, str] = {}
    for given, source in sources.items():
        code = other_than_english(given)
        if str(source) == "-":
            raise UsageError(f"{given}=-: a sample is read twice, which standard input cannot be; give a file")
        if code in specs:
            raise UsageError(f"{given}={source}: {code} was named before; give each language once")
        specs[code] = str(source)
    files = {code: out / (f"{code}.tsv.{compress}" if compress else f"{code}.tsv") for code in specs}
    refuse_overwriting(list(specs.values()), list(files.values()))
    ranks = {}
    for code, spec in specs.items():
        opened = open_source(spec, code)
        with reading_bar(opened, f"counting {code}", progress) as bar:
            ranks[code] = count_ranks(opened, seed, bar.show)
    counts = {code: one.pairs for code, one in ranks.items()}
    shares, taken = tempered_shares(counts, temperature), quotas(counts, pairs, temperature)
    for code, spec in specs.items():
        if taken[code]:
            opened = open_source(spec, code)
            with pair_writer(files[code], code) as writer, reading_bar(opened, f"sampling {code}", progress) as bar:
                for texts, english in sampled(opened, ranks[code], taken[code], bar.show):
                    writer.write(texts, english)
    return {
        code: LanguageSample(counts[code], shares[code], taken[code], files[code] if taken[code] else None)
        for code in specs
    }


def refuse_overwriting(specs: Sequence[str], outputs: Sequence[Path]) -> None:
    """Raise UsageError if an output is a file of a source, a shard in its folder, or named twice."""
    if len({output.resolve() for output in outputs}) < len(outputs):
        raise UsageError(f"{outputs[-1]}: is named for two outputs; give two files")
    for spec in specs:
        for part in {spec, *spec.split(",")} - {"", "-"}:
            place = Path(part).resolve()
            for output in (output for output in outputs if output.exists()):
                written = output.resolve()
                of_a_pair = not place.exists() and written.parent == place.parent
                if (
                    written == place
                    or place in written.parents
                    or (of_a_pair and written.name.startswith(f"{place.name}."))
                ):
                    raise UsageError(f"{output}: is what is read; give another file to write to")


class _FirstPairs:
    """The first pairs of a source, as a source."""

    def __init__(self, source: PairSource, pairs: int) -> None:
        if pairs < 1:
            raise UsageError(f"first {pairs}: give at least 1")
        self._source, self._pairs = source, pairs
        self.name, self.language, self.format = source.name, source.language, source.format
        self.size: int | None = None  # how many bytes these pairs take is not known

    def __iter__(self) -> Iterator[RawPair]:
        return islice(self._source, self._pairs)

    def place(self, number: int) -> str:
        return self._source.place(number)

    def bytes_read(self) -> int:
        return self._source.bytes_read()
