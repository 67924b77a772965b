"""Any shop's tables as a world, by a mapping (`prstack.world.adapters.mapping`).

Prices are read in any common notation ("1.299,00 €", "$1,299.00", 12.5), and name their currency where they do; descriptions are
cleaned of HTML; categories are paths. A row whose price, rating or availability cannot be read is quarantined with line and column;
so are rows with more or fewer cells than the head of a CSV file. Reviews and events of products that are not listed are counted
as unlisted (an event without a product is kept: a search, a dialogue). Ratings and their number, where no column holds them, are those
of the reviews.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from prstack.errors import UserError
from prstack.settings import WorldConfig
from prstack.store.records import MAX_LINE, Bad, read_json_lines
from prstack.types import Event, EventType, History, Page, Product, Review
from prstack.world.adapters.fields import (
    NO_CATEGORY,
    FieldError,
    attributes,
    brand,
    clean,
    identifier,
    number,
    take,
    text,
)
from prstack.world.adapters.mapping import Events, Mapping, Products, Table, load
from prstack.world.material import Material
from prstack.world.units import currency as read_currency
from prstack.world.units import price as read_price

IN_STOCK = {"true", "1", "yes", "y", "in stock", "instock", "available", "in_stock"}
OUT_OF_STOCK = {"false", "0", "no", "n", "out of stock", "outofstock", "unavailable", "sold out", "out_of_stock", "discontinued"}
_MISSING = object()


def read(config: WorldConfig, mapping_file: Path) -> Material:
    """Raises UserError for a mapping or file that is broken as a whole."""
    mapping, folder = load(mapping_file), mapping_file.parent
    material, found = Material([]), {}
    path = folder / mapping.products.file
    rows = partial(read_rows, path, mapping.products)
    material.products = list(take(material, "products", path, rows, partial(_product, mapping.products), lambda p: p.id, found))
    if mapping.reviews:
        path = folder / mapping.reviews.file
        for review in take(material, "reviews", path, partial(read_rows, path, mapping.reviews), partial(_review, mapping.reviews, found)):
            material.reviews.append(replace(review, id=review.id or f"R{len(material.reviews) + 1}"))
        _rate(mapping, material, found)
    if mapping.pages:
        path = folder / mapping.pages.file
        for page in take(material, "pages", path, partial(read_rows, path, mapping.pages), partial(_page, mapping.pages)):
            material.pages.append(replace(page, id=page.id or f"W{len(material.pages) + 1}"))
    if mapping.events:
        users: dict[str, list[Event]] = {}
        path = folder / mapping.events.file
        for user, event in take(material, "events", path, partial(read_rows, path, mapping.events), partial(_event, mapping.events, found)):
            users.setdefault(user, []).append(event)
        histories = [History(u, _numbered(u, events)) for u, events in sorted(users.items()) if len(events) >= config.min_events]
        material.counts["users_skipped"] = len(users) - len(histories)
        material.histories = lambda world: histories
    return material


# --- rows ------------------------------------------------------------------------------------------------------
def read_rows(path: Path, table: Table, on_bad: Callable[[Bad], None]) -> Iterator[tuple[int, dict]]:
    """(line or row number, row) of a CSV, TSV, JSONL (.gz) or Parquet file. Raises UserError for one that is broken as a whole, or
    in which a mapped column does not stand."""
    ending = "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:]).lower()
    if ending in (".csv", ".tsv"):
        return _read_csv(path, table, on_bad)
    if ending in (".jsonl", ".jsonl.gz", ".ndjson"):
        return read_json_lines(path, on_bad)
    if ending == ".parquet":
        return _read_parquet(path, table)
    raise UserError(f"{path}: expected .csv, .tsv, .jsonl, .jsonl.gz or .parquet")


def _read_csv(path: Path, table: Table, on_bad: Callable[[Bad], None]) -> Iterator[tuple[int, dict]]:
    csv.field_size_limit(MAX_LINE)
    delimiter = table.delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        head = next(reader, None)
        if not head:
            raise UserError(f"{path}:1: expected a line with the columns' names")
        _check_columns(path, table, head)
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as e:
                on_bad(Bad(str(path), line, "", f"not CSV: {e}", ""))
                continue
            if not cells:
                continue
            excerpt = delimiter.join(cells)[:200].encode("utf-8", "replace").decode()
            if len(cells) != len(head):
                on_bad(Bad(str(path), line, "", f"expected {len(head)} cells, found {len(cells)}", excerpt))
            elif bad := next((h for h, c in zip(head, cells, strict=True) if not c.isprintable() and _broken(c)), None):
                on_bad(Bad(str(path), line, bad, "not UTF-8 text", excerpt))
            else:
                yield line, dict(zip(head, cells, strict=True))


def _broken(cell: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in cell)


def _read_parquet(path: Path, table: Table) -> Iterator[tuple[int, dict]]:
    row = 0
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, table, file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=1024):
                for entry in batch.to_pylist(maps_as_pydicts="lossy"):
                    row += 1
                    yield row, entry
    except (pa.ArrowException, OSError, ValueError) as e:
        raise UserError(f"{path}: not a readable Parquet file ({' '.join(str(e).split())[:200]})") from e


def _check_columns(path: Path, table: Table, columns: list[str]) -> None:
    listed = getattr(table, "attributes", [])
    wanted = [*table.fields.values(), *(listed.values() if isinstance(listed, dict) else listed if listed != "*" else [])]
    for column in wanted:
        if column not in columns and column.split(".")[0] not in columns:
            raise UserError(f"{path}: there is no column {column} (there are: {', '.join(columns)[:300]})")


def _value(row: dict, column: str) -> Any:
    """The value of a column; `_MISSING` where the row has none."""
    if column in row:
        return row[column]
    at: Any = row
    for part in column.split("."):
        if not isinstance(at, dict) or part not in at:
            return _MISSING
        at = at[part]
    return at


def _ours(table: Table, row: dict) -> dict:
    """The row under our names; empty cells are left out."""
    values = {ours: _value(row, column) for ours, column in table.fields.items()}
    return {k: v for k, v in values.items() if v is not _MISSING and v is not None and v != ""}


# --- records ---------------------------------------------------------------------------------------------------
def _product(table: Products, row: dict) -> Product:
    ours = _ours(table, row)
    amount, unit = _price(ours.get("price"))
    return Product(
        id=identifier(ours, "id"),
        title=text(ours, "title", required=True),
        category=_category(ours.get("category"), table.category_separator),
        brand=brand(text(ours, "brand")),
        price=amount,
        currency=unit or table.currency,
        rating=number(ours, "rating", 0, 5),
        n_reviews=int(number(ours, "n_reviews", 0, 1e9) or 0),
        description=text(ours, "description"),
        attributes=attributes(_attribute_pairs(table, row)),
        parent_id=identifier(ours, "parent_id") if "parent_id" in ours else "",
        available=_available(ours.get("available", True)),
    )


def _price(value: Any) -> tuple[float | None, str | None]:
    if value is None:
        return None, None
    unit = read_currency(value) if isinstance(value, str) else None
    amount = read_price(value) if isinstance(value, str) else value
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 <= amount < 1e12:
        raise FieldError("price", f"expected one price, found {value!r}"[:120])
    return float(amount), unit


def _category(value: Any, separator: str) -> str:
    levels = value.split(separator) if isinstance(value, str) else value if isinstance(value, list) else [] if value is None else None
    if levels is None or not all(isinstance(level, str) for level in levels):
        raise FieldError("category", f"expected text or a list of texts, found {value!r}"[:120])
    return " > ".join(filter(None, (clean(level).replace(">", "/") for level in levels))) or NO_CATEGORY


def _available(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().casefold().rpartition("/")[2]  # also schema.org/InStock
    if word in IN_STOCK | OUT_OF_STOCK:
        return word in IN_STOCK
    raise FieldError("available", f"expected yes or no, in stock or out of stock, found {value!r}"[:120])


def _attribute_pairs(table: Products, row: dict) -> Iterator[tuple[str, Any]]:
    """(name, value) of the attributes' columns; an object in a column gives its own."""
    if table.attributes == "*":
        taken = {column.split(".")[0] for column in table.fields.values()}
        columns = {c: c for c in row if c not in taken}
    else:
        columns = table.attributes if isinstance(table.attributes, dict) else {c.rpartition(".")[2]: c for c in table.attributes}
    for name, column in columns.items():
        value = _value(row, column)
        if isinstance(value, dict):
            yield from ((k, v) for k, v in value.items() if v is not None)
        elif value is not _MISSING and value is not None:
            yield name, value


