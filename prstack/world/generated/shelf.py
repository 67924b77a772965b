"""One category of the generated world: its products, and a row of numbers for each, in which everything is looked up.

A row (`ROW`) holds what is decided about a product: attributes as steps of their range, kinds by their place in the list, price,
its number among products of its series, how many reviews it has, what its listing claims falsely. Questions about the whole category
(how good is a value, which products meet a need) are answered from the rows, with one look at each value that occurs; the products
themselves need not be in memory.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prstack.types import Attribute, Constraint, Product
from prstack.world.generated.catalogue import Category, Numeric
from prstack.world.match import check, fold
from prstack.world.material import Contradiction
from prstack.world.units import number_text

ROW = np.dtype(
    [
        ("n", "i8"), ("brand", "u1"), ("series", "i4"), ("number", "i4"), ("price", "f8"), ("available", "?"),
        ("steps", "u2", (4,)), ("kinds", "u1", (2,)), ("false", "i1"), ("true", "u2"), ("reviews", "u1"), ("first_review", "i8"),
        ("head", "i8"), ("units", "u1", (4,)), ("unlisted", "u1"), ("told", "u1"), ("line", "i8"), ("mark", "i4"),
    ]
)  # fmt: skip
"""`n`: the product's number in the world; `false`: place of the attribute with a false listing, -1 for none; `true`: the step of its
true value; `head`: the number of the first product of its family, mostly its own; `units`: of the numeric attributes on the label
(`prstack.world.generated.listing.Style`); `unlisted`, `told`: places of attributes, as bits, that the listing leaves out, and that owners, tests
or the brand's page tell; `line`: the number of the product that heads the oldest generation of its line (`prstack.world.generated.lines`), in
easy worlds its own; `mark`: which line of its series in the category that is, 0 for the first one (`model`)."""

UNITS = 3
"""Units in which a value may be written."""


def id_of(n: int) -> str:
    """The id of the product of a number."""
    return f"P{1001 + n}"


def model(mark: int, number: int) -> str:
    """The number in a product's title. Lines of a series after the first have letters: "2", "B2", "C2", …, "Z2", "AA2"."""
    letters, left = "", mark + 1 if mark else 0
    while left:
        left, letter = divmod(left - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return f"{letters}{number}"


def attribute(spec: Numeric, steps: int) -> Attribute:
    """The attribute at so many steps from the low end of its range."""
    value = round(spec.low + steps * spec.step, 6)
    return Attribute(spec.name, f"{number_text(value)} {spec.unit}", value, spec.unit)


@dataclass(eq=False)
class Shelf:
    """`brands`: those of the category, the plainest first; `rows` may change until something is asked about the whole."""

    category: Category
    brands: list[str]
    rows: np.ndarray
    products: Sequence[Product]
    labels: Callable[[Numeric, int, int], Attribute] | None = None
    """How a seller writes a value (attribute, step, unit), in worlds where what can be found out is the truth; elsewhere the listing is."""
    _known: dict[tuple[str, str, str, str, int], np.ndarray] = field(default_factory=dict)

    @functools.cached_property
    def _spread(self) -> dict[str, tuple[list[float], list[int]]]:
        """Numeric attribute → the values that occur, ascending, and how many products lie below each, and below the end."""
        out = {}
        for j, spec in enumerate(self.category.numeric):
            counts = np.bincount(self.rows["steps"][:, j])
            steps = np.flatnonzero(counts)
            out[spec.name] = ([attribute(spec, int(s)).number for s in steps], [0, *np.cumsum(counts[steps]).tolist()])
        return out

    def value(self, spec: Numeric, rank: int) -> float:
        """The listed value of a rank, 0 is the lowest, -1 the highest."""
        values, below = self._spread[spec.name]
        return values[bisect_left(below, (rank % below[-1]) + 1) - 1]

    def goodness(self, spec: Numeric, value: float) -> float:
        """Rank of a value in the category, 1 is best."""
        values, below = self._spread[spec.name]
        rank = below[bisect_left(values, value)] / max(1, below[-1] - 1)
        return 1 - rank if spec.better == "low" else rank

    @functools.cached_property
    def prices(self) -> np.ndarray:
        """All prices, ascending."""
        return np.sort(self.rows["price"])

    def meet(self, constraints: Sequence[Constraint], at: Any = slice(None)) -> np.ndarray:
        """Whether each product satisfies all constraints (one at least), `at` places or everywhere.

        Where the listing is the truth, as `prstack.world.match.satisfies_all` says of the product; otherwise by what can be found
        out: the label, or what owners measured where they did; a value that nobody tells satisfies nothing.
        """
        return np.logical_and.reduce([self._one(c, at) for c in constraints])

    def _one(self, c: Constraint, at: Any) -> np.ndarray:
        name = fold(c.attribute)
        for j, spec in enumerate(self.category.numeric):
            if fold(spec.name) == name and self.labels:
                steps = range(round((spec.high - spec.low) / spec.step) + 1)
                of_unit = [self._verdicts(c, (self.labels(spec, s, unit) for s in steps), unit) for unit in range(UNITS)]
                units, found = self._found[j]
                return np.choose(units[at], [verdicts[self._columns[j][at]] for verdicts in of_unit]) & found[at]
            if fold(spec.name) == name:
                return self._verdicts(c, (attribute(spec, s) for s in range(spec.steps(0) + spec.steps(1) + 1)))[self._columns[j][at]]
        for j, kind in enumerate(self.category.kinds, len(self.category.numeric)):
            if fold(kind.name) == name:
                met = self._verdicts(c, (Attribute(kind.name, v) for v in kind.values))[self._columns[j][at]]
                return met & self._found[j][1][at] if self.labels else met
        if name == "price":
            prices, places = self._prices
            return self._verdicts(c, prices.tolist())[places[at]]
        raise ValueError(f"the rows of {self.category.name} say nothing of {c.attribute}")

    @functools.cached_property
    def _columns(self) -> list[np.ndarray]:
        """Numeric attributes and kinds by column, for all products; the rows of a category lie far apart. True values where the truth
        is what can be found out."""
        out = [np.ascontiguousarray(self.rows[name][:, j]) for name, n in (("steps", len(self.category.numeric)), ("kinds", len(self.category.kinds))) for j in range(n)]
        if self.labels:
            for j in range(len(self.category.numeric)):
                out[j] = np.where(self.rows["false"] == j, self.rows["true"], out[j])
        return out

    @functools.cached_property
    def _found(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each attribute, the unit in which every product's value is told (owners and tests use the catalogue's), and whether it is."""
        out = []
        for j in range(len(self.category.numeric) + len(self.category.kinds)):
            told, hidden = self.rows["told"] >> j & 1 == 1, self.rows["unlisted"] >> j & 1 == 1
            units = self.rows["units"][:, j] if j < len(self.category.numeric) else np.zeros(len(self.rows), "u1")
            out.append((np.where(told | hidden, 0, units), told | ~hidden))
        return out

    def _verdicts(self, c: Constraint, values: Iterable[Attribute | float], unit: int = 0) -> np.ndarray:
        """Whether each of an attribute's values, or of the prices, satisfies a constraint on it."""
        key = (c.attribute, c.op, c.value, c.unit, unit)
        if key not in self._known:
            self._known[key] = np.array([(check(c, [v]) if isinstance(v, Attribute) else check(c, (), price=v)) is True for v in values])
        return self._known[key]

    @functools.cached_property
    def _prices(self) -> tuple[np.ndarray, np.ndarray]:
        """The prices that occur, and which of them each product has."""
        return np.unique(self.rows["price"], return_inverse=True)

    @functools.cached_property
    def ids(self) -> tuple[np.ndarray, np.ndarray]:
        """All ids, sorted as text, and the places of their products."""
        ids = np.array([id_of(n) for n in self.rows["n"].tolist()])
        places = np.argsort(ids)
        return ids[places], places

    def makers(self) -> list[str]:
        """The brands that have products here, sorted."""
        return sorted(self.brands[b] for b in np.unique(self.rows["brand"]))

    def truth(self, at: int) -> list[Attribute]:
        """The true attributes of the product at a place, in the catalogue's units."""
        row, category = self.rows[at], self.category
        steps = [row["true"] if row["false"] == j else row["steps"][j] for j in range(len(category.numeric))]
        return [*(attribute(s, int(n)) for s, n in zip(category.numeric, steps)), *(Attribute(k.name, k.values[n]) for k, n in zip(category.kinds, row["kinds"]))]

    def unlisted(self, at: int) -> list[Contradiction]:
        """The true values that the listing of the product at a place leaves out."""
        row = self.rows[at]
        return [Contradiction(id_of(int(row["n"])), a.name, "", a.value) for j, a in enumerate(self.truth(at)) if row["unlisted"] >> j & 1]

    def contradiction(self, at: int) -> Contradiction | None:
        """The false listing of the product at a place."""
        row = self.rows[at]
        if row["false"] < 0:
            return None
        spec = self.category.numeric[row["false"]]
        claim = int(row["steps"][row["false"]])
        listed = self.labels(spec, claim, int(row["units"][row["false"]])) if self.labels else attribute(spec, claim)
        return Contradiction(id_of(int(row["n"])), spec.name, listed.value, attribute(spec, int(row["true"])).value)
