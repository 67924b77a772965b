"""The generated world: a catalogue with typed truth, in which the first search hits are mostly not the answer.

1. Brands have a tier in each category. A product's quality is its brand's tier plus noise; each numeric attribute follows
   the quality by two fifths and chance by three; the price follows the quality. So what a search line shows,
   price, brand and rating, says something, but decides nothing (`prstack.evaluation.worth` measures how much).
2. Titles are brand, series, model and noun; descriptions speak of uses, colours and the box. What decides is in the
   attributes, which only the product's page shows.
3. Reviewers praise and blame attributes by where they lie in the category. For some products one good listed value is
   contradicted: the true value is bad, its reviewers say so, and lab tests measure it. The listing keeps its claim.
4. Pages (`prstack.world.pages`) and users (`prstack.world.users`) are made from the same catalogue.

Every record has its own random stream, named by the seed and its number (`prstack.world.stock`), so that the same seed gives the
same world, whichever process makes which part. A first pass over all products notes a row for each (`prstack.world.shelf`); from the
rows follow the numbers in titles, the numbers of reviews and the spread of values. Then any product can be made by itself.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from prstack.settings import WorldConfig
from prstack.store.records import encoded
from prstack.types import History, Page, Product
from prstack.world import stock
from prstack.world.catalogue import BRANDS, CATEGORIES, SERIES
from prstack.world.material import Contradiction, Encoded, Latent, Material
from prstack.world.pages import brand_pages, numbered, shelf_pages
from prstack.world.shelf import ROW, Shelf
from prstack.world.users import Users

if TYPE_CHECKING:
    from prstack.world.workers import Workers
    from prstack.world.world import World

PART, USERS_A_PART = 10_000, 250
BRANDS_A_CATEGORY = 10


def read(config: WorldConfig) -> Material:
    """The generated world of a configuration."""
    parts = Generated(config)
    return Material([], pages=parts.pages(), contradictions=parts.contradictions(), parts=parts)


class Generated:
    """The generated world in parts (`prstack.world.material.Parts`). Product n belongs to category n modulo their number."""

    def __init__(self, config: WorldConfig, scratch: Path | None = None):
        self.config, self._scratch = config, scratch
        self.products = -(-config.products // PART)
        self.users = -(-config.users // USERS_A_PART)
        self._users: Users | None = None

    def __reduce__(self) -> tuple:
        return Generated, (self.config, self._scratch)

    # --- rows --------------------------------------------------------------------------------------------------
    def prepare(self, scratch: Path, workers: Workers) -> None:
        self._scratch, self._workers = scratch, workers
        np.lib.format.open_memmap(self._rows_file, mode="w+", dtype=ROW, shape=(self.config.products,)).flush()
        for _ in workers.map(_survey, self, range(self.products)):
            pass
        self._number()

    @property
    def _rows_file(self) -> Path:
        return self._scratch / "rows.npy"

    @functools.cached_property
    def rows(self) -> np.ndarray:
        """A row a product, mapped into memory: all processes see the same."""
        return np.lib.format.open_memmap(self._rows_file, mode="r+")

    def _number(self) -> None:
        """Numbers products within their series, in the order of the catalogue, and reviews, in the order of the shelves."""
        series = np.array(self.rows["series"])
        order = np.argsort(series, kind="stable")
        _, first, counts = np.unique(series[order], return_index=True, return_counts=True)
        self.rows["number"][order] = np.arange(len(series)) - np.repeat(first, counts) + 1
        before = 0
        for shelf in self.shelves:
            until = before + np.cumsum(shelf.rows["reviews"], dtype=np.int64)
            shelf.rows["first_review"] = until - shelf.rows["reviews"]
            before = int(until[-1])

    # --- catalogue ---------------------------------------------------------------------------------------------
    @functools.cached_property
    def brands(self) -> list[list[str]]:
        """The brands of each category, the plainest first."""
        return [random.Random(f"{self.config.seed}/brands/{c.name}").sample(BRANDS, BRANDS_A_CATEGORY) for c in CATEGORIES]

    @functools.cached_property
    def shelves(self) -> list[Shelf]:
        """The categories that have products."""
        places = range(min(len(CATEGORIES), self.config.products))
        return [Shelf(CATEGORIES[k], self.brands[k], self.rows[k :: len(CATEGORIES)], _Products(self, k)) for k in places]

    def draft(self, n: int) -> Product:
        """A product without its number and reviews."""
        k = n % len(CATEGORIES)
        return stock.product(self.config.seed, n, CATEGORIES[k], self.brands[k])

    def numbers(self, part: int) -> range:
        return range(part * PART, min(self.config.products, (part + 1) * PART))

    def first(self, part: int) -> int:
        return part * PART

    def catalogue(self, part: int) -> Iterator[tuple[Encoded, list[Encoded]]]:
        seed, numbers = self.config.seed, self.numbers(part)
        rows = self.rows[numbers.start : numbers.stop]
        for n, number, first in zip(numbers, rows["number"].tolist(), rows["first_review"].tolist()):
            shelf = self.shelves[n % len(CATEGORIES)]
            p = stock.named(self.draft(n), number, shelf.category)
            false = stock.contradict(seed, shelf, p)
            if false:
                self.rows["false"][n], self.rows["true"][n] = false
            said = stock.reviews(seed, shelf, p, false, first)
            yield encoded(p), [encoded(r) for r in said]

    def contradictions(self) -> Iterator[Contradiction]:
        """The false listings; known once the catalogue is written."""
        for shelf in self.shelves:
            for at in np.flatnonzero(shelf.rows["false"] >= 0).tolist():
                yield shelf.contradiction(at)

    # --- pages and users ---------------------------------------------------------------------------------------
    def pages(self) -> Iterator[Page]:
        """All pages, numbered W1 upwards; to be read once the catalogue is written."""
        of_shelves = chain.from_iterable(self._workers.map(_pages, self, range(len(self.shelves))))
        yield from numbered(chain(of_shelves, brand_pages(self.config.seed, self.shelves)))

    def histories(self, part: int, world: World) -> Iterator[tuple[History, Latent]]:
        if self._users is None or self._users.world.folder != world.folder:
            self._users = Users(self.config, self.shelves, world)
        return self._users.make(range(part * USERS_A_PART, min(self.config.users, (part + 1) * USERS_A_PART)))


class _Products(Sequence[Product]):
    """The products of a category, each made when it is asked for, without rating and reviews."""

    def __init__(self, world: Generated, k: int):
        self._world, self._numbers = world, range(k, world.config.products, len(CATEGORIES))

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, at: int) -> Product:
        n = self._numbers[at]
        return stock.named(self._world.draft(n), int(self._world.rows["number"][n]), CATEGORIES[n % len(CATEGORIES)])


def _survey(parts: Generated, part: int) -> None:
    """Notes the rows of a part's products."""
    series = {f"{b} {s}": n * len(SERIES) + m for n, b in enumerate(BRANDS) for m, s in enumerate(SERIES)}
    rows = []
    for n in parts.numbers(part):
        p, k = parts.draft(n), n % len(CATEGORIES)
        rows.append(stock.row(parts.config.seed, n, p, CATEGORIES[k], parts.brands[k], series[p.title]))
    numbers = parts.numbers(part)
    parts.rows[numbers.start : numbers.stop] = np.array(rows, dtype=ROW)


def _pages(parts: Generated, k: int) -> list[Page]:
    return list(shelf_pages(parts.config.seed, parts.shelves[k]))
