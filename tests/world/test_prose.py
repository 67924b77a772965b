"""Templates, and that reviews say of attributes what they are meant to say."""

import random
import re

import pytest

from prstack.types import Attribute
from prstack.world.generated.catalogue import CATEGORIES
from prstack.world.generated.prose import listings, noise, owners
from prstack.world.generated.prose.goods import GOODS
from prstack.world.generated.prose.grammar import expand, tidy, ways
from prstack.world.generated.stock import product
from prstack.world.opinions import hear_opinions
from prstack.world.statements import OWNER, SELLER, TESTER, state, stated


def test_templates_expand():
    rng = random.Random(0)
    assert {expand("[a|b [c|{d}]|]x", rng, {"d": ("1", "2")}) for _ in range(200)} == {"Ax", "B cx", "B 1x", "B 2x", "X"}
    assert ways("[a|b [c|{d}]|]x") == 4 and ways("plain") == 1
    with pytest.raises(KeyError):
        expand("{missing}", rng, {})
    for broken in ("[a|b", "a]b", "[a|[b]"):
        with pytest.raises(ValueError, match="bracket"):
            expand(broken, rng, {})


def test_sentences_are_tidied():
    assert tidy("A old stove. it is a one-off, a used USB-A in use") == "An old stove. It is a one-off, a used USB-A in use"


def test_reviews_hold_what_is_meant_and_nothing_else():
    rng = random.Random(1)
    for n in range(4000):
        category = CATEGORIES[n % len(CATEGORIES)]
        opinions = [(s.name, rng.random() < 0.5) for s in rng.sample(category.numeric, n % 3)]
        spec = rng.choice(category.numeric)
        value = Attribute(spec.name, f"{spec.high} {spec.unit}", float(spec.high), spec.unit)
        statements = [state(value, rng)] if n % 4 == 0 else []
        text = owners.review(category, opinions, statements, rng)
        assert sorted((a, good) for a, _, good in hear_opinions(text)) == sorted(opinions), text
        assert list(stated(text)) == [value] * len(statements), text
        assert len(text) <= 260


def test_every_template_can_be_filled():
    rng, seen = random.Random(2), set()
    for n in range(3000):
        category = CATEGORIES[n % len(CATEGORIES)]
        p = product(0, n, category, ["Aurel", "Brisko"])
        sentences = listings.describe(0, category, p, "sand", rng)
        seen.update(re.sub(r"\W", "", s)[:12] for s in sentences)
        text = " ".join(sentences)
        assert not re.search(r"[{}\[\]|]|  | ,|\.\.", text), text
    assert len(seen) > 1500 and set(GOODS) == {c.name for c in CATEGORIES}


def test_descriptions_say_nothing_of_typed_attributes():
    rng = random.Random(3)
    for n in range(1500):
        category = CATEGORIES[n % len(CATEGORIES)]
        text = " ".join(listings.describe(0, category, product(0, n, category, ["Aurel"]), "sand", rng))
        assert not stated(text), text
        for spec in category.numeric:
            assert not re.search(rf"\d ?{re.escape(spec.unit)}\b", text), text


@pytest.mark.parametrize("templates", [OWNER, TESTER, SELLER])
def test_statements_are_read_again(templates):
    rng = random.Random(4)
    for c in CATEGORIES:
        for spec in c.numeric:
            a = Attribute(spec.name, f"{spec.low + spec.step:g} {spec.unit}", round(spec.low + spec.step, 6), spec.unit)
            for _ in range(6):
                assert stated(f"It came on Monday. {state(a, rng, templates)} All in all, fine.") == (a,)
        for kind in c.kinds:
            for value in kind.values:
                assert stated(state(Attribute(kind.name, value), rng, templates)) == (Attribute(kind.name, value),)


@pytest.mark.parametrize("text", ["The battery life is amazing.", "The warranty is 5 kg.", "The jar material is love.", "The zipper is 5 cm.", "", "I measured the noise level myself"])
def test_other_sentences_state_nothing(text):
    assert stated(text) == ()


def test_noise_keeps_the_name_and_most_of_the_words():
    rng = random.Random(5)
    title = noise.stuffed("Aurel Mira 3 Blender", CATEGORIES[0], rng)
    assert title.startswith("Aurel Mira 3 Blender - ") and len(title) < 140
    sentence = "Its handle leaves room for four fingers and the spout pours without haste into any pot"
    slips = [sum(a != b for a, b in zip(sentence.split(), noise.with_slips(sentence, rng).split(), strict=True)) for _ in range(300)]
    assert 0 < sum(slips) < 300 * 4
