"""A world on disk: built once, opened by any number of readers.

    products/ reviews/ pages/ histories/   Parquet, one record type each
    truth/users truth/listings             generated: latent needs, false listings; for evaluation, never for agents or tools
    index/                                 tantivy, with the whole records in it
    quarantine.jsonl                       source records that could not be read, with file, line, field and reason
    world.json                             kind, seed, counts, categories

`build` is deterministic: the same configuration and source give the same `content_hash`, which is a sum over the
records of all Parquet folders and so does not depend on how they are split into files.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from prstack.errors import UserError
from prstack.settings import WorldConfig
from prstack.store.parts import write_text
from prstack.store.records import (
    Bad,
    adapter,
    data_files,
    explain,
    from_row,
    read_json_lines,
    read_parquet,
    read_records,
)
from prstack.types import History, Page, Product, Review
from prstack.world import adapters
from prstack.world.generated import source
from prstack.world.match import category_key, category_keys
from prstack.world.material import Contradiction, Latent, Material, Parts
from prstack.world.ondisk import Quarantine
from prstack.world.related import POOL, most_alike
from prstack.world.search import SearchIndex
from prstack.world.spool import Spool
from prstack.world.workers import Workers, usable_cores
from prstack.world.writing import (
    PIECES,
    Tally,
    write,
    write_catalogue,
    write_histories,
    write_pages,
    write_users,
)

SHOWN = 2000
"""Products of a category that are looked at where someone asks for its products."""
_FOLDERS = ("products", "reviews", "pages", "histories", "truth", "index")
_CACHE = 2048


def build(config: WorldConfig, folder: Path, progress: Callable[[str, int], None] | None = None, processes: int | None = None) -> dict[str, Any]:
    """Writes a world into a folder, in place of one that is there, and returns its counts and `content_hash`.

    `progress` is told each finished step and its number of records, several times for a large catalogue. `processes` share the
    work; without it, one for a catalogue of a single part and otherwise one a core. Raises UserError for a source that is missing
    or broken as a whole; single bad records are quarantined and counted.
    """
    folder, tell = Path(folder), progress or (lambda step, n: None)
    for name in _FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
    with _scratch(folder) as scratch, Quarantine(folder / "quarantine.jsonl") as bad:
        material = _read(config, scratch, bad, tell)
        parts = material.parts or Spool(scratch, material)
        if not parts.products:
            raise UserError(f"world={config.kind}: no product could be read" + (f"; first problem: {bad.first}" if bad else ""))
        with Workers(processes or (1 if parts.products == 1 else min(usable_cores(), PIECES))) as workers:
            made = _write(config, material, parts, folder, scratch, workers, tell)
    counts = {
        "products": made.counts["products"],
        "categories": len(made.categories),
        **{name: made.counts[name] for name in ("reviews", "pages", "users", "events")},
        "quarantined": len(bad),
        **material.counts,
    }
    return counts | {"content_hash": format(made.hash % (1 << 256), "064x")}


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """An empty folder in the world's, gone at the end."""
    scratch = folder / ".making"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch)


def _write(config: WorldConfig, material: Material, parts: Parts | Spool, folder: Path, scratch: Path, workers: Workers, tell: Callable[[str, int], None]) -> Tally:
    """Everything that the hash covers, in the order in which one needs the other: products and reviews, pages, users."""
    if material.parts:
        material.parts.prepare(scratch, workers)
    made = Tally()
    for tally in write_catalogue(parts, folder, workers):
        made += tally
        tell("products", made.counts["products"])
    made += write_pages(folder, material.pages)
    tell("indexed products and pages", made.counts["products"] + made.counts["pages"])
    meta = {"kind": config.kind, "seed": config.seed, "categories": dict(sorted(made.categories.items()))}
    write_text(json.dumps(meta, indent=1, ensure_ascii=False) + "\n", folder / "world.json")
    if material.parts and not config.histories:
        for tally in write_users(material.parts, folder, workers):
            made += tally
    else:
        made += write_histories(folder, _own_histories(config, material) if config.histories else material.histories(World.open(folder)))
        made.hash += write(folder / "truth" / "users", Latent, material.latent, empty=False).hash
    made.hash += write(folder / "truth" / "listings", Contradiction, material.contradictions, empty=False).hash
    tell("users", made.counts["users"])
    return made


def _read(config: WorldConfig, scratch: Path, bad: Quarantine, tell: Callable[[str, int], None]) -> Material:
    return replace(source.read(config), bad=bad) if config.kind == "generated" else adapters.read(config, scratch, bad, tell)


def _own_histories(config: WorldConfig, material: Material) -> Iterator[History]:
    """The user's own histories. Empty ones and second ones of a user are quarantined."""
    seen: set[str] = set()
    before = len(material.bad)
    for path in data_files(config.histories, "world.histories"):
        for line, history in _numbered(path, material.bad.append):
            reason = "no events" if not history.events else "this user has a history already" if history.user_id in seen else ""
            if reason:
                material.bad.append(Bad(str(path), line, "events" if not history.events else "user_id", reason, history.user_id))
            else:
                seen.add(history.user_id)
                yield history
    if not seen:
        first = f"; first problem: {material.bad.first}" if material.bad else ""
        raise UserError(f"world.histories={config.histories}: no history could be read{first}")
    material.counts["histories_read"] = len(seen) + len(material.bad) - before


