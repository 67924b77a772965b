"""What a report says of reviewers: opinions, and counts as the page writes them."""

import pytest

from prstack.scoring.evidence import Evidence
from prstack.scoring.grounding import ground
from prstack.scoring.report import parse_report
from prstack.scoring.rubric import check_item
from prstack.types import RubricItem

PAGE = """P12 | Aurel Kettle
category: Kettles
brand: Aurel
price: $49.00
rating: 4.3 stars, 27 reviews
availability: in stock
attributes:
- noise level: 58 dB
- cord length: 65 cm
description: A kettle.
reviewers on:
- noise level: 3 good, 1 bad
- cord length: 2 bad
reviews:
- R1, 5 stars: Pleasantly quiet."""
EVIDENCE = Evidence.from_texts([PAGE])


def read(*lines):
    report = parse_report("\n".join(["<report>", "1. [P12] Aurel Kettle", *lines, "</report>"]))
    return report, ground(report, EVIDENCE)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("- cord length: 2 bad", ("reviewers on cord length", "supported")),
        ("- noise level: 3 good, 1 bad", ("reviewers on noise level", "supported")),
        ("- reviewers on cord length: 2 bad", ("reviewers on cord length", "supported")),
        ("- cord length: 2 good", ("reviewers on cord length", "contradicted")),
        ("- noise level: 3 good", ("reviewers on noise level", "contradicted")),
        ("- capacity: 2 good", ("reviewers on capacity", "unknown")),
        ("- cord length: 2", ("cord length", "contradicted")),
        ("- reviewers: quiet", ("reviewers", "supported")),
        ("- reviewers: loud", ("reviewers", "contradicted")),
    ],
)
def test_a_count_of_reviewers_is_held_against_the_count_of_the_page(line, expected):
    _, grounding = read(line)
    assert [(f.name, f.status) for f in grounding.findings] == [expected]


def test_a_page_repeated_in_full_contradicts_nothing_of_it():
    report, grounding = read("- noise level: 58 dB", "- cord length: 65 cm", "- reviewers on:", "- noise level: 3 good, 1 bad", "- cord length: 2 bad")
    assert grounding.supported == len(grounding.findings) == 4
    assert check_item(RubricItem("g", "grounding", "", 0.1, "depth", "product_page"), report, EVIDENCE, grounding).status == "met"


def test_a_count_states_no_value_of_the_attribute():
    item = RubricItem("c", "numeric_range", "", 0.1, "depth", "product_page", attribute="cord length", op=">=", value="60", unit="cm")
    report, grounding = read("- cord length: 2 good")
    assert check_item(item, report, EVIDENCE, grounding).status == "met"
    recalled = ground(report, EVIDENCE, [item])
    assert (recalled.stated, recalled.asked) == (0, 1)
