"""A source that is read in one go, put on disk part by part, so that any process can take up any part.

Products are lines of JSON in the order in which they come; each review goes into the part of its product. In memory are the ids of all
products (about 120 bytes each) and a buffer. Reading a part holds its reviews.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from prstack.store.records import encoded
from prstack.world.material import Encoded, Material

PART = 10_000
"""Products in a part."""
_BUFFER = 32 << 20
"""Characters that are held back before they are written."""


class Spool:
    """The products and reviews of a material (`prstack.world.material.Parts`, without users)."""

    def __init__(self, scratch: Path, material: Material):
        self.scratch = scratch
        part_of: dict[str, int] = {}
        lines = _Lines(scratch)
        for n, product in enumerate(material.products):
            part_of[product.id] = n // PART
            lines.add("products", n // PART, encoded(product)[1])
        for review in material.reviews:
            part = part_of.get(review.product_id)
            if part is None:
                material.counts["reviews_unlisted"] = material.counts.get("reviews_unlisted", 0) + 1
            else:
                lines.add("reviews", part, encoded(review)[1])
        lines.flush()
        self.products = max(part_of.values()) + 1 if part_of else 0

    def first(self, part: int) -> int:
        return part * PART

    def catalogue(self, part: int) -> Iterator[tuple[Encoded, list[Encoded]]]:
        reviews: dict[str, list[Encoded]] = {}
        for row, text in _read(self.scratch, "reviews", part):
            reviews.setdefault(row["product_id"], []).append((row, text))
        for product in _read(self.scratch, "products", part):
            yield product, reviews.get(product[0]["id"], [])


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


def _read(folder: Path, kind: str, part: int) -> Iterator[Encoded]:
    path = _path(folder, kind, part)
    if path.exists():
        with open(path, encoding="utf-8", newline="\n") as file:
            for line in file:
                yield json.loads(line), line.rstrip("\n")
