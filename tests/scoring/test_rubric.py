"""Each item type: met, violated, unaddressed; grounding; E.Prod."""

import pytest

from prstack.scoring.evidence import Evidence
from prstack.scoring.grounding import ground
from prstack.scoring.products import e_prod, pitched_on_merit
from prstack.scoring.report import parse_report
from prstack.scoring.rubric import score
from prstack.types import RubricItem

SEARCH = """3 results for "quiet kettle", page 1
[1] P12 | Aurel Kettle | Kettles | $49.00 | 4.3 stars, 27 reviews
[2] P7 | Brisk Kettle | Kettles | $39.50 | 4.0 stars, 5 reviews
[3] P9 | Loud Kettle | Kettles | $99.00 | 3.1 stars, 2 reviews"""
PAGE_12 = """P12 | Aurel Kettle
category: Kettles
brand: Aurel
price: $49.00
rating: 4.3 stars, 27 reviews
availability: in stock
attributes:
- noise level: 58 dB
- body material: stainless steel
description: A kettle.
reviews:
- R1, 5 stars: Pleasantly quiet.
- R2, 4 stars: It is quiet, just as I hoped."""
PAGE_7 = PAGE_12.replace("P12 | Aurel Kettle", "P7 | Brisk Kettle").replace("58 dB", "70 dB").replace("$49.00", "$39.50").replace("quiet", "loud")
EVIDENCE = Evidence.from_texts([SEARCH, PAGE_12, PAGE_7])


def item(type, attribute="", op="=", value="", unit="", weight=1.0):
    return RubricItem("r1", type, "an item", weight, "depth", "product_page", attribute=attribute, op=op, value=value, unit=unit)


def status(text, rubric_item):
    return score(text, [rubric_item], EVIDENCE).items[0].status


P12, P7, P9, GHOST = "1. [P12] Aurel Kettle", "1. [P7] Brisk Kettle", "1. [P9] Loud Kettle", "1. [P404] Nothing"
NOISE = item("numeric_range", "noise level", "<=", "60", "dB")
STEEL = item("attribute_match", "body material", "=", "stainless steel")


@pytest.mark.parametrize(
    ("report", "rubric_item", "expected"),
    [
        (P12, NOISE, "met"),
        (P7, NOISE, "violated"),
        (f"{P12}\n{P7}", NOISE, "violated"),
        (P9, NOISE, "unaddressed"),  # never opened: its noise is not known
        (GHOST, NOISE, "unaddressed"),
        ("", NOISE, "unaddressed"),
        (P12, STEEL, "met"),
        (P12, item("attribute_match", "body material", "=", "glass"), "violated"),
        (P12, item("negative_attribute", "body material", "!=", "glass"), "met"),
        (P12, item("negative_attribute", "body material", "!=", "stainless steel"), "violated"),
        (P12, item("budget_match", "price", "<=", "50", "USD"), "met"),
        (P9, item("budget_match", "price", "<=", "50", "USD"), "violated"),  # the search line shows the price
        (P12, item("entity_match", "category", "=", "Kettles"), "met"),
        (P12, item("entity_match", "category", "=", "Blenders"), "violated"),
        (f"{P12}\n- reviewers: quiet", item("review_opinion", "noise level", "=", "quiet"), "met"),
        (f"{P7}\n- reviewers: quiet", item("review_opinion", "noise level", "=", "quiet"), "violated"),
        (P12, item("review_opinion", "noise level", "=", "quiet"), "unaddressed"),
        (f"{P12}\n- noise level: 58 dB\n{P7}\n- noise level: 70 dB", item("comparison"), "met"),
        (f"{P12}\n- noise level: 58 dB", item("comparison"), "unaddressed"),
        (f"{P12}\n- noise level: 58 dB", item("grounding"), "met"),
        (f"{P12}\n- noise level: 40 dB", item("grounding"), "violated"),
        (f"{P12}\n- warranty: 5 years", item("grounding"), "unaddressed"),
    ],
)
def test_item_status(report, rubric_item, expected):
    assert status(report, rubric_item) == expected


def test_the_score_is_the_weight_of_the_met_items():
    rubric = [item("numeric_range", "noise level", "<=", "60", "dB", weight=0.75), item("attribute_match", "body material", "=", "glass", weight=0.25)]
    assert score(P12, rubric, EVIDENCE).score == pytest.approx(0.75)
    assert score(P12, [], EVIDENCE).score == 0.0


