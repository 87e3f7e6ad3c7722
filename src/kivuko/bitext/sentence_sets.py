"""Sentences in many languages beside their English, split by document: TICO-19, FLORES, Tatoeba.

``tico19:PATH``, ``flores:PATH`` and ``tatoeba:PATH`` name copies of the published files. A hash of a document's name
decides its split, so that it is on the same side in every language, whatever files are there; an English sentence that
occurs on two sides stays on the first of test, validation, train.
"""

import hashlib
import html
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

from kivuko.bitext.columns import code_of
from kivuko.bitext.misaligned import aligned_english
from kivuko.bitext.pairs import MISALIGNED, OTHER_SPLIT, Bitext, Pair, RawPair
from kivuko.bitext.tmx import TmxSource
from kivuko.errors import DataError, UsageError, at, wrap_errors
from kivuko.files import refuse_unreadable
from kivuko.languages import language as describe
from kivuko.progress import progress_bar
from kivuko.streams import ByteInput, json_lines, text_lines
from kivuko.text import clean_text, pluralize

SPLITS = ("test", "validation", "train")  # a sentence of several is in the first
_SCRAMBLED = 10  # a file with fewer than one sentence in so many beside its English is refused


class Row(NamedTuple):
    """A sentence and its English, as a file has them."""

    id: str  # of the sentence; of one sentence in several languages where the set says so
    english_id: str
    document: str
    text: str
    english: str
    number: int  # line in the file
    place: int  # among the sentences of the file, those that are left out counted


class English(NamedTuple):
    """An English sentence of a set."""

    id: str
    text: str
    split: str


@dataclass(frozen=True)
class Layout:
    """The form in which a set is published."""

    name: str
    title: str
    licence: str
    split_rule: str
    wanted: str  # files to look for, in words
    find: Callable[[Path], dict[str, tuple[Path, ...]]]  # language to the files that hold it
    read: Callable[[str, tuple[Path, ...]], list[Row]]
    split: Callable[[Row], str]
    in_order: bool  # lines of one document follow one another, so that a slip shows


