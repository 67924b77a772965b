"""What evaluation asks is found in trajectories, and what only looks like it is not."""

from __future__ import annotations

import dataclasses
import json

import pytest

from prstack.distill.filters import FILTERS, chain
from prstack.distill.filters.contamination import Reference, contaminated, read_reference
from prstack.errors import UserError
from prstack.settings import FilterConfig
from prstack.store.parts import Parts
from prstack.types import Trajectory
from tests.factories import trajectory

ASKED = "Could you recommend a quiet blender for smoothies. No louder than 58 dB. I will spend 90 dollars at most. The jar should be glass."


@pytest.fixture
def reference():
    out = Reference()
    assert out.add({"user_id": "u7", "query": ASKED, "product_ids": ["P5001"]})
    return out


def kind(t, reference, max_overlap=0.5):
    found = contaminated(t, reference, max_overlap)
    return found and found[0]


def shop(**fields):
    return trajectory(0, world="amazon", **fields)


def test_users_queries_and_products_are_found(reference):
    assert kind(shop(), reference) is None
    assert kind(shop(user_id="u7"), reference) == "user"
    assert kind(shop(query=ASKED.upper().replace(".", " !")), reference) == "query"
    report = shop().reports[-1].replace("</report>", "3. [P5001] Mira Blender — $80\n</report>")
    assert kind(shop(reports=[report]), reference) == "product"


@pytest.mark.parametrize(
    "query",
    [
        f"Hello there, I hope that you can help me today. {ASKED} Thank you.",
        ASKED.replace("glass", "steel"),
        ". ".join([*ASKED.rstrip(".").split(". ")[2:], *ASKED.rstrip(".").split(". ")[:2]]) + ".",
        ASKED.replace("e", "e\u200b").replace("a", "ａ"),
    ],
)
def test_most_of_a_query_is_enough(query, reference):
    assert kind(shop(query=query), reference) in ("query", "query_overlap")


def test_a_greeting_that_queries_share_is_not(reference):
    same_opening = "Could you recommend a quiet blender for smoothies. It has to weigh less than 4 kg and come in red, with a long cord."
    assert kind(shop(query=same_opening), reference) is None
    assert kind(shop(query=same_opening), reference, max_overlap=0.1) == "query_overlap"


def test_what_the_agent_writes_counts_and_what_tools_return_does_not(reference):
    t = shop()
    t.steps[2].tool_result.text += f"\n- R9, 5 stars: {ASKED}"
    assert kind(t, reference) is None
    t.steps[2].reasoning = f"Somebody asked: {ASKED}"
    assert kind(t, reference) == "query_overlap"


def test_ids_of_the_generated_world_name_others_elsewhere(reference):
    t = trajectory(0, user_id="u7")
    assert t.world == "generated" and kind(t, reference) is None
    assert kind(dataclasses.replace(t, query=ASKED), reference) == "query"


def test_short_queries_have_to_be_the_same():
    out = Reference()
    out.add({"query": "quiet blender"})
    assert kind(shop(query="Quiet blender!"), out) == "query" and kind(shop(query="A quiet blender, please"), out) is None


def test_references_are_read_from_rows_and_from_trajectories(tmp_path):
    (tmp_path / "asked.jsonl").write_text(json.dumps({"query": ASKED, "note": 3}) + "\n" + json.dumps({"product_ids": ["P5001"]}) + "\n")
    with Parts(tmp_path / "trajectories", Trajectory) as parts:
        parts.add(trajectory(3, id="e1", user_id="u9", query="What would be a kettle for two?"))
    found = read_reference((str(tmp_path / "asked.jsonl"), str(tmp_path / "trajectories")))
    assert found.users == {"u9"} and len(found.queries) == 2 and {"P5001", "P130", "P131"} <= found.products
    config = FilterConfig(evaluation=[str(tmp_path / "asked.jsonl")])
    assert FILTERS["contamination"](shop(query=ASKED), config)[0] == "contamination:query"
    assert FILTERS["contamination"](shop(query=ASKED), FilterConfig()) is None


@pytest.mark.parametrize(("line", "said"), [("{}", "neither query"), ('{"query": 5}', "are texts"), ("[", "not JSON"), ('{"product_ids": 3}', "are texts")])
def test_a_reference_that_cannot_be_read_names_file_and_line(tmp_path, line, said):
    (tmp_path / "asked.jsonl").write_text(json.dumps({"query": ASKED}) + "\n" + line + "\n")
    with pytest.raises(UserError, match=rf"distill\.filters\.evaluation: .*asked\.jsonl:2:.*{said}"):
        chain(FilterConfig(evaluation=[str(tmp_path / "asked.jsonl")]))


def test_a_reference_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"distill\.filters\.evaluation: no such file"):
        chain(FilterConfig(evaluation=[str(tmp_path / "nowhere")]))
