"""What one episode is worth: metrics of a trajectory against the truth of its query.

1. Everything is read off the research agent's steps and the last report, as scoring does (`prstack.scoring`); only which
   products are valid comes from the truth.
2. A metric that an episode cannot have is None, never 0: the grounding of a report without claims, the accuracy over no
   products. Without a report, the score, E.Prod, the listed products and their precision are 0.
3. Accuracies keep their counts, so that `prstack.evaluation.table.aggregate` can average over products, not episodes.

An agent may list fewer products than it found valid, so a product that was opened and not listed need not have been judged
invalid. `accept_accuracy` and `refuse_accuracy` go by the report; `verdict_…` go by what the reasoning says of a product
("I keep it", "I drop it"; `prstack.scoring.verdicts`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from prstack.scoring.conduct import tool_turns
from prstack.scoring.evidence import Evidence
from prstack.scoring.grounding import ground
from prstack.scoring.products import e_prod, pitched_on_merit
from prstack.scoring.report import Report, parse_report
from prstack.scoring.rubric import score
from prstack.scoring.verdicts import spoken_verdicts
from prstack.types import Trajectory

LIST_LENGTH = 3
"""Products that a report is expected to list: the length of `precision_at_k`."""


@dataclass(slots=True, frozen=True)
class Truth:
    """`valid_ids`: the products that satisfy every constraint of the query and can be bought. All others are invalid."""

    valid_ids: frozenset[str]


@dataclass(slots=True)
class EpisodeMetrics:
    """One episode. Shares are in [0, 1]; None where the episode has no such thing."""

    calls: int
    """Tool calls, and malformed turns where one was due."""
    valid_calls: int
    """Calls that a tool answered."""
    call_validity: float | None
    finished: float
    """1 when there is a report in its tags."""
    score: float
    """Verifiable rubric score of the last report."""
    score_given_valid: float | None
    """`score` of an episode with a report and at least one valid call."""
    e_prod: int
    e_prod_merit: int
    """Those of `e_prod` that are known, by what the tools showed, to satisfy every constraint of the rubric."""
    grounding: float | None
    """Share of the report's claims that a tool result supports."""
    grounding_recall: float | None
    """Of what the rubric asks for and the pages of listed products answer, the share that the report states with support."""
    listed: int
    """Distinct products that the report pitches, invented ones included."""
    valid_listed: int
    invalid_listed: int
    valid_minus_invalid: int
    precision: float
    precision_at_k: float
    """Share of valid ones among the first `list_length` products; a missing one counts as not valid."""
    opened: int
    """Distinct products whose page was opened."""
    opened_valid: int
    opened_valid_share: float | None
    accepted_valid: int
    """Opened and valid products that the report pitches; 0 without a report."""
    refused_invalid: int
    """Opened and invalid products that the report does not pitch; 0 without a report."""
    judged_valid: int
    """Opened and valid products of an episode with a report: what `accepted_valid` is a part of."""
    judged_invalid: int
    accept_accuracy: float | None
    refuse_accuracy: float | None
    spoken_valid: int
    """Valid products on which the reasoning gives a verdict."""
    spoken_invalid: int
    spoken_valid_kept: int
    spoken_invalid_dropped: int
    verdict_accept_accuracy: float | None
    verdict_refuse_accuracy: float | None
    tokens: int | None
    """Completion tokens of the research agent; None when its usage is not on record."""


def measure(trajectory: Trajectory, truth: Truth, list_length: int = LIST_LENGTH) -> EpisodeMetrics:
    """The metrics of an episode. Never raises for what an agent wrote; ValueError for a list length below 1."""
    if list_length < 1:
        raise ValueError(f"list_length must be at least 1, not {list_length}")
    steps = [s for s in trajectory.steps if s.role == "research"]
    evidence = Evidence.from_steps(steps)
    text = trajectory.reports[-1] if trajectory.reports else None
    report = parse_report(text) if text is not None else Report("", [])

    calls, valid_calls = tool_turns(steps)
    points = score(report, trajectory.rubric, evidence).score if text is not None else 0.0
    grounding = ground(report, evidence, trajectory.rubric)

    listed = report.product_ids
    valid_listed = sum(i in truth.valid_ids for i in listed)
    opened = set(evidence.visited)
    opened_valid = opened & truth.valid_ids
    judged_valid, judged_invalid = (opened_valid, opened - truth.valid_ids) if text is not None else (set(), set())
    accepted_valid, refused_invalid = len(judged_valid.intersection(listed)), len(judged_invalid.difference(listed))

    spoken = [(i in truth.valid_ids, kept) for i, kept in spoken_verdicts(steps) if i in evidence.seen_ids]
    on_valid = [kept for valid, kept in spoken if valid]
    on_invalid = [not kept for valid, kept in spoken if not valid]
    usage = [u.completion_tokens for u in trajectory.usage if u.role == "research"]
    return EpisodeMetrics(
        calls=calls,
        valid_calls=valid_calls,
        call_validity=_share(valid_calls, calls),
        finished=float(text is not None and _tagged(text)),
        score=points,
        score_given_valid=points if valid_calls and text is not None else None,
        e_prod=len(e_prod(report, evidence)),
        e_prod_merit=len(pitched_on_merit(report, evidence, trajectory.rubric)),
        grounding=grounding.precision if grounding.findings else None,
        grounding_recall=grounding.recall,
        listed=len(listed),
        valid_listed=valid_listed,
        invalid_listed=len(listed) - valid_listed,
        valid_minus_invalid=2 * valid_listed - len(listed),
        precision=_share(valid_listed, len(listed)) or 0.0,
        precision_at_k=sum(i in truth.valid_ids for i in listed[:list_length]) / list_length,
        opened=len(opened),
        opened_valid=len(opened_valid),
        opened_valid_share=_share(len(opened_valid), len(opened)),
        accepted_valid=accepted_valid,
        refused_invalid=refused_invalid,
        judged_valid=len(judged_valid),
        judged_invalid=len(judged_invalid),
        accept_accuracy=_share(accepted_valid, len(judged_valid)),
        refuse_accuracy=_share(refused_invalid, len(judged_invalid)),
        spoken_valid=len(on_valid),
        spoken_invalid=len(on_invalid),
        spoken_valid_kept=sum(on_valid),
        spoken_invalid_dropped=sum(on_invalid),
        verdict_accept_accuracy=_share(sum(on_valid), len(on_valid)),
        verdict_refuse_accuracy=_share(sum(on_invalid), len(on_invalid)),
        tokens=sum(usage) if usage else None,
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _tagged(text: str) -> bool:
    return re.search(r"<report>.*\S.*</report>", text, re.S) is not None
