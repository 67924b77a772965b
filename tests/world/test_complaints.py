import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prstack.store.records import read_records
from prstack.types import Constraint
from prstack.world.complaints import BUDGET, KIND, NUMERIC
from prstack.world.language import (
    canonical,
    complain,
    hear,
    hear_complaint,
    hear_opinions,
    opinion,
    opinion_of,
)
from prstack.world.material import Latent
from prstack.world.opinions import OPINIONS
from prstack.world.units import parse_attribute
from prstack.world.world import World

BLENDER = [parse_attribute("noise level", "68 dB"), parse_attribute("capacity", "1.5 l"), parse_attribute("jar material", "plastic")]


def test_the_limit_follows_from_what_happened():
    text = "At 68 dB it woke the baby every morning, a good 8 dB over what we can live with."
    assert hear_complaint(text) == [Constraint("noise level", "<=", "60", "dB")]


@pytest.mark.parametrize(
    "c",
    [
        Constraint("noise level", "<=", "60", "dB"),
        Constraint("noise level", "<=", "75", "dB"),
        Constraint("capacity", ">=", "2", "l"),
        Constraint("capacity", ">=", "1.1", "l"),
        Constraint("jar material", "=", "stainless steel"),
        Constraint("jar material", "=", "plastic"),
        Constraint("jar material", "!=", "plastic"),
        Constraint("jar material", "!=", "glass"),
        Constraint("price", "<=", "90", "USD"),
        Constraint("price", "<=", "150.5", "USD"),
    ],
)
def test_every_form_gives_the_constraint_back_without_stating_it(c):
    forms = {complain(BLENDER, c, random.Random(n), price=120.0) for n in range(80)}
    assert len(forms) >= 3
    for text in forms:
        assert hear_complaint(f"Customer: {text}. Agent: Thank you.") == [canonical(c)], text
        assert canonical(c) not in hear(text), text


def test_every_form_is_used():
    assert all(len(t) >= 3 for book in (NUMERIC, KIND, BUDGET) for t in book.values())


def test_nothing_to_complain_of():
    rng = random.Random(0)
    assert complain(BLENDER, Constraint("noise level", "<=", "68", "dB"), rng) is None
    assert complain(BLENDER, Constraint("warranty", ">=", "2", "years"), rng) is None
    assert complain(BLENDER, Constraint("price", "<=", "90", "USD"), rng) is None


def test_several_complaints_in_one_text():
    text = "The noise level is 68 dB, and that is 8 dB too much for us. I paid $120.00, which is $30.00 more than I should ever spend on one."
    assert hear_complaint(text) == [Constraint("noise level", "<=", "60", "dB"), Constraint("price", "<=", "90", "USD")]


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_hearing_never_raises(text):
    hear_complaint(text), hear_opinions(text)


def test_opinions_both_ways():
    for attribute in [*OPINIONS, "zipper", "skin tone"]:
        for good in (True, False):
            for n in range(8):
                text = opinion(attribute, good, random.Random(n))
                assert [(a, g) for a, _, g in hear_opinions(text)] == [(attribute, good)], text


def test_a_word_means_one_attribute():
    words = [w for pair in OPINIONS.values() for group in pair for w in group]
    assert len(words) == len(set(words))
    assert opinion_of("Quiet") == ("noise level", True)
    assert opinion_of("chartreuse") is None


def test_negated_opinions_turn_round():
    assert hear_opinions("It is not exactly quiet.") == [("noise level", "quiet", False)]
    assert hear_opinions("Never loud") == [("noise level", "loud", True)]


def test_histories_show_what_users_need(generated):
    world = World.open(generated[0])
    truth = {t.user_id: t for t in read_records(generated[0] / "truth" / "users", Latent, pytest.fail, "truth")}
    needed = found = 0
    for history in world.histories():
        need = truth[history.user_id]
        heard = [c for e in history.events for c in hear_complaint(e.text)]
        stated = [c for e in history.events for c in hear(e.text)]
        needed += len(need.constraints)
        found += sum(canonical(c) in heard for c in need.constraints)
        assert not [c for c in need.constraints if c in stated], "a need is stated verbatim"
    assert found / needed > 0.98
