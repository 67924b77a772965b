"""The generated world: a catalogue with typed truth, in which the first search hits are mostly not the answer.

1. Brands have a tier in each category. A product's quality is its brand's tier plus noise; each numeric attribute follows
   the quality by two fifths and chance by three; the price follows the quality. So what a search line shows,
   price, brand and rating, says something, but decides nothing (`prstack.evaluation.worth` measures how much).
2. Titles are brand, series, model and noun; descriptions speak of uses, colours and the box. What decides is in the
   attributes, which only the product's page shows.
3. Reviewers praise and blame attributes by where they lie in the category. For some products one good listed value is
   contradicted: the true value is bad, its reviewers say so, and lab tests measure it. The listing keeps its claim.
4. Pages (`prstack.world.generated.pages`) and users (`prstack.world.generated.users`) are made from the same catalogue.
5. `world.difficulty` (`prstack.world.generated.levels`): in medium and hard worlds products come in generations and families (`lines`,
   `generations`, `families`), a seller's listing stands between the product and the reader (`listing`), owners state values
   (`owners`), tests and data sheets too (`press`), and what can be found out is the truth, not what the listing claims
   (`Shelf.meet`).

Every record has its own random stream, named by the seed and its number (`prstack.world.generated.stock`), so that the same seed gives the
same world, whichever process makes which part. A first pass over all products notes a row for each (`prstack.world.generated.shelf`); from the
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
from prstack.types import History, Page, Product, Review
from prstack.world.generated import families, lines, listing, owners, press, stock
from prstack.world.generated.catalogue import BRANDS, CATEGORIES, SERIES
from prstack.world.generated.levels import LEVELS
from prstack.world.generated.pages import brand_pages, numbered, shelf_pages
from prstack.world.generated.shelf import ROW, Shelf, model
from prstack.world.generated.users import Users
from prstack.world.material import Contradiction, Encoded, Latent, Material

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
        self.config, self.level, self._scratch = config, LEVELS[config.difficulty], scratch
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
        """Numbers products within their series (lines within series and category, in deep worlds), in the order of the catalogue, and
        reviews, in the order of the shelves."""
        if self.level.deep:
            line, first, product = np.unique(self.rows["line"], return_index=True, return_inverse=True)
            of = np.array(self.rows["series"], dtype=np.int64)[first] * len(CATEGORIES) + line % len(CATEGORIES)
            self.rows["mark"] = _turns(of)[product]
        else:
            self.rows["number"] = _turns(np.array(self.rows["series"])) + 1
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
        labels = listing.label if self.level.deep else None
        return [Shelf(CATEGORIES[k], self.brands[k], self.rows[k :: len(CATEGORIES)], _Products(self, k), labels) for k in places]

    def draft(self, n: int) -> Product:
        """A product without its number and reviews, all its attributes in their places and in the catalogue's units."""
        return self._draft(n)[0]

    def _draft(self, n: int) -> tuple[Product, str]:
        """The draft, and in a deep world the colour."""
        seed, k = self.config.seed, n % len(CATEGORIES)
        if self.level.deep:
            return families.product(seed, n, self.config.products, CATEGORIES[k], self.brands[k])
        return stock.product(seed, n, CATEGORIES[k], self.brands[k]), ""

    def numbers(self, part: int) -> range:
        return range(part * PART, min(self.config.products, (part + 1) * PART))

    def first(self, part: int) -> int:
        return part * PART

    def catalogue(self, part: int) -> Iterator[tuple[Encoded, list[Encoded]]]:
        seed, numbers = self.config.seed, self.numbers(part)
        rows = self.rows[numbers.start : numbers.stop]
        for n, mark, number, first in zip(numbers, rows["mark"].tolist(), rows["number"].tolist(), rows["first_review"].tolist()):
            shelf = self.shelves[n % len(CATEGORIES)]
            p, colour = self._draft(n)
            stock.named(p, model(mark, number), shelf.category)
            if self.level.deep:
                p, said = self._listed(n, shelf, p, colour, first)
            else:
                false = stock.contradict(seed, shelf, p)
                if false:
                    self.rows["false"][n], self.rows["true"][n] = false
                said = stock.reviews(seed, shelf, p, false, first)
            yield encoded(p), [encoded(r) for r in said]

    def _listed(self, n: int, shelf: Shelf, p: Product, colour: str, first: int) -> tuple[Product, list[Review]]:
        """A product as its seller lists it, and its reviews; notes in its row what is false and what owners tell."""
        seed, level, row = self.config.seed, self.level, self.rows[n]
        style = listing.style(seed, level, n, shelf.category)
        false = stock.contradict(seed, shelf, p, level.contradicted, style.unlisted) if row["reviews"] >= owners.WITNESSES else None
        if false:
            row["false"], row["true"] = false
        said = owners.said_of(seed, level, shelf, p, false, style.unlisted, first)
        row["told"] = said.told
        standing = lines.standing(seed, int(row["head"]), self.config.products, p.title.split()[1], int(row["mark"]))
        return listing.listed(seed, level, shelf.category, p, colour, n, style, standing), said.reviews

    def contradictions(self) -> Iterator[Contradiction]:
        """What the listings claim falsely or leave out; known once the catalogue is written."""
        for shelf in self.shelves:
            for at in np.flatnonzero((shelf.rows["false"] >= 0) | (shelf.rows["unlisted"] > 0)).tolist():
                if false := shelf.contradiction(at):
                    yield false
                yield from shelf.unlisted(at)

    # --- pages and users ---------------------------------------------------------------------------------------
    def pages(self) -> Iterator[Page]:
        """All pages, numbered W1 upwards; to be read once the catalogue is written."""
        of_shelves = chain.from_iterable(self._workers.map(_deep_pages if self.level.deep else _pages, self, range(len(self.shelves))))
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
        row = self._world.rows[n]
        return stock.named(self._world.draft(n), model(int(row["mark"]), int(row["number"])), CATEGORIES[n % len(CATEGORIES)])


def _turns(of: np.ndarray) -> np.ndarray:
    """For each element, how many equal ones stand before it."""
    order = np.argsort(of, kind="stable")
    _, first, counts = np.unique(of[order], return_index=True, return_counts=True)
    out = np.empty(len(of), np.int64)
    out[order] = np.arange(len(of)) - np.repeat(first, counts)
    return out


def _survey(parts: Generated, part: int) -> None:
    """Notes the rows of a part's products."""
    series = {f"{b} {s}": n * len(SERIES) + m for n, b in enumerate(BRANDS) for m, s in enumerate(SERIES)}
    seed, numbers, rows = parts.config.seed, parts.numbers(part), []
    for n in numbers:
        p, k = parts.draft(n), n % len(CATEGORIES)
        rows.append(stock.row(seed, n, p, CATEGORIES[k], parts.brands[k], series[p.title]))
    made = np.array(rows, dtype=ROW)
    if parts.level.deep:
        for n, row in zip(numbers, made):
            style = listing.style(seed, parts.level, n, CATEGORIES[n % len(CATEGORIES)])
            row["units"], row["unlisted"] = style.units, style.unlisted
            row["head"] = lines.place_of(seed, n, parts.config.products).head
            line, at = lines.line_of(seed, int(row["head"]))
            row["line"], row["number"] = line.heads[0], line.oldest + at
    parts.rows[numbers.start : numbers.stop] = made


def _pages(parts: Generated, k: int) -> list[Page]:
    return list(shelf_pages(parts.config.seed, parts.shelves[k]))


def _deep_pages(parts: Generated, k: int) -> list[Page]:
    return list(press.shelf_pages(parts.config.seed, parts.level, parts.shelves[k]))
