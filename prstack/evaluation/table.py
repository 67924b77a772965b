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

Row = Mapping[str, float | None]
Column = tuple[str, str, str]
"""Metric, heading, format."""

COLUMNS: tuple[Column, ...] = (
    ("score", "score", ".3f"),
    ("score_given_valid", "score,\nvalid", ".3f"),
    ("e_prod", "E.Prod", ".2f"),
    ("e_prod_merit", "on\nmerit", ".2f"),
    ("grounding", "grounding", ".0%"),
    ("call_validity", "valid\ncalls", ".0%"),
    ("finished", "with\nreport", ".0%"),
    ("precision_at_k", "precision\n@k", ".0%"),
    ("listed", "listed", ".2f"),
    ("valid_minus_invalid", "valid −\ninvalid", "+.2f"),
    ("tokens", "tokens", ",.0f"),
)
SLICED: tuple[Column, ...] = (("score", "score", ".3f"), ("e_prod", "E.Prod", ".2f"), ("precision_at_k", "prec.@k", ".0%"))
DECODING: tuple[Column, ...] = (*SLICED, ("listed", "listed", ".2f"))
VERDICTS: tuple[Column, ...] = (
    ("opened", "products\nopened", ".1f"),
    ("opened_valid_share", "of them\nvalid", ".0%"),
    ("verdict_accept_accuracy", "valid ones\nkept", ".0%"),
    ("verdict_refuse_accuracy", "invalid ones\ndropped", ".0%"),
    ("accept_accuracy", "valid ones\nlisted", ".0%"),
    ("refuse_accuracy", "invalid ones\nnot listed", ".0%"),
)
RACE: tuple[Column, ...] = (
    ("overall", "RACE", ".3f"),
    ("low", "from", ".3f"),
    ("high", "to", ".3f"),
    ("comprehensiveness", "compre-\nhensive", ".3f"),
    ("insight", "insight", ".3f"),
    ("instruction_following", "instruc-\ntions", ".3f"),
    ("readability", "readable", ".3f"),
    ("position_bias", "position\nbias", "+.3f"),
    ("unjudged", "un-\njudged", ",d"),
)
STYLE: dict[str, Any] = {"title_justify": "left", "box": box.SIMPLE_HEAD, "pad_edge": False, "collapse_padding": True}


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


def evaluation_tables(results: Mapping[str, Any]) -> Group:
    """What results.json holds (`prstack.stages.evaluate`): all subjects over all their conversations, greedy beside sampled
    ones, by slice, verdicts, and the paired differences. A table without content is left out."""
    subjects, sampled, slices = results["subjects"], results.get("sampled"), results.get("slices")
    tables: list[Any] = [subject_table("Evaluation" + (", greedy and sampled answers together" if sampled else ""), subjects, COLUMNS)]
    if sampled:
        tables.append(side_by_side("Greedy and sampled", {"greedy": results["greedy"], "sampled": sampled}, DECODING))
    if slices:
        tables.append(side_by_side("By what training saw of a need", slices, SLICED))
    tables.append(subject_table("Verdicts on opened products: in the reasoning, and by the report", subjects, VERDICTS))
    if results.get("differences"):
        tables.append(difference_table(results["differences"]))
    if results.get("race"):
        tables.append(race_table(results["race"]))
    if results.get("reward"):
        tables.append(reward_table(results["reward"]))
    if results.get("power"):
        tables.append(clean(power_line(results["power"])))
    return Group(*tables)


def subject_table(title: str, rows: Mapping[str, Row], columns: Sequence[Column]) -> Table:
    """A row a subject, as `aggregate` gives it."""
    table = _table(title, [heading for _, heading, _ in columns])
    for subject, row in rows.items():
        table.add_row(clean(subject), *(_shown(row.get(name), form) for name, _, form in columns))
    return table


def side_by_side(title: str, groups: Mapping[str, Mapping[str, Row]], columns: Sequence[Column]) -> Table:
    """A row a subject, with the columns of every group of its conversations, the group's name above the first; – where a group
    has none of a subject's."""
    names = {group: "\n".join(group.split()) + "\n" for group in groups}
    table = _table(title, [("" if n else names[group]) + heading for group in groups for n, (_, heading, _) in enumerate(columns)])
    for subject in dict.fromkeys(subject for rows in groups.values() for subject in rows):
        cells = (_shown(rows.get(subject, {}).get(name), form) for rows in groups.values() for name, _, form in columns)
        table.add_row(clean(subject), *cells)
    return table


def difference_table(differences: Sequence[Mapping[str, Any]]) -> Table:
    """A row a paired difference with its interval. `▲`: all of it is above 0; `▼`: below.

    A difference is `{"a", "b": subjects, "metric", "mean_difference", "low", "high", "n"}` of a − b
    (`prstack.evaluation.bootstrap`).
    """
    table = Table(title="Paired differences, 95 % intervals (▲ above 0, ▼ below 0)", **STYLE)
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


def race_table(race: Mapping[str, Any]) -> Table:
    """A row a subject: RACE against the reference with its interval, by dimension, and what it rests on (`prstack.stages.judging`)."""
    by = "by rule, not by a language model" if race["by_rule"] else f"by {race['judge']}"
    title = f"RACE against {race['reference']} (0.5: as good), judged {by}"
    if agreed := (race.get("agreement") or {}).get("spearman"):
        title += f"; Spearman with the verifiable score {agreed['value']:.2f} ({agreed['low']:.2f} to {agreed['high']:.2f})"
    table = _table(title, [heading for _, heading, _ in RACE])
    for subject, row in race["subjects"].items():
        table.add_row(clean(subject), *(_shown(row.get(name), form) for name, _, form in RACE))
    return table


def reward_table(rewards: Mapping[str, Row]) -> Table:
    """A row a subject: mean reward and its terms (`prstack.scoring.reward.mean_rewards`); `errors` only where there are any."""
    names = [name for name in dict.fromkeys(n for row in rewards.values() for n in row) if name != "errors" or any(row.get(name) for row in rewards.values())]
    forms = {"reward": "+.3f", "errors": ",.0f"}
    return subject_table("Reward, and its terms as measured", rewards, [(name, name.rpartition(":")[2], forms.get(name, ".2f")) for name in names])


def power_line(power: Sequence[Mapping[str, Any]]) -> str:
    """What a difference needs, in one sentence; `power` as in results.json."""
    needs = ", ".join(f"{p['queries']:,} queries against {p['b']}" for p in power)
    return f"To find a difference of {power[0]['difference']:g} in the {power[0]['metric']} of {power[0]['a']} (80 % power) needs about {needs}."


def _table(title: str, headings: Sequence[str]) -> Table:
    """A table whose first column names subjects."""
    table = Table(title=title, **STYLE)
    table.add_column("subject", overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _shown(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
