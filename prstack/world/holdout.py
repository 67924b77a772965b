"""What training never sees of the generated world: whole categories, and combinations of attributes in the others.

A need of the generated world is a category and two or three attributes. Three categories, and a fifth of the combinations of
attributes within each of the others, belong to evaluation: no training user has such a need (`world.split=train`), a
trajectory that has one all the same is rejected (`distill.filters`), and pretraining text is written without them.
Users, products and phrasings are held out besides, by the evaluation world's own seed and `prstack.evaluation.phrasing`.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from typing import Literal

from prstack.world.match import fold

HELD_OUT_CATEGORIES = ("Electric Kettles", "Tents", "Monitors")
"""Some of their attributes occur elsewhere (noise level, weight, brightness), some nowhere (boiling time, refresh rate)."""
Slice = Literal["unseen category", "unseen combination", "seen combination"]
"""What training saw of a need: not its category, its category but not these attributes together, or both."""
ONE_IN = 5
"""Of so many combinations of attributes in a category, one is held out."""


def held_out_category(category: str) -> bool:
    return fold(category) in map(fold, HELD_OUT_CATEGORIES)


def held_out_combination(category: str, attributes: Collection[str]) -> bool:
    """Whether needs of these attributes together (price and category aside, order and repeats ignored) are held out in a
    category. A single attribute never is."""
    names = sorted({fold(a) for a in attributes} - {"price", "category"})
    if len(names) < 2:
        return False
    return zlib.crc32("|".join([fold(category), *names]).encode()) % ONE_IN == 0


def held_out(category: str, attributes: Collection[str]) -> bool:
    """Whether training must not see a need of this category and these attributes."""
    return slice_of(category, attributes) != "seen combination"


def slice_of(category: str, attributes: Collection[str]) -> Slice:
    """The slice of the evaluation to which a need of this category and these attributes belongs."""
    if held_out_category(category):
        return "unseen category"
    return "unseen combination" if held_out_combination(category, attributes) else "seen combination"
