"""The trajectory page: one HTML file that needs nothing else.

1. The page is rendered by Jinja2 with autoescape, so that text from records is text and nothing more.
2. Each trajectory is a `<template>`: parsed, but not laid out until it is chosen, so that hundreds of them open at once.
3. A content security policy allows the page's own script by its hash, its own style, and no request of any kind. So even
   markup that came through by a defect could neither run nor report home.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from prstack.distill.episode import turns
from prstack.errors import UserError
from prstack.report.tables import funnel_rows, shown_path
from prstack.report.terminal import arguments_text, check_text, event_text
from prstack.report.trajectories import Collection
from prstack.store.parts import write_text
from prstack.types import ToolCall, Trajectory

SHORT_CALL = 120
"""Characters of tool arguments that stand in one line."""


def write_page(collection: Collection, path: str | Path) -> Path:
    """Writes the page. Raises UserError when it cannot be written there."""
    path = Path(path)
    try:
        write_text(render_page(collection), path)
    except OSError as e:
        raise UserError(f"{path}: cannot be written ({e.strerror or e}); give view.html=FILE") from e
    return path


def render_page(collection: Collection) -> str:
    """The page as text. What UTF-8 cannot hold (lone surrogates) and control characters become replacement characters."""
    env = Environment(
        loader=PackageLoader("prstack.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    env.filters |= {"arguments": shown_arguments, "check": check_text, "event": event_text, "commas": "{:,}".format}
    source = lambda name: env.loader.get_source(env, name)[0]  # noqa: E731
    script = source("view.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    glances = collection.glances
    page = env.get_template("view.html.jinja").render(
        script=Markup(script),
        style=Markup(source("view.css")),
        script_hash=digest,
        title=shown_path(collection.run or collection.place),
        c=collection,
        shown=[
            {"t": t, "g": g, "turns": turns(t), "events": collection.events.get(t.user_id, {})}
            for t, g in zip(collection.trajectories, glances)
        ],
        funnel=funnel_rows(collection.funnel) if collection.funnel else [],
        terminations=Counter(g.termination for g in glances).most_common(),
        outcomes=Counter(g.outcome for g in glances if g.outcome).most_common(),
        users=sorted({g.user for g in glances}),
        mean_score=_mean([g.score for g in glances if g.score is not None]),
        scripted=any("expert" in e for t in collection.trajectories for e in t.engines.values()),
        total_tokens=_total_tokens,
        max_rounds=max((g.rounds for g in glances), default=0),
    )
    return "".join(c if c in "\n\t" or ord(c) >= 32 else "\ufffd" for c in page.encode(errors="replace").decode())


def shown_arguments(call: ToolCall) -> str:
    """Tool arguments in one line when they are short, else as indented JSON; as they were written when they are no JSON."""
    line = arguments_text(call)
    if len(line) <= SHORT_CALL:
        return line
    try:
        return "\n" + json.dumps(json.loads(call.arguments), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return call.arguments


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _total_tokens(t: Trajectory) -> int:
    return sum(u.prompt_tokens + u.completion_tokens for u in t.usage)
