"""What tasks are worth: measured on a world of the default size, and leaks and predictors that are planted."""

import dataclasses

import pytest

from prstack.evaluation.controls import no_check
from prstack.evaluation.tasks import make_tasks
from prstack.evaluation.worth import Search, line_aucs, solvability
from prstack.settings import EvaluationConfig, WorldConfig
from prstack.tools.results import Hit, parse_search
from prstack.tools.toolbox import Toolbox
from prstack.types import Constraint
from prstack.world.search import SearchIndex
from prstack.world.world import World, build

CONFIG = EvaluationConfig()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worth")
    build(WorldConfig(users=200, seed=CONFIG.world_seed, valid_share=CONFIG.valid_share, split="evaluation"), folder)
    return World.open(folder)


@pytest.fixture(scope="module")
def tasks(world):
    return make_tasks(world, 120)


@pytest.fixture(scope="module")
def worth(world, tasks):
    return solvability(world, tasks)


def test_a_third_of_the_first_hits_is_valid(worth, tasks):
    assert worth["tasks"] == len(tasks)
    assert 0.30 <= worth["natural_valid_share"] <= 0.40 and 0.30 <= worth["first_query_valid_share"] <= 0.40
    assert worth["valid_products"] == sum(len(t.valid_ids) for t in tasks) / len(tasks) and worth["least_valid_products"] >= 1


def test_no_search_gives_a_need_away(worth):
    assert worth["leak"] == 0.0


def test_no_field_of_a_search_line_tells_the_valid_hits(worth):
    fields = {k: v for k, v in worth.items() if k.startswith("auc_")}
    assert fields.keys() == {"auc_position", "auc_price", "auc_rating", "auc_reviews", "auc_brand"}
    assert worth["best_line_auc"] == max(fields.values())
    assert 0.5 <= worth["best_line_auc"] <= 0.67 and worth["auc_position"] < 0.56


def test_every_slice_is_as_hard(world, tasks):
    for name in ("unseen category", "unseen combination", "seen combination"):
        of = [t for t in tasks if t.slice == name][:20]
        assert len(of) == 20 and 0.25 < solvability(world, of)["natural_valid_share"] < 0.42, name


def test_there_must_be_tasks(world):
    with pytest.raises(ValueError):
        solvability(world, [])


# --- planted ---------------------------------------------------------------------------------------------------
def test_a_value_on_a_search_line_is_a_leak(world, tasks):
    """The brand stands in the titles: a need for one is decided by a search line."""
    task = tasks[0]
    hit = parse_search(no_check(Toolbox(world.folder), task).steps[0].tool_result.text)[0]
    needy = dataclasses.replace(task, constraints=[*task.constraints, Constraint("brand", "=", world.get(hit.id).brand)])
    assert solvability(world, [needy])["leak"] == pytest.approx(1 / (len(needy.constraints) - 1))


@pytest.mark.parametrize(
    ("snippet", "leak"),
    [
        ("{title} ({id}): we measured {measured} for the {name}.", True),
        ("I have the {title}. Its {name} is {listed}.", True),
        ("{id} has {listed}.", True),
        ("We measured {measured} for the {name}.", False),
        ("{title} ({id}) is on our bench.", False),
        ("{title} ({id}): 3 friends like its {name}.", False),
    ],
)
def test_a_snippet_that_names_product_and_value_is_a_leak(world, tasks, monkeypatch, snippet, leak):
    task = next(t for t in tasks if t.constraints[0].op in ("<=", ">="))
    product = world.by_category(task.category)[0]
    own = product.attribute(task.constraints[0].attribute)
    text = snippet.format(title=product.title, id=product.id, name=own.name, listed=own.value, measured=f"{own.number * 3:g} {own.unit}")
    monkeypatch.setattr(SearchIndex, "snippet", lambda self, query, page: text)
    single = dataclasses.replace(task, constraints=[task.constraints[0]])
    assert solvability(world, [single])["leak"] == float(leak)


def hits(*rows: tuple[str, float, float | None]) -> list[Hit]:
    return [Hit(f"P{n}", title, "Tents", price, rating) for n, (title, price, rating) in enumerate(rows)]


def test_areas_by_hand(tasks):
    one = dataclasses.replace(tasks[0], id="a", category="Tents", valid_ids=frozenset({"P0", "P1"}))
    two = dataclasses.replace(one, id="b")
    shown = hits(("Aurel 1", 50, 4.0), ("Brisko 1", 60, None), ("Corvane 1", 70, 4.0), ("Brisko 2", 80, 3.0))
    found = line_aucs([Search(one, shown, []), Search(two, shown, [])])
    assert found["position"] == found["price"] == 1.0  # downwards
    assert found["rating"] == pytest.approx((0.5 + 1 + 0.5 + 0.5) / 4)  # a tie, a better one, two that are missing
    assert found["reviews"] == 0.5
    assert found["brand"] == pytest.approx((1 + 1 + 1 + 0.5) / 4)  # Aurel 1, Corvane 0, Brisko ½ in the other task
    assert line_aucs([Search(one, shown[:2], [])]) == dict.fromkeys(found, 0.5)
