"""One trajectory through the whole of distillation: filter → internalise → check → render → length → signature.

The order is fixed; the first step that refuses decides, and its name and reason go with the rejected record. Nothing here
knows of Ray: `Distiller` is a function of one record, made once per worker.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prstack.dialogue.render import TEMPLATES, Renderer
from prstack.distill import checker, filters, preferences
from prstack.distill.episode import tool_steps, turns
from prstack.distill.export import dataset_row
from prstack.distill.filters import seen
from prstack.distill.filters.near import signature
from prstack.distill.filters.selection import NEAR_DUPLICATES
from prstack.distill.internalise import Internalised, internalise
from prstack.distill.supervised import as_it_was
from prstack.distill.writing import Writer, Written
from prstack.prompts import Prompts
from prstack.scoring.verdicts import spoken_verdicts
from prstack.settings import DistillConfig
from prstack.store.records import adapter
from prstack.types import Rejected, Trajectory

STAGE = "distill"
AS_IT_WAS = ("turns", "none")
"""Values of `distill.internalise` with which nothing is internalised."""
AFTER_FILTERS = ("internalise", "render", "context", NEAR_DUPLICATES)
"""The steps that follow the filters."""


@dataclass(slots=True)
class Frame:
    """What a conversation is set into: the research agent's system prompt, and the tools (OpenAI format)."""

    system: str
    tools: list[dict]
    prompts: str | None = None
    """A folder of templates over those of prstack.prompts."""


@dataclass(slots=True)
class Outcome:
    """Either `rejected`, or a row of the data set with its tokens, its signature and its preference pairs; or both, where a lenient filter alone
    rejects a trajectory in which a mistake was corrected (`prstack.distill.filters.selection` decides)."""

    id: str
    rejected: Rejected | None = None
    row: dict = field(default_factory=dict)
    input_ids: list[int] = field(default_factory=list)
    loss_mask: list[int] = field(default_factory=list)
    pairs: list[dict] = field(default_factory=list)
    signature: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Judged:
    """What the filters say of a trajectory of `size` tokens: nothing, a rejection (`final`), or one by lenient filters alone, the first of which
    is `spared`."""

    size: int
    outcome: Outcome | None = None
    final: bool = False
    spared: str = ""


class Distiller:
    def __init__(self, config: DistillConfig, tokenizer: Path | str, frame: Frame):
        """Raises UserError for a tokenizer that cannot be read and for a filter that cannot be imported."""
        self.config, self.frame, self.prompts = config, frame, Prompts(frame.prompts)
        self.renderer = Renderer(tokenizer, TEMPLATES[config.chat_template])
        self.longest = max([config.context, *config.more_contexts])
        self.filters = filters.chain(config.filters)

    def __call__(self, t: Trajectory) -> Outcome:
        """Without a model: everything in one go."""
        judged = self.judge(t)
        return judged.outcome if judged.final else self.finish(t, judged)

    async def write(self, t: Trajectory, writer: Writer) -> Outcome:
        """With a model, which writes reflections for what the filters keep."""
        judged = self.judge(t)
        if judged.final:
            return judged.outcome
        return self.finish(t, judged, await writer.write(t, self.frame.system, self.config.wrong_actions))

    def judge(self, t: Trajectory) -> Judged:
        """What the filters say."""
        size = self.count(t)
        judged = Judged(size)
        for name, keep in self.filters.items():
            if rejection := keep(t):
                judged.outcome = judged.outcome or self._reject(t, name, rejection, size)
                if name not in filters.LENIENT or not self.config.filters.min_corrected or not any(turn.corrected for turn in turns(t)):
                    judged.final = True
                    return judged
                judged.spared = judged.spared or name
        return judged

    def finish(self, t: Trajectory, judged: Judged, written: Written | None = None) -> Outcome:
        """The steps after the filters. `written`: what a model wrote for the trajectory."""
        written, size, lenient = written or Written(), judged.size, judged.outcome
        made = self.conversation(t, written.reflections)
        if found := checker.violations(t, made.messages, self.config.wrong_actions, self.config.internalise not in AS_IT_WAS):
            return lenient or self._reject(t, "internalise", (f"internalise:{found[0].kind}", found[0].detail), size)
        try:
            rendered = self.renderer.render(made.messages, self.frame.tools)
        except ValueError as e:
            return lenient or self._reject(t, "render", ("render", str(e)), size)
        length = len(rendered.input_ids)
        if length > self.longest:
            return lenient or self._reject(t, "context", ("too_long", f"{length} tokens, a pack holds {self.longest}"), size)
        paired = preferences.pairs(
            t, self.frame.system, self.frame.tools, self.config.wrong_actions, self.config.preference_margin, self._length, self.longest, written.reflections
        )
        accepted, refused = spoken_on_opened(t)
        row = dataset_row(
            t,
            made.messages,
            self.frame.tools,
            score=round(filters.rubric_score(t), 4),
            calls=len(tool_steps(t)) - made.dropped_calls,
            reflections=made.reflections,
            by_model=len(written.reflections),
            fallbacks=json.dumps(written.fallbacks),
            dropped_calls=made.dropped_calls,
            accepted=accepted,
            refused=refused,
            pairs=len(paired.rows),
            unpaired=paired.unpaired,
            tokens=length,
            learned_tokens=sum(rendered.loss_mask),
            source_tokens=size,
            spared=judged.spared,
        )
        rejected = lenient.rejected if lenient and made.reflections else None
        if lenient and not rejected:
            return lenient
        return Outcome(t.id, rejected, row, rendered.input_ids, rendered.loss_mask, paired.rows, signature(made.messages))

    def conversation(self, t: Trajectory, written: Mapping[str, str]) -> Internalised:
        """What training sees of an episode, unchecked. `written`: reflections by a model, in place of the rule's."""
        how = self.config.internalise
        if how in AS_IT_WAS:
            return as_it_was(t, self.frame.system, self.prompts if how == "turns" else None)
        return internalise(t, self.frame.system, self.config.wrong_actions, written)

    def _length(self, messages: list[dict]) -> int:
        return len(self.renderer.render(messages, self.frame.tools).input_ids)

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
    opened = seen.evidence(t).visited
    verdicts = [kept for id, kept in spoken_verdicts(t.steps) if id in opened]
    return sum(verdicts), len(verdicts) - sum(verdicts)
