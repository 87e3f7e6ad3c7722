"""Micro-batches: queries that wait are read together, each gets its own answer, and the latest are remembered."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from kivuko.bitext.language_id import UNKNOWN
from kivuko.errors import UsageError
from kivuko.serve.queries import QueryBatches, ReadQuery, query_reader


class Reader:
    """Reads a text as its length, notes the batches, and can be held."""

    def __init__(self):
        self.batches, self.go = [], threading.Event()
        self.go.set()

    def __call__(self, texts):
        self.go.wait(30)
        self.batches.append(list(texts))
        if "fault" in texts:
            raise RuntimeError("fault")
        return [
            UsageError(f"no {text}") if text.startswith("bad") else ReadQuery(text, np.full(2, len(text)), UNKNOWN, {})
            for text in texts
        ]


def run(work, reader=None, **options):
    async def started():
        batches = QueryBatches(reader or Reader(), **options)
        await batches.start()
        try:
            return await asyncio.wait_for(work(batches), 30)
        finally:
            await batches.stop()

    return asyncio.run(started())


def test_what_waits_is_read_in_one_pass_and_no_more_than_64_at_once():
    reader, sizes = Reader(), []
    reader.go.clear()

    async def work(batches):
        first = asyncio.create_task(batches.get("first"))
        await asyncio.sleep(0.05)  # the reader holds "first" now
        others = [asyncio.create_task(batches.get("x" * n)) for n in range(1, 101)]
        await asyncio.sleep(0)
        reader.go.set()
        return [int(read.vector[0]) for read in await asyncio.gather(first, *others)]

    assert run(work, reader, on_batch=sizes.append) == [5, *range(1, 101)]
    assert sizes == [1, 64, 36]
    assert [len(batch) for batch in reader.batches] == sizes


def test_the_same_query_is_read_once_for_all_who_wait_and_then_remembered():
    reader, found = Reader(), []

    async def work(batches):
        await asyncio.gather(*(batches.get("paka") for _ in range(5)))
        return await batches.get("paka")

    assert run(work, reader, on_lookup=found.append).text == "paka"
    assert reader.batches == [["paka"]]
    assert found == [False] * 5 + [True]


def test_the_least_recently_used_is_forgotten():
    reader = Reader()

    async def work(batches):
        for text in ("a", "b", "a", "c", "a", "b"):
            await batches.get(text)

    run(work, reader, remembered=2)
    assert [text for batch in reader.batches for text in batch] == ["a", "b", "c", "b"]


def test_an_error_is_its_own_query_s_and_is_not_remembered():
    reader = Reader()

    async def work(batches):
        good, bad = await asyncio.gather(batches.get("paka"), batches.get("bad"), return_exceptions=True)
        with pytest.raises(UsageError):
            await batches.get("bad")
        return good, bad

    good, bad = run(work, reader)
    assert good.text == "paka"
    assert str(bad) == "no bad"
    assert sum(batch.count("bad") for batch in reader.batches) == 2


def test_a_fault_does_not_end_the_worker():
    async def work(batches):
        with pytest.raises(RuntimeError):
            await batches.get("fault")
        return await batches.get("paka")

    assert run(work).text == "paka"


def test_who_leaves_takes_no_one_along():
    reader = Reader()
    reader.go.clear()

    async def work(batches):
        leaving, staying = (asyncio.create_task(batches.get("paka")) for _ in range(2))
        await asyncio.sleep(0.02)
        leaving.cancel()
        await asyncio.sleep(0.02)
        reader.go.set()
        return await staying

    assert run(work, reader).text == "paka"


def test_a_batch_with_an_unknown_query_is_read_one_by_one(searcher):
    from kivuko.serve.queries import language_guesser

    read = query_reader(searcher, language_guesser(searcher.model.encoder, searcher.folder))
    moto, unknown, mti = read(["moto", "ΩΩΩ", "mti"])
    assert (moto.text, mti.text) == ("moto", "mti")
    assert isinstance(unknown, UsageError)
    assert np.allclose(moto.vector, searcher.encode(["moto"])[0], atol=1e-6)
