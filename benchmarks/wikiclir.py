"""How fast the WikiCLIR builder reads dumps, and how much memory it takes: ``python -m benchmarks.wikiclir 1000000``.

Dumps are made up, in the true formats: XML articles with markup, SQL tables as since 2024, ten links an article.
Each size is built in a process of its own, whose peak of resident memory the system tells.
"""

from __future__ import annotations

import gzip
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.machine import describe_machine

LINKS = 10  # per article
WORDS = [f"neno{number}" for number in range(2000)]


def main() -> None:
    """Build collections of the given sizes (articles in the documents' wiki) and print a line for each."""
    print(" · ".join(f"{name}: {value}" for name, value in describe_machine().items()))
    print("| articles | queries | built in, seconds of one core | articles/s | memory at first | peak |")
    print("|---|---|---|---|---|---|", flush=True)
    for size in [int(word) for word in sys.argv[1:]] or [10_000, 100_000]:
        with tempfile.TemporaryDirectory() as folder:
            make_dumps(Path(folder), size)
            code = f"from benchmarks.wikiclir import build; build({folder!r})"
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        queries, seconds, before, peak = done.stdout.split()
        rate = size / float(seconds)
        cells = (f"{size:,}", f"{int(queries):,}", seconds, f"{rate:,.0f}", f"{before} MB", f"{peak} MB")
        print(f"| {' | '.join(cells)} |", flush=True)


def build(folder: str) -> None:
    """Build a collection; print its queries, the seconds of processor time, and resident memory before and at most."""
    from kivuko.datasets.wikiclir.build import Options, build_wikiclir
    from kivuko.datasets.wikiclir.dumps import find_dumps

    start, before = time.process_time(), _peak()
    found = find_dumps(Path(folder), "sw", "en")
    built = build_wikiclir(found, Options("sw", "en"), Path(folder) / "out")
    print(built.queries, f"{time.process_time() - start:.1f}", before, _peak())


def _peak() -> int:
    """Return the peak of this process's resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def make_dumps(folder: Path, size: int) -> None:
    """Write the dumps of two wikis: ``size`` articles of documents, a tenth as many of queries."""
    draw = random.Random(0)
    _write(folder / "enwiki-20240901-pages-articles.xml.gz", _articles(size, draw))
    _write(folder / "swwiki-20240901-pages-articles.xml.gz", _articles(size // 10, draw))
    columns = ("ll_from", "ll_lang", "ll_title")
    langlinks = _table("langlinks", columns, size // 10, lambda n: f"({n},'en','Title {n * 7}')")
    _write(folder / "swwiki-20240901-langlinks.sql.gz", langlinks)
    targets = _table("linktarget", ("lt_id", "lt_namespace", "lt_title"), size, lambda n: f"({n},0,'Title_{n}')")
    _write(folder / "enwiki-20240901-linktarget.sql.gz", targets)
    links = _table(
        "pagelinks", ("pl_from", "pl_from_namespace", "pl_target_id"), size * LINKS,
        lambda n: f"({n // LINKS + 1},0,{_linked(n // LINKS + 1, n % LINKS, size)})",
    )  # fmt: skip
    _write(folder / "enwiki-20240901-pagelinks.sql.gz", links)


def _linked(article: int, place: int, size: int) -> int:
    """Return a target: two neighbors, with whom the links are mutual, and others who do not link back."""
    near = article + (1, -1)[place] if place < 2 else article * 31 + place * 7919
    return (near - 1) % size + 1


def _articles(size: int, draw: random.Random) -> Iterator[str]:
    yield '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">\n'
    for number in range(1, size + 1):
        words = " ".join(draw.choices(WORDS, k=60))
        yield (
            f"  <page>\n    <title>Title {number}</title>\n    <ns>0</ns>\n    <id>{number}</id>\n    <revision>\n"
            f"      <id>{number}</id>\n      <text>{{{{Infobox|a={{{{b}}}}}}}}'''Title {number}''' ni "
            f"[[{words[:9]}|kitu]] {words[:200]}. {words}&lt;ref&gt;a&lt;/ref&gt;</text>\n    </revision>\n  </page>\n"
        )
    yield "</mediawiki>\n"


def _table(name: str, columns: tuple[str, ...], size: int, row: Callable[[int], str]) -> Iterator[str]:
    stated = ",\n".join(f"  `{column}` int(10) NOT NULL" for column in columns)
    yield f"CREATE TABLE `{name}` (\n{stated}\n);\n"
    for start in range(0, size, 40_000):
        numbers = range(start, min(size, start + 40_000))
        first = 0 if name == "pagelinks" else 1
        yield f"INSERT INTO `{name}` VALUES {','.join(row(number + first) for number in numbers)};\n"


def _write(path: Path, parts: Iterator[str]) -> None:
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as stream:
        stream.writelines(parts)


if __name__ == "__main__":
    main()
