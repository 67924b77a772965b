"""Any shop's tables as a world, by a mapping (`prstack.world.adapters.mapping`).

Prices are read in any common notation ("1.299,00 €", "$1,299.00", 12.5), and name their currency where they do; descriptions are
cleaned of HTML; categories are paths. A row whose price, rating or availability cannot be read is quarantined with line and column;
so are rows with more or fewer cells than the head of a CSV file. Reviews and events of products that are not listed are counted
as unlisted (an event without a product is kept: a search, a dialogue). Ratings and their number, where no column holds them, are those
of the reviews.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

from prstack.settings import WorldConfig
from prstack.types import Event, EventType, History, Page, Product, Review
from prstack.world.adapters.fields import (
    NO_CATEGORY,
    FieldError,
    about,
    attributes,
    brand,
    clean,
    identifier,
    made,
    number,
    take,
    text,
    to_its_end,
)
from prstack.world.adapters.mapping import Events, Products, Table, load
from prstack.world.adapters.rows import MISSING, cell, read_rows
from prstack.world.material import Material
from prstack.world.ondisk import Dictionary, Sorter
from prstack.world.units import currency as read_currency
from prstack.world.units import price as read_price

IN_STOCK = {"true", "1", "yes", "y", "in stock", "instock", "available", "in_stock"}
OUT_OF_STOCK = {"false", "0", "no", "n", "out of stock", "outofstock", "unavailable", "sold out", "out_of_stock", "discontinued"}


def read(config: WorldConfig, mapping_file: Path, material: Material, scratch: Path) -> None:
    """Raises UserError for a mapping or file that is broken as a whole."""
    mapping, folder = load(mapping_file), mapping_file.parent
    tables = {name: table for name in ("products", "reviews", "pages", "events") if (table := getattr(mapping, name))}
    source = {name: (folder / table.file, partial(read_rows, folder / table.file, table)) for name, table in tables.items()}
    for path, rows in source.values():  # a column that is not there is said before hours of work
        next(to_its_end(path, rows(lambda bad: None)), None)
    products: Dictionary[str, Product] = Dictionary(scratch)
    material.products = take(material, "products", *source["products"], partial(_product, mapping.products), lambda p: p.id, products)
    if mapping.reviews:
        reviews = made(material, "reviews", *source["reviews"], partial(_review, mapping.reviews, products))
        material.reviews = (replace(review, id=review.id or f"R{n}") for n, (_, review) in enumerate(reviews, 1))
        material.rated = {"rating", "n_reviews"} - mapping.products.fields.keys()
    if mapping.pages:
        pages = made(material, "pages", *source["pages"], partial(_page, mapping.pages))
        material.pages = (replace(page, id=page.id or f"W{n}") for n, (_, page) in enumerate(pages, 1))
    if mapping.events:
        events = made(material, "events", *source["events"], partial(_event, mapping.events, products))
        material.histories = lambda world: _histories(config, material, products, events, Sorter(scratch))


def _ours(table: Table, row: dict) -> dict:
    """The row under our names; empty cells are left out."""
    values = {ours: cell(row, column) for ours, column in table.fields.items()}
    return {k: v for k, v in values.items() if v is not MISSING and v is not None and v != ""}


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
        value = cell(row, column)
        if isinstance(value, dict):
            yield from ((k, v) for k, v in value.items() if v is not None)
        elif value is not MISSING and value is not None:
            yield name, value


def _review(table: Table, products: Collection[str], row: dict) -> Review | None:
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


def _event(table: Events, products: Collection[str], row: dict) -> tuple[str, Event] | None:
    """(user, event); of its product the event has the id alone."""
    ours = _ours(table, row)
    word = text(ours, "type", required=True)
    kind = table.types.get(word, word)
    if kind not in get_args(EventType):
        raise FieldError("type", f"expected one of {', '.join(get_args(EventType))}, found {word!r}; say under events.types what it stands for"[:240])
    user, rating, stamp = identifier(ours, "user_id"), number(ours, "rating", 0, 5), str(ours.get("timestamp", ""))
    product = identifier(ours, "product_id") if "product_id" in ours else ""
    event = Event("", kind, stamp, product, rating=rating, text=text(ours, "text"))
    return None if product and product not in products else (user, event)


def _histories(
    config: WorldConfig, material: Material, products: Mapping[str, Product], events: Iterable[tuple[int, tuple[str, Event]]], by_user: Sorter
) -> Iterator[History]:
    """By user id; oldest event first, in the file's order where times are equal or missing. Counts `users_skipped`."""
    for _, (user, event) in events:
        by_user.add((user, event.timestamp), event)
    material.counts["users_skipped"] = 0
    for user, group in groupby(by_user, key=lambda pair: pair[0][0]):
        mine: list[Event] = [event for _, event in group]
        if len(mine) < config.min_events:
            material.counts["users_skipped"] += 1
        else:
            of = [about(products[e.product_id]) if e.product_id else {} for e in mine]
            yield History(user, [replace(e, id=f"{user}-e{n}", **o) for n, (e, o) in enumerate(zip(mine, of), 1)])
