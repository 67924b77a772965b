"""Pages, each one HTML file that needs nothing else: the trajectories of `prstack view`, and the report of a run.

1. A page is rendered by Jinja2 with autoescape, so that text from records is text and nothing more.
2. Each trajectory is a `<template>`: parsed, but not laid out until it is chosen, so that hundreds of them open at once.
3. A content security policy allows the page's own script by its hash, its own style, and no request of any kind. So even
   markup that came through by a defect could neither run nor report home.

`page` makes one from a template; the templates share `view.head.html.jinja` and, for a trajectory (`shown`),
`view.trajectory.*`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from prstack.config import docs, to_dict
from prstack.distill.episode import turns
from prstack.errors import UserError
from prstack.evaluation.table import COLUMNS
from prstack.report.plots import bar, curve_plots, difference_plots, load_plots
from prstack.report.race import RACE, agreements, race_plot, race_story
from prstack.report.run_report import RunData, chosen, failures, headline, own_intervals, story
from prstack.report.tables import bytes_text, count_text, folder_bytes, funnel_rows, shown_path
from prstack.report.terminal import arguments_text, check_text, event_text
from prstack.report.trajectories import Collection, Glance, glance
from prstack.secrets import without_secrets
from prstack.settings import Config
from prstack.store.parts import write_text
from prstack.types import Event, ToolCall, Trajectory

SHORT_CALL = 120
"""Characters of tool arguments that stand in one line."""
METRICS = tuple(
    (name, heading.replace("\n", " "), form, meaning)
    for (name, heading, form), meaning in zip(
        (*COLUMNS, ("verdict_accept_accuracy", "keeps valid", ".0%"), ("verdict_refuse_accuracy", "drops invalid", ".0%")),
        (
            "share of the rubric's weight that the last report meets, checked against what the tools showed; 0 without a report",
            "the same, of conversations with a report and at least one valid call",
            "products that the report pitches and a tool returned",
            "those of them that are known, by what the tools showed, to satisfy every constraint of the rubric",
            "share of the report's claims that a tool result supports",
            "share of the tool calls that a tool answered; a turn that is neither call nor report counts as a call that failed",
            "share of the conversations that end with a report in its tags",
            "share of valid products among the first that the report lists (evaluation.list_length); a missing one counts as not valid",
            "products that the report pitches, invented ones included",
            "valid products listed, less invalid ones",
            "tokens that the agent wrote",
            "of the valid products on which the reasoning gives a verdict, the share that it keeps",
            "of the invalid ones, the share that it drops",
        ),
        strict=True,
    )
)
"""Metric, heading, format, meaning: the columns of the report's tables."""


def write_page(collection: Collection, path: str | Path) -> Path:
    """Writes the page of `prstack view`. Raises UserError when it cannot be written there."""
    return _write(render_page(collection), Path(path), "; give view.html=FILE")


def write_report(run: RunData, made: Mapping[str, str]) -> Path:
    """Writes `report.html` into the folder of the run. `made`: when, where and by what, as shown. Raises UserError."""
    return _write(render_report(run, made), run.path / "report.html")


def _write(text: str, path: Path, advice: str = "") -> Path:
    try:
        write_text(text, path)
    except OSError as e:
        raise UserError(f"{path}: cannot be written ({e.strerror or e}){advice}") from e
    return path


def render_page(collection: Collection) -> str:
    """The page of `prstack view` as text."""
    glances = collection.glances
    return page(
        "view",
        title=shown_path(collection.run or collection.place),
        c=collection,
        shown=[shown(t, g, collection.events.get(t.user_id, {})) for t, g in zip(collection.trajectories, glances)],
        funnel=funnel_rows(collection.funnel) if collection.funnel else [],
        terminations=Counter(g.termination for g in glances).most_common(),
        outcomes=Counter(g.outcome for g in glances if g.outcome).most_common(),
        users=sorted({g.user for g in glances}),
        mean_score=_mean([g.score for g in glances if g.score is not None]),
        scripted=any("expert" in e for t in collection.trajectories for e in t.engines.values()),
        max_rounds=max((g.rounds for g in glances), default=0),
    )


