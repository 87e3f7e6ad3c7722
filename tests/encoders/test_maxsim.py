"""MaxSim against its definition, against sentence-transformers, and where padding would win."""

from __future__ import annotations

import pytest
import torch
from encoded_tokens import encoded_tokens
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from kivuko.encoders.multi_vector import maxsim, token_lists
from kivuko.encoders.token_batch import TokenBatch, masked_mean
from kivuko.errors import UsageError
from kivuko.transport.alignment import TokenLists


def by_definition(queries, documents):
    """Token by token, in double precision."""
    scores = torch.zeros(len(queries), len(documents), dtype=torch.float64)
    for q, query in enumerate(queries):
        for d, document in enumerate(documents):
            if not len(document):
                scores[q, d] = -torch.inf
            for one in query if len(document) else ():
                cosines = [F.cosine_similarity(one.double(), other.double(), dim=0).item() for other in document]
                scores[q, d] += max(cosines)
    return scores


def random_texts(seed, lengths, dim=6):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, dim, generator=generator) * 3 for length in lengths]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=6),
    st.lists(st.integers(0, 7), min_size=1, max_size=6),
    st.integers(0, 999),
    st.sampled_from([1, 7, 40, 2**20]),
)
def test_equals_its_definition_whatever_the_memory(query_lengths, document_lengths, seed, budget):
    queries, documents = random_texts(seed, query_lengths), random_texts(seed + 1, document_lengths)
    queries = [torch.cat([one, one[:1]]) for one in queries]  # a token that comes twice counts twice
    scores = maxsim(token_lists(queries), token_lists(documents), budget=budget)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.double(), by_definition(queries, documents), atol=1e-5, rtol=0)


def test_groups_of_queries_are_scored_as_all_together(monkeypatch):
    queries, documents = token_lists(random_texts(0, [3, 0, 9, 1, 1, 4])), token_lists(random_texts(1, [2, 5, 1]))
    whole = maxsim(queries, documents)
    monkeypatch.setattr("kivuko.encoders.multi_vector._MOST_TOKENS", 4)
    torch.testing.assert_close(maxsim(queries, documents), whole)


def test_equals_sentence_transformers():
    from sentence_transformers.util import maxsim as theirs
    from sentence_transformers.util.similarity import mean_maxsim

    queries, documents = random_texts(2, [1, 4, 2]), random_texts(3, [3, 1, 8, 2])
    unit_queries, unit_documents = ([F.normalize(one, dim=-1) for one in side] for side in (queries, documents))
    scores = maxsim(token_lists(queries), token_lists(documents))
    torch.testing.assert_close(scores, theirs(unit_queries, unit_documents))
    scores = maxsim(token_lists(queries), token_lists(documents), average=True)
    torch.testing.assert_close(scores, mean_maxsim(unit_queries, unit_documents))


class OfOneVector:
    """An encoder whose texts have as many tokens as letters, all alike, and zeros as padding."""

    name, dim = "one vector", 2

    def __init__(self, vector):
        self.vector = torch.tensor(vector)

    def encode_tokens(self, texts):
        mask = torch.arange(max(map(len, texts))) < torch.tensor([len(text) for text in texts])[:, None]
        tokens = self.vector * mask[..., None]
        return TokenBatch(tokens, mask, masked_mean(tokens, mask))


def test_padding_never_beats_a_negative_similarity():
    """Issue 62 of ColBERT's repository: similarity 0 of a masked token wins over the true -1."""
    queries = encoded_tokens(OfOneVector([1.0, 0.0]), ["a", "bbbb"])
    documents = encoded_tokens(OfOneVector([-2.0, 0.0]), ["cc", "ddddd"])
    assert maxsim(queries, documents).tolist() == [[-1, -1], [-4, -4]]
    assert maxsim(queries, documents, average=True).tolist() == [[-1, -1], [-1, -1]]


def test_what_has_no_token():
    some, none = torch.eye(2), torch.empty(0, 2)
    scores = maxsim(token_lists([some, none]), token_lists([none, -some]))
    assert scores.tolist() == [[-torch.inf, 0], [-torch.inf, 0]]
    scores = maxsim(token_lists([some, none]), token_lists([none, -some]), average=True)
    assert scores.tolist() == [[-torch.inf, 0], [-torch.inf, 0]]
    assert maxsim(token_lists([none]), token_lists([none])).tolist() == [[-torch.inf]]
    nothing = TokenLists(torch.empty(0, 2), torch.empty(0, dtype=torch.long))
    assert maxsim(nothing, token_lists([some])).shape == (0, 1)
    assert maxsim(token_lists([some]), nothing).shape == (1, 0)


def test_a_vector_of_zeros_is_like_nothing():
    assert maxsim(token_lists([torch.zeros(1, 2)]), token_lists([-torch.eye(2)])).tolist() == [[0]]


def test_each_side_is_centered_on_its_own_mean():
    queries, documents = random_texts(4, [2, 3]), random_texts(5, [4, 1])
    first, second = torch.randn(6), torch.randn(6)
    scores = maxsim(token_lists(queries, first), token_lists(documents, second))
    expected = maxsim(
        token_lists([one - first for one in queries]), token_lists([other - second for other in documents])
    )
    torch.testing.assert_close(scores, expected)
    assert (scores - maxsim(token_lists(queries), token_lists(documents))).abs().max() > 1e-2


def test_padded_vectors_of_images_are_taken_as_they_are():
    cells = torch.randn(3, 4, 6)
    lists = token_lists(cells)
    assert lists.lengths.tolist() == [4, 4, 4]
    torch.testing.assert_close(lists.vectors, cells.flatten(0, 1))


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match=r"query tokens are \[2\] wide, document tokens \[3\]"):
        maxsim(token_lists([torch.eye(2)]), token_lists([torch.eye(3)]))
    with pytest.raises(UsageError, match="budget"):
        maxsim(token_lists([torch.eye(2)]), token_lists([torch.eye(2)]), budget=0)
