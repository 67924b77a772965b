"""Controls: what scores come without the work that an evaluation means to measure."""

from __future__ import annotations

import json

from prstack.evaluation.first_query import first_query
from prstack.evaluation.metrics import LIST_LENGTH
from prstack.evaluation.tasks import Task
from prstack.scoring.evidence import Evidence
from prstack.scoring.rubric import score
from prstack.tools.results import Hit, parse_search
from prstack.tools.toolbox import Toolbox
from prstack.types import Step, ToolCall, Trajectory, Usage
from prstack.world.units import money


def no_check(toolbox: Toolbox, task: Task, k: int = LIST_LENGTH) -> Trajectory:
    """The expert's first query, its first `k` hits listed unchecked: one search, one report, no product page opened.

    Deterministic; costs no tokens. Raises ValueError for a `k` below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    call = ToolCall("c1", "product_search", json.dumps(first_query(task.query), ensure_ascii=False))
    search = Step("research", "toolcall", 0, tool_call=call, tool_result=toolbox.call(call))
    hits = parse_search(search.tool_result.text)[:k]
    body = "\n".join(_pitch(n, hit) for n, hit in enumerate(hits, 1)) or "The search found nothing, so I recommend nothing."
    report = f"<report>\n{body}\n</report>"
    return Trajectory(
        id=f"no_check-{task.id}",
        user_id=task.user_id,
        seed=0,
        persona=task.persona,
        query=task.query,
        rubric=task.rubric,
        steps=[search, Step("research", "report", 0, content=report)],
        reports=[report],
        scores=[score(report, task.rubric, Evidence.from_steps([search])).score],
        termination="finished",
        usage=[Usage("research")],
        engines={"research": "no_check"},
        world=toolbox.world.kind,
    )


def _pitch(n: int, hit: Hit) -> str:
    price = money(hit.price, hit.currency) if hit.price is not None else "price not stated"
    return f"{n}. [{hit.id}] {hit.title} — {price}"
