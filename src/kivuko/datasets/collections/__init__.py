"""Text collections: queries in one language, documents in another, and judgments of relevance."""

from kivuko.datasets.collections.collection import UNDETERMINED, Collection, Document, Judgments
from kivuko.datasets.collections.opening import is_collection, open_collection, summarize_collection

__all__ = [
    "UNDETERMINED",
    "Collection",
    "Document",
    "Judgments",
    "is_collection",
    "open_collection",
    "summarize_collection",
]
