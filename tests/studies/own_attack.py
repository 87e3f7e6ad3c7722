"""An attack of one's own, for the tests of the study."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DropFirstLetter:
    """The first letters of each query left out."""

    edits: int = 1

    def perturb_texts(self, texts, languages, encode, goal):
        return [text[self.edits :] or text for text in texts]
