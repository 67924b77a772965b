"""The gate lets through what is anchored, satisfiable and leak-free, and says what is wrong with the rest."""

import pytest

from prstack.scoring import gate
from prstack.scoring.gate import Task, check_persona, check_query, check_rubric, repair, scaled
from prstack.settings import WorldConfig
from prstack.types import Event, History, Need, Persona, RubricItem
from prstack.world.world import World, build


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate") / "w"
    build(WorldConfig(products=300, users=10), folder)
    return World.open(folder)


@pytest.fixture
def product(world):
    category = world.categories()[0]
    return next(p for p in world.by_category(category) if p.available)


def items_for(product):
    number = next(a for a in product.attributes if a.number is not None)
    word = next(a for a in product.attributes if a.number is None)
    return [
        RubricItem("r1", "entity_match", "kind", 1, "instruction_following", "search", op="=", value=product.category),
        RubricItem("r2", "numeric_range", "number", 1, "instruction_following", "product_page", attribute=number.name, op="<=", value=str(number.number), unit=number.unit),
        RubricItem("r3", "attribute_match", "word", 1, "instruction_following", "product_page", attribute=word.name, op="=", value=word.value),
        RubricItem("r4", "budget_match", "budget", 1, "instruction_following", "search", op="<=", value=str(product.price)),
    ]


def persona(product, evidence=("e1",)):
    return Persona("p", product.category, [Need("quiet", list(evidence))])


HISTORY = History("u", [Event("e1", "purchase", title="Some old thing")])


def test_a_sound_task_passes(world, product):
    p = persona(product)
    rubric = scaled(items_for(product))
    assert check_persona(p, HISTORY, world) == check_query("I need a new one that is quiet", p, HISTORY, world) == check_rubric(rubric, p, world) == []
    assert sum(i.weight for i in rubric) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("evidence", "category", "words"), [((), None, "names no event"), (("e9",), None, "names no event"), (("e1",), "Spaceships", "no category")])
def test_unanchored_personas(world, product, evidence, category, words):
    p = persona(product, evidence)
    p.category = category or p.category
    assert words in check_persona(p, HISTORY, world)[0].text


def test_queries_that_leak_or_say_nothing(world, product):
    p = persona(product)
    assert "gives a product away" in check_query(f"I would love to own the {product.title.upper()} now", p, HISTORY, world)[0].text
    assert "gives a product away" in check_query("I want some old thing again and again", p, HISTORY, world)[0].text
    assert "too little" in check_query("a kettle", p, HISTORY, world)[0].text


def test_unsatisfiable_rubrics_name_the_item_and_are_repaired(world, product):
    rubric = items_for(product)
    rubric[1].value = "-1000"
    rubric.append(RubricItem("r5", "attribute_match", "nonsense", 1, "depth", "product_page", attribute="phase of the moon", op="=", value="new"))
    problems = {p.item: p.text for p in check_rubric(rubric, persona(product), world)}
    assert "no product of the category satisfies it" in problems["r2"] and "nothing in the category" in problems["r5"]
    task = Task(persona(product), "", rubric)
    sound, dropped = repair(task, world)
    assert sound and len(dropped) == 2 and [i.id for i in task.rubric] == ["r1", "r3", "r4"]
    assert sum(i.weight for i in task.rubric) == pytest.approx(1)


def test_items_that_only_clash_together_are_found(world, product):
    cheapest = min((p for p in world.by_category(product.category) if p.available), key=lambda p: p.price)
    rubric = items_for(product)
    other = next(i for i in items_for(cheapest) if i.type == "budget_match")
    rubric[3] = other
    clash = [p for p in check_rubric(rubric, persona(product), world) if "together" in p.text]
    assert bool(clash) == (cheapest.id != product.id and not all(gate.satisfies(gate.constraint_of(i), cheapest) for i in rubric))


def test_a_rubric_without_enough_sound_items_is_not_repaired(world, product):
    task = Task(persona(product), "", items_for(product)[:1])
    assert repair(task, world)[0] is False


def test_weights_must_be_positive(world, product):
    rubric = items_for(product)
    rubric[0].weight = 0
    assert any("not positive" in p.text for p in check_rubric(rubric, persona(product), world))
