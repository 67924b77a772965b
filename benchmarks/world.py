"""The generated world at its sizes: how long it takes to make, how much memory, and what searching it costs.

    python -m benchmarks.world            10k, 100k and 1M products, a user to a hundred products; some minutes
    python -m benchmarks.world --quick    20k products, under two minutes
    python -m benchmarks.world --products 100000 --processes 2
    python -m benchmarks.world --products 1000000 --difficulty medium

1. Each world is built by `build`, with time and the peak of the memory (PSS) of all its processes. Where time goes is measured by
   itself, one part of the catalogue in one process: records made, written as Parquet, indexed.
2. Searches: `World.search.products` and the ten records behind its ids, against tantivy itself: the same boolean query, built once a
   call, on the same index, and the stored records of ten hits. Both sides take each query in turn, in random order, in one process that
   has answered as many others before; ours then has some of its records parsed already, as a tool that serves many episodes has.
   `tool_…` is the whole call of product_search, its text included.
3. Readers: 8 processes that hold the world open after 200 searches and visits each, less 8 that only have the same imports.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks.common import (
    GIB,
    MIB,
    Clock,
    Figure,
    PeakMemory,
    finish,
    machine,
    percentile,
    pss,
    table,
    versions,
)
from prstack.settings import WorldConfig
from prstack.tools.toolbox import Toolbox
from prstack.types import Product, Review, ToolCall
from prstack.world.generated.catalogue import CATEGORIES
from prstack.world.generated.source import PART, Generated
from prstack.world.opinions import praise_words
from prstack.world.search import product_fields, product_writer
from prstack.world.workers import Workers
from prstack.world.world import build
from prstack.world.writing import Table

QUERIES, VISITS, READERS, READS = 2000, 1000, 8, 200
A_USER_TO = 100
"""Products for each user."""
_NAMES = {10_000: "10k", 20_000: "20k", 100_000: "100k", 1_000_000: "1m"}
_READER = """
import json, random, sys
from benchmarks.world import queries
from prstack.tools.toolbox import Toolbox
from prstack.types import ToolCall
if len(sys.argv) > 1:
    folder, products, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    box, rng = Toolbox(folder), random.Random(seed)
    for n, arguments in enumerate(queries(rng, {reads})):
        assert box.call(ToolCall("c", "product_search", json.dumps(arguments))).ok
        assert box.call(ToolCall("c", "visit_product", json.dumps({{"product_id": f"P{{1001 + rng.randrange(products)}}"}}))).ok
print("ready", flush=True)
sys.stdin.read()
"""


def queries(rng: random.Random, n: int) -> list[dict]:
    """Searches as agents make them: noun and attributes or praise or use, most with a filter or two."""
    out = []
    for _ in range(n):
        c = rng.choice(CATEGORIES)
        names = [s.name for s in rng.sample(c.numeric, 2)]
        words = rng.choice((names, [w for a in names for w in praise_words(a)[:1]], ["for", rng.choice(c.uses)], []))
        found: dict = {"query": " ".join([c.noun.lower(), *words])}
        if rng.random() < 0.7:
            found["max_price"] = round(rng.uniform(c.price[0] * 1.5, c.price[1]), 2)
        if rng.random() < 0.3:
            found["category"] = c.name
        if rng.random() < 0.2:
            found["min_rating"] = rng.choice((3, 3.5, 4))
        out.append(found)
    return out


def name_of(products: int) -> str:
    return _NAMES.get(products, str(products))


def build_world(products: int, folder: Path, processes: int | None, difficulty: str) -> dict[str, Figure]:
    """Builds a world, and tells how long it took and how much memory."""
    clock, last = Clock(), 0.0

    def tell(step: str, n: int) -> None:
        nonlocal last
        print(f"{name_of(products)}: {n:,} {step} after {clock.seconds:.0f} s", flush=True)
        if step.startswith("indexed"):
            last = clock.seconds

    with PeakMemory() as memory:
        build(WorldConfig(products=products, users=max(1, products // A_USER_TO), difficulty=difficulty), folder, tell, processes)
    full = products == 1_000_000
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    return {
        f"world_{name_of(products)}_minutes": Figure(clock.seconds / 60, 10 if full else None, "min"),
        f"world_{name_of(products)}_peak_gib": Figure(memory.peak / GIB, 4 if full else None, "GiB"),
        f"world_{name_of(products)}_products_s": Figure(products / last, None, "products/s, all processes"),
        f"world_{name_of(products)}_users_s": Figure(max(1, products // A_USER_TO) / (clock.seconds - last), None, "users/s, all processes"),
        f"world_{name_of(products)}_disk_mib": Figure(size / MIB, None, "MiB"),
    }


def steps(products: int, difficulty: str) -> dict[str, Figure]:
    """Products a second of each step of the catalogue, for one part of it in one process."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, parts = Path(scratch), Generated(WorldConfig(products=min(products, PART), difficulty=difficulty))
        n, seconds = parts.config.products, {}
        clock = Clock()
        parts.prepare(folder, Workers(1))
        seconds["survey"] = clock.seconds
        clock = Clock()
        made = list(parts.catalogue(0))
        seconds["generate"] = clock.seconds
        clock = Clock()
        with Table(folder / "products", Product) as listed, Table(folder / "reviews", Review) as said:
            for (row, text), reviews in made:
                listed.add(row, text)
                for review in reviews:
                    said.add(*review)
        seconds["write"] = clock.seconds
        clock = Clock()
        index = product_writer(folder / "index")
        for (row, text), reviews in made:
            index.add(row["id"], **product_fields(row, text, f"[{','.join(t for _, t in reviews)}]"))
        index.close()
        seconds["index"] = clock.seconds
    return {f"{step}_products_s": Figure(n / took, None, "products/s, one process") for step, took in seconds.items()}


