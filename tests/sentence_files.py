"""Small copies of sets of sentences, in the form in which they are published."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

DOCUMENTS, LENGTH = 16, 12
_WORDS = {
    "en": "the virus spread quickly among people in every city after march and hospitals were soon full of patients",
    "sw": "virusi vilienea haraka kati ya watu katika kila mji baada ya machi na hospitali zikajaa wagonjwa upesi",
}


def sentence(language: str, number: int) -> str:
    """Return a sentence of 3 to 40 words; of one number, all languages' are about as long."""
    words = _WORDS["sw" if language != "en" else "en"].split()
    chance = random.Random(number)
    return f"{number} " + " ".join(words[chance.randrange(len(words))] for _ in range(chance.randint(3, 40)))


def units(language: str, slip: Sequence[int] = (), lines: int = 5) -> list[tuple[str, str, str]]:
    """Return (unit, sentence, English); the sentences of the documents in ``slip`` are ``lines`` lines late."""
    rows = []
    for number in range(DOCUMENTS * LENGTH):
        document = number // LENGTH
        text = sentence(language, number - lines if document in slip else number)
        rows.append((f"Doc_{document}:{number}", text, sentence("en", number)))
    return rows


def tmx(language: str, rows: Sequence[tuple[str, str, str]], english: str = "en") -> str:
    body = "".join(
        f'<tu tuid="{unit}"><tuv xml:lang="{english}"><seg>{escape(other)}</seg></tuv>\n'
        f'<tuv xml:lang="{language}"><seg>{escape(text)}</seg></tuv></tu>\n'
        for unit, text, other in rows
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4"><header srclang="en"/><body>\n{body}</body></tmx>'
    )


def write_tico(folder: Path, *languages: str, slip: Sequence[int] = (), zipped: bool = True) -> Path:
    """Write ``all.en-XX.tmx.zip`` for each language; in the last one, some documents are misaligned."""
    folder.mkdir(parents=True, exist_ok=True)
    for language in languages:
        content = tmx(language, units(language, slip if language == languages[-1] else ()))
        if zipped:
            with zipfile.ZipFile(folder / f"all.en-{language}.tmx.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(f"all.en-{language}.tmx", content)
        else:
            (folder / f"all.en-{language}.tmx").write_text(content, encoding="utf-8")
    return folder
