"""Tasks and the control, on a small generated world."""

import json
import random
from typing import get_args

import pytest

from actors.expert import research
from prstack.errors import UserError
from prstack.evaluation.controls import no_check
from prstack.evaluation.metrics import measure
from prstack.evaluation.phrasing import HELD_OUT, phrase, state
from prstack.evaluation.tasks import latent_needs, make_tasks
from prstack.scoring.gate import check_rubric
from prstack.settings import WorldConfig
from prstack.store.records import to_row
from prstack.tools.results import parse_search
from prstack.tools.toolbox import Toolbox
from prstack.types import Constraint
from prstack.world.asking import first_query
from prstack.world.holdout import Slice, slice_of
from prstack.world.language import canonical, hear, say
from prstack.world.match import satisfies_all
from prstack.world.world import World, build


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    build(WorldConfig(products=420, users=42, split="evaluation"), folder)
    return World.open(folder)


@pytest.fixture(scope="module")
def tasks(world):
    return make_tasks(world, 30, seed=1)


def key(c):
    return (c.attribute, c.op, c.value, c.unit)


def test_the_query_states_the_latent_need(world, tasks):
    latent = {u.user_id: u for u in latent_needs(world)}
    for task in tasks:
        need = [Constraint("category", "=", task.category), *task.constraints]
        assert task.constraints == latent[task.user_id].constraints
        assert sorted(map(key, hear(task.query))) == sorted(key(canonical(c)) for c in need)


def test_the_truth_is_what_satisfies_and_can_be_bought(world, tasks):
    for task in tasks:
        products = world.by_category(task.category)
        assert task.valid_ids == {p.id for p in products if p.available and satisfies_all(task.constraints, p)} == task.truth.valid_ids
        assert task.valid_ids


def test_a_task_knows_what_training_saw_of_its_need(tasks):
    for task in tasks:
        assert task.slice == slice_of(task.category, [c.attribute for c in task.constraints])
    assert {t.slice for t in tasks} == set(get_args(Slice))


def test_the_rubric_passes_the_gate(world, tasks):
    kinds = {"<=": "numeric_range", ">=": "numeric_range", "=": "attribute_match", "!=": "negative_attribute"}
    for task in tasks:
        assert sum(i.weight for i in task.rubric) == pytest.approx(1)
        assert len({i.id for i in task.rubric}) == len(task.rubric)
        wanted = ["entity_match", *("budget_match" if c.attribute == "price" else kinds[c.op] for c in task.constraints), "comparison", "grounding"]
        assert [i.type for i in task.rubric] == wanted
        assert check_rubric(task.rubric, task.persona, world) == []
        assert task.persona.budget == float(task.budget.value)
    assert {i.negative for t in tasks for i in t.rubric if i.type == "negative_attribute"} == {True}


def test_tasks_are_seeded_and_may_leave_users_out(world, tasks):
    again = make_tasks(world, 30, seed=1)
    assert again == tasks and make_tasks(world, 5, seed=1) == tasks[:5]
    assert make_tasks(world, 30, seed=2) != tasks
    out = {t.user_id for t in tasks[:10]}
    assert not out & {t.user_id for t in make_tasks(world, 30, seed=1, exclude=out)}
    with pytest.raises(UserError, match="give only"):
        make_tasks(world, 43)


def test_worlds_without_latent_needs(tmp_path):
    own = tmp_path / "own.jsonl"
    row = {"user_id": "a", "events": [{"id": "a-e1", "type": "search", "text": "blender"}]}
    own.write_text(json.dumps(row) + "\n", encoding="utf-8")
    build(WorldConfig(products=28, histories=str(own)), tmp_path / "world")
    with pytest.raises(UserError, match="no latent needs"):
        make_tasks(World.open(tmp_path / "world"), 1)


def test_the_words_are_not_those_of_synthesis():
    noise = Constraint("noise level", "<=", "60", "dB")
    usual = {say(noise, random.Random(n)) for n in range(50)}
    held_out = {phrase(noise, random.Random(n)) for n in range(50)}
    assert len(held_out) > 1 and not usual & held_out


@pytest.mark.parametrize(("attribute", "op"), list(HELD_OUT))
def test_every_held_out_phrase_is_heard(attribute, op):
    c = {"category": Constraint("category", op, "Office Chairs"), "price": Constraint("price", op, "249.5", "USD")}.get(attribute)
    c = c or (Constraint("charging time", op, "20", "min") if op in ("<=", ">=") else Constraint("jar material", op, "stainless steel"))
    assert len({phrase(c, random.Random(n)) for n in range(60)}) == len(HELD_OUT[attribute, op])


def test_what_cannot_be_said_is_refused():
    with pytest.raises(ValueError):
        state([Constraint("kind", "=", 'a "quoted", value')], random.Random(0))


def test_the_first_query_is_the_experts(tasks):
    queries = [t.query for t in tasks] + ["Something nice, please.", "I want to buy Blenders. The jar material should be glass. My budget is $99.50."]
    for query in queries:
        view = research.View(query, [c for c in hear(query) if c.attribute != "opinion"])
        assert first_query(query) == research._search(view, 0)


def test_no_check_lists_the_first_hits(world, tasks):
    toolbox = Toolbox(world.folder)
    for task in tasks[:5]:
        t = no_check(toolbox, task)
        hits = parse_search(t.steps[0].tool_result.text)
        m = measure(t, task.truth)
        assert (m.calls, m.call_validity, m.finished, m.opened, m.tokens) == (1, 1.0, 1, 0, 0)
        assert (m.listed, m.e_prod, m.grounding) == (3, 3, 1.0)
        assert m.valid_listed == sum(h.id in task.valid_ids for h in hits[:3])
        assert m.score == t.scores[0] < 0.6  # what is checked on a page stays open
        assert t.engines == {"research": "no_check"} and to_row(t)["id"] == f"no_check-{task.id}"
    assert measure(no_check(toolbox, tasks[0], k=5), tasks[0].truth).listed == 5
    with pytest.raises(ValueError):
        no_check(toolbox, tasks[0], k=0)


def test_no_check_without_hits(world, tasks):
    task = make_tasks(world, 1, seed=1)[0]
    task.query = "I am looking for zzzqqq. My budget is $1."
    m = measure(no_check(Toolbox(world.folder), task), task.truth)
    assert (m.finished, m.listed, m.precision_at_k, m.grounding) == (1, 0, 0, None)
