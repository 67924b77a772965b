"""Generations: a product of a line as it grew out of the ones before it.

1. The oldest one that is sold is drawn as any product is (`prstack.world.generated.stock.product`).
2. Each later one is made from its predecessor by its own random stream: most numeric attributes stay or get better, in every second
   generation one gets worse, now and then one is of another kind. It costs a little more.

So "newer" is a hint as the price is: mostly better, never a proof. How little it tells of validity is measured
(docs/generated-world.md).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from prstack.types import Attribute, Product
from prstack.world.generated import stock
from prstack.world.generated.catalogue import Category
from prstack.world.generated.lines import line_of
from prstack.world.generated.shelf import attribute, id_of

BETTER, WORSE, OTHER_KIND = 0.5, 0.5, 0.25
"""Share of the attributes that get better, and of the generations in which one gets worse and in which one is of another kind."""
GAIN, LOSS = (0.03, 0.12), (0.03, 0.12)
"""By how much an attribute changes, as a share of its range, at least and at most."""
DEARER = (0.01, 0.06)


def product(seed: int, head: int, category: Category, brands: Sequence[str]) -> Product:
    """The product that heads a family, by its number, under its series' name."""
    line, at = line_of(seed, head)
    p = stock.product(seed, line.heads[0], category, brands)
    for number in line.heads[1 : at + 1]:
        _succeed(p, category, random.Random(f"{seed}/generation/{number}"))
    p.id = id_of(head)
    return p


def _succeed(p: Product, category: Category, rng: random.Random) -> None:
    """Makes a product its own successor."""
    worse = rng.randrange(len(category.numeric)) if rng.random() < WORSE else -1
    for j, spec in enumerate(category.numeric):
        share = -rng.uniform(*LOSS) if j == worse else rng.uniform(*GAIN) if rng.random() < BETTER else 0.0
        if share:
            last = round((spec.high - spec.low) / spec.step)
            change = max(1, round(abs(share) * last)) * (1 if (share > 0) == (spec.better == "high") else -1)
            here = round((p.attributes[j].number - spec.low) / spec.step)
            p.attributes[j] = attribute(spec, min(last, max(0, here + change)))
    if rng.random() < OTHER_KIND:
        j = rng.randrange(len(category.kinds))
        p.attributes[len(category.numeric) + j] = Attribute(category.kinds[j].name, rng.choice(category.kinds[j].values))
    p.price = stock.shop_price(p.price * (1 + rng.uniform(*DEARER)))
    p.available = rng.random() < stock.AVAILABLE
