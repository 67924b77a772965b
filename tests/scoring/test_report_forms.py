"""Reports as language models write them: what is pitched, and what is claimed of it. Nothing is credited that is only mentioned."""

import pytest

from prstack.scoring.evidence import Evidence
from prstack.scoring.grounding import ground
from prstack.scoring.report import parse_report

PAGE = """{id} | {title}
category: Kettles
brand: {brand}
price: {price}
rating: 4.3 stars, 27 reviews
availability: in stock
attributes:
- noise level: {noise} dB
- body material: stainless steel
- capacity: 1.6 l
description: A kettle.
reviews:
- R1, 5 stars: Pleasantly quiet.
- R2, 4 stars: It is quiet, just as I hoped."""
EVIDENCE = Evidence.from_texts(
    [
        '3 results for "kettle", page 1\n[1] P12 | Aurel Kettle | Kettles | $49.00 | 4.3 stars, 27 reviews\n[2] P7 | Brisk Kettle | Kettles | $39.50 | 4.3 stars, 27 reviews\n[3] P9 | Loud Kettle | Kettles | $99.00 | 3.1 stars, 2 reviews',
        PAGE.format(id="P12", title="Aurel Kettle", brand="Aurel", price="$49.00", noise=58),
        PAGE.format(id="P7", title="Brisk Kettle", brand="Brisk", price="$39.50", noise=70),
        PAGE.format(id="6469567736", title="Water Kettle", brand="Water", price="$47.84", noise=60),
    ]
)


def read(text):
    """(ids, {(id, name, status)})."""
    report = parse_report(text)
    return report.product_ids, {(f.product_id, f.name, f.status) for f in ground(report, EVIDENCE).findings}


def ok(id, *names):
    return {(id, n, "supported") for n in names}


def wrong(id, *names):
    return {(id, n, "contradicted") for n in names}


