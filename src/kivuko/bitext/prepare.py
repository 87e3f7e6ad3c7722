"""Checking, cleaning and sampling files of parallel text in bounded memory: the calls behind ``kivuko bitext``."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from kivuko.bitext.cleaning import Rejected, Sifting
from kivuko.bitext.leak import LeakCheck, LeakReport
from kivuko.bitext.pairs import Columns
from kivuko.bitext.reading import nothing_in, open_source
from kivuko.bitext.rules import Rules
from kivuko.bitext.sampling import DEFAULT_TEMPERATURE, count_ranks, quotas, sampled, tempered_shares
from kivuko.bitext.verdict import Account, Verdict, judge_bitext
from kivuko.errors import DataError, UsageError
from kivuko.files import atomic_path, refuse_unwritable
from kivuko.languages import other_than_english
from kivuko.progress import reading_bar
from kivuko.streams import COMPRESSED, open_compressed


@dataclass(frozen=True)
class BitextCheck:
    """The result of ``check_bitext`` and ``clean_bitext``."""

    format: str  # of the source, such as ``tsv``
    account: Account
    leaks: LeakReport | None  # None if no captions were given

    @cached_property
    def verdict(self) -> Verdict:
        return judge_bitext(self.account, self.leaks)

    def to_dict(self) -> dict[str, Any]:
        account, leaks = self.account, self.leaks
        content: dict[str, Any] = {
            "verdict": self.verdict.level, "findings": self.verdict.findings, "advice": self.verdict.advice,
            "source": account.source, "format": self.format, "language": account.language, "read": account.seen,
            "usable": account.kept, "left_out": dict(account.dropped), "first": account.first,
            "examples": {reason: [one._asdict() for one in some] for reason, some in account.examples.items()},
            "statistics": asdict(account.gathering.statistics()), "swapped": account.swapped, "notes": account.notes,
        }  # fmt: skip
        if leaks is not None:
            content["leaks"] = {
                "captions": leaks.captions, "matches": leaks.leaked, "pairs": leaks.pairs,
                "pairs_looked_at": leaks.looked, "examples": [one._asdict() for one in leaks.examples],
                "found": leaks.leaked,  # the former name of "matches"
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
    opened = open_source(source, other_than_english(language), format=format, columns=columns)
    sifting = Sifting(opened, rules or Rules(), _leak_check(captions), first=first)
    return _finished(sifting, "checking", lambda *_: None, progress)


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
) -> BitextCheck:
    """Write the pairs that pass every rule to a tab-separated file, whole or not at all.

    ``rejected`` is a file for the others: reason, place, sentence, English. Pairs that hold one of ``captions`` are
    left out. ``.gz``, ``.bz2``, ``.xz`` and ``.zst`` are compressed.
    """
    refuse_overwriting([str(source)], [out] if rejected is None else [out, rejected])
    with ExitStack() as stack:
        write_rejected = stack.enter_context(rejected_writer(rejected)) if rejected else None
        opened = open_source(source, other_than_english(language), format=format, columns=columns)
        sifting = Sifting(opened, rules or Rules(), _leak_check(captions), write_rejected, first)
        write = stack.enter_context(pair_writer(out, opened.language))
        result = _finished(sifting, "cleaning", write, progress)
        if not result.account.kept:
            reason, count, place = result.account.by_reason()[0]
            raise DataError(f"{place}: no pair is left: {count:,} {reason}; kivuko bitext check gives details")
    return result


Write = Callable[[Sequence[str], Sequence[str]], None]  # called with the sides of a batch of cleaned pairs


def _leak_check(captions: Iterable[str] | None) -> LeakCheck | None:
    return None if captions is None else LeakCheck(captions)


def _finished(sifting: Sifting, label: str, write: Write, progress: bool | None) -> BitextCheck:
    source, leaks = sifting.source, sifting.captions
    with reading_bar(source, label, progress) as bar:
        for _, texts, english in sifting.batches():
            write(texts, english)
            bar.show(sifting.account.seen)
    if not sifting.account.seen:
        raise nothing_in(source)
    return BitextCheck(source.format, sifting.account, leaks.report() if leaks else None)


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
    counts = {code: int(one.sum()) for code, one in ranks.items()}
    shares, taken = tempered_shares(counts, temperature), quotas(counts, pairs, temperature)
    for code, spec in specs.items():
        if taken[code]:
            opened = open_source(spec, code)
            with pair_writer(files[code], code) as write, reading_bar(opened, f"sampling {code}", progress) as bar:
                for texts, english in sampled(opened, ranks[code], taken[code], seed, bar.show):
                    write(texts, english)
    return {
        code: LanguageSample(counts[code], shares[code], taken[code], files[code] if taken[code] else None)
        for code in specs
    }


def refuse_overwriting(specs: Sequence[str], outputs: Sequence[Path]) -> None:
    """Raise UsageError if an output is a file of a source, a shard in its folder, or named twice."""
    if len({os.path.realpath(output) for output in outputs}) < len(outputs):
        raise UsageError(f"{outputs[-1]}: is named for two outputs; give two files")
    for spec in specs:
        for part in {spec, *spec.split(",")} - {"", "-"}:
            place = Path(os.path.realpath(part))  # unlike resolve(), also of a link to itself
            for output in (output for output in outputs if output.exists()):
                written = Path(os.path.realpath(output))
                of_a_pair = not place.exists() and written.parent == place.parent
                if (
                    written == place
                    or place in written.parents
                    or (of_a_pair and written.name.startswith(f"{place.name}."))
                ):
                    raise UsageError(f"{output}: is what is read; give another file to write to")


@contextmanager
def pair_writer(path: Path, language: str) -> Iterator[Write]:
    """Open a file for lines ``sentence<TAB>English`` under a header; it appears when the block succeeds."""
    with _text_stream(path) as stream:
        stream.write(f"{language}\ten\n".encode())

        def write(texts: Sequence[str], english: Sequence[str]) -> None:
            lines = "".join([f"{text}\t{other}\n" for text, other in zip(texts, english, strict=True)])
            stream.write(lines.encode("utf-8"))

        yield write


@contextmanager
def rejected_writer(path: Path) -> Iterator[Rejected]:
    """Open a file for lines of reason, place, sentence and English, after a header."""
    with _text_stream(path) as stream:
        stream.write(b"reason\tplace\ttext\tenglish\n")

        def write(*cells: str | None) -> None:
            line = "\t".join(" ".join((cell or "").split()) for cell in cells) + "\n"
            stream.write(line.encode("utf-8", "backslashreplace"))

        yield write


@contextmanager
def _text_stream(path: Path) -> Iterator[IO[bytes]]:
    refuse_unwritable(path)
    with atomic_path(path) as temporary, open_compressed(temporary, path.suffix.lower()) as stream:
        yield stream
