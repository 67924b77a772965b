"""RACE: the published criteria, the arithmetic by hand, repeats, orders and judges, and criteria of typed rubrics."""

import json
import math

import pytest

from prstack.errors import UserError
from prstack.scoring.criteria import (
    DIMENSIONS,
    READABLE,
    Criteria,
    Criterion,
    absorbed,
    criteria_from,
    criteria_of_rubric,
    load_criteria,
    mean_weights,
)
from prstack.scoring.race import Judged, combine, race, self_reference, summarise, weigh
from tests.factories import QUERY, rubric

CRITERIA = Criteria(
    "q1",
    "Which blender?",
    {"comprehensiveness": 0.3, "insight": 0.4, "instruction_following": 0.2, "readability": 0.1},
    {
        "comprehensiveness": [Criterion("covers", "", 0.75), Criterion("compares", "", 0.25)],
        "insight": [Criterion("reasons", "", 1.0)],
        "instruction_following": [Criterion("budget", "", 1.0)],
        "readability": [Criterion("layout", "", 1.0)],
    },
)
TARGET = {"comprehensiveness": [8, 4], "insight": [6], "instruction_following": [10], "readability": [5]}
REFERENCE = {"comprehensiveness": [8, 8], "insight": [9], "instruction_following": [10], "readability": [0]}


@pytest.fixture(scope="module")
def published(shared_data):
    folder = shared_data("deep_research_bench")
    queries = [json.loads(line) for line in (folder / "query.jsonl").read_text(encoding="utf-8").split("\n") if line]
    return queries, load_criteria(folder / "criteria.jsonl")


def test_all_published_criteria_load_and_their_weights_sum_to_1(published):
    queries, criteria = published
    assert len(criteria) == 100 and {c.id: c.query for c in criteria} == {str(q["id"]): q["prompt"] for q in queries}
    for c in criteria:
        assert absorbed(c.weights) == c.weights, "rounded to two places already, readability takes the rest"
        assert math.fsum(c.weights.values()) == pytest.approx(1, abs=1e-12)
        for d in DIMENSIONS:
            assert len(c.criteria[d]) >= 3 and math.fsum(x.weight for x in c.criteria[d]) == pytest.approx(1, abs=1e-12)
    assert sum(len(c.flat()) for c in criteria) == 2517


def test_published_weights_give_the_scores_that_they_say(published):
    """Marks of 7 beside 3 everywhere, then 10 in one dimension alone: what remains is that dimension's weight."""
    for c in published[1]:
        sevens, threes = ({d: [m] * len(c.criteria[d]) for d in DIMENSIONS} for m in (7, 3))
        score = race(c, sevens, threes)
        assert score.overall == pytest.approx(0.7) and all(score.dimensions[d] == pytest.approx(0.7) for d in DIMENSIONS)
        for d in DIMENSIONS:
            one = {e: [10.0 * (e == d)] * len(c.criteria[e]) for e in DIMENSIONS}
            assert weigh(c, one).total == pytest.approx(10 * c.weights[d])
            assert race(c, one, sevens).overall == pytest.approx(10 * c.weights[d] / (10 * c.weights[d] + 7))


def test_the_arithmetic_by_hand():
    score = race(CRITERIA, TARGET, REFERENCE)
    assert score.target.dimensions == pytest.approx({"comprehensiveness": 7, "insight": 6, "instruction_following": 10, "readability": 5})
    assert (score.target.total, score.reference.total) == (pytest.approx(7.0), pytest.approx(8.0))  # 2.1 + 2.4 + 2 + 0.5; 2.4 + 3.6 + 2 + 0
    assert score.overall == pytest.approx(7 / 15)
    assert score.dimensions == pytest.approx({"comprehensiveness": 7 / 15, "insight": 0.4, "instruction_following": 0.5, "readability": 1.0})
    assert race(CRITERIA, TARGET, TARGET).overall == 0.5
    nothing = {d: [0] * len(c) for d, c in CRITERIA.criteria.items()}
    assert race(CRITERIA, nothing, nothing).overall == 0 and race(CRITERIA, TARGET, nothing).overall == 1


