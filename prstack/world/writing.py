"""Records onto disk: Parquet, hashes and the search index, part by part.

1. A catalogue comes in parts (`prstack.world.material.Parts`); each becomes a Parquet file of products and one of their reviews.
   A run of parts makes one piece of the search index; there are at most `PIECES`, however many parts and processes.
2. A record is turned into a row and its canonical JSON once; from these come the Parquet file, the hash and the stored record.

In memory are a few thousand rows and the growing piece of the index, for each process.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prstack.store.parts import ROW_GROUP
from prstack.store.records import encoded
from prstack.types import History, Page, Product, Review, arrow_schema
from prstack.world.index import assemble
from prstack.world.material import Latent, Parts
from prstack.world.search import page_fields, page_writer, product_fields, product_writer
from prstack.world.spool import Spool
from prstack.world.workers import Workers

PIECES = 8
"""The most pieces of an index; a search looks into each."""
_ROWS, _CHARACTERS = 4096, 8 << 20
"""Rows, and characters of their JSON, that a table holds back before it writes them; whichever is reached first."""


@dataclass(slots=True)
class Tally:
    """How many records were written, and the sum of their hashes."""

    hash: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    """Products by category."""

    def __iadd__(self, other: Tally) -> Tally:
        self.hash += other.hash
        self.counts.update(other.counts)
        self.categories.update(other.categories)
        return self


class Table:
    """A Parquet file of one record type, as a context manager. No file is made for no records, unless `empty`."""

    def __init__(self, folder: Path, cls: type, part: int = 0, empty: bool = True):
        self.path, self.name, self.schema, self.empty = folder / f"part-{part:06d}.parquet", cls.__name__, arrow_schema(cls), empty
        self.hash = self.records = self._characters = 0
        self._rows: list[dict] = []
        self._writer: pq.ParquetWriter | None = None

    def add(self, row: dict, text: str) -> None:
        """A record, `encoded`."""
        self.hash += int.from_bytes(hashlib.sha256(f'["{self.name}",{text}]'.encode("utf-8", "replace")).digest(), "big")
        self.records += 1
        self._rows.append(row)
        self._characters += len(text)
        if len(self._rows) >= _ROWS or self._characters >= _CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self.path, self.schema, compression="zstd")
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self.schema), row_group_size=ROW_GROUP)
        self._rows.clear()
        self._characters = 0

    def __enter__(self) -> Table:
        return self

    def __exit__(self, *exc: object) -> None:
        if exc[0] is None and (self._rows or (self.empty and self._writer is None)):
            self._flush()
        if self._writer is not None:
            self._writer.close()


def write(folder: Path, cls: type, records: Iterable[Any], empty: bool = True) -> Table:
    """Writes records as they come, in one file."""
    with Table(folder, cls, empty=empty) as table:
        for record in records:
            table.add(*encoded(record))
    return table


def write_catalogue(parts: Parts | Spool, folder: Path, workers: Workers) -> Iterator[Tally]:
    """Writes and indexes all products with their reviews; yields what each piece came to."""
    size = -(-parts.products // PIECES)
    runs = [range(n, min(n + size, parts.products)) for n in range(0, parts.products, size)]
    yield from workers.map(_write_piece, (parts, folder), runs)
    assemble(folder / "index" / "products", [_piece(folder, run) for run in runs])


def _piece(folder: Path, run: range) -> Path:
    return folder / "index" / f"products-{run.start:06d}"


def _write_piece(shared: tuple[Parts | Spool, Path], run: range) -> Tally:
    parts, folder = shared
    tally, index = Tally(), product_writer(_piece(folder, run), parts.first(run.start))
    for part in run:
        with Table(folder / "products", Product, part) as products, Table(folder / "reviews", Review, part) as reviews:
            for (row, text), said in parts.catalogue(part):
                products.add(row, text)
                for review in said:
                    reviews.add(*review)
                index.add(row["id"], **product_fields(row, text, f"[{','.join(t for _, t in said)}]"))
                tally.categories[row["category"]] += 1
        tally += Tally(products.hash + reviews.hash, Counter(products=products.records, reviews=reviews.records))
    index.close()
    return tally


def write_pages(folder: Path, pages: Iterable[Page]) -> Tally:
    """Writes and indexes pages as they come."""
    piece = folder / "index" / "pages-000000"
    index = page_writer(piece)
    with Table(folder / "pages", Page) as table:
        for page in pages:
            row, text = encoded(page)
            table.add(row, text)
            index.add(row["id"], **page_fields(row, text))
    index.close()
    assemble(folder / "index" / "pages", [piece])
    return Tally(table.hash, Counter(pages=table.records))


def write_histories(folder: Path, histories: Iterable[History]) -> Tally:
    """Writes histories as they come."""
    counts: Counter[str] = Counter(users=0, events=0)
    with Table(folder / "histories", History) as table:
        for history in histories:
            table.add(*encoded(history))
            counts.update(users=1, events=len(history.events))
    return Tally(table.hash, counts)


def write_users(parts: Parts, folder: Path, workers: Workers) -> Iterator[Tally]:
    """Writes the histories and latent needs of all users; yields what each part came to."""
    yield from workers.map(_write_users, (parts, folder), range(parts.users))


def _write_users(shared: tuple[Parts, Path], part: int) -> Tally:
    from prstack.world.world import World

    parts, folder = shared
    events = 0
    with Table(folder / "histories", History, part) as histories, Table(folder / "truth" / "users", Latent, part, empty=False) as needs:
        for history, need in parts.histories(part, World.open(folder)):
            histories.add(*encoded(history))
            needs.add(*encoded(need))
            events += len(history.events)
    return Tally(histories.hash + needs.hash, Counter(users=histories.records, events=events))
