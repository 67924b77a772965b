"""The wording of world text is nobody else's, and exercises translate it to what is heard."""

from __future__ import annotations

import random
import re

import pytest

from prstack.evaluation.phrasing import HELD_OUT
from prstack.evaluation.phrasing import OPENINGS as HELD_OUT_OPENINGS
from prstack.pretrain.wording import OPENINGS, WORDINGS, plain, request, word
from prstack.types import Constraint
from prstack.world.language import SAID, hear


def shape(template: str) -> str:
    """A template without articles and case; an amount and a value are the same slot."""
    text = re.sub(r"\{[nmvc]\}", "_", template.lower())
    return re.sub(r"\s+", " ", re.sub(r"\b(an?|the)\b", "", text)).strip(" ?.")


@pytest.mark.parametrize("book", [SAID, HELD_OUT], ids=["synthesis", "evaluation"])
def test_no_template_is_one_of_synthesis_or_evaluation(book):
    theirs = {shape(t) for templates in book.values() for t in templates}
    ours = {shape(t) for templates in WORDINGS.values() for t in templates}
    assert not ours & theirs


def test_openings_are_not_those_of_evaluation():
    assert not {o for o in OPENINGS if o} & set(HELD_OUT_OPENINGS)


@pytest.mark.parametrize("key", list(WORDINGS), ids=str)
def test_every_template_says_its_value(key):
    attribute, op = key
    c = Constraint(attribute or "noise level", op, "57" if op in ("<=", ">=") else "glass", {"price": "USD", "category": ""}.get(attribute, "dB" if op in ("<=", ">=") else ""))
    said = {word(c, random.Random(n)) for n in range(200)}
    assert len(said) == len(WORDINGS[key])
    assert all(c.value in text and "{" not in text for text in said)


def test_the_short_form_is_heard():
    for c in (Constraint("noise level", "<=", "57", "dB"), Constraint("capacity", ">=", "1.5", "l"), Constraint("price", "<=", "150", "USD")):
        assert hear(plain(c)) == [c]


def test_a_request_holds_every_need():
    needs = [Constraint("category", "=", "Lamps"), Constraint("reach", ">=", "44", "cm"), Constraint("price", "<=", "85", "USD")]
    for n in range(20):
        text = request(needs, random.Random(n))
        assert "Lamps" in text and text.index("44 cm") < text.index("$85")
