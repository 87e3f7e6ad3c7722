"""The bodies of requests and answers; FastAPI derives the OpenAPI description from them."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from kivuko.bitext.language_id import LanguageGuess
from kivuko.search.items import Hit
from kivuko.serve.guard import LONGEST_QUERY, MOST_QUERIES, MOST_RESULTS
from kivuko.serve.queries import ReadQuery

LARGEST_ID = 2**63 - 1

Query = Annotated[
    str, Field(min_length=1, max_length=LONGEST_QUERY, description="In any language of the model.", examples=["paka"])
]
Condition = Annotated[str, Field(max_length=1000, examples=["width>=800"])]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Typos(_Request):
    """Misspell the query before a second search."""

    edits: Annotated[int, Field(ge=1, le=3, description="Letters put in, left out, exchanged or swapped.")] = 1
    seed: Annotated[int, Field(ge=0, le=2**31 - 1, description="The same seed makes the same typos.")] = 0


class _Search(_Request):
    k: Annotated[int, Field(ge=1, le=MOST_RESULTS, description="How many images, best first.")] = 20
    where: Annotated[
        list[Condition], Field(max_length=32, description="Conditions that all must hold, such as license=cc0.")
    ] = []


class SearchRequest(_Search):
    """One query."""

    query: Query
    typos: Typos | None = None


class BatchRequest(_Search):
    """Several queries."""

    queries: Annotated[list[Query], Field(min_length=1, max_length=MOST_QUERIES)]


class AlignRequest(_Request):
    """A query and an English text: given, or the caption of an image, or the nearest image's that has one."""

    query: Query
    id: Annotated[int, Field(ge=0, le=LARGEST_ID, description="An image with an English caption.")] | None = None
    english: Annotated[str, Field(min_length=1, max_length=LONGEST_QUERY)] | None = None


class Failure(BaseModel):
    """Why a request was refused, in one line."""

    error: str


class Image(BaseModel):
    """An image of the index."""

    id: int
    key: str = Field(description="Where it came from: a relative path, SHARD.tar/member, or an emoji.")
    caption: str | None
    width: int
    height: int
    copies: int = Field(description="How many files have the same bytes.")
    metadata: dict[str, str | int | float | bool | None]


class SearchHit(Image):
    """A result of a search."""

    rank: int
    score: float = Field(description="Cosine with the query, -1 to 1.")


class Moved(SearchHit):
    """A result of the misspelled query, with its rank for the original one; null: not among the first 100."""

    rank_before: int | None


class FellOut(SearchHit):
    """A result that the misspelled query no longer has among the first k, and its rank now."""

    rank_after: int | None


class Language(BaseModel):
    """The guessed language of the query; code ``und`` if it is not clear."""

    code: str
    name: str
    share: float = Field(description="Probability among the model's languages.")
    basis: str = Field(description="Guessed by: words, script or none.")


class Share(BaseModel):
    """A word that a misspelled or unknown word is read as, and its share."""

    word: str
    share: float


class Reading(BaseModel):
    """A misspelled or unknown word and its readings, likeliest first."""

    word: str
    read_as: list[Share]


class Understood(BaseModel):
    """A query as the model read it."""

    query: str
    language: Language
    readings: list[Reading]
    unknown_words: list[str] = Field(description="Out-of-vocabulary words; the search ignores them.")


class TypoAnswer(Understood):
    """The same search with a misspelled query."""

    edits: list[str] = Field(description="The kinds of edit made, in order.")
    seed: int
    hits: list[Moved]
    fell_out: list[FellOut]
    error: str | None = Field(description="Why the misspelled query cannot be searched at all.")


class ImagesAnswer(BaseModel):
    """Images that are like another."""

    hits: list[SearchHit]
    generation: int = Field(description="State of the index; it grows when images come or go.")
    images: int = Field(description="Distinct images in the index.")
    took_ms: float


class SearchAnswer(Understood, ImagesAnswer):
    """The results of a search."""

    close: bool | None = Field(
        description="False: no image of the index is a close match, and the hits are only the nearest there are. "
        "Null: no hits, or a model whose tokenizer is not accessible."
    )
    closeness: float | None = Field(
        description="Share of random texts whose best cosine over the index is lower, 0 to 1; close from 0.6 on."
    )
    typos: TypoAnswer | None = None


class BatchAnswer(BaseModel):
    """Answers in the order of the queries."""

    answers: list[SearchAnswer]
    took_ms: float


class AlignAnswer(BaseModel):
    """The transport plan between the words of a query and those of an English text."""

    query: str
    english: str
    id: int | None = Field(description="The image whose caption it is.")
    words: list[str]
    english_words: list[str]
    coupling: list[list[float]] = Field(description="Mass moved, [words, English words]; adds up to 1.")
    shares: list[list[float | None]] = Field(description="The same, each row adding up to 1; null: a row without mass.")
    unknown_words: list[str] = Field(description="Words of the query that the model does not know.")
    transport_cost: float
    converged: bool


class Health(BaseModel):
    """The server is running; and whether it requires an API key."""

    status: str
    api_key: bool


class About(BaseModel):
    """The index that is served, the languages of its model, and the limits."""

    images: int
    generation: int
    captioned: bool
    languages: list[str] = Field(description="BCP 47 codes of the model's languages.")
    max_upload: int = Field(description="Bytes that an image to search by may have.")
    max_pixels: int


def search_hits(hits: Sequence[Hit]) -> list[SearchHit]:
    return [SearchHit(**vars(hit.item), rank=rank, score=hit.score) for rank, hit in enumerate(hits, start=1)]


def moved(hits: Sequence[Hit], before: Sequence[Hit], k: int) -> tuple[list[Moved], list[FellOut]]:
    """Compare two rankings: the first ``k`` of the new one, and those of the old one that are not among them."""
    rank_before = {hit.item.id: rank for rank, hit in enumerate(before, start=1)}
    rank_after = {hit.item.id: rank for rank, hit in enumerate(hits, start=1)}
    stayed = [Moved(**dict(one), rank_before=rank_before.get(one.id)) for one in search_hits(hits[:k])]
    seen = {one.id for one in stayed}
    gone = [
        FellOut(**dict(one), rank_after=rank_after.get(one.id)) for one in search_hits(before[:k]) if one.id not in seen
    ]
    return stayed, gone


def understood(read: ReadQuery) -> Understood:
    readings = [
        Reading(word=word, read_as=[Share(word=near, share=share) for near, share in list(own.items())[:3]])
        for word, own in read.readings.items()
    ]
    return Understood(
        query=read.text, language=guessed_language(read.language), readings=readings, unknown_words=list(read.unknown)
    )


def guessed_language(guess: LanguageGuess) -> Language:
    return Language(code=guess.code, name=guess.name, share=guess.share, basis=guess.basis)
