"""WebShop as a world: its items as products, its human goals as histories of one search each.

- `items_shuffle*.json` (one array of items) is read entry by entry. An item has an `asin`, a `name`, a path in `product_category` ("A › B"), `pricing` ("$9.99" or "$9.99$14.99": the lower one counts), descriptions and
  `customization_options`. An option with one value is an attribute; one with several is an attribute that lists them.
- `items_ins_v2*.json`, where it is there, gives short properties of items ("long lasting"): attributes with the value "yes".
- `human_goals.json`, an array of texts: what people asked for. The same text twice is merged. There are no other users, no
  reviews and no web pages.

Source: Yao et al. 2022, "WebShop: Towards Scalable Real-World Web Interaction with Grounded Language Agents" (MIT).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from prstack.errors import UserError
from prstack.settings import WorldConfig
from prstack.types import Attribute, Event, History, Product
from prstack.world.adapters.fields import (
    MAX_ATTRIBUTES,
    NO_CATEGORY,
    FieldError,
    attributes,
    brand,
    clean,
    files,
    get,
    identifier,
    take,
    text,
)
from prstack.world.adapters.jsonfile import read_array, read_object
from prstack.world.material import Material
from prstack.world.ondisk import Dictionary
from prstack.world.units import price as read_price

GOALS = "human_goals.json"
MAX_LISTED = 120
"""Longest list of an option's values, in characters."""


def read(config: WorldConfig, folder: Path, material: Material, scratch: Path) -> None:
    """Raises UserError when there are no items."""
    items = files(folder, "items_shuffle*.json")
    if not items:
        raise UserError(f"{folder}: there is no items_shuffle*.json here; WebShop's set-up downloads its items (human_goals.json alone holds no product)")
    short: Dictionary[str, list] = Dictionary(scratch)
    for path in files(folder, "items_ins_v2*.json"):
        _read_short(path, short, material.counts)
    found: Dictionary[str, Product] = Dictionary(scratch)
    material.products = chain.from_iterable(take(material, "products", path, partial(read_array, path), partial(_product, short), lambda p: p.id, found) for path in items)
    if (folder / GOALS).is_file():
        material.histories = lambda world: read_goals(folder / GOALS, material)


def _read_short(path: Path, short: Dictionary[str, list], counts: dict[str, int]) -> None:
    """Adds the short properties of a file's items. `short_read` counts items, `short_without` those for which it lists none."""
    for _, asin, entry in read_object(path):
        listed = entry.get("attributes") if isinstance(entry, dict) else None
        counts["short_read"] = counts.get("short_read", 0) + 1
        if isinstance(listed, list):
            short[asin] = listed
        else:
            counts["short_without"] = counts.get("short_without", 0) + 1


def read_goals(path: Path, material: Material) -> Iterator[History]:
    """A history for each distinct goal of a file; counted as goals."""
    for n, goal in enumerate(take(material, "goals", path, partial(read_array, path), _goal, str.casefold), 1):
        yield History(f"goal-{n:05d}", [Event(f"goal-{n:05d}-e1", "search", text=goal)])


def _goal(entry: Any) -> str:
    goal = text({"goal": entry}, "goal", required=True)
    return goal[:1].lower() + goal[1:]


def _product(short: Mapping[str, list], item: Any) -> Product:
    get(item, "asin", str)
    id = identifier(item, "asin")
    pricing = text(item, "pricing")
    amounts = [read_price(part) for part in pricing.split("$") if part.strip(" -–")]
    if any(a is None for a in amounts):
        raise FieldError("pricing", f"expected prices such as $9.99, found {pricing!r}"[:120])
    options = item.get("customization_options") or {}
    if not isinstance(options, dict):
        raise FieldError("customization_options", f"expected an object, found {type(options).__name__}")
    named = [(name, [clean(v["value"]) for v in values if isinstance(v, dict) and isinstance(v.get("value"), str)]) for name, values in options.items() if isinstance(values, list)]
    listed = [(clean(v), True) for v in short.get(id, []) if isinstance(v, str)]
    chosen = [Attribute(clean(name).casefold(), " / ".join(values)[:MAX_LISTED]) for name, values in named if len(set(values)) > 1 and clean(name)]
    single = attributes([*((name, values[0]) for name, values in named if len(set(values)) == 1), *listed])
    path = [clean(level) for level in text(item, "product_category").replace(">", "/").split("›")]
    return Product(
        id=id,
        title=text(item, "name", required=True),
        category=" > ".join(filter(None, path)) or text(item, "category") or NO_CATEGORY,
        brand=brand(text(item, "brand").removeprefix("Visit the ").removeprefix("Brand: ").removesuffix(" Store")),
        price=min((a for a in amounts if a is not None), default=None),
        description=" ".join(filter(None, (text(item, "small_description"), text(item, "full_description"))))[:4000],
        attributes=[*chosen, *single][:MAX_ATTRIBUTES],
    )
