"""Invariants of the shuffled control's exchange of queries, over made-up rows and a distilled one."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prstack.dialogue.render import Renderer
from prstack.distill.distiller import Distiller, Frame
from prstack.distill.export import plain_message
from prstack.distill.shuffle import exchange, shuffled
from prstack.settings import DistillConfig, FilterConfig
from prstack.stages.models import SMOLLM2, resolve_tokenizer
from prstack.tools.schemas import SCHEMAS
from tests.factories import trajectory

conversations = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=40)
"""(category, which of its queries) of each."""


def rows_of(made: list[tuple[str, int]]) -> list[dict]:
    return [
        {
            "id": f"t{n}",
            "category": category,
            "messages": [
                {"role": "system", "content": "You shop."},
                {"role": "user", "content": f"{category}{query}"},
                {"role": "assistant", "content": f"report {n}"},
            ],
        }
        for n, (category, query) in enumerate(made)
    ]


def asked(row: dict) -> str:
    return row["messages"][1]["content"]


@given(conversations, st.integers(0, 3))
def test_each_gets_the_query_of_another_of_its_category(made, seed):
    rows = rows_of(made)
    new = exchange(rows, seed)
    taken = [r for r in rows if r["id"] in new]
    assert all(new[r["id"]] != asked(r) and new[r["id"]][0] == r["category"] for r in taken)
    assert Counter(new.values()) == Counter(asked(r) for r in taken), "each as often as it came"
    assert list(shuffled(rows, new)) == [
        r | {"messages": [r["messages"][0], {"role": "user", "content": new[r["id"]]}, r["messages"][2]]} for r in taken
    ], "nothing else is changed"


@given(conversations)
def test_as_few_as_can_be_stay_out(made):
    new = exchange(rows_of(made), 0)
    for category in "abc":
        queries = Counter(query for c, query in made if c == category)
        most = max(queries.values(), default=0)
        surplus = max(0, 2 * most - queries.total())
        assert sum(1 for n, (c, _) in enumerate(made) if c == category and f"t{n}" in new) == queries.total() - surplus


@given(conversations, st.randoms())
def test_the_order_of_the_rows_does_not_matter(made, rng):
    rows = rows_of(made)
    mixed = list(rows)
    rng.shuffle(mixed)
    assert exchange(mixed, 1) == exchange(rows, 1)


def test_another_seed_is_another_exchange():
    rows = rows_of([("a", n) for n in range(30)])
    assert exchange(rows, 1) != exchange(rows, 2)
    assert len({new for seed in range(200) if (new := exchange(rows, seed)["t0"])}) > 25, "any other may come"


@pytest.mark.parametrize("made", [[], [("a", 0)], [("a", 0), ("a", 0)], [("a", 0), ("b", 0)]])
def test_without_another_query_a_conversation_stays_out(made):
    assert exchange(rows_of(made), 0) == {}


def test_what_is_learned_of_a_real_conversation_stays():
    """Rendered with another query, the learned tokens are the same ones; so is all behind the query."""
    tokenizer = resolve_tokenizer(SMOLLM2)
    distil = Distiller(DistillConfig(filters=FilterConfig(max_tool_error_rate=1.0)), tokenizer, Frame("You shop.", SCHEMAS))
    row = distil(trajectory(3, vague_plan=True, duplicate=True)).row
    (other,) = shuffled([row], {row["id"]: "I need tents. At most $300."})
    renderer = Renderer(tokenizer)
    before, after = (renderer.render([plain_message(m) for m in r["messages"]], json.loads(r["tools"])) for r in (row, other))
    learned = [[t for t, m in zip(r.input_ids, r.loss_mask, strict=True) if m] for r in (before, after)]
    assert learned[0] == learned[1] and before.text != after.text and "I need tents. At most $300." in after.text
    first = before.loss_mask.index(1)
    assert before.loss_mask[first:] == after.loss_mask[after.loss_mask.index(1) :]
    assert before.input_ids[first:] == after.input_ids[after.loss_mask.index(1) :]
