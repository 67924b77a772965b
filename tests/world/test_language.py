import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prstack.types import Constraint, Product
from prstack.world.generated.catalogue import CATEGORIES
from prstack.world.language import SAID, canonical, hear, join, say, sayable, utterable
from prstack.world.units import number_text
from prstack.world.world import World


def constraints_of(product: Product, rng: random.Random) -> list[Constraint]:
    """Random constraints of every kind on a product's attributes, at most one an attribute."""
    out = []
    for a in product.attributes:
        if a.number is not None and rng.random() < 0.7:
            out.append(Constraint(a.name, rng.choice(("<=", ">=")), number_text(a.number), a.unit))
        else:
            out.append(Constraint(a.name, rng.choice(("=", "!=")), a.value))
    if product.price is not None:
        out.append(Constraint("price", rng.choice(("<=", "<=", ">=")), number_text(product.price), product.currency))
    out.append(Constraint("category", "=", product.category))
    out.append(Constraint("opinion", rng.choice(("=", "!=")), rng.choice(("quiet", "lightweight", "easy to assemble"))))
    rng.shuffle(out)
    return [c for c in out if utterable(c)][: rng.randint(1, 6)]


def assert_survives(products: list[Product], rounds: int) -> None:
    for n in range(rounds):
        rng = random.Random(n)
        wanted = constraints_of(rng.choice(products), rng)
        text = join([say(c, rng) for c in wanted], rng)
        assert hear(text) == [canonical(c) for c in wanted], text


def test_generated_constraints_survive(world):
    assert_survives(list(world.products()), 400)


def test_tau_retail_constraints_survive(tau):
    products = list(World.open(tau[0]).products())
    assert all(sayable(a.value, a.name) for p in products for a in p.attributes)
    assert_survives(products, 400)


def test_shoppingbench_constraints_survive(shoppingbench):
    products = list(World.open(shoppingbench[0]).products())
    values = [(a.name, a.value) for p in products for a in p.attributes]
    assert sum(sayable(v, n) for n, v in values) > 0.9 * len(values)
    assert all(utterable(Constraint("category", "=", p.category)) for p in products)
    assert_survives(products, 400)


@given(
    st.lists(st.sampled_from(["noise level", "field of view", "skin tone", "bagged/bagless", "RAM", "size", "jar material"]), min_size=1, max_size=4, unique=True),
    st.integers(0, 2**32),
    st.lists(st.one_of(st.text(min_size=1, max_size=40), st.sampled_from(["1000ml", "13-inch", "crew neck", "no", "none", "not resistant", "Wi-Fi + Cellular", "5-25 lbs"])), min_size=4, max_size=4),
)
@settings(max_examples=150, deadline=None)
def test_what_is_utterable_survives_and_the_rest_is_refused(names, seed, values):
    rng = random.Random(seed)
    wanted = [c for n, v in zip(names, values) if utterable(c := Constraint(n, rng.choice(("=", "!=")), v))]
    assert hear(join([say(c, rng) for c in wanted], rng)) == [canonical(c) for c in wanted]
    for name, value in zip(names, values):
        if not utterable(Constraint(name, "=", value)):
            with pytest.raises(ValueError):
                say(Constraint(name, "=", value), rng)


@pytest.mark.parametrize("value", ["red, blue", "salt and pepper", 'a "special"', "x; y", "x" * 41, "", " padded", "end.", "two\nlines", "at most 5"])
def test_values_that_would_be_misheard_are_not_sayable(value):
    assert not sayable(value)


@pytest.mark.parametrize("value", ["1000ml", "13-inch", "stainless steel", "crew neck", "1.5L", "75W equivalent", "Wi-Fi + Cellular", "not resistant", "no", "5-25 lbs", "100% cotton"])
def test_values_of_real_catalogues_are_sayable(value):
    assert sayable(value, "water resistance")


def test_every_kind_of_phrase_has_three_forms():
    assert all(len(set(templates)) >= 3 for templates in SAID.values())
    c = Constraint("noise level", "<=", "60", "dB")
    assert len({say(c, random.Random(n)) for n in range(60)}) >= 3


def test_every_generated_attribute_can_be_said():
    for category in CATEGORIES:
        assert utterable(Constraint("category", "=", category.name))
        for spec in category.numeric:
            assert utterable(Constraint(spec.name, "<=", number_text(spec.low), spec.unit)), spec.name
        for kind in category.kinds:
            assert all(sayable(v, kind.name) for v in kind.values), kind.name


def test_free_wording_is_heard():
    heard = hear("I'm looking for a quiet blender for under $90, with noise level under 60 dB and a jar material other than plastic.")
    assert heard[:4] == [
        Constraint("opinion", "=", "quiet"),
        Constraint("category", "=", "blender"),
        Constraint("price", "<=", "90", "USD"),
        Constraint("noise level", "<=", "60", "dB"),
    ]
    assert hear("Nothing in particular. Thanks!") == []


@given(st.text(max_size=400))
@settings(max_examples=200, deadline=None)
def test_hear_never_raises(text):
    hear(text)


@pytest.mark.timeout(120)  # with a pattern that backtracks it would not end
def test_hear_ends_on_hostile_text():
    for text in ("the " * 5000, "the a should be at most " * 800, '"' * 20_000, "a" * 20_000, "of a of a " * 2000, "\x000\x00 I am looking for \x001\x00"):
        hear(text)
