"""The shape of a generated world, as its maker knows it: what its levels of difficulty change, in numbers.

1. Products are read with what their pages list; of a large category the first `SAMPLE`. Values that listings hide come from `truth/`.
2. Goodness is the rank of a value in its category, 1 is best; a product's is the mean over its numeric attributes, as they truly are.
3. Opinions of reviews are held against what the listing says, and generations of a line against the ones before.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from prstack.errors import UserError
from prstack.store.records import Bad, read_records
from prstack.types import Product
from prstack.world.generated.catalogue import CATEGORIES, Category
from prstack.world.match import known
from prstack.world.material import Contradiction
from prstack.world.names import usual
from prstack.world.opinions import hear_opinions
from prstack.world.units import convert, measure
from prstack.world.world import World

SAMPLE, TENTHS, HEARD = 2000, 10, 20
"""Products of a category that are looked at, parts into which prices and goodness are cut, and opinions of which a share is taken."""
_MODEL = re.compile(r"(\S+ \S+ [a-z]*)(\d+) ")
"""A title that says which generation of which line it is."""


@dataclass(slots=True)
class Shape:
    """`by_price`: mean goodness of the cheapest tenth of each category, of the next one, …; `missing`: how many of its category's
    attributes a list leaves out → listings; `other_units`: how many values of a list are in another unit than most → listings."""

    by_price: list[float] = field(default_factory=list)
    missing: Counter[int] = field(default_factory=Counter)
    other_units: Counter[int] = field(default_factory=Counter)
    praise: list[float | None] = field(default_factory=list)
    """For the attributes that are listed worst, a tenth of all, and so on: share of the opinions on them that praise; None for fewer
    than `HEARD`."""
    gains: list[float] = field(default_factory=list)
    """For each generation that has one before it, how much more goodness it has."""
    dearer: list[float] = field(default_factory=list)
    """By how much more it costs, as a share of the price."""
    turns: Counter[str] = field(default_factory=Counter)
    """What became of its numeric attributes: "better", "the same", "worse"."""
    years: Counter[int] = field(default_factory=Counter)
    """Products by the year of their launch."""


@dataclass(slots=True)
class _Seen:
    """A product as it is listed, and as it truly is: numeric attribute → value in the catalogue's unit."""

    category: Category
    price: float
    line: tuple[str, int] | None
    """The title up to its number, and the number; for the head of a family in a world with generations."""
    listed: dict[str, float]
    true: dict[str, float]


class _Ranks:
    """Goodness of values among those of a category."""

    def __init__(self, seen: Iterable[_Seen]):
        self._values: dict[tuple[str, str], list[float]] = defaultdict(list)
        for s in seen:
            for name, value in s.true.items():
                self._values[s.category.name, name].append(value)
        for values in self._values.values():
            values.sort()

    def goodness(self, category: Category, name: str, value: float) -> float:
        values = self._values[category.name, name]
        rank = bisect_left(values, value) / max(1, len(values) - 1)
        return 1 - rank if _better(category)[name] == "low" else rank

    def mean(self, s: _Seen) -> float:
        return sum(self.goodness(s.category, a, v) for a, v in s.true.items()) / len(s.true)


def shape(world: World) -> Shape | None:
    """None for a world that was not generated."""
    if world.kind != "generated":
        return None
    out = Shape()
    seen = _read(world, out)
    ranks = _Ranks(seen.values())
    of_category: dict[str, list[_Seen]] = defaultdict(list)
    for s in seen.values():
        of_category[s.category.name].append(s)
    tenths: list[list[float]] = [[] for _ in range(TENTHS)]
    for some in of_category.values():
        for n, s in enumerate(sorted(some, key=lambda s: s.price)):
            tenths[n * TENTHS // len(some)].append(ranks.mean(s))
    out.by_price = [_mean(values) for values in tenths if values]
    out.praise = _praise(world, seen, ranks)
    _generations(seen.values(), ranks, out)
    return out


def _read(world: World, out: Shape) -> dict[str, _Seen]:
    """Id → product. Counts what listings leave out and write otherwise."""
    categories = {c.name: c for c in CATEGORIES}
    counts: Counter[str] = Counter()
    seen: dict[str, _Seen] = {}
    for p in world.products():
        counts[p.category] += 1
        if counts[p.category] <= SAMPLE:
            seen[p.id] = _listed(p, categories[p.category], out)
    for c in read_records(world.folder / "truth" / "listings", Contradiction, _unreadable, "truth"):
        true = measure(c.measured)
        if c.product_id in seen and true and true[1]:
            seen[c.product_id].true[c.attribute] = true[0]
    return seen


def _listed(p: Product, category: Category, out: Shape) -> _Seen:
    units = {spec.name: spec.unit for spec in category.numeric}
    names = {usual(a.name) for a in p.attributes}
    out.missing[sum(a.name not in names for a in (*category.numeric, *category.kinds))] += 1
    out.other_units[sum(a.unit != units[usual(a.name)] for a in p.attributes if usual(a.name) in units)] += 1
    listed = {}
    for name, unit in units.items():
        for a in known(p, name):
            if a.number is not None and (value := convert(a.number, a.unit, unit)) is not None:
                listed[name] = value
    year = next((int(a.number) for a in p.attributes if usual(a.name) == "launch year" and a.number), None)
    line = _MODEL.match(p.title.casefold()) if year and p.parent_id in ("", p.id) else None
    if year:
        out.years[year] += 1
    return _Seen(category, p.price or 0.0, (f"{line[1]}{category.noun}", int(line[2])) if line else None, listed, dict(listed))


def _unreadable(bad: Bad) -> None:
    raise UserError(f"{bad}; make the world again")


def _praise(world: World, seen: dict[str, _Seen], ranks: _Ranks) -> list[float | None]:
    heard: list[list[bool]] = [[] for _ in range(TENTHS)]
    for review in world.reviews():
        if s := seen.get(review.product_id):
            for name, _, good in hear_opinions(review.text):
                if name in s.listed:
                    at = ranks.goodness(s.category, name, s.listed[name])
                    heard[min(TENTHS - 1, max(0, int(at * TENTHS)))].append(good)
    return [_mean(said) if len(said) >= HEARD else None for said in heard]


def _generations(seen: Iterable[_Seen], ranks: _Ranks, out: Shape) -> None:
    heads = {s.line: s for s in seen if s.line}
    for (line, number), newer in heads.items():
        older = heads.get((line, number - 1))
        if older is None:
            continue
        out.gains.append(ranks.mean(newer) - ranks.mean(older))
        out.dearer.append(newer.price / older.price - 1)
        better = _better(newer.category)
        for name in newer.true.keys() & older.true.keys():
            change = newer.true[name] - older.true[name]
            near = abs(change) <= 0.005 * max(abs(newer.true[name]), abs(older.true[name]))  # labels are rounded
            out.turns["the same" if near else "better" if (change > 0) == (better[name] == "high") else "worse"] += 1


def _better(category: Category) -> dict[str, str]:
    return {spec.name: spec.better for spec in category.numeric}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
