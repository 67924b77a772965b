"""One trajectory through the whole of distillation: filter → internalise → check → render → length.

The order is fixed; the first step that refuses decides, and its name and reason go with the rejected record. Nothing here
knows of Ray: `Distiller` is a function of one record, made once per worker.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from prstack.dialogue.render import Renderer
from prstack.distill import checker, filters
from prstack.distill.episode import tool_steps
from prstack.distill.export import dataset_row
from prstack.distill.internalise import internalise
from prstack.scoring.evidence import Evidence
from prstack.scoring.verdicts import spoken_verdicts
from prstack.settings import DistillConfig
from prstack.store.records import adapter
from prstack.types import Rejected, Trajectory

STAGE = "distill"
AFTER_FILTERS = ("internalise", "render", "context")
"""The steps that follow the filters."""


@dataclass(slots=True)
class Frame:
    """What a conversation is set into: the research agent's system prompt, and the tools (OpenAI format)."""

    system: str
    tools: list[dict]


@dataclass(slots=True)
class Outcome:
    """Either `rejected`, or a row of the data set with its tokens."""

    id: str
    rejected: Rejected | None = None
    row: dict = field(default_factory=dict)
    input_ids: list[int] = field(default_factory=list)
    loss_mask: list[int] = field(default_factory=list)


class Distiller:
    def __init__(self, config: DistillConfig, tokenizer: Path | str, frame: Frame):
        """Raises UserError for a tokenizer that cannot be read and for a filter that cannot be imported."""
        self.config, self.frame = config, frame
        self.renderer = Renderer(tokenizer)
        self.filters = filters.chain(config.filters)

    def __call__(self, t: Trajectory) -> Outcome:
        size = self.count(t)
        for name, keep in self.filters.items():
            if rejection := keep(t):
                return self._reject(t, name, rejection, size)
        made = internalise(t, self.frame.system, self.config.wrong_actions)
        if found := checker.violations(t, made.messages, self.config.wrong_actions):
            return self._reject(t, "internalise", (f"internalise:{found[0].kind}", found[0].detail), size)
        try:
            rendered = self.renderer.render(made.messages, self.frame.tools)
        except ValueError as e:
            return self._reject(t, "render", ("render", str(e)), size)
        length = len(rendered.input_ids)
        if length > self.config.context:
            return self._reject(t, "context", ("too_long", f"{length} tokens, a pack holds {self.config.context}"), size)
        accepted, refused = spoken_on_opened(t)
        row = dataset_row(
            t,
            made.messages,
            self.frame.tools,
            score=round(filters.rubric_score(t), 4),
            calls=len(tool_steps(t)) - made.dropped_calls,
            reflections=made.reflections,
            dropped_calls=made.dropped_calls,
            accepted=accepted,
            refused=refused,
            tokens=length,
            learned_tokens=sum(rendered.loss_mask),
            source_tokens=size,
        )
        return Outcome(t.id, None, row, rendered.input_ids, rendered.loss_mask)

    def count(self, t: Trajectory) -> int:
        """Tokens of what the research agent wrote and the tools answered, as they stand in the trajectory."""
        texts = []
        for s in t.steps:
            if s.role == "research":
                texts += [s.reasoning, s.content]
                texts += [s.tool_call.name, s.tool_call.arguments] if s.tool_call else []
                texts += [s.tool_result.text] if s.tool_result else []
        return len(self.renderer.encode_text("\n".join(texts)))

    @staticmethod
    def _reject(t: Trajectory, step: str, rejection: filters.Rejection, size: int) -> Outcome:
        record = adapter(Trajectory).dump_json(t).decode()
        return Outcome(t.id, Rejected(t.id, f"{STAGE}/{step}", rejection[0], rejection[1], record, size))


def spoken_on_opened(t: Trajectory) -> tuple[int, int]:
    """How many of the products whose page was opened the agent's reasoning keeps in the end, and how many it drops."""
    opened = Evidence.from_steps(t.steps).visited
    verdicts = [kept for id, kept in spoken_verdicts(t.steps) if id in opened]
    return sum(verdicts), len(verdicts) - sum(verdicts)
