"""What evaluation tasks are worth: neither the first hits nor what a search shows may answer them.

Two searches are made for each task, the natural query (noun and attribute names) and the expert's first query, in the shop
and on the web. Everything is measured on the texts that the tools return.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prstack.evaluation.tasks import Task
from prstack.scoring.report import PRODUCT_ID
from prstack.tools.results import Hit, parse_search, parse_web_search
from prstack.tools.toolbox import Toolbox
from prstack.types import Attribute, Constraint, Product, ToolCall
from prstack.world.asking import first_query
from prstack.world.generated.catalogue import CATEGORIES
from prstack.world.generated.users import natural_query
from prstack.world.match import fold, satisfies
from prstack.world.names import usual
from prstack.world.world import World

TOP, NEAR = 10, 50
"""First hits that are looked at, and products near a text that it may name."""


@dataclass(slots=True)
class Search:
    """What one query of a task shows: the first hits in the shop, and the texts in which products of the category stand, the
    hits' own lines and the web results (title and snippet) that name one."""

    task: Task
    hits: list[Hit]
    texts: list[tuple[Product, str]]

    @property
    def valid_share(self) -> float:
        return sum(h.id in self.task.valid_ids for h in self.hits) / max(1, len(self.hits))


def solvability(world: World, tasks: Sequence[Task]) -> dict[str, float]:
    """How hard the tasks are and whether a search gives them away. Raises ValueError without tasks.

    - `natural_valid_share`, `first_query_valid_share`: valid share of the first ten hits of each query, `max_price` given.
    - `valid_products`: mean number of valid products; `least_valid_products`: the fewest.
    - `leak`: share of the (task, constraint) pairs, price and category aside, that the searches decide for some product:
      a search line, by itself (`satisfies`) or by a value in its words, or a web snippet that names product and value.
    - `auc_…`: how well a field of the search line, alone, tells the valid hits of a search from the others (`line_aucs`);
      0.5 is chance. `best_line_auc` is the largest.
    """
    if not tasks:
        raise ValueError("there are no tasks to measure")
    toolbox = Toolbox(world.folder)
    nouns = {c.name: c for c in CATEGORIES}
    natural, first, leaks, pairs = [], [], 0, 0
    for task in tasks:
        asked = {"query": natural_query(nouns[task.category], task.constraints)}
        if task.budget:
            asked["max_price"] = float(task.budget.value)
        searches = [_search(toolbox, task, arguments) for arguments in (asked, first_query(task.query))]
        natural.append(searches[0])
        first.append(searches[1])
        hidden = [c for c in task.constraints if c.attribute not in ("price", "category")]
        pairs += len(hidden)
        leaks += sum(any(_leaks(c, s) for s in searches) for c in hidden)
    counts = [len(t.valid_ids) for t in tasks]
    aucs = line_aucs([*natural, *first])
    return {
        "tasks": len(tasks),
        "natural_valid_share": sum(s.valid_share for s in natural) / len(tasks),
        "first_query_valid_share": sum(s.valid_share for s in first) / len(tasks),
        "valid_products": sum(counts) / len(tasks),
        "least_valid_products": min(counts),
        "leak": leaks / pairs if pairs else 0.0,
        **{f"auc_{name}": value for name, value in aucs.items()},
        "best_line_auc": max(aucs.values()),
    }


def _search(toolbox: Toolbox, task: Task, arguments: dict) -> Search:
    """What the tools' texts show."""

    def text(tool: str, **given: object) -> str:
        return toolbox.call(ToolCall("c1", tool, json.dumps(given))).text

    hits = parse_search(text("product_search", **arguments))[:TOP]
    texts = [(p, f"{h.title} | {h.category}") for h in hits if (p := toolbox.world.get(h.id))]
    for page in parse_web_search(text("web_search", query=arguments["query"])):
        shown = f"{page.title} | {page.snippet}"
        texts += [(p, shown) for p in _named(toolbox.world, task.category, shown)]
    return Search(task, hits, texts)


