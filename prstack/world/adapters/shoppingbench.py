"""ShoppingBench as a world.

- `synthesize_web_simpleqa_test.jsonl` holds a full product a line; the catalogue is made of these. The other three files hold
  tasks, whose rewards tell a little of each product they want: title, some attributes and options, seldom a brand. Those
  products are listed too, without a price and in the category "Other", so that searches meet them; a full record of the same
  product goes first. The tasks themselves are no part of a world; they are counted.
- Lines end at `\\n` alone (texts hold U+2028 and form feeds). A product on several lines is merged when the records are the
  same, and quarantined when they differ; partial records of one product are joined.
- The category is the path as given, with the hyphens that the source turned into " > " put back ("Flip-Flops").
- Attributes come from `specification` ("k:v;k:v"), then `attributes` and `sku_options` where every entry agrees on one value;
  entries with markup, without a value, or too long for a value are left out. Prices are in PHP.
- Descriptions are cleaned of HTML and of UTF-8 that was read as Latin-1 or Windows-1252.
- The data has no users, reviews, ratings or web pages. **Users are made here**: seeded histories of views and purchases of
  real products in one category and its siblings, with neutral texts; they state no need, and none is planted.

Source: ShoppingBench (Apache-2.0), products of Lazada Philippines.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from prstack.errors import UserError
from prstack.settings import WorldConfig
from prstack.store.records import Bad, read_json_lines
from prstack.types import Attribute, Event, EventType, History, Product
from prstack.world.adapters.fields import (
    MAX_ATTRIBUTES,
    NO_CATEGORY,
    FieldError,
    attributes,
    brand,
    get,
    identifier,
    made,
    take,
    text,
)
from prstack.world.material import Material

FILE = "synthesize_web_simpleqa_test.jsonl"
TASKS = ("synthesize_product_test.jsonl", "synthesize_shop_test.jsonl", "synthesize_voucher_test.jsonl")
_NOT_ATTRIBUTES = {"brand", "isbn/issn", "isbn issn", "short description", "max delivery time", "min delivery time", "product warranty en"}
_HYPHENS = (("T > Shirts", "T-Shirts"), ("Flip > Flops", "Flip-Flops"), ("Non > Fiction", "Non-Fiction"), ("3 > in > 1", "3-in-1"))


def read(config: WorldConfig, folder: Path, material: Material, scratch: Path) -> None:
    """Raises UserError when the file of full products is missing."""
    path = folder / FILE
    if not path.is_file():
        raise UserError(f"{path}: no such file; it is part of ShoppingBench's data")
    full = list(take(material, "products", path, partial(read_json_lines, path), _product, lambda p: p.id, prefix="reward."))
    wanted: dict[str, Product] = {p.id: p for p in full}
    for name in TASKS:
        if (folder / name).is_file():
            _read_tasks(folder / name, material, wanted)
    material.products = list(wanted.values())
    material.histories = lambda world: _histories(config, full)


def _read_tasks(path: Path, material: Material, known: dict[str, Product]) -> None:
    """Adds what the tasks of a file tell of their products. `tasks` counts lines, `partial_read` and `partial_merged` products."""
    counts = material.counts

    def rows(on_bad: Callable[[Bad], None]) -> Iterator[tuple[int, Any]]:
        for line, row in read_json_lines(path, on_bad):
            counts["tasks"] = counts.get("tasks", 0) + 1
            reward = row.get("reward")
            yield from ((line, entry) for entry in (reward if isinstance(reward, list) else [reward]))

    for _, product in made(material, "partial", path, rows, _partial, prefix="reward."):
        old = known.setdefault(product.id, product)
        if old is product:
            continue
        counts["partial_merged"] = counts.get("partial_merged", 0) + 1
        if old.category == NO_CATEGORY:
            names = {a.name for a in old.attributes}
            old.attributes += [a for a in product.attributes if a.name not in names][: MAX_ATTRIBUTES - len(old.attributes)]


def _product(row: dict) -> Product:
    record = get(row, "reward", dict)
    title, category, id = text(record, "title", required=True), text(record, "category", required=True), identifier(record, "product_id")
    price = record.get("price")
    if isinstance(price, bool) or not isinstance(price, (int, float)) or not 0 < price < 1e9:
        raise FieldError("price", f"expected a price, found {price!r}"[:80])
    listed = attributes(_pairs(record))
    named = next((a.value for a in listed if a.name == "brand"), "")
    return Product(
        id=id,
        title=title,
        category=_category(category),
        brand=brand(text(record, "brand")) or brand(named),
        price=float(price),
        currency="PHP",
        description=text(record, "description") or text(record, "short_description"),
        attributes=attributes(_pairs(record), without=_NOT_ATTRIBUTES),
    )


def _partial(record: Any) -> Product:
    """A product as a task names it: `title` is a list of texts, `attributes` and `sku_options` lists of objects."""
    get(record, "product_id", str)
    title = text(record, "title", required=True)
    pairs = [pair for field in ("attributes", "sku_options") for entry in _list(record, field) for pair in get({field: entry}, field, dict).items()]
    listed = attributes((name, value[0] if isinstance(value, list) and len(value) == 1 else value) for name, value in pairs)
    named = next((a.value for a in listed if a.name == "brand"), "")
    return Product(identifier(record, "product_id"), title, NO_CATEGORY, brand(named), currency="PHP", attributes=[a for a in listed if a.name not in _NOT_ATTRIBUTES])


def _list(record: dict, field: str) -> list:
    return get(record, field, list) if field in record else []


def _category(path: str) -> str:
    for wrong, right in _HYPHENS:
        path = path.replace(wrong, right)
    return " > ".join(level.strip() for level in path.split(">") if level.strip())


def _pairs(record: dict) -> Iterator[tuple[Any, Any]]:
    """(name, value) in the order of trust: specification, attributes, options."""
    specification = record.get("specification")
    for pair in specification.split(";") if isinstance(specification, str) else ():
        name, colon, value = pair.partition(":")
        if colon:
            yield name, value
    listed = record.get("attributes")
    for name, values in (listed if isinstance(listed, dict) else {}).items():
        if isinstance(values, list) and len(values) == 1:
            yield name, values[0]
    skus = record.get("sku_options")
    options = [o for o in (skus.values() if isinstance(skus, dict) else ()) if isinstance(o, dict)]
    for name in options[0] if options else ():
        if len({str(o.get(name)) for o in options}) == 1:
            yield name, options[0][name]


def _histories(config: WorldConfig, products: list[Product]) -> Iterator[History]:
    """Seeded histories: each user has a home category, and looks at and buys real products there and beside it."""
    by_id = sorted(products, key=lambda p: p.id)
    for n in range(config.users):
        rng = random.Random(f"{config.seed}/shoppingbench/{n}")
        home = rng.choice(by_id)
        near = [p for p in by_id if p.category == home.category and p is not home]
        beside = [p for p in by_id if p.category.rpartition(" > ")[0] == home.category.rpartition(" > ")[0] and p.category != home.category]
        beside = beside or [p for p in by_id if p.category.split(" > ")[0] == home.category.split(" > ")[0] and p.category != home.category]
        others = rng.sample(near, min(len(near), 2)) + rng.sample(beside, min(len(beside), 3))
        steps: list[tuple[EventType, Product]] = [("view", p) for p in others]
        if others and rng.random() < 0.5:
            steps.append(("purchase", rng.choice(others)))
        rng.shuffle(steps)
        steps += [("view", home), ("purchase", home)]
        yield History(f"sb-{n:05d}", list(_events(f"sb-{n:05d}", steps, rng)))


def _events(user: str, steps: list[tuple[EventType, Product]], rng: random.Random) -> Iterator[Event]:
    day = date(2025, 1, 1) + timedelta(days=rng.randrange(300))
    for n, (kind, p) in enumerate(steps, 1):
        day += timedelta(days=rng.randrange(1, 12))
        about = {"product_id": p.id, "title": p.title, "category": p.category, "price": p.price, "attributes": _copy(p.attributes)}
        text = rng.choice(("Looked at the product page.", "Opened the page.", "Viewed.")) if kind == "view" else rng.choice(("Bought one.", "Ordered it.", "Purchased."))
        yield Event(f"{user}-e{n}", kind, day.isoformat(), text=text, **about)


def _copy(attributes: list[Attribute]) -> list[Attribute]:
    return [Attribute(a.name, a.value, a.number, a.unit) for a in attributes]
