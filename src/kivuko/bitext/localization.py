"""Bitext from the files that programs are translated with: gettext PO and MO, XLIFF, and TBX terminology."""

import gettext
import html
import re
import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import product
from typing import Any
from xml.parsers import expat

from kivuko.bitext import pairs as reasons
from kivuko.bitext.columns import code_of, fit
from kivuko.bitext.formats import FileSource
from kivuko.bitext.message_text import has_letters, is_nested, plain_pair
from kivuko.bitext.pairs import MAX_CHARACTERS, RawPair
from kivuko.bitext.tmx import CODES, MAX_VARIANTS, MAYBE, Unit, tag_fits, text_of_code
from kivuko.errors import DataError, MissingDependencyError, at, first_line, wrap_errors
from kivuko.languages import language as describe
from kivuko.streams import ByteInput, plain_name, utf8_blocks
from kivuko.text import separates_words

FORMATS = ("po", "mo", "xliff", "tbx")

MO_MAGIC = (b"\xde\x12\x04\x95", b"\x95\x04\x12\xde")  # of a file with its lowest byte first, and last

# The library holds a whole file, in 15 to 25 times its bytes.
MAX_FILE_BYTES = 64 << 20

_TITLES = {"po": "a PO file", "mo": "an MO file", "xliff": "an XLIFF file", "tbx": "a TBX file"}
_BLOCK = 1 << 16


