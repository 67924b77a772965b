"""What several steps read off an episode, read once: what its tools showed, its report, the report's grounding and its rubric score.

Each answer is remembered under the texts, and the rubric, that decide it, for the last few episodes; an episode that was changed in
between is read anew. What is given out is shared, so that nobody may change it.
"""

from __future__ import annotations

import functools
from dataclasses import fields

from prstack.scoring import rubric
from prstack.scoring.evidence import Evidence
from prstack.scoring.grounding import Grounding, ground
from prstack.scoring.report import Report, parse_report
from prstack.types import RubricItem, Trajectory

LAST = 8
"""Answers of each kind that are remembered: an episode has few reports."""
_FIELDS = [f.name for f in fields(RubricItem)]

Shown = tuple[tuple[str, str], ...]
"""(id of the call, text) of each successful tool result."""


def evidence(t: Trajectory) -> Evidence:
    """What the tools showed, as `Evidence.from_steps` has it."""
    return _evidence(_shown(t))


@functools.lru_cache(LAST)
def report(text: str) -> Report:
    """`parse_report`."""
    return parse_report(text)


def grounding(t: Trajectory, text: str) -> Grounding:
    """That of a report, against all that the tools showed."""
    return _grounding(text, _shown(t))


def scored(t: Trajectory, text: str) -> rubric.RubricScore:
    """A report, scored with the episode's rubric against all that the tools showed."""
    return _scored(text, _shown(t), tuple(tuple(getattr(item, name) for name in _FIELDS) for item in t.rubric))


def _shown(t: Trajectory) -> Shown:
    return tuple((s.tool_result.call_id, s.tool_result.text) for s in t.steps if s.tool_result is not None and s.tool_result.ok)


@functools.lru_cache(LAST)
def _evidence(shown: Shown) -> Evidence:
    found = Evidence()
    for source, text in shown:
        found.add(source, text)
    return found


@functools.lru_cache(LAST)
def _grounding(text: str, shown: Shown) -> Grounding:
    return ground(report(text), _evidence(shown))


@functools.lru_cache(LAST)
def _scored(text: str, shown: Shown, items: tuple[tuple, ...]) -> rubric.RubricScore:
    return rubric.score(report(text), [RubricItem(*item) for item in items], _evidence(shown), _grounding(text, shown))
