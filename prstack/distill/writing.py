"""Corrections as first-person reflections, by a language model (`distill.internalise=llm`).

1. The corrections of an episode are those that the rule makes reflections of (`prstack.distill.internalise`). A model is asked for
   `AT_ONCE` of them at a time: what was wrong, what the agent did, what it does next (prompt `distill_reflect`); its reply follows
   a schema, one reflection for each.
2. Each reflection is put into the conversation, beside those that were taken before it, and the checker that verifies every internalised
   conversation (`prstack.distill.checker`) looks at the whole. One in which it finds a fault is refused.
3. What was refused is asked for again, with the reason in the prompt and another seed, up to `attempts` times in all. Then, or when
   the engine gives no answer, the rule's reflection stays, and the last reason goes on record.

So a conversation is never worse off for the model's failing, and every reflection is accounted for: by the model, or by the rule and why.
This module asks through a function (`actors.writer` makes one of an engine) and knows of no engine.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prstack.distill import checker
from prstack.distill.internalise import Correction, Policy, internalise
from prstack.prompts import Prompts
from prstack.prompts.replies import read_json, reflections_schema
from prstack.types import Step, Trajectory

PROMPT = "distill_reflect"
AT_ONCE = 6
"""Reflections that are asked for in one request."""
LONGEST = 400
"""Characters of a reflection."""
TOKENS_EACH, TOKENS_FRAME = 128, 32
"""Longest reply: tokens a reflection, and around them."""
SHOWN = 600
"""Characters of a step that the model is shown."""

Ask = Callable[[str, dict, int, str, int], Awaitable[str]]
"""(prompt, schema, seed, episode, longest reply in tokens) → the reply. Raises Unanswered."""


class Unanswered(Exception):
    """No reply will come: the engine is lost, or refuses the request. `reason` is a short name, such as `context`."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


BECAUSE = {
    "voice": "it speaks of being checked or told, or to somebody; the agent noticed by itself",
    "marker": "it holds markup",
    "reflection_missing": "it does not say what was wrong in the words given, or not in the first person",
    "report_extra": "it holds a report",
    "malformed": "the reply was not the JSON object that was asked for",
    "empty": "it was empty",
    "too_long": f"it was longer than {LONGEST} characters",
}
"""Reason → what the model is told of it."""


@dataclass(slots=True)
class Written:
    """What a model wrote for an episode."""

    reflections: dict[str, str] = field(default_factory=dict)
    """Key of a correction → its reflection, of those that were taken."""
    fallbacks: dict[str, str] = field(default_factory=dict)
    """Key of a correction → why the model's last one was refused, where the rule's stays."""
    requests: int = 0


class Writer:
    """Asks for the reflections of an episode. `attempts`: requests for one reflection, at most."""

    def __init__(self, ask: Ask, prompts: Prompts, attempts: int = 3):
        self.ask, self.prompts, self.attempts = ask, prompts, attempts

    async def write(self, t: Trajectory, system: str, wrong_actions: Policy) -> Written:
        """The reflections of an episode that passed the filters. An episode that the checker refuses with the rule's reflections is not worth
        a request: nothing is written for it."""
        out = Written()
        ruled = internalise(t, system, wrong_actions)
        if not ruled.corrections or checker.violations(t, ruled.messages, wrong_actions):
            return out

        def fault_of(key: str, text: str) -> str | None:
            made = internalise(t, system, wrong_actions, out.reflections | {key: text})
            found = checker.violations(t, made.messages, wrong_actions)
            return found[0].kind if found else None

        for first in range(0, len(ruled.corrections), AT_ONCE):
            await self._ask_for(t, ruled.corrections[first : first + AT_ONCE], fault_of, out)
        return out

    async def _ask_for(self, t: Trajectory, wanted: Sequence[Correction], fault_of: Callable[[str, str], str | None], out: Written) -> None:
        """Up to AT_ONCE corrections, to the end of their attempts."""
        refused: dict[str, tuple[str, str]] = {}  # key → (what was written, why it was refused)
        for attempt in range(self.attempts):
            prompt = self.prompts.render(PROMPT, query=t.query, mistakes=mistakes(t, wanted), refused=_told(wanted, refused))
            out.requests += 1
            try:
                seed = int.from_bytes(hashlib.sha256(f"{t.id}/{wanted[0].key}/{attempt}".encode()).digest()[:4], "big") >> 1
                reply = await self.ask(prompt, reflections_schema(len(wanted), LONGEST), seed, t.id, TOKENS_EACH * len(wanted) + TOKENS_FRAME)
            except Unanswered as e:
                refused |= {c.key: ("", e.reason) for c in wanted}
                break
            for c, text in zip(wanted, read(reply, len(wanted)), strict=True):
                reason = malformed(text) or fault_of(c.key, text)
                if reason is None:
                    out.reflections[c.key] = text
                    refused.pop(c.key, None)
                else:
                    refused[c.key] = (text or "", reason)
            wanted = [c for c in wanted if c.key in refused]
            if not wanted:
                return
        out.fallbacks |= {key: reason for key, (_, reason) in refused.items()}


def read(reply: str, n: int) -> list[str | None]:
    """The reflections of a reply in their order, on one line each; None for each that is not there, or is no text."""
    found = (read_json(reply) or {}).get("reflections")
    rows: list[Any] = found if isinstance(found, list) and len(found) == n else [None] * n
    texts = (row.get("reflection") if isinstance(row, Mapping) else None for row in rows)
    return [" ".join(text.split()) if isinstance(text, str) else None for text in texts]


def malformed(text: str | None) -> str | None:
    """What is wrong with a reflection whatever it is about."""
    if text is None:
        return "malformed"
    return "empty" if not text else "too_long" if len(text) > LONGEST else None


def mistakes(t: Trajectory, wanted: Sequence[Correction]) -> list[dict]:
    """What the prompt says of each correction: the step, what was wrong with it, and the step after it."""
    research = [s for s in t.steps if s.role == "research"]
    place = {id(s): n for n, s in enumerate(research)}
    out = []
    for n, c in enumerate(wanted, 1):
        after = next((s for s in research[place[id(c.step)] + 1 :] if not s.joined), None)
        findings = [f.reason for f in c.verdict.items if not f.ok] or [c.verdict.reason]
        out.append({"n": n, "kind": c.step.state, "did": _shown(c.step), "wrong": findings, "next": _shown(after) if after else ""})
    return out


def _shown(step: Step) -> str:
    call = f"{step.tool_call.name} {step.tool_call.arguments}" if step.tool_call else ""
    text = "\n".join(part for part in (step.content, call) if part)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} …"


def _told(wanted: Sequence[Correction], refused: Mapping[str, tuple[str, str]]) -> list[dict]:
    numbered = ((n, refused[c.key]) for n, c in enumerate(wanted, 1) if c.key in refused)
    return [{"n": n, "reflection": text, "because": BECAUSE.get(reason, f"it leaves the conversation with a fault: {reason}")} for n, (text, reason) in numbered]


def tally(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts over rows of the data set: `reflections`, how many of them are `by_model`, and `fallbacks` by reason."""
    total = by_model = 0
    reasons: Counter[str] = Counter()
    for row in rows:
        total, by_model = total + row["reflections"], by_model + row["by_model"]
        reasons.update(json.loads(row["fallbacks"]).values())
    return {"reflections": total, "by_model": by_model, "fallbacks": dict(sorted(reasons.items(), key=lambda i: (-i[1], i[0])))}
