"""The numbers of a running synthesis, with a clock of the test's own."""

import io
import sys

from prstack.report.live import WINDOW_EPISODES, Display, Progress, clock, metrics, reason_of, status
from tests.factories import trajectory


def ended(termination="approved", detail="", tokens=100, rounds=1):
    t = trajectory(1)
    t.termination, t.detail, t.reports = termination, detail, t.reports[:1] * rounds
    t.usage[0].completion_tokens = tokens
    for u in t.usage[1:]:
        u.completion_tokens = 0
    return t


def test_speeds_are_those_of_the_window_and_not_of_the_whole_session():
    progress = Progress(total=1000, done=0, now=0.0)
    for n in range(100):  # slow: one in ten seconds, 100 tokens each
        progress.begin()
        progress.end(ended(), 10.0 * n)
    s = progress.snapshot(990.0)
    assert round(s.episodes_per_minute, 3) == 6 and round(s.tokens_per_second, 3) == 10
    for n in range(200):  # then two a second
        progress.begin()
        progress.end(ended("max_rounds", tokens=50, rounds=3), 990.0 + 0.5 * (n + 1))
    s = progress.snapshot(1090.0)
    assert round(s.episodes_per_minute) == 120 and round(s.tokens_per_second) == 100
    assert s.approval_rate == 0 and s.mean_rounds == 3, "those of the window"
    assert s.failures == {"max_rounds": 200}, "failures count from the start"
    assert s.done == 300 and s.eta_seconds == 350


def test_speeds_fall_when_nothing_ends_any_more():
    progress = Progress(100, 0, 0.0)
    for n in range(WINDOW_EPISODES):
        progress.end(ended(), float(n))
    busy, stuck = progress.snapshot(WINDOW_EPISODES), progress.snapshot(10.0 * WINDOW_EPISODES)
    assert round(busy.episodes_per_minute) == 60 and round(stuck.episodes_per_minute) == 6
    assert stuck.eta_seconds > busy.eta_seconds


def test_all_that_ended_within_a_minute_is_in_the_window_however_many_that_are():
    progress = Progress(1000, 0, 0.0)
    for n in range(300):  # three a second for 100 seconds
        progress.end(ended(), (n + 1) / 3)
    for n in range(20):  # then one a second
        progress.end(ended(), 101.0 + n)
    assert abs(progress.snapshot(120.0).episodes_per_minute - (40 * 3 + 20)) < 3


def test_few_long_episodes_are_all_in_the_window():
    progress = Progress(8, 0, 0.0)
    for n in range(4):
        progress.end(ended(), 300.0 * (n + 1))
    s = progress.snapshot(1200.0)
    assert round(s.episodes_per_minute, 6) == 0.2 and s.eta_seconds == 1200


def test_the_time_left_counts_what_earlier_sessions_made():
    progress = Progress(total=100, done=90, now=0.0)
    progress.begin()
    progress.begin()
    progress.end(ended(), 2.0)
    s = progress.snapshot(2.0)
    assert (s.done, s.in_flight, s.eta_seconds) == (91, 1, 18.0)


def test_before_the_first_end_nothing_is_made_up():
    progress = Progress(10, 0, 5.0)
    s = progress.snapshot(5.0)
    assert (s.episodes_per_minute, s.tokens_per_second, s.approval_rate, s.mean_rounds, s.eta_seconds) == (0, 0, None, None, None)
    assert status(s) == "0.0 episodes/min · 0 tokens/s"
    assert Progress(10, 10, 0.0).snapshot(1.0).eta_seconds == 0


def test_failures_are_told_apart_and_the_most_frequent_comes_first():
    progress = Progress(10, 0, 0.0)
    for t in (ended("error", "gate: query: names a product"), ended("max_rounds"), ended("max_rounds"), ended("error", "unavailable: lost"), ended()):
        progress.end(t, 1.0)
    s = progress.snapshot(1.0)
    assert s.failures == {"max_rounds": 2, "gate": 1, "error": 1} and s.approval_rate == 0.2
    assert status(s).endswith("not approved: max_rounds 2, gate 1, error 1")
    assert metrics(s)["failures/gate"] == 1 and metrics(s)["approval_rate"] == 0.2
    assert reason_of(ended("error", "KeyError: gate:")) == "error"


def test_a_file_gets_a_line_now_and_then_and_the_last_one(monkeypatch):
    monkeypatch.setattr(sys, "stderr", out := io.StringIO())
    progress = Progress(10, 0, 0.0)
    with Display("synthesis", 0.0) as display:
        for now in range(0, 95, 5):
            if now == 50:
                progress.begin()
                progress.end(ended(), 50.0)
            display.show(progress.snapshot(float(now)), float(now))
        display.show(progress.snapshot(95.0), 95.0, last=True)
    lines = out.getvalue().splitlines()
    assert len(lines) == 4 and "\r" not in out.getvalue()
    assert lines[-1].startswith("synthesis: 1 of 10 episodes, 0 in flight, 1:35 so far, 14:15 left · 0.6 episodes/min") and "approved 100%" in lines[-1]


def test_a_terminal_gets_a_bar_and_the_numbers_below_it(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", out := Terminal())
    progress = Progress(10, 4, 0.0)
    progress.end(ended(), 1.0)
    with Display("synthesis", 0.0) as display:
        display.show(progress.snapshot(1.0), 1.0)
    assert "synthesis:  50%|" in out.getvalue() and "5/10" in out.getvalue() and "60.0 episodes/min · 100 tokens/s" in out.getvalue()


def test_durations_read_as_clocks():
    assert [clock(s) for s in (None, 0, 9.6, 61, 3599.7, 3725)] == ["?", "0:00", "0:10", "1:01", "1:00:00", "1:02:05"]
