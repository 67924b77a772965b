"""Changing a trajectory, with patterns of this package's own: nothing is shared with the filters, the expert or the scorer."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from prstack.types import Step, Trajectory

Change = Callable[[Trajectory, Random], Trajectory | None]
"""A new trajectory with the change; None where there is nothing to change."""


@dataclass(slots=True, frozen=True)
class Kind:
    """One shape of a fault that `filter` is there for, or a harmless edit (`filter` empty)."""

    name: str
    filter: str
    change: Change


@dataclass(slots=True)
class Seen:
    """A product page as it was shown: id, name, price in words, lines `property: value`."""

    id: str
    name: str
    price: str
    facts: list[tuple[str, str]]
    category: str


def pages(t: Trajectory) -> list[Seen]:
    """The product pages that the trajectory opened."""
    found = {}
    for s in t.steps:
        text = s.tool_result.text if s.tool_result and s.tool_result.ok else ""
        head = re.match(r"(P\d+) \| (.+)\ncategory: (.+)\n", text)
        price = re.search(r"^price: (.+)$", text, re.M)
        if head and price:
            listed = text.partition("attributes:\n")[2].partition("\ndescription")[0]
            found[head[1]] = Seen(head[1], head[2], price[1], re.findall(r"^- ([^:\n]+): (.+)$", listed, re.M), head[3])
    return list(found.values())


def told(products: list[Seen]) -> str:
    """A report of these products that says nothing but what their pages show."""
    entries = [f"{n}. [{p.id}] {p.name} — {p.price}\n" + "\n".join(f"- {k}: {v}" for k, v in p.facts[:4]) for n, p in enumerate(products, 1)]
    return "<report>\nThese are the products that I found for the request, with what their pages say.\n" + "\n".join(entries) + "\n</report>"


def report(t: Trajectory) -> str:
    return t.reports[-1]


def reported(t: Trajectory, text: str) -> Trajectory | None:
    """The trajectory with another final report; None when it is the same."""
    at = max(n for n, s in enumerate(t.steps) if s.role == "research" and s.state == "report")
    return None if text == t.reports[-1] else replace(step_at(t, at, content=text), reports=[*t.reports[:-1], text])


def step_at(t: Trajectory, at: int, **changes: object) -> Trajectory:
    return replace(t, steps=[replace(s, **changes) if n == at else s for n, s in enumerate(t.steps)])


def acts(t: Trajectory) -> list[int]:
    """Places of the research steps that call a tool."""
    return [n for n, s in enumerate(t.steps) if s.tool_call is not None]


def without(t: Trajectory, gone: set[int]) -> Trajectory:
    return replace(t, steps=[s for n, s in enumerate(t.steps) if n not in gone])


def reasoned(t: Trajectory, rng: Random, say: Callable[[str], str], turns: int = 1) -> Trajectory:
    """What `say` makes of the reasoning of some tool turns."""
    for at in rng.sample(acts(t), min(turns, len(acts(t)))):
        t = step_at(t, at, reasoning=say(t.steps[at].reasoning))
    return t


def with_verdict(t: Trajectory, at: int) -> tuple[Step, Step]:
    """A research step and the verdict behind it."""
    return t.steps[at], t.steps[at + 1]
