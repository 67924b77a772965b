"""Draws the pictures of docs/generated-world.md: `python docs/images/draw.py`, in the environment of prstack; some minutes.

`world.svg` is what `prstack world stats` shows of an easy world, `levels.svg` the three levels of difficulty side by side.
"""

from __future__ import annotations

import re
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
    ".at{visibility:hidden}.line{fill:none;stroke-width:2;stroke-linejoin:round}"
    + "".join(f".s{n}{{stroke:{colour};stroke-dasharray:{dash}}}" for n, (colour, dash) in enumerate(zip(COLOURS, DASHES)))
)


def sheet(plots: list[Markup], names: list[str]) -> str:
    """The plots as one picture, in rows, under a legend of the names if there are any."""
    top = HEAD if names else 0
    rows = -(-len(plots) // COLUMNS)
    parts = []
    for n, name in enumerate(names):
        x = 58 + 130 * n
        parts.append(f'<line class="line s{n}" x1="{x}" x2="{x + 32}" y1="14" y2="14"/><text class="key" x="{x + 40}" y="18">{name}</text>')
    for n, plot in enumerate(plots):
        svg = re.sub(r' data-plot="[^"]*"', "", str(plot).partition("</svg>")[0] + "</svg>")  # without the page's legend and its readout
        height = re.search(r'viewBox="0 0 \d+ (\d+)"', svg)
        parts.append(svg.replace("<svg ", f'<svg x="{n % COLUMNS * WIDE}" y="{top + n // COLUMNS * TALL}" height="{height[1]}" ', 1))
    width, height = COLUMNS * WIDE, top + rows * TALL
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    return f'{head}<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'


def main() -> None:
    here = Path(__file__).parent
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


if __name__ == "__main__":
    main()
