import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prstack.dialogue.context import FLOOR, NOTE, DoesNotFit, fit, shorten


def count(messages):
    return sum(len(m["content"]) for m in messages)


def message(role, n):
    return {"role": role, "content": "x" * n}


def test_what_fits_is_not_touched():
    messages = [message("user", 100), message("tool", 5000)]
    assert fit(messages, 5100, count) is messages


def test_oldest_tool_results_first_and_no_further_than_needed():
    messages = [message("system", 1000), message("user", 3000), message("tool", 2000), message("assistant", 900), message("tool", 2000), message("tool", 2000)]
    fitted = fit(messages, 10_000, count)
    lengths = [len(m["content"]) for m in fitted]
    assert lengths[:2] == [1000, 3000] and lengths[3:] == [900, 2000, 2000]
    assert 900 < lengths[2] <= 1100
    fitted = fit(messages, 8_000, count)
    lengths = [len(m["content"]) for m in fitted]
    assert lengths[2] <= FLOOR + NOTE and lengths[5] == 2000 and FLOOR < lengths[4] < 2000


def test_then_user_messages_and_the_last_message_at_the_very_end():
    messages = [message("user", 3000), message("assistant", 500), message("user", 1000), message("tool", 4000)]
    lengths = [len(m["content"]) for m in fit(messages, 6000, count)]
    assert lengths[0] < 3000 and lengths[1:] == [500, 1000, 4000]
    lengths = [len(m["content"]) for m in fit(messages, 2000, count)]
    assert lengths[0] <= FLOOR + NOTE and lengths[2] <= FLOOR + NOTE and lengths[1] == 500 and lengths[3] < 1000


def test_too_long_all_the_same():
    with pytest.raises(DoesNotFit) as e:
        fit([message("system", 5000), message("tool", 3000)], 4000, count)
    assert e.value.budget == 4000 and 5000 < e.value.tokens <= 5000 + FLOOR + NOTE


def test_both_ends_of_a_text_stay():
    short = shorten("begin" + "x" * 1000 + "end", 300)
    assert short.startswith("begin") and short.endswith("end") and "708 characters left out" in short
    assert shorten("abc", 3) == "abc"


roles = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), st.integers(0, 3000)), min_size=1, max_size=8)


@given(roles, st.integers(0, 12_000))
def test_fits_or_says_so(parts, budget):
    messages = [message(role, n) for role, n in parts]
    before = copy.deepcopy(messages)
    try:
        fitted = fit(messages, budget, count)
    except DoesNotFit:
        least = [m if m["role"] in ("system", "assistant") else {**m, "content": m["content"][: FLOOR + NOTE]} for m in messages]
        assert count(least) > budget or count(messages) > budget
    else:
        assert count(fitted) <= budget
        assert [m["role"] for m in fitted] == [m["role"] for m in messages]
        kept = [(a, b) for a, b in zip(messages, fitted) if a["role"] in ("system", "assistant")]
        assert all(a == b for a, b in kept)
    assert messages == before
