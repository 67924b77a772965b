"""Edits that leave a trajectory as good as it was: no filter may reject it for them."""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random

from benchmarks.filters.edit import Kind, acts, pages, reasoned, report, reported, step_at
from prstack.types import Trajectory


def _bold(t: Trajectory, rng: Random) -> Trajectory | None:
    return reported(t, re.sub(r"(?m)^- ([a-z ]+): (.+)$", r"- **\1**: \2", report(t)))


def _blank_lines(t: Trajectory, rng: Random) -> Trajectory | None:
    return reported(t, re.sub(r"(?m)^(\d+\. )", r"\n\1", report(t)))


def _heading(t: Trajectory, rng: Random) -> Trajectory | None:
    return reported(t, report(t).replace("<report>\n", "<report>\n# What I found\n\nThese meet every need that was named.\n\n", 1))


def _table(t: Trajectory, rng: Random) -> Trajectory | None:
    """The two cheapest once more, as a table of prices."""
    entries = re.findall(r"(?m)^\d+\. \[(P\d+)\] (.+) — (\$[\d.]+)", report(t))
    rows = "\n".join(f"| {id} | {price} |" for id, _, price in entries)
    return reported(t, report(t).replace("</report>", f"\n| product | price |\n|---------|-------|\n{rows}\n</report>")) if entries else None


def _thinks_more(t: Trajectory, rng: Random) -> Trajectory:
    more = ["The first hits are often the cheapest ones, not the best.", "A page tells more than a line of results does.", "I go need by need."]
    return reasoned(t, rng, lambda said: f"{said} {rng.choice(more)}", 3)


def _foreign_name(t: Trajectory, rng: Random) -> Trajectory:
    return reasoned(t, rng, lambda said: f"{said} The maker's name is Müller & Söhne (小米), so I look twice; it has 40 µV.")


def _quotes(t: Trajectory, rng: Random) -> Trajectory:
    return reasoned(t, rng, lambda said: f'{said} A reviewer wrote: "Das ist sehr gut." That helps a little.')


def _laughs(t: Trajectory, rng: Random) -> Trajectory:
    return reasoned(t, rng, lambda said: f"{said} No, no, no: that one is far too loud.")


def _dashes(t: Trajectory, rng: Random) -> Trajectory | None:
    return reported(t, report(t).replace("\n## ", "\n" + "-" * 40 + "\n## ", 1))


def _one_failure(t: Trajectory, rng: Random) -> Trajectory | None:
    if len(acts(t)) < 5:
        return None
    at = acts(t)[-1]
    return step_at(t, at, tool_result=replace(t.steps[at].tool_result, ok=False, text="error: try again", error="timeout")) if not _needed(t, at) else None


def _needed(t: Trajectory, at: int) -> bool:
    return any(p.id in report(t) and p.id in t.steps[at].tool_result.text for p in pages(t))


def _other_wording(t: Trajectory, rng: Random) -> Trajectory:
    return replace(t, query=t.query.replace("I am looking for", "What I want to buy are"))


KINDS = [
    Kind(name, "", change)
    for name, change in {
        "bold labels": _bold,
        "blank lines": _blank_lines,
        "a heading and a sentence": _heading,
        "prices in a table as well": _table,
        "more thought": _thinks_more,
        "a foreign name and a unit": _foreign_name,
        "a German quotation": _quotes,
        "a word three times": _laughs,
        "a line of dashes": _dashes,
        "one failed call": _one_failure,
        "the query in other words": _other_wording,
    }.items()
]
