"""Preference pairs: two reports of one episode under the same prompt, of which one is better by score and by verdict.

1. `chosen` is the final report, if the supervisor approved it. An episode without an approved report gives no pair.
2. `rejected` is each other report of the episode: those that were sent back (`report_round`), and draws of a report that were not
   taken (`best_of`; `agents.best_of` draws several). A text that came before gives no second pair.
3. All are scored anew, with the verifiable rubric and against all that the episode saw; the chosen one has to lead by the margin.
4. The prompt is the internalised conversation up to the report, as if there had been only one: nothing in it, and nothing in the chosen
   report's turn, reflects on the rejected one, so that the pair differs in the reports and in the reasoning right before them.
5. Both conversations pass the checker, and fit the longest context.

A row is what TRL's DPO trainer reads as a conversational preference data set: `prompt`, `chosen` and `rejected` are lists of messages,
`tools` is JSON text. Every candidate that gives no pair is counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa

from prstack.distill import checker
from prstack.distill.episode import Turn, turns
from prstack.distill.export import MESSAGE, message_row
from prstack.distill.filters import seen
from prstack.distill.internalise import Policy, internalise
from prstack.types import SCHEMA_VERSION, Step, Trajectory

_TEXT = pa.large_string()
PREFERENCES_SCHEMA = pa.schema(
    [
        ("id", _TEXT),
        ("prompt", pa.list_(MESSAGE)),
        ("chosen", pa.list_(MESSAGE)),
        ("rejected", pa.list_(MESSAGE)),
        ("tools", _TEXT),
        ("episode", _TEXT),
        ("kind", _TEXT),
        ("chosen_score", pa.float64()),
        ("rejected_score", pa.float64()),
        ("tokens", pa.int64()),
    ],
    metadata={"prstack.schema_version": str(SCHEMA_VERSION), "prstack.record": "Preference"},
)
KINDS = ("report_round", "best_of")


@dataclass(slots=True)
class Pairs:
    """Rows of PREFERENCES_SCHEMA, and how many other candidates gave none."""

    rows: list[dict] = field(default_factory=list)
    unpaired: int = 0


@dataclass(slots=True)
class _Candidate:
    """A report that is not the chosen one: `id` names it within its episode."""

    id: str
    kind: str
    step: Step


def pairs(
    t: Trajectory,
    system: str,
    tools: list[dict],
    wrong_actions: Policy,
    margin: float,
    length: Callable[[list[dict]], int],
    longest: int,
    written: Mapping[str, str] | None = None,
) -> Pairs:
    """The pairs of an episode that passed the filters.

    `margin`: least lead of the chosen report, in rubric score. `length`: tokens of a whole conversation, at most `longest` for each of a pair.
    `written`: reflections as `internalise` takes them.
    """
    out = Pairs()
    candidates = list(_candidates(t))
    chosen = next((turn for turn in reversed(turns(t)) if turn.step.state == "report"), None)
    if not candidates or chosen is None or not _approved(chosen):
        return Pairs(unpaired=len(candidates))
    best = seen.scored(t, chosen.step.content).score
    better = _conversation(t, chosen.step, system, wrong_actions, written)
    size = length(better) if better else 0
    texts = {chosen.step.content}
    for c in candidates:
        score = seen.scored(t, c.step.content).score
        leads = round(best - score, 6) >= margin and c.step.content not in texts
        worse = _conversation(t, c.step, system, wrong_actions, written) if leads and better else None
        tokens = max(size, length(worse)) if worse else 0
        if worse is None or tokens > longest:
            out.unpaired += 1
            continue
        texts.add(c.step.content)
        out.rows.append(
            {
                "id": f"{t.id}-{c.id}",
                "prompt": [message_row(m) for m in better[:-1]],
                "chosen": [message_row(better[-1])],
                "rejected": [message_row(worse[-1])],
                "tools": json.dumps(tools, ensure_ascii=False),
                "episode": t.id,
                "kind": c.kind,
                "chosen_score": round(best, 4),
                "rejected_score": round(score, 4),
                "tokens": tokens,
            }
        )
    return out


def _candidates(t: Trajectory) -> Iterator[_Candidate]:
    """Every report of the episode but the final one, in order: a round's draws that were not taken, then its report."""
    reports = [turn for turn in turns(t) if turn.step.state == "report"]
    for r, turn in enumerate(reports):
        for n, other in enumerate(turn.step.alternatives):
            yield _Candidate(f"r{r}d{n}", "best_of", replace(turn.step, content=other.content, reasoning=other.reasoning, alternatives=[]))
        if r < len(reports) - 1:
            yield _Candidate(f"r{r}", "report_round", turn.step)


def _approved(turn: Turn) -> bool:
    return turn.verdict is not None and turn.verdict.decision == "approve"


def _conversation(t: Trajectory, report: Step, system: str, wrong_actions: Policy, written: Mapping[str, str] | None) -> list[dict] | None:
    """The episode's conversation with `report` as its only one; None where the checker finds a fault in it."""
    steps = [s for s in t.steps if s.state != "report"]
    only = replace(t, steps=[*steps, report], reports=[report.content], scores=[])
    messages = internalise(only, system, wrong_actions, written).messages
    return None if checker.violations(only, messages, wrong_actions) else messages
