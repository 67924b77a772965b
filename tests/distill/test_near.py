"""Near-duplicates: what is found, what is not, and that the order does not matter."""

from __future__ import annotations

import dataclasses
import random

import pytest

from prstack.distill.filters.near import PERMUTATIONS, NearDuplicates, signature
from prstack.distill.internalise import internalise
from tests.factories import trajectories, trajectory


def of(t):
    return signature(internalise(t, "SYSTEM", "keep_corrected").messages)


def made_of(words):
    return signature([{"role": "assistant", "content": " ".join(words)}])


def test_a_copy_is_like_its_first_and_others_are_not():
    near = NearDuplicates()
    for t in trajectories(40):
        assert near.nearest(of(t))[0] < 0.8
        near.add(t.id, of(t))
    t = trajectories(40)[7]
    assert near.nearest(of(t)) == (1.0, t.id)
    polite = dataclasses.replace(t, query="Hello, I hope you are well. " + t.query)
    similarity, id = near.nearest(of(polite))
    assert id == t.id and 0.9 < similarity < 1.0


def test_prompts_and_tool_results_do_not_count():
    t, lengthened = trajectory(1), trajectory(1, filler=200)
    assert of(t) == of(lengthened)
    messages = internalise(t, "SYSTEM", "keep_corrected").messages
    assert signature(messages) == signature([{"role": "system", "content": "Another prompt."}, *messages[1:]])
    assert signature(messages) != signature([messages[0], {"role": "user", "content": "I need a tent for four, please."}, *messages[2:]])


@pytest.mark.parametrize("share", [0.5, 0.7, 0.8, 0.9, 0.97])
def test_the_similarity_is_that_of_the_sets(share):
    rng = random.Random(3)
    words = [f"w{rng.randrange(10**9)}" for _ in range(2000)]
    other = words[: int(2000 * share)] + [f"x{rng.randrange(10**9)}" for _ in range(2000 - int(2000 * share))]
    a, b = ({tuple(ws[n : n + 5]) for n in range(len(ws) - 4)} for ws in (words, other))
    near = NearDuplicates()
    near.add("a", made_of(words))
    found, truth = near.nearest(made_of(other))[0], len(a & b) / len(a | b)
    if truth > 0.75:
        assert abs(found - truth) < 0.12
    else:
        assert found == 0 or abs(found - truth) < 0.12, "a pair far below the threshold need not be compared"


def test_what_is_found_does_not_depend_on_the_order_nor_on_growth():
    kept = [(f"t{n}", made_of(random.Random(n).choices("abcdefghijklmnop", k=60))) for n in range(300)]
    kept += [("twin-b", kept[5][1]), ("twin-a", kept[5][1])]
    one, other = NearDuplicates(), NearDuplicates()
    for id, numbers in kept:
        one.add(id, numbers)
    for id, numbers in reversed(kept):
        other.add(id, numbers)
    assert [one.nearest(n) for _, n in kept] == [other.nearest(n) for _, n in kept]
    assert one.nearest(kept[5][1]) == (1.0, "t5") and len(one) == 302


def test_a_signature_fits_its_column():
    numbers = of(trajectory(0))
    assert len(numbers) == PERMUTATIONS and all(0 <= n < 1 << 32 for n in numbers)
    assert len(signature([{"role": "assistant", "content": ""}])) == PERMUTATIONS
