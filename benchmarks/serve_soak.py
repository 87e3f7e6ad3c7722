"""Ask a running ``kivuko serve`` many times from several clients, and see how fast it answers and whether it grows.

    kivuko serve emoji.index &
    python benchmarks/serve_soak.py --url http://127.0.0.1:8117 --requests 20000 --clients 8 --pid $!
    python benchmarks/serve_soak.py --url http://127.0.0.1:8117 --requests 1000 --clients 1

Every query is new to the server unless ``--repeat`` says which share is not, so its cache of encoded queries does not
flatter it. Each client keeps one connection. Prints one JSON object: latencies in milliseconds as a client sees them,
queries per second, answers that were no 200, and how the server's resident memory went (its median over the second
tenth of the requests, after warming up, beside that over the last tenth). Exit status 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import statistics
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

WORDS = (
    *("paka", "mbwa", "samaki", "ndege", "nyumba", "gari", "moto", "maji", "jua", "mwezi", "nyota", "mti", "ua"),
    *("tunda", "mkate", "kitabu", "ufunguo", "kengele", "mpira", "zawadi", "uso", "moyo", "mkono", "mtu", "mwanamke"),
    *("mwanamume", "mtoto", "familia", "bendera", "mlima", "bahari", "mashua", "treni", "baiskeli", "simu", "saa"),
    *("nyekundu", "nyeusi", "nyeupe", "kijani", "kubwa", "ndogo", "furaha", "huzuni", "cheka", "lala", "kimbia"),
)
BARS = {1: {"p50_ms": 20.0, "p99_ms": 60.0}, 8: {"per_second": 100.0}}
MOST_GROWTH = 0.03  # of resident memory, between the second tenth and the last: what an allocator may wander


def main() -> None:
    """Run it."""
    options = _options()
    clients = [_Client(options, number) for number in range(options.clients)]
    memory = _Memory(options.pid)
    _Client(options, -1).ask(50)  # connections, threads, pages of the index
    began = time.perf_counter()
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.2)
        memory.look(sum(len(client.times) for client in clients))
    seconds = time.perf_counter() - began
    times = sorted(one for client in clients for one in client.times)
    told = {
        "clients": options.clients,
        "requests": len(times),
        "seconds": round(seconds, 1),
        "per_second": round(len(times) / seconds, 1),
        "p50_ms": _ms(times, 0.5),
        "p90_ms": _ms(times, 0.9),
        "p99_ms": _ms(times, 0.99),
        "max_ms": _ms(times, 1.0),
        "errors": sum(client.errors for client in clients),
        "first_error": next((client.first_error for client in clients if client.first_error), None),
        **memory.told(len(times)),
    }
    told["missed"] = _missed(told)
    print(json.dumps(told))
    sys.exit(1 if told["missed"] else 0)


class _Client:
    """One client with one connection and its own queries."""

    def __init__(self, options: argparse.Namespace, number: int) -> None:
        self._url = urlsplit(options.url)
        self._random = random.Random(f"{options.seed} {number}")
        self._repeat, self._k = options.repeat, options.k
        self._headers = {"X-API-Key": options.api_key} if options.api_key else {}
        self._number, self._count = number, options.requests // options.clients
        self._asked: list[str] = []
        self.times: list[float] = []
        self.errors, self.first_error = 0, ""

    def run(self) -> None:
        """Ask all of its queries, one after another."""
        self.ask(self._count)

    def ask(self, count: int) -> None:
        """Ask some queries."""
        connection = http.client.HTTPConnection(self._url.hostname or "", self._url.port, timeout=60)
        for _ in range(count):
            body = json.dumps({"query": self._query(), "k": self._k})
            began = time.perf_counter()
            try:
                connection.request("POST", "/api/search", body, {"Content-Type": "application/json", **self._headers})
                answer = connection.getresponse()
                content = answer.read()
                problem = "" if answer.status == 200 else f"{answer.status} {content[:200]!r}"
            except (OSError, http.client.HTTPException) as failed:
                problem = f"{type(failed).__name__}: {failed}"
                connection.close()
            self.times.append(time.perf_counter() - began)
            if problem:
                self.errors += 1
                self.first_error = self.first_error or problem
        connection.close()

    def _query(self) -> str:
        if self._asked and self._random.random() < self._repeat:
            return self._random.choice(self._asked)
        # A number of its own makes it new; the words before it are what the model reads.
        words = self._random.sample(WORDS, self._random.randint(1, 4))
        query = " ".join([*words, str(self._random.randrange(10**9))])
        self._asked = [*self._asked[-99:], query]
        return query


class _Memory:
    """Resident memory of a process, MB, over the number of requests done; nothing without a process."""

    def __init__(self, pid: int | None) -> None:
        self._file = Path(f"/proc/{pid}/statm") if pid else None
        self._seen: list[tuple[int, float]] = []

    def look(self, done: int) -> None:
        """Note the memory of this moment."""
        if self._file is not None:
            self._seen.append((done, int(self._file.read_text().split()[1]) * 4096 / 2**20))

    def told(self, total: int) -> dict[str, float | None]:
        """Return the memory after warming up, at the end, and its growth as a share."""
        early = [mb for done, mb in self._seen if 0.1 * total <= done <= 0.2 * total]
        late = [mb for done, mb in self._seen if done >= 0.9 * total]
        if not early or not late:
            return {"memory_warm_mb": None, "memory_end_mb": None, "growth": None}
        first, last = statistics.median(early), statistics.median(late)
        return {
            "memory_warm_mb": round(first, 1),
            "memory_end_mb": round(last, 1),
            "growth": round(last / first - 1, 4),
        }


def _missed(told: dict[str, object]) -> list[str]:
    missed = ["errors"] if told["errors"] else []
    for name, bar in BARS.get(int(str(told["clients"])), {}).items():
        value = float(str(told[name]))
        if value > bar if name.endswith("_ms") else value < bar:
            missed.append(name)
    if told["growth"] is not None and float(str(told["growth"])) > MOST_GROWTH:
        missed.append("growth")
    return missed


def _ms(times: list[float], share: float) -> float:
    return round(times[min(len(times) - 1, int(share * len(times)))] * 1000, 2)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8117")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--repeat", type=float, default=0.0, help="share of queries that were asked before")
    parser.add_argument("--pid", type=int, help="the server's process, to watch its memory")
    parser.add_argument("--api-key")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