@pytest.mark.parametrize("marks", [TARGET | {"insight": []}, TARGET | {"insight": [6, 6]}, TARGET | {"insight": [10.5]}, TARGET | {"insight": [-1]}, TARGET | {"insight": [math.nan]}, TARGET | {"insight": [True]}])
def test_marks_that_are_none_are_refused(marks):
    with pytest.raises(ValueError, match="insight"):
        weigh(CRITERIA, marks)


def test_rounding_is_absorbed_by_readability():
    thirds = {"comprehensiveness": 1.0, "insight": 1.0, "instruction_following": 1.0, "readability": 0.0}
    assert absorbed(thirds) == {"comprehensiveness": 0.33, "insight": 0.33, "instruction_following": 0.33, "readability": 0.01}
    high = absorbed({"comprehensiveness": 0.335, "insight": 0.335, "instruction_following": 0.335, "readability": 0.0}, 2)
    assert sum(high.values()) == pytest.approx(1) and min(high.values()) >= 0
    over = absorbed({"comprehensiveness": 0.126, "insight": 0.436, "instruction_following": 0.436, "readability": 0.002})
    assert over == {"comprehensiveness": 0.13, "insight": 0.43, "instruction_following": 0.44, "readability": 0.0}
    a = {"comprehensiveness": 0.3, "insight": 0.4, "instruction_following": 0.2, "readability": 0.1}
    assert mean_weights([a, a | {"insight": 0.3, "readability": 0.2}]) == {"comprehensiveness": 0.3, "insight": 0.35, "instruction_following": 0.2, "readability": 0.15}
    for wrong in (dict.fromkeys(DIMENSIONS, 0.0), a | {"insight": -0.1}, a | {"insight": math.inf}, {"insight": 1.0}):
        with pytest.raises(ValueError, match="weights"):
            absorbed(wrong)


def test_a_wrong_file_is_one_error_with_line_and_field(tmp_path, published):
    good = {
        "id": 1,
        "prompt": "q\u2028still the same line",
        "dimension_weight": dict.fromkeys(DIMENSIONS, 0.25),
        "criterions": {d: [{"criterion": "c", "explanation": "e", "weight": 1.0}] for d in DIMENSIONS},
    }
    file = tmp_path / "criteria.jsonl"

    def error(row) -> str:
        text = row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)
        file.write_text(json.dumps(good, ensure_ascii=False) + "\n\n" + text + "\n", encoding="utf-8")
        with pytest.raises(UserError) as e:
            load_criteria(file)
        return str(e.value)

    file.write_text(json.dumps(good, ensure_ascii=False), encoding="utf-8")
    assert load_criteria(file)[0].query == good["prompt"]
    assert f"{file}, line 3: no JSON" in error("{")
    assert "line 3: the record: must be dict" in error([])
    assert "line 3: dimension_weight: is missing" in error({k: v for k, v in good.items() if k != "dimension_weight"})
    assert "line 3: dimension_weight: its keys must be" in error(good | {"dimension_weight": {"insight": 1.0}})
    assert "line 3: dimension_weight: the weights sum to 1.05, not 1" in error(good | {"dimension_weight": good["dimension_weight"] | {"insight": 0.3}})
    assert "line 3: dimension_weight.insight: must be a number from 0 to 1, not '0.25'" in error(good | {"dimension_weight": good["dimension_weight"] | {"insight": "0.25"}})
    for field, value, said in (("weight", True, "insight[0].weight: must be a number"), ("explanation", None, "insight[0].explanation: is missing"), ("criterion", " ", "insight[0].criterion: is empty"), ("weight", 0.9, "insight: weight: the weights sum to 0.9, not 1")):
        row = json.loads(json.dumps(good))
        row["criterions"]["insight"][0][field] = value
        assert f"line 3: criterions.{said}" in error(row)
    assert "line 3: criterions.insight: holds 0 criteria, but the dimension weighs 0.25" in error(good | {"criterions": good["criterions"] | {"insight": []}})
    assert "line 3: prompt: must be str" in error(good | {"prompt": 3})
    with pytest.raises(UserError, match="cannot be read"):
        load_criteria(tmp_path / "nowhere.jsonl")
    file.write_text("\n")
    with pytest.raises(UserError, match="holds no criteria"):
        load_criteria(file)


