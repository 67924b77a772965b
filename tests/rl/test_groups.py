"""Groups: how episodes end, what is compared, and what is played in place of what teaches nothing."""

import pytest

from prstack.rl.groups import OUTCOMES, Filling, Group, outcome
from prstack.rl.samples import Rollout
from prstack.types import NO_CALL, NO_REPORT, Persona, Trajectory


def trajectory(termination="finished", detail="", id="t"):
    return Trajectory(id, "u", 0, Persona("", "", []), "q", [], [], [], [], termination, detail)


def group(*rewards, task="q", ends="finished"):
    ends = [ends] * len(rewards) if isinstance(ends, str) else ends
    return Group(task, [Rollout(f"{task}-{n}", 1, task, n, end, r, {}, trajectory()) for n, (r, end) in enumerate(zip(rewards, ends, strict=True))])


@pytest.mark.parametrize(
    ("termination", "detail", "name"),
    [
        ("finished", "", "finished"),
        ("max_tool_calls", "", "forced"),
        ("max_rounds", "no report in 20 turns", "turns"),
        ("max_tokens", "context: 900 tokens", "context"),
        ("time", "", "time"),
        ("error", NO_CALL, "malformed"),
        ("error", NO_REPORT, "malformed"),
        ("error", "unavailable: all engines are lost", "failed"),
        ("error", "KeyError: 'x'", "failed"),
    ],
)
def test_every_end_has_a_name(termination, detail, name):
    assert outcome(trajectory(termination, detail)) == name and name in OUTCOMES


def test_a_group_is_flat_without_differences_among_those_that_count():
    assert group(0.5, 0.5, 0.5).flat and not group(0.5, 0.5, 0.6).flat
    assert group(0.5, 0.5, 0.0, ends=["finished", "malformed", "failed"]).flat
    one = group(0.5, 0.1, ends=["finished", "time"])
    assert one.flat and one.spread == 0 and [r.n for r in one.counted] == [0]
    assert group(0.5, 0.1, ends=["finished", "malformed"]).spread == pytest.approx(0.4)


def test_flat_groups_are_played_again_in_other_queries_so_often_and_no_more():
    filling = Filling(wanted=3, refills=2)
    assert filling.missing == 3
    filling.take([group(1, 0, task="a"), group(1, 1, task="b"), group(0, 0, task="c")])
    assert filling.missing == 2
    filling.take([group(1, 1, task="d"), group(0, 1, task="e")])
    assert filling.missing == 1
    filling.take([group(1, 1, task="f")])
    assert filling.missing == 0 and [g.task for g in filling.kept] == ["a", "e"]
    assert [g.task for g in filling.played] == list("abcdef")


def test_a_full_step_plays_no_more_and_none_is_refilled_without_refills():
    full = Filling(2, 5)
    full.take([group(1, 0), group(0, 1)])
    none = Filling(2, 0)
    none.take([group(1, 1), group(0, 1)])
    assert full.missing == none.missing == 0 and len(none.kept) == 1


def test_everything_that_was_played_is_counted():
    filling = Filling(2, 1)
    filling.take([group(1, 0, ends=["finished", "forced"]), group(1, 1, ends=["finished", "failed"])])
    filling.take([group(0.5, 0)])
    said = filling.log()
    assert (said["groups/played"], said["groups/kept"], said["groups/flat"]) == (3, 2, 1) and said["groups/spread"] == 0.5
    assert said["outcome/finished"] == pytest.approx(4 / 6) and said["outcome/failed"] == pytest.approx(1 / 6)
    assert sum(v for k, v in said.items() if k.startswith("outcome/")) == pytest.approx(1)
