"""The mapping of `world.kind=table`: which column of which file is what.

    products:
      file: catalogue.csv            # CSV, TSV, JSONL (.gz too) or Parquet; relative to this file
      fields: {id: sku, title: name, category: path, price: offer.price}
      attributes: [colour, weight]   # columns; "*" is all that no field takes; {our name: column} renames
      currency: EUR                  # of prices that name none
      category_separator: "/"
    reviews: {file: reviews.jsonl, fields: {product_id: sku, rating: stars, text: body}}
    pages:   {file: guides.jsonl, fields: {title: headline, text: body}}
    events:  {file: events.parquet, fields: {user_id: customer, type: action, product_id: sku}, types: {buy: purchase}}

A dot in a column's name looks into an object ("offer.price") when no column is called so. Only `products` has to be there.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from prstack.errors import UserError
from prstack.store.records import explain
from prstack.types import EventType

FIELDS = {
    "products": ("id", "title", "category", "brand", "price", "rating", "n_reviews", "description", "available", "parent_id"),
    "reviews": ("id", "product_id", "rating", "text", "user_id"),
    "pages": ("id", "url", "title", "text", "kind", "published"),
    "events": ("user_id", "type", "timestamp", "product_id", "rating", "text"),
}
"""What a table of each kind can give."""
REQUIRED = {"products": ("id", "title"), "reviews": ("product_id", "text"), "pages": ("title", "text"), "events": ("user_id", "type")}


@dataclass
class Table:
    """One file. `fields`: our name → its column."""

    file: str
    fields: dict[str, str]
    delimiter: str | None = None
    """Of a CSV file; default: a comma, a tab for .tsv."""

    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass
class Products(Table):
    attributes: list[str] | dict[str, str] | typing.Literal["*"] = field(default_factory=list)
    currency: str = "USD"
    category_separator: str = ">"


@dataclass
class Events(Table):
    types: dict[str, EventType] = field(default_factory=dict)
    """What your words for events stand for; our own words stand for themselves."""


@dataclass
class Mapping:
    products: Products
    reviews: Table | None = None
    pages: Table | None = None
    events: Events | None = None

    __pydantic_config__ = ConfigDict(extra="forbid")


def load(path: Path) -> Mapping:
    """Reads a mapping. Raises UserError naming the file and the key."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise UserError(f"world.mapping: {path}: no such file") from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise UserError(f"world.mapping: {path}: not YAML ({' '.join(str(e).split())[:200]})") from e
    try:
        mapping = TypeAdapter(Mapping).validate_python(raw)
    except ValidationError as e:
        key, reason = explain(e)
        raise UserError(f"world.mapping: {path}: {key or 'the file'}: {reason}") from e
    for kind, known in FIELDS.items():
        table = getattr(mapping, kind)
        if table is None:
            continue
        for name in table.fields:
            if name not in known:
                raise UserError(f"world.mapping: {path}: {kind}.fields.{name}: there is no such field (there are: {', '.join(known)})")
        for name in REQUIRED[kind]:
            if name not in table.fields:
                raise UserError(f"world.mapping: {path}: {kind}.fields.{name} is missing: the column that holds it")
        if not (path.parent / table.file).is_file():
            raise UserError(f"world.mapping: {path}: {kind}.file: no such file: {path.parent / table.file}")
    return mapping
