"""ShoppingBench products as a world: the full product of each line of `synthesize_web_simpleqa_test.jsonl`.

- Lines end at `\\n` alone (texts hold U+2028 and form feeds). A product on several lines is merged when the records are the
  same, and quarantined when they differ.
- The category is the path as given, with the hyphens that the source turned into " > " put back ("Flip-Flops").
- Attributes come from `specification` ("k:v;k:v"), then `attributes` and `sku_options` where every entry agrees on one value;
  entries with markup, without a value, or too long for a value are left out. Prices are in PHP.
- Descriptions are cleaned of HTML and of UTF-8 that was read as Latin-1 or Windows-1252.
- The data has no users, reviews, ratings or web pages. **Users are made here**: seeded histories of views and purchases of
  real products in one category and its siblings, with neutral texts; they state no need, and none is planted.

Source: ShoppingBench (Apache-2.0), products of Lazada Philippines.
"""

from __future__ import annotations

import html
import random
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from prstack.errors import UserError
from prstack.settings import WorldConfig
from prstack.store.records import Bad, read_json_lines
from prstack.types import Attribute, Event, EventType, History, Product
from prstack.world.material import Material, is_id
from prstack.world.units import parse_attribute

FILE = "synthesize_web_simpleqa_test.jsonl"
MAX_VALUE, MAX_NAME, MAX_ATTRIBUTES = 60, 40, 24
"""Longest attribute values and names (characters) and most attributes that are taken over."""
NO_BRAND = {"nobrand", "no brand", "oem", "others", "other", "none", "n/a", ""}
_NOT_ATTRIBUTES = {"brand", "isbn/issn", "isbn issn", "short description", "max delivery time", "min delivery time", "product warranty en"}
_HYPHENS = (("T > Shirts", "T-Shirts"), ("Flip > Flops", "Flip-Flops"), ("Non > Fiction", "Non-Fiction"), ("3 > in > 1", "3-in-1"))
_MOJIBAKE = re.compile(r"[\u0080-\u00ff\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]{2,}")
_TAG = re.compile(r"<(?:/?[a-zA-Z][^<>]{0,2000}|!--.*?--)>", re.S)


def read(config: WorldConfig, folder: Path) -> Material:
    """Raises UserError when the file is missing."""
    path = folder / FILE
    if not path.is_file():
        raise UserError(f"{path}: no such file; it is part of ShoppingBench's data")
    material = Material([])
    found: dict[str, Product] = {}
    read = merged = 0

    def on_bad(bad: Bad) -> None:
        nonlocal read
        read += 1
        material.bad.append(bad)

    for line, row in read_json_lines(path, on_bad):
        read += 1
        try:
            product = _product(row)
        except _Field as e:
            material.bad.append(Bad(str(path), line, f"reward.{e.field}", str(e), str(row)[:200]))
            continue
        known = found.setdefault(product.id, product)
        if known is product:
            continue
        if known == product:
            merged += 1
        else:
            material.bad.append(Bad(str(path), line, "reward.product_id", f"{product.id} was read before with other content", product.title))
    material.products = list(found.values())
    material.counts |= {"products_read": read, "merged": merged}
    material.histories = lambda world: _histories(config, material.products)
    return material


class _Field(Exception):
    """A field that is missing or of the wrong type."""

    def __init__(self, field: str, reason: str):
        super().__init__(reason)
        self.field = field


def _product(row: dict) -> Product:
    record = row.get("reward")
    if not isinstance(record, dict):
        raise _Field("", f"expected an object, found {type(record).__name__}")
    texts = {name: _text(record, name) for name in ("product_id", "title", "category")}
    for name, text in texts.items():
        if not text:
            raise _Field(name, "expected text, found nothing")
    if not is_id(texts["product_id"]):
        raise _Field("product_id", f"expected an id without spaces, found {texts['product_id']!r}"[:120])
    price = record.get("price")
    if isinstance(price, bool) or not isinstance(price, (int, float)) or not 0 < price < 1e9:
        raise _Field("price", f"expected a price, found {price!r}"[:80])
    attributes = _attributes(record)
    brand = _known_brand(_text(record, "brand")) or _known_brand(attributes.pop("brand", ""))
    return Product(
        id=texts["product_id"],
        title=texts["title"],
        category=_category(texts["category"]),
        brand=brand,
        price=float(price),
        currency="PHP",
        description=_text(record, "description") or _text(record, "short_description"),
        attributes=[parse_attribute(k, v) for k, v in attributes.items() if k not in _NOT_ATTRIBUTES][:MAX_ATTRIBUTES],
    )


def _text(record: dict, field: str) -> str:
    value = record.get(field, "")
    if not isinstance(value, str):
        raise _Field(field, f"expected text, found {type(value).__name__}")
    return clean(value)


def clean(text: str) -> str:
    """Text without HTML, with characters that were decoded wrongly put right where that is certain."""
    text = _MOJIBAKE.sub(_repaired, text)
    text = html.unescape(_TAG.sub(" ", text))
    return " ".join(re.sub(r"\*{2,}|#{2,}|_{3,}", " ", text).split())


def _repaired(match: re.Match[str]) -> str:
    for encoding in ("latin-1", "cp1252"):
        try:
            return match[0].encode(encoding).decode("utf-8")
        except (UnicodeEncodeError, UnicodeDecodeError):
            continue
    return match[0]


def _category(path: str) -> str:
    for wrong, right in _HYPHENS:
        path = path.replace(wrong, right)
    return " > ".join(level.strip() for level in path.split(">") if level.strip())


def _known_brand(brand: str) -> str:
    return "" if re.sub(r"[^a-z/ ]", "", brand.casefold()).strip() in NO_BRAND else brand


def _attributes(record: dict) -> dict[str, str]:
    """Clean name → value, in the order of trust: specification, attributes, options."""
    out: dict[str, str] = {}

    def take(name: Any, value: Any) -> None:
        if not isinstance(name, str) or not isinstance(value, str):
            return
        name = re.sub(r"^(?:fa|m) ", "", clean(name.replace("_", " ")).casefold())
        value = clean(value).strip(" :;,.")
        if re.fullmatch(r"[a-z][a-z0-9 /&()'-]{1,39}", name) and 0 < len(value) <= MAX_VALUE and not re.search(r"[<>{}\n]", value):
            out.setdefault(name, value)

    for pair in _text_or_empty(record.get("specification")).split(";"):
        name, colon, value = pair.partition(":")
        if colon:
            take(name, value)
    listed = record.get("attributes")
    for name, values in (listed if isinstance(listed, dict) else {}).items():
        if isinstance(values, list) and len(values) == 1:
            take(name, values[0])
    skus = record.get("sku_options")
    options = [o for o in (skus.values() if isinstance(skus, dict) else ()) if isinstance(o, dict)]
    for name in options[0] if options else ():
        values = {str(o.get(name)) for o in options}
        if len(values) == 1:
            take(name, options[0][name])
    return out


def _text_or_empty(value: Any) -> str:
    return value if isinstance(value, str) else ""


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
