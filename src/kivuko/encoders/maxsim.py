"""MaxSim, the score of late interaction (Khattab and Zaharia 2020, "ColBERT", arXiv 2004.12832, equation 3).

Vectors of several texts are end to end: no padded token whose similarity of 0 would beat every negative one.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from kivuko.errors import UsageError
from kivuko.transport.alignment import TokenLists
from kivuko.transport.marginals import full_precision

_BUDGET = 2**26  # numbers: 256 MB
_MOST_TOKENS = 2**16  # query tokens whose distinct vectors are computed together


@torch.no_grad()
def maxsim(queries: TokenLists, documents: TokenLists, *, average: bool = False, budget: int = _BUDGET) -> Tensor:
    """Score every query against every document: the sum over its tokens of the highest cosine to a document's token.

    Only distinct query vectors are scored, in about ``budget`` numbers of memory. Returns float32 [queries, documents];
    a document without a token scores -inf, a query without one 0. ``average``: comparable between queries too.
    """
    if queries.vectors.shape[1:] != documents.vectors.shape[1:]:
        raise UsageError(
            f"query tokens are {list(queries.vectors.shape[1:])} wide, document tokens "
            f"{list(documents.vectors.shape[1:])}: both must be of one space"
        )
    if budget < 1:
        raise UsageError(f"the memory budget is {budget} numbers; give at least 1")
    device = documents.vectors.device
    with full_precision(device):
        targets = _unit(documents.vectors, documents.mean)
        # Longest first: the documents that have a j-th token are then a stretch from the beginning.
        lengths, order = documents.lengths.to(device).sort(descending=True, stable=True)
        starts = documents.starts().to(device)[:-1][order]
        scores = torch.zeros(len(queries.lengths), len(order), device=device)
        places = queries.starts().tolist()
        for first, last in _groups(queries.lengths.tolist(), _MOST_TOKENS):
            tokens = queries.vectors[places[first] : places[last]].to(device)
            if not len(tokens):
                continue
            distinct, row_of = torch.unique(tokens, dim=0, return_inverse=True)
            sources = _unit(distinct, queries.mean)
            offsets = torch.tensor(places[first:last], device=device) - places[first]
            step = max(1, budget // (2 * len(sources)))
            for place in range(0, len(order), step):
                part = slice(place, place + step)
                best = _best(sources, targets, starts[part], lengths[part])  # [distinct, part]
                scores[first:last, order[part]] = F.embedding_bag(row_of, best, offsets, mode="sum")
        scores[:, documents.lengths.to(device) == 0] = -torch.inf
        if average:
            scores /= queries.lengths.to(device).clamp(min=1)[:, None]
    return scores


def token_lists(vectors: Sequence[Tensor], mean: Tensor | None = None) -> TokenLists:
    """Lay token vectors of several texts, float [tokens, dim] each, end to end; ``mean`` [dim] is taken from each."""
    lengths = torch.tensor([len(one) for one in vectors], dtype=torch.long)
    return TokenLists(torch.cat(list(vectors)), lengths, mean)


def _unit(vectors: Tensor, mean: Tensor | None) -> Tensor:
    vectors = vectors.float()
    return F.normalize(vectors if mean is None else vectors - mean.to(vectors), dim=-1)


def _best(sources: Tensor, targets: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
    """Return the highest cosine of each source to the tokens of each document: [sources, documents].

    Document d owns ``targets[starts[d] : starts[d] + lengths[d]]``, and lengths fall, so nothing is padded.
    """
    best = sources.new_full((len(sources), len(starts)), -torch.inf)
    product = torch.empty_like(best).flatten()
    for step in range(int(lengths[0])):
        count = int((lengths > step).sum())
        scores = product[: len(sources) * count].view(len(sources), count)
        torch.mm(sources, targets[starts[:count] + step].T, out=scores)
        torch.maximum(best[:, :count], scores, out=best[:, :count])
    return best


def _groups(lengths: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of consecutive queries with at most ``most`` tokens together; one with more is alone."""
    first = tokens = 0
    for number, length in enumerate(lengths):
        if tokens and tokens + length > most:
            yield first, number
            first, tokens = number, 0
        tokens += length
    if first < len(lengths):
        yield first, len(lengths)
