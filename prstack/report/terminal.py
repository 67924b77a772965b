"""Trajectories in the terminal: a table of many, one from its persona to its report, and why evaluated ones failed."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from prstack.distill.episode import turns
from prstack.report.tables import clean
from prstack.report.trajectories import Collection, Glance
from prstack.types import Event, Need, RubricItem, Step, ToolCall, Trajectory, Verdict

RESULT_LINES = 24
"""Lines of a tool result that are shown."""
ID_CHARS = 10
"""Characters of an id in the table; they do for `id=`."""
MARKS = {"plan": "P", "toolcall": "t", "report": "R"}
STYLES = {"approve": "green", "revise": "bold red", "none": "dim"}


def trajectories_table(collection: Collection, rows: int) -> Table:
    """A row a trajectory. The strip has a letter a research turn (P plan, t tool call, R report), red where it was sent back."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
    widest = lambda texts, most: min(max(map(len, texts)), most)  # noqa: E731
    shown = collection.glances[:rows]
    table.add_column("id", no_wrap=True, width=ID_CHARS)
    table.add_column("user", no_wrap=True, width=widest([g.user for g in shown], 16))
    table.add_column("ended", no_wrap=True, width=widest([g.termination for g in shown], 16))
    for name in ("score", "rounds", "calls", "corrected"):
        table.add_column(name, justify="right", no_wrap=True, width=len(name))
    table.add_column("turns", overflow="fold", width=widest([g.strip for g in shown] + ["turns"], 20))
    table.add_column("query", ratio=1, no_wrap=True, overflow="ellipsis")
    for g in shown:
        table.add_row(
            clean(g.id[:ID_CHARS]),
            clean(g.user),
            Text(g.termination, style="" if g.termination == "approved" else "yellow"),
            "" if g.score is None else f"{g.score:.2f}",
            str(g.rounds),
            str(g.tool_calls),
            f"{g.corrected}/{g.revised}",
            strip(g),
            clean(" ".join(g.query.split())),
        )
    return table


def strip(g: Glance) -> Text:
    text = Text()
    for state, decision in g.strip:
        text.append(MARKS[state], style=STYLES[decision])
    return text


def trajectory_view(t: Trajectory, glance: Glance, events: dict[str, Event]) -> Group:
    """One whole trajectory: persona with its evidence, query, rubric, every turn with its verdict, scores, usage."""
    scores = " → ".join(f"{s:.2f}" for s in t.scores) or "no report"
    head = (
        f"{t.id}\nuser {t.user_id}, seed {t.seed}, world {t.world or '?'}, prompts {t.prompt_version or '?'}\nended: {t.termination}"
        + (f" ({t.detail})" if t.detail else "")
    )
    head += f"\nscore {scores}; {glance.tool_calls} tool calls; {glance.corrected} of {glance.revised} mistakes corrected"
    if glance.outcome:
        head += f"\ndistillation: {glance.outcome}"
    parts: list[RenderableType] = [Panel(clean(head), title="trajectory", title_align="left")]
    parts += [Rule("persona", align="left"), clean(t.persona.summary), *(_need(n, events) for n in t.persona.needs)]
    parts += [Rule("query", align="left"), clean(t.query, style="bold"), Rule("rubric", align="left"), _rubric(t.rubric)]
    for turn in turns(t):
        parts.append(_research(turn.step))
        if turn.verdict:
            parts.append(_verdict(turn.verdict))
    parts += [Rule("usage", align="left"), _usage(t)]
    return Group(*parts)


def _need(need: Need, events: dict[str, Event]) -> Text:
    text = Text("• ") + clean(need.text)
    for id in need.evidence:
        text.append_text(clean(f"\n    {id}" + (f": {event_text(events[id])}" if id in events else ""), style="dim"))
    return text


def event_text(event: Event) -> str:
    """An event in one line: `return, 2026-03-02: Aurel Blender — too loud`."""
    what = " — ".join(p for p in (event.title or event.product_id, event.text) if p)
    return ", ".join(p for p in (event.type, event.timestamp) if p) + (f": {what}" if what else "")


