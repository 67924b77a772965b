"""Plots of a run as inline SVG, in the page's own colours (`templates/report.css`), with text for every value.

Everything that is put into one is escaped (`Markup.format`). A plot is `Markup`, empty where there is nothing to plot; values
that are missing or not finite are left out. Under a pointer, `templates/report.js` reads out the values of a line plot from its
`data-series`; the other plots hold their values as titles.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

LEFT, RIGHT, TOP, BOTTOM = 58, 14, 30, 38
"""Margins around the area of a line plot, for title, ticks and labels."""
POINTS = 1500
"""Points of a line; of a longer one every so manieth is drawn."""
STEPS = (1, 2, 2.5, 5, 10)
"""Distances of ticks, times a power of ten."""

CURVES = (
    ("reward", "mean reward of an episode", False),
    ("loss", "loss", False),
    ("grad_norm", "gradient norm, before clipping", True),
    ("lr", "learning rate", True),
    ("tokens_per_second", "tokens a second", True),
    ("groups/spread", "highest less lowest reward of a query's episodes, mean", True),
    ("episode/sampled_tokens", "tokens sampled in an episode", True),
    ("episode/tool_calls", "tool calls of an episode", True),
    ("entropy", "entropy of a token, nats", True),
    ("clip_high", "share of tokens at the upper bound of the ratio", True),
    ("mismatch/mean", "trainer against engine: mean difference of log-probabilities", True),
)
"""Key of a line of steps.jsonl, title, whether the axis begins at 0. What the lines of a stage do not have, is not plotted."""
LAST = 10
"""Steps at the end whose expert load is averaged."""

Line = Sequence[tuple[float, float]]
Spans = Sequence[tuple[float, float, float]]
"""x, low, high."""
ASIDE = 4
"""Pixels between the intervals of two lines."""
Steps = Sequence[Mapping[str, Any]]
"""The lines of a steps.jsonl."""


# --- of a run ----------------------------------------------------------------------------------------------------
def curve_plots(curves: Mapping[str, Steps]) -> list[tuple[str, list[Markup]]]:
    """(stage, its learning curves); a control's (`sft_shuffled`) are drawn into those of its stage (`sft`)."""
    together: dict[str, dict[str, Steps]] = {}
    for name in sorted(curves):
        together.setdefault(name.partition("_")[0], {})[name] = curves[name]
    out = []
    for stage, rows in together.items():
        plots = (
            lines(title, {name: [(r.get("step"), r.get(key)) for r in steps] for name, steps in rows.items()}, zero=zero) for key, title, zero in CURVES
        )
        out.append((stage, [p for p in plots if p]))
    return out


def load_plots(curves: Mapping[str, Steps]) -> list[tuple[str, Markup, Markup]]:
    """(stage, expert load of its last steps as a heat map, share of the busiest experts over time) of each mixture of experts."""
    out = []
    for stage, steps in sorted(curves.items()):
        loads = [(r.get("step"), [s for _, s in sorted(r["expert_load"].items(), key=lambda item: int(item[0])) if sum(s) > 0]) for r in steps if r.get("expert_load")]
        loads = [(step, layers) for step, layers in loads if layers]
        if not loads:
            continue
        last = [layers for _, layers in loads[-LAST:] if len(layers) == len(loads[-1][1])]
        mean = [[sum(shares) / len(last) for shares in zip(*layer)] for layer in zip(*last)]
        busiest = {
            "highest of any layer": [(step, max(map(max, layers))) for step, layers in loads],
            "mean of the layers' highest": [(step, sum(map(max, layers)) / len(layers)) for step, layers in loads],
            "even share": [(step, 1 / len(layers[0])) for step, layers in loads],
        }
        out.append((stage, heat_map(mean, "layer", "expert"), lines("share of the busiest expert", busiest, zero=True)))
    return out


