"""English text without translations: sentences that a model can learn from without any pair."""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from kivuko.errors import DataError, check_path
from kivuko.files import refuse_unreadable
from kivuko.streams import text_lines
from kivuko.text import clean_text

_MOST = 200_000  # sentences that are read
_WORDNET = ("data.noun", "data.verb", "data.adj", "data.adv")
_EXAMPLE = re.compile(r'"([^"]+)"')
_FEWEST = 5  # words of a definition or an example that make it a sentence


def read_english(source: str | Path) -> list[str]:
    """Read English sentences: a text file with one per line, or the definitions and examples of a WordNet folder.

    Args:
        source: a UTF-8 file, compressed or not; or WordNet's database, such as Debian's /usr/share/wordnet.

    Returns:
        The first 200,000 distinct sentences, in order, cleaned.

    Raises:
        DataError: the file is missing, is no text, or holds no sentence; the folder is not WordNet's.

    >>> from pathlib import Path
    >>> _ = Path("english.txt").write_text("The cat sleeps.\\nIt is raining.\\nThe cat sleeps.\\n")
    >>> read_english("english.txt")
    ['The cat sleeps.', 'It is raining.']
    """
    path: Path = check_path("english", source, "a file with one English sentence per line, or a WordNet folder")
    refuse_unreadable(path)
    if not path.exists():
        raise DataError(f"{path}: no such file; give a file with one English sentence per line, or a WordNet folder")
    lines = _wordnet(path) if path.is_dir() else (clean_text(line) for _, line in text_lines(path))
    sentences = list(islice(dict.fromkeys(line for line in lines if line), _MOST))
    if not sentences:
        raise DataError(f"{path}: no sentence in it; give one English sentence per line")
    return sentences


def _wordnet(folder: Path) -> Iterator[str]:
    """Yield definitions and examples of WordNet's database, which ends its lines with " | definition; "example"" ."""
    files = [folder / name for name in _WORDNET if (folder / name).is_file()]
    if not files:
        raise DataError(f"{folder}: not a WordNet folder ({', '.join(_WORDNET)}); give a file of English sentences")
    for file in files:
        for _, line in text_lines(file):
            gloss = line.partition(" | ")[2]
            for text in (_EXAMPLE.sub("", gloss), *_EXAMPLE.findall(gloss)):
                text = clean_text(text.strip(" ;"))
                if len(text.split()) >= _FEWEST:
                    yield text
