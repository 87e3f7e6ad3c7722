"""The types of parallel text: pairs, bitexts, sources of pairs, and the reasons why a line gives none."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self

from kivuko.streams import MAX_LINE_BYTES
from kivuko.text import pluralize

Columns = tuple[int, int] | tuple[str, str]  # of the language and of English: positions from 1, or headings

MAX_CHARACTERS = 4_000  # of one side, after cleaning; longer "sentences" are documents or broken lines

MAX_SIDE_BYTES = MAX_LINE_BYTES  # of a line, or of a side of a unit

# Reasons why a line, row or unit gives no pair; of a side over ``MAX_SIDE_BYTES``, ``TOO_LONG``.
EMPTY_SIDE = "empty side"
NO_TRANSLATION = "no translation"  # of a word of a dictionary
TOO_LONG = "too long"
DUPLICATE = "duplicate"
COPIED = "copied"
BLANK_LINE = "blank line"
MISSING_COLUMN = "missing column"  # of a line or a record
MISSING_LANGUAGE = "missing language"  # of a translation unit
NOT_JSON = "not JSON"
NOT_TEXT = "not text"  # a number or a list where a sentence should be
TOO_MANY_VARIANTS = "too many variants"  # of one translation unit
MISALIGNED = "misaligned"  # in a run of sentences beside the English of others
FUZZY = "fuzzy"  # a translation that its translator, or the file, marks as not yet right
OBSOLETE = "obsolete"  # of a message that the program no longer has, or a deprecated term
UNTRANSLATED = "untranslated"
HEADER = "header or credits"  # of a message file
ONLY_PLACEHOLDERS = "only placeholders or numbers"
ZERO_FORM = "plural form for none"  # says that there is nothing, where the English plural leaves its number out
NESTED_MESSAGE = "forms within a message"  # plural or gender forms in braces, as ICU has them
OTHER_SPLIT = "same sentence in another split"  # of a set of sentences

# Reasons of the rules of cleaning.
BROKEN_CHARACTERS = "broken characters"  # not UTF-8, half a surrogate pair, or decoded wrongly
UNTRANSLATED_COPY = "untranslated copy"
WEB_ADDRESS = "boilerplate: web address"
MARKUP = "boilerplate: markup"
NO_WORDS = "boilerplate: no words"
REPETITION = "boilerplate: repetition"
WEB_FURNITURE = "boilerplate: web furniture"
WRONG_SCRIPT = "wrong script"
LENGTH_RATIO = "length ratio"
ONE_SIDE_TOO_OFTEN = "one side too often"
WRONG_LANGUAGE = "wrong language"
IN_CAPTIONS = "in evaluation captions"

# A pair counts under the first reason that applies.
ORDER = (
    EMPTY_SIDE, TOO_LONG, BROKEN_CHARACTERS, UNTRANSLATED_COPY, WEB_ADDRESS, MARKUP, NO_WORDS, REPETITION,
    WEB_FURNITURE, WRONG_SCRIPT, LENGTH_RATIO, DUPLICATE, ONE_SIDE_TOO_OFTEN, WRONG_LANGUAGE, IN_CAPTIONS,
)  # fmt: skip
CODES = {reason: code for code, reason in enumerate(ORDER, start=1)}  # 0 is no reason: keep
KEPT = 0


@dataclass(frozen=True, slots=True)
class Pair:
    """A sentence in some language together with its English translation.

    Attributes:
        language: BCP 47 code of ``text``.
        text: the sentence in ``language``.
        english: its English translation.
        origin: where it was read, e.g. ``file.tsv:12``, or the id of a dataset.
    """

    language: str
    text: str
    english: str
    origin: str


@dataclass(frozen=True, repr=False)
class Bitext:
    """Pairs of sentences, and the account of the lines that gave none.

    Attributes:
        pairs: the pairs, in the order read.
        dropped: reason -> number of lines left out for it.
        first_dropped: reason -> the first such line, as ``path:line``.
    """

    pairs: tuple[Pair, ...]
    dropped: Counter[str] = field(default_factory=Counter)
    first_dropped: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        languages = f" in {', '.join(self.languages())}" if self.pairs else ""
        left_out = f", {pluralize(self.dropped.total(), 'line')} left out" if self.dropped.total() else ""
        return f"Bitext({pluralize(len(self), 'pair')}{languages}{left_out})"

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def __add__(self, other: Self) -> "Bitext":
        if not isinstance(other, Bitext):
            return NotImplemented
        return concatenate([self, other])

    def languages(self) -> tuple[str, ...]:
        """Return the languages present, in order of first appearance."""
        return tuple(dict.fromkeys(pair.language for pair in self.pairs))

    def by_language(self) -> dict[str, tuple[Pair, ...]]:
        """Return the pairs of each language, in the order of ``languages()``; order within a language is kept."""
        groups: dict[str, list[Pair]] = {}
        for pair in self.pairs:
            groups.setdefault(pair.language, []).append(pair)
        return {language: tuple(pairs) for language, pairs in groups.items()}

    def copied(self) -> Counter[str]:
        """Return per language how many pairs have the same text on both sides: untranslated names, copies."""
        return Counter(pair.language for pair in self.pairs if pair.text == pair.english)


NO_PAIRS = Bitext(())


def concatenate(bitexts: Iterable[Bitext]) -> Bitext:
    """Join bitexts in order: dropped lines add up, and shared pairs stay twice."""
    pairs: list[Pair] = []
    dropped: Counter[str] = Counter()
    first_dropped: dict[str, str] = {}
    for bitext in bitexts:
        pairs.extend(bitext.pairs)
        dropped.update(bitext.dropped)
        first_dropped = bitext.first_dropped | first_dropped
    return Bitext(tuple(pairs), dropped, first_dropped)


def report_dropped(bitext: Bitext) -> str | None:
    """Return a line on how many lines were left out and why, the commonest reason first; None for none.

    Such as ``12 of 3,400 lines left out: 9 empty side (first at f.tsv:17), 3 missing column (first at f.tsv:20)``.
    """
    left_out = bitext.dropped.total()
    if not left_out:
        return None
    first = {reason: f" (first at {place})" for reason, place in bitext.first_dropped.items()}
    by_count = sorted(bitext.dropped.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{count:,} {reason}{first.get(reason, '')}" for reason, count in by_count if count]
    return f"{left_out:,} of {pluralize(len(bitext) + left_out, 'line')} left out: {', '.join(parts)}"


def report_copied(bitext: Bitext) -> str | None:
    copied = bitext.copied()
    if not copied:
        return None
    parts = [f"{count:,} in {language}" for language, count in copied.most_common()]
    total = pluralize(len(bitext), "pair")
    return f"{copied.total():,} of {total} with the same text on both sides: {', '.join(parts)}"


class RawPair(NamedTuple):
    """One pair as read, or the place of a line that gives none."""

    number: int  # of the line, row or unit, from 1 over all files of the source
    text: str | None  # None where there is none; the whole line where sides cannot be separated
    english: str | None
    reason: str | None = None  # why there is no pair; None: both sides are strings, perhaps empty


class PairSource(Protocol):
    """Parallel text in one language and English, read from its start to its end in bounded memory.

    Each ``iter`` starts again, except for standard input. It raises ``DataError`` where the file cannot be read, is
    damaged, or does not follow its format; the pairs before come first.
    """

    name: str  # the path as given, or ``standard input``
    language: str  # normalized BCP 47 code of the side that is not English
    format: str  # one of ``reading.FORMATS``
    size: int | None  # stored bytes, None where that is not known

    def __iter__(self) -> Iterator[RawPair]:
        """Yield the pairs in order; lines that give no pair come too, with the reason."""
        ...

    def place(self, number: int) -> str:
        """Return the place of a line read so far: ``path:number``, counted within its file."""
        ...

    def bytes_read(self) -> int:
        """Return how many of the ``size`` bytes were read so far."""
        ...


class JoinedSource:
    """The shards of one bitext; see ``PairSource``. Numbers continue from shard to shard, places name the shard."""

    def __init__(self, name: str, shards: Sequence[PairSource]) -> None:
        self.name, self.language, self.format = name, shards[0].language, shards[0].format
        sizes = [shard.size for shard in shards]
        self.size: int | None = None if None in sizes else sum(size for size in sizes if size is not None)
        self._shards = shards
        self._before = [0]  # numbers given before each of the shards read so far

    def __iter__(self) -> Iterator[RawPair]:
        new = tuple.__new__
        self._before = [0]
        before = 0
        for shard in self._shards:
            number = 0
            for number, text, english, reason in shard:
                yield new(RawPair, (before + number, text, english, reason))
            before += number
            self._before.append(before)

    def place(self, number: int) -> str:
        # The last shard that begins before the number: shards without a line begin where the next one does.
        index = min(bisect_right(self._before, number - 1), len(self._shards)) - 1
        return self._shards[index].place(number - self._before[index])

    def bytes_read(self) -> int:
        return sum(shard.bytes_read() for shard in self._shards)
