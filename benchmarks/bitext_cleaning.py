"""Cleaning parallel text: pairs per second on one core, from the file to the verdict, and peak memory as files grow.

``python -m benchmarks.bitext_cleaning [--pairs 300000] [--memory 100000 1000000]`` writes ``bitext_cleaning.json`` and
``bitext_cleaning.md`` to ``benchmarks/results/``. Sentences are made of the words of emoji names in Swahili and
English, common words often and rare ones seldom; a share of the lines is spoilt in the ways that cleaning looks for.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from kivuko.files import write_text

_ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
BAR = 50_000  # pairs per second, reading and every rule that needs no library
MODES = ("off", "fast", "full")
_WORDS = (6, 20)  # of a sentence
_CAPTIONS = 20_000  # to be looked for in a run of its own
_FEW = 20_000  # pairs at most where the library is asked about each


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark as the command line asks for it."""
    parser = argparse.ArgumentParser(prog="benchmarks.bitext_cleaning", description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=300_000, help="to be timed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="*", default=[100_000, 1_000_000], help="sizes; none: leave it out")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--mode", help=argparse.SUPPRESS)
    parser.add_argument("--captions", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.one:
        print(json.dumps(clean_once(asked.one, asked.mode, asked.captions)))
        return
    run(asked.pairs, asked.rounds, asked.memory, asked.out)


def run(pairs: int, rounds: int, memory: Sequence[int], folder: Path, console: Console | None = None) -> dict[str, Any]:
    """Measure, write the results, and return them as they stand in ``bitext_cleaning.json``."""
    from benchmarks.machine import Interference, describe_machine

    console = console or Console(stderr=True)
    results: dict[str, Any] = {
        "machine": describe_machine(), "date": time.strftime("%Y-%m-%d"), "pairs": pairs, "speed": [], "memory": [],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        file, few, captions = (Path(place) / name for name in ("sw.tsv", "few.tsv", "captions.txt"))
        write_sentences(file, pairs)
        write_sentences(few, min(pairs, _FEW))
        write_captions(captions, _CAPTIONS)
        for number in range(rounds):
            for mode, looked in (*((mode, None) for mode in MODES), ("off", captions)):
                watch = Interference()
                found = in_own_process(few if mode == "full" else file, mode, looked)
                found |= {"mode": mode, "captions": _CAPTIONS if looked else 0, "round": number + 1}
                results["speed"].append(found | {"interference": watch.share()})
                console.print(
                    f"{mode}{' with captions' if looked else ''}: {found['pairs'] / found['wall']:,.0f} pairs/s"
                )
        for count in memory:
            own = Path(place) / f"{count}.tsv"
            write_sentences(own, count)
            results["memory"].append(in_own_process(own, "off") | {"size": own.stat().st_size})
            own.unlink()
            console.print(f"{count:,} pairs: peak {results['memory'][-1]['peak_mib']} MiB")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "bitext_cleaning.json", json.dumps(results, indent=1) + "\n")
    write_text(folder / "bitext_cleaning.md", report(results))
    return results


def in_own_process(file: Path, mode: str, captions: Path | None = None) -> dict[str, Any]:
    """Clean a file in a new process that is held to one core and one thread."""
    command = [sys.executable, "-m", "benchmarks.bitext_cleaning", "--one", str(file), "--mode", mode]
    if captions is not None:
        command += ["--captions", str(captions)]
    one = {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=_ROOT, env=os.environ | one, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def clean_once(file: Path, mode: str, captions: Path | None) -> dict[str, Any]:
    """Read and clean a file in this process; seconds do not count imports and tables that are made once."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0), key=lambda core: core)})
    from kivuko.bitext.cleaning import Sifting
    from kivuko.bitext.leak import LeakCheck
    from kivuko.bitext.reading import open_source
    from kivuko.bitext.rules import Rules

    check = LeakCheck(captions.read_text("utf-8").splitlines()) if captions else None
    rules = Rules(language_id=mode)  # type: ignore[arg-type]
    sifting = Sifting(open_source(file, "sw"), rules, captions=check)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in sifting.batches():
        pass
    account = sifting.account
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "pairs": account.seen, "kept": account.kept, "dropped": dict(account.dropped), "identified": account.identified,
        "wall": wall, "cpu": cpu, "peak_mib": _peak_mib(),
    }  # fmt: skip


def write_sentences(file: Path, pairs: int, seed: int = 0) -> None:
    """Write made-up pairs, nine in ten as they should be, the tenth spoilt."""
    chosen = random.Random(seed)
    draw = [_drawer(words, chosen) for words in _vocabularies()]
    spoil = _spoilers()
    with file.open("w", encoding="utf-8") as stream:
        text = english = ""
        for number in range(pairs):
            before, (text, english) = (text, english), (draw[0](), draw[1]())
            if number and number % 10 == 0:
                text, english = spoil[number // 10 % len(spoil)](text, english, before)
            stream.write(f"{text}\t{english}\n")


def write_captions(file: Path, captions: int) -> None:
    """Write made-up captions in both languages; hardly any of them is in ``write_sentences``."""
    draw = [_drawer(words, random.Random(1)) for words in _vocabularies()]
    file.write_text("".join(f"{draw[number % 2]()}\n" for number in range(captions)), encoding="utf-8")


def report(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    lines = [
        "# Cleaning parallel text", "",
        f"`python -m benchmarks.bitext_cleaning`, {results['date']}, {results['machine']['processor']}, one core. "
        f"{results['pairs']:,} pairs in a plain TSV file; reading and judging counted, imports not.", "",
        "| languages identified | captions looked for | pairs | pairs/s | pairs/s of CPU time "
        "| sentences asked of lingua | others on the cores |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    best: dict[tuple[str, int], dict[str, Any]] = {}
    for row in results["speed"]:
        key = row["mode"], row["captions"]
        if key not in best or row["wall"] < best[key]["wall"]:
            best[key] = row
    for (mode, captions), row in best.items():
        others = row["interference"]
        lines.append(
            f"| {mode} | {captions:,} | {row['pairs']:,} | {row['pairs'] / row['wall']:,.0f} | "
            f"{row['pairs'] / row['cpu']:,.0f} | {row['identified']:,} | {'?' if others is None else f'{others:.0%}'} |"
        )
    if ("off", 0) in best:
        speed = best["off", 0]["pairs"] / best["off", 0]["wall"]
        verdict = "met" if speed >= BAR else "not met"
        lines += [
            "",
            f"Best of the rounds. The bar of {BAR:,} pairs/s, without language identification, is **{verdict}**.",
        ]
    if results["memory"]:
        lines += ["", "## Peak memory", "", "| pairs | file, MB | peak of the process, MiB |", "|---:|---:|---:|"]
        lines += [
            f"| {row['pairs']:,} | {row['size'] / 1e6:,.0f} | {row['peak_mib']:,.0f} |" for row in results["memory"]
        ]
    return "\n".join(lines) + "\n"


def _vocabularies() -> list[list[str]]:
    """Words of emoji names and keywords in Swahili and in English, as Unicode's CLDR has them."""
    from kivuko.datasets.emoji.sources import find_cldr, read_annotations
    from kivuko.text import word_list

    folder = find_cldr()
    found = []
    for code in ("sw", "en"):
        words: dict[str, None] = {}
        for annotation in read_annotations(folder, code).values():
            for text in (annotation.name, *annotation.keywords):
                words |= dict.fromkeys(word for word in word_list(text) if word.isalpha())
        found.append(list(words))
    return found


def _drawer(words: Sequence[str], chosen: random.Random) -> Callable[[], str]:
    """A function that makes a sentence: the word of rank r comes with a weight of 1 / (r + 10)."""
    weights: list[float] = []
    for rank in range(len(words)):
        weights.append((weights[-1] if weights else 0.0) + 1 / (rank + 10))

    def draw() -> str:
        found = chosen.choices(words, cum_weights=weights, k=chosen.randint(*_WORDS))
        return " ".join(found).capitalize() + "."

    return draw


Spoiler = Callable[[str, str, tuple[str, str]], tuple[str, str]]


def _spoilers() -> list[Spoiler]:
    return [
        lambda text, english, before: before,  # a duplicate
        lambda text, english, before: (english, english),
        lambda text, english, before: (english, text),
        lambda text, english, before: (text, english[:3]),
        lambda text, english, before: ("", english),
        lambda text, english, before: (f"<p>{text}</p>", english),
        lambda text, english, before: ("http://example.org/a", english),
        lambda text, english, before: ("Черный кот спит на кухонном столе", english),
    ]


def _peak_mib() -> float | None:
    """Return the process's highest resident memory so far, None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found: Iterator[str] = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    kib = next(found, None)
    return round(int(kib) / 1024, 1) if kib else None


if __name__ == "__main__":
    main()