class LocalizationSource(FileSource):
    """The messages of a PO, MO or XLIFF file, or the terms of a TBX file, as plain text; see ``PairSource``.

    English is the source or the target. Messages that are fuzzy, obsolete or untranslated, and headers, give no pair.
    Of a message with plural forms, the singular and the plural give a pair each, the plural one with each of its
    translations. Contexts and notes are not read. Numbers are lines; in an MO file, which has none, entries from 1.
    """

    def __init__(self, source: ByteInput, language: str, format: str) -> None:
        super().__init__(source, language)
        self.format = format
        if plain_name(self.name).lower().endswith(".pot"):
            raise DataError(f"{self.name}: a template, which has no translations; give the .po file of {language}")
        try:
            import translate.storage.base  # noqa: F401
        except ImportError:
            raise MissingDependencyError(
                f"{self.name}: {_TITLES[format]} needs translate-toolkit: pip install 'kivuko[dictionaries]'"
            ) from None

    def __iter__(self) -> Iterator[RawPair]:
        read: Callable[[], Iterator[RawPair]] = {
            "po": self._po, "mo": self._mo, "xliff": self._xliff, "tbx": self._tbx,
        }[self.format]  # fmt: skip
        count = 0
        for raw in read():
            count += raw.reason != reasons.HEADER
            yield _plain(raw)
        if not count:
            raise DataError(f"{self.name}: holds no message; give {_TITLES[self.format]} with translations")

    def _content(self) -> bytes:
        with self._source.opened() as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise _too_large(self.name)
        if not content:
            raise DataError(f"{self.name}: is empty; give {_TITLES[self.format]}")
        return content

    def _not_so(self, problem: str) -> DataError:
        return DataError(f"{self.name}: damaged, or not {_TITLES[self.format]} ({problem}); fetch it again")

    # PO and MO: a header names the language, and says how the plural forms are counted.

    def _po(self) -> Iterator[RawPair]:
        from translate.storage.poparser import PoParseError
        from translate.storage.pypo import pofile

        content = self._content().removeprefix(b"\xef\xbb\xbf")
        if b"\0" in content[:_BLOCK]:
            raise self._not_so("a NUL byte")
        store = pofile()
        with wrap_errors(self._not_so):
            try:
                store.parse(content)
            except PoParseError as error:
                raise DataError(
                    f"{at(self.name, error.parse_state.lineno)}: not as gettext writes PO; see what msgfmt --check says"
                ) from None
        yield from self._messages((unit.line_number or 1, unit) for unit in store.units)

    def _mo(self) -> Iterator[RawPair]:
        from translate.storage.mo import mofile

        content = self._content()
        _check_mo(content, self._not_so)
        store = mofile()
        with wrap_errors(self._not_so):
            store.parse(content)
        yield from self._messages(enumerate(store.units, start=1))

    def _messages(self, units: Iterator[tuple[int, Any]]) -> Iterator[RawPair]:
        header: dict[str, str] = {}
        target = ""
        backward = is_checked = False
        translated = same = 0
        for number, unit in units:
            sources, targets = _forms(unit.source), _forms(unit.target)
            if not any(sources) and not is_checked and not unit.isobsolete():
                header = _header(targets[0])
                yield RawPair(number, None, None, reasons.HEADER)
                continue
            if not is_checked:
                is_checked = True
                source = header.get("x-source-language", "")
                target = header.get("language") or header.get("x-poedit-language", "")
                backward = self._is_backward(source, target, self.name)
            reason = _reason(unit, sources, targets)
            if reason is None:
                translated += 1
                same += sources[0] == targets[0]
                # From English to British English most is the same, and nothing is Swahili.
                if backward and translated >= _ENOUGH and 2 * same > translated:
                    raise DataError(
                        f"{self.name}: translates English to another English ({target}), not English to "
                        f"{describe(self.language).name} or back; give a file of English and {self.language}"
                    )
            if reason is not None or len(sources) < 2:
                yield _raw(number, sources[0], targets[0], backward, reason)
                continue
            for form in _paired(sources, targets, header.get("plural-forms", "")):
                yield _raw(number, form[0], form[1], backward, form[2])

    def _is_backward(self, source: str, target: str, place: str) -> bool:
        """Return True if a file translates the language to English, False if English to it; DataError if neither."""
        codes = code_of(source), code_of(target)
        ours = [code is None or fit(self.language, code) is not None for code in codes]
        english = [code is None or fit("en", code) is not None for code in codes]
        if english[0] and ours[1]:
            return False
        if ours[0] and english[1]:
            return True
        named = " to ".join(describe(code).name if code else "English" for code in codes)
        wanted = describe(self.language).name
        raise DataError(
            f"{place}: translates {named}, not English to {wanted} or back; give a file of English and {self.language}"
        )

    # XLIFF and TBX: XML, of which only the text of the two languages is read.

    def _parsed(self, stores: Callable[[str, str], Any]) -> Any:
        """Return the library's store of an XML document, which ``stores`` chooses by its root and its version."""
        blocks: list[bytes] = []
        size = 0
        with self._source.opened() as stream:
            for block in utf8_blocks(stream, self.name, _BLOCK, lambda: 1):
                blocks.append(block)
                size += len(block)
                if size > MAX_FILE_BYTES:
                    raise _too_large(self.name)
        content = b"".join(blocks)
        store = stores(*_root(content, self.name))
        # The bytes are UTF-8 by now, whatever the document declares.
        content = _DECLARATION.sub(lambda match: b"\n" * match[0].count(b"\n"), content, count=1)
        from lxml import etree

        with wrap_errors(self._not_so):
            try:
                store.parse(content)
            except etree.XMLSyntaxError as error:
                raise DataError(
                    f"{at(self.name, error.lineno)}: not well-formed XML ({first_line(error)}); mend that line, or try "
                    f"xmllint --recover"
                ) from None
        return store

    def _xliff(self) -> Iterator[RawPair]:
        from translate.storage.xliff import Xliff1File
        from translate.storage.xliff2 import Xliff2File

        def of(root: str, version: str) -> Any:
            if root != "xliff":
                raise DataError(f"{self.name}: the document is <{root[:40]}>, not <xliff>; give an XLIFF file")
            return Xliff2File() if version.startswith("2.") else Xliff1File()

        wrong: DataError | None = None
        ways: dict[tuple[str, str], bool] = {}
        for unit in self._parsed(of).units:
            number = unit.xmlelement.sourceline
            source, target = _sides(unit)
            tags = _tags(unit.xmlelement)
            try:
                if tags not in ways:
                    ways[tags] = self._is_backward(*tags, self.name)
            except DataError as error:
                wrong = wrong or error
                yield RawPair(number, None, None, reasons.MISSING_LANGUAGE)
                continue
            if "gettext-domain-header" in unit.xmlelement.get("restype", ""):
                reason: str | None = reasons.HEADER
            elif not source.strip() or not target.strip():
                reason = reasons.UNTRANSLATED
            else:
                reason = reasons.FUZZY if _is_unconfirmed(unit) else None
            # Symfony's and Laravel's forms of one message: "one cat|many cats".
            forms = _BAR.split(source), _BAR.split(target)
            if reason is not None or max(map(len, forms)) == 1:
                yield _raw(number, source, target, ways[tags], reason)
            elif len(forms[0]) != len(forms[1]):
                yield _raw(number, source, target, ways[tags], reasons.NESTED_MESSAGE)
            else:
                for form, translation in zip(*forms, strict=True):
                    yield _raw(number, form, translation, ways[tags], None)
        if wrong is not None and not ways:
            raise wrong

    def _tbx(self) -> Iterator[RawPair]:
        from translate.storage.tbx import tbxfile, tbxunit

        class ConceptEntry(tbxunit):
            """An entry as TBX has it since ISO 30042:2019, which renamed the elements."""

            rootNode, languageNode = "conceptEntry", "langSec"  # noqa: N815

        class Tbx3File(tbxfile):
            UnitClass, rootNode = ConceptEntry, "tbx"  # noqa: N815
            XMLskeleton = "<tbx><text><body/></text></tbx>"

        def of(root: str, version: str) -> Any:
            if root not in ("martif", "tbx"):
                raise DataError(f"{self.name}: the document is <{root[:40]}>, not <martif> or <tbx>; give a TBX file")
            return tbxfile() if root == "martif" else Tbx3File()

        present: set[str] = set()
        for unit in self._parsed(of).units:
            entry = Unit(unit.xmlelement.sourceline, "")
            is_deprecated = False
            for node in unit.getlanguageNodes():
                tag = node.get(_XML_LANG) or node.get("lang") or ""
                fits = tag_fits(tag, self.language)
                present.add(tag[:40])
                for term in node.iterdescendants(unit.namespaced("term")):
                    if _is_deprecated(term):
                        is_deprecated = is_deprecated or fits != (None, False)
                    elif text := _text(term).strip():
                        entry.variants.append((fits, text))
            texts, english = entry.sides()
            if texts and english and len(texts) * len(english) > MAX_VARIANTS:
                yield RawPair(entry.line, None, None, reasons.TOO_MANY_VARIANTS)
            elif texts and english:
                yield from (RawPair(entry.line, *sides) for sides in product(texts, english))
            else:
                reason = reasons.OBSOLETE if is_deprecated else reasons.MISSING_LANGUAGE
                yield RawPair(entry.line, next(iter(texts), None), next(iter(english), None), reason)
        missing = [
            code for code in (self.language, "en") if not any(fit(code, code_of(tag)) is not None for tag in present)
        ]
        if present and missing:
            raise DataError(
                f"{self.name}: none of its entries is in {' or '.join(missing)}; it holds: "
                f"{', '.join(sorted(present)[:12])}"
            )


