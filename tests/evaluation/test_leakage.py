"""What training and evaluation have in common: neither needs that are held out, nor products, nor wording."""

import random

import pytest

from actors.expert.user import OPENINGS as USUAL_OPENINGS
from prstack.evaluation.phrasing import OPENINGS
from prstack.evaluation.tasks import latent_needs, make_tasks
from prstack.settings import EvaluationConfig, WorldConfig
from prstack.types import Constraint
from prstack.world.holdout import held_out
from prstack.world.language import say
from prstack.world.world import World, build


@pytest.fixture(scope="module", params=["easy", "medium", "hard"])
def difficulty(request):
    return request.param


@pytest.fixture(scope="module")
def training(difficulty, tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    build(WorldConfig(products=420, users=60, difficulty=difficulty), folder)
    return World.open(folder)


@pytest.fixture(scope="module")
def evaluation(difficulty, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    build(WorldConfig(products=420, users=60, seed=EvaluationConfig().world_seed, split="evaluation", difficulty=difficulty), folder)
    return World.open(folder)


def needs(world):
    return [(u.category, frozenset(c.attribute for c in u.constraints)) for u in latent_needs(world)]


def test_no_held_out_need_is_trained_on(training, evaluation):
    assert not any(held_out(*need) for need in needs(training))
    of_evaluation = {need for need in needs(evaluation) if held_out(*need)}
    assert of_evaluation and not of_evaluation & set(needs(training))


def test_no_text_is_in_both(training, evaluation, difficulty):
    """In deep worlds; easy ones have few sentences."""
    if difficulty == "easy":
        pytest.skip("its descriptions are of few words")
    both = {p.description for p in training.products()} & {p.description for p in evaluation.products()}
    both |= {r.text for r in training.reviews() if len(r.text) > 60} & {r.text for r in evaluation.reviews()}
    assert len(both) <= 2, both


def test_no_product_is_in_both(training, evaluation):
    """Ids are numbers, so both worlds have the same ones; a title may come twice by chance, an id with its title hardly."""

    def of(world, key):
        return {key(p) for p in world.products()}

    assert len(of(training, lambda p: (p.id, p.title)) & of(evaluation, lambda p: (p.id, p.title))) <= 2
    assert len(of(training, lambda p: p.title) & of(evaluation, lambda p: p.title)) < 0.1 * 420
    whole = lambda p: (p.title, p.price, *(a.value for a in p.attributes))  # noqa: E731
    assert not of(training, whole) & of(evaluation, whole)


def test_no_sentence_is_worded_as_in_training(evaluation):
    """Every sentence of a task's query against all that the usual wording makes of the same need."""
    assert not set(OPENINGS) & set(USUAL_OPENINGS)
    for task in make_tasks(evaluation, 40):
        said = task.query.casefold()
        for c in (Constraint("category", "=", task.category), *task.constraints):
            usual = {say(c, random.Random(n)).rstrip(".").casefold() for n in range(40)}
            assert not any(f" {phrase}." in said for phrase in usual), (task.query, c)
