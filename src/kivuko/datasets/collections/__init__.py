"""Text collections: queries in one language, documents in another, and who answers whom."""

from kivuko.datasets.collections.collection import UNDETERMINED, Collection, Document, Judgments
from kivuko.datasets.collections.opening import is_collection, open_collection

__all__ = ["UNDETERMINED", "Collection", "Document", "Judgments", "is_collection", "open_collection"]
