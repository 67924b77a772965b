"""The user agent: behaviour history → persona, query and rubric that pass the gate.

Each attempt asks for the persona, then the query, then the rubric; what the gate finds goes into the next attempt of that
part. After the last attempt, rubric items with problems are dropped if enough is left; otherwise the history is rejected.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from pydantic import ValidationError

from actors.agent import Agent, derive_seed
from prstack.errors import UserError
from prstack.prompts import replies
from prstack.scoring import gate
from prstack.scoring.gate import Problem, Task
from prstack.settings import AgentsConfig
from prstack.store.records import explain, from_row
from prstack.types import Event, History, Persona, RubricItem, Usage
from prstack.world.facets import Facet, facets
from prstack.world.world import World

MAX_EVENTS = 12
"""Latest events that go into the prompt."""


@dataclass(slots=True)
class Prepared:
    """`task` is None when the history was rejected; `detail` then says why, and otherwise what was repaired."""

    task: Task | None
    detail: str
    usage: Usage = field(default_factory=lambda: Usage("user"))


class UserAgent(Agent):
    role = "user"

    def __init__(self, pool, world_folder: str | Path, limits: AgentsConfig | None = None):
        self.limits = limits or AgentsConfig()
        super().__init__(pool, self.limits.prompts)
        self.world = World.open(Path(world_folder))

    async def prepare(self, history: History, episode: str, seed: int) -> Prepared:
        """Persona, query and rubric for a history. Raises actors.engine.EngineError."""
        recent = History(history.user_id, history.events[-MAX_EVENTS:])
        out = Prepared(None, "", Usage("user"))
        problems: list[Problem] = []
        for attempt in range(self.limits.user_attempts):
            try:
                task, problems = await self._attempt(recent, episode, derive_seed(seed, "user", attempt), problems, out.usage)
            except UserError as e:
                problems = [Problem("persona", str(e))]
                continue
            if not problems:
                out.task = task
                return out
            if attempt + 1 == self.limits.user_attempts and all(p.part == "rubric" for p in problems):
                sound, dropped = gate.repair(task, self.world)
                if sound:
                    out.task, out.detail = task, "dropped from the rubric: " + "; ".join(dropped)
                    return out
        out.detail = "gate: " + "; ".join(f"{p.part}: {p.text}" for p in problems[:4])
        return out

    async def _attempt(self, history: History, episode: str, seed: int, problems: list[Problem], usage: Usage) -> tuple[Task, list[Problem]]:
        persona = await self._persona(history, episode, seed, problems, usage)
        found = gate.check_persona(persona, history, self.world)
        if found:
            return Task(persona, ""), found
        query = await self._query(persona, episode, seed, problems, usage)
        found = gate.check_query(query, persona, history, self.world)
        if found:
            return Task(persona, query), found
        rubric = await self._rubric(persona, query, episode, seed, problems, usage)
        return Task(persona, query, gate.scaled(rubric)), gate.check_rubric(rubric, persona, self.world)

    async def _persona(self, history: History, episode: str, seed: int, problems: list[Problem], usage: Usage) -> Persona:
        text = self.prompts.render("user_persona", events=[_event_row(e) for e in history.events], problems=[p.text for p in problems if p.part != "query"])
        reply = await self._json("persona", text, replies.persona_schema(history), self.limits.tokens.persona, episode, seed, usage)
        if reply.get("budget") is not None and not isinstance(reply["budget"], (int, float)):
            raise UserError("the budget is not a number")
        currency = self._currency(str(reply.get("category", "")))
        return _record(Persona, reply | {"currency": currency})

    async def _query(self, persona: Persona, episode: str, seed: int, problems: list[Problem], usage: Usage) -> str:
        text = self.prompts.render("user_query", persona=asdict(persona), problems=[p.text for p in problems if p.part == "query"])
        reply = await self._json("query", text, replies.query_schema(), self.limits.tokens.query, episode, seed, usage)
        return str(reply.get("query", "")).strip()

    async def _rubric(self, persona: Persona, query: str, episode: str, seed: int, problems: list[Problem], usage: Usage) -> list[RubricItem]:
        products = self.world.by_category(persona.category)
        shown = facets(products)
        given = {"persona": asdict(persona), "query": query, "facets": [_facet_row(f) for f in shown]}
        text = self.prompts.render("user_rubric", problems=[p.text for p in problems if p.part == "rubric"], **given)
        schema = replies.rubric_schema(persona.category, shown, any(p.n_reviews for p in products))
        reply = await self._json("rubric", text, schema, self.limits.tokens.rubric, episode, seed, usage)
        rows = reply.get("items")
        if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
            raise UserError("the rubric is not a list of items")
        items = [_record(RubricItem, row | {"id": f"r{n}"}) for n, row in enumerate(rows, 1)]
        for item in items:
            if item.type == "entity_match":
                item.op, item.value = "=", item.value or persona.category
            elif item.type == "budget_match":
                item.op, item.value = "<=", item.value or str(persona.budget or "")
            elif item.type == "negative_attribute":
                item.op, item.negative = "!=", True
        return items

    async def _json(self, task: str, text: str, schema: dict, max_tokens: int, episode: str, seed: int, usage: Usage) -> dict:
        messages = [{"role": "user", "content": text}]
        done = await self.ask(task, messages, usage, episode=episode, seed=derive_seed(seed, task), schema=schema, max_tokens=max_tokens)
        reply = replies.read_json(done.text)
        if reply is None:
            raise UserError(f"the {task} is not a JSON object" + (" (cut off at the token limit)" if done.finish_reason == "length" else ""))
        return reply

    def _currency(self, category: str) -> str:
        return next((p.currency for p in self.world.by_category(category)), "USD")


def _event_row(event: Event) -> dict:
    """An event as the prompt shows it: only what is there."""
    row = {f.name: v for f in fields(event) if (v := getattr(event, f.name)) not in ("", None, [])}
    if event.attributes:
        row["attributes"] = {a.name: a.value for a in event.attributes}
    return row


def _facet_row(f: Facet) -> dict:
    return {"property": f.name, "from": f.low, "to": f.high, "unit": f.unit} if f.numeric else {"property": f.name, "values": f.values}


def _record(cls, row: dict):
    try:
        return from_row(cls, row)
    except ValidationError as e:
        field_path, reason = explain(e)
        raise UserError(f"{cls.__name__.lower()}: {field_path}: {reason}") from e
