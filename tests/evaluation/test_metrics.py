"""Every metric against an episode whose numbers can be worked out by hand."""

import pytest

from prstack.evaluation.metrics import Truth, measure
from prstack.types import Usage
from tests.factories import Script, product_page, search_text

SHOP = [("P1", "Aurel Mira 1 Blender", 80.0, 55), ("P2", "Bonvar Mira 2 Blender", 90.0, 70), ("P3", "Corima Mira 3 Blender", 100.0, 58), ("P4", "Dellan Mira 4 Blender", 70.0, 75), ("P5", "Estiva Mira 5 Blender", 75.0, 50)]
PAGES = {id: product_page(id, title, price, noise) for id, title, price, noise in SHOP}
TRUTH = Truth(frozenset({"P1", "P3", "P5", "P8"}))


def searched() -> Script:
    return Script().plan("Needs").call("product_search", {"query": "blender"}, search_text("blender", [(i, t, p) for i, t, p, _ in SHOP]))


def opened(*ids: str, thoughts: tuple[str, ...] = ()) -> Script:
    """A search, then the pages of some products; `thoughts` are the reasoning of the turn that opens each."""
    script = searched()
    for n, id in enumerate(ids):
        script.call("visit_product", {"product_id": id}, PAGES[id], thoughts[n] if n < len(thoughts) else "")
    return script


def test_an_episode_by_hand():
    script = opened("P1", "P2", "P3", "P4", "P1").call("product_search", "{", "error: not JSON", error="invalid_json").talk("I could search now.")
    script.report("1. [P1] Aurel — $80.00\n- noise level: 55 dB\n2. [P2] Bonvar — $95.00\n- warranty: 5 years\n3. [P99] Ghost\n4. [P3] Corima")
    m = measure(script.trajectory("t"), TRUTH)
    assert (m.calls, m.valid_calls, m.call_validity) == (8, 6, 6 / 8)  # 7 calls, one failed, and a turn without one
    assert m.finished == 1
    # category and budget unaddressed, since P99 was invented; noise violated by P2, grounding by its price
    assert m.score == m.score_given_valid == 0
    assert m.e_prod == 3  # P99 was invented
    assert m.grounding == 2 / 4  # two prices, one of them wrong; noise right; warranty unknown
    assert (m.listed, m.valid_listed, m.invalid_listed, m.valid_minus_invalid) == (4, 2, 2, 0)
    assert (m.precision, m.precision_at_k) == (2 / 4, 1 / 3)
    assert (m.opened, m.opened_valid, m.opened_valid_share) == (4, 2, 0.5)
    assert (m.accepted_valid, m.judged_valid, m.accept_accuracy) == (2, 2, 1.0)
    assert (m.refused_invalid, m.judged_invalid, m.refuse_accuracy) == (1, 2, 0.5)  # P2 was pitched, P4 was not
    assert m.tokens == 300
    assert m.verdict_accept_accuracy is m.verdict_refuse_accuracy is None


def test_a_short_list_misses_places_at_a_fixed_length():
    m = measure(opened("P1").report("1. [P1] Aurel").trajectory("t"), TRUTH)
    assert (m.precision, m.precision_at_k) == (1.0, 1 / 3)
    assert m.score == m.score_given_valid == pytest.approx(0.8)  # all but grounding, as it claims nothing
    assert measure(opened("P1").report("1. [P1] Aurel").trajectory("t"), TRUTH, list_length=1).precision_at_k == 1.0
    with pytest.raises(ValueError, match="list_length"):
        measure(opened("P1").trajectory("t"), TRUTH, list_length=0)


def test_a_mention_again_is_no_second_product():
    m = measure(opened("P1").report("1. [P1] Aurel\n2. [P1] Aurel again").trajectory("t"), TRUTH)
    assert (m.listed, m.e_prod, m.precision) == (1, 1, 1.0)


def test_no_report():
    m = measure(opened("P1", "P2").trajectory("t", termination="max_tokens"), TRUTH)
    assert (m.finished, m.score, m.score_given_valid) == (0, 0, None)
    assert (m.e_prod, m.listed, m.precision, m.precision_at_k, m.grounding) == (0, 0, 0, 0, None)
    assert (m.opened, m.judged_valid, m.accept_accuracy, m.refuse_accuracy) == (2, 0, None, None)
    assert m.call_validity == 1.0


def test_no_calls_and_invented_ids():
    m = measure(Script().plan("Needs").report("1. [P1] Aurel — $80.00\n2. [P404] Ghost").trajectory("t", usage=[Usage("user", 1, 1)]), TRUTH)
    assert (m.calls, m.call_validity, m.finished, m.score_given_valid) == (0, None, 1, None)
    assert (m.listed, m.valid_minus_invalid, m.e_prod) == (2, 0, 0)  # P1 is valid, but was not found
    assert m.grounding == 0.0 and m.opened_valid_share is None and m.tokens is None


def test_malformed_turns_alone_are_invalid_calls():
    m = measure(Script().talk("<tool_call>").talk("<tool_call>").trajectory("t"), TRUTH)
    assert (m.calls, m.call_validity) == (2, 0.0)


@pytest.mark.parametrize(("text", "finished"), [("<report>\nNothing.\n</report>", 1), ("Nothing.", 0), ("<report>\nNothing.", 0), ("<report>\n\n</report>", 0)])
def test_a_report_counts_as_finished_in_its_tags(text, finished):
    assert measure(opened("P1").trajectory("t", reports=[text]), TRUTH).finished == finished


def test_the_last_report_counts():
    m = measure(opened("P1").report("1. [P2] Bonvar", wrong=("visited", "not opened")).report("1. [P1] Aurel").trajectory("t"), TRUTH)
    assert (m.listed, m.valid_listed) == (1, 1)


def test_verdicts_are_counted_against_the_truth():
    thoughts = ("5 hits. I open P1.", "P1: noise level 55 dB fits. I keep it. Next I check P2.", "P2: noise level 70 dB fits. I keep it.", "P3: noise level 58 dB does not fit. I drop it.")
    script = opened("P1", "P2", "P3", "P4", thoughts=thoughts).report("1. [P1] Aurel", "P4: noise level 75 dB does not fit. I drop it. I drop P77. I report.")
    m = measure(script.trajectory("t"), TRUTH)
    assert (m.spoken_valid, m.spoken_valid_kept, m.verdict_accept_accuracy) == (2, 1, 0.5)
    assert (m.spoken_invalid, m.spoken_invalid_dropped, m.verdict_refuse_accuracy) == (2, 1, 0.5)  # P77 was never seen
