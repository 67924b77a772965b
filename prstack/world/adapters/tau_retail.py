"""tau-bench retail as a world: `products.json`, `orders.json`, `users.json`.

- Every variant item is a product of its own: id = item id, parent = product id, title from the product's name and options.
  The data has no brands, ratings, reviews or web pages, and none are made up.
- A user's history is their orders in the order of the account, a purchase an item. Orders carry no dates, so events have
  no timestamp. The status of the order is in the text; a cancelled order gives a return event after each purchase.
- Users without orders have no history; they are counted as `users_skipped`. Orders that no user lists are counted as
  `orders_unlisted`.

What a record needs is checked field by field; a bad variant, order or user is quarantined with file, line and field.
Source: Yao et al. 2024, tau-bench, retail domain data.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from prstack.errors import UserError
from prstack.settings import WorldConfig
from prstack.store.records import Bad
from prstack.types import Event, History, Product
from prstack.world.adapters.fields import FieldError, about, get
from prstack.world.adapters.jsonfile import read_object
from prstack.world.material import Material, is_id
from prstack.world.ondisk import Dictionary
from prstack.world.units import parse_attribute

STATUS = {
    "delivered": "The order was delivered.",
    "processed": "The order is paid and on its way.",
    "pending": "The order is placed and not yet processed.",
    "cancelled": "The order was cancelled before delivery.",
}
_NUMBER = (int, float)


def read(config: WorldConfig, folder: Path, material: Material, scratch: Path) -> None:
    """Raises UserError for a missing file or (as it is read) one that is not JSON."""
    for name in ("products.json", "orders.json", "users.json"):
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: no such file")
    products: Dictionary[str, Product] = Dictionary(scratch)
    material.products = _products(folder / "products.json", material, products)
    material.histories = lambda world: _histories(folder, material, products, Dictionary(scratch))


def _products(path: Path, material: Material, products: MutableMapping[str, Product]) -> Iterator[Product]:
    counts = material.counts
    counts["products_read"] = 0
    for line, key, entry in read_object(path):
        try:
            name, variants = get(entry, "name", str), get(entry, "variants", dict)
        except FieldError as e:
            counts["products_read"] += 1
            material.bad.append(Bad(str(path), line, f"{key}.{e.field}", str(e), str(entry)[:200]))
            continue
        for item_id, variant in variants.items():
            counts["products_read"] += 1
            try:
                product = _variant(key, name, item_id, variant)
                if product.id in products:
                    raise FieldError("item_id", f"the item {product.id} is there already")
            except FieldError as e:
                material.bad.append(Bad(str(path), line, f"{key}.variants.{item_id}.{e.field}", str(e), str(variant)[:200]))
                continue
            products[product.id] = product
            yield product


def _variant(parent: str, name: str, item_id: str, variant: Any) -> Product:
    if not is_id(item_id):
        raise FieldError("item_id", f"expected an id without spaces, found {item_id!r}"[:120])
    options = get(variant, "options", dict)
    for option, value in options.items():
        if not isinstance(value, str) or not value.strip():
            raise FieldError(f"options.{option}", f"expected text, found {value!r}"[:120])
    price = float(get(variant, "price", _NUMBER))
    if not 0 <= price < 1e9:
        raise FieldError("price", f"expected a price, found {price}")
    return Product(
        id=item_id,
        title=", ".join([name, *options.values()]),
        category=name,
        price=price,
        attributes=[parse_attribute(k, v) for k, v in options.items()],
        parent_id=parent,
        available=get(variant, "available", bool),
    )


def _histories(folder: Path, material: Material, products: Mapping[str, Product], orders: MutableMapping[str, dict]) -> Iterator[History]:
    path = folder / "orders.json"
    bad_orders: set[str] = set()
    for line, key, order in read_object(path):
        try:
            orders[key] = _order(order, products)
        except FieldError as e:
            bad_orders.add(key)
            material.bad.append(Bad(str(path), line, f"{key}.{e.field}", str(e), str(order)[:200]))
    path, listed, skipped, read = folder / "users.json", set(), 0, 0
    for line, user_id, user in read_object(path):
        read += 1
        try:
            names = get(user, "orders", list)
            for name in names:
                if not isinstance(name, str) or (name not in orders and name not in bad_orders):
                    raise FieldError("orders", f"there is no order {name!r}"[:120])
        except FieldError as e:
            material.bad.append(Bad(str(path), line, f"{user_id}.{e.field}", str(e), ""))
            continue
        listed.update(names)
        events = [event for name in names if name in orders for event in _events(name, orders[name], products)]
        if events:
            yield History(user_id, events)
        else:
            skipped += 1
    material.counts |= {
        "orders_read": len(orders) + len(bad_orders),
        "orders_unlisted": len((set(orders) | bad_orders) - listed),
        "users_read": read,
        "users_skipped": skipped,
    }


def _order(order: Any, products: Collection[str]) -> dict:
    items = get(order, "items", list)
    if get(order, "status", str) not in STATUS:
        raise FieldError("status", f"expected one of {', '.join(STATUS)}, found {order['status']!r}"[:160])
    for n, item in enumerate(items):
        if get(item, "item_id", str, f"items.{n}.") not in products:
            raise FieldError(f"items.{n}.item_id", f"the catalogue has no item {item['item_id']!r}"[:120])
        get(item, "price", _NUMBER, f"items.{n}.")
    return order


def _events(name: str, order: dict, products: Mapping[str, Product]) -> Iterator[Event]:
    number = name.lstrip("#")
    for n, item in enumerate(order["items"], 1):
        product = products[item["item_id"]]
        of = about(product) | {"price": float(item["price"])}
        yield Event(f"{number}-{n}", "purchase", text=STATUS[order["status"]], **of)
        if order["status"] == "cancelled":
            yield Event(f"{number}-{n}-r", "return", text=f"The customer cancelled the order and was refunded for the {product.category}.", **of)
