"""Edits of text: single edits, the kinds of them in any script, and random noise."""

import difflib
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

import numpy as np

from kivuko.errors import UsageError
from kivuko.perturbations.graphemes import (
    data_file,
    graphemes,
    is_letter,
    letters_for,
    offsets,
    primary_code,
    script_name,
    stay_apart,
)
from kivuko.text import table_lookup


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace ``text[start:end]`` by ``replacement``.

    ``start`` and ``end`` count code points and are between grapheme clusters; ``kind`` names the kind of edit.
    """

    kind: str
    start: int
    end: int
    replacement: str


@dataclass(frozen=True, slots=True)
class Perturbed:
    """A text before and after; ``edits`` in their order, each against the text after the one before it."""

    original: str
    text: str
    edits: tuple[Edit, ...] = ()


def apply_edit(text: str, edit: Edit) -> str:
    """Return the edited text.

    >>> apply_edit("paka", Edit("substitute", 1, 2, "o"))
    'poka'
    """
    return text[: edit.start] + edit.replacement + text[edit.end :]


def net_change(text: str, edit: Edit) -> tuple[int, int, str]:
    """Return the part of ``text`` that an edit really changes, ``(start, end, replacement)``.

    Two edits of a text have the same net change exactly if they have the same result; no text is copied.

    >>> net_change("saab", Edit("delete", 1, 2, "")) == net_change("saab", Edit("delete", 2, 3, "")) == (2, 3, "")
    True
    """
    new, shift = edit.replacement, len(edit.replacement) - (edit.end - edit.start)
    kept_from = edit.start + len(new)

    def result(place: int) -> str:
        return new[place - edit.start] if place < kept_from else text[place - shift]

    start, shorter = edit.start, min(len(text), len(text) + shift)
    while start < shorter and text[start] == result(start):
        start += 1
    end = max(edit.end, start, start - shift)
    while end > max(start, start - shift) and text[end - 1] == result(end - 1 + shift):
        end -= 1
    return start, end, "".join(map(result, range(start, end + shift)))


Change = tuple[int, int, str]  # (first cluster, one past the last, replacement)
Options = Callable[[Sequence[str], int, str], Sequence[Change]]  # (clusters, place, language) -> changes there
_TRIES = 8  # draws of a place before all places are looked at


@dataclass(frozen=True)
class EditKind:
    """A named kind of edit."""

    name: str  # as in ``Edit.kind``
    description: str  # half a sentence for a list
    # The changes at a place, 0 to the number of clusters. One after which a neighboring cluster would be another (a
    # letter left out between a virama and a consonant joins them) is passed over.
    options: Options

    def all(self, text: str, language: str) -> list[Edit]:
        """Return every edit of this kind, from left to right; of those with the same result the first."""
        units = graphemes(text)
        starts = offsets(units)
        edits: dict[tuple[int, int, str], Edit] = {}
        for place in range(len(units) + 1):
            for change in self.options(units, place, language):
                if not _keeps_neighbors(units, change):
                    continue
                first, last, new = change
                edit = Edit(self.name, starts[first], starts[last], new)
                edits.setdefault(net_change(text, edit), edit)
        edits.pop((len(text), len(text), ""), None)  # no change
        return list(edits.values())

    def sample(self, text: str, language: str, rng: np.random.Generator) -> Edit | None:
        """Return an edit at a place drawn at random, its result that of one of ``all``; None if no place allows one."""
        units = graphemes(text)
        for _ in range(_TRIES):
            place = int(rng.random() * (len(units) + 1))
            if options := self.options(units, place, language):
                first, last, new = change = options[int(rng.random() * len(options))]
                if not _keeps_neighbors(units, change):
                    continue
                start = sum(map(len, units[:first]))
                return Edit(self.name, start, start + sum(map(len, units[first:last])), new)
        every = self.all(text, language)
        return every[int(rng.random() * len(every))] if every else None


def _keeps_neighbors(units: Sequence[str], change: Change) -> bool:
    first, last, new = change
    before = units[first - 1] if first else ""
    if not before and last == len(units):
        return True
    return stay_apart(before, new, units[last] if last < len(units) else "")


_REACH = 1.3  # widths of a key between the middles of keys that touch


def _insert(units: Sequence[str], place: int, language: str) -> list[Change]:
    letter_next_to = next(
        (one for one in (*units[place - 1 : place], *units[place : place + 1]) if is_letter(one)), None
    )
    return (
        [] if letter_next_to is None else [(place, place, letter) for letter in letters_for(letter_next_to, language)]
    )


def _delete(units: Sequence[str], place: int, _language: str) -> list[Change]:
    if place == len(units) or not is_letter(units[place]) or _alone(units, place):
        return []
    return [(place, place + 1, "")]


def _swap(units: Sequence[str], place: int, _language: str) -> list[Change]:
    if place + 1 >= len(units) or units[place] == units[place + 1]:
        return []
    if not (is_letter(units[place]) and is_letter(units[place + 1])):
        return []
    if not stay_apart(units[place + 1], units[place], ""):  # the two would be one conjunct
        return []
    return [(place, place + 2, units[place + 1] + units[place])]


def _replacing(replacements: Callable[[str, str], Iterable[str]]) -> Options:
    """Return the options that put one of its replacements, by (cluster, language), in the place of a letter."""

    def options(units: Sequence[str], place: int, language: str) -> list[Change]:
        if place == len(units) or not is_letter(units[place]):
            return []
        return [(place, place + 1, new) for new in replacements(units[place], language)]

    return options


def _other_letters(cluster: str, language: str) -> Iterable[str]:
    old = cluster.lower()
    return (letter for letter in letters_for(cluster, language) if letter != old)


def _confusable(cluster: str, _language: str) -> Iterable[str]:
    return (alike + cluster[1:] for alike in _lookalikes(cluster[0]))


def _alone(units: Sequence[str], place: int) -> bool:
    """Return True if nothing but spaces would be left without the cluster at ``place``."""
    return not any(one.strip() for n, one in enumerate(units) if n != place)


@lru_cache(maxsize=65_536)
def _slips(cluster: str, language: str) -> tuple[str, ...]:
    """Return a cluster with one letter or vowel sign typed on a neighboring key; each result is one cluster again."""
    keys = _neighbors(_layout(script_name(cluster[0]), primary_code(language)))
    slips = []
    for place, struck in enumerate(cluster):
        upper = struck != struck.lower()
        for key in keys.get(struck.lower(), ()):
            slip = cluster[:place] + (key.upper() if upper else key) + cluster[place + 1 :]
            if len(graphemes(slip)) == 1:  # ß in capitals is two; a vowel sign for a virama takes a conjunct apart
                slips.append(slip)
    return tuple(slips)


@cache
def _layout(script: str, language: str) -> str:
    data = data_file("keyboards.json")
    usual = str(data["scripts"].get(script, ""))
    own = str(data["languages"].get(language, usual))
    # A Latin word in a Russian text is typed on Latin keys, and a language's own layout may be of another script.
    fits = any(script_name(key) == script for row in data["layouts"].get(own, {"rows": []})["rows"] for key in row)
    return own if fits else usual


@cache
def _neighbors(layout: str) -> dict[str, tuple[str, ...]]:
    """Return, for a layout of ``data/keyboards.json``, the letters on the keys that touch each letter's key.

    The neighbors of vowel signs and other marks are marks. A space in the data is a key that types no single character.
    """
    entry = data_file("keyboards.json")["layouts"].get(layout)
    if entry is None:
        return {}
    offsets = data_file("keyboards.json")["offsets"]  # of the rows' first keys, in widths of a key
    touching: dict[str, tuple[str, ...]] = {}
    for rows in (entry["rows"], entry.get("shift", [])):
        keys = [(key, column + offsets[row], row) for row, line in enumerate(rows) for column, key in enumerate(line)]
        for key, x, y in keys:
            near = (one for one, x2, y2 in keys if one != key and (x - x2) ** 2 + (y - y2) ** 2 < _REACH**2)
            touching[key] = tuple(one for one in near if unicodedata.category(one)[0] == unicodedata.category(key)[0])
    return {key: near for key, near in touching.items() if unicodedata.category(key)[0] in "LM"}


@lru_cache(maxsize=4096)
def _lookalikes(character: str) -> tuple[str, ...]:
    """Return letters that look like ``character`` (Unicode's confusables) and are no mere styled form of it."""
    from confusable_homoglyphs import confusables

    entry = confusables.is_confusable(character, greedy=True) or [{"homoglyphs": []}]
    return tuple(
        one["c"]
        for one in entry[0]["homoglyphs"]
        if len(one["c"]) == 1
        and unicodedata.category(one["c"])[0] == "L"
        and unicodedata.normalize("NFKC", one["c"]) != unicodedata.normalize("NFKC", character)
        and not one["n"].startswith("MATHEMATICAL")
    )


CHARACTER_KINDS = (
    EditKind("insert", "a letter too many", _insert),
    EditKind("delete", "a letter missing", _delete),
    EditKind("swap", "two neighboring letters in the wrong order", _swap),
    EditKind("substitute", "a wrong letter", _replacing(_other_letters)),
    EditKind("keyboard", "the letter of a neighboring key on the language's keyboard", _replacing(_slips)),
    EditKind("confusable", "a letter of another script that looks the same", _replacing(_confusable)),
)


_FULLWIDTH = 0xFEE0  # from "!" to "！"
# Letters whose stroke or hook Unicode does not take for a mark, but which are typed without it all the same.
_STRUCK = dict(zip("łøđħŧɓɗƙƴıŁØĐĦŦƁƊƘƳ", "lodhtbdkyiLODHTBDKY", strict=True))
_FORMS: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")


@lru_cache(maxsize=65_536)
def _without_a_mark(cluster: str, _language: str = "") -> tuple[str, ...]:
    """Return a cluster less one of its marks: accents, strokes, and the vowel signs and viramas of Indic scripts."""
    if cluster.isascii():
        return ()
    parts = unicodedata.normalize("NFD", cluster)
    marks = [n for n, one in enumerate(parts) if n and unicodedata.category(one) in ("Mn", "Mc")]
    bare = [unicodedata.normalize("NFC", parts[:n] + parts[n + 1 :]) for n in marks]
    if cluster[0] in _STRUCK:
        bare.append(_STRUCK[cluster[0]] + cluster[1:])
    return tuple(dict.fromkeys(one for one in bare if one != cluster))


def _other_case(cluster: str, _language: str) -> Iterable[str]:
    return () if cluster.swapcase() == cluster else (cluster.swapcase(),)


def _width(units: Sequence[str], place: int, _language: str) -> list[Change]:
    other = _other_widths().get(units[place]) if place < len(units) else None
    return [(place, place + 1, other)] if other else []


@cache
def _other_widths() -> dict[str, str]:
    """Return full-width forms of half-width clusters, Latin and Katakana, and the other way round."""
    full = {chr(code): chr(code + _FULLWIDTH) for code in range(0x21, 0x7F)}
    kana = {chr(code): unicodedata.normalize("NFKC", chr(code)) for code in range(0xFF65, 0xFF9E)}
    voiced = {  # in half width a voiced syllable is a kana and a mark: ｶﾞ
        half + sign: unicodedata.normalize("NFC", wide + mark)
        for half, wide in kana.items()
        for sign, mark in (("\uff9e", "\u3099"), ("\uff9f", "\u309a"))
    }
    full |= kana | {half: wide for half, wide in voiced.items() if len(wide) == 1}
    return full | {wide: half for half, wide in full.items()}


def _normalization(units: Sequence[str], place: int, _language: str) -> list[Change]:
    if place:
        return []
    text = "".join(units)
    forms = dict.fromkeys(unicodedata.normalize(form, text) for form in _FORMS)
    return [(0, len(units), form) for form in forms if form != text]


FORM_KINDS = (
    EditKind("diacritics", "an accent, vowel sign or virama left out", _replacing(_without_a_mark)),
    EditKind("case", "a letter in the other case", _replacing(_other_case)),
    EditKind("width", "a letter in full width, or back from it", _width),
    EditKind("normalization", "the whole text in another Unicode normalization form", _normalization),
)


def _join(units: Sequence[str], place: int, _language: str) -> list[Change]:
    if not 0 < place < len(units) or not units[place].isspace() or units[place - 1].isspace():
        return []
    end = next((n for n in range(place, len(units)) if not units[n].isspace()), None)
    return [] if end is None else [(place, end, "")]


def _split(units: Sequence[str], place: int, _language: str) -> list[Change]:
    inside = 0 < place < len(units) and is_letter(units[place - 1]) and is_letter(units[place])
    return [(place, place, " ")] if inside else []


def _drop_word(units: Sequence[str], place: int, _language: str) -> list[Change]:
    end = _end_of_word(units, place)
    if end is None or not any(is_letter(one) for one in (*units[:place], *units[end:])):
        return []
    after = end
    while after < len(units) and units[after].isspace():
        after += 1
    if after < len(units) or not place:
        return [(place, after, "")]
    while place and units[place - 1].isspace():  # the last word goes with the space before it
        place -= 1
    return [(place, after, "")]


def _swap_words(units: Sequence[str], place: int, _language: str) -> list[Change]:
    end = _end_of_word(units, place)
    if end is None:
        return []
    start = end
    while start < len(units) and units[start].isspace():
        start += 1
    last = _end_of_word(units, start)
    if last is None or units[place:end] == units[start:last]:
        return []
    swapped = [*units[start:last], *units[end:start], *units[place:end]]
    new = "".join(swapped)
    return [(place, last, new)] if graphemes(new) == swapped else []


def _end_of_word(units: Sequence[str], place: int) -> int | None:
    """Return where the word that begins at ``place`` ends; None if none begins there. Words are between spaces."""
    if place >= len(units) or units[place].isspace() or (place and not units[place - 1].isspace()):
        return None
    return next((n for n in range(place, len(units)) if units[n].isspace()), len(units))


def code_switch(tables: Mapping[str, Mapping[str, str]]) -> EditKind:
    """Return the kind of edit that replaces a word by its translation; punctuation around it stays.

    ``tables``: language code -> word, case folded -> translation; see ``kivuko.bitext.word_table``. Apostrophes that
    look alike are one.
    """
    translations = {language: table_lookup(table) for language, table in tables.items()}

    def options(units: Sequence[str], place: int, language: str) -> list[Change]:
        end = _end_of_word(units, place)
        letters = [n for n in range(place, end or 0) if is_letter(units[n])]
        if not letters:
            return []
        first, last = letters[0], letters[-1] + 1
        word = "".join(units[first:last]).casefold()
        other = translations[language](word, "") if language in translations else ""
        return [(first, last, other)] if other.strip() and other.casefold() != word else []

    return EditKind("code-switch", "a word said in English, by the bitext", options)


WORD_KINDS = (
    EditKind("join", "two words run together", _join),
    EditKind("split", "a word torn apart", _split),
    EditKind("drop-word", "a word left out", _drop_word),
    EditKind("swap-words", "two neighboring words in the other order", _swap_words),
)


EDIT_KINDS: Mapping[str, EditKind] = {kind.name: kind for kind in (*CHARACTER_KINDS, *FORM_KINDS, *WORD_KINDS)}
EDIT_GROUPS: Mapping[str, tuple[str, ...]] = {
    "typo": ("insert", "delete", "swap", "substitute"),
    "form": ("diacritics", "case", "width", "normalization"),
    "word": ("join", "split", "drop-word", "swap-words"),
    "any": tuple(EDIT_KINDS),
}


def edit_kinds(names: Sequence[str | EditKind]) -> tuple[EditKind, ...]:
    """Return the kinds of the given names of kinds and groups, each once."""
    kinds: dict[str, EditKind] = {}
    for name in names:
        if not isinstance(name, str):
            kinds[name.name] = name
            continue
        if name not in EDIT_KINDS and name not in EDIT_GROUPS:
            near = difflib.get_close_matches(name, [*EDIT_KINDS, *EDIT_GROUPS], 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join([*EDIT_KINDS, *EDIT_GROUPS])}."
            raise UsageError(f"unknown kind of edit '{name}'; {hint}")
        kinds |= {one: EDIT_KINDS[one] for one in EDIT_GROUPS.get(name, (name,))}
    if not kinds:
        raise UsageError("no kind of edit is named: give at least one.")
    return tuple(kinds.values())


_NOISE_TRIES = 4  # draws of an edit that does not bring back an earlier state of the text


def perturb(
    text: str, language: str, kinds: Sequence[str | EditKind], edits: int, rng: np.random.Generator
) -> Perturbed:
    """Apply ``edits`` random edits, one after another: a kind at random, then a place, then a change there.

    An edit that brings back an earlier text, or undoes one of the edits before it, is drawn again. Where no kind
    applies (a text of spaces, of one emoji) there are fewer edits.
    """
    if edits < 0:
        raise UsageError(f"a text cannot have {edits} edits: give 0 or more.")
    chosen = edit_kinds(kinds)
    applied: list[Edit] = []
    seen, now = {text}, text
    ways_back: list[Edit] = []
    for _ in range(edits):
        undone = {apply_edit(now, back) for back in ways_back}
        edit = _draw(now, language, chosen, seen | undone, rng)
        if edit is None:
            break
        applied.append(edit)
        back = Edit(edit.kind, edit.start, edit.start + len(edit.replacement), now[edit.start : edit.end])
        ways_back = [*_moved(ways_back, edit), back]
        now = apply_edit(now, edit)
        seen.add(now)
    return Perturbed(text, now, tuple(applied))


def code_points(text: str, edit: Edit) -> int:
    """Return the number of code points that an edit changes: put in, left out or replaced."""
    start, end, new = net_change(text, edit)
    return max(end - start, len(new))


def perturb_within(
    text: str, language: str, kinds: Sequence[str | EditKind], points: int, rng: np.random.Generator
) -> Perturbed:
    """Apply random edits that change at most ``points`` code points together, as many as fit.

    A letter is one code point in some scripts and several in others, so a number of edits is not one budget for both.
    """
    if points < 0:
        raise UsageError(f"a text cannot have {points} code points changed: give 0 or more.")
    chosen, applied, now, seen = edit_kinds(kinds), list[Edit](), text, {text}
    for _ in range(_TRIES * points):
        edit = _draw(now, language, chosen, seen, rng) if points else None
        if edit is None:
            break
        if (cost := code_points(now, edit)) <= points:
            points -= cost
            applied.append(edit)
            now = apply_edit(now, edit)
            seen.add(now)
    return Perturbed(text, now, tuple(applied))


def all_edits(text: str, language: str, kinds: Sequence[str | EditKind]) -> list[Edit]:
    """Return every single edit of some kinds, kind by kind; of those with the same result the first."""
    edits: dict[tuple[int, int, str], Edit] = {}
    for kind in edit_kinds(kinds):
        for edit in kind.all(text, language):
            edits.setdefault(net_change(text, edit), edit)
    return list(edits.values())


def _moved(ways_back: list[Edit], edit: Edit) -> list[Edit]:
    """Shift edits that undo earlier ones to the text after one more edit; those that it overlaps are dropped."""
    shift = len(edit.replacement) - (edit.end - edit.start)
    before = [back for back in ways_back if back.end <= edit.start]
    after = [back for back in ways_back if back.start >= edit.end]
    return before + [Edit(back.kind, back.start + shift, back.end + shift, back.replacement) for back in after]


def _draw(
    text: str, language: str, kinds: tuple[EditKind, ...], excluded: set[str], rng: np.random.Generator
) -> Edit | None:
    left = list(kinds)
    while left:
        kind = left.pop(int(rng.random() * len(left)))
        for _ in range(_NOISE_TRIES):
            edit = kind.sample(text, language, rng)
            if edit is None:
                break
            if apply_edit(text, edit) not in excluded:
                return edit
    fresh = [edit for edit in all_edits(text, language, kinds) if apply_edit(text, edit) not in excluded]
    return fresh[int(rng.random() * len(fresh))] if fresh else None