def check_text(item: RubricItem | Need) -> str:
    """The machine-readable part of an item: `noise level <= 60 dB`."""
    return " ".join(p for p in (item.attribute, item.op, item.value, item.unit) if p) if item.attribute else ""


def _rubric(items: list[RubricItem]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("weight", "type", "criterion", "check"):
        table.add_column(name, justify="right" if name == "weight" else "left")
    for i in items:
        table.add_row(
            f"{i.weight:.2f}", Text(i.type + (" (negative)" if i.negative else "")), clean(i.text), clean(check_text(i))
        )
    return table


def _research(step: Step) -> Group:
    joined = " · same turn" if step.joined else ""
    return Group(Rule(f"research · {step.state} · round {step.round + 1}{joined}", align="left"), step_view(step))


def step_view(step: Step) -> Group:
    """What a research step says: reasoning, content, tool call in one line, and the first lines of its result."""
    parts: list[RenderableType] = []
    if step.reasoning:
        parts.append(clean(step.reasoning, style="dim italic"))
    if step.content:
        parts.append(clean(step.content))
    if step.tool_call:
        parts.append(clean(f"→ {step.tool_call.name} {arguments_text(step.tool_call)}", style="cyan"))
    if step.tool_result:
        lines = step.tool_result.text.splitlines()
        more = [f"… {len(lines) - RESULT_LINES} more lines"] if len(lines) > RESULT_LINES else []
        text = "\n".join([*lines[:RESULT_LINES], *more])
        parts.append(Padding(clean(text, style="" if step.tool_result.ok else "red"), (0, 0, 0, 4)))
    return Group(*parts)


def arguments_text(call: ToolCall) -> str:
    """Tool arguments as `key=value` when they are a JSON object, else as they were written."""
    try:
        parsed = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return call.arguments
    if not isinstance(parsed, dict):
        return call.arguments
    return ", ".join(f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in parsed.items())


def _verdict(verdict: Verdict) -> Padding:
    style = STYLES[verdict.decision]
    score = "" if verdict.score is None else f" (score {verdict.score:.2f})"
    text = clean(f"supervisor: {verdict.decision}{score}", style=style) + clean(f" {verdict.reason}")
    for item in verdict.items:
        text.append_text(clean(f"\n  {'✓' if item.ok else '✗'} {item.kind}: {item.reason}", style="dim" if item.ok else "red"))
    return Padding(text, (0, 0, 0, 2))


def _usage(t: Trajectory) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("role")
    table.add_column("engine")
    for name in ("calls", "prompt tokens", "completion tokens", "engine seconds"):
        table.add_column(name, justify="right")
    for u in t.usage:
        table.add_row(
            u.role,
            clean(t.engines.get(u.role, "")),
            f"{u.calls:,}",
            f"{u.prompt_tokens:,}",
            f"{u.completion_tokens:,}",
            f"{u.seconds:,.1f}",
        )
    return table


def report_view(headline: Sequence[str], failures: Sequence[tuple[str, int, float]], subject: str, conversations: int) -> Group:
    """What a run's report begins with, and a row a kind of failure (kind, count, share) of the conversations of a subject."""
    parts: list[RenderableType] = [clean(f"• {line}") for line in headline]
    if conversations:
        table = Table(title=clean(f"What is not learned: {conversations:,} conversations of {subject}"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("kind of failure")
        table.add_column("conversations", justify="right", no_wrap=True)
        table.add_column("share", justify="right", no_wrap=True)
        for kind, n, share in failures:
            table.add_row(clean(kind), f"{n:,}", f"{share:.1%}")
        table.add_section()
        table.add_row("none: a report that lists valid products only", f"{conversations - sum(n for _, n, _ in failures):,}", f"{1 - sum(s for _, _, s in failures):.1%}")
        parts.append(table)
    return Group(*parts)
