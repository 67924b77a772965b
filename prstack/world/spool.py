"""A source that is read in one go, put on disk part by part, so that any process can take up any part.

1. Products are lines of JSON in the order in which they come, `PART` in a file.
2. A review goes into the part of its product, behind the product's number.
3. Reading a part sorts its reviews by that number (`prstack.world.ondisk.Sorter`) and walks through both files together. Here products
   get what is said of them by their reviews alone (`Material.rated`).

In memory are the ids of all products (about 120 bytes each), a buffer, and the reviews of one product. A product's reviews stay in
the order in which they came.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from prstack.store.records import canonical_json, encoded
from prstack.world.material import Encoded, Material
from prstack.world.ondisk import Sorter

PART = 10_000
"""Products in a part."""
_BUFFER = 32 << 20
"""Characters that are held back before they are written."""


class Spool:
    """The products and reviews of a material (`prstack.world.material.Parts`, without users)."""

    def __init__(self, scratch: Path, material: Material):
        self.scratch, self.rated, self.part = scratch, material.rated, PART
        number_of: dict[str, int] = {}
        lines = _Lines(scratch)
        for n, product in enumerate(material.products):
            number_of[product.id] = n
            lines.add("products", n // self.part, encoded(product)[1])
        for review in material.reviews:
            number = number_of.get(review.product_id)
            if number is None:
                material.counts["reviews_unlisted"] = material.counts.get("reviews_unlisted", 0) + 1
            else:
                lines.add("reviews", number // self.part, f"{number} {encoded(review)[1]}")
        lines.flush()
        self.products = max(number_of.values()) // self.part + 1 if number_of else 0

    def first(self, part: int) -> int:
        return part * self.part

    def catalogue(self, part: int) -> Iterator[tuple[Encoded, list[Encoded]]]:
        reviews = Sorter(self.scratch)
        for line in _read(self.scratch, "reviews", part):
            number, _, text = line.partition(" ")
            reviews.add(int(number), text)
        groups = groupby(reviews, key=itemgetter(0))
        number, group = next(groups, (None, ()))
        for place, text in enumerate(_read(self.scratch, "products", part), self.first(part)):
            said: list[Encoded] = []
            if place == number:
                said = [(json.loads(t), t) for _, t in group]
                number, group = next(groups, (None, ()))
            row = json.loads(text)
            if said and self.rated:
                row |= {name: value for name, value in _ratings(said).items() if name in self.rated}
                text = canonical_json(row)
            yield (row, text), said


def _ratings(said: list[Encoded]) -> dict[str, float | int | None]:
    """A product's rating and its number, of its reviews; reviews without stars count and do not rate."""
    stars = [row["rating"] for row, _ in said if row["rating"] > 0]
    return {"rating": round(sum(stars) / len(stars), 1) if stars else None, "n_reviews": len(said)}


class _Lines:
    """Lines appended to many files, few of them open at a time."""

    def __init__(self, folder: Path):
        self.folder, self._held, self._size = folder, {}, 0

    def add(self, kind: str, part: int, line: str) -> None:
        self._held.setdefault((kind, part), []).append(line)
        self._size += len(line)
        if self._size >= _BUFFER:
            self.flush()

    def flush(self) -> None:
        for (kind, part), lines in self._held.items():
            with open(_path(self.folder, kind, part), "a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)
        self._held.clear()
        self._size = 0


def _path(folder: Path, kind: str, part: int) -> Path:
    return folder / f"{kind}-{part:06d}.jsonl"


def _read(folder: Path, kind: str, part: int) -> Iterator[str]:
    path = _path(folder, kind, part)
    if path.exists():
        with open(path, encoding="utf-8", newline="\n") as file:
            for line in file:
                yield line.rstrip("\n")
