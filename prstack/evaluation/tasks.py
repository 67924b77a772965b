"""Evaluation tasks from what a world knows of its users: no agent guesses a need, so every task has a known truth.

1. A generated user's latent need (`prstack.world.material.Latent`) is stated in full as a query, in held-out wording
   (`prstack.evaluation.phrasing`).
2. The rubric holds one item a constraint, and asks for comparison and grounding.
3. The truth are the products that satisfy every constraint by their listing and can be bought.

`prstack.evaluation.worth` measures what the tasks are worth.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass

from prstack.errors import UserError
from prstack.evaluation.metrics import Truth
from prstack.evaluation.phrasing import state
from prstack.scoring.gate import scaled
from prstack.store.records import data_files, read_records
from prstack.types import Constraint, ItemType, Need, Persona, RubricItem
from prstack.world.holdout import Slice, slice_of
from prstack.world.language import say, utterable
from prstack.world.material import Latent
from prstack.world.world import World


@dataclass(slots=True)
class Task:
    """`constraints` are the latent ones, the budget (`price`) among them, without the category."""

    id: str
    user_id: str
    query: str
    rubric: list[RubricItem]
    valid_ids: frozenset[str]
    category: str
    constraints: list[Constraint]

    @property
    def truth(self) -> Truth:
        return Truth(self.valid_ids)

    @property
    def slice(self) -> Slice:
        """What training saw of such a need."""
        return slice_of(self.category, [c.attribute for c in self.constraints])

    @property
    def budget(self) -> Constraint | None:
        return next((c for c in self.constraints if c.attribute == "price"), None)

    @property
    def persona(self) -> Persona:
        """The need as a persona, without events as evidence."""
        rng = random.Random(self.id)
        needs = [Need(say(c, rng), [], c.attribute, c.op, c.value, c.unit) for c in self.constraints if c.attribute != "price"]
        cares = ", ".join(n.attribute for n in needs) or "the price"
        persona = Persona(f"Shops for {self.category}; cares about {cares}.", self.category, needs)
        if self.budget:
            persona.budget, persona.currency = float(self.budget.value), self.budget.unit or "USD"
        return persona


def make_tasks(world: World, n: int | None, seed: int = 0, exclude: Collection[str] = (), held_out: bool = True) -> list[Task]:
    """`n` tasks of as many users, drawn by the seed; more tasks begin with the same ones. None: as many as there are.

    `exclude`: users that are not to be drawn, for example those of the training set. Raises UserError when the world has no
    latent needs, or too few that can be stated and met.
    """
    users = sorted(latent_needs(world), key=lambda u: u.user_id)
    random.Random(f"{seed}/tasks").shuffle(users)
    tasks: list[Task] = []
    for user in users:
        if len(tasks) == n:
            break
        if user.user_id not in exclude and (task := _task(world, user, seed, held_out)):
            tasks.append(task)
    if len(tasks) < (1 if n is None else n):
        raise UserError(f"{world.folder}: {n or 'some'} tasks were asked for, but its users give only {len(tasks)}; build it with more users")
    return tasks


def latent_needs(world: World) -> list[Latent]:
    """The truth about the users of a generated world. Raises UserError where there is none."""

    def on_bad(bad: object) -> None:
        raise UserError(f"{bad}; remove {world.folder} and run `prstack world` again")

    folder = world.folder / "truth" / "users"
    try:
        data_files(folder, "truth")
    except UserError as e:
        raise UserError(f"{world.folder}: this world ({world.kind}) holds no latent needs, so its tasks have no known truth; use world=generated") from e
    return list(read_records(folder, Latent, on_bad, "truth"))


def _task(world: World, user: Latent, seed: int, held_out: bool) -> Task | None:
    """None when the need cannot be stated, or no product that meets it can be bought."""
    valid = frozenset(i for i in user.satisfying if (p := world.get(i)) is not None and p.available)
    constraints = [Constraint("category", "=", user.category), *user.constraints]
    if not valid or not all(map(utterable, constraints)):
        return None
    rng = random.Random(f"{seed}/task/{user.user_id}")
    try:
        query = state(constraints, rng, held_out)
    except ValueError:
        return None
    return Task(f"eval-{seed}-{user.user_id}", user.user_id, query, _rubric(constraints, rng), valid, user.category, list(user.constraints))


def _rubric(constraints: list[Constraint], rng: random.Random) -> list[RubricItem]:
    """Weights as the scripted user agent gives them, scaled to 1."""
    items = [_item(c, rng) for c in constraints]
    items.append(RubricItem("", "comparison", "Compares the products by the same properties", 1, "comprehensiveness", "report"))
    items.append(RubricItem("", "grounding", "Every claim rests on what the tools showed", 2, "depth", "product_page"))
    for n, item in enumerate(items, 1):
        item.id = f"r{n}"
    return scaled(items)


def _item(c: Constraint, rng: random.Random) -> RubricItem:
    if c.attribute == "category":
        return RubricItem("", "entity_match", f"Recommends {c.value}", 1, "instruction_following", "search", attribute="category", op=c.op, value=c.value)
    if c.attribute == "price":
        return RubricItem("", "budget_match", f"Stays within {c.value} {c.unit or 'USD'}", 2, "instruction_following", "search", False, "price", c.op, c.value, c.unit)
    kinds: dict[str, ItemType] = {"!=": "negative_attribute", "<=": "numeric_range", ">=": "numeric_range", "=": "attribute_match"}
    return RubricItem("", kinds[c.op], say(c, rng), 3, "instruction_following", "product_page", c.op == "!=", c.attribute, c.op, c.value, c.unit)
