"""Verdicts in the reasoning: wordings, what "it" means, and the last word on a product."""

import pytest

from prstack.scoring.verdicts import spoken_verdicts
from prstack.types import Step
from tests.factories import Script, product_page


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        ("P0001: noise level 58 dB fits, price 40 fits. I keep it.", [("P0001", True)]),
        ("P0001: noise level 78 dB does not fit. It is out of stock. I drop it. I open P0002.", [("P0001", False)]),
        ("Unlike P1, P2 fits. So I'll keep it.", [("P2", True)]),
        ("I keep [P1], P2 and P3. I reject **P4**.", [("P1", True), ("P2", True), ("P3", True), ("P4", False)]),
        ("P1 is too loud, I rule it out. P2 is rejected. P3 is out.", [("P1", False), ("P2", False), ("P3", False)]),
        ("P1 is kept. P2 is not accepted. P3 is out of stock.", [("P1", True), ("P2", False)]),
        ("P1: I do not recommend it. P2: I can't drop it. P3: I don't think I should keep it? I won't keep it.", [("P1", False), ("P2", True), ("P3", False)]),
        ("P1: 58 dB. Verdict: keep.\nP2: 80 dB. Decision → drop", [("P1", True), ("P2", False)]),
        ("P1303: price $80.50 (at most $150) fits; cushioning 21 mm (at least 27 mm) does not fit; heel drop 7 mm (at most 7 mm) fits. I drop it. I open P1305.", [("P1303", False)]),
        ("P7: the closure zip (must not be roll top) fits; price 99 (at most $99.50) fits. I keep it.", [("P7", True)]),
        ("P7: fabric nylon (has to be canvas) does not fit; warranty (at least 2 years) does not say. It is out of stock. I drop it.", [("P7", False)]),
        ("P1 fits. I keep it. On second thought I drop P1.", [("P1", False)]),
        ("It is too loud, so I drop it.", []),
        ("P1 fits so far; I keep looking. I skip the guides. Its page does not drop hints.", []),
        ("", []),
    ],
)
def test_spoken_verdicts(reasoning, expected):
    assert spoken_verdicts([Step("research", "toolcall", 0, reasoning)]) == expected


def test_it_is_the_page_opened_before():
    pages = [("P1", "Aurel Mira 1 Blender", ""), ("P2", "Bonvar Mira 2 Blender", "Too dear, I discard it.")]
    script = Script().plan("Needs")
    for id, title, thought in pages:
        script.call("visit_product", {"product_id": id}, product_page(id, title, 80.0, 55), thought)
    more = [Step("research", "toolcall", 0, "This one is quiet. I accept it."), Step("supervisor", "toolcall", 0, "P5: I keep it.")]
    assert spoken_verdicts([*script.steps, *more]) == [("P1", False), ("P2", True)]


def test_of_several_pages_opened_in_one_turn_it_means_none():
    script = Script().plan("Needs")
    for n, joined in enumerate([False, True, True], 1):
        script.call("visit_product", {"product_id": f"P{n}"}, product_page(f"P{n}", f"Aurel Mira {n} Blender", 80.0, 55))
        script.steps[-2].joined = joined
    after = [Step("research", "toolcall", 0, "I keep it. I drop P3.")]
    assert spoken_verdicts([*script.steps, *after]) == [("P3", False)]
    assert spoken_verdicts([*script.steps[:4], *after]) == [("P1", True), ("P3", False)]
