"""`world.html`: what a world holds, in pictures, and one of its users with what follows from their history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from prstack.errors import UserError
from prstack.evaluation.tasks import Task, latent_needs, make_tasks
from prstack.report.plots import histogram, lines
from prstack.report.tables import shown_path
from prstack.report.viewer import page
from prstack.store.parts import write_text
from prstack.types import History
from prstack.world.material import Latent
from prstack.world.shape import Shape, shape
from prstack.world.stats import CategoryStats, Stats
from prstack.world.units import money
from prstack.world.world import World

CATEGORIES, NUMBERS = 8, 4
"""Categories whose prices are drawn; attributes of the largest of them that are."""
NOW = 2025
"""The year in which users of generated worlds shop."""


def write_world_page(world: World, stats: Stats, summary: list[str], path: Path) -> Path:
    """Writes the page. Raises UserError when it cannot be written there."""
    try:
        write_text(render(world, stats, summary), path)
    except OSError as e:
        raise UserError(f"{path}: cannot be written ({e.strerror or e})") from e
    return path


def render(world: World, stats: Stats, summary: list[str]) -> str:
    needs = _needs(world)
    history, task = _example(world, needs)
    found = shape(world)
    return page(
        "world",
        title=shown_path(world.folder),
        kind=world.kind,
        summary=summary,
        stats=stats,
        figures=[*figures(stats, needs), *(shape_figures({"": found}) if found else ())],
        history=history,
        task=task,
        valid=sum(1 for _ in task.valid_ids) if task else 0,
        price=lambda c, share: money(p, c.currency) if (p := c.price_at(share)) is not None else "–",
    )


def figures(stats: Stats, needs: list[Latent]) -> list[Markup]:
    """Prices, numeric attributes, stars, reviews a product; for a generated world what its users' needs leave."""
    shown: list[CategoryStats] = [c for c in stats.categories if c.prices][:CATEGORIES]
    plots = [histogram(f"{c.name}: price", c.prices, c.currency) for c in shown]
    if shown:
        numbers = sorted(shown[0].numbers.items(), key=lambda n: (not n[0][1], -len(n[1])))  # those without a unit last: years, counts
        plots += [histogram(f"{shown[0].name}: {name}", values, unit) for (name, unit), values in numbers[:NUMBERS]]
    plots.append(histogram("reviews a product", [n for n, count in stats.reviewed.items() for _ in range(count)], "reviews (20: or more)", bins=21))
    plots.append(histogram("stars of reviews", [s for s, count in stats.ratings.items() for _ in range(count)], "stars", bins=9))
    if needs:
        plots.append(histogram("valid share of the first ten hits, by user", [n.top_share for n in needs], "share", bins=11))
        plots.append(histogram("products that satisfy a need", [len(n.satisfying) for n in needs], "products"))
    return [p for p in plots if p]


def shape_figures(shapes: Mapping[str, Shape]) -> list[Markup]:
    """What only a generated world's maker knows; of several, by name, in one plot each. A world without generations comes last, so
    that the others keep their colours in plots that it has no part in."""

    def over_tenths(title: str, x_label: str, of: Mapping[str, list[float | None]]) -> Markup:
        return lines(title, {name: list(enumerate(values, 1)) for name, values in of.items()}, x_label, True, 360, 200)

    def shares(title: str, x_label: str, of: Mapping[str, Counter[int]]) -> Markup:
        return lines(title, spread(of), x_label, True, 360, 200)

    every = shapes.items()
    gains = {n: Counter(5 * round(20 * g) for g in s.gains) for n, s in every}
    plots = [
        over_tenths("mean goodness, by price", "tenths of the prices, cheapest first", {n: s.by_price for n, s in every}),
        over_tenths("share of praise, by listed value", "tenths of an attribute's listed values, worst first", {n: s.praise for n, s in every}),
        shares("share of listings, by attributes left out", "attributes that the list leaves out", {n: s.missing for n, s in every}),
        shares("share of listings, by values in other units", "values in another unit", {n: s.other_units for n, s in every}),
        shares("share of products, by age", f"years since their launch, in {NOW}", {n: Counter(NOW - y for y in s.years.elements()) for n, s in every}),
        shares("share of generations, by gain", "goodness above the one before, in hundredths", gains),
        shares("share of generations, by rise in price", "price above the one before, in %", {n: Counter(round(100 * d) for d in s.dearer) for n, s in every}),
    ]
    return [p for p in plots if p]


def spread(of: Mapping[str, Counter[int]]) -> dict[str, list[tuple[int, float]]]:
    """Name → (number, its share) for all numbers that occur anywhere; nothing for a name without any."""
    numbers = sorted({n for counts in of.values() for n in counts})
    return {name: [(n, counts[n] / counts.total()) for n in numbers] if counts else [] for name, counts in of.items()}


def _needs(world: World) -> list[Latent]:
    try:
        return latent_needs(world)
    except UserError:  # a real world's users keep theirs to themselves
        return []


def _example(world: World, needs: list[Latent]) -> tuple[History | None, Task | None]:
    """A user with a history, and what follows from it where that is known."""
    task: Task | None = None
    if needs:
        try:
            (task,) = make_tasks(world, 1)
        except UserError:
            task = None
    histories: Any = world.histories()
    return next((h for h in histories if task is None or h.user_id == task.user_id), None), task
