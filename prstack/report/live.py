"""What a running synthesis tells: how fast it is, how good, what fails, how long it still takes.

1. `Progress` is told each episode that begins and each trajectory that ends, with the time by any steady clock.
2. Speeds, approval and rounds are those of a sliding window: the last `WINDOW_SECONDS`, or the last `WINDOW_EPISODES` where
   these took longer. Failures are counted from the start.
3. `Snapshot` holds the numbers of one moment. The terminal (`Display`), the tracker and Ray's metrics all show the same one.

Invariant: a speed is what ended in the window over the time since the window began, now included, so that it falls when
nothing ends any more.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from prstack.types import Trajectory

WINDOW_SECONDS, WINDOW_EPISODES = 60.0, 50
LINE_SECONDS = 30.0
"""Between two lines where the output is no terminal."""


@dataclass(slots=True, frozen=True)
class Snapshot:
    """A synthesis at one moment. Numbers that nothing stands for yet are None."""

    done: int
    """Episodes that have ended, those of earlier sessions included."""
    total: int
    in_flight: int
    episodes_per_minute: float
    tokens_per_second: float
    """Completion tokens of the episodes that ended, all roles."""
    approval_rate: float | None
    """Share of episodes whose report the supervisor took."""
    mean_rounds: float | None
    """Reports of an episode."""
    eta_seconds: float | None
    failures: dict[str, int]
    """Why episodes ended otherwise than approved, most frequent first; a history that the gate rejected is `gate`."""


@dataclass(slots=True, frozen=True)
class _Ended:
    at: float
    tokens: int
    approved: bool
    rounds: int


class Progress:
    """The numbers of one session of synthesis. `now`: seconds of any steady clock. `done` of `total` were there before it."""

    def __init__(self, total: int, done: int, now: float):
        self.total, self.done = total, done
        self.begun = self.ended = 0
        """Of this session."""
        self._since = now
        self._window: deque[_Ended] = deque()
        self._failures: Counter[str] = Counter()

    def begin(self) -> None:
        """An episode begins."""
        self.begun += 1

    def end(self, t: Trajectory, now: float) -> None:
        """An episode has ended."""
        self.done, self.ended = self.done + 1, self.ended + 1
        if (reason := reason_of(t)) != "approved":
            self._failures[reason] += 1
        self._window.append(_Ended(now, sum(u.completion_tokens for u in t.usage), reason == "approved", len(t.reports)))

    def snapshot(self, now: float) -> Snapshot:
        window = self._window
        while len(window) > WINDOW_EPISODES and window[0].at < now - WINDOW_SECONDS:
            self._since = window.popleft().at
        n, seconds = len(window), max(now - self._since, 1e-9)
        left = self.total - self.done
        return Snapshot(
            done=self.done,
            total=self.total,
            in_flight=self.begun - self.ended,
            episodes_per_minute=60 * n / seconds,
            tokens_per_second=sum(e.tokens for e in window) / seconds,
            approval_rate=sum(e.approved for e in window) / n if n else None,
            mean_rounds=sum(e.rounds for e in window) / n if n else None,
            eta_seconds=left * seconds / n if n else None if left else 0.0,
            failures=dict(self._failures.most_common()),
        )


def reason_of(t: Trajectory) -> str:
    """How an episode ended, in one word: its termination, or `gate`."""
    return "gate" if t.termination == "error" and t.detail.startswith("gate:") else t.termination


def metrics(s: Snapshot) -> dict[str, Any]:
    """The numbers by name, for trackers and Ray's gauges (docs/metrics.md): failures as `failures/<reason>`."""
    names = ("done", "total", "in_flight", "episodes_per_minute", "tokens_per_second", "approval_rate", "mean_rounds", "eta_seconds")
    numbers = {"planned" if name == "total" else name: getattr(s, name) for name in names}
    return numbers | {f"failures/{reason}": n for reason, n in s.failures.items()}


def status(s: Snapshot) -> str:
    """The numbers beside the bar, in one line."""
    parts = [f"{s.episodes_per_minute:.1f} episodes/min", f"{s.tokens_per_second:,.0f} tokens/s"]
    if s.approval_rate is not None:
        parts += [f"approved {s.approval_rate:.0%}", f"{s.mean_rounds:.1f} reports each"]
    if s.failures:
        parts.append("not approved: " + ", ".join(f"{reason} {n}" for reason, n in s.failures.items()))
    return " · ".join(parts)


def clock(seconds: float | None) -> str:
    """A duration as "1:02:03" or "2:03"; "?" when it is not known."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Display:
    """Snapshots on standard error: a bar with a line of numbers below it, or, where that is no terminal, a line every `LINE_SECONDS`."""

    def __init__(self, name: str, now: float):
        self.name, self._start, self._last = name, now, now
        self._bars: tuple[tqdm, tqdm] | None = None

    def __enter__(self) -> Display:
        return self

    def show(self, s: Snapshot, now: float, last: bool = False) -> None:
        """Shows a snapshot; between two lines of a file, only the `last` one."""
        state = f"{s.in_flight} in flight, {clock(now - self._start)} so far, {clock(s.eta_seconds)} left"
        if sys.stderr.isatty():
            bar, line = self._bars = self._bars or self._start_bars(s)
            bar.n = s.done
            bar.set_postfix_str(state, refresh=False)
            line.set_description_str(f"  {status(s)}", refresh=False)
            bar.refresh()
            line.refresh()
        elif last or now - self._last >= LINE_SECONDS:
            self._last = now
            print(f"{self.name}: {s.done} of {s.total} episodes, {state} · {status(s)}", file=sys.stderr, flush=True)

    def _start_bars(self, s: Snapshot) -> tuple[tqdm, tqdm]:
        form = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} episodes{postfix}"
        bar = tqdm(bar_format=form, desc=self.name, total=s.total, initial=s.done, position=0, dynamic_ncols=True)
        return bar, tqdm(bar_format="{desc}", position=1, dynamic_ncols=True)

    def __exit__(self, *exc: object) -> None:
        for bar in self._bars or ():
            bar.close()
