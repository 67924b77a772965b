"""Every generated rubric item walks back to a ground truth, for 1,000 users; and the environment tells agents apart.

The truth is worked out here once more, from the Parquet files and with arithmetic of its own. In medium and hard worlds it is the true
value, where the listing, an owner or a page tells it.
"""

import re
from collections import Counter, defaultdict

import pytest

from prstack.evaluation.tasks import latent_needs, make_tasks
from prstack.settings import WorldConfig
from prstack.store.records import read_records
from prstack.world.complaints import hear_complaint
from prstack.world.generated.stories import RECENT
from prstack.world.material import Contradiction
from prstack.world.names import OTHER_NAMES
from prstack.world.world import World, build

USERS, DEEP_USERS, TOTAL = 1000, 300, 1200
"""Users of the easy world, of the others, and products."""
OWN_UNITS = {
    "lb": 453.59237, "oz": 28.349523, "in": 25.4, "ft": 304.8, "miles": 1609344.0, "km": 1e6, "fl oz": 29.57353, "kW": 1000.0, "W": 1.0, "kPa": 1000.0, "Pa": 1.0, "psi": 6894.757, "bar": 1e5,
    "Ah": 1000.0, "mAh": 1.0, "sq ft": 0.09290304, "m²": 1.0, "cfm": 1.699011, "m³/h": 1.0, "nits": 1.0, "cd/m²": 1.0,
    "kg": 1000.0, "g": 1.0, "l": 1000.0, "ml": 1.0, "cm": 10.0, "mm": 1.0, "m": 1000.0, "hours": 60.0, "min": 1.0, "s": 1 / 60, "years": 12.0, "months": 1.0}


@pytest.fixture(scope="module", params=["easy", "medium", "hard"])
def difficulty(request):
    return request.param


@pytest.fixture(scope="module")
def users(difficulty):
    return USERS if difficulty == "easy" else DEEP_USERS


@pytest.fixture(scope="module")
def world(difficulty, users, tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    build(WorldConfig(products=TOTAL, users=users, split="all", difficulty=difficulty), folder)
    return World.open(folder)


@pytest.fixture(scope="module")
def catalogue(world, difficulty):
    """category → products as plain dicts of what is known of them: the listing, and in deep worlds the truth where it can be found out."""
    hidden: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
    web: dict[str, str] = defaultdict(str)
    if difficulty != "easy":
        for c in read_records(world.folder / "truth" / "listings", Contradiction, pytest.fail, "truth"):
            hidden[c.product_id][c.attribute] = (c.listed, c.measured)
        for page in world.pages():
            for line in page.text.splitlines():
                if "/archive/" not in page.url and (named := re.search(r"\((P\d+)\)", line)):
                    web[named[1]] += line
    out: dict[str, list[dict]] = {}
    for p in world.products():
        names = {other: name for name, others in OTHER_NAMES.items() for other in others}
        known = {names.get(a.name, a.name): a.value for a in p.attributes}
        if difficulty == "hard":  # values in sentences of the description
            for name in OTHER_NAMES:
                if said := re.search(rf"(?:\b[Tt]he {name} (?:is|as)|[Ff]or the {name} we give|[Aa]s for the {name}, it is) (.+?)\.(?= |$)", p.description):
                    known.setdefault(name, said[1])
        for name, (listed, true) in hidden[p.id].items():
            told = [r.text for r in world.reviews_of(p.id)] + [web[p.id]]
            found = any(name in text and re.search(rf"(?<![\w.]){re.escape(true)}(?!\w)", text) for text in told)
            assert name not in known if not listed else known[name] == listed and found, (p.id, name)
            if found:
                known[name] = true
        out.setdefault(p.category, []).append({"id": p.id, "available": p.available, "listed": known | {"price": f"{p.price} USD"}})
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


def on_the_edge(listed: str | None, value: str, unit: str) -> bool:
    """Whether a label in another unit lies so near to the limit that its rounding decides; an owner may have told the value itself."""
    found = re.fullmatch(r"(-?[\d.]+) ?(.*)", listed or "")
    if not found or not unit or found[2] == unit or found[2] not in OWN_UNITS:
        return False
    have, want = float(found[1]) * OWN_UNITS[found[2]], float(value) * OWN_UNITS[unit]
    return abs(have - want) <= 0.01 * want


def test_every_rubric_item_has_its_truth(world, catalogue, users, difficulty):
    needs = {n.user_id: n for n in latent_needs(world)}
    assert len(needs) == users
    tasks = make_tasks(world, int(0.99 * users))  # a few needs cannot be stated in held-out words, or met by what is in stock
    seen: Counter[str] = Counter()
    edges = 0
    for task in tasks:
        need, goods = needs[task.user_id], catalogue[task.category]
        valid, edge = {p["id"] for p in goods}, set()
        for item in task.rubric:
            seen[item.type] += 1
            if item.type == "entity_match":
                assert item.value == need.category
            elif item.type not in ("comparison", "grounding"):
                attribute = "price" if item.type == "budget_match" else item.attribute
                assert (attribute, item.op, item.value) in {(c.attribute, c.op, c.value) for c in need.constraints}
                valid &= {p["id"] for p in goods if holds(p["listed"].get(attribute), item.op, item.value, item.unit)}
                edge |= {p["id"] for p in goods if attribute != "price" and on_the_edge(p["listed"].get(attribute), item.value, item.unit)}
        edges += len(edge & (valid ^ set(need.satisfying)))
        assert valid - edge == set(need.satisfying) - edge
        assert task.valid_ids == set(need.satisfying) & {p["id"] for p in goods if p["available"]} and len(task.valid_ids) >= 1
        assert sum(i.weight for i in task.rubric) == pytest.approx(1)
        assert sum(i.type not in ("entity_match", "comparison", "grounding") for i in task.rubric) == len(need.constraints)
    assert set(seen) == {"entity_match", "budget_match", "numeric_range", "attribute_match", "negative_attribute", "comparison", "grounding"}
    assert seen["numeric_range"] > users
    assert edges <= (0 if difficulty == "easy" else users)


def test_every_need_follows_from_its_history_and_stands_in_none(world, users):
    """What an owner says implies the limit, and the latest events say enough; the limit itself is said nowhere."""
    needs = {n.user_id: n for n in latent_needs(world)}
    implied = of = 0
    for history in world.histories():
        need = needs[history.user_id]
        texts = [e.text for e in history.events[-RECENT:] if e.text]
        heard = [c for text in texts for c in hear_complaint(text)]
        for c in need.constraints:
            of += 1
            implied += (c.attribute, c.op, c.value, c.unit) in {(h.attribute, h.op, h.value, h.unit) for h in heard}
            if c.op in ("<=", ">="):
                limit = rf"(?:at most|at least|no more than|no less than|up to|under|below|over|above|from)\s+\$?{re.escape(c.value)}\b"
                assert not any(re.search(limit, e.text, re.I) for e in history.events), (c, texts)
    assert of > 3 * users and implied == of
