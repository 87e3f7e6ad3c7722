"""What a person typed, cleaned; apart from what encodes it, so that a bad query is refused before torch is loaded."""

from __future__ import annotations

from kivuko.bitext import clean_text
from kivuko.errors import UsageError


def clean_query(text: str) -> str:
    """Return a query as training sentences were cleaned.

    Raises:
        UsageError: it is empty, or no UTF-8 text.
    """
    try:
        text.encode()
    except UnicodeEncodeError as problem:
        raise UsageError("the query is not UTF-8 text: set the terminal to UTF-8 and write it again.") from problem
    if not (cleaned := clean_text(text)):
        raise UsageError('the query is empty: write a few words, for example "paka mweusi".')
    return cleaned