_ENOUGH = 20  # translated messages
_LONGEST = 4 * MAX_CHARACTERS  # of a side with its markup
_CREDITS = frozenset({"translator-credits", "translator_credits", "your names", "your emails"})


def _plain(raw: RawPair) -> RawPair:
    """Return a pair as plain text, or with the reason why it is none."""
    number, text, english, reason = raw
    if reason is not None or text is None or english is None:
        return raw
    if max(len(text), len(english)) > _LONGEST:
        return RawPair(number, None, None, reasons.TOO_LONG)
    plain, plain_english = plain_pair(text, english)
    if is_nested(plain) or is_nested(plain_english):
        return RawPair(number, text, english, reasons.NESTED_MESSAGE)
    if not has_letters(plain) or not has_letters(plain_english):
        return RawPair(number, text, english, reasons.ONLY_PLACEHOLDERS)
    return RawPair(number, plain, plain_english)


def _raw(number: int, source: str, target: str, is_backward: bool, reason: str | None) -> RawPair:
    return RawPair(number, source, target, reason) if is_backward else RawPair(number, target, source, reason)


def _too_large(name: str) -> DataError:
    return DataError(
        f"{name}: over {MAX_FILE_BYTES >> 20} MiB, and the whole file is held in memory; split it, or convert it to TMX"
    )