def test_grounding_by_claim():
    text = f"{P12} — $49.00\n- noise level: 0.058 kdB\n- body material: Stainless Steel\n- rating: 4.3 stars\n- warranty: 5 years\n- brand: Other\n- why: it is quiet"
    found = {f.name: f.status for f in ground(parse_report(text), EVIDENCE).findings}
    assert found == {"price": "supported", "noise level": "contradicted", "body material": "supported", "rating": "supported", "warranty": "unknown", "brand": "contradicted"}


def test_where_the_tools_show_no_reviews_a_rating_is_contradicted():
    unrated = PAGE_12.replace("4.3 stars, 27 reviews", "no reviews")
    for shown in (unrated, SEARCH.replace("4.3 stars, 27 reviews", "no reviews")):
        found = [(f.name, f.status) for f in ground(parse_report(f"{P12}\n- rating: 4.3 stars"), Evidence.from_texts([shown])).findings]
        assert found == [("rating", "contradicted")]


def test_effective_products_are_distinct_and_seen():
    assert e_prod(parse_report(f"{P12}\n{GHOST}\n{P12}\n{P9}"), EVIDENCE) == ["P12", "P9"]


def negative(type, attribute, op, value, unit=""):
    return RubricItem("r1", type, "an item", 1.0, "depth", "product_page", True, attribute, op, value, unit)


