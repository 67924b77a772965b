"""Reports are read as pitches and claims, whatever the markup."""

import pytest

from prstack.scoring.report import parse_report

REPORT = """<report>
# Two kettles
1. [P12] Aurel Kettle — $49.00
- noise level: 58 dB
- body material: stainless steel
- reviewers: quiet
2. **P7** Brisk Kettle — $39.50
   * Noise Level: 60 dB; weight: 1.2 kg

## Comparison
Both are quiet. Ratio 3: 4.
</report>"""


def test_pitches_in_order_with_their_claims():
    report = parse_report(REPORT)
    assert report.product_ids == ["P12", "P7"]
    assert [(c.name, c.value) for c in report.pitches[0].claims] == [
        ("price", "$49.00"),
        ("noise level", "58 dB"),
        ("body material", "stainless steel"),
        ("reviewers", "quiet"),
    ]
    assert [(c.name, c.value) for c in report.pitches[1].claims] == [("price", "$39.50"), ("noise level", "60 dB"), ("weight", "1.2 kg")]


@pytest.mark.parametrize(
    "line",
    ["P12: a kettle", "1. P12 kettle", "- [P12] kettle", "* **[P12]** kettle", "1) `P12` kettle", "### [P12] Kettle", "| P12 | kettle |", "(P12) kettle"],
)
def test_ids_with_or_without_markup(line):
    assert parse_report(line).product_ids == ["P12"]


def test_numeric_ids_of_real_catalogues_but_no_prices_or_plain_numbers():
    text = "1. [6469567736] Water Bottle — $47.84\n2. 3706669986 Violin bow\n3. 500 grams of flour\n4. 1234567.89 is a number"
    assert parse_report(text).product_ids == ["6469567736", "3706669986"]


def test_an_id_named_in_prose_is_no_pitch():
    assert parse_report("I looked at P12 and at P13 as well.").product_ids == []


def test_a_repeated_id_adds_to_its_pitch():
    report = parse_report("1. [P1] A\n- weight: 2 kg\n2. [P1] A again\n- colour: red")
    assert report.product_ids == ["P1"] and [c.name for c in report.pitches[0].claims] == ["weight", "colour"]


@pytest.mark.parametrize("text", ["", "<report>", "<report></report>", "no products", "# P", "[]", ":", "- : x", "P" * 10000])
def test_anything_can_be_read(text):
    assert parse_report(text).pitches == []


@pytest.mark.parametrize(
    ("lines", "entries", "repeats"),
    [
        (["1. [P1] Aurel — $20.00", "- noise level: 40 dB", "2. [P1] Aurel — $20.00", "3. [P1] Aurel"], 3, 2),
        (["1. [P1] Aurel", "1. [P2] Mira", "1. [P1] Aurel"], 3, 1),
        (["### 1. [P1] Aurel", "- quiet", "### 2. [P1] Aurel"], 2, 1),
        (["1. [P1] Aurel", "2. [P2] Mira", "3. [P3] Nova"], 3, 0),
        (["## Top picks", "1. [P1] Aurel", "2. [P2] Mira", "## Details", "1. [P1] Aurel", "2. [P2] Mira"], 4, 0),
        (["1. [P1] Aurel", "2. [P2] Mira", "In short:", "1. [P1] Aurel"], 3, 0),
        (["1. [P1] Aurel", "The Aurel (P1) is the quietest.", "| product | price |", "|---|---|", "| P1 | $20.00 |"], 1, 0),
        (["[P1] Aurel", "[P1] Aurel"], 0, 0),
    ],
    ids=["listed thrice", "all numbered 1", "headings", "three products", "two lists under headings", "a list after a list", "prose and table", "no list"],
)
def test_a_product_twice_in_one_list_is_a_repeat(lines, entries, repeats):
    report = parse_report("<report>\n" + "\n".join(lines) + "\n</report>")
    assert (report.entries, report.repeats) == (entries, repeats)