def test_criteria_of_a_typed_rubric():
    c = criteria_of_rubric(QUERY, rubric(), "q")
    assert c == criteria_of_rubric(QUERY, rubric(), "q")
    assert c.weights == pytest.approx({"comprehensiveness": 0, "insight": 0.18, "instruction_following": 0.72, "readability": READABLE})
    assert [x.item.id for x in c.criteria["instruction_following"]] == ["r1", "r2", "r3"] and c.criteria["comprehensiveness"] == []
    assert [x.weight for x in c.criteria["instruction_following"]] == pytest.approx([0.25, 0.375, 0.375])
    assert c.criteria["readability"][0].item is None
    marks = {d: [5] * len(xs) for d, xs in c.criteria.items()}
    assert race(c, marks, marks).dimensions == {"insight": 0.5, "instruction_following": 0.5, "readability": 0.5}
    with pytest.raises(ValueError, match="no item"):
        criteria_of_rubric(QUERY, [])


def test_criteria_of_a_rubric_that_asks_for_readability():
    items = rubric()
    items[0].dimension = "readability"
    c = criteria_of_rubric(QUERY, items)
    assert c.weights == pytest.approx({"comprehensiveness": 0, "insight": 0.2, "instruction_following": 0.6, "readability": 0.2})
    assert c.criteria["readability"][0].item == items[0]


def judged(judge, order, repeat, mark):
    """The target has `mark` on everything, the reference 5."""
    if mark is None:
        return Judged(judge, order, repeat, None)
    marks = ({d: [m] * len(c) for d, c in CRITERIA.criteria.items()} for m in (mark, 5))
    return Judged(judge, order, repeat, race(CRITERIA, *marks))


def test_repeats_orders_and_judges_weigh_alike():
    """7.5 beside 5 is 0.6; 5 is 0.5; 2.5 is 1/3."""
    one = combine([judged("a", "target", 0, 7.5), judged("a", "target", 1, 7.5), judged("a", "reference", 0, 5), judged("a", "reference", 1, None)])
    assert one.overall == pytest.approx(0.55), "the unread repeat shifts no weight from one order to the other"
    assert (one.judged, one.unjudged, one.spread) == (3, 1, 0) and one.position_bias == pytest.approx(0.1)
    assert one.judge_spread is None and one.detail[-1] == {"judge": "a", "order": "reference", "repeat": 1, "overall": None}
    two = combine([judged("a", "target", 0, 7.5), judged("a", "reference", 0, 7.5), judged("b", "target", 0, 5)])
    assert two.overall == pytest.approx(0.55) and two.judges == pytest.approx({"a": 0.6, "b": 0.5}) and two.dimensions == pytest.approx(dict.fromkeys(DIMENSIONS, 0.55))
    assert two.judge_spread == pytest.approx(0.1 / 2**0.5) and two.position_bias == pytest.approx(0) and two.spread is None
    spread = combine([judged("a", "target", n, m) for n, m in enumerate((7.5, 5))])
    assert spread.spread == pytest.approx(0.1 / 2**0.5) and spread.position_bias is None


def test_nothing_that_could_be_read_is_no_score():
    r = combine([judged("a", "target", 0, None)])
    assert (r.overall, r.dimensions, r.judges, r.judged, r.unjudged) == (None, {}, {}, 0, 1)
    row = summarise([r, combine([judged("a", "target", 0, 7.5)], "same model")])
    assert (row["queries"], row["overall"], row["judged"], row["unjudged"], row["self_reference"]) == (1, pytest.approx(0.6), 1, 1, 1)
    assert summarise([])["overall"] is None


def test_a_reference_that_is_the_target_is_stated():
    assert self_reference("A  report.", "A report.\n") == "same text"
    assert self_reference("one", "another", "m", "m") == "same model"
    assert self_reference("one", "another", "m", "n") == self_reference("one", "another") == ""


def test_criteria_from_a_record_with_a_query_of_its_own():
    with pytest.raises(ValueError, match="the record: is missing"):
        criteria_from(None)