@pytest.mark.parametrize(
    ("report", "rubric_item", "expected"),
    [
        # The report can take away, never add.
        (f"{P12}\n- noise level: 75 dB", NOISE, "violated"),
        (f"{P7}\n- noise level: 50 dB", NOISE, "violated"),
        (f"{P9}\n- noise level: 50 dB", NOISE, "unaddressed"),
        (f"{P12} — $60.00", item("budget_match", "price", "<=", "50", "USD"), "violated"),
        # One product that is not known to satisfy it keeps the item open, and so does an invented one.
        (f"{P12}\n{P9}", NOISE, "unaddressed"),
        (f"{P12}\n{GHOST}", NOISE, "unaddressed"),
        (f"{P12}\n{GHOST}\n2. [P405]", NOISE, "unaddressed"),
        (f"{P12}\n- noise level: 58 dB\n{GHOST}", item("grounding"), "violated"),
        # Units and other names.
        (P12, item("numeric_range", "noise level", "<=", "60", "decibels"), "met"),
        (P12, item("numeric_range", "loudness", "<=", "60", "dB"), "met"),
        # Negative items are met by an absence, and not by an empty report.
        (P12, negative("attribute_match", "body material", "=", "glass"), "met"),
        (P12, negative("attribute_match", "body material", "=", "Stainless-Steel"), "violated"),
        (P12, negative("numeric_range", "noise level", ">=", "60", "dB"), "met"),
        (P12, negative("entity_match", "category", "=", "Blenders"), "met"),
        ("", negative("attribute_match", "body material", "=", "glass"), "unaddressed"),
        (f"{P12}\n- reviewers: not loud", negative("review_opinion", "noise level", "=", "loud"), "met"),
        (f"{P7}\n- reviewers: quiet", negative("review_opinion", "noise level", "=", "loud"), "violated"),
        (f"{P7}\n- reviewers: loud", item("review_opinion", "noise level", "=", "loud"), "met"),
        # What is false compares nothing.
        (f"{P12}\n- noise level: 50 dB\n{P7}\n- noise level: 60 dB", item("comparison"), "unaddressed"),
        (f"{P12}\n- noise level: under 60 dB\n{P7}\n- noise level: under 80 dB", item("comparison"), "unaddressed"),
    ],
)
def test_what_the_text_counts_for(report, rubric_item, expected):
    assert status(report, rubric_item) == expected


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("P12 is quieter than P7 (58 dB against 70 dB).", "met"),
        ("**P12** is quieter than **P7** (58 dB vs. 70 dB).", "met"),
        ("Compared with P7, P12 has the lower noise level: 58 dB against 70.", "met"),
        ("Next to P7 with its 70 dB, P12 has a noise level of 58 dB, lower than that.", "met"),
        ("Quieter than P7 (70 dB), P12 makes do with 58 dB.", "met"),
        ("Quieter than P7, P12 makes do with 58 dB against 70 dB.", "met"),
        ("P7 has a noise level of 70 dB, while P12 is quieter at 58 dB.", "met"),
        ("The Aurel Kettle is quieter than the Brisk Kettle: 58 dB against 70 dB.", "met"),
        ("Aurel Kettle (P12) is quieter than Brisk Kettle (P7), at 58 against 70 dB.", "met"),
        ("P7 is cheaper than P12 ($39.50 against $49).", "met"),
        ("It is quiet. P12 is quieter than P7 (about 57 dB against roughly 70 dB).", "met"),
        ("- Comparison: P12 has a loudness of 58 dB, against 0.07 kdB for P7.", "unaddressed"),  # no such unit
        ("P12 has a loudness of 58 dB, against 70 decibels for P7.", "met"),
        # Values that are not so, or another's.
        ("P12 is quieter than P7 (58 dB against 71 dB).", "unaddressed"),
        ("P12 is quieter than P7 (70 dB against 58 dB).", "unaddressed"),
        ("P7 is quieter than P12 (58 dB against 70 dB).", "unaddressed"),
        ("Compared with P7, P12 has the lower noise level: 70 dB against 58.", "unaddressed"),
        ("P12 is louder than P7 (58 dB against 70 dB).", "unaddressed"),
        ("P12 is not quieter than P7 (58 dB against 70 dB).", "unaddressed"),
        # No property, no second product, no value, a bound.
        ("P12 is better than P7 (58 dB against 70 dB).", "unaddressed"),
        ("P12 is lighter than P7 (58 dB against 70 dB).", "unaddressed"),
        ("P12 is cheaper than P7 (58 dB against 70 dB).", "unaddressed"),
        ("It is quieter than P7 (58 dB against 70 dB).", "unaddressed"),
        ("The Kettle is quieter than the Brisk Kettle (58 dB against 70 dB).", "unaddressed"),
        ("The Aurel Kettle Pro is quieter than the Brisk Kettle (58 dB against 70 dB).", "unaddressed"),
        ("P12 is quieter than P7 and P9 (58 dB against 70 dB).", "unaddressed"),
        ("P12 is quieter than P7.", "unaddressed"),
        ("P12 is quieter than P7 (58 dB).", "unaddressed"),
        ("P12 is quieter than P7 (58 against 70).", "unaddressed"),
        ("P12 is quieter than P7 (under 60 dB against 70 dB).", "unaddressed"),
        ("P12 is quieter than P404 (58 dB against 70 dB).", "unaddressed"),  # returned by no tool
        ("P12 is cheaper than P9 ($49.00 against $99.00).", "unaddressed"),  # seen, not opened
    ],
)
def test_a_sentence_compares(sentence, expected):
    for report in (f"{P12}\n{P7}\n\n{sentence}", f"{P12}\n\n## Comparison\n{sentence}"):
        assert status(report, item("comparison")) == expected


def test_one_of_the_two_is_recommended():
    for sentence in ("P12 is quieter than P7 (58 dB against 70 dB).", "Compared with P7, P12 has the lower noise level: 58 dB against 70."):
        assert [status(f"{head}\n\n{sentence}", item("comparison")) for head in (P12, P7, P9, "")] == ["met", "met", "unaddressed", "unaddressed"]


def test_half_a_true_sentence_compares_nothing_though_the_list_says_the_rest():
    for sentence in ("P12 has a noise level of 50 dB, against 70 dB for P7.", "P12 has a noise level of 58 dB, against 90 dB for P7."):
        for head in (P12, f"{P12}\n{P7}"):
            assert status(f"{head}\n\n## Comparison\n{sentence}\n\n{P12}\n- noise level: 58 dB", item("comparison")) == "unaddressed"
    halves = "P12 has a noise level of 58 dB, against 90 dB for P7. P12 has a noise level of 50 dB, against 70 dB for P7."
    assert status(f"{P12}\n{P7}\n\n{halves}", item("comparison")) == "unaddressed"


def test_a_sentence_that_compares_is_shown():
    report = parse_report(f"{P12}\n\nP12 is quieter than P7 (58 dB against 70 dB).")
    (found,) = score(report, [item("comparison")], EVIDENCE).items
    assert [report.text[s.start : s.end] for s in found.where] == ["58 dB", "70 dB"] and "noise level" in found.evidence


