"""Reading parallel text: pairs per second on one core in every format, and peak memory as files grow tenfold.

``python -m benchmarks.bitext [--pairs 300000] [--rounds 3] [--growth 10]`` writes ``bitext.json`` and ``bitext.md`` to
``benchmarks/results/``. Nothing is cleaned here; ``benchmarks.bitext_cleaning`` measures that.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import json
import lzma
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from rich.console import Console

from benchmarks.page import page, table
from kivuko.files import write_text

_ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
BAR = 300_000  # pairs per second, plain TSV and Moses, so that reading is a small part of cleaning
BARRED = ("tsv", "moses")
FORMATS = ("tsv", "tsv.gz", "tsv.zst", "tsv.bz2", "tsv.xz", "moses", "tmx", "jsonl", "parquet", "arrow")
_ROWS = 10_000  # written at once


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark as the command line asks for it."""
    parser = argparse.ArgumentParser(prog="benchmarks.bitext", description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=300_000, help="of about 130 bytes each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--growth", type=int, default=10, help="memory is also measured with so many times the pairs")
    parser.add_argument("--formats", nargs="*", choices=FORMATS, default=FORMATS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.one:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        print(json.dumps(read_once(asked.one)))
        return
    run(asked.pairs, asked.rounds, asked.growth, asked.formats, asked.out)


def run(
    pairs: int, rounds: int, growth: int, formats: Sequence[str], folder: Path, console: Console | None = None
) -> dict[str, Any]:
    """Measure, write the results, and return them as they stand in ``bitext.json``."""
    from benchmarks.machine import Interference, describe_machine  # torch comes with it: not into what is measured

    console = console or Console(stderr=True)
    results: dict[str, Any] = {
        "machine": describe_machine(), "date": time.strftime("%Y-%m-%d"), "pairs": pairs, "growth": growth, "rows": [],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        for kind in formats:
            watch = Interference()
            small = write_bitext(Path(place) / "small", kind, pairs)
            found = [in_own_process(small) for _ in range(rounds)]
            large = write_bitext(Path(place) / "large", kind, pairs * growth)
            grown = in_own_process(large)
            if (found[0]["pairs"], grown["pairs"]) != (pairs, pairs * growth):
                raise RuntimeError(f"{kind}: {found[0]['pairs']} and {grown['pairs']} pairs were read")
            results["rows"].append({"format": kind, "rounds": found, "grown": grown, "others": watch.share()})
            console.print(f"{kind}: {pairs / min(one['wall'] for one in found):,.0f} pairs/s")
            for file in Path(place).iterdir():
                file.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "bitext.json", json.dumps(results, indent=1) + "\n")
    write_text(folder / "bitext.md", report(results))
    return results


def in_own_process(spec: str) -> dict[str, Any]:
    """Read a bitext in a new process."""
    command = [sys.executable, "-m", "benchmarks.bitext", "--one", spec]
    done = subprocess.run(
        command, cwd=_ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def read_once(spec: str) -> dict[str, Any]:
    """Read a bitext to its end, and say how long it took and what memory it needed at most."""
    from kivuko.bitext.reading import open_source

    source = open_source(spec, "sw")
    before = _peak_mib()
    wall, cpu = time.perf_counter(), time.process_time()
    pairs = sum(1 for raw in source if raw.reason is None)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"pairs": pairs, "wall": wall, "cpu": cpu, "peak_mib": _peak_mib(), "before_mib": before}


def write_bitext(stem: Path, kind: str, pairs: int) -> str:
    """Write made-up pairs in one format, some thousand at a time, and return the spec that names them."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    batches = _batches(pairs)
    path = stem.with_suffix(f".{kind}")
    if kind == "moses":
        with stem.with_suffix(".sw").open("w") as ours, stem.with_suffix(".en").open("w") as theirs:
            for batch in batches:
                ours.writelines(f"{text}\n" for text, _ in batch)
                theirs.writelines(f"{english}\n" for _, english in batch)
        return f"{stem}.sw,{stem}.en"
    if kind == "parquet":
        with ParquetWriter(path, _schema()) as writer:
            for table_ in _row_groups(batches):
                writer.write_table(table_)
    elif kind == "arrow":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, _schema()) as stream:
            for batch in batches:
                stream.write_table(_table(batch), max_chunksize=1000)
    else:
        with _opened(path, kind) as file:
            file.write(_HEAD.encode() if kind == "tmx" else b"")
            for batch in batches:
                file.write("".join(_LINES[kind.partition(".")[0]](text, english) for text, english in batch).encode())
            file.write(b"</body></tmx>\n" if kind == "tmx" else b"")
    return str(path)


_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4">\n<header/>\n<body>\n'
_LINES = {
    "tsv": lambda text, english: f"{text}\t{english}\n",
    "jsonl": lambda text, english: json.dumps({"translation": {"en": english, "sw": text}}, ensure_ascii=False) + "\n",
    "tmx": lambda text, english: (
        f'  <tu>\n    <tuv xml:lang="en"><seg>{escape(english)}</seg></tuv>\n'
        f'    <tuv xml:lang="sw"><seg>{escape(text)}</seg></tuv>\n  </tu>\n'
    ),
}


def _opened(path: Path, kind: str) -> Any:
    if kind.endswith(".zst"):
        import pyarrow as pa

        return pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), "zstd")
    openers = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    return openers.get(path.suffix, open)(path, "wb")


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema([("translation", pa.struct([("en", pa.string()), ("sw", pa.string())]))])


def _table(batch: Sequence[tuple[str, str]]) -> Any:
    import pyarrow as pa

    return pa.Table.from_pylist([{"translation": {"en": english, "sw": text}} for text, english in batch], _schema())


def _row_groups(batches: Iterator[list[tuple[str, str]]]) -> Iterator[Any]:
    """Row groups of 200,000 rows: whoever holds one whole, shows it in memory."""
    import pyarrow as pa

    held: list[Any] = []
    for batch in batches:
        held.append(_table(batch))
        if len(held) * _ROWS >= 200_000:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def _batches(pairs: int) -> Iterator[list[tuple[str, str]]]:
    chosen = random.Random(0)
    words = ["".join(chosen.choices("abdefghijklmnoprstuwyzé", k=chosen.randint(2, 9))) for _ in range(5000)]
    sentences = [" ".join(chosen.choices(words, k=chosen.randint(6, 14))) for _ in range(2000)]
    for start in range(0, pairs, _ROWS):
        yield [
            (f"{sentences[i % 1999]} {i}", f"{sentences[i * 7 % 1997]} & {i}.")
            for i in range(start, min(pairs, start + _ROWS))
        ]


def report(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    body, slow = [], []
    for row in results["rows"]:
        best = min(row["rounds"], key=lambda one: one["wall"])
        speed = best["pairs"] / best["wall"]
        if row["format"] in BARRED and speed < BAR:
            slow.append(row["format"])
        peaks = [best["peak_mib"], row["grown"]["peak_mib"]]
        body.append(
            [row["format"], f"{speed:,.0f}", f"{best['pairs'] / best['cpu']:,.0f}"]
            + ["?" if peak is None else f"{peak:,.0f}" for peak in peaks]
            + ["?" if row["others"] is None else f"{row['others']:.0%}"]
        )
    small, large = results["pairs"], results["pairs"] * results["growth"]
    head = ["format", "pairs/s", "pairs per s of CPU time", f"peak MiB, {small:,} pairs", f"{large:,} pairs", "others"]
    machine = results["machine"]
    verdict = f"not met by {', '.join(slow)}" if slow else "met"
    return page(
        "Reading parallel text",
        True,
        [
            f"`python -m benchmarks.bitext`, {results['date']}, {machine['processor']}, one core, one process per "
            f"reading, best of {len(results['rows'][0]['rounds'])}. Peaks are of the whole process, libraries "
            f"included. *Others*: share of all cores that other programs took meanwhile.",
            table(head, body),
            f"The aim of {BAR:,} pairs/s for {' and '.join(BARRED)} is **{verdict}**.",
        ],
    )


def _peak_mib() -> float | None:
    """Return the highest resident memory of this process so far, None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    kib = next((line.split()[1] for line in lines if line.startswith("VmHWM")), None)
    return round(int(kib) / 1024, 1) if kib else None


if __name__ == "__main__":
    main()
