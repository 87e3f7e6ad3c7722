"""Plain text of the messages of programs: without placeholders, accelerator marks, markup and HTML's entities."""

import html
import re

from kivuko.text import single_spaced, without_tags

# In C and its dates, Python, Qt, Java, .NET, JavaScript, Ruby, Mozilla and LibreOffice. A space as in "% d" is no flag
# here, since "100% sure" is a percentage.
_PLACEHOLDER = re.compile(
    r"""
      %\([^()\n]{1,60}\)[-\#0+]*\d*(?:\.\d+)?[diouxXeEfFgGcrsa]?      # %(name)s
    | %[A-Z][A-Z_]{2,}\d*%? | %\w{3,40}%(?!\w)                        # %PRODUCTNAME %name%
    | (?<!\d)%(?:\d+\$)?[-+\#0']*\*?(?:\.(?:\d+|\*))?(?:hh|h|ll|l|L|q|j|z|t|I64)?[A-Za-z@]  # %s %1$d %.2f, dates' %B
    | [$\#%]?\{\{?[^{}]{0,80}\}\}?                                    # {0} {name} {{name}} ${name} #{name} %{name}
    | \$\([^()\s]{1,60}\) | \$\[[^\[\]\s]{1,60}\] | \$\w{1,40}\$      # $(ARG1) $[officename] $name$
    """,
    re.VERBOSE,
)
# Turkish and Basque write 50 % so: these are placeholders only where both sides have them.
_NUMBERED = re.compile(r"%L?\d{1,3}(?:\.\d+)?[diouxXeEfFgGcs]?")
_HOLE = "\0"  # in the place of a placeholder
_QUOTED_HOLE = re.compile(f"[\"'“”‘«»‹„`(\\[<]\\s*{_HOLE}\\s*[\"'”“’»«›)\\]>]")
_HOLES_IN_A_ROW = re.compile(f"{_HOLE}(?:\\s*[:;,./×|-]?\\s*{_HOLE})+")
_HOLE_AT_START = re.compile(f"^\\s*{_HOLE}(?:\\s*[:;,|/–—-](?=\\s))?\\s*")
_HOLE_AT_END = re.compile(f"(?:\\s*(?<=[\\s\\w])[:;,|/–—-])?\\s*{_HOLE}\\s*$")
_HOLE_BEFORE_MARK = re.compile(f"\\s*{_HOLE}(?=\\s*[.,;:!?…)。、！？।])\\s*")

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]\w{1,30});")
_BRACKETED_MARK = re.compile(r"\s*[(（][&_~]\w[)）]")  # as in 文件(_F)
_MARKS = {mark: re.compile(rf"{mark}(?=[^\W\d_])(?!\w{{1,30}};)") for mark in "_&~"}  # GTK; Qt and Windows; LibreOffice
_LETTER = re.compile(r"[^\W\d_]")
_OLD_CONTEXT = re.compile(r"\A_:[^\n]*\n")  # of KDE before gettext had contexts


def plain_pair(text: str, english: str) -> tuple[str, str]:
    """Return a message and its English as plain text, what belongs to the program left out.

    Both come at once, since a mark within a word that both sides share is part of a name.

    >>> plain_pair("_Faili la &quot;%s&quot; ni <b>kubwa</b>", "_File “%s” is <b>large</b>")
    ('Faili la ni kubwa', 'File is large')
    >>> plain_pair("Hi_fadhi…", "&Save…"), plain_pair("Idara ya R&D", "R&D department")
    (('Hifadhi…', 'Save…'), ('Idara ya R&D', 'R&D department'))
    """
    # In single spaces: runs of them would take the patterns time in the square of their length.
    text, english = (single_spaced(without_tags(_OLD_CONTEXT.sub("", side))) for side in (text, english))
    sides = _without_marks(text, english), _without_marks(english, text)
    shared = set(_NUMBERED.findall(text)) & set(_NUMBERED.findall(english))
    plain = [_without_placeholders(side, shared) for side in sides]
    return plain[0], plain[1]


def has_letters(text: str) -> bool:
    """Return True if a text holds a letter, not only numbers and punctuation."""
    return _LETTER.search(text) is not None


def is_nested(text: str) -> bool:
    """Return True if braces are left in a plain text: a message of ICU, with its plural or gender forms inside."""
    return "{" in text or "}" in text


def _without_marks(text: str, other: str) -> str:
    """Return a label without the mark of its accelerator key: ``_File``, ``&File``, ``~File``, ``Sa_ve``, ``(_F)``."""
    text = _BRACKETED_MARK.sub("", text)
    for mark, pattern in _MARKS.items():
        if mark not in text:
            continue
        places = [match.start() for match in pattern.finditer(text)]
        if len(places) != 1 or text.count("_") > 1:
            continue
        place = places[0]
        within_word = place > 0 and (text[place - 1].isalnum() or text[place - 1] in "_/=?")
        if within_word:
            # R&D, AT&T, file_name: a name that the translation has too.
            word = text[text.rfind(" ", 0, place) + 1 :].split(" ", 1)[0].strip(".,:;!?\"'“”()")
            if text[place + 1].isupper() or word in other:
                continue
        text = text[:place] + text[place + 1 :]
    return text.replace("&&", "&")


def _without_placeholders(text: str, numbered: set[str]) -> str:
    if "%" in text or "{" in text or "$" in text:
        text = text.replace("%%", "\1")  # control characters are gone by now
        if numbered:
            text = _NUMBERED.sub(lambda match: _HOLE if match[0] in numbered else match[0], text)
        text = _PLACEHOLDER.sub(_HOLE, text).replace("\1", "%")
    text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
    if _HOLE in text:
        for pattern in (_HOLES_IN_A_ROW, _QUOTED_HOLE, _HOLES_IN_A_ROW):  # as in ({size} {unit}), and %s (%s)
            text = pattern.sub(_HOLE, text)
        text = _HOLE_AT_END.sub("", _HOLE_AT_START.sub("", text))
        text = single_spaced(_HOLE_BEFORE_MARK.sub("", text))  # a NUL is white space there
    return text