def test_a_sentence_about_another_product_breaks_nothing_and_is_checked():
    true, false = "P12 is quieter than P7 (58 dB against 70 dB).", "P12 has a noise level of 58 dB, against 75 dB for P7."
    assert [status(f"{P12}\n\n{s}", NOISE) for s in (true, false)] == ["met", "met"]
    assert [status(f"{P12}\n\n{s}", item("grounding")) for s in (true, false)] == ["met", "violated"]
    assert e_prod(parse_report(f"{P12}\n\n{true}"), EVIDENCE) == ["P12"]


def test_products_that_call_a_property_differently_are_compared():
    other = Evidence.from_texts([PAGE_12, PAGE_7.replace("noise level", "loudness")])
    for report in (f"{P12}\n- noise level: 58 dB\n{P7}\n- loudness: 70 dB", f"{P12}\n{P7}\nP12 is quieter than P7 (58 dB against 70 dB)."):
        assert score(report, [item("comparison")], other).items[0].status == "met"


def test_a_title_that_two_products_have_names_neither():
    twins = Evidence.from_texts([PAGE_12, PAGE_7, PAGE_7.replace("P7 |", "P8 |")])
    named = f"{P12}\n{P7}\n\nThe Aurel Kettle is quieter than the Brisk Kettle{{}} (58 dB against 70 dB)."
    assert [score(named.format(id), [item("comparison")], twins).items[0].status for id in ("", " [P7]", " (P8)")] == ["unaddressed", "met", "met"]


@pytest.mark.parametrize("piece", ["P12 than P7 58 dB ", "than ", "Aurel Kettle against Brisk Kettle ", "P12 than P7 (58 dB against 70 dB). ", "quieter than (", "P12 is quieter than P7\n", "vs. "])
def test_odd_comparisons_of_any_length_are_read(piece):
    assert ground(parse_report(f"{P12}\n{piece * 5000}"), EVIDENCE).count("contradicted") == 0


def test_an_item_says_where():
    report = parse_report(f"{P12} — $49.00\n- noise level: 75 dB")
    found = score(report, [NOISE, item("budget_match", "price", "<=", "50", "USD")], EVIDENCE).items
    shown = [[(s.source, s.line, (EVIDENCE.texts.get(s.source) or report.text)[s.start : s.end]) for s in i.where] for i in found]
    assert shown == [[("report", 2, "75 dB"), ("2", 8, "- noise level: 58 dB")], [("report", 1, "P12"), ("2", 4, "price: $49.00")]]


def test_pitched_on_merit():
    rubric = [NOISE, STEEL, item("comparison")]
    assert pitched_on_merit(parse_report(f"{P12}\n{P7}\n{P9}\n{GHOST}"), EVIDENCE, rubric) == ["P12"]
    sold_out = Evidence.from_texts([PAGE_12.replace("in stock", "out of stock")])
    assert e_prod(parse_report(P12), sold_out) == ["P12"] and pitched_on_merit(parse_report(P12), sold_out, rubric) == []


def test_recall_is_of_what_was_asked_and_answered():
    rubric = [NOISE, STEEL, item("numeric_range", "wattage", "<=", "900", "W"), item("review_opinion", "noise level", "=", "quiet"), item("comparison")]
    g = ground(parse_report(f"{P12}\n- noise level: 58 dB\n- body material: glass"), EVIDENCE, rubric)
    assert (g.stated, g.asked, g.recall) == (1, 3, 1 / 3)  # the page answers noise, material and what reviewers say, and no power
    assert ground(parse_report(f"{P12}\n- noise level: 58 dB"), EVIDENCE).recall is None


def test_a_copy_and_an_endless_report_lose():
    honest = f"{P12}\n- noise level: 58 dB\n- body material: stainless steel"
    assert score(honest, [NOISE], EVIDENCE).score == 1.0
    long_review = PAGE_12.replace("Pleasantly quiet.", "Pleasantly quiet, and I have had it for a year now without a single complaint from anyone at home." * 3)
    evidence = Evidence.from_texts([long_review])
    assert 0 < score(long_review.replace("P12 |", "1. [P12]"), [NOISE], evidence).score < 1.0
    assert score(f"{honest}\n{'It is good. ' * 10_000}", [NOISE], EVIDENCE).score < 0.2
