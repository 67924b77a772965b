"""Tables for the terminal: what a run made, and what distillation left of it.

Everything is read from the files that the stages wrote (`<stage>/manifest.json`, `<stage>/funnel.json`), so a table can be
printed again later, or for a run of another machine. Text from records goes in as `rich.text.Text`, which is never
markup, without control characters, which a terminal would obey.
"""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from prstack.errors import UserError
from prstack.store.rundir import Manifest

EXAMPLES = 2
"""Ids shown for a reason of rejection."""


def print_summary(run_path: str | Path) -> None:
    """Prints what a run made, its funnel if it has one, and how to go on."""
    run_path = Path(run_path)
    console = make_console()
    console.print(summary_table(run_path))
    for file in sorted(run_path.glob("*/funnel.json")):
        console.print(funnel_table(read_funnel(file)))
    where = shown_path(run_path)
    ways = (
        ("Read the trajectories: prstack view " + where, ("synthesis", "distill", "evaluation")),
        ("Talk to the model: prstack chat " + where, ("sft/model",)),
        (f"Read the report: {where}/report.html", ("report.html",)),
    )
    for way, needed in ways:
        if any((run_path / made).exists() for made in needed):
            console.print(way, soft_wrap=True, highlight=False, markup=False)


def make_console(stderr: bool = False) -> Console:
    """The terminal, or a plain 110 columns where there is none (a pipe, a log file)."""
    console = Console(highlight=False, stderr=stderr)
    return console if console.is_terminal else Console(width=110, highlight=False, stderr=stderr)


def stages(run_path: Path) -> list[tuple[Path, Manifest]]:
    """The stages of a run, in the order in which they were begun."""
    found = [(folder.parent, Manifest.load(folder.parent)) for folder in run_path.glob("*/manifest.json")]
    return sorted(((p, m) for p, m in found if m), key=lambda pair: (pair[1].started, pair[0].name))


def summary_table(run_path: str | Path) -> Table:
    """A row a stage: what was made, seconds, size on disk, and its folder in the run."""
    run_path = Path(run_path)
    table = Table(title=clean(f"Run {shown_path(run_path)}"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("stage", no_wrap=True)
    table.add_column("what was made", ratio=1)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("where", no_wrap=True)
    total_seconds, total_bytes = 0.0, 0
    for folder, manifest in stages(run_path):
        size = folder_bytes(folder)
        total_seconds, total_bytes = total_seconds + manifest.seconds, total_bytes + size
        made = [count_text(manifest.counts)] + ([count_text(manifest.summary)] if manifest.summary else [])
        if manifest.status != "complete":
            made = [f"{manifest.status}: not finished; the same command takes it up again"]
        table.add_row(
            clean(manifest.stage),
            clean("\n".join(m for m in made if m)),
            f"{manifest.seconds:,.1f}",
            bytes_text(size),
            clean(f"{folder.name}/"),
        )
    table.add_section()
    table.add_row("all", "", f"{total_seconds:,.1f}", bytes_text(total_bytes), "")
    return table


def read_funnel(path: Path) -> dict[str, Any]:
    """A funnel.json. Raises UserError when it is none."""
    try:
        funnel = json.loads(path.read_text(encoding="utf-8"))
        for stage in funnel["stages"]:
            _ = stage["name"], stage["in"], stage["out"]
        return funnel
    except (ValueError, KeyError, TypeError) as e:
        raise UserError(f"{path}: not a funnel of this prstack ({type(e).__name__}: {e})") from e


def funnel_table(funnel: dict[str, Any]) -> Table | Group:
    """A row a filter: how many records went in, came out and why the others did not, with example ids.

    `funnel` is `{"stages": [{"name", "in", "out", "rejected": {reason: count}, "tokens_in", "tokens_out",
    "examples": {reason: [id, …]}}, …]}`; `rejected` may also be a bare number.
    """
    table = Table(title="Funnel of distillation", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("filter", no_wrap=True)
    for name in ("in", "out", "kept", "tokens out"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("rejected: reason, count, examples", ratio=1)
    for row in funnel_rows(funnel):
        reasons = [
            f"{r['reason']} {r['count']:,}" + (f" ({', '.join(r['examples'][:EXAMPLES])})" if r["examples"] else "")
            for r in row["reasons"]
        ]
        tokens = f"{row['tokens_out']:,}" if row["tokens_out"] is not None else ""
        table.add_row(
            clean(row["name"]), f"{row['in']:,}", f"{row['out']:,}", f"{row['kept']:.0%}", tokens, clean("\n".join(reasons))
        )
    return table


def funnel_rows(funnel: dict[str, Any]) -> list[dict[str, Any]]:
    """The stages of a funnel with `kept` (share of what came in) and `reasons`, most frequent first."""
    out = []
    for stage in funnel["stages"]:
        rejected, examples = stage.get("rejected") or {}, stage.get("examples") or {}
        if not isinstance(rejected, dict):
            rejected = {"rejected": rejected} if rejected else {}
        details = stage.get("details") or {}
        reasons = [{"reason": r, "count": n, "examples": [str(i) for i in examples.get(r, [])], "details": details.get(r, [])} for r, n in rejected.items()]
        out.append(
            {
                "name": stage["name"],
                "in": stage["in"],
                "out": stage["out"],
                "kept": stage["out"] / stage["in"] if stage["in"] else 0.0,
                "tokens_in": stage.get("tokens_in"),
                "tokens_out": stage.get("tokens_out"),
                "reasons": sorted(reasons, key=lambda r: (-r["count"], r["reason"])),
            }
        )
    return out


def count_text(counts: dict[str, Any]) -> str:
    """Counts in one line: `1,200 products, 400 users`; shares as `name value`, nested counts as `name: value`, and what ends
    in `_mb` with its unit."""
    parts = []
    for key, value in counts.items():
        name = str(key).replace("_", " ")
        if isinstance(value, bool) or not isinstance(value, int | float | dict):
            parts.append(f"{name}: {value}")
        elif isinstance(value, dict):
            inner = ", ".join(f"{k} {_number(v)}" for k, v in value.items())
            parts.append(f"{name}: {inner or 'none'}")
        elif name.endswith(" mb"):
            parts.append(f"{name.removesuffix(' mb')} {value:,.0f} MiB")
        elif isinstance(value, int):
            parts.append(f"{value:,} {name}")
        else:
            parts.append(f"{name} {_number(value)}")
    return "; ".join(parts) if any(isinstance(v, dict) for v in counts.values()) else ", ".join(parts)


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def bytes_text(n: int) -> str:
    size = float(n)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def folder_bytes(folder: Path) -> int:
    """Bytes of the files below a folder; one that vanishes meanwhile counts nothing."""
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except OSError:
                continue
    return total


def shown_path(path: Path) -> str:
    """Relative to here where it lies below, absolute elsewhere."""
    path = Path(path).resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def clean(text: str, style: str = "") -> Text:
    """Text for a terminal: never markup, and without the control characters that a terminal would obey."""
    kept = "".join(c if c in "\n\t" or c.isprintable() or unicodedata.category(c) == "Zs" else "�" for c in str(text))
    return Text(kept.encode(errors="replace").decode(), style=style)