def searches(products: int, folder: Path) -> dict[str, Figure]:
    """What searches and visits cost, ours and the engine's own."""
    box, rng = Toolbox(folder), random.Random(products)
    world = box.world
    engine = world.search._products.searcher

    def ours(arguments: dict) -> None:
        for id in world.search.products(**arguments):
            world.get(id)

    def direct(arguments: dict) -> None:
        for _, address in engine.search(world.search.product_query(**arguments), 10, count=False).hits:
            engine.doc(address).get_first("record")

    def tool(arguments: dict) -> None:
        box.call(ToolCall("c", "product_search", json.dumps(arguments)))

    def visit(arguments: dict) -> None:
        box.call(ToolCall("c", "visit_product", json.dumps({"product_id": f"P{1001 + rng.randrange(products)}"})))

    for arguments in queries(rng, QUERIES):
        ours(arguments), direct(arguments)
    took: dict[str, list[float]] = {"ours": [], "direct": [], "tool": [], "visit": []}
    for arguments in queries(rng, QUERIES):
        for side in rng.sample((ours, direct), 2):
            took[side.__name__].append(_milliseconds(side, arguments))
    for arguments in queries(rng, VISITS):
        for side in (tool, visit):
            took[side.__name__].append(_milliseconds(side, arguments))
    p50, p99 = ({side: percentile(times, share) for side, times in took.items()} for share in (0.5, 0.99))
    table(f"{name_of(products)} products: milliseconds", ("", "p50", "p99"), [(side, p50[side], p99[side]) for side in took])
    return {
        f"search_p50_over_tantivy_{name_of(products)}": Figure(p50["ours"] / p50["direct"], 1.5, "×"),
        f"search_p99_over_tantivy_{name_of(products)}": Figure(p99["ours"] / p99["direct"], 1.5, "×"),
        f"tantivy_p50_ms_{name_of(products)}": Figure(p50["direct"], None, "ms"),
        f"search_p50_ms_{name_of(products)}": Figure(p50["ours"], None, "ms"),
        f"tool_p50_ms_{name_of(products)}": Figure(p50["tool"], None, "ms"),
        f"visit_p50_ms_{name_of(products)}": Figure(p50["visit"], None, "ms"),
    }


def _milliseconds(side: Callable[[dict], None], arguments: dict) -> float:
    start = time.perf_counter()
    side(arguments)
    return 1000 * (time.perf_counter() - start)


def readers(products: int, folder: Path) -> dict[str, Figure]:
    """Memory of several processes that use a world, together."""
    idle = _memory_of([[] for _ in range(READERS)])
    busy = _memory_of([[str(folder), str(products), str(seed)] for seed in range(READERS)])
    return {
        f"readers_pss_mb_{name_of(products)}": Figure((busy - idle) / 1e6, None, f"MB, {READERS} processes, less their imports"),
        f"readers_pss_total_mb_{name_of(products)}": Figure(busy / 1e6, None, f"MB, {READERS} processes"),
    }


def _memory_of(arguments: list[list[str]]) -> int:
    """The proportional set sizes of so many readers together, in bytes."""
    code = _READER.format(reads=READS)
    running = [subprocess.Popen([sys.executable, "-c", code, *a], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for a in arguments]
    try:
        for process in running:
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError(f"a reader ended with code {process.wait()}")
        return sum(pss(psutil.Process(p.pid)) for p in running)
    finally:
        for process in running:
            process.stdin.close()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20,000 products, under two minutes")
    parser.add_argument("--products", type=int, nargs="+", help="other sizes")
    parser.add_argument("--processes", type=int, help="processes that build; default: one a core")
    parser.add_argument("--difficulty", choices=("easy", "medium", "hard"), default="easy", help="of the world; see WorldConfig")
    asked = parser.parse_args()
    sizes = asked.products or ([20_000] if asked.quick else [10_000, 100_000, 1_000_000])
    described, figures = machine(), {}
    for products in sizes:
        folder = Path(tempfile.mkdtemp(prefix="prstack-benchmark-"))
        try:
            figures |= build_world(products, folder, asked.processes, asked.difficulty)
            figures |= searches(products, folder)
            if products == sizes[-1]:
                figures |= steps(products, asked.difficulty) | readers(products, folder)
        finally:
            shutil.rmtree(folder)
    for name in ("search_p50_over_tantivy", "search_p99_over_tantivy"):
        figures[name] = Figure(max(f.value for key, f in figures.items() if key.startswith(name)), 1.5, "×, the worst size")
    finish("world", figures, bool(asked.quick or asked.products or asked.difficulty != "easy"), described, versions("prstack", "tantivy", "pyarrow", "numpy", "pydantic"))


if __name__ == "__main__":
    main()