def _forms(value: Any) -> list[str]:
    """Return the strings of a message, singular first; one where it has no plural."""
    return [str(one) for one in getattr(value, "strings", [value or ""])]


def _reason(unit: Any, sources: list[str], targets: list[str]) -> str | None:
    if unit.isobsolete():
        return reasons.OBSOLETE
    if sources[0].strip().lower() in _CREDITS or sources[0].startswith(("_: NAME OF TRANS", "_: EMAIL OF TRANS")):
        return reasons.HEADER
    if not any(one.strip() for one in targets) or not any(one.strip() for one in sources):
        return reasons.UNTRANSLATED
    return reasons.FUZZY if unit.isfuzzy() else None


_HEADER_LINE = re.compile(r"^([A-Za-z-]+):[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_FORMULA = re.compile(r"plural\s*=\s*([^;]{1,400})")


def _header(text: str) -> dict[str, str]:
    return {name.lower(): value for name, value in _HEADER_LINE.findall(text)}


def _paired(sources: list[str], targets: list[str], plural_forms: str) -> Iterator[tuple[str, str, str | None]]:
    """Yield the English forms of a message with the translations for the same numbers, and the reasons against them."""
    numbers = _numbers_of_forms(plural_forms, len(targets))
    singular = next((index for index, those in enumerate(numbers) if 1 in those), 0)
    yield sources[0], targets[singular], None
    for index, target in enumerate(targets):
        # Where a language has one form, it is that of the plural too.
        if index != singular or len(targets) == 1:
            yield sources[1], target, reasons.ZERO_FORM if numbers[index] == {0} else None


@lru_cache(maxsize=64)
def _numbers_of_forms(plural_forms: str, count: int) -> list[set[int]]:
    """Return the numbers up to 200 that each form is for, by a header's formula: {1} for the second of Arabic's six."""
    numbers: list[set[int]] = [set() for _ in range(count)]
    if formula := _FORMULA.search(plural_forms):
        try:
            form_of = gettext.c2py(formula[1])
            for number in range(201):
                numbers[int(form_of(number))].add(number)
        except (ValueError, ArithmeticError, IndexError, RecursionError):
            return [set() for _ in range(count)]
    return numbers


def _check_mo(content: bytes, error: Callable[[str], DataError]) -> None:
    """Raise an error if the strings of an MO file are not all in it, or overlap: a few bytes would be gigabytes."""
    if not content.startswith(MO_MAGIC):
        raise error("it does not begin as MO files do")
    order = "<" if content.startswith(MO_MAGIC[0]) else ">"
    try:
        count, *tables = struct.unpack_from(f"{order}3I", content, 8)
        held = 0
        for table in tables:
            numbers = struct.unpack_from(f"{order}{2 * count}I", content, table) if 8 * count <= len(content) else ()
            if len(numbers) != 2 * count:
                raise error("it is cut short")
            held += sum(numbers[::2])
            if any(length + start > len(content) for length, start in zip(numbers[::2], numbers[1::2], strict=True)):
                raise error("it is cut short")
    except struct.error:
        raise error("it is cut short") from None
    if held > 2 * len(content):
        raise error("its strings overlap")


_BAR = re.compile(r"(?<=\S)\|(?=\S)")
_DECLARATION = re.compile(rb"\A\s*<\?xml\s[^>]{0,400}\?>")
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_DEPRECATED = re.compile(r"deprecatedterm|obsolete|superseded", re.IGNORECASE)


class _RootSeen(Exception):  # noqa: N818, it is no error
    pass


def _root(content: bytes, name: str) -> tuple[str, str]:
    """Return the name and the version of a document's root; a DataError if it declares entities."""
    parser = expat.ParserCreate("utf-8")
    seen: list[str] = []

    def start(root: str, attributes: dict[str, str]) -> None:
        namespace = next((value for key, value in attributes.items() if key.startswith("xmlns")), "")
        seen.extend((root.rpartition(":")[2], attributes.get("version") or namespace.rpartition(":")[2]))
        raise _RootSeen

    def declared(entity: str, *_: object) -> None:
        raise DataError(
            f"{at(name, parser.CurrentLineNumber)}: declares the entity {entity[:40]!r}, and entities are not expanded "
            f"here for safety; take <!ENTITY ...> out of the file's head"
        )

    parser.StartElementHandler = start
    parser.EntityDeclHandler = declared
    try:
        parser.Parse(content, True)
    except _RootSeen:
        return seen[0], seen[1]
    except expat.ExpatError as error:
        raise DataError(
            f"{at(name, error.lineno)}: not well-formed XML ({expat.ErrorString(error.code)}); the file is empty, cut "
            f"short, or not XML: fetch it again"
        ) from None
    raise AssertionError("a document without a root is an error")


def _tags(element: Any) -> tuple[str, str]:
    """Return the languages that a unit of XLIFF is translated from and to, as they are named around it."""
    source = target = ""
    for node in element.iterancestors():
        source = source or node.get("source-language") or node.get("srcLang") or ""
        target = target or node.get("target-language") or node.get("trgLang") or ""
    return source, target


def _sides(unit: Any) -> tuple[str, str]:
    sides = {node.tag.rpartition("}")[2]: _text(node) for node in unit.getlanguageNodes()}
    return sides.get("source", ""), sides.get("target", "")


def _is_unconfirmed(unit: Any) -> bool:
    """Return True if a translation is marked as not yet right; one without a mark is taken to be."""
    element = unit.xmlelement
    states = [element.get("state", "")]
    states += [node.get("state", "") for node in element if str(node.tag).endswith("target")]
    return element.get("approved") == "no" or any(
        state in ("new", "initial") or state.startswith("needs-") for state in states
    )


def _is_deprecated(term: Any) -> bool:
    return any(
        node.get("type") == "administrativeStatus" and _DEPRECATED.search(node.text or "")
        for node in term.getparent().iterdescendants()
        if isinstance(node.tag, str)
    )


def _text(element: Any) -> str:
    """Return the text of a side: formatting codes are left out, or a space, and what may be text is a placeholder."""
    return "".join(_parts(element)).replace(MAYBE, "{}")


def _parts(element: Any) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        if type(child).__name__ == "_Entity":  # of HTML, in a document whose type is not read
            yield html.unescape(child.text)
        elif isinstance(child.tag, str):  # else a comment or a processing instruction
            name = child.tag.rpartition("}")[2]
            kind = f"{child.get('ctype') or ''}:{child.get('subType') or ''}".strip(":").rpartition("x-html-")[2]
            if name in _XLIFF_CODES:
                shown = child.get("equiv-text") or child.get("equiv") or child.get("disp") or ""
                line_break = "\n" if kind.rpartition(":")[2] in ("lb", "pb", "br") else ""
                yield text_of_code(name, f"{shown or child.text or ''}{line_break}")
            elif separates_words(kind):
                yield " "
                yield from _parts(child)
                yield " "
            else:
                yield from _parts(child)
        yield child.tail or ""


_XLIFF_CODES = CODES | {"sc", "ec", "sm", "em", "cp"}