class SentenceSet:
    """A copy of a set of sentences; its files are read when they are needed, once. ``open_set`` opens one."""

    def __init__(self, spec: str) -> None:
        kind, _, rest = spec.partition(":")
        if kind not in LAYOUTS or not rest:
            raise UsageError(f"{spec}: not a set of sentences; give {', '.join(f'{name}:PATH' for name in LAYOUTS)}.")
        self.spec, self.layout, self.path = spec, LAYOUTS[kind], Path(rest).expanduser()
        if not self.path.exists():
            raise DataError(f"{self.path}: no such file or folder; give {self.layout.wanted}.")
        refuse_unreadable(self.path)
        try:
            self.files = dict(sorted(self.layout.find(self.path).items()))
        except OSError as problem:
            raise DataError(f"{self.path}: cannot be read ({problem.strerror or problem}).") from None
        if not self.files:
            what = "the folder holds" if self.path.is_dir() else "this is"
            raise DataError(f"{self.path}: {what} no file of {self.layout.title}; give {self.layout.wanted}.")
        self.languages = tuple(self.files)
        self._rows: dict[str, list[Row]] = {}
        self._placed: dict[str, list[tuple[Row, str]]] = {}
        self._moved: dict[str, int] = {}

    @property
    def stamps(self) -> tuple[tuple[str, int, int], ...]:
        """The path, time and size of each file."""
        files = [(path, path.stat()) for paths in self.files.values() for path in paths]
        return tuple((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in files)

    def check_language(self, code: str) -> str:
        """Return the normalized code; UsageError if the set has nothing in it."""
        code = describe(code).code
        if code not in self.files:
            raise UsageError(f"{self.spec}: has no sentences in {code}; it has {', '.join(self.languages)}.")
        return code

    def rows(self, code: str) -> list[Row]:
        """Return the sentences of one language in the order of its files, all splits; DataError if there are none."""
        if code not in self._rows:
            files = self.files[self.check_language(code)]
            rows = [
                row._replace(text=clean_text(html.unescape(row.text)), english=clean_text(html.unescape(row.english)))
                for row in self.layout.read(code, files)
            ]
            self._rows[code] = [row for row in rows if row.text and sentence_key(row.english)]
            if not self._rows[code]:
                raise DataError(f"{files[0]}: holds no sentence in {code} with its English; fetch it again.")
        return self._rows[code]

    @cached_property
    def english(self) -> dict[str, English]:
        """The English sentences of all languages by their normalized text, in the order of the files."""
        sentences: dict[str, English] = {}
        for code in self.languages:
            for row in self.rows(code):
                key, split = self.key(row), self.layout.split(row)
                first = sentences.setdefault(key, English(row.english_id, row.english, split))
                if SPLITS.index(split) < SPLITS.index(first.split):
                    sentences[key] = first._replace(split=split)
        return sentences

    @cached_property
    def _keys(self) -> dict[str, str]:
        """The normalized text of each English sentence: the same in every language, however a file punctuates it."""
        keys: dict[str, str] = {}
        with progress_bar("reading sentences") as report:
            for count, code in enumerate(self.languages, start=1):
                for row in self.rows(code):
                    if row.english_id not in keys:
                        keys[row.english_id] = sentence_key(row.english)
                report(count, len(self.languages))
        return keys

    def key(self, row: Row) -> str:
        return self._keys[row.english_id]

    def placed(self, code: str) -> list[tuple[Row, str]]:
        """Return each sentence beside its English, with its split, or with the reason why it is in none."""
        if code not in self._placed:
            self._placed[code] = self._place(code)
        return self._placed[code]

    def _place(self, code: str) -> list[tuple[Row, str]]:
        rows = self.rows(code)
        partners = list(range(len(rows)))
        if self.layout.in_order:
            partners = aligned_english([row.text for row in rows], [row.english for row in rows]).tolist()
            # Where a line that was left out, or another file, lies between, the English of this sentence is not here.
            partners = [
                partner if partner in {-1, place} or rows[partner].place - rows[place].place == partner - place else -1
                for place, partner in enumerate(partners)
            ]
            self._moved[code] = sum(partner not in {-1, place} for place, partner in enumerate(partners))
            rows = [
                row
                if partner in {-1, place}
                else rows[partner]._replace(text=row.text, number=row.number, place=row.place)
                for place, (row, partner) in enumerate(zip(rows, partners, strict=True))
            ]
        first: dict[str, int] = {}  # text to its first split
        for row, partner in zip(rows, partners, strict=True):
            if partner >= 0:
                place = SPLITS.index(self.english[self.key(row)].split)
                first[row.text] = min(place, first.get(row.text, place))
        if _SCRAMBLED * sum(partner >= 0 for partner in partners) < len(rows):
            raise DataError(
                f"{self.files[code][0]}: by their lengths, hardly any of {pluralize(len(rows), 'sentence')} belong to "
                "the English beside it; fetch the file again."
            )
        placed = []
        for row, partner in zip(rows, partners, strict=True):
            own = self.layout.split(row)
            elsewhere = self.english[self.key(row)].split != own or SPLITS[first.get(row.text, 0)] != own
            placed.append((row, MISALIGNED if partner < 0 else OTHER_SPLIT if elsewhere else own))
        return placed

    def split(self, code: str, name: str) -> list[Row]:
        """Return the sentences of one split."""
        return [row for row, split in self.placed(code) if split == name]

    def left_out(self, code: str) -> dict[str, int]:
        """Return how many sentences are in no split, by reason."""
        return dict(Counter(split for _, split in self.placed(code) if split not in SPLITS))

    def moved(self, code: str) -> int:
        """Return how many sentences are one line above or below their English in the file."""
        self.placed(code)
        return self._moved.get(code, 0)

    def bitext(self, code: str, split: str) -> Bitext:
        """Return the pairs of one split, perhaps none."""
        place = self.files[code][0]
        return Bitext(
            tuple(Pair(code, row.text, row.english, at(place, row.number)) for row in self.split(code, split))
        )


def open_set(spec: str) -> SentenceSet:
    """Open a set, or return it as it was read before if its files have not changed."""
    return _open(spec, SentenceSet(spec).stamps)


@lru_cache(maxsize=8)
def _open(spec: str, _stamps: tuple[tuple[str, int, int], ...]) -> SentenceSet:
    return SentenceSet(spec)


class SentenceSource:
    """The training sentences of a set in one language; see ``PairSource``."""

    size: int | None = None

    def __init__(self, spec: str, language: str) -> None:
        self._set = open_set(spec)
        self.name, self.language = spec, self._set.check_language(language)
        self.format = self._set.layout.name

    def __iter__(self) -> Iterator[RawPair]:
        placed = self._set.placed(self.language)
        if not any(split == "train" for _, split in placed):
            raise DataError(
                f"{self.name}: no sentence in {self.language} is in the training split; give more documents"
            )
        for row, split in placed:
            if split == "train":
                yield RawPair(row.number, row.text, row.english)
            elif split not in SPLITS and self._set.layout.split(row) == "train":
                yield RawPair(row.number, row.text, row.english, split)

    def place(self, number: int) -> str:
        return at(self._set.files[self.language][0], number)

    def bytes_read(self) -> int:
        return 0


def is_sentence_spec(spec: str) -> bool:
    return spec.partition(":")[0] in LAYOUTS and ":" in spec


def sentence_key(text: str) -> str:
    """Return the letters and digits of a text, case ignored: equal for copies that differ in punctuation."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))


def _share(document: str) -> float:
    """Return a number from 0 to 1 for a document, the same everywhere."""
    digest = hashlib.blake2b(f"kivuko\0{document}".encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


# TICO-19: one TMX file for each language, ``all.en-sw.tmx.zip``; a unit is named after its document, with a number.

_EN_FIRST = re.compile(
    r"(?:^|[._-])en-([A-Za-z]{2,3}(?:[-_][A-Za-z]{2,4})?)\.tmx(?:\.(?:zip|gz|bz2|xz|zst))?$", re.IGNORECASE
)
_TAG = re.compile(rb"""<tuv[^>]*?\blang\s*=\s*["']([\w-]+)""")


def _find_tmx(path: Path) -> dict[str, tuple[Path, ...]]:
    if path.is_file():
        code = _code_in_name(path) or _code_in_tags(path)
        return {code: (path,)} if code else {}
    by_language: dict[str, tuple[Path, ...]] = {}
    for folder in (path, path / "data" / "TM"):  # the published repository has them there
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            if file.is_file() and (code := _code_in_name(file)):
                by_language.setdefault(code, (file,))  # unpacked before packed
    spoken = Counter(code.partition("-")[0] for code in by_language)
    # The only Spanish is es, though the file says es-LA.
    return {code if spoken[base := code.partition("-")[0]] > 1 else base: file for code, file in by_language.items()}


def _code_in_name(path: Path) -> str | None:
    name = _EN_FIRST.search(path.name)
    return code_of(name[1]) if name else None


def _code_in_tags(path: Path) -> str | None:
    """Return the other language of the first units; DataError if they show two others."""
    _refuse_other_content(path)
    tags = {tag.decode() for tag in _TAG.findall(ByteInput(path).start().replace(b"\0", b""))}
    codes = sorted({code for tag in tags if (code := code_of(tag)) and code.partition("-")[0] != "en"})
    if len(codes) > 1:
        raise DataError(f"{path}: holds {' and '.join(codes)}; give a TMX file of English and one other language.")
    return codes[0] if codes else None


def _refuse_other_content(path: Path) -> None:
    start = ByteInput(path).start().replace(b"\0", b"")
    if not start.strip():
        raise DataError(f"{path}: is empty; fetch it again from tico-19.github.io.")
    if b"<tmx" not in start:
        raise DataError(f"{path}: not a TMX file, nor a zip archive of one; fetch it again from tico-19.github.io.")


def _read_tmx(code: str, files: tuple[Path, ...]) -> list[Row]:
    _refuse_other_content(files[0])
    source, rows = TmxSource(ByteInput(files[0]), code), []
    for place, (number, text, english, reason) in enumerate(source):
        if reason is None and text and english:
            name = "".join(source.unit.split()) or sentence_key(english)[:64]
            document, colon, _ = name.rpartition(":")
            rows.append(Row(name, name, document if colon else name, text, english, number, place))
    return rows


# FLORES-200 and FLORES+: one file for each language and split, ``dev/swh_Latn.dev`` or ``dev/swh_Latn.jsonl``; lines
# with the same number translate one another, and ``metadata_dev.tsv`` or a field ``url`` names the article. The hub
# has FLORES+ as ``dev/swh_Latn.parquet``.

_FLORES = re.compile(r"([a-z]{3}_[A-Z][a-z]{3})(?:_\w+)?\.(?:dev|devtest|jsonl|parquet)$")


def _find_flores(path: Path) -> dict[str, tuple[Path, ...]]:
    by_language: dict[str, list[Path]] = {}
    for split in ("dev", "devtest"):
        folder = path / split
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            if (name := _FLORES.match(file.name)) and (code := code_of(name[1])):
                own = by_language.setdefault(code, [])
                if all(other.parent != folder for other in own):  # of cat_Latn and cat_Latn_vale1252, the first
                    own.append(file)
    if by_language and "en" not in by_language:
        raise DataError(f"{path}: has no English (dev/eng_Latn.dev); unpack all of FLORES there.")
    return {code: tuple(files) for code, files in by_language.items() if code != "en"}


def _read_flores(code: str, files: tuple[Path, ...]) -> list[Row]:
    rows = []
    for file in files:
        split = file.parent.name
        beside = next(iter(sorted(file.parent.glob("eng_Latn*"))), file.with_name("eng_Latn.dev"))
        english, ours = _flores_lines(beside), _flores_lines(file)
        if len(english) != len(ours):
            raise DataError(
                f"{file}: {pluralize(len(ours), 'line')}, but {beside.name} has {len(english):,}; fetch both again."
            )
        pages = file.parent.parent / f"metadata_{split}.tsv"
        urls = [line.partition("\t")[0] for _, line in text_lines(pages)][1:] if pages.is_file() else []
        for number, ((text, _), (other, url)) in enumerate(zip(ours, english, strict=True), start=1):
            document = url or (urls[number - 1] if number <= len(urls) else f"{split}:{number}")
            name = f"{split}:{number}"
            rows.append(Row(name, name, document, text, other, number, number))
    return rows


def _flores_lines(file: Path) -> list[tuple[str, str]]:
    """Return text and address of the article of each line."""
    if file.suffix == ".jsonl":
        return [(str(row.get("text") or ""), str(row.get("url") or "")) for _, row in json_lines(file)]
    if file.suffix == ".parquet":
        from pyarrow import parquet

        with wrap_errors(lambda reason: DataError(f"{file}: not readable as Parquet ({reason}); fetch it again.")):
            table = parquet.read_table(file)
            urls = table["url"].to_pylist() if "url" in table.column_names else [""] * len(table)
            return [(text or "", url or "") for text, url in zip(table["text"].to_pylist(), urls, strict=True)]
    return [(line, "") for _, line in text_lines(file)]


def _flores_split(row: Row) -> str:
    if row.id.startswith("devtest:"):
        return "test"
    return "validation" if _share(row.document) < 0.2 else "train"


# Tatoeba: tatoeba.org's downloads of sentence pairs, ``Sentence pairs in English-Swahili - 2024-05-01.tsv``: number,
# sentence, number, translation. Sentences have no document, so each English one is its own.

_TATOEBA = re.compile(r"(?:Sentence pairs in )?(.+?)-(.+?)(?: - \d{4}-\d{2}-\d{2})?\.tsv(?:\.(?:zip|gz|bz2|xz|zst))?$")


def _find_tatoeba(path: Path) -> dict[str, tuple[Path, ...]]:
    by_language: dict[str, tuple[Path, ...]] = {}
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if sides := _tatoeba_sides(file):
            by_language[next(code for code in sides if code != "en")] = (file,)  # the latest download
    return by_language


def _tatoeba_sides(file: Path) -> tuple[str, str] | None:
    """Return the codes of both sides by a file's name; None unless just one is English."""
    names = _TATOEBA.match(file.name)
    first, second = (code_of(name) for name in names.groups()) if names else (None, None)
    return (first, second) if first and second and (first == "en") != (second == "en") else None


def _read_tatoeba(code: str, files: tuple[Path, ...]) -> list[Row]:
    sides = _tatoeba_sides(files[0])
    rows = []
    for number, line in text_lines(files[0]):
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) != 4 or not (cells[0].strip().isdigit() and cells[2].strip().isdigit()):
            raise DataError(
                f"{at(files[0], number)}: not number, sentence, number, translation between tabs; give {TATOEBA_FILES}."
            )
        first, second = (cells[0].strip(), cells[1]), (cells[2].strip(), cells[3])
        (name, text), (other, english) = (second, first) if sides and sides[0] == "en" else (first, second)
        rows.append(Row(name, other, sentence_key(english), text, english, number, number))
    return rows


