"""A page with a goal: the pieces that fit, in their order, and nothing made up."""

from hypothesis import given, settings
from hypothesis import strategies as st

from prstack.tools import results
from prstack.tools.extract_goal import GAP, LINE, extract
from prstack.types import Page

BENCH = """We measured eight blenders on our own bench.
Ulvano Quill (P1043). We measured 65 dB for the noise level.
Mordane Vento (P1127). We measured 82 dB for the noise level.

Vandrel Junto (P5145). We measured 0.7 l for the capacity.
Deviations of a few per cent are within the accuracy of the bench."""
PARAGRAPH = " ".join(["A tent needs air.", *(f"Sentence {n} is about pegs, poles and ropes." for n in range(12)), "How heavy was it? It weighed 3.5 kg!", "The end."])


def test_the_best_pieces_in_the_pages_order():
    assert extract(BENCH, "noise levels", 800) == f"{GAP} Ulvano Quill (P1043). We measured 65 dB for the noise level.\nMordane Vento (P1127). We measured 82 dB for the noise level. {GAP}"
    assert extract(BENCH, "capacity of the BENCHES", 800).splitlines() == [
        "We measured eight blenders on our own bench.",
        f"{GAP} Vandrel Junto (P5145). We measured 0.7 l for the capacity.",
        "Deviations of a few per cent are within the accuracy of the bench.",
    ]


def test_rare_words_weigh_more():
    assert extract(BENCH, "noise level of Mordane Vento", 100) == f"{GAP} Mordane Vento (P1127). We measured 82 dB for the noise level. {GAP}"
    assert extract(BENCH, "what was measured for p5145?", 800) == f"{GAP} Vandrel Junto (P5145). We measured 0.7 l for the capacity. {GAP}"


def test_a_paragraph_is_cut_into_sentences():
    assert len(PARAGRAPH) > LINE
    assert extract(PARAGRAPH, "air for a tent", 800) == f"A tent needs air. {GAP}"
    assert extract(PARAGRAPH, "heavy: what it weighs, to the end", 800) == f"{GAP} How heavy was it? It weighed 3.5 kg! The end."
    assert extract(PARAGRAPH, "pegs", 100) == f"{GAP} Sentence 0 is about pegs, poles and ropes. Sentence 1 is about pegs, poles and ropes. {GAP}"


def test_nothing_fits():
    for goal in ("vacuum cleaner", "of the", "?!", "\ud800"):
        assert extract(BENCH, goal, 800) == ""
    assert extract("", "noise", 800) == "" and extract("\n \n", "noise", 800) == ""


def test_a_page_with_a_goal():
    page = Page("W3", "https://x.example", "Bench", BENCH, "lab_test", "2026-03")
    found = results.parse_web_page(results.format_web_page(page, "noise level"))
    assert (found.id, found.title, found.kind, found.published) == ("W3", "Bench", "lab_test", "2026-03") and found.text == extract(BENCH, "noise level", 800)
    missed = results.parse_web_page(results.format_web_page(page, 'a "pink" colour\n')).text
    assert missed == 'nothing on this page fits "a \'pink\' colour"; it begins:\n' + BENCH
    long = Page("W4", "", "Long", "word " * 3000)
    assert len(results.format_web_page(long, "other")) < results.MAX_EXTRACT + 120
    assert len(results.format_web_page(long, "words")) < results.MAX_EXTRACT + 120
    deep = Page("W5", "", "Deep", "word " * 3000 + "\nThe needle is here.")  # beyond what a visit without a goal shows
    assert results.parse_web_page(results.format_web_page(deep, "needle")).text == f"{GAP} The needle is here."


@given(st.lists(st.sampled_from(["noise", "level", "dB", "It", ". ", "! ", "\n", "…", "。", "x" * 300, " ", "'", '"']), max_size=80).map("".join), st.sampled_from(["noise", "noise level", "dB of it", "x"]), st.integers(1, 900))
@settings(max_examples=300, deadline=None)
def test_an_extract_is_of_the_page_and_bounded(text, goal, limit):
    found = extract(text, goal, limit)
    assert found == extract(text, goal, limit)
    kept, rest = [part.strip() for part in found.replace(GAP, "\n").splitlines() if part.strip()], text.replace(GAP, "\n")
    for part in kept:  # in the page's order
        assert part in rest
        rest = rest[rest.index(part) + len(part) :]
    assert len(found) <= max(limit, max(map(len, text.splitlines()), default=0)) + 4


def test_sentences_without_a_space_between_them_stay_so():
    assert extract("x" * 300 + ". noise。noise", "noise", 17) == f"{GAP} noise。noise"


def test_a_hostile_text_takes_no_time_that_grows_with_its_square():
    for piece in ("!", ".", "'", "!'", "…\"", "。", "a.", "noise ", "1,"):
        extract(piece * (results.READ // len(piece)), "noise", 800)
