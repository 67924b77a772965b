"""Controls: what scores come without the work that an evaluation means to measure."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from prstack.evaluation.metrics import LIST_LENGTH
from prstack.evaluation.tasks import Task
from prstack.scoring.evidence import Evidence
from prstack.scoring.rubric import score
from prstack.tools.results import Hit, parse_search
from prstack.tools.schemas import MAX_QUERY
from prstack.tools.toolbox import Toolbox
from prstack.types import Step, ToolCall, Trajectory, Usage
from prstack.world.asking import first_query
from prstack.world.units import money

PAGES = 3
"""Pages of hits that a random pick is drawn from."""


def no_check(toolbox: Toolbox, task: Task, k: int = LIST_LENGTH) -> Trajectory:
    """The expert's first query, its first `k` hits listed unchecked: one search, one report, no product page opened.

    Deterministic; costs no tokens. Raises ValueError for a `k` below 1.
    """
    return _unchecked("no_check", toolbox, task, [first_query(task.query)], lambda hits: hits[:k], k)


def random_pick(toolbox: Toolbox, task: Task, k: int = LIST_LENGTH) -> Trajectory:
    """The query as it is for a search, without a filter, and `k` of the hits of its first `PAGES` pages by lot, unchecked.

    Deterministic for a task; costs no tokens. Raises ValueError for a `k` below 1.
    """
    rng = random.Random(f"{task.id}/random_pick")
    searches = [{"query": task.query[:MAX_QUERY], "page": n} for n in range(1, PAGES + 1)]
    return _unchecked("random_pick", toolbox, task, searches, lambda hits: rng.sample(hits, min(k, len(hits))), k)


CONTROLS = {"no_check": no_check, "random_pick": random_pick}


def _unchecked(name: str, toolbox: Toolbox, task: Task, searches: list[dict], pick: Callable[[list[Hit]], list[Hit]], k: int) -> Trajectory:
    """Searches, and a report that lists what is picked of their hits."""
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    steps = []
    for n, arguments in enumerate(searches, 1):
        call = ToolCall(f"c{n}", "product_search", json.dumps(arguments, ensure_ascii=False))
        steps.append(Step("research", "toolcall", 0, tool_call=call, tool_result=toolbox.call(call)))
    found = {h.id: h for s in steps for h in parse_search(s.tool_result.text)}
    body = "\n".join(_pitch(n, hit) for n, hit in enumerate(pick(list(found.values())), 1)) or "The search found nothing, so I recommend nothing."
    report = f"<report>\n{body}\n</report>"
    return Trajectory(
        id=f"{name}-{task.id}",
        user_id=task.user_id,
        seed=0,
        persona=task.persona,
        query=task.query,
        rubric=task.rubric,
        steps=[*steps, Step("research", "report", 0, content=report)],
        reports=[report],
        scores=[score(report, task.rubric, Evidence.from_steps(steps)).score],
        termination="finished",
        usage=[Usage("research")],
        engines={"research": name},
        world=toolbox.world.kind,
    )


def _pitch(n: int, hit: Hit) -> str:
    price = money(hit.price, hit.currency) if hit.price is not None else "price not stated"
    return f"{n}. [{hit.id}] {hit.title} — {price}"