def _shares(test: float, validation: float) -> Callable[[Row], str]:
    def split(row: Row) -> str:
        share = _share(row.document)
        return "test" if share < test else "validation" if share < test + validation else "train"

    return split


TATOEBA_FILES = (
    "the sentence pairs that tatoeba.org/downloads gives, such as 'Sentence pairs in English-Swahili - DATE.tsv'"
)
LAYOUTS = {
    one.name: one
    for one in (
        Layout(
            "tico19", "TICO-19", "CC0 1.0",
            "by document, by a hash of its name: 0.4 of them test, 0.1 validation, the others train",
            "the TMX files of tico-19.github.io (data/TM), such as all.en-sw.tmx.zip",
            _find_tmx, _read_tmx, _shares(0.4, 0.1), in_order=True,
        ),
        Layout(
            "flores", "FLORES", "CC BY-SA 4.0",
            "devtest is test; of dev, by a hash of the article's address, 0.2 are validation, the others train",
            "FLORES-200 or FLORES+: dev/swh_Latn.dev, dev/eng_Latn.dev, devtest/swh_Latn.devtest and so on",
            _find_flores, _read_flores, _flores_split, in_order=True,
        ),
        Layout(
            "tatoeba", "Tatoeba", "CC BY 2.0 FR",
            "by English sentence, by a hash of its letters: 0.1 of them test, 0.05 validation, the others train",
            TATOEBA_FILES, _find_tatoeba, _read_tatoeba, _shares(0.1, 0.05), in_order=False,
        ),
    )
}  # fmt: skip
