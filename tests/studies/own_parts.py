"""A custom attack and a custom objective, for the tests of the study."""

from dataclasses import dataclass

from torch.nn import functional as F


@dataclass(frozen=True)
class DropFirstLetter:
    """The first letters of each query left out."""

    edits: int = 1

    def perturb_texts(self, texts, languages, encode, goal):
        return [text[self.edits :] or text for text in texts]


class Cosine:
    """One minus the cosine of the sentence vectors, to a power."""

    def __init__(self, power=1.0):
        self.power = power

    def __call__(self, student, teacher):
        return (1 - F.cosine_similarity(student.pooled, teacher.pooled)).pow(self.power).mean()