def difference_plots(differences: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> list[Markup]:
    """A plot a metric of `results.json`'s differences; `names`: metric → its title."""
    by_metric: dict[str, list[tuple[str, float, float, float, str]]] = {}
    for d in differences:
        numbers = d["mean_difference"], d["low"], d["high"]
        by_metric.setdefault(d["metric"], []).append((f"{d['a']} − {d['b']}", *numbers, with_interval(*numbers, sign="+")))
    return [intervals(names.get(metric, metric), rows) for metric, rows in by_metric.items()]


def with_interval(value: float, low: float, high: float, sign: str = "") -> str:
    """`0.31 [0.22, 0.40]`; with the sign `+`, `+0.31 [+0.22, +0.40]`."""
    return f"{value:{sign}.2f} [{low:{sign}.2f}, {high:{sign}.2f}]"


# --- plots -------------------------------------------------------------------------------------------------------
def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers within [low, high]; one number when both are the same."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in STEPS if s * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{n * step:.10g}") for n in range(first, last + 1)]


def shown(value: float) -> str:
    """A number on an axis: `1,500`, `0.25`, `5e-05`."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def lines(
    title: str, series: Mapping[str, Line], x_label: str = "step", zero: bool = False, width: int = 560, height: int = 250, spans: Mapping[str, Spans] | None = None
) -> Markup:
    """A line for each name, over the same axes; `zero`: the vertical axis begins at 0. `spans`: intervals of a line's points, beside one another
    where lines meet."""
    kept = {name: points for name, line in series.items() if (points := _drawable(line))}
    if not kept:
        return Markup("")
    xs = [x for points in kept.values() for x, _ in points]
    spans = {name: spans[name] for name in kept if spans and name in spans}
    ys = [y for points in kept.values() for _, y in points] + [end for of in spans.values() for _, *ends in of for end in ends]
    x0, x1 = min(xs), max(xs)
    y0, y1 = _padded(0.0 if zero else min(ys), max(ys))
    right, bottom = width - RIGHT, height - BOTTOM
    to_x = lambda x: LEFT + (right - LEFT) * ((x - x0) / (x1 - x0) if x1 > x0 else 0.5)  # noqa: E731
    to_y = lambda y: bottom - (bottom - TOP) * (y - y0) / (y1 - y0)  # noqa: E731
    parts = [Markup('<text class="title" x="{}" y="14">{}</text>').format(LEFT, title)]
    for y in ticks(y0, y1):
        line = Markup('<line class="grid" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/><text class="tick end" x="{}" y="{:.1f}">{}</text>')
        parts.append(line.format(LEFT, right, LEFT - 6, to_y(y) + 4, shown(y), y=to_y(y)))
    for x in ticks(x0, x1, 6):
        parts.append(Markup('<text class="tick mid" x="{:.1f}" y="{}">{}</text>').format(to_x(x), bottom + 16, shown(x)))
    parts.append(Markup('<line class="axis" x1="{a}" x2="{}" y1="{b}" y2="{b}"/>').format(right, a=LEFT, b=bottom))
    parts.append(Markup('<text class="tick mid" x="{:.1f}" y="{}">{}</text>').format((LEFT + right) / 2, height - 6, x_label))
    for n, points in enumerate(kept.values()):
        path = " ".join(f"{to_x(x):.1f},{to_y(y):.1f}" for x, y in points)
        parts.append(Markup('<polyline class="line s{}" points="{}"/>').format(n % 4, path))
        if len(points) == 1:
            parts.append(Markup('<circle class="dot s{}" cx="{:.1f}" cy="{:.1f}" r="3"/>').format(n % 4, to_x(points[0][0]), to_y(points[0][1])))
    for n, name in enumerate(kept):
        for x, low, high in spans.get(name, ()):
            at = to_x(x) + ASIDE * (n - (len(kept) - 1) / 2)
            parts.append(Markup('<line class="whisker s{}" x1="{x:.1f}" x2="{x:.1f}" y1="{:.1f}" y2="{:.1f}"/>').format(n % 4, to_y(low), to_y(high), x=at))
    parts.append(Markup('<line class="at" x1="0" x2="0" y1="{}" y2="{}"/><text class="readout end" x="{}" y="14"></text>').format(TOP, bottom, right))
    data = {"x0": x0, "x1": x1, "left": LEFT, "right": right, "label": x_label}
    data["series"] = [{"name": name, "x": [x for x, _ in points], "y": [float(f"{y:.5g}") for _, y in points]} for name, points in kept.items()]
    legend = _legend([(f"s{n % 4}", name) for n, name in enumerate(kept)]) if len(kept) > 1 else Markup("")
    return _svg(width, height, title, parts, data) + legend


def histogram(title: str, values: Sequence[float], x_label: str = "", bins: int = 24, width: int = 360, height: int = 190) -> Markup:
    """How often values lie where: bars of equal width over their range, the two ends of which are the lowest and the highest."""
    values = [float(v) for v in values if _finite(v)]
    if not values:
        return Markup("")
    low, high = min(values), max(values)
    span = high - low or 1.0
    counts = [0] * (bins if high > low else 1)
    for v in values:
        counts[min(len(counts) - 1, int((v - low) / span * len(counts)))] += 1
    right, bottom = width - RIGHT, height - BOTTOM
    step, most = (right - LEFT) / len(counts), max(counts)
    parts = [Markup('<text class="title" x="{}" y="14">{}</text>').format(LEFT, title)]
    for y in ticks(0, most, 4):
        at = bottom - (bottom - TOP) * y / most
        line = Markup('<line class="grid" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/><text class="tick end" x="{}" y="{:.1f}">{}</text>')
        parts.append(line.format(LEFT, right, LEFT - 6, at + 4, shown(y), y=at))
    for n, count in enumerate(counts):
        tall = (bottom - TOP) * count / most
        text = f"{shown(low + n * span / len(counts))} to {shown(low + (n + 1) * span / len(counts))}: {count:,}"
        bar = Markup('<rect class="column" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>')
        parts.append(bar.format(LEFT + n * step + 0.5, bottom - tall, max(1.0, step - 1), tall, text))
    for x in ticks(low, high, 5):
        parts.append(Markup('<text class="tick mid" x="{:.1f}" y="{}">{}</text>').format(LEFT + (right - LEFT) * ((x - low) / span if high > low else 0.5), bottom + 16, shown(x)))
    parts.append(Markup('<line class="axis" x1="{a}" x2="{}" y1="{b}" y2="{b}"/>').format(right, a=LEFT, b=bottom))
    parts.append(Markup('<text class="tick mid" x="{:.1f}" y="{}">{}</text>').format((LEFT + right) / 2, height - 6, x_label))
    return _svg(width, height, title, parts)


def heat_map(rows: Sequence[Sequence[float]], row_name: str, column_name: str, width: int = 1140) -> Markup:
    """Shares of each row (a layer) over its columns (experts), drawn with layers side by side and experts from top to bottom.

    Colour is the share against an even one: neutral at 1, one hue above, another below, full at twice and at none.
    """
    if not rows or not rows[0]:
        return Markup("")
    experts = max(map(len, rows))
    wide, tall = min(48.0, (width - LEFT) / len(rows)), max(5.0, min(20.0, 320 / experts))
    bottom = 8 + experts * tall
    parts = []
    for layer, shares in enumerate(rows):
        for expert, share in enumerate(shares):
            ratio = share * len(shares)
            fill = Markup('<rect class="{}" fill-opacity="{:.2f}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>')
            text = f"{row_name} {layer}, {column_name} {expert}: {share:.1%} ({ratio:.2f} of an even share)"
            kind, strength = ("over", min(1.0, ratio - 1)) if ratio >= 1 else ("under", 1 - ratio)
            parts.append(fill.format(kind, strength, LEFT + layer * wide, 8 + expert * tall, wide - 1, tall - 1, text))
    for layer in ticks(0, len(rows) - 1, min(15, len(rows))):
        if layer == int(layer):
            parts.append(Markup('<text class="tick mid" x="{:.1f}" y="{:.1f}">{}</text>').format(LEFT + (layer + 0.5) * wide, bottom + 14, int(layer)))
    for expert in ticks(0, experts - 1, min(8, experts)):
        if expert == int(expert):
            parts.append(Markup('<text class="tick end" x="{}" y="{:.1f}">{}</text>').format(LEFT - 6, 8 + (expert + 0.5) * tall + 4, int(expert)))
    whole = LEFT + len(rows) * wide
    parts.append(Markup('<text class="tick mid" x="{:.1f}" y="{:.1f}">{}</text>').format((LEFT + whole) / 2, bottom + 30, row_name))
    parts.append(Markup('<text class="tick" x="0" y="{:.1f}">{}</text>').format(8 + tall / 2 + 4, column_name))
    legend = [("over", f"more than an even share of {1 / experts:.1%} (full: twice)"), ("under", "less (full: none)")]
    return _svg(round(whole) + 8, round(bottom) + 36, f"{row_name} by {column_name}", parts) + _legend(legend)


def intervals(title: str, rows: Sequence[tuple[str, float, float, float, str]], width: int = 560, at: float = 0.0) -> Markup:
    """A row (name, value, low, high, text) each: a dot and its interval over a line at `at`, with colours for above and below it."""
    rows = [r for r in rows if all(map(math.isfinite, r[1:4]))]
    if not rows:
        return Markup("")
    left, right, row = 150, width - 190, 24
    low, high = _padded(min(at, *(r[2] for r in rows)), max(at, *(r[3] for r in rows)))
    to_x = lambda x: left + (right - left) * (x - low) / (high - low)  # noqa: E731
    bottom = TOP + row * len(rows)
    parts = [Markup('<text class="title" x="0" y="14">{}</text>').format(title)]
    for x in ticks(low, high, 4):
        grid = Markup('<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{}" y2="{}"/><text class="tick mid" x="{x:.1f}" y="{}">{}</text>')
        parts.append(grid.format(TOP - 6, bottom, bottom + 14, shown(x), x=to_x(x)))
    parts.append(Markup('<line class="zero" x1="{x:.1f}" x2="{x:.1f}" y1="{}" y2="{}"/>').format(TOP - 6, bottom, x=to_x(at)))
    for n, (name, value, start, end, text) in enumerate(rows):
        y = TOP + row * n + row / 2
        kind = "above" if start > at else "below" if end < at else "unclear"
        parts.append(
            Markup(
                '<g class="{kind}"><title>{name}: {text}</title><text class="name end" x="{}" y="{}">{short}</text>'
                '<line class="span" x1="{:.1f}" x2="{:.1f}" y1="{y}" y2="{y}"/><circle cx="{:.1f}" cy="{y}" r="4.5"/>'
                '<text class="value" x="{}" y="{}">{text}</text></g>'
            ).format(left - 12, y + 4, to_x(start), to_x(end), to_x(value), right + 12, y + 4, y=y, kind=kind, name=name, short=_short(name), text=text)
        )
    return _svg(width, bottom + 22, title, parts)


def bar(share: float, kind: str = "", width: int = 160) -> Markup:
    """A bar of a share in [0, 1]."""
    inner = Markup('<rect class="all" width="{w}" height="10" rx="2"/><rect class="part {}" width="{:.1f}" height="10" rx="2"/>')
    body = inner.format(kind, width * min(max(share, 0.0), 1.0), w=width)
    return Markup('<svg class="bar" viewBox="0 0 {w} 10" width="{w}" height="10" role="img" aria-label="{:.0%}">{}</svg>').format(share, body, w=width)


# --- parts -------------------------------------------------------------------------------------------------------
def _drawable(line: Line) -> list[tuple[float, float]]:
    points = [(float(x), float(y)) for x, y in line if _finite(x) and _finite(y)]
    every = math.ceil(len(points) / POINTS) if points else 1
    return points[::every] if every == 1 or points[-1] in points[::every] else [*points[::every], points[-1]]


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _padded(low: float, high: float) -> tuple[float, float]:
    """Some room around; an end at 0 stays there."""
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (low - room if low else low), (high + room if high or not low else high)


def _short(name: str) -> str:
    return name if len(name) <= 20 else name[:19] + "…"


def _legend(entries: Sequence[tuple[str, str]]) -> Markup:
    items = [Markup('<span><svg class="key" viewBox="0 0 14 10" width="14" height="10"><rect class="{}" width="14" height="10" rx="2"/></svg> {}</span>').format(*e) for e in entries]
    return Markup('<p class="legend">{}</p>').format(Markup(" ").join(items))


def _svg(width: int, height: int, label: str, parts: Sequence[Markup], data: Any = None) -> Markup:
    series = Markup(' data-plot="{}"').format(json.dumps(data, separators=(",", ":"))) if data else Markup("")
    head = Markup('<svg class="plot" viewBox="0 0 {} {}" width="{}" role="img" aria-label="{}"{}>').format(width, height, width, label, series)
    return head + Markup("").join(parts) + Markup("</svg>")
