"""The gate before an episode: is the task anchored, satisfiable and free of leaks?

1. Persona: its category is in the catalogue; every need names events of this history.
2. Query: it says something, and names no title of the catalogue's category nor of the history.
3. Rubric: weights are positive (they are then scaled to sum to 1); every constraint can be checked (its property occurs in
   the category); at least one product of the category that can be bought satisfies all constraints together.

Of a category of more than `prstack.world.world.SHOWN` products, so many are looked at: a rubric that only a rarer product satisfies
is taken for one that none does.

`check` returns the problems; `repair` drops the rubric items that cause them, where enough is left, so that a task whose
maker cannot do better may still run, with what was dropped on record.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from prstack.scoring.rubric import CONSTRAINTS, constraint_of
from prstack.types import History, Persona, Product, RubricItem
from prstack.world.language import hear_opinions
from prstack.world.match import satisfies
from prstack.world.world import World

MIN_ITEMS = 2
"""A rubric with fewer items after repair judges nothing."""
NEAR = 50
"""Products nearest to a query whose titles it must not name; a large category is not looked through whole."""


@dataclass(slots=True)
class Problem:
    """`part`: persona, query or rubric; `item`: the rubric item's id, when it is one item's problem."""

    part: str
    text: str
    item: str = ""


@dataclass(slots=True)
class Task:
    """What the user agent makes of a history."""

    persona: Persona
    query: str
    rubric: list[RubricItem] = field(default_factory=list)


def scaled(rubric: list[RubricItem]) -> list[RubricItem]:
    """Weights divided by their sum, rounded to 4 places; the heaviest item absorbs the rounding."""
    total = sum(i.weight for i in rubric if i.weight > 0)
    if total <= 0:
        return rubric
    for item in rubric:
        item.weight = round(max(item.weight, 0.0) / total, 4)
    heaviest = max(rubric, key=lambda i: i.weight)
    heaviest.weight = round(heaviest.weight + 1 - sum(i.weight for i in rubric), 4)
    return rubric


def check_persona(persona: Persona, history: History, world: World) -> list[Problem]:
    problems = []
    if persona.category not in world.categories():
        problems.append(Problem("persona", f"the catalogue has no category {persona.category!r}"))
    if not persona.needs:
        problems.append(Problem("persona", "there are no needs"))
    known = {e.id for e in history.events}
    for need in persona.needs:
        if not need.evidence or not set(need.evidence) <= known:
            problems.append(Problem("persona", f"the need {need.text!r} names no event of this history"))
    return problems


def check_query(query: str, persona: Persona, history: History, world: World) -> list[Problem]:
    said = " ".join(query.lower().split())
    if len(said.split()) < 5:
        return [Problem("query", "the query says too little")]
    near = (world.get(i) for i in world.search.products(query, category=persona.category, limit=NEAR))
    titles = {e.title for e in history.events} | {p.title for p in (*world.by_category(persona.category), *near)}
    for title in titles:
        if len(title.split()) > 1 and title.lower() in said:
            return [Problem("query", f"the query gives a product away: {title}")]
    return []


def check_rubric(rubric: list[RubricItem], persona: Persona, world: World) -> list[Problem]:
    """Problems of single items first, then of all together."""
    products = world.by_category(persona.category)
    problems, sound = [], []
    for item in rubric:
        if problem := _item_problem(item, products, world):
            problems.append(Problem("rubric", problem, item.id))
        else:
            sound.append(item)
    if len(sound) < MIN_ITEMS:
        problems.append(Problem("rubric", f"only {len(sound)} items can be checked"))
    if clash := _first_clash(sound, products):
        problems.append(Problem("rubric", f"no product of the category satisfies it together with the items before it: {clash.text}", clash.id))
    return problems


def repair(task: Task, world: World) -> tuple[bool, list[str]]:
    """Drops items with problems; whether the rubric still judges something, and what was dropped."""
    dropped = []
    while problems := [p for p in check_rubric(task.rubric, task.persona, world) if p.item]:
        bad = {p.item for p in problems}
        dropped += [p.text for p in problems]
        task.rubric = [i for i in task.rubric if i.id not in bad]
    scaled(task.rubric)
    return not check_rubric(task.rubric, task.persona, world), dropped


def _item_problem(item: RubricItem, products: list[Product], world: World) -> str:
    if not item.weight > 0:
        return f"weight {item.weight} is not positive: {item.text}"
    if item.type in CONSTRAINTS:
        verdicts = {satisfies(constraint_of(item), p) for p in products}
        if not verdicts - {None}:
            return f"nothing in the category says anything about it: {item.text}"
        if True not in verdicts:
            return f"no product of the category satisfies it: {item.text}"
    if item.type == "review_opinion":
        heard = (hear_opinions(r.text) for p in products for r in world.reviews_of(p.id))
        if not any(a == item.attribute and good for opinions in heard for a, _, good in opinions):
            return f"no review in the category says so: {item.text}"
    return ""


def _first_clash(rubric: list[RubricItem], products: list[Product]) -> RubricItem | None:
    left = [p for p in products if p.available]
    for item in rubric:
        if item.type in CONSTRAINTS:
            left = [p for p in left if satisfies(constraint_of(item), p)]
            if not left:
                return item
    return None