def _numbered(path: Path, on_bad: Callable[[Bad], None]) -> Iterator[tuple[int, History]]:
    """(line or row number, history) of a file."""
    if path.suffix != ".parquet":
        for line, row in read_json_lines(path, on_bad):
            try:
                yield line, from_row(History, row)
            except ValidationError as e:
                field, reason = explain(e)
                on_bad(Bad(str(path), line, field, reason, json.dumps(row, ensure_ascii=False)[:500]))
        return
    row = 0

    def count_bad(bad: Bad) -> None:
        nonlocal row
        row += 1
        on_bad(bad)

    for history in read_parquet(path, History, count_bad):
        row += 1
        yield row, history


class World:
    """A world opened for reading. Cheap to open; records are read by id from the index."""

    def __init__(self, folder: Path, meta: dict):
        self.folder = folder
        self.kind: str = meta["kind"]
        self._categories: dict[str, int] = meta["categories"]
        self.search = SearchIndex(folder / "index")
        self._record = functools.lru_cache(_CACHE)(self._load)
        self._in_category = functools.lru_cache(_CACHE)(functools.partial(self.search.in_category, limit=SHOWN))

    @staticmethod
    def open(folder: str | Path) -> World:
        """Raises UserError when there is no world in the folder."""
        path = Path(folder) / "world.json"
        try:
            return World(Path(folder), json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as e:
            raise UserError(f"{folder}: there is no world here; run `prstack world` first") from e
        except (ValueError, KeyError) as e:
            raise UserError(f"{path}: not a world of this prstack ({e}); remove the folder and run `prstack world` again") from e

    def _load(self, id: str) -> tuple[Product, bytes] | None:
        found = self.search.product(id)
        return (adapter(Product).validate_json(found[0]), found[1]) if found else None

    def get(self, id: str) -> Product | None:
        """The product of an id."""
        found = self._record(id)
        return found[0] if found else None

    def reviews_of(self, product_id: str) -> list[Review]:
        found = self._record(product_id)
        return adapter(list[Review]).validate_json(found[1]) if found else []

    def variants_of(self, product: Product, limit: int = SHOWN) -> list[Product]:
        """The other products with the same parent, by id; none where it names no parent."""
        ids = self.search.variants(product.parent_id, SHOWN) if product.parent_id else []
        return [p for p in map(self.get, [i for i in ids if i != product.id][:limit]) if p is not None]

    def related_to(self, product: Product, limit: int = 3) -> list[Product]:
        """Other products of its category that are most like it and no variants of it, those in stock first."""
        ids = self.search.alike(product.title, product.category, product.brand, product.price, product.parent_id, POOL + 1)
        return most_alike(product, [p for p in map(self.get, [i for i in ids if i != product.id][:POOL]) if p is not None], limit)

    def page(self, id: str) -> Page | None:
        """The web page of an id."""
        found = self.search.page(id)
        return adapter(Page).validate_json(found) if found else None

    def categories(self) -> list[str]:
        """All categories, sorted."""
        return list(self._categories)

    def category_named(self, name: str) -> str | None:
        """The one category that a name stands for: itself, or the only one of which it is a level or a beginning."""
        if name in self._categories:
            return name
        found = [c for c in self._categories if category_key(name) in category_keys(c)]
        return found[0] if len(found) == 1 else None

    def by_category(self, category: str) -> list[Product]:
        """The products in a category (or under it), by id; of more than `SHOWN`, of the first ones in the catalogue."""
        return [p for p in map(self.get, self._in_category(category)) if p is not None]

    def products(self) -> Iterator[Product]:
        """All products, in catalogue order."""
        return self._all("products", Product)

    def reviews(self) -> Iterator[Review]:
        return self._all("reviews", Review)

    def pages(self) -> Iterator[Page]:
        return self._all("pages", Page)

    def histories(self) -> Iterator[History]:
        """The users' histories, in the world's order."""
        return self._all("histories", History)

    def users(self) -> list[str]:
        """The ids of the users who have a history, in the world's order."""
        users: list[str] = []
        for file in self._history_files():
            with pq.ParquetFile(file) as parquet:
                users += parquet.read(columns=["user_id"])["user_id"].to_pylist()
        return users

    def histories_of(self, users: Collection[str]) -> dict[str, History]:
        """User → history, of some users. Reads all histories, and makes records of theirs alone."""
        wanted = pa.array(users, pa.large_string())
        rows: dict[str, History] = {}
        for file in self._history_files():
            with pq.ParquetFile(file) as parquet:
                for batch in parquet.iter_batches(batch_size=256):
                    found = batch.filter(pc.is_in(batch["user_id"], value_set=wanted))
                    rows |= {row["user_id"]: from_row(History, row) for row in found.to_pylist()}
        return rows

    def _history_files(self) -> list[Path]:
        return data_files(self.folder / "histories", "world histories")

    def _all(self, name: str, cls: type) -> Iterator[Any]:
        def on_bad(bad: Bad) -> None:
            raise UserError(f"{bad}; remove {self.folder} and run `prstack world` again")

        return read_records(self.folder / name, cls, on_bad, f"world {name}")
