"""Text collections: queries in one language, documents in another, and judgments of relevance."""
