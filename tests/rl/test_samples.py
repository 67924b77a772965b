"""Rollouts: their tokens, their files, their packs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prstack.errors import UserError
from prstack.report.trajectories import collect, find
from prstack.rl.samples import (
    Rollout,
    Turn,
    attach,
    balanced,
    read_rollouts,
    sequence,
    shuffled,
    write_rollouts,
)
from prstack.store.records import read_records
from prstack.types import Persona, Step, ToolCall, ToolResult, Trajectory

TURNS = [
    Turn([5, 6, 7, 11, 12], [0, 0, 0, 1, 1], [0.0, 0.0, 0.0, -0.5, -0.25], "update-1"),
    Turn([2, 8, 9, 13], [0, 0, 0, 1], [0.0, 0.0, 0.0, -1e-7], "update-1"),
]


def steps():
    search = [Step("research", "toolcall", 0, "r", "", ToolCall(f"c{i}", "product_search", "{}"), ToolResult(f"c{i}", True, "found"), joined=i > 1) for i in (1, 2)]
    return [*search, Step("research", "report", 0, "", "<report>\nx\n</report>")]


def rollout(id="e", turns=TURNS, update=1, used=True, **more):
    t = Trajectory(id, "u", 3, Persona("", "", []), "q", [], steps(), ["<report>\nx\n</report>"], [0.5], "finished", engines={"research": "policy"})
    attach(t, turns)
    return Rollout(id, update, "task", 0, "finished", 0.75, {"rubric": 0.5, "format": 1.0}, t, used=used, **more)


def test_tokens_stand_in_the_first_step_of_their_turn_and_join_to_the_sequence():
    r = rollout(advantage=0.5)
    assert [len(s.token_ids) for s in r.trajectory.steps] == [5, 0, 4]
    tokens = sequence(r)
    assert tokens.input_ids.tolist() == [5, 6, 7, 11, 12, 2, 8, 9, 13] and tokens.loss_mask.tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 1]
    assert tokens.logprobs.tolist() == [0, 0, 0, -0.5, -0.25, 0, 0, 0, np.float32(-1e-7)]
    assert (tokens.sampled, tokens.advantage, tokens.versions) == (3, 0.5, {"update-1"})
    assert tokens.input_ids.dtype == np.int32 and tokens.loss_mask.dtype == np.int8 and tokens.logprobs.dtype == np.float32


def test_what_comes_after_the_last_sampled_token_is_left_out():
    late = Turn([2, 8, 9, 13, 4, 4], [0, 0, 0, 1, 0, 0], [0.0] * 3 + [-1.0] + [0.0] * 2, "update-1")
    assert len(sequence(rollout(turns=[TURNS[0], late])).input_ids) == 9


def test_a_turn_that_led_to_no_step_is_left_out_and_others_must_fit():
    assert len(sequence(rollout(turns=[*TURNS, TURNS[1]])).input_ids) == 9
    for wrong in (TURNS[:1], [*TURNS, *TURNS]):
        with pytest.raises(ValueError, match="turns were sampled, and 2 are on record"):
            rollout(turns=wrong)
    with pytest.raises(ValueError, match="no sampled tokens"):
        sequence(rollout(turns=[Turn([1], [0], [0.0], "v")] * 2))


def test_a_file_of_rollouts_comes_back_the_same(tmp_path):
    first = [rollout("a"), rollout("b", used=False, advantage=-0.125)]
    write_rollouts([rollout("c", update=2)], tmp_path, 2)
    write_rollouts(first, tmp_path, 1)
    back = list(read_rollouts(tmp_path))
    assert [[r.id for r in rs] for rs in back] == [["a", "b"], ["c"]]
    kept, was = back[0][1], first[1]
    assert (kept.terms, kept.advantage, kept.used, kept.outcome) == (was.terms, was.advantage, False, "finished")
    for a, b in zip(sequence(kept).logprobs, sequence(was).logprobs, strict=True):
        assert a == b
    assert sequence(kept).input_ids.tolist() == sequence(was).input_ids.tolist() and kept.trajectory.steps[0].tool_call == was.trajectory.steps[0].tool_call


def test_a_reader_of_trajectories_finds_them_in_a_file_of_rollouts(tmp_path):
    r = rollout("a")
    write_rollouts([r], tmp_path, 1)
    (t,) = read_records(tmp_path, Trajectory, pytest.fail, "trajectories")
    assert (t.id, t.engines, t.steps[2].content) == ("a", {"research": "policy"}, r.trajectory.steps[2].content)
    assert collect(tmp_path, 10).total == 1 and find(tmp_path, "a").trajectories[0].reports == r.trajectory.reports


def test_folders_that_hold_nothing_to_train_on_are_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"rl\.replay: no such file or folder"):
        list(read_rollouts(tmp_path / "nowhere"))
    file = write_rollouts([rollout(used=False)], tmp_path, 1)
    with pytest.raises(UserError, match=f"{file.name}: holds no rollout that was trained on"):
        list(read_rollouts(tmp_path))


@given(st.lists(st.integers(1, 100), max_size=40), st.integers(1, 6))
def test_every_sequence_is_in_one_pack_and_packs_fill_the_ranks(lengths, multiple):
    packs = balanced(lengths, multiple, 100)
    assert sorted(i for p in packs for i in p) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in p) <= 100 for p in packs) and len(packs) % multiple == 0 and packs
    if len(lengths) >= len(packs):
        assert all(packs)


def test_packs_are_even_and_a_sequence_beyond_the_context_is_a_defect():
    packs = balanced([50, 40, 30, 20, 10, 10], 2, 100)
    assert sorted(sum([50, 40, 30, 20, 10, 10][i] for i in p) for p in packs) == [80, 80]
    with pytest.raises(ValueError, match="101 tokens"):
        balanced([101], 1, 100)


def test_an_order_depends_on_all_its_numbers():
    orders = [shuffled(20, *key) for key in ((1, 2), (1, 3), (2, 2), (1, 2))]
    assert orders[0] == orders[3] and len({tuple(o) for o in orders}) == 3 and sorted(orders[0]) == list(range(20))