def _review(table: Table, products: dict[str, Product], row: dict) -> Review | None:
    ours = _ours(table, row)
    product = identifier(ours, "product_id")
    rating = number(ours, "rating", 0, 5)
    review = Review(identifier(ours, "id") if "id" in ours else "", product, rating or 0.0, text(ours, "text", required=True), identifier(ours, "user_id") if "user_id" in ours else "")
    return review if product in products else None


def _page(table: Table, row: dict) -> Page:
    ours = _ours(table, row)
    id = identifier(ours, "id") if "id" in ours else ""
    kind, published = text(ours, "kind") or "article", text(ours, "published")
    if not kind.replace("_", "").isalnum():
        raise FieldError("kind", f"expected one word, found {kind!r}"[:120])
    if any(c.isspace() for c in published):
        published = published.split()[0]  # a time of day says nothing here
    body = "\n".join(filter(None, (clean(line) for line in str(ours.get("text", "")).splitlines())))
    if not body:
        raise FieldError("text", "expected text, found nothing")
    return Page(id, text(ours, "url"), text(ours, "title", required=True), body, kind, published)


def _event(table: Events, products: dict[str, Product], row: dict) -> tuple[str, Event] | None:
    ours = _ours(table, row)
    word = text(ours, "type", required=True)
    kind = table.types.get(word, word)
    if kind not in get_args(EventType):
        raise FieldError("type", f"expected one of {', '.join(get_args(EventType))}, found {word!r}; say under events.types what it stands for"[:240])
    user, rating, stamp = identifier(ours, "user_id"), number(ours, "rating", 0, 5), str(ours.get("timestamp", ""))
    event = Event("", kind, stamp, rating=rating, text=text(ours, "text"))
    if "product_id" not in ours:
        return user, event
    product = products.get(identifier(ours, "product_id"))
    if product is None:
        return None
    return user, replace(event, product_id=product.id, title=product.title, category=product.category, price=product.price, attributes=product.attributes)


def _numbered(user: str, events: list[Event]) -> list[Event]:
    """Oldest first; the file's order where times are equal or missing."""
    return [replace(e, id=f"{user}-e{n}") for n, e in enumerate(sorted(events, key=lambda e: e.timestamp), 1)]


def _rate(mapping: Mapping, material: Material, products: dict[str, Product]) -> None:
    """Ratings and their number from the reviews, where no column holds them."""
    stars: dict[str, list[float]] = {}
    for review in material.reviews:
        stars.setdefault(review.product_id, []).append(review.rating)
    for id, given in stars.items():
        rated = [s for s in given if s > 0]
        if "rating" not in mapping.products.fields and rated:
            products[id].rating = round(sum(rated) / len(rated), 1)
        if "n_reviews" not in mapping.products.fields:
            products[id].n_reviews = len(given)
