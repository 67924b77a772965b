"""`prstack world stats` and `prstack world search`: looking at a world as a shopper and as its maker would."""

from __future__ import annotations

import json
from pathlib import Path

from rich import box
from rich.table import Table

from prstack.errors import UserError
from prstack.report.tables import clean, make_console, shown_path
from prstack.report.world_page import write_world_page
from prstack.settings import Config
from prstack.store.rundir import RunDir
from prstack.tools import own
from prstack.tools.toolbox import Toolbox
from prstack.types import ToolCall
from prstack.world.stats import Stats, describe
from prstack.world.units import money
from prstack.world.world import World

ROWS = 30
"""Categories shown."""


def open_world(config: Config, target: str | None = None) -> Path:
    """The world's folder of a run: `target`, run_dir or the latest. Raises UserError."""
    place = RunDir.find(target, config.run_dir, config.runs)
    if place is None:
        raise UserError(f"there is no run under {config.runs}/ yet; `prstack world` makes a world, or name a run")
    return place if (place / "world.json").is_file() else place / "world"


def search(config: Config, query: str) -> int:
    """Prints what product_search answers. Returns 1 when it refuses the call."""
    toolbox = Toolbox(open_world(config), own=own.load(config.tools.extra))
    asked = {k: v for k, v in vars(config.search).items() if v is not None}
    result = toolbox.call(ToolCall("cli", "product_search", json.dumps({"query": query} | asked)))
    make_console().print(clean(result.text), soft_wrap=True)
    return 0 if result.ok else 1


def stats(config: Config, target: str | None) -> int:
    """Prints what the world holds, and writes it with pictures to `world.html` in the run."""
    folder = open_world(config, target)
    world = World.open(folder)
    found = describe(world)
    console = make_console()
    console.print(f"World {shown_path(folder)} ({world.kind})", markup=False)
    for line in summary(found):
        console.print(f"  {line}", markup=False, soft_wrap=True)
    console.print(category_table(found))
    if len(found.categories) > ROWS:
        console.print(f"{len(found.categories) - ROWS} more categories", markup=False)
    written = write_world_page(world, found, summary(found), folder.parent / "world.html" if folder.name == "world" else folder / "world.html")
    console.print(f"Page: {shown_path(written)}", markup=False, soft_wrap=True)
    return 0


def summary(s: Stats) -> list[str]:
    """The world in a few lines."""
    lines = [f"{s.products:,} products in {len(s.categories):,} categories, {s.unrated:,} without a rating", f"{s.reviews:,} reviews" + _spread({f"{k} stars": v for k, v in s.ratings.items()})]
    lines += [f"{sum(s.pages.values()):,} web pages" + _spread(s.pages), f"{s.users:,} users with {sum(s.events.values()):,} events" + _spread(s.events)]
    if s.texts:
        shares = ", ".join(f"distinct-{n} {share:.2f}" for n, share in s.texts.distinct.items())
        lines.append(f"titles and descriptions: {shares}, self-BLEU {s.texts.self_bleu:.2f}")
    return lines


def _spread(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    return (": " + ", ".join(f"{name} {100 * n / total:.0f} %" for name, n in counts.items())) if total else ""


def category_table(s: Stats) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, justify in (("category", "left"), ("products", "right"), ("in stock", "right"), ("brands", "right"), ("price: 10 %", "right"), ("50 %", "right"), ("90 %", "right"), ("attributes", "right"), ("numbers", "right")):
        table.add_column(name, justify=justify, overflow="fold")
    for c in s.categories[:ROWS]:
        values = c.attributes.total()
        prices = [money(p, c.currency) if (p := c.price_at(share)) is not None else "–" for share in (0.1, 0.5, 0.9)]
        cells = [f"{c.products:,}", f"{100 * c.available / c.products:.0f} %", f"{len(c.brands):,}", *prices, f"{values / c.products:.1f}", f"{100 * c.numeric / max(1, values):.0f} %"]
        table.add_row(clean(c.name), *cells)
    return table
