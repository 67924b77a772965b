"""The arms: training sets of one synthesis that differ in one setting of distillation each.

- `full`: distillation as it is by default.
- `no_filter`: every filter threshold is open. What stays out is what no conversation can be made of (an episode without a report, a
  conversation longer than the context, one that the check refuses), and needs that evaluation holds out.
- `none`: filtered, not internalised. The supervisor vanishes, and what it sent back stays as it was, without a word before the better action.
- `turns`: filtered, not internalised. Corrections stay as user turns, which are read and not trained on.

The synthesis has two halves, since an expert that is corrected until its report is approved leaves nothing to filter: `patient` with four
report rounds, and `hurried` with one, where a report stands as it is, faults and all. In both the expert errs more often than by default.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.students import stage
from prstack import config
from prstack.distill.committed import Store
from prstack.distill.export import plain_message
from prstack.stages import distill, synthesize
from prstack.store.parts import Parts
from prstack.types import Trajectory

ARMS: dict[str, tuple[str, ...]] = {
    "full": (),
    "no_filter": (
        "distill.filters.terminations=[approved,finished,max_rounds,max_tool_calls,max_tokens,time,error]",
        *(f"distill.filters.{name}=0" for name in ("min_rounds", "min_tool_calls", "min_report_words", "min_cited", "min_grounding", "min_products", "min_score", "min_corrected")),
        *(f"distill.filters.{name}=1000000" for name in ("max_rounds", "max_tool_calls", "max_report_words", "max_contradicted", "max_broken")),
        *(f"distill.filters.{name}=1" for name in ("max_tool_error_rate", "max_repetition", "max_similarity")),
        "distill.filters.language=any",
    ),
    "none": ("distill.internalise=none",),
    "turns": ("distill.internalise=turns",),
}
HALVES = {"patient": ("seed=0",), "hurried": ("seed=1", "agents.max_report_rounds=1")}
MISTAKES = {"vague_plan": 0.5, "malformed_call": 0.1, "duplicate_call": 0.1, "unsupported_claim": 0.5, "missed_constraint": 0.5}
COMMON = (
    "preset=laptop",
    "tracking.wandb=disabled",
    "ray.dashboard=false",
    "distill.layouts=[]",
    "trainer.checkpoint_every=20",
    "trainer.keep=1",
    "evaluation.seeds=0",
    *(f"agents.mistakes.{name}={rate}" for name, rate in MISTAKES.items()),
)
"""Settings of every part of the comparison."""


@dataclass(slots=True)
class Made:
    """A training set: its folder of packs, and what distillation counted."""

    packs: Path
    counts: dict

    def steps(self, targets: int, batch: int) -> int:
        """Steps of `batch` packs that come nearest to so many tokens with a loss."""
        return max(1, round(targets / (self.counts["learned_tokens"] / self.counts["packs"] * batch)))


def synthesis(folder: Path, episodes: int, extra: Sequence[str]) -> Path:
    """The trajectories of both halves in one folder. `extra`: further settings, here and below."""
    together = folder / "trajectories"
    together.mkdir(parents=True, exist_ok=True)
    for half, own in HALVES.items():
        settings = config.load([*COMMON, f"synthesis.episodes={episodes}", *own, *extra])
        stage(synthesize, settings, folder / half)
        for part in Parts(folder / half / "synthesis" / "trajectories", Trajectory).files():
            target = together / f"{half}-{part.name}"
            if not target.exists():
                os.link(part, target)
    return together


def training_set(arm: str, folder: Path, trajectories: Path, extra: Sequence[str]) -> Made:
    settings = config.load([*COMMON, *ARMS[arm], *extra])
    settings.distill.input = str(trajectories)
    return Made(folder / arm / "distill" / "packed", stage(distill, settings, folder / arm).counts)


def examples(folder: Path) -> str:
    """One conversation as every arm has it: the shortest of those in which plan, call and report were corrected."""
    rows = {arm: {row["id"]: row for row in Store.open(folder / arm / "distill").dataset.rows()} for arm in ARMS}
    common = set.intersection(*(set(found) for found in rows.values()))
    kinds = {id: len({part for part in ("plan", "toolcall", "report") if f"correcting ({part}" in str(rows["turns"][id]["messages"])}) for id in common}
    id = min(common, key=lambda id: (-kinds[id], rows["full"][id]["tokens"], id))
    return "\n\n".join(f"# {arm}\n\n{_shown(rows[arm][id]['messages'])}" for arm in ARMS) + "\n"


def _shown(messages: list[dict]) -> str:
    told = []
    for m in map(plain_message, messages):
        parts = [m.get("reasoning_content") and f"<think>\n{m['reasoning_content']}\n</think>", m["content"] if m["role"] != "tool" else m["content"][:200]]
        parts += [f"{c['function']['name']} {c['function']['arguments']}" for c in m.get("tool_calls") or []]
        told.append(f"## {m['role']}\n" + "\n".join(p for p in parts if p))
    return "\n".join(told)