def render_report(run: RunData, made: Mapping[str, str]) -> str:
    """The report of a run as text."""
    results, intervals, race = run.results, own_intervals(run), run.results.get("race") or {}
    return page(
        "report",
        title=shown_path(run.path),
        run=run,
        made=made,
        began=min((m.started for _, m in run.stages), default=""),
        revisions=sorted({m.git_revision for _, m in run.stages if m.git_revision}),
        story=story(run),
        headline=headline(run),
        stages=[(folder, m, bytes_text(folder_bytes(folder))) for folder, m in run.stages],
        settings=settings_of(run),
        funnel=funnel_rows(run.funnel) if run.funnel else [],
        curves=curve_plots(run.curves),
        loads=load_plots(run.curves),
        columns=METRICS,
        subjects=[((name,), metric_cells(row, intervals.get(name, {}))) for name, row in results.get("subjects", {}).items()],
        modes=[((mode, s), metric_cells(r)) for mode in ("greedy", "sampled") for s, r in (results.get(mode) or {}).items()],
        slices=[((name, s), metric_cells(r)) for name, rows in (results.get("slices") or {}).items() for s, r in rows.items()],
        differences=difference_plots(results.get("differences", ()), {name: heading for name, heading, _, _ in METRICS}),
        race=race,
        race_columns=RACE,
        race_story=race_story(race) if race else [],
        race_plot=race_plot(race) if race else "",
        agreements=agreements(race),
        race_rows=[((name,), metric_cells(row, row.get("intervals") or {}, RACE)) for name, row in race.get("subjects", {}).items()],
        failures=failures(run),
        conversations=[(c, shown(c.trajectory, glance(c.trajectory), {})) for c in chosen(run)],
    )


def metric_cells(
    row: Mapping[str, Any], intervals: Mapping[str, Sequence[float] | None] | None = None, columns: Sequence[tuple[str, str, str, str]] = METRICS
) -> list[dict[str, str]]:
    """A row of `results.json` under some columns: `text`, `exact`, and `interval` where there is one."""
    cells = []
    for name, _, form, _ in columns:
        value, interval = row.get(name), (intervals or {}).get(name)
        text = "–" if value is None else format(value, form)
        cells.append({"text": text, "exact": str(value), "interval": f"[{interval[0]:{form}}, {interval[1]:{form}}]" if interval else ""})
    return cells


def settings_of(run: RunData) -> list[tuple[str, list[dict[str, Any]]]]:
    """(stage, its settings) by the manifests: first its own section, then what else decided its outcome (`fingerprint`)."""
    known = to_dict(Config())
    defaults, meanings, out = flat(known), docs(), []
    for folder, manifest in run.stages:
        own = manifest.stage if manifest.stage in known else "trainer"
        others = {k: v for k, v in manifest.fingerprint.items() if k in known and k != own and type(v) is type(known[k])}
        rows = [
            {"key": key, "value": value, "default": defaults.get(key), "changed": key in defaults and value != defaults[key], "doc": meanings.get(key, "")}
            for key, value in without_secrets(flat({own: manifest.config} | others)).items()
        ]
        out.append((folder.name, rows))
    return out


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under their dotted keys."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        out |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
    return out


def page(name: str, **values: Any) -> str:
    """The page of the template `<name>.html.jinja`, with what all pages share and `<name>.css` and `<name>.js` in it.

    What UTF-8 cannot hold (lone surrogates) and control characters become replacement characters.
    """
    env = Environment(
        loader=PackageLoader("prstack.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    env.filters |= {
        "arguments": shown_arguments,
        "check": check_text,
        "event": event_text,
        "commas": "{:,}".format,
        "counts": count_text,
        "bar": bar,
        "tokens": _total_tokens,
    }
    own = lambda ending: "".join(env.loader.get_source(env, f"{part}.{ending}")[0] for part in ("view.trajectory", name))  # noqa: E731
    script = own("js")
    text = env.get_template(f"{name}.html.jinja").render(
        script=Markup(script),
        style=Markup(own("css")),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **values,
    )
    return re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", text.encode(errors="replace").decode())


def shown(t: Trajectory, g: Glance, events: Mapping[str, Event]) -> dict[str, Any]:
    """What the template of a trajectory wants. `events`: those of its user, by id."""
    return {"t": t, "g": g, "turns": turns(t), "events": events}


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
