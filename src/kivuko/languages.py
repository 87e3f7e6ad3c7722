"""Languages by their BCP 47 code: name, script, direction of writing, and how much data they have.

Names and scripts come from ``langcodes`` (Unicode CLDR and the IANA registry), imported when first needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from kivuko.errors import UsageError, check_type

if TYPE_CHECKING:
    from langcodes import Language as Tag

Direction = Literal["ltr", "rtl"]
Resource = Literal["low", "medium", "high"]
ResourceGroup = Literal["low-resource", "high-resource"]

DEFAULT_LANGUAGES = ("sw", "so", "fil", "mr", "fi", "de", "fr")

UNKNOWN_SCRIPT = "Zzzz"  # ISO 15924's own code for an unknown script

# Joshi, Santy, Budhiraja, Bali and Choudhury, "The State and Fate of Linguistic Diversity and Inclusion in
# the NLP World" (ACL 2020) put languages in classes 0 ("the left-behinds") to 5 ("the winners") by labeled
# and unlabeled data. Only some of their languages are listed; every other language counts as low, which is
# what its absence from most collections suggests.
_JOSHI_CLASSES: dict[int, str] = {
    0: "si",
    1: "so qu az gu te kn ml my ne or as km ig om rw jv su cy mi sd ps ku mn ky tg",
    2: "sw mr am ha yo wo zu xh ti tn pa ht is ga mt lo sa",
    3: "af bn bg ceb da el et gl he id ka kk lt lv ms ro sk sl ta th uk ur uz",
    4: "ca cs eu fa fi hr hu it ko hi nl pl pt ru sr sv tr vi",
    5: "ar de en es fr ja zh",
}
# A deviation, on purpose: Joshi et al. put Tagalog in class 3. OPTICAL (arXiv 2301.12566) counts it among its
# low-resource languages, and Kivuko follows that grouping, so Filipino and Tagalog are low here.
_LOW_IN_THIS_PROJECT = "fil"

_LEVELS: tuple[Resource, ...] = ("low", "low", "low", "medium", "high", "high")
_RESOURCE: dict[str, Resource] = {
    code: _LEVELS[level] for level, codes in _JOSHI_CLASSES.items() for code in codes.split()
} | {_LOW_IN_THIS_PROJECT: "low"}

# Codes of one standard variety that stand for the whole language wherever text is exchanged (FLORES writes
# swh, zsm, npi; CLDR sw, ms, ne). langcodes can fold every such code, but its list also turns Cuzco Quechua
# (quz) into Quechua and Guarani, Zapotec or Bikol varieties into their groups, which are different languages.
STANDARD_VARIETIES = {
    "swh": "sw", "zsm": "ms", "cmn": "zh", "arb": "ar", "pes": "fa", "ekk": "et", "lvs": "lv", "khk": "mn",
    "npi": "ne", "ory": "or", "azj": "az", "uzn": "uz", "als": "sq", "plt": "mg", "ydd": "yi", "kmr": "ku",
    "gaz": "om", "knn": "kok", "nb": "no",
}  # fmt: skip

# Scripts whose letters Unicode gives a right-to-left bidirectional class (R or AL).
_RIGHT_TO_LEFT = {
    "Adlm", "Arab", "Aran", "Armi", "Avst", "Chrs", "Cprt", "Elym", "Gara", "Hatr", "Hebr", "Hung", "Khar",
    "Lydi", "Mand", "Mani", "Mend", "Merc", "Mero", "Narb", "Nbat", "Nkoo", "Orkh", "Ougr", "Palm", "Phli",
    "Phlp", "Phnx", "Prti", "Rohg", "Samr", "Sarb", "Sogd", "Sogo", "Syrc", "Syre", "Syrj", "Syrn", "Thaa",
    "Yezi",
}  # fmt: skip

# Registered codes that mean "not one language": undetermined, multiple, no language, uncoded.
_NO_LANGUAGE = frozenset({"und", "mul", "zxx", "mis"})


@dataclass(frozen=True, slots=True)
class Language:
    """One language, as ``language`` describes it."""

    code: str  # normalized BCP 47 tag, e.g. ``sw``, ``fil``, ``zh-Hant``
    name: str  # in English, e.g. ``Chinese (Traditional)``
    native_name: str  # the English name where CLDR has none
    script: str  # ISO 15924 code of the usual script, ``Zzzz`` where none is known
    direction: Direction
    resource: Resource  # ``low`` where the level is not known


def language(code: str) -> Language:
    """Describe the language of a BCP 47 tag, or raise UsageError with close matches.

    Deprecated and three-letter forms become the current short one (``swa`` and ``swh`` give ``sw``, ``tl`` gives
    ``fil``); ``_`` may stand for ``-``. Languages of one group stay apart: ``quy`` and ``quz`` are two languages.
    """
    check_type("language", code, str, "a language code, such as 'sw'")
    described = _described(code.strip())
    if described is None:
        raise UsageError(_unknown(code))
    return described


def read_codes(languages: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """Return the normalized codes of ``["sw", "so"]``, ``"sw so"`` or ``"sw,so"``, once each; None stays None."""
    if languages is None:
        return None
    check_type("languages", languages, str | Iterable, "language codes, such as ['sw', 'so']")
    given = [languages] if isinstance(languages, str) else list(languages)
    for one in given:
        check_type("languages", one, str, "language codes, such as ['sw', 'so']")
    codes = tuple(dict.fromkeys(language(code).code for one in given for code in one.replace(",", " ").split()))
    if not codes:
        raise UsageError("languages: none named; give codes such as sw so.")
    return codes


def known_code(text: str) -> str | None:
    """Return the normalized code of a tag, or None if it names no known language."""
    described = _described(text.strip())
    return None if described is None else described.code


def other_than_english(code: str) -> str:
    """Return the normalized code of a language, or raise UsageError if it is English."""
    normalized = language(code).code
    if normalized.partition("-")[0] == "en":
        raise UsageError(f"{code}: English is the other side; name the language that is not English")
    return normalized


def resource_groups(codes: Iterable[str]) -> dict[ResourceGroup, tuple[str, ...]]:
    """Split languages into ``low-resource`` and ``high-resource`` (medium and high together).

    Both groups are always present, perhaps empty; codes come back normalized, once each, in the order given.
    """
    described = list(dict.fromkeys(language(code) for code in codes))
    return {
        "low-resource": tuple(one.code for one in described if one.resource == "low"),
        "high-resource": tuple(one.code for one in described if one.resource != "low"),
    }


@lru_cache(maxsize=1024)
def _described(code: str) -> Language | None:
    import langcodes

    try:
        tag = langcodes.Language.get(_standard_tag(code))
    except ValueError:  # langcodes' errors of form are ValueErrors
        return None
    if not _names_a_language(tag):
        return None
    script = _script(tag)
    return Language(
        code=tag.to_tag(),
        name=tag.display_name(),
        native_name=tag.autonym(),
        script=script,
        direction="rtl" if script in _RIGHT_TO_LEFT else "ltr",
        resource=_RESOURCE.get(tag.language or "", "low"),
    )


def _standard_tag(code: str) -> str:
    import langcodes

    primary, dash, rest = langcodes.standardize_tag(code).partition("-")
    return langcodes.standardize_tag(STANDARD_VARIETIES.get(primary, primary) + dash + rest)


def _names_a_language(tag: Tag) -> bool:
    # Private-use codes (qaa, x-foo) are valid tags, but CLDR's name for them is "Unknown language".
    return (
        tag.language is not None
        and tag.language not in _NO_LANGUAGE
        and tag.is_valid()
        and not tag.language_name().startswith("Unknown language")
    )


def _script(tag: Tag) -> str:
    from langcodes.data_dicts import LIKELY_SUBTAGS, MACROLANGUAGES

    if tag.script is not None:
        return tag.script
    # maximize() answers Latin for every language it knows nothing about; only listed ones are trusted.
    primary = tag.language or ""
    if primary in LIKELY_SUBTAGS:
        return tag.maximize().script or UNKNOWN_SCRIPT
    if listed := _listed_scripts().get(primary):
        return listed[0]
    if (whole := MACROLANGUAGES.get(primary, "")) in LIKELY_SUBTAGS:
        return tag.update_dict({"language": whole}).maximize().script or UNKNOWN_SCRIPT
    return UNKNOWN_SCRIPT


def written_scripts(code: str) -> tuple[str, ...]:
    """Return the ISO 15924 codes of all scripts that a language is written in, the usual one first; empty if unknown.

    A code with a script (``sr-Latn``) has only that one.
    """
    import langcodes
    from langcodes.data_dicts import LIKELY_SUBTAGS, MACROLANGUAGES

    described = language(code)
    tag = langcodes.Language.get(described.code)
    if tag.script is not None:
        return (tag.script,)
    primary = tag.language or ""
    scripts = [described.script]
    for name in (primary, MACROLANGUAGES.get(primary, "")):
        scripts += _listed_scripts().get(name, ())
        scripts += [
            likely.split("-")[1] for tag, likely in LIKELY_SUBTAGS.items() if name and tag.split("-")[0] == name
        ]
    unwritten = {UNKNOWN_SCRIPT, "Latn"} if primary in ("zh", "ja") else {UNKNOWN_SCRIPT}  # Latin only transcribes them
    return tuple(script for script in dict.fromkeys(scripts) if script not in unwritten)


# As Wiktionary calls styles of scripts, and what it lists that is no script of a language.
_STYLES = {"Latinx": "Latn", "polytonic": "Grek", "Zyyy": "", "Zzzz": "", "Ibrn": "", "Sgnw": "", "Brai": ""}


@lru_cache(maxsize=1)
def _listed_scripts() -> dict[str, list[str]]:
    """Return the scripts of each language: CLDR's data on languages, then Wiktionary's, both from ``language_data``."""
    import re
    from importlib.resources import files

    data = files("language_data") / "data"
    listed: dict[str, list[str]] = {}
    cldr = (data / "supplementalData.xml").read_text(encoding="utf-8")
    cldr = cldr[cldr.find("<languageData>") : cldr.find("</languageData>")]
    for code, scripts in re.findall(r'<language type="(\w+)" scripts="([\w ]+)"', cldr):
        listed.setdefault(code, []).extend(scripts.split())
    wiktionary = (data / "wiktionary" / "codes-en.csv").read_text(encoding="utf-8")
    for code, _, _, scripts, *_ in (line.split("\t") for line in wiktionary.strip().split("\n")):
        names = [name.strip().rpartition("-")[2] for name in scripts.split(",")]  # fa-Arab: Arabic as for Persian
        listed.setdefault(code, []).extend(filter(None, (_STYLES.get(name, name) for name in names)))
    return listed


def _unknown(code: str) -> str:
    shown = code if len(code) <= 40 else code[:40] + "…"
    # The index of names fails on NUL and other control characters with a SystemError; no language's name has such
    # characters.
    matches = _close_matches(code.strip()) if code.strip().isprintable() else []
    if matches:
        return f"unknown language code {shown!r}: did you mean {' or '.join(matches)}?"
    return (
        f"unknown language code {shown!r}: give a BCP 47 code such as sw (Swahili), fil (Filipino) "
        f"or zh-Hant (Chinese in traditional script)"
    )


def _close_matches(text: str) -> list[str]:
    """Return codes and names like ``text``, best first, at most three: ``["sw (Swahili)"]``."""
    import langcodes

    matches = [_described(text.replace("_", "-").partition("-")[0])]
    with suppress(LookupError, UnicodeError, SystemError):  # no such name; text that the name table cannot take
        matches.append(_described(langcodes.find(text).to_tag()))
    if not any(matches):
        matches = [_described(code) for code in _similar(text)]
    return list(dict.fromkeys(f"{one.code} ({one.name})" for one in matches if one))[:3]


def _similar(text: str) -> list[str]:
    """Return codes of languages whose English name, or code, is spelled nearly like ``text``."""
    import difflib

    import langcodes
    from langcodes.data_dicts import LIKELY_SUBTAGS

    names = {
        langcodes.Language.get(code).display_name().casefold(): code
        for code in LIKELY_SUBTAGS
        if len(code) <= 3 and code not in _NO_LANGUAGE
    }
    folded = text.casefold()
    by_name = [names[name] for name in difflib.get_close_matches(folded, names, n=3, cutoff=0.75)]
    return by_name or difflib.get_close_matches(folded, list(_RESOURCE), n=3, cutoff=0.75)