FORMS = {
    "headings with bold labels": (
        "# Recommendations\n\nBased on my research:\n\n## 1. Aurel Kettle (P12)\n\n**Price:** $49.00\n**Noise level:** 58 dB\n**Body material:** Stainless Steel\n\n### Why it fits\nIt stays quiet.\n\n## 2. Brisk Kettle (P7)\n\n**Price:** $39.50\n**Noise level:** 70 dB\n\n## Conclusion\nBoth are good.",
        ["P12", "P7"],
        ok("P12", "price", "noise level", "body material") | ok("P7", "price", "noise level"),
    ),
    "deeper headings stay with the product": (
        "### Aurel Kettle (ID: P12)\n#### Specs\n- Noise: 58 dB\n- Capacity: 1.6 L\n#### Pros\n- quiet\n### Summary\n- noise level: 10 dB",
        ["P12"],
        ok("P12", "noise level", "capacity"),
    ),
    "nested bullets": (
        "1. **Aurel Kettle** [P12]\n   - **Price**: $49\n   - **Specs**:\n     - Noise level: 58 dB\n     - Capacity: 1600 ml\n2. **Brisk Kettle** [P7]\n   - **Price**: $39.50",
        ["P12", "P7"],
        ok("P12", "price", "noise level", "capacity") | ok("P7", "price"),
    ),
    "bold ids": ("**P12** – Aurel Kettle\n- Price: $49.00\n\n**P7** – Brisk Kettle\n- Price: $40.00", ["P12", "P7"], ok("P12", "price") | wrong("P7", "price")),
    "links": (
        "- [Aurel Kettle](https://shop.example/products/P12): $49.00\n- [Brisk Kettle (P7)](https://shop.example/x): $39.50",
        ["P12", "P7"],
        ok("P12", "price") | ok("P7", "price"),
    ),
    "rows of a table": (
        "Here is a summary:\n\n| Product | ID | Price | Noise (dB) | Material |\n|:--|:-:|--:|---|---|\n| Aurel Kettle | P12 | $49.00 | 58 | stainless steel |\n| Brisk Kettle | P7 | $39.50 | 60 | – |\n",
        ["P12", "P7"],
        ok("P12", "price", "noise level", "body material") | ok("P7", "price") | wrong("P7", "noise level"),
    ),
    "columns of a table": (
        "| Feature | Aurel Kettle (P12) | Brisk Kettle (P7) |\n|---|---|---|\n| **Price** | $49.00 | $39.50 |\n| Noise level | 58 dB | 70 dB |\n| Warranty | 2 years | n/a |",
        ["P12", "P7"],
        ok("P12", "price", "noise level") | ok("P7", "price", "noise level") | {("P12", "warranty", "unknown")},
    ),
    "a table by names after pitches": (
        "1. [P12] Aurel Kettle — $49.00\n2. [P7] Brisk Kettle — $39.50\n\n| | Aurel Kettle | Brisk Kettle |\n|---|---|---|\n| noise level | 58 dB | 50 dB |",
        ["P12", "P7"],
        ok("P12", "price", "noise level") | ok("P7", "price") | wrong("P7", "noise level"),
    ),
    "id lines": (
        "**1. Aurel Kettle**\n- Price: $49.00\n- Product ID: `P12`\n- Noise level: 58 dB\n\n**2. Brisk Kettle**\n- Price: $39.50\n- Product ID: `P7`",
        ["P12", "P7"],
        ok("P12", "price", "noise level") | ok("P7", "price"),
    ),
    "labels": ("Top pick: Aurel Kettle (P12)\nPrice: $49.00\n\nRunner-up: Brisk Kettle (P7)\nPrice: $39.50", ["P12", "P7"], ok("P12", "price") | ok("P7", "price")),
    "several ids behind a label": ("Recommended products: P12, P7", ["P12", "P7"], set()),
    "prose": (
        "I recommend the Aurel Kettle (P12). It costs $49.00 and has a noise level of 58 dB. Its capacity of 1.6 l is enough.",
        ["P12"],
        ok("P12", "price", "noise level", "capacity"),
    ),
    "prose with a false number": ("My top pick is the Aurel Kettle (P12). The noise level is 40 dB.", ["P12"], wrong("P12", "noise level")),
    "one against another by the way": ("- P12, my pick, is quieter than P7", ["P12"], set()),
    "comparing sentences are no lines of the list": (
        "1. [P12] Aurel Kettle\n2. [P7] Brisk Kettle\n- noise level: 70 dB\n\nP12 is quieter than P7: 58 dB against 70 dB\nCompared with P7, P12 has the lower noise level: 58 dB against 70\nAurel Kettle is quieter than Brisk Kettle: 58 dB",
        ["P12", "P7"],
        ok("P12", "noise level") | ok("P7", "noise level"),
    ),
    "prose that sets one against another": ("I recommend P12 over P7, which has a noise level of 70 dB.", ["P12"], set()),
    "one line a product": ("- P12 Aurel Kettle: price: $49.00; noise level: 58 dB; capacity: 1.6 l\n- P7 Brisk Kettle: price: $39.50; noise level: 71 dB", ["P12", "P7"], ok("P12", "price", "noise level", "capacity") | ok("P7", "price") | wrong("P7", "noise level")),
    "commas between claims": ("1. [P12] Aurel Kettle\n   Price: $49.00, noise level: 58 dB, body material: stainless steel", ["P12"], ok("P12", "price", "noise level", "body material")),
    "dashes": ("1. P12 - Aurel Kettle - $49.00\n   - Noise level – 58 dB\n   - **Body material** – stainless steel", ["P12"], ok("P12", "price", "noise level", "body material")),
    "comments behind values": (
        "1. [P12] Aurel Kettle — $49.00 (within your budget of $60)\n- noise level: 58 dB (well below your limit of 60 dB)\n- body material: stainless steel, as you asked — easy to clean\n- capacity: about 1.6 litres",
        ["P12"],
        ok("P12", "price", "noise level", "capacity") | {("P12", "body material", "unknown")},
    ),
    "reviewers in a sentence": ("1. [P12] Aurel Kettle\nOwners call it quiet. Most reviewers say it is loud.", ["P12"], ok("P12", "reviewers") | wrong("P12", "reviewers")),
    "labels of reviews": ("1. [P12] Aurel Kettle\n- What reviewers say: quiet\n- Customer reviews: 27\n- Rating: 4.3/5 (27 reviews)", ["P12"], ok("P12", "reviewers", "number of reviews", "rating")),
    "digits as ids": ("1. **Water Kettle** (6469567736)\n   - Price: $47.84\n   - Noise level: 60 dB", ["6469567736"], ok("6469567736", "price", "noise level")),
    "bounds say no value": ("1. [P12] Aurel Kettle\n- noise level: under 60 dB\n- price: at most $60\n- capacity: at least 2 l", ["P12"], wrong("P12", "capacity")),
    "ranges say no value": ("1. [P12] Aurel Kettle\n- noise level: 55-60 dB\n- capacity: 2 to 3 l", ["P12"], wrong("P12", "capacity")),
    "stock and brand": ("1. [P12] Aurel Kettle\n- Availability: In stock\n- Brand: Aurel\n- Category: Kettles", ["P12"], ok("P12", "availability", "brand", "category")),
    "an own word is no claim": ("1. [P12] Aurel Kettle\n- Why it fits: it is quiet and cheap\n- Best for: students\n- Pros: light", ["P12"], set()),
    "other names of an attribute": ("1. [P12] Aurel Kettle\n- Loudness: 58 dB\n- Volume: 58 dB", ["P12"], ok("P12", "noise level") | {("P12", "volume", "unknown")}),
    "another currency": ("1. [P12] Aurel Kettle — €49.00", ["P12"], wrong("P12", "price")),
    "a code block and quotes": ("> 1. [P12] Aurel Kettle — $49.00\n> - noise level: 58 dB", ["P12"], ok("P12", "price", "noise level")),
    "tags and chatter around": ("Sure! Here is the report.\n<report>\n1. [P12] Aurel Kettle — $49.00\n</report>\nI also like P7.\n- P7 Brisk Kettle", ["P12"], ok("P12", "price")),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form(name):
    text, ids, findings = FORMS[name]
    assert read(text) == (ids, findings)


@pytest.mark.parametrize(
    "text",
    [
        "I looked at the Aurel Kettle (P12), but it is too loud.",
        "P12 is too expensive, so I left it out.",
        "P12 vs P7: both are loud.",
        "P12 is quieter than P7 (58 dB against 70 dB)",
        "- **P12** is quieter than P7: 58 dB against 70 dB",
        "- Aurel Kettle (P12) costs less than the Brisk Kettle (P7)",
        "- P12: rejected, it breaks the budget",
        "- **Aurel Kettle (P12)** — not recommended",
        "## Considered but rejected\n- Aurel Kettle (P12): too loud\n- [P7] Brisk Kettle: too dear",
        "**Not recommended:**\n1. [P12] Aurel Kettle",
        "| Product | ID | Verdict |\n|---|---|---|\n| Aurel Kettle | P12 | rejected |",
        "I do not recommend P12.",
        "I can't recommend the Aurel Kettle (P12).",
        "It is cheaper than the Brisk Kettle (P7).",
        "- Cheaper than the Brisk Kettle (P7)",
        "See also P12, P7 and P9 in the search results.",
    ],
)
def test_what_is_no_recommendation(text):
    assert parse_report(text).product_ids == []


def test_products_after_a_part_of_rejected_ones_count():
    text = "## Rejected\n- [P7] Brisk Kettle\n\n## Recommended\n- [P12] Aurel Kettle"
    assert parse_report(text).product_ids == ["P12"]


def test_another_product_in_a_pitch_is_neither_pitched_nor_blamed():
    text = "1. [P12] Aurel Kettle — $49.00\n- It is quieter than the Brisk Kettle (P7), whose noise level is 70 dB.\n- noise level: 58 dB"
    assert read(text) == (["P12"], ok("P12", "price", "noise level"))


def test_places_are_those_of_the_report_and_of_the_tool_result():
    report = parse_report("<report>\n1. [P12] Aurel Kettle — $49.00\n- noise level: 58 dB\n</report>")
    for f in ground(report, EVIDENCE).findings:
        assert report.text[f.claim.start : f.claim.end] == f.value
        shown = EVIDENCE.texts[f.shown.source]
        assert f.value in shown[f.shown.start : f.shown.end] == shown.split("\n")[f.shown.line - 1]
    assert [f.claim.line for f in ground(report, EVIDENCE).findings] == [1, 2]


@pytest.mark.parametrize("piece", ["[", "(", "P12 ", "| ", "|---", "- : ", "**", "a: b; ", " ", "1. ", "#", "~~", "$", "(ID: ", "58 dB ", "\n", ", "])
def test_odd_text_of_any_length_is_read(piece):
    assert parse_report("1. [P12] " + piece * 5000).product_ids == ["P12"]
