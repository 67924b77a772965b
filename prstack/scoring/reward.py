"""Reward: one number for an episode, as a sum of named terms that are all on record.

    total = Σ weight · value        value in [0, 1] as measured; the weights of `redundancy` and `length` count against it

- `rubric`: verifiable score of the last report (`prstack.scoring.rubric`);
- `grounding`: share of the report's claims that a tool result supports, and share of what the rubric asks for that it states with support:
  their harmonic mean, so that one safe claim is not enough; 0 without claims, and where no recommended product was opened;
- `products`: products of E.Prod that are known to satisfy every constraint of the rubric, over `list_length`, at most 1, so that a longer
  list gains nothing;
- `format`: share of valid calls among the tool turns, where the episode ends with one report in its tags; 0 otherwise;
- `redundancy`: the largest of three shares: calls that were made before, word sequences that the report repeats, and entries of its lists
  whose product the same list had before;
- `length`: 0 up to `max_report_words`, then growing to 1 at twice as many.

Your own terms (`RewardConfig.extra`) are functions of an `Episode`, which holds what was parsed and checked already.

A reward never raises for what an agent wrote: a term that fails on a strange trajectory counts 0 and carries the `error`. A setting that
leads nowhere is a UserError, which `own_terms` raises before any episode is played.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from prstack.errors import UserError
from prstack.plugins import import_callable
from prstack.scoring import rubric as rubrics
from prstack.scoring.conduct import repeated, tool_turns
from prstack.scoring.evidence import Evidence
from prstack.scoring.grounding import Grounding, ground
from prstack.scoring.products import pitched_on_merit
from prstack.scoring.report import Report, parse_report, report_body
from prstack.settings import RewardConfig
from prstack.types import RubricItem, Step, Trajectory

PENALTIES = ("redundancy", "length")


@dataclass(slots=True)
class Episode:
    """What a term sees: the trajectory, its rubric, the steps of the research agent, and its last report, parsed and checked."""

    trajectory: Trajectory
    rubric: Sequence[RubricItem]
    steps: list[Step]
    text: str
    """The last report as written; empty where there is none."""
    report: Report
    evidence: Evidence
    score: rubrics.RubricScore
    grounding: Grounding


@dataclass(slots=True, frozen=True)
class Term:
    """`value` as measured; what it adds is `weight` · `value`. `error`: why it could not be measured; the value is then 0."""

    name: str
    value: float
    weight: float
    error: str = ""


@dataclass(slots=True)
class Reward:
    total: float
    terms: list[Term] = field(default_factory=list)

    def log(self) -> dict[str, float]:
        """For a tracker: `reward`, and of each term its value, `reward/<name>`, and what it adds, `reward/<name>/weighted`."""
        out = {"reward": self.total}
        for t in self.terms:
            out |= {f"reward/{t.name}": t.value, f"reward/{t.name}/weighted": t.weight * t.value}
        return out


def reward(trajectory: Trajectory, rubric: Sequence[RubricItem], config: RewardConfig) -> Reward:
    """The reward of an episode. Raises UserError for a wrong `extra`, and nothing for what an agent did."""
    functions = [*TERMS.items(), *((name, function) for name, (function, _) in own_terms(tuple(config.extra)).items())]
    weights = {name: getattr(config, name) * (-1 if name in PENALTIES else 1) for name in TERMS}
    weights |= {name: weight for name, (_, weight) in own_terms(tuple(config.extra)).items()}
    try:
        episode = _episode(trajectory, rubric)
    except Exception as e:  # a trajectory that cannot be read at all earns nothing, and must not end a training step
        return Reward(0.0, [Term(name, 0.0, weights[name], f"{type(e).__name__}: {e}") for name, _ in functions])
    terms = [_term(name, function, weights[name], episode, config) for name, function in functions]
    return Reward(math.fsum(t.weight * t.value for t in terms), terms)


def mean_rewards(rewards: Sequence[Reward]) -> dict[str, float]:
    """Means over episodes of one configuration: `reward`, and every term as measured, under its name. `errors`: terms that could not be
    measured, of all of them. Raises ValueError for none."""
    if not rewards:
        raise ValueError("there are no rewards")
    means = {same[0].name: math.fsum(t.value for t in same) / len(rewards) for same in zip(*(r.terms for r in rewards), strict=True)}
    errors = sum(bool(t.error) for r in rewards for t in r.terms)
    return {"reward": math.fsum(r.total for r in rewards) / len(rewards)} | means | {"errors": float(errors)}


@functools.lru_cache(maxsize=8)
def own_terms(extra: tuple[str, ...]) -> dict[str, tuple[Callable[[Episode], float], float]]:
    """Import path → function and weight of `RewardConfig.extra`. Raises UserError that names the entry."""
    out = {}
    for entry in extra:
        path, eq, weight = entry.partition("=")
        try:
            value = float(weight) if eq else 1.0
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise UserError(f"reward.extra: {entry!r}: {weight!r} is no weight; write it as package.module:name=0.5")
        out[path] = import_callable(path, "reward.extra"), value
    return out


def _episode(trajectory: Trajectory, rubric: Sequence[RubricItem]) -> Episode:
    steps = [s for s in trajectory.steps if s.role == "research"]
    text = (trajectory.reports[-1] or "") if trajectory.reports else ""
    report, evidence = parse_report(text), Evidence.from_steps(steps)
    return Episode(trajectory, rubric, steps, text, report, evidence, rubrics.score(report, list(rubric), evidence), ground(report, evidence, rubric))


def _term(name: str, function: Callable, weight: float, episode: Episode, config: RewardConfig) -> Term:
    try:
        value = float(function(episode, config) if name in TERMS else function(episode))
    except Exception as e:  # as in `reward`: it stays on record with its reason
        return Term(name, 0.0, weight, f"{type(e).__name__}: {e}")
    return Term(name, value, weight) if math.isfinite(value) else Term(name, 0.0, weight, f"the value is {value}")


def _rubric(e: Episode, config: RewardConfig) -> float:
    return e.score.score


def _grounding(e: Episode, config: RewardConfig) -> float:
    precision, recall = e.grounding.precision, e.grounding.recall
    if not any(id in e.evidence.visited for id in e.report.product_ids):
        return 0.0  # prices of a search page are right and say nothing of what was asked for
    if recall is None or precision + recall == 0:
        return precision
    return 2 * precision * recall / (precision + recall)


def _products(e: Episode, config: RewardConfig) -> float:
    return min(len(pitched_on_merit(e.report, e.evidence, e.rubric)) / config.list_length, 1.0)


def _format(e: Episode, config: RewardConfig) -> float:
    turns, answered = tool_turns(e.steps)
    text = e.text.strip()
    whole = text.startswith("<report>") and text.endswith("</report>") and text.count("<report>") == text.count("</report>") == 1
    return answered / turns if turns and whole and report_body(text) else 0.0


def _redundancy(e: Episode, config: RewardConfig) -> float:
    calls = [(s.tool_call.name, _canonical(s.tool_call.arguments)) for s in e.steps if s.tool_call is not None]
    again = 1 - len(set(calls)) / len(calls) if calls else 0.0
    listed = e.report.repeats / e.report.entries if e.report.entries else 0.0
    return max(again, repeated([report_body(e.text)]), listed)


def _length(e: Episode, config: RewardConfig) -> float:
    words = len(report_body(e.text).split())
    return min(max(words / config.max_report_words - 1, 0.0), 1.0)


def _canonical(arguments: str) -> str:
    """Arguments that mean the same are the same text."""
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except (ValueError, TypeError, RecursionError):
        return str(arguments)


TERMS: dict[str, Callable[[Episode, RewardConfig], float]] = {
    "rubric": _rubric,
    "grounding": _grounding,
    "products": _products,
    "format": _format,
    "redundancy": _redundancy,
    "length": _length,
}
"""Name → term; its weight is the setting of the same name."""
