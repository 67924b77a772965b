"""Advantages against their formulas, in plain numbers."""

import numpy as np
import pytest

from prstack.errors import UserError
from prstack.rl.advantages import ADVANTAGES, advantage, group_norm, leave_one_out, mean

REWARDS = [0.1, 0.9, 0.4, 1.3]


def test_group_norm_is_the_distance_in_standard_deviations():
    r = np.array(REWARDS)
    assert group_norm(REWARDS) == pytest.approx((r - r.mean()) / (r.std(ddof=1) + 1e-4))


def test_leave_one_out_is_the_distance_from_the_others():
    expected = [r - np.mean(REWARDS[:i] + REWARDS[i + 1 :]) for i, r in enumerate(REWARDS)]
    assert leave_one_out(REWARDS) == pytest.approx(expected)


@pytest.mark.parametrize("name", ADVANTAGES)
def test_all_sum_to_nothing_and_a_flat_group_has_none(name):
    assert sum(ADVANTAGES[name](REWARDS)) == pytest.approx(0, abs=1e-12)
    assert ADVANTAGES[name]([0.3] * 5) == pytest.approx([0] * 5, abs=1e-9)
    with pytest.raises(ValueError, match="group of 1"):
        ADVANTAGES[name]([0.3])


def test_an_algorithm_has_its_own_unless_another_is_named():
    assert advantage(None, "grpo") is group_norm and advantage(None, "dr_grpo") is mean
    assert advantage("leave_one_out", "dr_grpo") is leave_one_out
    assert advantage(f"{__name__}:halves", "grpo")([1.0, 0.0]) == [0.5, 0.0]
    with pytest.raises(UserError, match=r"rl\.advantage=gropu_norm: there are group_norm"):
        advantage("gropu_norm", "grpo")


def halves(rewards):
    return [r / 2 for r in rewards]
