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

import functools
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from prstack.config import source_folder
from prstack.errors import UserError
from prstack.settings import WorldConfig
from prstack.store.parts import write_table, write_text
from prstack.store.records import (
    Bad,
    canonical_json,
    data_files,
    explain,
    from_row,
    read_json_lines,
    read_parquet,
    read_records,
    to_row,
)
from prstack.types import History, Page, Product, Review, arrow_schema
from prstack.world import generated, shoppingbench, tau_retail
from prstack.world.match import category_key, category_keys
from prstack.world.material import Contradiction, Latent, Material
from prstack.world.search import SearchIndex

PART_RECORDS = 20_000
"""Records a Parquet file."""
_FOLDERS = ("products", "reviews", "pages", "histories", "truth", "index")
_CACHE = 2048


def build(config: WorldConfig, folder: Path, progress: Callable[[str, int], None] | None = None) -> dict[str, Any]:
    """Writes a world into a folder, in place of one that is there, and returns its counts and `content_hash`.

    `progress` is told each finished step and its number of records. Raises UserError for a source that is missing or
    broken as a whole; single bad records are quarantined and counted.
    """
    folder = Path(folder)
    tell = progress or (lambda step, n: None)
    for name in _FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
    material = _read(config)
    if not material.products:
        raise UserError(f"world={config.kind}: no product could be read" + (f"; first problem: {material.bad[0]}" if material.bad else ""))
    tell("products", len(material.products))
    hashes = [_write(folder / name, cls, records) for name, cls, records in (("products", Product, material.products), ("reviews", Review, material.reviews), ("pages", Page, material.pages))]
    reviews_of: dict[str, list[Review]] = {}
    for review in material.reviews:
        reviews_of.setdefault(review.product_id, []).append(review)
    SearchIndex.build(
        folder / "index",
        ((p, _product_body(p, reviews_of.get(p.id, []))) for p in material.products),
        ((p, canonical_json(to_row(p)).encode()) for p in material.pages),
    )
    tell("indexed products and pages", len(material.products) + len(material.pages))

    categories = dict(sorted(Counter(p.category for p in material.products).items()))
    meta = {"kind": config.kind, "seed": config.seed, "categories": categories}
    write_text(json.dumps(meta, indent=1, ensure_ascii=False) + "\n", folder / "world.json")
    histories = _own_histories(config, material) if config.histories else list(material.histories(World.open(folder)))
    hashes.append(_write(folder / "histories", History, histories))
    for name, cls, records in (("users", Latent, material.latent), ("listings", Contradiction, material.contradictions)):
        if records:
            hashes.append(_write(folder / "truth" / name, cls, records))
    tell("users", len(histories))

    write_text("".join(json.dumps(asdict(b), ensure_ascii=False) + "\n" for b in material.bad), folder / "quarantine.jsonl")
    counts = {
        "products": len(material.products),
        "categories": len(categories),
        "reviews": len(material.reviews),
        "pages": len(material.pages),
        "users": len(histories),
        "events": sum(len(h.events) for h in histories),
        "quarantined": len(material.bad),
        **material.counts,
    }
    return counts | {"content_hash": format(sum(hashes) % (1 << 256), "064x")}


def _read(config: WorldConfig) -> Material:
    if config.kind == "generated":
        return generated.read(config)
    adapter = {"tau_retail": tau_retail, "shoppingbench": shoppingbench}[config.kind]
    return adapter.read(config, source_folder(config))


def _own_histories(config: WorldConfig, material: Material) -> list[History]:
    """The user's own histories. Empty ones and second ones of a user are quarantined."""
    seen: dict[str, History] = {}
    before = len(material.bad)
    for path in data_files(config.histories, "world.histories"):
        for line, history in _numbered(path, material.bad.append):
            reason = "no events" if not history.events else "this user has a history already" if history.user_id in seen else ""
            if reason:
                material.bad.append(Bad(str(path), line, "events" if not history.events else "user_id", reason, history.user_id))
            else:
                seen[history.user_id] = history
    if not seen:
        first = f"; first problem: {material.bad[0]}" if material.bad else ""
        raise UserError(f"world.histories={config.histories}: no history could be read{first}")
    material.counts["histories_read"] = len(seen) + len(material.bad) - before
    return list(seen.values())


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


def _write(folder: Path, cls: type, records: Iterable[Any]) -> int:
    """Writes records as Parquet files and returns the sum of their hashes."""
    folder.mkdir(parents=True)
    schema, rows, total, n = arrow_schema(cls), [], 0, 0

    def flush() -> None:
        nonlocal n
        write_table(pa.Table.from_pylist(rows, schema=schema), folder / f"part-{n:06d}.parquet")
        rows.clear()
        n += 1

    for record in records:
        row = to_row(record)
        total += int(hashlib.sha256(canonical_json([cls.__name__, row]).encode("utf-8", "replace")).hexdigest(), 16)
        rows.append(row)
        if len(rows) >= PART_RECORDS:
            flush()
    if rows or not n:
        flush()
    return total


def _product_body(product: Product, reviews: list[Review]) -> bytes:
    return canonical_json({"product": to_row(product), "reviews": [to_row(r) for r in reviews]}).encode()


class World:
    """A world opened for reading. Cheap to open; records are read by id from the index."""

    def __init__(self, folder: Path, meta: dict):
        self.folder = folder
        self.kind: str = meta["kind"]
        self._categories: dict[str, int] = meta["categories"]
        self.search = SearchIndex(folder / "index")
        self._record = functools.lru_cache(_CACHE)(self._load)
        self._in_category = functools.lru_cache(_CACHE)(self.search.in_category)

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

    def _load(self, id: str) -> tuple[Product, list[Review]] | None:
        body = self.search.product_body(id)
        if body is None:
            return None
        row = json.loads(body)
        return from_row(Product, row["product"]), [from_row(Review, r) for r in row["reviews"]]

    def get(self, id: str) -> Product | None:
        """The product of an id."""
        found = self._record(id)
        return found[0] if found else None

    def reviews_of(self, product_id: str) -> list[Review]:
        found = self._record(product_id)
        return found[1] if found else []

    def page(self, id: str) -> Page | None:
        """The web page of an id."""
        body = self.search.page_body(id)
        return from_row(Page, json.loads(body)) if body else None

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
        """The products in a category (or under it), by id."""
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

    def _all(self, name: str, cls: type) -> Iterator[Any]:
        def on_bad(bad: Bad) -> None:
            raise UserError(f"{bad}; remove {self.folder} and run `prstack world` again")

        return read_records(self.folder / name, cls, on_bad, f"world {name}")
