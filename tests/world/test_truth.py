"""Every generated rubric item walks back to a ground truth, for 1,000 users; and the environment tells agents apart.

The truth is worked out here once more, from the Parquet files and with arithmetic of its own.
"""

import re
from collections import Counter

import pytest

from prstack.evaluation.tasks import latent_needs, make_tasks
from prstack.settings import WorldConfig
from prstack.world.complaints import hear_complaint
from prstack.world.world import World, build

USERS = 1000
OWN_UNITS = {"kg": 1000.0, "g": 1.0, "l": 1000.0, "ml": 1.0, "cm": 10.0, "mm": 1.0, "m": 1000.0, "hours": 60.0, "min": 1.0, "s": 1 / 60, "years": 12.0, "months": 1.0}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    build(WorldConfig(users=USERS, split="all"), folder)
    return World.open(folder)


@pytest.fixture(scope="module")
def catalogue(world):
    """category → products as plain dicts of what their listing says."""
    out: dict[str, list[dict]] = {}
    for p in world.products():
        listed = {a.name: a.value for a in p.attributes} | {"price": f"{p.price} USD"}
        out.setdefault(p.category, []).append({"id": p.id, "available": p.available, "listed": listed})
    return out


def holds(listed: str | None, op: str, value: str, unit: str) -> bool:
    """Whether a listing satisfies a constraint, by arithmetic that shares nothing with prstack.world.match."""
    if listed is None:
        return False
    if op in ("=", "!="):
        return (listed.lower() == value.lower()) == (op == "=")
    number, own = re.fullmatch(r"(-?[\d.]+) ?(.*)", listed).groups()
    have, want = float(number) * OWN_UNITS.get(own, 1.0), float(value) * OWN_UNITS.get(unit, 1.0)
    assert own == unit or (own in OWN_UNITS and unit in OWN_UNITS), (own, unit)
    return have <= want + 1e-9 if op == "<=" else have >= want - 1e-9


def test_every_rubric_item_has_its_truth(world, catalogue):
    needs = {n.user_id: n for n in latent_needs(world)}
    assert len(needs) == USERS
    tasks = make_tasks(world, 990)  # a few needs cannot be stated in held-out words, or met by what is in stock
    seen: Counter[str] = Counter()
    for task in tasks:
        need, goods = needs[task.user_id], catalogue[task.category]
        valid = {p["id"] for p in goods}
        for item in task.rubric:
            seen[item.type] += 1
            if item.type == "entity_match":
                assert item.value == need.category
            elif item.type not in ("comparison", "grounding"):
                attribute = "price" if item.type == "budget_match" else item.attribute
                assert (attribute, item.op, item.value) in {(c.attribute, c.op, c.value) for c in need.constraints}
                valid &= {p["id"] for p in goods if holds(p["listed"].get(attribute), item.op, item.value, item.unit)}
        assert valid == set(need.satisfying)
        assert task.valid_ids == valid & {p["id"] for p in goods if p["available"]} and len(task.valid_ids) >= 1
        assert sum(i.weight for i in task.rubric) == pytest.approx(1)
        assert sum(i.type not in ("entity_match", "comparison", "grounding") for i in task.rubric) == len(need.constraints)
    assert set(seen) == {"entity_match", "budget_match", "numeric_range", "attribute_match", "negative_attribute", "comparison", "grounding"}
    assert seen["numeric_range"] > 1000


def test_every_need_follows_from_its_history_and_stands_in_none(world):
    """What an owner says implies the limit; the limit itself is said nowhere."""
    needs = {n.user_id: n for n in latent_needs(world)}
    implied = of = 0
    for history in world.histories():
        need = needs[history.user_id]
        texts = [e.text for e in history.events if e.text]
        heard = [c for text in texts for c in hear_complaint(text)]
        for c in need.constraints:
            of += 1
            implied += (c.attribute, c.op, c.value, c.unit) in {(h.attribute, h.op, h.value, h.unit) for h in heard}
            if c.op in ("<=", ">="):
                limit = rf"(?:at most|at least|no more than|no less than|up to|under|below|over|above|from)\s+\$?{re.escape(c.value)}\b"
                assert not any(re.search(limit, text, re.I) for text in texts), (c, texts)
    assert of > 3 * USERS and implied == of
