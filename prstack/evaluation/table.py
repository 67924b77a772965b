"""Metrics of many episodes as one row, and the tables of an evaluation.

`aggregate` gives means over the episodes that have a value, except for what is counted in products (`RATIOS`): there the
counts are summed first, so that an episode with one product does not weigh as much as one with ten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table

from prstack.evaluation.metrics import EpisodeMetrics
from prstack.report.tables import clean

RATIOS: dict[str, tuple[str, str]] = {
    "opened_valid_share": ("opened_valid", "opened"),
    "accept_accuracy": ("accepted_valid", "judged_valid"),
    "refuse_accuracy": ("refused_invalid", "judged_invalid"),
    "verdict_accept_accuracy": ("spoken_valid_kept", "spoken_valid"),
    "verdict_refuse_accuracy": ("spoken_invalid_dropped", "spoken_invalid"),
}
"""Micro-averaged metric → the counts of its parts and wholes."""

COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("score", "score", ".3f"),
    ("score_given_valid", "score |\nvalid", ".3f"),
    ("e_prod", "E.Prod", ".2f"),
    ("grounding", "grounding", ".0%"),
    ("call_validity", "valid\ncalls", ".0%"),
    ("finished", "finished", ".0%"),
    ("precision_at_k", "precision\n@k", ".0%"),
    ("listed", "listed", ".2f"),
    ("valid_minus_invalid", "valid −\ninvalid", "+.2f"),
    ("tokens", "tokens", ",.0f"),
)
"""Metric, heading, format."""


def aggregate(episodes: Sequence[EpisodeMetrics]) -> dict[str, float | None]:
    """Metric → its value over all episodes; None where no episode has one. `episodes` is their number.

    Plain counts (`spoken_valid`, `opened`, …) are means an episode too.
    """
    out: dict[str, float | None] = {"episodes": float(len(episodes))}
    for name in (f.name for f in fields(EpisodeMetrics)):
        if name in RATIOS:
            part, whole = (sum(getattr(e, count) for e in episodes) for count in RATIOS[name])
            out[name] = part / whole if whole else None
        else:
            values = [v for e in episodes if (v := getattr(e, name)) is not None]
            out[name] = sum(values) / len(values) if values else None
    return out


def evaluation_table(results: Mapping[str, Mapping[str, float | None]], differences: Sequence[Mapping[str, Any]] = ()) -> Table | Group:
    """A row a subject, as `aggregate` gives it, and below, where there are any, the paired differences.

    A difference is `{"a", "b": subjects, "metric", "mean_difference", "low", "high", "n"}` of a − b
    (`prstack.evaluation.bootstrap`).
    """
    table = Table(title="Evaluation", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("subject", overflow="fold")
    for _, heading, _ in COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for subject, row in results.items():
        table.add_row(clean(subject), *(_shown(row.get(name), form) for name, _, form in COLUMNS))
    return Group(table, difference_table(differences)) if differences else table


def difference_table(differences: Sequence[Mapping[str, Any]]) -> Table:
    """A row a paired difference with its interval. `▲`: all of it is above 0; `▼`: below."""
    table = Table(title="Paired differences, 95 % intervals (▲ above 0, ▼ below 0)", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("subject", "against", "metric"):
        table.add_column(name)
    for name in ("difference", "from", "to", "queries"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for d in differences:
        mark = "▲" if d["low"] > 0 else "▼" if d["high"] < 0 else ""
        numbers = (f"{d[name]:+.3f}" for name in ("mean_difference", "low", "high"))
        table.add_row(clean(d["a"]), clean(d["b"]), clean(d["metric"]), *numbers, f"{d['n']:,}", mark)
    return table


def _shown(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
