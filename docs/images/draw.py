"""Draws the pictures of the docs: `python docs/images/draw.py world`, or `supervision`, or both, in the environment of prstack.

`world` (some minutes), for docs/generated-world.md: `world.svg` is what `prstack world stats` shows of an easy world, `levels.svg` the three levels
of difficulty side by side. `supervision`, for docs/experiments/supervision.md: `supervision-errors.svg`, `supervision-scores.svg` and
`supervision-rounds.svg`, from what `python -m benchmarks.supervision_gain` left in benchmarks/results. `cost`, for docs/training.md:
`trainer-cost.svg`, from what `python -m benchmarks.trainer --only cost` left there. `rl`, for docs/experiments/reinforcement.md: `rl-curves.svg`, from
what `python -m benchmarks.rl_gain` left there.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

from markupsafe import Markup

from prstack.evaluation.tasks import latent_needs
from prstack.report.plots import lines
from prstack.report.world_page import figures, shape_figures, spread
from prstack.settings import WorldConfig
from prstack.world.shape import shape
from prstack.world.stats import describe
from prstack.world.world import World, build

PRODUCTS, USERS = 3000, 400
LEVELS_SHOWN = ["medium", "hard", "easy"]
"""The one without generations last (`shape_figures`)."""
COLUMNS, WIDE, TALL, HEAD = 3, 375, 205, 34
COLOURS = ("#2456c5", "#b4530a", "#1a7f4b")
DASHES = ("none", "6 3", "2 3")
STYLE = (
    "svg{font-family:sans-serif;font-size:12px;background:#fff}.title{font-size:13px;font-weight:600;fill:#111}.tick{fill:#555;font-size:11px}"
    ".key{fill:#111;font-size:13px}.mid{text-anchor:middle}.end{text-anchor:end}.grid{stroke:#ddd}.axis{stroke:#777}.column{fill:#2456c5}"
    ".at{visibility:hidden}.line{fill:none;stroke-width:2;stroke-linejoin:round}.whisker{stroke-width:1.5;stroke-dasharray:none!important}"
    + "".join(f".s{n}{{stroke:{colour};stroke-dasharray:{dash}}}" for n, (colour, dash) in enumerate(zip(COLOURS, DASHES)))
)


def sheet(plots: list[Markup], names: list[str], columns: int = COLUMNS) -> str:
    """The plots as one picture, in rows, under a legend of the names if there are any."""
    top = HEAD if names else 0
    rows = -(-len(plots) // columns)
    parts = []
    for n, name in enumerate(names):
        x = 58 + sum(60 + 7 * len(before) for before in names[:n])
        parts.append(f'<line class="line s{n}" x1="{x}" x2="{x + 32}" y1="14" y2="14"/><text class="key" x="{x + 40}" y="18">{name}</text>')
    for n, plot in enumerate(plots):
        svg = re.sub(r' data-plot="[^"]*"', "", str(plot).partition("</svg>")[0] + "</svg>")  # without the page's legend and its readout
        height = re.search(r'viewBox="0 0 \d+ (\d+)"', svg)
        parts.append(svg.replace("<svg ", f'<svg x="{n % columns * WIDE}" y="{top + n // columns * TALL}" height="{height[1]}" ', 1))
    width, height = columns * WIDE, top + rows * TALL
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    return f'{head}<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'


def of_errors(document: dict, picked: dict[str, dict[str, tuple[str, str]]]) -> list[Markup]:
    """A plot for each title, over the factor of the error rates, up to 5. `picked`: title → name of a line → its arm and metric."""
    arms = {float(f): of for f, of in document["details"]["arms"].items() if float(f) <= 5}
    series = {title: {name: {f: of[arm][metric] for f, of in arms.items()} for name, (arm, metric) in of_title.items()} for title, of_title in picked.items()}
    return [over(title, of_title, "error rates, times", True) for title, of_title in series.items()]


def of_rounds(documents: dict[str, dict]) -> list[Markup]:
    """For each student the standing score after each report round, and what rounds change in those that reach them."""
    plots = []
    for name, document in documents.items():
        arms, alone = document["details"]["rounds"], document["details"]["arms"]["alone, free"]
        last = max(r["round"] for of in arms.values() for r in of)
        standing = {arm: {r["round"]: r["standing"] for r in of} for arm, of in arms.items()}
        standing["alone, free"] = {1: alone["score_last"], last: alone["score_last"]}
        plots.append(over(f"{name}: standing score, all queries", standing, "report rounds", True))
        gain = {arm: {r["round"]: r["gain"] for r in of if r["round"] > 1 and r["gain"]["n"] > 1} for arm, of in arms.items()}
        plots.append(over(f"{name}: score less the first report's", gain, "report round", False))
    return plots


def over(title: str, series: dict[str, dict[float, dict]], x_label: str, zero: bool) -> Markup:
    """A line for each name through means, with their intervals."""
    middle = {name: [(x, i["mean_difference"]) for x, i in of.items() if i] for name, of in series.items()}
    spans = {name: [(x, i["low"], i["high"]) for x, i in of.items() if i] for name, of in series.items()}
    return lines(title, middle, x_label, zero, 360, 200, spans)


def supervision(here: Path, results: Path) -> None:
    errors = json.loads((results / "supervision-errors.json").read_text(encoding="utf-8"))
    states = {"plans": "plan", "tool calls": "toolcall", "reports": "report"}
    checks = {
        "share of checks that approve": {name: ("supervised", f"approved_{s}") for name, s in states.items()},
        "rounds to a turn that is taken": {name: ("supervised", f"rounds_{s}") for name, s in states.items()},
    }
    ends = {"last report": ("supervised", "last"), "first report": ("supervised", "first"), "without a supervisor": ("ignored", "last")}
    scores = {
        title: {name: (arm, f"{metric}_{end}") for name, (arm, end) in ends.items()}
        for title, metric in (("rubric score", "score"), ("products that meet every need", "on_merit"))
    }
    (here / "supervision-errors.svg").write_text(sheet(of_errors(errors, checks), list(states), 2), encoding="utf-8")
    (here / "supervision-scores.svg").write_text(sheet(of_errors(errors, scores), list(ends), 2), encoding="utf-8")
    students = {p.stem.removeprefix("supervision-student-"): p for p in sorted(results.glob("supervision-student-*.json")) if not p.stem.endswith("-quick")}
    documents = {name: json.loads(p.read_text(encoding="utf-8")) for name, p in students.items()}
    if documents:
        (here / "supervision-rounds.svg").write_text(sheet(of_rounds(documents), ["supervised", "silent", "alone, free"], 2), encoding="utf-8")


COSTS = {"seconds": "seconds a step", "tokens_s": "tokens a second", "memory_mb": "peak MB, all ranks"}
AXES = {"length": "tokens in a sequence", "experts": "experts, two a token", "ranks": "ranks of one thread"}


def cost(here: Path, results: Path) -> None:
    """A row of plots for each axis, a column for each cost."""
    found = json.loads((results / "trainer-cost.json").read_text(encoding="utf-8"))["details"]
    plots = []
    for axis, x_label in AXES.items():
        for key, title in COSTS.items():
            series: dict[str, list[tuple[float, float]]] = {}
            for point in found:
                if point["axis"] == axis:
                    series.setdefault(point["line"], []).append((point["x"], point[key]))
            what = "" if len(series) < 2 else ": " + ", ".join(f"{name} {mark}" for name, mark in zip(series, ("—", "- -")))
            plots.append(lines(f"{title}{what}", series, x_label, True, 360, 200))
    (here / "trainer-cost.svg").write_text(sheet(plots, []), encoding="utf-8")


UPDATES = {
    "reward": "reward",
    "outcome/finished": "share with a report of its own",
    "episode/tool_calls": "tool calls of an episode",
    "entropy": "entropy of a token, nats",
}


def rl(here: Path, results: Path) -> None:
    """A plot for each number of an update, a line for each training."""
    curves = json.loads((results / "rl_gain.json").read_text(encoding="utf-8"))["details"]["curves"]
    plots = []
    for key, title in UPDATES.items():
        series = {name: list(enumerate(of[key], 1)) for name, of in curves.items()}
        plots.append(lines(f"{title}, mean of an update", series, "update", key != "reward", 360, 200))
    (here / "rl-curves.svg").write_text(sheet(plots, list(curves), 2), encoding="utf-8")


def worlds(here: Path) -> None:
    shapes, tops, sizes = {}, {}, {}
    for level in LEVELS_SHOWN:
        with tempfile.TemporaryDirectory() as folder:
            build(WorldConfig(products=PRODUCTS, users=USERS, split="all", difficulty=level), folder)
            world = World.open(folder)
            needs = latent_needs(world)
            shapes[level] = shape(world)
            tops[level] = Counter(round(10 * n.top_share) for n in needs)
            sizes[level] = Counter(5 * round(len(n.satisfying) / 5) for n in needs)
            if level == "easy":
                (here / "world.svg").write_text(sheet(figures(describe(world), needs), []), encoding="utf-8")
    plots = [
        *shape_figures(shapes),
        lines("share of users, by their valid first hits", spread(tops), "valid ones of the first ten hits", True, 360, 200),
        lines("share of users, by what satisfies their need", spread(sizes), "products that satisfy it, in fives", True, 360, 200),
    ]
    (here / "levels.svg").write_text(sheet(plots, LEVELS_SHOWN), encoding="utf-8")


def main() -> None:
    here = Path(__file__).parent
    asked = sys.argv[1:] or ["world", "supervision"]
    if unknown := set(asked) - {"world", "supervision", "cost", "rl"}:
        raise SystemExit(f"no picture is called {', '.join(sorted(unknown))}; there are world, supervision, cost and rl")
    if "rl" in asked:
        rl(here, here.parents[1] / "benchmarks" / "results")
    if "cost" in asked:
        cost(here, here.parents[1] / "benchmarks" / "results")
    if "supervision" in asked:
        supervision(here, here.parents[1] / "benchmarks" / "results")
    if "world" in asked:
        worlds(here)


if __name__ == "__main__":
    main()
