"""RACE on the page of a run: the columns, sentences and plot of what `prstack.stages.judging` left under `race` in results.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from prstack.report.plots import intervals, with_interval

EVEN = 0.5
"""The score of a report that is as good as the reference's."""
RACE = (
    ("overall", "RACE", ".3f", "the subject's marks over those of both reports, weighted over criteria and dimensions: 0.5 is as good as the reference"),
    ("comprehensiveness", "compre\u00adhensiveness", ".3f", "the same of what the report covers"),
    ("insight", "insight", ".3f", "the same of what it says beyond listing"),
    ("instruction_following", "instruction following", ".3f", "the same of keeping to what was asked"),
    ("readability", "readability", ".3f", "the same of layout and language"),
    ("spread", "spread", ".3f", "standard deviation between repeated judgements of one pair in one order; – where each was asked for once"),
    ("position_bias", "position bias", "+.3f", "score where the subject's report stands first, less the score where it stands second"),
    ("queries", "queries", ",d", "queries with a score"),
    ("unjudged", "unjudged", ",d", "judgements that could not be read; they are no scores"),
    ("self_reference", "self-reference", ",d", "queries on which the report is the reference's own text, or by the same model: 0.5 says nothing there"),
)
"""Key of a subject's row, heading, format, meaning."""
AGREEMENT = (
    ("spearman", "Spearman", "correlation of the ranks that the reports have by the judge and by the verifiable score"),
    ("kendall", "Kendall", "share of reports, two at a time, that both put in the same order, less the share that they do not; ties count (tau-b)"),
    ("pairwise_accuracy", "ordered alike", "of two reports on one query that the verifiable score tells apart: how often the judge orders them alike"),
)


def race_story(race: Mapping[str, Any]) -> list[str]:
    """Who judged what against which reference, and what that means for reading it, in sentences."""
    judge, reference, repeats = race["judge"], race["reference"], race["repeats"]
    by = f"checks by rule ({judge}), not by a language model" if race["by_rule"] else f"the model {judge}"
    times = "once" if repeats == 1 else f"{repeats} times"
    said = [f"The greedy reports of each subject were judged beside those of {reference} on the same queries, by {by}, {times} in each of the two orders."]
    if judge == reference:
        said.append(f"Judge and reference are both {judge}: its marks favour what its own reports do.")
    same = [f"{name} ({row['self_reference']:,} of {row['queries']:,})" for name, row in race["subjects"].items() if row.get("self_reference")]
    if same:
        said.append(f"Self-reference: {', '.join(same)} stood beside its own text or model; 0.5 says nothing there.")
    else:
        said.append(f"No report stood beside its own text or model; {reference} itself is not judged.")
    return said


def race_plot(race: Mapping[str, Any]) -> Markup:
    """Every subject's score with its interval, over a line where it is as good as the reference."""
    rows = [(name, *(r["overall"], r["low"], r["high"])) for name, r in race["subjects"].items() if None not in (r["overall"], r.get("low"), r.get("high"))]
    return intervals(f"RACE against {race['reference']}", [(*row, with_interval(*row[1:])) for row in rows], at=EVEN)


def agreements(race: Mapping[str, Any]) -> list[tuple[str, str, int, str]]:
    """(measure, value with interval, queries, meaning) of the judge's agreement with the verifiable score; nothing where it was not measured."""
    found = race.get("agreement") or {}
    return [(name, with_interval(a["value"], a["low"], a["high"]), a["n"], meaning) for key, name, meaning in AGREEMENT if (a := found.get(key))]
