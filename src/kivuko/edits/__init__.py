"""Edits of text in any script: what may be changed in a query, one edit at a time."""
