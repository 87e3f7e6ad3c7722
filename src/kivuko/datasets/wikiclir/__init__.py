"""WikiCLIR: a cross-lingual collection built from the dumps of two Wikipedias."""

from kivuko.datasets.wikiclir.build import Built, Options, build_wikiclir
from kivuko.datasets.wikiclir.dumps import WikiDumps, find_dumps

__all__ = ["Built", "Options", "WikiDumps", "build_wikiclir", "find_dumps"]