def _named(world: World, category: str, text: str) -> list[Product]:
    """The products of a category that a text names, by id or title. In a large category, titles are looked for among the nearest."""
    ids = set(PRODUCT_ID.findall(text))
    near = map(world.get, (*ids, *world.search.products(text, category=category, limit=NEAR)))
    found = {p.id: p for p in (*world.by_category(category), *near) if p is not None and p.category == category}
    return [p for p in found.values() if p.id in ids or p.title in text]


# --- leaks -------------------------------------------------------------------------------------------------------
def _leaks(c: Constraint, search: Search) -> bool:
    """Whether a search decides a constraint for a product that it shows."""
    return any(satisfies(c, hit) is not None for hit in search.hits) or any(_tells(c, p, text) for p, text in search.texts)


def _tells(c: Constraint, product: Product, text: str) -> bool:
    """Whether a text about a product holds its value of an attribute: the listed one, or a measured one beside the name."""
    text, name = fold(text), usual(c.attribute)
    own = [a for a in (*product.attributes, Attribute("brand", product.brand)) if usual(a.name) == name and a.value]
    listed = any(re.search(rf"(?<!\w){re.escape(fold(a.value))}(?!\w)", text) for a in own)
    return listed or any(re.search(rf"\d ?{re.escape(fold(a.unit))}(?!\w)", text) for a in own if a.unit and (name in text or fold(a.name) in text))


# --- what a search line predicts -----------------------------------------------------------------------------------
FIELDS: dict[str, Callable[[int, Hit], float | None]] = {
    "position": lambda n, hit: float(n),
    "price": lambda n, hit: hit.price,
    "rating": lambda n, hit: hit.rating,
    "reviews": lambda n, hit: float(hit.n_reviews),
}
"""What a search line shows as a number: (position, hit) → value. Which way it points is not known beforehand."""


def line_aucs(searches: Sequence[Search]) -> dict[str, float]:
    """Field of the search line → the share of (valid, other) pairs of hits within one search that it puts in the right order.

    Ties and missing values count half; a number is taken in the direction that predicts better. The brand (the title's
    first word) is worth its valid share in the searches of other tasks in the category.
    """
    out = {}
    for name, value in FIELDS.items():
        area = _area(searches, lambda s, n, hit, value=value: value(n, hit))
        out[name] = max(area, 1 - area)
    shares = _BrandShares(searches)
    out["brand"] = _area(searches, lambda s, n, hit: shares.without(s.task, _brand(hit)))
    return out


def _area(searches: Sequence[Search], value: Callable[[Search, int, Hit], float | None]) -> float:
    """Pairs that a value orders rightly, among all pairs of a valid hit and another one of the same search; 0.5 without any."""
    right = pairs = 0.0
    for s in searches:
        values = [(value(s, n, hit), hit.id in s.task.valid_ids) for n, hit in enumerate(s.hits)]
        valid, others = ([v for v, ok in values if ok == wanted] for wanted in (True, False))
        pairs += len(valid) * len(others)
        right += sum(0.5 if a is None or b is None or a == b else float(a > b) for a in valid for b in others)
    return right / pairs if pairs else 0.5


class _BrandShares:
    """How often the hits of a brand are valid, by category and task."""

    def __init__(self, searches: Sequence[Search]):
        self._by_task: dict[tuple[str, str], dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
        for s in searches:
            for hit in s.hits:
                self._by_task[s.task.category, _brand(hit)][s.task.id].append(hit.id in s.task.valid_ids)

    def without(self, task: Task, brand: str) -> float | None:
        """The valid share of a brand's hits over the other tasks of the category; None when they have none."""
        seen = [ok for id, oks in self._by_task[task.category, brand].items() if id != task.id for ok in oks]
        return sum(seen) / len(seen) if seen else None


def _brand(hit: Hit) -> str:
    return hit.title.split()[0] if hit.title.strip() else ""
